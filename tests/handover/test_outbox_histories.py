"""Random histories of an outbox against a plain model of what it should be: a table of letters, and the time."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from custodes.handover.outbox import Item, LeaseLost, Outbox, Put, State
from custodes.handover.place import Place
from tests.handover.homes import Home
from tests.handover.keeping import NOON, Clock, letter, outbox_in, transport_key

LEASE_S, FIRST_S, CAP_S, ATTEMPTS_MAX = 600, 60, 480, 6
LETTERS = 8
STEPS = 50


@dataclass
class Row:
    """One letter, as the model has it."""

    payload: bytes
    created: datetime
    due: datetime
    state: State = State.WAITING
    attempts: int = 0
    error: str = ""
    progress: dict[str, str] = field(default_factory=dict)
    lease: int = 0  # the number of the taking; 0: nobody's
    until: datetime = NOON

    def is_due(self, now: datetime) -> bool:
        if self.state is State.SENDING:
            return self.until <= now
        return self.state is State.WAITING and (self.due <= now or self.due - now > timedelta(days=1))


class History:
    """Does the same to the outbox and to the model, and compares."""

    def __init__(self, place: Place, rng: random.Random) -> None:
        self.place, self.rng, self.clock = place, rng, Clock()
        self.keys = [transport_key(1)]
        self.model: dict[int, Row] = {}
        self.delivered: set[int] = set()
        self.held: list[tuple[int, int, Item]] = []  # letter, number of the taking, what was taken
        self.takings = 0
        self.workers = [self.opened() for _ in range(2)]

    def opened(self) -> Outbox:
        pace = {"lease_s": LEASE_S, "first_s": FIRST_S, "cap_s": CAP_S, "attempts_max": ATTEMPTS_MAX}
        return outbox_in(self.place, *self.keys, clock=self.clock, **pace)

    def step(self) -> None:
        acts: list[Callable[[], None]] = [
            self.put,
            self.put,
            self.take,
            self.take,
            self.take,
            self.held_act,
            self.held_act,
        ]
        acts += [
            self.held_act,
            self.passes,
            self.passes,
            self.restart,
            self.rotate,
            self.set_back,
            self.revive,
            self.drop,
        ]
        self.rng.choice(acts)()
        self.compare()

    @property
    def outbox(self) -> Outbox:
        return self.rng.choice(self.workers)

    # -- what happens

    def put(self) -> None:
        number, payload = self.rng.randrange(LETTERS), b"payload %d" % self.rng.randrange(2)
        said = self.outbox.put(letter(number, payload))
        if number in self.delivered:
            assert said is Put.DELIVERED
        elif number in self.model:
            assert said is (Put.SAME if self.model[number].payload == payload else Put.OTHER)
        else:
            assert said is Put.NEW
            self.model[number] = Row(payload, self.clock.now, self.clock.now)

    def take(self) -> None:
        now = self.clock.now
        for row in self.model.values():  # who died of it too often is buried when it is looked at
            if row.is_due(now) and row.attempts >= ATTEMPTS_MAX:
                row.state, row.error, row.lease = State.DEAD, "attempts", 0
        due = [number for number, row in self.model.items() if row.is_due(now)]
        item = self.outbox.take("ncmec", "test")
        if item is None:
            assert due == []
            return
        number = int(item.head.key[:32], 16)
        assert number in due
        self.takings += 1
        row = self.model[number]
        row.state, row.attempts, row.lease, row.until = State.SENDING, row.attempts + 1, self.takings, self.lease_end
        assert item.payload == row.payload
        assert item.head.progress == row.progress
        self.held.append((number, self.takings, item))

    def held_act(self) -> None:
        """A worker goes on with something that it took, also when it is no longer its own."""
        if not self.held:
            return
        number, taking, item = self.held.pop(self.rng.randrange(len(self.held)))
        row = self.model.get(number)
        act = self.rng.choice([self.save, self.retry, self.bury, self.delete])
        if row is not None and row.lease == taking:
            act(number, row, item)
            return
        with pytest.raises(LeaseLost):
            act(number, Row(b"", NOON, NOON), item)

    def save(self, number: int, row: Row, item: Item) -> None:
        progress = {"step": str(self.rng.randrange(9))}
        again = self.outbox.save(item, progress)
        row.progress, row.until = progress, self.lease_end
        self.held.append((number, row.lease, again))

    def retry(self, number: int, row: Row, item: Item) -> None:
        said = self.outbox.retry(item, "timeout")
        dead = row.attempts >= ATTEMPTS_MAX
        assert said is (State.DEAD if dead else State.WAITING)
        pause = 0 if dead else min(CAP_S, FIRST_S * 2 ** (row.attempts - 1))
        row.state, row.error, row.lease, row.due = said, "timeout", 0, self.clock.now + timedelta(seconds=pause)

    def bury(self, number: int, row: Row, item: Item) -> None:
        self.outbox.bury(item, "code_4100")
        row.state, row.error, row.lease, row.due = State.DEAD, "code_4100", 0, self.clock.now

    def delete(self, number: int, row: Row, item: Item) -> None:
        self.outbox.delete(item)
        del self.model[number]
        self.delivered.add(number)

    def passes(self) -> None:
        self.clock.passes(seconds=self.rng.choice([1, FIRST_S, CAP_S, LEASE_S, LEASE_S, 90_000]))

    def set_back(self) -> None:
        if self.rng.random() < 0.2:
            self.clock.passes(seconds=-self.rng.choice([1, LEASE_S, 200_000]))

    def restart(self) -> None:
        self.workers[self.rng.randrange(2)] = self.opened()

    def rotate(self) -> None:
        if self.rng.random() < 0.8:
            return
        (old,) = self.keys
        self.keys = [transport_key(self.rng.randrange(1, 250)), old]
        self.opened().rotate()
        del self.keys[1]
        self.workers = [self.opened() for _ in range(2)]

    def revive(self) -> None:
        dead = [number for number, row in self.model.items() if row.state is State.DEAD]
        if dead:
            row = self.model[number := self.rng.choice(dead)]
            self.outbox.revive(self.name_of(number))
            row.state, row.attempts, row.due = State.WAITING, 0, self.clock.now

    def drop(self) -> None:
        free = [n for n, row in self.model.items() if row.state is not State.SENDING or row.until <= self.clock.now]
        if free and self.rng.random() < 0.5:
            number = self.rng.choice(free)
            self.outbox.drop(self.name_of(number))
            del self.model[number]

    # -- what there is

    @property
    def lease_end(self) -> datetime:
        return self.clock.now + timedelta(seconds=LEASE_S)

    def name_of(self, number: int) -> str:
        return next(head.id for head in self.outbox.survey().items if head.key == letter(number).key)

    def compare(self) -> None:
        survey = self.outbox.survey()
        assert survey.damaged == ()
        there = {int(head.key[:32], 16): head for head in survey.items}
        assert there.keys() == self.model.keys()
        for number, row in self.model.items():
            head = there[number]
            told = (head.state, head.attempts, head.error, head.progress, head.created)
            assert told == (row.state, row.attempts, row.error, row.progress, row.created)
            assert row.state is not State.WAITING or head.next_try == row.due
            assert row.state is not State.SENDING or head.leased_until == row.until
        assert survey.oldest == min((row.created for row in self.model.values()), default=None)
        assert all(self.outbox.known(letter(number).key) for number in self.delivered)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.soak)])
def test_whatever_happens_the_outbox_is_what_a_plain_table_would_be(home: Home, count: int) -> None:
    happened = 0
    for seed in range(count):
        history = History(home / str(seed), random.Random(seed))
        for _ in range(STEPS):
            history.step()
        happened += len(history.delivered)
    assert happened > count // 2


def test_planted_a_pause_that_is_forgotten_is_noticed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Outbox._release

    def at_once(self: Outbox, item: Item, error: str, state: State, pause_s: float) -> State:
        return release(self, item, error, state, 0.0)

    monkeypatch.setattr(Outbox, "_release", at_once)
    with pytest.raises(AssertionError):
        test_whatever_happens_the_outbox_is_what_a_plain_table_would_be(home, 20)
