"""Cases that a policy must decide so, and recorded decisions that a change of it would decide otherwise.

Promises that both hold names of facts and verdicts alone: nothing of a prompt or an image. Recording is for ``people``.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from custodes.errors import ConfigError, InputError
from custodes.gateway.rules.deciding import decide
from custodes.gateway.rules.policy import STOPS, Policy
from custodes.gateway.vocabulary import Action, Category, Fact, Grade, Stage, Verdict

__all__ = [
    "Case",
    "Cases",
    "Compared",
    "Differ",
    "Missed",
    "Noted",
    "Recorded",
    "compared",
    "fact_of",
    "missed",
    "read_cases",
    "read_records",
]

_FACT: Final = re.compile(r"([^=\s]{1,200})(?:=([0-9.]{1,10}))?")
LINE_BYTES_MAX: Final = 1 << 20


def fact_of(text: str, stage: Stage) -> Fact:
    """``name`` or ``name=score``. Raises InputError."""
    found = _FACT.fullmatch(text)
    try:
        score = float(found[2]) if found and found[2] else None
    except ValueError:
        found = None
    if found is None or (score is not None and not 0 <= score <= 1):
        raise InputError(f"{text!r} is no fact", hint="write context:umbrella, or explicit=0.4")
    return Fact(found[1], stage, "stated", score)


# -- cases


class Case(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must come of these facts. What is left out is not asked. ``expect``: refuse and withhold mean the same."""

    name: Annotated[str, Meta(min_length=3, max_length=200)]
    facts: tuple[str, ...] = ()
    stage: Stage = Stage.INPUT
    acknowledged: bool = False
    expect: Action
    grade: Grade | None = None
    category: Category | None = None
    rule: str | None = None
    report: bool | None = None
    strikes: int | None = None


class Cases(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of cases. ``policy``: an embedded one, or a file beside it."""

    policy: str = ""
    cases: Annotated[tuple[Case, ...], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Missed:
    """A case that the policy decides otherwise, and how."""

    name: str
    what: Mapping[str, tuple[str, str]]
    """Field -> what is expected, what is decided."""


def read_cases(text: str) -> Cases:
    """Raises ConfigError."""
    try:
        found = msgspec.convert(tomllib.loads(text), Cases)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"the cases cannot be used: {error}", hint="see docs/formats/gateway-policy.md") from error
    names = Counter(case.name for case in found.cases)
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise ConfigError(f"two cases have one name: {twice!r}")
    return found


def missed(policy: Policy, cases: Iterable[Case]) -> Iterator[Missed]:
    """The cases that do not come out as they should."""
    for case in cases:
        facts = [fact_of(text, case.stage) for text in case.facts]
        verdict = decide(policy, facts, case.stage, acknowledged=case.acknowledged)
        if what := dict(_unlike(case, verdict)):
            yield Missed(case.name, what)


def _unlike(case: Case, verdict: Verdict) -> Iterator[tuple[str, tuple[str, str]]]:
    if case.expect is not verdict.action and not {case.expect, verdict.action} <= STOPS:
        yield "action", (case.expect.value, verdict.action.value)
    for name in ("grade", "category", "rule", "report", "strikes"):
        wanted, got = getattr(case, name), getattr(verdict, name)
        if wanted is not None and wanted != got:
            yield name, (str(wanted), str(got))


# -- recorded decisions


class Noted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A fact as it is recorded: without where and by whom it was noticed."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    score: float | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of recorded decisions. ``id``, ``at``: as the ledger names it; ``policy``: the version that decided."""

    stage: Stage
    facts: tuple[Noted, ...]
    action: Action
    grade: Grade = Grade.NONE
    acknowledged: bool = False
    rule: str = ""
    policy: str = ""
    id: str = ""
    at: str = ""

    def decided_by(self, policy: Policy) -> Verdict:
        """What this policy makes of the same facts."""
        facts = [Fact(noted.name, self.stage, "recorded", noted.score) for noted in self.facts]
        return decide(policy, facts, self.stage, acknowledged=self.acknowledged)


@dataclass(frozen=True, slots=True)
class Differ:
    """A recorded decision that two policies decide differently. ``line``: where it stands."""

    line: int
    id: str
    stage: Stage
    facts: tuple[str, ...]
    old: Verdict
    new: Verdict


def read_records(lines: Iterable[bytes]) -> Iterator[Recorded]:
    """One for each line of NDJSON. Raises InputError, naming the line."""
    decoder = msgspec.json.Decoder(Recorded)
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_BYTES_MAX:
            raise InputError(f"line {number} of the records is longer than {LINE_BYTES_MAX} bytes")
        try:
            yield decoder.decode(line)
        except msgspec.DecodeError as error:  # its text names fields
            raise InputError(f"line {number} of the records: {error}") from None


@dataclass(frozen=True, slots=True)
class Compared:
    """How many records there are, and those that the two policies decide differently, in anything that counts."""

    records: int
    differ: Sequence[Differ]


def compared(old: Policy, new: Policy, records: Iterable[Recorded]) -> Compared:
    """What a change from the old policy to the new one would have changed."""
    line, found = 0, []
    for line, record in enumerate(records, 1):  # the last number is the count
        before, after = record.decided_by(old), record.decided_by(new)
        if _weight(before) != _weight(after):
            found.append(
                Differ(line, record.id, record.stage, tuple(each.name for each in record.facts), before, after)
            )
    return Compared(line, found)


def _weight(verdict: Verdict) -> Sequence[object]:
    return verdict.action, verdict.grade, verdict.category, verdict.report, verdict.strikes
