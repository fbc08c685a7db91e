"""Verdicts: believed only from the authority, whole, and whatever the order that they come in."""

from __future__ import annotations

import base64
import itertools
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.crypto import dsse
from custodes.crypto.keys import RunKey, SigningKey, VerifierKey
from custodes.errors import ConfigError, InputError, StorageError
from custodes.handover import verdicts as module
from custodes.handover.verdicts import (
    FORMAT,
    PAYLOAD_TYPE,
    Ruling,
    Verdict,
    Verdicts,
    VerdictStore,
    counts_of,
    make_verdicts,
    read_verdicts,
    standing,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def signer(number: int = 1, name: str = "authority.example") -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))


KEY = signer()
KEYS = [KEY.verifier]


def said(number: int, ruling: str = "confirmed", meaning: str = "") -> Verdict:
    return Verdict(finding=f"{number:032x}", verdict=Ruling(ruling), meaning=meaning)


def file(*verdicts: Verdict, at: datetime = NOON, key: SigningKey = KEY) -> bytes:
    return make_verdicts(verdicts, key, at)


def signed(**changed: Any) -> bytes:
    """A file whose payload the authority made by other means than ours."""
    payload = {
        "format": FORMAT,
        "authority": KEY.verifier.name,
        "made_at": "2026-03-01T12:00:00Z",
        "verdicts": [{"finding": f"{1:032x}", "verdict": "confirmed", "class": "csam"}],
    }
    return dsse.sign(PAYLOAD_TYPE, json.dumps(payload | changed).encode(), KEY)


# -- files


def test_what_the_authority_says_is_read_as_it_was_said() -> None:
    data = make_verdicts([said(1, meaning="ncii"), said(2, "not"), said(3, "unsure")], KEY, NOON, ["run1"])
    found = read_verdicts(data, KEYS)
    assert (found.authority, found.made, found.runs) == ("authority.example", NOON, ("run1",))
    assert found.verdicts == (said(1, meaning="ncii"), said(2, "not"), said(3, "unsure"))
    assert counts_of(found.verdicts) == {"confirmed": 1, "not": 1, "unsure": 1}


def test_a_file_by_another_program_is_read() -> None:
    assert read_verdicts(signed(), KEYS).verdicts == (said(1, meaning="csam"),)
    assert read_verdicts(signed(verdicts=[{"finding": f"{1:032x}", "verdict": "not"}]), KEYS).verdicts == (
        said(1, "not"),
    )


def entry(**changed: Any) -> dict[str, Any]:
    return {"finding": f"{1:032x}", "verdict": "confirmed"} | changed


