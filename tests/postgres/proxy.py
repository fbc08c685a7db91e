"""Stands between a client and PostgreSQL, and cuts the connection at the N-th statement: before the server has it, or after it answered, which nobody hears.

It reads just enough of the protocol to know where a statement, and where its answer, ends: https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from custodes.postgres.address import Address
from custodes.postgres.database import Database

__all__ = ["Proxy", "proxied"]

When = Literal["before", "after"]
ENCRYPTION = {80877103, 80877104}  # TLS, GSS: asked before the start message
ENDS_A_STATEMENT = b"QS"  # a simple query; Sync after an extended one


class _Ended(Exception):  # noqa: N818 - no error
    pass


def _exactly(side: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        with contextlib.suppress(OSError):
            if part := side.recv(size - len(parts)):
                parts += part
                continue
        raise _Ended
    return bytes(parts)


def _message(side: socket.socket) -> bytes:
    head = _exactly(side, 5)
    return head + _exactly(side, struct.unpack("!I", head[1:])[0] - 4)


def _words(message: bytes) -> bytes:
    """What is asked, of a query or of a Parse message."""
    return message[5:].strip(b"\0").split(b"\0")[0] if message[:1] in b"QP" else b""


@dataclass
class Proxy:
    """``cut(n)`` arms it: the n-th statement from then on, whoever sends it, ends its connection; those after it go through."""

    server: tuple[str, int]
    user: str
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    statements: int = 0
    seen: list[bytes] = field(default_factory=list)
    cuts: int = 0
    _number: int = 0
    _when: When = "before"
    _only: bytes = b""
    _refuses: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _pairs: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"postgresql://{self.user}@127.0.0.1:{self.listener.getsockname()[1]}/postgres"

    def database(self, *, schema: str = "custodes", patience_s: float = 30.0) -> Database:
        return Database(Address(self.url, schema=schema), patience_s=patience_s)

    def cut(self, number: int, when: When = "before", only: bytes = b"") -> None:
        """Count from now on, only statements that begin with ``only``; cut at this one (0: none)."""
        with self._lock:
            self.statements, self.cuts, self._number, self._when, self._only = 0, 0, number, when, only
            self.seen.clear()

    def refuse(self, refuses: bool = True) -> None:
        """Cut every connection now, and every new one, until told otherwise."""
        self._refuses = refuses
        for side in list(self._pairs) if refuses else ():
            _end(side)

    def close(self) -> None:
        self.refuse()
        self.listener.close()

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        upstream: socket.socket | None = None
        with contextlib.suppress(_Ended, OSError):
            if self._refuses:
                raise _Ended
            upstream = socket.create_connection(self.server)
            self._pairs += [client, upstream]
            for side in (client, upstream):  # else each of the small messages waits for the other's word
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            upstream.sendall(_start(client))
            line = _Line(client, upstream)
            threading.Thread(target=line.answers, daemon=True).start()
            self._questions(line)
        for side in (client, upstream):
            if side is not None:
                _end(side)

    def _questions(self, line: _Line) -> None:
        words = b""
        while True:
            message = _message(line.client)
            words = _words(message) or words
            due = message[:1] in ENDS_A_STATEMENT and self._due(words)
            if due and self._when == "before":
                raise _Ended
            if due:
                line.swallow.set()
            line.upstream.sendall(message)
            if due:
                line.answered.wait(30)
                raise _Ended

    def _due(self, words: bytes) -> bool:
        with self._lock:
            if not words.startswith(self._only):
                return False
            self.statements += 1
            self.seen.append(words)
            due = self.statements == self._number
            self.cuts += due
            return due


@dataclass
class _Line:
    client: socket.socket
    upstream: socket.socket
    swallow: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)

    def answers(self) -> None:
        with contextlib.suppress(_Ended, OSError):
            while True:
                message = _message(self.upstream)
                if not self.swallow.is_set():
                    self.client.sendall(message)
                elif message[:1] == b"Z":  # ready for the next: the statement is done
                    break
        self.answered.set()
        if not self.swallow.is_set():
            _end(self.client)


def _start(client: socket.socket) -> bytes:
    """The message that a client begins with, encryption refused."""
    while True:
        head = _exactly(client, 8)
        size, code = struct.unpack("!II", head)
        if code not in ENCRYPTION:
            return head + _exactly(client, size - 8)
        client.sendall(b"N")


def _end(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
    side.close()


@contextlib.contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """A proxy in front of a server, for as long as the body runs."""
    parts = urlsplit(url)
    proxy = Proxy((parts.hostname or "127.0.0.1", parts.port or 5432), parts.username or "postgres")
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
