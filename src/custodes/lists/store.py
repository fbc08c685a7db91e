"""Where hash lists are kept: encrypted, in versions that never change, with one of them in force.

A version is written aside, made durable, checked and switched to in one step; a stopped import leaves the version before it in
force, and one that a check speaks against is held until a person accepts it. A list is loaded whole, from a file whose name, place,
digest and every byte were checked, or not at all; one that is older than one that was in force is refused. What is read and how an
entry matches is for others; nothing here tells a value.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from custodes.crypto.keys import ListsKey
from custodes.crypto.vault import lock, unlock_buffer
from custodes.durable import exclusive, make_folder, replace_file, sync_folder
from custodes.errors import InputError, ListError, StorageError
from custodes.lists.changes import NOTHING, gather, merge
from custodes.lists.checks import ListChecks, Samples, Update, objections
from custodes.lists.container import ROLES, Contents, ListHeader, Provenance, collect, decode, encode
from custodes.lists.journal import Journal
from custodes.lists.records import Record
from custodes.lists.state import ListState, Memory, Stateful, later, noted, parsed
from custodes.model import Entry, Kind, Role

__all__ = [
    "ImportReport",
    "ListStore",
    "ListSummary",
    "LoadedList",
    "LoadedLists",
    "Provenance",
    "StoreRules",
    "UpdateReport",
    "Walk",
    "loaded_list",
]

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
    held: tuple[str, ...] = ()  # what speaks against this version; then it is not in force


class UpdateReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an update did. ``added``, ``changed`` and ``withdrawn`` count the authority's ids."""

    list: str
    version: str  # in force after it, or held
    records: int
    added: int
    changed: int
    withdrawn: int
    entries: dict[Kind, int]  # of this version, by kind
    unchanged: bool = False  # nothing was new: the version in force stays
    held: tuple[str, ...] = ()  # what speaks against this version; then it is not in force


class ListSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a list without its values."""

    list: str
    version: str
    created: str
    provenance: Provenance
    entries: dict[Kind, int]
    roles: dict[Role, int]
    categories: dict[str, int]
    confirmed: str = ""  # when it was last imported, or found unchanged
    stale: bool = False
    held: Mapping[str, Sequence[str]] = {}  # versions that wait for a person, and why


@dataclass(frozen=True, slots=True, repr=False)
class LoadedList:
    """One list in memory."""

    id: str
    version: str
    contents: Contents
    scheme: str = ""  # whose categories its entries have

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
    header, contents, _ = decode(plaintext)
    return LoadedList(list_id, version, contents, header.provenance.scheme)


@dataclass(frozen=True, slots=True)
class StoreRules:
    """How a store judges versions, and where it remembers how far lists had come (None: nowhere)."""

    checks: Mapping[str, ListChecks] = field(default_factory=dict)
    samples: Callable[[ListChecks], Samples] = lambda _: Samples()
    memory: Path | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Walk:
    """How the records of an update were had: from where the next one begins, and whether they are the whole list."""

    checkpoint: str
    whole: bool = False
    malformed: int = 0


class ListStore:
    """The folder of an operator's lists: ``<list id>/<version>.list`` and ``<list id>/current``."""

    def __init__(self, directory: Path, key: ListsKey, rules: StoreRules | None = None) -> None:
        self._directory = directory
        self._key = key
        self._rules = rules or StoreRules()
        self._stateful = Stateful(key, self._rules.memory)

    def import_entries(
        self,
        list_id: str,
        entries: Iterable[Entry],
        provenance: Provenance | Callable[[], Provenance],
        malformed: int = 0,
    ) -> ImportReport:
        """Make these entries the whole of the list, as a new version. What is not among them no longer matches.

        If ``entries`` raises, or there are none, nothing has changed. A version that was issued before the one in force is refused.
        ``provenance`` may be asked for: a file may say of itself behind its entries what it is.
        """
        folder = self._folder(list_id)
        contents, given = collect(entries)
        provenance = provenance() if callable(provenance) else provenance
        with exclusive(self._directory):
            old = self._opened_if_sound(list_id)
            self._refuse_older(list_id, provenance, old)
            update = Update(contents, old and old[1], given, malformed)
            version, held = self._put(folder, self._header(folder, provenance), update)
        kinds, roles, _ = _counts(contents)
        kept = sum(kinds.values())
        return ImportReport(
            list=list_id,
            version=version,
            records=given,
            entries=kinds,
            skipped=given - kept,
            roles=roles,
            held=tuple(held),
        )

    def objections_to(self, list_id: str, contents: Contents, records: int) -> list[str]:
        """What would speak against an import of these; nothing is written."""
        self._folder(list_id)  # refuses what is no id of a list
        old = self._opened_if_sound(list_id)
        return self._objections(list_id, Update(contents, old and old[1], records))

    def update(self, list_id: str, records: Iterable[Record], provenance: Provenance, walk: Walk) -> UpdateReport:
        """Fold an authority's records into the list. Where nothing is new, the version in force stays, and is confirmed."""
        folder = self._folder(list_id)
        changes = gather(records)
        with exclusive(self._directory):
            old = self._opened(list_id)
            merged = merge(old[1] if old else NOTHING, changes, whole=walk.whole)
            unchanged = old is not None and not (merged.added or merged.changed or merged.withdrawn)
            if unchanged:
                version, held = self._current(list_id), list[str]()
                self._confirm(folder, version, walk.checkpoint)
            else:
                header = msgspec.structs.replace(self._header(folder, provenance), checkpoint=walk.checkpoint)
                update = Update(merged.contents, old and old[1], changes.records, walk.malformed)
                version, held = self._put(folder, header, update)
        return UpdateReport(
            list=list_id,
            version=version,
            records=changes.records,
            added=merged.added,
            changed=merged.changed,
            withdrawn=merged.withdrawn,
            entries=_counts(merged.contents)[0],
            unchanged=unchanged,
            held=tuple(held),
        )

    def in_force(self, list_id: str) -> str:
        """The version in force, "" where there is none yet; also where it is too old to be used: what mends that must know it."""
        return self._current(list_id) if (self._folder(list_id) / _CURRENT).exists() else ""

    def checkpoint(self, list_id: str) -> str:
        """From where the list's service is asked what changed; "" for all of it, also where there is no such list yet."""
        if not (version := self.in_force(list_id)):
            return ""
        state = self._stateful.state(self._folder(list_id))
        return state.checkpoint if state.version == version else self._load(list_id, version)[0].checkpoint

    def confirm(self, list_id: str, checkpoint: str) -> None:
        """The service has nothing newer than the version in force."""
        with exclusive(self._directory):
            self._confirm(self._folder(list_id), self._current(list_id), checkpoint)

    def journal(self, list_id: str) -> Journal:
        """Where a walk over this list's service is kept until it is whole."""
        return Journal(self._folder(list_id) / "sync", self._key, list_id)

    def accept(self, list_id: str, version: str) -> None:
        """Put a version into force although a check speaks against it, or although it is older. ListError when it is not there."""
        with exclusive(self._directory):
            header, _ = self._load(list_id, version)
            folder = self._folder(list_id)
            self._switch(folder, version)
            memory = self._stateful.memory()
            seen = memory.seen | {list_id: header.sequence}  # on purpose, so it may be less than it was
            now = later(self._rules.clock(), memory)
            self._stateful.put_memory(noted(msgspec.structs.replace(memory, seen=seen), now, {}))
            self._settle(folder, ListState(confirmed=_text(now), version=version, checkpoint=header.checkpoint))

    def reject(self, list_id: str, version: str) -> None:
        """Throw a held version away. ListError when it is not held."""
        folder = self._folder(list_id)
        with exclusive(self._directory):
            state = self._stateful.state(folder)
            if version not in state.held:
                raise ListError(f"list {list_id} holds no version {version!r} back", hint="see: custodes lists show")
            self._settle(folder, msgspec.structs.replace(state, held={}))

    def held(self) -> dict[str, dict[str, list[str]]]:
        """List id -> the versions that wait for a person, and why; also of lists of which none is in force."""
        folders = sorted(path.parent for path in self._directory.glob("*/state"))
        return {folder.name: state.held for folder in folders if (state := self._stateful.state(folder)).held}

    def value_of(self, list_id: str, entry_id: str, kind: Kind) -> bytes:
        """The hash of this kind that the version in force has under an authority's own id. ListError when there is none, or several."""
        contents = self._load(list_id, self.current([list_id])[list_id])[1].contents
        columns, number = contents.kinds.get(kind), contents.id_number(entry_id)
        rows = [] if columns is None else np.flatnonzero(columns.ids == (-1 if number is None else number)).tolist()
        if columns is None or len(rows) != 1:
            count = "more than one" if rows else "no"
            raise ListError(
                f"list {list_id} has {count} {kind.value} under this id", hint="give the id as a finding names it"
            )
        return bytes(columns.codes[rows[0]])

    def stale(self, list_ids: Collection[str]) -> dict[str, str]:
        """Of these lists those that were not confirmed for longer than their limit: list id -> when they last were."""
        memory = self._stateful.memory()
        now = later(self._rules.clock(), memory)
        return {name: confirmed for name in list_ids if (confirmed := self._stale_since(name, now)) is not None}

    def verify(self, list_id: str) -> list[str]:
        """Read every version of a list, and hold the one in force against its checks. What is wrong, without values; empty: nothing."""
        self._known([list_id])
        problems = []
        for path in sorted(_versions(self._folder(list_id)), key=lambda path: _sequence(path.stem)):
            try:
                self._load(list_id, path.stem)
            except ListError as error:
                problems.append(f"version {path.stem}: {error}")
        try:
            version = self.current([list_id])[list_id]
            found = self._objections(list_id, Update(self._load(list_id, version)[1].contents, None))
            problems += [f"version {version}, in force: {text}" for text in found]
        except ListError as error:
            problems.append(str(error))
        problems += [f"not confirmed since {since or 'it was made'}: stale" for since in self.stale([list_id]).values()]
        return problems

    def ids(self) -> list[str]:
        """The ids of all lists, sorted."""
        if not self._directory.is_dir():
            return []
        return sorted(path.parent.name for path in self._directory.glob(f"*/{_CURRENT}"))

    def show(self, list_ids: Collection[str] | None = None) -> list[ListSummary]:
        """Counts of the lists named, or of all; of none when there is none."""
        return [self._summary(list_id) for list_id in self._known(self.ids() if list_ids is None else list_ids)]

    def current(self, list_ids: Collection[str] | None = None) -> dict[str, str]:
        """List id -> version in force, of the lists named or of all.

        ListError when one is unknown, there is none, one is older than one that was in force, was taken away, or is stale and may not be.
        """
        memory = self._stateful.memory()
        if list_ids is None and (gone := memory.seen.keys() - set(self.ids()) - set(memory.removed)):
            raise ListError(
                f"list {min(gone)} was here and is gone",
                hint=f"put it back, or say that it is meant: custodes lists remove {min(gone)}",
            )
        known = self._known(self.ids() if list_ids is None else list_ids)
        if not known:
            raise self._none()
        versions = {list_id: self._current(list_id) for list_id in known}
        for list_id, version in versions.items():
            self._refuse_rollback(list_id, version, memory)
        now = later(self._rules.clock(), memory)
        for list_id in known:
            if self._checks(list_id).when_stale == "refuse" and (since := self._stale_since(list_id, now)) is not None:
                raise ListError(
                    f"list {list_id} is stale: it was last confirmed {since or 'never'}",
                    hint=f"run: custodes lists sync {list_id}",
                )
        return versions

    def load(self, versions: Mapping[str, str] | None = None) -> LoadedLists:
        """These versions of lists, or the current ones of all.

        ListError when one is unknown or damaged, or there is none.
        """
        wanted = self.current() if versions is None else versions
        if not wanted:
            raise self._none()
        return LoadedLists(tuple(self._load(list_id, version)[1] for list_id, version in sorted(wanted.items())))

    def plaintext(self, list_id: str, version: str, sealed: bytes | None = None) -> bytearray:
        """A version as ``loaded_list`` reads it: decrypted, and what its name says. ``sealed``: as another site with this key keeps it."""
        plaintext = self._decrypted(list_id, version, sealed)
        self._checked(list_id, version, plaintext)
        return plaintext

    def sealed(self, list_id: str, version: str) -> bytes:
        """A version as it is kept here: encrypted, and bound to its name."""
        return self._read(list_id, version)

    def holds(self, list_id: str, version: str) -> bool:
        """Whether this version is kept here."""
        return self._path(list_id, version).is_file()

    def remove(self, list_id: str) -> None:
        """Delete a list in all its versions. One that was in force and is gone already is forgotten."""
        folder = self._folder(list_id)
        memory = self._stateful.memory()
        if folder.exists() or list_id not in memory.seen.keys() - set(memory.removed):
            self._known([list_id])
        with exclusive(self._directory):
            removed = [*(name for name in memory.removed if name != list_id), list_id]
            self._stateful.put_memory(msgspec.structs.replace(memory, removed=removed))
            try:
                if folder.exists():
                    (folder / _CURRENT).unlink()  # first: a stopped removal leaves no list, not half of one
                    shutil.rmtree(folder)
                sync_folder(self._directory)
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

    def _checks(self, list_id: str) -> ListChecks:
        return self._rules.checks.get(list_id, ListChecks())

    def _objections(self, list_id: str, update: Update) -> list[str]:
        checks = self._checks(list_id)
        return objections(update, checks, self._rules.samples(checks))

    def _opened_if_sound(self, list_id: str) -> tuple[ListHeader, Contents] | None:
        """The same for an import; None also where it is damaged: importing again is how one mends it."""
        try:
            return self._opened(list_id)
        except ListError:
            return None

    def _opened(self, list_id: str) -> tuple[ListHeader, Contents] | None:
        """The version in force, opened; None where there is none yet."""
        if not (version := self.in_force(list_id)):
            return None
        header, loaded = self._load(list_id, version)
        return header, loaded.contents

    def _refuse_older(self, list_id: str, new: Provenance, old: tuple[ListHeader, Contents] | None) -> None:
        if old and new.issued and old[0].provenance.issued and new.issued < old[0].provenance.issued:
            raise ListError(
                f"this version of list {list_id} was issued {new.issued}, the one in force {old[0].provenance.issued}",
                hint="an older version would bring back what was withdrawn; if it is meant, remove the list first",
            )

    def _refuse_rollback(self, list_id: str, version: str, memory: Memory) -> None:
        if _sequence(version) < memory.seen.get(list_id, 0):
            raise ListError(
                f"list {list_id} is at version {version}, and was at number {memory.seen[list_id]}: "
                "an older one was put in its place",
                hint=f"sync or import it again, or say that it is meant: custodes lists accept {list_id} {version}",
            )

    def _header(self, folder: Path, provenance: Provenance) -> ListHeader:
        """Of the next version of a list. Numbers go on where they ever were, also after a removal."""
        last = max((_sequence(path.stem) for path in _versions(folder)), default=0)
        return ListHeader(
            list=folder.name,
            sequence=1 + max(last, self._stateful.memory().seen.get(folder.name, 0)),
            created=_text(self._rules.clock()),
            provenance=provenance,
        )

    def _put(self, folder: Path, header: ListHeader, update: Update) -> tuple[str, list[str]]:
        """Write a version and put it into force; or hold it, where a check speaks against it. Says which, and why."""
        against = self._objections(folder.name, update)
        make_folder(folder)
        head, body = encode(header, update.new)
        version = f"{header.sequence}-{self._digest(memoryview(body))}"
        replace_file(folder / f"{version}{_SUFFIX}", lock(self._key, head + body, _context(header.list, version)))
        if against:
            state = self._stateful.state(folder)
            self._settle(folder, msgspec.structs.replace(state, held={version: against}))
            return version, against
        self._switch(folder, version)
        memory = self._stateful.memory()
        now = later(self._rules.clock(), memory)
        self._stateful.put_memory(noted(memory, now, {header.list: header.sequence}))
        self._settle(folder, ListState(confirmed=_text(now), version=version, checkpoint=header.checkpoint))
        return version, []

    def _switch(self, folder: Path, version: str) -> None:
        replace_file(folder / _CURRENT, f"{version}\n".encode())

    def _confirm(self, folder: Path, version: str, checkpoint: str) -> None:
        memory = self._stateful.memory()
        now = later(self._rules.clock(), memory)
        state = ListState(confirmed=_text(now), version=version, checkpoint=checkpoint)
        self._stateful.put_state(folder, msgspec.structs.replace(state, held=self._stateful.state(folder).held))
        self._stateful.put_memory(noted(memory, now, {}))

    def _settle(self, folder: Path, state: ListState) -> None:
        """Remember the state, and delete versions that it holds back no more, and old ones."""
        dropped = self._stateful.state(folder).held.keys() - state.held.keys() - {state.version}
        self._stateful.put_state(folder, state)
        kept = self._checks(folder.name).versions_kept
        older = sorted((path for path in _versions(folder)), key=lambda path: _sequence(path.stem), reverse=True)
        current = self.in_force(folder.name)
        for place, path in enumerate(older):
            spare = path.stem not in state.held and path.stem != current
            if spare and (path.stem in dropped or (kept and place > kept)):
                path.unlink(missing_ok=True)

    def _stale_since(self, list_id: str, now: datetime) -> str | None:
        """When a stale list was last confirmed ("": never); None for one that is not stale."""
        limit_h = self._checks(list_id).stale_after_h
        if not limit_h:
            return None
        confirmed = self._stateful.state(self._folder(list_id)).confirmed
        age = now - (parsed(confirmed) or datetime.min.replace(tzinfo=UTC))
        return confirmed if age.total_seconds() > 3600 * limit_h else None

    def _load(self, list_id: str, version: str) -> tuple[ListHeader, LoadedList]:
        return self._checked(list_id, version, self._decrypted(list_id, version))

    def _path(self, list_id: str, version: str) -> Path:
        if not _VERSION.fullmatch(version):
            raise ListError(f"{version!r} is not a version of a list")
        return self._folder(list_id) / f"{version}{_SUFFIX}"

    def _read(self, list_id: str, version: str) -> bytes:
        try:
            return self._path(list_id, version).read_bytes()
        except OSError as error:
            hint = f"lists there are: {', '.join(self.ids()) or 'none'}"
            raise ListError(f"cannot read version {version} of list {list_id}: {error.strerror}", hint=hint) from error

    def _decrypted(self, list_id: str, version: str, sealed: bytes | None = None) -> bytearray:
        data = self._read(list_id, version) if sealed is None else sealed
        try:
            return unlock_buffer(self._key, data, _context(list_id, version))
        except InputError as error:
            raise ListError(
                f"cannot open list {list_id}: {error}", hint="check lists.key, or import the list again"
            ) from error

    def _checked(self, list_id: str, version: str, plaintext: bytearray) -> tuple[ListHeader, LoadedList]:
        header, contents, body = decode(plaintext)
        if self._digest(body) != version.partition("-")[2] or header.list != list_id:
            raise ListError(f"list {list_id} is not what its name says", hint="import the list again")
        return header, LoadedList(list_id, version, contents, header.provenance.scheme)

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
        state = self._stateful.state(self._folder(list_id))
        return ListSummary(
            list=list_id,
            version=loaded.version,
            created=header.created,
            provenance=header.provenance,
            entries=kinds,
            roles=roles,
            categories=categories,
            confirmed=state.confirmed,
            stale=bool(self.stale([list_id])),
            held=state.held,
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


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
