"""An S3 service on this machine (moto), and before it a door of ours through which requests go wrong as they do in the world.

The door lets conditional writes in one at a time, as S3 decides them: moto looks first and writes then. It notes every request that passed.
"""

from __future__ import annotations

import http.client
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

__all__ = ["FAULTS", "Request", "Service", "at_random", "running"]

SLOW_S = 0.3

FAULTS = ("500", "503", "lost", "cut", "torn", "slow")
"""500, 503: refused. lost: done, and the answer never comes. cut: the connection ends before it is done. torn: half of an answer."""


@dataclass(frozen=True)
class Request:
    """One request. ``bytes``: of the answer's body."""

    method: str
    path: str
    range: str
    conditional: bool
    status: int = 0
    bytes: int = 0


Fault = Callable[[Request], str | None]


def at_random(seed: int, share: float, faults: tuple[str, ...] = FAULTS) -> Fault:
    """So many of all requests go wrong, in every way."""
    drawn, lock = random.Random(seed), threading.Lock()

    def fault(request: Request) -> str | None:
        with lock:
            return drawn.choice(faults) if drawn.random() < share else None

    return fault


@dataclass
class Service:
    """The service behind its door. ``fault`` says of each request how it goes wrong; ``ignores``: conditions are not looked at, as by some stores."""

    address: str = ""
    bucket: str = "runs"
    fault: Fault = lambda _: None
    ignores: bool = False
    seen: list[Request] = field(default_factory=list)
    went_wrong: Counter[str] = field(default_factory=Counter)
    turn: threading.Lock = field(default_factory=threading.Lock)

    @property
    def environment(self) -> dict[str, str]:
        """How a client finds it."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "planted-secret-of-the-store",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @contextmanager
    def faulty(self, fault: Fault) -> Iterator[None]:
        """Requests go wrong so, until the end of this."""
        self.fault, before = fault, self.fault
        try:
            yield
        finally:
            self.fault = before


@contextmanager
def running() -> Iterator[Service]:
    """A service with one empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it writes a line for each request
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    service = Service()
    host, port = moto.get_host_and_port()
    door = ThreadingHTTPServer(("127.0.0.1", 0), _door(service, host, port))
    door.daemon_threads = True
    thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    service.address = f"http://127.0.0.1:{door.server_port}"
    S3FileSystem.clear_instance_cache()  # it knows clients by their settings, not by where the environment says that the service is
    try:
        _asked(host, port, "PUT", f"/{service.bucket}")
        yield service
    finally:
        S3FileSystem.clear_instance_cache()
        door.shutdown()
        door.server_close()
        moto.stop()


def _asked(host: str, port: int, method: str, path: str) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request(method, path)
    connection.getresponse().read()
    connection.close()


def _door(service: Service, host: str, port: int) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        timeout = 30

        def log_message(self, *_: Any) -> None:
            pass

        def _do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Request(
                self.command, self.path, self.headers.get("Range", ""), "If-None-Match" in self.headers, 0, 0
            )
            fault = service.fault(asked)
            if fault:
                service.went_wrong[fault] += 1
            if fault in {"500", "503"}:
                code = {"500": "InternalError", "503": "SlowDown"}[fault]
                text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
                self._answer(asked, int(fault), [("Content-Type", "application/xml")], text)
            elif fault == "cut":
                self.close_connection = True
            else:
                status, headers, content = self._passed_on(body, one_at_a_time=asked.conditional)
                if fault == "lost":
                    self.close_connection = True
                elif fault == "torn" and len(content) > 1:
                    self._answer(asked, status, headers, content, torn=True)
                else:
                    if fault == "slow":
                        time.sleep(SLOW_S)
                    self._answer(asked, status, headers, content)

        def _passed_on(self, body: bytes, *, one_at_a_time: bool) -> tuple[int, list[tuple[str, str]], bytes]:
            left_out = {"expect", "connection", *(["if-none-match"] if service.ignores else [])}
            headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
            connection = http.client.HTTPConnection(host, port, timeout=30)
            with service.turn if one_at_a_time else threading.Lock():
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                content = response.read()
            connection.close()
            hop = {"connection", "transfer-encoding", "server", "date"}
            kept = [(name, value) for name, value in response.getheaders() if name.lower() not in hop]
            return response.status, kept, content

        def _answer(
            self, asked: Request, status: int, headers: list[tuple[str, str]], content: bytes, *, torn: bool = False
        ) -> None:
            service.seen.append(Request(asked.method, asked.path, asked.range, asked.conditional, status, len(content)))
            self.send_response(status)
            told = {name.lower() for name, _ in headers}
            for name, value in headers:
                self.send_header(name, value)
            if "content-length" not in told and self.command != "HEAD" and status not in {204, 304}:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if torn else content)
            self.wfile.flush()
            self.close_connection = self.close_connection or torn

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _do  # noqa: N815 - as the base class calls them

        def handle(self) -> None:
            with suppress(ConnectionError, TimeoutError):  # of a client that was killed
                super().handle()

    return Door
