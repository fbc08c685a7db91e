"""Where hash lists are kept: encrypted, in versions that never change, with one of them current.

A version is written aside, made durable and switched to in one step; a stopped import leaves the version before it in
force. A list is loaded whole, from a file whose name, place, digest and every byte were checked, or not at all. What
is read and how an entry matches is for others; nothing here tells a value.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from custodes.crypto.keys import ListsKey
from custodes.crypto.vault import lock, unlock_buffer
from custodes.errors import InputError, ListError, StorageError
from custodes.lists.container import ROLES, Contents, ListHeader, Provenance, collect, decode, encode
from custodes.model import Entry, Kind, Role

__all__ = ["ImportReport", "ListStore", "ListSummary", "LoadedList", "LoadedLists", "Provenance", "loaded_list"]

_LIST_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_VERSION: Final = re.compile(r"([1-9][0-9]{0,9})-[0-9a-f]{12}")
_SUFFIX: Final = ".list"
_CURRENT: Final = "current"


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. Counts only."""

    list: str
    version: str
    records: int  # entries given
    entries: dict[Kind, int]  # entries kept, by kind
    skipped: int  # entries equal in everything to an earlier one
    roles: dict[Role, int]


class ListSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a list without its values."""

    list: str
    version: str
    created: str
    provenance: Provenance
    entries: dict[Kind, int]
    roles: dict[Role, int]
    categories: dict[str, int]


@dataclass(frozen=True, slots=True, repr=False)
class LoadedList:
    """One list in memory."""

    id: str
    version: str
    contents: Contents

    def __repr__(self) -> str:
        return f"<LoadedList {self.id} {self.version} {len(self.contents)} entries>"


@dataclass(frozen=True, slots=True)
class LoadedLists:
    """The lists that a scan uses, by id."""

    lists: tuple[LoadedList, ...]

    @property
    def versions(self) -> dict[str, str]:
        """List id -> version."""
        return {loaded.id: loaded.version for loaded in self.lists}

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of which any list has an entry, in the order of :class:`Kind`."""
        return tuple(kind for kind in Kind if any(kind in loaded.contents.kinds for loaded in self.lists))


def loaded_list(list_id: str, version: str, plaintext: bytearray | memoryview) -> LoadedList:
    """A list from what ``ListStore.plaintext`` gave: its arrays are views of it."""
    return LoadedList(list_id, version, decode(plaintext)[1])


