"""What a site's gateway withheld, handed over: noted when it is sealed, taken up into the outbox, and from there sent as any incident is.

Promises that what the jurisdiction asks for is noted durably before anybody is answered; that noting waits for no outbox, no database and no network; that
a note is dropped only when the outbox has what it is of; and that each sealed file stands in the custody record, so that its time is counted. Nothing here
opens what is sealed. The order of things is that of ``handover.desk``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

import msgspec

from custodes.config import Site
from custodes.errors import ConfigError, InputError
from custodes.gateway.evidence import SUFFIX, withheld_files
from custodes.handover.approvals import Guarded, Papers
from custodes.handover.custody import Act, Custody, Deed
from custodes.handover.cybertipline.gateway import FILE_BYTES_MAX
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.delivery import Route
from custodes.handover.desk import Queued
from custodes.handover.locker import Damaged
from custodes.handover.parcel import Parcel, Takes
from custodes.handover.profiles import wants
from custodes.handover.slips import Slip, Slips
from custodes.model import Action
from custodes.office import WITHHELD, Office, profile_in_force, route_of, usual_route, withheld_folder

__all__ = [
    "Counted",
    "Handing",
    "Noting",
    "Parcels",
    "Taking",
    "Waiting",
    "counted",
    "evidence_route",
    "noting",
    "rotated",
    "slips_of",
    "unqueued",
    "waiting",
]

AGAIN_S: Final = 60.0
"""After so long what could not be taken up is tried again."""
SLIPS: Final = "slips"


def slips_of(site: Site) -> Slips:
    """Where the gateway notes. Raises ConfigError for a transport key that is missing."""
    return Slips(_slips_folder(site), site.transport_keys())


def _slips_folder(site: Site) -> Path:
    return site.home / site.config.gateway.state / SLIPS


def unqueued(site: Site) -> int:
    """How many slips wait to be taken up; none where nothing was ever noted."""
    return slips_of(site).count() if _slips_folder(site).is_dir() else 0


def rotated(site: Site) -> int:
    """Lock every slip under the first transport key."""
    return slips_of(site).rotate() if _slips_folder(site).is_dir() else 0


def evidence_route(site: Site) -> Route:
    """By which route this site's gateway hands over; nothing can be sent by it as it is. Raises ConfigError where it is not configured."""
    route = route_of(site, site.config.gateway.evidence.route or usual_route(site), to_show=True)
    if route.takes == "file" and not site.config.handover.cybertipline.email:
        raise ConfigError(
            "a report to NCMEC names who reports, and nobody is named",
            hint='set email = "…" in [handover.cybertipline]',
        )
    return route


# -- while the gateway answers


@dataclass(frozen=True)
class Noting:
    """The gateway's ``Notes``. ``asked``: whether an image is handed over by the route; ``stirred``: called when there is a new slip, by any thread."""

    slips: Slips
    takes: Takes
    asked: Callable[[Withheld], bool]
    stirred: Callable[[], object]

    def note(self, told: Withheld, rule: str, sealed: Path) -> None:
        """Put a slip, with the file where the route uploads it and it is not too large for that."""
        if not self.asked(told):
            return
        if self.takes != "file" or (told.file is not None and len(told.file.content) > FILE_BYTES_MAX):
            told = msgspec.structs.replace(told, file=None)
        self.slips.put(Slip(told=told, rule=rule, sealed=f"{sealed.parent.name}/{sealed.name}"))
        self.stirred()


def noting(site: Site, stirred: Callable[[], object]) -> Noting | None:
    """None where the gateway only seals. Raises ConfigError."""
    if not site.config.gateway.evidence.hand_over:
        return None
    route = evidence_route(site)
    site.signing_key()  # it is missing now, or never
    return Noting(slips_of(site), route.takes, lambda told: _asked(site, route, told), stirred)


