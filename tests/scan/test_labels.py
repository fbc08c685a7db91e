"""Verdicts find their rows by name alone; a verdict outweighs a match; what is known of and not certain is no background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.stored import Earlier, earlier, md5_of, pdq_of

from custodes.errors import InputError
from custodes.examine import Examiner
from custodes.handover.verdicts import Ruling, Verdict
from custodes.jobs import prepare_rematch
from custodes.ledger.manifest import ListUsed, fingerprint
from custodes.ledger.run import RunDirectory, shard_name
from custodes.lists.container import collect
from custodes.lists.matcher import Matcher
from custodes.lists.store import LoadedList, LoadedLists
from custodes.model import Entry, Kind, Meaning, Role
from custodes.scan import labels
from custodes.scan.labels import RowLabels, label_rows
from custodes.scan.shard import finding_namer

ROWS = 3  # of a shard


@pytest.fixture
def past(tmp_path: Path) -> Earlier:
    return earlier(tmp_path, 4, ROWS)


def examiner(*entries: Entry) -> Examiner:
    loaded = LoadedList("new", "", collect(entries or (Entry(Kind.MD5, bytes(16), "0", "A"),))[0], "iwf")
    return Examiner(Matcher(LoadedLists((loaded,))))


def said(past: Earlier, rows: dict[int, tuple[str, str] | str], run: RunDirectory | None = None) -> dict[str, Verdict]:
    """Verdicts on findings of these rows, as the authority would name them."""
    name = finding_namer((run or past.run).manifest, past.site.run_key())
    found = {}
    for row, given in rows.items():
        ruling, meaning = given if isinstance(given, tuple) else (given, "")
        finding = name(row // ROWS, row % ROWS)
        found[finding] = Verdict(finding=finding, verdict=Ruling(ruling), meaning=meaning)
    return found


def labelled(
    past: Earlier, verdicts: dict[str, Verdict], *entries: Entry, meaning: Meaning = Meaning.CSAM
) -> RowLabels:
    return label_rows(past.run, examiner(*entries), past.site.run_key(), verdicts, meaning)


def known(row: int, **changed: Any) -> Entry:
    return replace(Entry(Kind.MD5, md5_of(row), str(row), "A"), **changed)


def test_each_verdict_finds_its_row(past: Earlier) -> None:
    rows: dict[int, tuple[str, str] | str] = {
        0: "confirmed",
        4: ("confirmed", "csam"),
        5: "not",
        11: "unsure",
        7: ("confirmed", "ncii"),
    }
    found = labelled(past, said(past, rows))
    assert (found.positives, found.negatives, found.passed) == ({0, 4}, {5}, {7, 11})
    assert (found.verdicts_found, found.exact_matches) == (5, 0)
    assert [rows for _, rows in found.files] == [ROWS] * 4
    assert labelled(past, said(past, rows), meaning=Meaning.NCII).positives == {0, 7}


def test_rows_that_match_are_named_first_and_no_further_row_where_that_is_enough(
    past: Earlier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naming a row costs an HMAC, and a dataset has billions."""
    named: list[tuple[int, int]] = []

    def counting(manifest: Any, key: Any) -> Any:
        name = finding_namer(manifest, key)
        return lambda shard, row: named.append((shard, row)) or name(shard, row)

    monkeypatch.setattr(labels, "finding_namer", counting)
    assert labelled(past, said(past, {7: "confirmed"}), known(7), known(10)).positives == {7, 10}
    assert named == [(2, 1)]
    named.clear()
    assert labelled(past, said(past, {8: "confirmed"}), known(7)).positives == {7, 8}
    assert named[0] == (2, 1)
    assert len(named) == 9


def test_names_are_those_that_findings_bear(past: Earlier) -> None:
    past.know([4, 10], {})
    job = prepare_rematch(past.site, past.run.path, ["known"], workers=1)
    job.work(lambda _: None)
    findings = past.findings(job.run)
    verdicts = {each.id: Verdict(finding=each.id, verdict=Ruling.NOT) for each in findings}
    found = labelled(past, verdicts)  # named in a rematch, found by way of the run that it lies in
    assert found.negatives == {4, 10}
    assert found.verdicts_found == 2


