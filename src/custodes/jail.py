"""The jailed worker: images are decoded in processes that can compute and answer, and nothing else.

A carrier starts one zygote, which loads the decoders and forks one of itself for each decoder it is asked for; each decoder confines itself (resource
limits, Landlock with no rules, a seccomp allow-list that kills) before it reads its first byte. Promises that a decoder's death or delay is the outcome
of the one image in it, that its answers are checked as hostile input, that everything dies with the carrier, and that without confinement nothing runs
(fail closed). Which images and what to make of the answers is left to the caller.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Final, NoReturn

import msgspec
from PIL import AvifImagePlugin, Image

from custodes.confine import HINT, confine_decoder, landlock_abi
from custodes.errors import InternalError, JailError
from custodes.hashing import CODES_MAX, Examined, examine_content
from custodes.image import DecodePolicy, ImageLimits
from custodes.model import Content, Pdq, Reason
from custodes.sniff import FORMATS

__all__ = ["Jail", "JailSettings", "examine_all"]


class JailSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How decoders are kept."""

    decoders: int = 1
    """Decoders running at once."""
    wall_timeout_s: float = 5.0
    """Time that one image may take before its decoder is killed."""
    memory_bytes_max: int = 400 << 20
    """Address space that a decoder may add to what it was born with; with that, about 512 MB resident."""
    images_max: int = 5000
    """Images after which a decoder is replaced by a fresh one."""
    unsafe_no_jail: bool = False
    """Leave Landlock and seccomp out. A file that takes a decoder over then has what the user has."""

    def __post_init__(self) -> None:
        ranges = {
            "decoders": (1, 256),
            "wall_timeout_s": (0.01, 3600),
            "memory_bytes_max": (64 << 20, 16 << 30),
            "images_max": (1, 10**9),
        }
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}")


# --- the wire ---
# Carrier to decoder: length, bytes. Decoder to carrier: one READY byte when confined, then a head and its codes for each image.

_LENGTH: Final = struct.Struct("<I")
_HEAD: Final = struct.Struct("<BBHII")  # reason, format, codes, width, height
_CODE: Final = struct.Struct("<IB32s96s")  # frame, quality, code, reflections
_READY: Final = b"\x01"
_REASONS: Final = tuple(Reason)
_FORMATS: Final = ("", *FORMATS)


def _packed(examined: Examined) -> bytes:
    head = _HEAD.pack(
        _REASONS.index(examined.reason),
        _FORMATS.index(examined.format),
        len(examined.pdq),
        examined.width,
        examined.height,
    )
    return head + b"".join(
        _CODE.pack(found.frame, found.quality, found.code, found.reflections) for found in examined.pdq
    )


_DECODERS_OWN: Final = frozenset(
    {
        Reason.FULL,
        Reason.PARTIAL_DAMAGED,
        Reason.PARTIAL_FRAMES,
        Reason.NOT_IMAGE,
        Reason.UNKNOWN_FORMAT,
        Reason.BROKEN,
        Reason.TOO_MANY_PIXELS,
        Reason.TOO_MANY_SCANS,
        Reason.DECODE_MEMORY,
    }
)


def _unpacked(answer: bytes | bytearray) -> Examined | None:
    """An answer, or None while it is incomplete. Raises ValueError for what no honest decoder sends: whoever took one over can lie
    about the images that it is given until it is replaced, and gains nothing else.
    """
    if len(answer) < _HEAD.size:
        return None
    reason_index, format_index, count, width, height = _HEAD.unpack_from(answer)
    if reason_index >= len(_REASONS) or format_index >= len(_FORMATS) or count > CODES_MAX:
        raise ValueError("answer out of range")
    wanted = _HEAD.size + count * _CODE.size
    if len(answer) < wanted:
        return None
    codes = tuple(
        Pdq(code, quality, frame, reflections)
        for frame, quality, code, reflections in _CODE.iter_unpack(answer[_HEAD.size : wanted])
    )
    reason = _REASONS[reason_index]
    seen = reason in (Reason.FULL, Reason.PARTIAL_DAMAGED, Reason.PARTIAL_FRAMES)
    if (
        len(answer) > wanted
        or reason not in _DECODERS_OWN
        or seen != bool(codes)
        or any(found.quality > 100 for found in codes)
    ):
        raise ValueError("answer contradicts itself")
    return Examined(reason, _FORMATS[format_index], width, height, codes)


