"""Tar archives of images (WebDataset, img2dataset), plain or gzip: read from front to back, never extracted.

The header reader is our own, because what Python's skips over in silence (a bad header after the first ends the
archive) would be images that nobody examined. Whatever is no well-formed archive up to its end is a ``SourceError``. A
member is an item by ``members.is_item``; its row is its position among the items, because names are data: they repeat,
contain anything, and are used for nothing but to join side files and to say in a finding where an image lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

from custodes.errors import SourceError
from custodes.model import Content, Reason
from custodes.sources.base import ImageItem, Plan, ShardSpec, SourceFile, SourceOptions
from custodes.sources.files import is_local, planned, read_exactly, reading, shown, size_of, skip, unpacked
from custodes.sources.members import HEAD_BYTES, is_item, key_of

__all__ = ["BLOCK_BYTES", "Member", "Slice", "Walked", "can_walk", "images", "is_header", "shard_members", "slices"]

BLOCK_BYTES: Final = 512
_ZEROS: Final = bytes(BLOCK_BYTES)
_WITHOUT_DATA: Final = b"123456"  # POSIX.1-1988: links, devices, folders, fifos; all else carries data
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"  # GNU
_PAX, _PAX_SOLARIS, _PAX_GLOBAL = b"x", b"X", b"g"


class Member(NamedTuple):
    """One member: where its headers begin, its name, the size of its data, its first bytes, and what it is."""

    offset_bytes: int
    name: bytes
    size_bytes: int
    head: bytes
    has_data: bool
    sparse: bool

    @property
    def is_item(self) -> bool:
        """Whether it is an image, or could be one."""
        return self.has_data and is_item(self.name, self.head)


class _Header(NamedTuple):
    name: bytes
    size_bytes: int
    kind: bytes
    extended: bool  # GNU sparse: more map blocks follow


def is_header(block: bytes) -> bool:
    """Whether a block is a tar header, by its checksum (POSIX.1-2017, pax, "ustar Header Block")."""
    if len(block) != BLOCK_BYTES or block == _ZEROS:
        return False
    try:
        given = int(block[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(rest) - 256 * sum(byte > 127 for byte in rest)  # some old archivers summed signed characters
    return given in (sum(rest), signed)


def _number(field: bytes) -> int:
    """A size field: octal, or GNU's base 256. Raises ValueError for a negative one or none."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise ValueError("negative or too large")
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise ValueError("not octal")
    return int(digits or b"0", 8)


