"""Whether a card is in a log, as a verifier finds it: no fork, no rollback and no single change passes, and planted weaknesses are seen."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest

from custodes.errors import ConfigError
from custodes.logged import Evidence, audited, checks_of_log, default_memory
from custodes.transparency import memory as memory_module
from custodes.transparency import reading, tiles
from custodes.transparency.entries import card_entry, entry_bytes
from custodes.transparency.finding import NEWEST, index_path
from custodes.transparency.memory import Memory
from custodes.transparency.merkle import Tree, leaf_hash, node_hash
from custodes.transparency.notes import Trust, cosign, parse_note
from custodes.transparency.policy import Policy
from custodes.transparency.proof import Proof
from custodes.transparency.tiles import ENTRIES, packed, root_of, tiles_between
from custodes.transparency.witness import request
from tests.transparency.worlds import (
    LOG_KEY,
    NOON,
    WITNESS_KEYS,
    WITNESSES,
    key,
    naive_consistency,
    naive_inclusion,
    note_of,
    numbered,
    tree_of,
    witness_in,
)

CARD = b"a card"
ENTRY = entry_bytes(card_entry(CARD))
LOG_LINE = f"log {LOG_KEY.verifier}\n"
THREE = "".join(f"witness w{number} {each}\n" for number, each in enumerate(WITNESSES))
TWO_OF_THREE = Policy.parse(f"{LOG_LINE}{THREE}group g 2 w0 w1 w2\nquorum g\n".encode())
NOBODY = Policy.parse(f"{LOG_LINE}quorum none\n".encode())


def written(folder: Path, rows: list[bytes], note: bytes) -> Path:
    """A log's files as they must be, written a second way and without waiting for the disk."""
    shutil.rmtree(folder, ignore_errors=True)
    level, hashes = 0, [leaf_hash(row) for row in rows]
    for tile in tiles_between(0, len(rows), ENTRIES):
        put(folder / tile.path, packed(rows[tile.number * 256 :][: tile.width]))
    while hashes:
        for tile in tiles_between(0, len(rows), level):
            put(folder / tile.path, b"".join(hashes[tile.number * 256 :][: tile.width]))
        hashes = [root_of(hashes[at : at + 256]) for at in range(0, len(hashes) - 255, 256)]
        level += 1
    put(folder / "checkpoint", note)
    return folder


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def rows_with_card(size: int, at: int, fork: str = "") -> list[bytes]:
    rows = numbered(0, size, fork)
    rows[at] = ENTRY
    return rows


def noted(rows: list[bytes], *numbers: int) -> bytes:
    note = note_of(tree_of(rows))
    text = parse_note(note).text
    return note + "".join(str(cosign(text, WITNESS_KEYS[each], NOON + each)) for each in numbers).encode()


def proof_in(rows: list[bytes], at: int, note: bytes) -> bytes:
    return bytes(Proof(at, tuple(naive_inclusion(at, [leaf_hash(row) for row in rows])), note))


@dataclass
class Reader:
    """A verifier with a memory."""

    home: Path
    policy: Policy = TWO_OF_THREE

    def states(self, evidence: Evidence) -> dict[str, str]:
        found = checks_of_log(CARD, evidence, self.policy, Memory(self.home))
        return {check.name: check.state for check in found.checks}

    def accepts(self, source: Path | None = None, proof: bytes | None = None) -> bool:
        return checks_of_log(CARD, Evidence(str(source or ""), proof), self.policy, Memory(self.home)).passed


# What passes


def test_a_card_is_found_by_its_proof_alone_and_by_the_log(tmp_path: Path) -> None:
    rows = rows_with_card(300, 7)
    note = noted(rows, 0, 2)
    folder, proof = written(tmp_path / "log", rows, note), proof_in(rows, 7, note)
    reader = Reader(tmp_path / "memory")
    first = checks_of_log(CARD, Evidence(proof=proof), TWO_OF_THREE, Memory(reader.home))
    assert [(each.name, each.state) for each in first.checks] == [
        ("log", "passed"),
        ("witnesses", "passed"),
        ("entry", "passed"),
        ("history", "note"),
    ]
    assert first.by_s == NOON + 2
    assert reader.states(Evidence(proof=proof))["history"] == "passed"
    assert set(reader.states(Evidence(str(folder))).values()) == {"passed"}
    assert set(reader.states(Evidence(str(folder), proof)).values()) == {"passed"}
    assert audited(Evidence(str(folder)), TWO_OF_THREE, Memory(reader.home)).passed


