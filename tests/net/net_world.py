"""A small Internet on loopback for the tests of net: a server that misbehaves on request, a trap, a simulated wire."""

from __future__ import annotations

import base64
import contextlib
import gzip
import random
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pycurl

from custodes.net import Fetched, Fetcher, FetchLimits
from custodes.net.fetch import run

PUBLIC = "93.184.216.34"
BODY = bytes(range(256)) * 4


def head(status: str = "200 OK", *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *fields, "", ""]).encode()


def whole(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    return head(status, f"Content-Length: {len(body)}", *fields) + body


class Trap:
    """Listens on 127.0.0.1 and ::1 at one port and counts who comes. Nobody should."""

    def __init__(self) -> None:
        self.visits = 0
        self._sockets = []
        four = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = four.getsockname()[1]
        self._sockets.append(four)
        if socket.has_ipv6:
            with contextlib.suppress(OSError):
                self._sockets.append(
                    socket.create_server(("::1", self.port), family=socket.AF_INET6, backlog=512, dualstack_ipv6=False)
                )
        for each in self._sockets:
            threading.Thread(target=self._serve, args=(each,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    self.visits += 1
                    with contextlib.suppress(OSError):
                        connection.sendall(whole(b"trapped"))

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Visit:
    """One connection to the hostile server, with its request."""

    def __init__(self, server: HostileServer, connection: socket.socket, request: bytes) -> None:
        self.server = server
        self.connection = connection
        self.request = request
        self.left = False
        self.path = request.split(b" ", 2)[1].decode("latin-1")

    def leave(self) -> None:
        """No longer counted as being served; called before an answer by which the client could come again."""
        with self.server.lock:
            self.server.now -= not self.left
            self.left = True

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def drip(self, data: bytes) -> None:
        """Data, then a byte every 50 ms for as long as the server lives."""
        self.send(data)
        while not self.server.stopped.wait(0.05):
            self.send(b"x")

    def hang(self) -> None:
        self.server.stopped.wait(60)

    def reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def flood(self, data: bytes) -> None:
        while not self.server.stopped.is_set():
            self.send(data)


class HostileServer:
    """Serves what ``ways`` says of the first word of a path. One thread per connection, one request per connection."""

    def __init__(self, ways: dict[str, Callable[[Visit], None]], wrap: Any = None) -> None:
        self.stopped = threading.Event()
        self.requests: list[bytes] = []
        self.now = self.most = 0
        self.lock = threading.Lock()
        self._ways = ways
        self._wrap = wrap
        self._listener = socket.create_server(("", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    def close(self) -> None:
        self.stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection = self._wrap(connection) if self._wrap else connection
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return
            request += data
        with self.lock:
            self.requests.append(request)
            self.now += 1
            self.most = max(self.most, self.now)
        visit = Visit(self, connection, request)
        try:
            self._ways[visit.path.lstrip("/").split("/")[0].split("?")[0]](visit)
        finally:
            visit.leave()
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)


class SimulatedWire(Fetcher):
    """A fetcher for which every public address is the server at ``port``. Records what it would have dialled.

    Nothing leaves the machine. What the guard lets through that is neither public nor served ends at the trap, if it
    is loopback, and nowhere else.
    """

    def __init__(
        self,
        limits: FetchLimits,
        selector: selectors.BaseSelector,
        port: int = 0,
        answers: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(limits, selector)
        self.dialled: list[str] = []
        self.port = port
        self._answers = answers or (lambda _host: PUBLIC)

    def _dial(self, address: Any) -> Any:
        host = address.addr[0]
        self.dialled.append(host)
        if host == PUBLIC and self.port:
            sock = super()._dial(address)
            sock.connect(("127.0.0.1", self.port))
            return sock
        if host.startswith("127.") or host in ("::1", "::ffff:127.0.0.1"):
            sock = super()._dial(address)
            sock.settimeout(2)
            with contextlib.suppress(OSError):
                sock.connect(address.addr)
            return sock
        raise OSError(101, "the network is unreachable")

    def _tune(self, handle: pycurl.Curl, url: Any) -> None:
        # The name answers anew each time, as a rebinding resolver would have it; "-" drops what was remembered.
        if not url.is_literal_ip:
            name = f"{url.host}:{url.port}"
            handle.setopt(pycurl.RESOLVE, [f"-{name}", f"{name}:{self._answers(url.host)}"])
        handle.setopt(pycurl.SOCKOPTFUNCTION, lambda _fd, _purpose: pycurl.SOCKOPT_ALREADY_CONNECTED)

    @property
    def private_dials(self) -> list[str]:
        return [host for host in self.dialled if host != PUBLIC]


@contextlib.contextmanager
def simulated(limits: FetchLimits, **more: Any) -> Iterator[Callable[[list[str]], list[Fetched]]]:
    with selectors.DefaultSelector() as selector:
        wire = SimulatedWire(limits, selector, **more)

        def go(urls: list[str]) -> list[Fetched]:
            return sorted(run(wire, selector, urls), key=lambda fetched: fetched.key)

        go.wire = wire  # type: ignore[attr-defined]
        try:
            yield go
        finally:
            wire.close()


def hop(status: int, location: str) -> str:
    return f"hop/{status}/{base64.urlsafe_b64encode(location.encode()).decode()}"


def _hop(visit: Visit) -> None:
    _, _, status, code = visit.path.split("/")
    visit.send(head(f"{status} Moved", "Content-Length: 0", "Location: " + base64.urlsafe_b64decode(code).decode()))


def _huge_gzip() -> bytes:
    return gzip.compress(bytes(30_000_000), 9)


def _then_ok(first: bytes) -> Callable[[Visit], None]:
    def way(visit: Visit) -> None:
        seen = sum(visit.path.encode() in request for request in visit.server.requests)
        visit.send(first if seen == 1 else whole(BODY))

    return way


def _send(data: bytes) -> Callable[[Visit], None]:
    return lambda visit: visit.send(data)


WAYS: dict[str, Callable[[Visit], None]] = {
    "": _send(whole(BODY)),
    "ok": _send(whole(BODY, "Content-Type: image/png")),
    "html": _send(whole(b"<!doctype html><p>gone", "Content-Type: text/html")),
    "chunked": _send(head("200 OK", "Transfer-Encoding: chunked") + b"4\r\nabcd\r\n0\r\n\r\n"),
    "until_close": _send(head("200 OK") + BODY),
    "empty": _send(whole(b"")),
    "no_content": _send(head("204 No Content")),
    "partial": _send(whole(BODY, status="206 Partial Content")),
    "unasked_304": _send(head("304 Not Modified")),
    "odd_status": _send(head("999 Odd", "Content-Length: 0")),
    "drip_body": lambda visit: visit.drip(head("200 OK", "Content-Length: 1000000")),
    "drip_head": lambda visit: visit.drip(b"HTTP/1.1 200 OK\r\nX-Long: "),
    "drip_404": lambda visit: visit.drip(head("404 Not Found", "Content-Length: 1000000")),
    "never_answers": lambda visit: visit.hang(),
    "closes": lambda visit: None,
    "truncated": _send(head("200 OK", "Content-Length: 5000") + BODY),
    "truncated_chunk": _send(head("200 OK", "Transfer-Encoding: chunked") + b"ff\r\nabcd"),
    "bad_chunk": _send(head("200 OK", "Transfer-Encoding: chunked") + b"zz\r\nabcd\r\n"),
    "reset": lambda visit: visit.reset(),
    "reset_in_body": lambda visit: (visit.send(head("200 OK", "Content-Length: 5000") + BODY), visit.reset())[1],
    "stall_in_chunk": lambda visit: (
        visit.send(head("200 OK", "Transfer-Encoding: chunked") + b"ffff\r\nab"),
        visit.hang(),
    )[1],
    "flood_1xx": lambda visit: visit.flood(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n" * 100),
    "early_hints": _send(head("103 Early Hints", "Content-Length: 7", "Content-Encoding: br") + whole(BODY)),
    "huge_field": _send(head("200 OK", "X: " + "y" * 20_000_000)),
    "many_fields": _send(head("200 OK", *["X: y"] * 200_000, "Content-Length: 1") + b"a"),
    "many_trailers": lambda visit: (
        visit.send(head("200 OK", "Transfer-Encoding: chunked") + b"1\r\na\r\n0\r\n"),
        visit.flood(b"X: y\r\n" * 1000),
    )[1],
    "chunk_extension": lambda visit: (
        visit.send(head("200 OK", "Transfer-Encoding: chunked") + b"1;"),
        visit.flood(b"e" * 65536),
    )[1],
    "length_1e15": _send(head("200 OK", "Content-Length: 1000000000000000") + BODY),
    "length_huge": _send(head("200 OK", "Content-Length: " + "9" * 40) + BODY),
    "length_negative": _send(head("200 OK", "Content-Length: -5") + BODY),
    "length_twice": _send(head("200 OK", "Content-Length: 5", "Content-Length: 1024") + BODY),
    "length_list": _send(head("200 OK", "Content-Length: 5, 5") + BODY),
    "length_and_chunked": _send(
        head("200 OK", "Content-Length: 4", "Transfer-Encoding: chunked") + b"4\r\nabcd\r\n0\r\n\r\n"
    ),
    "endless": lambda visit: visit.flood(b"") if visit.path == "never" else (visit.send(head()), visit.flood(BODY))[1],
    "gzip": _send(whole(gzip.compress(BODY), "Content-Encoding: gzip")),
    "gzip_bomb": _send(whole(_huge_gzip(), "Content-Encoding: gzip")),
    "gzip_twice": _send(whole(gzip.compress(gzip.compress(BODY)), "Content-Encoding: gzip, gzip")),
    "gzip_cut": _send(whole(gzip.compress(BODY)[:-9], "Content-Encoding: gzip")),
    "gzip_lie": _send(whole(BODY, "Content-Encoding: gzip")),
    "brotli": _send(whole(BODY, "Content-Encoding: br")),
    "te_gzip": _send(head("200 OK", "Transfer-Encoding: gzip, chunked") + b"4\r\nabcd\r\n0\r\n\r\n"),
    "http09": _send(b"plain bytes, no head at all\r\n\r\n"),
    "not_http": _send(b"220 mail.example ESMTP\r\n" * 3),
    "loop": lambda visit: visit.send(head("302 Found", "Content-Length: 0", "Location: /loop")),
    "no_location": _send(head("302 Found", "Content-Length: 0")),
    "hop": _hop,
    "wait_ok": _then_ok(whole(b"", "Retry-After: 0", status="429 Too Many Requests")),
    "wait_long": _send(whole(b"", "Retry-After: 86400", status="429 Too Many Requests")),
    "busy_ok": _then_ok(whole(b"", status="503 Service Unavailable")),
    "reset_ok": lambda visit: (
        visit.reset()
        if sum(visit.path.encode() in request for request in visit.server.requests) == 1
        else visit.send(whole(BODY))
    ),
    "noai": _send(whole(BODY, "X-Robots-Tag: noindex, noai")),
    "slow_ok": lambda visit: (visit.server.stopped.wait(0.05), visit.leave(), visit.send(whole(BODY)))[2],
    "size": lambda visit: visit.send(whole(bytes(int(visit.path.split("/")[2])))),
    "size_chunked": lambda visit: visit.send(
        head("200 OK", "Transfer-Encoding: chunked")
        + f"{int(visit.path.split('/')[2]):x}\r\n".encode()
        + bytes(int(visit.path.split("/")[2]))
        + b"\r\n0\r\n\r\n"
    ),
    **{str(n): _send(whole(b"", status=f"{n} Status")) for n in (401, 403, 404, 410, 418, 429, 451, 500, 503)},
}


def seeded(name: str) -> random.Random:
    return random.Random(name)