def _asked(site: Site, route: Route, told: Withheld) -> bool:
    """By the profile that is in force today, without one by the decision. NCMEC takes what a list confirms, and nothing else."""
    profile = profile_in_force(site)
    wanted = "report" if told.decision == Action.REPORT else "package"
    wanted = wants(profile, told) if profile is not None else wanted
    return wanted == "report" and bool(told.matches) if route.takes == "file" else wanted != "nothing"


# -- beside it, or later


@dataclass(frozen=True, slots=True)
class Waiting:
    """Slips that the outbox has not taken up. ``oldest``: since when the first is there; ``damaged``: those that cannot be read back."""

    slips: int = 0
    oldest: datetime | None = None
    damaged: int = 0

    def alarming(self, now: datetime, alarm_after_s: float) -> bool:
        """One is there for too long, or cannot be read."""
        overdue = self.oldest is not None and self.oldest + timedelta(seconds=alarm_after_s) <= now
        return overdue or bool(self.damaged)


def waiting(site: Site) -> Waiting:
    """What was noted and not taken up."""
    if not unqueued(site):
        return Waiting()
    read = [slip for _, slip in slips_of(site).each()]
    found = [datetime.fromisoformat(slip.told.found_at) for slip in read if isinstance(slip, Slip)]
    return Waiting(len(read), min(found, default=None), len(read) - len(found))


@dataclass(frozen=True)
class Parcels:
    """What a site has for one route, made to be handed over."""

    site: Site
    route: Route

    def noted(self) -> Iterator[tuple[str, Parcel, Path]]:
        """By name of the slip, with where the sealed file should lie. What cannot be read is passed over here, and told by ``waiting``."""
        if not unqueued(self.site):
            return
        for name, slip in slips_of(self.site).each():
            if not isinstance(slip, Damaged):
                path = withheld_folder(self.site) / slip.sealed
                yield name, self._of_slip(slip, path), path

    def lying(self, folder: Path) -> Iterator[tuple[Parcel, Path]]:
        """What lies sealed in a folder. Nothing is known of it. Raises InputError for a name that no gateway gave."""
        for path in withheld_files(folder):
            try:
                sealed = path.read_bytes() if self.route.takes == "sealed" else b""
                yield Parcel(id=_id_of(path), demo=self.site.config.authority.demo, sealed=sealed), path
            except ValueError as error:
                raise InputError(
                    f"{path} is not named as a gateway names what it seals", hint="give it its name back"
                ) from error
            except OSError as error:
                raise InputError(f"{path} cannot be read: {error.strerror}") from error

    def _of_slip(self, slip: Slip, path: Path) -> Parcel:
        if self.route.takes != "sealed":
            return Parcel(id=slip.told.id, demo=slip.told.demo, told=slip.told, rule=slip.rule)
        return Parcel(id=slip.told.id, demo=slip.told.demo, sealed=path.read_bytes() if path.exists() else b"")


