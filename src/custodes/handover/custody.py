"""Who did what with an incident, and when: a record that only grows, each line chained to the one before.

Promises that a line that was told is durable; that a changed, removed or inserted line is noticed, and told by its number; that a record which was cut
short or exchanged is noticed, because how far it had come is remembered apart from it, signed; and that a line that a crash tore is cut, and the cut
recorded. It holds ids, times and acts, and has no room for a link or a sentence. What is kept for how long is for ``clocks``. Format: docs/formats/custody.md.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import msgspec

from custodes.crypto.dsse import sign, verify
from custodes.crypto.keys import Signer, VerifierKey
from custodes.durable import exclusive, replace_file, sync_folder
from custodes.errors import InputError, StorageError
from custodes.handover.words import (
    Environment,
    check_digest,
    check_incident,
    check_person,
    check_receipt,
    check_word,
    text_of,
    time_of,
)

__all__ = ["FORMAT", "PAYLOAD_TYPE", "Act", "Anchor", "Custody", "Deed", "Head", "Means", "Recorded"]

FORMAT: Final = "custodes-custody/1"
PAYLOAD_TYPE: Final = "application/vnd.custodes.custody-head+json"
FILE_NAME: Final = "record.jsonl"
LINE_BYTES_MAX: Final = 1024
_SELF: Final = "custodes"
_END: Final = re.compile(rb',"hash":"([0-9a-f]{64})"}')
_END_BYTES: Final = len(b',"hash":""}') + 64


class Act(StrEnum):
    """What was done."""

    SEALED = "sealed"
    QUEUED = "queued"
    SENT = "sent"
    RECEIVED = "received"
    RETRACTED = "retracted"
    BURIED = "buried"
    REVIVED = "revived"
    OPENED = "opened"
    VERDICT = "verdict"
    CORRECTED = "corrected"
    WITHDRAWN = "withdrawn"
    RELEASED = "released"
    HELD = "held"
    UNHELD = "unheld"
    DELETED = "deleted"
    ASKED = "asked"
    APPROVED = "approved"
    ROTATED = "rotated"
    CUT = "cut"
    """A line that a crash tore was cut from this record."""


class Deed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One act. ``digest``: SHA-256 of what was sent, sealed or asked for. ``receipt``: the id that the authority gave. ``reason``: one word."""

    act: Act
    who: str
    incident: str = ""
    environment: Environment | Literal[""] = ""
    route: str = ""
    digest: str = ""
    receipt: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        check_person(self.who)
        if self.environment not in ("test", "production", ""):
            raise ValueError("the environment is test or production")
        if self.incident and not self.environment:
            raise ValueError("what is done with an incident is done in an environment")
        checks = (check_incident, check_word, check_digest, check_receipt, check_word)
        texts = (self.incident, self.route, self.digest, self.receipt, self.reason)
        for check, text in zip(checks, texts, strict=True):
            if text:
                check(text)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.act.value}>"


