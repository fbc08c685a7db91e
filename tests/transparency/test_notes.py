"""Notes and checkpoints: strict to the byte, and no signature counts that is not whose it says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.crypto.keys import VerifierKey
from custodes.errors import ConfigError, InputError
from custodes.transparency import notes
from custodes.transparency.merkle import EMPTY_ROOT, SIZE_MAX, Tree
from custodes.transparency.notes import (
    NOTE_BYTES_MAX,
    Checkpoint,
    Cosigner,
    Line,
    Note,
    Trust,
    cosign,
    parse_lines,
    parse_note,
    sign,
)
from tests.transparency.worlds import (
    LOG_KEY,
    NOON,
    ORIGIN,
    TRUST,
    WITNESS_KEYS,
    WITNESSES,
    key,
    note_of,
    numbered,
    tree_of,
)

TREE = tree_of(numbered(0, 7))
TEXT = Checkpoint(ORIGIN, TREE).text()
NOTE = note_of(TREE)
QUORUM = Trust(ORIGIN, (LOG_KEY.verifier,), WITNESSES, 2)

# The example of Go's sumdb/note, in public documentation since 2019.
NEUMANN = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
NEUMANN_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def cosigned(*numbers: int, note: bytes = NOTE) -> bytes:
    text = parse_note(note).text
    return note + "".join(str(cosign(text, WITNESS_KEYS[number], NOON)) for number in numbers).encode()


def test_a_note_by_others_is_read_and_verifies() -> None:
    note = parse_note(NEUMANN_NOTE.encode())
    (line,) = note.lines
    assert (line.name, line.key_id) == (NEUMANN.name, NEUMANN.key_id)
    assert NEUMANN.verify(note.text, line.signature)
    assert bytes(note).decode() == NEUMANN_NOTE


def test_the_example_of_the_specification_is_read() -> None:
    """tlog-cosignature, with the lines of a log and of a witness."""
    example = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    ).encode()
    note = parse_note(example)
    assert bytes(note) == example
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.tree.size) == ("example.com/behind-the-sofa", 20852163)
    assert [len(line.signature) for line in note.lines] == [64, 72]
    assert int.from_bytes(note.lines[1].signature[:8]) == 1679315147


def test_a_checkpoint_counts_with_the_log_and_two_of_three_witnesses() -> None:
    seen = QUORUM.verify(cosigned(0, 2))
    assert seen.checkpoint == Checkpoint(ORIGIN, TREE)
    assert seen.witnesses == {WITNESSES[0].key.name: NOON, WITNESSES[2].key.name: NOON}
    assert TRUST.verify(cosigned(0, 1, 2)).witnesses == {}  # who is not known decides nothing


other = key("other.example")
FORGED = Line(ORIGIN, LOG_KEY.verifier.key_id, bytes(64))
UNTRUSTED = {
    "one witness is not two": cosigned(1),
    "one witness twice is not two": cosigned(1, 1),
    "a witness's line over another text": NOTE
    + b"".join(str(cosign(b"x\n", WITNESS_KEYS[0], NOON)).encode() for _ in "1"),
    "the log's own cosignature is no witness's": cosigned(1) + str(cosign(TEXT, LOG_KEY, NOON)).encode(),
    "a plain signature of a witness is no cosignature": cosigned(1)
    + str(Line(WITNESSES[0].key.name, WITNESSES[0].key.key_id, WITNESS_KEYS[0].sign(TEXT))).encode(),
    "a plain signature under a cosigner's key id": cosigned(1, 2)
    + str(Line(WITNESSES[0].key.name, WITNESSES[0].key_id, WITNESS_KEYS[0].sign(TEXT))).encode(),
    "a good signature of the log beside a bad one": cosigned(0, 1) + str(FORGED).encode(),
    "signed by another key": cosigned(0, 1, note=bytes(sign(Checkpoint(ORIGIN, TREE), other))),
    "signed by another key of the same name": cosigned(
        0, 1, note=bytes(Note(TEXT, (Line(ORIGIN, other.verifier.key_id, other.sign(TEXT)),)))
    ),
    "of another log": cosigned(0, 1, note=bytes(sign(Checkpoint("log.example/2", TREE), LOG_KEY))),
}


@pytest.mark.parametrize("rule", UNTRUSTED)
def test_what_does_not_count(rule: str) -> None:
    with pytest.raises(InputError):
        QUORUM.verify(UNTRUSTED[rule])


def test_a_cosignature_is_of_its_time_only() -> None:
    (line,) = parse_lines(str(cosign(TEXT, WITNESS_KEYS[0], NOON)).encode())
    later = (NOON + 1).to_bytes(8) + line.signature[8:]
    assert WITNESSES[0].time_s(TEXT, line.signature) == NOON
    assert WITNESSES[0].time_s(TEXT, later) is None
    assert WITNESSES[0].time_s(TEXT, line.signature[8:]) is None
    for time_s, good in ((2**63 - 1, True), (2**63, False)):
        signature = cosign(TEXT, WITNESS_KEYS[0], time_s).signature
        assert (WITNESSES[0].time_s(TEXT, signature) == time_s) is good


ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
MALFORMED_TEXTS = {
    "no root": "a\n1\n",
    "no origin": f"\n1\n{ROOT}\n",
    "no line feed at the end": f"a\n1\n{ROOT}",
    "an empty extension": f"a\n1\n{ROOT}\n\n",
    "a leading zero": f"a\n01\n{ROOT}\n",
    "a sign": f"a\n+1\n{ROOT}\n",
    "below zero": f"a\n-1\n{ROOT}\n",
    "another script's digit": f"a\n\u0661\n{ROOT}\n",
    "a space": f"a\n1 \n{ROOT}\n",
    "past the greatest size": f"a\n{SIZE_MAX + 1}\n{ROOT}\n",
    "a short root": "a\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==\n",
    "bits that no byte uses": f"a\n1\n{ROOT[:-2]}J=\n",
    "URL-safe base64": f"a\n1\n{ROOT.replace('/', '_')}\n",
    "no padding": f"a\n1\n{ROOT[:-1]}\n",
    "an empty log with a root": f"a\n0\n{ROOT}\n",
}


@pytest.mark.parametrize("rule", MALFORMED_TEXTS)
def test_what_is_no_checkpoint(rule: str) -> None:
    with pytest.raises(InputError):
        Checkpoint.parse(MALFORMED_TEXTS[rule].encode())


def test_the_greatest_size_and_an_extension_are_read() -> None:
    for text in (f"a\n{SIZE_MAX}\n{ROOT}\n", f"a\n1\n{ROOT}\nmore\n"):
        assert Checkpoint.parse(text.encode()).text() == text.encode()
    assert Checkpoint.parse(Checkpoint("a", Tree(0, EMPTY_ROOT)).text()).tree.size == 0


LINE = "— a AAAAAAA=\n"
MALFORMED_NOTES = {
    "empty": "",
    "no signature": "text\n\n",
    "no blank line": f"text\n{LINE}",
    "a carriage return": f"te\rxt\n\n{LINE}",
    "a tab": f"te\txt\n\n{LINE}",
    "a nought": f"te\0xt\n\n{LINE}",
    "no line feed at the end": f"text\n\n{LINE[:-1]}",
    "a line that is no signature": f"text\n\n{LINE}more\n",
    "a hyphen for a dash": "text\n\n- a AAAAAAA=\n",
    "no name": "text\n\n—  AAAAAAA=\n",
    "a name with a plus": "text\n\n— a+b AAAAAAA=\n",
    "a name with a space of Unicode": "text\n\n— a\u2003b AAAAAAA=\n",
    "a space after": "text\n\n— a AAAAAAA= \n",
    "a key id and nothing else": "text\n\n— a AAAAAA==\n",
    "bits that no byte uses": "text\n\n— a AAAAAAB=\n",
    "no base64": "text\n\n— a !\n",
}


@pytest.mark.parametrize("rule", MALFORMED_NOTES)
def test_what_is_no_note(rule: str) -> None:
    with pytest.raises(InputError):
        parse_note(MALFORMED_NOTES[rule].encode())


def test_a_note_is_utf8() -> None:
    for data in (b"te\xffxt\n\n" + LINE.encode(), b"text\n\n" + LINE.encode() + b"\xff\n"):
        with pytest.raises(InputError):
            parse_note(data)


def test_the_text_ends_at_the_last_blank_line() -> None:
    note = parse_note(f"one\n\ntwo\n\n{LINE}".encode())
    assert note.text == b"one\n\ntwo\n"


def test_a_note_may_be_as_long_as_the_limit_and_carry_16_signatures() -> None:
    start, end = "\n\n" + LINE * 16, NOTE_BYTES_MAX
    text = "x" * (end - len(start.encode()))
    assert len(parse_note((text + start).encode()).lines) == 16
    with pytest.raises(InputError):
        parse_note(("x" + text + start).encode())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80) | st.text("a\n— AB=", max_size=60).map(str.encode))
def test_what_is_read_is_written_the_same(data: bytes) -> None:
    whole = "text\n\n— a AAAAAAA=\n".encode() + data
    try:
        note = parse_note(whole)
    except InputError:
        return
    assert bytes(note) == whole


def accepted_changes(trust: Trust, data: bytes) -> list[int]:
    """Where a byte of a note may be changed, or removed, and the note still counts."""
    found = []
    for at in range(len(data)):
        for changed in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at] + data[at + 1 :]):
            try:
                trust.verify(changed)
            except InputError:
                continue
            found.append(at)
    return found


def test_no_byte_of_a_checkpoint_can_be_changed_or_removed() -> None:
    assert accepted_changes(QUORUM, cosigned(0, 1)) == []


def test_planted_a_verifier_that_counts_unchecked_witnesses_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes.Cosigner, "time_s", lambda self, text, signature: NOON)
    assert accepted_changes(QUORUM, cosigned(0, 1)) != []


def test_a_checkpoint_that_a_line_cannot_hold_is_not_signed() -> None:
    for origin in ("", "a\nb", "a\tb"):
        with pytest.raises(InputError):
            sign(Checkpoint(origin, TREE), LOG_KEY)


def test_a_witness_key_is_read_and_written() -> None:
    assert Cosigner.parse(f"{WITNESSES[0]}\n") == WITNESSES[0]
    assert str(WITNESSES[0]).split("+")[1] != WITNESSES[0].key.key_id.hex()
    for text in (str(LOG_KEY.verifier), "a", "a+b+c", str(WITNESSES[0]).replace("/0", "/1"), str(WITNESSES[0])[:-4]):
        with pytest.raises(ConfigError):
            Cosigner.parse(text)


TRUSTS = {
    "no key": lambda: Trust(ORIGIN, ()),
    "no origin": lambda: Trust("", (LOG_KEY.verifier,)),
    "more witnesses than there are": lambda: Trust(ORIGIN, (LOG_KEY.verifier,), WITNESSES, 4),
    "one witness twice": lambda: Trust(ORIGIN, (LOG_KEY.verifier,), (WITNESSES[0], WITNESSES[0]), 2),
    "one witness under two names": lambda: Trust(
        ORIGIN, (LOG_KEY.verifier,), (WITNESSES[0], Cosigner(VerifierKey("two", WITNESSES[0].key.public))), 2
    ),
    "two witnesses of one name": lambda: Trust(
        ORIGIN,
        (LOG_KEY.verifier,),
        (WITNESSES[0], Cosigner(VerifierKey(WITNESSES[0].key.name, WITNESSES[1].key.public))),
        2,
    ),
    "the log as its own witness": lambda: Trust(ORIGIN, (LOG_KEY.verifier,), (Cosigner(LOG_KEY.verifier),), 1),
}


@pytest.mark.parametrize("rule", TRUSTS)
def test_trust_that_is_none(rule: str) -> None:
    with pytest.raises(ConfigError):
        TRUSTS[rule]()


def test_no_weak_key_becomes_a_witness(vectors: Path) -> None:
    """Each key of these vectors either is refused or verifies only what OpenSSL and RFC 8032 agree on; low-order ones are all refused."""
    cases = json.loads((vectors / "ed25519-cctv/ed25519/ed25519vectors.json").read_text())
    weak = {
        case["key"]
        for case in cases
        if "low_order_A" in (case["flags"] or []) or "non_canonical_A" in (case["flags"] or [])
    }
    assert len(weak) > 8
    for public in weak:
        with pytest.raises(ConfigError):
            Cosigner(VerifierKey("w", bytes.fromhex(public)))


def test_while_a_key_replaces_another_both_count() -> None:
    new = key("log.example/1-b")
    both = Trust(ORIGIN, (LOG_KEY.verifier, new.verifier))
    for signer in (LOG_KEY, new):
        assert both.verify(bytes(sign(Checkpoint(ORIGIN, TREE), signer))).checkpoint.tree == TREE
    with pytest.raises(InputError):
        Trust(ORIGIN, (new.verifier,)).verify(NOTE)
