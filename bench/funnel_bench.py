"""A stand-in of the funnel of 2023, end to end: hash matching, neighbours of what it confirmed, an authority's verdicts, a probe taught from them, a second pass.

Rendered umbrellas play the known material; half are on a hash list. What is counted is what a person would have had to look at, and what that found, beside hash matching alone.
"""

# ruff: noqa: E501 - the notes are prose

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from funnel_loop import Funnel, begin
from funnel_world import MODEL, Gallery, Photo, Sizes, World, gallery, list_of, serving, written
from tables import WORK, Bench

from custodes.similar.measure import average_precision, share

__all__ = ["bench_funnel"]

WHOLE = Sizes(side=256, known=200, lookalikes=900, everyday=3186)
QUICK = Sizes(side=128, known=80, lookalikes=90, everyday=260)
BUDGET = {False: 150, True: 40}  # photos a round, by whether it is quick
ROUNDS = 3
SEEDS = (2023, 2024, 2025)
TOP = 100
LEAST = 0  # of the probe: the budget alone decides how many


@dataclass(frozen=True)
class Line:
    """Where a way stands after a round."""

    name: str
    funnel: Funnel
    upto: int  # rounds


@dataclass(frozen=True)
class Played:
    """One world, and two ways to go on in it after the first round: with a probe taught from verdicts, and without."""

    sizes: Sizes
    made: Gallery
    taught: Funnel
    plain: Funnel

    @property
    def world(self) -> World:
        return self.taught.world


def bench_funnel(*, quick: bool) -> Bench:
    """One world in full, and what came of others."""
    sizes = [replace(QUICK if quick else WHOLE, seed=seed) for seed in SEEDS[: 1 if quick else None]]
    return table([played(each, BUDGET[quick]) for each in sizes], BUDGET[quick])


def played(sizes: Sizes, budget: int) -> Played:
    workers, home = len(os.sched_getaffinity(0)), WORK / "funnel"
    place = home / f"world-{sizes.seed}"
    shutil.rmtree(place, ignore_errors=True)
    made = gallery(sizes, home, workers)
    with serving(made) as server:
        world = written(sizes, made, server.site.base_url, place / "dataset")
        hashes = list_of(world.listed, made, place / "known.csv")
        taught, plain = (begin(place / name, world, hashes, workers) for name in ("taught", "plain"))
        for number in range(ROUNDS):
            for funnel in (taught, plain):
                one_round(funnel, budget, teaching=funnel is taught and number > 0, workers=workers)
    return Played(sizes, made, taught, plain)


def one_round(funnel: Funnel, budget: int, *, teaching: bool, workers: int) -> None:
    done = funnel.round(budget, top=TOP, least=LEAST if teaching else None, workers=workers)
    confirmed = sum(suspect.photo.known_kind for suspect in done.suspects)
    print(
        f"  {funnel.home.name} {len(funnel.rounds)}: {confirmed} of {len(done.suspects)}", file=sys.stderr, flush=True
    )


# -- what is shown


def table(all_played: list[Played], budget: int) -> Bench:
    first = all_played[0]
    taught, plain = first.taught, first.plain
    bench = Bench("funnel", "The funnel, with harmless photos", notes=notes(first, budget))
    bench.heads = [
        "",
        "seeds",
        "candidate rows",
        "photos judged",
        "confirmed, of these new",
        "precision",
        "judged so far",
        "umbrellas found",
        "of those not listed",
        "of these: with a live link, dead only",
    ]
    bench.rows = [hashes_row(taught)]
    for number in range(1, ROUNDS + 1):
        bench.rows.append(
            row(Line(f"round {number}: neighbours" + (" and a probe" if number > 1 else ""), taught, number))
        )
    for number in range(2, ROUNDS + 1):
        bench.rows.append(row(Line(f"round {number}, had no probe been taught", plain, number)))
    bench.rows.append(chance_row(taught))
    bench.ratios = [*dead_listed(taught), *separability(first), *teaching(taught), *map(elsewhere, all_played[1:])]
    bench.runs = {
        f"{name}, world {each.sizes.seed}": runs_of(funnel)
        for each in all_played
        for name, funnel in (("taught", each.taught), ("plain", each.plain))
    }
    return bench


