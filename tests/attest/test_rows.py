"""The commitment to each row: the tree is that of RFC 6962, entries tell nothing, a run commits once, and no change to a proof passes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.commitment.blocks import STRETCH_ROWS, Piece, Stretch, blocks_of, hashed
from custodes.commitment.proofs import (
    CardRows,
    RowProof,
    card_rows,
    chance_of_missing,
    check_proof,
    encode,
)
from custodes.commitment.runs import CommittedRows, commit_rows, committed_rows, row_of_file
from custodes.commitment.tree import (
    BLOCK_ROWS,
    block_hashes,
    entry_of,
    leaf_hashes,
    levels_of,
    outcome_of,
    outcomes_of,
    path_of,
    read_outcome,
    salts_of,
)
from custodes.crypto.keystream import keystream
from custodes.errors import InputError, StorageError
from custodes.ledger.rows import outcomes_table
from custodes.ledger.run import ShardCommit, shard_name
from custodes.model import Reason
from custodes.transparency.merkle import Tree, leaf_hash, verify_inclusion
from tests.attest.committed import accepted, changes, statement_with
from tests.stored import Earlier, commit_of, earlier, md5_of

KEY = bytes(range(32))


def plain_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\x01" + plain_root(leaves[:half]) + plain_root(leaves[half:])).digest()


def plain_path(leaves: list[bytes], index: int) -> list[bytes]:
    """RFC 6962 section 2.1.1, word for word."""
    if len(leaves) == 1:
        return []
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    if index < half:
        return [*plain_path(leaves[:half], index), plain_root(leaves[half:])]
    return [*plain_path(leaves[half:], index - half), plain_root(leaves[:half])]


def numbered(count: int) -> list[bytes]:
    return [sha256(b"%d" % number).digest() for number in range(count)]


# -- the tree


@given(st.integers(1, 1100), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_levels_and_blocks_are_the_tree_of_rfc_6962(count: int, random: Any) -> None:
    leaves = numbered(count)
    joined, index = b"".join(leaves), random.randrange(count)
    levels = levels_of(joined)
    assert levels[-1] == plain_root(leaves)
    assert path_of(levels, index) == plain_path(leaves, index)
    upper = levels_of(block_hashes(joined))
    assert upper[-1] == levels[-1]
    block, at = divmod(index, BLOCK_ROWS)
    inside = levels_of(joined[block * BLOCK_ROWS * 32 : (block + 1) * BLOCK_ROWS * 32])
    assert path_of(inside, at) + path_of(upper, block) == plain_path(leaves, index)


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 511, 512, 513])
def test_every_row_of_a_small_tree_is_proven_at_its_place_and_at_no_other(count: int) -> None:
    entries = numbered(count)
    levels = levels_of(b"".join(leaf_hash(entry) for entry in entries))
    tree = Tree(count, levels[-1])
    for index, entry in enumerate(entries):
        path = path_of(levels, index)
        verify_inclusion(leaf_hash(entry), index, path, tree)
        with pytest.raises(InputError):
            verify_inclusion(leaf_hash(entry), (index + 1) % count if count > 1 else 1, path, tree)


# -- what is committed to of a row


def table_of(rows: list[tuple[str, bytes | None, bytes | None]]) -> pa.Table:
    reasons, md5, digests = zip(*rows, strict=True)
    return pa.table(
        {
            "reason": pa.array(reasons).dictionary_encode(),
            "md5": pa.array(md5, pa.binary(16)),
            "sha256": pa.array(digests, pa.binary(32)),
        }
    )


def digests_of(row: int) -> tuple[bytes, bytes]:
    return hashlib.md5(b"%d" % row, usedforsecurity=False).digest(), sha256(b"%d" % row).digest()


@given(
    st.lists(st.tuples(st.sampled_from(list(Reason)), st.integers(0, 2)), min_size=1, max_size=40), st.integers(0, 5)
)
@settings(deadline=None, max_examples=60)
def test_whole_tables_give_what_single_rows_give(drawn: list[tuple[Reason, int]], skip: int) -> None:
    rows, plain = [], []
    for number, (reason, known) in enumerate(drawn):
        md5, digest = digests_of(number)
        rows.append((reason.value, md5 if known else None, digest if known == 2 else None))
        plain.append(outcome_of(reason, (b"", md5, digest)[known]))
    table = pa.concat_tables([table_of(rows[:skip]), table_of(rows[skip:])]) if 0 < skip < len(rows) else table_of(rows)
    outcomes = outcomes_of(table.slice(1) if len(rows) > 1 else table)
    assert [row.tobytes() for row in outcomes] == plain[1 if len(rows) > 1 else 0 :]
    assert [read_outcome(each) for each in plain] == [
        (reason, (b"", *digests_of(number))[known]) for number, (reason, known) in enumerate(drawn)
    ]


def test_every_reason_has_room() -> None:
    assert all(len(outcome_of(reason, bytes(32))) == 57 for reason in Reason)
    assert len({outcome_of(reason, b"") for reason in Reason}) == len(Reason)


def test_a_shard_without_digests_commits_to_its_reasons() -> None:
    table = outcomes_table(np.zeros(3, dtype=np.uint8))
    assert [row.tobytes() for row in outcomes_of(table)] == [outcome_of("full", b"")] * 3


def test_the_keystream_is_that_of_nist() -> None:
    """SP 800-38A, F.5.5: output blocks 1 and 2 of CTR-AES256."""
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    blocks = "0bdf7df1591716335e9a8b15c860c5025a6e699d536119065433863c8f657b94"
    assert keystream(key, 0xF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF, 2).hex() == blocks


def test_salts_are_had_from_any_row_on_and_no_two_are_alike() -> None:
    whole = salts_of(KEY, 0, 1000)
    assert len({whole[at : at + 32] for at in range(0, len(whole), 32)}) == 1000
    for first, rows in ((0, 1), (1, 1), (255, 2), (999, 1), (300, 700)):
        assert salts_of(KEY, first, rows) == whole[32 * first : 32 * (first + rows)]
    assert salts_of(KEY, 2**62, 1) != salts_of(KEY, 2**62 + 1, 1)
    assert salts_of(bytes(32), 0, 1) != whole[:32]


def test_equal_outcomes_have_entries_that_differ() -> None:
    outcomes = np.tile(np.frombuffer(outcome_of("dns", b""), np.uint8), (500, 1))
    leaves = leaf_hashes(salts_of(KEY, 0, 500), outcomes)
    assert len({leaves[at : at + 32] for at in range(0, len(leaves), 32)}) == 500


def guessed(entry: bytes, salt: bytes) -> str | None:
    """Try every outcome without a digest, as anyone can who holds a row's proof."""
    return next((reason for reason in Reason if entry_of(salt, outcome_of(reason, b"")) == entry), None)


