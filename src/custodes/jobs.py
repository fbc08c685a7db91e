"""Whole jobs, composed from a site: scan a source, match a run again. The command line, the demo and tests call these two.

Everything that can be refused is refused before the first row: no authority, no list, a kernel that cannot confine, another run's directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from custodes.config import Site
from custodes.confine import HINT
from custodes.errors import InputError, JailError
from custodes.ledger.manifest import ListUsed, Manifest
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.model import URL_KINDS, Reason
from custodes.scan.html import render
from custodes.scan.pool import Event, Hello, LocalPool
from custodes.scan.rematch import rematch_manifest, rematch_path, rematch_slots
from custodes.scan.report import RunReport, report_of
from custodes.scan.run import ScanPlan, ScanResult, jobs_to_do, manifest_of, plan_of, plan_scan, run_jobs
from custodes.scan.settings import ScanSettings
from custodes.scan.shard import ShardJob
from custodes.scan.summary import json_line
from custodes.sources.base import Plan, SourceOptions
from custodes.sources.files import shown

__all__ = ["Job", "ScanRequest", "prepare_rematch", "prepare_scan"]

SLOTS = 4
TRIAL = (sys.executable, "-P", "-c", "from custodes.confine import main; main()")
WORKER = (sys.executable, "-P", "-m", "custodes.cli.worker")


@dataclass(frozen=True)
class ScanRequest:
    """What to scan, and how far from what is configured."""

    source: str
    run: Path
    lists: Sequence[str] = ()
    settings: ScanSettings = field(default_factory=ScanSettings)
    options: SourceOptions = field(default_factory=SourceOptions)
    retry: Sequence[Reason] = ()
    workers: int = 0


@dataclass
class Job:
    """A job that may start: its run directory, and what is left to do in it."""

    site: Site
    run: RunDirectory
    todo: list[ShardJob]
    workers: int
    rows_done: int  # committed before this job began
    parent: str = ""
    lock: int = -1
    in_swap: bool = False
    """Whether the kernel could write the lists' memory to swap while this job ran."""

    @property
    def slots(self) -> int:
        """Shards that a worker has in hand at once: while the slowest links of one keep it waiting, others go on; a rematch judges many together."""
        plan = plan_of(self.run.manifest)
        if self.parent:
            return rematch_slots(plan.rows, len(plan.shards))
        return SLOTS if "bytes" in self.run.manifest.passes and not plan.holds_images else 1

    def work(self, watch: Callable[[Event], None]) -> RunReport:
        """Do what is left, add the run up, and leave the report beside it."""
        try:
            result = self._run(watch) if self.todo else ScanResult()
            records = list(self.run.records())  # once: from here on nothing commits
            self.run.sweep(records)
            self.run.sealed_files(records)  # raises if a findings file is missing or was changed
            report = report_of(
                self.run, result.failures, share_warn=self.site.config.scan.unexamined_share_warn, records=records
            )
            write_report(self.run.path, report)
            return report
        finally:
            os.close(self.lock)

    def _run(self, watch: Callable[[Event], None]) -> ScanResult:
        shelf = self.site.shelf(self.run.manifest.lists)
        self.in_swap = shelf.in_swap
        try:
            hello = Hello(
                config=str(self.site.path),
                run=str(self.run.path.resolve()),
                workers=self.workers,
                slots=self.slots,
                parent=self.parent,
                shelf=shelf.descriptors,
            )
            return run_jobs(LocalPool(WORKER, hello), self.todo, watch)
        finally:
            shelf.close()


def write_report(path: Path, report: RunReport) -> None:
    """``report.html`` and ``report.json`` in the run directory. They can be made again at any time, so nothing is synced."""
    for name, text in (
        ("report.html", render(report)),
        ("report.json", msgspec.json.encode(json_line(report)).decode()),
    ):
        aside = path / f".{name}.{os.getpid()}.tmp"
        aside.write_text(text, encoding="utf-8")
        aside.replace(path / name)


