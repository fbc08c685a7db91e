"""The carrier process: one loop that fetches or reads, digests, and feeds the jailed decoders.

Started by ``custodes.carrier.client`` with messages on its standard input and output. It can read the dataset if that holds images, and
otherwise nothing of the user's; it can write no file at all. Exact digests are taken here, before decoding, so that an image that kills
its decoder is still matched by them.
"""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from custodes.carrier.protocol import (
    Carried,
    Done,
    FetchLinks,
    PdqCarried,
    Problem,
    Pulse,
    ReadFiles,
    ReadShard,
    Ready,
    Request,
    Start,
)
from custodes.channel import Frames, receive, send
from custodes.confine import confine_carrier
from custodes.errors import CustodesError
from custodes.hashing import Examined, crypto_digests
from custodes.jail import Jail, JailSettings
from custodes.model import Content, Reason
from custodes.net import Fetched, Fetcher
from custodes.sources.base import ImageItem
from custodes.sources.source import iter_images

__all__ = ["main"]

BACKLOG_MAX = 64
"""Images waiting for a decoder, above which nothing more is fetched or read."""

PULSE_S = 1.0
FILE_BYTES_MAX = 1 << 30


class Loop:
    """Requests in, answers out. One request is worked on at a time, many items of it at once."""

    def __init__(self, start: Start, requests: Frames, pending: list[Any]) -> None:
        self._start = start
        self._requests = requests
        self._pending = pending
        self._selector = selectors.DefaultSelector()
        jail = JailSettings(decoders=start.decoders, unsafe_no_jail=start.unsafe_no_jail)
        self._jail = Jail(start.image, start.policy, self._selector, jail)
        self._fetcher = Fetcher(start.fetch, self._selector, unsafe_allow_loopback=start.unsafe_allow_loopback)
        confine_carrier(start.readable, unsafe_no_jail=start.unsafe_no_jail)
        self._waiting: dict[int, Carried] = {}
        self._out: list[object] = [Ready(self._jail.confinement)]
        self._answered = 0
        self._pulse_at = 0.0

    def run(self) -> None:
        """Work until the other side closes."""
        self._flush()
        while (request := receive(0, self._requests, self._pending)) is not None:
            self._answered = 0
            try:
                self._work(request)
                self._out.append(Done(self._answered))
            except CustodesError as error:
                self._out.append(Problem(str(error)[:4000], error.hint or ""))
            self._flush()

    def _work(self, request: Request) -> None:
        if isinstance(request, FetchLinks):
            self._fetch(request)
        elif isinstance(request, ReadShard):
            self._digest_all(iter_images(request.plan, request.shard))
        else:
            self._digest_all(read_files(request))

    def _fetch(self, request: FetchLinks) -> None:
        links = deque(request.links)
        while links or not self._fetcher.idle or self._waiting:
            while links and self._fetcher.room > 0 and self._jail.backlog < BACKLOG_MAX:
                self._fetcher.add(*links.popleft())
            if not links:
                self._fetcher.finish()
            self._fetcher.pump()
            self._turn(min(self._fetcher.timeout_s(), PULSE_S))
            for fetched in self._fetcher.take():
                self._take_fetched(fetched)

    def _digest_all(self, items: Iterable[ImageItem]) -> None:
        for item in items:
            if isinstance(item.content, Reason):
                self._answer(Carried(key=item.row, reason=item.content))
            else:
                self._examine(Carried(key=item.row, reason=Reason.FULL), item.content)
            self._turn(0)
            while self._jail.backlog >= BACKLOG_MAX:
                self._turn(PULSE_S)
        while self._waiting:
            self._turn(PULSE_S)

    def _turn(self, timeout_s: float) -> None:
        """Serve whatever is ready, wait at most so long, and say what is finished."""
        wall_s = self._jail.timeout_s()
        for key, mask in self._selector.select(timeout_s if wall_s is None else min(timeout_s, wall_s)):
            key.data(mask)
        self._jail.tick()
        while self._jail.results:
            self._take_examined(*self._jail.results.popleft())
        if time.monotonic() >= self._pulse_at:
            self._pulse_at = time.monotonic() + PULSE_S
            stats = self._fetcher.stats
            self._out.append(Pulse(stats.in_flight, stats.queued, stats.hosts_in_trouble))
        self._flush()

    def _take_fetched(self, fetched: Fetched) -> None:
        carried = Carried(
            key=fetched.key,
            reason=fetched.reason or Reason.FULL,
            attempts=min(fetched.attempts, 255),
            status=fetched.status,
            fetched_at=int(fetched.fetched_at),
            final_url=fetched.final_url[: 1 << 16],
        )
        if fetched.content is None:
            self._answer(carried)
        else:
            self._examine(carried, fetched.content)

    def _examine(self, carried: Carried, content: Content) -> None:
        md5, sha1, sha256 = crypto_digests(content)
        digested = msgspec.structs.replace(carried, size_bytes=len(content), md5=md5, sha1=sha1, sha256=sha256)
        self._waiting[carried.key] = digested
        self._jail.submit(carried.key, content)

    def _take_examined(self, key: int, examined: Examined) -> None:
        self._answer(
            msgspec.structs.replace(
                self._waiting.pop(key),
                reason=examined.reason,
                format=examined.format,
                width=examined.width,
                height=examined.height,
                pdq=[PdqCarried(pdq.frame, pdq.quality, pdq.code) for pdq in examined.pdq],
            )
        )

    def _answer(self, carried: Carried) -> None:
        self._answered += 1
        self._out.append(carried)

    def _flush(self) -> None:
        out, self._out = self._out, []
        send(1, *out)


def read_files(request: ReadFiles) -> Iterator[ImageItem]:
    """Local files, one at a time; one that cannot be read is an item with that outcome."""
    for key, name in request.files:
        path = Path(name)
        try:
            size = path.stat().st_size
            content = (
                Reason.TOO_LARGE if size > FILE_BYTES_MAX else Content(path.read_bytes()) if size else Reason.EMPTY
            )
        except OSError:
            content = Reason.READ_ERROR
        yield ImageItem(key, content)


def main() -> None:
    """Entry point of the process. The first message is the ``Start``; a failure to confine is answered as a ``Problem``."""
    frames = Frames(Start | Request)
    pending: list[Any] = []
    start = receive(0, frames, pending)
    if not isinstance(start, Start):
        sys.exit(4)
    try:
        loop = Loop(start, frames, pending)
    except CustodesError as error:
        send(1, Problem(str(error), error.hint or ""))
        sys.exit(int(error.exit_code))
    try:
        loop.run()
    except BrokenPipeError:
        os._exit(0)  # the shard worker is gone; nothing is left to tell anybody


if __name__ == "__main__":
    main()
