"""A probe is taught the same from the same verdicts, measured on what it was not fitted to, and not taught from too little."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.errors import ConfigError, InputError
from custodes.similar import probe as module
from custodes.similar.measure import THRESHOLDS, average_precision, levels, share
from custodes.similar.probe import Judged, TeachSettings, compare, held_out, needed, teach
from tests.similar.teaching import DIMENSION, FEW, ORIGIN, judged, photos, some_background, taught


def test_what_is_confirmed_scores_higher_than_what_is_not() -> None:
    probe = taught()
    fresh = Judged(np.concatenate([photos(200, 3, 5), photos(200, -0.5, 6)]), np.repeat([True, False], 200))
    scores = probe.score(fresh.vectors)
    assert average_precision(scores, fresh.labels) > 0.95
    assert ((scores > 0) & (scores < 1)).all()
    assert np.median(probe.score(some_background())) < 0.3


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_verdicts_and_photos_that_repeat_change_nothing(random: object) -> None:
    given_ = judged()
    order = np.random.default_rng(random.randrange(1 << 30)).permutation(len(given_.labels))  # type: ignore[attr-defined]
    order = np.concatenate([order, order[:20]])
    again = teach(Judged(given_.vectors[order], given_.labels[order]), some_background()[::-1], FEW, ORIGIN)
    first = taught()
    assert again.weights.tobytes() == first.weights.tobytes()
    assert (again.bias, again.slope, again.offset) == (first.bias, first.slope, first.offset)
    assert again.card == first.card


def test_the_card_says_what_it_was_taught_from_and_no_row_of_it() -> None:
    card = taught().card
    assert (card.positives, card.negatives, card.background, card.contradictory) == (40, 60, 300, 0)
    assert (card.model, card.dimension, card.made_at) == ("numbers", DIMENSION, ORIGIN.made_at)
    assert card.taught_from.keys() == {"run", "confirmed", "rejected", "background"}
    assert {len(each) for name, each in card.taught_from.items() if name != "run"} == {64}
    assert [level.threshold for level in card.levels] == list(THRESHOLDS)
    assert len(msgspec.json.encode(card)) < 20_000


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "|i1"])
def test_a_score_is_that_of_the_unit_vector(dtype: str) -> None:
    probe = taught()
    vectors = (photos(50, 1, 9) * 20).clip(-127, 127).astype(dtype)
    wide = vectors.astype(np.float64)
    raw = wide / np.linalg.norm(wide, axis=1, keepdims=True) @ probe.weights + probe.bias
    expected = [1 / (1 + math.exp(-(probe.slope * each + probe.offset))) for each in raw]
    assert np.allclose(probe.score(vectors), expected, atol=1e-5)


def test_what_has_no_direction_has_no_score() -> None:
    vectors = photos(5, 1, 9)
    vectors[1], vectors[2, 3], vectors[3, 0] = 0, np.nan, np.inf
    assert np.isnan(taught().score(vectors)).tolist() == [False, True, True, True, False]


def test_vectors_of_another_dimension_are_refused() -> None:
    with pytest.raises(InputError, match="17 numbers, the probe 16"):
        taught().score(np.zeros((1, 17), dtype=np.float32))


# -- too little


TOO_LITTLE: dict[str, tuple[Judged, dict[str, int]]] = {
    "one confirmed short": (judged(7, 8), {"confirmed": 1}),
    "one rejected short": (judged(8, 7), {"rejected": 1}),
    "only confirmed": (judged(30, 0), {"rejected": 8}),
    "only rejected": (judged(0, 30), {"confirmed": 8}),
    "nothing": (judged(0, 0), {"confirmed": 8, "rejected": 8}),
    "one photo many times": (
        Judged(
            np.concatenate([np.repeat(photos(1, 3, 4), 50, axis=0), photos(20, 0, 5)]),
            np.repeat([True, False], [50, 20]),
        ),
        {"confirmed": 7},
    ),
}


@pytest.mark.parametrize("case", TOO_LITTLE)
def test_too_few_or_one_sided_verdicts_are_refused_and_it_is_said_how_many_more(case: str) -> None:
    given_, more = TOO_LITTLE[case]
    with pytest.raises(InputError, match="too little") as raised:
        taught(given_)
    assert raised.value.hint == "it needs " + ", ".join(f"{count} more {kind}" for kind, count in more.items())


def test_just_enough_is_enough() -> None:
    assert taught(judged(8, 8, lean=6)).card.positives == 8
    with pytest.raises(InputError, match="too little"):
        teach(judged(), some_background(19), FEW, ORIGIN)
    assert teach(judged(), some_background(20), FEW, ORIGIN).card.background == 20
    assert needed({"confirmed": 20, "rejected": 19, "background": 100}, TeachSettings()) == {"rejected": 1}


def test_a_photo_that_was_confirmed_and_rejected_teaches_nothing() -> None:
    given_ = judged()
    vectors = np.concatenate([given_.vectors, given_.vectors[:1]])
    card = taught(Judged(vectors, np.append(given_.labels, False))).card
    assert (card.positives, card.negatives, card.contradictory) == (39, 60, 1)


def test_what_was_judged_is_not_background() -> None:
    given_ = judged()
    card = teach(given_, np.concatenate([some_background(), given_.vectors[:30]]), FEW, ORIGIN).card
    assert card.background == 300


def test_what_cannot_be_told_apart_is_refused() -> None:
    vectors = photos(60, 0, 3)
    with pytest.raises(InputError, match="cannot be told"):
        taught(Judged(np.concatenate([vectors, -vectors]), np.tile([True, False], 60)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_teaches_nothing(value: float) -> None:
    given_ = judged()
    given_.vectors[0, 0] = value
    with pytest.raises(InputError, match="no direction"):
        taught(given_)


def test_labels_and_background_must_fit() -> None:
    with pytest.raises(InputError, match="one label"):
        Judged(photos(3, 0, 1), np.array([True]))
    with pytest.raises(InputError, match="different dimensions"):
        teach(judged(), np.ones((200, DIMENSION + 1), dtype=np.float32), FEW, ORIGIN)


def test_the_strength_that_ranks_best_is_chosen_and_stands_on_the_card() -> None:
    given, background = judged(), some_background()
    alone = {
        strength: teach(given, background, msgspec.structs.replace(FEW, strengths=(strength,)), ORIGIN).card
        for strength in (0.001, 1.0, 100.0)
    }
    best = max(each.average_precision for each in alone.values())
    among = teach(given, background, msgspec.structs.replace(FEW, strengths=tuple(alone)), ORIGIN).card
    assert among.average_precision == best
    assert among.strength == min(strength for strength, each in alone.items() if each.average_precision == best)


@pytest.mark.parametrize(
    "changed",
    [
        {"folds": 1},
        {"folds": 9},
        {"strengths": ()},
        {"strengths": (1.0, 0.0)},
        {"strengths": (-1.0,)},
        {"positives_min": 3},
    ],
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        TeachSettings(**({"positives_min": 8, "negatives_min": 8} | changed))  # type: ignore[arg-type]


def test_without_scikit_learn_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", absent)
    with pytest.raises(ConfigError, match="scikit-learn") as raised:
        taught(judged())
    assert "custodes[similar]" in (raised.value.hint or "")


# -- figures


def test_planted_fitted_to_what_it_is_measured_on_the_figures_are_too_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels that follow nothing: out of fold no probe can rank them; a probe that saw them can."""
    rng = np.random.default_rng(8)
    chance = Judged(rng.standard_normal((40, 400)).astype(np.float32), np.tile([True, False], 20))
    background = rng.standard_normal((200, 400)).astype(np.float32)
    loose = msgspec.structs.replace(FEW, strengths=(1000.0,))
    seen: list[float] = []

    def record(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        seen.append(average_precision(scores, labels))
        return 1.0, 0.0

    monkeypatch.setattr(module, "_calibrated", record)
    teach(chance, background, loose, ORIGIN)
    fit = module._fit
    whole = module._photos(chance, background)
    monkeypatch.setattr(module, "_fit", lambda *_: fit(whole.unit, whole.unit_background, whole.labels, 1000.0))
    teach(chance, background, loose, ORIGIN)
    assert seen[0] < 0.75
    assert seen[1] > 0.99


def test_calibrated_scores_are_about_the_share_that_is_confirmed() -> None:
    probe = taught(judged(300, 300, lean=1.0))
    fresh = Judged(np.concatenate([photos(3000, 1.0, 5), photos(3000, -0.5, 6)]), np.repeat([True, False], 3000))
    scores = probe.score(fresh.vectors)
    for low in (0.2, 0.4, 0.6):
        chosen = (scores >= low) & (scores < low + 0.2)
        assert fresh.labels[chosen].mean() == pytest.approx(low + 0.1, abs=0.12)


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (1, 10), (10, 10), (5, 10), (1, 1), (88, 1954), (999, 1000)])
def test_intervals_are_those_of_scipy(hits: int, of: int) -> None:
    from scipy.stats import binomtest

    found, expected = share(hits, of), binomtest(hits, of).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert found.low <= hits / of <= found.high


