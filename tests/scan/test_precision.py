"""What suspects of a sort were worth is counted from verdicts, slice by slice, and no host is told outside the sealed findings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.similar.untaught import card_of

from custodes.scan import precision as measuring
from custodes.scan.precision import JUDGED_MIN, JudgedPhoto, Precision, cross_validated, slices_of
from custodes.similar.measure import THRESHOLDS, Level, levels, share


def judged(slices: Sequence[str], confirmed: int, rejected: int = 0) -> list[JudgedPhoto]:
    return [JudgedPhoto(tuple(slices), at < confirmed) for at in range(confirmed + rejected)]


# -- where a suspect counts


@pytest.mark.parametrize(
    ("value", "band"),
    [
        (-1.0, "below 0.0"),
        (math.nextafter(0, -1), "below 0.0"),
        (0.0, "0.0 to 0.5"),
        (math.nextafter(0.5, 0), "0.0 to 0.5"),
        (0.5, "0.5 to 0.6"),
        (0.6, "0.6 to 0.7"),
        (0.7, "0.7 to 0.8"),
        (0.8, "0.8 to 0.9"),
        (0.9, "0.9 to 0.95"),
        (0.95, "0.95 to 0.99"),
        (math.nextafter(0.99, 0), "0.95 to 0.99"),
        (0.99, "0.99 to 1.0"),
        (1.0, "0.99 to 1.0"),
    ],
)
def test_a_band_begins_with_its_lower_edge_and_the_last_holds_one(value: float, band: str) -> None:
    assert slices_of(None, value) == ("all", f"probe {band}")
    assert slices_of(value, None) == ("all", f"cosine {band}")


def test_a_suspect_is_in_a_slice_of_everything_that_is_known_of_it() -> None:
    assert slices_of(None, None) == ("all",)
    assert slices_of(0.7, 0.2, "de", "a.test") == (
        "all",
        "probe 0.0 to 0.5",
        "cosine 0.7 to 0.8",
        "language de",
        "host a.test",
    )


@pytest.mark.parametrize(("length", "told"), [(0, 0), (1, 1), (100, 100), (101, 100)])
def test_what_a_dataset_calls_a_host_is_cut(length: int, told: int) -> None:
    """Of nothing there is no slice."""
    assert slices_of(None, None, "", "y" * length) == ("all", *((f"host {'y' * told}",) if told else ()))


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("de", "de"),
        ("zh-Hant-TW", "zh-Hant-TW"),
        ("x", "of another form"),
        ("a.test", "of another form"),
        ("e" * 9, "of another form"),
    ],
)
def test_a_language_is_told_only_in_the_form_of_a_tag(column: str, told: str) -> None:
    """The column may hold anything, a host too."""
    assert slices_of(None, None, column) == ("all", f"language {told}")


# -- counting


@given(st.lists(st.tuples(st.sets(st.sampled_from(["all", "b", "host c"])), st.booleans())))
def test_slices_are_counted_as_one_by_one(photos: list[tuple[set[str], bool]]) -> None:
    precision = Precision(JudgedPhoto(tuple(slices), confirmed) for slices, confirmed in photos)
    for name in ("all", "b", "host c", "never seen"):
        mine = [confirmed for slices, confirmed in photos if name in slices]
        found = [(each.slice, each.basis, each.confirmed, each.judged) for each in precision.of([name])]
        assert found == ([(name, "verdicts", sum(mine), len(mine))] if mine else [])


def test_a_share_stands_with_the_interval_that_holds_it() -> None:
    [measured] = Precision(judged(["all"], 3, 1)).of(["all"])
    expected = share(3, 4)
    assert (measured.confirmed, measured.judged) == (3, 4)
    assert (measured.low, measured.high) == (round(expected.low, 4), round(expected.high, 4))
    assert 0 < measured.low < 0.75 < measured.high < 1


def test_slices_come_in_the_order_in_which_they_were_asked_for() -> None:
    precision = Precision(judged(["b", "a"], 1))
    assert [each.slice for each in precision.of(["b", "c", "a"])] == ["b", "a"]


def test_without_verdicts_nothing_is_measured() -> None:
    assert Precision([]).of(["all"]) == Precision([]).told() == ()


# -- what may be told


@pytest.mark.parametrize(("count", "told"), [(JUDGED_MIN - 1, []), (JUDGED_MIN, ["all"]), (JUDGED_MIN + 1, ["all"])])
def test_slices_of_few_photos_are_for_the_authority_alone(count: int, told: list[str]) -> None:
    precision = Precision(judged(["all"], 0, count))
    assert [each.slice for each in precision.told()] == told
    assert [each.judged for each in precision.of(["all"])] == [count]


HOSTED = judged(slices_of(0.9, None, "host a.test", "a.test"), 500) + judged(slices_of(0.9, None, "", "b.test"), 2)


def test_hosts_are_never_told() -> None:
    """Not even of many photos, nor in the column of languages."""
    precision = Precision(HOSTED)
    assert [each.slice for each in precision.told()] == ["all", "cosine 0.9 to 0.95", "language of another form"]
    assert [each.judged for each in precision.of(["host a.test", "host b.test"])] == [500, 2]


def test_were_hosts_not_left_out_they_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_HOST", "no such prefix ")
    assert "host a.test" in [each.slice for each in Precision(HOSTED).told()]


# -- what cross-validation said


def level_of(threshold: float, hits: int, of: int) -> Level:
    return Level(threshold=threshold, precision=share(hits, of), recall=share(0, 0), background=share(0, 0))


LEVELS = (level_of(0.5, 5, 10), level_of(0.7, 6, 8), level_of(0.9, 3, 3), level_of(0.99, 0, 0))


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.0, []),
        (math.nextafter(0.5, 0), []),
        (0.5, [("probe from 0.5", 5, 10)]),
        (math.nextafter(0.7, 0), [("probe from 0.5", 5, 10)]),
        (0.7, [("probe from 0.7", 6, 8)]),
        (0.9, [("probe from 0.9", 3, 3)]),
        (1.0, [("probe from 0.9", 3, 3)]),  # no photo of cross-validation reached 0.99
    ],
)
def test_the_highest_level_that_is_reached_and_was_measured_is_told(
    score: float, expected: list[tuple[str, int, int]]
) -> None:
    found = cross_validated(card_of(levels=LEVELS), score)
    assert [(each.slice, each.confirmed, each.judged) for each in found] == expected
    assert all(each.basis == "cross-validation" for each in found)


def test_levels_of_a_probe_are_picked_as_its_card_has_them() -> None:
    scores, labels = np.linspace(0, 1, 41), np.arange(41) > 15
    card = card_of(levels=levels(scores, labels, scores))
    for score in (0.05, 0.5, 0.97, 0.99, 1.0):
        [found] = cross_validated(card, score)
        threshold = max(each for each in THRESHOLDS if each <= score)
        assert found.slice == f"probe from {threshold}"
        assert found.judged == np.count_nonzero(scores >= threshold)
        assert found.confirmed == np.count_nonzero(labels & (scores >= threshold))
        assert found.low <= found.confirmed / found.judged <= found.high


def test_without_a_probe_or_a_score_there_is_no_such_measure() -> None:
    assert cross_validated(None, 0.9) == cross_validated(card_of(levels=LEVELS), None) == ()
    assert cross_validated(card_of(), 0.9) == ()
