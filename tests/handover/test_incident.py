"""Incidents: one image is one, whatever the order, and what only looks alike is another."""

from __future__ import annotations

import hashlib
import hmac
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.crypto.keys import RunKey, hkdf_sha256
from custodes.handover import incident as module
from custodes.handover.finding import Finding, Suspicion
from custodes.handover.incident import Incident, Place, folded, incident_namer, incidents_of, named_by_findings
from tests.handover.making import NAME, digests_of, finding, incidents, match


def suspicion(photo: str, rank: int = 1) -> Suspicion:
    return Suspicion(photo=photo, rank=rank, model="model", cosine=0.9)


def suspect(number: int, image: int, photo: str) -> Finding:
    return finding(number, image, matches=(), passes=("similar",), decision="hold", suspicion=suspicion(photo))


PDQ = match(1, "pdq", distance_bits=12)
NEW = "2026-04-01-ffffff"
JOINED: dict[str, tuple[list[Finding], int]] = {
    "the same file behind two links": ([finding(1, 7), finding(2, 7)], 1),
    "two files": ([finding(1, 7), finding(2, 8)], 2),
    "two dead links with one listed digest": ([finding(1), finding(2, matches=(match(1),))], 1),
    "two dead links with two": ([finding(1), finding(2)], 2),
    "a dead link and a live one, by the listed digest": ([finding(1), finding(2, 1)], 1),
    "through a third": ([finding(1, matches=(match(7, "sha1"),)), finding(2), finding(3, 7, matches=(match(7, "sha1"), match(2)))], 1),
    "two that look like one entry": ([finding(1, 7, matches=(PDQ,)), finding(2, 8, matches=(PDQ,))], 2),
    "two dead links with one listed code that looks alike": ([finding(1, matches=(PDQ,)), finding(2, matches=(PDQ,))], 2),
    "one link, of which nothing else is known": ([finding(1, matches=(PDQ,)), finding(2, matches=(PDQ,), url=finding(1).url)], 1),
    "no link, and nothing else": ([finding(1, matches=(PDQ,), url=""), finding(2, matches=(PDQ,), url="")], 2),
    "a placeholder in place of two removed images": (
        [finding(1, digests=digests_of(9), fetched_at="2026-03-01T11:00:00Z"), finding(2, digests=digests_of(9), fetched_at="2026-03-01T11:00:00Z")],
        2,
    ),
    "one id on two lists": ([finding(1), finding(2, matches=(match(1, list="other"),))], 2),
    "one id of two kinds": ([finding(1), finding(2, matches=(match(1, "sha1"),))], 2),
    "one entry in two versions of its list": ([finding(1), finding(2, matches=(match(1, list_version=NEW),))], 1),
    "a number for a name, in two versions": (
        [finding(1, matches=(match(1, entry="row-5"),)), finding(2, matches=(match(1, entry="row-5", list_version=NEW),))],
        2,
    ),
    "an id that an authority gave to two files": ([finding(1, 7), finding(2, 8, matches=(match(7),)), finding(3, matches=(match(7),))], 3),
    "files of one photo": ([suspect(1, 7, "p"), suspect(2, 8, "p")], 1),
    "files of two photos": ([suspect(1, 7, "p"), suspect(2, 8, "q")], 2),
    "a finding that is told twice": ([finding(1, 7), finding(1, 7)], 1),
    "none": ([], 0),
}  # fmt: skip


@pytest.mark.parametrize("case", JOINED)
def test_what_is_one_image_is_one_incident(case: str) -> None:
    findings, expected = JOINED[case]
    found = incidents(*findings)
    assert len(found) == len({each.id for each in found}) == expected
    told = sorted(place.finding for each in found for place in each.places)
    assert told == sorted({each.id for each in findings})
    assert incidents(*reversed(findings)) == found
    assert len(named_by_findings(findings)) == expected


