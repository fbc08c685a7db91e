"""A strict stand-in for NCMEC's CyberTipline, from its documentation: order and content of documents, the life of a report, every code.

It shares nothing with the program but the words of the wire. A plan says how requests are misserved: the connection ends before the request is read,
after it was read, or after it was acted on; the service errs, with or without having acted; what was uploaded arrives damaged.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

from aiohttp import web
from lxml import etree

USER, PASSWORD = "esp", "hunter2|secret"
OPEN, FINISHED, RETRACTED, EXPIRED = "open", "finished", "retracted", "expired"

ORDER = {
    "report": "batchedReport? incidentSummary internetDetails* lawEnforcement? reporter personOrUserReported? intendedRecipient* victim* additionalInfo?",
    "incidentSummary": "incidentType platform? escalateToHighPriority? reportAnnotations? incidentDateTime incidentDateTimeDescription?",
    "internetDetails": "webPageIncident",
    "webPageIncident": "url* additionalInfo?",
    "reporter": "reportingPerson contactPerson? companyTemplate? termsOfService? legalURL?",
    "reportingPerson": "firstName? lastName? phone* email+ address* age? dateOfBirth?",
    "contactPerson": "firstName? lastName? phone* email* address*",
    "personOrUserReported": (
        "personOrUserReportedPerson? vehicleDescription? espIdentifier? espService? compromisedAccount? screenName? displayName* profileUrl* profileBio? "
        "ipCaptureEvent* deviceId* thirdPartyUserReported? priorCTReports* groupIdentifier? accountTemporarilyDisabled? accountPermanentlyDisabled? "
        "estimatedLocation? allEmailsReported? associatedAccount* additionalInfo?"
    ),
    "personOrUserReportedPerson": "firstName? lastName? phone* email* address* age? dateOfBirth?",
    "ipCaptureEvent": "ipAddress eventName? dateTime? possibleProxy? port?",
    "fileDetails": (
        "reportId fileId fileName? originalFileName? uploadedToEspTimestamp? locationOfFile? fileViewedByEsp? exifViewedByEsp? publiclyAvailable? "
        "fileRelevance? potentialMeme? fileAnnotations? industryClassification? originalFileHash* ipCaptureEvent? deviceId* details* additionalInfo*"
    ),
    "fileAnnotations": "generativeAi?",
}
LONGEST = {
    "platform": 256, "escalateToHighPriority": 3000, "incidentDateTimeDescription": 3000, "url": 2083, "legalURL": 2083, "firstName": 100,
    "lastName": 100, "email": 255, "espIdentifier": 255, "espService": 100, "screenName": 256, "displayName": 255, "profileUrl": 2083,
    "originalFileName": 2056, "originalFileHash": 64,
}  # fmt: skip
TIMES = {"incidentDateTime", "dateTime", "uploadedToEspTimestamp"}
URLS = {"url", "legalURL", "profileUrl"}
FACTS = {"fileViewedByEsp": "false", "exifViewedByEsp": "false", "generativeAi": "true", "fileRelevance": "Reported"}
"""Of custodes alone: NCMEC would take others."""


def complaint(document: bytes, now: datetime, schema: etree.XMLSchema | None = None) -> str:
    """What NCMEC would refuse a document for; "" if nothing."""
    try:
        root = ET.fromstring(document)
    except ET.ParseError:
        return "malformed"
    if root.tag not in ("report", "fileDetails"):
        return "another document"
    if schema is not None and not schema.validate(etree.fromstring(document)):
        return f"schema: {schema.error_log.last_error}"
    return next((said for node in root.iter() if (said := _wrong(node, now))), "")


def _wrong(node: ET.Element, now: datetime) -> str:
    if (order := ORDER.get(node.tag)) is not None:
        form = "".join(f"(?:{name.rstrip('?*+')} ){name[len(name.rstrip('?*+')) :]}" for name in order.split())
        if not re.fullmatch(form, "".join(f"{child.tag} " for child in node)):
            return f"{node.tag}: order"
        return ""
    text = node.text or ""
    if len(node) or not text.strip():
        return f"{node.tag}: not text"
    if len(text) > LONGEST.get(node.tag, 1 << 30) or text != node.text:
        return f"{node.tag}: too long"
    if node.tag in FACTS and text != FACTS[node.tag]:
        return f"{node.tag}: {text}"
    if node.tag == "originalFileHash" and not node.get("hashType"):
        return "hashType"
    return _wrong_form(node.tag, text, now)


def _wrong_form(tag: str, text: str, now: datetime) -> str:
    try:
        if tag in TIMES:
            told = datetime.fromisoformat(text)
            return "" if told.tzinfo and told < now and "T" in text else f"{tag}: time"
        if tag in URLS:
            parts = urlsplit(text)
            return (
                ""
                if parts.scheme in ("http", "https") and parts.hostname and text.isascii() and " " not in text
                else f"{tag}: URL"
            )
        if tag == "email":
            return "" if re.fullmatch(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]+", text) else "email"
        if tag == "ipAddress":
            ipaddress.ip_address(text)
        if tag == "port":
            return "" if 1 <= int(text) <= 65535 else "port"
    except ValueError:
        return tag
    return ""


@dataclass
class Report:
    """One report, as the service has it."""

    id: str
    document: bytes
    opened: datetime
    touched: datetime
    state: str = OPEN
    files: dict[str, bytes] = field(default_factory=dict)
    details: dict[str, bytes] = field(default_factory=dict)

    @property
    def case(self) -> str:
        """Our incident."""
        found = re.search(rb"Incident ([0-9a-f]{32})", self.document)
        assert found
        return found[1].decode()


class Refused(Exception):  # noqa: N818
    """A documented code."""


@dataclass(frozen=True)
class Fault:
    """How one request is misserved. ``code`` 0 and ``status`` 0: the connection ends. ``acted``: but what was asked for was done."""

    acted: bool = False
    unread: bool = False
    code: int = 0
    status: int = 0
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    sent_bytes: int | None = None
    damaged: bool = False


class CyberTiplineServer:
    """One environment. ``now`` is its clock; ``faults`` misserves requests by their number, from 1."""

    def __init__(self, schema_file: Path | None = None) -> None:
        self.now = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
        self.skew = timedelta()
        self.reports: dict[str, Report] = {}
        self.calls: list[str] = []
        self.complaints: list[str] = []
        self.faults: dict[int, Fault] = {}
        self.served: list[Fault] = []
        self.date = True
        self.base = ""
        self._next = 7_000_000_000  # more than 32 bits
        self._schema = etree.XMLSchema(file=str(schema_file)) if schema_file else None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1 << 25)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}/ispws"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def finished(self, case: str) -> list[Report]:
        """The reports of a case that were filed."""
        return [report for report in self.reports.values() if report.case == case and report.state == FINISHED]

    def expire(self) -> None:
        """24 hours after opening or an hour after the last file, whichever is later, an unfinished report is gone."""
        for report in self.reports.values():
            late = self.now >= max(report.opened + timedelta(hours=24), report.touched + timedelta(hours=1))
            if report.state == OPEN and late:
                report.state = EXPIRED

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        call = request.path.removeprefix("/ispws/")
        self.calls.append(call)
        fault = self.faults.get(len(self.calls))
        assert request.transport is not None
        if fault is not None and fault.damaged and call != "upload":  # there is nothing to damage yet
            self.faults[len(self.calls) + 1], fault = fault, None
        self.served += [fault] if fault else []
        if fault is not None and fault.unread:
            request.transport.abort()
            return web.Response()
        body = await request.read()
        if fault is None or fault.acted or fault.damaged:
            answer = self._answer(call, request, body, damaged=fault is not None and fault.damaged)
        if fault is None or fault.damaged:
            return self._response(answer)
        if fault.code or fault.status or fault.body is not None:
            told = _element("reportResponse", responseCode=str(fault.code or 1000), responseDescription="no")
            return self._response(told if fault.body is None else fault.body, fault.status or 200, dict(fault.headers))
        if fault.sent_bytes is not None:
            response = web.StreamResponse(headers={"Content-Length": str(len(answer)), "Content-Type": "text/xml"})
            await response.prepare(request)
            await response.write(answer[: fault.sent_bytes])
        request.transport.abort()
        return web.Response()

    def _response(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
        date = {"Date": format_datetime(self.now + self.skew, usegmt=True)} if self.date else {"Date": "soon"}
        own = {"Content-Type": "text/xml", "Request-ID": f"r-{len(self.calls)}", **date}
        return web.Response(body=body, status=status, headers=own | (headers or {}))

    def _answer(self, call: str, request: web.Request, body: bytes, *, damaged: bool) -> bytes:
        self.expire()
        try:
            expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if request.headers.get("Authorization") != expected:
                raise Refused(2000)
            if (request.method, call) == ("GET", "status"):
                return _element(
                    "reportResponse",
                    responseCode="0",
                    responseDescription=f"Remote User : {USER}, Remote Ip : 127.0.0.1",
                )
            if request.method != "POST" or call not in ("submit", "upload", "fileinfo", "finish", "retract"):
                raise Refused(1210)
            act: Any = getattr(self, f"_{call}")
            if call in ("submit", "fileinfo"):
                if request.headers.get("Content-Type") != "text/xml; charset=utf-8":
                    raise Refused(4000)
                return act(body)
            form = _form(request.headers["Content-Type"], body)
            if damaged and "file" in form:
                form["file"] = form["file"] + b"?"
            return act(form)
        except Refused as refused:
            return _element("reportResponse", responseCode=str(refused.args[0]), responseDescription="refused")

    def _checked(self, document: bytes, root: str) -> ET.Element:
        said = complaint(document, self.now + self.skew, self._schema)
        if said:
            self.complaints.append(said)
            raise Refused(4110 if said == "malformed" else 4100)
        found = ET.fromstring(document)
        if found.tag != root:
            raise Refused(4100)
        return found

    def _report(self, number: str) -> Report:
        report = self.reports.get(number)
        if report is None or report.state == EXPIRED:
            raise Refused(5001)
        if report.state == RETRACTED:
            raise Refused(5101)
        if report.state == FINISHED:
            raise Refused(5102)
        return report

    def _submit(self, body: bytes) -> bytes:
        self._checked(body, "report")
        self._next += 1
        report = Report(str(self._next), body, self.now, self.now)
        self.reports[report.id] = report
        return _element("reportResponse", responseCode="0", responseDescription="Success", reportId=report.id)

    def _upload(self, form: dict[str, bytes]) -> bytes:
        if set(form) != {"id", "file"}:
            raise Refused(4000)
        report = self._report(form["id"].decode())
        file_id = hashlib.md5(f"{report.id}/{len(report.files)}".encode()).hexdigest()
        report.files[file_id] = form["file"]
        report.touched = self.now
        received = hashlib.md5(form["file"]).hexdigest()
        return _element(
            "reportResponse",
            responseCode="0",
            responseDescription="Success",
            reportId=report.id,
            fileId=file_id,
            hash=received,
        )

    def _fileinfo(self, body: bytes) -> bytes:
        details = self._checked(body, "fileDetails")
        report = self._report(details.findtext("reportId") or "")
        file_id = details.findtext("fileId") or ""
        if file_id not in report.files:
            raise Refused(5002)
        if file_id in report.details:
            raise Refused(4000)  # once per file
        report.details[file_id] = body
        report.touched = self.now
        return _element("reportResponse", responseCode="0", responseDescription="Success", reportId=report.id)

    def _finish(self, form: dict[str, bytes]) -> bytes:
        if set(form) != {"id"}:
            raise Refused(4000)
        report = self._report(form["id"].decode())
        report.state = FINISHED
        root = ET.fromstring(_element("reportDoneResponse", responseCode="0", reportId=report.id))
        files = ET.SubElement(root, "files")
        for file_id in report.files:
            ET.SubElement(files, "fileId").text = file_id
        return bytes(ET.tostring(root))

    def _retract(self, form: dict[str, bytes]) -> bytes:
        if set(form) != {"id"}:
            raise Refused(4000)
        report = self._report(form["id"].decode())
        report.state = RETRACTED
        return _element("reportResponse", responseCode="0", responseDescription="Success", reportId=report.id)


def _element(root: str, **children: str) -> bytes:
    node = ET.Element(root)
    for name, text in children.items():
        ET.SubElement(node, name).text = text
    return bytes(ET.tostring(node, encoding="utf-8", xml_declaration=True))


def _form(content_type: str, body: bytes) -> dict[str, bytes]:
    """A multipart form, read by the standard library's parser of mail."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body, policy=policy.HTTP)
    if message.get_content_type() != "multipart/form-data" or not message.is_multipart():
        raise Refused(4000)
    found: dict[str, bytes] = {}
    for part in message.iter_parts():  # type: ignore[attr-defined]
        name = part.get_param("name", header="Content-Disposition")
        if name in found:
            raise Refused(4000)
        found[str(name)] = part.get_payload(decode=True)
    return found
