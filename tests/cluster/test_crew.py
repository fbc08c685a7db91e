"""Who works which shard when anything may be lost: random histories of a cluster that is made up, with no process and no clock of the machine."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from custodes import __version__
from custodes.channel import Frames, encode
from custodes.cluster import Cluster as Settings
from custodes.cluster import crew as crews
from custodes.cluster import ray as ray_module
from custodes.cluster.crew import Crew
from custodes.cluster.ray import RayExecutor
from custodes.cluster.wire import Broken, Capacity, Close, Ended, Give, Heard, Lost, Open, Place, Seated
from custodes.model import Reason
from custodes.scan.pool import Event, Failure, Hello, Report, Started, Tick
from custodes.scan.shard import ShardJob, ShardReport
from custodes.scan.supply import Listed

HELLO = Hello(config="c", run="r", workers=1000, slots=4)


def report(shard: int) -> Report:
    return Report(ShardReport(shard, 0, 10, {Reason.FULL: 10}, 0))


@dataclass
class Cluster:
    """Nodes with processors, and seats on them, as the driver would tell of them. Shards in ``poison`` end their worker; those in ``slow`` never end."""

    rng: random.Random
    nodes: dict[str, int]
    poison: frozenset[int] = frozenset()
    slow: frozenset[int] = frozenset()
    now: float = 0.0
    pending: list[int] = field(default_factory=list)
    where: dict[int, str] = field(default_factory=dict)
    frames: dict[int, Frames] = field(default_factory=dict)
    hello: dict[int, Hello] = field(default_factory=dict)
    working: dict[int, list[int]] = field(default_factory=dict)
    done: Counter[int] = field(default_factory=Counter)
    most: int = 0

    def order(self, order: Any) -> None:
        if isinstance(order, Open):
            self.pending.append(order.seat)
        elif isinstance(order, Close):
            self.forget(order.seat)
        elif isinstance(order, Give) and order.seat in self.where:
            for message in self.frames[order.seat].feed(order.frames):
                if isinstance(message, Hello):
                    self.hello[order.seat] = message
                else:
                    self.working[order.seat].append(message.shard)
                    self.most = max(self.most, len(self.working[order.seat]))

    def forget(self, seat: int) -> None:
        self.where.pop(seat, None)
        self.working.pop(seat, None)
        self.pending = [each for each in self.pending if each != seat]

    def seat_some(self) -> list[Any]:
        """Seats find places while there are processors."""
        said: list[Any] = []
        for node, processors in self.nodes.items():
            while self.pending and sum(each == node for each in self.where.values()) < processors:
                seat = self.pending.pop(0)
                self.where[seat], self.working[seat] = node, []
                self.frames[seat] = Frames(Hello | ShardJob)
                said.append(Seated(seat, Place(node=node, host="host", version=__version__)))
                said.append(Heard(seat, encode(Started())))
        return said

    def work_one(self) -> list[Any]:
        busy = [seat for seat, shards in self.working.items() if set(shards) - self.slow]
        if not busy:
            return []
        seat = self.rng.choice(busy)
        shard = self.rng.choice([each for each in self.working[seat] if each not in self.slow])
        if shard in self.poison:
            self.forget(seat)
            return [Ended(seat)]
        self.working[seat].remove(shard)
        self.done[shard] += 1
        frames = encode(Tick({Reason.FULL: 10})) + encode(report(shard))
        cut = self.rng.randrange(len(frames))
        return [Heard(seat, frames[:cut]), Heard(seat, frames[cut:])]

    def lose_seat(self, *, ended: bool) -> list[Any]:
        if not self.where:
            return []
        seat = self.rng.choice(list(self.where))
        self.forget(seat)
        return [Ended(seat) if ended else Lost(seat, "ActorDiedError")]

    def lose_node(self) -> list[Any]:
        if len(self.nodes) < 2:
            return []
        node = self.rng.choice(list(self.nodes))
        del self.nodes[node]
        gone = [seat for seat, at in self.where.items() if at == node]
        for seat in gone:
            self.forget(seat)
        return [Lost(seat, "ActorUnavailableError") for seat in gone]


def turn(crew: Crew, cluster: Cluster, said: list[Any]) -> list[Event]:
    """The crew hears what was said, and its orders are carried out."""
    events = [event for message in said for event in crew.hear(message)]
    for order in crew.orders():
        if isinstance(order, Event):
            events.append(order)
        else:
            cluster.order(order)
    return events


def play(crew: Crew, cluster: Cluster, losses: int) -> list[Event]:
    """A random history to its end."""
    events, rng = turn(crew, cluster, [Capacity(dict(cluster.nodes))]), cluster.rng
    for _ in range(20_000):
        if crew.finished or any(isinstance(event, Failure) and event.fatal for event in events):
            return events
        cluster.now += rng.random()
        said = cluster.seat_some() + cluster.work_one()
        if losses and rng.random() < 0.1:
            losses -= 1
            kind = rng.randrange(4)
            said += cluster.lose_node() if kind == 0 else cluster.lose_seat(ended=kind == 1)
            if kind == 3:
                cluster.nodes[f"new{losses}"] = rng.randrange(1, 4)
            said.append(Capacity(dict(cluster.nodes)))
        events += turn(crew, cluster, said)
    raise AssertionError("no end")


def made(cluster: Cluster, shards: int, hello: Hello = HELLO) -> Crew:
    return Crew(hello, Listed(map(ShardJob, range(shards))), elastic=True, clock=lambda: cluster.now)


def reported(events: list[Event]) -> list[int]:
    return [event.report.shard for event in events if isinstance(event, Report)]


@pytest.mark.parametrize("seed", range(200))
def test_every_shard_is_reported_once_whatever_is_lost(seed: int) -> None:
    rng = random.Random(seed)
    cluster = Cluster(rng, {"a": 2, "b": 2, "c": 1})
    slots = rng.choice([1, 4, 32])
    crew = made(cluster, 60, msgspec.structs.replace(HELLO, slots=slots))
    events = play(crew, cluster, losses=rng.randrange(6))
    assert sorted(reported(events)) == list(range(60)), [event for event in events if isinstance(event, Failure)]
    assert cluster.most <= max(2, slots)


@pytest.mark.parametrize("seed", range(30))
def test_a_shard_that_ends_three_workers_is_given_up_aloud_and_takes_no_other_with_it(seed: int) -> None:
    cluster = Cluster(random.Random(seed), {"a": 2, "b": 2}, poison=frozenset({3, 17}))
    events = play(made(cluster, 40), cluster, losses=0)
    failed = [event for event in events if isinstance(event, Failure)]
    assert sorted(reported(events)) == sorted(set(range(40)) - {3, 17})
    assert sorted((each.shard, each.message, each.fatal) for each in failed) == [
        (3, "shard 3 ended 3 workers", False),
        (17, "shard 17 ended 3 workers", False),
    ]


def test_a_shard_whose_node_is_lost_is_not_blamed() -> None:
    cluster = Cluster(random.Random(1), {"a": 1}, slow=frozenset({0}))
    crew = made(cluster, 1)
    events = turn(crew, cluster, [Capacity({"a": 1})])
    for _ in range(crews.LOSSES_MAX - 1):
        events += turn(crew, cluster, cluster.seat_some())
        assert cluster.working[next(iter(cluster.where))] == [0]
        events += turn(crew, cluster, cluster.lose_seat(ended=False))
    assert events == []
    turn(crew, cluster, cluster.seat_some())
    last = turn(crew, cluster, cluster.lose_seat(ended=False))
    assert [(event.shard, event.fatal) for event in last if isinstance(event, Failure)] == [(0, False)]
    assert crew.finished


def test_a_straggler_is_given_to_a_second_seat_when_nothing_else_is_left_and_is_reported_once() -> None:
    cluster = Cluster(random.Random(1), {"a": 1, "b": 1}, slow=frozenset({0}))
    crew = made(cluster, 6)
    events = turn(crew, cluster, [Capacity(dict(cluster.nodes))])
    while len(reported(events)) < 5:
        cluster.now += 1
        events += turn(crew, cluster, cluster.seat_some() + cluster.work_one())
    having = [seat for seat, shards in cluster.working.items() if 0 in shards]
    assert len(having) == 1, "it is not slow yet"
    cluster.now += 100
    events += turn(crew, cluster, [])
    both = [seat for seat, shards in cluster.working.items() if 0 in shards]
    assert len(both) == 2
    for seat in reversed(both):
        events += turn(crew, cluster, [Heard(seat, encode(report(0)))])
    assert sorted(reported(events)) == list(range(6))
    assert crew.finished


def test_without_a_second_seat_for_stragglers_the_same_history_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crews, "STRAGGLES", 10**9)
    with pytest.raises(AssertionError):
        test_a_straggler_is_given_to_a_second_seat_when_nothing_else_is_left_and_is_reported_once()


def test_the_window_is_bounded_by_the_seats_that_there_are() -> None:
    taken: list[int] = []
    cluster = Cluster(random.Random(1), {"a": 2})

    class Endless(Listed):
        def take(self) -> ShardJob | None:
            taken.append(len(taken))
            return ShardJob(taken[-1])

    crew = Crew(HELLO, Endless([]), elastic=True, clock=lambda: cluster.now)
    turn(crew, cluster, [Capacity({"a": 2})])
    turn(crew, cluster, cluster.seat_some())
    assert len(taken) == 2 * 2 * HELLO.slots
    assert [len(shards) for shards in cluster.working.values()] == [4, 4]
    assert len(cluster.pending) == 2, "two wait for nodes to come"
    cluster.nodes["b"] = 2
    turn(crew, cluster, [Capacity(dict(cluster.nodes)), *cluster.seat_some()])
    assert [len(shards) for shards in cluster.working.values()] == [4, 4, 4, 4]


def test_a_worker_is_told_how_many_share_its_machine_and_not_the_cluster() -> None:
    cluster = Cluster(random.Random(1), {"a": 3, "b": 1})
    crew = made(cluster, 40)
    turn(crew, cluster, [Capacity(dict(cluster.nodes))])
    turn(crew, cluster, cluster.seat_some())
    assert {cluster.where[seat]: hello.workers for seat, hello in cluster.hello.items()} == {"a": 3, "b": 1}


def test_a_few_shards_are_spread_over_the_seats() -> None:
    cluster = Cluster(random.Random(1), {"a": 4})
    crew = made(cluster, 4)
    turn(crew, cluster, [Capacity(dict(cluster.nodes))])
    turn(crew, cluster, cluster.seat_some())
    assert sorted(len(shards) for shards in cluster.working.values()) == [1, 1, 1, 1]


def test_seats_that_nothing_is_left_for_are_given_back() -> None:
    cluster = Cluster(random.Random(1), {"a": 4}, slow=frozenset({0}))
    crew = made(cluster, 4)
    events = turn(crew, cluster, [Capacity(dict(cluster.nodes))])
    while len(reported(events)) < 3:
        events += turn(crew, cluster, cluster.seat_some() + cluster.work_one())
    assert len(cluster.where) == 4
    cluster.slow = frozenset({0})
    cluster.now += 2.0
    turn(crew, cluster, [])
    cluster.now += crews.IDLE_S_MAX + 1
    turn(crew, cluster, [])
    assert len(cluster.where) <= 2, "who works, and perhaps a second one for the straggler"


FATAL = {
    "another version on a node": (
        [Seated(1, Place(node="abcdefgh", host="far", version="0.0.9"))],
        f"node far/abcdef has custodes 0.0.9, this is {__version__}",
    ),
    "a cluster that cannot be used": ([Broken("no Ray", "start it")], "no Ray"),
    "what is missing on a node": (
        [
            Seated(1, Place(node="abcdefgh", host="far", version=__version__)),
            Heard(1, encode(Failure("ConfigError", "there is no configuration at /x", "", 2, True, -1))),
        ],
        "node far/abcdef: there is no configuration at /x",
    ),
}


@pytest.mark.parametrize("name", FATAL)
def test_what_no_other_shard_would_fare_better_with_ends_the_run_and_names_the_node(name: str) -> None:
    said, message = FATAL[name]
    crew = Crew(HELLO, Listed([ShardJob(0)]), clock=lambda: 0.0)
    list(crew.hear(Capacity({"abcdefgh": 1})))
    list(crew.orders())
    events = [event for each in said for event in crew.hear(each)]
    assert [(event.message, event.fatal) for event in events if isinstance(event, Failure)] == [(message, True)]


@pytest.mark.parametrize("ended", [True, False])
def test_a_cluster_on_which_nothing_can_be_started_is_not_asked_for_ever(ended: bool) -> None:
    crew = Crew(HELLO, Listed([ShardJob(0)]), clock=lambda: 0.0)
    list(crew.hear(Capacity({"a": 1})))
    events: list[Event] = []
    for seat in range(1, crews.FRUITLESS_MAX + 1):
        assert not events
        assert any(isinstance(order, Open) for order in crew.orders())
        events += crew.hear(Ended(seat) if ended else Lost(seat, "ActorDiedError"))
    assert [event.fatal for event in events if isinstance(event, Failure)] == [True]


def test_a_worker_that_is_stuck_for_hours_is_ended_and_its_shard_tried_again() -> None:
    cluster = Cluster(random.Random(1), {"a": 1}, slow=frozenset({0}))
    crew = made(cluster, 1)
    turn(crew, cluster, [Capacity({"a": 1})])
    events: list[Event] = []
    for _ in range(3):
        turn(crew, cluster, cluster.seat_some())
        cluster.now += crews.SHARD_S_MAX + 1
        events += turn(crew, cluster, [])
    assert [event.message for event in events if isinstance(event, Failure)] == ["shard 0 ended 3 workers"]


def test_it_is_known_for_how_long_no_seat_has_had_a_place() -> None:
    cluster = Cluster(random.Random(1), {})
    crew = made(cluster, 3)
    turn(crew, cluster, [Capacity({})])
    cluster.now += 31
    assert crew.homeless_s == 31
    cluster.nodes["a"] = 1
    turn(crew, cluster, [Capacity({"a": 1})])
    turn(crew, cluster, cluster.seat_some())
    assert crew.homeless_s == 0
    del cluster.nodes["a"]
    turn(crew, cluster, [Capacity({}), *cluster.lose_seat(ended=False)])
    cluster.now += 5
    assert crew.homeless_s == 5


def test_who_has_no_work_left_waits_for_no_place() -> None:
    cluster = Cluster(random.Random(1), {"a": 1})
    crew = made(cluster, 2)
    play(crew, cluster, losses=0)
    turn(crew, cluster, [Capacity({}), *cluster.lose_seat(ended=False)])
    cluster.now += 100
    assert crew.homeless_s == 0


class Acting:
    """A driver in front of a cluster that is made up: for some rounds it has no node."""

    def __init__(self, cluster: Cluster, rounds: int) -> None:
        self.cluster, self.rounds = cluster, rounds

    def tell(self, order: Any) -> None:
        self.cluster.order(order)

    def hear(self, _: float) -> list[Any]:
        self.rounds -= 1
        if self.rounds > 0:
            return [Capacity({})]
        self.cluster.nodes = {"a": 1}
        return [Capacity({"a": 1}), *self.cluster.seat_some(), *self.cluster.work_one()]


def test_a_wait_for_a_node_is_told_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    acting = Acting(Cluster(random.Random(1), {}), 20)
    monkeypatch.setattr(ray_module, "running_driver", lambda _: nullcontext(acting))
    monkeypatch.setattr(ray_module, "HOMELESS_S", 0.0)
    executor = RayExecutor(HELLO, Settings(address="head:1"))
    assert sorted(reported(list(executor.run(Listed(map(ShardJob, range(4))))))) == [0, 1, 2, 3]
    told = capfd.readouterr().err
    assert told.count("no node of the Ray cluster has had room") == 1
    assert "hint: `ray status`" in told
