"""Retention: nothing a day early, nothing while it is held, and of what is gone one line."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from custodes.errors import InputError
from custodes.handover import clocks as module
from custodes.handover.clocks import Kept, Term, due, ends, hold, kept, purge, unhold
from custodes.handover.custody import Act, Custody
from custodes.handover.place import Folder
from custodes.handover.receipts import Receipt, Receipts
from tests.handover.keeping import NOON, Clock, custody_in, deed, transport_key

YEAR = Term(what="receipt", since=Act.RECEIVED, years=1)
PACKAGE = Term(what="package", since=Act.SEALED, days=21)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# -- the calendar

CALENDAR: dict[str, tuple[str, dict[str, int], str]] = {
    "a year from an ordinary day": ("2026-03-01T12:34:56", {"years": 1}, "2027-03-01T12:34:56"),
    "a year that holds a leap day": ("2027-03-01T00:00:00", {"years": 1}, "2028-03-01T00:00:00"),
    "a year from the leap day ends on the day after": ("2028-02-29T23:00:00", {"years": 1}, "2029-03-01T23:00:00"),
    "a year to the eve of a leap day": ("2027-02-28T00:00:00", {"years": 1}, "2028-02-28T00:00:00"),
    "four years from leap day to leap day": ("2028-02-29T01:00:00", {"years": 4}, "2032-02-29T01:00:00"),
    "a century later there is no leap day": ("2000-02-29T01:00:00", {"years": 100}, "2100-03-01T01:00:00"),
    "21 days": ("2028-02-20T10:00:00", {"days": 21}, "2028-03-12T10:00:00"),
    "365 days are not a year": ("2027-03-01T00:00:00", {"days": 365}, "2028-02-29T00:00:00"),
}


@pytest.mark.parametrize("case", CALENDAR)
def test_terms_end_by_the_calendar(case: str) -> None:
    start, term, end = CALENDAR[case]
    assert ends(at(start), Term(what="receipt", since=Act.RECEIVED, **term)) == at(end)


def test_a_time_of_another_zone_is_the_same_time() -> None:
    there = datetime(2028, 3, 1, 8, tzinfo=timezone(timedelta(hours=14)))  # 29 February in UTC
    assert ends(there, YEAR) == at("2029-03-01T18:00:00")


NO_TERMS: list[dict[str, Any]] = [
    {},
    {"days": 0},
    {"days": 1, "years": 1},
    {"days": -1},
    {"days": -1, "years": 1},
    {"days": 36_526},
    {"years": -1},
    {"years": 101},
]


@pytest.mark.parametrize("wrong", NO_TERMS)
def test_a_term_is_of_days_or_of_years_within_limits(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either"):
        Term(what="receipt", since=Act.RECEIVED, **wrong)


# -- what is kept

DIGEST = "d" * 64


def things(custody: Custody, *terms: Term) -> list[Kept]:
    return kept(custody.records(), terms)


def test_a_receipt_is_kept_from_when_it_was_received_by_its_route(tmp_path: Path) -> None:
    clock = Clock()
    custody = custody_in(tmp_path, clock)
    custody.append(deed(1, Act.SENT), deed(1, Act.RECEIVED), deed(2, Act.SENT))
    clock.passes(days=10)
    custody.append(deed(1, Act.RECEIVED, route="webhook"))
    found = {thing.route: thing for thing in things(custody, YEAR)}
    assert found.keys() == {"ncmec", "webhook"}
    assert found["ncmec"].due == NOON.replace(year=2027)
    assert found["webhook"].due == NOON.replace(year=2027) + timedelta(days=10)
    assert due(found.values(), NOON.replace(year=2027) - timedelta(seconds=1)) == []
    assert due(found.values(), NOON.replace(year=2027)) == [found["ncmec"]]


def test_the_longest_term_counts_and_one_that_has_not_begun_keeps_everything(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    custody.append(deed(1, Act.RECEIVED))
    longer = Term(what="receipt", since=Act.RECEIVED, years=2)
    waits = Term(what="receipt", since=Act.VERDICT, days=1)
    assert [thing.due for thing in things(custody, YEAR, longer)] == [NOON.replace(year=2028)]
    assert [thing.due for thing in things(custody, YEAR, waits)] == [None]
    assert [thing.due for thing in things(custody)] == [None]
    assert [thing.due for thing in things(custody, PACKAGE)] == [None]
    custody.append(deed(1, Act.VERDICT, route=""))
    assert [thing.due for thing in things(custody, YEAR, waits)] == [NOON.replace(year=2027)]


def test_a_package_is_kept_until_the_last_of_its_incidents_is_over(tmp_path: Path) -> None:
    clock = Clock()
    custody = custody_in(tmp_path, clock)
    custody.append(*(deed(number, Act.SEALED, digest=DIGEST, route="") for number in (1, 2)))
    custody.append(deed(1, Act.RECEIVED))
    since_received = Term(what="package", since=Act.RECEIVED, years=1)
    packages = [thing for thing in things(custody, since_received) if thing.what == "package"]
    assert [(thing.incidents, thing.due) for thing in packages] == [((f"{1:032x}", f"{2:032x}"), None)]
    clock.passes(days=100)
    custody.append(deed(2, Act.RECEIVED))
    (package,) = [thing for thing in things(custody, since_received) if thing.what == "package"]
    assert package.due == clock.now.replace(year=2027)


def test_test_and_production_are_two_things(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    custody.append(deed(1, Act.RECEIVED), deed(1, Act.RECEIVED, environment="production"))
    assert [thing.environment for thing in things(custody, YEAR)] == ["test", "production"]


def test_a_clock_that_was_set_back_shortens_nothing(tmp_path: Path) -> None:
    clock = Clock()
    custody = custody_in(tmp_path, clock)
    custody.append(deed(1, Act.SENT))
    clock.now = at("1970-01-01T00:00:00")
    custody.append(deed(1, Act.RECEIVED))
    assert [thing.due for thing in things(custody, YEAR)] == [NOON.replace(year=2027)]


def test_planted_a_time_that_is_believed_as_it_stands_ends_a_term_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    custody = custody_in(tmp_path, clock)
    custody.append(deed(1, Act.SENT))
    clock.now = at("1970-01-01T00:00:00")
    custody.append(deed(1, Act.RECEIVED))
    monkeypatch.setattr(module, "max", lambda one, *other: other[0] if other else max(one), raising=False)
    assert due(things(custody, YEAR), NOON) != []


# -- deletion and holds


def removals(custody: Custody, now: datetime, *terms: Term) -> list[Kept]:
    removed: list[Kept] = []
    assert purge(custody, terms, now, "custodes", removed.append) == removed
    return removed


def test_what_is_due_is_deleted_once_and_leaves_its_line(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    custody.append(deed(1, Act.RECEIVED), deed(2, Act.SEALED, digest=DIGEST))
    later = NOON + timedelta(days=400)
    assert [thing.what for thing in removals(custody, later, YEAR, PACKAGE)] == ["receipt", "package"]
    assert removals(custody, later, YEAR, PACKAGE) == []
    lines = [line for line in custody.records() if line.act is Act.DELETED]
    assert [(line.reason, line.incident, line.digest) for line in lines] == [
        ("receipt", f"{1:032x}", ""),
        ("package", "", DIGEST),
    ]


def test_what_is_received_after_a_deletion_is_kept_anew(tmp_path: Path) -> None:
    clock = Clock()
    custody = custody_in(tmp_path, clock)
    custody.append(deed(1, Act.RECEIVED))
    clock.passes(days=400)
    removals(custody, clock.now, YEAR)
    custody.append(deed(1, Act.RECEIVED))
    assert [thing.due for thing in things(custody, YEAR)] == [clock.now.replace(year=2028)]


def test_nothing_is_deleted_while_any_reason_holds_it(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    custody.append(deed(1, Act.RECEIVED), deed(2, Act.RECEIVED))
    later, one = NOON + timedelta(days=400), f"{1:032x}"
    hold(custody, one, "police", "alice")
    hold(custody, one, "court", "bob")
    assert [thing.incidents for thing in removals(custody, later, YEAR)] == [(f"{2:032x}",)]
    unhold(custody, one, "police", "alice")
    assert [thing.holds for thing in things(custody, YEAR)] == [("court",)]
    assert removals(custody, later, YEAR) == []
    unhold(custody, one, "court", "bob")
    assert [thing.incidents for thing in removals(custody, later, YEAR)] == [(one,)]


def test_one_held_incident_holds_the_whole_package(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    custody.append(*(deed(number, Act.SEALED, digest=DIGEST, route="") for number in (1, 2)))
    hold(custody, f"{2:032x}", "court", "alice")
    assert removals(custody, NOON + timedelta(days=400), PACKAGE) == []


def test_planted_without_looking_at_holds_what_is_held_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    custody = custody_in(tmp_path)
    custody.append(deed(1, Act.RECEIVED))
    hold(custody, f"{1:032x}", "police", "alice")
    monkeypatch.setattr(module, "due", lambda found, now: [thing for thing in found if thing.due <= now])
    assert len(removals(custody, NOON + timedelta(days=400), YEAR)) == 1


def test_holds_say_who_and_why_and_are_of_what_is_known(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    custody.append(deed(1, Act.RECEIVED, environment="production"))
    one = f"{1:032x}"
    hold(custody, one, "court", "bob")
    line = custody.of(one)[-1]
    assert (line.act, line.who, line.reason, line.environment) == (Act.HELD, "bob", "court", "production")
    for wrong in (
        lambda: hold(custody, one, "court", "alice"),
        lambda: hold(custody, f"{9:032x}", "court", "alice"),
        lambda: unhold(custody, one, "police", "alice"),
    ):
        with pytest.raises(InputError) as raised:
            wrong()
        assert one not in str(raised.value)
    for reason in ("", "Because of a case"):
        with pytest.raises(ValueError, match="a word"):
            hold(custody, one, reason, "alice")


def test_a_removal_that_fails_is_tried_again_and_not_recorded(tmp_path: Path) -> None:
    custody = custody_in(tmp_path)
    custody.append(deed(1, Act.RECEIVED))
    later = NOON + timedelta(days=400)

    def fails(_: Kept) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        purge(custody, [YEAR], later, "custodes", fails)
    assert Act.DELETED not in [line.act for line in custody.records()]
    assert len(removals(custody, later, YEAR)) == 1


# -- two years


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Where the machine may be. It is put back at the end."""
    yield ["UTC", "Pacific/Kiritimati", "America/Adak", "Europe/London", "Asia/Kathmandu"]
    monkeypatch.undo()
    time.tzset()


