"""A worker's part in what hosts may be asked for: its carriers' asks go to the run's one holder of ``HostBudgets``, and the answers come back.

Promises: what leaves the worker names no host, only keyed digests; an answer reaches the carrier that asked, and only the one to its newest ask.
A worker that hears nothing says so and ends the run, for its carriers begin nothing meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

import msgspec

from custodes.net.courtesy import Ask, Grant
from custodes.scan.pool import Failure, WorkerMessage

__all__ = ["Manners"]

SILENCE_S_MAX: Final = 120.0
"""Carriers ask again every two seconds; after so long without one answer something is broken."""


@dataclass(frozen=True, slots=True)
class _Asked:
    number: int
    names: dict[bytes, bytes]
    answer: Callable[[Grant], None]


class Manners:
    """The ``Courtesy`` of a worker's carriers. ``say`` sends a message to the worker's parent, ``naming`` is the run key's for hosts."""

    def __init__(
        self,
        say: Callable[[WorkerMessage], None],
        naming: Callable[..., bytes],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._say = say
        self._naming = naming
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        self._unheard_since: float | None = None

    def ask(self, ask: Ask, answer: Callable[[Grant], None]) -> None:
        """Pass an ask on, in the run's names."""
        hosts = [(self._naming(digest)[:16], wanted, kept) for digest, wanted, kept in ask.hosts]
        names = {name: said[0] for (name, _, _), said in zip(hosts, ask.hosts, strict=True)}
        with self._lock:
            if ask.over:
                self._asked.pop(ask.carrier, None)
            else:
                self._asked[ask.carrier] = _Asked(ask.number, names, answer)
                self._unheard_since = self._unheard_since or self._clock()
            is_broken = self._unheard_since is not None and self._clock() - self._unheard_since > SILENCE_S_MAX
        self._say(_failure() if is_broken else msgspec.structs.replace(ask, hosts=hosts))

    def granted(self, grant: Grant) -> None:
        """Pass an answer on to the carrier that waits for it."""
        with self._lock:
            self._unheard_since = None
            asked = self._asked.get(grant.carrier)
        if asked is not None and asked.number == grant.number:
            hosts = [(asked.names[name], slots) for name, slots in grant.hosts if name in asked.names]
            asked.answer(msgspec.structs.replace(grant, hosts=hosts))


def _failure() -> Failure:
    return Failure(
        "WorldError",
        f"for {SILENCE_S_MAX:.0f} seconds nobody said how many connections a host may have, so nothing more is fetched",
        "the coordinator is gone or overloaded; start the same command again, with fewer workers",
        3,
        fatal=True,
    )
