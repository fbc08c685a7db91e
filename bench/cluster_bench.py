"""Workers and what each further one gives, on the local pool and on Ray; and how many shards a second one coordinator hands out.

All on one machine: what a network adds is not in it. A coordinator is driven with shards in which there is nothing to do.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

from corpus import PLANTED, column_tables, exact_list
from measure import measured
from server import own_resolver, serving
from sizing_bench import Pass, columns, fetched, rematched
from tables import HERE, WORK, Bench, interleaved, median, site

from custodes.cluster import Cluster
from custodes.cluster.ray import RayExecutor
from custodes.config import load_site
from custodes.jobs import WORKER, ScanRequest, prepare_scan
from custodes.scan.pool import Executor, Hello, LocalPool, Report
from custodes.scan.shard import ShardJob
from custodes.scan.supply import Listed

__all__ = ["bench_cluster"]

WORKERS = (1, 2, 4)
EXECUTORS = ("local", "ray")
ROUNDS = 1


def bench_cluster(*, quick: bool) -> Bench:
    """Each pass with one, two and four workers on both executors; then the coordinator alone."""
    passes = [columns(quick), fetched(quick)[0], rematched(quick)]
    cases: dict[str, Callable[[], dict[str, Any]]] = {
        f"{each.name}, {executor}, {workers}": lambda each=each, executor=executor, workers=workers: worked(  # type: ignore[misc]
            each, executor, workers
        )
        for each in passes
        for executor in EXECUTORS
        for workers in WORKERS
    }
    empty = empty_run()
    cases |= {
        f"empty shards, {executor}": lambda executor=executor: handed_out(empty, executor, 2_000 if quick else 20_000)  # type: ignore[misc]
        for executor in EXECUTORS
    }
    with serving(WORK) as server:
        runs = interleaved(cases, ROUNDS)
    return told(passes, runs, notes(server))


def worked(each: Pass, executor: str, workers: int) -> dict[str, Any]:
    """The command as a person types it; rows a second of the work itself, from the first to the last commit, so that starting is apart."""
    size = size_of(each)
    command, made = each.command(size), each.made(size)
    shutil.rmtree(made, ignore_errors=True)
    more = ["--workers", str(workers), "--executor", executor, "--quiet", "--json"]
    cost = measured([*own_resolver(WORK), *command, *more])
    report = json.loads(cost.output)
    assert report["rows"] == size, f"{report['rows']} of {size} rows"
    work_s = max(report["seconds"], 1e-3)
    return {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "work_s": work_s, "rows": size, "shards": report["shards"]}


def size_of(each: Pass) -> int:
    """Rows that one worker needs a minute for, or less."""
    return each.sizes[0] if each.name == "rematch" else each.sizes[1]


def empty_run() -> Hello:
    """A run of which only the manifest is read."""
    config, _ = site("cluster-empty", exact_list(WORK, column_tables(WORK, 100_000), PLANTED))
    run = WORK / "run-cluster-empty"
    shutil.rmtree(run, ignore_errors=True)
    loaded = load_site(str(config))
    source = str(column_tables(WORK, 100_000) / "*.parquet")
    settings = loaded.scan_settings(passes=("columns",))
    job = prepare_scan(loaded, ScanRequest(source=source, run=run, settings=settings))
    job.lock.close()
    return Hello(config=str(config), run=str(run), workers=4, slots=8)


def handed_out(hello: Hello, executor: str, shards: int) -> dict[str, Any]:
    """Shards a second, from the first report to the last."""
    os.environ["PYTHONPATH"] = str(HERE / "empty_shards")
    try:
        pool: Executor = RayExecutor(hello, Cluster()) if executor == "ray" else LocalPool(WORKER, hello)
        times = [
            time.monotonic() for event in pool.run(Listed(map(ShardJob, range(shards)))) if isinstance(event, Report)
        ]
    finally:
        del os.environ["PYTHONPATH"]
    assert len(times) == shards
    return {"shards_s": (shards - 1) / (times[-1] - times[0])}


def told(passes: list[Pass], runs: dict[str, list[dict[str, Any]]], words: list[str]) -> Bench:
    """The table of what was run, and where one coordinator would be the limit."""
    bench = Bench("cluster", "Workers, here and on Ray", notes=words, runs=runs)
    bench.heads = ["", "workers", "rows/s at work", "efficiency", "CPU-s", "wall, s, with starting"]
    for each in passes:
        for executor in EXECUTORS:
            rates = {workers: rate_of(runs[f"{each.name}, {executor}, {workers}"]) for workers in WORKERS}
            for workers, rate in rates.items():
                found = runs[f"{each.name}, {executor}, {workers}"]
                row = [f"{each.name}, {executor}", str(workers), f"{rate:,.0f}", f"{rate / rates[1] / workers:.0%}"]
                bench.rows.append([*row, f"{median(found, 'cpu_s'):.1f}", f"{median(found, 'wall_s'):.1f}"])
    for executor in EXECUTORS:
        shards_s = median(runs[f"empty shards, {executor}"], "shards_s")
        limits = ", ".join(f"{limit_of(each, runs, executor, shards_s):,.0f} ({each.name})" for each in passes)
        bench.ratios.append(
            f"A coordinator alone, {executor}: {shards_s:,.0f} empty shards a second; it would be the limit from so many processors on: {limits}"
        )
    return bench


def rate_of(found: list[dict[str, Any]]) -> float:
    """Rows a second while it works."""
    return found[0]["rows"] / median(found, "work_s")


def limit_of(each: Pass, runs: dict[str, list[dict[str, Any]]], executor: str, shards_s: float) -> float:
    """How many workers finish as many shards a second as are handed out."""
    found = runs[f"{each.name}, {executor}, {WORKERS[-1]}"]
    return shards_s * WORKERS[-1] * median(found, "work_s") / found[0]["shards"]


def notes(server: str) -> list[str]:
    return [
        f"The data of “Sizes”: LAION's columns with MD5; JPEGs from {server}, all links alive; stored digests, one shard for each thousand rows. One machine; Ray is started for each run, and its start is in the last column only. One run of each.",
        "Efficiency: rows a second, as a share of those of one worker times the number of workers. Server and workers share the processors, so four workers that fetch have less than four of them.",
        "Empty shards: real workers, in which the work of a shard is replaced by nothing; from the first report to the last.",
    ]
