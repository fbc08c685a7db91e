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
import pyarrow as pa
import pyarrow.compute as pc

from custodes.errors import ListError
from custodes.model import Entry, Kind, Role

__all__ = ["ROLES", "Columns", "Contents", "Drafts", "ListHeader", "Provenance", "collect", "decode", "encode"]

Uint8s = npt.NDArray[np.uint8]
Uint32s = npt.NDArray[np.uint32]

MAGIC: Final = b"custlst1"
ROLES: Final = (Role.CONFIRMED, Role.SEED, Role.NEGATIVE)
_ENTRIES_MAX: Final = 2**32 - 1
_ALIGNMENT: Final = 8
_WAITING_MAX: Final = 4096
_ROW: Final = "row-"
_TEXT: Final = pa.large_string()
_ROLE_NUMBERS: Final = {role: number for number, role in enumerate(ROLES)}


class Provenance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a version came from. It is kept with the list; of it only ``scheme`` and ``issued`` are interpreted."""

    source: str = ""  # the imported file's name, or the service's
    format: str = ""  # csv, ndjson, vics, ...; the service's protocol
    authority: str = ""  # who made the list
    scheme: str = ""  # whose categories its entries have (lists.meaning); "": none stated
    environment: str = ""  # of the service: production or test, as it names them
    issued: str = ""  # when the authority made this version, RFC 3339, where it says so


class ListHeader(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said of a version beside its entries. It is no part of the version's digest."""

    list: str
    sequence: int
    created: str  # RFC 3339, UTC
    provenance: Provenance
    checkpoint: str = ""  # from where a service is asked what changed after this version


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

    def id_number(self, entry_id: str) -> int | None:
        """The number of an id in the table; None where it is not there."""
        wanted = np.frombuffer(entry_id.encode(), dtype=np.uint8)
        offsets = self.id_offsets.astype(np.int64)
        same = np.flatnonzero(np.diff(offsets) == len(wanted))
        texts = self.id_text[offsets[same][:, None] + np.arange(len(wanted))]
        found = same[(texts == wanted).all(axis=1)]
        return int(found[0]) if len(found) else None


def collect(entries: Iterable[Entry]) -> tuple[Contents, int]:
    """The entries as columns, and how many were given. Entries that are equal in everything are folded into the first.

    An entry without an id gets ``row-<n>``, n its place among all entries given, from 1. ListError when there are none.
    """
    drafts = Drafts()
    given = 0
    for given, entry in enumerate(entries, 1):
        drafts.add(entry, entry.id, given)
    if not given:
        raise ListError("the list holds no entries", hint="an empty list is refused: it would match nothing, silently")
    return drafts.finished(), given


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
        self._rows: list[Uint32s] = []  # places of those behind them in the table, which are never Python strings

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers))

    def each(self, texts: Iterable[str]) -> Uint32s:
        """The numbers of many."""
        numbers = self.numbers
        return np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.uint32)

    def rows(self, places: Uint32s) -> Uint32s:
        """The numbers of ``row-<place>``, each place named once. Nothing else is numbered after this."""
        if any(text.startswith(_ROW) for text in self.numbers):  # the file has such ids of its own
            return self.each(f"{_ROW}{place}" for place in places.tolist())
        first = len(self.numbers) + sum(map(len, self._rows))
        self._rows.append(places)
        return np.arange(first, first + len(places), dtype=np.uint32)

    def table(self) -> tuple[npt.NDArray[np.uint64], Uint8s]:
        named, before = [pa.array(list(self.numbers), type=_TEXT)], pa.scalar("", type=_TEXT)
        for places in self._rows:
            named.append(pc.binary_join_element_wise(before, pa.array(places).cast(_TEXT), pa.scalar(_ROW, type=_TEXT)))
        texts = pa.concat_arrays(named)
        _, offsets, text = texts.buffers()
        if not len(texts):
            return np.zeros(1, dtype=np.uint64), np.empty(0, dtype=np.uint8)
        ends = np.frombuffer(offsets, dtype=np.uint64, count=len(texts) + 1)
        return ends, np.frombuffer(text or b"", dtype=np.uint8, count=int(ends[-1]))


class _Draft:
    """The columns of one kind while they grow."""

    def __init__(self) -> None:
        self.codes = bytearray()
        self.ids, self.categories, self.assurances, self.places = (array("I") for _ in range(4))
        self.roles = array("B")


