"""Which keys a verifier trusts and for which time, and what holders of keys state of them: that another succeeds one, or that one is revoked.

Promises that trust goes from a key to its successor only by a statement that the key itself signed, that a key is revoked only by itself or by one that
succeeded it, and that a key which was compromised vouches for nobody, its successors included. Whether a statement was kept from the verifier it cannot
know. Format: docs/formats/keys.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from custodes.crypto import dsse
from custodes.crypto.keys import Signer, VerifierKey
from custodes.errors import ConfigError, InputError

__all__ = [
    "STATEMENT_SUFFIX",
    "Grounds",
    "KeyStatement",
    "Revoked",
    "Succeeded",
    "TrustedKey",
    "read_statement",
    "trusted_by",
    "write_statement",
]

PAYLOAD_TYPE: Final = "application/vnd.custodes.key+json"
STATEMENT_SUFFIX: Final = ".key.dsse.json"
STATEMENT_BYTES_MAX: Final = 1 << 16
STATEMENTS_MAX: Final = 1000
OVERLAP: Final = timedelta(days=1)
"""So long the succeeded key counts on: what it had begun to sign, on another machine, is not lost."""

Grounds = Literal["superseded", "compromised"]
Time = Annotated[datetime, Meta(tz=True)]
Line = Annotated[str, Meta(max_length=300)]


class _Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="act"):
    format: Literal["custodes-key-1"] = "custodes-key-1"
    key: Line
    at: Time

    @property
    def subject(self) -> VerifierKey:
        """The key that it is about. Raises ConfigError for a weak or malformed one."""
        return VerifierKey.parse(self.key)


class Succeeded(_Told, frozen=True, tag="succeeded"):
    """From ``at`` on ``successor`` signs; a day later ``key`` does not any more."""

    successor: Line


class Revoked(_Told, frozen=True, tag="revoked"):
    """``superseded``: nothing that ``key`` signs from ``at`` on is its holder's. ``compromised``: nothing that it ever signed is to be believed."""

    reason: Grounds


