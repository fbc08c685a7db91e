"""A proof in a file: written one way, read strictly, and worth what its checkpoint is worth."""

from __future__ import annotations

import base64

import pytest

from custodes.errors import InputError
from custodes.transparency.entries import (
    CardEntry,
    CustodyEntry,
    Entry,
    KeyEntry,
    ListEntry,
    card_entry,
    entry_bytes,
    read_entry,
)
from custodes.transparency.merkle import leaf_hash
from custodes.transparency.notes import hash_text
from custodes.transparency.proof import PROOF_BYTES_MAX, Proof
from tests.transparency.worlds import TRUST, naive_inclusion, note_of, numbered, tree_of

ROWS = numbered(0, 9)


def proof_of(index: int, rows: list[bytes] = ROWS, extra: bytes = b"") -> Proof:
    return Proof(
        index, tuple(naive_inclusion(index, [leaf_hash(each) for each in rows])), note_of(tree_of(rows)), extra
    )


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("extra", [b"", b"x", bytes(range(256))], ids=len)
def test_a_proof_is_read_as_it_is_written(size: int, extra: bytes) -> None:
    rows = numbered(0, size)
    for index in range(size):
        data = bytes(proof_of(index, rows, extra))
        found = Proof.parse(data)
        assert (bytes(found), found.extra) == (data, extra)
        assert found.verify(rows[index], TRUST).checkpoint.tree == tree_of(rows)
        for other in range(size):
            if other != index:
                with pytest.raises(InputError):
                    found.verify(rows[other], TRUST)


def test_a_proof_looks_as_the_specification_says() -> None:
    lines = bytes(proof_of(8, extra=b"hello")).decode().split("\n")
    siblings = naive_inclusion(8, [leaf_hash(each) for each in ROWS])
    assert lines[:3] == ["c2sp.org/tlog-proof@v1", f"extra {base64.b64encode(b'hello').decode()}", "index 8"]
    assert lines[3:5] == [hash_text(siblings[0]), ""]
    assert lines[5:7] == ["log.example/1", "9"]


