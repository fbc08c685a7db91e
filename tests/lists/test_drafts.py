"""Entries that come in any number and any mixture of kinds end as the columns that a plain loop makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from custodes.errors import ListError
from custodes.lists.container import ROLES, Contents, Drafts, collect
from custodes.model import Entry, Kind, Role

KINDS = (Kind.MD5, Kind.PDQ, Kind.SHA1, Kind.PHOTODNA)


def entry(number: int, own_id: str = "") -> Entry:
    kind = KINDS[number % 7 % 4]
    value = hashlib.shake_256(b"entry %d" % number).digest(kind.size_bytes)
    return Entry(kind, value, own_id, f"category {number % 3}", "unreviewed" * (number % 2), ROLES[number % 3])


def held(contents: Contents) -> Iterator[tuple[object, ...]]:
    for kind, columns in contents.kinds.items():
        for row in range(len(columns)):
            texts = contents.categories[columns.categories[row]], contents.assurances[columns.assurances[row]]
            own_id, role = contents.entry_id(int(columns.ids[row])), ROLES[columns.roles[row]]
            yield Entry(kind, columns.codes[row].tobytes(), own_id, *texts, role), own_id


def plainly(entries: list[Entry]) -> list[tuple[Entry, str]]:
    """The same, one by one: of equal entries the first, and a name for what has none."""
    first: dict[tuple[object, ...], tuple[Entry, str]] = {}
    for place, each in enumerate(entries, 1):
        own_id = each.id or f"row-{place}"
        named = Entry(each.kind, each.value, own_id, each.category, each.assurance, each.role)
        first.setdefault((each.kind, each.value, each.id, each.category, each.assurance, each.role), (named, own_id))
    return [pair for kind in Kind for pair in first.values() if pair[0].kind is kind]


@pytest.mark.parametrize("count", [1, 2, 4095, 4096, 4097, 9000])
@pytest.mark.parametrize("named", ["none", "all", "some", "as rows"])
def test_the_columns_are_those_of_a_plain_loop(count: int, named: str) -> None:
    ids = {"none": "", "all": "entry-{}", "some": "entry-{}", "as rows": "row-{}"}
    entries = [
        entry(number % 5000, "" if named == "some" and number % 2 else ids[named].format(number % 600))
        for number in range(count)
    ]
    contents, given = collect(entries)
    assert given == count
    assert list(held(contents)) == plainly(entries)


def test_a_file_may_have_ids_that_look_like_places() -> None:
    contents, _ = collect([entry(1, "row-2"), entry(2), entry(3), entry(4)])
    assert sorted(str(own_id) for _, own_id in held(contents)) == ["row-2", "row-2", "row-3", "row-4"]
    assert len(contents.id_offsets) - 1 == 4  # "" is one of them; row-2 stands once


def test_entries_that_share_only_their_first_bytes_are_all_kept() -> None:
    heads = [bytes(8) + bytes([last]) * 8 for last in (1, 2, 1, 3)]
    contents, _ = collect([Entry(Kind.MD5, value, "one") for value in heads])
    assert contents.kinds[Kind.MD5].codes[:, -1].tolist() == [1, 2, 3]


@pytest.mark.parametrize("lengths", [(15,), (17,), (16, 15, 17), (0,)])
def test_a_value_of_the_wrong_length_is_refused_even_where_others_make_up_for_it(lengths: tuple[int, ...]) -> None:
    with pytest.raises(ListError, match="not 16"):
        collect([Entry(Kind.MD5, bytes(length), "") for length in lengths])


def test_a_place_past_the_limit_is_refused() -> None:
    for place, refused in ((2**32 - 1, False), (2**32, True)):
        drafts = Drafts()
        drafts.add(Entry(Kind.MD5, bytes(16), "one", role=Role.SEED), "one", place)
        if refused:
            with pytest.raises(ListError, match="at most"):
                drafts.finished()
        else:
            assert len(drafts.finished()) == 1
