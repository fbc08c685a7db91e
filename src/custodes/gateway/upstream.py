"""The generator behind the gateway: the one client that reaches it, and the only holder of its credentials.

Promises that what it gives back is bounded in size and time, that redirects are not followed, and that an answer which breaks off is an error and never a short
answer. What is sent and what comes back means is for ``dialects``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp

from custodes.errors import WorldError

__all__ = ["Answer", "Upstream", "UpstreamError", "UpstreamLimits"]


class UpstreamError(WorldError):
    """The generator did not answer, or not as it should. The message names the fault and nothing of the content."""


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What an answer may cost."""

    body_bytes_max: int = 256 << 20
    timeout_s: float = 300.0
    connect_s: float = 10.0


_BUFFER_BYTES: Final = 1 << 20  # most pictures at once: each time that reading is paused costs two turns of the loop


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class Upstream:
    """One generator at an address. Use it as an asynchronous context."""

    def __init__(
        self, address: str, headers: Mapping[str, str] | None = None, limits: UpstreamLimits = UpstreamLimits()
    ) -> None:
        self.address = address.rstrip("/")
        self._headers, self._limits = dict(headers or {}), limits
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Upstream {self.address}>"

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=self._limits.timeout_s, sock_connect=self._limits.connect_s)
        self._session = aiohttp.ClientSession(
            timeout=timeout,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_BUFFER_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """For channels that are no single exchange (websockets): its headers are the credentials."""
        if self._session is None:
            raise UpstreamError("the generator's client is closed")
        return self._session

    async def exchange(self, method: str, path: str, **body: Any) -> Answer:
        """One exchange, whole. ``body`` as aiohttp's ``json``, ``data``, ``params``. Raises UpstreamError."""
        try:
            async with self.session.request(method, self.address + path, allow_redirects=False, **body) as answer:
                data = await self._whole(answer)
                return Answer(answer.status, dict(answer.headers), data)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UpstreamError(f"the generator did not answer: {type(error).__name__}") from error

    async def _whole(self, answer: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in answer.content.iter_any():
            size += len(part)
            if size > self._limits.body_bytes_max:
                raise UpstreamError(f"the generator's answer is longer than {self._limits.body_bytes_max:,} bytes")
            parts.append(part)
        return b"".join(parts)
