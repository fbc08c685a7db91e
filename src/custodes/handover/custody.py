"""Who did what with an incident, and when: a record that only grows, each line chained to the one before.

Promises that a line that was told is durable; that a changed, removed or inserted line is noticed, and told by its number; that a record which was cut
short or exchanged is noticed, because how far it had come is remembered apart from it, signed; and that a line that a crash tore is cut, and the cut
recorded. It holds ids, times and acts, and has no room for a link or a sentence. What is kept for how long is for ``clocks``. Format: docs/formats/custody.md.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from custodes.crypto.dsse import sign, verify
from custodes.crypto.keys import Signer, VerifierKey
from custodes.durable import exclusive, replace_file
from custodes.errors import InputError, StorageError
from custodes.handover.pages import Pages
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

T = TypeVar("T")
FORMAT: Final = "custodes-custody/1"
PAYLOAD_TYPE: Final = "application/vnd.custodes.custody-head+json"
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
    """What a record is kept with. ``trusted``: keys that signed before this one.

    ``guard``: of a record that others keep, a file here with the head that was seen last, so that a record which was put back is noticed.
    """

    signer: Signer
    trusted: Sequence[VerifierKey] = ()
    anchor: Anchor = field(default_factory=Nowhere)
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    guard: Path | None = None


class Custody:
    """The record, for any number of threads and processes."""

    def __init__(self, pages: Pages, means: Means) -> None:
        self._pages = pages
        self._means = means
        self._thread = threading.RLock()
        self._working = False
        self._signed: list[bytes] = []  # heads that are made known when what they are of is durable

    def append(self, *deeds: Deed) -> list[Recorded]:
        """Record them, in one step, durably. Raises StorageError; then the record says at the next opening which of them it has."""
        return self.alone(lambda: self._append(deeds))

    def _append(self, deeds: Sequence[Deed]) -> list[Recorded]:
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
            self._pages.add(known.seq + 1, lines)
            self._remember(known, head)
        return made[1:] if torn else made

    def alone(self, work: Callable[[], T]) -> T:
        """Nobody else records anything meanwhile: for what is decided by the record and then recorded in it. ``work`` may be done again."""

        def turn() -> T:
            self._signed = []
            return work()

        with self._thread:
            if self._working:
                return work()
            self._working = True
            try:
                result = self._pages.alone(turn)
            finally:
                self._working = False
            self._make_known()
            return result

    def records(self) -> Iterator[Recorded]:
        """Every line, verified as it is read. Raises StorageError at the first that is not as it was written, and at the end if some are gone."""
        known = self._remembered()
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

    # -- the lines

    def _read(self, known: _Checkpoint, torn: list[int]) -> Iterator[Recorded]:
        """Lines in order. Behind all that is remembered, and so was ever told, a crash may have torn what was being written: that ends them,
        and where it begins goes into ``torn``.
        """
        head, offset = Head(0, known.origin), 0
        for line in self._pages.lines():
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
        return StorageError(f"{self._pages}, line {line}: {what}", hint="restore the record from a copy; keep this one")

    def _refuse_short(self, known: Head | _Checkpoint, head: Head | _Checkpoint) -> None:
        if head.seq < known.seq:
            raise StorageError(
                f"{self._pages} ends at line {head.seq}, and had come to line {known.seq}: the rest was removed",
                hint="restore the record from a copy; keep this one",
            )

    def _recovered(self) -> tuple[_Checkpoint, str]:
        """How far the record has come, and the digest of a torn end that was cut. Where nothing stopped in between, only the end is looked at."""
        known = self._remembered() or self._begun()
        last = self._pages.last()
        if (_hash_in(last) == known.hash) if last else known.seq == 0:
            return known, ""
        torn: list[int] = []
        for recorded in self._read(known, torn):
            known = msgspec.structs.replace(known, seq=recorded.seq, hash=recorded.hash)
        return known, self._pages.cut(torn[0]) if torn else ""

    # -- the memory of how far it has come

    def _begun(self) -> _Checkpoint:
        origin = secrets.token_hex(32)
        return self._remember(_Checkpoint(origin=origin, seq=0, hash=origin, time=""), Head(0, origin))

    def _remembered(self) -> _Checkpoint | None:
        seen = self._seen()  # first: another process may go on with both meanwhile
        envelope = self._pages.remembered()
        known = None if envelope is None else self._believed(envelope, f"the memory of {self._pages}")
        if seen is not None:
            self._refuse_another(known, seen)
        return known

    def _seen(self) -> _Checkpoint | None:
        """How far the record had come when it was last written from here."""
        guard = self._means.guard
        try:
            return None if guard is None else self._believed(guard.read_bytes(), str(guard))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {guard}: {error.strerror}") from error

    def _refuse_another(self, known: _Checkpoint | None, seen: _Checkpoint) -> None:
        """Raises StorageError where the record is not the one that was seen here, or an earlier state of it."""
        guard = self._means.guard
        if known is None:
            raise StorageError(
                f"{self._pages} is empty, and had come to line {seen.seq}",
                hint=f"restore it from a newer backup; where it was begun anew on purpose, move {guard} away",
            )
        self._refuse_short(seen, known)
        there = known.hash if known.seq == seen.seq else _hash_in(self._pages.at(seen.seq)) if seen.seq else seen.hash
        if known.origin != seen.origin or there != seen.hash:
            raise self._damage(seen.seq, f"it is not the line that {guard} knows: this is another record")

    def _believed(self, envelope: bytes, where: str) -> _Checkpoint:
        try:
            payload, _ = verify(envelope, PAYLOAD_TYPE, [self._means.signer.verifier, *self._means.trusted])
            return msgspec.json.decode(payload, type=_Checkpoint)
        except (InputError, msgspec.MsgspecError) as error:
            raise StorageError(
                f"{where} is damaged, or signed by a key that is not this site's",
                hint="check signing.key, or restore the file from a copy",
            ) from error

    def _remember(self, known: _Checkpoint, head: Head) -> _Checkpoint:
        known = msgspec.structs.replace(known, seq=head.seq, hash=head.hash, time=text_of(self._means.clock()))
        envelope = sign(PAYLOAD_TYPE, msgspec.json.encode(known), self._means.signer)
        self._pages.remember(envelope)
        self._signed.append(envelope)
        return known

    def _make_known(self) -> None:
        signed, self._signed = self._signed, []
        if signed and self._means.guard is not None:
            guard = self._means.guard
            with exclusive(
                guard.with_name(f"{guard.name}.lock")
            ):  # an older head than another process wrote guards, too
                replace_file(guard, signed[-1])
        for envelope in signed:
            self._means.anchor.note(envelope)


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
