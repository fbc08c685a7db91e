"""Vectors of numbers, and the slow simple answer: every cosine, sorted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from custodes.similar.arithmetic import Seeds
from custodes.similar.neighbours import PAIR, ranked

Vectors = npt.NDArray[Any]


def some_vectors(count: int, dimension: int, dtype: str = "<f2", seed: int = 1) -> Vectors:
    """Vectors about as long as each other; the first number outweighs the others, as it does in CLIP's."""
    numbers = np.random.default_rng(seed).standard_normal((count, dimension))
    numbers[:, 0] += 3
    return (numbers * 20).clip(-127, 127).astype(dtype) if dtype == "|i1" else (numbers / 20).astype(dtype)


def brute(vectors: Vectors, seeds: Vectors, top: int, above: float | None = None) -> npt.NDArray[np.void]:
    """All scores in double precision, in the order that is promised: 8 lanes, folded in halves. Rows without a direction have none."""
    prepared = Seeds.of(seeds)
    wide = np.zeros((len(vectors), prepared.exact.shape[1]))
    wide[:, : vectors.shape[1]] = vectors
    rows = np.flatnonzero(np.isfinite(wide).all(axis=1) & wide.any(axis=1))
    wide = wide[rows]
    squares = folded(wide * wide)
    found = []
    for which, seed in enumerate(prepared.exact):
        pairs = np.empty(len(rows), dtype=PAIR)
        pairs["seed"], pairs["row"] = which, rows
        pairs["score"] = np.clip(folded(wide * seed) / np.sqrt(squares * folded(seed[None] * seed)), -1, 1)
        found.append(pairs)
    return ranked(np.concatenate(found), top, above)


def folded(terms: Vectors) -> Vectors:
    total = np.zeros((len(terms), 8))
    for at in range(0, terms.shape[1], 8):
        total = total + terms[:, at : at + 8]
    for half in (4, 2, 1):
        total = total[:, :half] + total[:, half : 2 * half]
    return total[:, 0]


def dataset(folder: Path, files: int = 3, rows: int = 40, dimension: int = 24) -> Vectors:
    """A dataset in the layout of LAION; all of its vectors."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    vectors = some_vectors(files * rows, dimension)
    for number in range(files):
        np.save(folder / "img_emb" / f"img_emb_{number:04}.npy", vectors[number * rows : (number + 1) * rows])
        table = pa.table({"key": [f"{number}-{row}" for row in range(rows)]})
        pq.write_table(table, folder / "metadata" / f"metadata_{number:04}.parquet")
    return vectors