def test_planted_looking_alike_would_join_what_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FILE_KINDS", ("sha256", "sha1", "md5", "pdq"))
    with pytest.raises(AssertionError):
        test_what_is_one_image_is_one_incident("two dead links with one listed code that looks alike")


def test_planted_a_digest_that_did_not_match_would_join_all_placeholders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_what_matched", lambda _: True)
    with pytest.raises(AssertionError):
        test_what_is_one_image_is_one_incident("a placeholder in place of two removed images")


numbers = st.integers(0, 4)


@st.composite
def some(draw: st.DrawFn) -> list[Finding]:
    image = st.one_of(st.none(), numbers)
    entries = st.lists(st.builds(match, numbers, st.sampled_from(["md5", "sha1", "pdq"])), max_size=2).map(tuple)
    count = draw(st.integers(0, 7))
    return [
        finding(number, draw(image), matches=draw(entries), url=f"https://images.example/{draw(numbers)}")
        for number in range(count)
    ]


@settings(max_examples=150, deadline=None)
@given(some(), st.randoms(use_true_random=False))
def test_in_any_order_the_same_and_each_finding_once(findings: list[Finding], shuffle: random.Random) -> None:
    found = incidents_of(findings, NAME)
    mixed = findings + findings[:2]
    shuffle.shuffle(mixed)
    assert incidents_of(mixed, NAME) == found
    names = [name for each in found for name in (each.id, *each.aliases)]
    assert len(set(names)) == len(names)
    assert sorted(place.finding for each in found for place in each.places) == [each.id for each in findings]
    by_file = [{each.digests["sha256"] for each in findings if each.digests}]
    assert len(found) >= len(by_file[0]) - 4  # joined at most through the entries that there are


def test_the_gravest_stands_for_the_incident() -> None:
    held = finding(
        1,
        7,
        decision="hold",
        rule="exact-ncii",
        matches=(match(1, "md5", meaning="ncii"),),
        found_at="2026-01-01T00:00:00Z",
    )
    near = finding(2, 7, rule="near-confirmed", matches=(match(2, "pdq", distance_bits=9),))
    (found,) = incidents(held, near)
    assert (found.decision, found.rule, found.meaning) == ("report", "near-confirmed", "csam")
    assert not found.exact  # the exact match is with another class
    assert found.found_at == "2026-01-01T00:00:00Z"
    assert [each.kind for each in found.matches] == ["md5", "pdq"]


EXACT: dict[str, tuple[Finding, bool]] = {
    "the file is listed": (finding(1, 1), True),
    "its recorded digest is listed": (finding(1), True),
    "it looks alike": (finding(1, 1, matches=(PDQ,)), False),
    "looking alike at no distance": (finding(1, 1, matches=(match(1, "pdq"),)), False),
    "its link is listed": (finding(1, matches=(match(1, "url/raw-md5"),)), False),
    "the file is a seed": (finding(1, 1, matches=(match(1, meaning=""),)), False),
    "a suspicion": (suspect(1, 7, "p"), False),
}


@pytest.mark.parametrize("case", EXACT)
def test_exact_is_said_of_the_very_file_alone(case: str) -> None:
    told, expected = EXACT[case]
    assert incidents(told)[0].exact is expected


def test_digests_and_sight_are_those_of_the_image_that_matched() -> None:
    other = finding(1, digests=digests_of(9), fetched_at="2026-03-01T11:00:00Z", http_status=200, size_bytes=5, width=9)
    (alone,) = incidents(other)
    assert (alone.digests, alone.size_bytes, alone.width, alone.places[0].seen) == ({}, 0, 0, False)
    (both,) = incidents(other, finding(2, 1))
    assert (both.digests, both.size_bytes) == (digests_of(1), 1001)
    assert [place.seen for place in both.places] == [False, True]


def test_the_name_is_the_same_in_every_run_and_after_more_is_known() -> None:
    one = finding(1, 7)
    other = finding(2, 7, run_id="b" * 16, dataset="other.parquet", tool="custodes 0.2.0", matches=(PDQ,))
    assert incidents(one)[0].id == incidents(other)[0].id == NAME(("sha256", digests_of(7)["sha256"]))
    (dead,) = incidents(finding(3, matches=(match(7),)))
    (known,) = incidents(finding(3, matches=(match(7),)), one)
    assert dead.id != known.id
    assert dead.id in known.aliases


