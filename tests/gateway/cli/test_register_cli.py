"""``custodes gateway register``: pictures are decoded in the jail, and hashes alone are kept."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from custodes.crypto.keys import load_lists_key
from custodes.errors import ConfigError, InputError
from custodes.gatebooks import changed_register, pdqs_of
from custodes.gateway.inspection.register import Register
from tests.decoder.pictures import picture, saved
from tests.gateway.cli.making import Gated, gated, run


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    return gated(tmp_path_factory.mktemp("register"))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(saved(picture(256, 256), "PNG"))
    return path


def register(given: Gated, *words: str | Path) -> tuple[int, str]:
    return run("gateway", "register", *words, *given.config)


def test_somebody_is_put_in_found_again_listed_and_removed(given: Gated, photo: Path) -> None:
    path = given.site.home / "register"
    assert register(given, "add", "person-1", photo)[0] == 0
    held = Register.load(path, load_lists_key(given.site.keys / "lists.key"))
    assert held.shows_one(pdqs_of(given.site, [photo]))
    assert path.stat().st_mode & 0o077 == 0
    assert photo.read_bytes()[40:80] not in path.read_bytes()
    assert register(given, "add", "person-2", photo)[1].endswith("2 people in the register\n")
    assert register(given, "list")[1] == "person-1\nperson-2\n"
    assert json.loads(register(given, "list", "--json")[1]) == {"people": ["person-1", "person-2"]}
    assert register(given, "remove", "person-1")[0] == 0
    assert register(given, "list")[1] == "person-2\n"
    with pytest.raises(InputError, match="nobody of that name"):
        register(given, "remove", "person-1")


def test_what_cannot_be_seen_whole_changes_nothing(given: Gated, photo: Path, tmp_path: Path) -> None:
    before = register(given, "list")[1] if (given.site.home / "register").exists() else ""
    files = {"cut": photo.read_bytes()[:-40], "text": b"no picture", "empty": b""}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"picture '{name}' cannot be taken"):
            register(given, "add", "person-9", photo, tmp_path / name)
    with pytest.raises(InputError, match="cannot be taken"):
        register(given, "add", "person-9", tmp_path / "none")
    plain = tmp_path / "plain.png"
    plain.write_bytes(saved(picture(64, 64).point(lambda _: 200), "PNG"))
    with pytest.raises(InputError, match="structure"):
        register(given, "add", "person-9", plain)
    with pytest.raises(InputError, match="a name in the register"):
        register(given, "add", "two words", photo)
    assert (register(given, "list")[1] if (given.site.home / "register").exists() else "") == before


def test_of_changes_at_once_none_is_lost(given: Gated, photo: Path) -> None:
    codes = pdqs_of(given.site, [photo])
    names = [f"person-{number}" for number in range(20, 30)]

    def add(name: str) -> None:
        changed_register(given.site, lambda held: held.with_person(name, codes))

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(add, names))
    assert set(names) <= set(changed_register(given.site, lambda held: held).people)


def test_without_a_place_there_is_no_register(given: Gated, photo: Path) -> None:
    config = given.site.home / "bare.toml"
    config.write_text(given.site.path.read_text().replace('register = "register"', ""))
    for words in (("list",), ("add", "person-1", str(photo)), ("remove", "person-1")):
        with pytest.raises(ConfigError, match="names no register"):
            run("gateway", "register", *words, "--config", config)
