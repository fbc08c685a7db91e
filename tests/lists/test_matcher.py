"""Every match in every list is found, under that list's own limits, and comes back as what the list said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.errors import ListError
from custodes.lists import matcher as module
from custodes.lists.container import collect
from custodes.lists.matcher import FORMS, Matcher, MatchSettings
from custodes.lists.store import LoadedList, LoadedLists
from custodes.model import MATCHED_KINDS, Entry, Kind, Meaning, Role, Signal
from custodes.pdq import forms_of

Uint8s = npt.NDArray[np.uint8]


def digest(name: str, kind: Kind) -> bytes:
    return hashlib.sha256(name.encode()).digest()[: kind.size_bytes]


def codes(*values: bytes) -> Uint8s:
    return np.array([list(value) for value in values], dtype=np.uint8)


def rolled(values: Uint8s) -> Uint8s:
    """A stand-in for the eight forms of a code: its bytes moved round by 0 to 7 places."""
    return np.stack([np.roll(values, form, axis=1) for form in range(8)], axis=1)


def loaded(scheme: str = "ncmec", **lists: Sequence[Entry]) -> LoadedLists:
    named = sorted(lists.items())
    return LoadedLists(tuple(LoadedList(name, f"1-{name}", collect(items)[0], scheme) for name, items in named))


def matcher(lists: LoadedLists, given_: Mapping[str, MatchSettings] | None = None) -> Matcher:
    return Matcher(lists, given_, forms=rolled)


def near(it: Matcher, values: Uint8s, quality: int = 100) -> list[Signal]:
    hits = it.near(values, np.full(len(values), quality))
    pairs = zip(hits.entries.tolist(), hits.distances.tolist(), hits.forms.tolist(), strict=True)
    return [it.signal(Kind.PDQ, *pair) for pair in pairs]


PDQ = digest("umbrella", Kind.PDQ)


def changed(value: bytes, bits: int) -> bytes:
    """The code with its first bits flipped."""
    return (int.from_bytes(value, "big") ^ ((1 << 256) - (1 << (256 - bits)))).to_bytes(32, "big")


@pytest.mark.parametrize("kind", [kind for kind in MATCHED_KINDS if kind is not Kind.PDQ])
def test_an_exact_match_tells_all_that_its_list_said(kind: Kind) -> None:
    entry = Entry(kind, digest("a", kind), "E-1", "A1", "checked thrice", Role.SEED)
    it = matcher(loaded(one=[Entry(Kind.PDQ, PDQ, "other")], two=[entry]))
    hits = it.exact(kind, codes(digest("b", kind), digest("a", kind)))
    assert hits.rows.tolist() == [1]
    assert it.signal(kind, int(hits.entries[0])) == Signal(
        "two", "1-two", "E-1", kind, "A1", "checked thrice", Role.SEED
    )


MEANT = {
    "a category of the list's scheme": ("ncmec", "A1", {}, Meaning.CSAM),
    "no category in a scheme that does without": ("ncmec", "", {}, Meaning.SUSPECTED),
    "a category without a scheme": ("", "A1", {}, Meaning.UNMAPPED),
    "no category without a scheme": ("", "", {}, Meaning.CSAM),
    "a scheme that nobody knows": ("police", "7", {}, Meaning.UNMAPPED),
    "a scheme that the operator explains": ("police", "7", {"police": {"7": Meaning.NCII}}, Meaning.NCII),
}


@pytest.mark.parametrize(("scheme", "category", "own", "meaning"), MEANT.values(), ids=MEANT)
@pytest.mark.parametrize("kind", [Kind.MD5, Kind.PDQ])
def test_a_match_says_what_its_category_means(
    scheme: str, category: str, own: Mapping[str, Mapping[str, Meaning]], meaning: Meaning, kind: Kind
) -> None:
    entries = [Entry(kind, digest("a", kind), "E-1", category), Entry(kind, digest("b", kind), "E-2", "none of these")]
    it = Matcher(loaded(scheme, one=entries), forms=rolled, meanings=own)
    assert it.signal(kind, 0).meaning is meaning
    assert it.signal(kind, 1).meaning is Meaning.UNMAPPED


def test_each_list_is_read_in_its_own_scheme() -> None:
    entry = Entry(Kind.MD5, digest("a", Kind.MD5), "1", "2")
    lists = [
        LoadedList(name, "1-x", collect([entry])[0], scheme) for name, scheme in (("a", "vics/us"), ("b", "vics/uk"))
    ]
    it = matcher(LoadedLists(tuple(lists)))
    assert [it.signal(Kind.MD5, number).meaning for number in (0, 1)] == [Meaning.EXPLOITATIVE, Meaning.CSAM]


def test_equal_values_of_different_kinds_never_match() -> None:
    it = matcher(
        loaded(one=[Entry(Kind.MD5, digest("a", Kind.MD5), "1"), Entry(Kind.URL_RAW_MD5, digest("b", Kind.MD5), "2")])
    )
    assert len(it.exact(Kind.URL_RAW_MD5, codes(digest("a", Kind.MD5))).rows) == 0
    assert len(it.exact(Kind.URL_NORMALISED_MD5, codes(digest("a", Kind.MD5))).rows) == 0
    assert it.kinds == (Kind.MD5, Kind.URL_RAW_MD5)


def test_one_value_on_three_lists_gives_three_signals() -> None:
    entry = Entry(Kind.MD5, digest("a", Kind.MD5), "1")
    it = matcher(loaded(a=[entry, Entry(Kind.MD5, digest("b", Kind.MD5), "0")], b=[entry], c=[entry]))
    hits = it.exact(Kind.MD5, codes(digest("a", Kind.MD5)))
    signals = [it.signal(Kind.MD5, entry) for entry in hits.entries.tolist()]
    assert [(signal.list_id, signal.entry_id) for signal in signals] == [("a", "1"), ("b", "1"), ("c", "1")]


@pytest.mark.parametrize(
    ("bits", "limit", "found"),
    [(31, 31, True), (32, 31, False), (0, 0, True), (1, 0, False), (64, 64, True), (65, 64, False)],
)
def test_the_distance_limit_is_the_greatest_distance_that_matches(bits: int, limit: int, found: bool) -> None:
    it = matcher(loaded(one=[Entry(Kind.PDQ, PDQ, "1")]), {"one": MatchSettings(pdq_distance_bits=limit)})
    assert [signal.distance for signal in near(it, codes(changed(PDQ, bits)))] == ([bits] if found else [])


@pytest.mark.parametrize(
    ("quality", "limit", "found"), [(50, 50, True), (49, 50, False), (0, 0, True), (100, 100, True), (99, 100, False)]
)
def test_a_code_below_the_quality_limit_is_not_matched(quality: int, limit: int, found: bool) -> None:
    it = matcher(loaded(one=[Entry(Kind.PDQ, PDQ, "1")]), {"one": MatchSettings(pdq_quality_min=limit)})
    assert bool(near(it, codes(PDQ), quality)) == found


def test_each_list_keeps_its_own_limits() -> None:
    lists = loaded(**{name: [Entry(Kind.PDQ, PDQ, name)] for name in ("default", "fussy", "strict", "wide")})
    given_ = {
        "strict": MatchSettings(pdq_distance_bits=10),
        "wide": MatchSettings(pdq_distance_bits=60, pdq_quality_min=0),
        "fussy": MatchSettings(pdq_quality_min=90),
        "not loaded": MatchSettings(pdq_distance_bits=64),
    }
    it = matcher(lists, given_)
    cases = {
        (5, 100): "default fussy strict wide",
        (20, 100): "default fussy wide",
        (20, 60): "default wide",
        (40, 100): "wide",
        (5, 10): "wide",
    }
    for (bits, quality), names in cases.items():
        assert " ".join(signal.list_id for signal in near(it, codes(changed(PDQ, bits)), quality)) == names


@pytest.mark.parametrize("form", range(8))
def test_a_turned_or_mirrored_image_is_found_and_its_form_named(form: int) -> None:
    it = matcher(loaded(one=[Entry(Kind.PDQ, rolled(codes(PDQ))[0, form].tobytes(), "1")]))
    (signal,) = near(it, codes(PDQ))
    assert (signal.form, signal.distance) == (FORMS[form], 0)


def test_an_entry_that_several_forms_match_is_told_once_by_the_nearest() -> None:
    plain = bytes(32)  # every form of it is itself
    it = matcher(loaded(one=[Entry(Kind.PDQ, changed(plain, 3), "1"), Entry(Kind.PDQ, plain, "2")]))
    signals = near(it, codes(plain))
    assert [(signal.entry_id, signal.distance, signal.form) for signal in signals] == [
        ("1", 3, "original"),
        ("2", 0, "original"),
    ]


def oracle(entries: Sequence[bytes], queries: Uint8s, radius: int) -> set[tuple[int, int, int]]:
    found = set()
    for row, forms in enumerate(rolled(queries)):
        for number, entry in enumerate(entries):
            listed = int.from_bytes(entry, "big")
            distance = min((int.from_bytes(form.tobytes(), "big") ^ listed).bit_count() for form in forms)
            if distance <= radius:
                found.add((row, number, distance))
    return found


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 64), st.integers(1, 40))
def test_near_matches_equal_comparing_every_form_with_every_entry(seed: int, radius: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 256, 32, dtype=np.uint8)
    noise = np.packbits(rng.random((count + 10, 256)) < 0.1, axis=1)
    values = centre ^ noise
    listed = list(dict.fromkeys(value.tobytes() for value in values[:count]))
    queries = np.roll(values[count:], rng.integers(0, 8), axis=1)
    it = matcher(
        loaded(one=[Entry(Kind.PDQ, value, str(n)) for n, value in enumerate(listed)]),
        {"one": MatchSettings(pdq_distance_bits=radius)},
    )
    hits = it.near(queries, np.full(len(queries), 100))
    assert set(zip(hits.rows.tolist(), hits.entries.tolist(), hits.distances.tolist(), strict=True)) == oracle(
        listed, queries, radius
    )


def test_blocks_of_queries_keep_their_row_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUERIES_AT_ONCE", 3)
    it = matcher(loaded(one=[Entry(Kind.PDQ, PDQ, "1")]))
    values = np.zeros((20, 32), np.uint8)
    values[[0, 4, 19]] = codes(PDQ)
    quality = np.full(20, 100)
    quality[[1, 4]] = 0
    assert it.near(values, quality).rows.tolist() == [0, 19]


def test_no_list_is_refused_and_kinds_without_entries_match_nothing() -> None:
    with pytest.raises(ListError, match="nothing could match"):
        Matcher(LoadedLists(()))
    it = matcher(loaded(one=[Entry(Kind.MD5, digest("a", Kind.MD5), "1")]))
    assert near(it, codes(PDQ)) == []
    assert len(it.exact(Kind.SHA1, codes(digest("a", Kind.SHA1))).rows) == 0
    with pytest.raises(ValueError, match="by distance"):
        it.exact(Kind.PDQ, codes(PDQ))


OPAQUE = Entry(Kind.PHOTODNA, bytes(range(144)), "1")


def test_photodna_is_carried_and_never_compared() -> None:
    it = matcher(loaded(one=[OPAQUE, Entry(Kind.MD5, digest("a", Kind.MD5), "2")]))
    assert it.kinds == (Kind.MD5,)
    assert len(it.exact(Kind.PHOTODNA, codes(OPAQUE.value)).rows) == 0
    assert [kind for kind, _ in module.indexes_of(loaded(one=[OPAQUE, Entry(Kind.PDQ, PDQ, "2")])).items()] == [
        Kind.PDQ
    ]


def test_lists_of_photodna_alone_are_refused_and_one_among_others_is_not() -> None:
    for refuse in (matcher, module.indexes_of):
        with pytest.raises(ListError, match="list one, two holds nothing that is compared"):
            refuse(loaded(one=[OPAQUE], two=[OPAQUE]))
    assert matcher(loaded(one=[OPAQUE], two=[Entry(Kind.PDQ, PDQ, "2")])).kinds == (Kind.PDQ,)


def test_planted_fault_a_matcher_that_takes_photodna_for_compared_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MATCHED_KINDS", tuple(Kind))
    with pytest.raises((pytest.fail.Exception, ValueError)):
        test_lists_of_photodna_alone_are_refused_and_one_among_others_is_not()


def test_the_forms_that_are_tried_are_those_of_pdq() -> None:
    it = Matcher(loaded(one=[Entry(Kind.PDQ, PDQ, "1")]))
    reflected = np.random.default_rng(0).integers(0, 256, (1, 96)).astype(np.uint8)
    whole = np.concatenate([codes(PDQ), reflected], axis=1)
    for turned in forms_of(whole)[0]:
        seen = Matcher(loaded(one=[Entry(Kind.PDQ, turned.tobytes(), "1")]))
        assert len(seen.near(whole, np.array([100])).rows) == 1
    assert len(it.near(whole, np.array([100])).rows) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pdq_distance_bits", -1),
        ("pdq_distance_bits", 65),
        ("pdq_quality_min", -1),
        ("pdq_quality_min", 101),
        ("flood_share_max", -0.01),
        ("flood_share_max", 1.01),
        ("flood_rows_min", 0),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be "):
        MatchSettings(**{name: value})
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({name: value}, MatchSettings)
