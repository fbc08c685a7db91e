"""Credentials come from a file of their owner's or from the environment, whole, and are never told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from custodes.crypto import keys
from custodes.errors import ConfigError
from custodes.services.credentials import load_credentials
from tests.authorities.simulator import SECRET, shown

FIELDS = ("username", "password")
GOOD = f'username = "somebody"\npassword = "{SECRET}"\n'


def written(folder: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "shield.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def refusal(where: str, environ: dict[str, str] | None = None) -> ConfigError:
    """The error, which tells no credential."""
    with pytest.raises(ConfigError) as caught:
        load_credentials(where, FIELDS, "shield", environ or {})
    assert SECRET not in shown(caught.value)
    return caught.value


def test_a_file_gives_its_fields_and_never_prints_them(tmp_path: Path) -> None:
    found = load_credentials(str(written(tmp_path, GOOD)), FIELDS, "shield", {})
    assert found == {"username": "somebody", "password": SECRET}
    assert f"{found!r} {found}" == "<Credentials username, password> <Credentials username, password>"


def test_without_a_file_the_environment_gives_them() -> None:
    environ = {"CUSTODES_SHIELD_USERNAME": "somebody", "CUSTODES_SHIELD_PASSWORD": SECRET, "PASSWORD": "other"}
    assert load_credentials("", FIELDS, "shield", environ)["password"] == SECRET
    assert load_credentials("", ["access_token"], "Threat-Exchange", {"CUSTODES_THREAT_EXCHANGE_ACCESS_TOKEN": "x"})


def test_what_is_missing_in_the_environment_is_named() -> None:
    assert "CUSTODES_SHIELD_USERNAME, CUSTODES_SHIELD_PASSWORD is not set" in str(refusal(""))
    assert "no credentials of shield: CUSTODES_SHIELD_USERNAME is" in str(
        refusal("", {"CUSTODES_SHIELD_PASSWORD": SECRET})
    )


def accepted_modes(path: Path) -> list[int]:
    """The modes, of all that give group or others anything, under which the file is accepted."""
    accepted = []
    for mode in (0o604, 0o640, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777):
        path.chmod(mode)
        try:
            load_credentials(str(path), FIELDS, "shield", {})
            accepted.append(mode)
        except ConfigError as error:
            assert error.hint == f"run: chmod 600 {path}"  # noqa: PT017
    return accepted


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    assert accepted_modes(written(tmp_path, GOOD)) == []


def test_planted_fault_without_the_permission_check_all_modes_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_check_private", lambda path, status: None)
    assert len(accepted_modes(written(tmp_path, GOOD))) == 9


FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "lacks username, password"),
    "a field missing": ('username = "a"', "lacks password"),
    "a field too many": (GOOD + f'token = "{SECRET}"', "more than username, password"),
    "a secret as a name": (GOOD + f'"{SECRET}" = "x"', "more than username, password"),
    "a number": ('username = "a"\npassword = 7', "not text"),
    "a table": (f'username = "a"\n[password]\nx = "{SECRET}"', "not text"),
    "an empty value": ('username = "a"\npassword = ""', "password must be text"),
    "a line end in a value": (f'username = "a"\npassword = "{SECRET}\\n"', "password must be text"),
    "a control character in a value": (f'username = "a"\npassword = "{SECRET}\\u0007"', "password must be text"),
    "a space behind a value": (f'username = "a"\npassword = "{SECRET} "', "password must be text"),
    "no TOML": (SECRET, "is not TOML"),
    "a name twice": (GOOD + f'password = "{SECRET}"', "is not TOML"),
    "no UTF-8": (b'username = "\xff' + SECRET.encode(), "is not TOML"),
    "too long": (GOOD + "#" * 5000, "longer than"),
}


@pytest.mark.parametrize(("text", "why"), FILES.values(), ids=FILES)
def test_a_file_that_is_not_right_is_refused_by_what_is_wrong(text: str | bytes, why: str, tmp_path: Path) -> None:
    assert why in str(refusal(str(written(tmp_path, text))))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "not a regular file" in str(refusal(str(tmp_path / "fifo")))
    assert "not a regular file" in str(refusal(str(tmp_path)))
    absent = refusal(str(tmp_path / "absent"))
    assert "No such file" in str(absent)
    assert "write it as TOML" in str(absent.hint)


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = written(tmp_path, GOOD)
    os.chown(path, 12345, 12345)
    assert "belongs to user 12345" in str(refusal(str(path)))


def test_an_optional_field_may_be_there_and_no_other(tmp_path: Path) -> None:
    with_one = str(written(tmp_path, GOOD + 'feedback_key = "another"\n'))
    assert refusal(with_one).args
    found = load_credentials(with_one, FIELDS, "shield", {}, optional=["feedback_key"])
    assert found["feedback_key"] == "another"
    without = str(written(tmp_path, GOOD))
    assert "feedback_key" not in load_credentials(without, FIELDS, "shield", {}, optional=["feedback_key"])
    environ = {"CUSTODES_A_USERNAME": "u", "CUSTODES_A_PASSWORD": "p", "CUSTODES_A_FEEDBACK_KEY": "f"}
    assert load_credentials("", FIELDS, "a", environ, optional=["feedback_key"])["feedback_key"] == "f"
    assert len(load_credentials("", FIELDS, "a", environ)) == 2
