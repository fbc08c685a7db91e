"""Finds and opens the files of a source: local, http(s), s3 or gs through fsspec, plain or gzip, and turns every foreign
error into a ``SourceError``.

Local files are opened without following what is no regular file (a fifo would hang a scan, a device could do worse),
and nothing is ever opened for writing. It knows nothing of formats; whoever reads says what the bytes mean.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import fsspec
import pyarrow as pa
from fsspec.core import url_to_fs

from custodes.errors import SourceError
from custodes.sources.base import SourceFile, SourceOptions

__all__ = [
    "GZIP_MAGIC",
    "check_name",
    "exists",
    "find",
    "is_local",
    "open_file",
    "planned",
    "read_exactly",
    "reading",
    "shown",
    "size_of",
    "skip",
    "source_file",
    "unpacked",
]

GZIP_MAGIC: Final = b"\x1f\x8b"
_PROTOCOLS: Final = ("file", "http", "https", "s3", "gs")
_FINGERPRINT_BYTES: Final = 1 << 20
_RATIO_FREE_BYTES: Final = 16 << 20
_BLOCK_BYTES: Final = 1 << 20
_GLOB = re.compile(r"[*?\[]")


def _protocol(path: str) -> str:
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    return match.group(1).lower() if match else "file"


def is_local(path: str) -> bool:
    """Whether the path lies in this machine's file system."""
    return _protocol(path) == "file"


def _local(path: str) -> Path:
    return Path(path.removeprefix("file://"))


def shown(path: str) -> str:
    """The path as an error may show it: no credentials, no query (a presigned one is a credential), no control
    characters.
    """
    bare = path if is_local(path) else re.sub(r"[?#].*", "", re.sub(r"//[^/]*@", "//", path), flags=re.DOTALL)
    text = "".join(c if c.isprintable() else "?" for c in bare)
    return text if len(text) <= 300 else text[:300] + "…"


def _foreign() -> tuple[type[BaseException], ...]:
    """What the readers below us raise. They are only there when http, s3 or gs is used, and slow to import."""
    known = (OSError, EOFError, ValueError, zlib.error, pa.ArrowException)
    http, boto, google = (sys.modules.get(each) for each in ("aiohttp", "botocore.exceptions", "gcsfs.retry"))
    return (
        *known,
        *((http.ClientError,) if http else ()),
        *((boto.BotoCoreError, boto.ClientError) if boto else ()),
        *((google.HttpError,) if google else ()),
    )


REMOTE_HINT: Final = "is the address right, and can it be reached? Parquet and tar need a server that answers range requests; else download the file first"


@contextmanager
def reading(path: str, where: str = "") -> Iterator[None]:
    """Translate what libraries raise while reading ``path`` into a SourceError.

    Their texts are dropped: they may quote the data.
    """
    try:
        yield
    except _foreign() as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
        hint = None if is_local(path) else REMOTE_HINT
        raise SourceError(f"{shown(path)}{where} cannot be read: {reason}", hint=hint) from None


def find(source: str) -> list[str]:
    """The files that a path, folder or pattern names, sorted; a single file or link is itself. Raises SourceError when
    there is none.

    In a folder, links are followed only to files inside it: what a data set's author put there must not lead the scan
    about the machine.
    """
    if _protocol(source) not in _PROTOCOLS or "::" in source:
        raise SourceError(f"{shown(source)} is no source", hint=f"give a path, or one of {', '.join(_PROTOCOLS)}://")
    if not is_local(source) and "@" in source.partition("://")[2].partition("/")[0]:
        raise SourceError(
            f"{shown(source)} was given with a password", hint="plans keep their sources: use a netrc file or a role"
        )
    paths = _find_local(_local(source)) if is_local(source) else _find_remote(source)
    if not paths:
        raise SourceError(
            f"{shown(source)} holds no file",
            hint="links that lead out of a folder are not followed; name their files with a pattern",
        )
    return paths


def check_name(path: str) -> None:
    """Raise SourceError for a path that no plan can hold: os.fsdecode keeps bytes that are no UTF-8 as lone
    surrogates.
    """
    if any("\ud800" <= character <= "\udfff" for character in path):
        raise SourceError(f"{shown(path)}: its name is not UTF-8", hint="rename it")


def _find_local(path: Path) -> list[str]:
    with reading(str(path)):
        if path.is_dir():
            return sorted(_walk(path.absolute()))
        if path.exists():
            return [str(path.absolute())]
        if _GLOB.search(str(path)):
            matched = fsspec.filesystem("file").glob(str(path.absolute()))
            return sorted(found for found in matched if Path(found).is_file())
    raise SourceError(f"{shown(str(path))} does not exist")


def _walk(root: Path) -> Iterator[str]:
    inside = root.resolve()
    for folder, _, names in os.walk(root):
        for path in (Path(folder, name) for name in names):
            if path.is_file() and (not path.is_symlink() or path.resolve().is_relative_to(inside)):
                yield str(path)


