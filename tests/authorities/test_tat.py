"""Tech Against Terrorism: what their list holds is what ours holds, however walks were interrupted; name, password and token are in no error."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from custodes.authorities.base import Feedback, Verdict
from custodes.authorities.tat import ENVIRONMENTS, Tat
from custodes.errors import AuthorityError, ConfigError, InputError
from custodes.model import Kind
from custodes.services.calls import Caller
from tests.authorities.service import Fault
from tests.authorities.simulator import BROKEN, SECRET, STOPPED, Known, read_form, said, shown
from tests.authorities.tat_server import PASSWORD, USER, TatServer


def client(server: TatServer, password: str = PASSWORD) -> Tat:
    return Tat(server.caller(), (USER, password))


def played(play: Callable[[TatServer], Coroutine[Any, Any, None]]) -> TatServer:
    """Play against a new server; the client must have asked for nothing that is not documented."""

    async def run() -> TatServer:
        async with TatServer() as server:
            await play(server)
            return server

    server = asyncio.run(run())
    assert server.undocumented == []
    return server


def fill(server: TatServer, count: int = 10) -> None:
    for number in range(1, count + 1):
        server.put(number, ("MD5", "SHA1", "SHA256", "PDQ")[number % 4])


def test_the_list_is_theirs_and_a_second_walk_brings_only_changes() -> None:
    async def play(server: TatServer) -> None:
        fill(server)
        server.put(20, "SHA512")
        server.put(21, "MD5", "mp4")
        server.put(22, "MD5", "pdf")
        server.delete(1)
        known, tat = Known(), client(server)
        assert await known.finish(tat) == 5
        assert known.listed() == server.truth()
        assert known.skipped == {"SHA512": 1, "video": 1, "other file type": 1}
        assert await known.finish(tat) == 1
        server.delete(2)
        server.put(1, "SHA1")
        assert await known.finish(tat) == 1
        assert known.listed() == server.truth()
        await tat.close()

    server = played(play)
    assert sum(seen.method == "POST" for seen in server.requests) == 1
    assert [read_form(seen.query)["after"] for seen in server.requests if seen.method == "GET"].count("") == 1


def test_a_walk_that_was_interrupted_at_any_request_goes_on_and_ends_as_the_same_list() -> None:
    async def play(server: TatServer) -> None:
        fill(server, 11)
        whole = Known()
        tat = client(server)
        pages = await whole.finish(tat)
        await tat.close()
        for number in range(pages + 1):
            known, tat = Known(), client(server)
            server.faults = {len(server.requests) + number + 1: STOPPED}
            with pytest.raises(AuthorityError):
                await known.finish(tat)
            assert await known.finish(tat) == min(pages, pages - number + 1)
            assert (known.known, known.checkpoint) == (whole.known, whole.checkpoint)
            await tat.close()

    played(play)


def test_a_token_that_runs_out_on_the_way_is_renewed_and_the_walk_goes_on() -> None:
    async def play(server: TatServer) -> None:
        fill(server, 20)
        server.tokens_last = 2
        known, tat = Known(), client(server)
        await known.finish(tat)
        assert known.listed() == server.truth()
        assert len(server.tokens) == 4
        await tat.close()

    played(play)


def test_a_token_that_is_never_taken_ends_the_walk() -> None:
    async def play(server: TatServer) -> None:
        fill(server)
        server.tokens_last = 0
        tat = client(server)
        with pytest.raises(AuthorityError) as caught:
            await Known().finish(tat)
        assert "credentials" in str(caught.value.hint)
        assert len(server.requests) == 4
        await tat.close()

    played(play)


async def histories(count: int, client_of: Callable[[TatServer], Tat] = client) -> list[int]:
    """The seeds whose history ended with a list that is not theirs."""
    different = []
    for seed in range(count):
        rng = random.Random(seed)
        async with TatServer(rng.randint(1, 5), rng.choice((1000, 1000, 8))) as server:
            left = iter(range(15))  # a world that changes faster than it is read is never read to the end
            server.during = lambda s=server, r=rng, n=left: s.change(r) if r.random() < 0.4 and next(n, None) else None
            known, tat = Known(), client_of(server)
            for _ in range(rng.randint(2, 4)):
                for _ in range(rng.randint(0, 12)):
                    server.change(rng)
                if rng.random() < 0.4:
                    server.faults = {len(server.requests) + rng.randint(1, 4): rng.choice(list(BROKEN.values()))}
                await known.walk(tat)
            server.during, server.faults = (lambda: None), {}
            await known.finish(tat)
            if known.listed() != server.truth() or server.undocumented:
                different.append(seed)
            await tat.close()
    return different


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.soak)])
def test_random_histories_end_as_their_list(count: int) -> None:
    assert asyncio.run(histories(count)) == []


class ByOffset(Tat):
    """What another client does: it counts from the front, whose entries move to the end when they change."""

    async def _ask(self, after: str) -> dict[str, Any]:
        began, _, offset = after.partition(";")
        page = await super()._ask(began)
        everything = list(page["results"])
        while page["next"] is not None and len(everything) <= int(offset or 0):
            page = await super()._ask(page["checkpoint"])
            everything += page["results"]
        results = everything[int(offset or 0) :]
        last = page["next"] is None
        stands = page["checkpoint"] or began
        return page | {
            "results": results,
            "checkpoint": stands if last else f"{began};{int(offset or 0) + len(results)}",
        }


def test_planted_fault_a_client_that_counts_from_the_front_loses_entries() -> None:
    assert asyncio.run(histories(8, lambda server: ByOffset(server.caller(), (USER, PASSWORD)))) != []


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("number", [1, 2, 3], ids=["signing in", "first page", "second page"])
def test_a_broken_answer_is_an_error_that_tells_no_secret_and_loses_nothing(fault: Fault, number: int) -> None:
    async def play(server: TatServer) -> None:
        fill(server, 5)
        server.faults = dict.fromkeys((number, number + 1), fault)
        known, tat = Known(), client(server)
        with pytest.raises(AuthorityError) as caught:
            await known.finish(tat)
        seen = shown(caught.value) + repr(tat)
        assert SECRET not in seen
        assert SECRET.replace("|", ".") not in seen
        assert USER not in seen
        server.faults = {}
        await known.finish(tat)
        assert known.listed() == server.truth()
        await tat.close()

    played(play)


TOKENS: dict[str, Any] = {
    "none": {"user": {}},
    "a number": {"token": 7},
    "empty": {"token": ""},
    "with a line end": {"token": "a\r\nX-Other: b"},
    "with a space": {"token": "a b"},
    "without end": {"token": "a" * 8001},
    "a list": ["token"],
}


@pytest.mark.parametrize("answer", TOKENS.values(), ids=TOKENS)
def test_what_cannot_be_a_token_is_sent_nowhere(answer: Any) -> None:
    async def play(server: TatServer) -> None:
        server.faults = {1: said(answer)}
        tat = client(server)
        with pytest.raises(AuthorityError, match="no token"):
            await Known().finish(tat)
        assert len(server.requests) == 1
        await tat.close()

    played(play)


PAGES: dict[str, Any] = {
    "more to come, but no checkpoint": {"results": [], "next": "x"},
    "more to come, and an empty checkpoint": {"results": [], "next": "x", "checkpoint": ""},
    "a checkpoint that is a number": {"results": [], "next": None, "checkpoint": 7},
    "a checkpoint without end": {"results": [], "next": None, "checkpoint": "1" * 201},
    "a checkpoint with a line end": {"results": [], "next": None, "checkpoint": "1\n"},
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_that_leads_nowhere_is_an_error_not_the_end(page: dict[str, Any]) -> None:
    async def play(server: TatServer) -> None:
        server.faults = {2: said(page)}
        tat = client(server)
        with pytest.raises(AuthorityError, match="checkpoint"):
            await Known().finish(tat)
        await tat.close()

    played(play)


def test_pages_that_lead_in_a_circle_end_in_an_error() -> None:
    async def play(server: TatServer) -> None:
        server.faults = {
            at: said({"results": [], "next": "x", "checkpoint": f"{at % 2 + 1}.5,1"}) for at in range(2, 9)
        }
        tat = client(server)
        with pytest.raises(AuthorityError, match="again and again"):
            await Known().finish(tat)
        assert len(server.requests) == 4
        await tat.close()

    played(play)


GOOD = {
    "hash_digest": "0" * 64,
    "algorithm": "PDQ",
    "ideology": "far-right",
    "file_type": "png",
    "deleted": False,
    "updated_on": 1_700_000_000.5,
    "id": 5,
}
RESULTS: dict[str, tuple[Any, dict[str, int], int]] = {
    "good": (GOOD, {}, 1),
    "upper case and dots": (GOOD | {"file_type": ".PNG", "algorithm": "pdq"}, {}, 1),
    "algorithm with a hyphen": (GOOD | {"algorithm": "SHA-256"}, {}, 1),
    "no ideology": ({**GOOD, "ideology": None}, {}, 1),
    "an ideology that cannot be shown": (GOOD | {"ideology": "a\x1b[2J"}, {}, 1),
    "withdrawn": (GOOD | {"deleted": True}, {}, 0),
    "withdrawn, and nothing else right": ({"id": 5, "deleted": True, "updated_on": 1}, {}, 0),
    "withdrawn perhaps": (GOOD | {"deleted": "false"}, {"malformed": 1}, 0),
    "a digest two characters short": (GOOD | {"hash_digest": "0" * 62}, {"malformed": 1}, 0),
    "a digest two characters long": (GOOD | {"hash_digest": "0" * 66}, {"malformed": 1}, 0),
    "a digest that is no text": (GOOD | {"hash_digest": 0}, {"malformed": 1}, 0),
    "an unknown algorithm": (GOOD | {"algorithm": "TLSH"}, {"TLSH": 1}, 0),
    "no algorithm": ({**GOOD, "algorithm": None}, {"unknown type": 1}, 0),
    "no file type": ({**GOOD, "file_type": None}, {"other file type": 1}, 0),
    "no id": ({**GOOD, "id": None}, {"malformed": 1}, 0),
    "no time": ({**GOOD, "updated_on": None}, {"malformed": 1}, 0),
    "a time that is a text": (GOOD | {"updated_on": "2024"}, {"malformed": 1}, 0),
    "a time that is true": (GOOD | {"updated_on": True}, {"malformed": 1}, 0),
    "a time without end": (GOOD | {"updated_on": 1e300}, {"malformed": 1}, 0),
    "a text": ("5", {"malformed": 1}, 0),
    "null": (None, {"malformed": 1}, 0),
}


@pytest.mark.parametrize(("result", "skipped", "entries"), RESULTS.values(), ids=RESULTS)
def test_a_result_that_is_not_right_costs_itself_alone(result: Any, skipped: dict[str, int], entries: int) -> None:
    async def play(server: TatServer) -> None:
        server.faults = {2: said({"results": [result, GOOD | {"id": 77}], "next": None, "checkpoint": "1,1"})}
        known, tat = Known(), client(server)
        await known.finish(tat)
        assert len(known.listed()) == entries + 1
        assert known.skipped == skipped
        await tat.close()

    played(play)


def test_status_proves_that_the_list_may_be_read() -> None:
    async def play(server: TatServer) -> None:
        fill(server)
        tat = client(server)
        assert await tat.status() == "Tech Against Terrorism other: signed in; the list has 10 digests"
        assert (tat.production, tat.whole) == (False, False)
        await tat.close()
        wrong = client(server, "wrong-" + SECRET)
        with pytest.raises(AuthorityError) as caught:
            await wrong.status()
        assert "credentials" in str(caught.value.hint)
        assert SECRET not in shown(caught.value)
        await wrong.close()

    played(play)


def test_feedback_is_refused_before_anything_is_sent() -> None:
    async def play(server: TatServer) -> None:
        tat = client(server)
        assert await tat.feedback_reasons(Kind.PDQ) == {}
        with pytest.raises(InputError, match="no feedback"):
            await tat.give(Feedback("5", Kind.PDQ, Verdict.DISPUTE))
        assert server.requests == []

    played(play)


def test_only_its_own_address_is_production() -> None:
    assert Tat(Caller(ENVIRONMENTS["production"].base, "x"), (USER, PASSWORD)).production is True
    with pytest.raises(ConfigError):
        Tat(Caller("https://app.terrorismanalytics.org.example.org", "x"), (USER, PASSWORD))
