"""Which seat works which shard, and what is done when a worker, a process of Ray's or a whole node is lost. No I/O: messages in, messages out.

Promises that each job is reported or failed exactly once; that no seat has more jobs than its slots, and the crew no more than all of them; that a shard which
ended three workers is given up aloud, while one that was on a node when it was lost is tried again without blame; and that near the end, when nothing else
is left, a shard that takes far longer than others is given to a second seat: the first commit wins, so that costs nothing but time.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from custodes import __version__
from custodes.channel import Frames, encode
from custodes.cluster.wire import Broken, Capacity, Close, Ended, Give, Heard, Lost, Open, Place, Seated
from custodes.net.courtesy import Ask, Grant, HostBudgets
from custodes.scan.pool import Again, Event, Failure, Hello, Report, Started, Tick, WorkerMessage
from custodes.scan.shard import ShardJob, ShardReport
from custodes.scan.supply import Supply

__all__ = ["Crew"]

STRAGGLES: Final = 3
"""A shard that takes so many times the median is given to a second seat, when nothing else is left."""

STRAGGLES_S_MIN: Final = 5.0
SHARD_S_MAX: Final = 6 * 3600.0
"""After so long a worker is taken for stuck."""

LOSSES_MAX: Final = 20
"""A shard that was on a seat as often as this when Ray lost it is given up."""

FRUITLESS_MAX: Final = 10
"""So many seats in a row may be lost before they have a place; so many workers may end with nothing in hand."""

IDLE_S_MAX: Final = 60.0
DURATIONS: Final = 101
END_HINT: Final = "start the same command again: it goes on where it stopped"


@dataclass
class _Seat:
    """A seat that is asked for (no ``place``), has a place (its worker is told what to do), or whose worker is ``ready``."""

    place: Place | None = None
    ready: bool = False
    alone: bool = False
    frames: Frames = field(default_factory=lambda: Frames(WorkerMessage))
    jobs: dict[int, float] = field(default_factory=dict)
    """When each shard was given."""
    idle_since: float = 0.0

    @property
    def node(self) -> str:
        """Its machine, as people are told."""
        return f"{self.place.host}/{self.place.node[:6]}" if self.place else ""


@dataclass
class _Given:
    """A job that is worked, at one seat or two."""

    job: ShardJob
    seats: set[int] = field(default_factory=set)


class Crew:
    """The seats of a run. ``elastic``: nodes may come, so seats are asked for that have no place yet."""

    def __init__(
        self, hello: Hello, supply: Supply, *, elastic: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._hello = hello
        self._supply = supply
        self._elastic = elastic
        self._clock = clock
        self._in_hand = max(2, hello.slots)  # the next job is there when one is done
        self._seats: dict[int, _Seat] = {}
        self._numbers = 0
        self._processors: dict[str, int] = {}
        self._window: deque[ShardJob] = deque()
        self._again = Again()
        self._budgets = HostBudgets(hello.per_host)  # for all nodes together
        self._given: dict[int, _Given] = {}
        self._losses: dict[int, int] = {}
        self._durations: deque[float] = deque(maxlen=DURATIONS)
        self._fruitless = self._unasked = 0
        self._homeless_since: float | None = None
        self.in_swap = False
        """Whether the kernel of some node may write lists to swap."""
        self._out: list[Any] = []

    @property
    def finished(self) -> bool:
        """Whether every job was reported or failed."""
        return self._supply.finished and not (self._window or self._again or self._given)

    @property
    def homeless_s(self) -> float:
        """For how long no seat has had a place, while there is work."""
        return 0.0 if self._homeless_since is None else self._clock() - self._homeless_since

    # -- what happens

    def hear(self, message: Any) -> Iterator[Event]:
        """Take in what the driver says. After a failure that is fatal there is nothing more to do."""
        if isinstance(message, Capacity):
            self._processors = message.processors
        elif isinstance(message, Broken):
            yield Failure("WorldError", message.message, message.hint, 3, fatal=True)
        elif hasattr(message, "seat") and (seat := self._seats.get(message.seat)):
            if isinstance(message, Seated):
                yield from self._seated(message.seat, seat, message.place)
            elif isinstance(message, Heard):
                for each in seat.frames.feed(message.frames):
                    yield from self._heard(message.seat, seat, each)
            elif isinstance(message, Ended):
                yield from self._ended(message.seat)
            elif isinstance(message, Lost):
                yield from self._lost(message.seat, message.why)

    def _seated(self, number: int, seat: _Seat, place: Place) -> Iterator[Event]:
        seat.place = place
        self._fruitless = 0
        if place.version != __version__:
            hint = "install the same version on every node"
            yield Failure(
                "WorldError",
                f"node {seat.node} has custodes {place.version}, this is {__version__}",
                hint,
                3,
                fatal=True,
            )
            return
        here = min(self._processors.get(place.node) or self._hello.workers, self._hello.workers)
        self._give(number, msgspec.structs.replace(self._hello, workers=max(1, here)))

    def _heard(self, number: int, seat: _Seat, message: WorkerMessage) -> Iterator[Event]:
        if isinstance(message, Ask):
            self._give(number, self._budgets.ask(number, message, self._clock()))
        elif isinstance(message, Started):
            seat.ready, seat.idle_since = True, self._clock()
            self.in_swap |= message.in_swap
        elif isinstance(message, Tick):
            yield msgspec.structs.replace(message, node=seat.node)
        elif isinstance(message, Report):
            if self._settled(number, message.report.shard, message.report):
                yield msgspec.structs.replace(message, node=seat.node)
        elif isinstance(message, Failure) and (self._settled(number, message.shard) or message.fatal):
            yield msgspec.structs.replace(message, message=f"node {seat.node}: {message.message}")

    def _settled(self, number: int, shard: int, report: ShardReport | None = None) -> bool:
        """Take a job from a seat. Whether nobody had settled it before."""
        seat, now = self._seats[number], self._clock()
        since = seat.jobs.pop(shard, None)
        seat.alone = seat.alone and bool(seat.jobs)
        if not seat.jobs:
            seat.idle_since = now
        given = self._given.pop(shard, None)
        if given is None:
            return False
        self._durations.append(now - since if since is not None else 0.0)
        self._supply.settled(shard, report)
        return True

    def _ended(self, number: int) -> Iterator[Event]:
        """A worker died: its shards are to blame, but for those that a second seat has."""
        node = self._seats[number].node
        self._budgets.gone(number, self._clock())
        jobs, had_some = self._leave(number)
        if not had_some:
            self._unasked += 1
        if self._unasked >= FRUITLESS_MAX:
            hint = "is there memory left on it? " + END_HINT
            yield Failure("WorldError", f"scan workers end unasked, the last one on node {node}", hint, 3, fatal=True)
        yield from self._again.died(jobs, self._supply)

    def _lost(self, number: int, why: str) -> Iterator[Event]:
        """Ray lost a seat or its node: nobody is to blame, unless it happens again and again."""
        if self._seats[number].place is None:
            self._fruitless += 1
        if self._fruitless >= FRUITLESS_MAX:
            hint = "is custodes installed on every node, for the same Python? " + END_HINT
            yield Failure("WorldError", f"no process can be started on the Ray cluster ({why})", hint, 3, fatal=True)
        for job in self._leave(number)[0]:
            self._losses[job.shard] = self._losses.get(job.shard, 0) + 1
            if self._losses[job.shard] < LOSSES_MAX:
                self._again.put([job])
                continue
            self._supply.settled(job.shard)
            said = f"shard {job.shard} was being worked whenever Ray lost a process, {LOSSES_MAX} times"
            yield Failure("WorldError", said, END_HINT, 3, shard=job.shard)

    def _leave(self, number: int) -> tuple[list[ShardJob], bool]:
        """Forget a seat. The jobs that nobody else has, and whether it had any at all."""
        seat = self._seats.pop(number)
        left = []
        for shard in seat.jobs:
            if (given := self._given.get(shard)) is not None:
                given.seats.discard(number)
                if not given.seats:
                    left.append(self._given.pop(shard).job)
        return left, bool(seat.jobs)

    # -- what is to be done

    def orders(self) -> Iterator[Event | Open | Close | Give]:
        """What the driver is to do now, and failures of what was stuck."""
        yield from self._stuck()
        self._fill()
        self._open()
        self._count_homeless()
        self._hand_out()
        self._dismiss()
        yield from self._out
        self._out = []

    def _fill(self) -> None:
        """Take jobs from the supply: never more than all seats can have in hand."""
        room = self._seats_max * self._in_hand - len(self._window) - len(self._given)
        while room > 0 and (job := self._supply.take()) is not None:
            self._window.append(job)
            room -= 1

    @property
    def _places(self) -> int:
        """Seats that have a place, as far as is known: Ray's processors, or fewer where the user wants fewer."""
        return min(sum(self._processors.values()), self._hello.workers)

    @property
    def _seats_max(self) -> int:
        return min(self._places * 2, self._hello.workers) if self._elastic else self._places

    @property
    def _left(self) -> int:
        """Jobs that nobody has settled, as far as they were taken."""
        return len(self._window) + len(self._given) + len(self._again)

    def _open(self) -> None:
        """Ask for seats, no more than there are jobs."""
        waits = bool(self._window or self._again)
        while waits and len(self._seats) < min(self._seats_max, self._left):
            self._numbers += 1
            self._seats[self._numbers] = _Seat()
            self._out.append(Open(self._numbers))

    def _count_homeless(self) -> None:
        if self.finished or any(seat.place for seat in self._seats.values()):
            self._homeless_since = None
        elif self._homeless_since is None:
            self._homeless_since = self._clock()

    def _hand_out(self) -> None:
        share = -(-self._left // max(1, min(len(self._seats), self._places)))
        while (free := self._free(share)) and (job := self._again.take() or self._next()):
            number = min(free, key=lambda each: len(self._seats[each].jobs))
            alone = self._again.alone(job)
            if alone and self._seats[number].jobs:
                self._again.put([job])
                return
            self._seats[number].alone = alone
            self._give_job(number, job)
        if not self._window and not self._again and self._supply.finished:
            self._double()

    def _next(self) -> ShardJob | None:
        return self._window.popleft() if self._window else None

    def _free(self, share: int = 1) -> list[int]:
        most = min(self._in_hand, max(1, share))
        return [n for n, seat in self._seats.items() if seat.ready and not seat.alone and len(seat.jobs) < most]

    def _double(self) -> None:
        """Give stragglers to seats that have nothing to do."""
        if not self._durations:
            return
        limit = max(STRAGGLES_S_MIN, STRAGGLES * statistics.median(self._durations))
        idle = [number for number in self._free() if not self._seats[number].jobs]
        for number, given in zip(idle, self._slow(limit), strict=False):
            self._give_job(number, given.job)

    def _slow(self, limit: float) -> Iterable[_Given]:
        now = self._clock()
        ages = [
            (now - self._seats[number].jobs[shard], given)
            for shard, given in self._given.items()
            for number in given.seats
            if len(given.seats) == 1
        ]
        return [given for age, given in sorted(ages, key=lambda pair: -pair[0]) if age > limit]

    def _give_job(self, number: int, job: ShardJob) -> None:
        self._seats[number].jobs[job.shard] = self._clock()
        self._given.setdefault(job.shard, _Given(job)).seats.add(number)
        self._give(number, job)

    def _give(self, number: int, message: Hello | ShardJob | Grant) -> None:
        self._out.append(Give(number, encode(message)))

    def _stuck(self) -> Iterator[Event]:
        """End workers that have had a shard for hours."""
        now = self._clock()
        for number, seat in list(self._seats.items()):
            if any(now - since > SHARD_S_MAX for since in seat.jobs.values()):
                self._out.append(Close(number))
                yield from self._ended(number)

    def _dismiss(self) -> None:
        """Give seats back that nothing is left for, so that a cluster can shrink."""
        if self._window or self._again or not self._supply.finished:
            return
        now = self._clock()
        for number, seat in list(self._seats.items()):
            if seat.place is None or (seat.ready and not seat.jobs and now - seat.idle_since > IDLE_S_MAX):
                del self._seats[number]
                self._out.append(Close(number))