def test_an_old_proof_counts_beside_a_log_that_went_on(tmp_path: Path) -> None:
    rows = rows_with_card(300, 7)
    proof = proof_in(rows[:9], 7, noted(rows[:9], 0, 1))
    folder = written(tmp_path / "log", rows, noted(rows, 1, 2))
    reader = Reader(tmp_path / "memory")
    assert reader.states(Evidence(str(folder), proof))["proof"] == "passed"
    assert (
        reader.states(Evidence(proof=proof))["history"] == "note"
    )  # fewer than were seen: no more can be said offline


def test_no_witness_is_said_and_vouches_for_no_time(tmp_path: Path) -> None:
    rows = rows_with_card(5, 3)
    found = checks_of_log(CARD, Evidence(proof=proof_in(rows, 3, noted(rows))), NOBODY, Memory(tmp_path))
    assert found.passed
    assert found.by_s is None
    assert [each.state for each in found.checks if each.name == "witnesses"] == ["note"]


def test_what_the_folder_says_of_its_entries_is_a_help_and_decides_nothing(tmp_path: Path) -> None:
    rows = rows_with_card(600, 300)
    folder = written(tmp_path / "log", rows, noted(rows, 0, 1))
    help_file = folder / index_path(ENTRY)
    for number, told in enumerate((None, b"300\n", b"299\n", b"600\n", b"-1", b"\xff", b"0300\n", b"")):
        if told is not None:
            put(help_file, told)
        assert Reader(tmp_path / str(number)).accepts(folder)
    others = numbered(0, 600)
    folder = written(tmp_path / "log", others, noted(others, 0, 1))
    put(help_file, b"300\n")
    assert Reader(tmp_path / "others").states(Evidence(str(folder)))["entry"] == "failed"


def test_only_the_newest_entries_are_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.transparency.finding.NEWEST", 512)
    assert NEWEST == 65_536
    rows = rows_with_card(700, 100)
    folder = written(tmp_path / "log", rows, noted(rows, 0, 1))
    assert not Reader(tmp_path / "a").accepts(folder)
    put(folder / index_path(ENTRY), b"100\n")
    assert Reader(tmp_path / "a").accepts(folder)


def test_by_when_is_when_enough_had_signed() -> None:
    trust = TWO_OF_THREE.trust(LOG_KEY.verifier.name)
    names = [each.name for each in WITNESSES]
    assert trust.by_s({names[0]: 30, names[1]: 10, names[2]: 20}) == 20
    assert trust.by_s({names[0]: 30}) is None
    assert NOBODY.trust(LOG_KEY.verifier.name).by_s({names[0]: 30}) is None


def test_nothing_to_look_at_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Evidence()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_memory() == tmp_path / "custodes" / "logs"


def test_the_proof_of_another_log_is_not_joined(tmp_path: Path) -> None:
    rows = rows_with_card(9, 3)
    folder = written(tmp_path / "log", rows[:5], noted(rows[:5], 0, 1))
    reader = Reader(tmp_path / "memory")
    assert reader.states(Evidence(str(folder), proof_in(rows, 3, noted(rows, 0, 1))))["proof"] == "failed"


# Forks and rollbacks: whoever runs the log has its key, and one witness of three


