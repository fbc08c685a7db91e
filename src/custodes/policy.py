"""From signals to a decision: rules as data, in order, the first that fits decides.

Pure, and total: the same signals give the same decision in any order, and signals that no rule covers are held, never passed over. It
knows roles, kinds, meanings and assurances. What an authority's category means is for ``lists.meaning``, what a jurisdiction asks for is
for ``jurisdictions``; how a signal came about, and what is done about a decision, is for others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from custodes.errors import ConfigError
from custodes.model import URL_KINDS, Action, Decision, Kind, Meaning, Role, Signal

__all__ = [
    "DEFAULT_ACTIONS",
    "DEFAULT_POLICY",
    "DEFAULT_RULES",
    "UNREVIEWED",
    "Actions",
    "Fact",
    "Policy",
    "Rule",
    "Standing",
    "decide",
    "rules_of",
]

UNREVIEWED: Final = "unreviewed"
"""The assurance of an entry that its authority shares without having looked at it."""


class Standing(StrEnum):
    """What a confirmed entry stands for: its meaning, and whether its authority reviewed it. The gravest first."""

    CONFIRMED = "confirmed"
    """Child abuse material, reviewed by the list's authority."""
    UNREVIEWED = "unreviewed"
    """Said or suspected to be child abuse material, and not reviewed: such as what its subjects hashed themselves."""
    SUSPECTED = "suspected"
    EXPLOITATIVE = "exploitative"
    NCII = "ncii"
    UNMAPPED = "unmapped"


class Fact(StrEnum):
    """What a rule can ask of an item: is there a signal of this sort?"""

    EXACT_CONFIRMED = "exact-confirmed"
    EXACT_UNREVIEWED = "exact-unreviewed"
    EXACT_SUSPECTED = "exact-suspected"
    EXACT_EXPLOITATIVE = "exact-exploitative"
    EXACT_NCII = "exact-ncii"
    EXACT_UNMAPPED = "exact-unmapped"
    NEAR_CONFIRMED = "near-confirmed"
    NEAR_UNREVIEWED = "near-unreviewed"
    NEAR_SUSPECTED = "near-suspected"
    NEAR_EXPLOITATIVE = "near-exploitative"
    NEAR_NCII = "near-ncii"
    NEAR_UNMAPPED = "near-unmapped"
    EXACT_NEGATIVE = "exact-negative"
    NEAR_NEGATIVE = "near-negative"
    URL_NEGATIVE = "url-negative"
    SEED = "seed"


