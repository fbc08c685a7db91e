"""Images in, digests out: jailed decoders fed by a loop of asyncio, which reads their sockets itself. It decodes nothing itself and writes nothing."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final

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
    """The jail, turned by the loop that asks. Make it before the process is confined. Raises JailError where the kernel cannot confine decoders.

    ``viewing``: how the tasks of ``viewing`` are done, if there are any. ``failed``: what follows when there can be no decoders any more.
    """

    def __init__(
        self,
        limits: ImageLimits,
        settings: JailSettings,
        viewing: Viewing | None = None,
        failed: Callable[[], None] = _end,
    ) -> None:
        self._selector = selectors.EpollSelector()
        policy = DecodePolicy.FAST if viewing else DecodePolicy.EXACT
        self._jail = Jail(limits, policy, self._selector, settings, viewing)
        self._failed, self._broken = failed, False
        self._asked: dict[int, asyncio.Future[Viewed]] = {}
        self._numbers = count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; called in the loop that will ask."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._selector.fileno(), self._turned)  # an epoll can be read when one of its files can

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
        if self._broken or self._loop is None:
            raise JailError(_GONE)
        number = next(self._numbers)
        answer: asyncio.Future[Viewed] = self._loop.create_future()
        self._asked[number] = answer
        try:
            self._turned(lambda: self._jail.submit(number, content, task))
            exact = await _exact(content)  # while a decoder works
            return Answer(exact, await answer)
        finally:
            del self._asked[number]

    def close(self) -> None:
        """End the decoders. Whoever still waits is told."""
        self._stop()
        self._jail.close()
        self._selector.close()

    def _turned(self, work: Callable[[], None] | None = None) -> None:
        """Do what the jail has to do. Without it no image would ever be answered, so whoever waits is told when it fails."""
        well = False
        try:
            (work or self._serve)()
            self._jail.tick()
            self._settle()
            self._set_alarm()
            well = True
        except JailError as error:
            sys.stderr.write(f"custodes: images cannot be decoded any more: {error}\n")
        finally:
            if not well:
                self._stop()
                self._failed()

    def _serve(self) -> None:
        for key, mask in self._selector.select(0):
            key.data(mask)

    def _settle(self) -> None:
        while self._jail.results:
            number, examined = self._jail.results.popleft()
            self._answer(number, Viewed(examined))
        while self._jail.viewed:
            self._answer(*self._jail.viewed.popleft())

    def _answer(self, number: int, viewed: Viewed) -> None:
        asked = self._asked.get(number)
        if asked is not None and not asked.done():
            asked.set_result(viewed)

    def _set_alarm(self) -> None:
        """Turn again when a decoder's time may be over."""
        if self._alarm is not None:
            self._alarm.cancel()
        after_s = self._jail.timeout_s()
        self._alarm = self._loop.call_later(after_s, self._turned) if self._loop and after_s is not None else None

    def _stop(self) -> None:
        self._broken = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._selector.fileno())
        if self._alarm is not None:
            self._alarm.cancel()
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(JailError(_GONE))


async def _exact(content: Content) -> tuple[bytes, bytes, bytes]:
    """Of what takes long, not in the loop."""
    if len(content) <= _AT_ONCE_BYTES:
        return crypto_digests(content)
    return await asyncio.to_thread(crypto_digests, content)


_GONE: Final = "images cannot be decoded any more"
_AT_ONCE_BYTES: Final = 1 << 18  # below a millisecond
