"""Where a run lies: a folder, or a place in an object store. What is asked of either, and the folder.

Promises of every store: what is published is whole and survives a crash, or is not there; of two writers of a name the first wins and both are told. No
rename and no listing is needed for that. Names are paths with ``/``. What is in them is for ``ledger.run``.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from custodes.errors import InputError
from custodes.ledger.disk import Disk, translated
from custodes.ledger.objects import Objects

__all__ = ["Folder", "Place", "Store", "Stored", "store_at", "together"]

Place = str | Path
"""As a user names it: a path, or an address as ``s3://bucket/prefix``."""

A = TypeVar("A")
B = TypeVar("B")


class Store(Protocol):
    """Named bytes below one place. Reading raises FileNotFoundError for what is not there; everything raises StorageError where the place fails."""

    readers: int
    """Reads that pay to be under way at once."""

    locks: bool
    """Whether ``hold`` keeps others out."""

    @property
    def shown(self) -> str:
        """The place, as errors and reports may show it."""
        ...

    def at(self, name: str = "") -> str:
        """The place, or a name in it, as another process opens it."""
        ...

    def inner(self, folder: str) -> Store:
        """What lies below a name, as a store."""
        ...

    def begin(self) -> None:
        """Make it ready to be written to. Raises StorageError for a place that would not keep the promises."""
        ...

    def hold(self, *, shared: bool = False) -> ExitStack:
        """Keep other coordinators out, where that can be had, until the answer is closed; ``shared``: but for those who share. Raises InputError."""
        ...

    def publish(self, name: str, data: bytes) -> bool:
        """Write, unless the name is taken. False, changing nothing, if it is taken by other bytes, or was there before in a folder."""
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Write over what is there: only what can be made again."""
        ...

    def read(self, name: str) -> bytes:
        """All of it."""
        ...

    def tail(self, name: str, count: int) -> bytes:
        """The last so many bytes, or all of it if it has fewer."""
        ...

    def opened(self, name: str) -> pa.NativeFile:
        """To be read here and there by Arrow. Of an object all bytes come at once: those of a run are small, and one request is sooner answered than five."""
        ...

    def remove(self, name: str) -> None:
        """Remove it, if it is there."""
        ...

    def clear(self, folder: str) -> None:
        """Remove all that lies below a name."""
        ...

    def names(self, folder: str = "") -> list[str]:
        """What stands directly below a name, sorted, less what begins with a dot. Never asked for what must not be missed in a store that lists late."""
        ...

    def tidy(self) -> int:
        """Remove what writes left that a crash cut short, and say how much. Called by who holds the lock."""
        ...


@dataclass(frozen=True)
class Stored:
    """A file of a run."""

    store: Store
    name: str

    def read_bytes(self) -> bytes:
        """All of it."""
        return self.store.read(self.name)


def store_at(place: Place) -> Store:
    """The store that a path or an address names. Raises InputError for an address of no kind that keeps the promises."""
    protocol, separator, rest = str(place).partition("://") if isinstance(place, str) else ("", "", "")
    if not separator:
        return Folder(Path(place))
    return Folder(Path(rest)) if protocol == "file" else Objects.of(place)  # type: ignore[arg-type]


def together(store: Store, work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """``map``, in order, with as many under way at once as the store is quickest with. What is given is not taken far ahead."""
    if store.readers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(store.readers) as pool, closing(_Ahead(pool)) as ahead:
        for item in items:
            ahead.waiting.append(pool.submit(work, item))
            if len(ahead.waiting) >= 4 * store.readers:
                yield ahead.waiting.popleft().result()
        while ahead.waiting:
            yield ahead.waiting.popleft().result()


class _Ahead:
    """Reads under way. Closed early, those that did not begin never do."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self.waiting: deque[Future[Any]] = deque()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Folder:
    """A store in this machine's file system (or one that it shares: hard links and flock must work there)."""

    readers = 1
    locks = True

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.path = path
        self._disk = disk or Disk()
        self._alone = True

    @property
    def shown(self) -> str:
        """The path, as it was given."""
        return str(self.path)

    def at(self, name: str = "") -> str:
        """An absolute path."""
        return str(self.path.resolve() / name)

    def inner(self, folder: str) -> Folder:
        """A folder in it."""
        return Folder(self.path / folder, self._disk)

    def begin(self) -> None:
        """Make the folder, parents included, durably."""
        self._disk.make_directory(self.path)

    def hold(self, *, shared: bool = False) -> ExitStack:
        """Lock ``.lock`` in it, for one process, or for all who share it."""
        with translated(self.path):
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise InputError(
                f"{self.path} is in use by another custodes process", hint="wait for it to end, or stop it"
            ) from error
        self._alone = not shared
        held = ExitStack()
        held.callback(os.close, descriptor)
        return held

    def publish(self, name: str, data: bytes) -> bool:
        """Write aside, sync, link to its name, sync the folder."""
        path = self.path / name
        self._disk.make_directory(path.parent)
        return self._disk.publish(path, data)

    def replace(self, name: str, data: bytes) -> None:
        """Write aside and rename. Nothing is synced: it can be made again."""
        path = self.path / name
        aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        with translated(path):
            aside.write_bytes(data)
            aside.replace(path)

    def read(self, name: str) -> bytes:
        """All of a file."""
        return (self.path / name).read_bytes()

    def tail(self, name: str, count: int) -> bytes:
        """The end of a file."""
        with open(self.path / name, "rb", buffering=0) as file:  # noqa: PTH123 - a tenth of the time of reading a record
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), count, max(0, size - count))

    def opened(self, name: str) -> pa.NativeFile:
        """The file."""
        return pa.OSFile(str(self.path / name))

    def remove(self, name: str) -> None:
        """Unlink a file."""
        with translated(self.path / name):
            (self.path / name).unlink(missing_ok=True)

    def clear(self, folder: str) -> None:
        """Remove a folder."""
        with translated(self.path / folder), suppress(FileNotFoundError):
            shutil.rmtree(self.path / folder)

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder; none of one that is not there."""
        try:
            with os.scandir(self.path / folder) as entries:
                return sorted(entry.name for entry in entries if not entry.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def tidy(self) -> int:
        """Remove files that were written aside and never named; none where others share the lock, who may be writing them."""
        if not self._alone:
            return 0
        left = [path for kind in ("findings", "vectors", "shards") for path in (self.path / kind).glob("*/.*.tmp")]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)
