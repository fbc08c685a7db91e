"""Images in, digests out: one thread that feeds the jailed decoders of the front. It decodes nothing itself and writes nothing."""

from __future__ import annotations

import asyncio
import os
import selectors
import socket
import sys
from collections import deque
from contextlib import suppress
from itertools import count
from threading import Thread

from custodes.decoding import DecodePolicy, Examined, ImageLimits, JailSettings
from custodes.digests import crypto_digests
from custodes.errors import JailError
from custodes.jail import Jail
from custodes.model import Content, Reason
from custodes.serving.messages import Code, Item

__all__ = ["Decoders"]


class Decoders:
    """The jail and the thread that turns it. Make it before the process is confined. Raises JailError where the kernel cannot confine decoders."""

    def __init__(self, limits: ImageLimits, settings: JailSettings) -> None:
        self._selector = selectors.DefaultSelector()
        self._jail = Jail(limits, DecodePolicy.EXACT, self._selector, settings)
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)
        self._selector.register(self._awake, selectors.EVENT_READ, self._slept)
        self._given: deque[tuple[int, Content]] = deque()
        self._items: dict[int, Item] = {}
        self._asked: dict[int, asyncio.Future[tuple[Item, Reason]]] = {}
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
        number = next(self._numbers)
        answer: asyncio.Future[tuple[Item, Reason]] = self._loop.create_future()
        self._asked[number] = answer
        self._given.append((number, content))
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
        """The thread. Without it no image would ever be answered, so the process ends with it."""
        try:
            while not self._closed:
                self._step()
        except JailError as error:
            sys.stderr.write(f"custodes: images cannot be decoded any more: {error}\n")
        finally:
            if not self._closed:
                os._exit(3)

    def _step(self) -> None:
        for key, mask in self._selector.select(self._jail.timeout_s()):
            key.data(mask)
        self._jail.tick()
        while self._given:
            number, content = self._given.popleft()
            self._items[number] = Item(*crypto_digests(content))
            self._jail.submit(number, content)
        while self._jail.results:
            number, examined = self._jail.results.popleft()
            self._loop.call_soon_threadsafe(
                self._settle, number, _with_codes(self._items.pop(number), examined), examined.reason
            )

    def _settle(self, number: int, item: Item, reason: Reason) -> None:
        answer = self._asked.get(number)
        if answer is not None and not answer.done():
            answer.set_result((item, reason))


def _with_codes(item: Item, examined: Examined) -> Item:
    codes = [Code(each.code + each.reflections, each.quality) for each in examined.pdq]
    return Item(item.md5, item.sha1, item.sha256, codes)
