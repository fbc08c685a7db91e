"""Policies: typed, dated rules that say what facts lead to. One TOML file, read strictly, alone or on top of another.

Promises, at reading: a policy stops something; no file allows, excuses or switches off a broken check; what is hard has no exception, is never acknowledged and
never rewritten; a file that stands on another keeps every rule of it, but for those that it may switch off by name. Deciding is for ``deciding``.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from custodes.errors import ConfigError
from custodes.gateway.vocabulary import Action, Category, Grade, Stage, Verdict

__all__ = [
    "EMBEDDED",
    "STOPS",
    "Change",
    "Keep",
    "Policy",
    "Rule",
    "asks",
    "embedded",
    "load_policy",
    "read_policy",
    "switched",
]

EMBEDDED: Final = ("strict", "uk", "us", "eu", "demo")
STOPS: Final = frozenset({Action.REFUSE, Action.WITHHOLD})
"""One thing in two words: a request is refused, an image withheld."""

POLICY_BYTES_MAX: Final = 1 << 20
BASES_MAX: Final = 4
_HINT: Final = "see docs/formats/gateway-policy.md"
_FACT: Final = re.compile(r"[a-z][a-z0-9-]*(?::(?:[a-z0-9][a-z0-9_./-]*|\*))?")
_FAULT: Final = "fault:"

Keep = Literal["hard", "reported", "all"]
"""Which withheld images are sealed: those of hard rules, those that are reported, or all. The others are destroyed."""

Sentence = Annotated[str, Meta(min_length=3, max_length=200)]
Asked = Annotated[tuple[str, ...], Meta(min_length=1, max_length=8)]
Share = Annotated[float, Meta(ge=0, le=1)]


def asks(pattern: str, name: str) -> bool:
    """Whether a fact's name is one that a rule asks for: the name itself, or all of a kind (``known:*``)."""
    return name.startswith(pattern[:-1]) if pattern.endswith(":*") else name == pattern


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One change of a prompt: these terms, or all terms of a context of the lexicon, become ``by``; empty: they are dropped."""

    terms: tuple[Annotated[str, Meta(min_length=1, max_length=200)], ...] = ()
    context: str = ""
    by: Annotated[str, Meta(max_length=500)] = ""

    def __post_init__(self) -> None:
        if bool(self.terms) == bool(self.context):
            raise ValueError("a change names either terms or a context")

    def __repr__(self) -> str:
        return f"<Change {self.context or len(self.terms)}>"  # terms may be of an operator's lexicon


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Applies where all facts of ``when`` are there, as strong as ``least`` says, and none of ``unless``. ``name``: a sentence.

    ``switch``: the name by which a policy on top may leave it out.
    """

    name: Sentence
    when: Asked
    action: Action
    stage: Literal["input", "output", "any"] = "any"
    unless: tuple[str, ...] = ()
    least: dict[str, Share] = {}
    grade: Grade = Grade.NONE
    category: Category = Category.SAFETY
    report: bool = False
    strikes: Annotated[int, Meta(ge=0, le=100)] = 0
    acknowledge: bool = False
    switch: str = ""
    changes: tuple[Change, ...] = ()
    add: Annotated[str, Meta(max_length=500)] = ""

    def __post_init__(self) -> None:
        for wrong in (*_forms(self), *_stopping(self), *_careful(self)):
            raise ValueError(f"rule {self.name!r}: {wrong}")

    @property
    def stops(self) -> bool:
        """Whether it refuses or withholds."""
        return self.action in STOPS

    def at(self, stage: Stage) -> bool:
        """Whether it is asked at this stage."""
        return self.stage in ("any", stage.value)


def _forms(rule: Rule) -> Iterator[str]:
    yield from (f"{fact!r} is not the name of a fact" for fact in (*rule.when, *rule.unless) if not _is_fact(fact))
    if set(rule.least) - set(rule.when):
        yield "least names a fact that when does not"
    if set(rule.unless) & set(rule.when):
        yield "unless names a fact that when asks for"
    if (rule.changes or rule.add) and rule.action is not Action.REWRITE:
        yield "only a rule that rewrites has changes"


def _stopping(rule: Rule) -> Iterator[str]:
    if rule.stops == (rule.grade is Grade.NONE):
        yield "what refuses or withholds is hard or soft, and nothing else is"
    if not rule.stops and (rule.report or rule.strikes or rule.acknowledge):
        yield "only what refuses or withholds is reported, counted or acknowledged"
    if rule.action is Action.REWRITE and rule.stage != "input":
        yield "only a request is rewritten: stage is input"
    if rule.acknowledge and rule.stage != "input":
        yield "only a request is acknowledged: stage is input"


def _careful(rule: Rule) -> Iterator[str]:
    if rule.grade is Grade.HARD and (rule.unless or rule.acknowledge or rule.switch):
        yield "a hard rule has no unless, no acknowledge and no switch"
    if rule.grade is Grade.HARD and rule.category is not Category.SAFETY:
        yield "of a hard rule nothing is told but safety"
    faults = any(_of_faults(fact) for fact in rule.when)
    if any(_of_faults(fact) for fact in rule.unless) or (
        faults and (not rule.stops or rule.acknowledge or rule.switch or rule.unless or rule.least)
    ):
        yield "a broken check always stops, and excuses nothing"


def _is_fact(pattern: str) -> bool:
    return len(pattern) <= 100 and _FACT.fullmatch(pattern) is not None


