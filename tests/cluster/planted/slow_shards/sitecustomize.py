"""Shards that take a while, so that a test can end what works at them. Tests put this folder on PYTHONPATH; nothing else does.

The file that PLANTED names says so anew for each shard: seconds, and perhaps the number of a shard that ends its worker.
"""

import os
import signal
import sys
import time
from pathlib import Path

if "custodes.cli.worker" in sys.orig_argv:
    from custodes.scan import shard

    real = shard.process_shard

    def process_shard(job, tools):  # type: ignore[no-untyped-def]
        seconds, *poison = Path(os.environ["PLANTED"]).read_text().split()
        if str(job.shard) in poison:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(seconds))
        return real(job, tools)

    shard.process_shard = process_shard
