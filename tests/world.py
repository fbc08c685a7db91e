"""A small world for whole scans: the demo's web server in a process of its own, a table of links, a list, a site with a throw-away authority."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from custodes.config import Site, create_site, load_site
from custodes.demo.gallery import CACHE_NAME, PICTURES, SEED, Gallery, load_or_paint
from custodes.demo.links import DemoSet, DemoSettings, build
from custodes.demo.server import Site as Address
from custodes.handover.finding import Finding, open_bundle
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.lists.formats import read_entries

QUICK_FETCH = """
[fetch]
connect_timeout_s = 2.0
total_timeout_s = 4.0
slow_for_s = 2
retry_after_max_s = 3.0
"""


@dataclass(frozen=True)
class Server:
    """A web server that outlives the scans that are killed."""

    address: Address
    gallery: Gallery


def painted(cache: Path, count: int, seed: int) -> Gallery:
    """A gallery that workers of a run share: the first that asks paints it, and the others wait for it."""
    with cache.with_name(f"{cache.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return load_or_paint(cache, count, seed)


@contextmanager
def running_server(cache: Path) -> Iterator[Server]:
    """Start the demo server in a process of its own."""
    gallery = painted(cache / CACHE_NAME, PICTURES, SEED)
    argv = [sys.executable, "-m", "custodes.demo.server", "--dir", str(cache)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield Server(Address(**json.loads(process.stdout.readline())), gallery)
        finally:
            process.terminate()


@dataclass(frozen=True)
class World:
    """One dataset, one site."""

    home: Path
    site: Site
    demo: DemoSet

    @property
    def config(self) -> str:
        return str(self.site.path)

    @property
    def identity(self) -> str:
        return (self.home / "demo-authority.key").read_text()

    def findings(self, run: Path) -> list[Finding]:
        """Everything that the authority would receive of a run, opened."""
        ledger = RunDirectory.open(run, self.site.run_key())
        return [
            finding for path in ledger.sealed_files() for finding in open_bundle(path.read_bytes(), self.identity)[1]
        ]

    def outcomes(self, run: Path) -> list[str]:
        """The reason of every row, in order."""
        ledger = RunDirectory.open(run, self.site.run_key())
        records = sorted(ledger.latest().values(), key=lambda record: record.shard)
        return [reason for record in records for reason in ledger.rows(record)["reason"].to_pylist()]


def make_site(home: Path, config: str = QUICK_FETCH) -> Site:
    """A site with a throw-away authority."""
    create_site(home, [], demo=True)
    path = home / "custodes.toml"
    text = path.read_text()
    path.write_text(text[: text.index("[fetch]")] + config)
    return load_site(str(path))


def make_world(home: Path, server: Server, settings: DemoSettings, config: str = QUICK_FETCH) -> World:
    """A dataset on the server, and a site whose list knows some of it."""
    demo = build(home / "dataset", server.gallery, server.address, settings)
    site = make_site(home, config)
    site.lists().import_entries("demo", read_entries(demo.hashes), Provenance(source="list.csv", scheme="demo"))
    return World(home, site, demo)


def custodes(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    argv = [sys.executable, "-m", "custodes.cli.main", *map(str, arguments)]
    environment = os.environ | options.pop("env", {})
    return subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False, env=environment, **options)


def free_port() -> int:
    """A port of loopback that nobody has at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def write_links(path: Path, urls: list[str | None], **columns: list[Any]) -> Path:
    """A parquet table of links."""
    pq.write_table(pa.table({"URL": urls, **columns}), path)
    return path