class Drafts:
    """A list while it grows, entry by entry; ``place`` numbers what an entry came with (its row, its record).

    Entries wait until there are a few thousand of them, and are then put into columns together: an import has tens of millions.
    """

    def __init__(self) -> None:
        self.ids, self._categories, self._assurances = _Strings(), _Strings(), _Strings()
        self._kinds: dict[Kind, _Draft] = {}
        self._waiting: list[tuple[Entry, str, int]] = []

    def add(self, entry: Entry, own_id: str, place: int) -> None:
        """Take one more. ListError, now or later, when its value is of the wrong length, or there are too many."""
        self._waiting.append((entry, own_id, place))
        if len(self._waiting) == _WAITING_MAX:
            self._take()

    def finished(self, counts: npt.NDArray[np.bool_] | None = None) -> Contents:
        """All that was taken, or what came with the places that count (bool[places])."""
        self._take()
        kinds = {}
        for kind in Kind:
            if kind in self._kinds and len(columns := self._finish(kind, counts)):
                kinds[kind] = columns
        offsets, text = self.ids.table()
        return Contents(kinds, offsets, text, tuple(self._categories.numbers), tuple(self._assurances.numbers))

    def _take(self) -> None:
        """Put what waits into the columns. The tables number their strings in the order of the entries, whatever their kinds."""
        if not self._waiting:
            return
        entries, own_ids, places = zip(*self._waiting, strict=True)
        self._waiting.clear()
        if max(places) > _ENTRIES_MAX:
            raise ListError(f"a list holds at most {_ENTRIES_MAX} entries")
        kinds = [entry.kind for entry in entries]
        ids = self.ids.each(own_ids)
        categories = self._categories.each([entry.category for entry in entries])
        assurances = self._assurances.each([entry.assurance for entry in entries])
        roles = np.array([_ROLE_NUMBERS[entry.role] for entry in entries], dtype=np.uint8)
        for kind in dict.fromkeys(kinds):
            rows = np.array([each is kind for each in kinds])
            draft = self._kinds.setdefault(kind, _Draft())
            draft.codes += _codes(kind, [entry.value for entry in entries if entry.kind is kind])
            draft.ids.frombytes(ids[rows].tobytes())
            draft.categories.frombytes(categories[rows].tobytes())
            draft.assurances.frombytes(assurances[rows].tobytes())
            draft.places.frombytes(np.array(places, dtype=np.uint32)[rows].tobytes())
            draft.roles.frombytes(roles[rows].tobytes())

    def _finish(self, kind: Kind, counts: npt.NDArray[np.bool_] | None) -> Columns:
        draft = self._kinds[kind]
        places = np.frombuffer(draft.places, dtype=np.uint32)
        rows = slice(None) if counts is None else np.flatnonzero(counts[places])
        codes = np.frombuffer(draft.codes, dtype=np.uint8).reshape(-1, kind.size_bytes)[rows]
        tables = (draft.ids, draft.categories, draft.assurances)
        numbers = [np.frombuffer(column, dtype=np.uint32)[rows] for column in tables]
        roles = np.frombuffer(draft.roles, dtype=np.uint8)[rows]
        kept = _first_of_equals(codes, [*numbers, roles])
        own = self._named(numbers[0][kept], places[rows][kept])
        return Columns(codes[kept], own, numbers[1][kept], numbers[2][kept], roles[kept])

    def _named(self, own: Uint32s, places: Uint32s) -> Uint32s:
        """An entry without an id of its own is named by its place."""
        nameless = self.ids.numbers.get("")
        if nameless is not None:
            rows = np.flatnonzero(own == nameless)
            own[rows] = self.ids.rows(places[rows])
        return own


def _first_of_equals(codes: Uint8s, others: list[npt.NDArray[np.unsignedinteger]]) -> npt.NDArray[np.int64]:
    """The rows, in order, that equal no earlier row in code and in all other columns."""
    heads = np.ascontiguousarray(codes[:, :8]).view(np.uint64)[:, 0]
    ordered = np.sort(heads)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    doubtful = np.flatnonzero(np.isin(heads, repeated)) if len(repeated) else np.empty(0, dtype=np.int64)
    first = np.ones(len(codes), dtype=np.bool_)
    first[doubtful] = False
    first[doubtful[_firsts(codes[doubtful], [other[doubtful] for other in others])]] = True
    return np.flatnonzero(first)


def _firsts(codes: Uint8s, others: list[npt.NDArray[np.unsignedinteger]]) -> npt.NDArray[np.int64]:
    """The same by sorting whole rows, in any order: for the few whose first eight bytes are not theirs alone."""
    words = np.zeros((len(codes), -(-codes.shape[1] // 8) * 8), dtype=np.uint8)
    words[:, : codes.shape[1]] = codes
    keys = [*others, *words.view(np.uint64).T]
    order = np.lexsort(keys)
    fresh = np.ones(len(order), dtype=np.bool_)
    if len(order) > 1:
        fresh[1:] = np.any([key[order[1:]] != key[order[:-1]] for key in keys], axis=0)
    return order[fresh]  # lexsort is stable: the first of equals comes first


def _codes(kind: Kind, values: list[bytes]) -> bytes:
    if wrong := set(map(len, values)) - {kind.size_bytes}:
        raise ListError(f"an entry of kind {kind.value} has {min(wrong)} bytes, not {kind.size_bytes}")
    return b"".join(values)


def _block(content: bytes) -> bytes:
    return len(content).to_bytes(8, "little") + content + bytes(-len(content) % _ALIGNMENT)


def _padded(values: npt.NDArray[np.generic]) -> bytes:
    content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    return content + bytes(-len(content) % _ALIGNMENT)
