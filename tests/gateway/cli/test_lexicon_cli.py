"""``custodes policy lexicon``: encrypted, checked, and never shown."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from custodes.config import load_site
from custodes.errors import InputError
from custodes.gatehouse import lexicon_of
from tests.gateway.cli.making import Gated, gated, run

TEXT = resources.files("custodes.gateway.screening").joinpath("standins.toml").read_bytes()
TERMS = ("umbrella", "Regenschirm", "garden")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    return gated(tmp_path_factory.mktemp("lexicon"))


def lexicon(given: Gated, *words: str | Path) -> tuple[int, str]:
    return run("policy", "lexicon", *words, *given.config)


def test_an_encrypted_lexicon_holds_no_term_and_the_gateway_reads_it(given: Gated, tmp_path: Path) -> None:
    plain, out = tmp_path / "words.toml", given.site.home / "words.lexicon"
    plain.write_bytes(TEXT)
    code, told = lexicon(given, "import", plain, "--out", out)
    assert code == 0
    assert "Regenschirm" not in told
    assert not any(term.encode() in out.read_bytes() for term in TERMS)
    assert out.stat().st_mode & 0o077 == 0
    for file in (plain, out):
        checked = json.loads(lexicon(given, "check", file, "--json")[1])
        assert set(checked["contexts"]) >= {"umbrella", "garden"}
        assert checked["contexts"]["umbrella"] > 20
    text = given.site.path.read_text().replace('"standins"]', '"words.lexicon"]')
    (given.site.home / "other.toml").write_text(text)
    assert {"umbrella", "garden"} <= set(lexicon_of(load_site(str(given.site.home / "other.toml"))).contexts)


BAD = {
    "not TOML": b"[contexts",
    "not UTF-8": b"\xff\xfe",
    "empty": b"",
    "another format": TEXT.replace(b"lexicon 1", b"lexicon 9"),
    "a field that is none": TEXT + b"\n[secret]\nword = 'umbrella'\n",
    "a term that is none": TEXT.replace(b'"umbrella",', b'"umbrella7",'),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_lexicon_is_told_without_its_terms(given: Gated, tmp_path: Path, case: str) -> None:
    plain = tmp_path / "words.toml"
    plain.write_bytes(BAD[case])
    for words in (("check", plain), ("import", plain, "--out", tmp_path / "out.lexicon")):
        with pytest.raises(InputError) as refused:
            lexicon(given, *words)
        assert not any(term in f"{refused.value} {refused.value.hint}" for term in ("umbrella7", "Regenschirm"))
    assert not (tmp_path / "out.lexicon").exists()


def test_an_encrypted_lexicon_is_read_whole_or_not_at_all(given: Gated, tmp_path: Path) -> None:
    plain, out = tmp_path / "words.toml", tmp_path / "words.lexicon"
    plain.write_bytes(TEXT)
    with pytest.raises(InputError, match="does not end in"):
        lexicon(given, "import", plain, "--out", tmp_path / "words.age")
    lexicon(given, "import", plain, "--out", out)
    whole = out.read_bytes()
    for name, content in {"cut": whole[:-1], "flipped": whole[:99] + b"!" + whole[100:], "plain": TEXT}.items():
        (tmp_path / f"{name}.lexicon").write_bytes(content)
        with pytest.raises(InputError):
            lexicon(given, "check", tmp_path / f"{name}.lexicon")
    with pytest.raises(InputError, match="cannot be read"):
        lexicon(given, "check", tmp_path / "none.toml")
