"""Two sites share a list with the commands of the guide: made, published, subscribed to, renewed, and withdrawn from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from custodes.cli.main import main

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(line: str, *more: str, code: int = 0) -> Any:
        with pytest.raises(SystemExit) as ended:
            main([*line.split(), *more, "--json"])
        out, err = capsys.readouterr()
        assert int(ended.value.code or 0) == code, err
        return json.loads(out.splitlines()[-1]) if out else err

    return run


def listed(first: int, last: int) -> None:
    rows = [f"{hashlib.md5(b'entry %d' % n).hexdigest()},e{n},A1" for n in range(first, last)]
    Path("list.csv").write_text("\n".join(["md5,id,category", *rows, ""]))


@pytest.fixture
def shared(run: Run) -> Run:
    """A publisher with one list, and a subscriber who was told of it."""
    for site in ("here", "there"):
        run(f"init {site} --demo-authority")
    listed(0, 5)
    run("lists import list.csv --list demo --scheme ncmec --config here")
    made = run("lists publisher init publisher --root-key alice --root-key bob --root-key carol")
    assert made["root_sha256"] == hashlib.sha256(Path(made["root"]).read_bytes()).hexdigest()
    recipient = run("lists identity --config there")["recipient"]
    run(f"lists publish demo --repository publisher --recipient {recipient} --config here")
    shutil.copy(made["root"], "there/publisher-root.json")
    with Path("there/custodes.toml").open("a") as file:
        file.write(
            '\n[lists.demo]\nauthority = "bundle"\n[lists.demo.bundle]\nsource = "../carried"\nlist = "demo"\n'
            'trusted_root = "publisher-root.json"\nidentity = "keys/subscriber.key"\n'
        )
    carry()
    return run


def carry() -> None:
    shutil.rmtree("carried", ignore_errors=True)
    shutil.copytree("publisher/public", "carried")


def published(run: Run) -> None:
    recipient = run("lists identity --config there")["recipient"]
    run(f"lists publish demo --repository publisher --recipient {recipient} --config here")


def test_a_list_goes_from_one_site_to_another_and_follows_its_changes(shared: Run) -> None:
    report = shared("lists sync demo --config there")
    assert (report["added"], report["withdrawn"], report["entries"]) == (5, 0, {"md5": 5})
    assert shared("lists sync demo --config there")["unchanged"]
    assert "demo" in shared("lists status demo --config there")["status"]
    listed(2, 7)
    shared("lists import list.csv --list demo --scheme ncmec --config here")
    published(shared)
    carry()
    report = shared("lists sync demo --config there")
    assert (report["added"], report["withdrawn"], report["entries"]) == (2, 2, {"md5": 5})
    assert shared("lists show demo --config there")["provenance"]["scheme"] == "ncmec"


def test_the_keys_change_when_two_owners_sign(shared: Run) -> None:
    shared("lists sync demo --config there")
    path = shared("lists publisher rotate publisher --replace-root-key carol dora --replace-key timestamp")["next_root"]
    assert "not signed by 2" in shared(f"lists publisher adopt publisher {path}", code=2)
    assert shared(f"lists publisher sign {path} --key publisher/root-keys/alice.pem")["signed"] == ["alice"]
    assert shared(f"lists publisher sign {path} --key publisher/root-keys/bob.pem")["signed"] == ["alice", "bob"]
    assert shared(f"lists publisher adopt publisher {path}")["root"] == 2
    carry()
    assert shared("lists sync demo --config there")["unchanged"]
    state = shared("lists publisher refresh publisher")
    assert (state["root"], list(state["lists"])) == (2, ["demo"])


def test_what_is_not_as_it_was_published_is_refused(shared: Run) -> None:
    shared("lists sync demo --config there")
    old = Path("carried").rename("old")
    published(shared)
    carry()
    shared("lists sync demo --config there")
    shutil.rmtree("carried")
    old.rename("carried")
    assert "older than those seen" in shared("lists sync demo --config there", code=3)


def test_an_identity_is_made_once_and_is_no_ones_but_the_sites(shared: Run) -> None:
    first = shared("lists identity --config there")
    assert first == shared("lists identity --config there")
    assert Path(first["identity"]).stat().st_mode & 0o077 == 0
    assert "AGE-SECRET-KEY" not in json.dumps(first)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("lists publisher init other --root-key a --root-key b", "3 keys"),
        ("lists publisher init other --root-key a --root-key b --root-key c --timestamp-days 9", "lifetimes"),
        ("lists publisher init publisher --root-key a --root-key b --root-key c", "not empty"),
        ("lists publisher refresh here", "not a publisher"),
        ("lists publish nothing --repository publisher --recipient {} --config here", "no list"),
        ("lists publish demo --repository here --recipient {} --config here", "not a publisher"),
        ("lists publish demo --repository publisher --recipient age1x --config here", "not an age recipient"),
    ],
)
def test_what_cannot_be_done_is_said(shared: Run, line: str, said: str) -> None:
    recipient = shared("lists identity --config there")["recipient"]
    error = shared(line.format(recipient), code=2)
    assert said in error


def test_texts_for_people_name_the_next_step(shared: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {
        "publisher init third --root-key a --root-key b --root-key c": "SHA-256",
        "publisher refresh publisher": "to be refreshed before",
        "publisher rotate publisher": "custodes lists publisher sign",
        "publisher sign publisher/next-root.json --key publisher/root-keys/bob.pem": "bob, who has signed",
        "identity --config there": "age1",
    }
    for line, said in lines.items():
        with pytest.raises(SystemExit):
            main(["lists", *line.split()])
        assert said in capsys.readouterr().out
