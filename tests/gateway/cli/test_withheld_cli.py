"""``custodes open`` of withheld images: what they are, and never the image, but for those who may hold it and say so."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from custodes.cli import withheld as cli_withheld
from custodes.crypto.seal import create_identity, seal
from custodes.errors import InputError
from custodes.gateway.evidence import SUFFIX
from custodes.handover.cybertipline.withheld import Withheld, WithheldFile
from tests.gateway.cli.making import CONTENT, Gated, gated, run, sealed
from tests.handover.hostile import hostile_strings

SHA256 = hashlib.sha256(CONTENT).hexdigest()
MAY = "--unsafe-may-hold-images"


@pytest.fixture
def given(tmp_path: Path) -> Gated:
    return gated(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, given: Gated) -> Path:
    made = tmp_path / "withheld"
    sealed(given, made)
    sealed(given, made, rule="a picture of a user", request="req_2-0")
    return made


def opened(given: Gated, *words: str | Path) -> tuple[int, str]:
    return run("open", *words, "--identity", given.site.home / "demo-authority.key")


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def shows(text: str | bytes) -> bool:
    """Whether any of the image is in it, in any of the ways that it could be."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    pieces = [CONTENT[at : at + 12] for at in range(0, len(CONTENT) - 12, 12)]
    coded = base64.b64encode(CONTENT)
    return any(piece in data or piece.hex().encode() in data for piece in pieces) or coded[20:60] in data


def test_withheld_images_are_told_of_and_nothing_is_written(given: Gated, folder: Path, tmp_path: Path) -> None:
    before = files_in(tmp_path)
    code, told = opened(given, folder)
    assert code == 1
    for line in (
        "(report: a known picture)",
        "output: made by a generator",
        f"sha256       {SHA256}",
        "known entry e-1, pdq, 4 bits away (original), category stand-in",
        f"{len(CONTENT)} bytes, as its digests say",
        "2 withheld images, none of them shown",
        "viewed by a person: no",
        "nobody signed this file",
    ):
        assert line in told
    assert not shows(told)
    assert files_in(tmp_path) == before


def test_each_is_one_line_of_json_without_its_image(given: Gated, folder: Path) -> None:
    code, told = opened(given, folder, "--json")
    lines = [json.loads(line) for line in told.splitlines()]
    assert (code, {line["rule"] for line in lines}) == (1, {"a known picture", "a picture of a user"})
    assert all(
        line["digests"]["sha256"] == SHA256 and line["digests_agree"] and line["stage"] == "output" for line in lines
    )
    assert not shows(told)
    assert "file" not in lines[0]


def test_planted_a_line_that_tells_all_would_show_the_image(
    given: Gated, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_withheld, "_in_json", lambda each: msgspec.to_builtins(each.told))
    assert shows(opened(given, folder, "--json")[1])


def test_an_image_is_written_for_its_owner_alone_and_only_when_it_is_said_that_they_may(
    given: Gated, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="only for those whom the law"):
        opened(given, folder, "--extract", out)
    with pytest.raises(InputError, match="no folder"):
        opened(given, folder, MAY)
    assert not out.exists()
    code, told = opened(given, folder, "--extract", out, MAY)
    assert (code, files_in(out)) == (1, {out / f"{SHA256}.bin"})  # one image, withheld twice
    (path,) = files_in(out)
    assert (path.stat().st_mode & 0o777, out.stat().st_mode & 0o777, path.read_bytes()) == (0o600, 0o700, CONTENT)
    assert not shows(told)


def test_planted_without_the_question_it_is_written_unasked(
    given: Gated, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_withheld.Extract, "__post_init__", lambda _: None)
    opened(given, folder, "--extract", tmp_path / "out")
    assert files_in(tmp_path / "out")


def made(given: Gated, folder: Path, content: bytes) -> Path:
    """A file with any content, sealed to the authority: whoever knows its public key can make one."""
    folder.mkdir(exist_ok=True)
    path = folder / f"any{SUFFIX}"
    path.write_bytes(seal(content, given.site.recipients()))
    return path


