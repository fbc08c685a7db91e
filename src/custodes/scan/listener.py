"""A port where counts are asked for while the process that counts does something else.

Promises that whoever asks slows nobody: all is done in one thread, the text is made at most once a second however many ask, a connection has five
seconds for all of it, and no more than sixteen are open. It knows ``GET /metrics`` and nothing else. Without encryption and without a password:
what must not be read by others must not be counted, or must be asked for on this machine only.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST

from custodes.errors import InputError, WorldError

__all__ = ["listening", "parsed"]

TEXT_FOR_S: Final = 1.0
ANSWER_S: Final = 5.0
REQUEST_BYTES_MAX: Final = 8192
CONNECTIONS_MAX: Final = 16
_HANGS_UP: Final = (
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    asyncio.CancelledError,  # the block is over
)


def parsed(text: str) -> tuple[str, int]:
    """``HOST:PORT``, or ``PORT`` on this machine only. Raises InputError."""
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise InputError(f"{text!r} is no HOST:PORT to listen on", hint="for example 127.0.0.1:9311")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


@contextmanager
def listening(where: tuple[str, int], text: Callable[[], bytes]) -> Iterator[None]:
    """Answer with ``text``, which is called in another thread, until the end of the block. Raises WorldError where nobody can listen there."""
    with _bound(where) as sock:
        port = _Port(text)
        thread = threading.Thread(target=asyncio.run, args=(port.serve(sock),), name="listener", daemon=True)
        thread.start()
        if not port.ready.wait(ANSWER_S):
            raise WorldError(f"cannot listen on port {where[1]} of {where[0]}: the listener did not begin")
        try:
            yield
        finally:
            port.stop()
            thread.join(ANSWER_S)


def _bound(where: tuple[str, int]) -> socket.socket:
    try:
        found = socket.getaddrinfo(*where, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(found[4][:2], family=found[0], backlog=CONNECTIONS_MAX)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such host"
        hint = "choose another port, or stop what listens there"
        raise WorldError(f"cannot listen on port {where[1]} of {where[0]}: {reason}", hint=hint) from error


class _Port:
    """The server, in a loop of its own."""

    def __init__(self, text: Callable[[], bytes]) -> None:
        self._make = text
        self._text = b""
        self._made_at = -TEXT_FOR_S
        self._open = 0
        self.ready = threading.Event()

    async def serve(self, sock: socket.socket) -> None:
        """Until told to stop."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._talk, sock=sock, limit=REQUEST_BYTES_MAX)
        self.ready.set()
        await self._stop.wait()
        server.close()

    def stop(self) -> None:
        """From another thread."""
        self._loop.call_soon_threadsafe(self._stop.set)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= CONNECTIONS_MAX:
                with suppress(*_HANGS_UP):
                    async with asyncio.timeout(ANSWER_S):
                        writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                        writer.close()
                        await writer.wait_closed()
        finally:
            self._open -= 1
            writer.transport.abort()

    def _answer(self, request: bytes) -> bytes:
        if not request.startswith((b"GET /metrics HTTP/1.", b"GET /metrics? HTTP/1.")):
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        now = time.monotonic()
        if now - self._made_at >= TEXT_FOR_S:
            self._text, self._made_at = self._make(), now
        head = f"Content-Type: {CONTENT_TYPE_LATEST}\r\nContent-Length: {len(self._text)}\r\nConnection: close\r\n\r\n"
        return b"HTTP/1.1 200 OK\r\n" + head.encode() + self._text
