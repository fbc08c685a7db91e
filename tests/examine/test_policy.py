"""What each combination of signals leads to, one sentence a case."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes import policy as module
from custodes.errors import ConfigError
from custodes.model import Action, Kind, Meaning, Role, Signal
from custodes.policy import DEFAULT_ACTIONS, DEFAULT_RULES, Actions, Fact, Policy, Rule, Standing, decide, rules_of


def signal(kind: Kind, role: Role, meaning: Meaning = Meaning.CSAM, assurance: str = "") -> Signal:
    return Signal("one", "1-one", "e1", kind, "", assurance, role, meaning=meaning)


def confirmed(kind: Kind, meaning: Meaning) -> Signal:
    return signal(kind, Role.CONFIRMED, meaning)


EXACT = confirmed(Kind.SHA256, Meaning.CSAM)
LINK = confirmed(Kind.URL_RAW_MD5, Meaning.CSAM)
NEAR = confirmed(Kind.PDQ, Meaning.CSAM)
EXACT_SEED = signal(Kind.MD5, Role.SEED)
NEAR_SEED = signal(Kind.PDQ, Role.SEED)
EXACT_NEGATIVE = signal(Kind.MD5, Role.NEGATIVE)
NEAR_NEGATIVE = signal(Kind.PDQ, Role.NEGATIVE)
LINK_NEGATIVE = signal(Kind.URL_RAW_SHA1, Role.NEGATIVE)
UNREVIEWED = signal(Kind.MD5, Role.CONFIRMED, assurance="unreviewed")
UNREVIEWED_NEAR = signal(Kind.PDQ, Role.CONFIRMED, assurance="unreviewed")
SUSPECTED, EXPLOITATIVE, NCII, ODD = (
    confirmed(Kind.MD5, meaning)
    for meaning in (Meaning.SUSPECTED, Meaning.EXPLOITATIVE, Meaning.NCII, Meaning.UNMAPPED)
)
SUSPECTED_NEAR, EXPLOITATIVE_NEAR, NCII_NEAR, ODD_NEAR = (
    replace(each, kind=Kind.PDQ) for each in (SUSPECTED, EXPLOITATIVE, NCII, ODD)
)
CONFIRMED = [EXACT, LINK, NEAR, UNREVIEWED, UNREVIEWED_NEAR, SUSPECTED, SUSPECTED_NEAR]
CONFIRMED += [EXPLOITATIVE, EXPLOITATIVE_NEAR, NCII, NCII_NEAR, ODD, ODD_NEAR]
OTHERS = [EXACT_SEED, NEAR_SEED, EXACT_NEGATIVE, NEAR_NEGATIVE, LINK_NEGATIVE]
ALL = CONFIRMED + OTHERS
STRENGTH = (Action.NONE, Action.HOLD, Action.REPORT)

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
    "an entry that nobody reviewed is held": ([UNREVIEWED], Action.HOLD, "exact-unreviewed"),
    "a near image of an entry that nobody reviewed is held": ([UNREVIEWED_NEAR], Action.HOLD, "near-unreviewed"),
    "a suspected entry is held": ([SUSPECTED], Action.HOLD, "exact-suspected"),
    "a near image of a suspected entry is held": ([SUSPECTED_NEAR], Action.HOLD, "near-suspected"),
    "an exploitative entry is held": ([EXPLOITATIVE], Action.HOLD, "exact-exploitative"),
    "a near image of an exploitative entry is held": ([EXPLOITATIVE_NEAR], Action.HOLD, "near-exploitative"),
    "an intimate image of an adult is held": ([NCII], Action.HOLD, "exact-ncii"),
    "what looks like an intimate image of an adult is held": ([NCII_NEAR], Action.HOLD, "near-ncii"),
    "a category that is not understood is held": ([ODD], Action.HOLD, "exact-unmapped"),
    "a category that is not understood of a near image is held": ([ODD_NEAR], Action.HOLD, "near-unmapped"),
    "a category that is not understood is held although other lists dismissed the bytes": (
        [ODD, EXACT_NEGATIVE],
        Action.HOLD,
        "exact-unmapped",
    ),
    "looking like a suspected entry is excused by dismissed bytes": (
        [SUSPECTED_NEAR, EXACT_NEGATIVE],
        Action.NONE,
        "negative",
    ),
    "a category that is not understood takes nothing from one that is": (
        [ODD, EXACT],
        Action.REPORT,
        "exact-confirmed",
    ),
    "equal bytes that are held take nothing from a near image that is reported": (
        [NCII, ODD, NEAR],
        Action.REPORT,
        "near-confirmed",
    ),
    "an entry that nobody reviewed takes nothing from one that was": (
        [UNREVIEWED, NEAR],
        Action.REPORT,
        "near-confirmed",
    ),
    "of two that are held the graver speaks": ([ODD, NCII, SUSPECTED], Action.HOLD, "exact-suspected"),
    "nothing leads to nothing": ([], Action.NONE, "no-signal"),
}


@pytest.mark.parametrize(("signals", "action", "rule"), CASES.values(), ids=CASES)
def test_decisions(signals: list[Signal], action: Action, rule: str) -> None:
    for order in itertools.permutations(signals):
        decision = decide(order)
        assert (decision.action, decision.rule, decision.signals) == (action, rule, order)


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in DEFAULT_RULES} <= {rule for _, _, rule in CASES.values()}


def test_every_fact_has_a_rule_of_its_own_and_a_signal_that_gives_it() -> None:
    assert {fact for rule in DEFAULT_RULES if len(rule.needs) == 1 for fact in rule.needs} == set(Fact)
    assert {module._fact(each) for each in ALL} == set(Fact)


def test_an_assurance_of_another_word_is_no_lack_of_review() -> None:
    assert decide([replace(UNREVIEWED, assurance="Unreviewed?")]).rule == "exact-confirmed"


@pytest.mark.parametrize(
    ("one", "rule"),
    [
        (SUSPECTED, "exact-unreviewed"),
        (EXPLOITATIVE, "exact-exploitative"),
        (NCII, "exact-ncii"),
        (ODD, "exact-unmapped"),
    ],
    ids=lambda each: each.meaning.value if isinstance(each, Signal) else "",
)
def test_what_nobody_reviewed_keeps_a_meaning_that_is_not_the_gravest(one: Signal, rule: str) -> None:
    assert decide([replace(one, assurance="unreviewed")]).rule == rule


@given(st.lists(st.sampled_from(ALL)))
def test_confirmed_bytes_are_reported_whatever_else_there_is(others: list[Signal]) -> None:
    assert decide([*others, EXACT]).action is Action.REPORT


@given(st.lists(st.sampled_from([each for each in ALL if each is not EXACT_NEGATIVE])))
def test_nothing_but_dismissed_bytes_excuses_a_near_image(others: list[Signal]) -> None:
    assert decide([*others, NEAR]).action is Action.REPORT


ANY_ACTIONS = st.fixed_dictionaries(
    {
        standing: st.builds(Actions, exact=st.sampled_from(allowed), near=st.sampled_from(allowed))
        for standing in Standing
        for allowed in [
            {Standing.UNMAPPED: [Action.HOLD]}.get(
                standing,
                [Action.HOLD, Action.REPORT] if standing in (Standing.CONFIRMED, Standing.UNREVIEWED) else list(Action),
            )
        ]
    }
)


@given(ANY_ACTIONS, st.lists(st.sampled_from(ALL)), st.sampled_from(CONFIRMED))
def test_one_more_match_with_a_confirmed_entry_never_weakens_a_decision_under_any_policy(
    actions: dict[Standing, Actions], signals: list[Signal], one: Signal
) -> None:
    policy = Policy(rules_of(actions))
    before, after = policy.decide(signals), policy.decide([*signals, one])
    assert STRENGTH.index(after.action) >= STRENGTH.index(before.action)


@given(ANY_ACTIONS, st.lists(st.sampled_from(ALL), min_size=1))
def test_a_policy_that_is_made_of_actions_covers_every_combination(
    actions: dict[Standing, Actions], signals: list[Signal]
) -> None:
    policy = Policy(rules_of(actions))
    decision = policy.decide(signals)
    assert decision.rule in {rule.name for rule in policy.rules}
    assert policy.decide(signals[::-1]) == replace(decision, signals=tuple(signals[::-1]))


@given(ANY_ACTIONS)
def test_a_policy_does_what_its_actions_say(actions: dict[Standing, Actions]) -> None:
    policy = Policy(rules_of(actions))
    for each in CONFIRMED:
        wanted = actions[module._standing(each)]
        assert policy.decide([each]).action is (wanted.near if each.kind is Kind.PDQ else wanted.exact)


HOLD, REPORT, NONE = (Actions(exact=action, near=action) for action in (Action.HOLD, Action.REPORT, Action.NONE))
REFUSED = {
    "a standing that is left out": ({Standing.NCII: None}, "says nothing of entries that are ncii"),
    "confirmed entries that are passed over": ({Standing.CONFIRMED: NONE}, "passes over entries that are confirmed"),
    "near images of confirmed entries that are passed over": (
        {Standing.CONFIRMED: Actions(exact=Action.REPORT, near=Action.NONE)},
        "passes over entries that are confirmed",
    ),
    "unreviewed entries that are passed over": ({Standing.UNREVIEWED: NONE}, "passes over entries that are unreviewed"),
    "unmapped entries that are acted on": ({Standing.UNMAPPED: REPORT}, "does not hold entries that are unmapped"),
    "unmapped entries that are passed over": ({Standing.UNMAPPED: NONE}, "does not hold entries that are unmapped"),
}


@pytest.mark.parametrize(("changed", "said"), REFUSED.values(), ids=REFUSED)
def test_actions_that_no_policy_may_have(changed: dict[Standing, Actions | None], said: str) -> None:
    actions = {standing: each for standing, each in (dict(DEFAULT_ACTIONS) | changed).items() if each is not None}
    with pytest.raises(ConfigError, match=said):
        rules_of(actions)


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


def acted_on(unclear: Sequence[Signal]) -> bool:
    return any(decide([each]).action is not Action.HOLD for each in unclear)


def test_planted_fault_a_meaning_that_is_not_looked_at_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not acted_on([ODD, ODD_NEAR])
    monkeypatch.setattr(module, "_standing", lambda _signal: Standing.CONFIRMED)
    assert acted_on([ODD, ODD_NEAR])


def test_planted_fault_an_assurance_that_is_not_looked_at_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not acted_on([UNREVIEWED, UNREVIEWED_NEAR])
    monkeypatch.setattr(module, "UNREVIEWED", "another word")
    assert acted_on([UNREVIEWED, UNREVIEWED_NEAR])
