"""A card's commitment to every row: what it costs to make, to prove a row of it, and to verify that."""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from measure import measured
from rematch_bench import WORKERS, earlier_run, site_with_list
from tables import BIN, HERE, Bench, median

from custodes.commitment.proofs import RowProof, encode

__all__ = ["bench_commit"]

MEMORY = "rows made up in memory"
RUN = "rows of a run directory"


def bench_commit(*, quick: bool) -> Bench:
    """A hundred million rows without a disk, and ten million as a scan leaves them."""
    share = 100 if quick else 1
    config = site_with_list(100_000, (10_000, 100_000))
    sizes = {MEMORY: (10_000_000 // share, 100_000_000 // share), RUN: (1_000_000 // share, 10_000_000 // share)}
    runs: dict[str, list[dict[str, Any]]] = {}
    for kind, each in sizes.items():
        for rows in each:
            for _ in range(1 if quick or rows > 10_000_000 else 2):
                found = in_memory(rows) if kind == MEMORY else of_run(config, rows)
                runs.setdefault(f"{rows:,} {kind}", []).append(found | {"rows": rows})
    bench = Bench("commit", "Commitment to every row", notes=notes(), runs=runs)
    bench.heads = ["", "wall, s", "rows/s", "CPU-s", "CPU µs a row", "peak PSS, MB", "kept, MB"]
    for name, found in runs.items():
        wall, cpu, rows = median(found, "wall_s"), median(found, "cpu_s"), found[0]["rows"]
        row = [name, f"{wall:.1f}", f"{rows / wall:,.0f}", f"{cpu:.1f}", f"{1e6 * cpu / rows:.2f}"]
        bench.rows.append([*row, f"{median(found, 'pss_mb'):,.0f}", f"{found[0]['kept_bytes'] / 1e6:.1f}"])
    bench.ratios = proofs(runs)
    return bench


def in_memory(rows: int) -> dict[str, Any]:
    return cost_of("memory", str(rows), str(WORKERS))


def of_run(config: Path, rows: int) -> dict[str, Any]:
    return cost_of("run", config, earlier_run(config, rows))


def cost_of(*arguments: str | Path) -> dict[str, Any]:
    cost = measured([BIN / "python", HERE / "commit_methods.py", *arguments])
    found: dict[str, Any] = json.loads(cost.output)
    return found | {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "pss_mb": cost.pss_bytes_max / 1e6}


def proofs(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What single rows cost."""
    largest = [found[0] for name, found in runs.items() if name.endswith(MEMORY)][-1]
    stored = [found[0] for name, found in runs.items() if name.endswith(RUN)][-1]
    proof = RowProof(card="0" * 64, row=largest["rows"] - 1, entry="0" * 64, hashes=("0" * 64,) * largest["hashes"])
    size = len(encode(proof))
    packed = len(msgspec.msgpack.encode([largest["rows"], bytes(32), [bytes(32)] * largest["hashes"]]))
    return [
        f"A proof of one row of {largest['rows']:,}: {largest['hashes']} hashes, {size:,} bytes as the JSON that is handed over ({packed:,} without its spelling); verified in {largest['verify_us']:.0f} µs",
        f"Proving one row of {stored['rows']:,} from what is kept: {stored['prove_ms']:.1f} ms, after {stored['open_ms']:.0f} ms to open what is kept",
    ]


def notes() -> list[str]:
    return [
        f"{WORKERS} processes. In memory: each makes up outcomes with a random SHA-256 digest, a stretch of 131,072 rows at a time, salts them, hashes leaves and blocks, and forgets them; making them up is in the figures. From a run directory: shards of 1,000 rows as `custodes scan` commits them, read and checked by the package's own code, warm page cache; times include starting Python.",
        "Kept beside the run is one hash for each 256 rows, encrypted, and filled up to a power of two.",
    ]