class Recorded(Deed, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deed as it stands in the record. ``prev``: the hash of the line before; ``hash``: that of this one, without itself."""

    seq: int
    time: str
    prev: str
    hash: str = ""

    def __post_init__(self) -> None:
        Deed.__post_init__(self)
        time_of(self.time)

    @property
    def at(self) -> datetime:
        """When it was done."""
        return time_of(self.time)


class Head(NamedTuple):
    """How far a record has come: its last line, and that line's hash."""

    seq: int
    hash: str


class _Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A head, as it is signed. ``origin``: what the first line is chained to, which no other record has."""

    format: Literal["custodes-custody/1"] = "custodes-custody/1"
    origin: str
    seq: int
    hash: str
    time: str


class Anchor(Protocol):
    """Where heads are made known, so that not even the operator can go back behind one."""

    def note(self, checkpoint: bytes) -> None:
        """The record has come to this head: a signed checkpoint, as it is."""
        ...


class Nowhere:
    """Not made known."""

    def note(self, checkpoint: bytes) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Means:
    """What a record is kept with. ``memory``: the file, apart from the record, with its last head. ``trusted``: keys that signed before this one."""

    memory: Path
    signer: Signer
    trusted: Sequence[VerifierKey] = ()
    anchor: Anchor = field(default_factory=Nowhere)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


class Custody:
    """The record in ``folder``, for any number of threads and processes."""

    def __init__(self, folder: Path, means: Means) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._means = means
        self._thread = threading.RLock()
        self._still = False
        self._failed = False

    def append(self, *deeds: Deed) -> list[Recorded]:
        """Record them, in one step, durably. Raises StorageError; then the record says at the next opening which of them it has."""
        with self.still():
            known, torn = self._recovered()
            head = Head(known.seq, known.hash)
            lines: list[bytes] = []
            made: list[Recorded] = []
            for deed in ([Deed(act=Act.CUT, who=_SELF, digest=torn)] if torn else []) + list(deeds):
                recorded, line = _chained(deed, head, text_of(self._means.clock()))
                head = Head(recorded.seq, recorded.hash)
                lines.append(line)
                made.append(recorded)
            if lines:
                self._write(b"".join(lines))
                self._remember(known, head)
        return made[1:] if torn else made

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nobody else records anything meanwhile: for what is decided by the record and then recorded in it."""
        with self._thread:
            if self._still:
                yield
                return
            with exclusive(self._folder):
                self._still = True
                try:
                    yield
                finally:
                    self._still = False

    def records(self) -> Iterator[Recorded]:
        """Every line, verified as it is read. Raises StorageError at the first that is not as it was written, and at the end if some are gone."""
        known = self._remembered() or self._nothing_yet()
        return self._read(known, []) if known else iter(())

    def of(self, incident: str) -> list[Recorded]:
        """What was done with an incident. The whole record is verified."""
        return [recorded for recorded in self.records() if recorded.incident == incident]

    def verify(self) -> Head:
        """Read all of it. Raises StorageError as ``records`` does."""
        head = Head(0, "")
        for recorded in self.records():
            head = Head(recorded.seq, recorded.hash)
        return head

    def head(self) -> Head:
        """How far it has come, as it was remembered last."""
        known = self._remembered()
        return Head(known.seq, known.hash) if known else Head(0, "")

    # -- the file

    def _read(self, known: _Checkpoint, torn: list[int]) -> Iterator[Recorded]:
        """Lines in order. Behind all that is remembered, and so was ever told, a crash may have torn what was being written: that ends them,
        and where it begins goes into ``torn``.
        """
        head, offset = Head(0, known.origin), 0
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return self._refuse_short(known, head)
        with file:
            while line := file.readline(LINE_BYTES_MAX):
                try:
                    recorded = _parsed(line, head)
                except ValueError as error:
                    if head.seq < known.seq:
                        raise self._damage(head.seq + 1, str(error)) from error
                    torn.append(offset)
                    break
                head, offset = Head(recorded.seq, recorded.hash), offset + len(line)
                if head.seq == known.seq and head.hash != known.hash:
                    raise self._damage(head.seq, "it is not the line that was signed")
                yield recorded
        self._refuse_short(known, head)

    def _damage(self, line: int, what: str) -> StorageError:
        return StorageError(f"{self._path}, line {line}: {what}", hint="restore the record from a copy; keep this one")

    def _refuse_short(self, known: _Checkpoint, head: Head) -> None:
        if head.seq < known.seq:
            raise StorageError(
                f"{self._path} ends at line {head.seq}, and had come to line {known.seq}: the rest was removed",
                hint="restore the record from a copy; keep this one",
            )

    def _nothing_yet(self) -> _Checkpoint | None:
        """None where no record was begun. The memory is made first: where there is a record, there must be one by now."""
        if not self._path.exists():
            return None
        if (known := self._remembered()) is None:
            raise StorageError(
                f"{self._path} is there, but not {self._means.memory}, which says how far it had come",
                hint="restore that file from a copy",
            )
        return known

    def _recovered(self) -> tuple[_Checkpoint, str]:
        """How far the record has come, and the digest of a torn end that was cut. Where nothing stopped in between, only the end is looked at."""
        if self._failed:
            raise StorageError(f"{self._path} could not be written before", hint="start again when the disk is well")
        known = self._remembered() or self._nothing_yet() or self._begun()
        if self._ends_at(known):
            return known, ""
        torn: list[int] = []
        for recorded in self._read(known, torn):
            known = msgspec.structs.replace(known, seq=recorded.seq, hash=recorded.hash)
        return known, self._cut(torn[0]) if torn else ""

    def _begun(self) -> _Checkpoint:
        origin = secrets.token_hex(32)
        return self._remember(_Checkpoint(origin=origin, seq=0, hash=origin, time=""), Head(0, origin))

    def _ends_at(self, known: _Checkpoint) -> bool:
        """Whether the last line is, whole, the one that is remembered."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LINE_BYTES_MAX))
                lines = file.read().splitlines(keepends=True)
        except FileNotFoundError:
            lines = []
        return _hash_in(lines[-1]) == known.hash if lines else known.seq == 0

    def _cut(self, offset: int) -> str:
        try:
            with self._path.open("rb+") as file:
                file.seek(offset)
                digest = hashlib.sha256(file.read()).hexdigest()
                file.truncate(offset)
                os.fsync(file.fileno())
                return digest
        except OSError as error:
            raise StorageError(f"cannot cut the torn end of {self._path}: {error.strerror}") from error

    def _write(self, lines: bytes) -> None:
        self._failed = (
            True  # until it is known that it did not: after a failed sync the kernel may say that all is well
        )
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
            try:
                view = memoryview(lines)
                while view:
                    view = view[os.write(descriptor, view) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(self._folder)
        except OSError as error:
            raise StorageError(f"cannot write {self._path}: {error.strerror}") from error
        self._failed = False

    # -- the memory of how far it has come

    def _remembered(self) -> _Checkpoint | None:
        path = self._means.memory
        try:
            envelope = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        try:
            payload, _ = verify(envelope, PAYLOAD_TYPE, [self._means.signer.verifier, *self._means.trusted])
            return msgspec.json.decode(payload, type=_Checkpoint)
        except (InputError, msgspec.MsgspecError) as error:
            raise StorageError(
                f"{path} is damaged, or signed by a key that is not this site's",
                hint="check signing.key, or restore the file from a copy",
            ) from error

    def _remember(self, known: _Checkpoint, head: Head) -> _Checkpoint:
        known = msgspec.structs.replace(known, seq=head.seq, hash=head.hash, time=text_of(self._means.clock()))
        envelope = sign(PAYLOAD_TYPE, msgspec.json.encode(known), self._means.signer)
        replace_file(self._means.memory, envelope)
        self._means.anchor.note(envelope)
        return known


def _chained(deed: Deed, head: Head, time: str) -> tuple[Recorded, bytes]:
    fields = {name: getattr(deed, name) for name in Deed.__struct_fields__}
    recorded = Recorded(**fields, seq=head.seq + 1, time=time, prev=head.hash)
    digest = _hash_of(_body(recorded))
    recorded = msgspec.structs.replace(recorded, hash=digest)
    return recorded, msgspec.json.encode(recorded) + b"\n"


def _body(recorded: Recorded) -> bytes:
    """The line without its hash: what the hash is of."""
    return msgspec.json.encode(msgspec.structs.replace(recorded, hash=""))[: -len(b',"hash":""}')] + b"}"


def _hash_of(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _hash_in(line: bytes) -> str | None:
    """The hash that a line has, "" where it is not that of the line, None where it has none."""
    end = _END.fullmatch(line[-_END_BYTES - 1 : -1])
    if not line.endswith(b"\n") or end is None:
        return None
    digest = end[1].decode()
    return digest if _hash_of(line[: -_END_BYTES - 1] + b"}") == digest else ""


def _parsed(line: bytes, before: Head) -> Recorded:
    """A line that follows on ``before``, written exactly as it would be written here. Raises ValueError, which repeats nothing of it."""
    digest = _hash_in(line)
    if digest is None:
        raise ValueError("it is no whole line of a record")
    if not digest:
        raise ValueError("it was changed")
    try:
        recorded = msgspec.json.decode(line, type=Recorded)
    except msgspec.MsgspecError as error:
        raise ValueError("it is no line of a record") from error
    if msgspec.json.encode(recorded) + b"\n" != line:
        raise ValueError("it is spelt otherwise than a record is")
    if (recorded.seq, recorded.prev) != (before.seq + 1, before.hash):
        raise ValueError("it does not follow on the line before it")
    return recorded