class Actions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What matches with entries of one standing lead to."""

    exact: Action
    near: Action


@dataclass(frozen=True, slots=True)
class Rule:
    """Applies to an item with all the facts of ``needs`` and none of ``unless``. Its name stands in every decision it makes."""

    name: str
    needs: frozenset[Fact]
    action: Action
    unless: frozenset[Fact] = frozenset()


_HELD: Final = Actions(exact=Action.HOLD, near=Action.HOLD)

DEFAULT_ACTIONS: Final[Mapping[Standing, Actions]] = {
    standing: Actions(exact=Action.REPORT, near=Action.REPORT) if standing is Standing.CONFIRMED else _HELD
    for standing in Standing
}
"""Where no jurisdiction is named: what an authority confirmed is reported, all else is held for it to look into."""


def rules_of(actions: Mapping[Standing, Actions]) -> tuple[Rule, ...]:
    """The rules for these actions: the strongest first, so that one more match with a confirmed entry never weakens a decision.

    Raises ConfigError for actions that would pass over what must not be passed over.
    """
    _check(actions)
    sorts = list(_sorts(actions))
    found = [rule for wanted in (Action.REPORT, Action.HOLD, Action.NONE) for rule in sorts if rule.action is wanted]
    return (*_conflicts(actions), *found, *_DISMISSED)


def _check(actions: Mapping[Standing, Actions]) -> None:
    if absent := [standing.value for standing in Standing if standing not in actions]:
        raise ConfigError(f"the policy says nothing of entries that are {', '.join(absent)}")
    for standing in (Standing.CONFIRMED, Standing.UNREVIEWED):
        if Action.NONE in (actions[standing].exact, actions[standing].near):
            raise ConfigError(f"the policy passes over entries that are {standing.value}", hint="report or hold them")
    if actions[Standing.UNMAPPED] != _HELD:
        raise ConfigError(
            "the policy does not hold entries that are unmapped: what is not understood is held, never acted on",
            hint="say what their category means: [meaning.SCHEME] in the configuration",
        )


def _conflicts(actions: Mapping[Standing, Actions]) -> Iterator[Rule]:
    # Equal bytes were confirmed by one authority and dismissed by another: the authority must see it, not we decide.
    for standing in Standing:
        if actions[standing].exact is Action.REPORT:
            needs = frozenset({Fact(f"exact-{standing}"), Fact.EXACT_NEGATIVE})
            yield Rule(f"exact-{standing}-despite-negative", needs, Action.REPORT)


def _sorts(actions: Mapping[Standing, Actions]) -> Iterator[Rule]:
    for standing in Standing:
        exact = Fact(f"exact-{standing}")
        yield Rule(exact.value, frozenset({exact}), actions[standing].exact)
    # Where these very bytes are a known false positive, that outweighs looking like something.
    for standing in Standing:
        near = Fact(f"near-{standing}")
        yield Rule(near.value, frozenset({near}), actions[standing].near, unless=frozenset({Fact.EXACT_NEGATIVE}))


_DISMISSED: Final = (
    Rule("negative", frozenset({Fact.EXACT_NEGATIVE}), Action.NONE),
    Rule("near-negative", frozenset({Fact.NEAR_NEGATIVE}), Action.NONE),
    Rule("url-negative", frozenset({Fact.URL_NEGATIVE}), Action.NONE),
    Rule("seed-only", frozenset({Fact.SEED}), Action.NONE),
)

DEFAULT_RULES: Final = rules_of(DEFAULT_ACTIONS)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in force."""

    rules: tuple[Rule, ...] = DEFAULT_RULES

    def __post_init__(self) -> None:
        if not self.rules:
            raise ConfigError("the policy is empty: every match would be passed over", hint="use the default policy")
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ConfigError("two rules of the policy have one name")
        for rule in self.rules:
            if not rule.needs:
                raise ConfigError(f"rule {rule.name} needs nothing: it would hide every rule after it")

    def decide(self, signals: Sequence[Signal]) -> Decision:
        """The decision of the first rule that fits; HOLD by ``no-rule`` when none does.

        No signals: NONE by ``no-signal``.
        """
        if not signals:
            return Decision(Action.NONE, "no-signal")
        facts = {_fact(signal) for signal in signals}
        for rule in self.rules:
            if rule.needs <= facts and not rule.unless & facts:
                return Decision(rule.action, rule.name, tuple(signals))
        return Decision(Action.HOLD, "no-rule", tuple(signals))


def _fact(signal: Signal) -> Fact:
    if signal.role is Role.SEED:
        return Fact.SEED
    near = signal.kind is Kind.PDQ  # even at distance 0: two images may share a perceptual hash
    if signal.role is Role.NEGATIVE:
        return _negative(signal, near=near)
    return _CONFIRMED[near, _standing(signal)]


def _standing(signal: Signal) -> Standing:
    if signal.assurance == UNREVIEWED and signal.meaning in (Meaning.CSAM, Meaning.SUSPECTED):
        return Standing.UNREVIEWED
    return Standing.CONFIRMED if signal.meaning is Meaning.CSAM else Standing(signal.meaning.value)


def _negative(signal: Signal, *, near: bool) -> Fact:
    if signal.kind in URL_KINDS:
        # What a link once showed says nothing of what it shows now, so a dismissed link excuses no content.
        return Fact.URL_NEGATIVE
    return Fact.NEAR_NEGATIVE if near else Fact.EXACT_NEGATIVE


_CONFIRMED: Final = {
    (near, standing): Fact(f"{'near' if near else 'exact'}-{standing}")
    for near in (False, True)
    for standing in Standing
}

DEFAULT_POLICY: Final = Policy()


def decide(signals: Sequence[Signal], policy: Policy = DEFAULT_POLICY) -> Decision:
    """What the policy makes of all signals of one item."""
    return policy.decide(signals)
