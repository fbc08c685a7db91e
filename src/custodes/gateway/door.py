"""What a dialect works with: who asks, the guard, the generator behind. And every way to say no, apart from the way that a client hears it.

Promises that a dialect has no other way to a generator. How a dialect's client hears a no is for ``dialects``; connections are for ``app``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from aiohttp import web

from custodes.gateway.guard import Caller, Guard, RefusedError, UnableError
from custodes.gateway.upstream import Upstream

__all__ = [
    "DOOR",
    "GENERATOR",
    "REQUEST_ID",
    "WARNED",
    "Admitting",
    "Counting",
    "Denial",
    "DeniedError",
    "Dialect",
    "Door",
    "Handler",
    "Route",
]

GENERATOR: Final = "the generator"
"""What an UnableError names where it is the generator that did not do its work."""


class Denial(StrEnum):
    """Why a request is turned away before anything of it is judged. None of these is a refusal by the rules."""

    KEY = "key"
    """No key, or one that nobody has: 401."""
    SUSPENDED = "suspended"
    """403."""
    RATE = "rate"
    """429, with a time after which to try again. Never used for a refusal: clients send it again."""
    MODEL = "model"
    """A model that is not offered: 404."""
    ROUTE = "route"
    """A path, method, field, node or channel that is not known: 404 or 400. Default deny."""
    MALFORMED = "malformed"
    """400."""
    TOO_LARGE = "too-large"
    """413."""
    DRAINING = "draining"
    """503: the gateway is stopping."""


class DeniedError(Exception):
    """A request is turned away. ``message`` is for the client: it names fields, never contents."""

    def __init__(self, denial: Denial, message: str, *, field: str = "", retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.denial, self.message, self.field, self.retry_after_s = denial, message, field, retry_after_s


class Flying(Protocol):
    """Requests in flight, each by its task: a hard refusal ends those of the same user beside it."""

    def ended(self) -> RefusedError | None:
        """What a cancelled request is answered with, if it was ended so."""

    def leave(self) -> None:
        """The request of this task is answered."""

    def goes_on(self, caller: Caller, task: asyncio.Task[None]) -> None:
        """A task works for the request also when that is answered."""


class Admitting(Protocol):
    """Who may ask, and how much. A caller who was let in is in flight until the application says that the request is answered."""

    @property
    def flights(self) -> Flying:
        """What is in flight."""
        ...

    def known(self, key: str) -> frozenset[str]:
        """The models that the tenant with this key is held to; empty: to none. Asks no ledger. Raises DeniedError: nobody has the key."""

    async def caller(self, key: str, user: str, request: str, images: int) -> Caller:
        """The tenant with this key. ``user``: the end user as the tenant hints; ``request``: a name of this request that its retries share.

        ``images``: that may come of it, which are this request's until it is answered. Raises DeniedError: unknown key, rate, suspended, no images left.
        """

    async def visitor(self, key: str, user: str) -> Caller:
        """The same, of one who asks for nothing to be made or judged, but how far it is: no request that counts, and not in flight.

        Raises DeniedError: unknown key, a generous rate, suspended.
        """


class Counting(Protocol):
    """What is counted of requests that came to nothing."""

    def denied(self, why: str) -> None:
        """One was turned away."""

    def upstream_failed(self) -> None:
        """The generator did not answer as it should."""


class _Uncounted:
    """Nobody counts."""

    def denied(self, why: str) -> None:
        pass

    def upstream_failed(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Door:
    """All that handlers get."""

    people: Admitting
    guard: Guard
    upstream: Upstream
    models: frozenset[str]
    """What the gateway offers. What a request may name is for ``models_of`` to say."""
    counts: Counting = field(default_factory=_Uncounted)

    def models_of(self, key: str) -> frozenset[str]:
        """What the tenant with this key may ask for; any other model does not exist. Raises DeniedError: nobody has the key."""
        own = self.people.known(key)
        return self.models & own if own else self.models

    def failed(self, what: str) -> None:
        """What an UnableError names. Faults of the generator are counted here; those of checks are counted where they are recorded."""
        if what == GENERATOR:
            self.counts.upstream_failed()


DOOR: Final = web.RequestKey("door", Door)
"""What a request goes through, from its beginning to its end: a reload is for those that come after."""
REQUEST_ID: Final = web.RequestKey("request_id", str)
"""What ``x-request-id`` will say."""
WARNED: Final = web.RequestKey("warned", bool)
"""Whether the caller stands warned, which the answer says."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """One path that is known. All others are denied."""

    method: str
    path: str
    handler: Handler
    listens: bool = False
    """A connection that stays open for what there is to hear. It has a place of its own and takes none of the requests'."""


class Dialect(Protocol):
    """How one kind of client speaks: its routes, and its words for no."""

    @property
    def name(self) -> str:
        """What it is called in the settings."""
        ...

    def routes(self) -> Sequence[Route]:
        """Every path that this dialect knows."""

    def refused(self, error: RefusedError) -> web.Response:
        """A refusal as its clients know it: final, never one that they send again."""

    def unable(self, error: UnableError) -> web.Response:
        """A check could not do its work: 503, and not to be sent again at once."""

    def denied(self, error: DeniedError) -> web.Response:
        """Turned away."""
