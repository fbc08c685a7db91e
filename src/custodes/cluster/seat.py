"""A seat: the process of Ray's that stands beside one shard worker and passes its frames on, unread.

It holds no key, no entry of a list, no link and no image: those are the worker's, which opens keys and lists itself. What the worker prints is not kept, since
Ray writes what its processes print to files. A worker ends with its seat, and the seat says when its worker has ended.
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from custodes import __version__
from custodes.cluster.wire import Place

__all__ = ["WORKER", "Seat"]

WORKER: Final = (sys.executable, "-P", "-m", "custodes.cli.worker")
READ_BYTES: Final = 1 << 18


class Seat:
    """Starts a worker and is its mouth and ear. Methods may be called by several threads."""

    def __init__(self, argv: Sequence[str] = WORKER) -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self._argv = list(argv)
        self._said: SimpleQueue[bytes | None] = SimpleQueue()
        self._writing = threading.Lock()
        self._started: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        # A worker dies with the thread that started it, so that is one which lives as long as the worker does.
        threading.Thread(target=self._keep, daemon=True).start()
        self._process = self._started.get()

    def place(self) -> bytes:
        """Where this seat is."""
        from ray import get_runtime_context  # noqa: PLC0415 - the rest of a seat knows nothing of Ray

        node = str(get_runtime_context().get_node_id())
        return msgspec.msgpack.encode(Place(node=node, host=socket.gethostname(), version=__version__))

    def give(self, frames: bytes) -> None:
        """Frames for the worker. That it is gone is noticed on its other pipe."""
        assert self._process.stdin is not None
        view = memoryview(frames)
        with self._writing:
            while view:
                try:
                    view = view[os.write(self._process.stdin.fileno(), view) :]
                except BrokenPipeError:
                    return

    def hear(self, seconds: float) -> bytes | None:
        """Bytes of frames from the worker, as soon as there are some; none after so many seconds; None when it has ended."""
        heard = b""
        try:
            while len(heard) < READ_BYTES:
                data = self._said.get(timeout=0 if heard else seconds)
                if data is None:
                    self._said.put(None)  # it is said again, should the answer be lost
                    return heard or None
                heard += data
        except Empty:
            pass
        return heard

    def _keep(self) -> None:
        environment = {name: value for name, value in os.environ.items() if passed_on(name, value)}
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, constant arguments
            [*self._argv, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._started.put(process)
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), READ_BYTES):
            self._said.put(data)
        process.kill()
        process.wait()
        self._said.put(None)


def passed_on(name: str, value: str) -> bool:
    """Whether a worker is to see this variable: not Ray's token, nor that Ray hides GPUs from who asked for none."""
    return not name.startswith("RAY_") and (name != "CUDA_VISIBLE_DEVICES" or bool(value))
