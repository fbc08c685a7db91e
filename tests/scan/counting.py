"""A web server on loopback that counts, at each address, the connections that are open at once. Every path has its way of answering."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

ESTABLISHED = 1  # the first byte of TCP_INFO: the other side has not closed it
BUSY_S = 0.03


class Counting:
    """``/to/HOST`` sends on to another address, ``/close`` ends the connection; any other path is not found."""

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self.served: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open: defaultdict[str, set[socket.socket]] = defaultdict(set)
        self._listener = socket.create_server(("", 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, host: str, path: str = "gone") -> str:
        return f"http://{host}:{self.port}/{path}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                host = connection.getsockname()[0]
                with self._lock:
                    self._open[host].add(connection)
                    now = sum(is_open(each) for each in self._open[host])
                    self.most[host] = max(self.most[host], now)
                threading.Thread(target=self._serve, args=(host, connection), daemon=True).start()

    def _serve(self, host: str, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while self._answer(host, connection):
                pass
        with self._lock:
            self._open[host].discard(connection)
            connection.close()

    def _answer(self, host: str, connection: socket.socket) -> bool:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return False
            request += data
        with self._lock:
            self.served[host] += 1
        threading.Event().wait(BUSY_S)
        path = request.split(b" ", 2)[1].decode().strip("/").split("/")
        head = "HTTP/1.1 404 Not Found\r\n"
        if path[0] == "to":
            head = f"HTTP/1.1 302 Found\r\nLocation: {self.url(path[1])}\r\n"
        elif path[0] == "close":
            head += "Connection: close\r\n"
        connection.sendall(f"{head}Content-Length: 4\r\n\r\ngone".encode())
        return path[0] != "close"


def is_open(connection: socket.socket) -> bool:
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED


@contextmanager
def counting() -> Iterator[Counting]:
    server = Counting()
    try:
        yield server
    finally:
        server.close()
