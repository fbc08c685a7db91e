"""The documents of NCMEC's CyberTipline that custodes sends: which elements they have, in which order, under which rules.

From the schema at report.cybertip.org/ispws/xsd and its documentation of 2025-06-11, less what custodes never says. What is missing here cannot be
sent: a file that somebody viewed, an escalation, a victim, a classification that needs an agreement, a batched report.
"""

from __future__ import annotations

from typing import Final

from custodes.handover.cybertipline import rules
from custodes.handover.cybertipline.document import Element, always, many, maybe, one
from custodes.handover.cybertipline.rules import text, words

__all__ = ["EVENTS", "FILE_DETAILS", "INCIDENT_TYPE", "PROSE_CHARS_MAX", "REPORT"]

INCIDENT_TYPE: Final = "Child Pornography (possession, manufacture, and distribution)"
EVENTS: Final = ("Login", "Registration", "Purchase", "Upload", "Other", "Unknown")
PROSE_CHARS_MAX: Final = 250_000
"""Of open text. A bound of our own: the documentation names none."""

_PROSE: Final = text(PROSE_CHARS_MAX)

_IP_CAPTURE: Final = (
    one("ipAddress", rules.ip_address),
    maybe("eventName", words(*EVENTS)),
    maybe("dateTime", rules.past),
    maybe("port", rules.port),
)

REPORT: Final = one(
    "report",
    (
        one(
            "incidentSummary",
            (
                one("incidentType", words(INCIDENT_TYPE)),
                maybe("platform", text(256)),
                one("incidentDateTime", rules.past),
                maybe("incidentDateTimeDescription", text(3000)),
            ),
        ),
        many(  # one incident in each: there is no other kind of incident here
            "internetDetails",
            (
                Element(
                    "webPageIncident",
                    (many("url", rules.url), maybe("additionalInfo", _PROSE)),
                    least=1,
                    attribute=("thirdPartyHostedContent", rules.YES_NO),
                ),
            ),
        ),
        one(
            "reporter",
            (
                one(
                    "reportingPerson",
                    (maybe("firstName", text(100)), maybe("lastName", text(100)), one("email", rules.email)),
                ),
                maybe(
                    "contactPerson",
                    (maybe("firstName", text(100)), maybe("lastName", text(100)), many("email", rules.email)),
                ),
                maybe("companyTemplate", _PROSE),
                maybe("termsOfService", _PROSE),
                maybe("legalURL", rules.url),
            ),
        ),
        maybe(
            "personOrUserReported",
            (
                maybe("personOrUserReportedPerson", (many("email", rules.email),)),
                maybe("espIdentifier", text(255)),
                maybe("espService", text(100)),
                maybe("screenName", text(256)),
                many("displayName", text(255)),
                many("profileUrl", rules.url),
                many("ipCaptureEvent", _IP_CAPTURE),
            ),
        ),
        maybe("additionalInfo", _PROSE),
    ),
)

FILE_DETAILS: Final = one(
    "fileDetails",
    (
        one("reportId", rules.number),
        one("fileId", rules.file_id),
        maybe("originalFileName", text(2056)),
        maybe("uploadedToEspTimestamp", rules.past),
        always("fileViewedByEsp", "false"),
        always("exifViewedByEsp", "false"),
        maybe("publiclyAvailable", rules.YES_NO),
        always("fileRelevance", "Reported"),
        maybe("fileAnnotations", (maybe("generativeAi", rules.TRUE),)),
        many("originalFileHash", text(64), attribute=("hashType", words("MD5", "SHA1", "SHA256", "PDQ"))),
        maybe("ipCaptureEvent", _IP_CAPTURE),
        many("additionalInfo", _PROSE),
    ),
)
