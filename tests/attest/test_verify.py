"""``custodes verify``: every check in a line, offline; what failed and what that means; and the files that a card is about."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from custodes.config import load_site
from custodes.errors import ConfigError, InputError
from custodes.verifying import checks_of_dataset
from tests.attest.judging import LOG_POLICY, REQUIRE, World, proof_of, world
from tests.attest.running import run
from tests.attest.signers import KEYS, revoked, succeeded
from tests.stored import Earlier, earlier


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world(tmp_path_factory.mktemp("verify"))


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Earlier:
    return earlier(tmp_path_factory.mktemp("attested"), 1, 12)


def test_a_card_of_the_next_key_is_verified_with_the_key_before_and_its_statement(
    past: Earlier, tmp_path: Path
) -> None:
    old = tmp_path / "old.vkey"
    site = load_site(past.config[1])
    old.write_text(f"{site.signing_key().verifier}\n")
    first = tmp_path / "first.dsse.json"
    assert run("attest", past.run.path, "--out", first, *past.config)[0] == 0
    statements: list[str] = []
    for number in range(3):
        code, output = run("keys", "rotate", "--json", *past.config)
        statements += ["--statements", json.loads(output)["statement"]]
        card = tmp_path / f"{number}.dsse.json"
        assert run("attest", past.run.path, "--out", card, *past.config)[0] == 0
        code, output = run("verify", card, "--key", old)
        assert code == 2
        assert "no trusted key" in output
        for each in (first, card):
            code, output = run("verify", each, "--key", old, *statements)
            assert (code, output.count("FAILED")) == (0, 0), output
    code, output = run("keys", "revoke", "--key", old, "--reason", "compromised", "--json", *past.config)
    statements += ["--statements", json.loads(output)["statement"]]
    code, output = run("verify", first, "--key", old, *statements, "--json")
    told = json.loads(output)
    assert (code, told["passed"], told["statement"]) == (2, False, None)
    assert [each["name"] for each in told["checks"] if each["state"] == "failed"] == ["key"]


def test_key_or_policy_is_needed(given: World, tmp_path: Path) -> None:
    card = tmp_path / "card.dsse.json"
    card.write_bytes(given.card)
    with pytest.raises(ConfigError, match="no key"):
        run("verify", card)
    with pytest.raises(ConfigError, match="cannot be read"):
        run("verify", card, "--policy", tmp_path / "none")


def test_with_a_policy_and_a_proof(past: Earlier, tmp_path: Path) -> None:
    card, proof, policy = tmp_path / "card.dsse.json", tmp_path / "card.tlog-proof", tmp_path / "policy.toml"
    run("attest", past.run.path, "--out", card, *past.config)
    (tmp_path / "log.policy").write_text(LOG_POLICY)
    text = f'[[signers]]\nkey = "{(tmp_path / "card.vkey").read_text().strip()}"\n{REQUIRE}'
    policy.write_text(text.replace("[log]", "demonstration = true\n[log]"))
    base = ["verify", card, "--policy", policy, "--memory", tmp_path / "memory"]
    code, output = run(*base)
    assert code == 2
    assert "neither a proof nor a log was given" in output
    proof.write_bytes(proof_of(card.read_bytes()))
    code, output = run(*base, "--proof", proof, "--dataset", past.run.path.parent / "dataset")
    assert code == 0, output
    for name in ("signature", "entry", "witnesses", "key", "required lists", "required passes", "share", "dataset"):
        assert f"\nok      {name} " in f"\n{output}"
    proof.write_bytes(proof_of(card.read_bytes(), witnesses=(2,)))
    code, output = run(*base, "--proof", proof)
    assert (code, output.count("FAILED")) == (2, 1)
    policy.write_text(text)
    proof.write_bytes(proof_of(card.read_bytes()))
    code, output = run(*base, "--proof", proof)
    assert "FAILED  no demonstration" in output
    for broken in (b"\xff", b"[[signers]]\nkey = 'lab'\n"):
        policy.write_bytes(broken)
        with pytest.raises(ConfigError, match="policy"):
            run(*base)


def test_a_log_needs_a_policy_that_names_it(past: Earlier, tmp_path: Path) -> None:
    card = tmp_path / "card.dsse.json"
    run("attest", past.run.path, "--out", card, *past.config)
    with pytest.raises(ConfigError, match="by a policy"):
        run("verify", card, "--key", tmp_path / "card.vkey", "--log", tmp_path / "log")


@pytest.mark.parametrize(
    ("statement", "said"),
    [(succeeded(2, 3, 1), "no trusted key"), (b"", "not a DSSE envelope"), (revoked(2, 1, "superseded"), "no trusted")],
    ids=["a stranger's", "nothing", "a stranger's revocation"],
)
def test_a_statement_that_nobody_trusted_made_is_an_error(
    past: Earlier, tmp_path: Path, statement: bytes, said: str
) -> None:
    (tmp_path / "said").write_bytes(statement)
    (tmp_path / "key").write_text(f"# the lab's\n{KEYS[0].verifier}\n\n")
    with pytest.raises(InputError, match=said):
        run("verify", past.run.path / "manifest.json", "--key", tmp_path / "key", "--statements", tmp_path / "said")


# -- the dataset


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda folder: None, ""),
    "a file changed": (lambda folder: (folder / "001.parquet").write_bytes(b"PAR1"), "1 changed: 001.parquet"),
    "a file is missing": (lambda folder: (folder / "001.parquet").unlink(), "1 missing: 001.parquet"),
    "a file more": (
        lambda folder: shutil.copy(folder / "001.parquet", folder / "new.parquet"),
        "1 not named by the card: new.parquet",
    ),
    "another name": (
        lambda folder: (folder / "001.parquet").rename(folder / "new.parquet"),
        "1 missing: 001.parquet; 1 not named by the card: new.parquet",
    ),
    "another format beside": (
        lambda folder: (folder / "new.csv").write_text("url\n"),
        "1 not named by the card: new.csv",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_each_file_that_is_not_as_the_card_names_it_is_told(given: World, tmp_path: Path, case: str) -> None:
    change, said = CHANGES[case]
    shutil.copytree(given.home / "dataset", tmp_path / "copy")
    change(tmp_path / "copy")
    checks = list(checks_of_dataset(given.statement, str(tmp_path / "copy")))
    assert checks[-1].state == ("failed" if said else "passed")
    assert checks[-1].means.startswith(f"taken for the original set: {said}")


def test_what_is_only_fingerprinted_is_said_to_be(past: Earlier, tmp_path: Path) -> None:
    card, dataset = tmp_path / "card.dsse.json", past.run.path.parent / "dataset"
    run("attest", past.run.path, "--out", card, *past.config)
    code, output = run("verify", card, "--key", tmp_path / "card.vkey", "--dataset", dataset)
    assert code == 0
    assert "taken for the original set" in output
    assert "a change between them is not seen" in output
    shutil.copytree(dataset, tmp_path / "copy")
    (tmp_path / "copy" / "000.parquet").write_bytes((dataset / "000.parquet").read_bytes() + b" ")
    code, output = run("verify", card, "--key", tmp_path / "card.vkey", "--dataset", tmp_path / "copy")
    assert code == 2
    assert "this card is NOT about the files at that place" in output
    with pytest.raises(InputError):
        run("verify", card, "--key", tmp_path / "card.vkey", "--dataset", tmp_path / "nowhere")


def test_a_cleaned_set_is_not_taken_for_what_was_examined(given: World, past: Earlier, tmp_path: Path) -> None:
    card = tmp_path / "card.dsse.json"
    run("attest", past.run.path, "--out", card, *past.config)
    code, output = run("verify", card, "--key", tmp_path / "card.vkey", "--dataset", given.home / "cleaned")
    assert code == 2
    assert "the card names no such files" in output
