"""What dialects read a request with: the key, the whole body within bounds, forms from memory, and who it is that asks.

Promises that no body is read of anybody whose key is not known; that ``OFFERED`` holds no model which the tenant may not ask for; that nothing of a request
is ever put in a file, that compressed bodies are not read, and that a fault names fields and nothing that was sent. What fields mean is for each dialect.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol

from custodes.gateway.door import DOOR, REQUEST_ID, WARNED, Denial, DeniedError
from custodes.gateway.guard import Caller
from custodes.gateway.vocabulary import Asked

__all__ = [
    "OFFERED",
    "Part",
    "acknowledged",
    "basic",
    "bearer",
    "entered",
    "form",
    "json_object",
    "known",
    "request_name",
    "visited",
    "whole",
]

OFFERED: Final = web.RequestKey("offered", frozenset[str])
"""Models that this request may name, and that it is shown."""
_KEY: Final = web.RequestKey("key", str)
BODY_S: Final = 60.0
PARTS_MAX: Final = 64
ACKNOWLEDGED: Final = "x-gateway-acknowledged"
"""``true``: the caller was told of a soft rule and goes on. Rules say where that helps; against hard ones never."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a form. ``filename`` is for a store of the gateway's own: no check sees it, so it is never passed on."""

    name: str
    content: bytes = field(repr=False)
    filename: str = field(default="", repr=False)


async def whole(request: web.Request) -> bytes:
    """The body, of one whose key is ``known``. Raises DeniedError."""
    if _KEY not in request:
        raise DeniedError(Denial.KEY, "a key is needed before anything is read")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise DeniedError(Denial.MALFORMED, "compressed requests are not read")
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise DeniedError(Denial.TOO_LARGE, "the request is too large") from None
    except (TimeoutError, web.RequestPayloadError):
        raise DeniedError(Denial.MALFORMED, "the request did not arrive whole and in time") from None


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises DeniedError."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise DeniedError(Denial.MALFORMED, "the body is not a JSON object") from None


async def form(body: bytes, content_type: str) -> list[Part]:
    """The parts of a form, in their order. Raises DeniedError."""
    stream = aiohttp.StreamReader(BaseProtocol(asyncio.get_running_loop()), 1 << 30)
    stream.feed_data(body)
    stream.feed_eof()
    wrong = DeniedError(Denial.MALFORMED, "the body is not a form that can be read")
    parts: list[Part] = []
    try:
        reader = aiohttp.MultipartReader({"Content-Type": content_type}, stream)
        while (part := await reader.next()) is not None:
            if not isinstance(part, aiohttp.BodyPartReader) or not part.name or len(parts) == PARTS_MAX:
                raise wrong
            parts.append(Part(part.name, bytes(await part.read(decode=False)), part.filename or ""))
            if not part.at_eof():
                raise wrong
    except (ValueError, RuntimeError, AssertionError, aiohttp.http.HttpProcessingError):
        raise wrong from None
    return parts


def known(request: web.Request, key: str) -> None:
    """The first step with every request: somebody has this key, and what of the models. Raises DeniedError."""
    request[OFFERED] = request[DOOR].models_of(key)
    request[_KEY] = key


def bearer(request: web.Request) -> str:
    """The key. Raises DeniedError."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise DeniedError(Denial.KEY, "a key is needed: Authorization: Bearer KEY")
    return key.strip()


def basic(request: web.Request) -> tuple[str, str]:
    """Name and password of basic authentication; of a bearer no name, and the key. Raises DeniedError."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", bearer(request)
    try:
        name, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise DeniedError(Denial.KEY, "the key cannot be read") from None
    return name, password


def acknowledged(request: web.Request) -> bool:
    """Whether the caller says to have been told."""
    return request.headers.get(ACKNOWLEDGED, "").lower() == "true"


async def visited(request: web.Request, user: str = "") -> Caller:
    """Who asks, and only looks: how far something is, what there is. Raises DeniedError."""
    caller = await request[DOOR].people.visitor(request[_KEY], user)
    request[WARNED] = caller.warned
    return caller


async def entered(request: web.Request, user: str, asked: Asked) -> Caller:
    """Who asks for something to be made or judged. The answer's ``x-request-id`` is the name that the ledger knows this request by. Raises DeniedError."""
    caller = await request[DOOR].people.caller(request[_KEY], user, request_name(request, asked), asked.count)
    request[WARNED] = caller.warned
    if caller.request.isascii() and caller.request.isprintable() and 0 < len(caller.request) <= 128:
        request[REQUEST_ID] = caller.request
    return caller


def request_name(request: web.Request, asked: Asked) -> str:
    """A name that the retries of a request share, and other requests do not, whatever their Idempotency-Key: a digest, for ``people`` to blind."""
    digest = hashlib.sha256()
    said = [request.headers.get("Idempotency-Key", ""), request.path, str(asked.count)]
    said += [each for text in asked.texts for each in (text.role, text.where, text.value)]
    said += [each for name in asked.names for each in (name.kind, name.value)]
    pictures = [(f"{each.role} {each.where}".encode(), each.content) for each in asked.pictures]
    for piece in [*(each.encode("utf-8", "surrogatepass") for each in said), *(p for pair in pictures for p in pair)]:
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.hexdigest()
