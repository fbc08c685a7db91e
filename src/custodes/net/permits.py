"""What this fetcher may hold of each host: the asker's half of ``courtesy``.

Promises: a host that was not granted may start nothing; what it may start ends before the grant does; hosts are asked for before their turn, many at once, and
given back when nothing is left for them. Nothing of an answer that was lost or late is believed.
Leaves to others: sending what it asks (the carrier, the worker), and answering (``courtesy``). No I/O and no clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from custodes.net.courtesy import HOSTS_MAX, SLOTS_MAX, Ask, Grant

__all__ = ["Permits"]

TERM_S: Final = 20.0
"""So long what was granted may start exchanges."""

SPARE_S: Final = 2.0
"""Added to the longest that an exchange may take: the loop may be busy when its time is over."""

CONTENT_S: Final = 3.0
"""After so long a host that has what it wants is asked for again: others may want it too."""

WANTING_S: Final = 0.5
"""After so long one that wants more, or is to have less, is asked for again."""

EVERY_S: Final = 0.1
"""No more than one ask in so long."""

LOST_S: Final = 2.0
"""An answer that has not come after so long is asked for anew."""

Need = Callable[[str], tuple[int, int]]
"""Of a host: the exchanges that it has and could begin, and those that it has: each is a connection."""


@dataclass(slots=True)
class _Permit:
    """``slots`` may be in use until ``until``; no more than ``ceiling`` connections may be open, which is what the granter counts."""

    slots: int = 0
    ceiling: int = 0
    until: float = 0.0
    wanted: int = 0
    due: float = 0.0


class Permits:
    """Grants by host. ``need`` says how it stands with a host; ``exchange_s`` is the longest that one may take."""

    def __init__(self, need: Need, exchange_s: float) -> None:
        self._need = need
        self._seconds = TERM_S + exchange_s + SPARE_S
        self._permits: dict[str, _Permit] = {}
        self._touched: dict[str, None] = {}
        self._due: list[tuple[float, str]] = []
        self._number = 0
        self._asked: dict[bytes, str] | None = None  # the hosts of the ask that waits for its answer
        self._asked_at = -LOST_S

    def slots(self, host: str, now: float) -> int:
        """How many exchanges may run, if another is to begin now."""
        permit = self._permits.get(host)
        return permit.slots if permit and now < permit.until else 0

    def touch(self, host: str) -> None:
        """Something has changed with this host."""
        self._touched[host] = None

    def ask(self, now: float) -> Ask | None:
        """What is to be asked now, if anything. To be sent at once; its answer goes to ``grant``."""
        if now < self._asked_at + (EVERY_S if self._asked is None else LOST_S):
            return None
        while self._due and self._due[0][0] <= now:
            _, host = heapq.heappop(self._due)
            if (permit := self._permits.get(host)) and permit.due <= now:
                self._touched[host] = None
        for host in (self._asked or {}).values():
            self._touched[host] = None
        self._asked = None
        wishes = self._wishes(now)
        if not wishes:
            return None
        self._number += 1
        self._asked, self._asked_at = {sha256(host.encode()).digest()[:16]: host for host, _, _ in wishes}, now
        hosts = [(digest, *said[1:]) for digest, said in zip(self._asked, wishes, strict=True)]
        return Ask(0, self._number, self._seconds, hosts)

    def _wishes(self, now: float) -> list[tuple[str, int, int]]:
        wishes: list[tuple[str, int, int]] = []
        while self._touched and len(wishes) < HOSTS_MAX:
            host = next(iter(self._touched))
            del self._touched[host]
            wanted, holds = self._need(host)
            permit = self._permits.get(host)
            if permit is None:
                if not wanted:
                    continue
                permit = self._permits[host] = _Permit()
            elif not _is_news(permit, wanted, holds, now):
                continue
            permit.wanted = min(wanted, SLOTS_MAX)
            permit.slots = min(permit.slots, permit.wanted) if now < permit.until else 0
            permit.ceiling = max(holds, permit.slots)
            self._again(host, permit, now + LOST_S)
            wishes.append((host, permit.wanted, permit.ceiling))
        return wishes

    def grant(self, grant: Grant, now: float) -> list[str]:
        """Take an answer. Gives the hosts that it is about."""
        if self._asked is None or grant.number != self._number:
            return []
        asked, self._asked = self._asked, None
        grown = []
        for digest, slots in grant.hosts:
            if (host := asked.get(digest)) is None:
                continue
            permit = self._permits[host]
            permit.slots, permit.until = slots, self._asked_at + TERM_S
            permit.ceiling = max(permit.ceiling, slots)
            if not permit.ceiling and not permit.wanted:
                del self._permits[host]
                self._touched[host] = None  # if it is wanted again by now
                continue
            grown.append(host)
            self._again(host, permit, now + (CONTENT_S if slots >= permit.wanted else WANTING_S))
        return grown

    def wait_s(self, now: float) -> float:
        """After how long there may be something to ask."""
        if self._asked is not None:
            return max(0.0, self._asked_at + LOST_S - now)
        due = now if self._touched else self._due[0][0] if self._due else now + CONTENT_S
        return max(0.0, max(due, self._asked_at + EVERY_S) - now)

    def _again(self, host: str, permit: _Permit, due: float) -> None:
        permit.due = due
        heapq.heappush(self._due, (due, host))


def _is_news(permit: _Permit, wanted: int, holds: int, now: float) -> bool:
    """Whether the granter should hear of it: it is time, nothing is wanted any more, less is kept than is counted, or one that was content wants more."""
    less = max(holds, permit.slots) < permit.ceiling
    return permit.due <= now or not wanted or less or wanted > permit.wanted <= permit.slots
