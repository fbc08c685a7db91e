"""Lists that another site publishes as signed bundles: the subscriber's side.

Promises: what is given on is what the publisher's keys signed, no older than what was given before, not expired, of the list that was
asked for, and whole; the sealed file is opened in memory. The rules are TUF's, kept by its reference client; beside it stand the time,
which never runs backwards here, and the list's id, which is bound to what was sealed. Leaves to others: the publisher's side
(``bundles``), where bytes come from (``bundle_files``). Format: docs/formats/list-bundle.md.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from tuf.api import exceptions as tuf_errors
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError
from tuf.ngclient import Updater, UpdaterConfig

from custodes.authorities.base import Feedback, Page, ResumeExpired
from custodes.authorities.bundle_files import BundleFiles, FolderFiles, WebFiles
from custodes.authorities.settings import BundleSettings
from custodes.bundles.target import Said, open_list, target_name
from custodes.crypto.keys import read_private
from custodes.durable import exclusive, make_folder, replace_file, sync_folder
from custodes.errors import AuthorityError, ConfigError, InputError, ListError, StorageError
from custodes.lists.formats.options import ImportOptions
from custodes.lists.formats.own import OwnHeader, read_own
from custodes.lists.formats.reading import Reading
from custodes.lists.records import Record
from custodes.model import Entry, Kind
from custodes.services.calls import Caller, CallLimits

__all__ = ["Bundle", "open_bundle_source"]

_ROLES: Final = (Root.type, Timestamp.type, Snapshot.type, Targets.type)
_CONFIG: Final = UpdaterConfig(max_delegations=0)
_ROOT_BYTES_MAX: Final = 512_000
_TIME: Final = "latest-time"
_PINNED: Final = "trusted-root.json"


def open_bundle_source(settings: BundleSettings, home: Path, *, unsafe_allow_loopback: bool = False) -> BundleFiles:
    """Where a publisher's files come from. Paths are relative to ``home``. Raises ConfigError."""
    if "://" in settings.source:
        limits = CallLimits(timeout_s=settings.timeout_s)
        caller = Caller(settings.source, "the publisher", limits=limits, unsafe_allow_loopback=unsafe_allow_loopback)
        return WebFiles(caller, settings.bytes_per_s_min)
    folder = home / settings.source
    if not (folder / "metadata").is_dir():
        raise ConfigError(
            f"{folder} does not hold a publisher's files", hint="it needs the folders metadata and targets"
        )
    return FolderFiles(folder)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Bundle:
    """A published list as an authority. ``state`` is a folder of its own for what was trusted so far, ``home`` where paths are relative to."""

    settings: BundleSettings
    home: Path
    state: Path
    files: BundleFiles = field(repr=False)
    clock: Callable[[], datetime] = field(default=_now, repr=False)

    name = "bundle"
    environment = "production"
    production = True
    whole = True
    scheme = ""  # as the publisher says; known once a walk has given its page

    async def pages(self, checkpoint: str, resume: str = "") -> AsyncIterator[Page]:
        """The whole list on one page, or one that says that it is the version of the checkpoint."""
        if resume:
            raise ResumeExpired("a bundle is given whole or not at all")
        yield await asyncio.to_thread(self._page, checkpoint)

    async def status(self) -> str:
        """Which version of the list the publisher has, and until when it vouches for that."""
        return await asyncio.to_thread(self._status)

    async def feedback_reasons(self, kind: Kind) -> dict[str, str]:  # noqa: ARG002
        """None: files are served, and nobody listens."""
        return {}

    async def give(self, feedback: Feedback) -> None:  # noqa: ARG002
        """Refused: files are served, and nobody listens."""
        raise InputError(
            "a publisher of bundles takes no feedback", hint="give it to the authority that the list is from"
        )

    async def close(self) -> None:
        """Nothing is open between calls."""

    def _page(self, checkpoint: str) -> Page:
        with self._translated(), exclusive(self.state, wait=False):
            updater, target, said = self._current()
            self.scheme = said.scheme
            if said.version == checkpoint:
                return Page((), checkpoint=checkpoint, unchanged=True)
            sealed = self._download(updater, target)
        return Page(self._records(sealed, said), checkpoint=said.version)

    def _status(self) -> str:
        with self._translated(), exclusive(self.state, wait=False):
            _, _, said = self._current()
            until = self._trusted()[Timestamp.type].expires
        return f"list {said.list}, version {said.version} of {said.created}; vouched for until {until.isoformat()}"

    def _current(self) -> tuple[Updater, TargetFile, Said]:
        """What the publisher's metadata say of the list now, once they are checked and remembered."""
        now = self._time()
        folder, root = self.state / "trusted", self._root()
        make_folder(folder)
        updater = Updater(str(folder), "metadata/", None, "targets/", self.files, _CONFIG, bootstrap=root)
        replace_file(self.state / _PINNED, root)  # only now: it is a root
        updater.refresh()
        self._remember()
        for role, signed in self._trusted().items():
            if signed.is_expired(now):  # the client asked the machine's clock, which may have been set back
                raise tuf_errors.ExpiredMetadataError(role)
        target = updater.get_targetinfo(target_name(self.settings.list))
        if target is None:
            raise AuthorityError(f"the publisher has no list {self.settings.list!r}")
        said = Said.read(target.custom)
        if said.list != self.settings.list:
            raise AuthorityError("the publisher offers another list under the name of this one")
        return updater, target, said

    def _time(self) -> datetime:
        """The latest time that was ever seen here: a clock that was set back makes nothing fresh again."""
        path = self.state / _TIME
        now = self.clock()
        if path.exists():
            try:
                now = max(now, datetime.fromisoformat(path.read_text(encoding="ascii").strip()))
            except (ValueError, TypeError) as error:
                raise self._damaged(path) from error
        replace_file(path, f"{now.isoformat()}\n".encode())
        return now

    def _root(self) -> bytes:
        """The root that trust began with. It changes by the publisher's signed successors, not by another file in the operator's folder."""
        given, pinned = self.home / self.settings.trusted_root, self.state / _PINNED
        if pinned.exists():
            root = pinned.read_bytes()
            if given.exists() and given.read_bytes() != root:
                raise ConfigError(
                    f"{given} is not the root that this list began with",
                    hint=f"to trust another publisher from the beginning, delete {self.state}",
                )
            return root
        try:
            with given.open("rb") as file:
                return file.read(_ROOT_BYTES_MAX)
        except OSError as error:
            raise ConfigError(
                f"cannot read {given}: {error.strerror}", hint="ask the publisher for its root.json"
            ) from error

    def _remember(self) -> None:
        """What the client wrote becomes durable before it is relied on: memory of versions is what stops a rollback."""
        folder = self.state / "trusted"
        for path in (*folder.glob("*.json"), *folder.glob("root_history/*.json")):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(folder / "root_history")
        sync_folder(folder)

    def _trusted(self) -> dict[str, Root | Timestamp | Snapshot | Targets]:
        """The metadata in force, as the client keeps them."""
        return {role: Metadata.from_file(str(self.state / "trusted" / f"{role}.json")).signed for role in _ROLES}

    def _download(self, updater: Updater, target: TargetFile) -> bytes:
        if target.length > self.settings.size_bytes_max:
            raise AuthorityError(
                f"the sealed list has {target.length} bytes, and the limit is {self.settings.size_bytes_max}",
                hint="raise size_bytes_max if the publisher says that this is so",
            )
        path = self.state / "sealed.age"
        try:
            updater.download_target(target, str(path))
            return path.read_bytes()
        finally:
            path.unlink(missing_ok=True)  # an old one would keep what was withdrawn

    def _records(self, sealed: bytes, said: Said) -> tuple[Record, ...]:
        identity = read_private(self.home / self.settings.identity, hint="make one with: custodes lists identity")
        header, entries = _read(open_list(sealed, identity.decode("ascii", "replace")))
        if (header.list, header.version) != (said.list, said.version):
            raise AuthorityError(
                "what is sealed is not the list, or not the version, that the publisher's metadata name"
            )
        if header.provenance.scheme != said.scheme:
            raise AuthorityError("what is sealed has other categories than the publisher's metadata name")
        by_id: dict[str, list[Entry]] = {}
        for entry in entries:
            by_id.setdefault(entry.id, []).append(entry)
        return tuple(Record(own, tuple(of_id)) for own, of_id in by_id.items())

    def _damaged(self, path: Path) -> StorageError:
        return StorageError(
            f"{path} is damaged", hint=f"delete {self.state} to trust this publisher from the beginning"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """TUF's errors in our words. Theirs name addresses."""
        try:
            yield
        except BlockingIOError as error:
            raise AuthorityError("this bundle is being fetched by another process") from error
        except tuf_errors.ExpiredMetadataError as error:
            raise AuthorityError(
                "what the publisher signed has expired: somebody holds newer files back, or it signed none",
                hint="check this machine's clock; ask the publisher; carry newer files here",
            ) from error
        except tuf_errors.BadVersionNumberError as error:
            raise AuthorityError(
                "the publisher's files are older than those seen before, or do not belong together"
            ) from error
        except tuf_errors.UnsignedMetadataError as error:
            raise AuthorityError(
                "the publisher's files are not signed by enough of the keys that are trusted"
            ) from error
        except tuf_errors.LengthOrHashMismatchError as error:
            raise AuthorityError("a file is not the one that the publisher signed") from error
        except tuf_errors.DownloadLengthMismatchError as error:
            raise AuthorityError("a file is longer than the publisher's metadata allow") from error
        except tuf_errors.DownloadHTTPError as error:
            raise AuthorityError(f"a file of the publisher cannot be had: {error}") from error
        except (tuf_errors.RepositoryError, DeserializationError, ListError) as error:
            raise AuthorityError("the publisher's metadata are malformed") from error
        except OSError as error:
            raise StorageError(f"cannot keep what was trusted in {self.state}: {error.strerror}") from error


def _read(export: bytes) -> tuple[OwnHeader, list[Entry]]:
    """What was sealed: a whole export of a list, every entry with its id."""
    reading = Reading("the sealed list")
    try:
        entries = list(read_own(io.BytesIO(export), ImportOptions(), reading))
        reading.refuse()
        header = msgspec.json.decode(export.partition(b"\n")[0], type=OwnHeader)
    except (ListError, msgspec.MsgspecError) as error:
        raise AuthorityError("what is sealed is not an export of a list, or was cut") from error
    if not all(entry.id for entry in entries):
        raise AuthorityError("what is sealed has entries without an id")
    return header, entries