def _find_remote(source: str) -> list[str]:
    with reading(source):
        try:
            system, path = url_to_fs(source)
        except ImportError:
            raise SourceError(
                f"{shown(source)} needs a package that is not installed", hint=f"install custodes[{_protocol(source)}]"
            ) from None
        if _protocol(source) in {"http", "https"}:
            return [source]
        found = system.glob(path) if _GLOB.search(path) else system.find(path)
        return sorted(str(system.unstrip_protocol(name)) for name in found)


def exists(path: str) -> bool:
    """Whether there is a file of that name."""
    if is_local(path):
        return _local(path).is_file()
    with reading(path):
        system, inner = url_to_fs(path)
        return bool(system.exists(inner))


def open_file(path: str) -> BinaryIO:
    """Open a file for reading at random. Raises SourceError for what is no regular file or has no known size."""
    with reading(path):
        return _open_local(path) if is_local(path) else _open_remote(path)


def _open_local(path: str) -> BinaryIO:
    # O_NONBLOCK: opening a fifo must not wait for a writer; it changes nothing for regular files
    descriptor = os.open(_local(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SourceError(f"{shown(path)} is no regular file")
    return os.fdopen(descriptor, "rb")


def _open_remote(path: str) -> BinaryIO:
    system, inner = url_to_fs(path)
    file = cast(Any, system.open(inner, "rb", block_size=_BLOCK_BYTES))
    if not isinstance(getattr(file, "size", None), int):
        raise SourceError(f"{shown(path)}: the server gives no size or no ranges", hint="copy the file here first")
    return cast(BinaryIO, io.BufferedReader(file, _BLOCK_BYTES))


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file; its position is left at the start."""
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size_bytes


def source_file(path: str) -> SourceFile:
    """The file with its size and fingerprint: SHA-256 over the size and the first and last MiB."""
    check_name(path)
    with open_file(path) as file, reading(path):
        size_bytes = size_of(file)
        digest = hashlib.sha256(f"{size_bytes}\n".encode())
        digest.update(file.read(_FINGERPRINT_BYTES))
        file.seek(max(0, size_bytes - _FINGERPRINT_BYTES))
        digest.update(file.read(_FINGERPRINT_BYTES))
    return SourceFile(path=path, size_bytes=size_bytes, fingerprint=digest.hexdigest())


@contextmanager
def planned(file: SourceFile) -> Iterator[BinaryIO]:
    """Open a file of a plan. Raises SourceError if it is no longer the size that was planned."""
    with open_file(file.path) as opened, reading(file.path):
        if size_of(opened) != file.size_bytes:
            raise SourceError(f"{shown(file.path)} changed since the scan was planned", hint="plan the scan anew")
        yield opened


class _Unpacked(io.RawIOBase):
    """The inside of a gzip file, with caps on how much comes out of it."""

    def __init__(self, file: BinaryIO, path: str, options: SourceOptions) -> None:
        packed_bytes = size_of(file)
        self._inner = gzip.GzipFile(fileobj=file, mode="rb")
        self._path = path
        self._left = min(options.unpacked_bytes_max, packed_bytes * options.unpack_ratio_max + _RATIO_FREE_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self._inner.read(len(view))
        self._left -= len(data)
        if self._left < 0:
            raise SourceError(f"{shown(self._path)} unpacks to more than is allowed", hint="see unpack_ratio_max")
        view[: len(data)] = data
        return len(data)


def unpacked(file: BinaryIO, path: str, options: SourceOptions) -> BinaryIO:
    """The file itself, or the inside of it if it is gzip (RFC 1952).

    One layer only. The result of an unpacked gzip cannot seek.
    """
    packed = file.read(2) == GZIP_MAGIC
    file.seek(0)
    if not packed:
        return file
    inside = io.BufferedReader(_Unpacked(file, path, options), _BLOCK_BYTES)
    if inside.peek(2)[:2] == GZIP_MAGIC:
        raise SourceError(f"{shown(path)} is compressed more than once", hint="unpack it once")
    return cast(BinaryIO, inside)


def read_exactly(file: BinaryIO, size_bytes: int, path: str) -> bytes:
    """The next ``size_bytes`` bytes, or SourceError if the file ends before."""
    data = file.read(size_bytes)
    if len(data) != size_bytes:
        raise SourceError(f"{shown(path)} is truncated")
    return data


def skip(file: BinaryIO, size_bytes: int, path: str) -> None:
    """Pass over bytes by reading them; for what cannot seek."""
    while size_bytes:
        data = file.read(min(size_bytes, _BLOCK_BYTES))
        if not data:
            raise SourceError(f"{shown(path)} is truncated")
        size_bytes -= len(data)
