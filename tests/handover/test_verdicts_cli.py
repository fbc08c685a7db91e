"""The commands tell counts, and nothing of any finding."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from custodes.cli.main import cli
from custodes.config import load_site
from custodes.errors import ConfigError, CustodesError
from custodes.handover.verdicts import make_verdicts
from tests.handover.test_verdicts import KEY, changed_payload, file, said
from tests.world import make_site


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = make_site(tmp_path / "site").path
    path.write_text(path.read_text().replace("#verifiers = []", f'verifiers = ["{KEY.verifier}"]'))
    return str(path)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_import_and_show(tmp_path: Path, config: str) -> None:
    signed = tmp_path / "signed.json"
    signed.write_bytes(file(said(1), said(2, "not"), said(3, "not")))
    first = run("verdicts", "import", str(signed), "--config", config)
    assert first == "authority.example, 2026-03-01T12:00:00+00:00: 1 confirmed, 2 not, 0 unsure\n"
    assert "imported before" in run("verdicts", "import", str(signed), "--config", config)
    signed.write_bytes(make_verdicts([said(2)], KEY, datetime(2026, 3, 2, tzinfo=UTC)))
    said_again = json.loads(run("verdicts", "import", str(signed), "--config", config, "--json"))
    assert said_again["new"] is True
    assert run("verdicts", "show", "--config", config) == "2 files: 2 confirmed, 1 not, 0 unsure\n"
    assert json.loads(run("verdicts", "show", "--config", config, "--json")) == {
        "files": 2,
        "verdicts": {"confirmed": 2, "not": 1, "unsure": 0},
    }


def test_a_file_that_was_changed_and_one_that_is_not_there_are_refused(tmp_path: Path, config: str) -> None:
    signed = tmp_path / "signed.json"
    for prepared in (lambda: None, lambda: signed.write_bytes(changed_payload(file(said(1, "not"))))):
        prepared()
        with pytest.raises(CustodesError):
            run("verdicts", "import", str(signed), "--config", config)
    assert run("verdicts", "show", "--config", config) == "0 files: 0 confirmed, 0 not, 0 unsure\n"


def test_without_a_key_of_the_authority_nothing_is_imported(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site")
    with pytest.raises(ConfigError, match="names no key of the authority"):
        load_site(str(site.path)).verdicts()