def _parsed(block: bytes) -> _Header:
    name = block[:100].split(b"\0")[0]
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].split(b"\0")[0]):
        name = prefix + b"/" + name
    return _Header(name, _number(block[124:136]), block[156:157], bool(block[482]))


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """Extended header records, "length key=value newline". Raises ValueError when malformed."""
    records = {}
    at = 0
    while at < len(data) and data[at]:
        length, space, _ = data[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or not len(length) + 3 <= int(length) <= len(data) - at:
            raise ValueError("bad record length")
        key, equals, value = data[at + len(length) + 1 : at + int(length)].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ValueError("bad record")
        records[key] = value[:-1]
        at += int(length)
    return records


class _Reader:
    """Walks the members of one archive.

    Stands, after each, at its data past the head; ``finish`` or ``rest`` passes over or reads that.
    """

    def __init__(self, file: BinaryIO, path: str, options: SourceOptions) -> None:
        self._file, self._path, self._options = file, path, options
        self._size_bytes = size_of(file) if file.seekable() else None
        self.at_bytes = 0

    def start_at(self, offset_bytes: int) -> None:
        self._file.seek(offset_bytes)
        self.at_bytes = offset_bytes

    def _bad(self, problem: str) -> SourceError:
        return SourceError(f"{shown(self._path)}, byte {self.at_bytes}: {problem}")

    def _read(self, size_bytes: int) -> bytes:
        data = read_exactly(self._file, size_bytes, self._path)
        self.at_bytes += size_bytes
        return data

    def _skip(self, size_bytes: int) -> None:
        self.at_bytes += size_bytes
        if self._size_bytes is None:
            skip(self._file, size_bytes, self._path)
            return
        if self.at_bytes > self._size_bytes:
            raise SourceError(f"{shown(self._path)} is truncated")
        self._file.seek(self.at_bytes)

    def _small(self, size_bytes: int) -> bytes:
        """The data of an extension header."""
        if size_bytes > self._options.name_bytes_max:
            raise self._bad("the name of a member is too long")
        data = self._read(size_bytes)
        self._skip(-size_bytes % BLOCK_BYTES)
        return data

    def members(self, end_bytes: int = -1) -> Iterator[Member]:
        """Members up to ``end_bytes``, or up to the end of the archive, which must be well-formed."""
        count = 0
        while self.at_bytes != end_bytes:
            start_bytes = self.at_bytes
            member = self._next(start_bytes)
            if member is None:
                break
            count += 1
            if count > self._options.members_max:
                raise self._bad(f"more than {self._options.members_max} members")
            data_bytes = self.at_bytes
            yield member
            if self.at_bytes == data_bytes:  # the caller did not read the rest
                self._skip(member.size_bytes - len(member.head))
            self._skip(-member.size_bytes % BLOCK_BYTES)

    def rest(self, member: Member) -> bytes:
        """The data of the member that was yielded last."""
        return member.head + self._read(member.size_bytes - len(member.head))

    def _next(self, start_bytes: int) -> Member | None:
        name: bytes | None = None
        pax: dict[bytes, bytes] = {}
        while True:
            block = self._read(BLOCK_BYTES)
            if block == _ZEROS:
                if self.at_bytes - BLOCK_BYTES != start_bytes:
                    raise self._bad("an extended header stands alone")
                self._end()
                return None
            header = self._header(block)
            if header.kind == _LONG_NAME:
                name = self._small(header.size_bytes).split(b"\0")[0]
            elif header.kind == _LONG_LINK:
                self._small(header.size_bytes)
            elif header.kind in (_PAX, _PAX_SOLARIS):
                pax = self._pax(header.size_bytes)
            elif header.kind == _PAX_GLOBAL:
                if {b"size", b"path"} & self._pax(header.size_bytes).keys():
                    raise self._bad("a global header gives every member the same size or name")
            else:
                return self._member(start_bytes, header, pax.get(b"path", name), pax)
            if self.at_bytes - start_bytes > 8 * self._options.name_bytes_max:
                raise self._bad("too many extended headers")

    def _header(self, block: bytes) -> _Header:
        if not is_header(block):
            raise self._bad("this is no header of a member")
        try:
            return _parsed(block)
        except ValueError:
            raise self._bad("a member's size is no number") from None

    def _pax(self, size_bytes: int) -> dict[bytes, bytes]:
        try:
            return _pax_records(self._small(size_bytes))
        except ValueError:
            raise self._bad("a bad extended header") from None

    def _member(self, start_bytes: int, header: _Header, name: bytes | None, pax: dict[bytes, bytes]) -> Member:
        size_bytes = header.size_bytes
        if b"size" in pax:
            if not pax[b"size"].isdigit() or len(pax[b"size"]) > 19:
                raise self._bad("a member's size is no number")
            size_bytes = int(pax[b"size"])
        more = header.kind == _SPARSE and header.extended
        while more:  # GNU tar manual, "Old GNU Format": each block ends with a flag at byte 504
            more = bool(self._read(BLOCK_BYTES)[504])
        name = header.name if name is None else name
        is_folder = header.kind in b"0\0" and name.endswith(b"/")  # how archives before POSIX said folder
        has_data = header.kind not in _list_bytes(_WITHOUT_DATA) and not is_folder
        sparse = header.kind == _SPARSE or any(key.startswith(b"GNU.sparse.") for key in pax)
        size_bytes = size_bytes if header.kind not in _list_bytes(_WITHOUT_DATA) else 0
        head = self._read(min(HEAD_BYTES, size_bytes))
        return Member(start_bytes, name, size_bytes, head, has_data, sparse)

    def _end(self) -> None:
        """After the first zero block only zeros may come: images behind an early end would be read by nobody."""
        while data := self._file.read(1 << 20):
            self.at_bytes += len(data)
            if data.count(0) != len(data):
                raise self._bad("there is data after the end of the archive")


def _list_bytes(kinds: bytes) -> tuple[bytes, ...]:
    return tuple(kinds[at : at + 1] for at in range(len(kinds)))


class Slice(NamedTuple):
    """Where a shard lies in an archive: its first row, its rows, and its bytes; the last one runs to the end."""

    first_row: int
    rows: int
    offset_bytes: int
    size_bytes: int


class Walked(NamedTuple):
    """An archive cut into shards, and how many members are no items."""

    slices: tuple[Slice, ...]
    not_items: int


def can_walk(file: BinaryIO, path: str) -> bool:
    """Whether the headers can be walked without reading the data: a plain file on this machine."""
    packed = file.read(BLOCK_BYTES)
    file.seek(0)
    return is_local(path) and is_header(packed)


def slices(file: BinaryIO, path: str, options: SourceOptions) -> Walked:
    """Cut an archive into shards by walking its headers.

    Side files stay with their image unless a key has very many images.
    """
    reader = _Reader(file, path, options)
    cut: list[Slice] = []
    first_row = rows = not_items = start_bytes = 0
    key = b""
    with reading(path):
        for member in reader.members():
            full = rows >= options.shard_rows_max
            if full and (key_of(member.name) != key or rows >= 2 * options.shard_rows_max):
                cut.append(Slice(first_row, rows, start_bytes, member.offset_bytes - start_bytes))
                first_row, rows, start_bytes = first_row + rows, 0, member.offset_bytes
            rows += member.is_item
            not_items += not member.is_item
            key = key_of(member.name)
    cut.append(Slice(first_row, rows, start_bytes, -1))
    return Walked(tuple(cut), not_items)


def shard_members(file: SourceFile, shard: ShardSpec, options: SourceOptions) -> Iterator[tuple[Member, _Reader]]:
    """The members of a shard, each with the reader that can read its data.

    Raises SourceError if the items are other than planned.
    """
    rows = 0
    with planned(file) as opened, reading(file.path):
        reader = _Reader(unpacked(opened, file.path, options), file.path, options)
        if shard.offset_bytes:
            reader.start_at(shard.offset_bytes)
        for member in reader.members(-1 if shard.size_bytes < 0 else shard.offset_bytes + shard.size_bytes):
            rows += member.is_item
            if shard.stops_short and rows > shard.rows:
                return
            yield member, reader
    if shard.rows >= 0 and rows != shard.rows:
        raise SourceError(f"{shown(file.path)}: {rows} images could be read of {shard.rows} from {shard.first_row}")


def images(plan: Plan, shard: ShardSpec) -> Iterator[ImageItem]:
    """The images of a shard, in the order of the archive."""
    row = 0
    for member, reader in shard_members(plan.files[shard.file], shard, plan.options):
        if member.is_item:
            yield ImageItem(row, _content(member, reader, plan.options.body_bytes_max))
            row += 1
    if not row:  # only an archive that could not be counted beforehand gets here
        raise SourceError(f"{shown(plan.files[shard.file].path)} holds no image")


def _content(member: Member, reader: _Reader, body_bytes_max: int) -> Content | Reason:
    if member.sparse:  # its data is a map with pieces, not the image; nothing writes images so
        return Reason.READ_ERROR
    if not member.size_bytes:
        return Reason.EMPTY
    return Reason.TOO_LARGE if member.size_bytes > body_bytes_max else Content(reader.rest(member))
