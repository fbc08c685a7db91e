"""Who may hold how many connections to a host, of all carriers of a run: by simulation, with messages lost, late and sent twice, clocks apart, and deaths."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from custodes.net.courtesy import GONE_S, TURN_S, Ask, Grant, HostBudgets, shares
from custodes.net.permits import LOST_S, SPARE_S, TERM_S, Permits

EXCHANGE_S = 3.0
STEP_S = 0.05


@dataclass
class Fetching:
    """A carrier: items wait per host, run for a while as it is permitted, and end."""

    name: int
    skew_s: float
    ends: dict[str, list[float]] = field(default_factory=dict)
    waiting: Counter[str] = field(default_factory=Counter)
    begun: list[tuple[float, str]] = field(default_factory=list)
    alive: bool = True

    def __post_init__(self) -> None:
        self.permits = Permits(self.need, EXCHANGE_S)

    def need(self, host: str) -> tuple[int, int]:
        active = len(self.ends.get(host, ()))
        return active + self.waiting[host], active

    def want(self, host: str, items: int) -> None:
        self.waiting[host] += items
        self.permits.touch(host)

    def step(self, now: float, rng: random.Random) -> Ask | None:
        """End what is over, begin what is permitted, and ask. ``now`` is the world's clock; this carrier's is another."""
        own = now + self.skew_s
        for host, ends in self.ends.items():
            left = [end for end in ends if end > now]
            if len(left) < len(ends):
                self.ends[host] = left
                self.permits.touch(host)
        for host in [host for host, items in self.waiting.items() if items]:
            running = self.ends.setdefault(host, [])
            while self.waiting[host] and len(running) < self.permits.slots(host, own):
                self.waiting[host] -= 1
                running.append(now + rng.choice((0.1, 0.3, 1.0, EXCHANGE_S)))
                self.begun.append((now, host))
        return self.permits.ask(own)


@dataclass
class World:
    """Carriers, one granter, and a post that loses, delays and repeats."""

    per_host: int
    rng: random.Random
    bad_post: float = 0.0
    now: float = 0.0
    fetching: list[Fetching] = field(default_factory=list)
    post: list[tuple[float, int, Ask | Grant]] = field(default_factory=list)
    most: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.budgets = HostBudgets(self.per_host)

    def join(self) -> Fetching:
        self.fetching.append(Fetching(len(self.fetching), self.rng.uniform(0, 1e6)))
        return self.fetching[-1]

    def mail(self, who: int, message: Ask | Grant) -> None:
        for _ in range(self.rng.choice((0, 2)) if self.rng.random() < self.bad_post else 1):
            delay_s = (
                self.rng.uniform(0, 4 * LOST_S) if self.rng.random() < self.bad_post else self.rng.uniform(0, 0.02)
            )
            self.post.append((self.now + delay_s, who, message))

    def step(self) -> None:
        self.now += STEP_S
        for carrier in self.fetching:
            if carrier.alive and (ask := carrier.step(self.now, self.rng)):
                self.mail(carrier.name, ask)
        due = [letter for letter in self.post if letter[0] <= self.now]
        self.post = [letter for letter in self.post if letter[0] > self.now]
        for _, who, message in due:
            if isinstance(message, Ask):
                self.mail(who, self.budgets.ask(who, message, self.now))
            elif self.fetching[who].alive:
                self.fetching[who].permits.grant(message, self.now + self.fetching[who].skew_s)
        self.count()

    def count(self) -> None:
        open_now: Counter[str] = Counter()
        for carrier in self.fetching:
            for host, ends in carrier.ends.items():
                open_now[host] += len([end for end in ends if end > self.now])
        self.most |= open_now

    def kill(self, carrier: Fetching, *, told: bool) -> None:
        carrier.alive = False
        carrier.ends.clear()
        if told:
            self.budgets.gone(carrier.name, self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.step()


def history(seed: int) -> World:
    """Random carriers, hosts, wishes, deaths and post for a minute of their time."""
    rng = random.Random(seed)
    world = World(rng.choice((1, 2, 3, 8)), rng, bad_post=rng.choice((0.0, 0.1, 0.4)))
    for _ in range(rng.randint(1, 6)):
        world.join()
    while world.now < 60:
        for carrier in world.fetching:
            if carrier.alive and rng.random() < 0.2:
                carrier.want(rng.choice("abc"), rng.choice((1, 3, 30)))
        if rng.random() < 0.02 and len(world.fetching) < 12:
            world.kill(rng.choice(world.fetching), told=rng.random() < 0.5)
            world.join()
        world.run(0.5)
    return world


def passed(world: World) -> bool:
    return max(world.most.values(), default=0) > world.per_host


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_lost_late_or_dead_no_host_has_more_than_its_slots(seed: int) -> None:
    assert not passed(history(seed))


@pytest.mark.soak
def test_a_thousand_histories() -> None:
    assert [seed for seed in range(1000) if passed(history(seed))] == []


def over_granted(self: HostBudgets, *_: Any) -> int:
    return self._per_host


@pytest.mark.parametrize(
    ("where", "name", "fault"),
    [
        (Permits, "slots", lambda *_: 256),
        (HostBudgets, "_grant", over_granted),
        (HostBudgets, "gone", lambda self, who, _now: self._hosts.clear()),
    ],
    ids=["nobody keeps to grants", "nobody counts the others", "the dead take all with them"],
)
def test_the_histories_find_the_fault(where: type, name: str, fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, name, fault)
    assert any(passed(history(seed)) for seed in range(12))


def test_one_that_is_alone_has_all_slots_and_all_it_wants_is_done() -> None:
    world = World(8, random.Random(1))
    world.join().want("a", 200)
    world.run(40)
    assert world.most["a"] == 8
    assert len(world.fetching[0].begun) == 200


def test_everything_is_done_in_the_end_however_bad_the_post() -> None:
    world = World(2, random.Random(2), bad_post=0.3)
    for _ in range(4):
        for host in "abc":
            world.join().want(host, 12)
    world.run(400)
    assert [len(carrier.begun) for carrier in world.fetching] == [12] * 12


@pytest.mark.parametrize(("per_host", "carriers"), [(8, 4), (8, 5), (1, 4), (2, 7)])
def test_who_waits_has_its_turn(per_host: int, carriers: int) -> None:
    """No one of them waits longer than all the others' turns take, with the ends of what they began."""
    world = World(per_host, random.Random(3))
    for _ in range(carriers):
        world.join().want("a", 10_000)
    world.run(200)
    longest = carriers * (TURN_S + EXCHANGE_S + 1.0)
    for carrier in world.fetching:
        times = [0.0, *(at for at, _ in carrier.begun)]
        assert max(later - at for at, later in pairwise(times)) <= longest
    done = [len(carrier.begun) for carrier in world.fetching]
    assert min(done) > 0.4 * max(done)  # a slot that cannot be divided stays with the first


