"""What was delivered and turned out to be mistaken, and how that is told: by verdict, or because lists withdrew every entry that it matched."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from custodes.handover.custody import Act, Custody, Deed
from custodes.handover.cybertipline.correction import Correction, Why
from custodes.handover.desk import Desk
from custodes.handover.finding import Match
from custodes.handover.incident import Incident
from custodes.handover.verdicts import Ruling, Verdict

__all__ = ["corrections_of", "mistaken", "record"]


def mistaken(
    incidents: Iterable[Incident], verdicts: Mapping[str, Verdict], listed: Callable[[Match], bool]
) -> list[tuple[Incident, Why]]:
    """Those that the authority rejected, all findings of them that it judged, and those that no list has any more."""
    found: list[tuple[Incident, Why]] = []
    for incident in incidents:
        said = {verdicts[place.finding].verdict for place in incident.places if place.finding in verdicts}
        if said == {Ruling.NOT}:
            found.append((incident, "not"))
        elif incident.matches and not any(map(listed, incident.matches)):
            found.append((incident, "withdrawn"))
    return found


def corrections_of(incident: Incident, why: Why, desk: Desk, told: tuple[str, str]) -> Iterator[Correction]:
    """One for each delivery that has the authority's number. ``told``: when it is made, and how you are reached."""
    made_at, contact = told
    for report_id, name in desk.receipts_of(incident).items():
        yield Correction(
            environment=desk.environment,
            report_id=report_id,
            incident=name,
            why=why,
            made_at=made_at,
            contact=contact or "as agreed",
        )


def record(custody: Custody, correction: Correction, by: tuple[str, str]) -> None:
    """What was decided, that it was told, and that the rows are released. ``by``: the operator and the route."""
    who, route = by
    first = Act.VERDICT if correction.why == "not" else Act.WITHDRAWN
    digest = hashlib.sha256(correction.document()).hexdigest()
    deeds = [
        Deed(
            act=act,
            who=who,
            incident=correction.incident,
            environment=correction.environment,
            route=route,
            digest=digest,
            receipt=correction.report_id,
            reason=correction.why,
        )
        for act in (first, Act.CORRECTED, Act.RELEASED)
    ]
    custody.append(*deeds)
