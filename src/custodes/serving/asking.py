"""The front's side of the matcher: look-ups that wait are asked together, one batch at a time, and answered or given up.

A matcher that is gone, hangs or answers what it must not is dropped, and its look-ups end as ``None``: not compared, which is never ok.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from custodes.channel import Frames, encode
from custodes.errors import InternalError
from custodes.serving.messages import ITEMS_MAX, Answer, Ask, Batch, Item, Verdict

__all__ = ["Matchers"]

ANSWER_S_MAX: Final = 30.0
_BATCH_ITEMS: Final = 4 * ITEMS_MAX
_VERDICTS: Final = bytes(Verdict)

Waiting = tuple[Ask, asyncio.Future[list[Verdict] | None]]


class Matchers:
    """One matcher at a time. ``descriptor`` brings them: a packet with a socket is the next matcher, one without says that there is none now."""

    def __init__(self, descriptor: int) -> None:
        self._control = socket.socket(fileno=descriptor)
        self._control.setblocking(False)
        self._next: socket.socket | None = None
        self._stream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._waiting: deque[Waiting] = deque()
        self._wake = asyncio.Event()
        self.since = 0.0
        """When the matcher in use came, by the loop's clock."""

    @property
    def up(self) -> bool:
        """Whether there is a matcher with all its lists."""
        return self._stream is not None or self._next is not None

    async def look_up(self, tenant: str, items: Sequence[Item]) -> list[Verdict] | None:
        """The verdicts; None: no matcher could answer."""
        if not self.up:
            return None
        answer: asyncio.Future[list[Verdict] | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((Ask(tenant, list(items)), answer))
        self._wake.set()
        return await answer

    async def run(self) -> None:
        """Ask, until cancelled. What came in one turn of the loop, or while a batch was away, is asked together."""
        asyncio.get_running_loop().add_reader(self._control, self._take)
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._next is not None:
                await self._switch(self._next)
            while self._waiting:
                await self._exchange(self._batch())
                if self._next is not None:
                    await self._switch(self._next)

    def _take(self) -> None:
        """A packet of the keeper."""
        packet, descriptors, _, _ = socket.recv_fds(self._control, 16, 1)
        for descriptor in descriptors:
            if self._next is not None:
                self._next.close()
            self._next = socket.socket(fileno=descriptor)
        if not packet:
            asyncio.get_running_loop().remove_reader(self._control)  # the keeper is gone, and so are we
        elif not descriptors:
            self._drop()
        self._wake.set()

    async def _switch(self, channel: socket.socket) -> None:
        """The next matcher takes over: the one before has answered everything, and ends when it is hung up on."""
        self._next = None
        self._drop()
        channel.setblocking(False)
        self._stream = await asyncio.open_connection(sock=channel)
        self.since = asyncio.get_running_loop().time()

    def _batch(self) -> list[Waiting]:
        taken = [self._waiting.popleft()]
        size = len(taken[0][0].items)
        while self._waiting and size + len(self._waiting[0][0].items) <= _BATCH_ITEMS:
            taken.append(self._waiting.popleft())
            size += len(taken[-1][0].items)
        return taken

    async def _exchange(self, waiting: list[Waiting]) -> None:
        verdicts = None
        if self._stream is not None:
            try:
                async with asyncio.timeout(ANSWER_S_MAX):
                    verdicts = await self._answered(self._stream, [ask for ask, _ in waiting])
            except (OSError, InternalError):  # of them TimeoutError
                self._drop()
                with suppress(OSError):
                    self._control.send(b"lost")
        first = 0
        for ask, answer in waiting:
            end = first + len(ask.items)
            if not answer.done():
                answer.set_result(None if verdicts is None else verdicts[first:end])
            first = end

    async def _answered(
        self, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter], asks: list[Ask]
    ) -> list[Verdict]:
        reader, writer = stream
        writer.write(encode(Batch(asks)))
        await writer.drain()
        frames = Frames(Answer, frame_bytes_max=1 << 16)
        messages: list[Answer] = []
        while not messages:
            data = await reader.read(1 << 16)
            if not data:
                raise InternalError("the matcher has ended")
            messages = frames.feed(data)
        said = messages[0].verdicts
        if len(messages) > 1 or len(said) != sum(len(ask.items) for ask in asks) or said.strip(_VERDICTS):
            raise InternalError("the matcher answered what was not asked")
        return [Verdict(byte) for byte in said]

    def _drop(self) -> None:
        if self._stream is not None:
            self._stream[1].close()
            self._stream = None