class ListStore:
    """The folder of an operator's lists: ``<list id>/<version>.list`` and ``<list id>/current``."""

    def __init__(self, directory: Path, key: ListsKey) -> None:
        self._directory = directory
        self._key = key

    def import_entries(self, list_id: str, entries: Iterable[Entry], provenance: Provenance) -> ImportReport:
        """Make these entries the whole of the list, as a new version. What is not among them no longer matches.

        If ``entries`` raises, or there are none, nothing has changed.
        """
        folder = self._folder(list_id)
        contents, given = collect(entries)
        with _locked(self._directory):
            _make_folder(folder)
            header = ListHeader(
                list=list_id,
                sequence=1 + max((_sequence(path.stem) for path in _versions(folder)), default=0),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                provenance=provenance,
            )
            version = self._write(folder, header, contents)
            _replace(folder / _CURRENT, f"{version}\n".encode())
        kinds, roles, _ = _counts(contents)
        kept = sum(kinds.values())
        return ImportReport(
            list=list_id, version=version, records=given, entries=kinds, skipped=given - kept, roles=roles
        )

    def ids(self) -> list[str]:
        """The ids of all lists, sorted."""
        if not self._directory.is_dir():
            return []
        return sorted(path.parent.name for path in self._directory.glob(f"*/{_CURRENT}"))

    def show(self, list_ids: Collection[str] | None = None) -> list[ListSummary]:
        """Counts of the lists named, or of all; of none when there is none."""
        return [self._summary(list_id) for list_id in self._known(self.ids() if list_ids is None else list_ids)]

    def current(self, list_ids: Collection[str] | None = None) -> dict[str, str]:
        """List id -> current version, of the lists named or of all. ListError when one is unknown, or there is none."""
        known = self._known(self.ids() if list_ids is None else list_ids)
        if not known:
            raise self._none()
        return {list_id: self._current(list_id) for list_id in known}

    def load(self, versions: Mapping[str, str] | None = None) -> LoadedLists:
        """These versions of lists, or the current ones of all.

        ListError when one is unknown or damaged, or there is none.
        """
        wanted = self.current() if versions is None else versions
        if not wanted:
            raise self._none()
        return LoadedLists(tuple(self._load(list_id, version)[1] for list_id, version in sorted(wanted.items())))

    def plaintext(self, list_id: str, version: str) -> bytearray:
        """A version as ``loaded_list`` reads it: decrypted, and what its name says."""
        plaintext = self._decrypted(list_id, version)
        self._checked(list_id, version, plaintext)
        return plaintext

    def remove(self, list_id: str) -> None:
        """Delete a list in all its versions."""
        self._known([list_id])
        folder = self._folder(list_id)
        with _locked(self._directory):
            try:
                (folder / _CURRENT).unlink()  # first: a stopped removal leaves no list, not half of one
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()
                _sync(self._directory)
            except OSError as error:
                raise StorageError(f"cannot remove list {list_id}: {error.strerror}") from error

    def _known(self, list_ids: Collection[str]) -> list[str]:
        there = self.ids()
        for list_id in list_ids:
            if list_id not in there:
                named = ", ".join(there) or "none; import one with: custodes lists import"
                raise ListError(f"there is no list {list_id!r}", hint=f"lists there are: {named}")
        return sorted(set(list_ids))

    def _none(self) -> ListError:
        return ListError(f"no hash list in {self._directory}", hint="import one with: custodes lists import")

    def _folder(self, list_id: str) -> Path:
        if not _LIST_ID.fullmatch(list_id):
            raise ListError(
                f"{list_id!r} is not a list id",
                hint="use up to 63 lower-case letters, digits, dots, dashes and underscores, a letter or digit first",
            )
        return self._directory / list_id

    def _write(self, folder: Path, header: ListHeader, contents: Contents) -> str:
        head, body = encode(header, contents)
        version = f"{header.sequence}-{self._digest(memoryview(body))}"
        _replace(folder / f"{version}{_SUFFIX}", lock(self._key, head + body, _context(header.list, version)))
        return version

    def _load(self, list_id: str, version: str) -> tuple[ListHeader, LoadedList]:
        return self._checked(list_id, version, self._decrypted(list_id, version))

    def _decrypted(self, list_id: str, version: str) -> bytearray:
        if not _VERSION.fullmatch(version):
            raise ListError(f"{version!r} is not a version of a list")
        path = self._folder(list_id) / f"{version}{_SUFFIX}"
        try:
            return unlock_buffer(self._key, path.read_bytes(), _context(list_id, version))
        except OSError as error:
            hint = f"lists there are: {', '.join(self.ids()) or 'none'}"
            raise ListError(f"cannot read version {version} of list {list_id}: {error.strerror}", hint=hint) from error
        except InputError as error:
            raise ListError(
                f"cannot open list {list_id}: {error}", hint="check lists.key, or import the list again"
            ) from error

    def _checked(self, list_id: str, version: str, plaintext: bytearray) -> tuple[ListHeader, LoadedList]:
        header, contents, body = decode(plaintext)
        if self._digest(body) != version.partition("-")[2] or header.list != list_id or not len(contents):
            raise ListError(f"list {list_id} is not what its name says", hint="import the list again")
        return header, LoadedList(list_id, version, contents)

    def _current(self, list_id: str) -> str:
        try:
            version = (self._directory / list_id / _CURRENT).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            version = ""
        if not _VERSION.fullmatch(version):
            raise ListError(f"list {list_id} has no readable current version", hint="import the list again")
        return version

    def _summary(self, list_id: str) -> ListSummary:
        header, loaded = self._load(list_id, self._current(list_id))
        kinds, roles, categories = _counts(loaded.contents)
        return ListSummary(
            list=list_id,
            version=loaded.version,
            created=header.created,
            provenance=header.provenance,
            entries=kinds,
            roles=roles,
            categories=categories,
        )

    def _digest(self, body: memoryview) -> str:
        """12 hex digits that name the content; keyed, so that nobody without the key can test a guessed list."""
        return hmac.new(self._key.derive("list-version"), body, hashlib.sha256).hexdigest()[:12]


def _context(list_id: str, version: str) -> bytes:
    """What binds a file to its place, so that an old version under a new name is refused."""
    return f"list/{list_id}/{version}".encode()


def _counts(contents: Contents) -> tuple[dict[Kind, int], dict[Role, int], dict[str, int]]:
    """Entries by kind, role and category. Values of zero are left out."""
    kinds = {kind: len(columns) for kind, columns in contents.kinds.items()}
    roles: Counter[Role] = Counter()
    categories: Counter[str] = Counter()
    for columns in contents.kinds.values():
        for number, count in enumerate(np.bincount(columns.roles, minlength=len(ROLES)).tolist()):
            roles[ROLES[number]] += count
        for number, count in enumerate(np.bincount(columns.categories).tolist()):
            categories[contents.categories[number]] += count
    return kinds, dict(+roles), dict(+categories)


def _versions(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"*{_SUFFIX}") if _VERSION.fullmatch(path.stem)]


def _sequence(version: str) -> int:
    return int(version.partition("-")[0])


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One import or removal at a time, over all processes."""
    _make_folder(directory)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror}") from error


def _replace(path: Path, content: bytes) -> None:
    """Write aside, fsync, rename, fsync the folder: the file is whole and durable, or as it was."""
    aside = path.with_name(f".{path.name}.aside")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        aside.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
