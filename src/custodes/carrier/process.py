"""The carrier process: one loop that fetches or reads, digests, and feeds the jailed decoders.

Started by ``custodes.carrier.client`` with messages on its standard input and output. It can read the dataset if that holds images, and
otherwise nothing of the user's; it can write no file at all. Exact digests are taken here, before decoding, so that an image that kills
its decoder is still matched by them.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from custodes.carrier.protocol import (
    INT32_MAX,
    Carried,
    Done,
    FetchLinks,
    Model,
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
from custodes.decoding import Examined, JailSettings
from custodes.digests import crypto_digests
from custodes.errors import CustodesError, InternalError
from custodes.jail import Jail
from custodes.model import Content, Reason
from custodes.net import Fetched, Fetcher
from custodes.net.courtesy import Grant
from custodes.sources.base import ImageItem

if TYPE_CHECKING:
    from custodes.carrier.embedding import Embedding

__all__ = ["main"]

BACKLOG_MAX = 64
"""Images waiting for a decoder, or for the model, above which nothing more is fetched or read."""

PULSE_S = 1.0
TALK_S = 0.02
TALK_MIN = 64
"""Answers are sent together, after so long or when there are so many."""

FILE_BYTES_MAX = 1 << 30


class Links:
    """A batch of links on its way through the fetcher."""

    def __init__(self, request: FetchLinks, fetcher: Fetcher) -> None:
        self._batch = request.batch
        self._links = deque(request.links)
        self._fetcher = fetcher
        self._finished = False

    def feed(self, loop: Loop) -> None:
        """Queue what there is room for."""
        while self._links and self._fetcher.room > 0 and loop.backlog < BACKLOG_MAX:
            key, url = self._links.popleft()
            self._fetcher.add(loop.name(Carried(batch=self._batch, key=key, reason=Reason.FULL)), url, self._batch)
        if not self._links and not self._finished:
            self._finished = True
            self._fetcher.finish(self._batch)

    @property
    def hungry(self) -> bool:
        """Whether it could go on at once, without anything happening outside."""
        return False

    @property
    def fed(self) -> bool:
        """Whether nothing is left to begin with."""
        return not self._links


class Items:
    """A batch of images that are read, not fetched."""

    def __init__(self, batch: int, items: Iterable[ImageItem]) -> None:
        self._batch = batch
        self._items = iter(items)
        self.fed = False

    def feed(self, loop: Loop) -> None:
        """Read one image if the decoders can take it; then others have their turn."""
        if loop.backlog >= BACKLOG_MAX:
            return
        item = next(self._items, None)
        if item is None:
            self.fed = True
        elif isinstance(item.content, Reason):
            loop.answer(Carried(batch=self._batch, key=item.row, reason=item.content))
        else:
            loop.examine(Carried(batch=self._batch, key=item.row, reason=Reason.FULL), item.content)

    @property
    def hungry(self) -> bool:
        """Reading waits for nothing outside."""
        return not self.fed


class Loop:
    """Requests in, answers out: several requests at once, many items of each."""

    def __init__(self, start: Start, requests: Frames) -> None:
        self._requests = requests
        self._selector = selectors.DefaultSelector()
        jail = JailSettings(decoders=start.decoders, unsafe_no_jail=start.unsafe_no_jail)
        recipe = start.model.recipe if start.model else None
        self._jail = Jail(start.image, start.policy, self._selector, jail, recipe)
        self._fetcher = Fetcher(
            start.fetch, self._selector, asks=True, unsafe_allow_loopback=start.unsafe_allow_loopback
        )
        self._model = confined(start, self._selector)
        self._selector.register(0, selectors.EVENT_READ, self._read_requests)
        self._batches: dict[int, Links | Items] = {}
        self._waiting: dict[int, Carried] = {}
        self._open: Counter[int] = Counter()
        self._answered: Counter[int] = Counter()
        self._names = count()
        self._out: list[object] = [Ready(self._jail.confinement, self._model.sha256 if self._model else "")]
        self._pulse_at = 0.0
        self._talk_at = 0.0
        self._closed = False

    @property
    def backlog(self) -> int:
        """Images that wait for a decoder or for the model."""
        return self._jail.backlog + (self._model.backlog if self._model else 0)

    def run(self) -> None:
        """Work until the other side closes."""
        while not self._closed:
            self._flush()
            for number in list(self._batches):
                self._feed(number)
            self._fetcher.pump()
            if asked := self._fetcher.ask():
                self._out.append(asked)
            for key, mask in self._selector.select(self._patience_s()):
                key.data(mask)
            self._jail.tick()
            for fetched in self._fetcher.take():
                self._take_fetched(fetched)
            while self._jail.results:
                self._take_examined(*self._jail.results.popleft())
            while self._model and self._model.results:
                number, vector = self._model.results.popleft()
                self._settle(number, msgspec.structs.replace(self._waiting[number], vector=vector))
            self._pulse()

    def _read_requests(self, _mask: int) -> None:
        data = os.read(0, 1 << 18)
        self._closed = not data
        for request in self._requests.feed(data):
            self.accept(request)

    def accept(self, request: Request) -> None:
        """Begin a batch, or hear how many connections hosts may have."""
        if isinstance(request, FetchLinks):
            self._batches[request.batch] = Links(request, self._fetcher)
        elif isinstance(request, Grant):
            self._fetcher.grant(request)
        elif isinstance(request, ReadShard):
            # Loaded only here: a carrier that fetches has no use for the table readers, which take as long to load as all the rest.
            from custodes.sources.source import iter_images  # noqa: PLC0415

            self._batches[request.batch] = Items(request.batch, iter_images(request.plan, request.shard))
        else:
            self._batches[request.batch] = Items(request.batch, read_files(request))

    def _feed(self, number: int) -> None:
        """Let a batch go on; end it when all of it is answered, or when its source cannot be read."""
        batch = self._batches[number]
        try:
            batch.feed(self)
        except CustodesError as error:
            self._out.append(Problem(number, str(error)[:4000], error.hint or ""))
            del self._batches[number]
            return
        if batch.fed and not self._open[number]:
            self._out.append(Done(number, self._answered[number]))
            del self._batches[number], self._open[number], self._answered[number]

    def _patience_s(self) -> float:
        """How long the loop may wait for something to happen."""
        if self.backlog < BACKLOG_MAX and any(batch.hungry for batch in self._batches.values()):
            return 0.0
        wall_s = self._jail.timeout_s()
        talk_s = max(0.0, self._talk_at - time.monotonic()) if self._out else PULSE_S
        return min(self._fetcher.timeout_s(), talk_s, PULSE_S if wall_s is None else wall_s)

    def _pulse(self) -> None:
        if time.monotonic() >= self._pulse_at:
            self._pulse_at = time.monotonic() + PULSE_S
            stats = self._fetcher.stats
            self._out.append(Pulse(stats.in_flight, stats.queued, stats.hosts_in_trouble))

    # -- items

    def name(self, carried: Carried) -> int:
        """Take an item on, and give it a number of its own among all batches."""
        number = next(self._names)
        self._waiting[number] = carried
        self._open[carried.batch] += 1
        return number

    def answer(self, carried: Carried) -> None:
        """Say what became of an item that was never taken on."""
        self._answered[carried.batch] += 1
        self._out.append(carried)

    def examine(self, carried: Carried, content: Content) -> None:
        """Take an item on whose bytes are here already."""
        self._digest(self.name(carried), carried, content)

    def _take_fetched(self, fetched: Fetched) -> None:
        carried = msgspec.structs.replace(
            self._waiting[fetched.key],
            reason=fetched.reason or Reason.FULL,
            attempts=min(fetched.attempts, 255),
            status=fetched.status,
            fetched_at=int(fetched.fetched_at),
            final_url=fetched.final_url[: 1 << 16],
        )
        if fetched.content is None:
            self._settle(fetched.key, carried)
        else:
            self._digest(fetched.key, carried, fetched.content)

    def _digest(self, number: int, carried: Carried, content: Content) -> None:
        md5, sha1, sha256 = crypto_digests(content)
        digested = msgspec.structs.replace(carried, size_bytes=len(content), md5=md5, sha1=sha1, sha256=sha256)
        self._waiting[number] = digested
        self._jail.submit(number, content)

    def _take_examined(self, number: int, examined: Examined) -> None:
        carried = msgspec.structs.replace(
            self._waiting[number],
            reason=examined.reason,
            format=examined.format,
            width=min(examined.width, INT32_MAX),  # a broken header, or a decoder taken over, may claim anything
            height=min(examined.height, INT32_MAX),
            pdq=[PdqCarried(min(pdq.frame, INT32_MAX), pdq.quality, pdq.code, pdq.reflections) for pdq in examined.pdq],
        )
        if self._model and examined.square:
            self._waiting[number] = carried
            self._model.submit(number, examined.square)
        else:
            self._settle(number, carried)

    def _settle(self, number: int, carried: Carried) -> None:
        del self._waiting[number]
        self._open[carried.batch] -= 1
        self.answer(carried)

    def _flush(self) -> None:
        """Send what there is to say, some at a time: each message alone would wake the worker for one row."""
        now = time.monotonic()
        if not self._out or (len(self._out) < TALK_MIN and now < self._talk_at):
            return
        self._talk_at = now + TALK_S
        out, self._out = self._out, []
        send(1, *out)


def confined(start: Start, selector: selectors.BaseSelector) -> Embedding | None:
    """Give up all files but those that are read, for good, and load the model, if there is one.

    Landlock holds the thread that asks for it and those that this one starts later, and what runs models starts threads when it is imported: so it is imported
    afterwards. With a GPU before: its driver opens devices. Threads that it starts then are not held by Landlock.
    """
    model = start.model
    early = loaded(model, selector) if model and model.device == "cuda" else None
    confine_carrier([*start.readable, *([model.file] if model else ())], unsafe_no_jail=start.unsafe_no_jail)
    return early or (loaded(model, selector) if model else None)


def loaded(model: Model, selector: selectors.BaseSelector) -> Embedding:
    """The model, ready for images. Its thread starts with the first of them."""
    from custodes.carrier.embedding import Embedding, opened  # noqa: PLC0415 - takes longer to import than all the rest

    return Embedding(opened(model), model, selector)


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


def tell_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say of what this process ends. The text of a foreign exception may hold a URL, so only its type and place are told."""
    if isinstance(error, CustodesError) and not isinstance(error, InternalError):
        sys.stderr.write(f"custodes: a carrier ended and is replaced: {error}\n")
        return
    places = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(traceback.extract_tb(trace)[-4:])]
    sys.stderr.write(f"custodes: a carrier ended of a bug of ours: {kind.__name__} at {' < '.join(places)}\n")


def main() -> None:
    """Entry point of the process. The first message is the ``Start``; a failure to confine is answered as a ``Problem``."""
    sys.excepthook = tell_crash
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches a whole terminal; who began this ends it
    frames = Frames(Start | Request)
    pending: list[Any] = []
    start = receive(0, frames, pending)
    if not isinstance(start, Start):
        sys.exit(4)
    try:
        loop = Loop(start, frames)
    except CustodesError as error:
        send(1, Problem(-1, str(error)[:4000], error.hint or "", int(error.exit_code)))
        sys.exit(int(error.exit_code))
    for request in pending:
        loop.accept(request)
    with contextlib.suppress(BrokenPipeError):  # the shard worker is gone; nothing is left to tell anybody
        loop.run()
    os._exit(0)  # at once: threads of the resolver may hang for many seconds


if __name__ == "__main__":
    main()
