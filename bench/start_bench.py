"""How long short commands take: whole processes, by the wall clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from corpus import mixed_list, pictures
from measure import measured
from tables import BIN, WORK, Bench, interleaved, median, site

__all__ = ["bench_start"]


def bench_start(*, quick: bool) -> Bench:
    """The commands that a person waits for."""
    picture = pictures(WORK) / "00001.jpg"
    config, _ = site("start", mixed_list(WORK))
    tool = BIN / "custodes"
    cases = {
        "custodes --help": lambda: timed([tool, "--help"]),
        "custodes hash PICTURE": lambda: timed([tool, "hash", picture]),
        "custodes lists show": lambda: timed([tool, "lists", "show", "--config", config]),
        "python -c pass": lambda: timed([BIN / "python", "-c", "pass"]),
    }
    runs = interleaved(cases, 3 if quick else 7)
    bench = Bench("start", "Short commands", runs=runs, heads=["", "wall, s", "CPU-s"])
    bench.notes = ["Whole processes, warm page cache, medians of interleaved runs."]
    bench.rows = [
        [name, f"{median(found, 'wall_s'):.2f}", f"{median(found, 'cpu_s'):.2f}"] for name, found in runs.items()
    ]
    return bench


def timed(command: list[str | Path]) -> dict[str, Any]:
    cost = measured(command, sample=False)
    return {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s}
