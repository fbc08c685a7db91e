"""A shard that kills whatever worker takes it. Tests put this folder on PYTHONPATH; nothing else does."""

import os
import signal
import sys

if "custodes.cli.worker" in sys.orig_argv:
    from custodes.scan import shard

    real = shard.process_shard

    def process_shard(job, tools):  # type: ignore[no-untyped-def]
        if job.shard == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(job, tools)

    shard.process_shard = process_shard
