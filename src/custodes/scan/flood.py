"""The flood guard: a list because of which a great share of a shard would be reported is more likely mistaken, or tampered with, than right.

Promises that nothing is lost (what it holds back is still sealed and handed over, as held), that what another list reports stays reported,
and that the same decisions give the same answer. Pure; counting what it held is for ``shard``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from custodes.lists.matcher import MatchSettings
from custodes.model import Action, Decision, Role
from custodes.policy import Policy

__all__ = ["FLOOD_RULE", "flooding_lists", "held_back"]

FLOOD_RULE: Final = "flood-guard"


def flooding_lists(
    decisions: Iterable[Decision], rows: int, policy: Policy, match: Mapping[str, MatchSettings]
) -> frozenset[str]:
    """The lists each of which alone would have too many of a shard's ``rows`` reported, under its own limits."""
    reported: Counter[str] = Counter()
    for decision in decisions:
        if decision.action is Action.REPORT:
            reported.update(name for name in _lists(decision) if _reports(decision, {name}, policy))
    limits = {name: match.get(name, MatchSettings()) for name in reported}
    return frozenset(
        name
        for name, count in reported.items()
        if count >= limits[name].flood_rows_min and count > limits[name].flood_share_max * rows
    )


def held_back(decision: Decision, flooding: Collection[str], policy: Policy) -> Decision:
    """The decision, held if it is a report that no other list would make."""
    if decision.action is not Action.REPORT or not flooding:
        return decision
    if _reports(decision, _lists(decision) - set(flooding), policy):
        return decision
    return Decision(Action.HOLD, FLOOD_RULE, decision.signals)


def _lists(decision: Decision) -> set[str]:
    return {signal.list_id for signal in decision.signals if signal.role is not Role.NEGATIVE}


def _reports(decision: Decision, lists: Collection[str], policy: Policy) -> bool:
    """Whether these lists alone would report it, under everything that dismisses it."""
    left = [signal for signal in decision.signals if signal.role is Role.NEGATIVE or signal.list_id in lists]
    return policy.decide(left).action is Action.REPORT
