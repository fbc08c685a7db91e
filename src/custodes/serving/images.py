"""Images in, digests out: one thread that feeds jailed decoders for a loop of asyncio. It decodes nothing itself and writes nothing."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from threading import Thread

from custodes.decoding import DecodePolicy, ImageLimits, JailSettings
from custodes.digests import crypto_digests
from custodes.errors import JailError
from custodes.jail import Jail
from custodes.model import Content, Reason
from custodes.serving.messages import Code, Item
from custodes.viewing import Task, Viewed, Viewing

__all__ = ["Answer", "Decoders"]


@dataclass(frozen=True, slots=True)
class Answer:
    """MD5, SHA-1 and SHA-256 of an image, and what a decoder said of it."""

    exact: tuple[bytes, bytes, bytes]
    viewed: Viewed


def _end() -> None:
    os._exit(3)


class Decoders:
    """The jail and the thread that turns it. Make it before the process is confined. Raises JailError where the kernel cannot confine decoders.

    ``viewing``: how the tasks of ``viewing`` are done, if there are any. ``failed``: what follows when there can be no decoders any more.
    """

    def __init__(
        self,
        limits: ImageLimits,
        settings: JailSettings,
        viewing: Viewing | None = None,
        failed: Callable[[], None] = _end,
    ) -> None:
        self._selector = selectors.DefaultSelector()
        policy = DecodePolicy.FAST if viewing else DecodePolicy.EXACT
        self._jail = Jail(limits, policy, self._selector, settings, viewing)
        self._failed, self._broken = failed, False
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)
        self._selector.register(self._awake, selectors.EVENT_READ, self._slept)
        self._given: deque[tuple[int, Content, Task]] = deque()
        self._exact: dict[int, tuple[bytes, bytes, bytes]] = {}
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._numbers = count()
        self._closed = False
        self._thread = Thread(target=self._turn, daemon=True)

    def start(self) -> None:
        """Begin; called in the loop that will ask."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Images in hand."""
        return len(self._asked)

    async def look(self, content: Content) -> tuple[Item, Reason]:
        """Digests of an image, and how far it could be examined."""
        if not len(content):
            return Item(), Reason.EMPTY
        answer = await self.do(content, Task.EXAMINE)
        examined = answer.viewed.examined
        codes = [Code(each.code + each.reflections, each.quality) for each in examined.pdq]
        return Item(*answer.exact, codes), examined.reason

    async def do(self, content: Content, task: Task) -> Answer:
        """A task on one image, which is not empty. Raises JailError where there are no decoders any more."""
        if self._broken:
            raise JailError(_GONE)
        number = next(self._numbers)
        answer: asyncio.Future[Answer] = self._loop.create_future()
        self._asked[number] = answer
        self._given.append((number, content, task))
        self._wake()
        try:
            return await answer
        finally:
            del self._asked[number]

    def close(self) -> None:
        """End the thread and the decoders."""
        self._closed = True
        self._wake()
        self._thread.join()
        self._jail.close()
        self._selector.close()
        self._awake.close()
        self._alarm.close()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it has been woken already, and often
            self._alarm.send(b"!")

    def _slept(self, _mask: int) -> None:
        self._awake.recv(4096)

    def _turn(self) -> None:
        """The thread. Without it no image would ever be answered, so whoever waits is told, and the process ends with it unless it knows better."""
        try:
            while not self._closed:
                self._step()
        except JailError as error:
            sys.stderr.write(f"custodes: images cannot be decoded any more: {error}\n")
        finally:
            if not self._closed:
                self._broken = True
                self._loop.call_soon_threadsafe(self._give_up)
                self._failed()

    def _step(self) -> None:
        for key, mask in self._selector.select(self._jail.timeout_s()):
            key.data(mask)
        self._jail.tick()
        while self._given:
            number, content, task = self._given.popleft()
            self._jail.submit(number, content, task)
            self._exact[number] = crypto_digests(content)  # while a decoder works; what it answers is read after this
        while self._jail.results:
            number, examined = self._jail.results.popleft()
            self._settle(number, Viewed(examined))
        while self._jail.viewed:
            self._settle(*self._jail.viewed.popleft())

    def _settle(self, number: int, viewed: Viewed) -> None:
        self._loop.call_soon_threadsafe(self._answer, number, Answer(self._exact.pop(number), viewed))

    def _answer(self, number: int, answer: Answer) -> None:
        asked = self._asked.get(number)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    def _give_up(self) -> None:
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(JailError(_GONE))


_GONE = "images cannot be decoded any more"
