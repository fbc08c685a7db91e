"""``custodes similar neighbours``."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from custodes.cli.options import as_json, cluster_of, config_unused, executor_options, json_option
from custodes.cluster import Cluster
from custodes.errors import ExitCode, WorldError
from custodes.scan.pool import Hello
from custodes.scan.run import run_jobs
from custodes.scan.shard import ShardJob
from custodes.scan.supply import Listed
from custodes.similar.search import Found, Search, run_search
from custodes.similar.vectors import aligned, load_vectors, metadata_files, vector_shards
from custodes.sources.files import find

__all__ = ["neighbours"]

LINE_EVERY_S: Final = 5.0


@click.command()
@click.argument("vectors")
@click.option("--seeds", "seeds", required=True, metavar="FILE.npy", help="Vectors to search near: fp16, fp32 or int8.")
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, metavar="K", help="So many for each seed."
)
@click.option(
    "--above", type=click.FloatRange(-1, 1), default=None, metavar="S", help="And all whose cosine is at least this."
)
@click.option(
    "--out",
    "out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.parquet",
    help="Table to write: seed, row, score.",
)
@click.option("--column", default=None, metavar="NAME", help="VECTORS are parquet files, with vectors in this column.")
@click.option(
    "--metadata",
    default=None,
    metavar="PATH",
    help="Parquet files that must have as many rows (default: those beside img_emb).",
)
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Threads (default: one for each processor).",
)
@executor_options
@click.option("--quiet", is_flag=True, help="No progress.")
@config_unused
@json_option
def neighbours(
    vectors: str,
    seeds: str,
    top: int,
    above: float | None,
    out: Path,
    column: str | None,
    metadata: str | None,
    *,
    workers: int,
    executor: str,
    address: str | None,
    quiet: bool,
    json_: bool,
) -> int:
    """Find the nearest vectors of each seed, exactly, in one read of VECTORS: a folder, a pattern or a file.

    Rows are counted through all files, sorted by name. A search that stopped goes on when the same command is given again.
    """
    shards = vector_shards(vectors, column)
    if tables := find(metadata) if metadata else metadata_files(vectors):
        aligned(shards, tables)
    search = Search(shards, load_vectors(seeds), top, above, out.absolute(), workers or len(os.sched_getaffinity(0)))
    total = sum(shard.rows for shard in shards)
    told = (lambda _: None) if quiet else Lines(total).tell
    cluster = cluster_of(executor, address, workers)
    found = run_search(search, told=told, elsewhere=on_cluster(cluster, search.threads) if cluster else None)
    say(found, json_=json_)
    return int(ExitCode.NOTHING_FOUND)


def on_cluster(cluster: Cluster, workers: int) -> Callable[[Path, list[int]], None]:
    """Has parts searched by the workers of a cluster. Raises WorldError where it cannot."""
    from custodes.cluster.ray import RayExecutor  # noqa: PLC0415 - slow to import, and few searches want it

    def elsewhere(folder: Path, parts: list[int]) -> None:
        hello = Hello(config="", run=str(folder), workers=workers, parts="search")
        failures = run_jobs(RayExecutor(hello, cluster), Listed(map(ShardJob, parts))).failures if parts else []
        if fatal := next((each for each in failures if each.fatal), None):
            raise WorldError(fatal.message, hint=fatal.hint)

    return elsewhere


class Lines:
    """A line on standard error every few seconds."""

    def __init__(self, total: int = 0) -> None:
        self._total = f" of {total:,}" if total else ""
        self._began = self._last = time.monotonic()

    def tell(self, done: int) -> None:
        """Say how far it is, if the last line is old enough."""
        now = time.monotonic()
        if now - self._last >= LINE_EVERY_S:
            self._last = now
            click.echo(f"{done:,}{self._total} vectors, {now - self._began:.0f} s", err=True)


def say(found: Found, *, json_: bool) -> None:
    """What was searched, and what has no score."""
    tally, rate = found.tally, found.vectors_read / max(found.seconds, 1e-9)
    if json_:
        counts = {"vectors": tally.vectors, "scored": tally.scored, "unscored": tally.unscored, "pairs": found.pairs}
        as_json(counts | {"seconds": round(found.seconds, 3), "vectors_per_second": round(rate)})
        return
    click.echo(f"{tally.vectors:,} vectors, {tally.scored:,} of them scored; {found.pairs:,} neighbours")
    for reason, count in tally.unscored.items():
        if count:
            click.echo(f"  no score: {count:,} ({reason})")
    earlier = tally.vectors - found.vectors_read
    click.echo(f"{found.seconds:.1f} s, {rate:,.0f} vectors/s" + (f"; {earlier:,} were done before" if earlier else ""))