# --- inside: zygote and decoder ---


class _Birth(msgspec.Struct, frozen=True):
    """What the carrier tells its zygote once."""

    limits: ImageLimits
    policy: DecodePolicy
    settings: JailSettings


class _Hello(msgspec.Struct, frozen=True):
    """What the zygote answers: how decoders will be confined, or why they cannot be."""

    confinement: str = ""
    error: str = ""


_SPAWN, _REAP = b"S", b"R"
_REAPED: Final = struct.Struct("<qq")  # wait status, peak resident bytes


def _zygote() -> NoReturn:
    """Entry point of the zygote; its control socket is standard input. It never sees an image."""
    control = socket.socket(fileno=0)
    birth = msgspec.json.decode(control.recv(65536), type=_Birth)
    _tune_malloc()
    _warm_up(birth)
    gc.collect()
    gc.freeze()
    control.send(msgspec.json.encode(_trial(birth)))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            os._exit(0)  # the carrier is gone; the decoders' death signal does the rest
        if message[:1] == _SPAWN:
            control.send(_LENGTH.pack(_born(control, descriptors[0], birth)))
        else:
            control.send(_REAPED.pack(*_reaped(_LENGTH.unpack(message[1:])[0])))


def _tune_malloc() -> None:
    """Keep freed decode buffers: handing each back to the kernel costs a quarter of all time. 32 MiB is the most that glibc takes (M_MMAP_THRESHOLD)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(-3, 32 << 20)
        libc.mallopt(-1, 512 << 20)


def _warm_up(birth: _Birth) -> None:
    """Decode one small picture of each format, whole and damaged, so that nothing is left to import when files are out of reach."""
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a decoder cannot start threads
    logging.disable()  # a log line asks for the process id, a warning opens its source file: both would be deaths
    warnings.simplefilter("ignore")
    picture = Image.linear_gradient("L").convert("RGB")
    for kind, options in (
        ("JPEG", {}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("AVIF", {"max_threads": 1, "speed": 10}),
    ):
        for mode in ("RGB", "P", "L", "CMYK", "RGBA"):
            out = BytesIO()
            with suppress(OSError, ValueError, KeyError):
                picture.convert(mode).save(out, kind, **options)
            data = out.getvalue()
            for sample in (data, data[: len(data) * 2 // 3], data[:40]):
                examine_content(sample, birth.limits, birth.policy)


def _trial(birth: _Birth) -> _Hello:
    """Whether a child can be confined, tried out before the first image."""
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208
        return _Hello(error="a library started a thread, so forking is not safe")
    if birth.settings.unsafe_no_jail:
        return _Hello(confinement="none (unsafe)")
    parent, (reader, writer) = os.getpid(), os.pipe()
    child = os.fork()
    if child == 0:
        error = "the trial decoder failed"
        try:
            confine_decoder(birth.settings.memory_bytes_max, parent=parent)
            error = ""
        except (JailError, OSError, ValueError) as refusal:
            error = str(refusal)
        finally:
            os.write(writer, error.encode() or b"\0")
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 4096)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    if said == b"\0" and status == 0:
        return _Hello(confinement=f"landlock abi {landlock_abi()} + seccomp")
    return _Hello(error=said.decode() or f"the trial decoder ended with status {status}")


def _born(control: socket.socket, descriptor: int, birth: _Birth) -> int:
    """Fork a decoder; its pid, or 0 if that was refused."""
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:
        child = 0
    else:
        if child == 0:
            _decoder(descriptor, parent, birth)
    os.close(descriptor)
    assert control.fileno() == 0
    return child


def _decoder(descriptor: int, parent: int, birth: _Birth) -> NoReturn:
    """The decoder's life. Whatever escapes ends the process without a word: a traceback would open files, and may hold what it must not."""
    try:
        os.dup2(descriptor, 0)
        os.closerange(3, 1 << 16)
        confine_decoder(birth.settings.memory_bytes_max, parent=parent, unsafe_no_jail=birth.settings.unsafe_no_jail)
        os.write(0, _READY)
        while data := _read_exactly(_LENGTH.size):
            content = _read_exactly(_LENGTH.unpack(data)[0])
            _write_all(_packed(examine_content(content, birth.limits, birth.policy)))
            del content
    finally:
        os._exit(1)


