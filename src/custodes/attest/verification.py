"""Whether a card may be believed, and how far: each check in a line, offline. It needs nothing but ``crypto`` and ``model``.

Promises that a card passes only if a trusted key signed exactly these bytes and they add up, that what weakens it is said beside that, and that nothing of a
card which did not verify is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import msgspec

from custodes.attest.statement import PAYLOAD_TYPE, Examination, Statement
from custodes.crypto.dsse import Verified, document, is_document, verify
from custodes.crypto.keys import VerifierKey
from custodes.errors import ConfigError, InputError
from custodes.model import OutcomeName

__all__ = ["Check", "Verdict", "card_bytes", "verify_card"]

AHEAD_MAX: Final = timedelta(days=1)

State = Literal["passed", "failed", "note"]


@dataclass(frozen=True)
class Check:
    """One check. ``note``: it did not fail, and a reader must know it."""

    name: str
    state: State
    means: str


@dataclass(frozen=True)
class Verdict:
    """All checks, in order. ``statement``: only where none failed. ``key``: which of the trusted keys signed."""

    checks: tuple[Check, ...]
    statement: Statement | None
    key: VerifierKey | None = None

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return self.statement is not None

    @property
    def signer(self) -> str:
        """Who signed, by name."""
        return self.key.name if self.key else ""

    def and_checks(self, more: Iterable[Check]) -> Verdict:
        """The same with more checks, which may fail it."""
        added = tuple(more)
        failed = any(check.state == "failed" for check in added)
        return replace(self, checks=(*self.checks, *added), statement=None if failed else self.statement)


def verify_card(envelope: bytes, keys: Sequence[VerifierKey], now: datetime | None = None) -> Verdict:
    """Check a card against the keys that the verifier trusts. Raises ConfigError where there are none."""
    if not keys:
        raise ConfigError(
            "there is no key to verify a card with", hint="get it from the signer, by a way that you trust"
        )
    try:
        verified = verify(envelope, PAYLOAD_TYPE, keys)
    except InputError as error:
        return Verdict((Check("signature", "failed", f"{error}: nothing of it can be believed"),), None)
    payload, key = verified
    if not _as_written(envelope, verified):
        return Verdict((Check("signature", "failed", "the file was changed around what was signed"),), None)
    signed = Check("signature", "passed", f"{key.name} signed exactly these bytes")
    try:
        statement = msgspec.json.decode(payload, type=Statement)
    except msgspec.ValidationError as error:
        return Verdict(
            (signed, Check("statement", "failed", f"it is no card, or its numbers do not add up: {error}")), None
        )
    except msgspec.DecodeError:
        return Verdict((signed, Check("statement", "failed", "what was signed is not JSON")), None)
    if statement.encode() != payload:
        return Verdict((signed, Check("statement", "failed", "it is not written as a card is written")), None)
    told = statement.predicate
    sums = Check("statement", "passed", "outcomes and reasons sum to the rows")
    return Verdict((signed, sums), statement, key).and_checks([*_times(told, now or datetime.now(UTC)), *_notes(told)])


def card_bytes(payload: bytes, signature: bytes, key: VerifierKey) -> bytes:
    """The one way in which a card is written."""
    return document(PAYLOAD_TYPE, payload, signature, key)


def _as_written(envelope: bytes, verified: Verified) -> bool:
    return is_document(envelope, PAYLOAD_TYPE, verified)


def _times(told: Examination, now: datetime) -> Iterator[Check]:
    if datetime.fromisoformat(told.signed) > now + AHEAD_MAX:
        yield Check("time", "failed", f"it says that it was signed at {told.signed}, which is still to come")
    else:
        yield Check("time", "passed", f"began {told.began}, signed {told.signed}, by the signer's clock")


def _notes(told: Examination) -> Iterator[Check]:
    if told.demonstration:
        yield Check("authority", "note", "a demonstration: findings were sealed to nobody's key")
    if told.tool.unsafe:
        yield Check("guards", "note", f"guards were switched off: {', '.join(told.tool.unsafe)}")
    if not told.complete:
        yield Check("coverage", "note", "the run was not finished: rows that were left are in no figure")
    for used in told.lists:
        if used.stale_since:
            yield Check("lists", "note", f"list {used.id} was past its age")
    for one in told.detectors:
        if one.kind != "near-hash" and not one.measured:
            yield Check("detectors", "note", f"how much {one.name} finds was not measured")
    if told.commitment is None:
        yield Check("rows", "note", "it commits to no outcome of a row: an auditor has nothing to challenge")
    away = told.rows - told.outcomes[OutcomeName.EXAMINED]
    yield Check("reach", "note", f"{away:,} of {told.rows:,} rows were not examined")
