"""Whole jobs, composed from a site: scan a source, match a run again, search it for similar photos. The command line, the demo and tests call these.

Everything that can be refused is refused before the first row: no authority, no list, a kernel that cannot confine, another run's directory.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from custodes.carrier.protocol import Model
from custodes.cluster import Cluster
from custodes.cluster.ray import RayExecutor
from custodes.config import Site
from custodes.confine import HINT
from custodes.errors import FencedError, InputError, JailError, WorldError
from custodes.ledger.leases import Leases
from custodes.ledger.manifest import ListUsed, Manifest
from custodes.ledger.run import RunDirectory, ShardRecord
from custodes.ledger.store import Place, Store
from custodes.model import URL_KINDS, Reason
from custodes.scan.embedding import EmbedRequest, with_model
from custodes.scan.html import render
from custodes.scan.joining import model_of, vectors_of
from custodes.scan.labels import label_rows
from custodes.scan.lists_along import leave_lists, take_lists_away
from custodes.scan.pool import Event, Hello, LocalPool, Report
from custodes.scan.rematch import rematch_manifest, rematch_slots, rematch_store
from custodes.scan.report import RunReport, report_of
from custodes.scan.run import ScanPlan, ScanResult, jobs_to_do, manifest_of, plan_of, plan_scan, run_jobs
from custodes.scan.settings import ScanSettings
from custodes.scan.shard import ShardJob
from custodes.scan.similar import Probe, Wanted, asked_of, lay_out, select
from custodes.scan.similar_runs import (
    runs_of,
    selection_of,
    similar_manifest,
    similar_runs,
    similar_store,
    sweep_unchosen,
)
from custodes.scan.summary import json_line
from custodes.scan.supply import Listed, Supply, leased
from custodes.similar.reading import Reading
from custodes.similar.vectors import load_vectors
from custodes.similar.versions import Versions
from custodes.sources.base import Plan, SourceOptions
from custodes.sources.files import shown

__all__ = ["Job", "ScanRequest", "SimilarRequest", "prepare_rematch", "prepare_scan", "prepare_similar"]

SLOTS = 4
TRIAL = (sys.executable, "-P", "-c", "from custodes.confine import main; main()")
WORKER = (sys.executable, "-P", "-m", "custodes.cli.worker")


@dataclass(frozen=True)
class ScanRequest:
    """What to scan, and how far from what is configured."""

    source: str
    run: Place
    lists: Sequence[str] = ()
    settings: ScanSettings = field(default_factory=ScanSettings)
    options: SourceOptions = field(default_factory=SourceOptions)
    retry: Sequence[Reason] = ()
    workers: int = 0
    embed: EmbedRequest | None = None
    cluster: Cluster | None = None


@dataclass(frozen=True)
class SimilarRequest:
    """Which run to search in, by what vectors and probe, and how far. ``fetch``: get the suspects and match their digests."""

    run: Place
    vectors: str | None
    wanted: Wanted
    column: str | None = None
    probes: Path | None = None
    seeds: Path | None = None
    fetch: bool = False
    workers: int = 0
    cluster: Cluster | None = None


@dataclass
class Job:
    """A job that may start: its run directory, and what is left to do in it."""

    site: Site
    run: RunDirectory
    todo: list[ShardJob]
    workers: int
    done: Mapping[int, ShardRecord]  # committed before this job began
    parent: str = ""
    lock: ExitStack = field(default_factory=ExitStack)
    model: Model | None = None
    cluster: Cluster | None = None
    in_swap: bool = False
    """Whether the kernel could write the lists' memory to swap while this job ran."""

    @property
    def rows_done(self) -> int:
        """Rows of the shards that were committed before this job began."""
        return sum(record.rows for record in self.done.values())

    @property
    def slots(self) -> int:
        """Shards that a worker has in hand at once: while the slowest links of one keep it waiting, others go on; a rematch judges many together."""
        plan = plan_of(self.run.manifest)
        if self.parent and self.run.manifest.settings.get("similar") is None:
            return rematch_slots(plan.rows, len(plan.shards))
        return SLOTS if "bytes" in self.run.manifest.passes and not plan.holds_images else 1

    def work(self, watch: Callable[[Event], None]) -> RunReport:
        """Do what is left, add the run up, and leave the report beside it."""
        try:
            result = self._run(watch) if self.todo else ScanResult()
            refuse_if_fenced(result)
            records = list(self.run.records())  # once: from here on nothing commits
            self.run.sweep(records)
            self.run.sealed_files(records)  # raises if a findings file is missing or was changed
            report = report_of(
                self.run, result.failures, share_warn=self.site.config.scan.unexamined_share_warn, records=records
            )
            write_report(self.run.store, report)
            return report
        finally:
            self.lock.close()

    def _run(self, watch: Callable[[Event], None]) -> ScanResult:
        hello = Hello(
            config=str(self.site.path),
            run=self.run.store.at(),
            workers=self.workers,
            slots=self.slots,
            parent=self.parent,
            model=self.model,
            per_host=self.site.config.fetch.per_host,
        )
        with ExitStack() as stack:
            supply = self._supply(stack)
            if self.cluster is not None:
                return self._run_on(RayExecutor(hello, self.cluster), supply, watch)
            shelf = self.site.shelf(self.run.manifest.lists)
            stack.callback(shelf.close)
            self.in_swap = shelf.in_swap
            hello = msgspec.structs.replace(hello, shelf=shelf.descriptors)
            return run_jobs(LocalPool(WORKER, hello), supply, watch)

    def _run_on(self, executor: RayExecutor, supply: Supply, watch: Callable[[Event], None]) -> ScanResult:
        """On a cluster. While it works the run holds the lists, encrypted as they are here, for nodes that do not have them."""
        leave_lists(self.run, self.site.lists())
        result = run_jobs(executor, supply, watch)
        self.in_swap = executor.in_swap
        if not result.failures:
            take_lists_away(self.run)
        return result

    def _supply(self, stack: ExitStack) -> Supply:
        """What is left; with a database, as much of it as the other coordinators of the run leave to this one."""
        database = self.site.database()
        if database is None:
            return Listed(self.todo)
        leases = stack.enter_context(Leases(database, self.run.manifest.run_id))
        return leased(leases, self.run, self.todo, self.done.values())


