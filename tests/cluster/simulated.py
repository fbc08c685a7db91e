"""Holds a cluster whose nodes Ray simulates on one machine (``ray.cluster_utils``): a process of its own, so that no test is a client of Ray.

Arguments: the head's port, Ray's folder, and perhaps the address that all nodes have.
Each line of standard input, MARK PROCESSORS, asks for a node; it is answered when the node is there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster

STORE_BYTES = 80_000_000


def main() -> None:
    port, home, *where = sys.argv[1:]
    os.environ["RAY_TMPDIR"] = home
    (Path(home) / "ray").mkdir(exist_ok=True)  # it writes its address there
    held = Cluster(shutdown_at_exit=False)
    for line in sys.stdin:
        os.environ["CUSTODES_TEST_NODE"], processors = line.split()
        given: dict[str, Any] = {"num_cpus": int(processors), "object_store_memory": STORE_BYTES}
        if where:
            given["node_ip_address"] = where[0]
        if held.head_node is None:
            given |= {"gcs_server_port": int(port), "temp_dir": home, "include_dashboard": False}
        held.add_node(**given)
        print("there", flush=True)


if __name__ == "__main__":
    main()
