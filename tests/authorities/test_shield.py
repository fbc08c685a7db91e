"""Arachnid Shield: looked up, never submitted to; what is not understood or not answered is held, and no answer is no "no known match"."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import re
from collections.abc import Callable, Coroutine
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from custodes.authorities import shield as module
from custodes.authorities.shield import Lookup, Shield
from custodes.errors import AuthorityError, ConfigError, InternalError
from custodes.model import Content, Kind, Meaning
from custodes.services.calls import Caller
from tests.authorities.service import Fault
from tests.authorities.shield_server import PASSWORD, USER, ShieldServer
from tests.authorities.simulator import BROKEN, SECRET, said, shown

SOURCE = Path(module.__file__).parents[1]


def code(number: int) -> bytes:
    return sha256(b"code %d" % number).digest()


def client(server: ShieldServer, password: str = PASSWORD) -> Shield:
    return Shield(server.caller(basic=(USER, password)))


def played(play: Callable[[ShieldServer, Shield], Coroutine[Any, Any, None]]) -> ShieldServer:
    """Play against a new server; nothing that is not documented may have been asked, and nothing submitted."""

    async def run() -> ShieldServer:
        async with ShieldServer() as server:
            shield = client(server)
            await play(server, shield)
            await shield.close()
            return server

    server = asyncio.run(run())
    assert server.undocumented == []
    assert server.submitted == 0
    return server


ANSWERS: dict[str, tuple[Any, Meaning | None, Kind]] = {
    "csam": ({"classification": "csam", "match_type": "near"}, Meaning.CSAM, Kind.PDQ),
    "csam, by an equal code": ({"classification": "csam", "match_type": "exact"}, Meaning.CSAM, Kind.PDQ),
    "harmful": ({"classification": "harmful-abusive-material", "match_type": "near"}, Meaning.EXPLOITATIVE, Kind.PDQ),
    "test": ({"classification": "test", "match_type": "exact"}, Meaning.UNMAPPED, Kind.PDQ),
    "no known match": ({"classification": "no-known-match", "match_type": None}, None, Kind.PDQ),
    "no known match, all said": (
        {"classification": "no-known-match", "match_type": None, "near_match_details": []},
        None,
        Kind.PDQ,
    ),
    "no known match, and yet near": (
        {"classification": "no-known-match", "match_type": "near"},
        Meaning.UNMAPPED,
        Kind.PDQ,
    ),
    "no known match, and yet details": (
        {"classification": "no-known-match", "match_type": None, "near_match_details": [{"classification": "csam"}]},
        Meaning.UNMAPPED,
        Kind.PDQ,
    ),
    "a class of the future": ({"classification": "something-new", "match_type": "near"}, Meaning.UNMAPPED, Kind.PDQ),
    "other letters": ({"classification": "No-Known-Match", "match_type": None}, Meaning.UNMAPPED, Kind.PDQ),
    "a space more": ({"classification": "no-known-match ", "match_type": None}, Meaning.UNMAPPED, Kind.PDQ),
    "a match type of the future": ({"classification": "csam", "match_type": "video"}, Meaning.CSAM, Kind.PDQ),
    "a match type that is a number": ({"classification": "csam", "match_type": 1}, Meaning.CSAM, Kind.PDQ),
    "no classification": ({"match_type": None}, Meaning.UNMAPPED, Kind.PDQ),
    "null": ({"classification": None, "match_type": None}, Meaning.UNMAPPED, Kind.PDQ),
    "false": ({"classification": False, "match_type": None}, Meaning.UNMAPPED, Kind.PDQ),
    "a list": ({"classification": ["no-known-match"], "match_type": None}, Meaning.UNMAPPED, Kind.PDQ),
    "control characters": ({"classification": "\x1b[2Jcsam", "match_type": "near"}, Meaning.UNMAPPED, Kind.PDQ),
    "a text in place of an object": ("no-known-match", Meaning.UNMAPPED, Kind.PDQ),
    "nothing in place of an object": (None, Meaning.UNMAPPED, Kind.PDQ),
    "an empty object": ({}, Meaning.UNMAPPED, Kind.PDQ),
}


@pytest.mark.parametrize(("answer", "meaning", "kind"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_answered_means(answer: Any, meaning: Meaning | None, kind: Kind) -> None:
    async def play(server: ShieldServer, shield: Shield) -> None:
        server.codes[code(1)] = answer if isinstance(answer, dict) else {}
        if not isinstance(answer, dict):
            server.faults = {1: said({"scanned_hashes": {base64.b64encode(code(1)).decode(): answer}})}
        (found,) = await shield.look_up_pdq([code(1)])
        assert (found.meaning, found.kind) == (meaning, kind)
        assert [(s.list_id, s.entry_id, s.meaning) for s in found.signals()] == (
            [] if meaning is None else [("arachnid-shield", "", meaning)]
        )

    played(play)


def test_a_code_that_is_not_in_the_answer_is_unknown_and_held() -> None:
    async def play(server: ShieldServer, shield: Shield) -> None:
        server.left_out = {code(2)}
        found = await shield.look_up_pdq([code(1), code(2), code(3)])
        assert [each.meaning for each in found] == [None, Meaning.UNMAPPED, None]

    played(play)


def test_only_equal_bytes_are_an_exact_match() -> None:
    async def play(server: ShieldServer, shield: Shield) -> None:
        server.contents = {
            b"one": {"classification": "csam", "match_type": "exact"},
            b"two": {"classification": "csam", "match_type": "near", "near_match_details": [{}]},
        }
        kinds = [(await shield.look_up_media(Content(data), "image/png")) for data in (b"one", b"two", b"three")]
        assert [(each.meaning, each.kind) for each in kinds] == [
            (Meaning.CSAM, Kind.SHA1),
            (Meaning.CSAM, Kind.PDQ),
            (None, Kind.PDQ),
        ]

    played(play)


@pytest.mark.parametrize(("count", "batches"), [(0, 0), (1, 1), (100, 1), (101, 2), (250, 3)])
def test_codes_are_asked_in_batches_each_once_and_answered_in_order(count: int, batches: int) -> None:
    async def play(server: ShieldServer, shield: Shield) -> None:
        for number in range(0, count, 3):
            server.know(code(number), "csam")
        order = list(range(count)) * 2
        random.Random(count).shuffle(order)
        found = await shield.look_up_pdq([code(number) for number in order])
        assert [each.meaning for each in found] == [None if number % 3 else Meaning.CSAM for number in order]
        assert len(server.requests) == batches

    played(play)


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_an_error_never_no_known_match(fault: Fault) -> None:
    async def play(server: ShieldServer, shield: Shield) -> None:
        server.faults = {1: fault}
        with pytest.raises(AuthorityError) as caught:
            await shield.look_up_pdq([code(1)])
        assert len(server.requests) == 1, "a look-up is never repeated by itself"
        assert SECRET not in shown(caught.value) + repr(shield)

    played(play)


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_to_an_image_is_never_no_known_match(fault: Fault) -> None:
    async def play(server: ShieldServer, shield: Shield) -> None:
        server.faults = {1: fault}
        with contextlib.suppress(AuthorityError):
            found = await shield.look_up_media(Content(b"one"), "image/png")
            assert found.meaning is Meaning.UNMAPPED

    played(play)


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_of_all_answers_that_one_can_think_of_one_alone_is_no_known_match(count: int) -> None:
    rng, shield = random.Random(count), Shield(Caller("https://shield.projectarachnid.com", "x"))
    words = ["csam", "harmful-abusive-material", "no-known-match", "test", "new", "", None, 0, True, [], {}, "\x00"]
    for _ in range(count):
        answer = {
            name: rng.choice(words if name == "classification" else [None, "near", "exact", "", 0, [], [{}], {}])
            for name in ("classification", "match_type", "near_match_details", "later")
            if rng.random() < 0.9
        }
        found = shield._lookup(answer, exact=Kind.SHA1)
        clear = answer.get("classification") == "no-known-match" and answer.get("match_type") is None
        assert (found.meaning is None) == (clear and not answer.get("near_match_details"))


@pytest.mark.parametrize("mime", ["text/html", "image/", "image/png\r\nX: y", "IMAGE/PNG", "", "image/png; a=b"])
def test_nothing_but_an_image_is_sent(mime: str) -> None:
    async def play(server: ShieldServer, shield: Shield) -> None:
        with pytest.raises(InternalError):
            await shield.look_up_media(Content(b"one"), mime)
        with pytest.raises(InternalError):
            await shield.look_up_media(Content(b""), "image/png")
        with pytest.raises(InternalError):
            await shield.look_up_pdq([code(1), code(2)[:31]])
        assert server.requests == []

    played(play)


def submissions(source: str) -> list[str]:
    """Where a program would hand an image to the service's analysts."""
    return re.findall(r"[^\n]*(?:media/submit|/submit\b)[^\n]*", source)


