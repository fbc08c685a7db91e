"""Hand-over, composed from a site: what a run found is told again in memory, becomes incidents, and goes out by a route.

Nothing here sends or keeps by itself; the order of things is that of ``handover.desk``.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec

from custodes.carrier.client import Carrier
from custodes.config import Site
from custodes.crypto.keys import VerifierKey
from custodes.durable import make_folder
from custodes.errors import ConfigError, InputError
from custodes.handover.approvals import Guarded, Papers, TwoPerson, Wanted, subject_of
from custodes.handover.clocks import Kept, Term
from custodes.handover.custody import Act, Custody, Deed
from custodes.handover.custody import Means as CustodyMeans
from custodes.handover.delivery import Route
from custodes.handover.desk import Desk, Means
from custodes.handover.finding import Finding, Match
from custodes.handover.incident import NUMBERED, Incident, incident_namer, incidents_of
from custodes.handover.outbox import FORMAT as OUTBOX_FORM
from custodes.handover.outbox import Outbox, Pace
from custodes.handover.package import (
    ENVELOPE_SUFFIX,
    SEALED_SUFFIX,
    About,
    ListVersion,
    Reporter,
    make_packages,
    save_package,
)
from custodes.handover.pages import FilePages, Pages
from custodes.handover.parcel import SEALED_SUFFIX as WITHHELD_SUFFIX
from custodes.handover.place import Folder, Place
from custodes.handover.profiles import Profile, profile_of, terms_of, wants
from custodes.handover.receipts import FORMAT as RECEIPTS_FORM
from custodes.handover.receipts import Receipts
from custodes.handover.routes.connect import Around, Sender, connect
from custodes.handover.routes.settings import RouteSettings
from custodes.handover.shared import Shared
from custodes.handover.words import Environment
from custodes.ledger.run import RunDirectory
from custodes.ledger.store import Place as RunPlace
from custodes.scan.again import findings_again
from custodes.scan.run import plan_of
from custodes.scan.settings import ScanSettings
from custodes.scan.shard import ShardTools
from custodes.scan.similar_runs import runs_of
from custodes.sources.files import shown

__all__ = ["WITHHELD", "Office", "Told", "profile_in_force", "route_of", "told_of", "usual_route", "withheld_folder"]

WITHHELD: Final = "withheld"
"""Why something stands in the record as sealed: by the gateway, and not as a package of a run."""
DEFAULT_TERMS = (Term(what="receipt", since=Act.RECEIVED, years=1), Term(what="package", since=Act.SEALED, years=1))
"""Where no profile of a jurisdiction is in force: a year, the longest that one of them asks for."""


@dataclass(frozen=True)
class Told:
    """What a run, with its rematches and scans for similar photos, has to hand over."""

    runs: tuple[RunDirectory, ...]
    incidents: tuple[Incident, ...]


def told_of(site: Site, place: RunPlace) -> Told:
    """Compare again what the run keeps, in memory. Raises InputError for a run that lies in another, or is not finished."""
    key = site.run_key()
    run = RunDirectory.open(place, key)
    if run.manifest.parent:
        raise InputError(f"{run.shown} lies in another run", hint="give that one: what lies in it counts with it")
    done = [each for each in runs_of(run, key) if each.manifest.passes and each.latest()]
    if run not in done:
        raise InputError(f"{run.shown} has examined nothing yet", hint="scan first")
    findings = (finding for each in done for finding in _findings(site, each, run))
    incidents = incidents_of(findings, incident_namer(key), demo=run.manifest.demo_authority)
    return Told(tuple(done), tuple(incidents))


def _findings(site: Site, run: RunDirectory, parent: RunDirectory) -> Iterator[Finding]:
    settings = msgspec.convert(run.manifest.settings, ScanSettings)
    tools = ShardTools(
        run=run,
        plan=plan_of(run.manifest),
        settings=settings,
        examiner=site.examiner(run.manifest.lists, settings),
        carrier=Carrier(settings.carrier_start()),  # never started: nothing is fetched here
        recipients=(),
        run_key=site.run_key(),
    )
    return findings_again(tools, None if run is parent else parent)


def usual_route(site: Site) -> str:
    """The route that the jurisdiction of the policy asks for today. Raises ConfigError where none is named, or where it is not clear which is meant."""
    jurisdiction, settings = site.config.policy.jurisdiction, site.config.handover
    if not jurisdiction:
        raise ConfigError(
            "no route is named, and no jurisdiction that would name one",
            hint='say --route ROUTE, or put the jurisdiction into the configuration: [policy] jurisdiction = "us"',
        )
    sort = profile_of(jurisdiction, datetime.now(UTC).date()).route
    named = {"hotline": list(settings.hotline), "webhook": list(settings.webhook)}
    if sort not in named:
        return sort
    if len(named[sort]) != 1:
        raise ConfigError(
            f"the jurisdiction {jurisdiction} asks for a {sort}, and {len(named[sort])} are configured",
            hint=f"say which: --route {sort}.NAME, or configure [handover.{sort}.NAME]",
        )
    return f"{sort}.{named[sort][0]}"


def route_of(site: Site, text: str, *, to_show: bool = False) -> Route:
    """The route that is named so: ``cybertipline``, ``coop``, ``webhook.NAME`` or ``hotline.NAME``. Raises ConfigError where it is not configured.

    ``to_show``: nothing will be sent, so that no credentials are needed.
    """
    settings = site.config.handover
    name = text.partition(".")[2]
    known: dict[str, RouteSettings | None] = {"cybertipline": settings.cybertipline, "coop": settings.coop}
    known |= {f"webhook.{each}": one for each, one in settings.webhook.items()}
    known |= {f"hotline.{each}": one for each, one in settings.hotline.items()}
    found = known.get(text)
    if found is None:
        there = ", ".join(each for each, one in known.items() if one is not None)
        raise ConfigError(
            f"no route {shown(text)!r} is configured", hint=f"there is {there}; see docs/concepts/routes.md"
        )
    sender = Sender(reporter_of(site), site.signing_key())
    return connect(found, Around(site.home, os.environ, sender, account=not to_show), name)


def reporter_of(site: Site) -> Reporter:
    """Who hands over, in words."""
    settings = site.config.handover
    return Reporter(name=settings.operator, contact=settings.contact or "not given")


def withheld_folder(site: Site) -> Path:
    """Where this site's gateway seals to."""
    return site.home / site.config.gateway.state / "withheld"