UNFIT: dict[str, dict[str, Any]] = {
    "no verdict": {"verdicts": []},
    "a finding judged twice": {"verdicts": [entry(), entry(verdict="not")]},
    "the same twice": {"verdicts": [entry(), entry()]},
    "31 digits": {"verdicts": [entry(finding="0" * 31)]},
    "33 digits": {"verdicts": [entry(finding="0" * 33)]},
    "a line behind the digits": {"verdicts": [entry(finding="0" * 32 + "\n")]},
    "capital digits": {"verdicts": [entry(finding="A" * 32)]},
    "a word that is none": {"verdicts": [entry(verdict="maybe")]},
    "a class that is none of ours": {"verdicts": [entry(**{"class": "other"})]},
    "a class of what is not confirmed": {"verdicts": [entry(verdict="not", **{"class": "csam"})]},
    "a class of what is unsure": {"verdicts": [entry(verdict="unsure", **{"class": "csam"})]},
    "a field beside a verdict": {"verdicts": [entry(note="text")]},
    "a field beside": {"note": "text"},
    "another format": {"format": "custodes-verdicts/2"},
    "a time without its offset": {"made_at": "2026-03-01T12:00:00"},
    "no time": {"made_at": "today"},
    "a time before all times": {"made_at": "0001-01-01T00:00:00+14:00"},
    "another authority's name": {"authority": "other.example"},
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_refused_and_no_finding_is_told(case: str) -> None:
    with pytest.raises(InputError) as raised:
        read_verdicts(signed(**UNFIT[case]), KEYS)
    assert "0" * 31 not in str(raised.value)


def test_what_is_signed_and_no_json_is_refused() -> None:
    for payload in (b"", b"{", b"\xff"):
        with pytest.raises(InputError, match="not JSON"):
            read_verdicts(dsse.sign(PAYLOAD_TYPE, payload, KEY), KEYS)


def test_the_number_of_verdicts_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERDICTS_MAX", 2)
    assert len(read_verdicts(signed(verdicts=[entry(), entry(finding="0" * 32)]), KEYS).verdicts) == 2
    three = [entry(finding=f"{number:032x}") for number in range(3)]
    with pytest.raises(InputError, match="1 to 2 verdicts, not 3"):
        read_verdicts(signed(verdicts=three), KEYS)


def changed_payload(data: bytes) -> bytes:
    envelope = json.loads(data)
    payload = base64.b64decode(envelope["payload"]).replace(b'"not"', b'"confirmed"')
    return json.dumps(envelope | {"payload": base64.b64encode(payload).decode()}).encode()


def test_tampering_is_refused() -> None:
    data = file(said(1, "not"))
    with pytest.raises(InputError, match="no trusted key"):
        read_verdicts(changed_payload(data), KEYS)
    with pytest.raises(InputError, match="no trusted key"):
        read_verdicts(file(said(1), key=signer(2)), KEYS)
    with pytest.raises(ConfigError):
        read_verdicts(data, [])


def test_planted_without_the_signature_the_changed_file_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VerifierKey, "verify", lambda *_: True)
    assert read_verdicts(changed_payload(file(said(1, "not"))), KEYS).verdicts == (said(1),)


def test_one_authority_cannot_speak_in_the_name_of_another() -> None:
    other = signer(2, "other.example")
    payload = json.dumps(
        {"format": FORMAT, "authority": "authority.example", "made_at": "2026-03-01T12:00Z", "verdicts": [entry()]}
    )
    with pytest.raises(InputError, match="in the name of another"):
        read_verdicts(dsse.sign(PAYLOAD_TYPE, payload.encode(), other), [KEY.verifier, other.verifier])


def test_a_verdict_does_not_print_its_finding() -> None:
    assert repr(said(7)) == "<Verdict confirmed>"


# -- what holds


def told(*verdicts: Verdict, at: datetime = NOON) -> Verdicts:
    return Verdicts(format=FORMAT, authority="a", made_at=at.isoformat(), verdicts=verdicts)


HOLDS: dict[str, tuple[list[Verdicts], Verdict]] = {
    "the later word counts": ([told(said(1)), told(said(1, "not"), at=NOON + timedelta(seconds=1))], said(1, "not")),
    "also where it says less": (
        [told(said(1)), told(said(1, "unsure"), at=NOON + timedelta(days=9))],
        said(1, "unsure"),
    ),
    "times are compared, not texts": (
        [told(said(1)), told(said(1, "not"), at=NOON.astimezone(timezone(timedelta(hours=9))) - timedelta(seconds=1))],
        said(1),
    ),
    "words of one time that differ: unsure": ([told(said(1)), told(said(1, "not"))], said(1, "unsure")),
    "all three of them": ([told(said(1)), told(said(1, "not")), told(said(1, "unsure"))], said(1, "unsure")),
    "classes of one time that differ: none": ([told(said(1, meaning="csam")), told(said(1, meaning="ncii"))], said(1)),
    "a class beside none: none": ([told(said(1, meaning="csam")), told(said(1))], said(1)),
    "agreed": ([told(said(1, meaning="csam")), told(said(1, meaning="csam"))], said(1, meaning="csam")),
}


@pytest.mark.parametrize("case", HOLDS)
def test_what_holds_is_the_same_in_every_order(case: str) -> None:
    files, expected = HOLDS[case]
    for order in itertools.permutations(files):
        assert standing([*order, *order]) == {expected.finding: expected}


