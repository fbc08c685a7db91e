"""A process that is killed at a chosen moment of its writing. Run as a program: DIR FIRST LAST [early]. One process is forked for each number.

Each notes refusals, sent twice, and tells each that was answered, in a file. It is killed by itself, SIGKILL, before the N-th statement, write or sync.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw

from custodes.gateway.people import writing
from custodes.gateway.people.sqlite import SqliteLedger
from tests.gateway.people.making import noted

REQUESTS = 12


class Countdown:
    """Moments until the end."""

    def __init__(self, moments: int) -> None:
        self.left = moments

    def one(self, *_: object) -> bool:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return True


class MortalFile(apsw.VFSFile):
    countdown = Countdown(1 << 60)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self.countdown.one()
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.countdown.one()
        super().xSync(flags)


class MortalDisk(apsw.VFS):
    def __init__(self) -> None:
        self.below = apsw.vfs_names()[0]
        super().__init__("mortal", self.below, makedefault=True)

    def xOpen(self, name: apsw.URIFilename | str | None, flags: list[int]) -> MortalFile:  # noqa: N802
        return MortalFile(self.below, name, flags)


def one(folder: Path, number: int) -> None:
    chance = random.Random(number)
    countdown = Countdown(chance.randrange(60 + 250 * (number % 2)))
    ledger = SqliteLedger(folder / f"{number}.db")
    if number % 2:  # statements, or what reaches the disk
        apsw.connection_hooks.append(lambda database: setattr(database, "exec_trace", countdown.one))
    else:
        MortalFile.countdown = countdown
    told = os.open(folder / f"{number}.told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def request(which: int) -> None:
        for _ in range(2):
            await ledger.note(noted(which, user=f"user {which}"))
            os.write(told, f"{which}\n".encode())

    async def all_of_them() -> None:
        for start in range(0, REQUESTS, 3):
            await asyncio.gather(*(request(which) for which in range(start, start + 3)))

    asyncio.run(all_of_them())
    os._exit(0)


def early() -> None:
    """The planted fault: whoever asked is answered before the commit."""
    whole = writing.Writer._together

    def together(self: writing.Writer, jobs: Sequence[writing._Job[object]]) -> None:
        for job in jobs:
            job.outcome = None
            job.tell()
        import time

        time.sleep(0.002)  # the answer is on its way
        whole(self, jobs)

    writing.Writer._together = together  # type: ignore[method-assign, assignment]


def main() -> None:
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if "early" in sys.argv:
        early()
    disk = MortalDisk()
    killed = 0
    for number in range(first, last):
        if not (child := os.fork()):
            one(folder, number)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, (number, status)
    sys.stdout.write(f"{killed}\n")
    disk.unregister()


if __name__ == "__main__":
    main()
