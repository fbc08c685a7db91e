"""What each combination of signals leads to, one sentence a case."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes import policy as module
from custodes.errors import ConfigError
from custodes.model import Action, Kind, Role, Signal
from custodes.policy import DEFAULT_RULES, Fact, Policy, Rule, decide


def signal(kind: Kind, role: Role, *, list_id: str = "one", category: str = "A1") -> Signal:
    return Signal(list_id, f"1-{list_id}", "e1", kind, category, "", role)


EXACT = signal(Kind.SHA256, Role.CONFIRMED)
LINK = signal(Kind.URL_RAW_MD5, Role.CONFIRMED)
NEAR = signal(Kind.PDQ, Role.CONFIRMED)
EXACT_SEED = signal(Kind.MD5, Role.SEED)
NEAR_SEED = signal(Kind.PDQ, Role.SEED)
EXACT_NEGATIVE = signal(Kind.MD5, Role.NEGATIVE)
NEAR_NEGATIVE = signal(Kind.PDQ, Role.NEGATIVE)
LINK_NEGATIVE = signal(Kind.URL_RAW_SHA1, Role.NEGATIVE)
ODD = signal(Kind.MD5, Role.CONFIRMED, list_id="odd", category="?")
ODD_NEAR = signal(Kind.PDQ, Role.CONFIRMED, list_id="odd", category="?")
ODD_KNOWN = signal(Kind.MD5, Role.CONFIRMED, list_id="odd")

CASES = {
    "equal bytes on a list are reported": ([EXACT], Action.REPORT, "exact-confirmed"),
    "an equal link on a list is reported": ([LINK], Action.REPORT, "exact-confirmed"),
    "a near image is reported": ([NEAR], Action.REPORT, "near-confirmed"),
    "a near image at distance 0 is near, not exact": ([NEAR, EXACT_NEGATIVE], Action.NONE, "negative"),
    "bytes dismissed by one list and confirmed by another are reported, with the conflict named": (
        [EXACT, EXACT_NEGATIVE],
        Action.REPORT,
        "exact-confirmed-despite-negative",
    ),
    "dismissed bytes alone are let be": ([EXACT_NEGATIVE], Action.NONE, "negative"),
    "looking like something dismissed does not excuse looking like something confirmed": (
        [NEAR, NEAR_NEGATIVE],
        Action.REPORT,
        "near-confirmed",
    ),
    "looking like something dismissed does not excuse equal bytes": (
        [EXACT, NEAR_NEGATIVE],
        Action.REPORT,
        "exact-confirmed",
    ),
    "looking like something dismissed is let be": ([NEAR_NEGATIVE], Action.NONE, "near-negative"),
    "a dismissed link does not excuse what it shows now": ([NEAR, LINK_NEGATIVE], Action.REPORT, "near-confirmed"),
    "a dismissed link does not excuse equal bytes": ([EXACT, LINK_NEGATIVE], Action.REPORT, "exact-confirmed"),
    "a dismissed link alone is let be": ([LINK_NEGATIVE], Action.NONE, "url-negative"),
    "a seed is searched near, never reported": ([EXACT_SEED, NEAR_SEED], Action.NONE, "seed-only"),
    "a seed takes nothing from a confirmed match": ([NEAR_SEED, NEAR], Action.REPORT, "near-confirmed"),
    "an unknown category is held": ([ODD], Action.HOLD, "exact-unmapped"),
    "an unknown category of a near image is held": ([ODD_NEAR], Action.HOLD, "near-unmapped"),
    "an unknown category is held although other lists dismissed the bytes": (
        [ODD, EXACT_NEGATIVE],
        Action.HOLD,
        "exact-unmapped",
    ),
    "an unknown category takes nothing from a known one": ([ODD, EXACT], Action.REPORT, "exact-confirmed"),
    "a known category of a list that declares them is reported": ([ODD_KNOWN], Action.REPORT, "exact-confirmed"),
    "nothing leads to nothing": ([], Action.NONE, "no-signal"),
}
POLICY = Policy(known_categories={"odd": frozenset({"A1", "B2"})})


@pytest.mark.parametrize(("signals", "action", "rule"), CASES.values(), ids=CASES)
def test_decisions(signals: list[Signal], action: Action, rule: str) -> None:
    for order in itertools.permutations(signals):
        decision = POLICY.decide(order)
        assert (decision.action, decision.rule, decision.signals) == (action, rule, order)


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in DEFAULT_RULES} <= {rule for _, _, rule in CASES.values()}


ALL = [EXACT, LINK, NEAR, EXACT_SEED, NEAR_SEED, EXACT_NEGATIVE, NEAR_NEGATIVE, LINK_NEGATIVE, ODD, ODD_NEAR]


@given(st.lists(st.sampled_from(ALL)))
def test_confirmed_bytes_are_reported_whatever_else_there_is(others: list[Signal]) -> None:
    assert POLICY.decide([*others, EXACT]).action is Action.REPORT


@given(st.lists(st.sampled_from([NEAR_NEGATIVE, LINK_NEGATIVE, EXACT_SEED, NEAR_SEED])))
def test_nothing_but_dismissed_bytes_excuses_a_near_image(others: list[Signal]) -> None:
    assert decide([*others, NEAR]).action is Action.REPORT


def test_signals_that_no_rule_covers_are_held() -> None:
    decision = Policy(rules=(Rule("bytes", frozenset({Fact.EXACT_CONFIRMED}), Action.REPORT),)).decide([NEAR])
    assert (decision.action, decision.rule) == (Action.HOLD, "no-rule")


def test_an_empty_policy_or_a_rule_that_always_applies_is_refused() -> None:
    rule = Rule("x", frozenset({Fact.SEED}), Action.NONE)
    for rules in ((), (Rule("all", frozenset(), Action.NONE),), (rule, rule)):
        with pytest.raises(ConfigError):
            Policy(rules=rules)


def excused_by_a_link() -> bool:
    return decide([NEAR, LINK_NEGATIVE]).action is not Action.REPORT or decide([LINK_NEGATIVE]).rule != "url-negative"


def test_planted_fault_a_dismissed_link_taken_for_dismissed_bytes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not excused_by_a_link()
    monkeypatch.setattr(module, "URL_KINDS", ())
    assert excused_by_a_link()