class Taking:
    """Parcels of a site, on their way into the outbox of one route."""

    def __init__(self, office: Office, route: Route) -> None:
        self._office, self._route = office, route
        self._desk = office.desk(route)
        self._parcels = Parcels(office.site, route)

    def slips(self, papers: Papers | None = None) -> Queued:
        """Have all wait that was noted, and drop its slip. Raises InputError where two people are needed, and two have not agreed to these."""
        told = Queued()
        if not unqueued(self._office.site):
            return told
        slips = slips_of(self._office.site)
        permitted = self._permitted((parcel for _, parcel, _ in self._parcels.noted()), papers)
        for name, parcel, sealed in self._parcels.noted():
            if permitted is not None and parcel.id not in permitted:  # noted meanwhile
                continue
            one = self._queued(parcel, sealed)
            if not one.refused:
                slips.remove(name)
            told.add(one)
        return told

    def files(self, folder: Path, papers: Papers | None = None) -> Queued:
        """The same for what lies sealed in a folder and was never queued by this route, whatever it is: what nobody noted, nobody here can know."""
        told = Queued()
        permitted = self._permitted((parcel for parcel, _ in self._new(folder)), papers)
        for parcel, path in self._new(folder):
            if permitted is None or parcel.id in permitted:
                told.add(self._queued(parcel, path))
        return told

    def fresh(self, folder: Path | None) -> list[str]:
        """Names of what would be queued: of a folder's sealed files, or else of what was noted."""
        if folder is None:
            return self._desk.fresh_parcels(parcel for _, parcel, _ in self._parcels.noted())
        return self._desk.fresh_parcels(parcel for parcel, _ in self._new(folder))

    def _new(self, folder: Path) -> Iterator[tuple[Parcel, Path]]:
        """What nobody queued by this route."""
        return (each for each in self._parcels.lying(folder) if each[0].id not in self._known)

    @cached_property
    def _known(self) -> set[str]:
        """What was queued, and for a route that takes no sealed file what is noted: that goes as it was noted."""
        mine = (self._route.name, self._route.environment)
        noted = {parcel.id for _, parcel, _ in self._parcels.noted()} if self._route.takes != "sealed" else set()
        records = self._office.custody.records()
        queued = {
            each.incident for each in records if each.act is Act.QUEUED and (each.route, each.environment) == mine
        }
        return noted | queued

    @cached_property
    def _recorded(self) -> set[tuple[str, str]]:
        """Incident and digest of what the record has as sealed by the gateway."""
        sealings = (each for each in self._office.custody.records() if each.act is Act.SEALED)
        return {(each.incident, each.digest) for each in sealings if each.reason == WITHHELD}

    def _permitted(self, parcels: Iterable[Parcel], papers: Papers | None) -> set[str] | None:
        """Which of them may be queued; None: all. Raises InputError."""
        if Guarded.SEND not in self._office.rule.acts:
            return None
        fresh = set(self._desk.fresh_parcels(parcels))
        if fresh:
            self._office.permit(Guarded.SEND, fresh, self._route.environment, papers)
        return fresh

    def _queued(self, parcel: Parcel, sealed: Path) -> Queued:
        """In the record as sealed, then in the outbox, then in the record as queued."""
        if self._desk.takes(parcel) and sealed.exists():
            self._record_sealed(parcel.id, hashlib.sha256(sealed.read_bytes()).hexdigest())
        return self._desk.queue_parcels([parcel])

    def _record_sealed(self, name: str, digest: str) -> None:
        if (name, digest) in self._recorded:
            return
        deed = Deed(
            act=Act.SEALED,
            who=self._office.who,
            incident=name,
            environment=self._route.environment,
            digest=digest,
            reason=WITHHELD,
        )
        self._office.custody.append(deed)
        self._recorded.add((name, digest))


@dataclass
class Handing:
    """The gateway takes up by itself what it noted, beside its requests. ``stirred``: there is something new."""

    site: Site
    stirred: asyncio.Event

    async def taken(self) -> Queued:
        """Wait for new slips, or for a while, and have all wait to be sent. Raises CustodesError; then they stay as they are."""
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await self.stirred.wait()
        self.stirred.clear()
        return await asyncio.to_thread(self._take)

    def _take(self) -> Queued:
        return Taking(Office(self.site), evidence_route(self.site)).slips() if unqueued(self.site) else Queued()


# -- for a card


@dataclass(frozen=True, slots=True)
class Counted:
    """Images that were sealed in a period, and how many of them an authority has received by now."""

    sealed: int
    received: int


def counted(site: Site, custody: Custody, first: date, last: date) -> Counted:
    """By the days in the names of folders. Raises StorageError."""
    days = (path for path in withheld_files(withheld_folder(site)) if _within(path, first, last))
    sealed = {_id_of(path) for path in days}
    received = {each.incident for each in custody.records() if each.act is Act.RECEIVED} if sealed else set()
    return Counted(len(sealed), len(sealed & received))


def _within(path: Path, first: date, last: date) -> bool:
    try:
        return first <= date.fromisoformat(path.parent.name) <= last
    except ValueError:
        return False


def _id_of(path: Path) -> str:
    return path.name.removesuffix(SUFFIX)