def test_no_program_of_ours_submits_an_image() -> None:
    assert [path.name for path in SOURCE.rglob("*.py") if submissions(path.read_text(encoding="utf-8"))] == []


def test_the_search_for_submissions_sees_a_planted_one() -> None:
    planted = Path(module.__file__).read_text(encoding="utf-8").replace('"/v1/media/"', '"/v1/media/submit"')
    assert len(submissions(planted)) == 1


def test_the_server_sees_a_planted_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEDIA", "/v1/media/submit")

    async def run() -> int:
        async with ShieldServer() as server:
            shield = client(server)
            with pytest.raises(AuthorityError):
                await shield.look_up_media(Content(b"one"), "image/png")
            await shield.close()
            return server.submitted

    assert asyncio.run(run()) == 1


def test_status_names_the_detector_and_wrong_credentials_say_what_to_check() -> None:
    async def play(server: ShieldServer, shield: Shield) -> None:
        assert await shield.status() == "arachnid-shield, not production: its hashes are of 2026-11-01T00:00:00Z"
        wrong = client(server, "wrong-" + SECRET)
        with pytest.raises(AuthorityError) as caught:
            await wrong.look_up_pdq([code(1)])
        assert "credentials" in str(caught.value.hint)
        assert SECRET not in shown(caught.value)
        await wrong.close()

    played(play)


def test_only_its_own_address_is_production() -> None:
    assert Shield(Caller("https://shield.projectarachnid.com", "x")).production is True
    with pytest.raises(ConfigError):
        Shield(Caller("https://shield.projectarachnid.com.example.org", "x"))


def test_the_operator_may_say_what_a_classification_means() -> None:
    own = {"shield": {"harmful-abusive-material": Meaning.SUSPECTED}}
    shield = Shield(Caller("https://shield.projectarachnid.com", "x"), own)
    answer = {"classification": "harmful-abusive-material", "match_type": "near"}
    assert shield._lookup(answer, exact=Kind.PDQ).meaning is Meaning.SUSPECTED


def test_a_lookup_tells_nothing_when_it_is_printed() -> None:
    assert repr(Lookup("csam", "near", Meaning.CSAM, Kind.PDQ)) == "<Lookup>"
