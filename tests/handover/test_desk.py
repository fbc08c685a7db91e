"""The desk: what goes in once goes out once, whatever the route does, wherever the process ends."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.crypto.keys import SigningKey, TransportKey
from custodes.errors import InputError
from custodes.handover.custody import Act, Custody
from custodes.handover.custody import Means as CustodyMeans
from custodes.handover.delivery import Dead, Delivered, Ended, Later, Progress
from custodes.handover.desk import Desk, Means
from custodes.handover.incident import Incident
from custodes.handover.outbox import LeaseLost, Outbox, Seams
from custodes.handover.pages import FilePages
from custodes.handover.place import Folder
from custodes.handover.receipts import Receipt, Receipts
from custodes.handover.words import Environment
from tests.handover.making import finding, incidents

KEY = SigningKey("custodes.example", Ed25519PrivateKey.from_private_bytes(bytes([3] * 32)))
KEYS = [TransportKey(bytes([7] * 32))]
DAY = timedelta(days=1)


class DeadError(Exception):
    """The process ended."""


@dataclass
class Receiver:
    """An authority that keeps the first of each key, and a route to it that does as it is told: deliver, fail before or after, or die."""

    name: str = "hotline"
    environment: Environment = "test"
    has: dict[str, list[str]] = field(default_factory=dict)
    told: Iterator[str] = field(default_factory=lambda: iter(()))

    def check(self, incident: Incident) -> None:
        if incident.decision != "report":
            raise InputError("what is held is not reported")

    def preview(self, incident: Incident, now: datetime) -> str:
        return f"{incident.id} {now}"

    async def deliver(self, incident: Incident, key: str, progress: Progress) -> Ended:
        fate = next(self.told, "deliver")
        ends: dict[str, Callable[[], Ended]] = {
            "later": lambda: Later("no-answer"),
            "account": lambda: Later("account-refused", account=True),
            "dead": lambda: Dead("code-4100", 4100),
        }
        if fate in ends:
            return ends[fate]()
        if fate == "die-before":
            raise DeadError
        progress.save({"phase": "sending"})
        self.has.setdefault(key, sorted(place.finding for place in incident.places))
        if fate == "die-after":
            raise DeadError
        if fate == "lost":
            return Later("no-answer")
        progress.keep(Receipt(step="submit", received=datetime(2026, 3, 1, tzinfo=UTC), body=key.encode()))
        return Delivered(hashlib.sha256(key.encode()).hexdigest()[:16])

    async def close(self) -> None:
        pass

    @property
    def findings(self) -> Counter[str]:
        return Counter(finding for findings in self.has.values() for finding in findings)


@dataclass
class House:
    """One site's state, opened anew as a process that begins does."""

    folder: Path
    receiver: Receiver
    now: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def means(self) -> Means:
        memory = CustodyMeans(signer=KEY, clock=lambda: self.now)
        outbox = Outbox(Folder(self.folder / "outbox"), KEYS, seams=Seams(clock=lambda: self.now, chance=lambda: 0.5))
        custody = Custody(FilePages(self.folder / "custody", self.folder / "memory"), memory)
        return Means(outbox, Receipts(Folder(self.folder / "receipts"), KEYS), custody, "officer", lambda: self.now)

    def desk(self) -> Desk:
        return Desk(self.receiver, self.means())

    def work(self) -> None:
        asyncio.run(self.desk().work())

    def acts(self, incident: str = "") -> list[Act]:
        records = self.means().custody.records()
        return [each.act for each in records if incident in ("", each.incident)]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, Receiver())


def three() -> list[Incident]:
    return incidents(*(finding(number, image=number) for number in range(3)))


def test_what_is_queued_goes_out_once_and_every_act_is_recorded(house: House) -> None:
    told = house.desk().queue(three())
    assert (len(told.new), told.waiting, told.delivered) == (3, 0, 0)
    worked = asyncio.run(house.desk().work())
    assert sorted(worked.delivered) == sorted(incident.id for incident in three())
    assert house.acts(three()[0].id) == [Act.QUEUED, Act.SENT, Act.RECEIVED]
    again = house.desk().queue(three())
    assert (again.new, again.waiting, again.delivered) == ([], 0, 3)
    assert asyncio.run(house.desk().work()).delivered == []
    assert set(house.receiver.findings.values()) == {1}
    assert house.desk().survey().items == ()


def test_what_waits_is_not_queued_twice(house: House) -> None:
    house.desk().queue(three())
    assert house.desk().queue(three()).waiting == 3
    assert len(house.desk().survey().items) == 3


def test_what_a_route_does_not_take_is_said_with_its_reason(house: House) -> None:
    held = incidents(finding(1, image=1, decision="hold"), finding(2, image=2))
    told = house.desk().queue(held)
    assert dict(told.refused) == {"what is held is not reported": 1}
    assert len(told.new) == 1


