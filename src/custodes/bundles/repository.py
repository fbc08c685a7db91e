"""A publisher's folder: keys and state, and beside them ``public``, the files that any web server can serve as they are.

Promises: what stands in ``public`` is whole for its readers at every moment: everything is written before the timestamp that leads to
it, and the file before stays for those who are reading. A command that was stopped is made good by the next. Nothing in ``public``
tells a value. Leaves to others: what a list holds (``lists.formats``), carrying ``public`` to a web server or a disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

import msgspec
from securesystemslib.signer import Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, T, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from custodes.bundles.roots import OWNERS, ROLES, first_root, merged_root, next_root, owner_names, read_root
from custodes.bundles.target import Said, target_name
from custodes.crypto.signers import create_signer, load_signer
from custodes.durable import exclusive, replace_file
from custodes.errors import ConfigError, InputError

__all__ = ["Lifetimes", "Publisher", "State", "sign_root"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_NEXT_ROOT: Final = "next-root.json"
_LIFETIMES: Final = "lifetimes.json"


class Lifetimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many days what a role signs is taken. A subscriber who is kept from updates notices after the shortest."""

    root_days: int = 365
    targets_days: int = 30
    snapshot_days: int = 7
    timestamp_days: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.timestamp_days <= self.snapshot_days <= self.targets_days <= self.root_days <= 3650:
            raise ValueError("lifetimes must be 1 day or more, and none greater than that of the role above it")

    def of(self, role: str) -> timedelta:
        """The lifetime of what a role signs."""
        return timedelta(days=int(getattr(self, f"{role}_days")))


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``public`` now."""

    root: int
    root_expires: str
    timestamp: int
    timestamp_expires: str
    lists: dict[str, str]  # id -> version


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Publisher:
    """One publisher's folder. ``clock`` is the time of day, UTC."""

    directory: Path
    clock: Callable[[], datetime] = _now

    @classmethod
    def create(
        cls, directory: Path, owners: Sequence[str], lifetimes: Lifetimes, clock: Callable[[], datetime] = _now
    ) -> Publisher:
        """Make keys and the first, empty state. The files in ``root-keys`` belong to three people, and off this machine."""
        if len(set(owners)) != OWNERS or len(owners) != OWNERS or not all(map(_NAME.fullmatch, owners)):
            raise InputError(f"a root has {OWNERS} keys with different names: lower-case letters, digits and dashes")
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise InputError(f"{directory} is not empty", hint="choose a new folder; keys are never overwritten")
        publisher = cls(directory, clock)
        for folder in (publisher.public / "metadata", publisher._targets / "lists"):
            folder.mkdir(parents=True)
        for folder in (publisher._keys, publisher._root_keys, publisher._state):
            folder.mkdir(mode=0o700)
        held = {name: _new_key(publisher._root_keys, name) for name in owners}
        online = {role: _new_key(publisher._keys, role) for role in ROLES}
        root = first_root(held, online, publisher._expires(lifetimes.of(Root.type)))
        replace_file(directory / _LIFETIMES, msgspec.json.format(msgspec.json.encode(lifetimes)) + b"\n")
        replace_file(publisher._state / "1.root.json", root.to_bytes())
        publisher.refresh()
        return publisher

    @property
    def public(self) -> Path:
        """The files to serve."""
        return self.directory / "public"

    def publish(self, said: Said, sealed: bytes) -> State:
        """Make ``sealed`` the list's current version. Raises StorageError; whatever happens, readers see the old state or the new."""
        name = target_name(said.list)
        target = TargetFile.from_data(name, sealed, ["sha256"])
        target.unrecognized_fields["custom"] = msgspec.to_builtins(said)
        with self._alone() as root:
            folder, _, plain = name.rpartition("/")
            replace_file(self._targets / folder / f"{target.hashes['sha256']}.{plain}", sealed, mode=0o644)
            targets = self._load(Targets)
            before = set(_files(targets.signed))
            targets.signed.targets[name] = target
            self._issue(root, targets)
            state = self._settle(root)
            self._sweep(before | set(_files(targets.signed)))
        return state

    def refresh(self) -> State:
        """Sign the timestamp anew, and what has less than half of its lifetime left. To be done more often than the timestamp expires."""
        with self._alone() as root:
            return self._settle(root)

    def rotate(self, owners: Mapping[str, str], online: Collection[str]) -> Path:
        """Write the next root, for its owners to sign: new keys for the owners named (old -> new) and the online roles named, or a new date."""
        path, new = self.directory / _NEXT_ROOT, list(owners.values())
        with self._alone() as root:
            known = owner_names(root)
            if path.exists():
                raise InputError(f"{path} waits to be signed already", hint="adopt it, or delete it")
            if unknown := [name for name in owners if name not in known]:
                raise InputError(f"{unknown[0]!r} holds no root key", hint=f"root keys are held by: {', '.join(known)}")
            if len({*new, *known} - set(owners)) != OWNERS or not all(map(_NAME.fullmatch, new)):
                raise InputError("a new root key needs a name of its own: lower-case letters, digits and dashes")
            held = {old: (name, _new_key(self._root_keys, name)) for old, name in owners.items()}
            made = {role: _new_key(self._keys, role) for role in online}
            lifetime = self._lifetimes().of(Root.type)
            replace_file(path, next_root(root, held, made, self._expires(lifetime)).to_bytes())
        return path

    def adopt(self, files: Sequence[Path]) -> State:
        """Publish the next root, from copies that its owners signed, and sign anew whatever hung on a key that is gone."""
        with self._alone() as current:
            root = merged_root(current, [read_root(path) for path in files], self.clock())
            replace_file(self._state / f"{root.signed.version}.root.json", root.to_bytes())
            (self.directory / _NEXT_ROOT).unlink(missing_ok=True)
            return self._settle(root.signed)

    def root(self) -> Root:
        """The root in force."""
        versions = [int(path.name.partition(".")[0]) for path in self._state.glob("*.root.json")]
        if not versions:
            raise ConfigError(f"{self.directory} is not a publisher's folder", hint="custodes lists publisher init DIR")
        return read_root(self._state / f"{max(versions)}.root.json").signed

    def _settle(self, root: Root) -> State:
        """Sign what is not signed by the keys of ``root``, or soon expires, or does not lead to the newest below it; the timestamp always."""
        targets = self._load(Targets)
        if not self._stands(root, targets):
            self._issue(root, targets)
        snapshot = self._load(Snapshot)
        meta = _meta(targets)
        if snapshot.signed.meta.get("targets.json") != meta or not self._stands(root, snapshot):
            snapshot.signed.meta["targets.json"] = meta
            self._issue(root, snapshot)
        timestamp = self._load(Timestamp)
        timestamp.signed.snapshot_meta = _meta(snapshot)
        self._issue(root, timestamp)
        self._serve(targets.signed.version, snapshot.signed.version)
        return State(
            root=root.version,
            root_expires=root.expires.isoformat(),
            timestamp=timestamp.signed.version,
            timestamp_expires=timestamp.signed.expires.isoformat(),
            lists={said.list: said.version for said in _said(targets.signed)},
        )

    def _serve(self, targets: int, snapshot: int) -> None:
        """Copy the state to where it is served from, the timestamp last. What stands there is never read back: a web server may have changed it."""
        served = {path.name: path for path in sorted(self._state.glob("*.root.json"))}
        served |= {f"{targets}.targets.json": self._state / "targets.json"}
        served |= {f"{snapshot}.snapshot.json": self._state / "snapshot.json"}
        served |= {"timestamp.json": self._state / "timestamp.json"}
        for name, path in served.items():
            replace_file(self.public / "metadata" / name, path.read_bytes(), mode=0o644)

    def _load(self, kind: type[T]) -> Metadata[T]:
        """The newest of a role, or one that was never signed."""
        path = self._state / f"{kind.type}.json"
        if not path.exists():
            return Metadata(kind())
        try:
            return Metadata[T].from_bytes(path.read_bytes())
        except DeserializationError as error:
            raise InputError(f"{path} is damaged", hint="restore the publisher's folder from a copy") from error

    def _stands(self, root: Root, metadata: Metadata[T]) -> bool:
        role = metadata.signed.type
        if metadata.signed.is_expired(self.clock() + self._lifetimes().of(role) / 2):
            return False
        try:
            root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        except UnsignedMetadataError:
            return False
        return True

    def _issue(self, root: Root, metadata: Metadata[T]) -> None:
        role = metadata.signed.type
        signers = self._signers(root, role)
        metadata.signed.version += bool(metadata.signatures)
        metadata.signed.expires = self._expires(self._lifetimes().of(role))
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        replace_file(self._state / f"{role}.json", metadata.to_bytes())

    def _signers(self, root: Root, role: str) -> list[Signer]:
        signers = [load_signer(path) for path in sorted(self._keys.glob(f"{role}*.pem"))]
        in_force = [signer for signer in signers if signer.public_key.keyid in root.roles[role].keyids]
        if len(in_force) < root.roles[role].threshold:
            raise ConfigError(f"the key of the role {role} is not in {self._keys}")
        return in_force

    def _sweep(self, kept: set[str]) -> None:
        """Delete sealed lists that neither this state nor the one before leads to: they hold entries that were withdrawn since."""
        for path in self._targets.rglob("*.age"):
            if str(path.relative_to(self._targets)) not in kept:
                path.unlink()

    def _expires(self, lifetime: timedelta) -> datetime:
        return self.clock().replace(microsecond=0) + lifetime

    def _lifetimes(self) -> Lifetimes:
        path = self.directory / _LIFETIMES
        try:
            return msgspec.json.decode(path.read_bytes(), type=Lifetimes)
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigError(f"{path} cannot be read", hint="lifetimes of the roles, in days") from error

    @contextmanager
    def _alone(self) -> Iterator[Root]:
        """One writer at a time, over all processes; with the root in force."""
        self.root()  # before the folder is touched: it may be another one
        with exclusive(self.directory):
            yield self.root()

    @property
    def _keys(self) -> Path:
        return self.directory / "keys"

    @property
    def _root_keys(self) -> Path:
        return self.directory / "root-keys"

    @property
    def _state(self) -> Path:
        return self.directory / "state"

    @property
    def _targets(self) -> Path:
        return self.public / "targets"


