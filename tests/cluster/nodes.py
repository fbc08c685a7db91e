"""Real Ray nodes on this machine: started as an operator does, in a network of their own where that is allowed, and killed as a machine that fails is."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.world import free_port

PLANTED = Path(__file__).parent / "planted"
SIMULATED = str(Path(__file__).with_name("simulated.py"))
RAY = str(Path(sys.executable).with_name("ray"))
STORE_BYTES = "80000000"
MARK = "CUSTODES_TEST_NODE"


def processes() -> Iterator[tuple[int, int, str, str]]:
    """Each process of this machine: its number, its parent's, its command line, its environment."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            yield int(folder.name), parent, line, (folder / "environ").read_bytes().decode(errors="replace")


def below(pids: set[int]) -> set[int]:
    """These processes and all that they started, as far as they live."""
    listed = [(pid, parent) for pid, parent, _, _ in processes()]
    found = set(pids)
    while more := {pid for pid, parent in listed if parent in found} - found:
        found |= more
    return found


def kill(pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Cluster:
    """A head and nodes, each with so many processors."""

    home: Path
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    nodes: list[str] = field(default_factory=list)
    prefix: list[str] = field(default_factory=list)
    mode: str = "token"
    port: int = 0
    count: int = 0
    sizes: tuple[int, ...] = ()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}" if self.prefix else f"{socket.gethostbyname(socket.gethostname())}:{self.port}"

    @property
    def plan(self) -> Path:
        """Says how long shards take, and which end their worker."""
        return self.home.with_suffix(".plan")

    def shards(self, *plan: object) -> None:
        self.plan.write_text(" ".join(map(str, plan)))

    def environment(self, **more: str) -> dict[str, str]:
        hidden = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        path = {"PYTHONPATH": str(PLANTED / "slow_shards"), "PLANTED": str(self.plan)}
        ours = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": self.mode, "RAY_BACKEND_LOG_LEVEL": "error"}
        ours |= {"RAY_gcs_rpc_server_reconnect_timeout_s": "8"}  # not a minute: that a head is lost is noticed sooner
        ours |= {"RAY_AUTH_TOKEN": self.token} if self.mode == "token" else {}
        return hidden | ours | path | more

    def start(self, *processors: int) -> None:
        """A head with so many processors, and nodes."""
        self.sizes = processors
        self.head(processors[0])
        for number in processors[1:]:
            self.node(number)

    def head(self, processors: int) -> None:
        temp = ["--temp-dir", str(self.home), "--include-dashboard", "false", "--port", str(self.port)]
        self._start("head", ["--head", *temp], processors)

    def node(self, processors: int) -> str:
        self.count += 1
        name = f"node{self.count}"
        self._start(name, ["--address", self.address], processors)
        return name

    def _start(self, name: str, arguments: Sequence[str], processors: int) -> None:
        where = ["--node-ip-address", "127.0.0.1"] if self.prefix else []
        fixed = ["--num-cpus", str(processors), "--disable-usage-stats", "--object-store-memory", STORE_BYTES]
        argv = [*self.prefix, RAY, "start", *arguments, *fixed, *where]
        marked = self.environment(**{MARK: f"{self.token}/{name}"})
        self.nodes.append(name)
        done = subprocess.run(argv, env=marked, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def restored(self) -> None:
        """What an operator does: a node that is gone is started again, and after the head all of them."""
        for name in list(self.nodes):
            if not self.of(name) & self.named("raylet/raylet"):
                self.lose(name)
        if "head" not in self.nodes:
            self.close()
            self.start(*self.sizes)
        for size in self.sizes[len(self.nodes) :]:
            self.node(size)

    def custodes(self, *arguments: object) -> subprocess.Popen[str]:
        """The command line on a machine of the cluster."""
        argv = [*self.prefix, sys.executable, "-m", "custodes.cli.main", *map(str, arguments)]
        return subprocess.Popen(
            argv,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def of(self, name: str) -> set[int]:
        """All processes of a node."""
        mark = f"{MARK}={self.token}/{name}\0"
        return below({pid for pid, _, _, environment in processes() if mark in environment + "\0"})

    def named(self, word: str) -> set[int]:
        """Processes of this cluster with this in their command line."""
        ours = set[int]().union(*(self.of(name) for name in self.nodes))
        return {pid for pid, _, line, _ in processes() if pid in ours and word in line}

    def lose(self, name: str) -> None:
        """A machine fails: nothing of it says good-bye."""
        self.nodes.remove(name)
        mark = f"{MARK}={self.token}/{name}\0"
        while found := below({pid for pid, _, _, environment in processes() if mark in environment + "\0"}):
            kill(found)
            time.sleep(0.05)

    def close(self) -> None:
        for name in list(self.nodes):
            self.lose(name)
        for store in Path("/dev/shm").glob("plasma*"):
            with contextlib.suppress(OSError):
                store.unlink()


@dataclass
class Simulated(Cluster):
    """The same, of nodes that Ray itself simulates."""

    holder: subprocess.Popen[str] | None = None

    def _start(self, name: str, arguments: Sequence[str], processors: int) -> None:
        if name == "head":
            self._hold()
        assert self.holder is not None
        assert self.holder.stdin is not None
        assert self.holder.stdout is not None
        self.nodes.append(name)
        self.holder.stdin.write(f"{self.token}/{name} {processors}\n")
        self.holder.stdin.flush()
        said = self.holder.stdout.readline()
        assert said == "there\n", (self.home / "holder.err").read_text()

    def _hold(self) -> None:
        where = ["127.0.0.1"] if self.prefix else []
        argv = [*self.prefix, sys.executable, SIMULATED, str(self.port), str(self.home), *where]
        with (self.home / "holder.err").open("w") as errors:
            self.holder = subprocess.Popen(
                argv, env=self.environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )

    def close(self) -> None:
        super().close()
        if self.holder is not None:
            self.holder.kill()
            self.holder.communicate()
            self.holder = None


@contextmanager
def network() -> Iterator[list[str]]:
    """What puts a command into a network of its own, where this user may make one."""
    argv = ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as holder:
        assert holder.stdout is not None
        up = holder.stdout.readline() == b"up\n"
        try:
            yield ["nsenter", "-t", str(holder.pid), "-n"] if up else []
        finally:
            holder.kill()


@contextmanager
def cluster(*processors: int, mode: str = "token", kind: type[Cluster] = Cluster) -> Iterator[Cluster]:
    """A cluster that is there until the block ends."""
    home = Path(tempfile.mkdtemp(prefix="ray-"))  # short: sockets lie in it
    with network() as prefix:
        # In a network of its own, too: Ray takes a head at the same address for the same head.
        made = kind(home, prefix=prefix, mode=mode, port=free_port())
        made.shards(0)
        try:
            made.start(*processors)
            yield made
        finally:
            made.close()
            shutil.rmtree(home, ignore_errors=True)
            made.plan.unlink()
