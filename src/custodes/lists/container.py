"""What a list file holds once it is decrypted: columns of codes and references, and tables of strings.

Ten million entries are read as arrays, without a Python object for any of them. The layout is
docs/formats/list-file.md; its bytes were authenticated before they come here, so a bad one is a bug or an old version,
and still refused. Encryption and files are for the store.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.errors import ListError
from custodes.model import Entry, Kind, Role

__all__ = ["ROLES", "Columns", "Contents", "ListHeader", "Provenance", "collect", "decode", "encode"]

Uint8s = npt.NDArray[np.uint8]
Uint32s = npt.NDArray[np.uint32]

MAGIC: Final = b"custlst1"
ROLES: Final = (Role.CONFIRMED, Role.SEED, Role.NEGATIVE)
_ENTRIES_MAX: Final = 2**32 - 1
_ALIGNMENT: Final = 8


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a version came from, for people to read. It is kept with the list and never interpreted."""

    source: str = ""  # the imported file's name
    format: str = ""  # csv, ndjson or text
    authority: str = ""  # who made the list


class ListHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a version beside its entries. It is no part of the version's digest."""

    list: str
    sequence: int
    created: str  # RFC 3339, UTC
    provenance: Provenance


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The lengths of the arrays that follow, and the small string tables."""

    ids: int
    id_bytes: int
    categories: list[str]
    assurances: list[str]
    kinds: list[tuple[Kind, int]]


@dataclass(frozen=True, slots=True, repr=False)
class Columns:
    """The entries of one kind.

    ``codes`` uint8[n, size]; ``ids``, ``categories``, ``assurances`` number the tables; ``roles`` ROLES.
    """

    codes: Uint8s
    ids: Uint32s
    categories: Uint32s
    assurances: Uint32s
    roles: Uint8s

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True, repr=False)
class Contents:
    """All entries of a list version, by kind, with their string tables."""

    kinds: Mapping[Kind, Columns]
    id_offsets: npt.NDArray[np.uint64]
    id_text: Uint8s
    categories: tuple[str, ...]
    assurances: tuple[str, ...]

    def __len__(self) -> int:
        return sum(len(columns) for columns in self.kinds.values())

    def entry_id(self, number: int) -> str:
        """The authority's own id, by its number in the table."""
        return self.id_text[int(self.id_offsets[number]) : int(self.id_offsets[number + 1])].tobytes().decode()


def collect(entries: Iterable[Entry]) -> tuple[Contents, int]:
    """The entries as columns, and how many were given. Entries that are equal in everything are folded into the first.

    An entry without an id gets ``row-<n>``, n its place among all entries given, from 1. ListError when there are none.
    """
    drafts: dict[Kind, _Draft] = {}
    ids, categories, assurances = _Strings(), _Strings(), _Strings()
    given = 0
    for given, entry in enumerate(entries, 1):
        draft = drafts.get(entry.kind) or drafts.setdefault(entry.kind, _Draft())
        draft.codes += _code(entry)
        draft.ids.append(ids.number(entry.id))
        draft.categories.append(categories.number(entry.category))
        draft.assurances.append(assurances.number(entry.assurance))
        draft.roles.append(ROLES.index(entry.role))
        draft.places.append(given)
    if not given:
        raise ListError("the list holds no entries", hint="an empty list is refused: it would match nothing, silently")
    if given > _ENTRIES_MAX:
        raise ListError(f"a list holds at most {_ENTRIES_MAX} entries")
    kinds = {kind: _finish(kind, drafts[kind], ids) for kind in Kind if kind in drafts}
    offsets, text = ids.table()
    return Contents(kinds, offsets, text, tuple(categories.numbers), tuple(assurances.numbers)), given


def encode(header: ListHeader, contents: Contents) -> tuple[bytes, bytes]:
    """The two halves of the plaintext: the header with its frame, and the body, whose digest names the version."""
    shape = _Shape(
        ids=len(contents.id_offsets) - 1,
        id_bytes=len(contents.id_text),
        categories=list(contents.categories),
        assurances=list(contents.assurances),
        kinds=[(kind, len(columns)) for kind, columns in contents.kinds.items()],
    )
    parts = [_block(msgspec.json.encode(shape)), _padded(contents.id_offsets), _padded(contents.id_text)]
    for columns in contents.kinds.values():
        parts += [_padded(columns.codes), _padded(columns.ids), _padded(columns.categories)]
        parts += [_padded(columns.assurances), _padded(columns.roles)]
    return MAGIC + _block(msgspec.json.encode(header)), b"".join(parts)