def elsewhere(other: Played) -> str:
    """The end of it in another world."""
    taught, plain = (len(found_photos(funnel, ROUNDS)) for funnel in (other.taught, other.plain))
    rounds = ", ".join(
        f"{sum(suspect.photo.known_kind for suspect in each.suspects)} of {len(each.suspects)}"
        for each in other.taught.rounds
    )
    return f"other photos of the same kinds (world {other.sizes.seed}): hash matching alone {len(other.taught.by_hashes)} of {len(other.world.known)} umbrellas; after {ROUNDS} rounds {taught}, without teaching {plain}; confirmed in the rounds: {rounds}"


def dead_listed(funnel: Funnel) -> list[str]:
    missed = funnel.world.listed - funnel.by_hashes
    alive = missed & live_photos(funnel.world)
    return [
        f"hash matching missed {len(missed)} listed umbrellas, {len(alive)} of them with a live link; by their vectors {len(missed & found_photos(funnel, ROUNDS))} of these were found"
    ]


def hashes_row(funnel: Funnel) -> list[str]:
    return ["hash matching alone", "", "", "", "", "", "0", *found(funnel, 0)]


def row(line: Line) -> list[str]:
    at = line.funnel.rounds[line.upto - 1]
    confirmed = sum(suspect.photo.known_kind for suspect in at.suspects)
    judged = sum(len(each.suspects) for each in line.funnel.rounds[: line.upto])
    right = share(confirmed, len(at.suspects))
    precision = f"{right.value or 0:.0%} ({right.low:.0%} to {right.high:.0%})"
    new = at.confirmed - found_photos(line.funnel, line.upto - 1)
    counts = [f"{each:,}" for each in (at.told["confirmed"], at.candidates, len(at.suspects))]
    return [
        line.name,
        *counts,
        f"{confirmed:,}, {len(new):,}",
        precision,
        f"{judged:,}",
        *found(line.funnel, line.upto),
    ]


def found(funnel: Funnel, upto: int) -> list[str]:
    """Of all umbrellas, and of those that are not on the list, as distinct photos; and how many of the latter still had a live link."""
    world, photos = funnel.world, found_photos(funnel, upto)
    unlisted = world.known - world.listed
    new = photos & unlisted
    live = new & live_photos(world)
    return [of(len(photos), len(world.known)), of(len(new), len(unlisted)), f"{len(live):,}, {len(new - live):,}"]


def found_photos(funnel: Funnel, upto: int) -> set[Photo]:
    return set(funnel.by_hashes).union(*(each.confirmed for each in funnel.rounds[:upto]))


def live_photos(world: World) -> set[Photo]:
    """Those with a link that still works, in whatever size."""
    return {each.photo for each in world.rows if not each.dead}


def chance_row(funnel: Funnel) -> list[str]:
    """What judging as many drawn by chance, from all photos that hashes did not find, gives on average."""
    world = funnel.world
    judged = sum(len(each.suspects) for each in funnel.rounds)
    left = {each.photo for each in world.rows} - funnel.by_hashes
    drawn = judged / len(left)
    unlisted = world.known - world.listed
    chance = drawn * len(world.known - funnel.by_hashes)
    counts = ["", f"{len(left):,}", f"{judged:,}", f"{chance:.0f}", f"{chance / judged:.0%}", f"{judged:,}"]
    both = [of(len(funnel.by_hashes) + chance, len(world.known)), of(drawn * len(unlisted), len(unlisted))]
    return ["as many judged at random, expected", *counts, *both, ""]


