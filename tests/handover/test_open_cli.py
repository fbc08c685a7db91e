"""``custodes open``: packages and bundles, offline, to memory or to files that have their names only when all is verified."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import msgspec
import pytest

from custodes.cli.main import cli
from custodes.crypto.keys import create_keys, load_signing_key
from custodes.crypto.seal import seal
from custodes.errors import ConfigError, CustodesError, InputError
from custodes.handover.finding import FORMAT, BundleHeader, seal_bundle
from custodes.handover.incident import Incident
from custodes.handover.package import Package, open_package, save_package
from custodes.handover.verdicts import Ruling, read_verdicts
from tests.handover.hostile import hostile_strings
from tests.handover.making import KEY, OTHER_SECRET, SECRET, TO, finding, incidents, packed, signer

LINE = str(KEY.verifier)


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """An authority's: its secret key, its signing key, a folder of packages."""
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "in").mkdir()
    create_keys(tmp_path / "keys", "authority.example")
    save_package(packed(finding(1, 7), finding(2, 7), finding(3)), tmp_path / "in", "one")
    return tmp_path


def bundle(folder: Path, *numbers: int, demo: bool = False) -> None:
    header = BundleHeader(
        format=FORMAT, run_id="r", tool="custodes 0.1.0", shard=0, generation=0, findings=len(numbers), demo=demo
    )
    (folder / "0.age").write_bytes(seal_bundle(header, [finding(number, 7) for number in numbers], [TO]))


def run(desk: Path, *arguments: str | Path, reporter: str = LINE, code: int = 1) -> str:
    words = ["open", *map(str, arguments), "--identity", str(desk / "secret")]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        ended = cli.main([*words, *(("--reporter", reporter) if reporter else ())], standalone_mode=False)
    assert ended == code
    return out.getvalue()


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_packages_are_told_on_the_terminal_and_nothing_is_written(desk: Path) -> None:
    before = files_in(desk)
    told = run(desk, desk / "in")
    assert "Reporter     Example Lab · safety@lab.example" in told
    assert "Environment  PRODUCTION" in told
    assert "2 incidents at 3 places" in told
    assert "https://images.example/3.jpg" in told
    assert files_in(desk) == before
    assert told == run(desk, desk / "in" / "one.custodes.age")


def test_of_an_incident_in_two_packages_all_places_are_told_once(desk: Path) -> None:
    save_package(packed(finding(2, 7), finding(9, 7), made_at="2026-04-01T00:00:00+00:00"), desk / "in", "two")
    assert "2 incidents at 4 places" in run(desk, desk / "in")


def test_json_is_a_package_and_its_incidents_by_the_line(desk: Path) -> None:
    header, *rest = map(json.loads, run(desk, desk / "in", "--json").splitlines())
    assert (header["format"], header["incidents"], len(rest)) == ("custodes-package/1", 2, 2)
    assert all("places" in line for line in rest)


def test_files_are_written_whole_and_for_their_owner_alone(desk: Path) -> None:
    out, html, table = desk / "all.jsonl", desk / "all.html", desk / "all.csv"
    told = run(desk, desk / "in", "--out", out, "--html", html, "--csv", table, "--defang")
    assert "images.example" not in told
    assert [line for line in told.splitlines() if line.startswith("wrote")] == [
        f"wrote {path}" for path in (out, html, table)
    ]
    assert {path.stat().st_mode & 0o777 for path in (out, html, table)} == {0o600}
    lines = [json.loads(line) for line in out.read_text().split("\n")[:-1]]
    assert msgspec.convert(lines[1:], list[Incident]) == incidents(finding(1, 7), finding(2, 7), finding(3))
    assert "hxxps" in html.read_text()
    assert "hxxps" in table.read_text()


def broken() -> Package:
    whole = packed(finding(1, 7))
    return Package(whole.sealed[:-1] + bytes([whole.sealed[-1] ^ 1]), whole.envelope)


