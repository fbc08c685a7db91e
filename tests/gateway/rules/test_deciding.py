"""Deciding: pure, total, the gravest wins, nothing unknown or broken passes, and no further fact makes a verdict milder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.gateway.rules import deciding
from custodes.gateway.rules.deciding import decide, weigh
from custodes.gateway.rules.policy import EMBEDDED, STOPS, Policy, embedded, read_policy, switched
from custodes.gateway.vocabulary import Action, Category, Fact, Grade, Stage, Verdict
from tests.gateway.rules.making import HEAD, UMBRELLA, facts, policy, rule, some_facts

OURS = [embedded(name) for name in EMBEDDED]
stages = st.sampled_from(Stage)
many = st.lists(some_facts, max_size=6)


def graver(verdict: Verdict) -> tuple[int, bool, int]:
    rank = {Grade.HARD: 3, Grade.SOFT: 2}.get(verdict.grade, int(verdict.action is Action.REWRITE))
    return rank, verdict.report, verdict.strikes


def not_milder(after: Verdict, before: Verdict) -> bool:
    return all(a >= b for a, b in zip(graver(after), graver(before), strict=True))


def check_unknown(found: Policy) -> None:
    for stage, action in ((Stage.INPUT, Action.REFUSE), (Stage.OUTPUT, Action.WITHHOLD)):
        assert decide(found, facts("never-heard-of"), stage, acknowledged=True).action is action


def check_faults(found: Policy) -> None:
    for name in ("fault:inspection", "fault:", "fault:a check of tomorrow"):
        verdict = decide(found, facts(name), Stage.INPUT, acknowledged=True)
        assert (verdict.action, verdict.strikes, verdict.report) == (Action.REFUSE, 0, False)


def check_hidden(found: Policy) -> None:
    verdict = decide(found, facts("context:fountain", "obfuscation"), Stage.INPUT)
    assert (verdict.action, verdict.category) == (Action.REFUSE, Category.OBFUSCATION)


FOUNTAIN = rule(name="a fountain", when=["context:fountain"], action="rewrite", grade=None, stage="input")
GARDEN = policy(UMBRELLA, FOUNTAIN, head='harmless = ["obfuscation"]\n')


def test_a_fact_that_no_rule_knows_stops() -> None:
    check_unknown(GARDEN)


def test_a_broken_check_stops_whatever_the_policy_says() -> None:
    check_faults(GARDEN)


def test_what_was_written_to_be_hidden_is_not_rewritten() -> None:
    assert decide(GARDEN, facts("context:fountain"), Stage.INPUT).action is Action.REWRITE
    assert decide(GARDEN, facts("obfuscation"), Stage.INPUT).action is Action.ALLOW
    check_hidden(GARDEN)


@pytest.mark.parametrize(
    ("guard", "check"), [("_unknown", check_unknown), ("_built_in", check_faults), ("HIDDEN", check_hidden)]
)
def test_planted_without_the_guard_its_check_fails(guard: str, check: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deciding, guard, deciding.UNKNOWN if guard == "HIDDEN" else lambda *_: ())
    with pytest.raises(AssertionError):
        check(GARDEN)  # type: ignore[operator]


def test_what_is_known_and_not_asked_for_together_passes() -> None:
    assert decide(GARDEN, facts("context:umbrella"), Stage.INPUT).action is Action.ALLOW
    assert decide(GARDEN, [], Stage.OUTPUT) == Verdict(Action.ALLOW, deciding.NOTHING)


def test_the_verdict_names_the_facts_that_were_asked_for_and_no_others() -> None:
    asked = facts("context:umbrella", "context:garden", "context:fountain")
    assert set(decide(GARDEN, asked, Stage.INPUT).facts) == set(asked[:2])


SCORES = [(0.29, False), (0.3, True), (0.31, True), (1.0, True), (None, True), (float("nan"), True)]


@pytest.mark.parametrize(("score", "stops"), SCORES)
def test_a_score_reaches_its_least_and_what_is_no_number_does(score: float | None, stops: bool) -> None:
    found = policy(rule(when=["explicit"], least={"explicit": 0.3}))
    fact = Fact("explicit", Stage.OUTPUT, "tests", score)
    assert (decide(found, [fact], Stage.OUTPUT).action in STOPS) == stops


def test_unless_takes_its_rule_away_and_no_other() -> None:
    found = policy(rule(unless=["context:garden"]), UMBRELLA.replace('"context:umbrella", ', ""))
    assert decide(found, facts("context:umbrella"), Stage.INPUT).grade is Grade.SOFT
    assert decide(found, facts("context:umbrella", "context:garden"), Stage.INPUT).grade is Grade.HARD


def test_an_acknowledgement_helps_against_the_soft_rules_that_say_so() -> None:
    soft = rule(name="may be acknowledged", stage="input", acknowledge=True, strikes=1)
    other = rule(name="may not", when=["context:garden"])
    found = policy(soft, other)
    assert decide(found, facts("context:umbrella"), Stage.INPUT).action is Action.REFUSE
    assert decide(found, facts("context:umbrella"), Stage.INPUT, acknowledged=True).action is Action.ALLOW
    both = facts("context:umbrella", "context:garden")
    assert decide(found, both, Stage.INPUT, acknowledged=True).rule == "may not"


def test_a_rule_is_asked_at_its_stage() -> None:
    found = policy(rule(stage="output"))
    assert decide(found, facts("context:umbrella"), Stage.INPUT).action is Action.ALLOW
    assert decide(found, facts("context:umbrella"), Stage.OUTPUT).action is Action.WITHHOLD


def test_of_equally_grave_rules_the_earlier_decides_and_what_counts_is_summed_up() -> None:
    found = policy(
        rule(name="the first", strikes=1),
        rule(name="the second", strikes=1),
        rule(name="the one that counts", strikes=5, when=["context:garden"]),
        rule(name="the one that is reported", report=True, when=["context:garden"]),
    )
    assert decide(found, facts("context:umbrella"), Stage.INPUT).rule == "the first"
    verdict = decide(found, facts("context:umbrella", "context:garden"), Stage.INPUT)
    assert (verdict.rule, verdict.report, verdict.strikes) == ("the one that is reported", True, 5)


@given(many, stages, st.booleans(), st.randoms())
def test_order_and_number_of_facts_change_nothing(
    some: list[Fact], stage: Stage, acknowledged: bool, random: object
) -> None:
    shuffled = [*some, *some[:2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for found in OURS:
        once, again = (decide(found, each, stage, acknowledged=acknowledged) for each in (some, shuffled))
        assert repr(once) == repr(again)  # as text: what is no number equals nothing


@given(many, many, stages, st.booleans())
def test_a_further_fact_never_makes_a_verdict_milder(
    some: list[Fact], more: list[Fact], stage: Stage, acknowledged: bool
) -> None:
    for found in OURS:
        before = decide(found, some, stage, acknowledged=acknowledged)
        assert not_milder(decide(found, [*some, *more], stage, acknowledged=acknowledged), before)


@given(many, stages)
def test_an_acknowledgement_never_touches_what_is_hard(some: list[Fact], stage: Stage) -> None:
    for found in OURS:
        if (verdict := decide(found, some, stage)).grade is Grade.HARD:
            assert decide(found, some, stage, acknowledged=True).grade is Grade.HARD
            assert verdict.category is Category.SAFETY


TENANT = (
    UMBRELLA
    + rule(name="a garden passes", when=["context:garden"], action="allow", grade=None)
    + rule(name="a lone sexual context", when=["context:sexual"], stage="input", acknowledge=True)
)


@given(many, stages, st.booleans())
def test_a_policy_on_top_is_never_milder_for_facts_that_its_base_knows(
    some: list[Fact], stage: Stage, acknowledged: bool
) -> None:
    some = [fact for fact in some if fact.name not in ("context:umbrella", "context:garden")]
    for base in ("strict", "us"):
        top = read_policy(f'{HEAD}base = "{base}"\n{TENANT}')
        under = decide(embedded(base), some, stage, acknowledged=acknowledged)
        assert not_milder(decide(top, some, stage, acknowledged=acknowledged), under)


@given(many, stages)
def test_no_switch_makes_what_is_hard_milder(some: list[Fact], stage: Stage) -> None:
    open_to_adults = switched(embedded("us"), ["explicit", "moderation"])
    under = decide(embedded("us"), some, stage)
    if under.grade is Grade.HARD:
        assert not_milder(decide(open_to_adults, some, stage), under)


def test_every_rule_that_applies_can_be_told() -> None:
    found = weigh(embedded("demo"), facts("context:umbrella", "context:garden", "context:fountain"), Stage.INPUT)
    assert [each.rule.name for each in found] == ["an umbrella in a garden is refused", "a fountain becomes a tree"]
