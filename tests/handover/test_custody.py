"""The record of custody: grows, and nothing else can happen to it unseen."""

from __future__ import annotations

import json
import random
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from custodes.crypto.dsse import verify
from custodes.crypto.keys import VerifierKey
from custodes.errors import StorageError
from custodes.handover import custody as module
from custodes.handover.custody import PAYLOAD_TYPE, Act, Custody, Deed, Head
from custodes.handover.pages import LINE_BYTES_MAX
from tests.handover.homes import FolderHome, Home
from tests.handover.keeping import Clock, Heads, custody_in, deed, signing_key


def filled(home: Home, count: int = 5) -> Custody:
    custody = custody_in(home)
    for number in range(count):
        custody.append(deed(number))
    return custody


def acts(custody: Custody) -> list[Act]:
    return [recorded.act for recorded in custody.records()]


# -- what is recorded


def test_deeds_are_recorded_in_order_with_who_and_when_and_survive(home: Home) -> None:
    clock = Clock()
    custody = custody_in(home, clock)
    custody.append(deed(1, Act.SEALED, digest="a" * 64))
    clock.passes(hours=1)
    custody.append(deed(1, Act.RECEIVED, who="ncmec", receipt="4242"), deed(2, Act.HELD, reason="police"))
    first, second, third = custody_in(home).records()
    assert (first.seq, first.act, first.time, first.digest) == (1, Act.SEALED, "2026-03-01T12:00:00+00:00", "a" * 64)
    assert (second.seq, second.who, second.time, second.receipt) == (2, "ncmec", "2026-03-01T13:00:00+00:00", "4242")
    assert (third.prev, third.reason) == (second.hash, "police")
    assert custody.of(f"{1:032x}") == [first, second]
    assert custody.verify() == custody.head() == Head(3, third.hash)


def test_a_line_is_json_and_its_hash_is_of_itself_without_it(home: Home) -> None:
    filled(home, 2)
    one, two = (line.rstrip() for line in home.lines())
    body, digest = one[: -len(',"hash":""}') - 64] + b"}", json.loads(one)["hash"]
    assert module.hashlib.sha256(body).hexdigest() == digest == json.loads(two)["prev"]


def test_an_empty_record_verifies_and_appending_nothing_records_nothing(home: Home) -> None:
    custody = custody_in(home)
    assert (custody.verify(), custody.head(), list(custody.records())) == (Head(0, ""), Head(0, ""), [])
    assert custody.append() == []
    assert list(custody.records()) == []


def test_the_longest_line_fits_its_limit(home: Home) -> None:
    long = deed(
        1, Act.WITHDRAWN, who="w" * 64, environment="production", route="r" * 32, digest="d" * 64, receipt="R" * 128,
        reason="r" * 32,
    )  # fmt: skip
    custody_in(home).append(long)
    assert len(home.lines()[0]) < LINE_BYTES_MAX
    assert custody_in(home).verify().seq == 1


FOREIGN: dict[str, dict[str, Any]] = {
    "a link as who": {"who": "https://images.example/1.jpg"},
    "a path as who": {"who": "a/b"},
    "an md5 as who": {"who": "0123456789abcdef0123456789abcdef"},
    "a sha256 as who, in capitals": {"who": "AB" * 32},
    "nobody": {"who": ""},
    "a link as receipt": {"receipt": "http://images.example/1"},
    "a sentence as receipt": {"receipt": "report 42 was received"},
    "a receipt too long": {"receipt": "4" * 129},
    "a sentence as reason": {"reason": "Not what it seemed"},
    "an md5 as digest": {"digest": "ab" * 16},
    "a digest in capitals": {"digest": "AB" * 32},
    "a link as incident": {"incident": "https://images.example/incident1"},
    "a sha256 as incident": {"incident": "ab" * 32},
    "a link as route": {"route": "hook.example/in"},
    "an incident in no environment": {"environment": ""},
    "another environment": {"environment": "staging"},
}


