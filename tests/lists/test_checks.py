"""Each check of a new version: at its limit it passes, one past it does not; what it says holds no value."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest

from custodes.lists import checks as module
from custodes.lists.checks import ListChecks, Samples, Update, objections
from custodes.lists.container import Contents, collect
from custodes.model import Entry, Kind, Role


def entry(number: int, kind: Kind = Kind.MD5, role: Role = Role.CONFIRMED, value: bytes | None = None) -> Entry:
    made = hashlib.shake_256(f"pattern {number}".encode()).digest(kind.size_bytes)
    return Entry(kind, made if value is None else value, f"e{number}", "A1", "", role)


def listed(numbers: Sequence[int], *more: Entry, kind: Kind = Kind.MD5) -> Contents:
    return collect([*(entry(number, kind) for number in numbers), *more])[0]


def said(
    new: Contents,
    old: Contents | None = None,
    checks: ListChecks | None = None,
    samples: Samples | None = None,
    **counts: int,
) -> list[str]:
    return objections(Update(new, old, **counts), checks or ListChecks(), samples or Samples())


HUNDRED = ListChecks(small_list_max=99)
EXACT = ListChecks(small_list_max=100)


@pytest.mark.parametrize("kind", [Kind.MD5, Kind.PDQ, Kind.SHA1])
def test_a_list_may_shrink_to_its_limit_and_no_further(kind: Kind) -> None:
    old = listed(range(100), kind=kind)
    assert said(listed(range(80), kind=kind), old, HUNDRED) == []
    assert said(listed(range(79), kind=kind), old, HUNDRED) == ["21.0% of its hashes would go (shrink_share_max 20.0%)"]


def test_a_list_may_grow_to_its_limit_and_no_further() -> None:
    old = listed(range(100))
    assert said(listed(range(200)), old, HUNDRED) == []
    assert said(listed(range(201)), old, HUNDRED) == ["it would grow by 101.0% (grow_share_max 100.0%)"]


def test_others_in_the_same_number_are_seen() -> None:
    assert said(listed(range(100, 200)), listed(range(100)), HUNDRED) == [
        "100.0% of its hashes would go (shrink_share_max 20.0%)"
    ]


def test_hashes_of_another_kind_are_others() -> None:
    assert said(listed(range(100), kind=Kind.SHA1), listed(range(100)), HUNDRED)


def test_a_small_list_and_a_first_version_may_be_anything() -> None:
    assert said(listed([1]), listed(range(100)), EXACT) == []
    assert said(listed(range(5000))) == []


def test_the_share_of_malformed_records_has_a_limit() -> None:
    assert said(listed([1]), records=1000, malformed=1000) == []  # a small update: its share says nothing
    assert said(listed([1]), records=1100, malformed=11) == []
    assert said(listed([1]), records=1100, malformed=12) == [
        "12 of 1,100 records held a malformed hash (malformed_share_max 1.0%)"
    ]


OF_NO_IMAGE: dict[str, Entry] = {
    "the MD5 of an empty file": entry(0, Kind.MD5, value=hashlib.md5(b"").digest()),
    "the SHA-1 of an empty file": entry(0, Kind.SHA1, value=hashlib.sha1(b"").digest()),
    "the SHA-256 of an empty file": entry(0, Kind.SHA256, value=hashlib.sha256(b"").digest()),
    "a digest of zeros": entry(0, Kind.SHA256, value=bytes(32)),
    "a digest of ones": entry(0, Kind.URL_RAW_MD5, value=b"\xff" * 16),
    "a PDQ code of zeros": entry(0, Kind.PDQ, value=bytes(32)),
    "a PDQ code with 63 ones": entry(0, Kind.PDQ, value=((1 << 63) - 1).to_bytes(32)),
    "a PDQ code with 193 ones": entry(0, Kind.PDQ, value=((1 << 193) - 1).to_bytes(32)),
}


@pytest.mark.parametrize("bad", OF_NO_IMAGE.values(), ids=OF_NO_IMAGE)
def test_hashes_that_stand_for_no_image_are_few(bad: Entry) -> None:
    checks = ListChecks(small_list_max=998)
    assert said(listed([1], bad), checks=checks) == []  # a small list: its share says nothing
    assert said(listed(range(1, 1000), bad), checks=checks) == []  # 1 in 1,000: the limit
    assert said(listed(range(1, 999), bad), checks=checks) == [
        "1 of 999 hashes stand for no image: of an empty file, or of one colour (common_share_max 0.10%)"
    ]
    negative = Entry(bad.kind, bad.value, "n", "", "", Role.NEGATIVE)
    assert (
        said(listed([1], negative), checks=ListChecks(small_list_max=0)) == []
    )  # that they are no findings is what a list of negatives says


@pytest.mark.parametrize("ones", [64, 192])
def test_pdq_codes_of_images_have_about_half_their_bits(ones: int) -> None:
    whole = listed([1], entry(0, Kind.PDQ, value=((1 << ones) - 1).to_bytes(32)))
    assert said(whole, checks=ListChecks(small_list_max=0)) == []


def moved(of: Entry, bits: int) -> Entry:
    flipped = int.from_bytes(of.value) ^ ((1 << bits) - 1)
    return Entry(of.kind, flipped.to_bytes(len(of.value)), of.id)


@pytest.mark.parametrize(("bits", "near"), [(0, True), (31, True), (32, False)])
def test_canaries_must_match_and_harmless_images_must_not(bits: int, near: bool) -> None:
    new = listed(range(50), kind=Kind.PDQ)
    sample = (moved(entry(7, Kind.PDQ), bits),)
    missing = ["1 of 1 canaries, which must be in it, are not"]
    hit = ["1 of 1 harmless images, which must match nothing, match"]
    assert said(new, samples=Samples(canaries=sample)) == ([] if near else missing)
    assert said(new, samples=Samples(harmless=sample)) == (hit if near else [])


def test_samples_of_other_kinds_match_by_equality() -> None:
    new = listed(range(50), entry(3, Kind.SHA1))
    inside, outside = (entry(7), entry(3, Kind.SHA1)), (entry(77), entry(8, Kind.SHA256))
    assert said(new, samples=Samples(inside, outside)) == []
    assert len(said(new, samples=Samples(outside, inside))) == 2


def test_a_known_false_positive_is_no_hit() -> None:
    for kind in (Kind.MD5, Kind.PDQ):
        new = listed([1], entry(7, kind, Role.NEGATIVE))
        assert said(new, samples=Samples(harmless=(entry(7, kind),))) == []
        assert said(new, samples=Samples(canaries=(entry(7, kind),)))


def test_what_is_said_holds_no_value() -> None:
    bad = entry(0, Kind.PDQ, value=bytes(32))
    checks = ListChecks(small_list_max=0)
    text = " ".join(said(listed([1], bad), checks=checks, samples=Samples((entry(9),), (entry(1),))))
    assert len(text) > 100
    assert not any(each.value.hex()[:16] in text for each in (bad, entry(9), entry(1)))


@pytest.mark.parametrize("name", ["_size", "_malformed", "_common", "_canaries", "_harmless"])
def test_planted_fault_a_check_that_is_not_asked_lets_a_bad_version_through(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = listed(range(10), entry(0, Kind.PDQ, value=bytes(32)))
    samples, checks = Samples((entry(99),), (entry(1),)), ListChecks(small_list_max=5)
    whole = said(bad, listed(range(100)), checks, samples, records=10, malformed=1)
    monkeypatch.setattr(module, name, lambda *_: [])
    assert len(said(bad, listed(range(100)), checks, samples, records=10, malformed=1)) == len(whole) - 1 == 4


@pytest.mark.parametrize(
    "bad",
    [
        {"shrink_share_max": -0.1},
        {"shrink_share_max": 1.1},
        {"malformed_share_max": 2},
        {"common_share_max": -1},
        {"grow_share_max": -1},
        {"small_list_max": -1},
        {"stale_after_h": float("nan")},
        {"when_stale": "ignore"},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        ListChecks(**bad)  # type: ignore[arg-type]
