"""The jail, seen from outside: images are decoded in processes that can compute and answer, and nothing else.

A carrier starts one zygote, which loads the decoders and forks one of itself for each decoder it is asked for; each decoder confines itself (resource
limits, Landlock with no rules, a seccomp allow-list that kills) before it reads its first byte. Promises that a decoder's death or delay is the outcome
of the one image in it, that its answers are checked as hostile input, that everything dies with the carrier, and that without confinement nothing runs
(fail closed). Which images and what to make of the answers is left to the caller.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec

from custodes.confine import HINT
from custodes.decoding import (
    LENGTH,
    READY,
    REAP,
    REAPED,
    SPAWN,
    DecodePolicy,
    Examined,
    Hello,
    ImageLimits,
    JailSettings,
    Recipe,
    unpacked,
)
from custodes.errors import InternalError, JailError
from custodes.model import Content, Reason
from custodes.viewing import REQUEST, Birth, Task, Viewed, Viewing
from custodes.viewing import unpacked as unpacked_view

__all__ = ["Jail", "examine_all"]


@dataclass(slots=True)
class _Job:
    key: int
    content: Content
    task: Task = Task.EXAMINE
    again: bool = False  # this is its second try, in a decoder that has seen nothing else

    @property
    def apart(self) -> bool:
        return self.task is Task.SHOW


@dataclass(slots=True)
class _Decoder:
    pid: int
    channel: socket.socket
    images: int = 0
    ready: bool = False
    job: _Job | None = None
    apart: bool = False  # it is given nothing but what other decoders wrote
    unsent: list[memoryview] = field(default_factory=list)
    answer: bytearray = field(default_factory=bytearray)
    cpu_began: float = 0.0
    """Processor seconds that the decoder had used when the job was given to it."""
    wall_end: float = 0.0
    deadline: float = 0.0
    """When to look next, by the monotonic clock: no sooner can either limit be reached."""


_ENTRY: Final = "import custodes.decoder.zygote as zygote; zygote.main()"
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "CUSTODES_NATIVE")
_CONTROL_TIMEOUT_S: Final = 60.0
_STILLBORN_MAX: Final = 5  # decoders in a row that something outside kills before they are confined
_LOOK_AGAIN_S: Final = 0.05
_LARGE_PIXELS: Final = 8_000_000
_CONTENT_BYTES_MAX: Final = 1 << 30
_PIPE_BYTES: Final = 1 << 22  # as far as the kernel allows it: most pictures at once


class Jail:
    """Decoders for one carrier, driven by the carrier's selector: every registered file's ``data`` is a callable that takes the event mask.

    ``submit`` queues; ``results`` fills as the loop turns, in order of completion, one entry for each submission. Call ``tick`` at least every
    ``timeout_s`` seconds. With a recipe the first frame is prepared for a model too; with a ``Viewing`` its tasks may be asked for, whose answers fill
    ``viewed``. What decoders wrote is read by others, as many again, that never see anything else. Raises ``JailError`` where the kernel cannot confine.
    """

    def __init__(
        self,
        limits: ImageLimits,
        policy: DecodePolicy,
        selector: selectors.BaseSelector,
        settings: JailSettings | None = None,
        shown: Recipe | Viewing | None = None,
    ) -> None:
        recipe = shown if isinstance(shown, Recipe) else None
        self._viewing = shown if isinstance(shown, Viewing) else None
        self._square_bytes = recipe.square_bytes if recipe else 0
        self._settings = settings or JailSettings()
        self._selector = selector
        self._queues: dict[bool, deque[_Job]] = {
            True: deque(),
            False: deque(),
        }  # for decoders apart, and for the others
        self._decoders: list[_Decoder] = []
        self._stillborn = 0
        self.results: deque[tuple[int, Examined]] = deque()
        self.viewed: deque[tuple[int, Viewed]] = deque()
        self.backlog_bytes = 0
        """Bytes of the images submitted and not yet answered."""
        self.peak_rss_bytes = 0
        """The most that any decoder that has ended had resident."""
        self._control, self._process = _start_zygote()
        try:
            self.confinement = self._introduce(Birth(limits, policy, self._settings, recipe, self._viewing))
            """How decoders are confined, for the report."""
        except JailError:
            self.close()
            raise

    def _introduce(self, birth: Birth) -> str:
        try:
            self._control.send(msgspec.json.encode(birth))
            hello = msgspec.json.decode(self._control.recv(65536), type=Hello)
        except (OSError, msgspec.MsgspecError):
            raise JailError("the decoder process did not start", hint="look for missing libraries or memory") from None
        if hello.error:
            raise JailError(f"decoders cannot be confined: {hello.error}", hint=HINT)
        return hello.confinement

    def __enter__(self) -> Jail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def backlog(self) -> int:
        """Images submitted and not yet answered."""
        return sum(map(len, self._queues.values())) + sum(decoder.job is not None for decoder in self._decoders)

    @property
    def idle(self) -> bool:
        """Whether every submission is answered."""
        return self.backlog == 0

    def submit(self, key: int, content: Content, task: Task = Task.EXAMINE) -> None:
        """Queue an image under the caller's key; never blocks on it."""
        if task is not Task.EXAMINE and self._viewing is None:
            raise InternalError("the decoders were not told how to look")
        if len(content) > _CONTENT_BYTES_MAX:
            raise InternalError("content is larger than any fetch may be")
        self.backlog_bytes += len(content)
        job = _Job(key, content, task)
        self._queues[job.apart].append(job)
        self._feed()

    def timeout_s(self) -> float | None:
        """Seconds until ``tick`` has something to do; None while nothing is being decoded."""
        deadlines = [decoder.deadline for decoder in self._decoders if decoder.job is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def tick(self) -> None:
        """Kill what has run for too long; the image in it is answered with ``decode_timeout``."""
        now = time.monotonic()
        for decoder in [decoder for decoder in self._decoders if decoder.job is not None and decoder.deadline <= now]:
            cpu_left = self._settings.cpu_timeout_s - (_cpu_s(decoder.pid) - decoder.cpu_began)
            if cpu_left <= 0 or decoder.wall_end <= now:
                self._retire(decoder, Reason.DECODE_TIMEOUT)
            else:
                decoder.deadline = min(now + max(cpu_left, _LOOK_AGAIN_S), decoder.wall_end)
        self._feed()

    def run_until_idle(self) -> None:
        """Turn the selector until every submission is answered: for callers without a loop of their own."""
        while not self.idle:
            for key, mask in self._selector.select(self.timeout_s()):
                key.data(mask)
            self.tick()

    def close(self) -> None:
        """End every decoder and the zygote. What was not answered stays unanswered."""
        for decoder in list(self._decoders):
            decoder.job = None
            with suppress(JailError):
                self._retire(decoder, None)
        self._control.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    # the decoders

    def _feed(self) -> None:
        for queue in self._queues.values():
            while queue and (decoder := self._free_decoder(queue[0])):
                self._give(decoder, queue.popleft())

    def _free_decoder(self, job: _Job) -> _Decoder | None:
        alike = [decoder for decoder in self._decoders if decoder.apart is job.apart]
        for decoder in [decoder for decoder in alike if decoder.job is None]:
            if not job.again or decoder.images == 0:
                return decoder
            self._retire(decoder, None)
            alike.remove(decoder)
        return self._spawn(apart=job.apart) if len(alike) < self._settings.decoders else None

    def _spawn(self, *, apart: bool) -> _Decoder:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):  # each time that one waits for the other costs two turns of the scheduler
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIPE_BYTES)
        try:
            socket.send_fds(self._control, [SPAWN], [theirs.fileno()])
            (pid,) = LENGTH.unpack(self._control.recv(LENGTH.size))
        except (OSError, struct.error):
            ours.close()
            raise JailError("the decoder process has ended") from None
        finally:
            theirs.close()
        if pid == 0:
            ours.close()
            raise JailError("no further decoder could be started", hint="look at the limits for processes and memory")
        ours.setblocking(False)
        decoder = _Decoder(pid, ours, apart=apart)
        self._decoders.append(decoder)
        self._selector.register(ours, selectors.EVENT_READ, self._on_event(decoder))
        return decoder

    def _on_event(self, decoder: _Decoder) -> Callable[[int], None]:
        return lambda mask: self._serve(decoder, mask)

    def _give(self, decoder: _Decoder, job: _Job) -> None:
        data = job.content.reveal()
        decoder.job, decoder.answer = job, bytearray()
        decoder.unsent = [memoryview(REQUEST.pack(len(data), job.task)), memoryview(data)]
        now = time.monotonic()
        decoder.cpu_began, decoder.wall_end = _cpu_s(decoder.pid), now + self._settings.wall_timeout_s
        decoder.deadline = min(now + self._settings.cpu_timeout_s, decoder.wall_end)
        self._send(decoder)

    def _send(self, decoder: _Decoder) -> None:
        waiting = bool(decoder.unsent)
        try:
            while decoder.unsent:
                sent = decoder.channel.sendmsg(decoder.unsent)
                while decoder.unsent and sent >= len(decoder.unsent[0]):
                    sent -= len(decoder.unsent.pop(0))
                if sent:
                    decoder.unsent[0] = decoder.unsent[0][sent:]
        except BlockingIOError:
            pass
        except OSError:
            decoder.unsent = []  # it died: reading will say so
        if waiting:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if decoder.unsent else 0)
            if self._selector.get_key(decoder.channel).events != events:
                self._selector.modify(decoder.channel, events, self._on_event(decoder))

    def _serve(self, decoder: _Decoder, mask: int) -> None:
        if decoder not in self._decoders:
            return  # retired while its event waited in the same turn of the loop
        if mask & selectors.EVENT_WRITE:
            self._send(decoder)
        if mask & selectors.EVENT_READ:
            self._receive(decoder)
        self._feed()

    def _receive(self, decoder: _Decoder) -> None:
        try:
            part = decoder.channel.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if part and not decoder.ready:
            decoder.ready, part = part[:1] == READY, part[1:]
            if decoder.ready:
                self._stillborn = 0
                if not part:
                    return
        if not part or not decoder.ready or decoder.job is None:
            self._lost(decoder)
            return
        decoder.answer += part
        try:
            viewed = self._unpacked(decoder.answer, decoder.job.task)
        except ValueError:
            self._retire(decoder, Reason.DECODER_DIED)
            return
        if viewed is not None:
            self._answered(decoder, viewed)

    def _unpacked(self, answer: bytearray, task: Task) -> Viewed | None:
        if task is not Task.EXAMINE and self._viewing is not None:
            return unpacked_view(answer, self._viewing, task)
        examined = unpacked(answer, self._square_bytes)
        return Viewed(examined) if examined else None

    def _answered(self, decoder: _Decoder, viewed: Viewed) -> None:
        job, examined = decoder.job, viewed.examined
        assert job is not None
        if examined.reason is Reason.DECODE_MEMORY:
            self._retire(decoder, Reason.DECODE_MEMORY)
            return
        large = examined.width * examined.height > _LARGE_PIXELS
        if large and examined.reason is Reason.BROKEN and decoder.images:  # libraries may call lack of memory damage
            self._retire(decoder, Reason.DECODE_MEMORY)
            return
        colourless = self._square_bytes and examined.pdq and not examined.square
        if colourless and decoder.images and not job.again:  # memory that an image before left may be what it lacked
            self._retire(decoder, Reason.DECODE_MEMORY)
            return
        decoder.job = None
        decoder.images += 1
        self._answer(job, viewed)
        if decoder.images >= self._settings.images_max:
            self._retire(decoder, None)

    def _lost(self, decoder: _Decoder) -> None:
        if decoder.ready:
            self._retire(decoder, Reason.DECODER_DIED)
            return
        job, decoder.job = decoder.job, None
        status = self._retire(decoder, None)
        if job is not None:
            self._queues[job.apart].appendleft(job)
        self._stillborn += 1
        if not os.WIFSIGNALED(status) or self._stillborn >= _STILLBORN_MAX:
            raise JailError("a decoder ended before it was confined", hint=HINT)

    def _retire(self, decoder: _Decoder, reason: Reason | None) -> int:
        """End a decoder and give its wait status; ``reason`` is the outcome of the image in it.

        Death and lack of memory may be the doing of an image before, so an image that did not have the decoder for itself is tried once more alone.
        """
        self._decoders.remove(decoder)
        self._selector.unregister(decoder.channel)
        decoder.channel.close()
        job = decoder.job
        try:
            self._control.send(REAP + LENGTH.pack(decoder.pid))
            status, peak = REAPED.unpack(self._control.recv(REAPED.size))
        except (OSError, struct.error):
            raise JailError("the decoder process has ended") from None
        self.peak_rss_bytes = max(self.peak_rss_bytes, peak)
        if job is None or reason is None:
            return int(status)
        if decoder.images and not job.again and reason is not Reason.DECODE_TIMEOUT:
            self._queues[job.apart].appendleft(_Job(job.key, job.content, job.task, again=True))
        else:
            self._answer(job, Viewed(Examined(reason)))
        return int(status)

    def _answer(self, job: _Job, viewed: Viewed) -> None:
        self.backlog_bytes -= len(job.content)
        if job.task is Task.EXAMINE:
            self.results.append((job.key, viewed.examined))
        else:
            self.viewed.append((job.key, viewed))


def _cpu_s(pid: int) -> float:
    """Processor seconds that a process has used: on a busy machine an honest image takes long by the clock on the wall alone."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED), linux/posix-timers.h
    except OSError:
        return 0.0  # it has ended, and reading from it will say so


def _start_zygote() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A fresh interpreter, not a fork: it has no connection, list, key or URL of ours. Its only descriptor is the control socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
    }
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, constant arguments
            [sys.executable, "-c", _ENTRY],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,  # an interrupt from the terminal is for the carrier to handle
        )
    ours.settimeout(_CONTROL_TIMEOUT_S)
    return ours, process


def examine_all(
    contents: Iterable[Content], limits: ImageLimits, policy: DecodePolicy, settings: JailSettings | None = None
) -> list[Examined]:
    """Examine images in a jail of their own, blocking: results in the order given."""
    with selectors.DefaultSelector() as selector, Jail(limits, policy, selector, settings) as jail:
        for key, content in enumerate(contents):
            jail.submit(key, content)
        jail.run_until_idle()
        return [examined for _, examined in sorted(jail.results, key=lambda result: result[0])]
