"""What a core-hour does, and what a row leaves behind: rows of each pass, bytes and files of the run directory, memory of each further worker.

For sizing a cluster. A row's cost is taken between two sizes, so that starting is not in it; memory is taken between one worker and four.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpus import PLANTED, column_tables, exact_list, link_table, mixed_list, pictures
from measure import measured
from rematch_bench import earlier_run, site_with_list
from server import own_resolver, serving
from tables import BIN, WORK, Bench, interleaved, median, site

__all__ = ["bench_sizing"]

WORKERS = 4
ROUNDS = 3
LAION_ROWS = 5_850_000_000


@dataclass(frozen=True)
class Pass:
    """One way to work rows: two sizes, the command for a size, and where its run directory comes to lie."""

    name: str
    sizes: tuple[int, int]
    command: Callable[[int], list[str | Path]]
    made: Callable[[int], Path]


def bench_sizing(*, quick: bool) -> Bench:
    """Each pass in two sizes with four workers, and the small one with one worker."""
    passes = [columns(quick), *fetched(quick), rematched(quick)]
    cases = {
        (each.name, size, workers): lambda each=each, size=size, workers=workers: cost_of(each, size, workers)  # type: ignore[misc]
        for each in passes
        for size, workers in ((each.sizes[0], WORKERS), (each.sizes[1], WORKERS), (each.sizes[0], 1))
    }
    with serving(WORK) as server:
        runs = interleaved({" ".join(map(str, key)): case for key, case in cases.items()}, 1 if quick else ROUNDS)
    return told(passes, runs, notes(server, len(next(iter(runs.values())))))


def told(passes: list[Pass], runs: dict[str, list[dict[str, Any]]], words: list[str]) -> Bench:
    """The table of what was run."""
    bench = Bench("sizing", "Sizes", notes=words, runs=runs)
    bench.heads = ["", "CPU µs a row", "million rows a core-hour", "start, CPU-s", "bytes fetched a row"]
    bench.heads += ["run directory, bytes a row", "files a million rows", "peak PSS, MB", "MB for each further worker"]
    rates = {each.name: rate_of(each, runs) for each in passes}
    bench.rows = [row_of(name, rate) for name, rate in rates.items()]
    bench.ratios = [budget(name, rate) for name, rate in rates.items()]
    return bench


FIGURES = ("cpu_s", "fetched", "disk", "files", "pss_mb")


@dataclass(frozen=True)
class Rate:
    """What a row of a pass costs and leaves behind."""

    cpu_s: float
    start_s: float
    fetched: float
    disk: float
    files: float
    pss_mb: float
    further_mb: float


def rate_of(each: Pass, runs: dict[str, list[dict[str, Any]]]) -> Rate:
    """By the line through two sizes; memory by the number of workers."""
    small, large, alone = (
        {key: median(runs[f"{each.name} {size} {workers}"], key) for key in FIGURES}
        for size, workers in ((each.sizes[0], WORKERS), (each.sizes[1], WORKERS), (each.sizes[0], 1))
    )
    rows = each.sizes[1]
    cpu_s = (large["cpu_s"] - small["cpu_s"]) / (rows - each.sizes[0])
    return Rate(
        cpu_s=cpu_s,
        start_s=large["cpu_s"] - cpu_s * rows,
        fetched=large["fetched"] / rows,
        disk=large["disk"] / rows,
        files=large["files"] / rows,
        pss_mb=large["pss_mb"],
        further_mb=(small["pss_mb"] - alone["pss_mb"]) / (WORKERS - 1),
    )


def row_of(name: str, rate: Rate) -> list[str]:
    """A line of the table."""
    figures = [f"{1e6 * rate.cpu_s:,.2f}", f"{3600 / rate.cpu_s / 1e6:,.2f}", f"{rate.start_s:.1f}"]
    figures += [f"{rate.fetched:,.0f}", f"{rate.disk:,.2f}", f"{1e6 * rate.files:,.0f}"]
    return [name, *figures, f"{rate.pss_mb:,.0f}", f"{rate.further_mb:,.0f}"]


def budget(name: str, rate: Rate) -> str:
    """LAION-5B by that rate."""
    parts = [f"{rate.cpu_s * LAION_ROWS / 3600:,.1f} core-hours"]
    if rate.fetched:
        parts.append(f"{rate.fetched * LAION_ROWS / 1e12:,.0f} TB fetched")
    left = f"{rate.disk * LAION_ROWS / 1e9:,.1f} GB in {rate.files * LAION_ROWS / 1e6:,.2f} million files"
    return (
        f"LAION-5B, {name}: {', '.join(parts)}, run directories of {left} (calculated for {LAION_ROWS:,} rows, not run)"
    )


def cost_of(each: Pass, size: int, workers: int) -> dict[str, Any]:
    """Run it once, and look at what it left."""
    command, made = each.command(size), each.made(size)
    shutil.rmtree(made, ignore_errors=True)
    cost = measured([*own_resolver(WORK), *command, "--workers", str(workers), "--quiet", "--json"])
    report = json.loads(cost.output)
    assert report["rows"] == size, f"{report['rows']} of {size} rows"
    left = [path.stat() for path in made.rglob("*") if path.is_file()]
    return {
        "wall_s": cost.wall_s,
        "cpu_s": cost.cpu_s,
        "pss_mb": cost.pss_bytes_max / 1e6,
        "fetched": report["bytes_fetched"],
        "disk": sum(file.st_blocks * 512 for file in left),
        "files": len(left),
    }


def scan(source: Path, run: Path, config: Path, *more: str) -> list[str | Path]:
    """The command of a scan."""
    return [BIN / "custodes", "scan", source, "--run", run, "--config", config, *more]


def columns(quick: bool) -> Pass:
    """LAION's columns with MD5 against a million entries."""
    sizes = (100_000, 1_000_000) if quick else (1_000_000, 10_000_000)
    config, _ = site("sizing-columns", exact_list(WORK, column_tables(WORK, sizes[1]), PLANTED))
    run = WORK / "run-sizing-columns"
    return Pass(
        "columns",
        sizes,
        lambda rows: scan(
            column_tables(WORK, sizes[1]) / "*.parquet", run, config, "--pass", "columns", "--limit", str(rows)
        ),
        lambda _: run,
    )


