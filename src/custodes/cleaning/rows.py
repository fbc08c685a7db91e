"""What a run knows of each row of its dataset, in memory: the outcome, whether it was found, and hashes of its link and photo under the run key.

About 18 bytes a row are held. What was found is told by the caller, as places: nothing at rest says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from custodes.cleaning.mask import OUTCOMES, Names, Rows
from custodes.crypto.keys import RunKey
from custodes.errors import InputError, InternalError, SourceError
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.model import Outcome, Reason
from custodes.sources.base import LinkBatch, Plan
from custodes.sources.files import shown
from custodes.sources.source import read_links

__all__ = ["rows_of"]

Place = tuple[str, int]
"""A file of the plan, and a row in it."""


def rows_of(run: RunDirectory, plan: Plan, found: Iterable[Place], key: RunKey) -> Rows:
    """Every row of a finished run. Raises InputError for one that is not finished, SourceError where the dataset is gone or changed."""
    latest = run.latest()
    if run.manifest.settings.get("limit") is not None or set(latest) != {shard.index for shard in plan.shards}:
        raise InputError(
            f"{run.path} has not examined the whole dataset", hint="finish the scan first, without --limit"
        )
    namer = _Namer(plan, key)
    parts = [namer.of_shard(run, latest[shard.index]) for shard in plan.shards]
    sizes = [0] * len(plan.files)
    for shard, part in zip(plan.shards, parts, strict=True):
        sizes[shard.file] += len(part[0])
    starts = tuple(int(start) for start in np.cumsum([0, *sizes]))
    outcomes, links, photos = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Rows(starts, outcomes, _flags(plan, starts, found), links, photos)


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


class _Namer:
    """Hashes of links and photos, under the run key."""

    def __init__(self, plan: Plan, key: RunKey) -> None:
        self._plan = plan
        self._link, self._photo, self._row = (key.naming(f"cleaning {what}") for what in ("link", "photo", "row"))

    def of_shard(self, run: RunDirectory, record: ShardRecord) -> tuple[np.ndarray[Any, Any], Names, Names]:
        """Outcomes, links and photos of a shard."""
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
        return outcomes, links, np.where(photos == 0, rows, photos)


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