def refuse_if_fenced(result: ScanResult) -> None:
    """Raise what a worker was told at the fence: who has outlived his lease writes no report either."""
    for failure in result.failures:
        if failure.kind == FencedError.__name__:
            raise FencedError(failure.message, hint=failure.hint)


def write_report(store: Store, report: RunReport) -> None:
    """``report.html`` and ``report.json`` in the run directory. They can be made again at any time."""
    store.replace("report.html", render(report).encode())
    store.replace("report.json", msgspec.json.encode(json_line(report)))


def prepare_scan(site: Site, request: ScanRequest) -> Job:
    """Check everything, plan the source, write or compare the manifest, and say what is left to do."""
    recipients = site.recipients()
    site.check_keys()
    used = site.lists_used(request.lists)
    fetches = "bytes" in request.settings.passes
    confinement = confinement_of(request.settings) if fetches else "not needed: no image is decoded"
    plan = plan_scan(request.source, request.options, request.settings)
    if request.retry and (plan.holds_images or not fetches):
        raise InputError("--retry is for links that were fetched, and this scan fetches none", hint="leave it out")
    if not fetches:
        refuse_if_nothing_to_compare(site, plan, used)
    settings, model = with_model(request.settings, request.embed) if request.embed else (request.settings, None)
    manifest = manifest_of(
        ScanPlan(
            dataset=shown(request.source),
            plan=plan,
            settings=settings,
            lists=used,
            recipients=[str(recipient) for recipient in recipients],
            demo_authority=site.config.authority.demo,
            confinement=confinement,
        )
    )
    run, lock = create_locked(site, request.run, manifest)
    done = run.latest()
    todo = jobs_to_do(done, plan_of(run.manifest), request.retry)
    return Job(
        site,
        run,
        todo,
        request.workers or site.workers(),
        done,
        lock=lock,
        model=model,
        cluster=request.cluster,
    )


def prepare_rematch(
    site: Site, place: Place, list_ids: Sequence[str], workers: int = 0, cluster: Cluster | None = None
) -> Job:
    """Set up a run inside the one at ``place`` that judges its stored digests against today's lists."""
    parent = RunDirectory.open(place, site.run_key())
    done, planned = len(parent.latest()), len(plan_of(parent.manifest).shards)
    if done < planned:
        raise InputError(
            f"{parent.shown} is not finished: {done} of {planned} shards",
            hint="finish the scan first: start it again",
        )
    recipients = [str(recipient) for recipient in site.recipients()]
    demo, judging = site.config.authority.demo, site.scan_settings()
    manifest = rematch_manifest(parent, site.lists_used(list_ids), recipients, judging, demo=demo)
    run, lock = create_locked(site, rematch_store(parent, manifest), manifest)
    judged = run.latest()
    todo = jobs_to_do(judged, plan_of(run.manifest))
    return Job(
        site,
        run,
        todo,
        workers or site.workers(),
        judged,
        parent=parent.store.at(),
        lock=lock,
        cluster=cluster,
    )


