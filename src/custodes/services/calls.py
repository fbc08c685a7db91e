"""Calls to a known service: the client of every authority and route. Outbound calls to strangers' links are for ``net``.

Promises: one origin, https (http for loopback alone, when it was allowed), the address checked where the socket is made, no redirects, a
bound on every answer and every wait; GET is repeated with growing pauses when the service is busy, other methods never. Errors name the
service, the path without ids, and the status; never a query, a header, what was sent or what was answered.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import random
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn
from urllib.parse import urlencode, urlsplit

import aiohttp
import yarl

from custodes import __version__
from custodes.errors import AuthorityError, ConfigError
from custodes.net import AddressGuard
from custodes.services.limits import CallLimits

__all__ = ["Answer", "CallLimits", "Caller", "RefusedError"]

_BUSY: Final = frozenset({429, 500, 502, 503, 504})
_CHUNK_BYTES: Final = 1 << 16
_WORD: Final = re.compile(r"(?:[A-Za-z][A-Za-z_-]{0,30}[0-9]?)?")  # a part of a path that is no id


class RefusedError(AuthorityError):
    """The service answered with a status other than 200 to 299."""

    def __init__(self, message: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """A whole answer. ``path`` is the call as errors name it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    path: str

    @property
    def after_s(self) -> float:
        """Seconds that Retry-After asks for; 0 where it is absent or makes no sense."""
        return _after_s(self.headers)

    def json(self) -> Any:
        """The body as JSON, each name once. Raises AuthorityError."""
        try:
            return json.loads(self.body, object_pairs_hook=_each_once, parse_constant=_no_number)
        except (ValueError, RecursionError):  # from None: a decoder's error carries the whole document
            raise AuthorityError(f"the answer to {self.path} is not JSON") from None


@dataclass
class Caller:
    """A client for one service. ``base`` is its origin and path prefix; paths are appended to it."""

    base: str
    service: str  # named in errors
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    basic: tuple[str, str] | None = field(default=None, repr=False)  # user and password
    limits: CallLimits = field(default_factory=CallLimits)
    unsafe_allow_loopback: bool = False  # for tests and demonstrations
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)
    _session: aiohttp.ClientSession | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base)
        self._guard = AddressGuard(unsafe_allow_loopback=self.unsafe_allow_loopback)
        plain = parts.scheme == "http" and self._guard.is_unsafe_loopback(parts.hostname or "")
        more = parts.username is not None or parts.query or parts.fragment
        if not (parts.scheme == "https" or plain) or not parts.hostname or more:
            raise ConfigError(f"the address of {self.service} must be https://host/path, without user or query")
        if self.basic and ":" in self.basic[0]:
            raise ConfigError(f"the user of {self.service} must not hold a colon")
        self.base = self.base.rstrip("/")

    async def get(self, path: str, query: Mapping[str, str] | None = None, *, shown: str = "") -> Answer:
        """GET, repeated while the service is busy or away. ``path`` begins with a slash and is sent as it is.

        ``shown`` stands for the path in errors: to be given where an id is a part of it. Raises AuthorityError.
        """
        call = _Call("GET", f"{path}?{urlencode(query)}" if query else path, shown)
        pause_s = self.limits.pause_s
        attempt = 1
        while not isinstance(answer := await self._once(call), Answer):
            if not answer.again or attempt == self.limits.attempts_max:
                raise answer.error()
            await self.sleep(min(max(pause_s * random.uniform(0.5, 1), answer.after_s), self.limits.pause_s_max))  # noqa: S311
            pause_s *= 2
            attempt += 1
        return answer

    async def send(self, method: str, path: str, body: bytes, content_type: str, *, shown: str = "") -> Answer:
        """POST or PUT, once: whether the service acted on a call without an answer is not known. Else as ``get``."""
        return _answered(await self._once(_Call(method, path, shown, body, content_type)))

    async def exchange(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "", *, shown: str = ""
    ) -> Answer:
        """Any call, once, and its answer whatever the status: of services that say in the body what is wrong. Else as ``send``."""
        return _answered(await self._once(_Call(method, path, shown, body, content_type, any_status=True)))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _once(self, call: _Call) -> Answer | _Refusal:
        shown = f"{self.service} {call.method} {call.shown or _shown(call.path)}"
        headers = {"Content-Type": call.content_type} if call.content_type else {}
        url = yarl.URL(self.base + call.path, encoded=True)  # as it is: what is quoted stays quoted
        try:
            async with self._client().request(
                call.method, url, data=call.data(), headers=headers, allow_redirects=False
            ) as response:
                status = response.status
                if call.any_status or 200 <= status < 300:
                    return Answer(status, response.headers.copy(), await self._read(response, shown), shown)
                after_s = _after_s(response.headers)
                return _Refusal(f"{shown}: status {status}", status, again=status in _BUSY, after_s=after_s)
        except TimeoutError:
            return _Refusal(f"{shown}: no whole answer in {self.limits.timeout_s:g} s", again=True)
        except (aiohttp.ClientError, ValueError) as error:  # its text may quote the query
            lost = error.__cause__ if isinstance(error, _LostError) else error
            if isinstance(lost, aiohttp.ClientConnectorError) and isinstance(lost.os_error, _NotPublicError):
                return _Refusal(f"{shown}: the address is not public")
            return _Refusal(f"{shown}: {type(lost).__name__}", again=isinstance(error, aiohttp.ClientError))

    async def _read(self, response: aiohttp.ClientResponse, shown: str) -> bytes:
        parts: list[bytes] = []
        size_bytes = 0
        async for part in response.content.iter_chunked(_CHUNK_BYTES):  # counted as it is unpacked: a bomb ends here
            size_bytes += len(part)
            if size_bytes > self.limits.body_bytes_max:
                raise AuthorityError(f"{shown}: the answer is longer than {self.limits.body_bytes_max} bytes")
            parts.append(part)
        return b"".join(parts)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            user = {"Authorization": aiohttp.encode_basic_auth(*self.basic)} if self.basic else {}
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=ssl.create_default_context(), socket_factory=self._socket, limit=4),
                timeout=aiohttp.ClientTimeout(total=self.limits.timeout_s),
                headers={"User-Agent": f"custodes/{__version__}", **self.headers, **user},
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=(_never_twice,),
                trust_env=False,
                raise_for_status=False,
            )
        return self._session

    def _socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _, where = address
        if not self._guard.allows(str(where[0])):
            raise _NotPublicError("the address is not public")
        return socket.socket(family, kind, protocol)


