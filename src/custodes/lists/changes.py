"""Records of an authority folded into a list: of each id the last word counts, and what it replaces goes.

Ten million entries are merged as arrays: an id is compared as a string in Arrow, never as a Python object.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from custodes.errors import InternalError
from custodes.lists.container import Columns, Contents, Drafts, Uint8s, Uint32s
from custodes.lists.records import Record
from custodes.model import Kind

__all__ = ["Changes", "Merged", "gather", "merge"]

Bools = npt.NDArray[np.bool_]

NOTHING: Final = Contents({}, np.zeros(1, dtype=np.uint64), np.empty(0, dtype=np.uint8), (), ())
"""A list without entries."""

_COMPARED_MAX: Final = 100_000
"""So many ids that were known and are named again are compared one by one; of more, all are taken for changed."""


@dataclass(frozen=True, slots=True, repr=False)
class Changes:
    """Records, folded: the entries of the ids that stay, and every id that was named."""

    contents: Contents
    ids: pa.LargeStringArray
    withdrawn: Bools  # of each of ``ids``
    records: int


@dataclass(frozen=True, slots=True, repr=False)
class Merged:
    """A list after its changes, and how many ids came, changed and went."""

    contents: Contents
    added: int
    changed: int
    withdrawn: int


def gather(records: Iterable[Record]) -> Changes:
    """Fold records by id, as ``Record`` says. In any order, any number of times."""
    drafts = Drafts()
    numbers, modified, gone = array("I"), array("q"), array("B")
    for count, record in enumerate(records):
        if not record.id:
            raise InternalError("a record of an authority has no id")
        numbers.append(drafts.ids.number(record.id))
        modified.append(record.modified)
        gone.append(not record.entries)
        for entry in record.entries:
            drafts.add(entry, record.id, count)
    ids = pa.array(list(drafts.ids.numbers), type=pa.large_string())
    last = _last_words(np.array(numbers, dtype=np.uint32), np.array(modified, dtype=np.int64), np.array(gone, bool))
    withdrawn = np.zeros(len(ids), dtype=np.bool_)
    withdrawn[np.array(numbers, dtype=np.uint32)[last]] = np.array(gone, dtype=np.bool_)[last]
    counts = np.zeros(len(numbers), dtype=np.bool_)
    counts[last] = True
    return Changes(drafts.finished(counts), ids, withdrawn, len(numbers))


def _last_words(numbers: Uint32s, modified: npt.NDArray[np.int64], gone: Bools) -> npt.NDArray[np.int64]:
    """Of the records of each id the one that counts."""
    order = np.lexsort((np.arange(len(numbers)), gone, modified, numbers))
    return order[np.append(numbers[order][1:] != numbers[order][:-1], True)] if len(order) else order


def merge(old: Contents, changes: Changes, *, whole: bool) -> Merged:
    """The list with these changes. ``whole``: an id that they do not name is withdrawn."""
    before = _id_array(old)
    place = pc.index_in(before, value_set=changes.ids)
    named = place.is_valid().to_numpy(zero_copy_only=False)
    known = np.zeros(len(changes.ids), dtype=np.bool_)
    known[place.drop_null().to_numpy()] = True
    different = known & ~changes.withdrawn
    if 0 < np.count_nonzero(different) <= _COMPARED_MAX:
        different = _different(old, named, changes, different)
    added = int(np.count_nonzero(~known & ~changes.withdrawn))
    changed = int(np.count_nonzero(different))
    silent = int(np.count_nonzero(~named)) if whole else 0
    withdrawn = int(np.count_nonzero(known & changes.withdrawn)) + silent
    if not (added or changed or withdrawn):
        return Merged(old, 0, 0, 0)
    kept = NOTHING if whole else _without(old, named)
    return Merged(_compact(_joined(kept, changes.contents)), added, changed, withdrawn)


def _different(old: Contents, named: Bools, changes: Changes, asked: Bools) -> Bools:
    """Of the ids that are asked for, those that have other entries now."""
    before, after = _said(old, named), _said(changes.contents, asked)
    found = np.zeros_like(asked)
    for number in np.flatnonzero(asked).tolist():
        own = changes.ids[number].as_py()
        found[number] = before.get(own) != after.get(own)
    return found


def _said(contents: Contents, ids: Bools) -> dict[str, set[tuple[object, ...]]]:
    """What is said of these ids, each with its entries."""
    found: dict[str, set[tuple[object, ...]]] = {}
    for kind, columns in contents.kinds.items():
        for row in np.flatnonzero(ids[columns.ids]).tolist():
            category, assurance = (
                contents.categories[columns.categories[row]],
                contents.assurances[columns.assurances[row]],
            )
            entry = (kind, columns.codes[row].tobytes(), category, assurance, int(columns.roles[row]))
            found.setdefault(contents.entry_id(int(columns.ids[row])), set()).add(entry)
    return found


def _without(old: Contents, gone: Bools) -> Contents:
    """The entries whose id is not gone."""
    kinds = {kind: _rows(columns, ~gone[columns.ids]) for kind, columns in old.kinds.items()}
    return replace(old, kinds=kinds)


def _rows(columns: Columns, rows: Bools) -> Columns:
    return Columns(*(getattr(columns, name)[rows] for name in _COLUMNS))


def _compact(contents: Contents) -> Contents:
    """The same entries, without the ids that none of them has: what was withdrawn leaves no text behind."""
    used = np.zeros(len(contents.id_offsets) - 1, dtype=np.bool_)
    for columns in contents.kinds.values():
        used[columns.ids] = True
    numbers = np.cumsum(used, dtype=np.uint32) - np.uint32(1)
    kinds = {kind: replace(columns, ids=numbers[columns.ids]) for kind, columns in contents.kinds.items()}
    offsets, text = _table(_id_array(contents).filter(pa.array(used)))
    return Contents(kinds, offsets, text, contents.categories, contents.assurances)


def _joined(first: Contents, then: Contents) -> Contents:
    """Two lists that share no id, as one."""
    categories, renamed = _union(first.categories, then.categories)
    assurances, resured = _union(first.assurances, then.assurances)
    ids = np.uint32(len(first.id_offsets) - 1)
    kinds = {}
    for kind in Kind:
        parts = [contents.kinds[kind] for contents in (first, then) if kind in contents.kinds]
        if then.kinds.get(kind) is not None:
            new = parts.pop()
            parts.append(Columns(new.codes, new.ids + ids, renamed[new.categories], resured[new.assurances], new.roles))
        if sum(map(len, parts)):
            kinds[kind] = Columns(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))
    offsets = np.concatenate([first.id_offsets, then.id_offsets[1:] + first.id_offsets[-1]])
    return Contents(kinds, offsets, np.concatenate([first.id_text, then.id_text]), categories, assurances)


_COLUMNS: Final = ("codes", "ids", "categories", "assurances", "roles")


def _union(first: Sequence[str], then: Sequence[str]) -> tuple[tuple[str, ...], Uint32s]:
    """All texts, and where those of ``then`` are among them."""
    numbers = {text: number for number, text in enumerate(first)}
    places = [numbers.setdefault(text, len(numbers)) for text in then]
    return tuple(numbers), np.array(places, dtype=np.uint32)


def _id_array(contents: Contents) -> pa.LargeStringArray:
    """The table of ids as Arrow sees it, without a copy."""
    offsets = np.ascontiguousarray(contents.id_offsets).view(np.int64)
    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(contents.id_text))


def _table(ids: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint64], Uint8s]:
    """Arrow's table of ids as ours."""
    _, offsets, text = ids.buffers()
    places = np.frombuffer(offsets, dtype=np.int64)[ids.offset : ids.offset + len(ids) + 1] if offsets else np.zeros(1)
    data = np.frombuffer(text, dtype=np.uint8) if text else np.empty(0, dtype=np.uint8)
    first, last = (int(places[0]), int(places[-1])) if len(places) else (0, 0)
    return (places - first).astype(np.uint64), data[first:last]