KeyStatement = Succeeded | Revoked


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key and when it counts: from ``begins`` to before ``ends``."""

    key: VerifierKey
    begins: datetime | None = None
    ends: datetime | None = None
    revoked: datetime | None = None
    reason: Grounds | None = None

    def spans(self, at: datetime) -> bool:
        """Whether a moment lies in its time."""
        return (self.begins is None or self.begins <= at) and (self.ends is None or at < self.ends)

    def revoke(self, at: datetime, reason: Grounds) -> TrustedKey:
        """The same, revoked: of several revocations the worst counts, and of these the earliest."""
        if self.revoked is None or self.reason is None:
            return replace(self, revoked=at, reason=reason)
        worst = min((self.reason, self.revoked), (reason, at))  # "compromised" comes before "superseded"
        return replace(self, revoked=worst[1], reason=worst[0])


def write_statement(statement: KeyStatement, signer: Signer) -> bytes:
    """The statement, signed: a document that is written in one way only."""
    payload = _payload(statement)
    return dsse.document(PAYLOAD_TYPE, payload, signer.sign(dsse.pae(PAYLOAD_TYPE, payload)), signer.verifier)


def read_statement(envelope: bytes, keys: Sequence[VerifierKey]) -> tuple[KeyStatement, VerifierKey]:
    """What is stated, and by whom. Raises InputError unless one of the keys signed exactly this, and ConfigError where it names a weak key."""
    if len(envelope) > STATEMENT_BYTES_MAX:
        raise InputError(f"a statement of a key has at most {STATEMENT_BYTES_MAX:,} bytes")
    verified = dsse.verify(envelope, PAYLOAD_TYPE, keys)
    try:
        statement = msgspec.json.decode(verified.payload, type=KeyStatement)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"what {verified.key.name} signed is no statement of a key") from error
    if _payload(statement) != verified.payload or not dsse.is_document(envelope, PAYLOAD_TYPE, verified):
        raise InputError("the statement of a key was changed around what was signed", hint="get it again")
    VerifierKey.parse(statement.key)
    if isinstance(statement, Succeeded):
        VerifierKey.parse(statement.successor)
    return statement, verified.key


def trusted_by(given: Sequence[TrustedKey], statements: Sequence[bytes]) -> tuple[TrustedKey, ...]:
    """The keys that are trusted once all statements were heard, in whatever order they came.

    Raises InputError for a statement that none of these keys may make, or that contradicts another.
    """
    if len(statements) > STATEMENTS_MAX:
        raise InputError(f"more than {STATEMENTS_MAX:,} statements of keys were given")
    ring = _Ring(given)
    revocations = []
    waiting = list(statements)
    while waiting:
        heard = [(data, told) for data in waiting if (told := _if_signed(data, list(ring.keys)))]
        if not heard:
            read_statement(waiting[0], list(ring.keys))  # which says what is wrong with it
        for data, (statement, signer) in heard:
            waiting.remove(data)
            if isinstance(statement, Succeeded):
                ring.succeed(statement, signer)
            else:
                revocations.append((statement, signer))
    for statement, signer in revocations:
        ring.revoke(statement, signer)
    return tuple(ring.settled())


def _if_signed(envelope: bytes, keys: Sequence[VerifierKey]) -> tuple[KeyStatement, VerifierKey] | None:
    try:
        return read_statement(envelope, keys)
    except ConfigError:  # signed, and it names a key that is none
        raise
    except InputError:
        return None


def _payload(statement: KeyStatement) -> bytes:
    return msgspec.json.encode(statement, order="sorted")


class _Ring:
    """Keys, and which statement made which the successor of which."""

    def __init__(self, given: Sequence[TrustedKey]) -> None:
        self.keys = {each.key: each for each in given}
        self._given = frozenset(self.keys)
        self._after: dict[VerifierKey, Succeeded] = {}
        self._before: dict[VerifierKey, VerifierKey] = {}

    def succeed(self, told: Succeeded, signer: VerifierKey) -> None:
        new, old = VerifierKey.parse(told.successor), self.keys[signer]
        if told.subject != signer:
            raise InputError(f"{signer.name} names the successor of another key: only that key itself can")
        if self._after.get(signer, told) != told or self._before.get(new, signer) != signer:
            raise InputError(
                f"{signer.name} is succeeded twice, or by a key that succeeds another: not all of this is its holder's",
                hint="ask the signer which key is theirs, by a way that you trust",
            )
        if new in self._line(signer):
            raise InputError(f"{signer.name} names itself, or a key before it, as its successor")
        if signer not in self._after and not old.spans(told.at):
            raise InputError(f"{signer.name} names a successor at a time when the key does not count")
        self._after[signer], self._before[new] = told, signer
        self.keys[signer] = replace(old, ends=min(told.at + OVERLAP, old.ends or told.at + OVERLAP))
        self.keys.setdefault(new, TrustedKey(new, begins=told.at))

    def revoke(self, told: Revoked, signer: VerifierKey) -> None:
        if told.subject not in self._line(signer):
            raise InputError(f"{signer.name} revokes a key that is neither its own nor one before it")
        self.keys[told.subject] = self.keys[told.subject].revoke(told.at, told.reason)

    def settled(self) -> Iterator[TrustedKey]:
        """The keys; those that only a compromised key vouched for are as it is."""
        for key, each in self.keys.items():
            found = each
            for one in self._vouchers(key):
                old, told = self.keys[one], self._after[one]
                if old.revoked is not None and (old.reason == "compromised" or told.at >= old.revoked):
                    found = found.revoke(old.revoked, "compromised")
            yield found

    def _vouchers(self, key: VerifierKey) -> Iterator[VerifierKey]:
        """By whose word a key is trusted, up to one that the verifier was given."""
        while key not in self._given:
            key = self._before[key]
            yield key

    def _line(self, key: VerifierKey) -> list[VerifierKey]:
        """The key and all before it."""
        line = [key]
        while line[-1] in self._before:
            line.append(self._before[line[-1]])
        return line
