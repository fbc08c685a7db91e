"""How long what was handed over has to be kept, and what is to be deleted then: counted from the custody record, and from nothing else.

Promises that nothing is deleted before the longest of its terms has run from the act that starts it, nor while it is held; that a clock which was set
back shortens no term; and that what was deleted has its line in the record, also after a crash in between. Terms are data of a jurisdiction; all
arithmetic is in UTC. Where things lie, and how they are removed, is the caller's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

import msgspec

from custodes.errors import InputError
from custodes.handover.custody import Act, Custody, Deed, Recorded
from custodes.handover.words import Environment, check_word

__all__ = ["Kept", "Term", "What", "due", "ends", "hold", "kept", "purge", "unhold"]

What = Literal["receipt", "package"]
DAYS_MAX: Final = 36_525
YEARS_MAX: Final = 100
_MADE_BY: Final[dict[Act, What]] = {Act.RECEIVED: "receipt", Act.SEALED: "package"}
_ANY: Final = "*"  # no route is named so


class Term(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That something is kept for so many days, or for so many calendar years, from the last act of this sort on."""

    what: What
    since: Act
    days: int = 0
    years: int = 0

    def __post_init__(self) -> None:
        if (self.days > 0) == (self.years > 0) or not 0 <= self.days <= DAYS_MAX or not 0 <= self.years <= YEARS_MAX:
            raise ValueError(f"a term has either 1 to {DAYS_MAX:,} days or 1 to {YEARS_MAX} years")


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing that is kept: the receipts of an incident from one route, or a sealed package by its digest. ``due``: None while no term has run out or can."""

    what: What
    environment: Environment
    incidents: tuple[str, ...]
    route: str = ""
    digest: str = ""
    due: datetime | None = None
    holds: tuple[str, ...] = ()


def ends(start: datetime, term: Term) -> datetime:
    """When a term that starts then is over. A year from 29 February ends on 1 March: never a day early."""
    start = start.astimezone(UTC)
    if term.days:
        return start + timedelta(days=term.days)
    try:
        return start.replace(year=start.year + term.years)
    except ValueError:
        return start.replace(year=start.year + term.years, month=3, day=1)


def kept(records: Iterable[Recorded], terms: Sequence[Term]) -> list[Kept]:
    """What the record says is kept, until when, and what is held."""
    told = _Told()
    for recorded in records:
        told.note(recorded)
    return [told.thing(key, terms) for key in told.things]


def due(things: Iterable[Kept], now: datetime) -> list[Kept]:
    """Those whose time is over and that nothing holds."""
    return [thing for thing in things if thing.due is not None and thing.due <= now and not thing.holds]


def purge(
    custody: Custody, terms: Sequence[Term], now: datetime, who: str, remove: Callable[[Kept], None]
) -> list[Kept]:
    """Delete what is due, each with its line in the record. ``remove`` also takes what is gone already: after a crash it is called again.

    Nobody records anything meanwhile, so that no hold comes too late.
    """

    def delete() -> list[Kept]:
        things = due(kept(custody.records(), terms), now)
        for thing in things:
            remove(thing)  # first, so that nothing is said to be gone that is not
            custody.append(_deletion(thing, who))
        return things

    return custody.alone(delete)


def hold(custody: Custody, incident: str, reason: str, who: str) -> None:
    """Nothing of this incident is deleted until this reason is taken back. Raises InputError where the incident is unknown, or held for it already."""

    def held() -> None:
        if reason in _holds(custody, incident):
            raise InputError("the incident is held for this reason already")
        custody.append(_holding(custody, Act.HELD, incident, reason, who))

    custody.alone(held)


def unhold(custody: Custody, incident: str, reason: str, who: str) -> None:
    """Take a reason back. Raises InputError where there is no such hold."""

    def unheld() -> None:
        if reason not in _holds(custody, incident):
            raise InputError("the incident is not held for this reason")
        custody.append(_holding(custody, Act.UNHELD, incident, reason, who))

    custody.alone(unheld)


def _holds(custody: Custody, incident: str) -> set[str]:
    told = _Told()
    for recorded in custody.of(incident):
        told.note(recorded)
    return told.holds[incident]


def _holding(custody: Custody, act: Act, incident: str, reason: str, who: str) -> Deed:
    check_word(reason)
    known = custody.of(incident)
    if not known:
        raise InputError("the record knows no such incident", hint="hold it under the id that it was handed over with")
    return Deed(act=act, who=who, incident=incident, environment=known[-1].environment, reason=reason)


def _deletion(thing: Kept, who: str) -> Deed:
    incident = thing.incidents[0] if thing.what == "receipt" else ""
    return Deed(
        act=Act.DELETED,
        who=who,
        incident=incident,
        environment=thing.environment,
        route=thing.route,
        digest=thing.digest,
        reason=thing.what,
    )


class _Key(NamedTuple):
    """What a thing is known by: receipts by incident and route, a package by its digest."""

    what: What
    environment: Environment
    incident: str = ""
    route: str = ""
    digest: str = ""


class _Told:
    """What the lines of a record say, one after the other."""

    def __init__(self) -> None:
        self.things: defaultdict[_Key, set[str]] = defaultdict(set)
        self.holds: defaultdict[str, set[str]] = defaultdict(set)
        self._acts: dict[tuple[str, ...], datetime] = {}
        self._latest = datetime.min.replace(tzinfo=UTC)

    def note(self, recorded: Recorded) -> None:
        self._latest = max(self._latest, recorded.at)  # lines are in order, whatever the clock was
        place = (recorded.act.value, recorded.incident, recorded.environment)
        self._acts[*place, recorded.route] = self._acts[*place, _ANY] = self._latest
        if recorded.act is Act.HELD:
            self.holds[recorded.incident].add(recorded.reason)
        elif recorded.act is Act.UNHELD:
            self.holds[recorded.incident].discard(recorded.reason)
        elif recorded.act is Act.DELETED:
            if key := _key(recorded, recorded.reason):
                self.things.pop(key, None)
        elif key := _key(recorded, _MADE_BY.get(recorded.act, "")):
            self.things[key].add(recorded.incident)

    def thing(self, key: _Key, terms: Sequence[Term]) -> Kept:
        """A thing with the end of its longest term. Where one of them has not begun, none of its time is over."""
        incidents = tuple(sorted(self.things[key]))
        running = [
            (self._start(term.since, one, key), term) for term in terms if term.what == key.what for one in incidents
        ]
        over = [ends(start, term) for start, term in running if start is not None]
        return Kept(
            what=key.what,
            environment=key.environment,
            incidents=incidents,
            route=key.route,
            digest=key.digest,
            due=max(over) if over and len(over) == len(running) else None,
            holds=tuple(sorted(set[str]().union(*(self.holds[one] for one in incidents)))),
        )

    def _start(self, act: Act, incident: str, key: _Key) -> datetime | None:
        """By the same route; an act that has none counts for all, and a package is sent by any."""
        place = (act.value, incident, key.environment)
        return self._acts.get((*place, key.route or _ANY)) or self._acts.get((*place, ""))


def _key(recorded: Recorded, what: str) -> _Key | None:
    if not recorded.environment:
        return None
    if what == "receipt" and recorded.incident:
        return _Key("receipt", recorded.environment, incident=recorded.incident, route=recorded.route)
    if what == "package" and recorded.digest:
        return _Key("package", recorded.environment, digest=recorded.digest)
    return None
