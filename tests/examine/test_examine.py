"""One image or many: the same digests give the same decisions, and only matched items are told."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pytest

from custodes.errors import ConfigError, InternalError, ListError
from custodes.examine import Evidence, Examiner
from custodes.lists.container import collect
from custodes.lists.matcher import Matcher
from custodes.lists.store import LoadedList, LoadedLists
from custodes.model import Action, Digests, Entry, Kind, Pdq, Role
from custodes.policy import Policy

Uint8s = npt.NDArray[np.uint8]


def digests(name: str, *, quality: int = 100, frames: int = 1) -> Digests:
    data = name.encode()
    pdq = tuple(Pdq(hashlib.sha256(f"{name} {n}".encode()).digest(), quality, n) for n in range(frames))
    return Digests(hashlib.md5(data).digest(), hashlib.sha1(data).digest(), hashlib.sha256(data).digest(), pdq)


def only_itself(codes: Uint8s) -> Uint8s:
    return np.repeat(codes[:, None, :32], 8, axis=1)


def examiner(*entries: Entry) -> Examiner:
    loaded = LoadedLists((LoadedList("demo", "1-demo", collect(entries)[0]),))
    return Examiner(Matcher(loaded, forms=only_itself))


def flipped(code: bytes, bits: int) -> bytes:
    return (int.from_bytes(code, "big") ^ ((1 << bits) - 1)).to_bytes(32, "big")


UMBRELLA, GARDEN, BRIDGE = digests("umbrella"), digests("garden"), digests("bridge")


def test_listed_items_are_told_and_others_are_absent() -> None:
    it = examiner(Entry(Kind.SHA1, GARDEN.sha1, "g"), Entry(Kind.PDQ, flipped(BRIDGE.pdq[0].code, 9), "b"))
    decisions = it.judge(Evidence.from_digests([(10, UMBRELLA), (20, GARDEN), (-3, BRIDGE)]))
    assert {item: (d.action, d.rule) for item, d in decisions.items()} == {
        -3: (Action.REPORT, "near-confirmed"),
        20: (Action.REPORT, "exact-confirmed"),
    }
    (signal,) = decisions[-3].signals
    assert (signal.entry_id, signal.kind, signal.distance) == ("b", Kind.PDQ, 9)


def test_all_signals_of_an_item_are_decided_on_together() -> None:
    it = examiner(
        Entry(Kind.PDQ, GARDEN.pdq[0].code, "1"),
        Entry(Kind.MD5, GARDEN.md5, "2", role=Role.NEGATIVE),
        Entry(Kind.SHA1, UMBRELLA.sha1, "3"),
    )
    (decision,) = it.judge(Evidence.from_digests([(0, GARDEN)])).values()
    assert (decision.action, decision.rule, len(decision.signals)) == (Action.NONE, "negative", 2)


def test_the_nearest_of_the_frames_speaks_for_an_entry() -> None:
    many = digests("animation", frames=3)
    close = flipped(many.pdq[2].code, 4)
    frames = (*many.pdq, Pdq(flipped(close, 20), 100, 3), Pdq(flipped(close, 2), 100, 4))
    moving = Digests(many.md5, many.sha1, many.sha256, frames)
    (decision,) = examiner(Entry(Kind.PDQ, close, "e")).judge(Evidence.from_digests([(7, moving)])).values()
    assert [signal.distance for signal in decision.signals] == [2]


def test_frames_of_low_quality_are_not_compared() -> None:
    it = examiner(Entry(Kind.PDQ, digests("plain").pdq[0].code, "e"))
    assert it.judge(Evidence.from_digests([(0, digests("plain", quality=49))])) == {}
    assert it.judge(Evidence.from_digests([(0, digests("plain", quality=50))])).keys() == {0}


def test_one_by_one_and_all_together_give_the_same() -> None:
    rng = np.random.default_rng(1)
    all_ = [
        (n, digests(f"picture {n}", quality=int(rng.integers(30, 101)), frames=int(rng.integers(0, 3))))
        for n in range(300)
    ]
    entries = [Entry(Kind.MD5, each.md5, str(n)) for n, each in all_[::7]]
    entries += [Entry(Kind.PDQ, flipped(each.pdq[-1].code, n % 40), str(n)) for n, each in all_[::5] if each.pdq]
    entries += [Entry(Kind.SHA256, each.sha256, str(n), role=Role.NEGATIVE) for n, each in all_[::11]]
    it = examiner(*entries)
    single = {item: decision for pair in all_ for item, decision in it.judge(Evidence.from_digests([pair])).items()}
    together = it.judge(Evidence.from_digests(all_))
    assert together == single
    assert 40 < len(together) < 200


def test_columns_of_a_dataset_are_judged_without_any_image() -> None:
    it = examiner(Entry(Kind.MD5, GARDEN.md5, "g"), Entry(Kind.URL_RAW_SHA1, UMBRELLA.sha1, "u"))
    md5 = np.frombuffer(UMBRELLA.md5 + GARDEN.md5, np.uint8).reshape(2, 16)
    url = np.frombuffer(UMBRELLA.sha1, np.uint8).reshape(1, 20)
    decisions = it.judge(Evidence({Kind.MD5: (np.array([4, 9]), md5), Kind.URL_RAW_SHA1: (np.array([2]), url)}))
    assert {item: [signal.kind for signal in decision.signals] for item, decision in decisions.items()} == {
        2: [Kind.URL_RAW_SHA1],
        9: [Kind.MD5],
    }
    assert it.kinds == (Kind.MD5, Kind.URL_RAW_SHA1)


def test_no_evidence_and_undecodable_items_give_no_decision() -> None:
    it = examiner(Entry(Kind.PDQ, GARDEN.pdq[0].code, "g"))
    assert it.judge(Evidence({})) == {}
    assert it.judge(Evidence.from_digests([])) == {}
    assert it.judge(Evidence.from_digests([(1, digests("broken", frames=0))])) == {}


def test_evidence_of_the_wrong_shape_is_refused() -> None:
    two, md5 = np.arange(2), np.zeros((2, 16), np.uint8)
    pdq = np.zeros((2, 32), np.uint8)
    wrong = [{Kind.SHA1: (two, md5)}, {Kind.MD5: (np.arange(3), md5)}, {Kind.MD5: (two, md5, two)}]
    wrong += [{Kind.PDQ: (two, pdq)}, {Kind.PDQ: (two, pdq, np.arange(3))}]
    for columns in wrong:
        with pytest.raises(InternalError, match="wrong shape"):
            Evidence(columns)  # type: ignore[arg-type]


def test_without_lists_or_without_a_policy_nothing_starts() -> None:
    with pytest.raises(ListError):
        Matcher(LoadedLists(()))
    with pytest.raises(ConfigError):
        Policy(rules=())


def test_nothing_prints_a_digest() -> None:
    evidence = Evidence.from_digests([(0, GARDEN)])
    (decision,) = examiner(Entry(Kind.MD5, GARDEN.md5, "secret-id")).judge(evidence).values()
    for shown in (repr(evidence), repr(decision)):
        assert "secret-id" not in shown
        assert "array" not in shown
        assert repr(GARDEN.md5)[2:10] not in shown
