"""The fetcher: URLs in, one Fetched for each out, many at once, in whatever loop the caller runs.

Promises: every added key comes back exactly once, with a body or a reason; redirects are followed by hand, each hop
judged anew; nothing is asked again but what may pass (dns, reset, 429, 5xx), and that only after the batch. Timeouts
are not asked again: on lists where 3 to 4 rows in 100 time out that would double the wait, and hosts that are silent
once nearly always stay so; a later scan asks them anew. No URL is logged, printed or kept in an exception.
Leaves to others: what a body is (image), when to add and when to take (carrier).
"""

from __future__ import annotations

import heapq
import random
import selectors
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

import pycurl

from custodes.model import Content, Reason
from custodes.net.address import AddressGuard, own_addresses
from custodes.net.answer import retry_after_s
from custodes.net.courtesy import Ask, Grant, HostBudgets
from custodes.net.hosts import HostQueue
from custodes.net.limits import FetchLimits
from custodes.net.lookups import Lookups
from custodes.net.loop import CurlLoop
from custodes.net.permits import Permits
from custodes.net.robots import ALLOW_ALL, DISALLOW_ALL, Robots, parse_robots
from custodes.net.transfer import Answer, Memory, Transfer, Wiring, ca_file, dial
from custodes.url import Url, parse

__all__ = ["FetchStats", "Fetched", "Fetcher", "fetch_all"]

_RETRIED: Final = frozenset((Reason.DNS, Reason.RESET, Reason.HTTP_429, Reason.HTTP_5XX))
_SILENT: Final = frozenset((Reason.CONNECT_TIMEOUT, Reason.TIMEOUT, Reason.UNREACHABLE))
_QUEUED_MAX: Final = 16  # times in_flight
_SELECT_S_MAX: Final = 1.0
_SILENCE_CHECK_S: Final = 0.5


@dataclass(frozen=True, slots=True, repr=False)
class Fetched:
    """What became of one key. ``reason`` is None where ``content`` is a body.

    ``final_url`` is '' unless redirects led elsewhere; ``elapsed_s`` is of the last attempt, ``fetched_at`` Unix time;
    ``attempts`` is 0 where nothing was dialled (a blocked URL, robots.txt, a host given up).
    """

    key: int
    reason: Reason | None
    content: Content | None = None
    status: int = 0
    content_type: str = ""
    final_url: str = ""
    elapsed_s: float = 0.0
    fetched_at: float = 0.0
    attempts: int = 0

    def __repr__(self) -> str:
        return f"<Fetched {self.key} {self.reason or 'body'}>"


@dataclass(frozen=True, slots=True)
class FetchStats:
    """Counts for a progress line; they name no host."""

    queued: int
    in_flight: int
    waiting_retry: int
    hosts_in_trouble: int
    body_bytes_held: int


class _Task:
    """A key on its way. ``at`` is the hop that it stands at; ``origin`` is set where it is a robots.txt of ours."""

    __slots__ = (
        "at",
        "attempts",
        "batch",
        "deadline",
        "hops",
        "hops_before",
        "key",
        "origin",
        "spent_s",
        "started",
        "url",
    )

    def __init__(self, key: int, url: Url, origin: str = "", batch: int = 0) -> None:
        self.key = key
        self.batch = batch
        self.url = self.at = url
        self.origin = origin
        self.attempts = 0
        self.hops = self.hops_before = 0
        self.spent_s = 0.0
        self.started = 0.0
        self.deadline = 0.0


