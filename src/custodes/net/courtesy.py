"""Who may hold how many connections to a host, of all that fetch for one run, on however many machines.

A carrier says what it wants of hosts (``Ask``); whoever holds the run's ``HostBudgets`` answers with what it may have, and for how long (``Grant``).
Promises: what is granted of a host and has not run out is never more than ``per_host``, whoever dies and whatever message is lost, late or sent twice.
Clocks need not agree: the asker counts a grant from before it asked, the granter from when it answered. Only one of them that stops (a process that is
frozen, a machine asleep) while its connections stay open could pass the limit. Who waits has its turn: where more want a host than it has slots, one
that has had a slot for ``TURN_S`` goes to the end of the queue as soon as somebody waits.
Leaves to others: keeping to a grant (``permits``), carrying the messages. No I/O and no clock of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from msgspec import Meta

__all__ = ["HOSTS_MAX", "SLOTS_MAX", "Ask", "Digest", "Grant", "HostBudgets", "shares"]

HOSTS_MAX: Final = 1_000
"""In one message."""

SLOTS_MAX: Final = 256
"""The highest ``per_host``; nobody wants more of a host."""

SECONDS_MAX: Final = 900.0

TURN_S: Final = 2.0
WANTED_S: Final = 10.0
"""So long a wish stands without being said again; askers repeat theirs well within it."""

GONE_S: Final = 2.0
"""A worker's end is its carrier's, by the kernel's hand; so long its connections are still counted."""

SWEEP_S: Final = 30.0

Digest = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""Of a host's name. The worker puts it under a key of the run before it passes it on: whoever carries or answers its ``Ask`` learns no name."""

Slots = Annotated[int, Meta(ge=0, le=SLOTS_MAX)]
Number = Annotated[int, Meta(ge=0, lt=1 << 62)]
Seconds = Annotated[float, Meta(gt=0, le=SECONDS_MAX)]


class Ask(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """What a carrier wants of hosts, each (digest, wanted, kept).

    ``wanted``: connections, those that it has and those that it could use at once; 0: none any more. ``kept``: what it has of earlier grants and will not
    pass until it is answered. ``number`` grows from one ask of a carrier to its next, and names the answer. ``over``: the carrier is no more.
    """

    carrier: Number
    number: Number
    seconds: Seconds
    hosts: Annotated[list[tuple[Digest, Slots, Slots]], Meta(max_length=HOSTS_MAX)] = []
    over: bool = False


class Grant(msgspec.Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """What a carrier may hold of each host that it asked for, (digest, slots), for ``seconds`` from when it asked. It takes the place of what it had."""

    carrier: Number
    number: Number
    seconds: Seconds
    hosts: Annotated[list[tuple[Digest, Slots]], Meta(max_length=HOSTS_MAX)] = []


Who = tuple[Hashable, int]
"""A carrier: its worker, and its number there."""


@dataclass(slots=True)
class _Claim:
    """What one carrier wants and may hold of one host."""

    wanted: int = 0
    wanted_until: float = 0.0
    held: int = 0
    held_until: float = 0.0
    turn_since: float = 0.0

    def holds(self, now: float) -> int:
        return self.held if now < self.held_until else 0

    def wants(self, now: float) -> int:
        return self.wanted if now < self.wanted_until else 0

    def is_over(self, now: float) -> bool:
        return not self.holds(now) and not self.wants(now)


class HostBudgets:
    """The slots of all hosts of a run. ``who`` is a worker, of whom there may be several carriers; ``now`` is one monotonic clock's."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        # Of each host, in the order in which those that want it have their turn.
        self._hosts: dict[bytes, dict[Who, _Claim]] = {}
        self._numbers: dict[Who, int] = {}
        self._swept = 0.0

    def ask(self, who: Hashable, ask: Ask, now: float) -> Grant:
        """What the carrier may hold from now on. An ask that comes after a later one changes nothing and is granted nothing."""
        self._sweep(now)
        key = (who, ask.carrier)
        granted: dict[bytes, int] = {}
        if ask.over:
            self._end(key, now)
        elif ask.number > self._numbers.get(key, -1):
            self._numbers[key] = ask.number
            for digest, wanted, kept in ask.hosts:
                granted[digest] = self._grant(key, digest, (wanted, kept), now, now + ask.seconds)
        return Grant(ask.carrier, ask.number, ask.seconds, list(granted.items()))

    def gone(self, who: Hashable, now: float) -> None:
        """The worker's process has ended, and with it its carriers. Of one that is only out of sight say nothing: its grants must run out."""
        for key in [key for key in self._numbers if key[0] == who]:
            self._end(key, now + GONE_S)

    def _grant(self, key: Who, digest: bytes, said: tuple[int, int], now: float, until: float) -> int:
        claims = self._hosts.setdefault(digest, {})
        claim = claims.setdefault(key, _Claim())
        held = claim.holds(now)
        claim.wanted, claim.wanted_until = said[0], now + WANTED_S
        wanting = {who: each.wants(now) for who, each in claims.items() if each.wants(now)}
        if held and len(wanting) > self._per_host and claim.turn_since + TURN_S <= now:
            claims[key] = claims.pop(key)
            wanting[key] = wanting.pop(key, 0)
        others = sum(each.holds(now) for who, each in claims.items() if who != key)
        share = dict(zip(wanting, shares(list(wanting.values()), self._per_host), strict=True)).get(key, 0)
        slots = min(share, self._per_host - others)
        claim.turn_since = claim.turn_since if held else now
        claim.held, claim.held_until = max(slots, min(said[1], held)), until
        if not claim.held and not claim.wanted:
            self._forget(digest, key)
        return slots

    def _end(self, key: Who, until: float) -> None:
        self._numbers.pop(key, None)
        for claims in self._hosts.values():
            if (claim := claims.get(key)) is not None:
                claim.wanted, claim.held_until = 0, min(claim.held_until, until)

    def _forget(self, digest: bytes, key: Who) -> None:
        del self._hosts[digest][key]
        if not self._hosts[digest]:
            del self._hosts[digest]

    def _sweep(self, now: float) -> None:
        """Forget, now and then, what has run out."""
        if now < self._swept + SWEEP_S:
            return
        self._swept = now
        over = [
            (digest, key)
            for digest, claims in self._hosts.items()
            for key, claim in claims.items()
            if claim.is_over(now)
        ]
        for digest, key in over:
            self._forget(digest, key)


def shares(wanted: Sequence[int], slots: int) -> list[int]:
    """Slots dealt out one by one, in turns, to those that want more still: who wants little has it, and what cannot be divided goes to the first."""
    if sum(wanted) <= slots:
        return list(wanted)
    given = [0] * len(wanted)
    while slots:
        for index, most in enumerate(wanted):
            if slots and given[index] < most:
                given[index] += 1
                slots -= 1
    return given
