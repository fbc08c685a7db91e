"""Who is let in, how fast, and what a refusal does to those beside it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import pytest

from custodes.errors import StorageError
from custodes.gateway.door import Admitting, Denial, DeniedError
from custodes.gateway.guard import Caller, Records, RefusedError, UnableError
from custodes.gateway.people import books
from custodes.gateway.people import people as module
from custodes.gateway.people.card import recorded
from custodes.gateway.people.ledger import Asking, Consequence, Noted, Standing
from custodes.gateway.people.people import People, Recording, name_of
from custodes.gateway.people.settings import (
    PeopleSettings,
    ProbingSettings,
    StrikeSettings,
    TenantSettings,
)
from custodes.gateway.people.sqlite import SqliteLedger
from custodes.gateway.rules.deciding import decide
from custodes.gateway.rules.records import Recorded
from custodes.gateway.vocabulary import Action, Fact, Grade, Stage, Verdict
from tests.gateway.people.making import ALLOWED, BROKEN, NOON, Clock, people, refused, run, tenant
from tests.gateway.rules.making import policy, rule

SUSPENDING = StrikeSettings(warn_at=1, suspend_at=3)
SOFT = refused(0, Grade.SOFT)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with closing(SqliteLedger(tmp_path / "ledger.db")) as made:
        yield made


async def refusal(who: People, number: int, verdict: Verdict | None = None, user: str = "user") -> Caller:
    """One request that is let in and then refused."""
    caller = await who.caller("demo", user, f"digest {number}")
    await who.decided(caller, Stage.INPUT, verdict or refused(), ())
    return caller


async def denial(asked: Awaitable[object]) -> DeniedError:
    with pytest.raises(DeniedError) as caught:
        await asked
    return caught.value


def test_it_is_what_the_door_and_the_guard_ask_for(ledger: SqliteLedger) -> None:
    admitting: Admitting = people(ledger)
    records: Records = people(ledger)
    assert admitting is not records


# -- keys and names


@pytest.mark.parametrize(
    "key", ["", "demo ", "Demo", "nobody's", "x" * 10_000, "\udcff", hashlib.sha256(b"demo").hexdigest()]
)
def test_a_key_that_nobody_has_is_denied(ledger: SqliteLedger, key: str) -> None:
    assert run(denial(people(ledger).caller(key, "", ""))).denial is Denial.KEY


def test_every_key_is_compared_in_constant_time(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = hmac.compare_digest

    def compare(one: str, other: str) -> bool:
        seen.append(other)
        return real(one, other)

    monkeypatch.setattr(module.hmac, "compare_digest", compare)
    who = people(ledger)
    for key in ("demo", "other", "nobody's"):
        seen.clear()
        if key == "nobody's":
            run(denial(who.caller(key, "", "")))
        else:
            assert run(who.caller(key, "", "")).tenant == key
        assert len(seen) == 2


def test_names_are_made_under_the_key_and_tell_nothing(ledger: SqliteLedger) -> None:
    who = people(ledger)
    one = run(who.caller("demo", "jo@example.org", "digest"))
    assert "jo" not in one.user
    assert len(one.user) == 32
    assert "digest" not in one.request
    assert run(who.caller("demo", "jo@example.org", "digest")) == one
    assert run(who.caller("other", "jo@example.org", "digest")).user != one.user
    assert run(who.caller("demo", "another", "digest")).request != one.request
    assert run(who.caller("demo", "", "digest")).user == ""
    assert run(who.caller("demo", "", "")).request != run(who.caller("demo", "", "")).request
    assert run(who.caller("demo", "\udcff", "\udcff")).user  # what no encoding writes is a name like any other


def test_a_key_of_one_person_names_that_person(ledger: SqliteLedger) -> None:
    who = people(ledger, tenants={"demo": tenant(one_user=True)})
    assert run(who.caller("demo", "", "digest")).user


def test_the_name_of_a_retry_outlives_the_hour(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock)
    first = run(who.caller("demo", "user", "digest"))
    clock.now += 3_600
    second = run(who.caller("demo", "user", "digest"))
    assert first.request != second.request
    assert name_of(first.request) == name_of(second.request)


# -- rates


def test_a_rate_is_denied_with_a_time_and_no_strike(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, tenants={"demo": tenant(requests_per_minute=2)})
    for _ in range(2):
        run(who.caller("demo", "", ""))
    error = run(denial(who.caller("demo", "", "")))
    assert (error.denial, error.retry_after_s) == (Denial.RATE, 30)
    clock.now += 30
    run(who.caller("demo", "", ""))
    assert not run(ledger.decisions(0, 9))


def test_the_limit_of_images_ends_with_the_day(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, tenants={"demo": tenant(images_per_day=2)})

    async def image() -> None:
        await who.decided(await who.caller("demo", "", ""), Stage.OUTPUT, ALLOWED, ())

    run(image())
    run(image())
    error = run(denial(who.caller("demo", "", "")))
    assert (error.denial, error.retry_after_s) == (Denial.RATE, 12 * 3_600)
    clock.now += error.retry_after_s
    run(image())


def test_images_in_flight_are_nobody_elses_and_what_was_not_made_comes_back(ledger: SqliteLedger) -> None:
    who = people(ledger, tenants={"demo": tenant(images_per_day=4)})
    going = asyncio.Event()

    async def request(images: int, released: int) -> None:
        caller = await who.caller("demo", "", "", images)
        await going.wait()
        for _ in range(released):
            await who.decided(caller, Stage.OUTPUT, ALLOWED, ())
        who.flights.leave()

    async def all_at_once() -> list[tuple[str, int]]:
        tasks = [asyncio.create_task(request(*each)) for each in ((1, 1), (2, 0), (2, 2), (1, 0))]
        await asyncio.wait([tasks[2]], timeout=1)  # there is room for three
        going.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        await request(2, 1)
        await request(2, 2)
        errors = [*done, await denial(who.caller("demo", "", ""))]
        return [(str(each), each.retry_after_s) for each in errors if isinstance(each, DeniedError)]

    busy = "the images that are left are asked for by other requests"
    assert run(all_at_once()) == [(busy, 30), ("no images are left for today (UTC)", 12 * 3_600)]
    assert who._booked == {}


def test_planted_without_bookings_requests_at_once_make_too_many(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "_BOOKED", "SELECT 0 WHERE ? <> '' AND ? > 0 UNION SELECT 0")
    with pytest.raises((AssertionError, DeniedError)):
        test_images_in_flight_are_nobody_elses_and_what_was_not_made_comes_back(ledger)


def test_what_works_on_after_the_answer_keeps_its_images(ledger: SqliteLedger) -> None:
    who = people(ledger, tenants={"demo": tenant(images_per_day=1)})

    async def answered_early() -> str:
        done = asyncio.Event()
        caller = await who.caller("demo", "", "")
        job = asyncio.create_task(until(done))
        who.flights.goes_on(caller, job)
        who.flights.leave()
        error = await denial(who.caller("demo", "", ""))
        done.set()
        await job
        await asyncio.sleep(0)
        await who.caller("demo", "", "")
        return str(error)

    async def until(done: asyncio.Event) -> None:
        await done.wait()

    assert "other requests" in run(answered_early())


def test_who_is_not_let_in_after_the_delay_has_booked_nothing(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, probing=ProbingSettings(free=1, first_s=1), strikes=SUSPENDING)
    caller = run(refusal(who, 1, SOFT))
    run(refusal(who, 2, SOFT))

    async def suspended_meanwhile(_: float) -> None:
        await who.decided(replace(caller, request="req_9-0"), Stage.INPUT, refused(3), ())

    who._means = replace(who._means, sleep=suspended_meanwhile)
    assert run(denial(who.caller("demo", "user", ""))).denial is Denial.SUSPENDED
    assert who._booked == {}


def test_a_rate_is_of_all_gateways_of_a_ledger(tmp_path: Path) -> None:
    with closing(SqliteLedger(tmp_path / "l.db")) as one, closing(SqliteLedger(tmp_path / "l.db")) as other:
        gateways = [people(each, tenants={"demo": tenant(requests_per_minute=3)}) for each in (one, other)]
        for number in range(3):
            run(gateways[number % 2].caller("demo", "", ""))
        for each in gateways:
            assert run(denial(each.caller("demo", "", ""))).denial is Denial.RATE


def test_tenants_and_limits_are_taken_anew_and_what_was_used_up_stays_so(ledger: SqliteLedger) -> None:
    who = people(ledger, tenants={"demo": tenant(requests_per_minute=1), "other": tenant("other")})
    run(who.caller("demo", "", ""))
    changed = {"demo": tenant(requests_per_minute=1), "new": tenant("new", models=("small",))}
    who.use(PeopleSettings(tenants=changed))
    assert who.known("new") == frozenset({"small"})
    assert run(who.caller("new", "", "")).tenant == "new"
    assert run(denial(who.caller("other", "", ""))).denial is Denial.KEY
    assert run(denial(who.caller("demo", "", ""))).denial is Denial.RATE
    who.use(PeopleSettings(tenants={"demo": tenant("another key", requests_per_minute=1)}))
    assert run(denial(who.caller("demo", "", ""))).denial is Denial.KEY
    assert run(denial(who.caller("another key", "", ""))).denial is Denial.RATE


def test_a_decision_is_recorded_under_the_policy_that_it_was_made_by(ledger: SqliteLedger) -> None:
    who = people(ledger)
    caller = run(who.caller("demo", "", ""))
    for version in ("one", "two"):
        records = Recording(who, lambda tenant, version=version: f"{version} of {tenant}")
        run(records.decided(caller, Stage.INPUT, ALLOWED, (), acknowledged=False))
    assert [each.policy for each in run(ledger.decisions(0, 9))] == ["one of demo", "two of demo"]


# -- to look is no request


def test_to_look_spends_no_request_and_has_a_limit_of_its_own(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, tenants={"demo": tenant(requests_per_minute=1, images_per_day=1)})

    async def often(times: int) -> None:
        for _ in range(times):
            await who.visitor("demo", "")

    run(often(1_200))
    error = run(denial(who.visitor("demo", "")))
    assert (error.denial, error.retry_after_s) == (Denial.RATE, 1)
    run(who.caller("demo", "", ""))
    assert run(denial(who.caller("demo", "", ""))).denial is Denial.RATE
    clock.now += 1
    run(often(20))
    assert run(denial(who.visitor("nobody's", ""))).denial is Denial.KEY


def test_who_has_no_images_left_or_is_slowed_may_look_and_who_is_suspended_may_not(ledger: SqliteLedger) -> None:
    clock = Clock()
    probing = ProbingSettings(free=1, tenant_free=9, first_s=1, most_s=4)
    who = people(ledger, clock, strikes=SUSPENDING, probing=probing, tenants={"demo": tenant(images_per_day=1)})
    caller = run(refusal(who, 1, SOFT))
    run(refusal(who, 2, SOFT))
    run(who.decided(caller, Stage.OUTPUT, ALLOWED, ()))
    assert run(denial(who.caller("demo", "user", ""))).denial is Denial.RATE
    assert run(who.visitor("demo", "user")).user == caller.user
    assert clock.slept == []
    run(who.decided(caller, Stage.OUTPUT, refused(3), ()))
    assert run(denial(who.visitor("demo", "user"))).denial is Denial.SUSPENDED


def test_who_only_looks_is_not_ended_by_a_hard_refusal(ledger: SqliteLedger) -> None:
    who = people(ledger)

    async def looking() -> int:
        await who.visitor("demo", "user")
        return len(who.flights._flying)

    assert run(looking()) == 0


def test_a_warning_is_in_force_from_the_next_request_on(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock)
    assert not run(refusal(who, 1)).warned
    assert run(who.caller("demo", "user", "")).warned
    assert run(who.visitor("demo", "user")).warned
    assert not run(who.caller("demo", "another", "")).warned
    clock.now += 30 * 86_400
    assert not run(who.caller("demo", "user", "")).warned


def test_a_key_is_held_to_the_models_of_its_tenant(ledger: SqliteLedger) -> None:
    who = people(ledger, tenants={"demo": tenant(models=("boats",)), "other": tenant("other")})
    assert who.known("demo") == {"boats"}
    assert who.known("other") == frozenset()
    with pytest.raises(DeniedError):
        who.known("nobody's")


# -- suspension


def test_who_is_suspended_does_not_pass_and_others_do(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, strikes=SUSPENDING)
    for number in range(3):
        run(refusal(who, number))
    error = run(denial(who.caller("demo", "user", "digest")))
    assert error.denial is Denial.SUSPENDED
    assert datetime.fromtimestamp(NOON / 1000 + 86_400, UTC).isoformat() in error.message
    run(who.caller("demo", "another", ""))
    run(who.caller("other", "user", ""))
    clock.now += 86_400
    run(who.caller("demo", "user", ""))


def test_a_client_that_tries_again_is_struck_once(ledger: SqliteLedger) -> None:
    who = people(ledger, strikes=SUSPENDING)
    for _ in range(3):
        run(refusal(who, 1))
    assert run(who.standing(run(who.caller("demo", "user", "")))).strikes == 1


def test_planted_without_the_look_at_suspensions_the_suspended_pass(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = people(ledger, strikes=SUSPENDING)
    run(refusal(who, 1, refused(3)))
    run(denial(who.caller("demo", "user", "")))
    monkeypatch.setattr(People, "_may", lambda *_: None)
    assert run(who.visitor("demo", "user")).tenant == "demo"
    with pytest.raises(DeniedError, match="images"):  # the ledger books nothing for the suspended
        run(who.caller("demo", "user", ""))


def test_planted_a_name_that_changes_with_every_try_counts_each(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = people(ledger)
    numbers = iter(range(9))
    monkeypatch.setattr(People, "_request_name", lambda *_: f"req_{next(numbers)}-0")
    for _ in range(2):
        run(refusal(who, 1))
    assert run(who.standing(run(who.caller("demo", "user", "")))).strikes == 2


# -- delays

PROBING = ProbingSettings(free=2, tenant_free=4, first_s=1, most_s=4, waiting_max=2)
DELAYS = {0: 0, 2: 0, 3: 1, 4: 2, 5: 4, 6: 4, 5_000: 4}


@pytest.mark.parametrize("refusals", DELAYS)
def test_delays_double_up_to_the_longest(refusals: int) -> None:
    assert PROBING.delay_s(refusals, 0) == DELAYS[refusals]
    assert PROBING.delay_s(0, refusals + 2) == DELAYS[refusals]


def test_who_was_refused_often_waits_and_others_do_not(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, probing=PROBING)
    for number in range(4):
        run(refusal(who, number, SOFT))
    assert clock.slept == [1]
    run(who.caller("demo", "another", ""))
    assert clock.slept == [1]
    run(who.caller("demo", "user", ""))
    assert clock.slept == [1, 2]
    clock.now += 3_600
    run(who.caller("demo", "user", ""))
    assert clock.slept == [1, 2]


def test_a_new_user_for_each_try_slows_the_tenant_down(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, probing=PROBING)
    for number in range(6):
        run(refusal(who, number, SOFT, f"user {number}"))
    assert clock.slept == [1]


def test_what_broke_here_slows_nobody(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, probing=PROBING)
    for number in range(9):
        run(refusal(who, number, BROKEN))
    assert clock.slept == []


def test_only_so_many_wait_and_their_places_are_free_again(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, probing=PROBING)
    for number in range(3):
        run(refusal(who, number, SOFT))

    async def moment(_: float) -> None:
        await asyncio.sleep(0.1)

    object.__setattr__(who._means, "sleep", moment)

    async def at_once() -> list[object]:
        asked = [who.caller("demo", "user", str(number)) for number in range(4)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    for _ in range(2):
        told = [each.denial if isinstance(each, DeniedError) else type(each) for each in run(at_once())]
        assert sorted(map(str, told)) == sorted(map(str, [Caller, Caller, Denial.RATE, Denial.RATE]))


def test_who_is_suspended_while_waiting_does_not_pass(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock, probing=PROBING, strikes=SUSPENDING)
    caller = run(refusal(who, 0, SOFT))
    for number in range(1, 3):
        run(refusal(who, number, SOFT))

    async def meanwhile(_: float) -> None:
        await who.decided(caller, Stage.OUTPUT, refused(3), ())

    object.__setattr__(who._means, "sleep", meanwhile)
    assert run(denial(who.caller("demo", "user", "late"))).denial is Denial.SUSPENDED


# -- requests beside a hard refusal


async def beside(who: People, verdict: Verdict, users: tuple[str, str] = ("user", "user")) -> str:
    """What becomes of a request that is in flight while another is decided so."""
    flying = asyncio.Event()

    async def sibling() -> str:
        await who.caller("demo", users[1], "sibling")
        flying.set()
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            if (error := who.ended()) is None:
                raise
            return f"refused at {error.stage}"
        return "passed"

    task = asyncio.create_task(sibling())
    await flying.wait()
    await refusal(who, 1, verdict, users[0])
    return await task


SIBLINGS: dict[str, tuple[Verdict, tuple[str, str], str]] = {
    "a hard refusal ends what the same user has in flight": (refused(), ("user", "user"), "refused at input"),
    "and nothing of another user": (refused(), ("user", "another"), "passed"),
    "nor of requests that name nobody, which may be anybody's": (refused(), ("", ""), "passed"),
    "a soft refusal ends nothing": (refused(1, Grade.SOFT), ("user", "user"), "passed"),
    "a question without consequences ends nothing": (refused(0), ("user", "user"), "passed"),
    "what broke here ends nothing": (BROKEN, ("user", "user"), "passed"),
}


@pytest.mark.parametrize("case", SIBLINGS)
def test_siblings(ledger: SqliteLedger, case: str) -> None:
    verdict, users, told = SIBLINGS[case]
    assert run(beside(people(ledger), verdict, users)) == told


def test_a_cancellation_by_anybody_else_stays_one(ledger: SqliteLedger) -> None:
    who = people(ledger)

    async def handler() -> RefusedError | None:
        await who.caller("demo", "user", "")
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            return who.ended()
        return None

    async def cancelled() -> RefusedError | None:
        task = asyncio.create_task(handler())
        while not who.flights._flying:
            await asyncio.sleep(0)
        task.cancel()
        return await task

    assert run(cancelled()) is None
    assert not who.flights._flying


def test_what_a_connection_does_after_its_answer_is_another_request(ledger: SqliteLedger) -> None:
    who = people(ledger)

    async def connection() -> int:
        caller = await who.caller("demo", "user", "")
        who.flights.leave()
        return await asyncio.create_task(_ended_by(who, caller))

    assert run(connection()) == 0


async def _ended_by(who: People, caller: Caller) -> int:
    return who.flights.end_siblings(caller, refused())


# -- faults


class Down:
    """A ledger that is not there."""

    def __getattr__(self, _: str) -> Callable[..., Awaitable[NoReturn]]:
        async def fail(*_: object) -> NoReturn:
            raise StorageError("the disk is full")

        return fail

    def give_back(self, _: str) -> None:
        """Nobody waits for it."""


def test_without_a_ledger_nobody_is_let_in_and_nothing_counts_as_recorded() -> None:
    who = people(Down())  # type: ignore[arg-type]
    with pytest.raises(UnableError, match="the ledger"):
        run(who.caller("demo", "user", ""))
    with pytest.raises(StorageError):
        run(who.decided(Caller("demo", "user", "req_1-0"), Stage.INPUT, refused(), ()))
    assert b"custodes_gateway_decisions_total{" not in who._means.metrics.text()


class Late:
    """A ledger that is slow, and says when it is done."""

    def __init__(self) -> None:
        self.done = False

    async def note(self, _: Noted) -> Consequence:
        await asyncio.sleep(0.01)
        self.done = True
        return Consequence()

    async def standing(self, _: Asking) -> Standing:
        return Standing()


def recorded_first(decided: Callable[..., Awaitable[None]], ledger: Late) -> bool:
    run(decided(Caller("demo", "user", "req_1-0"), Stage.INPUT, refused(), ()))  # type: ignore[arg-type]
    return ledger.done


def test_nobody_is_answered_before_the_record_and_planted_a_record_after_it_is_seen() -> None:
    ledger = Late()
    assert recorded_first(people(ledger).decided, ledger)  # type: ignore[arg-type]

    async def afterwards(caller: Caller, stage: Stage, verdict: Verdict, facts: Sequence[Fact]) -> None:
        told: Any = people(late).decided(caller, stage, verdict, facts)  # type: ignore[arg-type]
        task = asyncio.ensure_future(told)
        task.add_done_callback(lambda _: None)

    late = Late()
    assert not recorded_first(afterwards, late)


# -- what is told


def test_metrics_count_and_name_nobody(ledger: SqliteLedger) -> None:
    who = people(ledger, strikes=SUSPENDING)
    run(refusal(who, 1, refused(3, rule="an umbrella in a garden")))
    run(refusal(who, 2, BROKEN, "another"))
    metrics = who._means.metrics
    metrics.denied(run(denial(who.caller("demo", "user", ""))).denial)
    metrics.answered("/v1/images/generations", 400, 0.02)
    metrics.upstream_failed()
    text = metrics.text().decode()
    for line in (
        'decisions_total{action="refuse",category="safety",grade="hard",stage="input"} 1.0',
        'unable_total{stage="input"} 1.0',
        'denied_total{why="suspended"} 1.0',
        'consequences_total{what="suspended"} 1.0',
        'requests_total{route="/v1/images/generations",status="400"} 1.0',
        "upstream_errors_total 1.0",
        'seconds_bucket{le="0.025",route="/v1/images/generations"} 1.0',
    ):
        assert f"custodes_gateway_{line}" in text
    for secret in ("demo", "umbrella", 'user"', run(who.caller("demo", "x", "")).user, "req_"):
        assert secret not in text


def test_nothing_of_a_request_is_in_the_file(ledger: SqliteLedger, tmp_path: Path) -> None:
    who = people(ledger)
    secrets = ("jo@example.org", "a digest of a prompt", "the field")

    async def asked() -> None:
        caller = await who.caller("demo", secrets[0], secrets[1])
        fact = Fact("context:umbrella", Stage.INPUT, "lexicon 1", None, secrets[2])
        await who.decided(caller, Stage.INPUT, refused(), (fact,))

    run(asked())
    whole = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert b"context:umbrella" in whole
    assert not [secret for secret in secrets if secret.encode() in whole]
    assert hashlib.sha256(b"demo").hexdigest().encode() not in whole


def test_old_decisions_are_dropped(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock)
    run(refusal(who, 1, SOFT))
    assert run(who.forget()) == 0
    clock.now += 181 * 86_400
    assert run(who.forget()) == 1


def test_old_decisions_are_dropped_every_day_whatever_the_ledger_says(ledger: SqliteLedger) -> None:
    clock = Clock()
    who = people(ledger, clock)
    asked: list[float] = []

    async def forget() -> int:
        asked.append(clock.now - NOON / 1000)
        if len(asked) == 2:
            raise StorageError("the ledger is held by another")
        if len(asked) == 4:
            raise asyncio.CancelledError
        return 0

    who.forget = forget  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        run(who.forgetting())
    assert asked == [0, 86_400, 2 * 86_400, 3 * 86_400]


def test_what_was_acknowledged_is_recorded_and_no_difference_of_policies(ledger: SqliteLedger) -> None:
    who = people(ledger)
    found = policy(rule(stage="input", acknowledge=True))
    fact = Fact("context:umbrella", Stage.INPUT, "lexicon 1")

    async def asked() -> list[Recorded]:
        caller = await who.caller("demo", "user", "digest")
        for knows in (True, False):
            verdict = decide(found, (fact,), Stage.INPUT, acknowledged=knows)
            await who.decided(caller, Stage.INPUT, verdict, (fact,), acknowledged=knows)
        return [each async for each in recorded(ledger)]

    knew, did_not = run(asked())
    assert (knew.action, knew.acknowledged) == (Action.ALLOW, True)
    assert (did_not.action, did_not.acknowledged) == (Action.REFUSE, False)
    assert all(each.decided_by(found).action is each.action for each in (knew, did_not))


# -- settings

WRONG: dict[str, Callable[[], object]] = {
    "no tenant": lambda: PeopleSettings(tenants={}),
    "two tenants with one key": lambda: PeopleSettings(tenants={"a": tenant(), "b": tenant()}),
    "a name that is none": lambda: PeopleSettings(tenants={"A b": tenant()}),
    "an empty name": lambda: PeopleSettings(tenants={"": tenant()}),
    "a key in clear": lambda: TenantSettings(key_sha256="demo"),
    "a digest with a line feed": lambda: TenantSettings(key_sha256="0" * 64 + "\n"),
    "a warning no earlier than the suspension": lambda: StrikeSettings(warn_at=6, suspend_at=6),
    "a longest suspension shorter than the first": lambda: StrikeSettings(suspend_hours=25, suspend_hours_max=24),
    "decisions dropped while their strikes count": lambda: PeopleSettings(tenants={"a": tenant()}, decisions_days=29),
}


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_cannot_work_are_refused(case: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        WRONG[case]()
