"""The card of a gateway: what it decided in a period, in counts, and with what. A statement like that of a run's card, with a predicate of its own.

Promises that a count which could point at a person is told as "fewer than", that a card never says that what was released is harmless, and that what was
measured is told with how many cases it was measured on. Format: docs/formats/gateway-card.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from custodes.attest.statement import (
    FLOOR,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    ListCommitment,
    Moment,
    Sha256,
    Share,
    Subject,
    Text,
    Tool,
    moment_of,
)
from custodes.attest.verification import AHEAD_MAX, Check
from custodes.crypto.dsse import is_document, verify
from custodes.crypto.keys import VerifierKey
from custodes.errors import ConfigError, InputError

__all__ = [
    "GATEWAY_PREDICATE_TYPE",
    "GatewayCheck",
    "GatewayMeasure",
    "GatewayPeriod",
    "GatewaySealed",
    "GatewayStatement",
    "GatewayVerdict",
    "Sort",
    "Told",
    "is_gateway_card",
    "policy_subject",
    "sealed_told",
    "told",
    "verify_gateway_card",
]

GATEWAY_PREDICATE_TYPE: Final = "https://custodes.dev/gateway-card/v1"


class Told(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A count, as far as it may be told: a number, or that it is fewer than ``below`` (and perhaps none)."""

    count: Annotated[int, Meta(ge=FLOOR)] | None = None
    below: Annotated[int, Meta(ge=FLOOR)] | None = None

    def __post_init__(self) -> None:
        if (self.count is None) == (self.below is None):
            raise ValueError("a count is told as a number, or as fewer than one")


def told(count: int, floor: int = FLOOR) -> Told:
    """A count as it may be told."""
    return Told(count=count) if count >= floor else Told(below=floor)


