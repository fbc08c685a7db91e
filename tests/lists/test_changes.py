"""Records come in any order and more than once: of each id the last word counts, and a withdrawal leaves nothing."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.errors import InternalError
from custodes.lists.changes import NOTHING, gather, merge
from custodes.lists.container import ROLES, Contents, ListHeader, Provenance, collect, decode, encode
from custodes.lists.records import Record
from custodes.model import Entry, Kind, Role


def entry(own: str, number: int, kind: Kind = Kind.MD5, category: str = "A1") -> Entry:
    value = hashlib.shake_256(f"pattern {number}".encode()).digest(kind.size_bytes)
    return Entry(kind, value, own, category, "", Role.CONFIRMED)


def record(own: str, *numbers: int, at: int = 0, category: str = "A1") -> Record:
    return Record(own, tuple(entry(own, number, category=category) for number in numbers), at)


def entries_of(contents: Contents) -> set[Entry]:
    return {
        Entry(
            kind,
            columns.codes[row].tobytes(),
            contents.entry_id(int(columns.ids[row])),
            contents.categories[columns.categories[row]],
            contents.assurances[columns.assurances[row]],
            ROLES[columns.roles[row]],
        )
        for kind, columns in contents.kinds.items()
        for row in range(len(columns))
    }


def ids_at_rest(contents: Contents) -> list[str]:
    return [contents.entry_id(number) for number in range(len(contents.id_offsets) - 1)]


def last_words(records: list[Record]) -> dict[str, Record]:
    """The rule, said slowly."""
    found: dict[str, Record] = {}
    for each in records:
        held = found.get(each.id)
        rank = (each.modified, not each.entries)
        if held is None or rank >= (held.modified, not held.entries):
            found[each.id] = each
    return found


CASES: dict[str, tuple[list[Record], set[Entry]]] = {
    "a later record replaces an earlier one": ([record("a", 1, at=1), record("a", 2, at=2)], {entry("a", 2)}),
    "whatever the order they come in": ([record("a", 2, at=2), record("a", 1, at=1)], {entry("a", 2)}),
    "a withdrawal takes all entries": ([record("a", 1, 2, at=1), Record("a", (), 2), record("b", 3)], {entry("b", 3)}),
    "an older withdrawal takes none": ([Record("a", (), 1), record("a", 1, at=2)], {entry("a", 1)}),
    "of equals the withdrawal counts": ([Record("a", (), 5), record("a", 1, at=5)], set()),
    "of equals the one that came last": ([record("a", 1, at=5), record("a", 2, at=5)], {entry("a", 2)}),
    "twice is once": ([record("a", 1, at=5)] * 2, {entry("a", 1)}),
    "one hash under two ids is two entries": ([record("a", 1), record("b", 1)], {entry("a", 1), entry("b", 1)}),
    "of nothing comes nothing": ([], set()),
}


@pytest.mark.parametrize(("records", "expected"), CASES.values(), ids=CASES)
def test_the_last_word_counts(records: list[Record], expected: set[Entry]) -> None:
    changes = gather(records)
    assert entries_of(changes.contents) == expected
    assert changes.records == len(records)
    assert entries_of(merge(NOTHING, changes, whole=False).contents) == expected


def test_a_merge_says_what_came_changed_and_went_and_keeps_no_text_of_what_went() -> None:
    old = collect([entry("stays", 1), entry("changes", 2), entry("goes", 3), entry("goes", 4, Kind.PDQ)])[0]
    changes = gather([record("changes", 5), Record("goes"), record("comes", 6, category="B2"), Record("unheard")])
    merged = merge(old, changes, whole=False)
    assert (merged.added, merged.changed, merged.withdrawn) == (1, 1, 1)
    assert entries_of(merged.contents) == {entry("stays", 1), entry("changes", 5), entry("comes", 6, category="B2")}
    assert sorted(ids_at_rest(merged.contents)) == ["changes", "comes", "stays"]
    assert Kind.PDQ not in merged.contents.kinds or not len(merged.contents.kinds[Kind.PDQ])


def test_of_a_whole_list_what_it_does_not_name_is_withdrawn() -> None:
    old = collect([entry("stays", 1), entry("goes", 2), entry("goes too", 3)])[0]
    merged = merge(old, gather([record("stays", 1)]), whole=True)
    assert (merged.added, merged.changed, merged.withdrawn) == (0, 0, 2)
    assert entries_of(merged.contents) == {entry("stays", 1)}


def test_what_is_said_again_is_no_change() -> None:
    old = collect([entry("a", 1), entry("a", 2), entry("b", 3)])[0]
    for again, changed in (([1, 2], 0), ([2, 1], 0), ([1, 2, 2], 0), ([1], 1), ([1, 3], 1)):
        merged = merge(old, gather([record("a", *again)]), whole=False)
        assert (merged.added, merged.changed, merged.withdrawn) == (0, changed, 0)
    assert merge(old, gather([record("b", 3, category="B2")]), whole=False).changed == 1


def test_a_record_without_an_id_is_a_bug() -> None:
    with pytest.raises(InternalError):
        gather([Record("")])


records_ = st.lists(
    st.builds(
        lambda own, numbers, at, category: record(own, *numbers, at=at, category=category),
        st.sampled_from(["a", "b", "c", "é", "long id " * 5]),
        st.lists(st.integers(0, 4), max_size=3),
        st.integers(0, 3),
        st.sampled_from(["A1", "B2", ""]),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(records_, max_size=4))
def test_any_history_of_updates_ends_as_the_slow_rule_says(updates: list[list[Record]]) -> None:
    contents, truth = NOTHING, dict[str, Record]()
    for records in updates:
        contents = merge(contents, gather(records), whole=False).contents
        truth |= last_words(records)
        expected = {each for said in truth.values() for each in said.entries}
        assert entries_of(contents) == expected
        assert sorted(ids_at_rest(contents)) == sorted({each.id for each in expected})
        plain = b"".join(encode(ListHeader(list="x", sequence=1, created="", provenance=Provenance()), contents))
        contents = decode(plain)[1]  # as it is when the next update comes
        assert all(not columns.codes.flags.writeable for columns in contents.kinds.values())
        assert contents.id_offsets.dtype == np.uint64
