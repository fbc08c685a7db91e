"""One measured part of the commitment, as a process of its own: prints what it found as JSON.

python bench/commit_methods.py memory ROWS PROCESSES     rows that are made up, a stretch at a time, in each process
python bench/commit_methods.py run CONFIG RUN            rows of a run directory
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from custodes.commitment.blocks import STRETCH_ROWS
from custodes.commitment.runs import commit_rows, committed_rows
from custodes.commitment.tree import (
    OUTCOME_BYTES,
    Outcomes,
    block_hashes,
    entry_of,
    leaf_hashes,
    levels_of,
    outcome_of,
    path_of,
    salts_of,
)
from custodes.config import load_site
from custodes.ledger.run import RunDirectory
from custodes.transparency.merkle import Tree, leaf_hash, verify_inclusion

KEY = bytes(range(32))
PROVEN = 200


def made_up(first: int, rows: int) -> Outcomes:
    """Outcomes of which each has a digest of its own."""
    outcomes = np.frombuffer(outcome_of("full", bytes(32)) * rows, np.uint8).reshape(rows, OUTCOME_BYTES).copy()
    outcomes[:, -32:] = np.frombuffer(np.random.default_rng(first).bytes(32 * rows), np.uint8).reshape(rows, 32)
    return outcomes


def blocks(span: tuple[int, int]) -> bytes:
    """The hashes of the blocks of a stretch of rows that are made up."""
    first, rows = span
    return block_hashes(leaf_hashes(salts_of(KEY, first, rows), made_up(first, rows)))


def memory(rows: int, processes: int) -> dict[str, Any]:
    """Commit to rows that were never on disk, then prove and verify single ones from what is kept."""
    spans = [(first, min(STRETCH_ROWS, rows - first)) for first in range(0, rows, STRETCH_ROWS)]
    began = time.perf_counter()
    with get_context("spawn").Pool(processes) as pool:
        kept = b"".join(pool.imap(blocks, spans))
    levels = levels_of(kept)
    work_s = time.perf_counter() - began
    tree = Tree(rows, levels[-1])

    def proof(row: int) -> tuple[bytes, list[bytes]]:
        block, at = divmod(row, 256)
        outcomes = made_up(block * 256 // STRETCH_ROWS * STRETCH_ROWS, STRETCH_ROWS)
        start = block * 256 % STRETCH_ROWS
        outcomes = outcomes[start : start + min(256, rows - block * 256)]
        salts = salts_of(KEY, block * 256, len(outcomes))
        inside = levels_of(leaf_hashes(salts, outcomes))
        entry = entry_of(salts[32 * at : 32 * at + 32], outcomes[at].tobytes())
        return entry, path_of(inside, at) + path_of(levels, block)

    drawn = [secrets.randbelow(rows) for _ in range(20)]
    proofs = [(row, *proof(row)) for row in drawn]
    verify_s = each(lambda: [verify_inclusion(leaf_hash(entry), row, path, tree) for row, entry, path in proofs], 20)
    return {
        "work_s": work_s,
        "kept_bytes": len(kept),
        "hashes": max(len(path) for _, _, path in proofs),
        "verify_us": 1e6 * verify_s / len(proofs),
    }


def of_run(config: str, path: str) -> dict[str, Any]:
    """Commit to a run anew, then prove rows from what is kept."""
    key = load_site(config).run_key()
    run = RunDirectory.open(Path(path), key)
    run.forget("commitments")
    began = time.perf_counter()
    committed = commit_rows(run, key)
    work_s = time.perf_counter() - began
    began = time.perf_counter()
    rows = committed_rows(run, key, committed.root)
    open_s = time.perf_counter() - began
    drawn: Iterator[int] = iter(secrets.randbelow(committed.rows) for _ in range(PROVEN))
    prove_s = each(lambda: rows._open(next(drawn)), PROVEN)
    kept = sum(each.stat().st_size for each in (run.path / "commitments").iterdir())
    return {"work_s": work_s, "open_ms": 1e3 * open_s, "prove_ms": 1e3 * prove_s, "kept_bytes": kept}


def each(call: Callable[[], object], times: int) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


if __name__ == "__main__":
    kind, first, second = sys.argv[1:]
    print(json.dumps(memory(int(first), int(second)) if kind == "memory" else of_run(first, second)))
