"""From facts to a verdict: the gravest rule that applies.

Pure, and total: the same facts give the same verdict in any order and number. A fact that the policy does not know stops, a broken check stops whatever the
policy says, and what was written to be hidden is refused where it would have been rewritten. So a further fact never makes a verdict milder, but where a rule
says ``unless``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from custodes.gateway.rules.policy import Policy, Rule, asks
from custodes.gateway.vocabulary import Action, Category, Fact, Grade, Stage, Verdict

__all__ = ["Weighed", "decide", "weigh"]

NOTHING: Final = "nothing that a rule asks for"
_STOP: Final = {Stage.INPUT: Action.REFUSE, Stage.OUTPUT: Action.WITHHOLD}

FAULT: Final = Rule(
    name="a check could not do its work",
    when=("fault:*",),
    action=Action.WITHHOLD,
    grade=Grade.SOFT,
    category=Category.UNREADABLE,
)
UNKNOWN: Final = Rule(
    name="a fact that no rule of the policy knows", when=("unheard-of",), action=Action.WITHHOLD, grade=Grade.SOFT
)
HIDDEN: Final = Rule(
    name="what was written to be hidden is not rewritten",
    when=("obfuscation",),
    action=Action.REFUSE,
    stage="input",
    grade=Grade.SOFT,
    category=Category.OBFUSCATION,
)
"""Rules that every policy has, whatever its file says. None can be acknowledged."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A rule that applies, and the facts that it asked for."""

    rule: Rule
    facts: tuple[Fact, ...]

    @property
    def gravity(self) -> tuple[int, bool, int]:
        """Hard before soft before rewritten before allowed; then what is reported, then what counts more."""
        rank = 3 if self.rule.grade is Grade.HARD else 2 if self.rule.stops else int(self.rule.action is Action.REWRITE)
        return rank, self.rule.report, self.rule.strikes


def decide(policy: Policy, facts: Iterable[Fact], stage: Stage, *, acknowledged: bool = False) -> Verdict:
    """The verdict. ``acknowledged``: the caller was told and goes on; it helps against the soft rules that say so, and no others."""
    found = weigh(policy, facts, stage, acknowledged=acknowledged)
    if not found:
        return Verdict(Action.ALLOW, NOTHING)
    gravest = found[0].rule
    return Verdict(
        action=_STOP[stage] if gravest.stops else gravest.action,
        rule=gravest.name,
        grade=gravest.grade,
        category=gravest.category,
        report=any(each.rule.report for each in found),
        strikes=max(each.rule.strikes for each in found),
        facts=found[0].facts,
    )


def weigh(policy: Policy, facts: Iterable[Fact], stage: Stage, *, acknowledged: bool = False) -> Sequence[Weighed]:
    """Every rule that applies, the gravest first; of equally grave ones the policy's earlier one."""
    known = sorted(set(facts), key=_order)
    found = [*_built_in(policy, known)]
    for rule in policy.rules:
        if rule.at(stage) and not (acknowledged and rule.acknowledge) and (asked := _asked(rule, known)):
            found.append(Weighed(rule, asked))
    if any(each.rule.action is Action.REWRITE for each in found) and (hidden := _asked(HIDDEN, known)):
        found.append(Weighed(HIDDEN, hidden))
    return sorted(found, key=lambda each: each.gravity, reverse=True)  # stable: equals stay in their order


def _built_in(policy: Policy, facts: Sequence[Fact]) -> Iterator[Weighed]:
    if broken := _asked(FAULT, facts):
        yield Weighed(FAULT, broken)
    if unknown := _unknown(policy, facts):
        yield Weighed(UNKNOWN, unknown)


def _unknown(policy: Policy, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if not policy.knows(fact.name) and not asks(FAULT.when[0], fact.name))


def _asked(rule: Rule, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """The facts that it asks for; none where it does not apply."""
    if any(asks(pattern, fact.name) for pattern in rule.unless for fact in facts):
        return ()
    found = [[fact for fact in facts if _reaches(rule, pattern, fact)] for pattern in rule.when]
    if not all(found):
        return ()
    return tuple(sorted({fact for some in found for fact in some}, key=_order))


def _reaches(rule: Rule, pattern: str, fact: Fact) -> bool:
    if not asks(pattern, fact.name):
        return False
    least = rule.least.get(pattern)
    return least is None or fact.score is None or not fact.score < least  # what is no number reaches: never passed over


def _order(fact: Fact) -> tuple[str, str, str, str, str]:
    return fact.name, fact.stage.value, fact.by, fact.where, repr(fact.score)
