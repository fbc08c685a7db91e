"""What a tenant has found is held around, counted, remembered; and whoever asks around it too often is locked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.serving.service import (
    KEY,
    RADIUS_BITS,
    Hands,
    InMemory,
    asked,
    digest,
    entries,
    examiner,
    guard,
    judge_of,
    near,
    turned,
)

from custodes.crypto.keys import ListsKey
from custodes.errors import InputError
from custodes.examine import Examiner
from custodes.pdq import forms_of
from custodes.serving.defence import Guard, Memory, ask_unlock
from custodes.serving.messages import Ask, Code, Item, Verdict
from custodes.serving.rate import Rate

OK, HOLD, BUSY = Verdict
FAR = bytes(32)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Examiner:
    return examiner(tmp_path_factory.mktemp("lists"), entries(40))


def bits(count: int, first: int = 0) -> range:
    return range(first, first + count)


CASES = {
    "the match itself": (0, HOLD),
    "as far as another that matches the same entry can be": (62, HOLD),
    "at the edge of the ball": (RADIUS_BITS, HOLD),
    "one bit beyond it": (RADIUS_BITS + 1, OK),
}


@pytest.mark.parametrize(("far", "verdict"), CASES.values(), ids=CASES)
def test_around_an_earlier_match_everything_is_held(lists: Examiner, far: int, verdict: Verdict) -> None:
    judge = judge_of(lists, {"t": guard()})
    hit = turned(digest(3), *bits(31))
    assert asked(judge, "t", near(hit)) == [HOLD]
    assert asked(judge, "t", near(turned(hit, *bits(far, 31)))) == [verdict]


def test_without_an_earlier_match_the_same_pictures_are_ok(lists: Examiner) -> None:
    judge = judge_of(lists, {"t": guard()})
    assert asked(judge, "t", near(*[turned(digest(3), *bits(n)) for n in (32, 62, 95)])) == [OK] * 3


@pytest.mark.parametrize("form", range(8))
def test_a_turned_or_mirrored_picture_lies_around_the_match_too(lists: Examiner, form: int) -> None:
    rng = np.random.default_rng(form)
    whole = rng.integers(0, 256, (1, 128), dtype=np.uint8)
    forms = forms_of(whole)
    own = guard()
    own.hit({forms[0, form].tobytes(): whole[0, :32].tobytes()}, b"")
    assert own.inside(forms).tolist() == [0]
    assert own.inside(rng.integers(0, 256, (5, 8, 32), dtype=np.uint8)).tolist() == [-1] * 5


def test_many_codes_are_compared_with_many_matches_as_by_hand() -> None:
    rng = np.random.default_rng(5)
    centres = rng.integers(0, 256, (700, 32), dtype=np.uint8)
    forms = rng.integers(0, 256, (300, 8, 32), dtype=np.uint8)
    forms[::3, 2] = centres[:100]
    own = guard()
    own.hit({centre.tobytes(): centre.tobytes() for centre in centres}, b"")
    found = own.inside(forms)
    assert found[::3].tolist() == list(range(100))
    assert set(np.delete(found, np.s_[::3]).tolist()) == {-1}


def test_the_eighth_picture_around_a_match_locks_the_tenant_and_the_seventh_does_not(lists: Examiner) -> None:
    own = guard()
    judge = judge_of(lists, {"t": own})
    asked(judge, "t", near(digest(3)))
    for n in range(6):
        assert asked(judge, "t", near(turned(digest(3), n), turned(digest(3), n))) == [HOLD, HOLD]  # twice is once
    assert asked(judge, "t", near(FAR)) == [OK]
    asked(judge, "t", near(turned(digest(3), 40)))
    assert own.locked
    assert asked(judge, "t", [*near(FAR), Item(sha256=bytes(32))]) == [HOLD, HOLD]


def test_a_lock_holds_for_the_rest_of_the_request_that_brought_it(lists: Examiner) -> None:
    judge = judge_of(lists, {"t": guard()})
    around = [turned(digest(3), n) for n in range(8)]
    assert asked(judge, "t", near(FAR, *around, turned(FAR, 1))) == [HOLD] * 10


def test_a_match_of_a_request_holds_around_it_in_that_request_too(lists: Examiner) -> None:
    judge = judge_of(lists, {"t": guard()})
    outside = turned(digest(3), *bits(40))
    assert asked(judge, "t", near(outside, digest(3), outside, FAR)) == [HOLD, HOLD, HOLD, OK]


def test_an_animation_is_held_for_any_frame_around_a_match_and_its_matches_are_all_remembered(lists: Examiner) -> None:
    own = guard()
    judge = judge_of(lists, {"t": own})
    frames = Item(pdq=[Code(code, 100) for code in (FAR, digest(3), digest(4))])
    assert asked(judge, "t", [frames]) == [HOLD]
    assert len(own) == 2
    moved = Item(pdq=[Code(turned(FAR, *bits(100)), 100), Code(turned(digest(4), *bits(60)), 0)])
    assert asked(judge, "t", [moved, *near(FAR)]) == [HOLD, OK]


def test_what_one_tenant_found_changes_no_answer_of_another(lists: Examiner) -> None:
    judge = judge_of(lists, {"t": guard(), "u": guard()})
    edge = turned(digest(3), *bits(32))
    asked(judge, "t", near(*[turned(digest(3), n) for n in range(9)]))
    both = judge.verdicts([Ask("t", near(edge)), Ask("u", near(edge)), Ask("t", near(FAR))])
    assert list(both) == [HOLD, OK, HOLD]


def test_matches_have_a_budget_for_each_day_and_the_same_match_again_costs_nothing(lists: Examiner) -> None:
    hands = Hands()
    judge = judge_of(lists, {"t": guard(hands=hands, hits_per_day=3)})
    exact = [Item(md5=digest(1)[:16])]
    for items in (exact, exact, near(digest(3)), near(turned(digest(3), 1)), exact):
        assert asked(judge, "t", items) == [HOLD]
    assert asked(judge, "t", near(FAR)) == [OK]
    assert asked(judge, "t", near(digest(4))) == [HOLD]
    assert asked(judge, "t", near(FAR)) == asked(judge, "t", near(digest(5))) == [BUSY]
    hands.wall += 86_400
    assert asked(judge, "t", near(FAR, digest(5))) == [OK, HOLD]


def test_a_request_with_more_matches_than_the_day_has_left_tells_no_more_of_them(lists: Examiner) -> None:
    judge = judge_of(lists, {"t": guard(hits_per_day=2)})
    verdicts = asked(judge, "t", near(FAR, *[digest(n) for n in range(10)], turned(FAR, 1)))
    assert verdicts == [BUSY, HOLD, HOLD, *[BUSY] * 9]


def test_all_tenants_together_have_a_budget_too(lists: Examiner) -> None:
    judge = judge_of(lists, {"t": guard(), "u": guard()}, hits_per_day=2)
    assert asked(judge, "t", near(digest(1), digest(2))) == [HOLD, HOLD]
    assert asked(judge, "u", near(FAR)) == [BUSY]


def test_a_tenant_that_found_more_than_is_remembered_is_locked_and_nothing_is_forgotten(lists: Examiner) -> None:
    own = guard(hits_kept=2)
    judge = judge_of(lists, {"t": own})
    asked(judge, "t", near(digest(1)))
    asked(judge, "t", [Item(md5=digest(2)[:16])])
    assert not own.locked
    asked(judge, "t", near(digest(3)))
    assert own.locked
    assert len(own) == 2


RATES = {"at the limit": (60, True), "one over": (61, False), "none": (0, True)}


@pytest.mark.parametrize(("count", "taken"), RATES.values(), ids=RATES)
def test_a_minute_has_so_many_items(count: int, taken: bool) -> None:
    assert Rate(60, lambda: 0.0).take(count) is taken


def test_what_is_refused_for_its_rate_is_not_compared_and_time_gives_room_again(lists: Examiner) -> None:
    hands = Hands()
    own = guard(hands=hands, requests_per_minute=60)
    judge = judge_of(lists, {"t": own})
    assert asked(judge, "t", near(*[FAR] * 60)) == [OK] * 60
    assert asked(judge, "t", near(digest(3))) == [BUSY]
    assert len(own) == 0
    hands.steady += 1
    assert asked(judge, "t", near(digest(3))) == [HOLD]


# -- what is remembered


def remembered(folder: Path, key: ListsKey = KEY) -> Memory:
    return Memory(folder, "t", key)


def test_matches_probes_and_locks_survive_a_restart(lists: Examiner, tmp_path: Path) -> None:
    for n in range(8):
        judge = judge_of(lists, {"t": guard(memory=remembered(tmp_path))})
        assert asked(judge, "t", near(turned(digest(3), *bits(n + 10)))) == [HOLD]
        edge = [HOLD] if n == 7 else [OK]
        assert asked(judge, "t", near(FAR)) == edge
    assert guard(memory=remembered(tmp_path)).locked


def test_a_match_is_on_disk_before_it_is_answered(lists: Examiner, tmp_path: Path) -> None:
    class Full(InMemory):
        def save(self, state: object) -> None:
            raise InputError("the disk is full")

    judge = judge_of(lists, {"t": guard(memory=Full())})
    assert asked(judge, "t", near(FAR)) == [OK]  # nothing to remember
    with pytest.raises(InputError):
        asked(judge, "t", near(digest(3)))


def test_the_file_shows_no_code_and_opens_for_its_key_and_tenant_alone(lists: Examiner, tmp_path: Path) -> None:
    asked(judge_of(lists, {"t": guard(memory=remembered(tmp_path))}), "t", near(digest(3)))
    (file,) = tmp_path.iterdir()
    held = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    assert digest(3)[:8] not in held
    assert digest(3).hex().encode()[:8] not in held
    (tmp_path / "u.hits").write_bytes(held)
    with pytest.raises(InputError):
        Memory(tmp_path, "u", KEY).load()
    with pytest.raises(InputError):
        remembered(tmp_path, ListsKey(bytes(32))).load()


@pytest.mark.parametrize("damage", ["cut", "altered", "empty"])
def test_a_damaged_file_is_an_error_and_never_no_matches(lists: Examiner, tmp_path: Path, damage: str) -> None:
    asked(judge_of(lists, {"t": guard(memory=remembered(tmp_path))}), "t", near(digest(3)))
    file = tmp_path / "t.hits"
    held = bytearray(file.read_bytes())
    held[-1] ^= 1
    file.write_bytes({"cut": held[:-5], "altered": held, "empty": b""}[damage])
    with pytest.raises(InputError, match=r"t\.hits cannot be read"):
        guard(memory=remembered(tmp_path))


def test_the_operator_unlocks_once_and_an_order_from_before_the_lock_does_not_count(
    lists: Examiner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_unlock(tmp_path, "t")
    own = guard(memory=remembered(tmp_path), probes_per_hit=3)
    judge = judge_of(lists, {"t": own})
    around = near(*[turned(digest(3), n) for n in range(3)])
    assert asked(judge, "t", around) == [HOLD] * 3
    assert asked(judge, "t", near(FAR)) == [HOLD]
    ask_unlock(tmp_path, "t")
    assert asked(judge, "t", near(FAR)) == [OK]
    assert asked(judge, "t", near(turned(digest(3), 50))) == [HOLD]
    assert not own.locked
    assert asked(judge, "t", near(turned(digest(3), 51))) == [HOLD]
    assert own.locked
    said = capsys.readouterr().err
    assert "tenant t is locked after 3 different pictures around one match" in said
    assert digest(3).hex()[8:] not in said


def test_nothing_prints_what_a_tenant_found() -> None:
    memory = InMemory()
    own = guard(memory=memory)
    own.hit({digest(3): digest(3)}, b"")
    assert digest(3).hex() not in repr(own) + repr(memory.saved) + repr(memory.saved.hits)
    assert "\\x" not in repr(own) + repr(memory.saved) + repr(memory.saved.hits)
    assert isinstance(own, Guard)