def test_the_dead_ones_slots_come_back() -> None:
    for told, after_s in ((True, GONE_S + 1), (False, TERM_S + EXCHANGE_S + SPARE_S + 1)):
        world = World(4, random.Random(4))
        world.join().want("a", 1000)
        world.run(2)
        other = world.join()
        world.kill(world.fetching[0], told=told)
        other.want("a", 1000)
        world.run(after_s - 2 if told else after_s - 4)
        assert not other.begun
        world.run(4)
        assert len(other.ends["a"]) >= 3


# Words and their limits


def ask(number: int, *hosts: tuple[str, int, int], carrier: int = 0, over: bool = False) -> Ask:
    return Ask(carrier, number, 30.0, [(name.encode() * 16, wanted, kept) for name, wanted, kept in hosts], over)


def slots(grant: Grant) -> dict[str, int]:
    return {digest[:1].decode(): slots for digest, slots in grant.hosts}


def test_an_ask_that_is_late_or_comes_twice_is_granted_nothing() -> None:
    budgets = HostBudgets(8)
    assert slots(budgets.ask("w", ask(2, ("a", 9, 0)), 0)) == {"a": 8}
    for number in (2, 1, 0):
        assert slots(budgets.ask("w", ask(number, ("a", 1, 0)), 1)) == {}
    assert slots(budgets.ask("x", ask(1, ("a", 1, 0)), 1)) == {"a": 0}