def of(hits: float, total: int) -> str:
    return f"{hits:.0f} of {total:,} ({hits / total:.0%})"


def separability(first: Played) -> list[str]:
    """What the vectors could tell at best, by the truth: rankings of what hashes did not find."""
    world, funnel, made = first.world, first.taught, first.made
    files = sorted({each.file for each in world.rows})
    unit = np.stack([made.vectors[file] for file in files]).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    truth = np.array([file.photo.known_kind for file in files])
    seeds = np.array([file.photo in funnel.by_hashes for file in files])
    nearest = (unit[~seeds] @ unit[seeds].T).max(axis=1)
    scores = crossed(unit, truth, np.array([file.photo.number // 2 % 5 for file in files]))
    near = average_precision(nearest, truth[~seeds])
    return [
        f"what the vectors tell, by the truth: {truth[~seeds].mean():.3f} of the files that hashes did not find show umbrellas; ranked by the cosine with the nearest photo that hashes found, average precision is {near:.3f}; by a probe that knows the truth of all others, {average_precision(scores, truth):.3f}",
    ]


def crossed(unit: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Scores of each fifth of the photos by a regression on the others."""
    from sklearn.linear_model import LogisticRegression

    scores = np.empty(len(unit))
    for number in range(5):
        out = fold == number
        model = LogisticRegression(C=10, max_iter=3000, class_weight="balanced").fit(unit[~out], truth[~out])
        scores[out] = model.decision_function(unit[out])
    return scores


def teaching(funnel: Funnel) -> list[str]:
    return [
        f"the probe before round {number}: {each.taught['positives']:,} confirmed photos, {each.taught['negatives']:,} rejected; average precision {each.taught['average_precision']:.3f} in cross-validation among judged photos"
        for number, each in enumerate(funnel.rounds, 1)
        if each.taught
    ]


def runs_of(funnel: Funnel) -> list[dict[str, Any]]:
    return [
        {"told": each.told, "taught": each.taught, "kinds": counted(suspect.photo.kind for suspect in each.suspects)}
        for each in funnel.rounds
    ]


def counted(kinds: Iterable[str]) -> dict[str, int]:
    found = list(kinds)
    return {kind: found.count(kind) for kind in sorted(set(found))}


def notes(first: Played, budget: int) -> list[str]:
    world, sizes = first.world, first.sizes
    photos = {each.photo for each in world.rows}
    dead = sum(each.dead for each in world.rows)
    return [
        f"{len(world.rows):,} rows of {len(photos):,} photos, all rendered (`bench/scenes.py`): {len(world.known):,} umbrellas ({len(world.known) / len(photos):.1%}), {sizes.lookalikes:,} look-alikes (mushrooms, lampshades, tents, fans, pizzas, domes, balloons, parachutes, flowers), the rest everyday things. A fifth of the photos stands behind a second link, a fifth behind another in a smaller copy; {dead / len(world.rows):.0%} of the links are dead. The table has no digests.",
        f"Umbrellas play the known material. A list has MD5 and PDQ of half of them ({len(world.listed):,}). The authority is a script that knows by the link what was there, of dead links too; a real one can say so only where it, or an archive, has the picture.",
        f"Vectors are those of {MODEL} (`custodes similar models`), fp16, of all rows, made while every link lived, as LAION's were. That network was trained to tell pictures that are not suitable for work from others; its features were not made for umbrellas.",
        f"Each round: `similar scan --top {TOP} --budget {budget}`, from the second on with `--probes --from {LEAST}`; the bundles opened, every suspect judged, `verdicts import`, `similar teach`. A suspect is a photo; its rows are judged together. “Precision” is of the round, with a 95 % interval (Wilson). “Found” counts distinct umbrellas, by hashes or by a verdict; “new”, those that nothing had found before: the others are further copies.",
        "Seeds: photos whose bytes a list knows, and those that a verdict confirmed. What matches by PDQ alone is handed over, and is no seed.",
    ]
