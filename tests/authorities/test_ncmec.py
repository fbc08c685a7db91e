"""NCMEC's hash sharing: what is asked, what is kept, and that a walk that stops anywhere ends as the service's own truth."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
import time
import traceback
from base64 import b64encode
from collections.abc import Awaitable, Callable

import pytest

from custodes.authorities import ncmec
from custodes.authorities.base import Feedback, Page, ResumeExpired, Verdict
from custodes.authorities.ncmec import ENVIRONMENTS, Ncmec
from custodes.errors import AuthorityError, ConfigError, InputError
from custodes.lists.records import Record
from custodes.model import Kind
from custodes.services import xml
from custodes.services.calls import Caller
from tests.authorities.ncmec_server import NAMESPACE, PASSWORD, USER, Item, NcmecServer
from tests.authorities.service import Fault, Mirror, loopback

GUID = "01234567-abcd-0123-4567-012345678900"
FROM_THE_START = "from=1970-01-01T00%3A00%3A00Z&to=2023-11-14T22%3A13%3A15Z"  # now is 2023-11-14T22:13:20Z


def md5(number: int) -> str:
    return hashlib.md5(b"entry %d" % number).hexdigest()


def sha1(number: int) -> str:
    return hashlib.sha1(b"entry %d" % number).hexdigest()


def pdq(number: int) -> str:
    return hashlib.sha256(b"entry %d" % number).hexdigest()


def photodna(number: int) -> bytes:
    return hashlib.shake_128(b"entry %d" % number).digest(144)


def adapter(server: NcmecServer, *, attempts_max: int = 1, members: frozenset[str] = frozenset()) -> Ncmec:
    caller = loopback(server.base, "NCMEC ngo-test", attempts_max=attempts_max, basic=(USER, PASSWORD))
    return Ncmec(caller, "ngo-test", members, clock=lambda: server.now)


def run(check: Callable[[NcmecServer, Ncmec], Awaitable[None]], server: NcmecServer | None = None) -> None:
    async def main() -> None:
        async with server or NcmecServer() as served:
            authority = adapter(served)
            try:
                await check(served, authority)
            finally:
                await authority.close()

    asyncio.run(main())


def filled(count: int, page_size: int) -> NcmecServer:
    server = NcmecServer(page_size=page_size)
    for number in range(count):
        server.put("42", f"image{number}", Item(server.now - 1000 - number, {"md5": md5(number)}, "A1"))
    return server


async def pages_of(authority: Ncmec, checkpoint: str = "", resume: str = "") -> list[Page]:
    return [page async for page in authority.pages(checkpoint, resume)]


def answered(body: bytes) -> NcmecServer:
    """A service whose every answer is this."""
    server = filled(1, 1000)
    server.faults = dict.fromkeys(range(1, 20), Fault(status=200, body=body))
    return server


def in_result(inner: str) -> bytes:
    return f'<queryResult xmlns="{NAMESPACE}"><images count="1">{inner}</images></queryResult>'.encode()


# What is asked


def test_a_fetch_asks_for_one_range_and_follows_its_pages_to_the_end() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        pages = await pages_of(authority)
        assert [len(page.records) for page in pages] == [2, 2, 1]
        assert [page.checkpoint for page in pages] == [None, None, "2023-11-14T22:13:15Z"]
        assert [(seen.method, seen.path, seen.query) for seen in server.requests] == [
            ("GET", "/npo/v2/entries", FROM_THE_START),
            ("GET", "/npo/v2/entries", f"{FROM_THE_START}&start=3&size=2&max=1000005"),
            ("GET", "/npo/v2/entries", f"{FROM_THE_START}&start=5&size=2&max=1000005"),
        ]
        assert not server.undocumented

    run(check, filled(5, 2))


def test_the_next_range_begins_five_minutes_before_the_last_one_ended() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        await pages_of(authority, "2023-11-14T20:00:00Z")
        assert server.requests[0].query == "from=2023-11-14T19%3A55%3A00Z&to=2023-11-14T22%3A13%3A15Z"

    run(check, filled(0, 2))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "Pacific/Kiritimati"])
def test_ranges_are_in_utc_whatever_the_zone_of_the_machine(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        (page,) = await pages_of(authority)
        assert server.requests[0].query == FROM_THE_START
        assert {record.modified for record in page.records} == {1_699_999_000_000}

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert time.localtime(0).tm_hour != 0
        run(check, filled(1, 10))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_clock_before_the_last_fetch_is_an_error_and_asks_nothing() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        with pytest.raises(AuthorityError, match="clock"):
            await pages_of(authority, "2023-11-14T22:18:15Z")
        assert not server.requests
        assert len(await pages_of(authority, "2023-11-14T22:18:14Z")) == 1

    run(check, filled(0, 2))


def test_a_checkpoint_that_is_no_time_is_an_error() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        for checkpoint in ("yesterday", "2023-11-14T22:18:15", "-1"):
            with pytest.raises(AuthorityError, match="checkpoint"):
                await pages_of(authority, checkpoint)

    run(check)


# What is kept


def records_of(inner: str, members: frozenset[str] = frozenset()) -> tuple[dict[str, Record], dict[str, int]]:
    found: list[Page] = []

    async def check(server: NcmecServer, _: Ncmec) -> None:
        authority = adapter(server, members=members)
        found.extend(await pages_of(authority))
        await authority.close()

    run(check, answered(in_result(inner)))
    (page,) = found
    return {record.id: record for record in page.records}, dict(page.skipped)


HEAD = '<member id="42">Example</member><timestamp>2017-10-24T15:00:00Z</timestamp><id>image1</id>'


def test_an_image_gives_its_md5_sha1_pdq_and_photodna() -> None:
    records, skipped = records_of(
        f"<image>{HEAD}<classification>A1</classification><fingerprints><md5>{md5(1)}</md5><sha1>{sha1(1).upper()}</sha1>"
        f"<pdq>{pdq(1).upper()}</pdq><pdna>{b64encode(photodna(1)).decode()}</pdna><pdna>{photodna(2).hex()}</pdna>"
        "</fingerprints></image>"
    )
    assert skipped == {}
    assert list(records) == ["42/image1"]
    assert records["42/image1"].modified == 1_508_857_200_000
    assert {(e.kind, e.value, e.id, e.category, e.assurance) for e in records["42/image1"].entries} == {
        (Kind.MD5, bytes.fromhex(md5(1)), "42/image1", "A1", ""),
        (Kind.SHA1, bytes.fromhex(sha1(1)), "42/image1", "A1", ""),
        (Kind.PDQ, bytes.fromhex(pdq(1)), "42/image1", "A1", ""),
        (Kind.PHOTODNA, photodna(1), "42/image1", "A1", ""),
        (Kind.PHOTODNA, photodna(2), "42/image1", "A1", ""),
    }


FINGERPRINTS = {
    "a hash that is cut": (f"<md5>{md5(1)[:-1]}</md5>", {"malformed": 1}),
    "a hash that is too long": (f"<md5>{md5(1)}00</md5>", {"malformed": 1}),
    "a hash with a space": (f"<md5>{md5(1)[:10]} {md5(1)[10:]}</md5>", {"malformed": 1}),
    "a hash of no digits": (f"<sha1>{'x' * 40}</sha1>", {"malformed": 1}),
    "a hash of other digits": ("<md5>" + "\u0660" * 32 + "</md5>", {"malformed": 1}),
    "an empty hash": ("<md5/><pdq></pdq>", {"malformed": 2}),
    "photodna as in the documentation": ("<pdna>a1a1a1a1...</pdna>", {"pdna": 1}),
    "photodna behind an address": ('<pdna rel="self" href="/v2/x"/>', {"pdna": 1}),
    "hashes of other kinds": (
        (
            '<netclean>1</netclean><tmk-pdqf rel="self" href="/v2/x"/><videntifier rel="self" href="/v2/y"/>'
            "<ssvh_pdna>1</ssvh_pdna><ssvh_safer_hash>1</ssvh_safer_hash><TMK_SAFER_HASH>1</TMK_SAFER_HASH>"
        ),
        {"netclean": 1, "tmk_pdqf": 1, "videntifier": 1, "ssvh_pdna": 1, "ssvh_safer_hash": 1, "tmk_safer_hash": 1},
    ),
    "a hash nobody has heard of": ("<unheard>1</unheard>", {"other": 1}),
    "a hash in another namespace": (f'<md5 xmlns="urn:else">{md5(1)}</md5>', {"other": 1}),
}


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_a_hash_that_cannot_be_kept_costs_itself_and_is_counted(name: str) -> None:
    inner, counted = FINGERPRINTS[name]
    records, skipped = records_of(f"<image>{HEAD}<fingerprints>{inner}<md5>{md5(2)}</md5></fingerprints></image>")
    assert [entry.value.hex() for entry in records["42/image1"].entries] == [md5(2)]
    assert skipped == counted


ENTRIES_WITHOUT_AN_ID = {
    "no member": "<timestamp>2017-10-24T15:00:00Z</timestamp><id>image1</id>",
    "a member without a number": "<member>E</member><timestamp>2017-10-24T15:00:00Z</timestamp><id>image1</id>",
    "no id": '<member id="42">E</member><timestamp>2017-10-24T15:00:00Z</timestamp>',
    "an empty id": '<member id="42">E</member><timestamp>2017-10-24T15:00:00Z</timestamp><id/>',
    "an id that is a path": '<member id="42">E</member><timestamp>2017-10-24T15:00:00Z</timestamp><id>..</id>',
    "an id of 201 characters": f'<member id="42">E</member><timestamp>2017-10-24T15:00:00Z</timestamp><id>{"i" * 201}</id>',
    "no time": '<member id="42">E</member><id>image1</id>',
    "a time without a zone": '<member id="42">E</member><timestamp>2017-10-24T15:00:00</timestamp><id>image1</id>',
    "a time that is none": '<member id="42">E</member><timestamp>soon</timestamp><id>image1</id>',
}


@pytest.mark.parametrize("name", ENTRIES_WITHOUT_AN_ID)
@pytest.mark.parametrize("tag", ["image", "deletedImage"])
def test_an_entry_that_cannot_be_told_apart_or_ordered_is_counted_and_its_neighbour_stands(name: str, tag: str) -> None:
    neighbour = f"<deletedImage>{HEAD.replace('image1', 'image2')}</deletedImage>"
    records, skipped = records_of(f"<{tag}>{ENTRIES_WITHOUT_AN_ID[name]}</{tag}>{neighbour}")
    assert list(records) == ["42/image2"]
    assert skipped == {"malformed": 1}


def test_an_id_of_200_characters_is_kept() -> None:
    records, _ = records_of(f"<deletedImage>{HEAD.replace('image1', 'i' * 200)}</deletedImage>")
    assert list(records) == ["42/" + "i" * 200]


def test_a_withdrawal_is_a_record_without_entries_whatever_the_order_of_its_parts() -> None:
    parts = ['<member id="43">E</member>', "<id>image4</id>", "<timestamp>2017-10-24T15:10:00Z</timestamp>"]
    for order in (parts, parts[::-1], [parts[1], parts[2], parts[0]]):
        records, _ = records_of(f"<deletedImage>{''.join(order)}</deletedImage>")
        assert [(r.id, r.entries, r.modified) for r in records.values()] == [("43/image4", (), 1_508_857_800_000)]


@pytest.mark.parametrize("member", ["Take It Down", "TAKE IT DOWN", " take  it\ndown "])
def test_entries_of_take_it_down_are_unreviewed(member: str) -> None:
    inner = HEAD.replace(">Example<", f">{member}<") + f"<fingerprints><md5>{md5(1)}</md5></fingerprints>"
    records, _ = records_of(f"<image>{inner}</image>")
    assert [entry.assurance for entry in records["42/image1"].entries] == ["unreviewed"]


CLASSIFICATIONS = {
    "": "",
    "A1": "A1",
    " B2\n": "B2",
    "New & odd": "New & odd",
    "x" * 201: "unreadable",
    "a\tb": "unreadable",
}


@pytest.mark.parametrize("given", CLASSIFICATIONS, ids=range(len(CLASSIFICATIONS)))
def test_a_classification_is_kept_as_it_is_given(given: str) -> None:
    written = f"<classification>{given.replace('&', '&amp;')}</classification>"
    records, _ = records_of(f"<image>{HEAD}{written}<fingerprints><md5>{md5(1)}</md5></fingerprints></image>")
    assert [entry.category for entry in records["42/image1"].entries] == [CLASSIFICATIONS[given]]


def test_with_members_named_only_theirs_are_kept() -> None:
    other = f"<deletedImage>{HEAD.replace('42', '7')}</deletedImage>"
    records, skipped = records_of(f"<deletedImage>{HEAD}</deletedImage>{other}", frozenset({"7", "9"}))
    assert list(records) == ["7/image1"]
    assert skipped == {"other member": 1}


def test_videos_are_counted_and_not_kept() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        server.put("42", "video1", Item(server.now - 100, {"md5": md5(1)}, video=True))
        server.put("42", "video2", Item(server.now - 100, video=True, deleted=True))
        (page,) = await pages_of(authority)
        assert (page.records, page.skipped) == ((), {"video": 2})

    run(check)


# Answers that no service should give


def nested(depth: int) -> bytes:
    return in_result("<a>" * (depth - 2) + "</a>" * (depth - 2))


BAD = {
    "text": b"all is well",
    "a page for people": b"<html><body>Log in</body></html>",
    "nothing": b"",
    "another document": f'<status xmlns="{NAMESPACE}"/>'.encode(),
    "the document of another namespace": b'<queryResult xmlns="urn:else"/>',
    "cut": in_result(f"<image>{HEAD}</image>")[:-20],
    "cut in a character": b"<queryResult>\xc3",
    "two roots": b"<queryResult/><queryResult/>",
    "another encoding": f'<?xml version="1.0" encoding="UTF-16"?><queryResult xmlns="{NAMESPACE}"/>'.encode("utf-16"),
    "a document type in another encoding": '<!DOCTYPE q [<!ENTITY a "b">]><queryResult>&a;</queryResult>'.encode(
        "utf-16"
    ),
    "a document type": b"<!DOCTYPE queryResult><queryResult/>",
    "an entity": b'<!DOCTYPE q [<!ENTITY a "b">]><queryResult>&a;</queryResult>',
    "entities in entities": b'<!DOCTYPE q [<!ENTITY a "bb"><!ENTITY b "&a;&a;&a;">]><queryResult>&b;</queryResult>',
    "an entity outside": b'<!DOCTYPE q [<!ENTITY a SYSTEM "file:///etc/hostname">]><queryResult>&a;</queryResult>',
    "too deep": nested(33),
}


@pytest.mark.parametrize("name", BAD)
def test_an_answer_that_is_no_result_ends_the_walk_and_says_nothing_of_its_text(name: str) -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        with pytest.raises(
            AuthorityError, match=r"^the answer to NCMEC ngo-test GET /v2/entries is (not|XML)"
        ) as caught:
            await pages_of(authority)
        shown = "".join(traceback.format_exception(caught.value))
        assert not any(text in shown for text in ("Log in", "hostname", "image1", "ebcdic"))

    run(check, answered(BAD[name]))


def test_planted_with_document_types_allowed_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        assert len(await pages_of(authority)) == 1

    monkeypatch.setattr(xml, "_DOCUMENT_TYPE", b"\0")
    run(check, answered(f'<!DOCTYPE queryResult><queryResult xmlns="{NAMESPACE}"/>'.encode()))


def test_an_answer_as_deep_as_is_allowed_is_taken() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        assert (await pages_of(authority))[0].skipped == {"other": 1}

    run(check, answered(nested(32)))


def test_more_elements_than_a_page_can_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        server.faults[1] = Fault(status=200, body=in_result("<a/>" * 98))
        server.faults[2] = Fault(status=200, body=in_result("<a/>" * 99))
        assert (await pages_of(authority))[0].skipped == {"other": 98}
        with pytest.raises(AuthorityError):
            await pages_of(authority)

    monkeypatch.setattr("custodes.services.xml.ELEMENTS_MAX", 100)
    run(check, filled(1, 10))


def test_a_count_that_is_not_true_counts_for_nothing() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        (page,) = await pages_of(authority)
        assert len(page.records) == 1

    run(check, answered(in_result(f"<deletedImage>{HEAD}</deletedImage>").replace(b'"1"', b'"999999999999999999999"')))


ELSEWHERE = [
    "https://elsewhere.example/v2/entries?a=1",
    "//elsewhere.example/v2/entries?a=1",
    "/v2/members?a=1",
    "/v2/entries/42/image1/MD5/feedback?a=1",
    "/v2/entries",
    "/v2/entries?",
    "/v2/entries?a=1#b",
    "/v2/entries?a=1 b",
    "/v2/entries?a=1\u00e9",
    "/v2/../v2/entries?a=1",
    "@elsewhere.example/v2/entries?a=1",
    ".elsewhere.example/v2/entries?a=1",
    "/v2/entries?" + "a" * 4001,
]


@pytest.mark.parametrize("address", ELSEWHERE, ids=range(len(ELSEWHERE)))
def test_a_paging_address_that_is_not_of_the_entries_is_not_followed(address: str) -> None:
    body = f'<queryResult xmlns="{NAMESPACE}"><paging><next>{address}</next></paging></queryResult>'.encode()

    async def check(server: NcmecServer, authority: Ncmec) -> None:
        with pytest.raises(AuthorityError, match="goes on at an address") as caught:
            await pages_of(authority)
        assert len(server.requests) == 1
        assert "elsewhere" not in str(caught.value)

    run(check, answered(body))


def test_planted_without_the_look_at_paging_addresses_another_path_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    body = f'<queryResult xmlns="{NAMESPACE}"><paging><next>/v2/members?a=1</next></paging></queryResult>'.encode()

    async def check(server: NcmecServer, authority: Ncmec) -> None:
        with pytest.raises(AuthorityError):
            await pages_of(authority)
        assert [seen.path for seen in server.requests] == ["/npo/v2/entries", "/npo/v2/members"]

    monkeypatch.setattr(ncmec, "_NEXT", re.compile(".*"))
    run(check, answered(body))


def test_pages_that_go_round_in_a_circle_end_the_walk() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        with pytest.raises(AuthorityError, match="where the walk has been"):
            await pages_of(authority)
        assert len(server.requests) == 3

    body = f'<queryResult xmlns="{NAMESPACE}"><paging><next>/v2/entries?start=%d</next></paging></queryResult>'
    server = answered(b"")
    server.faults = {number: Fault(status=200, body=(body % (number % 2)).encode()) for number in range(1, 20)}
    run(check, server)


def test_a_resume_that_is_not_ours_is_not_followed() -> None:
    at = 1_700_000_000
    bad = ["", "1", "{}", f'{{"from":"a","to":"b","next":"//else.example/v2/entries?a","at":{at}}}', "\x00"]
    bad.append(f'{{"from":"a","to":"b","next":"/v2/entries?a=1","at":{at},"more":1}}')

    async def check(server: NcmecServer, authority: Ncmec) -> None:
        for resume in bad[1:]:
            with pytest.raises(ResumeExpired):
                await pages_of(authority, "", resume)
        assert not server.requests

    run(check)


# Interruption


@pytest.mark.parametrize("fault", [Fault(), Fault(sent_bytes=100), Fault(status=503), Fault(body=b"<queryResult>")])
def test_a_walk_that_is_interrupted_at_any_request_goes_on_there_and_ends_the_same(fault: Fault) -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        whole = Mirror()
        assert await whole.walk(authority)
        requests = len(server.requests)
        assert requests == 4
        for stop in range(1, requests + 1):
            server.requests.clear()
            server.faults = {stop: fault}
            mirror = Mirror()
            assert not await mirror.walk(authority)
            assert mirror.checkpoint == ""
            assert mirror.pages == stop - 1
            assert await mirror.walk(authority)
            assert len(server.requests) == requests + 1  # no page but the lost one was asked for twice
            assert mirror.entries() == whole.entries() == {(f"42/image{n}", "md5", md5(n), "A1", "") for n in range(7)}
        assert not server.undocumented

    run(check, filled(7, 2))


def test_a_service_that_is_busy_is_asked_again_within_the_walk() -> None:
    async def check(server: NcmecServer, _: Ncmec) -> None:
        server.faults = {2: Fault(status=429, headers={"Retry-After": "7"}), 3: Fault(), 5: Fault(sent_bytes=10)}
        authority = adapter(server, attempts_max=3)
        mirror = Mirror()
        assert await mirror.walk(authority)
        assert (len(mirror.known), len(server.requests)) == (7, 7)
        await authority.close()

    run(check, filled(7, 2))


def test_a_walk_goes_on_for_twelve_hours_and_then_begins_again() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        for hours_s, expired in ((12 * 3600, False), (12 * 3600 + 1, True), (-1, True)):
            mirror = Mirror()
            await mirror.walk(authority, pages_max=1)
            server.requests.clear()
            server.now += hours_s
            assert await mirror.walk(authority) is not expired
            assert (mirror.resume, mirror.checkpoint == "", server.requests == []) == ("", expired, expired)
            assert not expired or await mirror.walk(authority)
            assert len(mirror.known) == 7

    run(check, filled(7, 2))


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_paging_address_that_the_service_refuses_begins_the_walk_again(status: int) -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        server.faults = {3: Fault(status=status)}
        with pytest.raises(ResumeExpired):
            await pages_of(authority)
        server.requests.clear()
        server.faults = {1: Fault(status=status)}  # without a paging address it is an error
        with pytest.raises(AuthorityError) as caught:
            await pages_of(authority)
        assert not isinstance(caught.value, ResumeExpired)

    run(check, filled(7, 2))


# Random histories


class History:
    """Members add, change and withdraw; walks are cut; clocks differ. ``truth`` is kept beside the service, not read from it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = NcmecServer(seed, page_size=self.random.randint(1, 4))
        self.server.repeats = self.random.random() < 0.5
        self.skew_s = self.random.uniform(-120, 120)
        self.truth: dict[tuple[str, str], frozenset[tuple[str, str, str, str, str]]] = {}
        self.seen_at: dict[tuple[str, str], tuple[float, float]] = {}
        self.count = 0

    def change(self) -> None:
        """One member does one thing; it is seen up to two minutes later than its time says."""
        self.count += 1
        old = [key for key in self.truth if not key[1].startswith("v")]
        key = (self.random.choice(["42", "43", "7"]), f"image {self.count} / é")
        if old and self.random.random() < 0.6:
            key = self.random.choice(old)
        if self.random.random() < 0.1:
            key = (key[0], f"v{self.count}")
        deleted = key in self.truth and self.random.random() < 0.4
        time, seen = self.seen_at.get(key, (0.0, 0.0))
        time = max(time + 0.001, round(self.server.now - self.random.choice([0, 0, self.random.uniform(0, 120)]), 3))
        seen = max(seen, self.server.now, time)
        self.seen_at[key] = (time, seen)
        category = self.random.choice(["", "A1", "B2", "Newer"])
        prints, listed = self.fingerprints(key, category)
        video = key[1].startswith("v")
        self.truth[key] = frozenset() if deleted or video else listed
        self.server.put(*key, Item(time, prints, category, deleted, video, seen))

    def fingerprints(
        self, key: tuple[str, str], category: str
    ) -> tuple[dict[str, str], frozenset[tuple[str, str, str, str, str]]]:
        number = self.random.randrange(1_000_000)
        forms = {
            "md5": ("md5", md5(number), md5(number)),
            "sha1": ("sha1", sha1(number), sha1(number).upper()),
            "pdq": ("pdq", pdq(number), pdq(number).upper()),
            "pdna": ("photodna", photodna(number).hex(), b64encode(photodna(number)).decode()),
            "netclean": ("", "", "1"),
            "videntifier": ("", "", "/v2/x"),
            "sha1 cut": ("", "", sha1(number)[1:]),
        }
        chosen = self.random.sample(sorted(forms), self.random.randint(0, 3))
        if "sha1 cut" in chosen and "sha1" in chosen:
            chosen.remove("sha1 cut")
        assurance = "unreviewed" if key[0] == "43" else ""
        listed = {(f"{key[0]}/{key[1]}", forms[n][0], forms[n][1], category, assurance) for n in chosen if forms[n][0]}
        return {name.split()[0]: forms[name][2] for name in chosen}, frozenset(listed)

    def disturb(self) -> None:
        """Something happens between two pages."""
        self.server.now += self.random.uniform(0, 60)
        for _ in range(self.random.randint(0, 2)):
            self.change()
        if self.random.random() < 0.05:
            self.server.expire_paging()

    async def walk(self, mirror: Mirror, authority: Ncmec) -> None:
        """One walk, page by page, that may be cut at any of its requests."""
        for ahead in range(1, 30):
            if self.random.random() < 0.08:
                lost = self.random.choice([Fault(), Fault(sent_bytes=50), Fault(status=500), Fault(body=b"<")])
                self.server.faults[len(self.server.requests) + ahead] = lost
        for _ in range(self.random.randint(1, 8)):
            if await mirror.walk(authority, pages_max=1):
                break
            self.disturb()
        self.server.faults.clear()

    async def differences(self) -> int:
        """How many entries the mirror has too much or too few when all has come to rest."""
        async with self.server as server:
            caller = loopback(server.base, "NCMEC", basic=(USER, PASSWORD))
            authority = Ncmec(caller, "ngo-test", clock=lambda: server.now + self.skew_s)
            mirror = Mirror()
            for _ in range(8):
                for _ in range(self.random.randint(0, 5)):
                    self.change()
                    server.now += self.random.choice([0.5, 30, 400])
                if self.random.random() < 0.05:
                    server.now += 13 * 3600
                await self.walk(mirror, authority)
            server.now += 1000
            for _ in range(4):  # what was begun goes on, or begins again; and one whole walk after it
                await mirror.walk(authority)
                server.now += 10
            await authority.close()
            assert not server.undocumented
            return len(mirror.entries() ^ frozenset().union(*self.truth.values()))


