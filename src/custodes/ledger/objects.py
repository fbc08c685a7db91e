"""A run in an object store: S3 and what speaks it, Google Cloud Storage, and memory for tests.

Promises of ``ledger.store``, by the store's own condition on a write (``If-None-Match: *``, ``ifGenerationMatch=0``): the first of two writers wins, and an
answer that was lost is found out by reading back. A store that ignores the condition is noticed before anything is written. Requests are tried again so many
times with growing waits, and not for ever. Nothing is written to this machine's disk. Foreign texts are dropped: they may hold addresses and keys.
"""

from __future__ import annotations

import random
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Final, TypeVar

import pyarrow as pa
from fsspec.core import url_to_fs

from custodes.errors import ConfigError, InputError, StorageError

__all__ = ["Objects"]

PART_BYTES: Final = 64 << 20
"""Twice as much and more is uploaded in parts of so many bytes. No shard file, and so no done-mark, is as large."""

READERS: Final = 32
TIMEOUT_S: Final = 15.0
TRIES: Final = 4
FIRST_WAIT_S: Final = 0.2
REQUEST_TRIES: Final = 5
"""Of each request within a try, as botocore makes them: so that a part of a large upload is sent again, and not all parts."""

MARK: Final = ".first-wins"
PACKAGES: Final = {"s3": "custodes[s3]", "gs": "custodes[gs]", "memory": ""}
"""Kinds of addresses whose stores decide themselves who was first. Others of fsspec look first and write then, which decides nothing."""

HINT: Final = "start the same command again: it goes on where it stopped"
REFUSED_HINT: Final = "give this process credentials that may read, write, list and delete there"
_FOREIGN: Final = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
}

T = TypeVar("T")


