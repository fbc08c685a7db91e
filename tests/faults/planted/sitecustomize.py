"""Plants faults into every process of a scan, by the names in CUSTODES_PLANTED, with commas between. Tests put this folder on PYTHONPATH; nothing else does."""

from __future__ import annotations

import os
import sys


def marks_the_shard_first() -> None:
    """The done-mark is published before the findings that it vouches for, with a breath in between."""
    import time

    from custodes.ledger import disk

    real = disk.Disk.publish
    kept = {}

    def publish(self, path, data):  # type: ignore[no-untyped-def]
        if path.suffix == ".age":
            kept[os.getpid()] = (path, data)
            return True
        won = real(self, path, data)
        if os.getpid() in kept:
            time.sleep(0.15)
            real(self, *kept.pop(os.getpid()))
        return won

    disk.Disk.publish = publish  # type: ignore[method-assign]


def quotes_an_entry() -> None:
    """A bug whose text holds an entry and its id, where lists are compared."""
    from custodes.lists.matcher import Matcher

    def exact(self, kind, codes):  # type: ignore[no-untyped-def]
        part = self._parts[kind][0]
        raise KeyError(part.columns.codes[0].tobytes().hex(), part.of.contents.entry_id(0))

    Matcher.exact = exact  # type: ignore[method-assign]


def fails_a_sync() -> None:
    """The n-th fsync of a worker fails, and every one after it."""
    left = int(os.environ["CUSTODES_PLANTED_NTH"])
    real = os.fsync

    def fsync(descriptor):  # type: ignore[no-untyped-def]
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(5, os.strerror(5))
        real(descriptor)

    if "custodes.cli.worker" in " ".join(sys.orig_argv):
        os.fsync = fsync


def fills_the_disk() -> None:
    """The n-th write of a file by a worker takes half of it, and then the disk is full."""
    left = int(os.environ["CUSTODES_PLANTED_NTH"])
    from custodes.ledger import disk

    real = disk.Disk.write

    def write(self, path, data):  # type: ignore[no-untyped-def]
        nonlocal left
        left -= 1
        if left < 0:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(28, os.strerror(28))
        real(self, path, data)

    if "custodes.cli.worker" in " ".join(sys.orig_argv):
        disk.Disk.write = write  # type: ignore[method-assign]


def dies_at_a_step() -> None:
    """Before the n-th step of a worker on the disk the coordinator is killed, and the worker with it."""
    import signal

    from custodes.ledger import disk

    left = int(os.environ["CUSTODES_PLANTED_NTH"])

    def counted(real):  # type: ignore[no-untyped-def]
        def step(self, *arguments):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, *arguments)

        return step

    if "custodes.cli.worker" in " ".join(sys.orig_argv):
        for name in ("write", "link", "sync_directory"):
            setattr(disk.Disk, name, counted(getattr(disk.Disk, name)))


def coordinator_dies_at_a_step() -> None:
    """Before its own n-th step on the disk the coordinator is killed; its workers end with it."""
    import signal

    from custodes.ledger import disk

    left = int(os.environ["CUSTODES_PLANTED_NTH"])

    def counted(real):  # type: ignore[no-untyped-def]
        def step(self, *arguments):  # type: ignore[no-untyped-def]
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, *arguments)

        return step

    if "custodes.cli.main" in " ".join(sys.orig_argv):
        for name in ("write", "link", "sync_directory"):
            setattr(disk.Disk, name, counted(getattr(disk.Disk, name)))


def writes_urls() -> None:
    """A careless engineer keeps the URL beside the outcome, for debugging."""
    from custodes.scan import shard

    real = shard.finished_rows

    def finished_rows(work):  # type: ignore[no-untyped-def]
        for row, url in enumerate(work.links.url.to_pylist()):
            work.rows.set(row, format=url)
        return real(work)

    shard.finished_rows = finished_rows


PLANTED = {
    "marks-the-shard-first": marks_the_shard_first,
    "fails-a-sync": fails_a_sync,
    "fills-the-disk": fills_the_disk,
    "dies-at-a-step": dies_at_a_step,
    "coordinator-dies-at-a-step": coordinator_dies_at_a_step,
    "writes-urls": writes_urls,
    "quotes-an-entry": quotes_an_entry,
}

for name in filter(None, os.environ.get("CUSTODES_PLANTED", "").split(",")):
    PLANTED[name]()