def histories(count: int) -> list[int]:
    """Differences, history by history."""

    async def main() -> list[int]:
        return [await History(seed).differences() for seed in range(count)]

    return asyncio.run(main())


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_after_any_history_the_list_is_the_services_own(count: int) -> None:
    assert histories(count) == [0] * count


def test_planted_without_the_overlap_histories_lose_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncmec, "_OVERLAP", ncmec._BEFORE_NOW * 0)
    assert sum(histories(40)) > 0


# Secrets


def test_no_error_log_or_text_holds_a_credential_an_id_or_a_hash(caplog: pytest.LogCaptureFixture) -> None:
    texts: list[str] = []

    async def check(server: NcmecServer, _: Ncmec) -> None:
        caplog.set_level(logging.DEBUG)
        faults = [
            Fault(),
            Fault(status=401),
            Fault(status=500),
            Fault(body=b"<a>" + md5(0).encode()),
            Fault(sent_bytes=90),
        ]
        for fault in faults:
            authority = adapter(server)
            server.faults = dict.fromkeys(range(1, 200), fault)
            calls: list[Awaitable[object]] = [pages_of(authority), authority.status(), authority.categorizations()]
            if fault.body is None:  # what is answered to feedback is not documented, and not read
                calls.append(authority.give(Feedback("42/image0", Kind.MD5, Verdict.CONFIRM)))
            for call in calls:
                with pytest.raises(AuthorityError) as caught:
                    await call
                texts.extend(["".join(traceback.format_exception(caught.value)), str(caught.value.hint)])
            texts.extend([repr(authority), repr(authority._caller), str(vars(authority))])
            await authority.close()

    run(check, filled(1, 10))
    shown = "\n".join([*texts, caplog.text])
    assert "NCMEC" in shown
    encoded = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for secret in (USER, PASSWORD, encoded, "image0", md5(0), "from="):
        assert secret not in shown


