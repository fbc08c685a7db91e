"""What every ledger promises. Each test runs on every implementation; the last holds them against each other over random histories."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custodes.errors import InputError
from custodes.gateway.people.ledger import Consequence, Entered, Entry, Ledger, Noted, Outcome, Standing
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.vocabulary import Action, Category, Fact, Grade, Stage, Verdict
from tests.gateway.people.making import (
    ALLOWED,
    BROKEN,
    DAY,
    HOUR,
    NOON,
    asking,
    entry,
    noted,
    refused,
    run,
)
from tests.gateway.people.memory import MemoryLedger
from tests.gateway.people.sharing import Shared, emptied

TODAY = datetime.fromtimestamp(NOON / 1000, UTC).date()


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    made: Any
    if request.param == "postgresql":
        made = emptied(request.getfixturevalue("shared"))
    else:
        made = SqliteLedger(tmp_path / "ledger.db") if request.param == "sqlite" else MemoryLedger()
    yield made
    made.close()


async def note_all(ledger: Ledger, *all_noted: Noted) -> list[Consequence]:
    return [await ledger.note(each) for each in all_noted]


async def standing_after(ledger: Ledger, *all_noted: Noted, at: int = NOON, user: str = "user") -> Standing:
    await note_all(ledger, *all_noted)
    return await ledger.standing(asking(at, user))


def test_a_new_ledger_knows_nothing(ledger: Ledger) -> None:
    assert run(ledger.standing(asking())) == Standing()
    assert not run(ledger.decisions(0, 10))
    assert run(ledger.tally(TODAY, TODAY)).counts == ()


def test_a_decision_is_kept_as_names_and_counted(ledger: Ledger) -> None:
    facts = (
        Fact("explicit", Stage.OUTPUT, "detector 2", 0.25, "0"),
        Fact("context:umbrella", Stage.INPUT, "lexicon 1"),
    )
    run(note_all(ledger, noted(facts=facts), noted(2, ALLOWED, stage=Stage.OUTPUT, acknowledged=True)))
    first, second = run(ledger.decisions(0, 10))
    assert first.facts == (("context:umbrella", None), ("explicit", 0.25))
    assert first.versions == ("detector 2", "lexicon 1")
    assert (first.action, first.grade, first.rule, first.policy) == (
        "refuse",
        "hard",
        "an umbrella in a garden",
        "strict",
    )
    assert (first.acknowledged, second.acknowledged) == (False, True)
    assert run(ledger.decisions(first.number, 10)) == [second]
    counts = {(c.stage, c.action, c.category): c.decisions for c in run(ledger.tally(TODAY, TODAY)).counts}
    assert counts == {("input", "refuse", Category.SAFETY): 1, ("output", "allow", None): 1}


RETRIES = {
    "a request that is sent again has one strike": ([noted(), noted(at=NOON + 1)], 1),
    "one that was refused at its input and again at its output has one": ([noted(), noted(stage=Stage.OUTPUT)], 1),
    "the graver of its refusals counts, once": ([noted(), noted(verdict=refused(2)), noted()], 2),
    "an hour of the clock that ends between them changes nothing": ([noted(), noted(at=NOON + HOUR - 1)], 1),
    "after the window it is another one": ([noted(), noted(at=NOON + HOUR)], 2),
    "two requests have two": ([noted(1), noted(2)], 2),
    "what was allowed has none": ([noted(1, ALLOWED)], 0),
    "what broke here has none": ([noted(1, BROKEN)], 0),
}


@pytest.mark.parametrize("case", RETRIES)
def test_strikes_count_requests_not_tries(ledger: Ledger, case: str) -> None:
    history, strikes = RETRIES[case]
    assert run(standing_after(ledger, *history, at=NOON + HOUR)).strikes == strikes


def test_a_warning_comes_once_and_before_a_suspension(ledger: Ledger) -> None:
    told = run(note_all(ledger, *(noted(number) for number in (1, 2, 3, 4))))
    assert [(each.warned, each.suspended) for each in told] == [
        (True, False),
        (False, False),
        (False, True),
        (False, False),
    ]
    assert run(ledger.standing(asking())).suspended_until == NOON + DAY
    assert run(ledger.standing(asking(NOON + DAY))).suspended_until == 0


def test_each_suspension_is_longer_up_to_the_longest(ledger: Ledger) -> None:
    run(note_all(ledger, noted(1), noted(2)))
    lengths = []
    for number in range(3, 8):
        at = NOON + number * 6 * DAY // 2
        run(note_all(ledger, noted(number, refused(3), at=at)))
        if (until := run(ledger.standing(asking(at))).suspended_until) > 0:
            lengths.append((until - at) // DAY)
    assert lengths[:3] == [1, 2, 4]
    assert max(lengths) <= 5


def test_a_strike_counts_for_the_window_and_no_longer(ledger: Ledger) -> None:
    run(note_all(ledger, noted(1), noted(2)))
    later = NOON + 30 * DAY
    assert run(ledger.standing(asking(later - 1))).strikes == 2
    assert run(ledger.standing(asking(later))).strikes == 0
    assert not run(ledger.note(noted(3, at=later))).suspended


def test_all_users_together_suspend_the_tenant_and_nobody_else(ledger: Ledger) -> None:
    many = [noted(number, user=f"user {number}") for number in range(8)]
    told = run(note_all(ledger, *many))
    assert [each.tenant_warned for each in told] == [n == 4 for n in range(8)]
    assert [each.tenant_suspended for each in told] == [n == 7 for n in range(8)]
    assert run(ledger.standing(asking(user="never seen"))).suspended_until
    assert not run(ledger.standing(asking(tenant="another"))).suspended_until


def test_who_names_no_user_counts_against_the_tenant_alone(ledger: Ledger) -> None:
    told = run(note_all(ledger, *(noted(number, user="") for number in range(5))))
    assert not any(each.suspended or each.warned for each in told)
    assert told[4].tenant_warned


def test_refusals_are_counted_by_request_for_the_window(ledger: Ledger) -> None:
    soft = refused(0, Grade.SOFT)
    history = [
        noted(1, soft),
        noted(1, soft),
        noted(2, soft),
        noted(3, BROKEN),
        noted(4, ALLOWED),
        noted(5, soft, user=""),
    ]
    standing = run(standing_after(ledger, *history))
    assert (standing.refusals, standing.tenant_refusals) == (2, 3)
    later = run(ledger.standing(asking(NOON + HOUR)))
    assert (later.refusals, later.tenant_refusals) == (0, 0)


def test_images_that_left_count_for_the_day(ledger: Ledger) -> None:
    output: Any = {"stage": Stage.OUTPUT}
    history = [noted(1, ALLOWED), noted(1, ALLOWED, **output), noted(2, ALLOWED, **output, user=""), noted(3, **output)]
    assert run(standing_after(ledger, *history)).images_today == 2
    assert run(ledger.standing(asking(NOON + DAY))).images_today == 0
    assert run(ledger.standing(asking(tenant="another"))).images_today == 0


# -- being let in


def entered(ledger: Ledger, *entries: Entry) -> list[tuple[bool, bool]]:
    async def all_of_them() -> list[Entered]:
        return [await ledger.enter(each) for each in entries]

    return [(each.hurried, each.booked) for each in run(all_of_them())]


IN, LATER, NONE_LEFT = (False, True), (True, False), (False, False)


def test_so_many_requests_in_a_minute_and_another_when_there_is_room_again(ledger: Ledger) -> None:
    many = [entry(f"b{n}", 0) for n in range(11)]
    assert entered(ledger, *many) == [IN] * 10 + [LATER]
    again = [entry("c", 0, NOON + 5_999), entry("d", 0, NOON + 6_000), entry("e", 0, NOON + 6_001)]
    assert entered(ledger, *again) == [LATER, IN, LATER]
    assert entered(ledger, entry("f", 0, NOON - HOUR)) == [LATER]  # by a clock that is behind
    assert entered(ledger, entry("g", 0, asking=asking(tenant="another"))) == [IN]


def test_images_are_booked_before_they_are_made_and_no_more_than_there_are(ledger: Ledger) -> None:
    assert entered(ledger, entry("a", 6), entry("b", 5), entry("c", 4), entry("d", 1)) == [IN, NONE_LEFT, IN, NONE_LEFT]
    standing = run(ledger.standing(asking()))
    assert (standing.images_today, standing.images_booked) == (0, 10)
    assert run(ledger.standing(asking(tenant="another"))).images_booked == 0


def test_an_image_that_is_released_counts_once_and_what_was_not_used_is_given_back(ledger: Ledger) -> None:
    entered(ledger, entry("a", 3), entry("b", 2))
    run(note_all(ledger, *(noted(1, ALLOWED, stage=Stage.OUTPUT, booking="a") for _ in range(2))))
    run(note_all(ledger, noted(1, refused(), stage=Stage.OUTPUT, booking="a"), noted(1, ALLOWED, booking="a")))
    standing = run(ledger.standing(asking(user="other")))
    assert (standing.images_today, standing.images_booked) == (2, 3)
    for _ in range(2):
        ledger.give_back("a")
    run(note_all(ledger, noted(2, ALLOWED, stage=Stage.OUTPUT, booking="a")))  # late: it counts, and takes nothing
    standing = run(ledger.standing(asking()))
    assert (standing.images_today, standing.images_booked) == (3, 2)


def test_a_booking_that_nobody_gives_back_ends(ledger: Ledger) -> None:
    assert entered(ledger, entry("a", 10), entry("b", 1, NOON + HOUR - 1), entry("c", 10, NOON + HOUR)) == [
        IN,
        NONE_LEFT,
        IN,
    ]


def test_who_is_suspended_books_nothing(ledger: Ledger) -> None:
    run(note_all(ledger, noted(1, refused(3))))
    assert entered(ledger, entry("a")) == [NONE_LEFT]
    assert run(ledger.standing(asking())).images_booked == 0


# -- appeals


async def appealed(ledger: Ledger, number: int, outcome: Outcome = Outcome.OVERTURNED) -> Any:
    request = noted(number).request
    await ledger.appeal("tenant", request, NOON)
    return await ledger.settle(request, outcome, ("alice",), NOON)


def test_an_appeal_that_is_overturned_restores_what_there_would_be(ledger: Ledger) -> None:
    run(note_all(ledger, *(noted(number) for number in (1, 2, 3))))
    restored = run(appealed(ledger, 2))
    assert (restored.strikes, restored.warnings, restored.suspensions) == (1, 0, 1)
    standing = run(ledger.standing(asking()))
    assert (standing.suspended_until, standing.strikes, standing.warned) == (0, 2, True)


def test_a_suspension_that_others_deserve_stays(ledger: Ledger) -> None:
    run(note_all(ledger, noted(1), noted(2, refused(3))))
    assert run(appealed(ledger, 1)).suspensions == 0
    assert run(ledger.standing(asking())).suspended_until


def test_an_appeal_that_is_upheld_changes_nothing(ledger: Ledger) -> None:
    before = run(standing_after(ledger, noted(1), noted(2), noted(3)))
    assert run(appealed(ledger, 1, Outcome.UPHELD)).strikes == 0
    assert run(ledger.standing(asking())) == before
    assert [each.outcome for each in run(ledger.appeals(Outcome.UPHELD))] == [Outcome.UPHELD]


def test_an_appeal_by_the_id_of_a_retry_is_about_the_same_strike(ledger: Ledger) -> None:
    late = noted(1, at=NOON + HOUR - 1, request="req_1-later")
    run(note_all(ledger, noted(1), late))
    run(ledger.appeal("tenant", late.request, NOON))
    assert run(ledger.settle(late.request, Outcome.OVERTURNED, ("alice",), NOON)).strikes == 1


def test_a_suspension_that_was_lifted_does_not_lengthen_the_next(ledger: Ledger) -> None:
    run(note_all(ledger, noted(1, refused(3))))
    run(appealed(ledger, 1))
    run(note_all(ledger, noted(2, refused(3))))
    assert run(ledger.standing(asking())).suspended_until == NOON + DAY


def test_what_cannot_be_appealed_against(ledger: Ledger) -> None:
    run(note_all(ledger, noted(1), noted(2, ALLOWED), noted(3, BROKEN)))
    cases = [
        ("tenant", "nothing"),
        ("another", noted(1).request),
        ("tenant", noted(2).request),
        ("tenant", noted(3).request),
    ]
    for whose, request in cases:
        with pytest.raises(InputError, match="no refusal"):
            run(ledger.appeal(whose, request, NOON))
    with pytest.raises(InputError, match="no refusal"):
        run(ledger.settle(noted(1).request, Outcome.UPHELD, (), NOON))


def test_an_appeal_is_opened_once_and_settled_once(ledger: Ledger) -> None:
    run(note_all(ledger, noted(1)))
    request = noted(1).request
    first = run(ledger.appeal("tenant", request, NOON))
    assert run(ledger.appeal("tenant", request, NOON + 1)) == first
    assert (first.grade, first.strikes, first.outcome) == (Grade.HARD, 1, Outcome.OPEN)
    run(ledger.settle(request, Outcome.UPHELD, ("alice",), NOON))
    for outcome in Outcome:
        with pytest.raises(InputError, match="settled"):
            run(ledger.settle(request, outcome, ("alice",), NOON))


def test_what_is_forgotten_is_old_and_has_neither_strike_nor_appeal(ledger: Ledger) -> None:
    soft = refused(0, Grade.SOFT)
    run(note_all(ledger, noted(1), noted(2, ALLOWED), noted(3, soft), noted(4, soft), noted(5, ALLOWED, at=NOON + 1)))
    run(ledger.appeal("tenant", noted(4).request, NOON))
    assert run(ledger.forget(NOON)) == 0
    assert run(ledger.forget(NOON + 1)) == 2
    assert [each.request.partition("-")[0] for each in run(ledger.decisions(0, 9))] == ["req_1", "req_4", "req_5"]
    assert sum(each.decisions for each in run(ledger.tally(TODAY, TODAY)).counts) == 5


# -- each against the other

verdicts = st.one_of(
    st.sampled_from([ALLOWED, BROKEN, refused(0, Grade.SOFT), Verdict(Action.REWRITE, "milder")]),
    st.integers(1, 4).map(refused),
)
steps = st.one_of(
    st.tuples(st.just("note"), st.integers(0, 5), verdicts, st.sampled_from(["", "user", "other"])),
    st.tuples(st.just("appeal"), st.integers(0, 5), st.sampled_from([Outcome.UPHELD, Outcome.OVERTURNED]), st.none()),
    st.tuples(st.just("pass"), st.integers(1, 60 * DAY // HOUR), st.none(), st.none()),
)


async def history(ledger: Ledger, all_steps: Sequence[Any]) -> list[object]:
    """What a ledger says to all of it, and at the end."""
    told: list[object] = []
    at = NOON
    for kind, number, what, user in all_steps:
        if kind == "pass":
            at += number * HOUR // 2
        elif kind == "note":
            told.append(
                await ledger.note(noted(f"{number}{user}", what, at=at, user=user, request=f"req_{number}{user}"))
            )
        else:
            told.append(await _settled(ledger, f"req_{number}user", what, at))
        told += [await ledger.standing(asking(at, user)) for user in ("", "user", "other")]
    told += [await ledger.appeals(outcome) for outcome in Outcome]
    return [*told, await ledger.decisions(0, 999), await ledger.tally(date(2026, 1, 1), date(2100, 1, 1))]


async def _settled(ledger: Ledger, request: str, outcome: Outcome, at: int) -> object:
    try:
        await ledger.appeal("tenant", request, at)
        return await ledger.settle(request, outcome, ("alice",), at)
    except InputError as error:
        return str(error)


def agree(all_steps: Sequence[Any], shared: Shared | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        real = SqliteLedger(Path(folder) / "ledger.db") if shared is None else emptied(shared)
        try:
            assert run(history(real, all_steps)) == run(history(MemoryLedger(), all_steps))
        finally:
            real.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=25))
def test_two_ledgers_that_were_told_the_same_say_the_same(all_steps: list[Any]) -> None:
    agree(all_steps, None)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(all_steps=st.lists(steps, max_size=25))
def test_one_in_postgresql_says_the_same(all_steps: list[Any], shared: Shared) -> None:
    agree(all_steps, shared)


@pytest.mark.soak
@settings(max_examples=3_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=60))
def test_two_ledgers_agree_over_many_histories(all_steps: list[Any]) -> None:
    agree(all_steps, None)
