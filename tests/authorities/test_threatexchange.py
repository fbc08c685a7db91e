"""ThreatExchange: what the group holds is what the list holds, however the walks were interrupted; the token and ids are in no error."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from custodes.authorities import threatexchange
from custodes.authorities.base import Feedback, ResumeExpired, Verdict
from custodes.authorities.threatexchange import ENVIRONMENTS, ThreatExchange
from custodes.errors import AuthorityError, ConfigError, CustodesError, InputError
from custodes.model import Kind, Role
from custodes.services.calls import Caller
from tests.authorities.service import Fault
from tests.authorities.simulator import BROKEN, SECRET, STOPPED, Known, read_form, said, shown
from tests.authorities.threatexchange_server import GROUP, TOKEN, ThreatExchangeServer

MALICIOUS = {"status": "MALICIOUS"}


def resumed(resume: str, checkpoint: str = "") -> Known:
    known = Known()
    known.resume, known.checkpoint = resume, checkpoint
    return known


def client(server: ThreatExchangeServer, *, attempts_max: int = 1, token: str = TOKEN) -> ThreatExchange:
    return ThreatExchange(server.caller(attempts_max=attempts_max), token, GROUP, clock=server.time)


def played(play: Callable[[ThreatExchangeServer], Coroutine[Any, Any, None]]) -> ThreatExchangeServer:
    """Play against a new server; the client must have asked for nothing that is not documented."""

    async def run() -> ThreatExchangeServer:
        async with ThreatExchangeServer() as server:
            await play(server)
            return server

    server = asyncio.run(run())
    assert server.undocumented == []
    return server


def fill(server: ThreatExchangeServer, count: int = 10) -> None:
    for number in range(count):
        server.clock += 1
        server.put(number, ("HASH_MD5", "HASH_SHA1", "HASH_SHA256", "HASH_PDQ")[number % 4], MALICIOUS)


def test_the_list_is_what_the_group_holds() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server)
        server.put(20, "HASH_PDQ", {"status": "MALICIOUS"}, {"status": "NON_MALICIOUS"}, {"status": "UNKNOWN"})
        server.put(21, "HASH_VIDEO_MD5", MALICIOUS)
        server.put(22, "URI", MALICIOUS)
        server.put(23, "HASH_MD5", MALICIOUS | {"tags": {"data": [{"id": "1", "text": "media_type_video"}]}})
        server.put(24, "HASH_MD5", MALICIOUS | {"reactions": [{"key": "DISAGREE_WITH_TAGS", "value": "7"}]})
        server.delete("9000001")
        known, te = Known(), client(server)
        assert await known.finish(te) == 5
        assert known.listed() == server.truth()
        assert {entry.role for entry in known.listed() if entry.id.startswith("20")} == {Role.CONFIRMED, Role.NEGATIVE}
        assert [entry.assurance for entry in known.listed() if entry.id == "2400"] == ["DISAGREE_WITH_TAGS"]
        assert known.skipped == {"HASH_VIDEO_MD5": 1, "URI": 1, "video": 1}
        await te.close()

    served = played(play)
    assert {read_form(asked.query)["access_token"] for asked in served.requests} == {TOKEN}


def test_a_second_walk_brings_only_what_changed_and_the_last_minute() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server)
        known, te = Known(), client(server)
        await known.finish(te)
        server.clock += 3600
        server.put(3, "HASH_PDQ", {"status": "NON_MALICIOUS"})
        await known.finish(te)
        server.clock += 3600
        server.delete("9000003")
        await known.finish(te)
        assert known.listed() == server.truth()
        starts = [int(read_form(asked.query)["start_time"]) for asked in server.requests if "after=" not in asked.query]
        assert starts == [0, 1_800_000_010 - 60, 1_800_003_610 - 60]
        await te.close()

    played(play)


def test_a_walk_that_was_interrupted_at_any_request_goes_on_and_ends_as_the_same_list() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server, 11)
        whole = Known()
        te = client(server)
        pages = await whole.finish(te)
        for number in range(pages):
            known = Known()
            server.faults = {len(server.requests) + number + 1: STOPPED}
            with pytest.raises(AuthorityError):
                await known.finish(te)
            before = len(server.requests)
            assert await known.finish(te) == pages - number, "what was received is not asked for again"
            assert len(server.requests) == before + pages - number
            assert (known.known, known.checkpoint) == (whole.known, whole.checkpoint)
        await te.close()

    played(play)


async def histories(count: int) -> list[int]:
    """The seeds whose history ended with a list that is not what the group holds."""
    different = []
    for seed in range(count):
        rng = random.Random(seed)
        async with ThreatExchangeServer(rng.randint(1, 5)) as server:
            left = iter(range(15))  # a world that changes faster than it is read is never read to the end
            server.during = lambda s=server, r=rng, n=left: s.change(r) if r.random() < 0.4 and next(n, None) else None
            known, te = Known(), client(server)
            for _ in range(rng.randint(2, 4)):
                for _ in range(rng.randint(0, 12)):
                    server.change(rng)
                if rng.random() < 0.4:
                    server.faults = {len(server.requests) + rng.randint(1, 4): rng.choice(list(BROKEN.values()))}
                try:
                    await known.finish(te)
                except ResumeExpired:
                    known.resume = ""
                except AuthorityError:
                    pass
            server.during, server.faults = (lambda: None), {}
            server.clock += 100
            await known.finish(te)
            if known.listed() != server.truth() or server.undocumented:
                different.append(seed)
            await te.close()
    return different


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.soak)])
def test_random_histories_end_as_what_the_group_holds(count: int) -> None:
    assert asyncio.run(histories(count)) == []


@pytest.mark.parametrize("control", ["OVERLAP_S", "the cap of the checkpoint"])
def test_planted_fault_without_care_for_late_updates_histories_differ(
    control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if control == "OVERLAP_S":
        monkeypatch.setattr(threatexchange, "OVERLAP_S", 0)
        assert asyncio.run(histories(40)) != []
        return
    assert asyncio.run(after_a_time_of_the_future()) is True
    monkeypatch.setattr(threatexchange, "min", max, raising=False)
    assert asyncio.run(after_a_time_of_the_future()) is False


async def after_a_time_of_the_future() -> bool:
    """Whether a change is seen after an update that claims a time of the next century."""
    async with ThreatExchangeServer() as server:
        fill(server)
        server.indicators["9000009"].updated = 5_000_000_000
        known, te = Known(), client(server)
        await known.finish(te)
        server.clock += 1000
        server.put(30, "HASH_PDQ", MALICIOUS)
        await known.finish(te)
        await te.close()
        return known.listed() == server.truth()


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("number", [0, 1], ids=["first page", "second page"])
def test_a_broken_answer_is_an_error_that_tells_no_secret_and_loses_nothing(fault: Fault, number: int) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server, 5)
        server.faults = dict.fromkeys((number + 1, number + 2), fault)
        known, te = Known(), client(server)
        with pytest.raises(AuthorityError) as caught:
            await known.finish(te)
        seen = shown(caught.value) + repr(te)
        assert SECRET not in seen
        assert GROUP not in str(caught.value)
        assert "start_time" not in seen
        server.faults = {}
        await known.finish(te)
        assert known.listed() == server.truth()
        await te.close()

    played(play)


PAGES: dict[str, Any] = {
    "a next page without a cursor": {"paging": {"next": "https://graph.facebook.com/v21.0/1/threat_updates/?limit=3"}},
    "a next page with two cursors": {"paging": {"next": "?after=a&after=b"}},
    "a next page that is a number": {"paging": {"next": 7}},
    "a next page that is no address": {"paging": {"next": "https://[/?after=x"}},
    "an endless cursor": {"paging": {"next": "?after=" + "a" * 5000}},
    "paging that is a text": {"paging": "?after=1"},
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_that_leads_nowhere_is_an_error_not_the_end(page: dict[str, Any]) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        server.faults = {1: said({"data": []} | page)}
        te = client(server)
        with pytest.raises(AuthorityError, match="cursor"):
            await Known().finish(te)
        await te.close()

    played(play)


def test_pages_that_lead_in_a_circle_end_in_an_error() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server)
        te = client(server)
        server.faults = {
            at: said({"data": [], "paging": {"next": f"?after={'Wzcs'}{'AB'[at % 2]}"}}) for at in range(1, 9)
        }
        server.told = lambda _, query: query  # type: ignore[method-assign,assignment,return-value]
        with pytest.raises(AuthorityError, match="again and again"):
            await Known().finish(te)
        assert len(server.requests) == 3
        await te.close()

    played(play)


GOOD = {
    "id": "9000001",
    "type": "HASH_MD5",
    "indicator": "0" * 32,
    "last_updated": 1_800_000_000,
    "should_delete": False,
    "descriptors": {"data": [{"id": "5", "status": "MALICIOUS"}]},
}
UPDATES: dict[str, tuple[Any, dict[str, int], int]] = {
    "good": (GOOD, {}, 1),
    "ids that are numbers": (GOOD | {"id": 9, "descriptors": {"data": [{"id": 5, "status": "MALICIOUS"}]}}, {}, 1),
    "tags as plain texts": (
        GOOD | {"descriptors": {"data": [{"id": "5", "status": "X", "tags": ["media_type_video_long"]}]}},
        {"video": 1},
        0,
    ),
    "no status": (GOOD | {"descriptors": {"data": [{"id": "5"}]}}, {}, 1),
    "further opinions than are given": (
        GOOD | {"descriptors": {"data": GOOD["descriptors"]["data"], "paging": {"next": "x"}}},  # type: ignore[index]
        {"further opinions": 1},
        1,
    ),
    "a digest one character short": (GOOD | {"indicator": "0" * 31}, {"malformed": 1}, 0),
    "a digest two characters long": (GOOD | {"indicator": "0" * 34}, {"malformed": 1}, 0),
    "a digest with a space within": (GOOD | {"indicator": "00 " + "0" * 30}, {"malformed": 1}, 0),
    "a digest that is a number": (GOOD | {"indicator": 7}, {"malformed": 1}, 0),
    "no digest": ({**GOOD, "indicator": None}, {"malformed": 1}, 0),
    "no id": ({**GOOD, "id": None}, {"malformed": 1}, 0),
    "an id that leads elsewhere": (GOOD | {"id": "1/../2"}, {"malformed": 1}, 0),
    "no time": ({**GOOD, "last_updated": None}, {"malformed": 1}, 0),
    "a time before 1970": (GOOD | {"last_updated": -1}, {"malformed": 1}, 0),
    "a time that is true": (GOOD | {"last_updated": True}, {"malformed": 1}, 0),
    "a time without end": (GOOD | {"last_updated": 1 << 40}, {"malformed": 1}, 0),
    "withdrawn perhaps": (GOOD | {"should_delete": "false"}, {"malformed": 1}, 0),
    "no type": ({**GOOD, "type": None}, {"malformed": 1}, 0),
    "a type that is no word": (GOOD | {"type": "<script>"}, {"unknown type": 1}, 0),
    "a type that is a list": (GOOD | {"type": ["HASH_MD5"]}, {"unknown type": 1}, 0),
    "a descriptor without an id": (GOOD | {"descriptors": {"data": [{"status": "MALICIOUS"}]}}, {"malformed": 1}, 0),
    "a descriptor that is a text": (GOOD | {"descriptors": {"data": ["5"]}}, {"malformed": 1}, 0),
    "a text": ("9000001", {"malformed": 1}, 0),
    "null": (None, {"malformed": 1}, 0),
}


@pytest.mark.parametrize(("update", "skipped", "entries"), UPDATES.values(), ids=UPDATES)
def test_an_update_that_is_not_right_costs_itself_alone(update: Any, skipped: dict[str, int], entries: int) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        other = GOOD | {"id": "77", "descriptors": {"data": [{"id": "78", "status": "MALICIOUS"}]}}
        server.faults = {1: said({"data": [update, other]})}
        known, te = Known(), client(server)
        await known.finish(te)
        assert len(known.listed()) == entries + 1
        assert known.skipped == skipped
        await te.close()

    played(play)


@pytest.mark.parametrize("gone", ["descriptors absent", "descriptors empty", "should_delete"])
def test_an_indicator_without_opinions_is_withdrawn(gone: str) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        name = server.put(1, "HASH_MD5", MALICIOUS)
        known, te = Known(), client(server)
        await known.finish(te)
        assert len(known.listed()) == 1
        later = {**GOOD, "id": name, "last_updated": server.clock + 5}
        change: dict[str, Any] = {"should_delete": True} if gone == "should_delete" else {"descriptors": {"data": []}}
        if gone == "descriptors absent":
            change = {"descriptors": None}
        server.faults = {2: said({"data": [later | change]})}
        await known.finish(te)
        assert known.listed() == set()
        await te.close()

    played(play)


def test_a_cursor_that_is_not_taken_any_more_begins_the_walk_again() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server)
        known, te = Known(), client(server)
        server.faults = {3: STOPPED}
        with pytest.raises(AuthorityError):
            await known.finish(te)
        server.cursors_forgotten = True
        with pytest.raises(ResumeExpired):
            await known.finish(te)
        server.cursors_forgotten, known.resume = False, ""
        await known.finish(te)
        assert known.listed() == server.truth()
        await te.close()

    played(play)


@pytest.mark.parametrize(("hours", "goes_on"), [(12.0, True), (12.001, False), (-1.0, False)])
def test_a_walk_goes_on_for_twelve_hours(hours: float, goes_on: bool) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server)
        known, te = Known(), client(server)
        server.faults = {2: STOPPED}
        with pytest.raises(AuthorityError):
            await known.finish(te)
        server.clock += round(hours * 3600)
        if goes_on:
            await known.finish(te)
        else:
            with pytest.raises(ResumeExpired):
                await known.finish(te)
        await te.close()

    played(play)


@pytest.mark.parametrize("resume", ["x", "{}", '{"start":0}', json.dumps({"start": 0, "after": 1, "newest": 0})])
def test_a_place_that_cannot_be_read_is_no_place_to_go_on_from(resume: str) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        te = client(server)
        with pytest.raises(ResumeExpired):
            await resumed(resume).finish(te)
        with pytest.raises(AuthorityError, match="checkpoint"):
            await resumed("", "yesterday").finish(te)
        assert server.requests == []
        await te.close()

    played(play)


@pytest.mark.parametrize(("days", "refused"), [(85, False), (86, True)])
def test_who_comes_after_withdrawals_were_forgotten_is_told_so(days: int, refused: bool) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server)
        known, te = Known(), client(server)
        await known.finish(te)
        server.clock += days * 86_400
        if refused:
            with pytest.raises(AuthorityError, match="86 days ago"):
                await known.finish(te)
        else:
            await known.finish(te)
        await te.close()

    played(play)


def test_a_quiet_group_that_is_asked_daily_is_never_too_old() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        fill(server)
        known, te = Known(), client(server)
        for _ in range(100):
            await known.finish(te)
            server.clock += 86_400
        await te.close()

    played(play)


def test_status_names_the_group_and_says_where_nothing_is_shown() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        te = client(server)
        assert await te.status() == f"ThreatExchange other: privacy group {GROUP} A group"
        assert (te.production, te.environment, te.whole) == (False, "other", False)
        server.enabled = False
        with pytest.raises(AuthorityError, match="does not tell"):
            await te.status()
        server.faults = {3: said({"id": "1"})}
        with pytest.raises(AuthorityError, match="another privacy group"):
            await te.status()
        await te.close()

    played(play)


REACTIONS = {
    "a confirmation": (Verdict.CONFIRM, "", "HELPFUL"),
    "a dispute without a reason": (Verdict.DISPUTE, "", "DISAGREE_WITH_TAGS"),
    "a dispute with a reason": (Verdict.DISPUTE, "OUTDATED", "OUTDATED"),
}


@pytest.mark.parametrize(("verdict", "reason", "reaction"), REACTIONS.values(), ids=REACTIONS)
def test_feedback_is_a_reaction_to_the_descriptor(verdict: Verdict, reason: str, reaction: str) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        server.put(4, "HASH_PDQ", MALICIOUS)
        te = client(server)
        assert reason in {"", *await te.feedback_reasons(Kind.PDQ)}
        await te.give(Feedback("400", Kind.PDQ, verdict, reason))
        assert server.reactions == [("400", reaction)]
        await te.close()

    played(play)


@pytest.mark.parametrize(
    ("entry", "verdict", "reason"),
    [
        ("400/../1", Verdict.CONFIRM, ""),
        ("", Verdict.CONFIRM, ""),
        ("400", Verdict.DISPUTE, "HELPFUL"),
        ("400", Verdict.DISPUTE, "no"),
    ],
)
def test_feedback_that_the_service_does_not_take_is_not_sent(entry: str, verdict: Verdict, reason: str) -> None:
    async def play(server: ThreatExchangeServer) -> None:
        te = client(server)
        with pytest.raises(InputError):
            await te.give(Feedback(entry, Kind.PDQ, verdict, reason))
        assert server.requests == []
        await te.close()

    played(play)


def test_feedback_is_never_repeated_and_its_errors_tell_neither_id_nor_token() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        server.put(4_000_000, "HASH_PDQ", MALICIOUS)
        te = client(server, attempts_max=5)
        for number, fault in enumerate(BROKEN.values()):
            server.faults = {number + 1: fault}
            with pytest.raises(CustodesError) as caught:
                await te.give(Feedback("400000000", Kind.PDQ, Verdict.CONFIRM))
            assert SECRET not in shown(caught.value)
            assert "400000000" not in shown(caught.value)
        assert len(server.requests) == len(BROKEN)
        await te.close()

    played(play)


def test_a_wrong_token_is_an_error_that_says_what_to_check() -> None:
    async def play(server: ThreatExchangeServer) -> None:
        te = client(server, token="1|wrong-" + SECRET)
        with pytest.raises(AuthorityError) as caught:
            await Known().finish(te)
        assert "credentials" in str(caught.value.hint)
        assert SECRET not in shown(caught.value)
        await te.close()

    played(play)


def test_only_its_own_address_is_production() -> None:
    base = ENVIRONMENTS["production"].base
    te = ThreatExchange(Caller(base, "x"), TOKEN, GROUP)
    assert (te.production, te.environment) == (True, "production")
    assert SECRET not in repr(te)
    with pytest.raises(ConfigError):
        ThreatExchange(Caller("https://graph.facebook.com.example.org/v21.0", "x"), TOKEN, GROUP)
    with pytest.raises(ConfigError):
        ThreatExchange(Caller(base, "x"), TOKEN, "me")
