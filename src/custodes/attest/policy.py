"""What a verifier asks of a card before relying on it: whose keys, for which time, and what must stand in it. One TOML file, read strictly.

Promises that an error names the field, that what is left out is the careful choice (a whole run, guards on, no demonstration), and that a card of a key
outside its time, or revoked, fails. A time counts that a witness of a log vouches for; without one it is the signer's own clock. Reading files and
following ``[log]`` is for those above. It needs nothing but ``crypto`` and ``model``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from custodes.attest.keyring import Grounds, TrustedKey
from custodes.attest.statement import Examination
from custodes.attest.verification import AHEAD_MAX, Check
from custodes.crypto.keys import VerifierKey
from custodes.errors import ConfigError
from custodes.model import OutcomeName

__all__ = ["Policy", "Require", "check_key", "check_required", "read_policy"]

_HINT: Final = "see docs/guides/verify-a-card.md"


class SignerRule(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"begins": "from", "ends": "until"}
):
    """``[[signers]]``: a key, and the days (UTC, the last one included) on which it counts."""

    key: str
    begins: date | None = None
    ends: date | None = None
    revoked: date | None = None
    reason: Grounds | None = None

    def __post_init__(self) -> None:
        try:
            VerifierKey.parse(self.key)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if self.begins and self.ends and self.ends < self.begins:
            raise ValueError("until is before from")
        if self.ends == date.max:
            raise ValueError("until is the last of all days: leave it out")
        if (self.revoked is None) != (self.reason is None):
            raise ValueError("revoked (a day) and reason (superseded or compromised) go together")

    def trusted(self) -> TrustedKey:
        """The key with its times."""
        return TrustedKey(
            VerifierKey.parse(self.key),
            begins=_midnight(self.begins),
            ends=_midnight(self.ends + timedelta(days=1)) if self.ends else None,
            revoked=_midnight(self.revoked),
            reason=self.reason,
        )


class Require(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[require]``: what a card must say of itself."""

    lists: tuple[str, ...] = ()
    passes: tuple[Literal["columns", "bytes", "similar"], ...] = ()
    complete: bool = True
    demonstration: bool = False
    guards: bool = True
    log: bool = False
    age_days_max: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    examined_share_min: Annotated[float, Meta(ge=0, le=1)] = 0.0


class LogRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[log]``: a file as C2SP tlog-policy has it, beside this one."""

    policy: Annotated[str, Meta(min_length=1)]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    signers: Annotated[tuple[SignerRule, ...], Meta(min_length=1, max_length=1000)]
    require: Require = Require()
    log: LogRule | None = None

    def __post_init__(self) -> None:
        publics = {VerifierKey.parse(rule.key).public for rule in self.signers}
        if len(publics) != len(self.signers):
            raise ValueError("signers names one key twice")
        if self.require.log and self.log is None:
            raise ValueError("require.log asks for a log, and [log] names none")

    def keys(self) -> tuple[TrustedKey, ...]:
        """The keys that it trusts."""
        return tuple(rule.trusted() for rule in self.signers)


def read_policy(text: str) -> Policy:
    """Raises ConfigError, naming the field, for what is no policy."""
    try:
        return msgspec.convert(tomllib.loads(text), Policy)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"the policy cannot be used: {error}", hint=_HINT) from error


def check_key(trusted: TrustedKey, signed: datetime, witnessed: datetime | None) -> Check:
    """Whether a key counted when it signed. ``witnessed``: when, at the latest, witnesses of a log had seen the card."""
    if fault := next(_faults(trusted, signed, witnessed), None):
        return _failed("key", fault)
    by = "the signer's clock" if witnessed is None else f"witnesses of the log, who saw it by {_text(witnessed)}"
    later = f"; it was revoked later, at {_text(trusted.revoked)}" if trusted.revoked else ""
    return Check("key", "passed", f"the key of {trusted.key.name} counted when it signed, by {by}{later}")


def _faults(trusted: TrustedKey, signed: datetime, witnessed: datetime | None) -> Iterator[str]:
    name = trusted.key.name
    if trusted.reason == "compromised":
        yield f"the key of {name}, or one that vouched for it, was compromised: nothing that it signed can be believed"
    if witnessed is not None and signed > witnessed + AHEAD_MAX:
        yield f"it says that it was signed at {_text(signed)}, and witnesses of the log had seen it by {_text(witnessed)}"
    if not trusted.spans(signed):
        yield f"signed at {_text(signed)}, by the signer's clock: the key of {name} counts {_span(trusted)}"
    if witnessed is not None and trusted.ends is not None and witnessed >= trusted.ends:
        yield (
            f"witnesses of the log saw it first by {_text(witnessed)}: the key of {name} counts {_span(trusted)}. "
            "If it was logged earlier, give the proof that was made then"
        )
    if trusted.revoked is not None and (witnessed is None or witnessed >= trusted.revoked):
        yield f"the key of {name} was revoked at {_text(trusted.revoked)}, and no witness of a log saw the card before"


def check_required(told: Examination, require: Require, now: datetime) -> Iterator[Check]:
    """Each demand in a line, in the order of the file."""
    if require.lists:
        lacking = sorted(set(require.lists) - {used.id for used in told.lists})
        yield _asked("required lists", not lacking, "all were compared with", f"not compared with {', '.join(lacking)}")
    if require.passes:
        left = sorted(set(require.passes) - set(told.passes))
        yield _asked("required passes", not left, "all were made", f"not made: {', '.join(left)}")
    if require.complete:
        yield _asked(
            "whole", told.complete, "the run was finished", "the run was not finished, and a whole one is asked for"
        )
    if not require.demonstration:
        yield _asked(
            "no demonstration",
            not told.demonstration,
            "findings were sealed to a real key",
            "it is a demonstration: findings were sealed to nobody's key",
        )
    if require.guards:
        off = ", ".join(told.tool.unsafe)
        yield _asked("guards on", not off, "no guard was switched off", f"switched off: {off}")
    if require.age_days_max is not None:
        age = now - datetime.fromisoformat(told.began)
        held = age <= timedelta(days=require.age_days_max)
        yield _asked(
            "age",
            held,
            f"began {age.days:,} days ago",
            f"began {age.days:,} days ago; at most {require.age_days_max:,} are asked for",
        )
    if require.examined_share_min:
        share = told.outcomes[OutcomeName.EXAMINED] / told.rows if told.rows else 0.0
        words = f"{share:.4f} of the rows were examined"
        yield _asked(
            "share",
            share >= require.examined_share_min,
            words,
            f"{words}; at least {require.examined_share_min} is asked for",
        )


def _asked(name: str, held: bool, good: str, bad: str) -> Check:
    return Check(name, "passed", good) if held else _failed(name, bad)


def _failed(name: str, means: str) -> Check:
    return Check(name, "failed", means)


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _span(trusted: TrustedKey) -> str:
    begins = f"from {_text(trusted.begins)}" if trusted.begins else ""
    return f"{begins} {f'until before {_text(trusted.ends)}' if trusted.ends else ''}".strip()