def test_of_nothing_anything_may_be_true() -> None:
    found = share(0, 0)
    assert (found.low, found.high, found.value) == (0, 1, None)


def test_levels_count_what_reaches_them() -> None:
    scores, labels = np.array([0.05, 0.5, 0.5, 0.99]), np.array([False, True, False, True])
    found = {level.threshold: level for level in levels(scores, labels, np.array([0.04, 0.06, 0.5]))}
    counted = {
        at: (each.precision.hits, each.precision.of, each.recall.of, each.background.hits) for at, each in found.items()
    }
    assert counted[0.05] == (2, 4, 2, 2)
    assert counted[0.5] == (2, 3, 2, 1)
    assert counted[0.55] == (1, 1, 2, 0)
    assert counted[0.99] == (1, 1, 2, 0)
    assert found[0.5].recall.value == 1.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1).filter(lambda rows: any(r[1] for r in rows)))
def test_average_precision_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    from sklearn.metrics import average_precision_score

    scores, labels = np.array([row[0] / 4 for row in rows]), np.array([row[1] for row in rows])
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores))


# -- held out


def test_one_in_five_is_held_out_and_always_the_same_ones() -> None:
    vectors = photos(2000, 0, 1)
    mask = held_out(vectors)
    assert 300 < np.count_nonzero(mask) < 500
    assert held_out(vectors[::-1]).tolist() == mask[::-1].tolist()
    assert held_out(vectors[:7]).tolist() == mask[:7].tolist()


def test_probes_compare_on_the_same_photos() -> None:
    good, bad = taught(), taught(judged(10, 10, lean=0.8, seed=3))
    held = judged(60, 60, seed=50)
    found = compare(bad, good, held)
    assert (found.positives, found.negatives) == (60, 60)
    assert found.old is not None
    assert found.new is not None
    assert found.old < found.new
    assert not found.worse
    assert compare(good, bad, held).worse
    assert not compare(good, good, held).worse  # more was judged since, and it is as good


@pytest.mark.parametrize(("positives", "negatives"), [(0, 5), (5, 0), (0, 0)])
def test_where_nothing_can_be_compared_the_new_one_is_not_better(positives: int, negatives: int) -> None:
    found = compare(taught(), taught(), judged(positives, negatives))
    assert found.worse
    assert (found.old, found.new) == (None, None)


def test_probes_of_two_models_do_not_compare() -> None:
    other = teach(judged(), some_background(), FEW, msgspec.structs.replace(ORIGIN, model="other"))
    with pytest.raises(InputError, match="'numbers', the other of 'other'"):
        compare(taught(), other, judged())
