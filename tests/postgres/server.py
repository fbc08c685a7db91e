"""A private PostgreSQL server for tests: from the system's own programs, on a loopback port, in a temporary folder. It is killed and started at will.

``CUSTODES_TEST_POSTGRES=postgresql://…`` names a server instead; what must kill one is skipped then, loudly.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from custodes.postgres.address import Address
from custodes.postgres.database import Database
from tests.world import free_port

__all__ = ["Given", "Server", "given_url", "new_schema", "programs", "running", "skip_without"]

STARTED_S = 60
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
    "logging_collector": "off",
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
}


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest that is installed; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def given_url() -> str:
    """The server that tests were told to use."""
    return os.environ.get("CUSTODES_TEST_POSTGRES", "")


def skip_without(*, private: bool = False) -> None:
    """Skip, loudly, where there is no PostgreSQL, or none that may be killed."""
    pytest.importorskip("psycopg", reason="NO POSTGRESQL: the extra custodes[postgres] is not installed")
    if programs() is None and (private or not given_url()):
        pytest.skip(
            "NO POSTGRESQL: neither Debian's package postgresql nor CUSTODES_TEST_POSTGRES; nothing of it was tested"
        )


def _owner() -> pwd.struct_passwd | None:
    """Who the server runs as: PostgreSQL refuses root."""
    return pwd.getpwnam("postgres") if os.getuid() == 0 else None


def _run_as(owner: pwd.struct_passwd | None) -> dict[str, object]:
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


@dataclass
class Server:
    """A server of our own. ``url`` is that of its database."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def database(self, *, schema: str = "custodes", patience_s: float = 30.0) -> Database:
        return Database(Address(self.url, schema=schema), patience_s=patience_s)

    def start(self, **settings: str) -> None:
        """Start, and wait until it answers; after a crash it recovers first."""
        assert self.process is None
        found = programs()
        assert found is not None
        arguments = [f"-c{name}={value}" for name, value in ({**SETTINGS, **settings}).items()]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [found / "postgres", "-D", self.folder, f"-p{self.port}", "-k", "", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True, env={},
                **_run_as(_owner()),  # type: ignore[call-overload]
            )  # fmt: skip
        self._await()

    def _await(self) -> None:
        import psycopg

        until = time.monotonic() + STARTED_S
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=5).close()
            except psycopg.OperationalError:
                assert self.process is not None
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def kill9(self) -> None:
        """All its processes at once, as when the machine's memory runs out. What the kernel has is not lost."""
        assert self.process is not None
        backends = self._backends()
        for pid in (self.process.pid, *backends):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._ended()
        for pid in backends:  # while one lives, a new server would refuse to start
            while Path(f"/proc/{pid}").exists() and self._is_zombie(pid) is False:
                time.sleep(0.005)

    @staticmethod
    def _is_zombie(pid: int) -> bool:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        return True

    def _backends(self) -> list[int]:
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            return [int(word) for word in path.read_text().split()]
        return []

    def stop_immediate(self) -> None:
        """``pg_ctl stop -m immediate``: no checkpoint, it recovers when it starts."""
        assert self.process is not None
        self.process.send_signal(signal.SIGQUIT)
        self._ended()

    def stop(self) -> None:
        """Ordered: sessions are ended."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            self._ended()

    def _ended(self) -> None:
        assert self.process is not None
        self.process.wait(30)
        self.process = None


@dataclass(frozen=True)
class Given:
    """A server that tests were told to use."""

    url: str

    def database(self, *, schema: str = "custodes", patience_s: float = 30.0) -> Database:
        return Database(Address(self.url, schema=schema, unsafe_no_tls=True), patience_s=patience_s)


def template() -> Path:
    """A fresh data folder, made once on this machine and copied from then on."""
    found, owner = programs(), _owner()
    assert found is not None
    place = Path(tempfile.gettempdir()) / f"custodes-tests-postgres-{os.getuid()}-{found.parent.name}"
    place.mkdir(mode=0o700, exist_ok=True)
    assert place.stat().st_uid in (os.getuid(), owner.pw_uid if owner else -1)
    if owner is not None:
        os.chown(place, owner.pw_uid, owner.pw_gid)
    with (place / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "made").exists():
            shutil.rmtree(place / "data", ignore_errors=True)
            options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums", "--no-sync")
            subprocess.run(
                [found / "initdb", "-D", place / "data", *options],
                check=True, stdout=subprocess.DEVNULL, cwd="/", **_run_as(owner),  # type: ignore[call-overload]
            )  # fmt: skip
            (place / "made").touch()
    return place / "data"


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server of our own, for as long as the body runs. Its folder is one that its user can reach, which pytest's are not."""
    owner = _owner()
    place = Path(tempfile.mkdtemp(prefix="custodes-pg-"))
    server = Server(place / "data")
    try:
        subprocess.run(["cp", "-a", template(), server.folder], check=True)
        if owner is not None:
            os.chown(place, owner.pw_uid, owner.pw_gid)
        server.start()
        yield server
    finally:
        if server.process is not None:
            server.stop_immediate()
        shutil.rmtree(place, ignore_errors=True)


def new_schema(name: str) -> str:
    """A schema that no other test uses."""
    return f"{name}_{os.urandom(6).hex()}"