def prepare_similar(site: Site, request: SimilarRequest, progress: Callable[[int], None] = lambda _: None) -> Job:
    """Read the vectors, choose suspects, and set up a run inside ``request.run`` that hands them over.

    A scan that had chosen before it stopped is gone on with first, whatever is asked now.
    """
    parent = RunDirectory.open(request.run, site.run_key())
    recipients = [str(recipient) for recipient in site.recipients()]
    with ExitStack() as undone:
        lock = parent.hold()
        undone.callback(lock.close)
        run = unfinished_similar(parent, site) or similar_run(site, parent, request, recipients, progress)
        done = run.latest()
        todo = jobs_to_do(done, plan_of(run.manifest))
        undone.pop_all()
    return Job(
        site,
        run,
        todo,
        request.workers or site.workers(),
        done,
        parent=parent.store.at(),
        lock=lock,
        cluster=request.cluster,
    )


def unfinished_similar(parent: RunDirectory, site: Site) -> RunDirectory | None:
    """The scan for similar photos that chose its suspects and has not handed all of them over."""
    for run in similar_runs(parent, site.run_key()):
        if len(run.latest()) < len(plan_of(run.manifest).shards):
            return run
    return None


def similar_run(
    site: Site,
    parent: RunDirectory,
    request: SimilarRequest,
    recipients: Sequence[str],
    progress: Callable[[int], None],
) -> RunDirectory:
    """The run that answers a request, its suspects chosen. If it was asked before, with the same verdicts, it is the one of then."""
    if request.fetch and "bytes" in parent.manifest.passes:
        raise InputError(
            f"the images of {parent.shown} were examined already",
            hint="leave --then out; scan --retry tries links again",
        )
    used, key = site.lists_used(), site.run_key()
    verdicts = (
        site.verdicts().standing([run.manifest.run_id for run in runs_of(parent, key)])
        if site.config.authority.verifiers
        else {}
    )
    labels = label_rows(parent, site.examiner(used), key, verdicts, request.wanted.meaning)
    shards = vectors_of(request.vectors, request.column, labels.files, parent)
    wanted = msgspec.structs.replace(request.wanted, model=model_of(parent, request.vectors, request.wanted.model))
    seeds = load_vectors(str(request.seeds)) if request.seeds else np.empty((0, 0), dtype=np.float32)
    given = (shards, seeds, probe_of(request.probes, wanted), wanted)
    asked = asked_of(parent, key, labels, verdicts, given)
    settings = site.scan_settings(similar=asked.settings)
    old = msgspec.convert(parent.manifest.settings, ScanSettings)
    manifest = similar_manifest(
        parent,
        used,
        recipients,
        settings,
        passes=["similar", "bytes"] if request.fetch else ["similar"],
        demo_authority=site.config.authority.demo,
        unsafe=parent.manifest.unsafe,
        confinement=confinement_of(old) if request.fetch else "not needed: no image is decoded",
        stale_lists=site.lists().stale([each.id for each in used]),
    )
    store = similar_store(parent, manifest)
    sweep_unchosen(parent, keep=store)
    run = RunDirectory.create(store, manifest, key)
    if selection_of(run) is None:
        how = Reading(len(os.sched_getaffinity(0)))
        if request.cluster is not None:
            read_elsewhere(site, run, lay_out(run, asked, how), request, progress)
        select(run, key, asked, how, progress)
    return run


def read_elsewhere(
    site: Site, run: RunDirectory, parts: list[ShardJob], request: SimilarRequest, progress: Callable[[int], None]
) -> None:
    """Have parts of the vectors read on a cluster. What could not be read there is read here afterwards, or says why it cannot be."""
    assert request.cluster is not None
    workers = request.workers or site.workers()
    hello = Hello(config=str(site.path), run=run.store.at(), workers=workers, parts="scan")
    done = 0

    def watch(event: Event) -> None:
        nonlocal done
        if isinstance(event, Report):
            done += event.report.rows
            progress(done)

    if parts:
        failures = run_jobs(RayExecutor(hello, request.cluster), Listed(parts), watch).failures
        if fatal := next((each for each in failures if each.fatal), None):
            raise WorldError(fatal.message, hint=fatal.hint)


def probe_of(folder: Path | None, wanted: Wanted) -> Probe | None:
    """The probe in service there. Raises InputError where there is none, or where it is of another model."""
    if folder is None:
        return None
    versions = Versions(folder)
    version = versions.in_service()
    if version is None:
        raise InputError(f"no probe is in service in {folder}", hint="teach one: custodes similar teach")
    taught = versions.load(version)
    if taught.card.model != wanted.model:
        raise InputError(
            f"the probe in {folder} is of the model {shown(taught.card.model)!r}, and the vectors are of {shown(wanted.model)!r}",
            hint="a probe reads the vectors of its own model only",
        )
    return Probe(version, taught)


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


def create_locked(site: Site, place: Place | Store, manifest: Manifest) -> tuple[RunDirectory, ExitStack]:
    """The run directory, created or gone on with, and held: with those who share its shards, where there is a database to share them by."""
    stale = site.lists().stale([used.id for used in manifest.lists])
    run = RunDirectory.create(place, msgspec.structs.replace(manifest, stale_lists=stale), site.run_key())
    return run, run.hold(shared=bool(site.config.database.url))
