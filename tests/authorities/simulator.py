"""What stand-ins for services that speak JSON add to ``service``: the world going on while one reads, and the answers no client may take for one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from custodes.authorities.base import Authority
from custodes.model import Entry
from custodes.services.calls import Caller, CallLimits
from tests.authorities.service import Fault, Mirror, Reply, Seen, Service, UndocumentedError, loopback

SECRET = "hunter2|secret-token"
"""Stands in every credential of the tests, so that one look finds it wherever it should not be."""


class RefusedError(Exception):
    """A documented no."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class JsonService(Service):
    """``during`` runs after each request, before its answer is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.during: Callable[[], None] = lambda: None

    def told(self, seen: Seen, query: dict[str, str]) -> Any:
        """What to answer with. Raises UndocumentedError, RefusedError."""
        raise NotImplementedError

    def answer(self, seen: Seen) -> Reply:
        status, value = 200, None
        try:
            value = self.told(seen, read_form(seen.query))
        except RefusedError as error:
            status, value = error.status, {"error": {"message": SECRET}}
        self.during()
        return Reply(json.dumps(value).encode(), "application/json", status)

    def caller(self, *, attempts_max: int = 1, **more: Any) -> Caller:
        """A client of this service that does not wait and reads a megabyte at most."""
        limits = CallLimits(timeout_s=10, attempts_max=attempts_max, body_bytes_max=1 << 20)
        return loopback(self.base, "the service", limits=limits, **more)


def read_form(text: str) -> dict[str, str]:
    """A query or form in which every name stands once."""
    pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True) if text else []
    if len(dict(pairs)) != len(pairs):
        raise UndocumentedError("a parameter stands twice")
    return dict(pairs)


def only(given: Mapping[str, Any], allowed: set[str]) -> None:
    """Refuse what is not documented."""
    if set(given) - allowed:
        raise UndocumentedError(f"no such parameters: {sorted(set(given) - allowed)}")


def said(value: Any) -> Fault:
    """Answer 200 with this JSON."""
    return Fault(200, body=json.dumps(value).encode())


STOPPED = Fault(sent_bytes=0)
"""The connection ends before the body. (Before a word, aiohttp itself asks once more.)"""

BROKEN: dict[str, Fault] = {
    "the connection ends without a word": Fault(),
    "the connection ends before the body": STOPPED,
    "the connection ends in the middle of the body": Fault(sent_bytes=10),
    "status 500": Fault(500),
    "status 503 with Retry-After": Fault(503, {"Retry-After": "3"}),
    "status 429": Fault(429, {"Retry-After": "7"}, SECRET.encode()),
    "status 302 to elsewhere": Fault(302, {"Location": "http://127.0.0.1:1/"}),
    "status 403": Fault(403, body=SECRET.encode()),
    "no JSON": Fault(body=b"<html>busy</html>", status=200),
    "JSON cut short": Fault(200, body=b'{"data": [{"id": "1"'),
    "an empty body": Fault(200, body=b""),
    "a list": said([]),
    "a number": said(7),
    "null": said(None),
    "a name twice": Fault(200, body=b'{"data": [], "data": [1]}'),
    "not a number": Fault(200, body=b'{"data": NaN, "results": NaN, "scanned_hashes": NaN}'),
    "nested without end": Fault(200, body=b"[" * 100_000),
    "bytes that are no UTF-8": Fault(200, body=b'{"data": "\xff\xfe"}'),
    "a bomb": Fault(200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"data": ["' + b"0" * (1 << 24) + b'"]}')),
    "more than the limit": Fault(200, body=b'{"data": "' + b"x" * (1 << 20) + b'"}'),
    "other types where lists belong": said({"data": {}, "results": {}, "scanned_hashes": []}),
    "parts missing": said({}),
}
"""Answers that no client may take for one."""


class Known(Mirror):
    """A follower that lets errors rise."""

    async def finish(self, authority: Authority) -> int:
        """Go on where the last walk stopped, to the end. The number of pages."""
        before = self.pages
        pages: Any = authority.pages(self.checkpoint, self.resume)
        try:
            async for page in pages:
                self.take(page)
        finally:
            await pages.aclose()
        assert self.resume == ""
        return self.pages - before

    def listed(self) -> set[Entry]:
        """All entries that are listed now."""
        return {entry for record in self.known.values() for entry in record.entries}


def shown(error: BaseException | None) -> str:
    """Everything that an error would show, with its causes."""
    text = ""
    while error is not None:
        text += f"{type(error).__name__} {error} {error!r} {getattr(error, 'hint', '')}\n"
        error = error.__cause__ or error.__context__
    return text
