"""A dataset written again without the rows that leave, from a run or from a keep list; and the keep list itself.

The dataset is read where it lies, file by file as it was planned, and written on this machine. What is told of it are sums: rows, how many left, by outcome
and by public reason, and the crowd.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import msgspec
import numpy as np

from custodes import __version__
from custodes.cleaning.cuts import leaving_keys, write_archive, write_lines
from custodes.cleaning.keep import Keep, dataset_digest, keys_that_stay, rows_that_stay, stays_by, write_keep
from custodes.cleaning.loose import loose_makers
from custodes.cleaning.mask import OUTCOMES, Choice, Flags, Leaving, Rows
from custodes.cleaning.rows import Between
from custodes.cleaning.tables import columns_of, write_table
from custodes.cleaning.writing import NOTE, Maker, Note, make_whole_folder
from custodes.crypto.keys import RunKey
from custodes.errors import InputError, SourceError
from custodes.model import OutcomeName
from custodes.sources.base import Format, Plan, SourceFile
from custodes.sources.files import check_name, exists, is_local, shown, source_file
from custodes.sources.folder import listing
from custodes.sources.sidecars import sidecar_path
from custodes.sources.source import read_links

__all__ = ["KEEP_NAME", "Summed", "apply_keep", "keep_of", "summed", "write_dataset"]

FORMAT: Final = "custodes-cleaning/1"
KEEP_NAME: Final = "keep.parquet"


class Summed(msgspec.Struct, frozen=True, kw_only=True):
    """What left and what stays, in sums. ``left`` and ``unexamined`` (rows that stay although nobody has seen them) are by outcome.

    ``ruled``: how many left by rules; ``unknown``: rows without a number in a column that a rule asks for. ``swapped``: rows whose link gave another image
    than the dataset says, and ``swapped_between``, when these were fetched.
    """

    out: str
    rows: int
    left: int
    crowd: int
    left_by_outcome: dict[str, int] = {}
    unexamined: dict[str, int] = {}
    ruled: int = 0
    unknown: dict[str, int] = {}
    swapped: int = 0
    swapped_between: Between | None = None


def summed(rows: Rows, found: Leaving, choice: Choice, unknown: Mapping[str, int]) -> Summed:
    """The sums of what was done; where it was written and when swapped images were fetched is for the caller to add."""

    def counts(some: Flags) -> dict[str, int]:
        numbers = np.bincount(rows.outcomes[some], minlength=len(OUTCOMES)).tolist()
        return {name.value: number for name, number in zip(OUTCOMES, numbers, strict=True) if number}

    unseen = ~found.left & (rows.outcomes != OUTCOMES.index(OutcomeName.EXAMINED))
    return Summed(
        out="",
        rows=len(found.left),
        left=int(np.count_nonzero(found.left)),
        left_by_outcome=counts(found.left),
        unexamined=counts(unseen),
        crowd=choice.crowd,
        ruled=int(np.count_nonzero(rows.ruled)),
        unknown=dict(unknown),
        swapped=int(np.count_nonzero(rows.swapped)),
    )


def write_dataset(plan: Plan, found: Leaving, choice: Choice, out: Path, key: RunKey) -> None:
    """Write the dataset of a run without the rows that leave. Raises SourceError where it is not what was scanned."""
    _write(plan, ~found.left, out, _note(plan, found.left, choice.crowd, choice.reasons, _tagged("dataset", key)))


def keep_of(plan: Plan, found: Leaving, choice: Choice, out: Path, key: RunKey) -> None:
    """Write only the keys of the rows that stay: ``keep.parquet``."""
    _check_files(plan)
    stay = ~found.left
    keys = keys_that_stay(plan, stay)
    keep = Keep(
        keys="row" if keys is None else "name" if plan.format is Format.FOLDER else "column",
        dataset=dataset_digest(plan),
        rows=len(stay),
        crowd=choice.crowd,
        options=plan.options,
    )
    listed = rows_that_stay(stay) if keys is None else keys
    note = _note(plan, found.left, choice.crowd, choice.reasons, _tagged("keep", key))
    make_whole_folder(out, note, {KEEP_NAME: partial(write_keep, keep, listed)})


def apply_keep(path: Path, plan: Plan, out: Path) -> tuple[int, int]:
    """Write an old copy without the rows that a keep list does not name; its rows, and how many left. Raises InputError where the list does not fit it."""
    keep, stay = stays_by(path, plan)
    left = ~stay
    _write(plan, stay, out, _note(plan, left, keep.crowd, (), lambda mask: hashlib.sha256(mask).hexdigest()))
    return len(stay), int(np.count_nonzero(left))


def _tagged(what: str, key: RunKey) -> Callable[[bytes], str]:
    return lambda mask: key.name(f"cleaning {what}", mask).hex()


def _note(plan: Plan, left: Flags, crowd: int, reasons: tuple[str, ...], tag: Callable[[bytes], str]) -> Note:
    return Note(
        format=FORMAT,
        tool=f"custodes {__version__}",
        dataset=dataset_digest(plan),
        rows=len(left),
        left=int(np.count_nonzero(left)),
        crowd=crowd,
        reasons=reasons,
        tag=tag(np.packbits(left).tobytes()),
    )


def _write(plan: Plan, stay: Flags, out: Path, note: Note) -> None:
    _check_files(plan)
    if plan.format is Format.FOLDER:
        if out.resolve().is_relative_to(Path(plan.files[0].path).resolve()):
            raise InputError(f"{out} would lie in the dataset itself", hint="name a folder elsewhere: --out DIR")
        make_whole_folder(out, note, loose_makers(plan, stay))
        return
    makers: dict[str, Maker] = {}
    first = 0
    for file, name, rows in zip(plan.files, _names(plan), _rows_of_files(plan, len(stay)), strict=True):
        makers |= _makers(plan, file, name, stay[first : first + rows])
        first += rows
    make_whole_folder(out, note, makers)


def _names(plan: Plan) -> list[str]:
    """Where each file lies below the folder that all lie in. Raises InputError where two would be one, or one would lie elsewhere."""
    paths = [PurePosixPath(_bare(file.path)) for file in plan.files]
    depth = min(len(path.parts) for path in paths) - 1
    while depth and any(path.parts[:depth] != paths[0].parts[:depth] for path in paths):
        depth -= 1
    names = ["/".join(path.parts[depth:]) for path in paths]
    if len(set(names)) < len(names) or any(
        part in ("", "/", "..", NOTE) for path in paths for part in path.parts[depth:]
    ):
        raise InputError("the files of the dataset have no names of their own", hint="copy it here, and scan the copy")
    return names


def _bare(path: str) -> str:
    """A path without its protocol, and an address without what follows its path: that may be a credential."""
    if is_local(path):
        return path.removeprefix("file://")
    return re.sub(r"[?#].*", "", path.partition("://")[2], flags=re.DOTALL)


def _rows_of_files(plan: Plan, rows: int) -> list[int]:
    """Of an archive that could not be counted when it was planned, rows are counted by reading it."""
    counts = [0] * len(plan.files)
    for shard in plan.shards:
        counts[shard.file] += shard.rows if shard.rows >= 0 else read_links(plan, shard, (), with_urls=False).rows
    if sum(counts) != rows:
        raise SourceError("the dataset has other rows than were scanned", hint="scan it anew")
    return counts


def _makers(plan: Plan, file: SourceFile, name: str, stay: Flags) -> Mapping[str, Maker]:
    """What writes a file again; of an img2dataset archive, the table beside it too."""
    if plan.format in (Format.PARQUET_LINKS, Format.PARQUET_IMAGES):
        return {name: partial(write_table, file.path, stay)}
    if plan.format in (Format.CSV, Format.TSV, Format.JSONL):
        return {name: partial(write_lines, plan, file, stay)}
    makers: dict[str, Maker] = {name: partial(write_archive, plan, file, stay)}
    if plan.format is Format.IMG2DATASET and exists(sidecar_path(file.path)):
        makers[sidecar_path(name)] = partial(_write_beside, plan, file, stay)
    return makers


def _write_beside(plan: Plan, file: SourceFile, stay: Flags, target: BinaryIO) -> None:
    """img2dataset's table without the rows of images that leave. Rows that it never downloaded are of no image, and stay."""
    gone = leaving_keys(plan, file, stay)
    beside = sidecar_path(file.path)
    keys = [str(key).encode() for key in columns_of(beside, ["key"])["key"]]
    write_table(beside, np.array([key not in gone for key in keys], dtype=np.bool_), target)


def _check_files(plan: Plan) -> None:
    """Raises SourceError where a file of a plan is not what was planned."""
    for file in plan.files:
        check_name(file.path)
        if _fingerprint(plan, file) != file.fingerprint:
            raise SourceError(f"{shown(file.path)} changed since it was planned", hint="scan it anew")


def _fingerprint(plan: Plan, file: SourceFile) -> str:
    if plan.format is Format.FOLDER:
        return listing(file.path, plan.options).file.fingerprint
    own = source_file(file.path).fingerprint
    beside = sidecar_path(file.path)
    if plan.format is not Format.IMG2DATASET or not exists(beside):
        return own
    return hashlib.sha256(f"{own}\n{source_file(beside).fingerprint}".encode()).hexdigest()