GOOD = bytes(proof_of(3))
HASH = GOOD.split(b"\n")[2]
CHANGED = {
    "empty": b"",
    "another first line": GOOD.replace(b"@v1", b"@v2", 1),
    "no first line": GOOD.partition(b"\n")[2],
    "no index": GOOD.replace(b"index 3\n", b"", 1),
    "a leading zero": GOOD.replace(b"index 3", b"index 03", 1),
    "a sign": GOOD.replace(b"index 3", b"index +3", 1),
    "past all numbers": GOOD.replace(b"index 3", b"index %d" % 2**63, 1),
    "two spaces": GOOD.replace(b"index 3", b"index  3", 1),
    "two indices": GOOD.replace(b"index 3\n", b"index 3\nindex 3\n", 1),
    "extra after the index": GOOD.replace(b"index 3\n", b"index 3\nextra eA==\n", 1),
    "empty extra": GOOD.replace(b"index 3", b"extra \nindex 3", 1),
    "extra twice": GOOD.replace(b"index 3", b"extra eA==\nextra eA==\nindex 3", 1),
    "extra that is no base64": GOOD.replace(b"index 3", b"extra !\nindex 3", 1),
    "extra with bits too many": GOOD.replace(b"index 3", b"extra eB==\nindex 3", 1),
    "a short hash": GOOD.replace(HASH, HASH[:-4], 1),
    "carriage returns": GOOD.replace(b"\n", b"\r\n"),
    "no checkpoint": GOOD.partition(b"\n\n")[0] + b"\n\n",
    "no empty line": GOOD.replace(b"\n\n", b"\n", 1),
    "an empty line more": GOOD.replace(b"\n\n", b"\n\n\n", 1),
    "64 hashes": GOOD.replace(HASH, b"\n".join([HASH] * 64), 1),
    "cut": GOOD[:-1],
    "too long": GOOD.replace(b"index 3", b"extra " + b"AAAA" * (PROOF_BYTES_MAX // 4) + b"\nindex 3", 1),
    "not ASCII": GOOD.replace(b"index", "índex".encode(), 1),
}


@pytest.mark.parametrize("rule", CHANGED)
def test_what_is_no_proof(rule: str) -> None:
    with pytest.raises(InputError):
        Proof.parse(CHANGED[rule])


SHAPES = {
    "a hash less": GOOD.replace(HASH + b"\n", b"", 1),
    "a hash more": GOOD.replace(HASH, HASH + b"\n" + HASH, 1),
    "another index": GOOD.replace(b"index 3", b"index 2", 1),
    "an index past the end": GOOD.replace(b"index 3", b"index 9", 1),
    "another order": b"\n".join([*GOOD.split(b"\n")[:2], *GOOD.split(b"\n")[3:1:-1], *GOOD.split(b"\n")[4:]]),
}


@pytest.mark.parametrize("rule", SHAPES)
def test_a_proof_of_another_shape_proves_nothing(rule: str) -> None:
    with pytest.raises(InputError):
        Proof.parse(SHAPES[rule]).verify(ROWS[3], TRUST)


# Entries

ENTRIES: list[Entry] = [
    CardEntry(sha256="0" * 64),
    CustodyEntry(seq=1, hash="f" * 64),
    CustodyEntry(seq=2**53 - 1, hash="f" * 64),
    ListEntry(id="ncmec", holder="", version="3-" + "a" * 64),
    KeyEntry(sha256="1" * 64),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_is_read_as_it_is_written_and_short(entry: Entry) -> None:
    data = entry_bytes(entry)
    assert read_entry(data) == entry
    assert len(data) < 250


def test_entries_stand_in_the_log_as_the_format_says() -> None:
    digest = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    assert entry_bytes(card_entry(b"foo")) == b'{"sha256":"%s","type":"custodes-card-1"}' % digest.encode()
    listed = entry_bytes(ListEntry(id="a", holder="b", version="c"))
    assert listed == b'{"holder":"b","id":"a","type":"custodes-list-1","version":"c"}'


CARD = entry_bytes(ENTRIES[0])
NO_ENTRIES = {
    "empty": b"",
    "no type": b'{"sha256":"%s"}' % (b"0" * 64),
    "an unknown type": CARD.replace(b"card-1", b"card-2"),
    "a field more": CARD.replace(b"{", b'{"a":1,'),
    "a space": CARD.replace(b":", b": "),
    "another order": b'{"type":"custodes-card-1","sha256":"%s"}' % (b"0" * 64),
    "a field twice": CARD.replace(b'"type"', b'"sha256":"%s","type"' % (b"0" * 64)),
    "an escape": CARD.replace(b"card", b"c\\u0061rd"),
    "upper case": CARD.replace(b'"000', b'"00A'),
    "a short digest": CARD.replace(b"0", b"", 1),
    "a line feed": CARD + b"\n",
    "cut": CARD[:-1],
    "a negative number": entry_bytes(ENTRIES[1]).replace(b":1,", b":-1,"),
    "a record without a line": entry_bytes(ENTRIES[1]).replace(b":1,", b":0,"),
    "a number too large": entry_bytes(ENTRIES[2]).replace(b"991,", b"992,"),
    "a list without a name": entry_bytes(ENTRIES[3]).replace(b"ncmec", b""),
}


def test_an_entry_that_could_not_be_read_is_not_written() -> None:
    for wrong in (
        CustodyEntry(seq=0, hash="0" * 64),
        CustodyEntry(seq=1, hash=""),
        ListEntry(id="", holder="", version="1"),
    ):
        with pytest.raises(InputError):
            entry_bytes(wrong)


@pytest.mark.parametrize("rule", NO_ENTRIES)
def test_what_is_no_entry(rule: str) -> None:
    assert NO_ENTRIES[rule] not in map(entry_bytes, ENTRIES)
    with pytest.raises(InputError):
        read_entry(NO_ENTRIES[rule])
