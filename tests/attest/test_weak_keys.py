"""Wherever a key is registered, one under which nearly anything verifies is refused, and good ones are not."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from custodes.attest.keyring import Revoked, Succeeded, TrustedKey, trusted_by, write_statement
from custodes.attest.policy import read_policy
from custodes.cli.inputs import keys_in
from custodes.crypto import keys
from custodes.errors import ConfigError
from custodes.transparency.notes import Cosigner
from custodes.transparency.policy import Policy
from tests.attest.signers import KEYS, day


def line(public: bytes, kind: bytes = b"\x01") -> str:
    """A key's line, whatever the key is worth."""
    name = "lab.example"
    key_id = hashlib.sha256(name.encode() + b"\n" + kind + public).hexdigest()[:8]
    return f"{name}+{key_id}+{base64.b64encode(kind + public).decode()}"


def by_key_file(public: bytes, home: Path) -> object:
    (home / "a.vkey").write_text(line(public))
    return keys_in(home / "a.vkey")


def by_statement(told: Callable[[str], Succeeded | Revoked]) -> Callable[[bytes, Path], object]:
    def place(public: bytes, home: Path) -> object:
        return trusted_by([TrustedKey(KEYS[0].verifier)], [write_statement(told(line(public)), KEYS[0])])

    return place


PLACES: dict[str, Callable[[bytes, Path], object]] = {
    "a key's line": lambda public, _: keys.VerifierKey.parse(line(public)),
    "a key file": by_key_file,
    "a verifier's policy": lambda public, _: read_policy(f'[[signers]]\nkey = "{line(public)}"\n'),
    "a successor": by_statement(lambda text: Succeeded(key=str(KEYS[0].verifier), at=day(1), successor=text)),
    "a log's policy": lambda public, _: Policy.parse(f"log {line(public)}\nquorum none\n".encode()),
    "a witness": lambda public, _: Cosigner.parse(line(public, b"\x04")),
}


def publics(vectors: Path) -> tuple[Sequence[bytes], Sequence[bytes]]:
    """Weak and good keys of both collections."""
    cctv = json.loads((vectors / "ed25519-cctv/ed25519/ed25519vectors.json").read_text())
    weak = {case["key"] for case in cctv if {"low_order_A", "non_canonical_A"} & set(case["flags"] or [])}
    good = {case["key"] for case in cctv} - weak
    wycheproof = json.loads((vectors / "wycheproof/testvectors_v1/ed25519_test.json").read_text())
    good |= {group["publicKey"]["pk"] for group in wycheproof["testGroups"]}
    return [bytes.fromhex(each) for each in sorted(weak)], [bytes.fromhex(each) for each in sorted(good)]


def registered(place: str, given: Sequence[bytes], home: Path) -> int:
    count = 0
    for public in given:
        try:
            PLACES[place](public, home)
            count += 1
        except ConfigError:
            pass
    return count


@pytest.mark.parametrize("place", PLACES)
def test_no_weak_key_is_registered(place: str, vectors: Path, tmp_path: Path) -> None:
    weak, good = publics(vectors)
    assert len(weak) >= 8
    assert len(good) > 40
    assert registered(place, weak, tmp_path) == 0
    assert registered(place, good, tmp_path) == len(good)


@pytest.mark.parametrize("place", PLACES)
def test_planted_fault_without_the_check_they_are(
    place: str, vectors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weak, _ = publics(vectors)
    monkeypatch.setattr(keys, "_LOW_ORDER_Y", frozenset())
    monkeypatch.setattr(keys, "_P", 2**256)
    assert registered(place, weak, tmp_path) == len(weak)


def test_of_the_odd_signatures_only_those_pass_that_the_keys_own_holder_could_make(vectors: Path) -> None:
    """CCTV's 914 cases: nothing under a key of low order, nothing that is written in two ways (``non_canonical_R``)."""
    cases = json.loads((vectors / "ed25519-cctv/ed25519/ed25519vectors.json").read_text())
    assert len(cases) == 914
    passed = set()
    for case in cases:
        try:
            key = keys.VerifierKey("test", bytes.fromhex(case["key"]))
        except ConfigError:
            continue
        if key.verify(case["msg"].encode(), bytes.fromhex(case["sig"])):
            passed |= set(case["flags"] or ["none"])
    assert passed == {"none", "low_order_R", "low_order_component_A", "low_order_component_R"}
