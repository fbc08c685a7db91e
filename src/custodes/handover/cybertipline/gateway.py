"""Reports of what a gateway withheld: the user, as far as the operator tells, and the file, where the operator may hold it.

That a generator made the file is said of a gateway's output alone, and that nobody viewed it of every file: no value here can say otherwise. All
documents are made once before anything is sent, so that what NCMEC would refuse is known before a report is open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from custodes.errors import InputError
from custodes.handover.cybertipline.document import Content, Element, fits, made
from custodes.handover.cybertipline.report import (
    check_reportable,
    report_xml,
    reporter_content,
    summary_content,
)
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.cybertipline.tables import FILE_DETAILS, REPORT
from custodes.handover.cybertipline.text import quoted
from custodes.handover.cybertipline.withheld import IpCapture, ReportedUser, Withheld, WithheldFile
from custodes.handover.cybertipline.wording import FILE_KINDS, statement
from custodes.handover.incident import Incident

__all__ = ["ANY_REPORT", "FILE_BYTES_MAX", "File", "Submission", "details_xml", "submission_of", "withheld_xml"]

FILE_BYTES_MAX: Final = 15 << 20
"""Of an uploaded file, so that it fits into an item of the outbox. NCMEC has no bound."""
ANY_REPORT: Final = ("1", "0" * 32)
"""In place of numbers that NCMEC has not given yet: of a report and a file."""
_OTHERS_MAX: Final = 20
_OTHER_CHARS_MAX: Final = 3000

_Contents: TypeAlias = "dict[str, Content | Sequence[Content]]"


@dataclass(frozen=True, slots=True, repr=False)
class File:
    """A file to upload. ``details``: the document about it, from the ids of its report and its own."""

    content: bytes
    details: Callable[[str, str], bytes]

    @property
    def md5(self) -> str:
        """What NCMEC will say that it received."""
        return hashlib.md5(self.content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, repr=False)
class Submission:
    """All that is sent of one report."""

    report: bytes
    files: tuple[File, ...] = ()


def submission_of(of: Incident | Withheld, settings: CyberTiplineSettings, now: datetime) -> Submission:
    """Everything that a report needs, checked. ``now``: what the service's clock says. Raises InputError."""
    if isinstance(of, Incident):
        return Submission(report_xml(of, settings, now))
    report, file = withheld_xml(of, settings, now), of.file
    if file is None:
        return Submission(report)
    _check_file(of, file)
    details_xml(of, *ANY_REPORT, now)
    return Submission(
        report, (File(file.content, lambda report_id, file_id: details_xml(of, report_id, file_id, now)),)
    )


def withheld_xml(of: Withheld, settings: CyberTiplineSettings, now: datetime) -> bytes:
    """The report. Raises InputError."""
    check_reportable(of, settings)
    fitted = _Fitted(REPORT, now)
    user = _user(of.user, fitted) if of.user is not None else {}
    content: dict[str, Content] = {
        "incidentSummary": summary_content(of.found_at, now, of.service),
        "reporter": reporter_content(settings),
        "additionalInfo": statement(of, settings.environment, [_outcome(of), *fitted.others]),
        **({"personOrUserReported": user} if user else {}),
    }
    return made(REPORT, content, now)


def details_xml(of: Withheld, report_id: str, file_id: str, now: datetime) -> bytes:
    """What is said of the file. Raises InputError."""
    assert of.file is not None
    fitted = _Fitted(FILE_DETAILS, now)
    hashes: list[Content] = [
        {"@hashType": word, "": of.digests[kind]} for kind, word in FILE_KINDS.items() if of.digests.get(kind)
    ]
    content: _Contents = {
        "reportId": report_id,
        "fileId": file_id,
        **fitted.said("originalFileName", of.file.name),
        **fitted.said("uploadedToEspTimestamp", of.file.uploaded_at),
        "originalFileHash": hashes,
    }
    if of.file.generated:
        content |= {"publiclyAvailable": "false", "fileAnnotations": {"generativeAi": "true"}}
    if of.file.ip_capture is not None:
        content |= fitted.ip_captures("ipCaptureEvent", (of.file.ip_capture,))
    if fitted.others:
        content["additionalInfo"] = "\n".join(fitted.others)
    return made(FILE_DETAILS, content, now)


def _check_file(of: Withheld, file: WithheldFile) -> None:
    if not 0 < len(file.content) <= FILE_BYTES_MAX:
        raise InputError(f"a file that is uploaded has 1 to {FILE_BYTES_MAX} bytes, not {len(file.content)}")
    for kind in ("md5", "sha1", "sha256"):
        if kind in of.digests and hashlib.new(kind, file.content).hexdigest() != of.digests[kind].lower():
            raise InputError(f"the file is not the one that was compared: its {kind} differs")


def _outcome(of: Withheld) -> str:
    if of.file is None:
        return "The reporter's service withheld the image. It is not attached."
    made_by = (
        "a generator at the reporter's service made" if of.file.generated else "a user gave to the reporter's service"
    )
    return f"The image, which {made_by}, was withheld and is attached."


def _user(user: ReportedUser, fitted: _Fitted) -> _Contents:
    at = "personOrUserReported"
    person = fitted.said(f"{at}/personOrUserReportedPerson/email", *user.emails)
    return {
        **({"personOrUserReportedPerson": person} if person else {}),
        **fitted.said(f"{at}/espIdentifier", user.identifier),
        **fitted.said(f"{at}/espService", user.service),
        **fitted.said(f"{at}/screenName", user.screen_name),
        **fitted.said(f"{at}/displayName", *user.display_names),
        **fitted.said(f"{at}/profileUrl", *user.profile_urls),
        **fitted.ip_captures(f"{at}/ipCaptureEvent", user.ip_captures),
    }


class _Fitted:
    """What users wrote or operators recorded, where it fits into its field; what does not is told in the text: nobody can name themselves out of a report."""

    def __init__(self, table: Element, now: datetime) -> None:
        self._table = table
        self._now = now
        self._others: list[str] = []

    @property
    def others(self) -> list[str]:
        """A line for each text that does not fit."""
        more = len(self._others) - _OTHERS_MAX
        return [*self._others[:_OTHERS_MAX], *([f"and {more} more, which the reporter can give"] if more > 0 else [])]

    def said(self, path: str, *texts: str) -> _Contents:
        """The field, with those that fit; nothing where there is none."""
        name = path.rpartition("/")[2]
        found = [text for text in texts if text and self._fits(path, text)]
        return {name: found} if found else {}

    def ip_captures(self, path: str, captures: Sequence[IpCapture]) -> _Contents:
        """Those whose address is one."""
        events = [
            self.said(f"{path}/ipAddress", each.address)
            | self.said(f"{path}/eventName", each.event)
            | self.said(f"{path}/dateTime", each.at)
            | self.said(f"{path}/port", str(each.port) if each.port else "")
            for each in captures
            if self._fits(f"{path}/ipAddress", each.address, f"{each.address} {each.event} {each.at} port {each.port}")
        ]
        return {path.rpartition("/")[2]: events} if events else {}

    def _fits(self, path: str, text: str, told: str = "") -> bool:
        if fits(self._table, path, text, self._now):
            return True
        self._others.append(f"- {path.rpartition('/')[2]}, as recorded: {quoted(told or text, _OTHER_CHARS_MAX)}")
        return False