class Objects:
    """A store below an address of an object store."""

    readers = READERS
    locks = False

    def __init__(self, system: Any, root: str, address: str, part_bytes: int = PART_BYTES) -> None:
        self._system = system
        self._root = root
        self._address = address
        self._part_bytes = part_bytes

    @classmethod
    def of(cls, address: str, timeout_s: float = TIMEOUT_S) -> Objects:
        """The store at an address. Raises InputError for one that cannot be used, ConfigError where its package is not installed."""
        protocol, _, rest = address.partition("://")
        if protocol not in PACKAGES or "::" in address:
            raise InputError(
                "a run cannot lie at an address of this kind",
                hint=f"give a path, or an address that begins with {', '.join(f'{each}://' for each in PACKAGES)}",
            )
        if "?" in rest or "#" in rest or "@" in rest.partition("/")[0] or not address.isprintable():
            raise InputError(
                "the address of a run holds more than a bucket and a path",
                hint="credentials belong into the environment, a profile or a role",
            )
        address = address.rstrip("/")
        try:
            system, root = url_to_fs(address, use_listings_cache=False, **_options(protocol, timeout_s))
        except ImportError:
            raise ConfigError(
                f"{protocol}:// needs a package that is not installed", hint=f"install {PACKAGES[protocol]}"
            ) from None
        if protocol == "s3":
            system.retries = 1
        return cls(system, root, address)

    @property
    def shown(self) -> str:
        """The address. It holds no secret: one that did was refused."""
        return self._address

    def at(self, name: str = "") -> str:
        """The address, or that of a name."""
        return f"{self._address}/{name}" if name else self._address

    def inner(self, folder: str) -> Objects:
        """What lies below a name."""
        return Objects(self._system, self._path(folder), self.at(folder), self._part_bytes)

    def begin(self) -> None:
        """Try whether the first writer wins. Raises StorageError where the second does."""
        if [self.publish(MARK, secrets.token_bytes(16)) for _ in range(2)][1]:
            raise StorageError(
                f"{self.shown} lies in a store that writes over what is there, even when it is told not to",
                hint="use a store that honours conditional writes (If-None-Match: *), or a folder",
            )

    def hold(self, *, shared: bool = False) -> ExitStack:  # noqa: ARG002 - as the protocol has it
        """Nothing: who was first is decided at each write."""
        return ExitStack()

    def publish(self, name: str, data: bytes) -> bool:
        """Put, unless there is an object of that name. True if it is there now with these bytes: an answer may have been lost."""
        try:
            self._write(name, data, "create")
        except FileExistsError:
            return self.read(name) == data
        except StorageError:
            with suppress(FileNotFoundError, StorageError):
                return self.read(name) == data
            raise
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Put over what is there."""
        self._write(name, data, "overwrite")

    def read(self, name: str) -> bytes:
        """Get all of it, in one request."""
        return self._read(name, 0)

    def tail(self, name: str, count: int) -> bytes:
        """Get its end, in one request."""
        return self._read(name, -count)

    def opened(self, name: str) -> pa.NativeFile:
        """All of it, in memory."""
        return pa.BufferReader(self.read(name))

    def remove(self, name: str) -> None:
        """Delete it, if it is there."""
        with suppress(FileNotFoundError):
            self._tried("deleted", name, lambda: self._system.rm_file(self._path(name)), FileNotFoundError)

    def clear(self, folder: str) -> None:
        """Delete all that a listing shows below a name."""
        with suppress(FileNotFoundError):
            self._tried(
                "deleted", folder, lambda: self._system.rm(self._path(folder), recursive=True), FileNotFoundError
            )

    def names(self, folder: str = "") -> list[str]:
        """One level of a listing."""
        path = self._path(folder)
        try:
            found = self._tried("listed", folder, lambda: self._system.ls(path, detail=False), FileNotFoundError)
        except FileNotFoundError:
            return []
        names = {each.rstrip("/").rpartition("/")[2] for each in found if each.strip("/") != path.strip("/")}
        return sorted(name for name in names if name and not name.startswith("."))

    def tidy(self) -> int:
        """Nothing: an object is there whole, or not at all."""
        return 0

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _read(self, name: str, start: int) -> bytes:
        read = self._system.cat_file
        return bytes(
            self._tried("read", name, lambda: read(self._path(name), start=start, end=None), FileNotFoundError)
        )

    def _write(self, name: str, data: bytes, mode: str) -> None:
        path, parts = self._path(name), self._part_bytes
        self._tried(
            "written", name, lambda: self._system.pipe_file(path, data, mode=mode, chunksize=parts), FileExistsError
        )

    def _tried(self, done: str, name: str, action: Callable[[], T], answer: type[OSError]) -> T:
        """Do it, a few times if need be. ``answer``: the error that is an answer, and no trouble."""
        for left in reversed(range(TRIES)):
            try:
                return action()
            except _foreign() as error:
                if isinstance(error, answer) or (answer is FileExistsError and _is_taken(error)):
                    raise answer(name) from None
                refused = isinstance(error, PermissionError)
                if refused or not left:
                    why = "the store refuses it" if refused else f"the store gave no good answer: {_sort_of(error)}"
                    hint = REFUSED_HINT if refused else HINT
                    raise StorageError(f"{self.at(name)} could not be {done}: {why}", hint=hint) from None
            time.sleep(FIRST_WAIT_S * 2 ** (TRIES - 1 - left) * random.uniform(0.5, 1))  # noqa: S311 - spreads a fleet
        raise AssertionError


def _options(protocol: str, timeout_s: float) -> dict[str, Any]:
    if protocol != "s3":
        return {}
    retries = {"mode": "standard", "total_max_attempts": REQUEST_TRIES}
    return {"config_kwargs": {"retries": retries, "max_pool_connections": READERS, "read_timeout": timeout_s}}


def _foreign() -> tuple[type[BaseException], ...]:
    """What the packages below raise. Each is there only when its store is used."""
    there = [
        getattr(sys.modules[module], name)
        for module, names in _FOREIGN.items()
        if module in sys.modules
        for name in names
    ]
    return (OSError, ValueError, *there)


def _is_taken(error: BaseException) -> bool:
    """Whether the condition on a write did not hold. Not every server names it as s3fs expects; all say 412."""
    response = getattr(error.__cause__ or error, "response", None)
    return isinstance(response, dict) and response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 412


def _sort_of(error: BaseException) -> str:
    """An error as it may be shown: its class, and what sort of failure the server named."""
    response = getattr(error.__cause__ or error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return code if isinstance(code, str) and code.isalnum() else type(error).__name__
