"""A web server on loopback that serves the corpus and misbehaves on request: it resets, drips, lies about lengths and
never answers.

It listens on 127.0.0.1 (and ::1 where there is one) and nowhere else, never logs, and keeps nothing but which links
were asked for. ``DemoServer`` runs in a thread; ``serve`` runs alone, so that a scan can be killed without it. What is
said in each case is ``ways``' matter.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import signal
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from custodes.demo.corpus import Picture
from custodes.demo.gallery import CACHE_NAME, PICTURES, SEED, load_or_paint
from custodes.demo.ways import OFF_SITE, After, Answer, Way, answer

__all__ = ["DemoServer", "Site", "main", "serve"]

_HEAD_BYTES_MAX: Final = 16_384
_HANG_S: Final = 120.0
_DRIP_EVERY_S: Final = 0.5
_ROW: Final = re.compile("[0-9]{1,7}")
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # close() then sends RST (socket(7), SO_LINGER)
_ENDING: Final = frozenset({signal.SIGTERM, signal.SIGINT})
_PATHS: Final = {way.value: way for way in Way if way not in OFF_SITE}


@dataclass(frozen=True, slots=True)
class Site:
    """Where the server listens: ``http://127.0.0.1:PORT/`` and a port of the same address that refuses every
    connection.
    """

    port: int
    closed_port: int

    @property
    def base_url(self) -> str:
        """Root of the site, with the slash at its end."""
        return f"http://127.0.0.1:{self.port}/"


class _Web:
    """What all connections share: the pictures, which links were asked for, and how often each way was answered."""

    def __init__(self, pictures: Mapping[str, Picture]) -> None:
        self.pictures = pictures
        self.asked: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.open: set[asyncio.Transport] = set()

    def answer(self, path: str) -> Answer:
        if path == "/-/counts":
            return Answer(200, "application/json", json.dumps(self.counts).encode())
        name, _, rest = path.removeprefix("/").partition("/")
        row, _, file = rest.partition("/")
        picture = self.pictures.get(file)
        if name not in _PATHS or picture is None or not _ROW.fullmatch(row):
            return Answer(404, body=b"nothing here\n")
        again = path in self.asked
        self.asked.add(path)
        self.counts[name] += 1
        return answer(_PATHS[name], int(row), picture, again=again)


class _Connection(asyncio.Protocol):
    """One client. Requests are answered in turn; a request that is hung or dripped at ends the turn."""

    def __init__(self, web: _Web) -> None:
        self._web = web
        self._received = b""
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._web.open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._web.open.discard(self._transport)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while not self._busy and not self._transport.is_closing() and b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._respond(head)
        if len(self._received) > _HEAD_BYTES_MAX:
            self._transport.abort()

    def _respond(self, head: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        wants_close = any(line.lower().replace(" ", "") == "connection:close" for line in lines[1:])
        if len(words) != 3 or words[0] not in ("GET", "HEAD"):
            self._write(Answer(405, after=After.CLOSE), with_body=False, closing=True)
            return
        reply = self._web.answer(words[1].partition("?")[0])
        closing = wants_close or words[2] != "HTTP/1.1" or reply.after is After.CLOSE
        if reply.after in (After.RESET, After.HANG):
            self._vanish(reply.after)
        elif reply.after is After.DRIP:
            self._busy = True
            self._transport.write(_head(reply, closing=False))
            self._drip(reply.body)
        else:
            self._write(reply, with_body=words[0] == "GET", closing=closing)

    def _write(self, reply: Answer, *, with_body: bool, closing: bool) -> None:
        self._transport.write(_head(reply, closing=closing))
        if with_body and reply.body:
            self._transport.write(reply.body)
        if closing:
            self._transport.close()

    def _vanish(self, after: After) -> None:
        self._busy = True
        if after is After.RESET:
            plug = self._transport.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(_HANG_S, self._transport.abort)

    def _drip(self, body: bytes) -> None:
        """One byte every half second: slower than any limit, for as long as the client waits."""
        if not body or self._transport.is_closing():
            self._transport.close()
            return
        self._transport.write(body[:1])
        self._timer = asyncio.get_running_loop().call_later(_DRIP_EVERY_S, self._drip, body[1:])


def _head(reply: Answer, *, closing: bool) -> bytes:
    length = len(reply.body) if reply.length_bytes is None else reply.length_bytes
    lines = [
        f"HTTP/1.1 {reply.status} -",
        f"Content-Type: {reply.mime}",
        f"Content-Length: {length}",
        f"Connection: {'close' if closing else 'keep-alive'}",
        *(f"{name}: {value}" for name, value in reply.headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class DemoServer:
    """The server in a thread of its own: ``with DemoServer(gallery.pictures) as server: ... server.site.base_url``."""

    def __init__(self, pictures: Mapping[str, Picture]) -> None:
        self._web = _Web(pictures)
        self._stack = contextlib.ExitStack()

    @property
    def counts(self) -> dict[str, int]:
        """How often each way was answered, by its name."""
        return dict(self._web.counts)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            listeners = _listeners(stack)
            # Bound and never listening: nobody else gets the port, and every connection to it is refused.
            closed = stack.enter_context(socket.socket())
            closed.bind(("127.0.0.1", 0))
            self.site = Site(listeners[0].getsockname()[1], closed.getsockname()[1])
            loop, stop = asyncio.new_event_loop(), asyncio.Event()
            thread = threading.Thread(target=_run, args=(loop, self._web, listeners, stop), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(loop.call_soon_threadsafe, stop.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _listeners(stack: contextlib.ExitStack) -> list[socket.socket]:
    """A socket on 127.0.0.1 and, where the machine has it, one on ::1 with the same port: names under .localhost mean
    both.
    """
    first = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
    try:
        second = socket.create_server(("::1", first.getsockname()[1]), family=socket.AF_INET6, backlog=1024)
    except OSError:
        return [first]
    return [first, stack.enter_context(second)]


def _run(loop: asyncio.AbstractEventLoop, web: _Web, listeners: list[socket.socket], stop: asyncio.Event) -> None:
    with contextlib.closing(loop):
        loop.run_until_complete(_until(web, listeners, stop))


async def _until(web: _Web, listeners: list[socket.socket], stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(lambda: _Connection(web), sock=plug, backlog=1024) for plug in listeners]
    await stop.wait()
    # Connections that are only just being accepted come first: asyncio loses a socket whose server closes meanwhile.
    while accepting := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(accepting)
    for server in servers:
        server.close()
    for transport in list(web.open):
        transport.abort()
    await asyncio.sleep(0)  # lets the aborted connections hear of it


def serve(cache: Path, count: int, seed: int) -> None:
    """Paint (or take from ``cache``), listen, print ``{"port": ..., "closed_port": ...}`` as one line, and serve until
    SIGTERM or SIGINT.
    """
    # Handled, not blocked: a library's thread, started at its import, has no mask of ours, and the kernel may choose it.
    asked, ended = socket.socketpair()
    ended.setblocking(False)
    signal.set_wakeup_fd(ended.fileno())
    for number in _ENDING:
        signal.signal(number, lambda *_: None)
    with asked, ended, DemoServer(load_or_paint(cache, count, seed).pictures) as server:
        sys.stdout.write(json.dumps({"port": server.site.port, "closed_port": server.site.closed_port}) + "\n")
        sys.stdout.flush()
        asked.recv(1)


def main() -> None:
    """``python -m custodes.demo.server --dir DIR``: for tests and benchmarks that outlive a scan."""
    parser = argparse.ArgumentParser(prog="python -m custodes.demo.server", description=main.__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="where the painted pictures are kept between runs")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--seed", type=int, default=SEED)
    given = parser.parse_args()
    serve(given.dir / CACHE_NAME, given.pictures, given.seed)


if __name__ == "__main__":
    main()
