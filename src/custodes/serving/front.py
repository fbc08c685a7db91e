"""The front: the process that speaks HTTP. It has no list and no key of ours, can open no file of the user's, and writes none.

Started by the keeper with a ``FrontHello``. In this order: decoders, certificate and sockets, then it is confined for good, then it answers.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from custodes.channel import Frames, receive, send
from custodes.confine import confine_carrier
from custodes.decoding import JailSettings
from custodes.errors import CustodesError, WorldError
from custodes.serving.asking import Matchers
from custodes.serving.images import Decoders
from custodes.serving.messages import FrontHello, Listening
from custodes.serving.metrics import Metrics
from custodes.serving.mishaps import tell_crash
from custodes.serving.routes import Routes, problem
from custodes.serving.settings import ServeSettings
from custodes.tls import server_context

__all__ = ["Door", "main"]

LINGER_S = 1.0
"""How long a request that was refused half-way is read on, so that its sender gets to read why."""


class _Connection(RequestHandler):
    """A connection that answers faults in our form, and tells of them only type and place: texts of foreign exceptions may hold anything."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """An answer to what is no request, or to a bug of ours."""
        if status >= 500:
            self.log_exception(exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        response = problem(status, "bad request" if status < 500 else "a bug of ours")
        response.force_close()
        return response

    def log_exception(self, *_: Any, exc_info: BaseException | None = None, **__: Any) -> None:
        """One line on standard error."""
        error = exc_info or RuntimeError()
        tell_crash(type(error), error, error.__traceback__)


class _Refusal(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class Door(web.Server):
    """Connections, so many at most, none of which may keep us waiting."""

    def __init__(self, handler: Callable[[web.BaseRequest], Any], settings: ServeSettings) -> None:
        super().__init__(handler)
        self._most = settings.connections_max
        self._idle_s = settings.request_timeout_s

    def __call__(self) -> Any:
        """A connection comes."""
        if len(self.connections) >= self._most:
            return _Refusal()
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=self._idle_s,  # counts from the opening of the connection too: a head that drips ends with it
            lingering_time=LINGER_S,
            access_log=None,  # type: ignore[arg-type]
            auto_decompress=False,
        )


def bound(host: str, port: int) -> socket.socket:
    """A listening socket. Raises WorldError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise WorldError(f"cannot listen on port {port} of {host}: {error.strerror}") from error


def tell_fault(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no handler caught."""
    error = context.get("exception") or RuntimeError()
    tell_crash(type(error), error, error.__traceback__)


async def serve(
    hello: FrontHello, decoders: Decoders, sockets: list[socket.socket], tls: ssl.SSLContext | None
) -> None:
    """Answer until the process is ended."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_fault)
    matchers, metrics = Matchers(hello.matchers), Metrics()
    metrics.watch("matcher_up", "1 while there is a matcher with all its lists", lambda: float(matchers.up))
    metrics.watch("images_waiting", "Images in hand", lambda: float(decoders.waiting))
    decoders.start()
    routes = Routes(hello.settings, matchers, decoders, metrics)
    patience_s = hello.settings.request_timeout_s if tls else None
    door = Door(routes.handle, hello.settings)
    await loop.create_server(door, sock=sockets[0], ssl=tls, ssl_handshake_timeout=patience_s)
    for each in sockets[1:]:
        await loop.create_server(Door(metrics.handle, hello.settings), sock=each)
    ports = [each.getsockname()[1] for each in sockets]
    send(1, Listening(ports[0], ports[1] if len(ports) > 1 else 0))
    await matchers.run()


def main() -> None:
    """Entry point of the process."""
    sys.excepthook = tell_crash
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the keeper's to hear
    hello = receive(0, Frames(FrontHello), [])
    if not isinstance(hello, FrontHello):
        return
    settings = hello.settings
    try:
        jail = JailSettings(decoders=settings.decoders, unsafe_no_jail=hello.unsafe_no_jail)
        decoders = Decoders(hello.image, jail)
        tls = server_context(settings.tls_certificate, settings.tls_key)
        sockets = [bound(settings.host, settings.port)]
        if settings.metrics_port:
            sockets.append(bound("127.0.0.1", settings.metrics_port))
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        confine_carrier((), unsafe_no_jail=hello.unsafe_no_jail)
    except CustodesError as error:
        sys.stderr.write(f"custodes: {error}\n" + (f"  hint: {error.hint}\n" if error.hint else ""))
        os._exit(int(error.exit_code))
    asyncio.run(partial(serve, hello, decoders, sockets, tls)())


if __name__ == "__main__":
    main()
