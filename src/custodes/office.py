"""Hand-over, composed from a site: what a run found is told again in memory, becomes incidents, and goes out by a route.

Nothing here sends or keeps by itself; the order of things is that of ``handover.desk``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from custodes.carrier.client import Carrier
from custodes.config import Site
from custodes.errors import InputError
from custodes.examine import Examiner
from custodes.handover.custody import Custody
from custodes.handover.custody import Means as CustodyMeans
from custodes.handover.desk import Desk, Means
from custodes.handover.finding import Finding
from custodes.handover.incident import Incident, incident_namer, incidents_of
from custodes.handover.outbox import Outbox
from custodes.handover.package import About, ListVersion, Reporter
from custodes.handover.receipts import Receipts
from custodes.ledger.run import RunDirectory
from custodes.lists.matcher import Matcher
from custodes.scan.again import findings_again
from custodes.scan.run import plan_of
from custodes.scan.settings import ScanSettings
from custodes.scan.shard import ShardTools

__all__ = ["Office", "Told", "told_of"]


@dataclass(frozen=True)
class Told:
    """What a run, with its rematches and scans for similar photos, has to hand over."""

    runs: tuple[RunDirectory, ...]
    incidents: tuple[Incident, ...]


def told_of(site: Site, path: Path) -> Told:
    """Compare again what the run keeps, in memory. Raises InputError for a run that lies in another, or is not finished."""
    key = site.run_key()
    run = RunDirectory.open(path, key)
    if run.manifest.parent:
        raise InputError(f"{path} lies in another run", hint="give that one: what lies in it counts with it")
    inside = sorted(path.glob("rematch/*/manifest.json")) + sorted(path.glob("similar/*/manifest.json"))
    runs = [run, *(RunDirectory.open(each.parent, key) for each in inside)]
    done = [each for each in runs if each.manifest.passes and each.latest()]
    if run not in done:
        raise InputError(f"{path} has examined nothing yet", hint="scan first")
    findings = (finding for each in done for finding in _findings(site, each, run))
    incidents = incidents_of(findings, incident_namer(key), demo=run.manifest.demo_authority)
    return Told(tuple(done), tuple(incidents))


def _findings(site: Site, run: RunDirectory, parent: RunDirectory) -> Iterator[Finding]:
    settings = msgspec.convert(run.manifest.settings, ScanSettings)
    loaded = site.lists().load({used.id: used.version for used in run.manifest.lists})
    tools = ShardTools(
        run=run,
        plan=plan_of(run.manifest),
        settings=settings,
        examiner=Examiner(Matcher(loaded, settings.match, meanings=settings.meaning), settings.policy.policy()),
        carrier=Carrier(settings.carrier_start()),  # never started: nothing is fetched here
        recipients=(),
        run_key=site.run_key(),
    )
    return findings_again(tools, None if run is parent else parent)
