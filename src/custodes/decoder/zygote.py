"""Inside the jail: the zygote, which loads the decoders once and forks one of itself for each that is asked for, and the decoder's life.

Promises that a decoder confines itself before it reads its first byte, and that without confinement nothing runs (fail closed). Who asks, and
what becomes of the answers, is for ``jail``.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from typing import Final, NoReturn

import msgspec
from PIL import AvifImagePlugin, Image

from custodes.confine import confine_decoder, landlock_abi
from custodes.decoder.hashing import examine_content
from custodes.decoder.views import view_content
from custodes.decoding import LENGTH, READY, REAPED, SPAWN, Hello, packed
from custodes.errors import JailError
from custodes.viewing import REQUEST, Birth, Task
from custodes.viewing import packed as packed_view

__all__ = ["main", "tune_malloc"]


def main() -> NoReturn:
    """Entry point of the zygote; its control socket is standard input. It never sees an image."""
    control = socket.socket(fileno=0)
    birth = msgspec.json.decode(control.recv(65536), type=Birth)
    tune_malloc()
    _warm_up(birth)
    gc.collect()
    gc.freeze()
    control.send(msgspec.json.encode(_trial(birth)))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            os._exit(0)  # the carrier is gone; the decoders' death signal does the rest
        if message[:1] == SPAWN:
            control.send(LENGTH.pack(_born(control, descriptors[0], birth)))
        else:
            control.send(REAPED.pack(*_reaped(LENGTH.unpack(message[1:])[0])))


def tune_malloc() -> None:
    """Keep freed decode buffers: handing each back to the kernel costs a quarter of all time. 32 MiB is the most that glibc takes (M_MMAP_THRESHOLD)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(-3, 32 << 20)
        libc.mallopt(-1, 512 << 20)


def _warm_up(birth: Birth) -> None:
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
                examine_content(sample, birth.limits, birth.policy, birth.recipe)
                _view(sample, birth)
    for sample in (*_moving(picture), _DRAWING) if birth.viewing else ():
        _view(sample, birth)


def _view(sample: bytes, birth: Birth) -> None:
    for task in (Task.WRITE, Task.SHOW):
        if birth.viewing:
            view_content(sample, birth.limits, birth.viewing, task)


_DRAWING: Final = b"""<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect width="32" height="64" fill="red"/></svg>"""


def _moving(picture: Image.Image) -> Iterator[bytes]:
    """Small animations of every format that is written."""
    for kind in ("GIF", "PNG", "WEBP"):
        for mode in ("RGB", "RGBA"):
            out, still = BytesIO(), picture.convert(mode)
            still.save(out, kind, save_all=True, append_images=[still.rotate(90), still.rotate(180)], duration=20)
            yield out.getvalue()


def _trial(birth: Birth) -> Hello:
    """Whether a child can be confined, tried out before the first image."""
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208
        return Hello(error="a library started a thread, so forking is not safe")
    if birth.settings.unsafe_no_jail:
        return Hello(confinement="none (unsafe)")
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
        return Hello(confinement=f"landlock abi {landlock_abi()} + seccomp")
    return Hello(error=said.decode() or f"the trial decoder ended with status {status}")


def _born(control: socket.socket, descriptor: int, birth: Birth) -> int:
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


def _decoder(descriptor: int, parent: int, birth: Birth) -> NoReturn:
    """The decoder's life. Whatever escapes ends the process without a word: a traceback would open files, and may hold what it must not."""
    try:
        os.dup2(descriptor, 0)
        os.closerange(3, 1 << 16)
        confine_decoder(birth.settings.memory_bytes_max, parent=parent, unsafe_no_jail=birth.settings.unsafe_no_jail)
        os.write(0, READY)
        while data := _read_exactly(REQUEST.size):
            length, task = REQUEST.unpack(data)
            _write_all(_answer(_read_exactly(length), Task(task), birth))
    finally:
        os._exit(1)


def _answer(content: bytes, task: Task, birth: Birth) -> bytes:
    if task is Task.EXAMINE or birth.viewing is None:
        square_bytes = birth.recipe.square_bytes if birth.recipe else 0
        return packed(examine_content(content, birth.limits, birth.policy, birth.recipe), square_bytes)
    return packed_view(view_content(content, birth.limits, birth.viewing, task))


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
    unsent = memoryview(answer)
    while unsent:
        unsent = unsent[os.write(0, unsent) :]


def _reaped(pid: int) -> tuple[int, int]:
    """End a decoder if it still lives. Only here are pids given back, so a pid that the carrier holds is never another process's."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return -1, 0
    return status, usage.ru_maxrss * 1024


if __name__ == "__main__":
    main()
