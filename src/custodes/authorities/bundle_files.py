"""A publisher's files, as TUF's client asks for them: from the web, or from a folder that was carried here.

Names are relative to the publisher's ``public``. From the web: one origin, guarded as every call to an authority is (``calls``), each file
bounded by what its metadata allows and by a least speed. Which file to ask for, and whether to believe it, is for TUF's client.
"""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Final

import msgspec
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from custodes.errors import AuthorityError
from custodes.services.calls import Caller, RefusedError

__all__ = ["BundleFiles", "FolderFiles", "WebFiles"]

_NAME: Final = re.compile(r"(?:metadata|targets)(?:/[0-9a-z_-][0-9a-z._-]*)+")
_CHUNK_BYTES: Final = 1 << 20
_ABSENT: Final = 404


class BundleFiles(FetcherInterface):
    """Asks for files by name, and for no more than the bytes that a file may have."""

    _size_bytes_max = 0

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """The file in a temporary one. It is sealed, or metadata: no secret."""
        self._size_bytes_max = max_length
        with super().download_file(url, max_length) as file:
            yield file

    def _fetch(self, url: str) -> Iterator[bytes]:
        if not _NAME.fullmatch(url):
            raise AuthorityError("the publisher's metadata name a file that cannot be asked for")
        yield from self.parts(url, self._size_bytes_max)

    def parts(self, name: str, size_bytes_max: int) -> Iterator[bytes]:
        """The bytes of a file, of which no more than ``size_bytes_max`` and one part are wanted. Raises DownloadHTTPError, AuthorityError."""
        raise NotImplementedError


class FolderFiles(BundleFiles):
    """Files in a folder: a copy of the publisher's ``public``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def parts(self, name: str, size_bytes_max: int) -> Iterator[bytes]:
        """See BundleFiles."""
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{name} is not there", _ABSENT) from error
        except OSError as error:
            raise AuthorityError(f"cannot read {name} in {self._folder}: {error.strerror}") from error
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise AuthorityError(f"{name} in {self._folder} is not a regular file")
            while part := file.read(min(_CHUNK_BYTES, size_bytes_max + 1)):
                yield part


class WebFiles(BundleFiles):
    """Files below an address."""

    def __init__(self, caller: Caller, bytes_per_s_min: int) -> None:
        self._caller = caller
        self._bytes_per_s_min = bytes_per_s_min

    def parts(self, name: str, size_bytes_max: int) -> Iterator[bytes]:
        """See BundleFiles."""
        yield asyncio.run(self._get(f"/{name}", size_bytes_max))  # TUF's client is synchronous, in a thread of its own

    async def _get(self, path: str, size_bytes_max: int) -> bytes:
        limits = self._caller.limits
        timeout_s = limits.timeout_s + size_bytes_max / self._bytes_per_s_min
        bounded = msgspec.structs.replace(limits, body_bytes_max=max(1, size_bytes_max), timeout_s=timeout_s)
        caller = replace(self._caller, limits=bounded)
        try:
            return (await caller.get(path)).body
        except RefusedError as error:
            raise DownloadHTTPError(str(error), error.status) from error
        finally:
            await caller.close()