def prepare_scan(site: Site, request: ScanRequest) -> Job:
    """Check everything, plan the source, write or compare the manifest, and say what is left to do."""
    recipients = site.recipients()
    used = site.lists_used(request.lists)
    fetches = "bytes" in request.settings.passes
    confinement = confinement_of(request.settings) if fetches else "not needed: no image is decoded"
    plan = plan_scan(request.source, request.options, request.settings)
    if request.retry and (plan.holds_images or not fetches):
        raise InputError("--retry is for links that were fetched, and this scan fetches none", hint="leave it out")
    if not fetches:
        refuse_if_nothing_to_compare(site, plan, used)
    manifest = manifest_of(
        ScanPlan(
            dataset=shown(request.source),
            plan=plan,
            settings=request.settings,
            lists=used,
            recipients=[str(recipient) for recipient in recipients],
            demo_authority=site.config.authority.demo,
            confinement=confinement,
        )
    )
    run, lock = create_locked(site, request.run, manifest)
    done = run.latest()
    todo = jobs_to_do(done, plan_of(run.manifest), request.retry)
    return Job(site, run, todo, request.workers or site.workers(), rows_of(done), lock=lock)


def prepare_rematch(site: Site, path: Path, list_ids: Sequence[str], workers: int = 0) -> Job:
    """Set up a run inside ``path`` that judges its stored digests against today's lists."""
    parent = RunDirectory.open(path, site.run_key())
    done, planned = len(parent.latest()), len(plan_of(parent.manifest).shards)
    if done < planned:
        raise InputError(
            f"{path} is not finished: {done} of {planned} shards",
            hint="finish the scan first: start it again",
        )
    recipients = [str(recipient) for recipient in site.recipients()]
    demo, judging = site.config.authority.demo, site.scan_settings()
    manifest = rematch_manifest(parent, site.lists_used(list_ids), recipients, judging, demo=demo)
    run, lock = create_locked(site, rematch_path(path, manifest), manifest)
    judged = run.latest()
    todo = jobs_to_do(judged, plan_of(run.manifest))
    return Job(site, run, todo, workers or site.workers(), rows_of(judged), parent=str(path.resolve()), lock=lock)


def rows_of(records: Mapping[int, ShardRecord]) -> int:
    """Rows in these shards."""
    return sum(record.rows for record in records.values())


def refuse_if_nothing_to_compare(site: Site, plan: Plan, used: Sequence[ListUsed]) -> None:
    """A pass over columns that have no kind in common with the lists would find nothing and say so in good faith."""
    listed = site.lists().load({item.id: item.version for item in used}).kinds
    held = {*plan.columns.digest_columns(), *(URL_KINDS if plan.columns.url else ())}
    if not held & set(listed):
        raise InputError(
            f"there is nothing to compare: the dataset's columns give {', '.join(sorted(held)) or 'no digest'}, "
            f"the lists hold {', '.join(listed)}",
            hint="map a column with --column md5=NAME, choose other lists, or add the pass bytes",
        )


def confinement_of(settings: ScanSettings) -> str:
    """How decoders will be confined, for the manifest. Raises JailError, before anything is fetched, where they cannot be."""
    if settings.unsafe_no_jail:
        return "none (--unsafe-no-jail)"
    tried = subprocess.run(TRIAL, check=False, capture_output=True, text=True)  # noqa: S603
    if tried.returncode:
        raise JailError(f"decoders cannot be confined: {tried.stderr.strip() or 'the trial died'}", hint=HINT)
    return tried.stdout.strip()


def create_locked(site: Site, path: Path, manifest: Manifest) -> tuple[RunDirectory, int]:
    """The run directory, created or gone on with, and held."""
    stale = site.lists().stale([used.id for used in manifest.lists])
    run = RunDirectory.create(path, msgspec.structs.replace(manifest, stale_lists=stale), site.run_key())
    return run, run.hold()
