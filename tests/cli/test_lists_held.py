"""A version that a check speaks against: what one types, what one is told, and how one decides."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from tests.world import make_site

from custodes.cli.main import main
from custodes.config import Site


def md5(number: int) -> str:
    return hashlib.md5(b"pattern %d" % number).hexdigest()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "harmless.txt").write_text(f"md5 {md5(9)}\n")
    (tmp_path / "canaries.txt").touch(mode=0o600)
    (tmp_path / "canaries.txt").write_text(f"md5 {md5(1)}\n")
    checks = '[lists.demo.checks]\nharmless = "../harmless.txt"\ncanaries = "../canaries.txt"\n'
    return make_site(tmp_path / "site", checks)


def typed(site: Site, capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["lists", *map(str, words), "--config", str(site.path)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def file(tmp_path: Path, *numbers: int) -> Path:
    path = tmp_path / "list.txt"
    path.write_text("".join(f"md5 {md5(number)}\n" for number in numbers))
    return path


HARMLESS = "1 of 1 harmless images, which must match nothing, match"


def test_it_waits_and_is_accepted_or_rejected(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = typed(site, capsys, "import", file(tmp_path, 1, 9), "--list", "demo")
    assert (code, f"held, not in force: {HARMLESS}" in out) == (2, True)
    version = err.split()[5].rstrip(",")
    code, out, _ = typed(site, capsys, "show")
    assert out == f"demo  no version is in force\n  HELD: version {version}: {HARMLESS}\n"
    code, out, _ = typed(site, capsys, "show", "--json")
    assert json.loads(out) == {"list": "demo", "version": "", "held": {version: [HARMLESS]}}
    assert typed(site, capsys, "accept", "demo", version) == (0, f"list demo: version {version} is in force\n", "")
    code, out, _ = typed(site, capsys, "verify")
    assert (code, out) == (2, f"demo  NOT SOUND\n  version {version}, in force: {HARMLESS}\n")
    assert typed(site, capsys, "import", file(tmp_path, 1), "--list", "demo")[0] == 0
    assert typed(site, capsys, "verify")[:2] == (0, "demo  sound\n")
    code, out, _ = typed(site, capsys, "import", file(tmp_path, 2), "--list", "demo", "--json")
    said = json.loads(out)
    assert (code, said["held"]) == (2, ["1 of 1 canaries, which must be in it, are not"])
    code, out, _ = typed(site, capsys, "show")
    assert f"HELD: version {said['version']}" in out
    assert typed(site, capsys, "reject", "demo", said["version"])[0] == 0
    assert "HELD" not in typed(site, capsys, "show")[1]


def test_a_dry_run_says_what_would_be_held(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = typed(site, capsys, "import", file(tmp_path, 1, 9), "--list", "demo", "--dry-run")
    assert (code, f"would be held: {HARMLESS}" in out) == (0, True)
    assert "demo" not in typed(site, capsys, "show")[1]


def test_canaries_that_others_can_read_are_refused(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "canaries.txt").chmod(0o644)
    code, _, err = typed(site, capsys, "import", file(tmp_path, 1), "--list", "demo")
    assert (code, "can be read by others" in err) == (2, True)


def test_a_stale_list_that_must_be_fresh_stops_what_would_use_it(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(site, capsys, "import", file(tmp_path, 1), "--list", "demo")[0] == 0
    text = site.path.read_text().replace(
        "[lists.demo.checks]\n", '[lists.demo.checks]\nstale_after_h = 1e-9\nwhen_stale = "refuse"\n'
    )
    site.path.write_text(text)
    assert "STALE: last confirmed" in typed(site, capsys, "show")[1]
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "list.txt"), "--config", str(site.path)])
    assert (ended.value.code, "list demo is stale" in capsys.readouterr().err) == (2, True)
