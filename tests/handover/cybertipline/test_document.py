"""Documents: only what the tables have, in their order, each field at its limit and not past it, and never malformed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from custodes.errors import InputError, InternalError
from custodes.handover.cybertipline import rules
from custodes.handover.cybertipline.document import Content, Element, made
from custodes.handover.cybertipline.tables import EVENTS, FILE_DETAILS, INCIDENT_TYPE, PROSE_CHARS_MAX, REPORT
from custodes.handover.cybertipline.text import clipped, legal, quoted, unescaped
from tests.handover.cybertipline.making import NOW
from tests.handover.hostile import hostile_strings

XS = "{http://www.w3.org/2001/XMLSchema}"

SUMMARY: dict[str, Content] = {"incidentType": INCIDENT_TYPE, "incidentDateTime": "2026-10-31T12:00:00Z"}
PERSON: dict[str, Content] = {"email": "a@provider.example"}
LEAST: dict[str, Any] = {"incidentSummary": SUMMARY, "reporter": {"reportingPerson": PERSON}}
FILE: dict[str, Any] = {"reportId": "1", "fileId": "0" * 32}


def report(**changed: Any) -> bytes:
    return made(REPORT, LEAST | changed, NOW)


def details(**changed: Any) -> bytes:
    return made(FILE_DETAILS, FILE | changed, NOW)


def page(**changed: Any) -> dict[str, Any]:
    return {
        "internetDetails": {"webPageIncident": {"@thirdPartyHostedContent": "true", "additionalInfo": "x"} | changed}
    }


def user(**changed: Any) -> dict[str, Any]:
    return {"personOrUserReported": changed}


def summary(**changed: Any) -> dict[str, Any]:
    return {"incidentSummary": SUMMARY | changed}


def reporter(**changed: Any) -> dict[str, Any]:
    return {"reporter": {"reportingPerson": PERSON} | changed}


# The tables are the schema's


def schema_parts(schema: ET.Element, node: ET.Element) -> Iterator[ET.Element]:
    """The element declarations inside a declaration, in order; references followed."""
    kind = node.get("type")
    where = node if kind is None else schema.find(f"{XS}complexType[@name='{kind}']")
    if where is None:
        return
    for part in where.iter(f"{XS}element"):
        if part is node:
            continue
        yield part


def differences(schema: ET.Element, table: Element, node: ET.Element, path: str = "") -> Iterator[str]:
    """Where a table has what the schema has not, in another order, oftener, or less often."""
    parts = {part.get("name") or part.get("ref") or "": part for part in schema_parts(schema, node)}
    if isinstance(table.holds, tuple):
        names = [child.name for child in table.holds]
        if names != [name for name in parts if name in names]:
            yield f"{path}/{table.name}: {names}"
            return
        for child in table.holds:
            part = parts[child.name]
            least, most = int(part.get("minOccurs", "1")), part.get("maxOccurs", "1")
            if child.least < least or (child.most != 1 and most != "unbounded"):
                yield f"{path}/{table.name}/{child.name}: how often"
            declared = schema.find(f"{XS}element[@name='{child.name}']") if part.get("ref") else part
            assert declared is not None
            yield from differences(schema, child, declared, f"{path}/{table.name}")
        required = {name for name, p in parts.items() if int(p.get("minOccurs", "1"))}
        choice = node.find(f"{XS}complexType/{XS}choice") is not None
        if not choice and required - set(names):
            yield f"{path}/{table.name}: lacks {required - set(names)}"


@pytest.mark.parametrize("table", [REPORT, FILE_DETAILS], ids=["report", "fileDetails"])
def test_the_tables_have_the_schemas_names_order_and_counts(table: Element, vectors: Path) -> None:
    schema = ET.parse(vectors / "cybertipline" / "report.xsd").getroot()
    node = schema.find(f"{XS}element[@name='{table.name}']")
    assert node is not None
    assert list(differences(schema, table, node)) == []


def test_planted_a_table_in_another_order_is_seen(vectors: Path) -> None:
    assert isinstance(REPORT.holds, tuple)
    schema = ET.parse(vectors / "cybertipline" / "report.xsd").getroot()
    node = schema.find(f"{XS}element[@name='report']")
    assert node is not None
    assert list(differences(schema, Element("report", tuple(reversed(REPORT.holds))), node)) != []


def test_the_order_is_the_tables_whatever_the_order_of_what_is_said() -> None:
    said = LEAST | page() | {"additionalInfo": "x"}
    turned = dict(reversed(said.items()))
    assert list(said) != list(turned)
    assert made(REPORT, said, NOW) == made(REPORT, turned, NOW)


UNKNOWN: dict[str, dict[str, Any]] = {
    "an element that the schema does not have": {"colour": "x"},
    "a victim, which custodes never knows": {"victim": {"victimPerson": {}}},
    "a batched report": {"batchedReport": {"@reason": "VIRAL_POTENTIAL_MEME"}},
    "an escalation": summary(escalateToHighPriority="now"),
    "an empty escalation": summary(escalateToHighPriority=""),
    "another sort of incident": {"internetDetails": {"chatImIncident": {"content": "x"}}},
    "two incidents in one element": {
        "internetDetails": {**page()["internetDetails"], "emailIncident": {"content": "x"}}
    },
    "an attribute": {"@batched": "true"},
    "text among elements": {"": "x"},
    "elements in a text": {"additionalInfo": {"b": "x"}},
}


@pytest.mark.parametrize("sort", UNKNOWN)
def test_what_the_tables_do_not_have_cannot_be_said(sort: str) -> None:
    with pytest.raises((InternalError, InputError)):
        report(**UNKNOWN[sort])


@pytest.mark.parametrize("said", ["true", "false", ""])
@pytest.mark.parametrize("name", ["fileViewedByEsp", "exifViewedByEsp"])
def test_nobody_can_say_that_a_file_was_viewed(name: str, said: str) -> None:
    with pytest.raises(InternalError):
        details(**{name: said})
    assert f"<{name}>false</{name}>".encode() in details()


def test_annotations_say_yes_or_nothing() -> None:
    assert b"<generativeAi>true</generativeAi>" in details(fileAnnotations={"generativeAi": "true"})
    assert b"fileAnnotations" not in details()
    for wrong in ({"generativeAi": "false"}, {"generativeAi": ""}, {}):
        with pytest.raises(InputError):
            details(fileAnnotations=wrong)


# Every field at its limit, and past it

LATER = (NOW + timedelta(seconds=1)).isoformat()
EMAIL = "a" * 64 + "@" + ("b" * 61 + ".") * 3 + "ex"

FIELDS: dict[str, tuple[Any, str, str]] = {
    "platform": (lambda text: report(**summary(platform=text)), "x" * 256, "x" * 257),
    "description of the time": (
        lambda text: report(**summary(incidentDateTimeDescription=text)),
        "x" * 3000,
        "x" * 3001,
    ),
    "time of the incident": (lambda text: report(**summary(incidentDateTime=text)), NOW.isoformat(), LATER),
    "type of incident": (
        lambda text: report(**summary(incidentType=text)),
        INCIDENT_TYPE,
        "Misleading Domain Name",
    ),
    "URL": (
        lambda text: report(**page(url=[text])),
        "http://a.example/" + "b" * 2066,
        "http://a.example/" + "b" * 2067,
    ),
    "legal URL": (
        lambda text: report(**reporter(legalURL=text)),
        "https://a.example/" + "b" * 2065,
        "https://a.example/" + "b" * 2066,
    ),
    "first name": (lambda text: report(**reporter(reportingPerson=PERSON | {"firstName": text})), "x" * 100, "x" * 101),
    "last name": (lambda text: report(**reporter(reportingPerson=PERSON | {"lastName": text})), "x" * 100, "x" * 101),
    "e-mail": (lambda text: report(**reporter(reportingPerson={"email": text})), EMAIL + "a" * 2, EMAIL + "a" * 5),
    "local part of an e-mail": (
        lambda text: report(**reporter(reportingPerson={"email": text})),
        "a" * 64 + "@b.example",
        "a" * 65 + "@b.example",
    ),
    "template": (
        lambda text: report(**reporter(companyTemplate=text)),
        "x" * PROSE_CHARS_MAX,
        "x" * (PROSE_CHARS_MAX + 1),
    ),
    "information": (lambda text: report(additionalInfo=text), "x" * PROSE_CHARS_MAX, "x" * (PROSE_CHARS_MAX + 1)),
    "identifier": (lambda text: report(**user(espIdentifier=text)), "x" * 255, "x" * 256),
    "service": (lambda text: report(**user(espService=text)), "x" * 100, "x" * 101),
    "screen name": (lambda text: report(**user(screenName=text)), "x" * 256, "x" * 257),
    "display name": (lambda text: report(**user(displayName=["a", text])), "x" * 255, "x" * 256),
    "profile": (
        lambda text: report(**user(profileUrl=text)),
        "https://a.example/" + "b" * 2065,
        "https://a.example/" + "b" * 2066,
    ),
    "port": (lambda text: report(**user(ipCaptureEvent={"ipAddress": "::1", "port": text})), "65535", "65536"),
    "least port": (lambda text: report(**user(ipCaptureEvent={"ipAddress": "::1", "port": text})), "1", "0"),
    "address": (lambda text: report(**user(ipCaptureEvent={"ipAddress": text})), "255.255.255.255", "255.255.255.256"),
    "mapped address": (
        lambda text: report(**user(ipCaptureEvent={"ipAddress": text})),
        "::ffff:192.0.2.1",
        "fe80::1%eth0",
    ),
    "event": (
        lambda text: report(**user(ipCaptureEvent={"ipAddress": "::1", "eventName": text})),
        EVENTS[-1],
        "login",
    ),
    "time of a capture": (
        lambda text: report(**user(ipCaptureEvent={"ipAddress": "::1", "dateTime": text})),
        NOW.isoformat(),
        LATER,
    ),
    "number of a report": (lambda text: details(reportId=text), str((1 << 63) - 1), str(1 << 63)),
    "id of a file": (lambda text: details(fileId=text), "a" * 32, "a" * 33),
    "name of a file": (lambda text: details(originalFileName=text), "x" * 2056, "x" * 2057),
    "time of an upload": (lambda text: details(uploadedToEspTimestamp=text), NOW.isoformat(), LATER),
    "hash": (lambda text: details(originalFileHash={"@hashType": "PDQ", "": text}), "a" * 64, "a" * 65),
    "type of a hash": (lambda text: details(originalFileHash={"@hashType": text, "": "a"}), "MD5", "md5"),
    "where it is hosted": (lambda text: report(**page(**{"@thirdPartyHostedContent": text})), "true", "yes"),
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_is_taken_at_its_limit_and_not_past_it(field: str) -> None:
    make, taken, refused = FIELDS[field]
    ET.fromstring(make(taken))
    for wrong in (refused, "", " ", "\n"):
        with pytest.raises(InputError, match="cannot be sent: ") as caught:
            make(wrong)
        assert len(wrong) < 5 or wrong not in str(caught.value)


NO_TIMES = [
    "2026-10-31T12:00:00", "2026-10-31", "2026-10-31 12:00:00Z", "20261031T120000Z", "2026-10-31T12:00Z", "2026-02-30T12:00:00Z",
    "2026-10-31T25:00:00Z", "2026-10-31T12:00:00+25:00", "2026-10-31T12:00:00.1234567Z", "soon", "1", "٢026-10-31T12:00:00Z", "2026-W01-1T12:00:00Z",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_TIMES)
def test_a_time_has_a_date_a_clock_and_an_offset(text: str) -> None:
    assert rules.past(text, NOW) == "is no time with its offset from UTC"


@pytest.mark.parametrize("text", ["2026-10-31T12:00:00Z", "2026-10-31T12:00:00.25-11:00", "2026-11-01T14:00:00+02:00"])
def test_times_that_were_are_taken(text: str) -> None:
    assert rules.past(text, NOW) == ""


def test_a_time_in_another_zone_is_compared_as_the_moment_that_it_is() -> None:
    assert rules.past("2026-11-01T13:59:59+02:00", NOW) == ""
    assert rules.past("2026-11-01T14:00:01+02:00", NOW) == "is still to come"
    assert rules.past("2026-11-01T11:00:00-02:00", NOW) == "is still to come"


NO_URLS = [
    "images.example/1",
    "ftp://images.example/1",
    "javascript:1",
    "data:,1",
    "http://",
    "http://a b/",
    "http://bücher.example/",
    "mailto:a@b.example",
]


@pytest.mark.parametrize("text", NO_URLS)
def test_a_url_is_a_web_address(text: str) -> None:
    assert rules.url(text, NOW) == "is no web address"


NO_EMAILS = [
    "",
    "a",
    "a@b",
    "@b.example",
    "a@",
    "a b@c.example",
    "a@b@c.example",
    "a@b..example",
    "a@b.example ",
    "a\n@b.example",
    "<a@b.example>x y",
]


@pytest.mark.parametrize("text", NO_EMAILS)
def test_an_email_has_two_parts_and_a_domain(text: str) -> None:
    assert rules.email(text, NOW) != ""


MISSING: dict[str, dict[str, Any]] = {
    "incidentSummary": {"reporter": LEAST["reporter"]},
    "incidentType": LEAST | {"incidentSummary": {"incidentDateTime": NOW.isoformat()}},
    "incidentDateTime": LEAST | {"incidentSummary": {"incidentType": INCIDENT_TYPE}},
    "reporter": {"incidentSummary": SUMMARY},
    "reportingPerson": LEAST | {"reporter": {"legalURL": "https://a.example/"}},
    "email": LEAST | {"reporter": {"reportingPerson": {"firstName": "A"}}},
    "webPageIncident": LEAST | {"internetDetails": {}},
    "ipAddress": LEAST | user(ipCaptureEvent={"eventName": "Login"}),
    "thirdPartyHostedContent": LEAST | {"internetDetails": {"webPageIncident": {"additionalInfo": "x"}}},
}


@pytest.mark.parametrize("name", MISSING)
def test_what_is_required_is_missed(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name}\b"):
        made(REPORT, MISSING[name], NOW)


def test_what_stands_once_stands_once() -> None:
    for said in (summary(platform=["a", "b"]), user(espService=["a", "b"]), {"additionalInfo": ["a", "b"]}):
        with pytest.raises(InputError, match="more than 1 times"):
            report(**said)
    with pytest.raises(InputError, match="more than 1 times"):
        details(reportId=["1", "2"])


# Text that tries to be more


def test_hostile_strings_come_out_of_the_document_as_the_text_that_went_in() -> None:
    strings = hostile_strings()
    assert len(strings) >= 400
    for text in strings:
        if not text.strip():
            continue
        found = ET.fromstring(report(additionalInfo=text[:PROSE_CHARS_MAX]))
        assert (len(found), found.findtext("additionalInfo")) == (3, legal(text[:PROSE_CHARS_MAX])[:PROSE_CHARS_MAX])


def test_in_prose_they_stay_in_their_line_and_in_their_quotes_and_can_be_read_back() -> None:
    for text in [
        *hostile_strings(),
        "\\u{41}",
        "\\\\u{41}",
        "a\\",
        '\\u{22}"',
        *map(chr, range(0x250)),
        "\u2028\u2029\ufeff\ufffe\uffff",
    ]:
        line = quoted(text, 1 << 30)
        assert (line[0], line[-1], line[1:-1].count('"'), len(line.splitlines())) == ('"', '"', 0, 1)
        assert unescaped(line[1:-1]) == text
        assert unescaped(clipped(text, 1 << 30)) == text
        assert ET.fromstring(report(additionalInfo=f"a {line}")).findtext("additionalInfo") == f"a {line}"


def test_planted_without_the_escape_documents_are_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.handover.cybertipline.document.legal", lambda text: text)
    broken = 0
    for text in hostile_strings():
        try:
            read = ET.fromstring(report(additionalInfo=text + "x")).findtext("additionalInfo")
        except (ET.ParseError, UnicodeEncodeError, InputError):
            read = None
        broken += read != text + "x"
    assert broken > 10


def test_text_that_is_too_long_is_cut_and_that_is_said() -> None:
    assert clipped("x" * 10, 10) == "x" * 10
    assert clipped("x" * 11, 10) == "x" * 10 + " [and 1 more characters]"
    assert quoted("x" * 12, 10) == '"' + "x" * 10 + ' [and 2 more characters]"'


def test_a_rule_never_repeats_what_it_was_given() -> None:
    every = (
        rules.past,
        rules.url,
        rules.email,
        rules.ip_address,
        rules.number,
        rules.port,
        rules.file_id,
        rules.YES_NO,
        rules.text(3),
    )
    for rule in every:
        assert "secret" not in rule("secret thing", datetime.max.replace(tzinfo=NOW.tzinfo))
