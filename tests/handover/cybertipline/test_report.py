"""Reports: what is said of a finding, nothing that was not found out, and nothing that NCMEC would refuse or could not act on."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from lxml import etree

from custodes.errors import InputError
from custodes.handover.cybertipline.correction import Correction, Why
from custodes.handover.cybertipline.gateway import FILE_BYTES_MAX, File, submission_of
from custodes.handover.cybertipline.report import AHEAD_MAX, report_xml
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.cybertipline.withheld import IpCapture, ReportedUser, Withheld, WithheldFile
from custodes.handover.incident import Incident
from tests.handover.cybertipline.making import NOW, SETTINGS, incident, withheld
from tests.handover.cybertipline.server import complaint
from tests.handover.hostile import hostile_strings
from tests.handover.making import digests_of, finding, incidents, match

PRODUCTION = msgspec.structs.replace(SETTINGS, environment="production")
DETAILS = ("7000000001", "0" * 32)


@pytest.fixture(scope="module")
def schema(vectors: Path) -> etree.XMLSchema:
    return etree.XMLSchema(file=str(vectors / "cybertipline" / "report.xsd"))


def read(of: Incident | Withheld, settings: CyberTiplineSettings = SETTINGS) -> ET.Element:
    """The report; NCMEC would take it."""
    document = submission_of(of, settings, NOW).report
    assert complaint(document, NOW + timedelta(seconds=1)) == ""
    return ET.fromstring(document)


def page_of(of: Incident) -> tuple[list[str], str]:
    page = read(of).find("internetDetails/webPageIncident")
    assert page is not None
    return [url.text or "" for url in page.findall("url")], page.findtext("additionalInfo") or ""


def statement_of(of: Incident | Withheld, settings: CyberTiplineSettings = SETTINGS) -> str:
    return read(of, settings).findtext("additionalInfo") or ""


def details_of(of: Withheld) -> ET.Element:
    (file,) = submission_of(of, SETTINGS, NOW).files
    document = file.details(*DETAILS)
    assert complaint(document, NOW + timedelta(seconds=1)) == ""
    return ET.fromstring(document)


def changed(of: Incident, **fields: Any) -> Incident:
    return msgspec.structs.replace(of, **fields)


# Links of a dataset


def test_an_image_in_many_rows_is_one_report_with_every_link_once() -> None:
    findings = [finding(n, 1, url=f"https://images.example/{n % 3}.jpg") for n in range(1, 8)]
    urls, text = page_of(incidents(*findings)[0])
    assert sorted(urls) == [f"https://images.example/{n}.jpg" for n in range(3)]
    assert [text.count(f"row {n},") for n in range(1, 8)] == [1] * 7


def test_links_are_on_servers_of_others_and_nothing_is_attached_or_said_of_a_generator() -> None:
    root = read(incident())
    page = root.find("internetDetails/webPageIncident")
    assert page is not None
    assert page.attrib == {"thirdPartyHostedContent": "true"}
    assert submission_of(incident(), SETTINGS, NOW).files == ()
    assert "generativeAi" not in ET.tostring(root, encoding="unicode")
    assert root.find("personOrUserReported") is None


def test_a_row_is_told_with_its_dataset_its_key_its_time_and_what_was_there() -> None:
    _, text = page_of(incident(7))
    assert text.splitlines()[-1] == (
        '1. dataset "links.parquet", file "part-0.parquet", row 7, key "k7"; URL 1; found 2026-03-01T12:00:00Z; '
        "the image was there at 2026-03-01T11:59:00Z"
    )


LIVENESS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing was tried": (
        {"outcome": "examined", "reason": "columns_only", "http_status": 0},
        "the link was not opened",
    ),
    "the link was dead": ({"http_status": 404}, "the link answered with status 404"),
    "the name is gone": ({"http_status": 0, "reason": "dns"}, "the link was not reached (dns)"),
    "another file is there now": (
        {"fetched_at": "2026-03-01T11:59:00Z", "http_status": 200, "digests": digests_of(9), "outcome": "examined"},
        "another file was there at 2026-03-01T11:59:00Z",
    ),
}


@pytest.mark.parametrize("sort", LIVENESS)
def test_of_a_link_is_said_what_was_seen_there_and_no_more(sort: str) -> None:
    fields, told = LIVENESS[sort]
    of = incidents(finding(1, **fields))[0]
    assert page_of(of)[1].endswith(f"; {told}")
    assert "- of the file itself: not known" in statement_of(of)
    assert "The file itself was not fetched" in statement_of(of)


def test_where_redirects_led_to_the_image_is_a_url_too_and_elsewhere_not() -> None:
    there = incident(1, final_url="https://cdn.example/1.jpg")
    urls, text = page_of(there)
    assert urls == ["https://images.example/1.jpg", "https://cdn.example/1.jpg"]
    assert "URL 1, led to URL 2;" in text
    gone = incidents(
        finding(1, final_url="https://parking.example/", http_status=200, fetched_at="2026-03-01T11:59:00Z")
    )
    assert page_of(gone[0])[0] == ["https://images.example/1.jpg"]


STEM = "https://images.example/"

LINKS: dict[str, tuple[str, list[str], str]] = {
    "at the limit": (STEM + "a" * (2083 - len(STEM)), [STEM + "a" * (2083 - len(STEM))], "; URL 1;"),
    "past the limit, in the text": (STEM + "a" * (2084 - len(STEM)), [], f'; link "{STEM}{"a" * (2084 - len(STEM))}";'),
    "not canonical": (
        "HTTPS://Images.Example/a b",
        [STEM + "a%20b"],
        'URL 1, which the dataset writes "HTTPS://Images.Example/a b";',
    ),
    "of another alphabet": (
        "https://bücher.example/ü",
        ["https://xn--bcher-kva.example/%C3%BC"],
        '"https://bücher.example/ü"',
    ),
}


@pytest.mark.parametrize("sort", LINKS)
def test_a_link_is_a_url_where_it_can_be_one_and_stands_in_the_text_where_not(sort: str) -> None:
    link, urls, told = LINKS[sort]
    found, text = page_of(incident(1, url=link))
    assert found == urls
    assert told in text


@pytest.mark.parametrize(
    "link", ["", "ftp://images.example/1", "data:image/png;base64,AAAA", "javascript:1", "not a link", "http://"]
)
def test_an_incident_without_a_web_address_is_not_reported(link: str) -> None:
    with pytest.raises(InputError, match="no place of the incident has a web address") as caught:
        report_xml(incident(1, url=link), SETTINGS, NOW)
    assert caught.value.hint == "hand it over as a sealed package"


def test_of_a_link_that_may_hold_the_file_itself_only_the_beginning_is_told() -> None:
    of = incidents(finding(1, 1), finding(2, 1, url="data:image/png;base64," + "A" * 5000))[0]
    urls, text = page_of(of)
    assert urls == ["https://images.example/1.jpg"]
    assert "A" * 179 not in text
    assert "[and 4822 more characters]" in text


def test_rows_beyond_what_a_text_holds_are_counted_and_every_link_still_stands() -> None:
    of = incidents(*(finding(n, 1, row_key="k" * 300) for n in range(1, 1001)))[0]
    urls, text = page_of(of)
    lines = [line for line in text.splitlines() if " row " in line]
    assert len(urls) == 1000
    assert len(lines) < 1000
    assert text.endswith(f"\nand {1000 - len(lines)} further rows, which the reporter can give")


# Exact, near, link

SORTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an equal file": ({}, "EXACT MATCH: a hash of the whole file is equal", "- md5, equal: list"),
    "a near image": (
        {"matches": (match(1, "pdq", distance_bits=31, form="flipx"),)},
        "SIMILAR IMAGE, NOT AN EXACT MATCH",
        "- pdq, 31 of 256 bits apart (flipx): list",
    ),
    "a near image at distance 0": (
        {"matches": (match(1, "pdq", distance_bits=0),)},
        "SIMILAR IMAGE, NOT AN EXACT MATCH",
        "- pdq, 0 of 256 bits apart (original): list",
    ),
    "a link": ({"matches": (match(1, "url/raw-md5"),)}, "LINK ONLY", "- url/raw-md5, equal: list"),
    "near what is grave, equal to what is not": (
        {"matches": (match(1, "pdq", distance_bits=3), match(2, "sha1", meaning="exploitative"))},
        "SIMILAR IMAGE, NOT AN EXACT MATCH",
        "- sha1, equal: list",
    ),
}


@pytest.mark.parametrize("sort", SORTS)
def test_exact_and_near_and_link_are_told_apart(sort: str) -> None:
    fields, first, line = SORTS[sort]
    text = statement_of(incident(1, **fields))
    assert sum(text.count(word) for word in ("\nEXACT MATCH:", "SIMILAR IMAGE, NOT", "LINK ONLY:")) == 1
    assert first in text
    assert line in text


def test_the_statement_says_how_it_was_found_by_which_list_and_that_nobody_looked() -> None:
    text = statement_of(incident(1))
    assert "Found by automatic comparison of hash values. No person viewed the file." in text
    assert 'list "hotline", version "2026-03-01-0a1b2c", entry "e1", category "A1", assurance "reviewed"' in text
    assert f"- SHA256: {hashlib.sha256(b'entry 1').hexdigest()}" in text
    assert "1001 bytes, jpeg, 640 x 480" in text
    assert 'made by "custodes 0.1.0"' in text


def test_matches_beyond_what_a_text_holds_are_counted() -> None:
    of = incident(1, matches=tuple(match(n) for n in range(102)))
    assert "\nand 2 further entries, which the reporter can give\n" in statement_of(of)


def test_test_and_demonstration_say_so_and_production_says_neither() -> None:
    assert statement_of(incident(1)).startswith("TEST: ")
    assert "DEMONSTRATION" in statement_of(changed(incident(1), demo=True))
    assert "TEST" not in statement_of(incident(1), PRODUCTION)
    assert "DEMONSTRATION" not in statement_of(incident(1), PRODUCTION)


REFUSED: dict[str, tuple[Any, CyberTiplineSettings, str]] = {
    "what is held": (lambda: incident(1, decision="hold"), SETTINGS, "what is held is not reported"),
    "a withheld image that is held": (lambda: withheld(decision="hold"), SETTINGS, "what is held is not reported"),
    "a demonstration in production": (lambda: changed(incident(1), demo=True), PRODUCTION, "never reported"),
    "no match": (lambda: changed(incident(1), matches=()), SETTINGS, "names an entry of a list"),
    "a match without an entry": (lambda: incident(1, matches=(match(1, entry=""),)), SETTINGS, "names an entry"),
    "no dataset": (lambda: incident(1, dataset=""), SETTINGS, "lacks its dataset"),
    "no file": (lambda: incident(1, file=""), SETTINGS, "lacks its dataset, its file"),
    "a time without an offset": (
        lambda: incident(1, found_at="2026-03-01T12:00:00"),
        SETTINGS,
        "no time with its offset",
    ),
    "no time": (lambda: incident(1, found_at="soon"), SETTINGS, "no time with its offset"),
    "nobody who reports": (lambda: incident(1), CyberTiplineSettings(), "lacks report/reporter/reportingPerson/email"),
}


@pytest.mark.parametrize("sort", REFUSED)
def test_what_could_not_be_acted_on_is_refused_before_it_is_sent(sort: str) -> None:
    make, settings, told = REFUSED[sort]
    with pytest.raises(InputError, match=told):
        submission_of(make(), settings, NOW)


# Times

AHEAD = {
    "as it was": (NOW - timedelta(hours=3), NOW - timedelta(hours=3)),
    "now": (NOW, NOW),
    "a little ahead: two clocks": (NOW + timedelta(minutes=5), NOW),
    "ahead as far as is taken": (NOW + AHEAD_MAX, NOW),
}


@pytest.mark.parametrize("sort", AHEAD)
def test_a_detection_was_by_the_services_clock(sort: str) -> None:
    found, told = AHEAD[sort]
    root = read(incident(1, found_at=found.isoformat()))
    assert root.findtext("incidentSummary/incidentDateTime") == told.isoformat()


def test_a_detection_that_is_still_to_come_is_refused() -> None:
    late = (NOW + AHEAD_MAX + timedelta(seconds=1)).isoformat()
    with pytest.raises(InputError, match="the time of detection is still to come"):
        report_xml(incident(1, found_at=late), SETTINGS, NOW)


# What a gateway withheld


def test_a_user_an_address_and_a_file_are_told_as_far_as_the_operator_tells() -> None:
    root = read(withheld())
    assert root.findtext("incidentSummary/platform") == "Pictures of Numbers"
    assert root.find("internetDetails") is None
    assert root.findtext("personOrUserReported/espIdentifier") == "user-1"
    assert [each.text for each in root.iter("ipAddress")] == ["2001:db8::1", "192.0.2.1"]
    bare = read(withheld(user=None, file=None))
    assert bare.find("personOrUserReported") is None
    assert "It is not attached." in (bare.findtext("additionalInfo") or "")
    only = read(withheld(user=ReportedUser(identifier="u")))
    assert [child.tag for child in only.find("personOrUserReported") or ()] == ["espIdentifier"]


def test_a_file_is_told_unviewed_with_its_hashes_and_as_generated_only_if_a_generator_made_it() -> None:
    made = details_of(withheld())
    assert (made.findtext("fileViewedByEsp"), made.findtext("exifViewedByEsp")) == ("false", "false")
    assert made.findtext("fileAnnotations/generativeAi") == "true"
    assert {each.get("hashType"): each.text for each in made.iter("originalFileHash")} == {
        "MD5": hashlib.md5(b"entry 1").hexdigest(),
        "SHA1": hashlib.sha1(b"entry 1").hexdigest(),
        "SHA256": hashlib.sha256(b"entry 1").hexdigest(),
    }
    given = details_of(withheld(file=WithheldFile(content=b"entry 1", generated=False)))
    assert given.find("fileAnnotations") is None
    assert given.find("publiclyAvailable") is None


def test_the_file_is_the_one_that_was_compared() -> None:
    for file, told in (
        (WithheldFile(content=b"entry 2", generated=True), "not the one that was compared"),
        (WithheldFile(content=b"", generated=True), "1 to"),
    ):
        with pytest.raises(InputError, match=told):
            submission_of(withheld(file=file), SETTINGS, NOW)
    content = bytes(FILE_BYTES_MAX)
    assert submission_of(withheld(digests={}, file=WithheldFile(content=content, generated=True)), SETTINGS, NOW).files
    with pytest.raises(InputError, match="1 to 15728640 bytes, not 15728641"):
        submission_of(withheld(digests={}, file=WithheldFile(content=content + b"1", generated=True)), SETTINGS, NOW)


ODD: dict[str, tuple[ReportedUser, str]] = {
    "a name past its limit": (ReportedUser(screen_name="x" * 257), f'- screenName, as recorded: "{"x" * 257}"'),
    "a blank name": (ReportedUser(display_names=(" ", "a")), '- displayName, as recorded: " "'),
    "an e-mail that is none": (ReportedUser(emails=("nobody", "a@b.example")), '- email, as recorded: "nobody"'),
    "a profile that is no address": (ReportedUser(profile_urls=("x:y",)), '- profileUrl, as recorded: "x:y"'),
    "an address that is none": (
        ReportedUser(ip_captures=(IpCapture(address="x"),)),
        '- ipAddress, as recorded: "x Unknown  port 0"',
    ),
    "a time that is still to come": (
        ReportedUser(ip_captures=(IpCapture(address="::1", at="2030-01-01T00:00:00Z"),)),
        '- dateTime, as recorded: "2030-01-01T00:00:00Z"',
    ),
    "a port that is none": (
        ReportedUser(ip_captures=(IpCapture(address="::1", port=65536),)),
        '- port, as recorded: "65536"',
    ),
    "more than a text holds": (ReportedUser(display_names=(" ",) * 21), "\nand 1 more, which the reporter can give\n"),
}


@pytest.mark.parametrize("sort", ODD)
def test_nobody_can_name_themselves_out_of_a_report(sort: str) -> None:
    user, told = ODD[sort]
    assert told in statement_of(withheld(user=user))


def test_nor_a_file_out_of_one() -> None:
    file = WithheldFile(
        content=b"entry 1", generated=True, name="x" * 2057, uploaded_at="soon", ip_capture=IpCapture(address="x")
    )
    root = details_of(withheld(file=file))
    assert [root.find(name) for name in ("originalFileName", "uploadedToEspTimestamp", "ipCaptureEvent")] == [None] * 3
    text = root.findtext("additionalInfo") or ""
    assert text.count("as recorded") == 3
    assert text.endswith('- ipAddress, as recorded: "x Unknown  port 0"')


def test_all_documents_are_checked_before_a_report_is_open() -> None:
    with pytest.raises(InputError, match="fileDetails/originalFileHash has more than 64 characters"):
        submission_of(withheld(digests={"pdq": "0" * 65}), SETTINGS, NOW)


def test_the_longest_texts_still_fit() -> None:
    long = "\x00" * 400
    matches = tuple(
        match(n, list=long, list_version=long, entry=long + str(n), category=long, assurance=long) for n in range(101)
    )
    users = ReportedUser(display_names=("\x00" * 4000,) * 30)
    places = [finding(n, 1, matches=matches[:2], row_key=long, dataset=long, file=long) for n in range(300)]
    assert statement_of(withheld(matches=matches, user=users))
    assert page_of(changed(incidents(*places)[0], matches=matches))


# Text that tries to be more


def test_hostile_names_and_links_change_nothing_but_their_own_words(schema: etree.XMLSchema) -> None:
    strings = hostile_strings()
    plain = page_of(incident(1))[1].count("\n")
    for text in strings:
        of = incidents(finding(1, 1), finding(2, 1, url=text, dataset=text or "x", row_key=text, final_url=text))[0]
        document = report_xml(of, SETTINGS, NOW)
        assert complaint(document, NOW + timedelta(seconds=1), schema) == ""
        assert page_of(of)[1].count("\n") == plain + 1


def test_hostile_users_and_files_change_nothing_but_their_own_words(schema: etree.XMLSchema) -> None:
    for text in hostile_strings():
        given = text[:80]
        user = ReportedUser(identifier=given, screen_name=given, display_names=(given,))
        of = withheld(user=user, file=WithheldFile(content=b"entry 1", generated=True, name=given))
        submission = submission_of(of, SETTINGS, NOW)
        for document in (submission.report, submission.files[0].details(*DETAILS)):
            assert complaint(document, NOW + timedelta(seconds=1), schema) == ""


def test_documents_keep_the_schema(schema: etree.XMLSchema) -> None:
    for of in (incident(), withheld(), withheld(user=None), withheld(file=None)):
        submission = submission_of(of, SETTINGS, NOW)
        assert complaint(submission.report, NOW + timedelta(seconds=1), schema) == ""
        for file in submission.files:
            assert complaint(file.details(*DETAILS), NOW + timedelta(seconds=1), schema) == ""


def test_the_stand_in_refuses_what_the_schema_refuses_and_more(schema: etree.XMLSchema) -> None:
    good = report_xml(incident(), SETTINGS, NOW)
    for old, new in (
        (b"<incidentDateTime>2026-03-01T12:00:00+00:00", b"<incidentDateTime>2026-03-01T12:00:00"),
        (b"<incidentDateTime>2026-03-01", b"<incidentDateTime>2027-03-01"),
        (b"<email>reports@provider.example</email>", b""),
        (b"<url>https://images.example/1.jpg", b"<url>images"),
        (b"<additionalInfo>", b"<victim/><additionalInfo>"),
        (b"</report>", b""),
    ):
        assert old in good
        assert complaint(good.replace(old, new, 1), NOW, schema) != ""


# What is printed of it, and what follows it


def test_nothing_of_a_report_is_in_a_repr() -> None:
    of = withheld()
    assert of.user is not None
    assert of.file is not None
    submission = submission_of(of, SETTINGS, NOW)
    told = repr([of, of.user, of.user.ip_captures, of.file]) + repr(submission) + repr(submission.files)
    assert not any(
        word in told
        for word in ("user-1", "192.0.2", "one.png", "entry 1", "provider", hashlib.md5(b"entry 1").hexdigest())
    )


def test_a_file_knows_what_should_arrive() -> None:
    assert File(b"entry 1", lambda *_: b"").md5 == hashlib.md5(b"entry 1").hexdigest()


@pytest.mark.parametrize(
    ("why", "told"), [("withdrawn", "has withdrawn the entries"), ("not", "is not what was reported")]
)
def test_a_correction_names_the_report_and_holds_no_link_and_no_hash(why: Why, told: str) -> None:
    made_at = datetime(2026, 11, 2, tzinfo=UTC).isoformat()
    correction = Correction(
        environment="production",
        report_id="7000000001",
        incident="0" * 32,
        why=why,
        made_at=made_at,
        contact="legal@provider.example",
    )
    assert "7000000001" in correction.text()
    assert told in correction.text()
    assert "TEST" not in correction.text()
    assert msgspec.json.decode(correction.document(), type=Correction) == correction
    assert msgspec.structs.replace(correction, environment="test").text().startswith("TEST: ")
    for wrong in ({"incident": "x"}, {"report_id": "https://images.example/1"}):
        with pytest.raises(ValueError, match=r"has|is named"):
            msgspec.structs.replace(correction, **wrong).__post_init__()


SETTING = [
    {"email": "nobody"}, {"contact_email": "a@b"}, {"legal_url": "provider.example"}, {"calls_per_minute": 0}, {"url": "http://127.0.0.1:1"},
    {"unsafe_allow_loopback": True}, {"url": "http://127.0.0.1:1", "unsafe_allow_loopback": True, "environment": "production"},
]  # fmt: skip


@pytest.mark.parametrize("fields", SETTING)
def test_settings_that_cannot_be_meant_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is no|must be|belong together|never production"):
        CyberTiplineSettings(**fields)


def test_production_is_named_or_it_is_a_test() -> None:
    assert CyberTiplineSettings().environment == "test"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"environment": "live"}, CyberTiplineSettings)
