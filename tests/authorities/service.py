"""What the stand-ins for NCMEC and StopNCII share: every request is recorded as it was sent, what is not documented is refused, a test may misserve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from custodes.authorities.base import Authority, Page, ResumeExpired
from custodes.errors import AuthorityError
from custodes.lists.records import Record
from custodes.services.calls import Caller, CallLimits


@dataclass(frozen=True)
class Seen:
    """A request as it came, path and query still quoted."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """How one request is misserved. Without anything: the connection ends before a byte of the answer."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # None: the true one
    sent_bytes: int | None = None  # the connection ends after these


@dataclass(frozen=True)
class Reply:
    body: bytes
    content_type: str
    status: int = 200


class UndocumentedError(Exception):
    """A request that the service's documentation does not know."""


class Service:
    """One service on loopback. ``now`` is its clock; ``faults`` misserves requests by their number, from 1."""

    prefix = ""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.requests: list[Seen] = []
        self.undocumented: list[str] = []
        self.faults: dict[int, Fault] = {}
        self.base = ""

    def answer(self, seen: Seen) -> Reply:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}{self.prefix}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        url = request.rel_url
        seen = Seen(request.method, url.raw_path, url.raw_query_string, dict(request.headers), await request.read())
        self.requests.append(seen)
        reply = self._reply(seen)
        fault = self.faults.get(len(self.requests))
        if fault is None:
            return web.Response(body=reply.body, status=reply.status, headers={"Content-Type": reply.content_type})
        if fault == Fault():
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return await _misserve(request, reply, fault)

    def _reply(self, seen: Seen) -> Reply:
        try:
            if not seen.path.startswith(self.prefix):
                raise UndocumentedError("another path than the service's")
            return self.answer(seen)
        except UndocumentedError as error:
            self.undocumented.append(str(error))
            return Reply(b"bad request", "text/plain", 400)


async def _misserve(request: web.Request, reply: Reply, fault: Fault) -> web.StreamResponse:
    body = reply.body if fault.body is None else fault.body
    headers = {"Content-Type": reply.content_type, "Content-Length": str(len(body)), **fault.headers}
    response = web.StreamResponse(status=fault.status or reply.status, headers=headers)
    await response.prepare(request)
    await response.write(body[: fault.sent_bytes])
    if fault.sent_bytes is None:
        await response.write_eof()
    else:
        await asyncio.sleep(0)
        assert request.transport is not None
        request.transport.abort()
    return response


class Pauses:
    """Stands for ``asyncio.sleep``: remembers how long was asked for."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


def loopback(base: str, service: str, *, attempts_max: int = 1, **more: Any) -> Caller:
    """A caller of a service on loopback, which never waits."""
    settings = {"limits": CallLimits(attempts_max=attempts_max, timeout_s=20), "sleep": Pauses(), **more}
    return Caller(base, service, unsafe_allow_loopback=True, **settings)


class Mirror:
    """What a plain follower of the ``Record`` rule knows of a list, walk by walk. It stops where a walk stops, and goes on there."""

    def __init__(self) -> None:
        self.known: dict[str, Record] = {}
        self.checkpoint = ""
        self.resume = ""
        self.pages = 0
        self.skipped: dict[str, int] = {}

    def take(self, page: Page) -> None:
        for record in page.records:
            old = self.known.get(record.id)
            if old is None or (record.modified, not record.entries) >= (old.modified, not old.entries):
                self.known[record.id] = record
        for reason, count in page.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + count
        self.pages += 1
        self.resume = page.resume
        if page.checkpoint is not None:
            self.checkpoint = page.checkpoint

    async def walk(self, authority: Authority, pages_max: int = 1_000_000) -> bool:
        """Go on. Whether the walk came to its end."""
        pages: Any = authority.pages(self.checkpoint, self.resume)
        try:
            async for page in pages:
                self.take(page)
                pages_max -= 1
                if page.checkpoint is not None or pages_max == 0:
                    return page.checkpoint is not None
        except ResumeExpired:
            self.resume = ""
        except AuthorityError:
            pass
        finally:
            await pages.aclose()
        return False

    def entries(self) -> set[tuple[str, str, str, str, str]]:
        """All that is listed now: record, kind, value, category, assurance."""
        return {
            (record.id, entry.kind.value, entry.value.hex(), entry.category, entry.assurance)
            for record in self.known.values()
            for entry in record.entries
        }