def _of_faults(pattern: str) -> bool:
    return pattern.startswith(_FAULT) or pattern == _FAULT[:-1]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What is in force: the rules of a file and of all that it stands on. ``bases``: the versions of those."""

    name: str
    as_of: datetime.date
    source: str
    keep: Keep
    rules: tuple[Rule, ...]
    harmless: tuple[str, ...] = ()
    jurisdiction: str = ""
    note: str = ""
    bases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not any(rule.stops for rule in self.rules):
            raise ValueError("the policy is empty: it stops nothing")
        names = [rule.name for rule in self.rules]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two rules have one name: {twice!r}")
        for fact in self.harmless:
            if not _is_fact(fact) or _of_faults(fact):
                raise ValueError(f"harmless names {fact!r}: not a fact, or a broken check")

    @cached_property
    def version(self) -> str:
        """The SHA-256 of all that it says."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    @cached_property
    def switches(self) -> frozenset[str]:
        """What a policy on top may leave out."""
        return frozenset(rule.switch for rule in self.rules if rule.switch)

    def knows(self, name: str) -> bool:
        """Whether a rule asks for this fact, or it is listed as harmless."""
        return any(asks(pattern, name) for pattern in self._known)

    def keeps(self, verdict: Verdict) -> bool:
        """Whether what this verdict withholds is sealed; else it is destroyed."""
        if verdict.action not in STOPS:
            return False
        return verdict.report or self.keep == "all" or (self.keep == "hard" and verdict.grade is Grade.HARD)

    @cached_property
    def _known(self) -> tuple[str, ...]:
        asked = (fact for rule in self.rules for fact in (*rule.when, *rule.unless))
        return tuple(sorted({*self.harmless, *asked}))


class _Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[policy]``."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    as_of: datetime.date
    source: Annotated[str, Meta(min_length=1)]
    base: str = ""
    jurisdiction: str = ""
    note: str = ""
    keep: Keep | None = None
    harmless: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    policy: _Head
    rules: tuple[Rule, ...] = ()


def read_policy(text: str, home: Path | None = None, *, depth: int = 0) -> Policy:
    """The policy of a file's text. ``home``: the folder that a base's file name is relative to. Raises ConfigError."""
    try:
        file = msgspec.convert(tomllib.loads(text), _File)
        base = _base(file.policy.base, home, depth) if file.policy.base else None
        return _alone(file) if base is None else _on_top(base, file)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise ConfigError(f"the policy cannot be used: {error}", hint=_HINT) from error


def load_policy(named: str, home: Path | None = None, *, depth: int = 0) -> Policy:
    """An embedded policy by its name, or the one in a file, whose name ends with .toml. Raises ConfigError."""
    if not named.endswith(".toml"):
        return embedded(named)
    path = (home or Path()) / named
    try:
        with path.open("rb") as file:
            data = file.read(POLICY_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"the policy {path} cannot be read: {error.strerror}") from error
    if not data or len(data) > POLICY_BYTES_MAX:
        raise ConfigError(f"the policy {path} is empty, or longer than {POLICY_BYTES_MAX} bytes", hint=_HINT)
    try:
        return read_policy(data.decode("utf-8"), path.parent, depth=depth)
    except UnicodeDecodeError as error:
        raise ConfigError(f"the policy {path} is not UTF-8") from error


@cache
def embedded(name: str) -> Policy:
    """One of ours. Raises ConfigError for a name that is none of them."""
    if name not in (*EMBEDDED, "core"):
        raise ConfigError(f"there is no policy {name!r}", hint=f"use one of {', '.join(EMBEDDED)}, or a file.toml")
    text = resources.files("custodes.gateway.rules").joinpath("policies", f"{name}.toml").read_text(encoding="utf-8")
    return read_policy(text, depth=1)


def _base(named: str, home: Path | None, depth: int) -> Policy:
    if depth >= BASES_MAX:
        raise ConfigError(f"policies stand on each other more than {BASES_MAX} deep, or in a ring")
    if named.endswith(".toml") and home is None:
        raise ConfigError("a policy that is no file cannot stand on one")
    return load_policy(named, home, depth=depth + 1)


def _alone(file: _File) -> Policy:
    head = file.policy
    if head.off:
        raise ValueError("off is for a policy that stands on another")
    return Policy(
        name=head.name,
        jurisdiction=head.jurisdiction,
        as_of=head.as_of,
        source=head.source,
        note=head.note,
        keep=head.keep or "hard",
        harmless=tuple(sorted(set(head.harmless))),
        rules=file.rules,
    )


def switched(base: Policy, off: Sequence[str]) -> Policy:
    """The policy without the rules that it lets be left out by these names. Raises ConfigError for a name that is none of its switches."""
    if unknown := sorted(set(off) - base.switches):
        allowed = ", ".join(sorted(base.switches)) or "nothing"
        raise ConfigError(f"the policy {base.name} does not let {unknown[0]!r} be left out", hint=f"it lets {allowed}")
    if not off:
        return base
    left = [rule for rule in base.rules if rule.switch and rule.switch in off]
    known = {fact for rule in left for fact in (*rule.when, *rule.unless)}
    return msgspec.structs.replace(
        base,
        rules=tuple(rule for rule in base.rules if rule not in left),
        harmless=tuple(sorted({*base.harmless, *known})),
        bases=(*base.bases, base.version),
    )


def _on_top(under: Policy, file: _File) -> Policy:
    """All of the base but what is switched off, and what the file adds. More rules only make a verdict graver: the gravest wins."""
    head, base = file.policy, switched(under, file.policy.off)
    return Policy(
        name=head.name,
        jurisdiction=head.jurisdiction or base.jurisdiction,
        as_of=head.as_of,
        source=head.source,
        note=head.note,
        keep=head.keep or base.keep,
        harmless=tuple(sorted({*base.harmless, *head.harmless})),
        rules=(*base.rules, *file.rules),
        bases=(*base.bases, base.version),
    )
