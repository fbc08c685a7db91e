"""The life of a site's signing key: three rotations lose nothing, a crash at any step is mended, and what was retired signs no more."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from custodes import keylife
from custodes.attest.keyring import TrustedKey, trusted_by
from custodes.config import Site
from custodes.crypto.keys import load_signing_key
from custodes.errors import ConfigError, InputError, StorageError
from custodes.handover.custody import Act, Deed
from custodes.keylife import earlier_keys, refuse_retired, revoke, rotate, statement_files, succeed, told_keys
from custodes.office import Office
from tests.attest.running import run
from tests.attest.signers import KEYS, day
from tests.world import make_site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "site")


def said(site: Site) -> list[bytes]:
    return [path.read_bytes() for path in statement_files(site.keys)]


def test_three_rotations_leave_every_key_readable_and_trusted_from_the_first(site: Site) -> None:
    first = site.signing_key().verifier
    used, signatures = [first], [site.signing_key().sign(b"0")]
    for number in range(1, 4):
        rotate(site.keys, day(number * 10))
        used.append(site.signing_key().verifier)
        signatures.append(site.signing_key().sign(b"%d" % number))
    assert len(set(used)) == 4
    assert {each.name for each in used} == {first.name}
    found = {each.key: each for each in trusted_by([TrustedKey(first)], said(site))}
    assert set(found) == set(used)
    for number, key in enumerate(used):
        assert key.verify(b"%d" % number, signatures[number])
        assert found[key].spans(day(number * 10 or 1))
    assert set(earlier_keys(site.keys)) == set(used[:3])
    for path in (site.keys / "earlier").glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o400
        assert load_signing_key(path).verifier in used[:3]
    assert sorted(path.name for path in site.keys.glob("next-*")) == []


def test_the_record_of_custody_goes_on_after_a_rotation(site: Site) -> None:
    for number in (1, 2, 3):
        Office(site).custody.append(Deed(act=Act.OPENED, who="operator", digest="0" * 64))
        rotate(site.keys, day(number * 10))
    assert Office(site).custody.verify().seq == 3


def test_a_rotation_that_is_cut_short_anywhere_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = 0
    for at in range(40):
        site = make_site(tmp_path / str(at))
        old = site.signing_key().verifier
        try:
            with crash_after(at, monkeypatch):
                rotate(site.keys, day(10))
        except StoppedError:
            points += 1
        else:
            break
        try:
            whole = site.signing_key().verifier != old
            assert whole or said(site) == []  # the old key signs only as long as none succeeds it
        except ConfigError:
            whole = False
        if not whole:
            rotate(site.keys, day(11))
        new = site.signing_key().verifier
        found = {each.key for each in trusted_by([TrustedKey(old)], said(site))}
        assert found == {old, new}
        assert earlier_keys(site.keys) == (old,)
        assert len(list((site.keys / "earlier").glob("*.key"))) == 1
    assert points >= 8


class StoppedError(Exception):
    pass


class crash_after:  # noqa: N801
    """Lets so many changes of the disk happen, and then none."""

    def __init__(self, changes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.patch = changes, monkeypatch

    def counted(self, real: object) -> object:
        def call(*arguments: object, **named: object) -> object:
            if self.left == 0:
                raise StoppedError
            self.left -= 1
            return real(*arguments, **named)  # type: ignore[operator]

        return call

    def __enter__(self) -> None:
        for name in ("write_signing_key", "replace_file", "make_folder", "sync_folder"):
            self.patch.setattr(keylife, name, self.counted(getattr(keylife, name)))
        for name in ("hardlink_to", "replace", "chmod"):
            self.patch.setattr(Path, name, self.counted(getattr(Path, name)))

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def test_the_log_of_a_site_grows_on_after_a_rotation(site: Site, tmp_path: Path) -> None:
    config, log = ("--config", str(site.path)), tmp_path / "log"
    assert run("log", "create", log, "--origin", "lab.example/log", *config)[0] == 0
    for number in range(3):
        said = rotate(site.keys, day(number + 1))
        code, output = run("log", "append", log, "--statement", said, *config)
        assert code == 0, output


def test_half_a_new_key_that_no_statement_names_is_cleared_away(site: Site) -> None:
    (site.keys / "next-00000000.key").write_text("half")
    rotate(site.keys, day(1))
    assert not (site.keys / "next-00000000.key").exists()


def test_a_key_that_was_revoked_signs_no_more_until_it_is_rotated(site: Site) -> None:
    signer = site.signing_key()
    revoke(site.keys, signer, signer.verifier, "compromised", day(1))
    with pytest.raises(ConfigError, match="was revoked"):
        site.signing_key()
    with pytest.raises(ConfigError, match="was revoked"):
        site.check_keys()
    rotate(site.keys, day(2))
    assert site.signing_key().verifier != signer.verifier
    found = {each.key: each.reason for each in trusted_by([TrustedKey(signer.verifier)], said(site))}
    assert set(found.values()) == {"compromised"}  # a compromised key vouches for nobody


def test_planted_fault_a_site_that_does_not_look_goes_on_signing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    revoke(site.keys, site.signing_key(), site.signing_key().verifier, "superseded", day(1))
    monkeypatch.setattr("custodes.config.refuse_retired", lambda *_: None)
    assert site.signing_key().sign(b"")


def test_a_revocation_is_not_taken_back_nor_made_of_a_strangers_key(site: Site) -> None:
    signer = site.signing_key()
    with pytest.raises(InputError, match="neither its own"):
        revoke(site.keys, signer, KEYS[0].verifier, "superseded", day(1))
    rotate(site.keys, day(1))
    revoke(site.keys, site.signing_key(), signer.verifier, "superseded", day(5))
    with pytest.raises(ConfigError, match="exists already"):
        revoke(site.keys, site.signing_key(), signer.verifier, "superseded", day(6))


def test_a_key_elsewhere_succeeds_and_the_one_here_signs_no_more(site: Site) -> None:
    old = site.signing_key()
    with pytest.raises(InputError, match="does not succeed itself"):
        succeed(site.keys, old, old.verifier, day(1))
    succeed(site.keys, old, KEYS[0].verifier, day(1))
    with pytest.raises(ConfigError, match="still configured"):
        site.signing_key()
    refuse_retired(site.keys, KEYS[0].verifier)  # as it is once [signing] names it
    assert {each.key for each in told_keys(site.keys, KEYS[0].verifier)} == {old.verifier, KEYS[0].verifier}


def test_a_statement_that_was_changed_stops_the_site(site: Site) -> None:
    path = rotate(site.keys, day(1))
    path.write_bytes(path.read_bytes().replace(b"payloadType", b"payloadtype"))
    with pytest.raises(InputError):
        site.signing_key()


def test_a_disk_that_refuses_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "hardlink_to", full)
    with pytest.raises(StorageError, match="No space left"):
        rotate(site.keys, day(1))


def test_from_the_command_line(site: Site, tmp_path: Path) -> None:
    config = ("--config", str(site.path))
    first = site.signing_key().verifier
    code, output = run("keys", "rotate", *config, "--json")
    statement = json.loads(output)["statement"]
    assert code == 0
    code, output = run("keys", "show", *config)
    assert output.count("in use") == 1
    assert str(first) in output
    assert f"stated in {statement}" in output
    old = tmp_path / "old.vkey"
    old.write_text(f"{first}\n")
    code, output = run("keys", "revoke", "--key", old, "--reason", "superseded", *config)
    assert code == 0
    assert "is revoked: superseded" in output
    code, output = run("keys", "show", *config, "--json")
    assert [each["reason"] for each in json.loads(output)["keys"]] == [None, "superseded"]
    other = tmp_path / "token.vkey"
    other.write_text(f"{KEYS[0].verifier}\n")
    code, output = run("keys", "rotate", "--to", other, *config)
    assert "let [signing] name the new key" in output
    other.write_text(f"{KEYS[0].verifier}\n{KEYS[1].verifier}\n")
    with pytest.raises(InputError, match="holds 2 keys"):
        run("keys", "revoke", "--key", other, "--reason", "superseded", *config)


def test_what_a_site_states_is_what_a_verifier_reads(site: Site) -> None:
    old = site.signing_key().verifier
    rotate(site.keys, day(10) + timedelta(seconds=0.7))
    found = {each.key: each for each in trusted_by([TrustedKey(old)], said(site))}
    assert found[old].ends == day(11)
    assert found[site.signing_key().verifier].begins == day(10)  # a card is dated by whole seconds
