"""Clients' sockets, by tenant and by the id that the client gave itself. That id is never told to the generator, and is nothing in another tenant's hands.

Promises that a slow client holds up nobody for longer than ``SEND_S``, and then has no socket any more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

import msgspec
from aiohttp import web

from custodes.gateway.dialects.comfyui.events import Event

__all__ = ["Sessions"]

SEND_S: Final = 10.0


@dataclass(slots=True)
class Sessions:
    """Who listens."""

    _sockets: dict[tuple[str, str], web.WebSocketResponse] = field(default_factory=dict)

    async def opened(self, tenant: str, client: str, socket: web.WebSocketResponse) -> None:
        """A client that comes again with its id has its earlier socket closed, as at ComfyUI; another tenant's stays as it is."""
        earlier = self._sockets.get((tenant, client))
        self._sockets[tenant, client] = socket
        if earlier is not None:
            await earlier.close()

    def closed(self, tenant: str, client: str, socket: web.WebSocketResponse) -> None:
        """Nobody listens there any more."""
        if self._sockets.get((tenant, client)) is socket:
            del self._sockets[tenant, client]

    async def tell(self, tenant: str, client: str, what: Event | bytes) -> None:
        """Send, where somebody listens."""
        socket = self._sockets.get((tenant, client))
        if socket is None or socket.closed:
            return
        try:
            async with asyncio.timeout(SEND_S):
                await _sent(socket, what)
        except (TimeoutError, ConnectionError):
            self.closed(tenant, client, socket)

    async def close(self) -> None:
        """The gateway stops."""
        for socket in list(self._sockets.values()):
            await socket.close()


async def _sent(socket: web.WebSocketResponse, what: Event | bytes) -> None:
    if isinstance(what, bytes):
        await socket.send_bytes(what)
    else:
        await socket.send_str(msgspec.json.encode(what).decode())