def test_places_that_are_found_later_follow_and_nothing_of_before_is_told_again(house: House) -> None:
    house.desk().queue(incidents(finding(1, image=7)))
    house.work()
    more = incidents(finding(1, image=7), finding(2, image=7))
    told = house.desk().queue(more)
    assert (told.new, told.following) == ([], [more[0].id])
    house.work()
    assert house.receiver.findings == Counter({f"{1:032x}": 1, f"{2:032x}": 1})
    assert house.desk().queue(more).delivered == 1


def test_an_image_that_has_another_name_by_now_is_known_by_its_old_one(house: House) -> None:
    dead = incidents(finding(1))  # its recorded digest alone: named by the entry
    house.desk().queue(dead)
    house.work()
    seen = incidents(finding(1), finding(2, image=1))
    assert seen[0].id != dead[0].id
    told = house.desk().queue(seen)
    assert told.following == [seen[0].id]
    house.work()
    assert house.receiver.findings == Counter({f"{1:032x}": 1, f"{2:032x}": 1})


def test_an_account_that_is_refused_stops_all_and_loses_nothing(house: House) -> None:
    house.desk().queue(three())
    house.receiver.told = iter(["account"])
    worked = asyncio.run(house.desk().work())
    assert worked.stopped == "account-refused"
    assert len(house.desk().survey().items) == 3
    house.now += DAY
    house.work()
    assert len(house.receiver.has) == 3


def test_a_dead_letter_is_kept_and_tried_again_when_a_person_says_so(house: House) -> None:
    house.desk().queue(three()[:1])
    house.receiver.told = iter(["dead"])
    assert len(asyncio.run(house.desk().work()).dead) == 1
    house.now += 30 * DAY
    assert asyncio.run(house.desk().work()).delivered == []
    assert house.desk().survey().alarming
    assert house.desk().revive() == 1
    house.work()
    assert house.acts() == [Act.QUEUED, Act.SENT, Act.BURIED, Act.REVIVED, Act.SENT, Act.RECEIVED]


def test_what_waits_can_be_taken_back_and_what_was_delivered_cannot(house: House) -> None:
    first, second, _ = three()
    house.desk().queue([first])
    house.desk().retract(first.id, "mistake")
    house.work()
    assert house.receiver.has == {}
    house.desk().queue([second])
    house.work()
    with pytest.raises(InputError, match="no such incident waits") as raised:
        house.desk().retract(second.id, "mistake")
    assert "correct it" in (raised.value.hint or "")


def test_something_that_waits_for_a_day_is_an_alarm(house: House) -> None:
    house.desk().queue(three()[:1])
    house.now += DAY - timedelta(seconds=1)
    assert not house.desk().survey().alarming
    house.now += timedelta(seconds=1)
    assert house.desk().survey().alarming


FATES = ("deliver", "deliver", "later", "lost", "die-before", "die-after", "dead", "account")


def history(folder: Path, seed: int) -> House:
    """Findings come in portions, processes die, the service fails; in the end it is well again, and a person revives dead letters."""
    rng = random.Random(seed)
    house = House(folder, Receiver())
    known = []
    house.receiver.told = (rng.choice(FATES) for _ in range(rng.randrange(40)))
    for _ in range(rng.randrange(1, 6)):
        known += [finding(len(known) + n, image=rng.randrange(6)) for n in range(rng.randrange(4))]
        house.desk().queue(incidents(*known) if known else [])
        for _ in range(rng.randrange(4)):
            try:
                house.work()
            except DeadError:
                house.now += timedelta(hours=1)
        house.now += timedelta(hours=rng.randrange(5))
    house.receiver.told = iter(())
    for _ in range(8):
        house.now += 2 * DAY
        house.desk().revive()
        house.desk().queue(incidents(*known) if known else [])
        house.work()
    expected = Counter(each.id for each in known)
    assert house.receiver.findings == expected, f"history {seed}"
    assert house.desk().survey().items == ()
    house.means().custody.verify()
    return house


@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_lost_and_nothing_comes_twice(tmp_path: Path, seed: int) -> None:
    history(tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(4))
def test_nothing_is_lost_and_nothing_comes_twice_in_500_histories(tmp_path: Path, part: int) -> None:
    for seed in range(1000 + part * 125, 1125 + part * 125):
        history(tmp_path / str(seed), seed)


def histories(folder: Path) -> None:
    for seed in range(25):
        history(folder / str(seed), seed)


def test_the_histories_catch_a_desk_that_forgets_before_it_was_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Desk._send

    async def careless(self: Desk, item, told):  # type: ignore[no-untyped-def]
        self._means.outbox.delete(item)
        await real(self, item, told)

    monkeypatch.setattr(Desk, "_send", careless)
    with pytest.raises((AssertionError, LeaseLost)):
        histories(tmp_path)


def test_the_histories_catch_a_desk_that_makes_a_new_key_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Receiver.deliver
    calls = iter(range(10_000))

    async def afresh(self: Receiver, incident: Incident, key: str, progress: Progress) -> Ended:
        return await real(self, incident, f"{key}/{next(calls)}", progress)

    monkeypatch.setattr(Receiver, "deliver", afresh)
    with pytest.raises(AssertionError):
        histories(tmp_path)