def fetched(quick: bool) -> list[Pass]:
    """Links, all alive and as they are found, from a server on loopback."""
    pictures(WORK)
    config, _ = site("sizing-bytes", mixed_list(WORK))
    sizes = (1_000, 4_000) if quick else (4_000, 12_000)
    run = WORK / "run-sizing-bytes"
    return [
        Pass(
            f"bytes, {words}",
            sizes,
            lambda rows, kind=kind: scan(  # type: ignore[misc]
                link_table(WORK, kind, rows), run, config, "--pass", "bytes", "--unsafe-allow-loopback"
            ),
            lambda _: run,
        )
        for kind, words in (("live", "all links alive"), ("mix", "three in ten links dead"))
    ]


def rematched(quick: bool) -> Pass:
    """Stored digests against ten million entries."""
    entries = 100_000 if quick else 10_000_000
    sizes = (entries // 10, entries)
    config = site_with_list(entries, sizes)
    return Pass(
        "rematch",
        sizes,
        lambda rows: [BIN / "custodes", "rematch", earlier_run(config, rows), "--config", config],
        lambda rows: earlier_run(config, rows) / "rematch",
    )


def notes(server: str, rounds: int) -> list[str]:
    return [
        f"The same data as the benchmarks of the passes: LAION's columns with MD5 against a million entries; JPEGs of 600x360 to 1600x1280 on {server}, on loopback, against 10,000 entries; stored digests against ten million entries, one file for each thousand rows.",
        f"CPU µs a row: between two sizes with {WORKERS} workers, the whole process tree; “start” is what is left of the larger one. Medians of {rounds}. Run directory: blocks taken on the file system, all files of it, the larger size.",
        "Memory: proportional set size of the whole tree. The lists are in it once, however many workers there are; each further worker is the difference between four and one, divided by three.",
    ]