WORDS = st.sampled_from([("confirmed", "csam"), ("confirmed", ""), ("not", ""), ("unsure", "")])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_order_and_repeats_the_same_holds(data: st.DataObject) -> None:
    files = []
    for _ in range(data.draw(st.integers(1, 5))):
        words = data.draw(st.dictionaries(st.integers(0, 3), WORDS, min_size=1))
        at = NOON + timedelta(seconds=data.draw(st.integers(0, 2)))
        files.append(told(*(said(number, *word) for number, word in words.items()), at=at))
    expected = standing(files)
    assert standing(data.draw(st.permutations(files + files[:2]))) == expected
    assert list(expected) == sorted(expected)


# -- the store


def store(folder: Path, *keys: VerifierKey, run: int = 5) -> VerdictStore:
    return VerdictStore(folder / "verdicts", RunKey(bytes([run] * 32)), keys or KEYS)


def test_a_file_is_imported_once(tmp_path: Path) -> None:
    kept = store(tmp_path)
    assert kept.standing() == {}
    assert kept.add(file(said(1)), NOON).new
    before = {path: path.read_bytes() for path in kept.folder.iterdir()}
    assert not kept.add(file(said(1)), NOON + timedelta(days=3)).new
    assert {path: path.read_bytes() for path in kept.folder.iterdir()} == before
    assert kept.add(file(said(1, "not"), at=NOON - timedelta(1)), NOON).new
    assert store(tmp_path).standing() == {said(1).finding: said(1)}


def test_files_that_say_that_they_are_of_other_runs_can_be_left_aside(tmp_path: Path) -> None:
    kept = store(tmp_path)
    for number, runs in enumerate([(), ("a", "b"), ("c",)], 1):
        kept.add(make_verdicts([said(number)], KEY, NOON, runs), NOON)
    assert len(kept.standing()) == 3
    assert list(kept.standing(["b"])) == [said(1).finding, said(2).finding]
    assert list(kept.standing(["d"])) == [said(1).finding]


def test_one_payload_in_two_envelopes_is_one_file(tmp_path: Path) -> None:
    kept = store(tmp_path)
    assert kept.add(file(said(1)), NOON).new
    assert not kept.add(json.dumps(json.loads(file(said(1))), indent=4).encode(), NOON).new


def test_nothing_of_it_can_be_read_without_the_run_key(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.add(file(said(1)), NOON)
    kept.add(file(said(2), said(3)), NOON)
    paths = list(kept.folder.iterdir())
    assert len({path.stat().st_size for path in paths}) == 1  # one verdict or two: the length does not tell
    for path in paths:
        assert path.stat().st_mode & 0o077 == 0
        assert not any(word in path.read_bytes() for word in (b"finding", b"payload", b"authority"))
    with pytest.raises(StorageError, match="another run key"):
        store(tmp_path, run=6).standing()


def test_a_stored_file_that_was_changed_cut_or_renamed_is_refused(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.add(file(said(1)), NOON)
    (path,) = kept.folder.iterdir()
    whole = path.read_bytes()
    for data in (whole[:-1], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], b""):
        path.write_bytes(data)
        with pytest.raises(StorageError):
            kept.standing()
    path.write_bytes(whole)
    path.rename(path.with_name("0" * 32 + ".verdicts"))
    with pytest.raises(StorageError):
        kept.standing()


def test_a_key_that_is_trusted_no_more_takes_its_verdicts_with_it(tmp_path: Path) -> None:
    store(tmp_path).add(file(said(1)), NOON)
    with pytest.raises(InputError, match="no trusted key") as raised:
        store(tmp_path, signer(2).verifier).standing()
    assert "verifiers" in (raised.value.hint or "")


def test_what_cannot_be_trusted_leaves_nothing(tmp_path: Path) -> None:
    kept = store(tmp_path)
    with pytest.raises(InputError):
        kept.add(changed_payload(file(said(1, "not"))), NOON)
    assert not kept.folder.exists()


def test_verdicts_from_the_future_are_refused(tmp_path: Path) -> None:
    kept = store(tmp_path)
    assert kept.add(file(said(1), at=NOON + timedelta(days=1)), NOON).new
    with pytest.raises(InputError, match="still to come"):
        kept.add(file(said(1), at=NOON + timedelta(days=1, seconds=1)), NOON)