def test_where_one_package_is_broken_nothing_of_any_is_given_out(desk: Path) -> None:
    save_package(broken(), desk / "in", "two")
    before = files_in(desk)
    with pytest.raises(InputError, match=r"two\.custodes\.age: the sealed file is not the one"):
        run(desk, desk / "in", "--out", desk / "all.jsonl", "--html", desk / "all.html")
    assert files_in(desk) == before


def test_planted_a_package_that_is_not_verified_is_seen_to_be_given_out(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_package(broken(), desk / "in", "two")
    whole = open_package(packed(finding(1, 7)), SECRET, [KEY.verifier])
    monkeypatch.setattr("custodes.cli.open.open_package", lambda *_: whole)
    run(desk, desk / "in", "--out", desk / "all.jsonl")
    assert "all.jsonl" in files_in(desk)


def lone(desk: Path) -> None:
    (desk / "in" / "one.custodes.dsse.json").unlink()


def mixed(desk: Path) -> None:
    bundle(desk / "in", 1)


def trial(desk: Path) -> None:
    save_package(packed(finding(1), environment="test"), desk / "in", "two")


def strange(desk: Path) -> None:
    save_package(packed(finding(1), key=signer(2)), desk / "in", "two")


def wrong_secret(desk: Path) -> None:
    (desk / "secret").write_text(OTHER_SECRET)


def sealed_words(desk: Path) -> None:
    (desk / "in" / "one.custodes.age").write_bytes(seal(b"words", [TO]))


REFUSED = {
    "without its envelope": (lone, "dsse.json cannot be read"),
    "beside findings": (mixed, "packages and bundles of findings"),
    "test beside production": (trial, "of test and of production"),
    "by somebody else": (strange, "no trusted key signed"),
    "for somebody else": (wrong_secret, "for another key"),
    "something else that was sealed": (sealed_words, "one.custodes.age: the sealed file is"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_relied_on_is_refused_by_name(desk: Path, case: str) -> None:
    prepare, words = REFUSED[case]
    prepare(desk)
    before = files_in(desk)
    with pytest.raises(CustodesError, match=words):
        run(desk, desk / "in", "--out", desk / "all.jsonl")
    assert files_in(desk) == before


def test_packages_of_two_reporters_are_opened_apart(desk: Path) -> None:
    strange(desk)
    (desk / "reporters").write_text(f"{LINE}\n{signer(2).verifier}\n")
    with pytest.raises(InputError, match="of several reporters"):
        run(desk, desk / "in", reporter=str(desk / "reporters"))
    run(desk, desk / "in" / "two.custodes.age", reporter=str(desk / "reporters"))


def test_the_keys_of_reporters_come_from_the_line_or_a_file(desk: Path) -> None:
    keys = desk / "reporters"
    keys.write_text(f"# who we work with\n{signer(2).verifier}\n\n{LINE}\n")
    assert run(desk, desk / "in", reporter=str(keys)) == run(desk, desk / "in")
    with pytest.raises(InputError, match="whose packages"):
        run(desk, desk / "in", reporter="")
    for text in ("x+y", str(desk), str(desk / "absent"), "x" * 5000, "a\0b"):
        with pytest.raises(ConfigError, match="--reporter"):
            run(desk, desk / "in", reporter=text)


# -- verdicts


def signed(desk: Path, *arguments: str | Path) -> dict[str, tuple[Ruling, str]]:
    key = desk / "keys" / "signing.key"
    run(desk, desk / "in", "--verdicts", desk / "verdicts.json", "--key", key, *arguments)
    found = read_verdicts((desk / "verdicts.json").read_bytes(), [load_signing_key(key).verifier])
    assert (found.authority, found.runs) == ("authority.example", ("a9d0a6d67471202c",))
    return {each.finding.lstrip("0"): (each.verdict, each.meaning) for each in found.verdicts}


def test_verdicts_by_options_are_signed_for_all_findings_of_an_incident(desk: Path) -> None:
    assert signed(desk, "--confirm", f"{1:032x}", "--class", "csam", "--reject", f"{3:032x}") == {
        "1": (Ruling.CONFIRMED, "csam"),
        "2": (Ruling.CONFIRMED, "csam"),
        "3": (Ruling.NOT, ""),
    }
    assert signed(desk, "--unsure", f"{3:032x}") == {"3": (Ruling.UNSURE, "")}


def test_a_filled_table_becomes_signed_verdicts(desk: Path) -> None:
    table = desk / "table.csv"
    run(desk, desk / "in", "--csv", table)
    rows = table.read_text(encoding="utf-8-sig").splitlines()
    rows = [rows[0], *(row.replace('"",""', '"not",""', 1) for row in rows[1:])]
    table.write_text("\n".join(rows), encoding="utf-8-sig")
    assert signed(desk, "--judged", table) == dict.fromkeys("123", (Ruling.NOT, ""))
    with pytest.raises(InputError, match="contradicts"):
        signed(desk, "--judged", table, "--confirm", f"{1:032x}")


def test_findings_in_bundles_are_judged_too(desk: Path) -> None:
    for path in (desk / "in").iterdir():
        path.unlink()
    bundle(desk / "in", 1, 2)
    assert signed(desk, "--confirm", f"{2:032x}") == dict.fromkeys("12", (Ruling.CONFIRMED, ""))


SAYS_TOO_LITTLE = {
    "no key": (["--verdicts", "v.json", "--confirm", f"{1:032x}"], "no key is given"),
    "no file": (["--confirm", f"{1:032x}"], "no file to write verdicts to"),
    "a key alone": (["--key", "k"], "no file to write verdicts to"),
    "no verdict": (["--verdicts", "v.json", "--key", "keys/signing.key"], "no verdict was given"),
    "what was not opened": (["--verdicts", "v.json", "--key", "keys/signing.key", "--reject", "f" * 32], "--reject names none"),
    "a table that is not there": (["--verdicts", "v.json", "--key", "keys/signing.key", "--judged", "t.csv"], "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAYS_TOO_LITTLE)
def test_half_an_answer_is_none(desk: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    before = files_in(desk)
    words, expected = SAYS_TOO_LITTLE[case]
    with pytest.raises(InputError, match=expected):
        run(desk, desk / "in", *words)
    assert files_in(desk) == before


# -- bundles


def test_bundles_of_findings_are_opened_as_ever_and_written_as_incidents(desk: Path) -> None:
    for path in (desk / "in").iterdir():
        path.unlink()
    bundle(desk / "in", 1, 2, demo=True)
    told = run(desk, desk / "in", reporter="")
    assert told.startswith("2 findings\n\nfinding 00000000000000000000000000000001 (report: exact-confirmed)\n")
    lines = run(desk, desk / "in", "--json", reporter="").splitlines()
    assert [json.loads(line)["row"] for line in lines] == [1, 2]
    told = run(desk, desk / "in", "--html", desk / "all.html", reporter="")
    assert "1 incident at 2 places" in told
    assert "A demonstration." in (desk / "all.html").read_text()
    assert "https://" not in run(desk, desk / "in", "--defang", reporter="")
    bundle(desk / "in")
    assert run(desk, desk / "in", reporter="", code=0) == "0 findings\n"


def test_no_hostile_string_controls_the_terminal_of_who_opens_it(desk: Path) -> None:
    strings = list(filter(is_text, hostile_strings()))
    told = [finding(number, number, url=text, row_key=text, file=text) for number, text in enumerate(strings)]
    assert len(told) > 500
    save_package(packed(*told), desk / "in", "two")
    for words in ([], ["--json"], ["--defang"]):
        output = run(desk, desk / "in", *words)
        assert all(char == "\n" or char.isprintable() for char in output)
    out = desk / "all.jsonl"
    run(desk, desk / "in", "--out", out)
    kept = {
        place["url"] for line in map(json.loads, out.read_text().split("\n")[:-1]) for place in line.get("places", [])
    }
    assert kept >= set(strings)  # whole, and as they were


def is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
