"""The one process of ours that is a client of Ray: it joins or starts a cluster, keeps seats on it, and passes frames between them and the coordinator.

It holds no key and opens no list, because a coordinator that used Ray itself would have both in a process that listens on the network. Whatever Ray does to
its clients when a head is lost (it ends them) happens to this process, and the coordinator hears of it. It ends with the coordinator, and what it started
ends with it. Not a command: ``cluster.ray`` starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import msgspec

from custodes.channel import Frames, receive, send
from custodes.cluster.seat import Seat
from custodes.cluster.wire import (
    Broken,
    Capacity,
    Close,
    Ended,
    Give,
    Heard,
    Join,
    Joined,
    Lost,
    Open,
    Place,
    Seated,
    ToDriver,
)

__all__ = ["main"]

SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run` Ray would copy the working directory to every node
    "RAY_memory_monitor_refresh_ms": "0",  # it would end a seat, which is small, for its worker; the kernel ends the worker
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
STORE_BYTES: Final = 80 << 20  # the least that Ray takes; a few kilobytes are used
HEAR_S: Final = 1.0
SILENCE_S_MAX: Final = 120.0
"""A seat that answers nothing for so long is taken for lost."""

CAPACITY_EVERY_S: Final = 2.0
OWN_SILENCE_S_MAX: Final = 15.0
"""A Ray of the run's own is on this machine: when it says nothing of its nodes for so long, it is gone."""

FOLDER: Final = "custodes-ray-"
CONNECT_S_MAX: Final = 10.0
PROBE_S_MAX: Final = 30.0
LAST_S: Final = 10.0
"""So long an orderly end may take."""

OPEN_HINT: Final = "start every node with RAY_AUTH_MODE=token and the same token (ray get-auth-token --generate); see docs/guides/ray.md"


OWN_LOST: Final = (
    "the Ray that was started for this run is lost",
    "start the same command again: it goes on where it stopped",
)


