"""A dataset with known digests in its columns, and what a scan of it on one machine says: what any other scan of it must say."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.world import custodes, make_site, write_links

from custodes.cli.main import main
from custodes.config import Site
from custodes.handover.finding import Finding, open_bundle
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind

ROWS = 50
TIMES = re.compile(rb'"\d{4}-\d\d-\d\dT[^"]*"')
ROOT = re.compile(rb'"root":\s*"[0-9a-f]{64}"')


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Said:
    """The command line, as typed, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return Said(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def md5_of(row: int) -> str:
    return hashlib.md5(f"umbrella {row}".encode()).hexdigest()


def url_of(row: int) -> str:
    return f"http://harbour.test/umbrella/{row:06}.jpg"


@dataclass(frozen=True)
class Compared:
    """Planted matches that are not found; findings that are there twice or were not planted; whether findings and rows are the same, and the card."""

    lost: int = 0
    double: int = 0
    same: bool = True
    card: bool = True


@dataclass(frozen=True)
class Wanted:
    """The dataset, its site, and the run that was worked by the local pool."""

    site: Site
    source: Path
    run: Path
    known: frozenset[int]

    @property
    def config(self) -> tuple[str, str]:
        return "--config", str(self.site.path)

    def begun(self, path: Path) -> Path:
        """A run of the same manifest, of which nothing is done. So it has the same name, and a card of it the same words."""
        path.mkdir()
        shutil.copy(self.run / "manifest.json", path / "manifest.json")
        return path

    def scan(self, path: Path) -> list[object]:
        return ["scan", self.source, "--run", path, "--pass", "columns", "--quiet", *self.config]

    def findings(self, path: Path) -> list[Finding]:
        """What the authority receives, times aside: of all files that there are, so that what is there twice is seen."""
        identity = (self.site.path.parent / "demo-authority.key").read_text()
        run = RunDirectory.open(path, self.site.run_key())
        found: list[Finding] = []
        for sealed in sorted((path / "findings").rglob("*.age")):
            found += open_bundle(sealed.read_bytes(), identity)[1]
        assert len(list(run.records())) == len(run.latest())
        return sorted((msgspec.structs.replace(each, found_at="") for each in found), key=lambda each: each.url)

    def rows(self, path: Path) -> list[Any]:
        run = RunDirectory.open(path, self.site.run_key())
        return [run.rows(record).to_pylist() for _, record in sorted(run.latest().items())]

    def card(self, path: Path) -> bytes:
        """The card, byte for byte, less times, and less the root of its commitment, whose salts are made anew for each run (what it is over is in ``rows``)."""
        done = run("attest", path, *self.config)
        assert done.code == 0, done.err
        payload = base64.b64decode(json.loads((path / "card.dsse.json").read_bytes())["payload"])
        return ROOT.sub(b"", TIMES.sub(b"", payload))

    @cached_property
    def here(self) -> tuple[list[Finding], list[Any], bytes]:
        """What one machine says."""
        return self.findings(self.run), self.rows(self.run), self.card(self.run)

    def compared(self, path: Path) -> Compared:
        """A run beside the one of one machine."""
        findings, rows, card = self.here
        found = Counter(each.url for each in self.findings(path))
        planted = Counter(url_of(row) for row in self.known)
        return Compared(
            lost=(planted - found).total(),
            double=(found - planted).total(),
            same=self.findings(path) == findings and self.rows(path) == rows,
            card=self.card(path) == card,
        )

    def same(self, path: Path) -> None:
        """Nothing is lost, nothing is double, and the card says the same."""
        assert self.compared(path) == Compared()


def wanted(home: Path, shards: int) -> Wanted:
    """A dataset of so many shards, scanned by the local pool."""
    site = make_site(home / "site")
    source = home / "dataset"
    source.mkdir()
    for shard in range(shards):
        rows = range(shard * ROWS, (shard + 1) * ROWS)
        write_links(source / f"{shard:03}.parquet", [url_of(row) for row in rows], md5=[md5_of(row) for row in rows])
    known = frozenset(range(7, shards * ROWS, 20))
    entries = [Entry(Kind.MD5, bytes.fromhex(md5_of(row)), f"entry-{row}") for row in known]
    site.lists().import_entries("known", entries, Provenance(source="test"))
    made = Wanted(site, source, home / "run", known)
    done = custodes(*made.scan(made.run))
    assert done.returncode == 1, done.stderr
    return made
