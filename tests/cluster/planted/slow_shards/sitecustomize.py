"""Shards that take a while, so that a test can end what works at them. Tests put this folder on PYTHONPATH; nothing else does.

SLOW_S: seconds for each. POISON: a shard that ends its worker.
"""

import os
import signal
import sys
import time

if "custodes.cli.worker" in sys.orig_argv:
    from custodes.scan import shard

    real = shard.process_shard

    def process_shard(job, tools):  # type: ignore[no-untyped-def]
        if str(job.shard) == os.environ.get("POISON"):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ.get("SLOW_S", "0")))
        return real(job, tools)

    shard.process_shard = process_shard