@pytest.mark.parametrize("case", FOREIGN)
def test_there_is_no_room_for_links_hashes_or_sentences_and_none_is_repeated(case: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - each says its own rule
        deed(1, **FOREIGN[case])
    assert not any(text and text in str(raised.value) for text in FOREIGN[case].values())


def test_the_head_is_given_to_the_anchor_signed(home: Home) -> None:
    anchor = Heads()
    custody = custody_in(home, anchor=anchor)
    custody.append(deed(1))
    custody.append(deed(2), deed(3))
    told = [msgspec.json.decode(verify(data, PAYLOAD_TYPE, [signing_key().verifier]).payload) for data in anchor.noted]
    assert [each["seq"] for each in told] == [0, 1, 3]
    assert told[-1]["hash"] == custody.head().hash
    assert len({each["origin"] for each in told}) == 1


# -- damage

Change = Callable[[list[bytes]], list[bytes]]


def reworded(line: bytes, was: bytes = b'"who":"alice"', now: bytes = b'"who":"carol"') -> bytes:
    assert was in line
    return line.replace(was, now)


def rehashed(line: bytes) -> bytes:
    """As somebody writes it who knows how."""
    body = reworded(line)[: -len(b',"hash":""}\n') - 64] + b"}"
    return body[:-1] + b',"hash":"%b"}\n' % module.hashlib.sha256(body).hexdigest().encode()


DAMAGE: dict[str, tuple[Change, str]] = {
    "a word changed": (lambda lines: [*lines[:2], reworded(lines[2]), *lines[3:]], "line 3: it was changed"),
    "a word changed and hashed again": (
        lambda lines: [*lines[:2], rehashed(lines[2]), *lines[3:]],
        "line 4: it does not follow",
    ),
    "the last changed and hashed again": (lambda lines: [*lines[:4], rehashed(lines[4])], "line 5: it is not the line"),
    "the last changed": (lambda lines: [*lines[:4], reworded(lines[4])], "line 5: it was changed"),
    "one removed": (lambda lines: [*lines[:2], *lines[3:]], "line 3: it does not follow"),
    "the first removed": (lambda lines: lines[1:], "line 1: it does not follow"),
    "the last removed": (lambda lines: lines[:4], "ends at line 4, and had come to line 5"),
    "all removed": (lambda _: [], "ends at line 0"),
    "two exchanged": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2: it does not follow"),
    "one told twice": (lambda lines: [*lines[:2], lines[1], *lines[2:]], "line 3: it does not follow"),
    "the last cut short": (lambda lines: [*lines[:4], lines[4][:-9]], "line 5: it is no whole line"),
    "its line feed gone": (lambda lines: [*lines[:4], lines[4][:-1]], "line 5: it is no whole line"),
    "an empty line": (lambda lines: [*lines[:1], b"\n", *lines[1:]], "line 2: it is no whole line"),
    "a line of another kind": (lambda lines: [*lines[:1], b'{"seq":2}\n', *lines[2:]], "line 2: it is no whole line"),
    "a line without end": (lambda lines: [*lines[:1], b"x" * 100_000, *lines[2:]], "line 2: it is no whole line"),
    "a space more": (lambda lines: [lines[0].replace(b'{"', b'{ "', 1), *lines[1:]], "line 1: it was changed"),
}


AT_THE_END = {case for case in DAMAGE if "last" in case or "all" in case or "line feed" in case}
"""What is found before the next line is written; the rest is found whenever the record is read."""


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_an_error_that_names_its_line_and_stops_what_is_recorded(home: Home, case: str) -> None:
    filled(home)
    change, said = DAMAGE[case]
    home.rewrite(change(home.lines()))
    with pytest.raises(StorageError, match=said):
        custody_in(home).verify()
    if case in AT_THE_END:
        with pytest.raises(StorageError):
            custody_in(home).append(deed(9))


def spelt_otherwise(line: bytes) -> bytes:
    body = line.replace(b'{"', b'{ "', 1)[: -len(b',"hash":""}\n') - 64] + b"}"
    return body[:-1] + b',"hash":"%b"}\n' % module.hashlib.sha256(body).hexdigest().encode()


def test_a_line_has_one_spelling(home: Home) -> None:
    filled(home, 1)
    home.rewrite([spelt_otherwise(line) for line in home.lines()])
    with pytest.raises(StorageError, match="spelt otherwise"):
        custody_in(home).verify()


def test_planted_without_its_memory_a_record_that_was_cut_short_passes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(home)
    home.rewrite(home.lines()[:3])
    monkeypatch.setattr(Custody, "_refuse_short", lambda *_: None)
    assert custody_in(home).verify().seq == 3


def test_planted_without_the_chain_a_line_that_was_removed_is_not_missed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(home)
    lines = home.lines()
    home.rewrite(lines[:2] + lines[3:])
    parsed = module._parsed

    def follows_on_anything(line: bytes, before: Head) -> Any:
        told = json.loads(line)
        return parsed(line, Head(told["seq"] - 1, told["prev"]))

    monkeypatch.setattr(module, "_parsed", follows_on_anything)
    assert custody_in(home).verify().seq == 5


def test_a_missing_foreign_or_older_memory_is_noticed(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    filled(FolderHome(home))
    filled(FolderHome(other))
    memory = home / "custody.memory"
    whole = memory.read_bytes()
    memory.unlink()
    for use in (Custody.verify, lambda custody: custody.append(deed(9)), lambda custody: custody.of(f"{1:032x}")):
        with pytest.raises(StorageError, match="which says how far"):
            use(custody_in(home))
    memory.write_bytes((other / "custody.memory").read_bytes())
    with pytest.raises(StorageError, match="line 1: it does not follow"):
        custody_in(home).verify()
    memory.write_bytes(whole[:-30])
    with pytest.raises(StorageError, match="damaged"):
        custody_in(home).verify()
    memory.write_bytes(whole)
    assert custody_in(home).verify().seq == 5


def test_a_memory_that_another_key_signed_is_refused_unless_that_key_is_trusted(home: Home) -> None:
    filled(home)
    later = signing_key(2)
    with pytest.raises(StorageError, match="not this site's"):
        custody_in(home, signer=later).append(deed(9))
    custody_in(home, signer=later, trusted=[signing_key().verifier]).append(deed(9))
    assert custody_in(home, signer=later).verify().seq == 6


def test_planted_without_the_signature_a_memory_by_anybody_is_believed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(home)
    monkeypatch.setattr(VerifierKey, "verify", lambda *_: True)
    assert custody_in(home, signer=signing_key(2)).verify().seq == 5


# -- crashes


@pytest.mark.parametrize("torn", [b"{", b'{"act":"sent"', b"\0" * 300, b"\xff" * 2000, b"\n", b"\0" * 90 + b"\n"])
def test_a_torn_end_is_passed_over_then_cut_and_the_cut_recorded(tmp_path: Path, torn: bytes) -> None:
    filled(FolderHome(tmp_path), 2)
    with (tmp_path / "custody" / "record.jsonl").open("ab") as file:
        file.write(torn)
    custody = custody_in(tmp_path)
    assert custody.verify().seq == 2
    (told,) = custody.append(deed(7))
    assert told.seq == 4
    assert acts(custody) == [Act.SENT, Act.SENT, Act.CUT, Act.SENT]
    assert list(custody.records())[2].digest == module.hashlib.sha256(torn).hexdigest()
    assert len((tmp_path / "custody" / "record.jsonl").read_bytes().splitlines()) == 4


def test_a_torn_line_of_the_very_first_deed_is_cut_too(tmp_path: Path) -> None:
    custody_in(tmp_path).append()
    (tmp_path / "custody" / "record.jsonl").write_bytes(b'{"act":')
    custody_in(tmp_path).append(deed(1))
    assert acts(custody_in(tmp_path)) == [Act.CUT, Act.SENT]


def test_whole_lines_that_came_before_the_crash_are_kept(tmp_path: Path) -> None:
    filled(FolderHome(tmp_path), 2)
    memory = (tmp_path / "custody.memory").read_bytes()
    custody_in(tmp_path).append(deed(3), deed(4))
    (tmp_path / "custody.memory").write_bytes(memory)  # as if the crash came between the two files
    custody = custody_in(tmp_path)
    assert custody.verify().seq == 4
    assert [told.seq for told in custody.append(deed(5))] == [5]
    assert Act.CUT not in acts(custody)


def test_a_disk_that_fills_up_stops_the_object_and_the_next_one_mends_it(tmp_path: Path) -> None:
    custody = filled(FolderHome(tmp_path), 2)
    whole = (tmp_path / "custody" / "record.jsonl").read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    was = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, before[1]))
    try:
        with pytest.raises(StorageError, match="cannot write"):
            custody.append(deed(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, was)
    assert len((tmp_path / "custody" / "record.jsonl").read_bytes()) == len(whole) + 100
    with pytest.raises(StorageError, match="could not be written before"):
        custody.append(deed(3))
    custody_in(tmp_path).append(deed(4))
    assert acts(custody_in(tmp_path)) == [Act.SENT, Act.SENT, Act.CUT, Act.SENT]


def test_many_deeds_at_once_are_one_step_and_all_who_record_take_turns(home: Home) -> None:
    custody = custody_in(home)
    custody.append(*(deed(number) for number in range(1000)))

    def work() -> None:
        for number in range(10):
            custody_in(home).append(deed(number))
            custody.append(deed(number))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert custody.verify().seq == 1060


def test_what_is_decided_by_the_record_can_be_recorded_before_anybody_else_records(tmp_path: Path) -> None:
    custody = filled(FolderHome(tmp_path), 1)

    def decided() -> None:
        assert custody.verify().seq == 1
        custody.append(deed(2))
        with pytest.raises(BlockingIOError), module.exclusive(tmp_path / "custody", wait=False):
            pass

    custody.alone(decided)
    custody_in(tmp_path).append(deed(3))
    assert custody.verify().seq == 3


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.soak)])
def test_no_random_change_of_what_was_told_goes_unseen(tmp_path: Path, count: int) -> None:
    rng = random.Random(count)
    filled(FolderHome(tmp_path), 12)
    whole = (tmp_path / "custody" / "record.jsonl").read_bytes()
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(data))
            choice = rng.randrange(4)
            if choice == 0:
                data[at] ^= 1 << rng.randrange(8)
            elif choice == 1:
                del data[at : at + rng.choice((1, 7, 400))]
            elif choice == 2:
                data[at:at] = rng.randbytes(rng.choice((1, 7, 400)))
            else:
                data[at:at] = data[: rng.randrange(len(data))]
        if bytes(data).startswith(whole):
            continue  # only something behind the end: torn
        (tmp_path / "custody" / "record.jsonl").write_bytes(data)
        with pytest.raises(StorageError):
            custody_in(tmp_path).verify()


def test_nothing_prints_an_incident(home: Home) -> None:
    (told,) = filled(home, 1).append(deed(77))
    assert (repr(deed(77)), repr(told)) == ("<Deed sent>", "<Recorded sent>")
    assert isinstance(told, Deed)
