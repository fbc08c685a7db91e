"""From signals to a decision: rules as data, in order, the first that fits decides.

Pure, and total: the same signals give the same decision in any order, and signals that no rule covers are held, never
passed over. It knows roles, kinds and categories; how a signal came about, and what is done about a decision, is for
others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from custodes.errors import ConfigError
from custodes.model import URL_KINDS, Action, Decision, Kind, Role, Signal

__all__ = ["DEFAULT_POLICY", "DEFAULT_RULES", "Fact", "Policy", "Rule", "decide"]


class Fact(StrEnum):
    """What a rule can ask of an item: is there a signal of this sort?"""

    EXACT_CONFIRMED = "exact-confirmed"
    NEAR_CONFIRMED = "near-confirmed"
    EXACT_UNMAPPED = "exact-unmapped"
    NEAR_UNMAPPED = "near-unmapped"
    EXACT_NEGATIVE = "exact-negative"
    NEAR_NEGATIVE = "near-negative"
    URL_NEGATIVE = "url-negative"
    SEED = "seed"


@dataclass(frozen=True, slots=True)
class Rule:
    """Applies to an item with all the facts of ``needs``. Its name stands in every decision it makes."""

    name: str
    needs: frozenset[Fact]
    action: Action


DEFAULT_RULES: Final = (
    # Equal bytes were confirmed by one authority and dismissed by another: the authority must see it, not we decide.
    Rule("exact-confirmed-despite-negative", frozenset({Fact.EXACT_CONFIRMED, Fact.EXACT_NEGATIVE}), Action.REPORT),
    Rule("exact-confirmed", frozenset({Fact.EXACT_CONFIRMED}), Action.REPORT),
    Rule("exact-unmapped", frozenset({Fact.EXACT_UNMAPPED}), Action.HOLD),
    # These very bytes are a known false positive: that outweighs looking like something.
    Rule("negative", frozenset({Fact.EXACT_NEGATIVE}), Action.NONE),
    Rule("near-confirmed", frozenset({Fact.NEAR_CONFIRMED}), Action.REPORT),
    Rule("near-unmapped", frozenset({Fact.NEAR_UNMAPPED}), Action.HOLD),
    Rule("near-negative", frozenset({Fact.NEAR_NEGATIVE}), Action.NONE),
    Rule("url-negative", frozenset({Fact.URL_NEGATIVE}), Action.NONE),
    Rule("seed-only", frozenset({Fact.SEED}), Action.NONE),
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules in force, and per list the categories that are understood.

    A list without an entry there has no unknown ones.
    """

    rules: tuple[Rule, ...] = DEFAULT_RULES
    known_categories: Mapping[str, Collection[str]] = field(default_factory=dict)

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
        facts = {self._fact(signal) for signal in signals}
        for rule in self.rules:
            if rule.needs <= facts:
                return Decision(rule.action, rule.name, tuple(signals))
        return Decision(Action.HOLD, "no-rule", tuple(signals))

    def _fact(self, signal: Signal) -> Fact:
        if signal.role is Role.SEED:
            return Fact.SEED
        near = signal.kind is Kind.PDQ  # even at distance 0: two images may share a perceptual hash
        if signal.role is Role.NEGATIVE:
            return _negative(signal, near=near)
        known = self.known_categories.get(signal.list_id)
        if known is not None and signal.category not in known:
            return Fact.NEAR_UNMAPPED if near else Fact.EXACT_UNMAPPED
        return Fact.NEAR_CONFIRMED if near else Fact.EXACT_CONFIRMED


def _negative(signal: Signal, *, near: bool) -> Fact:
    if signal.kind in URL_KINDS:
        # What a link once showed says nothing of what it shows now, so a dismissed link excuses no content.
        return Fact.URL_NEGATIVE
    return Fact.NEAR_NEGATIVE if near else Fact.EXACT_NEGATIVE


DEFAULT_POLICY: Final = Policy()


def decide(signals: Sequence[Signal], policy: Policy = DEFAULT_POLICY) -> Decision:
    """What the policy makes of all signals of one item."""
    return policy.decide(signals)