def test_what_is_kept_is_never_believed_to_be_more_than_was_granted() -> None:
    budgets = HostBudgets(2)
    budgets.ask("w", ask(1, ("a", 9, 200)), 0)
    budgets.ask("w", ask(2, ("a", 0, 0)), 0)
    budgets.ask("w", ask(3, ("a", 1, 200)), 0)
    assert slots(budgets.ask("x", ask(1, ("a", 1, 0)), 0)) == {"a": 1}


def test_the_carriers_of_a_worker_are_apart_and_one_that_is_over_gives_back() -> None:
    budgets = HostBudgets(4)
    assert slots(budgets.ask("w", ask(1, ("a", 4, 0), carrier=1), 0)) == {"a": 4}
    assert slots(budgets.ask("w", ask(1, ("a", 4, 0), carrier=2), 0)) == {"a": 0}
    budgets.ask("w", ask(0, carrier=1, over=True), 0)
    assert slots(budgets.ask("w", ask(2, ("a", 4, 0), carrier=2), 0)) == {"a": 4}


def test_nothing_is_kept_of_what_has_run_out() -> None:
    budgets = HostBudgets(4)
    for n in range(50):
        budgets.ask(n, ask(1, ("a", 1, 0), ("b", 3, 0)), 0)
    budgets.ask("w", ask(1, ("c", 1, 0)), 1000)
    assert len(budgets._hosts) == 1


@pytest.mark.parametrize(
    ("wanted", "most", "given"),
    [
        ([], 8, []),
        ([3, 5], 8, [3, 5]),
        ([3, 6], 8, [3, 5]),
        ([1, 100, 100], 8, [1, 4, 3]),
        ([9, 9, 9], 2, [1, 1, 0]),
        ([0, 9], 8, [0, 8]),
    ],
)
def test_shares_are_as_even_as_wishes_allow(wanted: list[int], most: int, given: list[int]) -> None:
    assert shares(wanted, most) == given


@pytest.mark.parametrize(
    ("field_name", "good", "bad"),
    [
        ("hosts", [(b"x" * 16, 256, 0)], [(b"x" * 16, 257, 0)]),
        ("hosts", [(b"x" * 16, 0, 0)], [(b"x" * 15, 0, 0)]),
        ("hosts", [(b"x" * 16, 1, 0)] * 1000, [(b"x" * 16, 1, 0)] * 1001),
        ("seconds", 900.0, 901.0),
        ("seconds", 0.1, 0.0),
        ("number", 0, -1),
    ],
)
def test_words_have_limits(field_name: str, good: object, bad: object) -> None:
    whole = msgspec.to_builtins(ask(1))
    msgspec.convert(whole | {field_name: good}, Ask)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(whole | {field_name: bad}, Ask)


# The asker's half


def test_an_answer_that_is_not_to_the_newest_ask_is_not_believed() -> None:
    permits = Permits(lambda _: (5, 0), EXCHANGE_S)
    permits.touch("a")
    first = permits.ask(0.0)
    assert first
    assert permits.ask(LOST_S - 0.01) is None
    second = permits.ask(LOST_S)
    assert second
    old, new = (Grant(0, each.number, 30.0, [(each.hosts[0][0], 5)]) for each in (first, second))
    assert permits.grant(old, LOST_S) == []
    assert permits.slots("a", LOST_S) == 0
    assert permits.grant(new, LOST_S) == ["a"]
    assert permits.grant(new, LOST_S) == []
    assert permits.slots("a", LOST_S + TERM_S - 0.01) == 5  # from when it was asked
    assert permits.slots("a", LOST_S + TERM_S) == 0


def test_a_host_that_needs_nothing_any_more_is_given_back_and_forgotten() -> None:
    needs = {"a": (2, 0)}
    permits = Permits(lambda host: needs[host], EXCHANGE_S)
    permits.touch("a")
    asked = permits.ask(0.0)
    assert asked
    permits.grant(Grant(0, asked.number, 30.0, [(asked.hosts[0][0], 2)]), 0.0)
    needs["a"] = (0, 0)
    permits.touch("a")
    back = permits.ask(1.0)
    assert back
    assert back.hosts[0][1:] == (0, 0)
    assert permits.slots("a", 1.0) == 0
    permits.grant(Grant(0, back.number, 30.0, [(back.hosts[0][0], 0)]), 1.0)
    assert permits._permits == {}
