"""A list's settings lead to the adapter of its authority, with the address that is its own, and with credentials from a file or the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from custodes.authorities.connect import Surroundings, connect
from custodes.authorities.settings import ListSettings
from custodes.errors import ConfigError

BASIC = {"CUSTODES_MY_LIST_USERNAME": "user", "CUSTODES_MY_LIST_PASSWORD": "very secret"}
KEYS = {"CUSTODES_MY_LIST_SUBSCRIPTION_KEY": "very secret", "CUSTODES_MY_LIST_FETCH_KEY": "very secret too"}
TOKEN = {"CUSTODES_MY_LIST_ACCESS_TOKEN": "very secret"}

CASES: dict[str, tuple[dict[str, Any], dict[str, str], tuple[str, str, bool]]] = {
    "ncmec": ({"authority": "ncmec", "environment": "ngo"}, BASIC, ("ncmec", "ngo", True)),
    "ncmec, test": ({"authority": "ncmec", "environment": "ngo-test"}, BASIC, ("ncmec", "ngo-test", False)),
    "stopncii": ({"authority": "stopncii"}, KEYS, ("stopncii", "production", True)),
    "threatexchange": (
        {"authority": "threatexchange", "privacy_group": "303636684709969"},
        TOKEN,
        ("threatexchange", "production", True),
    ),
    "tat": ({"authority": "tat"}, BASIC, ("tat", "production", True)),
}


def around(environ: dict[str, str], home: Path = Path("/nowhere")) -> Surroundings:
    return Surroundings(home, home / "state", environ)


@pytest.mark.parametrize(("settings", "environ", "expected"), CASES.values(), ids=CASES)
def test_each_authority_is_connected(
    settings: dict[str, Any], environ: dict[str, str], expected: tuple[str, str, bool]
) -> None:
    authority = connect("my-list", msgspec.convert(settings, ListSettings), around(environ))
    assert (authority.name, authority.environment, authority.production) == expected
    assert "very secret" not in f"{authority!r} {authority}"


@pytest.mark.parametrize(("settings", "environ", "expected"), CASES.values(), ids=CASES)
def test_without_credentials_it_says_which_are_missing(
    settings: dict[str, Any], environ: dict[str, str], expected: tuple[str, str, bool]
) -> None:
    for name in environ:
        rest = {key: value for key, value in environ.items() if key != name}
        with pytest.raises(ConfigError, match=name) as caught:
            connect("my-list", msgspec.convert(settings, ListSettings), around(rest))
        assert "very secret" not in str(caught.value)


def test_credentials_from_a_file_beside_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "ncmec.toml"
    file.touch(mode=0o600)
    file.write_text('username = "user"\npassword = "very secret"\n')
    settings = ListSettings(authority="ncmec", environment="ngo", credentials="ncmec.toml")
    assert connect("my-list", settings, around({}, tmp_path)).name == "ncmec"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by others"):
        connect("my-list", settings, around({}, tmp_path))


def test_a_list_of_files_has_nobody_to_be_asked() -> None:
    with pytest.raises(ConfigError, match="has no authority"):
        connect("my-list", ListSettings(), around({}))


@pytest.mark.parametrize(
    "bad",
    [
        {"authority": "hma"},
        {"authority": "ncmec", "url": "http://127.0.0.1:1"},
        {"authority": "ncmec", "unsafe_allow_loopback": True},
        {"authority": "bundle"},
        {"authority": "ncmec", "bundle": {"source": "x", "list": "x", "trusted_root": "x", "identity": "x"}},
        {"password": "very secret"},
    ],
    ids=str,
)
def test_settings_that_do_not_belong_together_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(bad, ListSettings)
    assert "very secret" not in str(caught.value)


def test_an_environment_that_ncmec_has_not_is_answered_with_all_their_names() -> None:
    with pytest.raises(ConfigError, match="no such environment") as caught:
        connect("my-list", ListSettings(authority="ncmec", environment="production"), around(BASIC))
    assert "ngo-generative-ai-exploitative-test" in str(caught.value.hint)


def test_an_address_that_is_no_ones_is_refused() -> None:
    settings = ListSettings(authority="ncmec", environment="ngo", url="http://10.0.0.1/npo", unsafe_allow_loopback=True)
    with pytest.raises(ConfigError, match="must be https"):
        connect("my-list", settings, around(BASIC))