def test_verdicts_on_other_findings_label_nothing(past: Earlier) -> None:
    other = Verdict(finding="0" * 32, verdict=Ruling.CONFIRMED)
    found = labelled(past, {other.finding: other})
    assert (found.positives, found.negatives, found.verdicts_found) == (set(), set(), 0)


CASES: dict[str, tuple[tuple[Entry, ...], set[int], set[int]]] = {
    "an exact match is an example": ((known(4),), {4}, set()),
    "also where it looks like something else too": ((known(4), Entry(Kind.PDQ, pdq_of(4), "p", "A")), {4}, set()),
    "what only looks like it is neither": ((Entry(Kind.PDQ, pdq_of(4), "p", "A"),), set(), {4}),
    "what is dismissed is neither": ((known(4), known(4, id="n", role=Role.NEGATIVE)), set(), {4}),
    "a harmless one is neither": ((known(4, role=Role.NEGATIVE),), set(), {4}),
    "a seed is neither": ((known(4, role=Role.SEED),), set(), {4}),
    "an unreviewed one is neither": ((known(4, assurance="unreviewed"),), set(), {4}),
    "a category that is not understood is neither": ((known(4, category="unheard of"),), set(), {4}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_lists_say_of_rows(past: Earlier, case: str) -> None:
    entries, positives, passed = CASES[case]
    found = labelled(past, {}, *entries)
    assert (found.positives, found.negatives, found.passed) == (positives, set(), passed)


@pytest.mark.parametrize(
    ("ruling", "positives", "negatives", "passed"),
    [("confirmed", {4}, set(), set()), ("not", set(), {4}, set()), ("unsure", set(), set(), {4})],
)
def test_a_verdict_outweighs_a_match(
    past: Earlier, ruling: str, positives: set[int], negatives: set[int], passed: set[int]
) -> None:
    found = labelled(past, said(past, {4: ruling}), known(4))
    assert (found.positives, found.negatives, found.passed, found.exact_matches) == (positives, negatives, passed, 0)


def rematch_by_hand(past: Earlier, number: int) -> RunDirectory:
    """A rematch with a list of its own."""
    lists = [ListUsed(id=f"list{number}", version="1-aaaaaaaaaaaa")]
    manifest = msgspec.structs.replace(
        past.run.manifest, lists=lists, parent=past.run.manifest.fingerprint, fingerprint=""
    )
    manifest = msgspec.structs.replace(manifest, fingerprint=fingerprint(manifest))
    return RunDirectory.create(past.run.path / "rematch" / str(number), manifest, past.site.run_key())


def test_a_row_with_findings_in_several_runs_needs_one_answer(past: Earlier) -> None:
    first, second = rematch_by_hand(past, 1), rematch_by_hand(past, 2)
    agreed = said(past, {0: "not", 1: "confirmed"}, first) | said(past, {0: "not", 1: "not"}, second)
    found = labelled(past, agreed)
    assert (found.positives, found.negatives, found.passed, found.verdicts_found) == (set(), {0}, {1}, 4)


def test_a_rematch_and_a_run_that_is_not_finished_are_refused(past: Earlier) -> None:
    again = rematch_by_hand(past, 1)
    with pytest.raises(InputError, match="is a rematch"):
        label_rows(again, examiner(), past.site.run_key(), {}, Meaning.CSAM)
    (past.run.path / shard_name(2, 0)).unlink()
    with pytest.raises(InputError, match="not finished: 3 of 4"):
        labelled(past, {})


def test_nothing_is_written(past: Earlier) -> None:
    def all_files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in past.site.path.parent.parent.rglob("*") if path.is_file()}

    before = all_files()
    labelled(past, said(past, {0: "confirmed"}), known(4))
    assert all_files() == before
