"""Reading files of vectors once, by several threads, in parts that can be kept: the loop that a search and a scan share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from custodes.similar.vectors import Block, Piece, VectorShard

__all__ = [
    "BLOCK_BYTES",
    "PAIRS_IN_BLOCK_MAX",
    "PART_BYTES",
    "Reading",
    "from_plain",
    "parts_of",
    "plain",
    "read_blocks",
]

BLOCK_BYTES: Final = 4 << 20  # read with preadv: as quick as mapped or direct reads, from disk and from the page cache
PART_BYTES: Final = 4 << 30
PAIRS_IN_BLOCK_MAX: Final = 8_000_000


class Reading(NamedTuple):
    """How it is read: by so many threads, a block at a time of at most so many bytes and rows, in parts of so many bytes or more."""

    threads: int = 1
    block_bytes: int = BLOCK_BYTES
    rows_max: int = PAIRS_IN_BLOCK_MAX
    part_bytes: int = PART_BYTES


def parts_of(shards: Sequence[VectorShard], part_bytes: int = PART_BYTES) -> list[tuple[int, list[VectorShard]]]:
    """Runs of whole files of so many bytes or more, each with the row that it starts at."""
    parts: list[tuple[int, list[VectorShard]]] = []
    row = size = 0
    for shard in shards:
        if not parts or size >= part_bytes:
            parts.append((row, []))
            size = 0
        parts[-1][1].append(shard)
        row, size = row + shard.rows, size + shard.rows * shard.row_bytes
    return parts


def read_blocks(part: tuple[int, Sequence[VectorShard]], how: Reading, take: Callable[[int, Block], None]) -> None:
    """Give ``take`` every block with the number of the first row of its file, from any thread, in any order. The first error ends all threads."""
    row, shards = part
    pieces = _pieces(row, shards, how)
    lock, stop = threading.Lock(), threading.Event()

    def work() -> None:
        memory = bytearray(max(how.block_bytes, *(shard.row_bytes for shard in shards)))
        while not stop.is_set():
            with lock:
                base, piece = next(pieces, (0, None))
            if piece is None:
                return
            take(base, piece(memory))

    with ThreadPoolExecutor(how.threads) as pool:
        running = [pool.submit(work) for _ in range(how.threads)]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
        for each in running:
            each.result()


def _pieces(row: int, shards: Sequence[VectorShard], how: Reading) -> Iterator[tuple[int, Piece | None]]:
    for shard in shards:
        for piece in shard.pieces(max(1, min(how.block_bytes // shard.row_bytes, how.rows_max))):
            yield row, piece
        row += shard.rows


# --- parts that other processes read ---


def plain(value: Any) -> Any:
    """Arrays, their types and paths as msgpack has them: a hook for encoding what is asked of a part."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes()]
    return value.str if isinstance(value, np.dtype) else str(value)


def from_plain(kind: Any, value: Any) -> Any:
    """The same back."""
    if isinstance(value, str):
        return Path(value) if kind is Path else np.dtype(value)
    name, shape, data = value
    return np.frombuffer(data, name).reshape(shape)