def _read_exactly(size: int) -> bytes:
    """``size`` bytes of standard input; empty at its end."""
    chunk = os.read(0, size)
    if len(chunk) == size or not chunk:
        return chunk
    chunks, missing = [chunk], size - len(chunk)
    while missing:
        chunk = os.read(0, min(missing, 1 << 20))
        if not chunk:
            return b""
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def _write_all(answer: bytes) -> None:
    while answer:
        answer = answer[os.write(0, answer) :]


def _reaped(pid: int) -> tuple[int, int]:
    """End a decoder if it still lives. Only here are pids given back, so a pid that the carrier holds is never another process's."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return -1, 0
    return status, usage.ru_maxrss * 1024


# --- outside: the carrier's end ---


@dataclass(slots=True)
class _Job:
    key: int
    content: Content
    again: bool = False  # this is its second try, in a decoder that has seen nothing else


@dataclass(slots=True)
class _Decoder:
    pid: int
    channel: socket.socket
    images: int = 0
    ready: bool = False
    job: _Job | None = None
    unsent: list[memoryview] = field(default_factory=list)
    answer: bytearray = field(default_factory=bytearray)
    deadline: float = 0.0


_ENTRY: Final = "import custodes.jail as jail; jail._zygote()"
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_CONTROL_TIMEOUT_S: Final = 60.0
_STILLBORN_MAX: Final = 5  # decoders in a row that something outside kills before they are confined
_LARGE_PIXELS: Final = 8_000_000
_CONTENT_BYTES_MAX: Final = 1 << 30


class Jail:
    """Decoders for one carrier, driven by the carrier's selector: every registered file's ``data`` is a callable that takes the event mask.

    ``submit`` queues; ``results`` fills as the loop turns, in order of completion, one entry for each submission. Call ``tick`` at least every
    ``timeout_s`` seconds. Raises ``JailError`` where the kernel cannot confine.
    """

    def __init__(
        self,
        limits: ImageLimits,
        policy: DecodePolicy,
        selector: selectors.BaseSelector,
        settings: JailSettings | None = None,
    ) -> None:
        self._settings = settings or JailSettings()
        self._selector = selector
        self._queue: deque[_Job] = deque()
        self._decoders: list[_Decoder] = []
        self._stillborn = 0
        self.results: deque[tuple[int, Examined]] = deque()
        self.backlog_bytes = 0
        """Bytes of the images submitted and not yet answered."""
        self.peak_rss_bytes = 0
        """The most that any decoder that has ended had resident."""
        self._control, self._process = _start_zygote()
        try:
            self.confinement = self._introduce(_Birth(limits, policy, self._settings))
            """How decoders are confined, for the report."""
        except JailError:
            self.close()
            raise

    def _introduce(self, birth: _Birth) -> str:
        try:
            self._control.send(msgspec.json.encode(birth))
            hello = msgspec.json.decode(self._control.recv(65536), type=_Hello)
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
        return len(self._queue) + sum(decoder.job is not None for decoder in self._decoders)

    @property
    def idle(self) -> bool:
        """Whether every submission is answered."""
        return self.backlog == 0

    def submit(self, key: int, content: Content) -> None:
        """Queue an image under the caller's key; never blocks on it."""
        if len(content) > _CONTENT_BYTES_MAX:
            raise InternalError("content is larger than any fetch may be")
        self.backlog_bytes += len(content)
        self._queue.append(_Job(key, content))
        self._feed()

    def timeout_s(self) -> float | None:
        """Seconds until ``tick`` has something to do; None while nothing is being decoded."""
        deadlines = [decoder.deadline for decoder in self._decoders if decoder.job is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def tick(self) -> None:
        """Kill what has run for too long; the image in it is answered with ``decode_timeout``."""
        now = time.monotonic()
        for decoder in [decoder for decoder in self._decoders if decoder.job is not None and decoder.deadline <= now]:
            self._retire(decoder, Reason.DECODE_TIMEOUT)
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
        while self._queue:
            decoder = self._free_decoder(fresh=self._queue[0].again)
            if decoder is None:
                return
            self._give(decoder, self._queue.popleft())

    def _free_decoder(self, *, fresh: bool) -> _Decoder | None:
        for decoder in [decoder for decoder in self._decoders if decoder.job is None]:
            if not fresh or decoder.images == 0:
                return decoder
            self._retire(decoder, None)
        return self._spawn() if len(self._decoders) < self._settings.decoders else None

    def _spawn(self) -> _Decoder:
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [_SPAWN], [theirs.fileno()])
            (pid,) = _LENGTH.unpack(self._control.recv(_LENGTH.size))
        except (OSError, struct.error):
            ours.close()
            raise JailError("the decoder process has ended") from None
        finally:
            theirs.close()
        if pid == 0:
            ours.close()
            raise JailError("no further decoder could be started", hint="look at the limits for processes and memory")
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        decoder = _Decoder(pid, ours)
        self._decoders.append(decoder)
        self._selector.register(ours, selectors.EVENT_READ, self._on_event(decoder))
        return decoder

    def _on_event(self, decoder: _Decoder) -> Callable[[int], None]:
        return lambda mask: self._serve(decoder, mask)

    def _give(self, decoder: _Decoder, job: _Job) -> None:
        data = job.content.reveal()
        decoder.job, decoder.answer = job, bytearray()
        decoder.unsent = [memoryview(_LENGTH.pack(len(data))), memoryview(data)]
        decoder.deadline = time.monotonic() + self._settings.wall_timeout_s
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
            part = decoder.channel.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if part and not decoder.ready:
            decoder.ready, part = part[:1] == _READY, part[1:]
            if decoder.ready:
                self._stillborn = 0
                if not part:
                    return
        if not part or not decoder.ready or decoder.job is None:
            self._lost(decoder)
            return
        decoder.answer += part
        try:
            examined = _unpacked(decoder.answer)
        except ValueError:
            self._retire(decoder, Reason.DECODER_DIED)
            return
        if examined is not None:
            self._answered(decoder, examined)

    def _answered(self, decoder: _Decoder, examined: Examined) -> None:
        job = decoder.job
        assert job is not None
        if examined.reason is Reason.DECODE_MEMORY:
            self._retire(decoder, Reason.DECODE_MEMORY)
            return
        large = examined.width * examined.height > _LARGE_PIXELS
        if large and examined.reason is Reason.BROKEN and decoder.images:  # libraries may call lack of memory damage
            self._retire(decoder, Reason.DECODE_MEMORY)
            return
        decoder.job = None
        decoder.images += 1
        self._answer(job, examined)
        if decoder.images >= self._settings.images_max:
            self._retire(decoder, None)

    def _lost(self, decoder: _Decoder) -> None:
        if decoder.ready:
            self._retire(decoder, Reason.DECODER_DIED)
            return
        job, decoder.job = decoder.job, None
        status = self._retire(decoder, None)
        if job is not None:
            self._queue.appendleft(job)
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
            self._control.send(_REAP + _LENGTH.pack(decoder.pid))
            status, peak = _REAPED.unpack(self._control.recv(_REAPED.size))
        except (OSError, struct.error):
            raise JailError("the decoder process has ended") from None
        self.peak_rss_bytes = max(self.peak_rss_bytes, peak)
        if job is None or reason is None:
            return int(status)
        if decoder.images and not job.again and reason is not Reason.DECODE_TIMEOUT:
            self._queue.appendleft(_Job(job.key, job.content, again=True))
        else:
            self._answer(job, Examined(reason))
        return int(status)

    def _answer(self, job: _Job, examined: Examined) -> None:
        self.backlog_bytes -= len(job.content)
        self.results.append((job.key, examined))


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
