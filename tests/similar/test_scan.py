"""``custodes similar scan``, whole: suspects chosen, sealed, judged, and searched again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from custodes.cli.main import cli
from custodes.errors import CustodesError, InputError, SourceError, StorageError
from custodes.handover.finding import Finding
from custodes.handover.verdicts import Ruling, Verdict, make_verdicts
from custodes.jobs import SimilarRequest, prepare_similar
from custodes.ledger.run import RunDirectory
from custodes.scan.labels import label_rows
from custodes.scan.shard import finding_namer
from custodes.scan.similar import Wanted
from custodes.scan.similar_runs import selection_of
from tests.similar.looping import CONFIRMED, FILES, KEY, LISTED, ROWS, Loop, first_words, looped
from tests.similar.teaching import photos


@dataclass(frozen=True)
class Answer:
    """What a scan said, and what the authority received."""

    said: dict[str, Any]
    run: RunDirectory
    findings: list[Finding]

    @property
    def rows(self) -> list[int]:
        return sorted(row_of(each) for each in self.findings)

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = self.said["similar"]
        return found


def row_of(finding: Finding) -> int:
    return int(finding.file[-11:-8]) * ROWS + finding.row


def scanned(loop: Loop, *options: str | Path) -> Answer:
    said = json.loads(ran(loop, "--json", *options))
    run = RunDirectory.open(Path(said["run"]), loop.past.site.run_key())
    return Answer(said, run, loop.past.findings(run))


def ran(loop: Loop, *options: str | Path) -> str:
    given = ("--vectors", loop.home / "vectors", "--model", "numbers", "--quiet", "--workers", "1", *options)
    arguments = ["similar", "scan", str(loop.past.run.path), *map(str, given), *loop.past.config]
    return CliRunner().invoke(cli, arguments, catch_exceptions=False).output


def judged(loop: Loop, findings: Sequence[Finding], day: int, wrong: Sequence[int] = ()) -> None:
    """The authority says what each is; it is right, but of some rows it is unsure."""
    said = []
    for finding in findings:
        right = Ruling.CONFIRMED if row_of(finding) in CONFIRMED else Ruling.NOT
        said.append(Verdict(finding=finding.id, verdict=Ruling.UNSURE if row_of(finding) in wrong else right))
    path = loop.home / f"said{day}.json"
    path.write_bytes(make_verdicts(said, KEY, loop.day(day)))
    loop.run("verdicts", "import", path)


def change(loop: Loop, rows: dict[int, Any]) -> None:
    """Other vectors in these rows."""
    for number in range(FILES):
        path = loop.home / "vectors" / f"{number:03}.npy"
        vectors = np.load(path)
        for row, vector in rows.items():
            if row // ROWS == number:
                vectors[row % ROWS] = vector
        np.save(path, vectors)


def vector_of(loop: Loop, row: int) -> Any:
    return np.load(loop.home / "vectors" / f"{row // ROWS:03}.npy")[row % ROWS]


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    return looped(tmp_path)


def test_what_lies_near_the_listed_photos_is_handed_over_as_suspects(loop: Loop) -> None:
    answer = scanned(loop, "--budget", "20")
    assert len(answer.rows) == len(set(answer.rows)) == 20
    assert not set(answer.rows) & set(LISTED)
    assert len(set(answer.rows) & set(CONFIRMED)) > 15  # of 40 among 350
    assert answer.said["exit_code"] == 1
    assert answer.said["coverage"] == {"similar": FILES * ROWS}
    assert answer.told["scored"] == answer.told["rows"] == FILES * ROWS
    for finding in answer.findings:
        assert finding.decision, finding.rule == ("hold", "similar")
        assert finding.matches == ()
        assert finding.passes == ("similar",)
        assert finding.url == f"http://a.test/{row_of(finding)}"
        assert finding.digests["md5"]
        assert finding.suspicion is not None
        assert finding.suspicion.model == "numbers"
        assert finding.suspicion.photo == finding.id
        assert finding.suspicion.score is None
        assert 0 < (finding.suspicion.cosine or 0) <= 1
    ranks = {finding.suspicion.rank: finding.suspicion.cosine or 0 for finding in answer.findings if finding.suspicion}
    assert sorted(ranks) == list(range(1, 21))
    assert [ranks[rank] for rank in sorted(ranks)] == sorted(ranks.values(), reverse=True)


def test_the_same_again_hands_nothing_over(loop: Loop) -> None:
    first = scanned(loop, "--budget", "20")
    again = scanned(loop, "--budget", "20")
    assert again.run.path == first.run.path
    assert again.said["findings"] == 20
    assert len(list(first.run.path.parent.iterdir())) == 1


def test_nothing_at_rest_says_which_rows_are_suspects(loop: Loop) -> None:
    before = {path for path in loop.home.rglob("*") if path.is_file()}
    answer = scanned(loop, "--budget", "20")
    written = {path: path.read_bytes() for path in loop.home.rglob("*") if path.is_file() and path not in before}
    assert len(written) > FILES
    secrets = [text.encode() for each in answer.findings for text in (each.id, each.url, each.digests["md5"])]
    assert secrets_in(written, secrets) == []
    planted = {loop.home / "leak": b"..." + secrets[0] + b"..."}
    assert secrets_in(planted, secrets) == [loop.home / "leak"]
    assert len(answer.run.sealed_files()) == FILES  # every shard has one, with suspects and without


def secrets_in(written: dict[Path, bytes], secrets: Sequence[bytes]) -> list[Path]:
    return [path for path, data in written.items() if any(secret in data for secret in secrets)]


def test_the_loop_finds_more_with_each_round_and_hands_nothing_over_twice(loop: Loop) -> None:
    seen: list[int] = []
    precision = []
    for day in range(1, 4):
        probes = ("--probes", loop.home / "probes") if day > 1 else ()
        answer = scanned(loop, "--budget", "60", "--from", "0", *probes)
        assert not set(answer.rows) & set(seen)
        assert answer.told["waiting"] == 0
        seen += answer.rows
        precision.append(len(set(answer.rows) & set(CONFIRMED)))
        judged(loop, answer.findings, day)
        if day < 3:
            loop.teach_few()
    assert answer.told["probe"]
    assert answer.told["confirmed"] == len(LISTED) + sum(precision[:2])
    assert answer.told["rejected"] == 120 - sum(precision[:2])
    assert precision[0] > 20  # of 40
    assert sum(precision) >= 38


def test_what_suspects_were_worth_stands_beside_the_next_ones(loop: Loop) -> None:
    first = scanned(loop, "--budget", "30")
    judged(loop, first.findings, 1, wrong=range(10, 20))
    unsure = len(set(first.rows) & set(range(10, 20)))
    assert unsure
    answer = scanned(loop, "--budget", "30")
    everything = next(each for each in answer.told["precision"] if each["slice"] == "all")
    assert everything["judged"] == 30
    assert everything["confirmed"] == len(set(first.rows) & set(CONFIRMED)) - unsure  # who was unsure did not confirm
    sealed = [each.suspicion.measured for each in answer.findings if each.suspicion]
    assert all(measured[0].slice == "all" and measured[0].judged == 30 for measured in sealed)
    assert any(each.slice == "host a.test" for each in sealed[0])
    assert not any(each["slice"].startswith("host") for each in answer.told["precision"])
    assert f"all: {everything['confirmed']} of 30 judged" in ran(loop, "--budget", "30")
    page = (answer.run.path / "report.html").read_text()
    assert "a.test" not in page
    assert "A suspect looks like a confirmed photo to a model" in page


def test_the_authority_is_not_sent_more_than_it_can_judge(loop: Loop) -> None:
    first = scanned(loop, "--budget", "20")
    judged(loop, first.findings[:5], 1)
    second = scanned(loop, "--budget", "20")
    assert second.told["waiting"] == 15
    assert len(second.rows) == 5
    assert not set(second.rows) & set(first.rows)
    with pytest.raises(InputError, match="more than the authority wants to judge: 1,000"):
        ran(loop, "--budget", "1001")
    assert scanned(loop, "--budget", "0").said["exit_code"] == 0


def test_a_photo_in_many_rows_is_one_suspect_with_all_its_rows(loop: Loop) -> None:
    nearest = vector_of(loop, 0) + np.float16(0.1)
    change(loop, dict.fromkeys((200, 201, 300), nearest))
    answer = scanned(loop, "--budget", "1")
    assert answer.rows == [200, 201, 300]
    assert len({each.suspicion.photo for each in answer.findings if each.suspicion}) == 1
    assert (answer.told["photos"], answer.told["suspects"]) == (1, 3)
    assert answer.told["left_out"] > 0


def test_copies_of_a_confirmed_photo_are_handed_over_beside_the_budget(loop: Loop) -> None:
    """By its recorded digest one row is confirmed; another shows the same photo, and has no digest on a list."""
    change(loop, {300: vector_of(loop, 0)})
    answer = scanned(loop, "--budget", "2")
    copies = [each.suspicion for each in answer.findings if row_of(each) == 300]
    named = finding_namer(answer.run.manifest, loop.past.site.run_key())
    assert [(each.rank, each.photo) for each in copies if each] == [(0, named(0, 0))]
    assert (answer.told["photos"], answer.told["joined"], len(answer.rows)) == (2, 1, 3)
    judged(loop, [each for each in answer.findings if row_of(each) != 300], 1)
    again = scanned(loop, "--budget", "2")
    assert (again.told["waiting"], again.told["photos"]) == (0, 2)  # the copy waits for nothing
    assert 300 not in again.rows


def test_copies_of_a_rejected_photo_are_left_alone(loop: Loop) -> None:
    path = loop.verdicts({200: Ruling.NOT})
    loop.run("verdicts", "import", path)
    nearest = vector_of(loop, 0) + np.float16(0.1)
    change(loop, {200: nearest, 300: nearest})
    assert 300 not in scanned(loop, "--budget", "20").rows


def test_further_rows_of_a_photo_follow_it_and_take_nothing_of_the_budget(loop: Loop) -> None:
    nearest = vector_of(loop, 0) + np.float16(0.1)
    change(loop, {200: nearest, 300: nearest})
    first = scanned(loop, "--budget", "1", "--top", "1", "--above", "0.99")
    assert first.rows == [200]
    second = scanned(loop, "--budget", "1", "--top", "5")
    assert second.rows == [300]
    assert (second.told["photos"], second.told["joined"], second.told["waiting"]) == (0, 1, 1)
    assert second.findings[0].suspicion is not None
    assert second.findings[0].suspicion.photo == first.findings[0].id


def test_a_photo_that_was_joined_by_a_row_later_waits_once_and_is_judged_by_any_of_its_rows(loop: Loop) -> None:
    nearest = vector_of(loop, 0) + np.float16(0.1)
    change(loop, {200: nearest, 300: nearest})
    first = scanned(loop, "--budget", "1", "--top", "1", "--above", "0.99")
    assert scanned(loop, "--budget", "1", "--top", "5").told["joined"] == 1
    judged(loop, first.findings, 1)
    third = scanned(loop, "--budget", "3")
    assert (third.told["waiting"], third.told["photos"]) == (0, 3)


def test_further_rows_of_a_rejected_photo_are_left_alone(loop: Loop) -> None:
    nearest = vector_of(loop, 0) + np.float16(0.1)
    change(loop, {200: nearest, 300: nearest})
    judged(loop, scanned(loop, "--budget", "1", "--top", "1", "--above", "0.99").findings, 1)
    second = scanned(loop, "--budget", "5")
    assert 300 not in second.rows
    assert second.told["photos"] == 5


def test_a_verdict_on_a_suspect_is_found_again_after_the_lists_have_changed(loop: Loop) -> None:
    answer = scanned(loop, "--budget", "5")
    loop.past.know([350], {})
    site = loop.past.site
    said = {each.id: Verdict(finding=each.id, verdict=Ruling.CONFIRMED) for each in answer.findings}
    labels = label_rows(loop.past.run, site.examiner(), site.run_key(), said, Wanted(model="").meaning)
    assert labels.verdicts_found == 5
    assert labels.positives >= set(answer.rows)


# -- stopped half-way


def request_of(loop: Loop) -> SimilarRequest:
    wanted = Wanted(model="numbers", budget=20)
    return SimilarRequest(run=loop.past.run.path, vectors=str(loop.home / "vectors"), wanted=wanted, workers=1)


def test_a_scan_that_stopped_after_it_chose_goes_on_with_what_it_chose(loop: Loop) -> None:
    job = prepare_similar(loop.past.site, request_of(loop))
    job.lock.close()
    chosen = selection_of(job.run)
    assert chosen is not None
    path = loop.verdicts(first_words())
    loop.run("verdicts", "import", path)  # the question would be another now
    answer = scanned(loop, "--budget", "7")
    assert answer.run.path == job.run.path
    assert len(answer.rows) == 20
    assert {each.id for each in answer.findings} == {
        suspect.suspicion.photo for suspects in chosen.suspects.values() for suspect in suspects
    }


class StopError(Exception):
    """The machine went down."""


def test_a_scan_that_stopped_while_it_read_chooses_the_same(loop: Loop) -> None:
    def stop(done: int) -> None:
        if done > ROWS:
            raise StopError

    with pytest.raises(StopError):
        prepare_similar(loop.past.site, request_of(loop), stop)
    answer, undisturbed = scanned(loop, "--budget", "20"), looped(loop.home / "other")
    assert len(list(answer.run.path.parent.iterdir())) == 1
    assert not (answer.run.path / "parts").exists()
    assert answer.rows == scanned(undisturbed, "--budget", "20").rows


def test_a_scan_that_stopped_before_it_chose_and_was_asked_otherwise_is_swept_away(loop: Loop) -> None:
    def stop(_: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        prepare_similar(loop.past.site, request_of(loop), stop)
    assert len(list((loop.past.run.path / "similar").iterdir())) == 1
    answer = scanned(loop, "--budget", "3")
    assert list((loop.past.run.path / "similar").iterdir()) == [answer.run.path]


def test_two_scans_of_a_run_at_once_are_refused(loop: Loop) -> None:
    job = prepare_similar(loop.past.site, request_of(loop))
    with pytest.raises(InputError, match="in use by another custodes process"):
        ran(loop, "--budget", "20")
    job.lock.close()


# -- what cannot be used


def test_vectors_that_say_nothing_are_counted_and_never_handed_over(loop: Loop) -> None:
    none = np.zeros(16, dtype="<f2")
    nan = np.full(16, np.nan, dtype="<f2")
    change(loop, {20: none, 21: nan, 22: np.full(16, np.inf, dtype="<f2"), 350: none})
    answer = scanned(loop, "--budget", "100")
    assert answer.told["scored"] == FILES * ROWS - 4
    assert answer.said["coverage"] == {"similar": FILES * ROWS - 4}
    assert not {20, 21, 22, 350} & set(answer.rows)
    assert "4 rows without a vector that says anything" in ran(loop, "--budget", "100")


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (lambda path: path.unlink(), SourceError, "2 files of vectors"),
        (lambda path: np.save(path, np.load(path)[:-1]), SourceError, "119 vectors, and stands where"),
        (lambda path: np.save(path, np.load(path)[:, :8]), SourceError, "has vectors of 8 numbers"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2]), SourceError, "001.npy is truncated"),
        (lambda path: path.write_bytes(b"not vectors"), SourceError, "has no header of an .npy file"),
        (lambda path: np.save(path, np.load(path).astype("<f8")), SourceError, "must be fp16"),
    ],
    ids=["missing", "short", "dimension", "truncated", "no npy", "type"],
)
def test_vectors_that_are_not_the_runs_are_refused_and_nothing_is_scored(
    loop: Loop, spoil: Any, error: type[CustodesError], said: str
) -> None:
    spoil(loop.home / "vectors" / "001.npy")
    with pytest.raises(error) as raised:
        ran(loop)
    assert said in f"{raised.value} {raised.value.hint}"
    assert not (loop.past.run.path / "similar").exists()


def test_metadata_of_another_dataset_is_refused(loop: Loop) -> None:
    (loop.home / "laion" / "metadata").mkdir(parents=True)
    (loop.home / "vectors").rename(loop.home / "laion" / "img_emb")
    for number in range(FILES):
        source = loop.past.plan.files[number].path
        (loop.home / "laion" / "metadata" / f"metadata_{number + 1}.parquet").write_bytes(Path(source).read_bytes())
    with pytest.raises(SourceError, match="number 0 has vectors and no metadata") as raised:
        ran(loop, "--vectors", loop.home / "laion")
    assert "metadata of another dataset" in (raised.value.hint or "")


def test_without_anything_confirmed_there_is_nothing_to_search_near(loop: Loop) -> None:
    loop.run("lists", "remove", "known")
    with pytest.raises(InputError, match="nothing to search near"):
        ran(loop)


def test_seeds_of_the_users_own_are_searched_near(loop: Loop) -> None:
    loop.run("lists", "remove", "known")
    np.save(loop.home / "seeds.npy", photos(10, 3, 1)[:5])
    answer = scanned(loop, "--seeds", loop.home / "seeds.npy", "--budget", "20")
    assert answer.told["confirmed"] == 5
    assert len(set(answer.rows) & {*LISTED, *CONFIRMED}) > 15
    np.save(loop.home / "seeds.npy", np.ones((2, 8), dtype="<f4"))
    with pytest.raises(SourceError, match="vectors have 16 numbers, seeds 8"):
        ran(loop, "--seeds", loop.home / "seeds.npy")


def test_a_probe_of_another_model_or_none_is_refused(loop: Loop) -> None:
    with pytest.raises(InputError, match="no probe is in service"):
        ran(loop, "--probes", loop.home / "probes")
    loop.teach("--verdicts", loop.verdicts(first_words()))
    with pytest.raises(InputError, match=r"the probe in .* is of the model 'numbers', and the vectors are of 'others'"):
        ran(loop, "--probes", loop.home / "probes", "--model", "others")


def test_a_damaged_selection_is_an_error_and_not_a_new_choice(loop: Loop) -> None:
    answer = scanned(loop, "--budget", "20")
    path = answer.run.path / "suspects"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="suspects cannot be read back"):
        ran(loop, "--budget", "20")


def test_the_bytes_of_a_run_that_examined_them_are_not_fetched_again(loop: Loop) -> None:
    with pytest.raises(InputError, match="were examined already"):
        ran(loop, "--then", "bytes")


def test_files_whose_scores_drift_are_named(tmp_path: Path) -> None:
    loop = looped(tmp_path, rows=1200)
    vectors = np.load(loop.home / "vectors" / "002.npy")
    vectors[:, 0] += np.float16(2)
    np.save(loop.home / "vectors" / "002.npy", vectors)
    answer = scanned(loop, "--budget", "5")
    assert [Path(each["file"]).name for each in answer.told["drift"]][:1] == ["002.npy"]
    assert "of vectors. Scores there differ" in ran(loop, "--budget", "5").replace("\n   ", " ")
