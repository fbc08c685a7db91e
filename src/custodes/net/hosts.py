"""Whose turn it is: a queue that is fair between hosts, so that one that hangs holds up itself and not the rest.

Promises: no host has more slots than it is allowed, hosts take turns, hosts in trouble together hold at most half of
all slots, and a host that answered nothing ``failures_max`` times running is given up. No I/O and no clock.
Leaves to others: what a host is allowed (permits), what runs in a slot (fetch).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["HostQueue"]

T = TypeVar("T")


class _Host(Generic[T]):
    __slots__ = ("active", "failures", "listed", "name", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: deque[T] = deque()
        self.active = 0
        self.failures = 0
        self.listed = False


class HostQueue(Generic[T]):
    """Items waiting per host. ``pop`` takes a slot, ``done`` gives it back; both take constant time.

    ``allowed`` says how many slots a host may have at this moment; where that has become more, somebody must say ``refresh``.
    """

    def __init__(self, slots: int, allowed: Callable[[str], int], failures_max: int) -> None:
        self._slots = slots
        self._allowed = allowed
        self._failures_max = failures_max
        self._hosts: dict[str, _Host[T]] = {}
        # Hosts that may start an item now: one turn each, well ones first.
        self._well: deque[_Host[T]] = deque()
        self._troubled: deque[_Host[T]] = deque()
        self._troubled_active = 0
        self.waiting = 0
        self.active = 0

    @property
    def ready(self) -> int:
        """Hosts with an item that could start now; the rest of what waits is behind a host's own limit."""
        return len(self._well) + len(self._troubled)

    @property
    def troubled(self) -> int:
        """Hosts whose last attempt got no answer."""
        return sum(1 for host in self._hosts.values() if host.failures)

    def load(self, name: str) -> tuple[int, int]:
        """A host's items that have a slot, and that wait for one."""
        host = self._hosts.get(name)
        return (host.active, len(host.waiting)) if host else (0, 0)

    def next(self, name: str) -> T | None:
        """The item of a host whose turn is next."""
        host = self._hosts.get(name)
        return host.waiting[0] if host and host.waiting else None

    def refresh(self, name: str) -> None:
        """A host may be allowed more than before."""
        if (host := self._hosts.get(name)) is not None:
            self._list(host)

    def push(self, name: str, item: T) -> None:
        """Put an item behind the others of its host."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = _Host(name)
        host.waiting.append(item)
        self.waiting += 1
        self._list(host)

    def pop(self) -> tuple[str, T] | None:
        """The next item and its host, or None where all slots, or all that this item could use, are taken."""
        if self.active >= self._slots:
            return None
        host = self._next()
        if host is None:
            return None
        item = host.waiting.popleft()
        self.waiting -= 1
        self.active += 1
        host.active += 1
        self._troubled_active += host.failures > 0
        self._list(host)
        return host.name, item

    def done(self, name: str, *, answered: bool | None) -> None:
        """Give a slot back. ``answered`` is False for no answer at all, True for any, None where nothing was asked."""
        host = self._hosts[name]
        was_troubled = host.failures > 0
        host.active -= 1
        self.active -= 1
        self._troubled_active -= was_troubled
        if answered is not None:
            host.failures = 0 if answered else host.failures + 1
        # Slots that the host still holds change sides with it.
        self._troubled_active += host.active * ((host.failures > 0) - was_troubled)
        if host.waiting:
            self._list(host)
        elif not host.active and not host.failures:
            del self._hosts[name]

    def given_up(self, name: str) -> bool:
        """True where the host has been silent too often to be asked again in this batch."""
        host = self._hosts.get(name)
        return host is not None and 0 < self._failures_max <= host.failures

    def drop(self, name: str) -> list[T]:
        """Take away all that waits for a host."""
        host = self._hosts[name]
        items = list(host.waiting)
        host.waiting.clear()
        self.waiting -= len(items)
        return items

    def forget(self) -> None:
        """Start a new batch: troubles of the last one no longer count."""
        self._hosts = {name: host for name, host in self._hosts.items() if host.waiting or host.active}
        for host in self._hosts.values():
            host.failures = 0
        self._troubled_active = 0

    def _list(self, host: _Host[T]) -> None:
        if not host.listed and host.waiting and host.active < self._allowed(host.name):
            host.listed = True
            (self._troubled if host.failures else self._well).append(host)

    def _next(self) -> _Host[T] | None:
        half = max(1, self._slots // 2)
        queues = (self._well, self._troubled) if self._troubled_active < half else (self._well,)
        for queue in queues:
            while queue:
                host = queue.popleft()
                host.listed = False
                if host.waiting and host.active < self._allowed(
                    host.name
                ):  # else it was dropped, or filled up, meanwhile
                    return host
        return None