def profile_in_force(site: Site) -> Profile | None:
    """None where no jurisdiction is named, or none of its profiles is in force today."""
    try:
        return profile_of(site.config.policy.jurisdiction, datetime.now(UTC).date())
    except ConfigError:
        return None


@dataclass(frozen=True)
class _Rooms:
    """Where the outbox, the receipts and the record lie; and what tells here how far the record had come, where others keep it."""

    outbox: Place
    receipts: Place
    record: Pages
    guard: Path | None = None


def _rooms(site: Site, state: Path) -> _Rooms:
    """Folders of this machine, or the database that the site's machines share. Raises ConfigError, StorageError."""
    database = site.database()
    if database is None:
        record = FilePages(state / "custody", site.home / "custody.memory")
        return _Rooms(Folder(state / "outbox"), Folder(state / "receipts"), record)
    if state.exists():
        raise ConfigError(
            f"a database is configured, and {state} holds an outbox, receipts and a record that are not in it",
            hint="what was sent is known there alone: see docs/concepts/custody.md, on several machines",
        )
    shared = Shared(database)
    return _Rooms(shared.place(OUTBOX_FORM), shared.place(RECEIPTS_FORM), shared.pages(), site.home / "custody.guard")


class Office:
    """The outbox, the receipts and the record of a site. Opening it tells whether a key is missing that something in it is locked under."""

    def __init__(self, site: Site) -> None:
        settings, keys = site.config.handover, site.transport_keys()
        state = site.home / settings.state
        pace = Pace(alarm_after_s=settings.alarm_after_hours * 3600)
        self.site = site
        self.who = settings.operator
        rooms = _rooms(site, state)
        self.outbox = Outbox(rooms.outbox, keys, pace)
        self.receipts = Receipts(rooms.receipts, keys)
        means = CustodyMeans(signer=site.signing_key(), trusted=site.earlier_keys(), guard=rooms.guard)
        self.custody = Custody(rooms.record, means)
        self.rule = TwoPerson(settings.two_person, [VerifierKey.parse(text) for text in settings.approvers])

    def desk(self, route: Route) -> Desk:
        """Where incidents go out by a route."""
        return Desk(route, Means(self.outbox, self.receipts, self.custody, self.who))

    def unseal(self, files: Iterable[Path], papers: Papers | None) -> None:
        """Say in the record that these sealed files are opened here. Raises InputError where two people are needed, and two have not agreed to these."""
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        wanted = Wanted(Guarded.UNSEAL, subject_of(digests), "production")
        self.rule.permit(wanted, papers, self.custody, datetime.now(UTC))
        self.custody.append(*(Deed(act=Act.OPENED, who=self.who, digest=digest) for digest in digests))

    def permit(self, act: Guarded, incidents: Iterable[str], environment: Environment, papers: Papers | None) -> None:
        """Raises InputError where two people are needed, and two have not agreed to exactly this."""
        self.rule.permit(Wanted(act, subject_of(incidents), environment), papers, self.custody, datetime.now(UTC))

    def terms(self) -> tuple[Term, ...]:
        """How long things are kept here, by the jurisdiction of the policy, as of today."""
        profile = profile_in_force(self.site)
        return terms_of(profile) if profile else DEFAULT_TERMS

    def asked_for(self, incidents: Iterable[Incident]) -> list[Incident]:
        """Those that the jurisdiction of the policy asks anything for; without one all."""
        profile = profile_in_force(self.site)
        return [incident for incident in incidents if profile is None or wants(profile, incident) != "nothing"]

    def remove(self, thing: Kept, packages: Path | None) -> None:
        """Delete what is due. Raises InputError for a package whose folder was not named, or that is not there under its digest."""
        if thing.what == "receipt":
            for incident in thing.incidents:
                self.receipts.remove(incident, thing.route, thing.environment)
            return
        if thing.digest in self._withheld:
            self._remove_withheld(thing)
            return
        if packages is None:
            raise InputError("packages are due, and nobody said where they are", hint="name the folder: --packages DIR")
        for path in packages.rglob(f"*{SEALED_SUFFIX}"):
            if hashlib.sha256(path.read_bytes()).hexdigest() == thing.digest:
                path.with_name(path.name.removesuffix(SEALED_SUFFIX) + ENVELOPE_SUFFIX).unlink(missing_ok=True)
                path.unlink()

    @cached_property
    def _withheld(self) -> set[str]:
        return {each.digest for each in self.custody.records() if each.act is Act.SEALED and each.reason == WITHHELD}

    def _remove_withheld(self, thing: Kept) -> None:
        """What the gateway sealed: it has the name of its incident, and lies where the gateway seals to."""
        for incident in thing.incidents:
            for path in withheld_folder(self.site).glob(f"*/{incident}{WITHHELD_SUFFIX}"):
                if hashlib.sha256(path.read_bytes()).hexdigest() == thing.digest:
                    path.unlink()

    def listed(self) -> Callable[[Match], bool]:
        """Whether an entry that matched once is still in force. One that its list gave no id has another in each version: it counts as such."""
        contents = {loaded.id: loaded.contents for loaded in self.site.lists().load().lists}

        def still(match: Match) -> bool:
            if NUMBERED.fullmatch(match.entry):
                return True
            return match.list in contents and contents[match.list].id_number(match.entry) is not None

        return still

    def about(self, told: Told, environment: Environment) -> About:
        """What is said of a package beside its incidents."""
        lists = {(used.id, used.version) for run in told.runs for used in run.manifest.lists}
        return About(
            reporter=reporter_of(self.site),
            environment=environment,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            tool=told.runs[0].manifest.tool,
            runs=tuple(run.manifest.run_id for run in told.runs),
            datasets=tuple(sorted({run.manifest.dataset for run in told.runs})),
            lists=tuple(ListVersion(list=name, version=version) for name, version in sorted(lists)),
        )

    def pack(self, told: Told, folder: Path, environment: Environment) -> list[Path]:
        """Sealed, signed packages of all incidents; each stands in the record. Raises InputError where there is nothing to seal."""
        if not told.incidents:
            raise InputError("there is nothing to hand over", hint="no row of this run is a finding")
        about, signer = self.about(told, environment), self.site.signing_key()
        make_folder(folder)
        packages = list(make_packages(told.incidents, about, self.site.recipients(), signer))
        paths = []
        for number, package in enumerate(packages, 1):
            name = f"{told.runs[0].manifest.run_id}-{environment}-{number:03}"
            paths.append(save_package(package, folder, name)[0])
            deeds = [
                Deed(act=Act.SEALED, who=self.who, incident=each, environment=environment, digest=package.sha256)
                for each in package.incidents
            ]
            self.custody.append(*deeds)
        return paths
