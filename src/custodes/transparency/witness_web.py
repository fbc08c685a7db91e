"""A witness over HTTP (C2SP tlog-witness, add-checkpoint): the server, and the client that a log asks witnesses with.

Promises: the server bounds what it reads and tells nothing of what was sent; the client gives back only a line that the witness's own key made
for this very checkpoint. Who may connect is for what stands before the server. The rules are in ``witness``.
"""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from aiohttp import web

from custodes.errors import AuthorityError, ConfigError, InputError, StorageError, WorldError
from custodes.services.calls import Answer, Caller
from custodes.transparency.merkle import PROOF_HASHES_MAX
from custodes.transparency.notes import NOTE_BYTES_MAX, Checkpoint, Cosigns, Line, parse_lines, parse_note, parse_size
from custodes.transparency.witness import SIZE_TYPE, Witness, request

__all__ = ["REQUEST_BYTES_MAX", "Listen", "Prove", "application", "cosigned", "serve"]

REQUEST_BYTES_MAX: Final = NOTE_BYTES_MAX + 64 * (PROOF_HASHES_MAX + 1)
_PATH: Final = "/add-checkpoint"
_REQUEST_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 5.0  # for who is being answered when the server stops
_TRIES: Final = 3  # a size that is out of date is told, once; another who asks at the same time costs one more

Prove = Callable[[int], Awaitable[list[bytes]]]
"""The consistency proof from a tree of so many entries to the one that is to be witnessed."""


def application(witness: Witness) -> web.Application:
    """The server's one call."""

    async def add_checkpoint(asked: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                body = await asked.read()
        except TimeoutError:
            return web.Response(status=408)
        try:
            reply = await asyncio.to_thread(witness.add_checkpoint, body)  # it waits for the disk
        except StorageError:
            return web.Response(status=500)
        return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})

    app = web.Application(client_max_size=REQUEST_BYTES_MAX)
    app.router.add_post(_PATH, add_checkpoint)
    return app


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a witness listens."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, text: str, tls: ssl.SSLContext | None = None) -> Listen:
        """``HOST:PORT``, an IPv6 address in brackets. Raises ConfigError."""
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            ip_address(host)
            if not port.isascii() or not port.isdecimal() or int(port) > 65_535:
                raise ValueError
        except ValueError as error:
            raise ConfigError("where to listen is an address as a number and a port, like 127.0.0.1:8744") from error
        return cls(host, int(port), tls)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can ask."""
        return ip_address(self.host).is_loopback


async def serve(witness: Witness, where: Listen, ready: Callable[[str], None]) -> None:
    """Answer until SIGTERM or SIGINT; who is being answered then is. ``ready`` is told the address. Raises WorldError."""
    runner = web.AppRunner(application(witness), access_log=None, shutdown_timeout=_STOP_TIMEOUT_S)
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await runner.setup()
    try:
        await web.TCPSite(runner, where.host, where.port, ssl_context=where.tls).start()
        host = f"[{where.host}]" if ":" in where.host else where.host
        ready(f"{'https' if where.tls else 'http'}://{host}:{runner.addresses[0][1]}")
        await stop.wait()
    except OSError as error:
        raise WorldError(f"cannot listen on port {where.port} of {where.host}: {error.strerror}") from error
    finally:
        await runner.cleanup()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def cosigned(caller: Caller, cosigner: Cosigns, note: bytes, prove: Prove) -> Line:
    """Ask one witness to sign a checkpoint. Raises AuthorityError where it does not, or gives what it did not sign."""
    text = parse_note(note).text
    tree, old_size = Checkpoint.parse(text).tree, 0
    for _ in range(_TRIES):
        proof = await prove(old_size) if 0 < old_size < tree.size else []
        answer = await caller.exchange("POST", _PATH, request(old_size, proof, note), "text/plain")
        if answer.status == 200:
            return _line(answer, cosigner, text)
        if answer.status != 409 or answer.headers.get("Content-Type") != SIZE_TYPE:
            raise AuthorityError(f"{answer.path}: status {answer.status}")
        known, old_size = old_size, _size(answer)
        if old_size > tree.size:
            raise AuthorityError(
                f"{answer.path}: the witness has seen a longer log than this: {old_size} entries, not {tree.size}"
            )
        if known == old_size:
            raise AuthorityError(f"{answer.path}: the witness has seen another log of {old_size} entries")
    raise AuthorityError(f"{caller.service}: others had it sign meanwhile, {_TRIES} times", hint="ask again")


def _size(answer: Answer) -> int:
    try:
        return parse_size(answer.body.decode("ascii").removesuffix("\n"))
    except (InputError, UnicodeDecodeError) as error:
        raise AuthorityError(f"{answer.path}: the answer is not a size") from error


def _line(answer: Answer, cosigner: Cosigns, text: bytes) -> Line:
    try:
        lines = parse_lines(answer.body)
    except InputError as error:
        raise AuthorityError(f"{answer.path}: the answer is not a signature") from error
    for line in lines:
        ours = (line.name, line.key_id) == (cosigner.name, cosigner.key_id)
        if ours and cosigner.time_s(text, line.signature) is not None:
            return line
    raise AuthorityError(
        f"{answer.path}: no signature of the witness's known key", hint="compare the configured key with its own"
    )