class World:
    """What is on disk, and what a plain calendar says should be, day by day."""

    def __init__(self, home: Path) -> None:
        self.clock = Clock(at("2027-02-20T00:00:00"))
        self.custody = custody_in(home, self.clock)
        self.receipts = Receipts(Folder(home / "receipts"), [transport_key()])
        self.received: dict[int, datetime] = {}
        self.held: set[int] = set()
        self.gone: dict[int, datetime] = {}

    def receive(self, number: int) -> None:
        receipt = Receipt(step="finish", received=self.clock.now, body=b"<receipt %d/>" % number)
        digest = self.receipts.keep(f"{number:032x}", "ncmec", "test", receipt)
        self.custody.append(deed(number, Act.RECEIVED, digest=digest))
        self.received[number] = self.clock.now

    def remove(self, thing: Kept) -> None:
        (incident,) = thing.incidents
        self.receipts.remove(incident, thing.route, thing.environment)
        self.gone[int(incident, 16)] = self.clock.now

    def purge(self) -> None:
        purge(self.custody, [YEAR], self.clock.now, "custodes", self.remove)

    def should_be_gone(self, number: int) -> bool:
        """Counted by hand: the same day and time a year later; of 29 February, the day after the 28th."""
        was = self.received[number]
        day = (was.month, was.day) if (was.month, was.day) != (2, 29) else (3, 1)
        return (self.clock.now.year, self.clock.now.month, self.clock.now.day) >= (was.year + 1, *day)