def test_ids_are_as_the_format_says() -> None:
    secret = hkdf_sha256(bytes([5] * 32), b"", b"custodes/run/incident")

    def named(*parts: bytes) -> str:
        message = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
        return hmac.new(secret, message, hashlib.sha256).hexdigest()[:32]

    (live,) = incidents(finding(1, 7))
    known = digests_of(7)
    assert live.id == named(b"sha256", known["sha256"].encode())
    assert live.aliases == (
        named(b"sha1", known["sha1"].encode()),
        named(b"md5", known["md5"].encode()),
        named(b"entry", b"md5", b"hotline", b"", b"e7"),
    )
    (unknown,) = incidents(finding(1, matches=(PDQ,)))
    assert unknown.id == named(b"url", b"https://images.example/1.jpg")


def test_of_incidents_that_are_told_again_one_is_left_also_under_another_of_their_names() -> None:
    (dead,) = incidents(finding(3, matches=(match(7),)))
    (live,) = incidents(finding(1, 7, found_at="2026-04-01T00:00:00Z"))
    (other,) = incidents(finding(9, 9))
    for order in ([dead, live, other], [live, other, dead]):
        assert dead.id != live.id
        whole = next(each for each in folded(order) if each.id == live.id)
        assert len(folded(order)) == 2
        assert [place.finding for place in whole.places] == [f"{1:032x}", f"{3:032x}"]
        assert (whole.digests, whole.aliases) == (live.digests, live.aliases)
        assert whole.found_at == dead.found_at
        assert folded([*order, *order])[0].id in (live.id, other.id)


def test_names_tell_nothing_without_the_key() -> None:
    (one,) = incidents(finding(1, 7))
    (other,) = incidents_of([finding(1, 7)], incident_namer(RunKey(bytes(32))))
    assert one.id != other.id
    assert not {one.id, *one.aliases} & {value[:32] for value in digests_of(7).values()}
    assert named_by_findings([finding(2, 7), finding(1, 7)])[0].id == f"{1:032x}"


def test_of_a_suspicion_the_first_rank_is_shown() -> None:
    first = msgspec.structs.replace(suspect(1, 7, "p"), suspicion=suspicion("p", 2))
    (found,) = incidents(first, msgspec.structs.replace(suspect(2, 8, "p"), suspicion=suspicion("p", 1)))
    assert found.suspicion is not None
    assert found.suspicion.rank == 1
    assert (found.meaning, found.decision) == ("", "hold")


def test_links_that_are_not_text_have_a_name() -> None:
    assert len(incidents(finding(1, matches=(PDQ,), url="https://images.example/\ud800"))) == 1


def test_incidents_print_nothing_of_what_they_hold() -> None:
    (found,) = incidents(finding(1, 7), finding(2, 7))
    assert (repr(found), repr(found.places[0])) == ("<Incident 2 places>", "<Place>")


UNFIT: dict[str, dict[str, Any]] = {
    "31 digits": {"id": "0" * 31},
    "33 digits": {"id": "0" * 33},
    "a line after them": {"id": "0" * 32 + "\n"},
    "an alias that is none": {"aliases": ["x"]},
    "no place": {"places": []},
    "viewed": {"viewed_by_a_person": True},
    "a field that is not named": {"note": ""},
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_no_incident_is_refused(case: str) -> None:
    plain = msgspec.to_builtins(incidents(finding(1, 7))[0])
    assert msgspec.convert(plain, Incident).id == plain["id"]
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain | UNFIT[case], Incident)


def test_a_place_names_its_finding() -> None:
    plain = msgspec.to_builtins(incidents(finding(1, 7))[0].places[0])
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(plain | {"finding": "x"}, Place)
