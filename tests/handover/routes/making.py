"""Routes for tests: who sends, where progress is kept, and receivers on loopback that misserve as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web

from custodes.handover.incident import Incident
from custodes.handover.package import Reporter
from custodes.handover.receipts import Receipt
from custodes.handover.routes.connect import Around, Sender
from tests.handover.making import KEY, finding, incidents

NOW = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
REPORTER = Reporter(name="Example Lab", contact="safety@lab.example")
T = TypeVar("T")


def sender(**changed: Any) -> Sender:
    fields: dict[str, Any] = {"reporter": REPORTER, "key": KEY, "clock": lambda: NOW}
    return Sender(**(fields | changed))


def around(home: Path = Path("/nowhere"), environ: dict[str, str] | None = None, **changed: Any) -> Around:
    return Around(home, environ or {}, changed.pop("sender", None) or sender(), **changed)


def incident(image: int = 1, *rows: int, **changed: Any) -> Incident:
    """An image that was found in these rows."""
    return incidents(*(finding(row, image, **changed) for row in rows or (image,)))[0]


@dataclass
class Store:
    """What is durable of a delivery."""

    progress: dict[str, str] = field(default_factory=dict)
    receipts: list[Receipt] = field(default_factory=list)

    def load(self) -> dict[str, str]:
        return dict(self.progress)

    def save(self, progress: dict[str, str]) -> None:
        self.progress = dict(progress)

    def keep(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)


@dataclass(frozen=True)
class Fault:
    """How one request is misserved. ``how``: unread, before or after it is acted on, cut (in the answer); or "" for another answer than the true one."""

    how: str = ""
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


DROPS = ("unread", "before", "after", "cut")
"""Where the connection ends."""


class Stand:
    """A receiver on loopback. ``faults`` misserves requests by their number, from 1."""

    def __init__(self) -> None:
        self.requests = 0
        self.faults: dict[int, Fault] = {}
        self.base = ""

    def act(self, request: web.Request, body: bytes) -> tuple[int, bytes]:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 25)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        fault = self.faults.get(self.requests)
        assert request.transport is not None
        if fault is not None and fault.how == "unread":
            request.transport.abort()
            return web.Response()
        body = await request.read()
        if fault is not None and not fault.how:
            return web.Response(status=fault.status, body=fault.body, headers=dict(fault.headers))
        if fault is not None and fault.how == "before":
            request.transport.abort()
            return web.Response()
        status, answer = self.act(request, body)
        if fault is None:
            return web.Response(status=status, body=answer, content_type="application/json")
        if fault.how == "cut":
            response = web.StreamResponse(status=status, headers={"Content-Length": str(len(answer) + 10)})
            await response.prepare(request)
            await response.write(answer)
        request.transport.abort()
        return web.Response()


def run(check: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(check())
