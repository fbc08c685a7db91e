"""``lists import`` and ``lists export`` as one types them: saved maps, sealed exports, and what ``--json`` says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.world import make_site

from custodes.cli.main import main
from custodes.config import Site
from custodes.crypto.seal import create_identity
from custodes.lists.container import decode

MD5 = hashlib.md5(b"entry 1").hexdigest()
SAVED = '\n[maps.iwf-style]\nSHA-1 = "Hash (b32)"\nmd5 = "Hash (b64)"\nID = "Ref"\ncategory = "Grade"\n'


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "site", SAVED)


def typed(site: Site, capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["lists", *map(str, words), "--config", str(site.path)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def answered(site: Site, capsys: pytest.CaptureFixture[str], *words: str | Path) -> Any:
    code, out, err = typed(site, capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def table(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_text(f"Hash (b64),Hash (b32),Ref,Grade\n{MD5},,7,A\n{MD5},,7,A\n")
    return path


def test_a_map_of_the_configuration_is_used_by_its_name(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = answered(site, capsys, "import", table(tmp_path), "--list", "a", "--map", "iwf-style", "--scheme", "iwf")
    assert (said["records"], said["entries"], said["skipped"]) == (2, {"md5": 1}, 1)
    assert (said["skipped_reasons"], said["skipped_rows"], said["scheme"]) == ({"repeat": 1}, [], "iwf")
    code, _, err = typed(site, capsys, "import", table(tmp_path), "--list", "a", "--map", "other")
    assert (code, "maps there are: iwf-style" in err) == (2, True)


@pytest.mark.parametrize(
    "section",
    ['[maps.x]\ncolour = "A"', '[maps.x]\nvalue = ""', "[maps.x]\nvalue = 1", '[maps.x]\nmd5 = "A"\nMD5 = "B"'],
)
def test_a_malformed_map_of_the_configuration_is_refused_when_it_is_read(
    site: Site, capsys: pytest.CaptureFixture[str], section: str
) -> None:
    site.path.write_text(site.path.read_text() + section)
    code, _, err = typed(site, capsys, "show")
    assert (code, "maps" in err) == (2, True)


def test_a_sealed_export_goes_to_its_recipients_alone(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (secret, recipient), (other, _) = create_identity(), create_identity()
    for name, text in (("mine", secret), ("other", other)):
        (tmp_path / name).write_text(f"# a key\n{text}\n")
    answered(site, capsys, "import", table(tmp_path), "--list", "a", "--map", "iwf-style", "--scheme", "iwf")
    out = tmp_path / "out.age"
    said = answered(site, capsys, "export", "a", "--to", out, "--recipient", recipient)
    assert (said["entries"], said["sealed"], oct(out.stat().st_mode)) == (1, True, "0o100600")
    assert MD5.encode() not in out.read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []

    back = answered(site, capsys, "import", out, "--list", "b", "--identity", tmp_path / "mine")
    assert (back["entries"], back["scheme"], back["format"]) == ({"md5": 1}, "iwf", "custodes")
    store = site.lists()
    contents = {name: decode(store.plaintext(name, version))[1] for name, version in store.current().items()}
    assert contents["a"].kinds.keys() == contents["b"].kinds.keys()
    assert contents["a"].id_text.tobytes() == contents["b"].id_text.tobytes()

    for words, reason in [
        ([], "is sealed"),
        (["--identity", tmp_path / "other"], "cannot open the sealed file"),
        (["--identity", tmp_path / "absent"], "cannot be read"),
    ]:
        code, _, err = typed(site, capsys, "import", out, "--list", "c", *words)
        assert (code, reason in err, secret in err) == (2, True, False)
    out.write_bytes(out.read_bytes()[:-1])
    assert typed(site, capsys, "import", out, "--list", "c", "--identity", tmp_path / "mine")[0] == 2
    assert store.ids() == ["a", "b"]


def test_planted_fault_an_export_in_the_clear_is_seen(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(site, capsys, "import", table(tmp_path), "--list", "a", "--map", "iwf-style")
    answered(site, capsys, "export", "a", "--to", tmp_path / "out", "--unsafe-plaintext")
    assert MD5.encode() in (tmp_path / "out").read_bytes()


def test_a_private_key_given_as_recipient_is_refused_unseen(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, _ = create_identity()
    answered(site, capsys, "import", table(tmp_path), "--list", "a", "--map", "iwf-style")
    code, _, err = typed(site, capsys, "export", "a", "--to", tmp_path / "out", "--recipient", secret)
    assert (code, secret in err, (tmp_path / "out").exists()) == (2, False, False)


def test_a_dry_run_writes_nothing(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = answered(site, capsys, "import", table(tmp_path), "--list", "a", "--map", "iwf-style", "--dry-run")
    assert (said["dry_run"], said["version"], said["records"], said["entries"]) == (True, "", 2, {"md5": 1})
    assert said["roles"] == {"confirmed": 1}
    assert site.lists().ids() == []
    (tmp_path / "bad.csv").write_text("md5\nnot a digest\n")
    assert typed(site, capsys, "import", tmp_path / "bad.csv", "--list", "a", "--dry-run")[0] == 2
