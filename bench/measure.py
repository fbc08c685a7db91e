"""Runs a command and says what it cost: wall-clock time, CPU-seconds and peak memory of everything that it started.

Used as a program, it adopts orphans (PR_SET_CHILD_SUBREAPER) and waits for all of them, so that no worker's CPU-seconds are lost when its
parent ends first. Memory is proportional set size, summed over the tree and sampled twice a second by a thread that is not counted.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cost", "measured"]

SAMPLE_S = 0.5
TIMEOUT_S = 1200


@dataclass(frozen=True)
class Cost:
    """What one run cost."""

    wall_s: float
    user_s: float
    system_s: float
    pss_bytes_max: int
    rss_bytes_max: int  # of the largest process, as the kernel kept it
    exit_code: int
    output: str

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


def measured(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, *, sample: bool = True
) -> Cost:
    """Run a command to its end. What it says on standard output is kept, what it says on standard error is shown if it fails."""
    reading, writing = os.pipe()
    words = [sys.executable, __file__, str(writing), str(int(sample)), *map(str, command)]
    process = subprocess.run(
        words,
        env={**os.environ, **(environment or {})},
        pass_fds=[writing],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as said:
        found = json.loads(said.read())
    cost = Cost(output=process.stdout, **found)
    if cost.exit_code not in (0, 1, 5):
        print(process.stderr[-4000:], file=sys.stderr)
    return cost


class _Memory(threading.Thread):
    """Samples the tree until told to stop."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.most = 0

    def run(self) -> None:
        while not self.stop.wait(SAMPLE_S):
            self.most = max(self.most, sum(_pss(pid) for pid in _descendants(os.getpid())))


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    stack = [pid]
    while stack:
        for task in Path(f"/proc/{stack.pop()}/task").glob("*/children"):
            try:
                children = [int(word) for word in task.read_text().split()]
            except OSError:
                continue
            found += children
            stack += children
    return found


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main() -> None:
    """``measure.py REPORT_DESCRIPTOR SAMPLE COMMAND…``"""
    report, sample, command = int(sys.argv[1]), sys.argv[2] == "1", sys.argv[3:]
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    memory = _Memory()
    if sample:
        memory.start()
    began = time.perf_counter()
    process = subprocess.Popen(command)
    status = process.wait()
    wall_s = time.perf_counter() - began
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    memory.stop.set()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost = {
        "wall_s": wall_s,
        "user_s": used.ru_utime,
        "system_s": used.ru_stime,
        "pss_bytes_max": memory.most,
        "rss_bytes_max": used.ru_maxrss * 1024,
        "exit_code": status,
    }
    os.write(report, json.dumps(cost).encode())


if __name__ == "__main__":
    main()
