"""A witness over HTTP (C2SP tlog-witness, add-checkpoint): the server, and the client that a log asks witnesses with.

Promises: the server bounds what it reads and tells nothing of what was sent; the client gives back only a line that the witness's own key made
for this very checkpoint. TLS, and who may connect, are for what stands before the server. The rules are in ``witness``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from custodes.errors import AuthorityError, InputError, StorageError
from custodes.services.calls import Answer, Caller
from custodes.transparency.merkle import PROOF_HASHES_MAX
from custodes.transparency.notes import NOTE_BYTES_MAX, Checkpoint, Cosigner, Line, parse_lines, parse_note, parse_size
from custodes.transparency.witness import SIZE_TYPE, Witness, request

__all__ = ["REQUEST_BYTES_MAX", "Prove", "application", "cosigned"]

REQUEST_BYTES_MAX: Final = NOTE_BYTES_MAX + 64 * (PROOF_HASHES_MAX + 1)
_PATH: Final = "/add-checkpoint"
_TRIES: Final = 3  # a size that is out of date is told, once; another who asks at the same time costs one more

Prove = Callable[[int], Awaitable[list[bytes]]]
"""The consistency proof from a tree of so many entries to the one that is to be witnessed."""


def application(witness: Witness) -> web.Application:
    """The server's one call."""

    async def add_checkpoint(asked: web.Request) -> web.Response:
        body = await asked.read()
        try:
            reply = await asyncio.to_thread(witness.add_checkpoint, body)  # it waits for the disk
        except StorageError:
            return web.Response(status=500)
        return web.Response(status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type})

    app = web.Application(client_max_size=REQUEST_BYTES_MAX)
    app.router.add_post(_PATH, add_checkpoint)
    return app


async def cosigned(caller: Caller, cosigner: Cosigner, note: bytes, prove: Prove) -> Line:
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


def _line(answer: Answer, cosigner: Cosigner, text: bytes) -> Line:
    try:
        lines = parse_lines(answer.body)
    except InputError as error:
        raise AuthorityError(f"{answer.path}: the answer is not a signature") from error
    for line in lines:
        ours = (line.name, line.key_id) == (cosigner.key.name, cosigner.key_id)
        if ours and cosigner.time_s(text, line.signature) is not None:
            return line
    raise AuthorityError(
        f"{answer.path}: no signature of the witness's known key", hint="compare the configured key with its own"
    )
