"""The gateway over HTTP: what dialects know is handled, in their words; all else does not exist.

Promises, for every dialect: a no is in its own words, also where the gateway has no room or stops; an unknown path or method is a 404; an exception that
nobody foresaw is a 503 without content, and closes an answer that was begun; every answer has its ``x-request-id``; a new ``Door`` is for requests that come
after it; and what is told of a request names its route and no more. Connections, certificates and signals are for whoever runs the application.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from aiohttp import web

from custodes.gateway.dialects.words import denied, failed, said
from custodes.gateway.door import (
    DOOR,
    GENERATOR,
    REQUEST_ID,
    WARNED,
    Denial,
    DeniedError,
    Dialect,
    Door,
    Handler,
    Route,
)
from custodes.gateway.guard import RefusedError, UnableError
from custodes.gateway.upstream import UpstreamError

__all__ = ["Answered", "AppLimits", "Gateway"]

HEALTH: Final = "/health"
READY: Final = "/ready"
WARNING: Final = "x-gateway-warning"
"""``strikes``: the caller stands warned."""
_BEGUN: Final = web.RequestKey("begun", bool)
_FAULT: Final = web.RequestKey("fault", str)
_SPOKEN: Final = web.RequestKey("spoken", Dialect)
_CLOSE_S: Final = 1.0  # requests have been drained by then
_SILENT: Final = logging.Logger("custodes.gateway.silent", level=logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class AppLimits:
    """What requests may cost. ``drain_s``: how long those in flight may go on when the gateway stops."""

    body_bytes_max: int = 100 << 20
    requests_max: int = 256
    drain_s: float = 30.0
    listeners_max: int = 1024


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the access log: no path, no query, no address, no content. ``status`` 0: it was cut off."""

    request: str
    method: str
    route: str
    status: int
    seconds: float
    fault: str = ""
    """Type and place of an exception that nobody foresaw. Its text may hold anything, and is not told."""


def _untold(_: Answered) -> None:
    """Nobody asked."""


class Gateway:
    """The application of a door and its dialects. ``tell`` hears of each request when it is answered."""

    def __init__(
        self,
        door: Door,
        dialects: Sequence[Dialect],
        limits: AppLimits = AppLimits(),
        tell: Callable[[Answered], None] = _untold,
    ) -> None:
        self._door, self._limits, self._tell = door, limits, tell
        self._draining = False
        self._in_flight: set[asyncio.Task[object]] = set()
        self._listening: set[asyncio.Task[object]] = set()
        self.app = web.Application(middlewares=[self._through], client_max_size=limits.body_bytes_max)
        for dialect in dialects:
            for route in dialect.routes():
                self.app.router.add_route(route.method, route.path, self._spoken(dialect, route))
        self.app.router.add_route("GET", HEALTH, self._health)
        self.app.router.add_route("GET", READY, self._ready)
        self.app.on_response_prepare.append(_prepared)
        self.app.on_shutdown.append(self._shutdown)

    def runner(self) -> web.AppRunner:
        """What serves the application. aiohttp's own log is off: of a request that it cannot read it would tell pieces, keys among them."""
        return web.AppRunner(self.app, access_log=None, logger=_SILENT, shutdown_timeout=_CLOSE_S)

    def swap(self, door: Door) -> None:
        """Lists, rules or tenants are new. Requests in flight keep the door that they came in by."""
        self._door = door

    async def drain(self) -> None:
        """Take no new requests; let those in flight end, and cancel them when that takes too long."""
        self._draining = True
        waiting = (self._in_flight | self._listening) - {asyncio.current_task()}
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=self._limits.drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # -- each request

    @web.middleware
    async def _through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began, status = time.monotonic(), 0
        request[DOOR], request[REQUEST_ID] = self._door, f"req_{secrets.token_hex(16)}"
        try:
            response = await _guarded(request, handler)
            status = response.status
            return response
        finally:
            self._tell(_answered(request, status, time.monotonic() - began))

    def _spoken(self, dialect: Dialect, route: Route) -> Handler:
        """The handler, and its noes in the dialect's words."""

        async def answer(request: web.Request) -> web.StreamResponse:
            request[_SPOKEN] = dialect
            try:
                with self._room(listens=route.listens):
                    return await route.handler(request)
            except asyncio.CancelledError:
                if (ended := request[DOOR].people.flights.ended()) is None:
                    raise
                return dialect.refused(ended)
            except RefusedError as error:
                return dialect.refused(error)
            except UnableError as error:
                return _unable(request, error)
            except UpstreamError:
                return _unable(request, UnableError(GENERATOR))
            except DeniedError as error:
                return _denied(request, error)
            finally:
                request[DOOR].people.flights.leave()

        return answer

    @contextmanager
    def _room(self, *, listens: bool) -> Iterator[None]:
        """One of the places for requests in flight, or for who listens. Raises DeniedError."""
        taken, most = self._in_flight, self._limits.requests_max
        if listens:
            taken, most = self._listening, self._limits.listeners_max
        if self._draining:
            raise DeniedError(Denial.DRAINING, "the gateway is stopping: ask another one", retry_after_s=1)
        if len(taken) >= most:
            raise DeniedError(Denial.RATE, "too many requests at once: ask again", retry_after_s=1)
        task = asyncio.current_task()
        assert task is not None
        taken.add(task)
        try:
            yield
        finally:
            taken.discard(task)

    async def _health(self, _: web.Request) -> web.Response:
        return said({"status": "ok"})

    async def _ready(self, _: web.Request) -> web.Response:
        return said({"status": "draining"}, 503) if self._draining else said({"status": "ready"})

    async def _shutdown(self, _: web.Application) -> None:
        await self.drain()