class _NotPublicError(OSError):
    """The guard's no, where the socket would have been made."""


class _LostError(aiohttp.ClientError):
    """The connection ended; why is its cause."""


async def _never_twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Against aiohttp, which by itself sends a GET or PUT again when the connection ends, unless it does not know the error."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _LostError from error


@dataclass(frozen=True, slots=True, repr=False)
class _Call:
    """One request. ``path`` may have a query; ``shown`` stands for it in errors."""

    method: str
    path: str
    shown: str = ""
    body: bytes | None = None
    content_type: str = ""
    any_status: bool = False

    def data(self) -> bytes | io.BytesIO | None:
        """The body as aiohttp wants it: what is long in pieces."""
        return io.BytesIO(self.body) if self.body and len(self.body) > _CHUNK_BYTES else self.body


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why there is no answer, and whether to ask again."""

    message: str
    status: int = 0
    again: bool = False
    after_s: float = 0.0

    def error(self) -> AuthorityError:
        """What is raised when nobody asks again."""
        hint = _HINTS.get(self.status)
        return RefusedError(self.message, self.status, hint=hint) if self.status else AuthorityError(self.message)


_HINTS: Final = {
    401: "check the credentials: custodes reads them from the file that the configuration names, or the environment",
    403: "check the credentials, and that this account may use this environment",
    404: "check the address and the environment",
}


def _answered(answer: Answer | _Refusal) -> Answer:
    if isinstance(answer, Answer):
        return answer
    raise answer.error()


def _shown(path: str) -> str:
    """A path for an error: ids of entries stand in some."""
    return "/".join(part if _WORD.fullmatch(part) else "\u2026" for part in path.partition("?")[0].split("/"))


def _after_s(headers: Mapping[str, str]) -> float:
    """Seconds that Retry-After asks for (RFC 9110 section 10.2.3); 0 where it is absent or makes no sense."""
    text = headers.get("Retry-After", "").strip()
    try:
        if text.isdecimal():
            return float(text[:9])
        seconds = (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object in which every name stands once: of two, parsers disagree which counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_number(_: str) -> NoReturn:
    """NaN and the infinities are no JSON."""
    raise ValueError("not a number")