def test_two_years_with_a_leap_day_and_a_machine_that_travels(
    tmp_path: Path, zones: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(2028)
    world = World(tmp_path)
    for day in range(2 * 366 + 10):
        if day % 30 == 0:
            monkeypatch.setenv("TZ", zones[day // 30 % len(zones)])
            time.tzset()
        is_leap_day = (world.clock.now.month, world.clock.now.day) == (2, 29)
        if rng.random() < 0.05 or is_leap_day:
            world.receive(len(world.received))
        here = sorted(world.received.keys() - world.gone.keys())
        if here and rng.random() < 0.03 and (number := rng.choice(here)) not in world.held:
            hold(world.custody, f"{number:032x}", "court", "alice")
            world.held.add(number)
        if world.held and rng.random() < 0.02:
            number = rng.choice(sorted(world.held))
            unhold(world.custody, f"{number:032x}", "court", "alice")
            world.held.discard(number)
        if day % 7 == 0 or is_leap_day:
            world.purge()
            over = {number for number in world.received if world.should_be_gone(number)}
            assert world.gone.keys() == {n for n in over if n not in world.held}
        world.clock.passes(days=1)
    leap = [number for number, when in world.received.items() if (when.month, when.day) == (2, 29)]
    assert len(leap) == 1
    assert len(world.gone) > 10
    for number in world.received:
        left = world.receipts.of(f"{number:032x}", "ncmec", "test")
        lines = [line for line in world.custody.of(f"{number:032x}") if line.act is Act.DELETED]
        assert (len(left), len(lines)) == ((0, 1) if number in world.gone else (1, 0))
    assert len(list((tmp_path / "receipts").glob("*.item"))) == len(world.received) - len(world.gone)
