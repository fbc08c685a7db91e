"""Scans on a cluster during which things are killed: who can be, how a scan goes on after it, and the page of what became of many such histories."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nodes import Cluster, kill, processes
from wanted import Compared, Wanted

__all__ = ["KILLS", "Books", "History", "begun", "drawn", "ended", "on", "page"]

Scan = subprocess.Popen[str]
STARTS_MAX: Final = 10


def on(made: Cluster) -> list[str]:
    return ["--executor", "ray", "--address", made.address]


def ended(process: Scan) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def committed(path: Path) -> int:
    return len(list((path / "shards").rglob("*.parquet")))


def begun(process: Scan, path: Path, shards: int = 1) -> None:
    """Wait until so many shards are committed."""
    until = time.monotonic() + 120
    while committed(path) < shards:
        assert process.poll() is None, ended(process)
        assert time.monotonic() < until
        time.sleep(0.02)


# -- who is killed; each says whether somebody was


def kill_worker(made: Cluster, _: Scan, rng: random.Random) -> bool:
    return kill_one(made.named("custodes.cli.worker"), rng)


def kill_seat(made: Cluster, _: Scan, rng: random.Random) -> bool:
    return kill_one(made.named("ray::Seat"), rng)


def kill_node(made: Cluster, _: Scan, rng: random.Random) -> bool:
    nodes = [name for name in made.nodes if name != "head"]
    if nodes:
        made.lose(rng.choice(nodes))
    return bool(nodes)


def kill_raylet(made: Cluster, _: Scan, rng: random.Random) -> bool:
    return kill_one(made.named("raylet/raylet") - made.of("head"), rng)


def kill_driver(_: Cluster, scan: Scan, rng: random.Random) -> bool:
    mine = (pid for pid, parent, line, _ in processes() if parent == scan.pid and "custodes.cluster.driver" in line)
    return kill_one(set(mine), rng)


def kill_coordinator(_: Cluster, scan: Scan, rng: random.Random) -> bool:
    scan.kill()
    return True


def kill_head(made: Cluster, _: Scan, rng: random.Random) -> bool:
    if there := "head" in made.nodes:
        made.lose("head")
    return there


KILLS: Final[dict[str, Callable[[Cluster, Scan, random.Random], bool]]] = {
    "head": kill_head,
    "worker": kill_worker,
    "node": kill_node,
    "driver": kill_driver,
    "raylet": kill_raylet,
    "coordinator": kill_coordinator,
    "seat": kill_seat,
}


def kill_one(pids: set[int], rng: random.Random) -> bool:
    if pids:
        kill({rng.choice(sorted(pids))})
    return bool(pids)


def drawn(seed: int) -> list[str]:
    """Up to four kills. The first is each kind's in its turn, so that none is left to chance."""
    rng = random.Random(seed)
    return [list(KILLS)[seed % len(KILLS)], *rng.choices(list(KILLS), k=rng.randint(0, 3))]


@dataclass
class History:
    """A scan, started again until it is done."""

    made: Cluster
    one: Wanted
    path: Path
    rng: random.Random
    starts: int = 0
    killed: Counter[str] = field(default_factory=Counter)

    def play(self, kinds: list[str]) -> Compared:
        """Kill these, one after the other, and compare what became of the run."""
        left, self.path = list(kinds), self.one.begun(self.path)
        self.made.shards(0.2)
        while not self._started(left):
            self.made.restored()
        self.made.restored()
        return self.one.compared(self.path)

    def _started(self, left: list[str]) -> bool:
        """Start it, or start it again. Whether it came to its end."""
        self.starts += 1
        assert self.starts <= STARTS_MAX
        scan = self.made.custodes(*self.one.scan(self.path), *on(self.made))
        if left:
            begun(scan, self.path, committed(self.path) + 1)
        while left and scan.poll() is None:
            kind = left.pop(0)
            self.killed[kind] += KILLS[kind](self.made, scan, self.rng)
            time.sleep(self.rng.uniform(0, 0.6))
        code, _, err = ended(scan)
        assert code in (1, 3, -9), err
        return code == 1


@dataclass
class Books:
    """What became of many histories on a cluster."""

    histories: int = 0
    starts: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    planted: int = 0
    lost: int = 0
    double: int = 0
    not_same: int = 0
    cards: int = 0
    began: float = field(default_factory=time.monotonic)

    def enter(self, history: History, compared: Compared) -> None:
        self.histories += 1
        self.starts += history.starts
        self.killed += history.killed
        self.planted += len(history.one.known)
        self.lost += compared.lost
        self.double += compared.double
        self.not_same += not compared.same
        self.cards += compared.card

    def rows(self) -> dict[str, str]:
        """As they stand on the page."""
        counts = {"histories": self.histories, "starts of the command that they took": self.starts}
        counts |= {f"kill -9 of a {kind}": self.killed[kind] for kind in KILLS}
        counts |= {"planted matches": self.planted, "lost": self.lost, "double, or never planted": self.double}
        counts |= {"runs whose findings or rows are not those of one machine": self.not_same}
        rows = {name: f"{count:,}" for name, count in counts.items()}
        rows["cards equal byte for byte"] = f"{self.cards} of {self.histories}"
        return rows | {"minutes": f"{(time.monotonic() - self.began) / 60:.0f}"}


NOTES: Final = """
Each history is a scan of its own, during which one to four things are killed, started again until it is done. The times in a card, and the root of its
commitment, whose salts are random for each run, are left out of the comparison; the rows that the commitment is over are compared. Written by
`pytest tests/cluster/test_kills.py -m soak -n 0`; it keeps the numbers of each cluster beside this page.
"""


def page(results: dict[str, dict[str, str]]) -> str:
    """What was counted, a column for each cluster."""
    names = list(next(iter(results.values())))
    lines = ["| | " + " | ".join(results) + " |", "|---" + "|--:" * len(results) + "|"]
    lines += [f"| {name} | " + " | ".join(rows[name] for rows in results.values()) + " |" for name in names]
    return "\n".join(["# A scan on Ray, whatever is killed", "", *lines, NOTES])
