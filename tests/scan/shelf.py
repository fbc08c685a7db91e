"""A shelf of pictures on loopback whose links can be cut and mended, a list that knows some of them, and the command line in this process."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.world import make_site

from custodes.cli.main import main
from custodes.config import Site
from custodes.demo.gallery import Gallery
from custodes.handover.finding import Finding, open_bundle
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind


def children(pid: int) -> Iterator[tuple[int, str]]:
    """All that a process started, with their command lines."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [(int(line.split()[0]), int(line.split()[1]), line) for line in listed.splitlines()]
    below, found = {pid}, True
    while found:  # not by number: the numbers of processes begin again at their end
        of = below
        found = [(child, line) for child, parent, line in rows if parent in of and child not in below]
        yield from found
        below = below | {child for child, _ in found}


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return answer


def run(*arguments: object) -> Said:
    """The command line, as typed, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())


@dataclass
class Shelf:
    """Pictures by name; those in ``cut`` answer 404, those in ``page`` a page."""

    pictures: dict[str, bytes]
    port: int = 0
    cut: set[str] = field(default_factory=set)
    page: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"

    def answer(self, name: str) -> tuple[int, bytes]:
        self.asked.append(name)
        if name in self.page:
            return 200, b"<!doctype html><html><body>moved</body></html>"
        data = None if name in self.cut else self.pictures.get(name)
        return (200, data) if data is not None else (404, b"nothing here")


@contextmanager
def standing(pictures: dict[str, bytes]) -> Iterator[Shelf]:
    """A shelf that can be reached."""
    shelf = Shelf(pictures)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, data = shelf.answer(self.path.removeprefix("/"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        shelf.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield shelf
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Office:
    """A site with a throw-away authority, and a list of pictures by name: their md5, or the PDQ code of what they are copies of."""

    home: Path
    site: Site

    @property
    def config(self) -> tuple[str, str]:
        return "--config", str(self.site.path)

    def know(self, gallery: Gallery, exact: list[str] = (), near: list[int] = (), list_id: str = "demo") -> None:  # type: ignore[assignment]
        md5s = [Entry(Kind.MD5, md5(gallery.pictures[name].data), f"exact-{name}") for name in exact]
        codes = [Entry(Kind.PDQ, gallery.copies[number].base_code, f"near-{number}") for number in near]
        self.site.lists().import_entries(list_id, [*md5s, *codes], Provenance(source="test"))

    def findings(self, path: Path) -> list[Finding]:
        """What the authority receives of a run."""
        identity = (self.home / "demo-authority.key").read_text()
        sealed = RunDirectory.open(path, self.site.run_key()).sealed_files()
        return [finding for file in sealed for finding in open_bundle(file.read_bytes(), identity)[1]]

    def reasons(self, path: Path) -> list[str]:
        """The reason of every row, in order."""
        ledger = RunDirectory.open(path, self.site.run_key())
        records = sorted(ledger.latest().values(), key=lambda record: record.shard)
        return [reason for record in records for reason in ledger.rows(record)["reason"].to_pylist()]

    def scan(self, source: object, path: Path, *more: object) -> Said:
        """One worker, no progress, an answer in JSON."""
        return run("scan", source, "--run", path, *self.config, "--workers", 1, "--quiet", "--json", *more)


def md5(data: bytes) -> bytes:
    return hashlib.md5(data).digest()


def office(home: Path, config: str = "") -> Office:
    return Office(home, make_site(home, config)) if config else Office(home, make_site(home))


def adds_up(said: Said) -> bool:
    """Whether every row has one outcome."""
    answer = said.answer
    return sum(answer["outcomes"].values()) == answer["rows"] and answer["complete"]
