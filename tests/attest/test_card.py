"""Cards: what a run can state, signed; and no change to one passes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.attest.statement import FLOOR, PAYLOAD_TYPE, Statement, counted
from custodes.attest.verification import Verdict, card_bytes, verify_card
from custodes.cards import statement_of, write_card
from custodes.cli.main import cli
from custodes.crypto.dsse import pae
from custodes.crypto.keys import SigningKey
from custodes.errors import ConfigError, InputError
from tests.stored import Earlier, earlier

KEY = SigningKey("lab.example", Ed25519PrivateKey.from_private_bytes(bytes([4] * 32)))
OTHER = SigningKey("lab.example", Ed25519PrivateKey.from_private_bytes(bytes([5] * 32)))
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    return earlier(tmp_path_factory.mktemp("card"), 3, 20)


@pytest.fixture(scope="module")
def card(past: Earlier) -> bytes:
    path = past.run.path / "card.dsse.json"
    write_card(statement_of(past.run, past.site.run_key()), KEY, path)
    return path.read_bytes()


def checked(envelope: bytes, key: SigningKey = KEY) -> Verdict:
    return verify_card(envelope, [key.verifier], NOW)


def signed(payload: bytes, key: SigningKey = KEY) -> bytes:
    return card_bytes(payload, key.sign(pae(PAYLOAD_TYPE, payload)), key.verifier)


def payload_of(card: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(json.loads(card)["payload"]))
    return found


def test_a_card_says_what_the_run_did(past: Earlier, card: bytes) -> None:
    verdict = checked(card)
    assert verdict.passed
    assert verdict.signer == "lab.example"
    assert verdict.statement is not None
    told = verdict.statement.predicate
    assert (told.rows, told.run, sum(told.outcomes.values())) == (60, past.run.manifest.run_id, 60)
    assert [(used.id, used.version) for used in told.lists] == [(u.id, u.version) for u in past.run.manifest.lists]
    assert len(verdict.statement.subject) == 3
    assert told.demonstration
    assert [check.name for check in verdict.checks if check.state == "note"] == ["authority", "reach"]


def test_no_single_change_to_a_card_passes(card: bytes) -> None:
    """One bit of each byte, each byte taken out, each byte doubled: some ten thousand changes."""
    passed = []
    for at in range(len(card)):
        flipped = bytearray(card)
        flipped[at] ^= 1 << (at % 8)
        changes = (bytes(flipped), card[:at] + card[at + 1 :], card[:at] + card[at : at + 1] + card[at:])
        passed += [at for changed in changes if changed != card and checked(changed).passed]
    assert len(card) * 3 > 3500
    assert passed == []


def test_the_check_of_changes_sees_a_verifier_that_looks_at_the_signature_alone(
    card: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What DSSE leaves unsigned (spaces, the hint of the key) could then be changed."""
    monkeypatch.setattr("custodes.attest.verification._as_written", lambda *_: True)
    assert any(checked(card[:at] + b" " + card[at:]).passed for at in range(10))


def rows_more(told: dict[str, Any]) -> None:
    told["predicate"]["rows"] += 1


def outcome_moved(told: dict[str, Any]) -> None:
    told["predicate"]["outcomes"]["examined"] -= 1
    told["predicate"]["outcomes"]["failed"] += 1


def reason_moved(told: dict[str, Any]) -> None:
    told["predicate"]["reasons"] = {"full": 59, "dns": 1}


