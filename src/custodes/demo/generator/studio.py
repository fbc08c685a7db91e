"""What the stand-in's dialects share: what it was asked, its knobs, and every way to misbehave.

Promises that a fault is one of a list, so that a test can go through all of them, and that each puts pixels wherever there is room, so that a leak is seen.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import msgspec
from aiohttp import web

from custodes.demo.generator.drawing import Wish, drawn

__all__ = ["Fault", "Manner", "Studio", "base64_of", "whole_number"]

COUNT_MAX: Final = 16
HUGE_BYTES: Final = 24 << 20


class Fault(StrEnum):
    """One way in which a generator goes wrong."""

    NONE = "none"
    GARBAGE = "garbage"
    """An answer that is no answer: the picture's bytes in place of the protocol."""
    EARLY = "early"
    """The connection closes within the answer."""
    SLOW = "slow"
    """The answer comes after ``Manner.slow_s``."""
    HUGE = "huge"
    """24 MB follow the answer."""
    WRONG_TYPE = "wrong-type"
    """The answer is said to be a page."""
    STATUS = "status"
    """A 500 with the picture in it."""
    REDIRECT = "redirect"
    """Sent elsewhere, with the picture in the body."""
    NO_PICTURE = "no-picture"
    """Where the picture should be are other bytes."""
    CUT_PICTURE = "cut-picture"
    """The picture ends in its middle."""
    TOO_MANY = "too-many"
    """More pictures than were asked for."""
    NOTHING = "nothing"
    """No pictures."""
    REFUSES = "refuses"
    """The generator's own moderation says no."""
    DIES = "dies"
    """The connection closes before the answer."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How it behaves. ``leaks``: unfinished pictures, grids, previews and other people's history are told, as generators do.

    ``key``: who asks without it is not answered.
    """

    fault: Fault = Fault.NONE
    leaks: bool = True
    slow_s: float = 2.0
    draw_s: float = 0.0
    key: str = ""


@dataclass
class Studio:
    """The one generator behind all dialects. ``asked``: each request as (path, its words); ``made``: how many pictures were drawn."""

    manner: Manner = field(default_factory=Manner)
    asked: list[tuple[str, str]] = field(default_factory=list)
    made: int = 0

    async def pictures(self, path: str, wish: Wish, count: int) -> list[bytes]:
        """The pictures of a wish, one seed after the other, or what a fault makes of them."""
        if not 1 <= count <= COUNT_MAX:
            raise ValueError(f"{count} pictures are not drawn at once")
        self.asked.append((path, wish.words))
        if self.manner.draw_s:
            await asyncio.sleep(self.manner.draw_s)
        fault = self.manner.fault
        count = {Fault.TOO_MANY: count + 1, Fault.NOTHING: 0}.get(fault, count)
        found = [drawn(replace(wish, seed=wish.seed + number)) for number in range(count)]
        self.made += len(found)
        if fault is Fault.NO_PICTURE:
            return [picture[::-1] for picture in found]
        return [picture[: len(picture) // 2] for picture in found] if fault is Fault.CUT_PICTURE else found

    async def reply(
        self, request: web.Request, body: bytes, kind: str, pictures: Sequence[bytes]
    ) -> web.StreamResponse:
        """The answer, or what a fault makes of it. ``pictures``: what is in it."""
        picture = pictures[0] if pictures else drawn(Wish("nothing"))
        headers = {"x-picture": base64_of(picture)[:512]} if self.manner.leaks else {}
        status = 200
        match self.manner.fault:
            case Fault.EARLY | Fault.DIES:
                return await self._cut(request, body, kind)
            case Fault.SLOW:
                await asyncio.sleep(self.manner.slow_s)
            case Fault.GARBAGE:
                body = picture
            case Fault.WRONG_TYPE:
                body, kind = b"<html>" + body, "text/html"
            case Fault.STATUS:
                status = 500
            case Fault.REDIRECT:
                status, headers["Location"] = 302, "/view?filename=elsewhere"
            case Fault.HUGE:
                body += b" " * HUGE_BYTES
        return web.Response(body=body, status=status, content_type=kind, headers=headers)

    async def told(self, request: web.Request, document: Any, pictures: Sequence[bytes] = ()) -> web.StreamResponse:
        """The same for a JSON document."""
        return await self.reply(request, msgspec.json.encode(document), "application/json", pictures)

    async def _cut(self, request: web.Request, body: bytes, kind: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(body)), "Content-Type": kind})
        if self.manner.fault is Fault.EARLY:
            await response.prepare(request)
            await response.write(body[: len(body) * 3 // 4])
        if request.transport is not None:
            request.transport.close()
        return response


def base64_of(content: bytes) -> str:
    """As text."""
    return base64.b64encode(content).decode()


def whole_number(value: object, default: int) -> int:
    """A whole number that a client gave, or the default. ValueError for what is none."""
    if value is None or value == "":
        return default
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    return int(value)
