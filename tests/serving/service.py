"""A match service in miniature: a judge in memory, and the whole service in processes of its own on loopback."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from custodes.config import Site, create_site, load_site
from custodes.crypto.keys import ListsKey
from custodes.examine import Examiner
from custodes.lists.container import Provenance
from custodes.lists.matcher import Matcher
from custodes.lists.store import ListStore
from custodes.model import Entry, Kind
from custodes.serving.defence import Clock, Guard, Memory, State
from custodes.serving.judge import Judge
from custodes.serving.messages import Ask, Code, Item, Verdict
from custodes.serving.settings import Tenant

RADIUS_BITS = 2 * 31 + 2
KEY = ListsKey(bytes(range(32)))
OPEN = {"requests_per_minute": 1_000_000_000, "hits_per_day": 1_000_000_000, "hits_kept": 1_000_000}


def digest(number: int, kind: Kind = Kind.PDQ) -> bytes:
    """What the list knows of image so and so."""
    return hashlib.sha256(f"entry {number}".encode()).digest()[: kind.size_bytes]


def turned(code: bytes, *bits: int) -> bytes:
    """A code with some bits turned."""
    value = int.from_bytes(code, "big")
    for bit in bits:
        value ^= 1 << bit
    return value.to_bytes(len(code), "big")


def distance(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def entries(count: int, kinds: tuple[Kind, ...] = (Kind.MD5, Kind.SHA1, Kind.SHA256, Kind.PDQ)) -> list[Entry]:
    return [Entry(kind, digest(n, kind), f"e{n}", "A1") for n in range(count) for kind in kinds]


def examiner(folder: Path, listed: list[Entry]) -> Examiner:
    store = ListStore(folder / "lists", KEY)
    store.import_entries("demo", listed, Provenance(source="test"))
    return Examiner(Matcher(store.load()))


@dataclass
class Hands:
    """Clocks that are moved by hand."""

    wall: float = 1_000_000.0
    steady: float = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.steady)


class InMemory(Memory):
    """Remembers without a disk."""

    def __init__(self) -> None:
        self.saved = State()
        self.order = False

    def load(self) -> State:
        return self.saved

    def save(self, state: State) -> None:
        self.saved = state

    def unlock_ordered(self) -> bool:
        ordered, self.order = self.order, False
        return ordered


def tenant(**changed: Any) -> Tenant:
    return Tenant(**({"key_sha256": "0" * 64} | changed))


def guard(kind: type[Guard] = Guard, memory: Memory | None = None, hands: Hands | None = None, **limits: Any) -> Guard:
    return kind("t", tenant(**(OPEN | limits)), memory or InMemory(), (hands or Hands()).clock, RADIUS_BITS)


def judge_of(examiner: Examiner, guards: Mapping[str, Guard], hits_per_day: int = 1_000_000_000) -> Judge:
    return Judge(examiner, lambda: guards, hits_per_day)


def near(*codes: bytes, quality: int = 100) -> list[Item]:
    return [Item(pdq=[Code(code, quality)]) for code in codes]


def asked(judge: Judge, name: str, items: list[Item]) -> list[Verdict]:
    """One request."""
    return [Verdict(byte) for byte in judge.verdicts([Ask(name, items)])]


# -- the whole service

KEYS = {name: hashlib.sha256(f"key of {name}".encode()).hexdigest() for name in ("images", "trusted", "other")}


def served_site(home: Path, settings: str = "", limits: str = "", count: int = 50) -> Site:
    """A site with three tenants: one that may send images alone, and two that may ask by digest."""
    create_site(home, [], demo=True)
    path = home / "custodes.toml"
    text = path.read_text()
    parts = [text[: text.index("[serve]")], f"[serve]\nport = 0\ndecoders = 1\n{settings}\n"]
    for name, key in KEYS.items():
        hashed = hashlib.sha256(key.encode()).hexdigest()
        trusted = str(name != "images").lower()
        parts.append(f'[serve.tenants.{name}]\nkey_sha256 = "{hashed}"\ntrusted_digests = {trusted}\n{limits}\n')
    path.write_text("".join(parts))
    site = load_site(str(path))
    site.lists().import_entries("demo", entries(count), Provenance(source="test"))
    return site


@dataclass
class Served:
    """A service that runs."""

    process: subprocess.Popen[str]
    port: int
    told: Path
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, body: bytes | None = None, key: str = "", **headers: str
    ) -> http.client.HTTPResponse:
        """One request on a connection of its own; the body of the answer is in ``answer.said``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Authorization": f"Bearer {KEYS[key]}"} if key else {}
        connection.request(method, path, body, given | headers)
        answer = connection.getresponse()
        answer.said = answer.read()  # type: ignore[attr-defined]
        connection.close()
        return answer

    def digests(self, key: str, *items: dict[str, Any]) -> tuple[int, Any]:
        answer = self.ask("POST", "/v1/digests", json.dumps(items).encode(), key)
        return answer.status, json.loads(answer.said)  # type: ignore[attr-defined]

    def up(self) -> bool:
        return self.ask("GET", "/status").status == 200

    def children(self, word: str) -> list[int]:
        """Processes below the service whose command line has this word."""
        found = []
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with suppress(OSError):  # it has ended meanwhile
                if word in Path(f"/proc/{child}/cmdline").read_text():
                    found.append(int(child))
        return found

    def kill_matchers(self) -> list[int]:
        killed = self.children("matcher")
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return killed


def until(true: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"it never came: {what}"
        time.sleep(0.01)


@contextmanager
def running(site: Site, *options: str, wait: bool = True) -> Iterator[Served]:
    told = site.path.parent.with_suffix(".told")
    argv = [sys.executable, "-m", "custodes.cli.main", "serve", "match", "--json", "--config", str(site.path), *options]
    with told.open("w") as errors, subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line, told.read_text()
            served = Served(process, int(json.loads(line)["listening"].rpartition(":")[2]), told)
            if wait:
                until(served.up, "the lists are loaded")
            yield served
        finally:
            if process.poll() is None:
                process.terminate()
                assert process.wait(20) == 0