def test_an_entry_does_not_tell_its_outcome_and_one_without_a_salt_does() -> None:
    told = [salts_of(KEY, row, 1) for row in range(0, 50, 2)]  # salts of other rows, as answers tell them
    for row in range(1, 50, 2):
        entry = entry_of(salts_of(KEY, row, 1), outcome_of("robots", b""))
        assert all(guessed(entry, salt) is None for salt in (b"", bytes(32), *told))
        assert guessed(entry_of(b"", outcome_of("robots", b"")), b"") == Reason.ROBOTS  # the planted fault: no salt


# -- a run


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    return earlier(tmp_path_factory.mktemp("rows"), 4, 333)


@pytest.fixture(scope="module")
def rows(past: Earlier) -> CommittedRows:
    return committed_rows(past.run, past.site.run_key(), commit_rows(past.run, past.site.run_key()).root)


@pytest.fixture(scope="module")
def card(past: Earlier, rows: CommittedRows) -> CardRows:
    return card_rows(statement_with(past, rows.committed))


def test_a_run_commits_to_the_plain_tree_over_its_rows(past: Earlier, rows: CommittedRows) -> None:
    named = rows.kept.shards_sha256.hex()
    key = past.site.run_key().derive(f"row commitments/{past.run.manifest.run_id}/{named}")
    entries = [entry_of(salts_of(key, row, 1), outcome_of("full", md5_of(row))) for row in range(4 * 333)]
    assert rows.committed.rows == 4 * 333
    assert rows.committed.root == plain_root([leaf_hash(entry) for entry in entries])


def test_a_run_commits_once_and_what_is_kept_is_locked(past: Earlier, rows: CommittedRows) -> None:
    assert commit_rows(past.run, past.site.run_key()) == rows.committed
    kept = list((past.run.path / "commitments").iterdir())
    assert len(kept) == 1
    assert rows.kept.blocks[:32] not in kept[0].read_bytes()


def test_every_hundredth_row_is_proven(rows: CommittedRows, card: CardRows) -> None:
    for row in (*range(0, 1332, 100), 255, 256, 332, 333, 1331):
        check_proof(card, rows.prove(card, row))


@pytest.mark.parametrize("row", [-1, 1332, 10**9])
def test_there_is_no_proof_of_a_row_that_is_not_there(rows: CommittedRows, card: CardRows, row: int) -> None:
    with pytest.raises(InputError, match="no row"):
        rows.prove(card, row)