@dataclass
class Attack:
    """One history that was shown to others, and another that a verifier is shown."""

    rng: random.Random
    home: Path

    def __post_init__(self) -> None:
        self.size = self.rng.randrange(2, 40)
        self.at = self.rng.randrange(self.size)
        self.told = rows_with_card(self.size, self.at)
        self.told_note = noted(self.told, 0, 1, 2)
        self.kind = self.rng.choice(["fork", "longer", "shorter", "rollback"])
        self.shown = self._shown()
        common = min(len(self.shown), self.size)
        if self.kind != "rollback" and self.shown[:common] == self.told[:common]:
            self.shown[common - 1] = b"edited"  # what was drawn was no other history

    def _shown(self) -> list[bytes]:
        if self.kind == "rollback":  # an old state, as it was
            return self.told[: self.rng.randrange(1, self.size)]
        grown = {"fork": 0, "longer": self.rng.randrange(1, 20), "shorter": -self.rng.randrange(self.size)}[self.kind]
        size = max(self.size + grown, 1)
        kept = self.rng.randrange(min(self.size, size))
        return [
            *self.told[:kept],
            *(ENTRY if n == kept else row for n, row in enumerate(numbered(kept, size, "x"), kept)),
        ]

    def honest_lines(self) -> bytes:
        """What the two honest witnesses sign of what is shown, asked in every way, after they saw what was told."""
        lines = b""
        for number in (0, 1):
            witness = witness_in(self.home / f"w{number}", number)
            assert witness.add_checkpoint(request(0, [], note_of(tree_of(self.told)))).status == 200
            leaves = [leaf_hash(row) for row in self.shown]
            for old in {0, self.size, len(self.shown), len(self.shown) - 1}:
                proof = naive_consistency(old, leaves) if 0 < old <= len(leaves) else []
                reply = witness.add_checkpoint(request(old, proof, note_of(tree_of(self.shown))))
                lines += reply.body if reply.status == 200 else b""
        return lines


def accepted_forks(home: Path, count: int) -> list[str]:
    """By a verifier that sees the log for the first time and asks for two of three witnesses; offline and at the folder."""
    passed = []
    for seed in range(count):
        attack = Attack(random.Random(seed), home / str(seed))
        if attack.kind == "rollback":
            continue  # it was witnessed in its time: only who remembers can tell
        note = noted(attack.shown, 2) + attack.honest_lines()
        stolen = "".join(map(str, parse_note(attack.told_note).lines[1:3])).encode()  # of the other history
        for number, each in enumerate((note, noted(attack.shown, 2, 2), note_of(tree_of(attack.shown)) + stolen)):
            folder = written(home / "log", attack.shown, each)
            at = attack.shown.index(ENTRY) if ENTRY in attack.shown else 0
            reader = Reader(home / f"m{seed}-{number}")
            if reader.accepts(folder) or reader.accepts(proof=proof_in(attack.shown, at, each)):
                passed.append(f"{seed} {attack.kind} {number}")
    return passed


def accepted_rewrites(home: Path, count: int) -> list[str]:
    """By a verifier that asks for no witness and saw what was told; every witness is bought."""
    passed = []
    for seed in range(count):
        attack = Attack(random.Random(seed), home / str(seed))
        reader = Reader(home / f"m{seed}", NOBODY)
        assert reader.accepts(written(home / "log", attack.told, attack.told_note))
        note = noted(attack.shown, 0, 1, 2)
        folder = written(home / "log", attack.shown, note)
        proof = proof_in(attack.told, attack.at, attack.told_note)
        if reader.accepts(folder) or reader.accepts(folder, proof):
            passed.append(f"{seed} {attack.kind}")
        if attack.kind == "fork":
            at = attack.shown.index(ENTRY) if ENTRY in attack.shown else 0
            if reader.accepts(proof=proof_in(attack.shown, at, note)):
                passed.append(f"{seed} offline")
    return passed


def test_200_forks_are_not_accepted_that_two_of_three_witnesses_did_not_sign(tmp_path: Path) -> None:
    assert accepted_forks(tmp_path, 280) == []
    kinds = [Attack(random.Random(seed), tmp_path).kind for seed in range(280)]
    assert sum(kind != "rollback" for kind in kinds) >= 200


def test_200_forks_and_rollbacks_are_not_accepted_by_who_remembers(tmp_path: Path) -> None:
    assert accepted_rewrites(tmp_path, 200) == []
    kinds = [Attack(random.Random(seed), tmp_path).kind for seed in range(200)]
    assert min(map(kinds.count, ("fork", "longer", "shorter", "rollback"))) > 30


@pytest.mark.soak
def test_2000_forks_and_rollbacks_are_not_accepted(tmp_path: Path) -> None:
    assert accepted_forks(tmp_path / "a", 1_000) == []
    assert accepted_rewrites(tmp_path / "b", 1_000) == []


