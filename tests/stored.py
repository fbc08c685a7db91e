"""An earlier run, made up without a fetch: every row has the digests of its own number. For tests of what is matched again."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from custodes.config import Site
from custodes.handover.finding import FORMAT, BundleHeader, Finding, open_bundle, seal_bundle
from custodes.ledger.rows import RowsBuilder
from custodes.ledger.run import Found, RunDirectory, ShardCommit
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from custodes.pdq import forms_of
from custodes.scan.run import ScanPlan, manifest_of, plan_scan
from custodes.sources.base import Plan, ShardSpec, SourceOptions
from tests.world import make_site, write_links

__all__ = ["Earlier", "earlier", "md5_of", "pdq_of"]


def digest_of(row: int, size_bytes: int, salt: str) -> bytes:
    return hashlib.shake_128(f"umbrella {salt} {row}".encode()).digest(size_bytes)


def md5_of(row: int) -> bytes:
    return digest_of(row, 16, "md5")


def pdq_of(row: int, form: int = 0) -> bytes:
    """The code of a row in one of its eight forms."""
    code = np.frombuffer(digest_of(row, 128, "pdq"), np.uint8).reshape(1, 128)
    return forms_of(code)[0, form].tobytes()


@dataclass(frozen=True)
class Earlier:
    """A finished run, its site and its dataset."""

    site: Site
    plan: Plan
    run: RunDirectory

    @property
    def config(self) -> tuple[str, str]:
        return "--config", str(self.site.path)

    def know(self, md5: list[int], pdq: dict[int, int]) -> None:
        """Make a list of rows known by MD5, and rows known by a form of their PDQ code."""
        entries = [Entry(Kind.MD5, md5_of(row), f"md5-{row}") for row in md5]
        entries += [Entry(Kind.PDQ, pdq_of(row, form), f"pdq-{row}") for row, form in pdq.items()]
        self.site.lists().import_entries("known", entries, Provenance(source="test"))

    def findings(self, run: RunDirectory) -> list[Finding]:
        """What the authority receives of a run. Raises StorageError where the run is not whole."""
        identity = (self.site.path.parent / "demo-authority.key").read_text()
        return [each for path in run.sealed_files() for each in open_bundle(path.read_bytes(), identity)[1]]


def earlier(home: Path, shards: int, shard_rows: int) -> Earlier:
    """A run of ``shards`` files with ``shard_rows`` links each."""
    site = make_site(home / "site")
    source = home / "dataset"
    source.mkdir()
    for shard in range(shards):
        rows = range(shard * shard_rows, (shard + 1) * shard_rows)
        write_links(source / f"{shard:03}.parquet", [f"http://a.test/{row}" for row in rows])
    settings = site.scan_settings(passes=("bytes",))
    plan = plan_scan(str(source), SourceOptions(), settings)
    site.lists().import_entries("other", [Entry(Kind.MD5, md5_of(-1), "none of them")], Provenance(source="test"))
    names = [str(recipient) for recipient in site.recipients()]
    scan = ScanPlan("dataset", plan, settings, site.lists_used(), names, demo_authority=True, confinement="")
    run = RunDirectory.create(home / "run", manifest_of(scan), site.run_key())
    for spec in plan.shards:
        run.commit(commit_of(site, run, spec, spec.index * shard_rows))
    return Earlier(site, plan, run)


def commit_of(site: Site, run: RunDirectory, spec: ShardSpec, first: int) -> ShardCommit:
    rows = RowsBuilder(spec.rows)
    for row in range(spec.rows):
        code = digest_of(first + row, 128, "pdq")
        frame = {"frame": 0, "quality": 100, "code": code[:32], "reflections": code[32:]}
        rows.set(row, reason="full", attempts=1, md5=md5_of(first + row), pdq=[frame])
    head = BundleHeader(
        format=FORMAT, run_id=run.manifest.run_id, tool="test", shard=spec.index, generation=0, findings=0, demo=True
    )
    return ShardCommit(
        shard=spec.index,
        generation=0,
        table=rows.table(),
        coverage={"bytes": spec.rows},
        started=time.time(),
        finished=time.time(),
        bytes_fetched=0,
        sealed=seal_bundle(head, [], site.recipients()),
        found=Found(),
    )