# Status, categorizations, feedback


def test_status_says_with_whom_one_speaks_and_where() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        assert await authority.status() == "NCMEC ngo-test (test): member 42, Example"

    run(check)


def test_categorizations_are_the_environments_own() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        first, second = await authority.categorizations()
        assert (first.name, first.multiple, dict(first.options)["First option"]) == ("Content", False, GUID)
        assert (second.name, second.multiple, list(second.options)) == ("Context", True, ["Viral"])

    run(check)


def disputed() -> NcmecServer:
    server = filled(1, 10)
    server.put("43", "a/b c", Item(server.now - 1, {"pdq": pdq(1)}))
    server.reasons = {"PDQ": {"Reason <1>": GUID, "Other": GUID.replace("0", "1")}}
    return server


def test_feedback_confirms_an_entry_and_disputes_it_for_one_of_the_services_reasons() -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        assert await authority.feedback_reasons(Kind.PDQ) == {"Reason <1>": "", "Other": ""}
        assert await authority.feedback_reasons(Kind.MD5) == {}
        await authority.give(Feedback("42/image0", Kind.MD5, Verdict.CONFIRM))
        await authority.give(Feedback("43/a/b c", Kind.PDQ, Verdict.DISPUTE, "Reason <1>"))
        assert server.given == [("42", "image0", "MD5", "affirmative"), ("43", "a%2Fb%20c", "PDQ", GUID)]
        assert not server.undocumented

    run(check, disputed())


