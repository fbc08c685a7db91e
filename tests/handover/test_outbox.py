"""The outbox: put once, sent by one at a time, gone when it was received, and loud when something waits."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from custodes.errors import ConfigError, InputError
from custodes.handover import locker
from custodes.handover.locker import Damaged, Locker
from custodes.handover.outbox import (
    KEY_CHARS_MAX,
    PAYLOAD_BYTES_MAX,
    PROGRESS_CHARS_MAX,
    PROGRESS_MAX,
    WAIT_S_MAX,
    Item,
    LeaseLost,
    Letter,
    Outbox,
    Pace,
    Put,
    Seams,
    State,
)
from tests.handover.homes import Home
from tests.handover.keeping import NOON, Clock, letter, outbox_in, transport_key


def taken(outbox: Outbox, route: str = "ncmec") -> Item:
    item = outbox.take(route, "test")
    assert item is not None
    return item


def only(outbox: Outbox) -> Any:
    (head,) = outbox.survey().items
    return head


# -- putting


def test_the_same_key_twice_is_one_and_another_payload_under_it_is_told(home: Home) -> None:
    outbox = outbox_in(home / "outbox")
    assert outbox.put(letter(1)) is Put.NEW
    assert outbox.put(letter(1)) is Put.SAME
    assert outbox.put(letter(1, b"other")) is Put.OTHER
    assert taken(outbox).payload == b"payload"
    assert outbox.put(letter(1)) is Put.SAME
    assert len(outbox.survey().items) == 1


def test_what_was_delivered_is_never_put_again_and_what_was_dropped_may_be(home: Home) -> None:
    outbox = outbox_in(home / "outbox")
    outbox.put(letter(1))
    outbox.put(letter(2))
    assert outbox.known(letter(1).key)
    outbox.delete(taken(outbox))
    outbox.drop(only(outbox).id)
    again = outbox_in(home / "outbox")
    assert sorted([again.put(letter(1)), again.put(letter(2))]) == [Put.DELIVERED, Put.NEW]
    assert again.known(letter(1).key)
    assert not again.known(letter(3).key)


def test_planted_without_the_mark_a_delivered_letter_is_put_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Locker, "spend", Locker.remove)
    outbox = outbox_in(home / "outbox")
    outbox.put(letter(1))
    outbox.delete(taken(outbox))
    assert outbox.put(letter(1)) is Put.NEW


UNFIT: dict[str, dict[str, Any]] = {
    "no key": {"key": ""},
    "a key too long": {"key": "k" * (KEY_CHARS_MAX + 1)},
    "a route that is no word": {"route": "https://hook.example"},
    "a payload too large": {"payload": b"\0" * (PAYLOAD_BYTES_MAX + 1)},
    "an environment of its own": {"environment": "staging"},
}


@pytest.mark.parametrize("case", UNFIT)
def test_letters_that_do_not_fit_are_refused(case: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - each says its own rule
        letter(1, **UNFIT[case])
    assert "hook.example" not in str(raised.value)


def test_letters_at_their_limits_are_taken(home: Home) -> None:
    outbox = outbox_in(home / "outbox")
    payload = b"\0" * PAYLOAD_BYTES_MAX
    assert outbox.put(letter(1, payload, key="k" * KEY_CHARS_MAX)) is Put.NEW
    assert taken(outbox).payload == payload


# -- leases


def test_an_item_has_one_worker_until_its_lease_ends(home: Home) -> None:
    clock = Clock()
    one, other = (outbox_in(home / "outbox", clock=clock, lease_s=60) for _ in range(2))
    one.put(letter(1))
    mine = taken(one)
    assert other.take("ncmec", "test") is None
    clock.passes(seconds=59)
    assert other.take("ncmec", "test") is None
    clock.passes(seconds=1)
    theirs = taken(other)
    assert (mine.head.attempts, theirs.head.attempts) == (1, 2)
    for late in (lambda: one.save(mine, {}), lambda: one.delete(mine), lambda: one.retry(mine, "timeout")):
        with pytest.raises(LeaseLost):
            late()
    other.delete(theirs)
    with pytest.raises(LeaseLost):
        one.bury(mine, "late")


def test_planted_without_leases_two_workers_have_the_same_item(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "_lease_end", lambda _: NOON - timedelta(days=1))
    one, other = (outbox_in(home / "outbox") for _ in range(2))
    one.put(letter(1))
    assert taken(one).head.id == taken(other).head.id


def test_a_worker_that_nobody_overtook_goes_on_though_its_lease_ended_and_saving_begins_it_anew(home: Home) -> None:
    clock = Clock()
    outbox = outbox_in(home / "outbox", clock=clock, lease_s=60)
    outbox.put(letter(1))
    item = taken(outbox)
    clock.passes(seconds=90)
    item = outbox.save(item, {"report": "42"})
    clock.passes(seconds=59)
    assert outbox_in(home / "outbox", clock=clock).take("ncmec", "test") is None
    outbox.delete(item)


def test_threads_that_take_at_once_never_have_the_same(home: Home) -> None:
    outbox = outbox_in(home / "outbox")
    for number in range(40):
        outbox.put(letter(number))
    got: list[str] = []

    def work() -> None:
        mine = outbox_in(home / "outbox")
        while (item := mine.take("ncmec", "test")) is not None:
            got.append(item.head.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(set(got)) == 40


def test_a_route_takes_its_own_and_of_its_environment(home: Home) -> None:
    outbox = outbox_in(home / "outbox")
    outbox.put(letter(1))
    outbox.put(letter(2, route="webhook"))
    outbox.put(letter(3, environment="production"))
    assert outbox.take("webhook", "production") is None
    assert taken(outbox, "webhook").head.key == letter(2).key
    production = outbox.take("ncmec", "production")
    assert production is not None
    assert production.head.key == letter(3).key


def test_what_waits_longest_goes_first(home: Home) -> None:
    clock = Clock()
    outbox = outbox_in(home / "outbox", clock=clock)
    for number in (3, 1, 2):
        outbox.put(letter(number))
        clock.passes(seconds=1)
    assert [taken(outbox).head.key for _ in range(3)] == [letter(number).key for number in (3, 1, 2)]


# -- progress


def test_progress_is_durable_before_the_next_call_and_comes_back_after_a_crash(home: Home) -> None:
    clock = Clock()
    outbox = outbox_in(home / "outbox", clock=clock)
    outbox.put(letter(1))
    item = outbox.save(taken(outbox), {"step": "submitting"})
    outbox.save(item, {"step": "submitted", "report": "42"})
    clock.passes(hours=1)
    again = taken(outbox_in(home / "outbox", clock=clock))
    assert again.head.progress == {"step": "submitted", "report": "42"}
    assert again.payload == b"payload"


def test_progress_has_its_limits(home: Home) -> None:
    outbox = outbox_in(home / "outbox")
    outbox.put(letter(1))
    item = taken(outbox)
    full = {f"n{number}": "v" * PROGRESS_CHARS_MAX for number in range(PROGRESS_MAX)}
    item = outbox.save(item, full)
    for wrong in (full | {"one-more": ""}, {"n": "v" * (PROGRESS_CHARS_MAX + 1)}):
        with pytest.raises(InputError, match="at most"):
            outbox.save(item, wrong)
    with pytest.raises(ValueError, match="a word"):
        outbox.save(item, {"No Word": ""})
    assert only(outbox).progress == full


# -- failures


def test_pauses_double_up_to_the_cap_and_half_of_each_is_chance(home: Home) -> None:
    for chance, share in ((1.0, 1.0), (0.0, 0.5)):
        clock = Clock()
        pace = Pace(first_s=60, cap_s=600)
        outbox = Outbox(home / str(chance), [transport_key()], pace, Seams(clock, lambda chance=chance: chance))
        outbox.put(letter(1))
        pauses = []
        for _ in range(6):
            outbox.retry(taken(outbox), "timeout")
            pauses.append((only(outbox).next_try - clock.now).total_seconds())
            clock.now = only(outbox).next_try - timedelta(seconds=1)
            assert outbox.take("ncmec", "test") is None
            clock.passes(seconds=1)
        assert pauses == [share * pause for pause in (60, 120, 240, 480, 600, 600)]


def test_a_service_may_ask_for_a_longer_pause_up_to_a_day(home: Home) -> None:
    clock = Clock()
    outbox = outbox_in(home / "outbox", clock=clock)
    outbox.put(letter(1))
    for asked, given in ((1, 60), (500, 500), (10 * WAIT_S_MAX, WAIT_S_MAX)):
        item = taken(outbox)
        outbox.retry(item, "busy", asked)
        assert (only(outbox).next_try - clock.now).total_seconds() == max(given, 60 * 2 ** (item.head.attempts - 1))
        clock.now = only(outbox).next_try


def test_after_too_many_attempts_it_is_a_dead_letter_that_a_person_revives(home: Home) -> None:
    clock = Clock()
    outbox = outbox_in(home / "outbox", clock=clock, attempts_max=2)
    outbox.put(letter(1))
    item = outbox.save(taken(outbox), {"report": "42"})
    assert outbox.retry(item, "timeout") is State.WAITING
    clock.passes(hours=1)
    assert outbox.retry(taken(outbox), "refused") is State.DEAD
    clock.passes(days=30)
    assert outbox.take("ncmec", "test") is None
    head = only(outbox)
    assert (head.state, head.error, head.attempts) == (State.DEAD, "refused", 2)
    outbox.revive(head.id)
    item = taken(outbox)
    assert (item.head.attempts, item.head.progress) == (1, {"report": "42"})


def test_who_dies_of_an_item_again_and_again_ends_its_attempts_too(home: Home) -> None:
    clock = Clock()
    outbox = outbox_in(home / "outbox", clock=clock, attempts_max=3)
    outbox.put(letter(1))
    for _ in range(3):
        taken(outbox)
        clock.passes(hours=1)
    assert outbox.take("ncmec", "test") is None
    assert (only(outbox).state, only(outbox).error) == (State.DEAD, "attempts")


def test_an_error_is_kept_as_one_word_and_no_foreign_text(home: Home) -> None:
    outbox = outbox_in(home / "outbox")
    outbox.put(letter(1))
    item = taken(outbox)
    for text in ("https://images.example/1.jpg", "Connection reset", "", "x" * 33):
        with pytest.raises(ValueError, match="a word"):
            outbox.bury(item, text)
    outbox.bury(item, "code_4100")
    assert only(outbox).error == "code_4100"


def test_reviving_and_dropping_are_refused_where_they_would_do_harm(home: Home) -> None:
    clock = Clock()
    outbox = outbox_in(home / "outbox", clock=clock)
    outbox.put(letter(1))
    name = only(outbox).id
    with pytest.raises(InputError, match="no dead letter"):
        outbox.revive(name)
    taken(outbox)
    for act in (outbox.revive, outbox.drop):
        with pytest.raises(InputError):
            act(name)
    for act in (outbox.revive, outbox.drop):
        with pytest.raises(InputError, match="no such item"):
            act("0" * 32)
    clock.passes(hours=1)
    outbox.drop(name)
    assert outbox.survey().items == ()


# -- a clock that jumps


def test_what_was_to_wait_for_longer_than_any_pause_is_due_because_the_clock_was_set_back(home: Home) -> None:
    clock = Clock(NOON + timedelta(days=400))
    outbox = outbox_in(home / "outbox", clock=clock)
    outbox.put(letter(1))
    outbox.retry(taken(outbox), "timeout")
    clock.now = NOON
    assert outbox.survey().alarming
    assert taken(outbox).head.attempts == 2


def test_a_lease_from_a_time_to_come_is_kept_until_a_person_ends_it(home: Home) -> None:
    clock = Clock(NOON + timedelta(days=400))
    outbox = outbox_in(home / "outbox", clock=clock)
    outbox.put(letter(1))
    item = taken(outbox)
    clock.now = NOON
    assert outbox.take("ncmec", "test") is None
    outbox.revive(item.head.id)
    assert taken(outbox).head.attempts == 1
    with pytest.raises(LeaseLost):
        outbox.delete(item)


# -- the alarm


def test_anything_unsent_for_a_day_is_an_alarm_in_whatever_state(home: Home) -> None:
    for state in State:
        clock = Clock()
        outbox = outbox_in(home / state, clock=clock)
        outbox.put(letter(1))
        clock.passes(hours=1)
        outbox.put(letter(2))
        if state is not State.WAITING:
            item = taken(outbox)
            if state is State.DEAD:
                outbox.bury(item, "code_4100")
        clock.now = NOON + timedelta(days=1, seconds=-1)
        survey = outbox.survey()
        assert (survey.oldest, survey.alarm_at, survey.alarming) == (NOON, NOON + timedelta(days=1), False)
        clock.passes(seconds=1)
        assert outbox.survey().alarming


def test_an_empty_outbox_alarms_nobody(home: Home) -> None:
    survey = outbox_in(home / "outbox").survey()
    assert (survey.items, survey.oldest, survey.alarm_at, survey.alarming) == ((), None, None, False)


def test_a_damaged_item_is_an_alarm_and_in_nobodys_way(tmp_path: Path) -> None:
    outbox = outbox_in(tmp_path / "outbox")
    outbox.put(letter(1))
    outbox.put(letter(2))
    first, second = outbox.survey().items
    path = tmp_path / "outbox" / f"{first.id}.item"
    path.write_bytes(path.read_bytes()[:-1])
    survey = outbox.survey()
    assert (survey.items, survey.damaged, survey.alarming) == ((second,), (first.id,), True)
    assert taken(outbox).head.id == second.id
    assert outbox.take("ncmec", "test") is None
    with pytest.raises(Damaged):
        outbox.put(Letter(key=first.key, route="ncmec", environment="test", payload=b""))
    outbox.drop(first.id)
    assert outbox.survey().damaged == ()


def test_an_item_of_another_format_is_damaged(home: Home) -> None:
    outbox = outbox_in(home / "outbox")
    outbox.put(letter(1))
    name = only(outbox).id
    Locker(home / "outbox", "custodes-outbox/1", [transport_key()]).write(name, b"\x80")
    with pytest.raises(Damaged, match="another format"):
        outbox.get(name)


# -- keys


def test_keys_rotate_while_an_item_is_being_sent(home: Home) -> None:
    old, new = transport_key(1), transport_key(2)
    outbox = outbox_in(home / "outbox", old)
    outbox.put(letter(1))
    outbox.put(letter(2))
    with pytest.raises(ConfigError):
        outbox_in(home / "outbox", new)
    both = outbox_in(home / "outbox", new, old)
    item = taken(both)
    assert both.rotate() == 1  # the item that was taken is under the new key already
    both.delete(item)
    alone = outbox_in(home / "outbox", new)
    assert alone.put(Letter(key=item.head.key, route="ncmec", environment="test", payload=b"")) is Put.DELIVERED
    assert len(alone.survey().items) == 1


# -- what is said, and how fast


def test_nothing_prints_a_key_or_a_payload(tmp_path: Path) -> None:
    outbox = outbox_in(tmp_path / "outbox")
    outbox.put(letter(1, b"https://images.example/1.jpg"))
    item = outbox.save(taken(outbox), {"report": "the-receipt"})
    for thing in (letter(1), item, item.head, [item], outbox, outbox.survey()):
        assert not any(word in repr(thing) for word in (letter(1).key, "images", "the-receipt"))


@pytest.mark.parametrize(
    "wrong", [{"first_s": 0}, {"cap_s": 59}, {"cap_s": WAIT_S_MAX + 1}, {"lease_s": 0}, {"attempts_max": 0}]
)
def test_paces_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        Pace(**wrong)


def test_an_outbox_is_listed_by_one_look_at_each_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = outbox_in(tmp_path / "outbox")
    for number in range(100):
        outbox.put(letter(number, b"\0" * 2500))
    opened: list[bytes] = []
    unlock = locker.unlock

    def counted(*given: Any) -> bytes:
        opened.append(unlock(*given))
        return opened[-1]

    monkeypatch.setattr(locker, "unlock", counted)
    assert len(outbox.survey().items) == len(opened) == 100
