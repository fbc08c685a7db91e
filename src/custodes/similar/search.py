"""The whole search: files of vectors to a table of neighbours, in one read of each byte, by several threads; stopped at any point it goes on there.

Promises that a table appears whole and durable, or not at all, and that it is the same however often the search was stopped. Runs of whole files are *parts*:
what is near in one of them is published beside the table, first-wins, under a plan that says which files, seeds and limits it belongs to; another plan is
refused. The parts are merged a few seeds at a time and removed when the table stands. Comparing is for ``neighbours``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from custodes.durable import exclusive, sync_folder
from custodes.errors import InputError, SourceError, StorageError
from custodes.ledger.disk import Disk
from custodes.similar.neighbours import PAIR, Neighbours, Tally, ranked
from custodes.similar.reading import (
    BLOCK_BYTES,
    PAIRS_IN_BLOCK_MAX,
    PART_BYTES,
    Reading,
    from_plain,
    parts_of,
    plain,
    read_blocks,
)
from custodes.similar.vectors import Block, VectorShard
from custodes.sources.files import shown

__all__ = ["Found", "Search", "laid_out", "make_part", "run_search"]

_PAIRS_IN_GROUP_MAX: Final = 4_000_000  # of a row group of the table
_HEAD_BYTES: Final = 1024
_SCHEMA: Final = pa.schema([("seed", pa.int32()), ("row", pa.int64()), ("score", pa.float64())])

Pairs = npt.NDArray[np.void]


@dataclass(frozen=True)
class Search:
    """What to look for, where, and the file that the answer goes to."""

    shards: Sequence[VectorShard]
    seeds: npt.NDArray[Any]
    top: int
    above: float | None
    out: Path
    threads: int = 1
    part_bytes: int = PART_BYTES
    block_bytes: int = BLOCK_BYTES
    disk: Disk = field(default_factory=Disk)

    @property
    def plan(self) -> dict[str, Any]:
        """What parts are bound to: anything else would give another answer."""
        seeds = hashlib.sha256(f"{self.seeds.dtype.str} {self.seeds.shape}\n".encode() + self.seeds.tobytes())
        return {
            "format": "custodes-neighbours/1",
            "files": [[s.path, s.size_bytes, s.rows, s.dimension, s.dtype.str, s.head, s.column] for s in self.shards],
            "seeds": seeds.hexdigest(),
            "top": self.top,
            "above": self.above,
            "part_bytes": self.part_bytes,
        }


class _Laid(msgspec.Struct, frozen=True):
    """A search as other processes are told of it."""

    shards: list[VectorShard]
    seeds: npt.NDArray[Any]
    top: int
    above: float | None
    out: Path
    part_bytes: int
    block_bytes: int


_LAID_OUT: Final = _Laid.__struct_fields__


@dataclass(frozen=True)
class Found:
    """What the search was over, and what it took this time. ``vectors_read``: those that were not in parts of an earlier start."""

    tally: Tally
    pairs: int
    vectors_read: int
    seconds: float


def run_search(
    search: Search,
    *,
    told: Callable[[int], None] = lambda _: None,
    elsewhere: Callable[[Path, list[int]], None] | None = None,
) -> Found:
    """Search, or go on with a search that stopped. ``told`` is called with the vectors done so far, often, from any thread.

    ``elsewhere`` may have parts made by other processes (``laid_out``, ``make_part``); those that it leaves are made here.

    Raises InputError where the table is there already, or where another search began it.
    """
    began = time.monotonic()
    if search.seeds.shape[1] != search.shards[0].dimension:
        raise SourceError(
            f"vectors have {search.shards[0].dimension:,} numbers, seeds {search.seeds.shape[1]:,}",
            hint="vectors and seeds must come from the same model",
        )
    Neighbours(search.seeds, search.top, search.above)  # refuses what cannot be searched for, before anything is made
    if not any(shard.rows for shard in search.shards):
        raise SourceError(f"{shown(search.shards[0].path)} and what stands beside it hold no vector")
    folder = search.out.with_name(f"{search.out.name}.parts")
    if search.out.exists() and not folder.exists():
        raise InputError(f"{search.out} is there already", hint="move it, or name another --out")
    try:
        with exclusive(folder, wait=False):
            _bind(search, folder)
            before = _vectors_in(search, _left(search, folder))
            if elsewhere is not None:
                _lay_out(search, folder)
                elsewhere(folder, _left(search, folder))
            _make_parts(search, folder, told)
            tally, pairs = _write_table(search, folder)
            shutil.rmtree(folder)
    except BlockingIOError:
        raise InputError(f"another search is writing {search.out}", hint="wait for it to end") from None
    return Found(tally, pairs, before, time.monotonic() - began)


def _bind(search: Search, folder: Path) -> None:
    """Publish the plan, or compare it with the one that is there."""
    path = folder / "plan.json"
    if search.disk.publish(path, json.dumps(search.plan).encode()):
        return
    there = json.loads(path.read_bytes())
    if there == search.plan:
        return
    for name, said in (("files", _files_said(there, search)), ("seeds", "other seeds"), ("top", "another --top")):
        if there.get(name) != search.plan[name]:
            raise InputError(f"{folder} belongs to a search with {said}", hint=f"give the same, or remove {folder}")
    raise InputError(f"{folder} belongs to another search", hint=f"give the same options, or remove {folder}")


def _files_said(there: dict[str, Any], search: Search) -> str:
    before = {each[0]: each for each in there.get("files", [])}
    now = {each[0]: each for each in search.plan["files"]}
    if gone := sorted(before.keys() - now.keys()):
        return f"{shown(gone[0])}, which is no longer there"
    if new := sorted(now.keys() - before.keys()):
        return f"other files: it did not have {shown(new[0])}"
    return f"another {next((shown(path) for path in now if before[path] != now[path]), 'order of files')}"


def _part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06}"


def _lay_out(search: Search, folder: Path) -> None:
    """Leave the search beside its parts, for other processes."""
    fields = {name: getattr(search, name) for name in _LAID_OUT}
    search.disk.publish(folder / "search", msgspec.msgpack.encode(fields, enc_hook=plain))


def laid_out(folder: Path) -> Search:
    """The search whose parts are made in a folder, for one thread."""
    fields = msgspec.msgpack.decode((folder / "search").read_bytes(), type=_Laid, dec_hook=from_plain)
    return Search(**msgspec.structs.asdict(fields))


def make_part(search: Search, folder: Path, number: int, told: Callable[[int], None] = lambda _: None) -> int:
    """Search one part and publish what is near in it. The number of its vectors."""
    row, shards = parts_of(search.shards, search.part_bytes)[number]
    rows = sum(shard.rows for shard in shards)
    tally, pairs = _search_part(search, row, shards, told)
    if tally.vectors != rows:
        raise SourceError(f"{tally.vectors:,} vectors were read where files say {rows:,}")
    search.disk.publish(_part_path(folder, number), _packed(tally, pairs))
    return rows


def _left(search: Search, folder: Path) -> list[int]:
    """Parts that are not published yet."""
    parts = range(len(parts_of(search.shards, search.part_bytes)))
    return [number for number in parts if not _part_path(folder, number).exists()]


def _vectors_in(search: Search, numbers: Sequence[int]) -> int:
    parts = parts_of(search.shards, search.part_bytes)
    return sum(shard.rows for number in numbers for shard in parts[number][1])


def _make_parts(search: Search, folder: Path, told: Callable[[int], None]) -> None:
    """Search what is not published yet."""
    done = 0
    for number, (_, shards) in enumerate(parts_of(search.shards, search.part_bytes)):
        if not _part_path(folder, number).exists():
            make_part(search, folder, number, lambda count, base=done: told(base + count))  # type: ignore[misc]
        done += sum(shard.rows for shard in shards)
        told(done)


def _search_part(
    search: Search, row: int, shards: Sequence[VectorShard], told: Callable[[int], None]
) -> tuple[Tally, Pairs]:
    neighbours = Neighbours(search.seeds, search.top, search.above)

    def take(base: int, block: Block) -> None:
        neighbours.feed(base + block.rows, block.vectors, missing=block.missing)
        told(neighbours.tally.vectors)

    read_blocks(
        (row, shards), Reading(search.threads, search.block_bytes, PAIRS_IN_BLOCK_MAX // len(search.seeds)), take
    )
    return neighbours.tally, neighbours.result()


# --- parts on disk, and the table ---


def _packed(tally: Tally, pairs: Pairs) -> bytes:
    head = json.dumps({"tally": asdict(tally), "pairs": len(pairs)}).encode().ljust(_HEAD_BYTES)
    body = pairs.tobytes()
    digest = hashlib.sha256(head)
    digest.update(body)
    return b"".join((head, body, digest.digest()))


def _opened(path: Path) -> tuple[Tally, Pairs]:
    """A part's counts, and its pairs, mapped. Raises StorageError where it is not what was written."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    body = data[:-32]
    if len(data) < _HEAD_BYTES + 32 or hashlib.sha256(body.data).digest() != data[-32:].tobytes():
        raise StorageError(f"{path} is damaged", hint="remove it and start the same command again")
    head = json.loads(body[:_HEAD_BYTES].tobytes())
    return Tally(**head["tally"]), body[_HEAD_BYTES:].view(PAIR)