def decode(plaintext: bytes | bytearray | memoryview) -> tuple[ListHeader, Contents, memoryview]:
    """The header, the contents as read-only views of ``plaintext``, and the body for its digest.

    ListError when malformed.
    """
    view = memoryview(plaintext).toreadonly()
    try:
        if bytes(view[: len(MAGIC)]) != MAGIC:
            raise ListError("the list file is of another version of custodes")
        cursor = _Cursor(view, len(MAGIC))
        header = msgspec.json.decode(cursor.block(), type=ListHeader)
        body = view[cursor.at :]
        contents = _decode_body(cursor)
        if cursor.at != len(view):
            raise ListError("the list file is malformed: it has bytes after its end")
    except (msgspec.MsgspecError, ValueError) as error:  # numpy says ValueError when the buffer is too short
        raise ListError("the list file is malformed") from error
    return header, contents, body


def _decode_body(cursor: _Cursor) -> Contents:
    shape = msgspec.json.decode(cursor.block(), type=_Shape)
    offsets = cursor.offsets(shape.ids + 1)
    text = cursor.bytes_(shape.id_bytes)
    kinds = {}
    for kind, count in shape.kinds:
        codes = cursor.bytes_(count * kind.size_bytes).reshape(count, kind.size_bytes)
        ids, categories, assurances = (cursor.numbers(count) for _ in range(3))
        kinds[kind] = Columns(codes, ids, categories, assurances, cursor.bytes_(count))
    return Contents(kinds, offsets, text, tuple(shape.categories), tuple(shape.assurances))


class _Cursor:
    """Reads blocks and arrays one after the other, each on its boundary of eight bytes."""

    def __init__(self, view: memoryview, at: int) -> None:
        self.view, self.at = view, at

    def block(self) -> memoryview:
        size_bytes = int.from_bytes(self.view[self.at : self.at + 8], "little")
        return self._take(8 + size_bytes)[8:]

    def bytes_(self, count: int) -> Uint8s:
        return np.frombuffer(self._take(count), dtype=np.uint8)

    def numbers(self, count: int) -> Uint32s:
        return np.frombuffer(self._take(4 * count), dtype=np.dtype("<u4"))

    def offsets(self, count: int) -> npt.NDArray[np.uint64]:
        return np.frombuffer(self._take(8 * count), dtype=np.dtype("<u8"))

    def _take(self, size_bytes: int) -> memoryview:
        taken = self.view[self.at : self.at + size_bytes]
        if len(taken) != size_bytes:
            raise ListError("the list file is malformed: it ends early")
        self.at += size_bytes + -size_bytes % _ALIGNMENT
        return taken


class _Strings:
    """A table of distinct strings in the order of their first use."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))

    def table(self) -> tuple[npt.NDArray[np.uint64], Uint8s]:
        encoded = [text.encode() for text in self.numbers]
        offsets = np.zeros(len(encoded) + 1, dtype=np.uint64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return offsets, np.frombuffer(b"".join(encoded), dtype=np.uint8)


class _Draft:
    """The columns of one kind while they grow."""

    def __init__(self) -> None:
        self.codes = bytearray()
        self.ids, self.categories, self.assurances, self.places = (array("I") for _ in range(4))
        self.roles = array("B")


def _finish(kind: Kind, draft: _Draft, ids: _Strings) -> Columns:
    codes = np.frombuffer(draft.codes, dtype=np.uint8).reshape(-1, kind.size_bytes)
    numbers = [np.frombuffer(column, dtype=np.uint32) for column in (draft.ids, draft.categories, draft.assurances)]
    roles = np.frombuffer(draft.roles, dtype=np.uint8)
    kept = _first_of_equals(codes, [*numbers, roles])
    own = numbers[0][kept]
    nameless = ids.numbers.get("")
    if nameless is not None:
        places = np.frombuffer(draft.places, dtype=np.uint32)[kept]
        for row in np.flatnonzero(own == nameless):
            own[row] = ids.number(f"row-{places[row]}")
    return Columns(codes[kept], own, numbers[1][kept], numbers[2][kept], roles[kept])


def _first_of_equals(codes: Uint8s, others: list[npt.NDArray[np.unsignedinteger]]) -> npt.NDArray[np.int64]:
    """The rows, in order, that equal no earlier row in code and in all other columns."""
    words = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), dtype=np.uint8)
    words[:, : codes.shape[1]] = codes
    keys = [*others, *words.view(np.uint64).T]
    order = np.lexsort(keys)
    fresh = np.ones(len(order), dtype=np.bool_)
    if len(order) > 1:
        fresh[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    return np.sort(order[fresh])  # lexsort is stable: the first of equals comes first


def _code(entry: Entry) -> bytes:
    if len(entry.value) != entry.kind.size_bytes:
        raise ListError(
            f"an entry of kind {entry.kind.value} has {len(entry.value)} bytes, not {entry.kind.size_bytes}"
        )
    return entry.value


def _block(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + content + bytes(-len(content) % _ALIGNMENT)


def _padded(values: npt.NDArray[np.generic]) -> bytes:
    content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    return content + bytes(-len(content) % _ALIGNMENT)