def _denied(request: web.Request, error: DeniedError) -> web.Response:
    request[DOOR].counts.denied(error.denial)
    spoken = request.get(_SPOKEN)
    return denied(error) if spoken is None else spoken.denied(error)


def _unable(request: web.Request, error: UnableError) -> web.Response:
    request[DOOR].failed(error.what)
    return request[_SPOKEN].unable(error)


async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the handler answers. A second answer would be read as part of the first: there the connection is closed."""
    response = await _answer(request, handler)
    if request.get(_BEGUN) and not response.prepared:
        raise ConnectionResetError  # aiohttp closes the connection and tells nothing
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the handler answers; and for what it did not foresee, an answer that holds nothing."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        no = DeniedError(Denial.ROUTE, "there is no such route here")
        return _denied(
            request, DeniedError(Denial.TOO_LARGE, "the request is too large") if error.status == 413 else no
        )
    except ConnectionError:
        raise
    except Exception as error:  # default deny, of faults too
        request[_FAULT] = _place(error)
        spoken = request.get(_SPOKEN)
        return failed("the gateway") if spoken is None else spoken.unable(UnableError("the gateway"))


def _place(error: Exception) -> str:
    frames = reversed(traceback.extract_tb(error.__traceback__)[-4:])
    return f"{type(error).__name__} at " + " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames)


async def _prepared(request: web.Request, response: web.StreamResponse) -> None:
    """The headers of every answer."""
    request[_BEGUN] = True
    response.headers["x-request-id"] = request.get(REQUEST_ID, "req_unread")  # none where aiohttp itself answers
    response.headers["Server"] = "custodes"
    if request.get(WARNED):
        response.headers[WARNING] = "strikes"
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"


def _answered(request: web.Request, status: int, seconds: float) -> Answered:
    resource = request.match_info.route.resource
    return Answered(
        request=request[REQUEST_ID],
        method=request.method if request.method in ("GET", "POST", "HEAD", "OPTIONS") else "other",
        route=resource.canonical if resource is not None else "unknown",
        status=status,
        seconds=round(seconds, 6),
        fault=request.get(_FAULT, ""),
    )