def test_planted_a_verifier_that_asks_no_witness_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trust, "enough", lambda self, names: True)
    assert accepted_forks(tmp_path, 12) != []


def test_planted_a_verifier_that_does_not_remember_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module.Head, "tree", lambda self: None)
    assert accepted_rewrites(tmp_path, 12) != []


def test_both_notes_of_a_fork_are_kept(tmp_path: Path) -> None:
    rows, fork = rows_with_card(9, 3), rows_with_card(9, 3, "x")
    reader = Reader(tmp_path / "memory", NOBODY)
    assert reader.accepts(proof=proof_in(rows, 3, noted(rows)))
    assert not reader.accepts(proof=proof_in(fork, 3, noted(fork)))
    (place,) = reader.home.iterdir()
    assert {path.read_bytes() for path in place.iterdir()} == {noted(rows), noted(fork)}


# Single changes

SIZE, AT = 300, 290


def world(home: Path) -> tuple[Path, bytes, list[bytes]]:
    rows = rows_with_card(SIZE, AT)
    note = noted(rows, 0, 1)
    return written(home / "log", rows, note), proof_in(rows, AT, note), rows


def flipped(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


Change = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def longer(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice([b"\0", b"\n", bytes(32), data[-34:], data])


def moved(data: bytes, rng: random.Random) -> bytes:
    """Two pieces of 32 bytes change places."""
    if len(data) < 64:
        return flipped(data, rng)
    first, second = sorted(rng.sample(range(len(data) // 32), 2))
    pieces = [data[at : at + 32] for at in range(0, len(data), 32)]
    pieces[first], pieces[second] = pieces[second], pieces[first]
    changed = b"".join(pieces)
    return changed if changed != data else flipped(data, rng)


def removed(data: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 32]) :]


def recounted(data: bytes, rng: random.Random) -> bytes:
    """A number in a note or a proof is another, and nothing else changes."""
    other = b"%d" % rng.choice([SIZE - 1, SIZE + 1, AT, 0, 10 * SIZE, 2**63])
    changed = data.replace(b"\n%d\n" % SIZE, b"\n%s\n" % other, 1).replace(b"index %d\n" % AT, b"index %s\n" % other, 1)
    return changed if changed != data else flipped(data, rng)


def unsigned(data: bytes, rng: random.Random) -> bytes:
    """A signature line is gone, or is another's."""
    lines = data.split(b"\n")
    signatures = [number for number, line in enumerate(lines) if line.startswith("\u2014".encode())]
    if not signatures:
        return flipped(data, rng)
    line = lines[number := rng.choice(signatures)]
    lines[number : number + 1] = rng.choice([[], [line.replace(b"witness", b"Witness").replace(b"log.", b"Log.")]])
    return b"\n".join(lines)


CHANGES: tuple[Change, ...] = (flipped, flipped, flipped, cut, longer, moved, removed, recounted, unsigned)


def undetected(home: Path, count: int) -> list[str]:
    """Single changes to a log's files or to a proof after which a verifier is still content."""
    folder, proof, _ = world(home)
    files = [path for path in folder.rglob("*") if path.is_file()]
    passed, memory = [], Memory(home / "memory")
    assert audited(Evidence(str(folder)), TWO_OF_THREE, memory).passed
    assert checks_of_log(CARD, Evidence(proof=proof), TWO_OF_THREE, memory).passed
    for seed in range(count):
        rng = random.Random(seed)
        change = rng.choice(CHANGES)
        if rng.randrange(2):
            changed = change(proof, rng)
            if changed != proof and checks_of_log(CARD, Evidence(proof=changed), TWO_OF_THREE, memory).passed:
                passed.append(f"{seed} {change.__name__} proof")
            continue
        path = rng.choice([*files, folder / "checkpoint"])
        data = path.read_bytes()
        changed = change(data, rng)
        path.write_bytes(changed)
        if changed != data and audited(Evidence(str(folder)), TWO_OF_THREE, memory).passed:
            passed.append(f"{seed} {change.__name__} {path.relative_to(folder)}")
        path.write_bytes(data)
    return passed


def test_1500_single_changes_do_not_pass(tmp_path: Path) -> None:
    assert undetected(tmp_path, 1_500) == []


@pytest.mark.soak
def test_10000_single_changes_do_not_pass(tmp_path: Path) -> None:
    assert undetected(tmp_path, 10_000) == []


def test_planted_widths_that_are_not_checked_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes, tile: tiles.Tile) -> list[bytes]:
        return [data[at : at + 32] for at in range(0, tile.width * 32, 32)]

    monkeypatch.setattr(reading, "hashes_of", careless)
    assert undetected(tmp_path, 300) != []


def test_planted_a_proof_that_is_not_compared_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.transparency.proof.verify_inclusion", lambda *_: None)
    assert undetected(tmp_path, 120) != []


def test_planted_signatures_that_are_not_checked_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("custodes.crypto.keys.VerifierKey.verify", lambda *_: True)
    assert undetected(tmp_path, 200) != []


def passing_for_an_entry(home: Path) -> bool:
    """Whether an inner node of the tree passes for an entry: it is two hashes, behind the byte that only nodes have."""
    left, right = (leaf_hash(row) for row in numbered(0, 2))
    folder = written(home / "log", [b"\x01" + left + right], note_of(Tree(1, node_hash(left, right))))
    return audited(Evidence(str(folder)), NOBODY, Memory(home / "memory")).passed


def test_no_two_hashes_pass_for_an_entry(tmp_path: Path) -> None:
    assert not passing_for_an_entry(tmp_path)


def test_planted_a_tree_without_the_prefix_of_entries_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "leaf_hash", lambda entry: sha256(entry).digest())
    monkeypatch.setitem(globals(), "leaf_hash", lambda entry: sha256(entry).digest())
    assert passing_for_an_entry(tmp_path)


# What is no change


def test_lines_of_others_their_order_and_a_line_twice_change_nothing(tmp_path: Path) -> None:
    folder, _, rows = world(tmp_path)
    note = parse_note(noted(rows, 0, 1))
    unknown = cosign(note.text, key("unknown.example"), NOON)
    for number, lines in enumerate(
        [note.lines[::-1], (*note.lines, unknown), (*note.lines, note.lines[1])],
    ):
        (folder / "checkpoint").write_bytes(bytes(replace(note, lines=lines)))
        assert Reader(tmp_path / str(number)).accepts(folder)
    (folder / "checkpoint").write_bytes(bytes(replace(note, lines=(*note.lines[:2], note.lines[1]))))
    assert not Reader(tmp_path / "twice").accepts(folder)


def test_a_verifier_is_told_in_words_what_a_failure_means(tmp_path: Path) -> None:
    rows, fork = rows_with_card(9, 3), rows_with_card(9, 3, "x")
    folder = written(tmp_path / "log", rows, noted(rows, 0, 1))

    def told(source: Path, policy: Policy = TWO_OF_THREE, memory: str = "memory") -> str:
        checks = checks_of_log(CARD, Evidence(str(source)), policy, Memory(tmp_path / memory)).checks
        return next((each.means for each in checks if each.state == "failed"), "")

    assert told(folder) == ""
    assert "two histories" in told(written(tmp_path / "fork", fork, noted(fork, 0, 1)))
    assert "went back" in told(written(tmp_path / "old", rows[:5], noted(rows[:5], 0, 1)))
    assert "too few" in told(written(tmp_path / "few", rows, noted(rows, 0)))
    assert "does not name" in told(folder, Policy.parse(b"quorum none\n"))
    assert "not among the newest" in told(
        written(tmp_path / "none", numbered(0, 9), noted(numbered(0, 9), 0, 1)), memory="m2"
    )
    assert "has no checkpoint" in told(tmp_path / "nothing")
    long = rows_with_card(20, 3, "x")
    assert "does not prove" in told(written(tmp_path / "long", long, noted(long, 0, 1)))
    longest = [*rows, *numbered(9, 20)]
    cut_off = written(tmp_path / "cut", longest, noted(longest, 0, 1))
    shutil.rmtree(cut_off / "tile")
    assert "does not prove" in told(cut_off)
