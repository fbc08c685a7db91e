"""The whole loop by the command line, small: hashes, neighbours, verdicts, a probe, further passes. ``bench/funnel_bench.py`` measures it; this is its logic.

One test, because one funnel is gone through: each rule is a function, named by what it says.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "bench"))

from funnel_loop import Funnel, Suspect, begin
from funnel_world import Gallery, Photo, Sizes, World, gallery, list_of, serving, written

SIZES = Sizes(side=128, known=60, lookalikes=18, everyday=150)
BUDGET = 56
ROUNDS = 3
TOP = 100


def test_the_loop_finds_what_hashes_miss_and_keeps_its_promises(tmp_path: Path) -> None:
    made = gallery(SIZES, tmp_path / "gallery", 2)
    with serving(made) as server:
        world = written(SIZES, made, server.site.base_url, tmp_path / "dataset")
        funnel = begin(tmp_path / "site", world, list_of(world.listed, made, tmp_path / "known.csv"), 2)
    the_dataset_says_nothing_of_what_it_shows(world)
    hash_matching_alone_finds_listed_photos_with_a_live_link_and_nothing_else(funnel)
    for number in range(ROUNDS):  # the web is gone: what is near is told by vectors alone
        funnel.round(BUDGET, top=TOP, least=0 if number else None, workers=1)
    every_round_finds_what_nothing_found_before(funnel)
    more_is_confirmed_than_by_judging_at_random(funnel)
    nothing_is_handed_over_twice_and_no_more_than_is_wanted(funnel)
    all_rows_of_a_suspect_show_one_photo(funnel)
    verdicts_reach_the_rows_that_they_are_on(funnel, made)
    probes_are_taught_from_all_that_was_judged_but_a_fifth(funnel)
    what_waits_for_a_verdict_takes_its_part_of_the_budget(funnel)


def live(world: World) -> set[Photo]:
    return {row.photo for row in world.rows if not row.dead}


def handed(funnel: Funnel) -> list[Suspect]:
    return [suspect for done in funnel.rounds for suspect in done.suspects]


def the_dataset_says_nothing_of_what_it_shows(world: World) -> None:
    text = b"".join(path.read_bytes() for path in world.metadata.iterdir()).lower()
    assert world.rows[0].url.encode() in text
    assert not any(row.photo.kind.encode() in text for row in world.rows)


def hash_matching_alone_finds_listed_photos_with_a_live_link_and_nothing_else(funnel: Funnel) -> None:
    world = funnel.world
    as_listed = {row.photo for row in world.rows if not row.dead and not row.file.copy} & world.listed
    assert as_listed <= funnel.by_hashes <= world.listed & live(world)
    assert world.listed - live(world), "some listed photos must be out of its reach"


def every_round_finds_what_nothing_found_before(funnel: Funnel) -> None:
    found = set(funnel.by_hashes)
    for done in funnel.rounds:
        assert done.confirmed - found
        found |= done.confirmed
    assert found - funnel.world.listed
    assert found - live(funnel.world), "vectors reach what is no longer there"


def more_is_confirmed_than_by_judging_at_random(funnel: Funnel) -> None:
    judged, world = handed(funnel), funnel.world
    left = {row.photo for row in world.rows} - funnel.by_hashes
    chance = len(judged) * len(world.known - funnel.by_hashes) / len(left)
    assert sum(suspect.photo.known_kind for suspect in judged) > chance


def nothing_is_handed_over_twice_and_no_more_than_is_wanted(funnel: Funnel) -> None:
    names = [suspect.name for suspect in handed(funnel)]
    assert len(set(names)) == len(names)
    for done in funnel.rounds:  # further rows of photos that are confirmed by now come beside the budget
        new = [
            each for each in done.suspects if all(f.suspicion is not None and f.suspicion.rank for f in each.findings)
        ]
        assert 0 < len(new) <= BUDGET
    assert funnel.authority.twice == []
    by_hashes = {finding.id for finding in funnel.authority.opened(funnel.run)}
    assert not by_hashes & funnel.authority.handed.keys(), "what hashes found is handed over already"


def all_rows_of_a_suspect_show_one_photo(funnel: Funnel) -> None:
    truth = funnel.world.truth
    shown = [[truth[each.url].photo for each in suspect.findings] for suspect in handed(funnel)]
    assert all(len(set(photos)) == 1 for photos in shown)
    assert any(len(photos) > 1 for photos in shown)


def verdicts_reach_the_rows_that_they_are_on(funnel: Funnel, made: Gallery) -> None:
    """Each confirmed photo is searched near, each rejected one kept away from, from the next scan on; none else."""
    world = funnel.world
    as_listed = {row.file for row in world.rows if not row.dead and not row.file.copy and row.photo in world.listed}
    confirmed, rejected = {made.vectors[file].tobytes() for file in as_listed}, set[bytes]()
    for done in funnel.rounds:
        assert (done.told["confirmed"], done.told["rejected"]) == (len(confirmed), len(rejected))
        for suspect in done.suspects:
            vectors = {made.vectors[world.truth[each.url].file].tobytes() for each in suspect.findings}
            (confirmed if suspect.photo.known_kind else rejected).update(vectors)


def probes_are_taught_from_all_that_was_judged_but_a_fifth(funnel: Funnel) -> None:
    assert [done.taught is not None for done in funnel.rounds] == [False, True, True]
    for done in funnel.rounds[1:]:
        assert done.taught is not None
        for kind, of in (("positives", "confirmed"), ("negatives", "rejected")):
            assert 0.5 * done.told[of] < done.taught[kind] < done.told[of]


def what_waits_for_a_verdict_takes_its_part_of_the_budget(funnel: Funnel) -> None:
    searches = [funnel.search(budget, top=TOP, least=0, workers=1)[1] for budget in (4, 7)]
    assert [len(suspects) for suspects in searches] == [4, 3]
    assert funnel.authority.twice == []
    funnel.authority.receive(sorted(funnel.run.glob("similar/*"))[0])
    assert funnel.authority.twice != [], "the check sees what comes twice"