def _write_table(search: Search, folder: Path) -> tuple[Tally, int]:
    """Merge the parts into a file beside the table, sync it, and give it its name."""
    opened = [_opened(_part_path(folder, number)) for number in range(len(parts_of(search.shards, search.part_bytes)))]
    tally = sum((each for each, _ in opened), Tally())
    aside, written = folder / "table", 0
    schema = _SCHEMA.with_metadata({b"custodes": json.dumps(_told(search, tally)).encode()})
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:  # suspects are for the owner's eyes
            with pq.ParquetWriter(file, schema) as writer:
                for best in _merged(search, [pairs for _, pairs in opened]):
                    columns = [np.ascontiguousarray(best[name]) for name in schema.names]
                    writer.write_table(pa.table(columns, schema=schema))
                    written += len(best)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(search.out)
        sync_folder(search.out.parent)
    except OSError as error:
        raise StorageError(f"cannot write {search.out}: {error.strerror}") from error
    return tally, written


def _merged(search: Search, parts: Sequence[Pairs]) -> Iterator[Pairs]:
    """Of the parts' neighbours the nearest, a few seeds at a time."""
    seeds = np.arange(len(search.seeds) + 1)
    starts = [np.searchsorted(pairs["seed"], seeds) for pairs in parts]
    for first, last in _groups(np.sum([np.diff(each) for each in starts], axis=0)):
        slices = [pairs[at[first] : at[last]] for pairs, at in zip(parts, starts, strict=True)]
        yield ranked(np.concatenate(slices), search.top, search.above)


def _told(search: Search, tally: Tally) -> dict[str, Any]:
    """What a reader of the table needs: whose rows these are, and what had no score."""
    files, row = [], 0
    for shard in search.shards:
        files.append({"file": shown(shard.path), "first_row": row, "rows": shard.rows})
        row += shard.rows
    return {"files": files, "top": search.top, "above": search.above, **asdict(tally)}


def _groups(counts: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Runs of seeds that have so many pairs at most, or are one seed."""
    first = total = 0
    for seed, count in enumerate(counts.tolist()):
        if seed > first and total + count > _PAIRS_IN_GROUP_MAX:
            yield first, seed
            first, total = seed, 0
        total += count
    yield first, len(counts)