class Sort(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Decisions of one sort. ``category`` is empty for what stopped nothing."""

    stage: Literal["input", "output"]
    action: Literal["allow", "rewrite", "refuse", "withhold"]
    grade: Literal["hard", "soft", "none"]
    category: Text = ""
    decisions: Told


class GatewayMeasure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often the gateway was wrong, or right, where that was measured: ``value`` of ``on`` cases, with the interval that holds the true share in 95 of 100.

    ``what``: the cases, by the name that they are known under.
    """

    what: Text
    of: Literal["false refusal", "recall"]
    at: Text = ""
    value: Share
    low: Share
    high: Share
    on: Annotated[int, Meta(gt=0)]

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError("a measured share lies in its interval")


class GatewayCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check that requests or images went through, with its version."""

    name: Text
    version: Text


class GatewaySealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Withheld images that were sealed in the period, and what of them an authority had received when the card was signed."""

    sealed: Told
    received: Told
    unsent: Told


def sealed_told(sealed: int, received: int) -> GatewaySealed:
    """Counts as they may be told: of a part that is small, neither it nor the rest that it could be reckoned from."""
    parts = (received, sealed - received)
    small = any(0 < part < FLOOR for part in parts)
    of_part = [Told(below=sealed + 1) if small and part >= FLOOR else told(part) for part in parts]
    return GatewaySealed(sealed=told(sealed), received=of_part[0], unsent=of_part[1])


class GatewayPeriod(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The predicate: all decisions from the day ``first`` to the day ``last``, both included (UTC)."""

    gateway: Text
    first: date
    last: date
    signed: Moment
    tool: Tool
    decisions: tuple[Sort, ...]
    strikes: Told
    warnings: Told
    suspensions: Told
    appeals: Told
    overturned: Told
    withheld: GatewaySealed | msgspec.UnsetType = msgspec.UNSET  # cards of before do not tell it
    lists: tuple[ListCommitment, ...]
    checks: tuple[GatewayCheck, ...]
    measured: tuple[GatewayMeasure, ...] = ()
    demonstration: bool
    limits: tuple[Text, ...]

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError("the period ends before it begins")
        if self.last >= self.signed_at.astimezone(UTC).date():
            raise ValueError("it was signed before the period was over")
        if not self.checks or not self.limits:
            raise ValueError("a gateway's card names its checks and its limits")
        sorts = [(each.stage, each.action, each.grade, each.category) for each in self.decisions]
        if len(set(sorts)) < len(sorts):
            raise ValueError("a sort of decisions is told twice")

    @property
    def signed_at(self) -> datetime:
        """When it was signed, by the signer's clock."""
        return moment_of(self.signed)


class GatewayStatement(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"type_": "_type", "predicate_type": "predicateType"},
):
    """The in-toto statement. Its subjects are the policies that decided."""

    type_: Literal["https://in-toto.io/Statement/v1"] = STATEMENT_TYPE
    subject: Annotated[tuple[Subject, ...], Meta(min_length=1, max_length=1_000)]
    predicate_type: Literal["https://custodes.dev/gateway-card/v1"] = GATEWAY_PREDICATE_TYPE
    predicate: GatewayPeriod

    def __post_init__(self) -> None:
        if any(set(each.digest) != {"sha256"} for each in self.subject):
            raise ValueError("a policy is named by the digest of all that it says")

    def encode(self) -> bytes:
        """The bytes that are signed: keys in a fixed order."""
        return msgspec.json.encode(self, order="sorted")


def policy_subject(name: str, sha256: Sha256) -> Subject:
    """A policy as a subject."""
    return Subject(name=name, digest={"sha256": sha256})


@dataclass(frozen=True, slots=True)
class GatewayVerdict:
    """All checks, in order. ``statement``: only where none failed."""

    checks: tuple[Check, ...]
    statement: GatewayStatement | None = None
    key: VerifierKey | None = None

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return self.statement is not None


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    kind: str = msgspec.field(name="predicateType")


def is_gateway_card(envelope: bytes, keys: Sequence[VerifierKey]) -> bool:
    """Whether one of these keys signed that it is one; whether it is a good one is for ``verify_gateway_card``. Raises ConfigError where there are none."""
    try:
        signed = verify(envelope, PAYLOAD_TYPE, keys).payload
        return msgspec.json.decode(signed, type=_Kind).kind == GATEWAY_PREDICATE_TYPE
    except (InputError, msgspec.MsgspecError):
        return False


def verify_gateway_card(envelope: bytes, keys: Sequence[VerifierKey], now: datetime | None = None) -> GatewayVerdict:
    """Check a gateway's card against the keys that the verifier trusts. Raises ConfigError where there are none."""
    if not keys:
        raise ConfigError(
            "there is no key to verify a card with", hint="get it from the signer, by a way that you trust"
        )
    try:
        verified = verify(envelope, PAYLOAD_TYPE, keys)
    except InputError as error:
        return _failed("signature", f"{error}: nothing of it can be believed")
    if not is_document(envelope, PAYLOAD_TYPE, verified):
        return _failed("signature", "the file was changed around what was signed")
    try:
        statement = msgspec.json.decode(verified.payload, type=GatewayStatement)
    except msgspec.MsgspecError as error:
        return _failed("statement", f"it is no gateway's card, or it contradicts itself: {error}")
    if statement.encode() != verified.payload:
        return _failed("statement", "it is not written as a card is written")
    period = statement.predicate
    if period.signed_at > (now or datetime.now(UTC)) + AHEAD_MAX:
        return _failed("time", f"it says that it was signed at {period.signed}, which is still to come")
    checks = (
        Check("signature", "passed", f"{verified.key.name} signed exactly these bytes"),
        Check("statement", "passed", "it is whole and does not contradict itself"),
        Check("time", "passed", f"{period.first} to {period.last}, signed {period.signed}, by the signer's clock"),
        *_notes(period),
    )
    return GatewayVerdict(checks, statement, verified.key)


def _failed(name: str, means: str) -> GatewayVerdict:
    return GatewayVerdict((Check(name, "failed", means),))


def _notes(period: GatewayPeriod) -> list[Check]:
    found = []
    if period.demonstration:
        found.append(Check("authority", "note", "a demonstration: what was withheld was sealed to nobody's key"))
    if period.tool.unsafe:
        found.append(Check("guards", "note", f"guards were switched off: {', '.join(period.tool.unsafe)}"))
    if not period.lists:
        found.append(Check("lists", "note", "images were compared with no list"))
    found += [Check("lists", "note", f"list {used.id} was past its age") for used in period.lists if used.stale_since]
    missing = [of for of in ("false refusal", "recall") if of not in {each.of for each in period.measured}]
    if missing:
        found.append(Check("measured", "note", f"{' and '.join(missing)} were not measured"))
    return found