class BrokenError(Exception):
    """The cluster cannot be used."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.broken = Broken(message, hint)


def refuse_open_cluster(address: str) -> None:
    """A cluster that answers whoever has a wrong token answers everybody: who can reach it runs code on its nodes. Raises BrokenError."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S_MAX).close()
    except OSError:
        raise BrokenError(*nobody(address)) from None
    wrong = os.environ | {"RAY_AUTH_TOKEN": secrets.token_hex(32)}
    argv = [sys.executable, "-P", "-m", "custodes.cluster.probe", address]
    try:
        tried = subprocess.run(argv, env=wrong, capture_output=True, timeout=PROBE_S_MAX, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        tried = None
    if tried is None or tried.stdout.strip() not in (b"open", b"closed"):
        raise BrokenError(*nobody(address))
    if tried.stdout.strip() == b"open":
        raise BrokenError(f"the Ray cluster at {address} lets in whoever reaches it: it asks for no token", OPEN_HINT)


def nobody(address: str) -> tuple[str, str]:
    """What is said where no cluster answers."""
    return f"no Ray cluster answers at {address}", "give the address of its head: --address HOST:PORT"


def join(asked: Join, folder: str) -> str:
    """Join or start a cluster; its address. Raises BrokenError."""
    if asked.address:
        refuse_open_cluster(asked.address)
        where: dict[str, Any] = {"address": asked.address}
    else:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        where = {
            "address": "local",
            "num_cpus": asked.processors,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "_temp_dir": folder,
        }
    import ray  # noqa: PLC0415 - what it reads of the environment it reads when it is imported

    try:
        ray.init(**where, log_to_driver=False, configure_logging=False, namespace=f"custodes-{secrets.token_hex(8)}")
        return str(ray.get_runtime_context().gcs_address)
    except ray.exceptions.AuthenticationError:
        message, hint = f"the Ray cluster at {asked.address} does not know this token", OPEN_HINT
    except (ConnectionError, RuntimeError, OSError, ValueError, ray.exceptions.RayError) as error:
        message = f"Ray cannot be used: {first_line(error)}"
        hint = "start the command on a machine that is a node of the cluster: ray start --address=HOST:PORT"
    raise BrokenError(message, hint)


def own_folder() -> str:
    """A folder for a Ray of this run's own, which is held for as long as this process lives; those that nobody holds any more are removed first."""
    sweep()
    while True:
        folder = tempfile.mkdtemp(prefix=FOLDER)
        with contextlib.suppress(BlockingIOError, FileNotFoundError):  # swept at this very moment, by another's start
            held(folder)
            if Path(folder).is_dir():
                return folder


def held(folder: str) -> int:
    """Hold a folder until the descriptor is closed. OSError as it comes: BlockingIOError where another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sweep() -> None:
    """Remove the folders of those that were killed: Ray's logs and sockets, nothing of the run."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):
            descriptor = held(str(folder))
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def first_line(error: BaseException) -> str:
    """What kind of error it is, and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error).strip() else ''}"


class Driver:
    """Seats on a cluster. ``own``: it was started for this run, and is of one machine."""

    def __init__(self, descriptor: int, *, own: bool) -> None:
        import ray  # noqa: PLC0415

        self._ray = ray
        self._descriptor = descriptor
        self._own = own
        self._seats: dict[int, Any] = {}
        self._attending: set[asyncio.Task[None]] = set()
        self._seat: Any = ray.remote(Seat).options(
            num_cpus=1, max_restarts=0, max_task_retries=0, max_concurrency=4, scheduling_strategy="SPREAD"
        )

    def say(self, message: object) -> None:
        """Tell the coordinator. That it is gone is noticed on the other pipe."""
        with contextlib.suppress(BrokenPipeError):
            send(self._descriptor, message)

    def hear(self, message: Any) -> None:
        """What the coordinator wants."""
        if isinstance(message, Open):
            task = asyncio.get_running_loop().create_task(self._attend(message.seat))
            self._attending.add(task)
            task.add_done_callback(self._attending.discard)
        elif isinstance(message, Give) and message.seat in self._seats:
            self._seats[message.seat].give.remote(message.frames)
        elif isinstance(message, Close) and message.seat in self._seats:
            self._ray.kill(self._seats.pop(message.seat))

    async def _attend(self, number: int) -> None:
        """A seat from its beginning to its end."""
        self._seats[number] = seat = self._seat.remote()
        try:
            place = msgspec.msgpack.decode(await seat.place.remote(), type=Place)
            self.say(Seated(number, place))
            while (heard := await asyncio.wait_for(seat.hear.remote(HEAR_S), SILENCE_S_MAX)) is not None:
                if heard:
                    self.say(Heard(number, heard))
            self.say(Ended(number))
        except (self._ray.exceptions.RayError, TimeoutError) as error:
            self.say(Lost(number, type(error).__name__))
        finally:
            if self._seats.pop(number, None) is not None:
                self._ray.kill(seat)

    async def watch(self) -> None:
        """Say again and again how many processors each node has: nodes come and go. Raises BrokenError when a Ray of the run's own is lost.

        Of another cluster nothing is said here: its nodes may come back, and Ray ends this process when the head does not.
        """
        while True:
            try:
                nodes = await asyncio.wait_for(
                    asyncio.to_thread(self._ray.nodes), OWN_SILENCE_S_MAX if self._own else None
                )
            except TimeoutError:
                raise BrokenError(*OWN_LOST) from None
            alive = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]}
            if self._own and not alive:
                raise BrokenError(*OWN_LOST)
            self.say(Capacity(alive))
            await asyncio.sleep(CAPACITY_EVERY_S)

    def close(self) -> None:
        """End all seats, and the cluster if it was started for this run."""
        for seat in self._seats.values():
            self._ray.kill(seat)
        self._ray.shutdown()


class Ear(threading.Thread):
    """Hears the coordinator from the first moment on. When it has nothing more to say, all ends: in order, or after some seconds."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.folder = ""
        """What is to be removed, too."""
        self.heard: SimpleQueue[Any] = SimpleQueue()
        self._tell: Callable[[], object] = lambda: None

    def run(self) -> None:
        """See the class."""
        frames, pending = Frames(ToDriver), list[Any]()
        while (message := receive(0, frames, pending)) is not None:
            self._put(message)
        self._put(None)
        time.sleep(LAST_S)
        self.end()

    def end(self) -> None:
        """End at once. What Ray started for this process ends after it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os._exit(0)

    def told(self, tell: Callable[[], object]) -> None:
        """Call this whenever there is something new."""
        self._tell = tell
        tell()

    def _put(self, message: Any) -> None:
        self.heard.put(message)
        self._tell()


async def converse(driver: Driver, ear: Ear) -> None:
    """Do what the coordinator says, until it is gone, or the cluster is."""
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    ear.told(lambda: loop.call_soon_threadsafe(news.set))
    watching = loop.create_task(driver.watch())
    watching.add_done_callback(lambda _: news.set())
    while True:
        await news.wait()
        news.clear()
        if watching.done() and isinstance(error := watching.exception(), BrokenError):
            driver.say(error.broken)
            ear.end()  # not in order: a call of Ray's that has no answer would be waited for
        while not ear.heard.empty():
            if (message := ear.heard.get()) is None:
                watching.cancel()
                return
            driver.hear(message)


def main() -> None:
    """Entry point. Standard output carries frames. What Ray prints of itself is of use to nobody: what matters comes as an error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to hear
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.update(SETTINGS)
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    ear = Ear()
    ear.start()
    asked = ear.heard.get()
    if not isinstance(asked, Join):
        return
    if not asked.address:
        ear.folder = own_folder()
    try:
        address = join(asked, ear.folder)
        driver = Driver(out, own=not asked.address)
        driver.say(Joined(address))
        asyncio.run(converse(driver, ear))
        driver.close()
    except BrokenError as error:
        send(out, error.broken)
    finally:
        shutil.rmtree(ear.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