class Fetcher:
    """Fetches in the caller's loop. The selector stays the caller's, who may register more, with ``data`` callable.

    ::

        while rows or not fetcher.idle:
            while fetcher.room and rows:
                fetcher.add(*rows.pop())
            if not rows:
                fetcher.finish()
            fetcher.pump()
            for key, mask in selector.select(fetcher.timeout_s()):
                key.data(mask)
            for fetched in fetcher.take(): ...

    With ``asks`` somebody else says how many connections a host may have: pass on what ``ask`` gives before each select, and the answer to ``grant``.
    Several batches may run at once: each has its own queue of second attempts, which waits until that batch is finished.
    Once all is idle, the next ``add`` begins a batch anew. Reads /proc/net and finds the certificates when it is made.
    """

    def __init__(
        self,
        limits: FetchLimits,
        selector: selectors.BaseSelector,
        *,
        asks: bool = False,
        unsafe_allow_loopback: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if limits.verify_tls:
            ca_file(limits)
        self._limits = limits
        self._jitter = jitter
        self._guard = AddressGuard(
            (*own_addresses(), *limits.blocked_networks), unsafe_allow_loopback=unsafe_allow_loopback
        )
        self._any_port = unsafe_allow_loopback
        self._memory = Memory(limits.memory_bytes_max)
        self._wiring = Wiring(limits, self._guard, self._memory, self._found, self._dial, self._tune)
        self._loop = CurlLoop(selector, limits.in_flight, limits.per_host)
        self._queue: HostQueue[_Task] = HostQueue(limits.in_flight, self._allowed, limits.host_failures_max)
        self._permits = Permits(self._need, limits.total_timeout_s)
        self._budgets = None if asks else HostBudgets(limits.per_host)
        self._lookups = Lookups(limits.lookups, limits.dns_cache_s)
        self._free: list[Transfer] = []
        self._running: dict[pycurl.Curl, tuple[Transfer, str, _Task]] = {}
        self._retries: defaultdict[int, list[tuple[float, int, _Task]]] = defaultdict(list)
        self._retry_count = 0
        self._robots: OrderedDict[str, Robots | Reason | list[_Task]] = OrderedDict()
        self._parked = 0
        self._given_up: dict[str, Reason] = {}
        self._batches: set[int] = set()
        self._finishing: set[int] = set()
        self._done: deque[Fetched] = deque()
        self._silence_due = 0.0

    # What the caller does

    def add(self, key: int, url_text: str, batch: int = 0) -> None:
        """Queue a URL. Never blocks; what may not be asked for at all is answered at the next ``take``."""
        if batch not in self._batches or (batch in self._finishing and self._is_quiet):
            self._begin(batch)
        url = parse(url_text)
        if isinstance(url, Reason):
            self._done.append(Fetched(key, url, fetched_at=time.time()))
        elif not self._may_dial(url):
            self._done.append(Fetched(key, Reason.BLOCKED_PORT, fetched_at=time.time()))
        else:
            self._admit(_Task(key, url, batch=batch))

    def _begin(self, batch: int) -> None:
        """With a new batch every host is tried afresh."""
        self._batches.add(batch)
        self._finishing.discard(batch)
        self._queue.forget()
        self._given_up.clear()

    @property
    def room(self) -> int:
        """How many more are wanted: enough to keep the slots full past hosts at their limit, within a bound."""
        slots = self._limits.in_flight
        queued = self._queue.waiting + self._parked
        return max(0, min(2 * slots - self._queue.ready - self._parked, _QUEUED_MAX * slots - queued))

    def finish(self, batch: int = 0) -> None:
        """No more URLs in this batch: what waits for another attempt may have it now."""
        self._finishing.add(batch)

    def pump(self) -> None:
        """Start what may start and gather what has ended. Call it before every select."""
        self._requeue_due()
        self._ask_myself()
        self._start_ready()
        self._loop.run_due()
        for handle, code in self._loop.finished():
            self._end(handle, code)
        self._stop_silent()
        self._start_ready()

    def timeout_s(self) -> float:
        """How long the select may wait, at most a second."""
        if self._done:
            return 0.0
        due = [self._retries[batch][0][0] for batch in self._finishing if self._retries.get(batch)]
        now = monotonic()
        return min(
            [self._loop.timeout_s(_SELECT_S_MAX), self._permits.wait_s(now), *(max(0.0, at - now) for at in due)]
        )

    def ask(self) -> Ask | None:
        """What to ask the holder of the run's ``HostBudgets``, if anything; to be sent at once."""
        return self._permits.ask(monotonic())

    def grant(self, grant: Grant) -> None:
        """The answer to an ask."""
        for host in self._permits.grant(grant, monotonic()):
            self._queue.refresh(host)

    def take(self) -> list[Fetched]:
        """All that came since the last call, in the order of coming."""
        taken = list(self._done)
        self._done.clear()
        self._memory.kept = 0
        return taken

    @property
    def idle(self) -> bool:
        """Nothing queued, in flight, waiting for another attempt or waiting to be taken."""
        return self._is_quiet and not self._done

    @property
    def stats(self) -> FetchStats:
        """Where things stand."""
        return FetchStats(
            queued=self._queue.waiting + self._parked,
            in_flight=len(self._running),
            waiting_retry=sum(map(len, self._retries.values())),
            hosts_in_trouble=self._queue.troubled,
            body_bytes_held=self._memory.held + self._memory.kept,
        )

    def close(self) -> None:
        """Drop everything, unfinished keys too, and leave the selector as it was."""
        for handle, (transfer, _, _) in self._running.items():
            self._loop.remove(handle)
            self._free.append(transfer)
        self._running.clear()
        self._loop.close()
        for transfer in self._free:
            transfer.close()
        self._free.clear()

    # Seams, for tests: the socket of an allowed address, and the last word on a handle.

    def _dial(self, address: Any) -> Any:
        return dial(address)

    def _tune(self, handle: pycurl.Curl, url: Url) -> None:
        """Nothing to add to the options of a transfer."""

    # What a host may have

    def _ask_myself(self) -> None:
        if self._budgets is not None and (ask := self.ask()):
            self.grant(self._budgets.ask("", ask, monotonic()))

    def _need(self, host: str) -> tuple[int, int]:
        active, waiting = self._queue.load(host)
        return active + waiting, active

    def _allowed(self, host: str) -> int:
        """How many exchanges a host may have now."""
        slots = self._permits.slots(host, monotonic())
        task = self._queue.next(host)
        return slots if slots and task is not None and self._lookups.may_begin(task.at) else 0

    def _found(self, transfer: Transfer) -> None:
        """The name of an exchange was looked up."""
        self._looked_up(transfer.handle, found=True)

    def _looked_up(self, handle: pycurl.Curl, *, found: bool = False) -> None:
        for host in self._lookups.end(handle, found=found):
            self._queue.refresh(host)

    def _push(self, task: _Task) -> None:
        self._queue.push(task.at.host, task)
        self._permits.touch(task.at.host)

    # From queue to wire

    @property
    def _is_quiet(self) -> bool:
        return not (self._queue.waiting or self._running or any(self._retries.values()) or self._parked)

    def _may_dial(self, url: Url) -> bool:
        return self._any_port or url.port in self._limits.ports

    def _admit(self, task: _Task) -> None:
        """Into the queue, by way of robots.txt where that is honoured."""
        if task.at.host in self._given_up:
            self._conclude(task, Answer(self._given_up[task.at.host]))
            return
        if not self._limits.robots or task.origin:
            self._push(task)
            return
        known = self._robots.get(task.at.origin)
        if known is None:
            self._ask_robots(task)
        elif isinstance(known, list):
            known.append(task)
            self._parked += 1
        elif isinstance(known, Reason):
            self._conclude(task, Answer(known))
        elif known.allows(_path(task.at.href)):
            self._push(task)
        else:
            self._conclude(task, Answer(Reason.ROBOTS))

    def _requeue_due(self) -> None:
        now = monotonic()
        for batch in self._finishing:
            retries = self._retries.get(batch)
            while retries and retries[0][0] <= now:
                self._admit(heapq.heappop(retries)[2])

    def _start_ready(self) -> None:
        while self._memory.is_roomy and (turn := self._queue.pop()):
            name, task = turn
            task.started = monotonic()
            task.deadline = task.started + self._limits.total_timeout_s - task.spent_s
            task.attempts += task.hops == 0
            task.hops_before = task.hops
            self._start(self._free.pop() if self._free else Transfer(self._wiring), name, task)

    def _stop_silent(self) -> None:
        """End what has sent its request and heard nothing for ``slow_for_s``: beside others libcurl notices it only at its connect timeout."""
        if monotonic() < self._silence_due:
            return
        self._silence_due = monotonic() + _SILENCE_CHECK_S
        for handle, (transfer, _, _) in list(self._running.items()):
            if transfer.is_silent:
                self._loop.remove(handle)
                self._end(handle, pycurl.E_OPERATION_TIMEDOUT)

    def _start(self, transfer: Transfer, name: str, task: _Task) -> None:
        transfer.start(task.at, task.deadline)
        self._lookups.begin(task.at, transfer.handle)
        self._running[transfer.handle] = (transfer, name, task)
        self._loop.add(transfer.handle)

    # From wire to result

    def _end(self, handle: pycurl.Curl, code: int) -> None:
        transfer, name, task = self._running.pop(handle)
        answer = transfer.end(code)
        self._looked_up(handle)
        if answer.location is not None and answer.reason is None:
            hop = self._next_hop(task, answer.location)
            if isinstance(hop, Reason):
                answer = Answer(hop, answer.status)
            else:
                task.at = hop
                task.hops += 1
                # Another host has its own queue, and another origin its own robots.txt.
                if hop.host == name and (not self._limits.robots or task.origin or hop.origin == task.url.origin):
                    self._start(transfer, name, task)
                    return
        self._free.append(transfer)
        task.spent_s += monotonic() - task.started
        # A host that sent us on has answered, whatever became of where it sent us.
        self._queue.done(name, answered=True if task.hops > task.hops_before else _answered(answer))
        self._permits.touch(name)
        if answer.is_evicted:
            self._begin_anew(task)
            task.attempts -= 1
            self._admit(task)
        elif answer.location is not None and answer.reason is None:
            self._admit(task)
        else:
            self._conclude(task, answer)
        if self._queue.given_up(name) and answer.reason in _SILENT:
            self._give_up(name, answer.reason)

    def _next_hop(self, task: _Task, location: str) -> Url | Reason:
        """Where a redirect leads, judged as if it had been added. Nothing of the old request goes along."""
        if not location:
            return Reason.REDIRECT_BAD
        if task.hops >= self._limits.redirects_max:
            return Reason.REDIRECT_LIMIT
        hop = parse(location, task.at)
        if isinstance(hop, Reason):
            return Reason.REDIRECT_BAD if hop is Reason.BAD_URL else hop
        if task.at.scheme == "https" and hop.scheme == "http":
            return Reason.REDIRECT_BAD
        if not self._may_dial(hop):
            return Reason.BLOCKED_PORT
        return hop if monotonic() < task.deadline else Reason.TIMEOUT

    def _conclude(self, task: _Task, answer: Answer) -> None:
        """An attempt has ended: tell those who wait for robots.txt, ask again, or give the result."""
        if task.origin:
            self._learn_robots(task.origin, answer)
            return
        wait_s = self._retry_wait_s(task, answer)
        if wait_s is None:
            self._give(task, answer)
            return
        self._begin_anew(task)
        self._retry_count += 1
        heapq.heappush(self._retries[task.batch], (monotonic() + wait_s, self._retry_count, task))

    def _retry_wait_s(self, task: _Task, answer: Answer) -> float | None:
        """Seconds until another attempt, None for no more."""
        limits = self._limits
        if answer.reason not in _RETRIED or not 1 <= task.attempts <= limits.retries_max:
            return None
        wait_s: float = limits.retry_wait_s * 2 ** (task.attempts - 1)
        if answer.retry_after:
            asked_s = retry_after_s(answer.retry_after, time.time()) or 0.0
            if asked_s > limits.retry_after_max_s:
                return None
            wait_s = max(wait_s, asked_s)
        return wait_s * (1 + self._jitter() / 2)

    def _give_up(self, name: str, reason: Reason) -> None:
        self._given_up[name] = reason
        for task in self._queue.drop(name):
            self._conclude(task, Answer(reason))
        self._permits.touch(name)

    def _give(self, task: _Task, answer: Answer) -> None:
        is_body = answer.reason is None
        self._memory.kept += len(answer.body)
        self._done.append(
            Fetched(
                key=task.key,
                reason=answer.reason,
                content=Content(answer.body) if is_body else None,
                status=answer.status,
                content_type=answer.content_type,
                final_url=task.at.href if task.hops else "",
                elapsed_s=task.spent_s,
                fetched_at=time.time(),
                attempts=task.attempts,
            )
        )

    @staticmethod
    def _begin_anew(task: _Task) -> None:
        task.at = task.url
        task.hops = task.hops_before = 0
        task.spent_s = 0.0

    # robots.txt (RFC 9309)

    def _ask_robots(self, task: _Task) -> None:
        origin = task.at.origin
        self._robots[origin] = [task]
        self._parked += 1
        url = parse("/robots.txt", task.at)
        assert isinstance(url, Url)  # an origin that was accepted, with a fixed path
        self._push(_Task(-1, url, origin))

    def _learn_robots(self, origin: str, answer: Answer) -> None:
        waiting = self._robots[origin]
        assert isinstance(waiting, list)  # robots.txt of an origin is asked for once
        self._robots[origin] = _robots_of(answer)
        self._robots.move_to_end(origin)
        self._parked -= len(waiting)
        for task in waiting:
            self._admit(task)
        while len(self._robots) > self._limits.robots_origins_max:
            oldest = next(iter(self._robots))
            if isinstance(self._robots[oldest], list):  # still asked for: next time
                break
            del self._robots[oldest]


def fetch_all(
    urls: Iterable[str], limits: FetchLimits | None = None, *, unsafe_allow_loopback: bool = False
) -> list[Fetched]:
    """Fetch a few URLs and wait, in the order given: for trials and tests. Bodies all stay in memory."""
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(limits or FetchLimits(), selector, unsafe_allow_loopback=unsafe_allow_loopback)
        try:
            return sorted(run(fetcher, selector, urls), key=lambda fetched: fetched.key)
        finally:
            fetcher.close()


def run(fetcher: Fetcher, selector: selectors.BaseSelector, urls: Iterable[str]) -> list[Fetched]:
    """One batch to its end: the loop that ``Fetcher`` documents."""
    rows = enumerate(urls)
    results: list[Fetched] = []
    is_more = True
    while is_more or not fetcher.idle:
        while is_more and fetcher.room:
            row = next(rows, None)
            if row is None:
                is_more = False
                fetcher.finish()
            else:
                fetcher.add(*row)
        fetcher.pump()
        for key, mask in selector.select(fetcher.timeout_s()):
            key.data(mask)
        results += fetcher.take()
    return results


def _answered(answer: Answer) -> bool | None:
    if answer.status:
        return True
    return False if answer.reason in _SILENT else None


def _path(href: str) -> str:
    # In a canonical href the authority ends at the first slash after "http://x", and there always is one.
    return href[href.index("/", 8) :]


def _robots_of(answer: Answer) -> Robots | Reason:
    """RFC 9309 section 2.3.1: a missing file allows all, a broken server forbids all. No server is told as such."""
    if answer.status == 429 or answer.status >= 500:
        return DISALLOW_ALL
    if answer.status >= 400 or answer.reason is Reason.EMPTY:
        return ALLOW_ALL
    if answer.reason is not None:
        return answer.reason
    return parse_robots(answer.body, "custodes")
