"""The two-person rule: what one person asks for is done when another has agreed to exactly that, once, and in time.

Promises that a permission needs two signatures over the same statement, by keys of two people that the configuration names, and that none is used twice:
each that is used is recorded before anything is done. Whether two keys belong to two people is for who names them. Format: docs/formats/custody.md.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, NamedTuple

import msgspec

from custodes.crypto.dsse import sign, verify
from custodes.crypto.keys import Signer, VerifierKey
from custodes.errors import ConfigError, InputError
from custodes.handover.custody import Act, Custody, Deed
from custodes.handover.words import Environment, check_digest, check_person, text_of, time_of

__all__ = [
    "FORMAT",
    "Guarded",
    "Papers",
    "Statement",
    "TwoPerson",
    "Wanted",
    "agree",
    "ask",
    "read_request",
    "subject_of",
]

FORMAT: Final = "custodes-request/1"
REQUEST_TYPE: Final = "application/vnd.custodes.request+json"
APPROVAL_TYPE: Final = "application/vnd.custodes.approval+json"
VALID_MAX: Final = timedelta(days=7)
_SKEW: Final = timedelta(minutes=5)


class Guarded(StrEnum):
    """What may need two people."""

    SEND = "send"
    UNSEAL = "unseal"
    DELETE = "delete"
    OVERTURN = "overturn"
    """A hard refusal of the gateway, on appeal."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is about to be done. ``subject``: the SHA-256 of a package, or ``subject_of`` the incidents."""

    act: Guarded
    subject: str
    environment: Environment


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both sign. ``nonce``: no two requests are the same."""

    format: Literal["custodes-request/1"] = "custodes-request/1"
    act: Guarded
    subject: str
    environment: Environment
    asked_by: str
    asked_at: str
    expires: str
    nonce: str

    def __post_init__(self) -> None:
        check_digest(self.subject)
        check_person(self.asked_by)
        if not timedelta(0) < time_of(self.expires) - time_of(self.asked_at) <= VALID_MAX:
            raise ValueError(f"a request is good for up to {VALID_MAX.days} days")

    @property
    def wanted(self) -> Wanted:
        """What it is about."""
        return Wanted(self.act, self.subject, self.environment)

    def holds_at(self, now: datetime) -> bool:
        """Whether it is good at this time."""
        return time_of(self.asked_at) - _SKEW <= now < time_of(self.expires)


class Papers(NamedTuple):
    """A request and the approval of it: two envelopes."""

    request: bytes
    approval: bytes


class _Read(NamedTuple):
    statement: Statement
    payload: bytes
    key: VerifierKey


def subject_of(incidents: Iterable[str]) -> str:
    """What names a set of incidents, whatever their order."""
    return hashlib.sha256("\n".join(sorted(set(incidents))).encode()).hexdigest()


def ask(wanted: Wanted, key: Signer, now: datetime, valid: timedelta = timedelta(days=1)) -> bytes:
    """A request, signed by the first person."""
    statement = Statement(
        act=wanted.act,
        subject=wanted.subject,
        environment=wanted.environment,
        asked_by=key.verifier.name,
        asked_at=text_of(now),
        expires=text_of(now + valid),
        nonce=secrets.token_hex(16),
    )
    return sign(REQUEST_TYPE, msgspec.json.encode(statement), key)


def read_request(request: bytes, people: Sequence[VerifierKey]) -> Statement:
    """What is asked for, to be shown to the second person. Raises InputError for what none of these people signed in their own name."""
    return _read(request, people).statement


def agree(request: bytes, people: Sequence[VerifierKey], key: Signer) -> bytes:
    """An approval, signed by the second person. Raises InputError where that is the first."""
    read = _read(request, people)
    if read.key.public == key.verifier.public:
        raise InputError("who asks cannot be who approves", hint="let another person approve it")
    return sign(APPROVAL_TYPE, read.payload, key)


def _read(request: bytes, people: Sequence[VerifierKey]) -> _Read:
    payload, key = verify(request, REQUEST_TYPE, people)
    try:
        statement = msgspec.json.decode(payload, type=Statement)
    except msgspec.MsgspecError as error:
        raise InputError("the signed request does not fit its format") from error
    if statement.asked_by != key.name:
        raise InputError("the request was signed in the name of another person")
    return _Read(statement, payload, key)


class TwoPerson:
    """The rule: which acts need two people, and who they may be. Raises ConfigError where it could not be kept."""

    def __init__(self, acts: Iterable[Guarded], people: Sequence[VerifierKey]) -> None:
        self.acts = frozenset(acts)
        self._people = people
        for person in people:
            try:
                check_person(person.name)
            except ValueError as error:
                raise ConfigError(f"approver {person.name!r}: {error}") from error
        if len({p.public for p in people}) != len(people) or len({p.name for p in people}) != len(people):
            raise ConfigError(
                "two of the approvers are the same", hint="name each person once, with a key of their own"
            )
        if self.acts and len(people) < 2:
            raise ConfigError(
                "the two-person rule needs two approvers at least", hint="name both under [handover]: approvers"
            )

    def permit(self, wanted: Wanted, papers: Papers | None, custody: Custody, now: datetime) -> None:
        """Return if this may be done now, and record who agreed; else InputError. What is permitted is permitted once.

        1. The configuration asks for two people. 2. The request is signed by one of them, in their own name. 3. The same statement is signed by another.
        4. It is about exactly this. 5. It is in time. 6. It was not used before; that it is used now is durable before anything is done.
        """
        if wanted.act not in self.acts:  # 1
            return
        if papers is None:
            raise InputError(
                f"to {wanted.act.value} needs two people here",
                hint="give a request, and the approval of it by another person",
            )
        request = _read(papers.request, self._people)  # 2
        approver = self._second(request, papers.approval)  # 3
        statement = request.statement
        if statement.wanted != wanted:  # 4
            raise InputError("the approval is for something else", hint="ask for exactly what is to be done")
        if not statement.holds_at(now):  # 5
            raise InputError(f"the approval was good until {statement.expires}", hint="ask again")
        _use(request, approver, custody)  # 6

    def _second(self, request: _Read, approval: bytes) -> VerifierKey:
        others = [person for person in self._people if person.public != request.key.public]
        try:
            payload, approver = verify(approval, APPROVAL_TYPE, others)
        except InputError as error:
            raise InputError(
                f"no second person approved this: {error}", hint="who asks cannot approve; let another approver sign"
            ) from error
        if payload != request.payload:
            raise InputError("the approval is of another request", hint="give the request that was approved")
        return approver


def _use(request: _Read, approver: VerifierKey, custody: Custody) -> None:
    used = hashlib.sha256(request.payload).hexdigest()
    statement = request.statement

    def once() -> None:
        if any(recorded.act is Act.APPROVED and recorded.receipt == used for recorded in custody.records()):
            raise InputError("this approval was used already", hint="ask again: each is good for once")
        deeds = [
            Deed(
                act=act,
                who=who,
                environment=statement.environment,
                digest=statement.subject,
                receipt=used,
                reason=statement.act.value,
            )
            for act, who in ((Act.ASKED, statement.asked_by), (Act.APPROVED, approver.name))
        ]
        custody.append(*deeds)

    custody.alone(once)