def field(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(told: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for name in parents:
            told = told[name]
        told[last] = value

    return change


def detector(**measure: float) -> dict[str, Any]:
    told = {"what": "verdicts", "of": "recall", "at": "all", "value": 0.2, "low": 0.1, "high": 0.3, "on": 9} | measure
    return {"name": "near", "kind": "probe", "version": "1", "origin": "here", "measured": [told]}


WRONG: dict[str, Callable[[dict[str, Any]], None]] = {
    "one row more": rows_more,
    "an outcome moved": outcome_moved,
    "a reason moved": reason_moved,
    "an outcome left out": lambda told: told["predicate"]["outcomes"].pop("failed"),
    "an outcome of its own": field("predicate.outcomes.clean", 0),
    "more covered than there is": field("predicate.coverage", {"bytes": 61}),
    "more matched than there is": field("predicate.matches", {"rows": 61, "below": None}),
    "matches in both ways": field("predicate.matches", {"rows": 1, "below": 10}),
    "no list": field("predicate.lists", []),
    "no limits": field("predicate.limits", []),
    "no subject": field("subject", []),
    "another type": field("_type", "https://in-toto.io/Statement/v0.1"),
    "another predicate": field("predicateType", "https://slsa.dev/provenance/v1"),
    "signed before it began": field("predicate.signed", "2001-01-01T00:00:00+00:00"),
    "a time without its offset": field("predicate.signed", "2029-01-01T00:00:00"),
    "a field more": field("predicate.verdict", "clean"),
    "a negative count": field("predicate.coverage", {"bytes": -1}),
    "a commitment to other rows": field(
        "predicate.commitment", {"type": "custodes-rows-1", "rows": 61, "root": "0" * 64}
    ),
    "a commitment of another type": field("predicate.commitment", {"type": "rows", "rows": 60, "root": "0" * 64}),
    "written again from other rows": field("predicate.cleaned", {"rows": 61, "left": 0, "crowd": 100, "files": 1}),
    "files written again that are not named": field(
        "predicate.cleaned", {"rows": 60, "left": 0, "crowd": 100, "files": 1}
    ),
    "files named that were not written again": field(
        "subject", [{"name": "cleaned/a", "digest": {"sha256": "0" * 64}}]
    ),
    "a share of more than all": field("predicate.detectors", [detector(value=1.5, high=1.5)]),
    "a share out of its interval": field("predicate.detectors", [detector(value=0.5, high=0.4)]),
    "a share of no cases": field("predicate.detectors", [detector(on=0)]),
    "signed in the future": field("predicate.signed", (NOW + timedelta(days=2)).isoformat()),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_statement_that_cannot_be_is_refused_though_it_is_signed(card: bytes, case: str) -> None:
    told = payload_of(card)
    WRONG[case](told)
    verdict = checked(signed(msgspec.json.encode(told, order="sorted")))
    assert not verdict.passed
    assert [check.state for check in verdict.checks].count("failed") == 1


def test_a_statement_in_other_words_is_refused(card: bytes) -> None:
    told = payload_of(card)
    assert checked(signed(msgspec.json.encode(told, order="sorted"))).passed
    assert not checked(signed(json.dumps(told).encode())).passed
    assert not checked(signed(b"[]")).passed
    assert not checked(signed(b"no JSON")).passed


def test_only_trusted_keys_count(card: bytes) -> None:
    assert not checked(card, OTHER).passed
    assert verify_card(card, [OTHER.verifier, KEY.verifier], NOW).passed
    with pytest.raises(ConfigError, match="no key"):
        verify_card(card, [], NOW)


@pytest.mark.parametrize(("rows", "told"), [(0, None), (FLOOR - 1, None), (FLOOR, FLOOR), (10**12, 10**12)])
def test_few_matches_are_not_told_as_a_number(rows: int, told: int | None) -> None:
    assert counted(rows).rows == told
    assert (counted(rows).below is None) == (told is not None)


def test_what_weakens_a_card_is_said(past: Earlier) -> None:
    statement = statement_of(past.run, past.site.run_key())
    told = msgspec.structs.replace(
        statement.predicate,
        complete=False,
        commitment=None,
        tool=msgspec.structs.replace(statement.predicate.tool, unsafe=("--unsafe-no-jail",)),
        lists=tuple(msgspec.structs.replace(used, stale_since="2020-01-01") for used in statement.predicate.lists),
    )
    verdict = checked(signed(msgspec.structs.replace(statement, predicate=told).encode()))
    assert verdict.passed
    notes = [check.name for check in verdict.checks if check.state == "note"]
    assert notes == ["authority", "guards", "coverage", "lists", "rows", "reach"]


def test_a_card_holds_no_link_and_no_digest_of_a_row(past: Earlier, card: bytes) -> None:
    text = msgspec.json.encode(payload_of(card)).decode()
    assert "a.test" not in text
    assert msgspec.json.decode(text, type=Statement).predicate.rows == 60


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return int(result.return_value or 0), result.output


def test_from_the_command_line(past: Earlier, tmp_path: Path) -> None:
    path = tmp_path / "card.dsse.json"
    code, output = run("attest", past.run.path, "--out", path, *past.config)
    assert code == 0
    assert f"custodes verify {path} --key {tmp_path / 'card.vkey'}" in output
    code, output = run("verify", path, "--key", tmp_path / "card.vkey")
    assert (code, output.count("FAILED")) == (0, 0)
    assert "0 of 60 rows were not examined" in output
    path.write_bytes(path.read_bytes().replace(b"payloadType", b"payloadtype"))
    code, output = run("verify", path, "--key", tmp_path / "card.vkey")
    assert code == 2
    assert "this card is NOT to be believed" in output
    code, output = run("verify", path, "--key", tmp_path / "card.vkey", "--json")
    assert json.loads(output)["statement"] is None
    with pytest.raises(InputError, match="cannot be read"):
        run("verify", tmp_path / "none", "--key", tmp_path / "card.vkey")