def told_of(text: str) -> bytes:
    """A withheld image whose every word is of the test's choosing."""
    head = {"format": "custodes-withheld/1", "rule": text, "stage": text}
    body = Withheld(
        id=text,
        decision=text,
        meaning=text,
        exact=True,
        matches=(),
        digests={text: text},
        found_at=text,
        tool=text,
        service=text,
        file=WithheldFile(content=CONTENT, generated=True, name=text),
    )
    return msgspec.json.encode(head) + b"\n" + msgspec.json.encode(body)


HOSTILE = [
    "../../../etc/passwd",
    "/etc/passwd",
    "\x1b[2J\x1b]0;owned\x07",
    "a\nwithheld b (report: none)",
    "\u202egnp.exe",
    "",
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_whatever_is_in_one_prints_as_text_and_names_no_file(given: Gated, tmp_path: Path, number: int) -> None:
    path = made(given, tmp_path / "in", told_of(HOSTILE[number]))
    code, told = opened(given, path, "--extract", tmp_path / "out", MAY)
    assert code == 1
    assert all(line.isprintable() for line in told.split("\n"))
    assert [line.startswith("withheld ") for line in told.splitlines()].count(True) == 1
    assert [path.name for path in files_in(tmp_path / "out")] == [f"{SHA256}.bin"]
    assert "NOT as its digests say" in told
    assert json.loads(opened(given, path, "--json")[1])["digests_agree"] is False


def test_all_known_ways_to_deceive_print_as_text(given: Gated, tmp_path: Path) -> None:
    text = "".join(hostile_strings()).encode("utf-8", "replace").decode()
    told = opened(given, made(given, tmp_path / "in", told_of(text)))[1]
    assert all(line.isprintable() for line in told.split("\n"))


BROKEN = {
    "nothing": b"",
    "spaces": b" " * 100,
    "no body": b'{"format":"custodes-withheld/1","rule":"a","stage":"output"}',
    "a field that is none": told_of("a").replace(b'"rule"', b'"ruler"'),
    "another version": told_of("a").replace(b"withheld/1", b"withheld/2"),
    "not UTF-8": told_of("a").replace(b'"tool":"a"', b'"tool":"\xff"'),
    "deep": told_of("a")[:-1] + b',"x":' + b"[" * 100_000,
    "cut": told_of("a")[:-9],
    "twice": told_of("a") + b"\n" + told_of("a"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_withheld_image_is_refused_by_its_name(given: Gated, tmp_path: Path, case: str) -> None:
    path = made(given, tmp_path / "in", BROKEN[case])
    with pytest.raises(InputError, match="not a withheld image") as refused:
        opened(given, path)
    assert path.name in str(refused.value)
    assert refused.value.__cause__ is None or "custodes" in type(refused.value.__cause__).__module__


def test_another_key_a_changed_file_and_files_of_two_kinds_are_refused(
    given: Gated, folder: Path, tmp_path: Path
) -> None:
    secret, _ = create_identity()
    (tmp_path / "other").write_text(secret)
    with pytest.raises(InputError, match="another key"):
        run("open", folder, "--identity", tmp_path / "other")
    one = sorted(files_in(folder))[0]
    data = one.read_bytes()
    for changed in (data[:-1], data[:400] + b"!" + data[401:], b""):
        one.write_bytes(changed)
        with pytest.raises(InputError, match="cannot open"):
            opened(given, one)
    (folder / "0.age").write_bytes(b"a bundle")
    with pytest.raises(InputError, match="opened apart"):
        opened(given, folder)
    (folder / "0.age").unlink()
    with pytest.raises(InputError, match="standard output"):
        opened(given, folder, "--out", tmp_path / "copy")
    (tmp_path / "bundle.age").write_bytes(b"x")
    with pytest.raises(InputError, match="no withheld image"):
        opened(given, tmp_path / "bundle.age", "--extract", tmp_path / "out", MAY)


def test_with_a_site_that_they_are_opened_is_on_its_record(given: Gated, folder: Path) -> None:
    assert opened(given, folder, *given.config)[0] == 1
    record = (given.site.home / "handover" / "custody").rglob("*")
    text = b"".join(path.read_bytes() for path in record if path.is_file())
    for path in files_in(folder):
        assert hashlib.sha256(path.read_bytes()).hexdigest().encode() in text