def test_a_proof_tells_no_outcome(rows: CommittedRows, card: CardRows) -> None:
    proof = rows.prove(card, 7)
    assert guessed(bytes.fromhex(proof.entry), b"") is None
    assert md5_of(7).hex() not in encode(proof).decode()
    assert set(msgspec.to_builtins(proof)) == {"format", "card", "row", "entry", "hashes"}


def test_a_row_may_be_counted_in_its_file(past: Earlier, rows: CommittedRows) -> None:
    assert row_of_file(past.run, rows, 5, "002.parquet") == 2 * 333 + 5
    assert row_of_file(past.run, rows, 332, "dataset/003.parquet") == 1331
    for row, file in ((333, "002.parquet"), (0, "004.parquet"), (0, "2.parquet"), (0, "")):
        with pytest.raises(InputError):
            row_of_file(past.run, rows, row, file)


def again(past: Earlier, generation: int, reason: str) -> None:
    """Commit shard 0 once more, with another outcome in its first row."""
    spec = past.plan.shards[0]
    first = commit_of(past.site, past.run, spec, 0)
    reasons = [reason, *first.table["reason"].to_pylist()[1:]]
    kind = first.table.schema.field("reason").type
    table = first.table.set_column(0, "reason", pa.array(reasons).cast(kind))
    past.run.commit(msgspec.structs.replace(first, generation=generation, table=table))


def test_a_run_that_changed_commits_anew_with_other_salts_and_its_old_card_still_holds(tmp_path: Path) -> None:
    past = earlier(tmp_path, 2, 300)
    key = past.site.run_key()
    old = committed_rows(past.run, key, commit_rows(past.run, key).root)
    again(past, 1, "dns")
    new = committed_rows(past.run, key, commit_rows(past.run, key).root)
    assert new.committed != old.committed
    for row in (0, 1, 299, 300, 599):  # also of rows whose outcome is as it was
        assert new._open(row).salt != old._open(row).salt
    for rows, reason in ((old, Reason.FULL), (new, Reason.DNS)):
        card = card_rows(statement_with(past, rows.committed))
        check_proof(card, rows.prove(card, 0))
        assert read_outcome(rows._open(0).outcome)[0] is reason


def test_shard_files_that_are_not_those_of_then_prove_nothing(tmp_path: Path) -> None:
    past = earlier(tmp_path, 2, 300)
    key = past.site.run_key()
    rows = committed_rows(past.run, key, commit_rows(past.run, key).root)
    card = card_rows(statement_with(past, rows.committed))
    (past.run.path / shard_name(0, 0)).unlink()
    again(past, 0, "dns")  # under the old name
    with pytest.raises(StorageError, match="not what was committed to"):
        rows.prove(card, 10)
    check_proof(card, rows.prove(card, 599))


def test_a_run_that_is_not_finished_commits_to_nothing(tmp_path: Path) -> None:
    past = earlier(tmp_path, 2, 10)
    (past.run.path / shard_name(1, 0)).unlink()
    with pytest.raises(InputError, match="not finished: 1 of 2"):
        commit_rows(past.run, past.site.run_key())


def test_another_root_is_not_the_runs(past: Earlier) -> None:
    with pytest.raises(InputError, match="has not committed"):
        committed_rows(past.run, past.site.run_key(), bytes(32))


# -- several processes


def test_several_processes_hash_what_one_does(past: Earlier) -> None:
    run = past.run.store.at()
    given = [
        Stretch(KEY, run, number * BLOCK_ROWS, [Piece(0, 0, number, 200), Piece(0, 0, 0, 56)]) for number in range(10)
    ]
    given.append(Stretch(KEY, run, 10 * BLOCK_ROWS, [Piece(0, 0, 330, 3)]))
    assert list(hashed(given, 2)) == [blocks_of(stretch) for stretch in given]


def test_a_damaged_shard_file_stops_all_of_it(past: Earlier, tmp_path: Path) -> None:
    given = [Stretch(KEY, str(tmp_path), number * BLOCK_ROWS, [Piece(0, 0, 0, 1)]) for number in range(6)]
    with pytest.raises(StorageError, match="is gone"):
        list(hashed(given, 2))
    bad = tmp_path / shard_name(0, 0)
    bad.parent.mkdir(parents=True)
    bad.write_bytes(b"no parquet")
    with pytest.raises(StorageError, match="not a whole shard file"):
        list(hashed(given, 2))


def test_many_rows_are_cut_where_blocks_begin() -> None:
    assert STRETCH_ROWS % BLOCK_ROWS == 0


