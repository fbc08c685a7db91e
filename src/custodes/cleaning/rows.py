"""What a run knows of each row of its dataset, in memory: the outcome, whether it was found, whether another image lay there than the dataset says, and
hashes of its link and photo under the run key.

About 20 bytes a row are held. What was found is told by the caller, as places: nothing at rest says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from custodes.cleaning.mask import OUTCOMES, Flags, Names, Rows
from custodes.crypto.keys import RunKey
from custodes.errors import InputError, InternalError, SourceError
from custodes.ledger.rows import digest_arrays
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.model import Outcome, Reason
from custodes.sources.base import LinkBatch, Plan
from custodes.sources.files import shown
from custodes.sources.source import read_links

__all__ = ["Between", "Place", "check_says_digests", "rows_of"]

Place = tuple[str, int]
"""A file of the plan, and a row in it."""

Between = tuple[datetime, datetime]
"""When the first and the last of some images were fetched."""


def rows_of(run: RunDirectory, plan: Plan, found: Iterable[Place], key: RunKey) -> tuple[Rows, Between | None]:
    """Every row of a finished run, ruled by nothing; and when the swapped images among them were seen.

    Raises InputError for a run that is not finished, SourceError where the dataset is gone or changed.
    """
    latest = run.latest()
    if run.manifest.settings.get("limit") is not None or set(latest) != {shard.index for shard in plan.shards}:
        raise InputError(
            f"{run.shown} has not examined the whole dataset", hint="finish the scan first, without --limit"
        )
    namer = _Namer(plan, key)
    parts = [namer.of_shard(run, latest[shard.index]) for shard in plan.shards]
    sizes = [0] * len(plan.files)
    for shard, part in zip(plan.shards, parts, strict=True):
        sizes[shard.file] += len(part.outcomes)
    starts = tuple(int(start) for start in np.cumsum([0, *sizes]))
    outcomes, links, photos, swapped = (
        np.concatenate(column) for column in zip(*(part[:4] for part in parts), strict=True)
    )
    seen = [moment for part in parts for moment in part.seen]
    flagged = _flags(plan, starts, found)
    rows = Rows(starts, outcomes, flagged, links, photos, swapped, np.zeros_like(flagged))
    return rows, (min(seen), max(seen)) if seen else None


def check_says_digests(plan: Plan) -> None:
    """Raise InputError for a dataset of which nobody can say that an image was swapped."""
    if plan.holds_images or not plan.columns.digest_columns():
        problem = "holds its images itself" if plan.holds_images else "has no column with digests of its images"
        raise InputError(f"no image can be known to be swapped: the dataset {problem}", hint="leave --drop swapped out")


def _flags(plan: Plan, starts: tuple[int, ...], found: Iterable[Place]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    flagged = np.zeros(starts[-1], dtype=np.bool_)
    numbers = {file.path: number for number, file in enumerate(plan.files)}
    for path, row in found:
        number = numbers.get(path)
        if number is None or not 0 <= row < starts[number + 1] - starts[number]:
            raise InternalError("a finding of this run lies in no row of its plan")
        flagged[starts[number] + row] = True
    return flagged


_OUTCOME = {reason: OUTCOMES.index(Outcome(reason).name) for reason in Reason}


class _Part(NamedTuple):
    """A shard. ``seen``: when the first and the last swapped image of it were fetched, as far as it is known."""

    outcomes: np.ndarray[Any, Any]
    links: Names
    photos: Names
    swapped: Flags
    seen: tuple[datetime, ...]


class _Namer:
    """Hashes of links and photos, under the run key."""

    def __init__(self, plan: Plan, key: RunKey) -> None:
        self._plan = plan
        self._link, self._photo, self._row = (key.naming(f"cleaning {what}") for what in ("link", "photo", "row"))

    def of_shard(self, run: RunDirectory, record: ShardRecord) -> _Part:
        """What is held of a shard."""
        shard, table = self._plan.shards[record.shard], run.rows(record)
        batch = read_links(self._plan, shard, tuple(self._plan.columns.digest_columns()), with_urls=True)
        if batch.rows != table.num_rows:
            raise SourceError(f"{shown(self._plan.files[shard.file].path)} has other rows than were scanned")
        outcomes = np.array([_OUTCOME[Reason(name)] for name in table["reason"].to_pylist()], dtype=np.uint8)
        urls = batch.url.to_pylist() if batch.url is not None else [None] * batch.rows
        texts = [None if url is None else url.encode(errors="surrogatepass") for url in urls]
        links = _hashed(self._link, texts)
        photos = _hashed(self._photo, list(_digests(batch, table)))
        photos = np.where(photos == 0, links, photos)  # no digest: the link names it best
        rows = _hashed(self._row, [msgspec.json.encode([record.shard, row]) for row in range(batch.rows)])
        swapped = _swapped(self._plan, batch, table)
        return _Part(outcomes, links, np.where(photos == 0, rows, photos), swapped, _ends(table, swapped))


def _hashed(name: Callable[..., bytes], values: list[bytes | None]) -> Names:
    codes = [0 if value is None else int.from_bytes(name(value)[:8], "little") or 1 for value in values]
    return np.array(codes, dtype=np.uint64)


def _digests(batch: LinkBatch, table: Any) -> Iterator[bytes | None]:
    """The digest that the dataset itself has of a row's image, which anyone can read in it; else that of the bytes that were seen."""
    seen = table["md5"].to_pylist() if "md5" in table.column_names else [None] * batch.rows
    for digested in batch.digests.values():
        for row, code in zip(digested.items.tolist(), digested.codes, strict=True):
            seen[row] = code.tobytes()
    yield from seen


def _swapped(plan: Plan, batch: LinkBatch, table: Any) -> Flags:
    """The rows whose link gave an image with another digest than the dataset says.

    A dataset that holds its images says the digests of originals, and may well hold them smaller (img2dataset).
    """
    swapped = np.zeros(batch.rows, dtype=np.bool_)
    if plan.holds_images:
        return swapped
    for kind, (items, codes, *_) in digest_arrays(table).items():
        if kind in batch.digests:
            said = batch.digests[kind]
            _, here, there = np.intersect1d(items, said.items, assume_unique=True, return_indices=True)
            swapped[items[here]] |= (codes[here] != said.codes[there]).any(axis=1)
    return swapped


def _ends(table: Any, some: Flags) -> tuple[datetime, ...]:
    if "fetched_at" not in table.column_names:
        return ()
    ends = pc.min_max(table["fetched_at"].filter(pa.array(some))).as_py()
    return tuple(moment for moment in ends.values() if moment is not None)
