"""Reports of links that a dataset lists: from an incident to the document that NCMEC is sent, or a dry run shows.

Nothing is uploaded, for nothing is held: the links stand as URLs on servers of others, all else in words. What NCMEC has called inactionable
(nothing to open, no place, no hash) is refused here, as is what is only held for somebody to look into. Sending is for ``filing``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from custodes.errors import InputError
from custodes.handover.cybertipline.document import Content, made
from custodes.handover.cybertipline.links import Links
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.cybertipline.tables import INCIDENT_TYPE, REPORT
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.cybertipline.wording import DETECTION, places_text, statement
from custodes.handover.incident import Incident
from custodes.model import Action

__all__ = ["AHEAD_MAX", "check_reportable", "happened", "report_xml", "reporter_content", "summary_content"]

AHEAD_MAX: Final = timedelta(hours=1)
"""A detection that is this far ahead of NCMEC's clock has a wrong time; less is two clocks that differ."""
_PACKAGE: Final = "hand it over as a sealed package"


def report_xml(incident: Incident, settings: CyberTiplineSettings, now: datetime) -> bytes:
    """The document, byte for byte as it is submitted. ``now``: what the service's clock says. Raises InputError for what cannot be reported."""
    links = Links(incident.places)
    _check(incident, links, settings)
    page: Content = {
        "@thirdPartyHostedContent": "true",
        "url": links.urls,
        "additionalInfo": places_text(incident.places, links),
    }
    content: Content = {
        "incidentSummary": summary_content(incident.found_at, now),
        "internetDetails": {"webPageIncident": page},
        "reporter": reporter_content(settings),
        "additionalInfo": statement(incident, settings.environment, _image(incident)),
    }
    return made(REPORT, content, now)


def check_reportable(of: Incident | Withheld, settings: CyberTiplineSettings) -> None:
    """What holds of every report. Raises InputError."""
    if of.decision != Action.REPORT:
        raise InputError("what is held is not reported", hint=f"{_PACKAGE}, for the authority to look into")
    if of.demo and settings.environment == "production":
        raise InputError("a demonstration is never reported", hint='use environment = "test"')
    if not any(match.list and match.entry and match.kind for match in of.matches):
        raise InputError("a report names an entry of a list that matched, and this has none", hint=_PACKAGE)


def _check(incident: Incident, links: Links, settings: CyberTiplineSettings) -> None:
    check_reportable(incident, settings)
    if not links.of_the_web:
        raise InputError("no place of the incident has a web address: NCMEC could not act on it", hint=_PACKAGE)
    if not all(place.dataset and place.file and place.found_at for place in incident.places):
        raise InputError("a place lacks its dataset, its file or its time: NCMEC could not act on it", hint=_PACKAGE)


def summary_content(at: str, now: datetime, platform: str = "") -> Content:
    """The incident, as of the time of detection."""
    return _said(
        {
            "incidentType": INCIDENT_TYPE,
            "incidentDateTime": happened(at, now),
            "incidentDateTimeDescription": DETECTION,
            "platform": platform,
        }
    )


def happened(at: str, now: datetime) -> str:
    """A time that was, by the service's clock: of two clocks that differ a little, the earlier. Raises InputError."""
    try:
        told = datetime.fromisoformat(at)
        ahead = told - now
    except (TypeError, ValueError) as error:
        raise InputError("the time of detection is no time with its offset from UTC") from error
    if ahead > AHEAD_MAX:
        raise InputError("the time of detection is still to come", hint="compare this machine's clock with the time")
    return min(told, now).isoformat(timespec="seconds")


def reporter_content(settings: CyberTiplineSettings) -> Content:
    """Who reports."""
    person = {"firstName": settings.first_name, "lastName": settings.last_name, "email": settings.email}
    rest = {
        "companyTemplate": settings.company_template,
        "termsOfService": settings.terms_of_service,
        "legalURL": settings.legal_url,
    }
    contact: dict[str, Content] = {"contactPerson": {"email": settings.contact_email}} if settings.contact_email else {}
    return {"reportingPerson": _said(person), **contact, **_said(rest)}


def _said(fields: dict[str, str]) -> dict[str, str]:
    """Those fields that have a text."""
    return {name: text for name, text in fields.items() if text}


def _image(incident: Incident) -> list[str]:
    """The file itself, where it was seen."""
    if not incident.digests:
        return ["The file itself was not fetched, or was not there any more."]
    size = f"{incident.width} x {incident.height}" if incident.width else "not decoded"
    return [
        f"The file was fetched, compared in memory and not kept: {incident.size_bytes} bytes, {incident.format}, {size}."
    ]