KILLED = """
import os, signal, sys
from pathlib import Path
from custodes.config import load_site
from custodes.ledger.disk import Disk
from custodes.ledger.run import RunDirectory
from custodes.ledger.store import Folder
from custodes.commitment.runs import commit_rows
class Dying(Disk):
    def link(self, aside, path):
        os.kill(os.getpid(), signal.SIGKILL)
key = load_site(sys.argv[1]).run_key()
commit_rows(RunDirectory.open(Folder(Path(sys.argv[2]), Dying()), key), key)
"""


def test_killed_before_the_tree_is_kept_it_is_made_again_the_same(tmp_path: Path) -> None:
    past = earlier(tmp_path, 2, 300)
    argv = [sys.executable, "-c", KILLED, str(past.site.path), str(past.run.path)]
    assert subprocess.run(argv, check=False, env=os.environ).returncode == -signal.SIGKILL
    assert [each.name[0] for each in (past.run.path / "commitments").iterdir()] == ["."]  # written aside, never named
    key = past.site.run_key()
    first = commit_rows(past.run, key)
    past.run.forget("commitments")
    assert commit_rows(past.run, key) == first
    assert committed_rows(past.run, key, first.root).committed == first


# -- single changes


def test_no_single_change_to_a_proof_passes(rows: CommittedRows, card: CardRows) -> None:
    tried = 0
    for row in (0, 700, 1331):
        proof = rows.prove(card, row)
        assert accepted(encode(proof), RowProof, lambda read: check_proof(card, read))
        for change in changes(json.loads(encode(proof))):
            if change == json.loads(encode(proof)):
                continue
            tried += 1
            data = msgspec.json.encode(change, order="sorted") + b"\n"
            assert not accepted(data, RowProof, lambda read: check_proof(card, read))
        data = encode(proof)
        for at in range(0, len(data), 5):
            for changed in (data[:at] + data[at + 1 :], data[:at] + b" " + data[at:]):
                tried += 1
                assert not accepted(changed, RowProof, lambda read: check_proof(card, read))
    assert tried > 1000


def test_the_check_of_changes_sees_a_reader_that_takes_other_words(
    rows: CommittedRows, card: CardRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(rows.prove(card, 3))
    spaced = data.replace(b",", b" ,", 1)
    assert not accepted(spaced, RowProof, lambda read: check_proof(card, read))
    monkeypatch.setattr("custodes.commitment.proofs.encode", lambda _: spaced)
    assert accepted(spaced, RowProof, lambda read: check_proof(card, read))


def test_the_check_of_changes_sees_a_verifier_that_does_not_climb(
    rows: CommittedRows, card: CardRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = msgspec.structs.replace(rows.prove(card, 3), row=4)
    assert not accepted(encode(proof), RowProof, lambda read: check_proof(card, read))
    monkeypatch.setattr("custodes.commitment.proofs.verify_inclusion", lambda *_: None)
    assert accepted(encode(proof), RowProof, lambda read: check_proof(card, read))


# -- the chance of missing a lie


@pytest.mark.parametrize(
    ("rows", "lies", "checked"),
    [(10, 1, 1), (10, 10, 1), (10, 3, 8), (100, 50, 50), (1000, 10, 100), (12345, 123, 1000), (10**6, 10, 10**4)],
)
def test_the_chance_of_missing_a_lie_is_hypergeometric(rows: int, lies: int, checked: int) -> None:
    exact = math.comb(rows - lies, checked) / math.comb(rows, checked) if rows < 10**5 else None
    if exact is None:  # over the lies instead: fewer factors
        exact = math.prod(1 - checked / (rows - at) for at in range(lies))
    assert chance_of_missing(rows, lies, checked) == pytest.approx(exact, rel=1e-12)


def test_the_chance_of_missing_one_row_of_a_hundred_billion_is_exact() -> None:
    assert 1 - chance_of_missing(10**11, 1, 1000) == pytest.approx(1e-8, rel=1e-6)
    assert chance_of_missing(10**11, 10**9, 1000) == pytest.approx(0.99**1000, rel=1e-4)
    assert chance_of_missing(5, 3, 3) == 0


def test_where_nothing_is_checked_every_lie_is_missed() -> None:
    assert chance_of_missing(100, 7, 0) == 1


def test_a_shard_of_the_columns_pass_alone_is_committed_to(tmp_path: Path) -> None:
    """Such a shard file has no digests."""
    past = earlier(tmp_path, 1, 20)
    (past.run.path / shard_name(0, 0)).unlink()
    whole: ShardCommit = commit_of(past.site, past.run, past.plan.shards[0], 0)
    past.run.commit(msgspec.structs.replace(whole, table=whole.table.select(["reason"])))
    key = past.site.run_key()
    rows = committed_rows(past.run, key, commit_rows(past.run, key).root)
    assert read_outcome(rows._open(19).outcome) == (Reason.FULL, b"")
