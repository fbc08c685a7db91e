"""The front believes a matcher that answers exactly what was asked, and no other: all else is no verdict."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable

import pytest

from custodes.channel import Frames, encode
from custodes.serving import asking
from custodes.serving.asking import Matchers
from custodes.serving.messages import Answer, Batch, Item, Ready, Verdict

Reply = Callable[[Batch], bytes]


def honest(batch: Batch) -> bytes:
    """Ok for everything; hold for what has an MD5."""
    return encode(Answer(bytes(int(bool(item.md5)) for ask in batch.asks for item in ask.items)))


class Stage:
    """A front's matchers, and a keeper and matchers that are made up."""

    def __init__(self) -> None:
        self.keeper, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.keeper.setblocking(False)
        self.matchers = Matchers(theirs.detach())
        self.batches: list[list[int]] = []
        self.tasks: list[asyncio.Task[None]] = [asyncio.create_task(self.matchers.run())]
        self.ends: list[socket.socket] = []

    async def matcher(self, reply: Reply, *, hold: asyncio.Event | None = None) -> None:
        """Hand a matcher over, and wait until it is in use."""
        ours, theirs = socket.socketpair()
        socket.send_fds(self.keeper, [b"next"], [theirs.fileno()])
        theirs.close()
        self.tasks.append(asyncio.create_task(self._play(ours, reply, hold)))
        while not self.matchers.up or self.matchers._next is not None:
            await asyncio.sleep(0)

    async def _play(self, channel: socket.socket, reply: Reply, hold: asyncio.Event | None) -> None:
        channel.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=channel)
        frames = Frames(Batch)
        try:
            while data := await reader.read(1 << 16):
                for batch in frames.feed(data):
                    self.batches.append([len(ask.items) for ask in batch.asks])
                    if hold is not None:
                        await hold.wait()
                    writer.write(reply(batch))
        finally:
            writer.close()

    async def ask(self, *items: Item, tenant: str = "t") -> list[Verdict] | None:
        return await asyncio.wait_for(self.matchers.look_up(tenant, items), 10)


def play(scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        stage = Stage()
        await scene(stage)
        for task in stage.tasks:
            task.cancel()
        await asyncio.gather(*stage.tasks, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(stage.matchers._control)
        stage.matchers._drop()
        stage.matchers._control.close()
        stage.keeper.close()
        await asyncio.sleep(0)

    asyncio.run(run())


HIT, MISS = Item(md5=bytes(16)), Item()


def test_without_a_matcher_there_is_no_verdict() -> None:
    async def scene(stage: Stage) -> None:
        assert not stage.matchers.up
        assert await stage.ask(HIT) is None

    play(scene)


def test_verdicts_come_back_to_whom_they_belong_and_what_waits_is_asked_together() -> None:
    async def scene(stage: Stage) -> None:
        gate = asyncio.Event()
        await stage.matcher(honest, hold=gate)
        first = asyncio.create_task(stage.ask(HIT))
        while not stage.batches:
            await asyncio.sleep(0)
        rest = [asyncio.create_task(stage.ask(*[HIT if n == k else MISS for k in range(3)])) for n in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert await first == [Verdict.HOLD]
        for n, task in enumerate(rest):
            assert await task == [Verdict(n == k) for k in range(3)]
        assert stage.batches == [[1], [3, 3, 3]]

    play(scene)


LIES = {
    "one verdict too few": lambda _: encode(Answer(b"")),
    "one too many": lambda _: encode(Answer(b"\0\0")),
    "a verdict that there is not": lambda _: encode(Answer(b"\3")),
    "two answers": lambda batch: honest(batch) * 2,
    "another message": lambda _: encode(Ready()),
    "junk": lambda _: b"\0\0\0\4junk",
    "a frame without end": lambda _: b"\xff\xff\xff\xff",
}


@pytest.mark.parametrize("reply", LIES.values(), ids=LIES)
def test_an_answer_to_what_was_not_asked_is_no_verdict_and_the_matcher_is_given_up(reply: Reply) -> None:
    async def scene(stage: Stage) -> None:
        await stage.matcher(reply)
        assert await stage.ask(MISS) is None
        assert not stage.matchers.up
        assert stage.keeper.recv(16) == b"lost"
        await stage.matcher(honest)
        assert await stage.ask(MISS) == [Verdict.OK]

    play(scene)


def test_half_an_answer_and_a_matcher_that_hangs_are_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_S_MAX", 0.05)

    async def scene(stage: Stage) -> None:
        for reply in (lambda batch: honest(batch)[:-1], lambda _: b""):
            await stage.matcher(reply)
            assert await stage.ask(MISS) is None
            assert stage.keeper.recv(16) == b"lost"

    play(scene)


def test_the_next_matcher_is_asked_when_the_one_before_has_answered_everything() -> None:
    async def scene(stage: Stage) -> None:
        gate = asyncio.Event()
        await stage.matcher(lambda _: encode(Answer(b"\1")), hold=gate)
        old = asyncio.create_task(stage.ask(MISS))
        while not stage.batches:
            await asyncio.sleep(0)
        handed = asyncio.create_task(stage.matcher(honest))
        late = asyncio.create_task(stage.ask(MISS))
        await asyncio.sleep(0.01)
        assert stage.batches == [[1]]
        gate.set()
        await handed
        assert (await old, await late) == ([Verdict.HOLD], [Verdict.OK])

    play(scene)


def test_when_the_keeper_says_that_there_is_none_nothing_is_asked() -> None:
    async def scene(stage: Stage) -> None:
        await stage.matcher(honest)
        stage.keeper.send(b"none")
        while stage.matchers.up:
            await asyncio.sleep(0)
        assert await stage.ask(MISS) is None
        assert stage.batches == []

    play(scene)


def test_no_descriptor_is_left_open() -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    async def scene(stage: Stage) -> None:
        for _ in range(5):
            await stage.matcher(honest)
            assert await stage.ask(HIT) == [Verdict.HOLD]

    before = opened()
    play(scene)
    assert opened() == before
