"""Index files: named arrays, little-endian, each with its digest. Nothing in them is executed, and no part of a damaged one is used.

The layout is in docs/formats/index-file.md. A file is replaced whole, never altered, so that a mapped one stays what it was. Digests tell damage, not
forgery: whoever can write the file can write its digests. An index holds the codes of a list as they are; keep its file where the list may be kept.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.errors import InputError, StorageError

__all__ = ["Array", "read_index", "unsound", "write_index"]

Array = npt.NDArray[np.generic]

MAGIC: Final = b"custidx1"
_ALIGNMENT: Final = 64
_HEAD_MAX: Final = 65_536
_TYPES: Final = {"uint8": "|u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "int64": "<i8"}


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    type: str
    shape: tuple[int, ...]
    offset: int  # from the start of the file
    sha256: str


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    size_bytes: int  # of the whole file
    sections: tuple[_Section, ...]


def write_index(target: Path | BinaryIO, kind: str, arrays: Mapping[str, Array]) -> None:
    """Write the arrays: aside, synced and then named, or into an open file as it is. Raises StorageError where the disk refuses."""
    plain = {name: np.ascontiguousarray(array, dtype=_TYPES[array.dtype.name]) for name, array in arrays.items()}
    if not isinstance(target, Path):
        _write(target, kind, plain)
        return
    aside = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            with open(aside, "xb", opener=_private) as file:
                _write(file, kind, plain)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"could not write {target}: {error.strerror or error}") from error


def _write(file: BinaryIO, kind: str, arrays: Mapping[str, Array]) -> None:
    head = _head(kind, arrays)
    file.write(head)
    at = len(head)
    for array in arrays.values():
        file.write(bytes(-at % _ALIGNMENT))
        file.write(_content(array))
        at += -at % _ALIGNMENT + array.nbytes


def read_index(source: Path | BinaryIO, kind: str, *, mapped: bool) -> dict[str, Array]:
    """The arrays of an index of this kind, read-only: mapped from the file, or read into memory. Raises InputError where anything is not as it was
    written.
    """
    name = str(source) if isinstance(source, Path) else "the index"
    try:
        data = _bytes_of(source, mapped=mapped)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None
    head = _parsed(data, kind, name)
    arrays = {section.name: _array(data, section, name) for section in head.sections}
    with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
        digests = dict(zip(arrays, pool.map(_digest, arrays.values()), strict=True))
    if any(digests[section.name] != section.sha256 for section in head.sections):
        raise _damaged(name)
    return arrays


def unsound() -> InputError:
    """Of arrays that are each as they were written, and do not belong together: a kernel would follow them out of bounds."""
    return InputError("the index file holds arrays that do not belong together", hint="make it again from the list")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _digest(array: Array) -> str:
    return hashlib.sha256(_content(array)).hexdigest()


def _content(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _head(kind: str, arrays: Mapping[str, Array]) -> bytes:
    """Magic, length of the JSON text (4 bytes), SHA-256 of the JSON text, the JSON text. Its length depends on offsets that depend on it: it is padded."""
    room = 4096
    sections, offset = [], room
    for name, array in arrays.items():
        offset += -offset % _ALIGNMENT
        sections.append(_Section(name, array.dtype.name, array.shape, offset, _digest(array)))
        offset += array.nbytes
    text = msgspec.json.encode(_Head(kind, offset, tuple(sections)))
    text = text.ljust(room - len(MAGIC) - 4 - 32)
    assert len(MAGIC) + 4 + 32 + len(text) == room
    return MAGIC + len(text).to_bytes(4, "little") + hashlib.sha256(text).digest() + text


def _bytes_of(source: Path | BinaryIO, *, mapped: bool) -> npt.NDArray[np.uint8]:
    if not isinstance(source, Path):
        return np.frombuffer(source.read(), dtype=np.uint8)
    if not mapped:
        return np.fromfile(source, dtype=np.uint8)
    return np.asarray(np.memmap(source, dtype=np.uint8, mode="r")) if source.stat().st_size else np.empty(0, np.uint8)


def _parsed(data: npt.NDArray[np.uint8], kind: str, name: str) -> _Head:
    start = len(MAGIC) + 4 + 32
    first = data[: start + _HEAD_MAX].tobytes()
    if first[: len(MAGIC)] != MAGIC:
        raise InputError(f"{name} is not an index file of custodes", hint="it begins with other bytes; was it cut?")
    text = first[start : start + int.from_bytes(first[len(MAGIC) : start - 32], "little")]
    if hashlib.sha256(text).digest() != first[start - 32 : start]:
        raise _damaged(name)
    try:
        head = msgspec.json.decode(text, type=_Head)
    except msgspec.MsgspecError:
        raise _damaged(name) from None
    if head.kind != kind:
        raise InputError(f"{name} is an index of kind {head.kind!r}, not {kind!r}")
    if head.size_bytes != len(data):
        raise InputError(
            f"{name} has {len(data):,} bytes instead of {head.size_bytes:,}",
            hint="it was cut or extended; make it again",
        )
    return head


def _array(data: npt.NDArray[np.uint8], section: _Section, name: str) -> Array:
    if section.type not in _TYPES or any(side < 0 for side in section.shape) or section.offset < 0:
        raise _damaged(name)
    dtype = np.dtype(_TYPES[section.type])
    count = int(np.prod(section.shape, dtype=object))
    if section.offset % dtype.itemsize or section.offset + count * dtype.itemsize > len(data):
        raise _damaged(name)
    array = data[section.offset : section.offset + count * dtype.itemsize].view(dtype).reshape(section.shape)
    array.flags.writeable = False
    return array


def _damaged(name: str) -> InputError:
    return InputError(f"{name} is damaged: its digests do not fit its content", hint="make it again from the list")
