"""Key files are made once, refused when others can read them, and never tell what they hold."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custodes.crypto import keys
from custodes.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.create_keys(tmp_path / "keys", name="example.org/scanner")
    return tmp_path / "keys"


def test_created_keys_load_and_only_the_owner_can_read_them(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(keys.KEY_FILES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    keys.load_run_key(folder / "run.key")
    keys.load_transport_key(folder / "transport.key")
    keys.load_lists_key(folder / "lists.key")
    assert keys.load_signing_key(folder / "signing.key").verifier.name == "example.org/scanner"


@pytest.mark.parametrize("name", keys.KEY_FILES)
def test_existing_keys_are_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ConfigError, match="never overwritten"):
        keys.create_keys(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "lists.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="never overwritten"):
        keys.create_keys(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def accepted_modes(path: Path) -> list[int]:
    """The modes, of all that give group or others anything, under which the key file is accepted."""
    accepted = []
    for mode in (0o604, 0o640, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777):
        path.chmod(mode)
        try:
            keys.load_run_key(path)
            accepted.append(mode)
        except ConfigError:
            pass
    return accepted


def test_a_key_that_others_can_read_is_refused(folder: Path) -> None:
    assert accepted_modes(folder / "run.key") == []
    with pytest.raises(ConfigError) as caught:
        keys.load_run_key(folder / "run.key")
    assert caught.value.hint == f"run: chmod 600 {folder / 'run.key'}"


def test_planted_fault_without_the_permission_check_all_modes_are_accepted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_check_private", lambda path, status: None)
    assert len(accepted_modes(folder / "run.key")) == 9


def test_a_key_of_another_owner_is_refused(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(folder / "run.key", 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to user 12345"):
        keys.load_run_key(folder / "run.key")


BROKEN = {
    "empty": b"",
    "another purpose": b"custodes-lists-key-1 " + b"A" * 43 + b"=\n",
    "31 bytes": b"custodes-run-key-1 " + b"A" * 40 + b"AA==\n",
    "33 bytes": b"custodes-run-key-1 " + b"A" * 44 + b"\n",
    "not base64": b"custodes-run-key-1 " + b"!" * 44 + b"\n",
    "raw bytes": bytes(range(32)),
    "three words": b"custodes-run-key-1 " + b"A" * 43 + b"= x\n",
    "too long": b"custodes-run-key-1 " + b"A" * 43 + b"=" + b"\n" * 4096,
    "a later format": b"custodes-run-key-2 " + b"A" * 43 + b"=\n",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_malformed_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        keys.load_run_key(path)


def test_a_fifo_or_folder_or_nothing_in_place_of_a_key_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("fifo", "folder", "absent"):
        with pytest.raises(ConfigError):
            keys.load_run_key(tmp_path / name)


def test_keys_never_print_or_pickle(folder: Path) -> None:
    run = keys.load_run_key(folder / "run.key")
    signing = keys.load_signing_key(folder / "signing.key")
    secret = (folder / "run.key").read_text().split()[1]
    for shown in (repr(run), str(run), f"{run}", repr(signing)):
        assert secret not in shown
        assert len(shown) < 60
    for key in (run, signing):
        for act in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="never pickled"):
                act(key)


def test_derived_keys_differ_by_label_by_purpose_and_by_key(folder: Path) -> None:
    secret = bytes(32)
    derived = [
        keys.RunKey(secret).derive("a"),
        keys.RunKey(secret).derive("b"),
        keys.ListsKey(secret).derive("a"),
        keys.TransportKey(secret).derive("a"),
        keys.RunKey(bytes([1, *secret[1:]])).derive("a"),
    ]
    assert len(set(derived)) == 5
    assert keys.RunKey(secret).derive("a") == derived[0]


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_names_are_equal_only_for_equal_parts(left: list[bytes], right: list[bytes]) -> None:
    key = keys.RunKey(bytes(32))
    assert (key.name("finding", *left) == key.name("finding", *right)) == (left == right)


def test_signing_key_must_stand_beside_its_own_vkey(folder: Path, tmp_path: Path) -> None:
    keys.create_keys(tmp_path / "other")
    (folder / "signing.vkey").write_text((tmp_path / "other" / "signing.vkey").read_text())
    with pytest.raises(ConfigError, match="does not belong"):
        keys.load_signing_key(folder / "signing.key")
    (folder / "signing.vkey").unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        keys.load_signing_key(folder / "signing.key")


def test_a_signing_key_that_is_not_ed25519_is_refused(folder: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    pem = X25519PrivateKey.generate().private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    (folder / "signing.key").write_bytes(pem)
    with pytest.raises(ConfigError, match="not Ed25519"):
        keys.load_signing_key(folder / "signing.key")
    (folder / "signing.key").write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match="PEM"):
        keys.load_signing_key(folder / "signing.key")


def test_verifier_key_parses_what_it_prints_and_checks_signatures(folder: Path) -> None:
    signing = keys.load_signing_key(folder / "signing.key")
    verifier = keys.VerifierKey.parse((folder / "signing.vkey").read_text())
    assert verifier == signing.verifier
    assert verifier.verify(b"statement", signing.sign(b"statement"))
    assert not verifier.verify(b"statement.", signing.sign(b"statement"))


def test_verifier_key_of_the_go_checksum_database_parses() -> None:
    # golang.org/x/mod/sumdb/note: the key that every Go installation carries.
    key = keys.VerifierKey.parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
    assert (key.name, key.key_id.hex()) == ("sum.golang.org", "033de0ae")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        "sum.golang.org+033de0af+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "sum.golang.com+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "sum.golang.org+033de0ae+As4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        "sum.golang.org+033de0ae+Ac4zctda0e5eza",
        "sum.golang.org+033de0ae+!!!",
        "a b+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
    ],
)
def test_altered_verifier_keys_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        keys.VerifierKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "ä", "x" * 129])
def test_names_that_a_signed_note_cannot_hold_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        keys.create_keys(tmp_path / "keys", name=name)
    assert not (tmp_path / "keys").exists()


def accepted_low_order(vectors: Path) -> int:
    """How many of the CCTV cases under a low-order public key get as far as an accepted signature."""
    accepted = 0
    for case in json.loads((vectors / "ed25519-cctv/ed25519/ed25519vectors.json").read_text()):
        if "low_order_A" not in (case["flags"] or []):
            continue
        try:
            key = keys.VerifierKey("test", bytes.fromhex(case["key"]))
            accepted += key.verify(case["msg"].encode(), bytes.fromhex(case["sig"]))
        except ConfigError:
            pass
    return accepted


def test_low_order_and_non_canonical_public_keys_are_refused(vectors: Path) -> None:
    assert accepted_low_order(vectors) == 0
    cases = json.loads((vectors / "ed25519-cctv/ed25519/ed25519vectors.json").read_text())
    weak = {c["key"] for c in cases if {"low_order_A", "non_canonical_A"} & set(c["flags"] or [])}
    assert len(weak) >= 8
    for key in weak:
        with pytest.raises(ConfigError, match="weak"):
            keys.VerifierKey("test", bytes.fromhex(key))


def test_planted_fault_without_the_low_order_check_forged_signatures_are_accepted(
    vectors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_LOW_ORDER_Y", frozenset())
    monkeypatch.setattr(keys, "_P", 2**256)
    assert accepted_low_order(vectors) > 100


def test_wycheproof_ed25519(vectors: Path) -> None:
    document = json.loads((vectors / "wycheproof/testvectors_v1/ed25519_test.json").read_text())
    wrong = []
    for group in document["testGroups"]:
        key = keys.VerifierKey("test", bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            valid = key.verify(bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"]))
            if valid != (case["result"] == "valid"):
                wrong.append(case["tcId"])
    assert wrong == []


def test_wycheproof_hkdf_sha256(vectors: Path) -> None:
    document = json.loads((vectors / "wycheproof/testvectors_v1/hkdf_sha256_test.json").read_text())
    checked = 0
    for case in (case for group in document["testGroups"] for case in group["tests"] if case["result"] == "valid"):
        ikm, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
        assert keys.hkdf_sha256(ikm, salt, info, case["size"]).hex() == case["okm"], case["tcId"]
        checked += 1
    assert checked > 50
