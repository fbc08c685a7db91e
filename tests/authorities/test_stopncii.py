"""StopNCII: what is asked, what is kept, and that a walk that stops anywhere ends as the service's own truth."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from custodes.authorities import stopncii
from custodes.authorities.base import Feedback, Page, ResumeExpired, Verdict
from custodes.authorities.stopncii import ENVIRONMENTS, StopNcii, record_id
from custodes.errors import AuthorityError, InputError
from custodes.model import Kind
from custodes.services.calls import Caller
from tests.authorities.service import Fault, Mirror, loopback
from tests.authorities.stopncii_server import FEEDBACK_KEY, FETCH_KEY, SUBSCRIPTION, Hash, StopNciiServer


def pdq(number: int) -> str:
    return hashlib.sha256(b"entry %d" % number).hexdigest()


def caller(server: StopNciiServer, key: str, attempts_max: int = 1) -> Caller:
    headers = {"x-functions-key": key, "Ocp-Apim-Subscription-Key": SUBSCRIPTION}
    return loopback(server.base, "StopNCII", headers=headers, attempts_max=attempts_max)


def adapter(server: StopNciiServer, *, attempts_max: int = 1, skew_s: float = 0.0) -> StopNcii:
    fetch, feedback = (caller(server, key, attempts_max) for key in (FETCH_KEY, FEEDBACK_KEY))
    return StopNcii(fetch, feedback, clock=lambda: server.now + skew_s)


def run(check: Callable[[StopNciiServer, StopNcii], Awaitable[None]], server: StopNciiServer | None = None) -> None:
    async def main() -> None:
        async with server or StopNciiServer() as served:
            authority = adapter(served)
            try:
                await check(served, authority)
            finally:
                await authority.close()

    asyncio.run(main())


def filled(count: int, page_size: int) -> StopNciiServer:
    server = StopNciiServer(page_size=page_size)
    for number in range(count):
        server.put("ImagePDQ", pdq(number), Hash(int(server.now) - 1000 - number, "Active"))
    return server


async def pages_of(authority: StopNcii, checkpoint: str = "", resume: str = "") -> list[Page]:
    return [page async for page in authority.pages(checkpoint, resume)]


def page_of(*records: Any, **changed: Any) -> bytes:
    page = {"count": 1, "nextPageToken": None, "nextSetTimestamp": 20, "hasMoreRecords": False, "hashRecords": records}
    return json.dumps({**page, **changed}).encode()


def record_of(**changed: Any) -> dict[str, Any]:
    record = {"lastModtimestamp": 15, "signalType": "ImagePDQ", "hashValue": pdq(1), "hashStatus": "Active"}
    return {**record, "caseNumbers": {"1": "Active"}, **changed}


def answered(body: bytes) -> StopNciiServer:
    server = filled(1, 800)
    server.faults = dict.fromkeys(range(1, 20), Fault(status=200, body=body))
    return server


def taken(body: bytes) -> Page:
    found: list[Page] = []

    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        found.extend(await pages_of(authority))

    run(check, answered(body))
    (page,) = found
    return page


# What is asked


def test_a_fetch_asks_from_ten_and_follows_its_tokens_to_the_end() -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        pages = await pages_of(authority)
        assert [len(page.records) for page in pages] == [2, 2, 1]
        assert [page.checkpoint for page in pages] == [None, None, "1699999000"]
        first = "startTimestamp=10&pageSize=800"
        assert [(seen.method, seen.path, seen.query) for seen in server.requests] == [
            ("GET", "/v1/FetchHashes", first),
            ("GET", "/v1/FetchHashes", f"{first}&nextPageToken=walk-1%3A%2B%2F%3D2"),
            ("GET", "/v1/FetchHashes", f"{first}&nextPageToken=walk-1%3A%2B%2F%3D4"),
        ]
        assert not server.undocumented

    run(check, filled(5, 2))


STARTS = {"": 10, "10": 10, "310": 10, "311": 11, "1700000000": 1_699_999_700}


@pytest.mark.parametrize("checkpoint", STARTS)
def test_a_walk_begins_five_minutes_before_the_checkpoint(checkpoint: str) -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        await pages_of(authority, checkpoint)
        assert server.requests[0].query == f"startTimestamp={STARTS[checkpoint]}&pageSize=800"

    run(check)


CHECKPOINTS = {
    "the service's next timestamp": ("", 1_600_000_000, "1600000000"),
    "not later than the walk's beginning": ("", 1_700_000_001, "1700000000"),
    "not later, however late the service says": ("", 10**12, "1700000000"),
    "not before the last checkpoint": ("1650000000", 20, "1650000000"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_checkpoint_is(name: str) -> None:
    checkpoint, told, reached = CHECKPOINTS[name]

    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        (page,) = await pages_of(authority, checkpoint)
        assert page.checkpoint == reached

    run(check, answered(page_of(nextSetTimestamp=told)))


def test_a_checkpoint_that_is_no_time_is_an_error() -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        for checkpoint in ("now", "-1", "1.5", "1" * 13):
            with pytest.raises(AuthorityError, match="checkpoint"):
                await pages_of(authority, checkpoint)

    run(check)


# What is kept


@pytest.mark.parametrize("status", ["Active", "Received", "Unknown", "Paused"])
def test_a_record_that_stands_is_an_entry_whose_category_is_its_status(status: str) -> None:
    page = taken(page_of(record_of(hashStatus=status, hashValue=pdq(1).upper(), hashRegions=["UK"])))
    (record,) = page.records
    assert (record.id, record.modified) == (record_id("ImagePDQ", pdq(1)), 15_000)
    assert [(e.kind, e.value.hex(), e.id, e.category) for e in record.entries] == [
        (Kind.PDQ, pdq(1), record.id, status)
    ]
    assert page.skipped == {}


@pytest.mark.parametrize("status", ["Withdrawn", "Deleted", "deleted"])
def test_a_withdrawn_or_deleted_record_withdraws(status: str) -> None:
    (record,) = taken(page_of(record_of(hashStatus=status))).records
    assert (record.id, record.entries) == (record_id("ImagePDQ", pdq(1)), ())


def test_the_id_of_a_record_is_stable_and_does_not_hold_the_value() -> None:
    known = record_id("ImagePDQ", pdq(1))
    assert known == record_id("ImagePDQ", pdq(1).upper())
    assert len({known, record_id("ImagePDQ", pdq(2)), record_id("VideoMD5", pdq(1))}) == 3
    assert len(known) == 32
    assert known not in pdq(1)


def test_a_status_that_cannot_be_shown_is_held_under_another_name() -> None:
    for status in ("x" * 201, "Act\x1b[2Jive"):
        (record,) = taken(page_of(record_of(hashStatus=status))).records
        assert [entry.category for entry in record.entries] == ["unreadable"]


SKIPPED = {
    "a video's md5": (record_of(signalType="VideoMD5", hashValue="00" * 16), {"VideoMD5": 1}),
    "a video's tmk": (record_of(signalType="VideoTMK"), {"VideoTMK": 1}),
    "a text": (record_of(signalType="Text", hashValue="words"), {"Text": 1}),
    "an address": (record_of(signalType="URL", hashValue="https://example.org/"), {"URL": 1}),
    "a type that the service does not know itself": (record_of(signalType="Unknown"), {"Unknown": 1}),
    "a type that nobody knows": (record_of(signalType="ImageNew"), {"other": 1}),
    "half a hash": (record_of(hashValue=pdq(1)[:32]), {"malformed": 1}),
    "a hash with a digit too much": (record_of(hashValue=pdq(1) + "0"), {"malformed": 1}),
    "a hash of no digits": (record_of(hashValue="g" * 64), {"malformed": 1}),
    "half a hash that is withdrawn": (record_of(hashValue=pdq(1)[:32], hashStatus="Deleted"), {"malformed": 1}),
    "no hash": ({key: said for key, said in record_of().items() if key != "hashValue"}, {"malformed": 1}),
    "no status": (record_of(hashStatus=None), {"malformed": 1}),
    "no time": (record_of(lastModtimestamp="soon"), {"malformed": 1}),
    "a time before all": (record_of(lastModtimestamp=-1), {"malformed": 1}),
    "a time after all": (record_of(lastModtimestamp=10**12 + 1), {"malformed": 1}),
    "a record that is a text": ("record", {"malformed": 1}),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_a_record_that_cannot_be_kept_costs_itself_and_is_counted(name: str) -> None:
    record, counted = SKIPPED[name]
    page = taken(page_of(record, record_of(hashValue=pdq(2))))
    assert [r.id for r in page.records] == [record_id("ImagePDQ", pdq(2))]
    assert page.skipped == counted


# Answers that no service should give

BAD = {
    "text": b"all is well",
    "nothing": b"",
    "a list": b"[]",
    "cut": page_of(record_of())[:-9],
    "a name twice": page_of().replace(b'"count"', b'"hashRecords"'),
    "no number": page_of().replace(b"20", b"NaN"),
    "nested without end": b"[" * 200_000,
    "not of characters": b'"\xff"',
    "no records": b'{"nextSetTimestamp": 20, "hasMoreRecords": false}',
    "records that are none": page_of(hashRecords="none"),
    "no next timestamp": page_of(nextSetTimestamp=None),
    "a next timestamp before all": page_of(nextSetTimestamp=-1),
    "a next timestamp after all": page_of(nextSetTimestamp=10**12 + 1),
    "more that is neither": page_of(hasMoreRecords="perhaps"),
    "more, and no token": page_of(hasMoreRecords=True),
    "more, and an empty token": page_of(hasMoreRecords=True, nextPageToken=""),
}


@pytest.mark.parametrize("name", BAD)
def test_an_answer_that_is_no_page_ends_the_walk_and_says_nothing_of_its_text(name: str) -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        with pytest.raises(AuthorityError, match=r"^the answer to StopNCII GET /(FetchHashes|…) ") as caught:
            await pages_of(authority)
        assert pdq(1) not in "".join(traceback.format_exception(caught.value))

    run(check, answered(BAD[name]))


def test_a_token_that_comes_again_ends_the_walk() -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        with pytest.raises(AuthorityError, match="not where"):
            await pages_of(authority)
        assert len(server.requests) == 2

    run(check, answered(page_of(hasMoreRecords=True, nextPageToken="a")))


def test_a_count_that_is_not_true_counts_for_nothing() -> None:
    assert len(taken(page_of(record_of(), count=10**30)).records) == 1


def test_a_resume_that_is_not_ours_is_not_followed() -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        for resume in (
            "1",
            "{}",
            '{"least":10,"began":1}',
            '{"least":10,"began":1,"token":"a","at":1,"more":1}',
            "\x00",
        ):
            with pytest.raises(ResumeExpired):
                await pages_of(authority, "", resume)
        assert not server.requests

    run(check)


# Interruption


@pytest.mark.parametrize("fault", [Fault(), Fault(sent_bytes=100), Fault(status=503), Fault(body=b"{")])
def test_a_walk_that_is_interrupted_at_any_request_goes_on_there_and_ends_the_same(fault: Fault) -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        for stop in range(1, 5):
            server.requests.clear()
            server.faults = {stop: fault}
            mirror = Mirror()
            assert not await mirror.walk(authority)
            assert (mirror.checkpoint, mirror.pages) == ("", stop - 1)
            assert await mirror.walk(authority)
            assert len(server.requests) == 5  # no page but the lost one was asked for twice
            listed = {(record_id("ImagePDQ", pdq(n)), "pdq", pdq(n), "Active", "") for n in range(7)}
            assert mirror.entries() == listed
        assert not server.undocumented

    run(check, filled(7, 2))


def test_a_service_that_is_busy_is_asked_again_within_the_walk() -> None:
    async def check(server: StopNciiServer, _: StopNcii) -> None:
        server.faults = {2: Fault(status=429, headers={"Retry-After": "7"}), 3: Fault(), 5: Fault(sent_bytes=10)}
        authority = adapter(server, attempts_max=3)
        mirror = Mirror()
        assert await mirror.walk(authority)
        assert (len(mirror.known), len(server.requests)) == (7, 7)
        await authority.close()

    run(check, filled(7, 2))


def test_a_walk_goes_on_for_twelve_hours_and_then_begins_again() -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        for later_s, expired in ((12 * 3600, False), (12 * 3600 + 1, True), (-1, True)):
            mirror = Mirror()
            await mirror.walk(authority, pages_max=1)
            server.requests.clear()
            server.now += later_s
            assert await mirror.walk(authority) is not expired
            assert (mirror.resume, mirror.checkpoint == "", server.requests == []) == ("", expired, expired)
            assert not expired or await mirror.walk(authority)
            assert len(mirror.known) == 7

    run(check, filled(7, 2))


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_token_that_the_service_refuses_begins_the_walk_again(status: int) -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        server.faults = {3: Fault(status=status)}
        with pytest.raises(ResumeExpired):
            await pages_of(authority)
        server.requests.clear()
        server.faults = {1: Fault(status=status)}  # without a token it is an error
        with pytest.raises(AuthorityError) as caught:
            await pages_of(authority)
        assert not isinstance(caught.value, ResumeExpired)

    run(check, filled(7, 2))


# Random histories


class History:
    """Hashes are reported, pass from status to status and are withdrawn; walks are cut; clocks differ. ``truth`` is kept beside the service."""

    def __init__(self, seed: int, next_set: str = "") -> None:
        self.random = random.Random(seed)
        chosen = self.random.choice(["newest", "now", "first"])
        self.server = StopNciiServer(seed, self.random.randint(1, 4), next_set or chosen)
        self.skew_s = self.random.uniform(-120, 120)
        self.truth: dict[str, str] = {}
        self.seen_at: dict[str, tuple[int, float]] = {}

    def change(self) -> None:
        """One hash gets another status; it is seen up to two minutes later than its time says."""
        value = pdq(self.random.randrange(10_000))
        if self.truth and self.random.random() < 0.6:
            value = self.random.choice(sorted(self.truth))
        status = self.random.choice(["Received", "Active", "Active", "Withdrawn", "Deleted", "Unknown"])
        time, seen = self.seen_at.get(value, (0, 0.0))
        time = max(time + 1, int(self.server.now - self.random.choice([0, self.random.uniform(0, 120)])))
        seen = max(seen, self.server.now, time)
        self.seen_at[value] = (time, seen)
        self.truth[value] = status
        self.server.put("ImagePDQ", value, Hash(time, status, seen))
        if self.random.random() < 0.2:
            self.server.put("VideoMD5", value[:32], Hash(time, status, seen))

    def listed(self) -> set[tuple[str, str, str, str, str]]:
        gone = {"Withdrawn", "Deleted"}
        stands = {value: status for value, status in self.truth.items() if status not in gone}
        return {(record_id("ImagePDQ", value), "pdq", value, status, "") for value, status in stands.items()}

    async def walk(self, mirror: Mirror, authority: StopNcii) -> None:
        """One walk, page by page, that may be cut at any of its requests, while the world goes on."""
        for ahead in range(1, 30):
            if self.random.random() < 0.08:
                lost = self.random.choice([Fault(), Fault(sent_bytes=50), Fault(status=500), Fault(body=b"{")])
                self.server.faults[len(self.server.requests) + ahead] = lost
        for _ in range(self.random.randint(1, 8)):
            if await mirror.walk(authority, pages_max=1):
                break
            self.server.now += self.random.choice([1, 60, 600])
            for _ in range(self.random.randint(0, 2)):
                self.change()
            if self.random.random() < 0.05:
                self.server.expire_tokens()
        self.server.faults.clear()

    async def differences(self) -> int:
        """How many entries the mirror has too much or too few when all has come to rest."""
        async with self.server as server:
            authority = adapter(server, skew_s=self.skew_s)
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
            return len(mirror.entries() ^ self.listed())


def histories(count: int, next_set: str = "") -> list[int]:
    """Differences, history by history."""

    async def main() -> list[int]:
        return [await History(seed, next_set).differences() for seed in range(count)]

    return asyncio.run(main())


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_after_any_history_the_list_is_the_services_own(count: int) -> None:
    assert histories(count) == [0] * count


def test_planted_without_the_overlap_histories_lose_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopncii, "_OVERLAP_S", 0)
    assert sum(histories(40)) > 0


def test_planted_with_a_checkpoint_past_the_walks_beginning_histories_lose_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopncii, "min", max, raising=False)
    assert sum(histories(40, "now")) > 0


# Secrets


def test_no_error_log_or_text_holds_a_key_a_token_or_a_hash(caplog: pytest.LogCaptureFixture) -> None:
    texts: list[str] = []

    async def check(server: StopNciiServer, _: StopNcii) -> None:
        caplog.set_level(logging.DEBUG)
        said = Feedback(record_id("ImagePDQ", pdq(0)), Kind.PDQ, Verdict.CONFIRM, value=bytes.fromhex(pdq(0)))
        texts.append(repr(said))
        for fault in (Fault(), Fault(status=401), Fault(status=500), Fault(sent_bytes=1)):
            authority = adapter(server)
            server.requests.clear()
            server.faults = dict.fromkeys(range(2, 200), fault)
            calls: list[Awaitable[object]] = [pages_of(authority), authority.status(), authority.give(said)]
            for call in calls:
                with pytest.raises(AuthorityError) as caught:
                    await call
                texts.extend(["".join(traceback.format_exception(caught.value)), str(caught.value.hint)])
            texts.extend([repr(authority), repr(authority._fetch), str(vars(authority))])
            await authority.close()

    run(check, filled(5, 2))
    shown = "\n".join([*texts, caplog.text])
    assert "StopNCII" in shown
    for secret in (SUBSCRIPTION, FETCH_KEY, FEEDBACK_KEY, "walk-1", pdq(0), "startTimestamp="):
        assert secret not in shown


# Status and feedback


def test_status_shows_that_the_keys_are_taken() -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        assert await authority.status() == "StopNCII (other): the keys for FetchHashes are taken"
        wrong = StopNcii(caller(server, FEEDBACK_KEY))
        with pytest.raises(AuthorityError, match="status 401"):
            await wrong.status()
        await wrong.close()

    run(check, filled(1, 10))


def test_feedback_is_sent_with_the_key_of_its_own_endpoint() -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        name, value = record_id("ImagePDQ", pdq(0)), bytes.fromhex(pdq(0))
        await authority.give(Feedback(name, Kind.PDQ, Verdict.CONFIRM, value=value))
        await authority.give(Feedback(name, Kind.PDQ, Verdict.DISPUTE, value=value))
        assert server.given == [(pdq(0), "Blocked"), (pdq(0), "NotBlocked")]
        assert not server.undocumented
        assert await authority.feedback_reasons(Kind.PDQ) == {}

    run(check)


NAME, VALUE = record_id("ImagePDQ", pdq(0)), bytes.fromhex(pdq(0))
NO_FEEDBACK = {
    "without the value": Feedback(NAME, Kind.PDQ, Verdict.CONFIRM),
    "with a cut value": Feedback(NAME, Kind.PDQ, Verdict.CONFIRM, value=VALUE[:-1]),
    "of another kind": Feedback(NAME, Kind.SHA256, Verdict.CONFIRM, value=VALUE),
    "with the value of another entry": Feedback(NAME, Kind.PDQ, Verdict.CONFIRM, value=bytes(32)),
    "with a reason": Feedback(NAME, Kind.PDQ, Verdict.DISPUTE, "because", value=VALUE),
}


@pytest.mark.parametrize("name", NO_FEEDBACK)
def test_feedback_that_the_service_does_not_take_is_not_sent(name: str) -> None:
    async def check(server: StopNciiServer, authority: StopNcii) -> None:
        with pytest.raises(InputError):
            await authority.give(NO_FEEDBACK[name])
        assert not server.requests

    run(check)


def test_without_a_key_for_feedback_none_is_sent() -> None:
    async def check(server: StopNciiServer, _: StopNcii) -> None:
        authority = StopNcii(caller(server, FETCH_KEY))
        with pytest.raises(InputError, match="no key"):
            await authority.give(Feedback(NAME, Kind.PDQ, Verdict.CONFIRM, value=VALUE))
        assert not server.requests
        await authority.close()

    run(check)


def test_the_service_at_its_own_address_is_the_production_one_and_no_other() -> None:
    real = StopNcii(Caller(ENVIRONMENTS["production"].base, "StopNCII"))
    assert (real.name, real.environment, real.production, real.scheme, real.whole) == (
        "stopncii",
        "production",
        True,
        "stopncii",
        False,
    )
    other = StopNcii(loopback("http://127.0.0.1:1/v1", "StopNCII"))
    assert (other.environment, other.production) == ("other", False)
