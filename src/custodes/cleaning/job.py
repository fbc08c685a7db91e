"""A dataset written again without the rows that leave, from a run or from a keep list; and the keep list itself.

The dataset must lie on this machine, file by file as it was planned. What is told of it are sums: rows, how many left, by outcome, and the crowd.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np

from custodes import __version__
from custodes.cleaning.cuts import leaving_keys, write_archive, write_lines
from custodes.cleaning.keep import Keep, dataset_digest, keys_that_stay, rows_that_stay, stays_by, write_keep
from custodes.cleaning.mask import OUTCOMES, Choice, Flags, Leaving, Rows
from custodes.cleaning.tables import column_of, write_table
from custodes.cleaning.writing import Maker, Note, make_whole_folder
from custodes.crypto.keys import RunKey
from custodes.errors import InputError, SourceError
from custodes.model import OutcomeName
from custodes.sources.base import Format, Plan, SourceFile
from custodes.sources.files import exists, is_local, shown, source_file
from custodes.sources.sidecars import sidecar_path

__all__ = ["KEEP_NAME", "Summed", "apply_keep", "keep_of", "summed", "write_dataset"]

FORMAT: Final = "custodes-cleaning/1"
KEEP_NAME: Final = "keep.parquet"


class Summed(msgspec.Struct, frozen=True, kw_only=True):
    """What left and what stays, in sums. ``left`` and ``unexamined`` (rows that stay although nobody has seen them) are by outcome."""

    out: str
    rows: int
    left: int
    crowd: int
    left_by_outcome: dict[str, int] = {}
    unexamined: dict[str, int] = {}


def summed(out: Path, rows: Rows, found: Leaving, choice: Choice) -> Summed:
    """The sums of what was done."""

    def counts(some: Flags) -> dict[str, int]:
        numbers = np.bincount(rows.outcomes[some], minlength=len(OUTCOMES)).tolist()
        return {name.value: number for name, number in zip(OUTCOMES, numbers, strict=True) if number}

    unseen = ~found.left & (rows.outcomes != OUTCOMES.index(OutcomeName.EXAMINED))
    return Summed(
        out=str(out),
        rows=len(found.left),
        left=int(np.count_nonzero(found.left)),
        left_by_outcome=counts(found.left),
        unexamined=counts(unseen),
        crowd=choice.crowd,
    )


def write_dataset(plan: Plan, found: Leaving, choice: Choice, out: Path, key: RunKey) -> None:
    """Write the dataset of a run without the rows that leave. Raises SourceError where it is not what was scanned."""
    _write(plan, ~found.left, out, _note(plan, found.left, choice.crowd, _tagged("dataset", key)))


def keep_of(plan: Plan, found: Leaving, choice: Choice, out: Path, key: RunKey) -> None:
    """Write only the keys of the rows that stay: ``keep.parquet``."""
    _check_files(plan)
    stay = ~found.left
    keys = keys_that_stay(plan, stay)
    keep = Keep(
        keys="row" if keys is None else "column",
        dataset=dataset_digest(plan),
        rows=len(stay),
        crowd=choice.crowd,
        options=plan.options,
    )
    listed = rows_that_stay(stay) if keys is None else keys
    note = _note(plan, found.left, choice.crowd, _tagged("keep", key))
    make_whole_folder(out, note, {KEEP_NAME: partial(write_keep, keep, listed)})


def apply_keep(path: Path, plan: Plan, out: Path) -> tuple[int, int]:
    """Write an old copy without the rows that a keep list does not name; its rows, and how many left. Raises InputError where the list does not fit it."""
    keep, stay = stays_by(path, plan)
    left = ~stay
    _write(plan, stay, out, _note(plan, left, keep.crowd, lambda mask: hashlib.sha256(mask).hexdigest()))
    return len(stay), int(np.count_nonzero(left))


def _tagged(what: str, key: RunKey) -> Callable[[bytes], str]:
    return lambda mask: key.name(f"cleaning {what}", mask).hex()


def _note(plan: Plan, left: Flags, crowd: int, tag: Callable[[bytes], str]) -> Note:
    return Note(
        format=FORMAT,
        tool=f"custodes {__version__}",
        dataset=dataset_digest(plan),
        rows=len(left),
        left=int(np.count_nonzero(left)),
        crowd=crowd,
        tag=tag(np.packbits(left).tobytes()),
    )


def _write(plan: Plan, stay: Flags, out: Path, note: Note) -> None:
    files = _check_files(plan)
    makers: dict[str, Maker] = {}
    counts = _rows_of_files(plan, len(stay))
    root = os.path.commonpath([path.parent for path in files])
    first = 0
    for file, path, rows in zip(plan.files, files, counts, strict=True):
        part = stay[first : first + rows]
        first += rows
        makers |= {str(each.relative_to(root)): make for each, make in _makers(plan, file, path, part).items()}
    make_whole_folder(out, note, makers)


def _rows_of_files(plan: Plan, rows: int) -> list[int]:
    counts = [0] * len(plan.files)
    for shard in plan.shards:
        counts[shard.file] += shard.rows
    if any(shard.rows < 0 for shard in plan.shards) or sum(counts) != rows:
        raise SourceError(
            "how many rows a file has is known only for tables and plain archives on this machine", hint="unpack them"
        )
    return counts


def _makers(plan: Plan, file: SourceFile, path: Path, stay: Flags) -> Mapping[Path, Maker]:
    """What writes a file again; of an img2dataset archive, the table beside it too."""
    if plan.format in (Format.PARQUET_LINKS, Format.PARQUET_IMAGES):
        return {path: partial(write_table, file.path, stay)}
    if plan.format in (Format.CSV, Format.TSV, Format.JSONL):
        return {path: partial(write_lines, plan, file, stay)}
    makers: dict[Path, Maker] = {path: partial(write_archive, plan, file, stay)}
    beside = sidecar_path(str(path))
    if plan.format is Format.IMG2DATASET and exists(beside):
        makers[Path(beside)] = partial(_write_beside, plan, file, stay)
    return makers


def _write_beside(plan: Plan, file: SourceFile, stay: Flags, target: BinaryIO) -> None:
    """img2dataset's table without the rows of images that leave. Rows that it never downloaded are of no image, and stay."""
    gone = leaving_keys(plan, file, stay)
    beside = sidecar_path(file.path)
    keys = [str(key).encode() for key in column_of(beside, "key")]
    write_table(beside, np.array([key not in gone for key in keys], dtype=np.bool_), target)


def _check_files(plan: Plan) -> list[Path]:
    """The files of a plan on this machine. Raises SourceError where one is not what was planned."""
    if plan.format is Format.FOLDER:
        raise InputError("a folder of loose images is not written again", hint="pack it as tar, and scan that")
    if not all(is_local(file.path) for file in plan.files):
        raise InputError("the dataset does not lie on this machine", hint="copy it here, and scan the copy")
    for file in plan.files:
        if _fingerprint(plan, file) != file.fingerprint:
            raise SourceError(f"{shown(file.path)} changed since it was planned", hint="scan it anew")
    return [Path(file.path.removeprefix("file://")) for file in plan.files]


def _fingerprint(plan: Plan, file: SourceFile) -> str:
    own = source_file(file.path).fingerprint
    beside = sidecar_path(file.path)
    if plan.format is not Format.IMG2DATASET or not exists(beside):
        return own
    return hashlib.sha256(f"{own}\n{source_file(beside).fingerprint}".encode()).hexdigest()