NO_FEEDBACK = {
    "an id that is none": Feedback("image0", Kind.MD5, Verdict.CONFIRM),
    "an id that climbs": Feedback("42/..", Kind.MD5, Verdict.CONFIRM),
    "a kind that NCMEC does not take": Feedback("42/image0", Kind.SHA256, Verdict.CONFIRM),
    "a confirmation with a reason": Feedback("42/image0", Kind.MD5, Verdict.CONFIRM, "Other"),
    "a dispute without a reason": Feedback("42/image0", Kind.PDQ, Verdict.DISPUTE),
    "a dispute with a reason of another kind": Feedback("42/image0", Kind.MD5, Verdict.DISPUTE, "Other"),
}


@pytest.mark.parametrize("name", NO_FEEDBACK)
def test_feedback_that_the_service_does_not_take_is_not_sent(name: str) -> None:
    async def check(server: NcmecServer, authority: Ncmec) -> None:
        with pytest.raises(InputError):
            await authority.give(NO_FEEDBACK[name])
        assert not [seen for seen in server.requests if seen.method != "GET"]

    run(check, disputed())


def test_feedback_is_sent_once_even_if_nobody_answers() -> None:
    async def check(server: NcmecServer, _: Ncmec) -> None:
        authority = adapter(server, attempts_max=5)
        server.faults = {1: Fault()}
        with pytest.raises(AuthorityError):
            await authority.give(Feedback("42/image0", Kind.MD5, Verdict.CONFIRM))
        assert len(server.requests) == 1
        await authority.close()

    run(check, filled(1, 10))


