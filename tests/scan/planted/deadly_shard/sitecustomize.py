"""A shard that kills whatever worker takes it, in a scan or in a rematch. Tests put this folder on PYTHONPATH; nothing else does."""

import os
import signal
import sys

if "custodes.cli.worker" in sys.orig_argv:
    from custodes.scan import rematch, shard

    real_process, real_read = shard.process_shard, rematch.read_back

    def die_of(job):  # type: ignore[no-untyped-def]
        if job.shard == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    def process_shard(job, tools):  # type: ignore[no-untyped-def]
        die_of(job)
        return real_process(job, tools)

    def read_back(job, tools, parent):  # type: ignore[no-untyped-def]
        die_of(job)
        return real_read(job, tools, parent)

    shard.process_shard = process_shard
    rematch.read_back = read_back
