"""A run that made vectors is taught from and searched without naming any; one that made none, or by another model, says so."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from custodes.cli.main import cli
from custodes.errors import InputError, StorageError
from custodes.handover.verdicts import Ruling, Verdict, make_verdicts
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from custodes.scan.joining import model_of, vectors_of
from custodes.scan.shard import finding_namer
from custodes.similar.lesson import vectors_at
from tests.similar.embedding_world import Tiny, plain, tar_of, tiny
from tests.similar.looping import KEY
from tests.stored import earlier
from tests.world import make_site

FILES, ROWS = 2, 125
LISTED, REJECTED = range(40), range(125, 165)


@dataclass(frozen=True)
class Seen:
    """A scan of two tars with a model that sees their colours."""

    home: Path
    run: RunDirectory
    model: Tiny
    pictures: list[bytes]

    def command(self, *arguments: object) -> str:
        given = [*map(str, arguments), "--config", str(self.home / "site" / "custodes.toml")]
        result = CliRunner().invoke(cli, given, catch_exceptions=False)
        assert result.exit_code in (0, 1), result.output
        return result.output

    def teach(self, *more: object) -> str:
        return self.command("similar", "teach", self.run.path, "--out", self.home / "probes", *more)


def colour(row: int) -> bytes:
    if row in LISTED:
        return plain(200, 20, 30, row)
    return plain(30, 200, 20, row) if row in REJECTED else plain(20, 40, 200, row)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    home = tmp_path_factory.mktemp("seen")
    site, model = make_site(home / "site"), tiny(home / "model")
    pictures = [colour(row) for row in range(FILES * ROWS)]
    entries = [Entry(Kind.MD5, hashlib.md5(pictures[row]).digest(), str(row), "A") for row in LISTED]
    site.lists().import_entries("known", entries, Provenance(source="test", scheme="iwf"))
    site.path.write_text(site.path.read_text().replace("#verifiers = []", f'verifiers = ["{KEY.verifier}"]'))
    (home / "tars").mkdir()
    for number in range(FILES):
        tar_of(home / "tars" / f"{number}.tar", pictures[number * ROWS : (number + 1) * ROWS])
    made = Seen(home, None, model, pictures)  # type: ignore[arg-type]
    made.command("scan", home / "tars", "--run", home / "run", "--workers", 1, "--quiet", *model.options)
    run = RunDirectory.open(home / "run", site.run_key())
    named = finding_namer(run.manifest, site.run_key())
    given = [Verdict(finding=named(row // ROWS, row % ROWS), verdict=Ruling.NOT) for row in REJECTED]
    (home / "verdicts.json").write_bytes(make_verdicts(given, KEY, datetime(2026, 3, 1, tzinfo=UTC)))
    made.command("verdicts", "import", home / "verdicts.json")
    return Seen(home, run, model, pictures)


def test_the_runs_own_vectors_are_those_of_its_rows_in_order(seen: Seen) -> None:
    shards = vectors_of(None, None, [], seen.run)
    assert [shard.rows for shard in shards] == [ROWS] * FILES
    rows, vectors = vectors_at(shards, np.arange(FILES * ROWS))
    assert rows.tolist() == list(range(FILES * ROWS))
    assert np.array_equal(vectors, seen.model.vectors(seen.pictures).astype(np.float32))


def test_teaching_and_searching_need_no_vectors_and_no_name(seen: Seen) -> None:
    said = json.loads(seen.teach("--json"))
    assert (said["in_service"], said["rows"]["exact"], said["rows"]["without_vector"]) == (True, len(LISTED), 0)
    card = json.loads((seen.home / "probes" / said["version"] / "card.json").read_text())
    assert (card["model"], card["dimension"]) == ("tiny", 3)
    assert "nothing new was learnt" in seen.teach("--model", "tiny")
    found = json.loads(
        seen.command(
            "similar", "scan", seen.run.path, "--probes", seen.home / "probes", "--workers", 1, "--quiet", "--json"
        )
    )
    assert (found["complete"], found["rows"]) == (True, FILES * ROWS)


def test_another_model_than_the_runs_is_refused(seen: Seen) -> None:
    with pytest.raises(InputError, match="are of the model tiny, not of 'huge'"):
        seen.teach("--model", "huge")
    assert model_of(seen.run, None, "") == model_of(seen.run, None, "tiny") == "tiny"
    assert model_of(seen.run, "elsewhere", "huge") == "huge"  # other vectors of the same rows
    with pytest.raises(InputError, match="is not said"):
        model_of(seen.run, "elsewhere", "")


def test_a_column_is_of_files_that_are_named(seen: Seen) -> None:
    with pytest.raises(InputError, match="none are named"):
        vectors_of(None, "embedding", [], seen.run)


def test_a_run_without_vectors_says_what_to_do(tmp_path: Path) -> None:
    past = earlier(tmp_path, 1, 2)
    with pytest.raises(InputError, match="has no vectors of its own") as raised:
        vectors_of(None, None, [], past.run)
    assert "--vectors" in (raised.value.hint or "")
    with pytest.raises(InputError, match="has no vectors of its own"):
        model_of(past.run, None, "")


def test_vectors_that_were_changed_teach_nothing(seen: Seen) -> None:
    path = Path(seen.run.vector_files([seen.run.latest()[1]])[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x7f")
    try:
        with pytest.raises(StorageError, match="missing or was changed"):
            seen.teach()
    finally:
        path.write_bytes(whole)


def test_vectors_of_other_rows_than_the_records_are_refused(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    latest = seen.run.latest()
    wrong = {number: msgspec.structs.replace(record, rows=ROWS + 1) for number, record in latest.items()}
    monkeypatch.setattr(seen.run, "latest", lambda: wrong)
    with pytest.raises(InputError, match=r"125 vectors of 3 numbers, its shard has 126 rows"):
        vectors_of(None, None, [], seen.run)