# Environments


def test_every_environment_has_a_test_twin_at_another_address() -> None:
    real = {name for name, environment in ENVIRONMENTS.items() if environment.production}
    assert len(real) == 7
    assert {f"{name}-test" for name in real} == set(ENVIRONMENTS) - real
    assert len({environment.base for environment in ENVIRONMENTS.values()}) == 14
    for name in real:
        assert ENVIRONMENTS[name].scheme == ENVIRONMENTS[f"{name}-test"].scheme
        assert (ENVIRONMENTS[name].scheme == "ncmec/exploitative") is ("exploitative" in name)
        assert ENVIRONMENTS[name].base.startswith("https://")


def test_an_authority_says_which_environment_it_is() -> None:
    for name, environment in ENVIRONMENTS.items():
        authority = Ncmec(Caller(environment.base, "NCMEC"), name)
        told = (authority.name, authority.environment, authority.production, authority.scheme, authority.whole)
        assert told == ("ncmec", name, environment.production, environment.scheme, False)


def test_credentials_of_one_environment_are_not_sent_to_the_address_of_another() -> None:
    with pytest.raises(ConfigError, match="no such environment"):
        Ncmec(Caller(ENVIRONMENTS["ngo"].base, "NCMEC"), "ngo-live")
    elsewhere = Caller(ENVIRONMENTS["ngo-test"].base, "NCMEC")
    with pytest.raises(ConfigError, match="not that of"):
        Ncmec(elsewhere, "ngo")
    with pytest.raises(ConfigError, match="member_ids"):
        Ncmec(elsewhere, "ngo-test", frozenset({"Take It Down"}))


def test_a_stand_in_is_never_said_to_be_the_real_one() -> None:
    authority = Ncmec(loopback("http://127.0.0.1:1/npo", "NCMEC"), "ngo")
    assert (authority.environment, authority.production) == ("ngo", False)