def sign_root(path: Path, key: Path) -> tuple[Root, list[str]]:
    """Add a signature to a root in a file. For its owner, on a machine of theirs. Returns the root and the names of its owners who signed."""
    metadata = read_root(path)
    metadata.sign(load_signer(key), append=True)
    replace_file(path, metadata.to_bytes())
    result = metadata.signed.get_verification_result(Root.type, metadata.signed_bytes, metadata.signatures)
    return metadata.signed, [name for name, keyid in owner_names(metadata.signed).items() if keyid in result.signed]


def _new_key(folder: Path, name: str) -> Signer:
    """A key in a file of its own: keys of roots that were never adopted stay where they are."""
    names = (f"{name}{number}.pem" for number in chain([""], (f"-{n}" for n in count(2))))
    return create_signer(next(path for path in map(folder.joinpath, names) if not path.exists()))


def _meta(metadata: Metadata[Any]) -> MetaFile:
    return MetaFile.from_data(metadata.signed.version, metadata.to_bytes(), ["sha256"])


def _files(targets: Targets) -> Iterator[str]:
    """The sealed files that the targets lead to, by their names in the folder."""
    for name, target in targets.targets.items():
        folder, _, plain = name.rpartition("/")
        yield f"{folder}/{target.hashes['sha256']}.{plain}"


def _said(targets: Targets) -> list[Said]:
    return [Said.read(target.custom) for target in targets.targets.values()]
