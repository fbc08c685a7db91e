"""The terminal summary says in a screen what matters, and the JSON says all of it."""

from __future__ import annotations

import json
import unicodedata

import msgspec
import pytest
import sample_reports

from custodes.model import OutcomeName, Reason
from custodes.scan.report import RunReport
from custodes.scan.summary import LINES_MAX, json_line, summary

ORDINARY = """\
Scan of gallery.parquet
  12,000 of 12,000 rows, 6 of 6 shards, 3 min 12 s, 62 rows/s, 515 MB of images

 ! The examination of 50 rows went wrong. The reasons are among those below.

  examined     8,412  70.1 %
  unavailable  3,388  28.2 %
  undecodable    150   1.2 %
  failed          50   0.4 %

Reasons, most common first
  http_404          404 not found              1,801  15.0 %
  dns               Host name unknown            922   7.7 %
  http_403          403 forbidden                340   2.8 %
  columns_only      Recorded digest only         249   2.1 %
  timeout           No answer in time            180   1.5 %
  not_image         Not an image                 145   1.2 %
  broken            Broken image                 140   1.2 %
  partial_damaged   Damaged, examined in part     61   0.5 %
  and 2 more reasons, 60 rows

3 findings, sealed to age1ql3z7hjy…mcac8p
  list  hotline/known    3
  list  centre/shared    1
  rule  exact-confirmed  2
  rule  near-confirmed   1

Lists    hotline/known (2026-11-01), centre/shared (v118)
Passes   columns, bytes
Decoder  landlock abi 4 + seccomp

Next
  hand runs/gallery/findings to the authority, which opens it with:
    custodes open runs/gallery/findings --identity KEY
  try unavailable rows again: custodes scan … --retry unavailable"""


def test_an_ordinary_run_reads_so() -> None:
    assert summary(sample_reports.ordinary()) == ORDINARY


def test_a_run_without_findings_says_how_much_was_out_of_reach() -> None:
    text = summary(sample_reports.nothing_found())
    assert "\nNo finding. 8,412 rows examined, 3,588 out of reach.\n" in text
    assert "custodes open" not in text


def test_grave_cautions_come_before_every_figure_of_rows() -> None:
    text = summary(sample_reports.unsafe())
    assert text.index("!! Demonstration only.") < text.index("!! Unsafe options") < text.index("  examined")


def test_an_unfinished_run_is_told_how_to_go_on() -> None:
    text = summary(sample_reports.untouched())
    assert " ! This run is not finished. 0 of 6 shards are done. The 500 rows left have not been looked at and" in text
    assert "\n  start the same command again: the run goes on where it stopped" in text


def test_rows_are_not_proposed_for_another_try_if_that_is_hopeless() -> None:
    assert "--retry" not in summary(sample_reports.report_with({Reason.HTTP_404: 5, Reason.MALFORMED_ROW: 1}))
    assert "--retry" not in summary(sample_reports.report_with({Reason.DNS: 5}, passes=["columns"]))
    assert "--retry failed" in summary(sample_reports.report_with({Reason.CARRIER_DIED: 1}))


def test_the_warning_level_is_the_callers() -> None:
    assert "out of reach. 3,588" not in summary(sample_reports.ordinary())
    assert "out of reach. 3,588" in summary(sample_reports.ordinary(), unexamined_warning_share=0.2)


def test_long_lists_are_cut_and_what_is_cut_is_added_up() -> None:
    names = {f"list-{i}": 10 for i in range(LINES_MAX + 2)}
    text = summary(sample_reports.report_with({Reason.FULL: 1000}, findings=100, findings_by_list=names))
    assert "  list  and 2 more  20\n" in text


def steering(text: str) -> set[str]:
    """Characters that steer a terminal or the reader's eye."""
    return {
        char for char in text if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    }


@pytest.mark.parametrize("sample", sample_reports.SAMPLES.values(), ids=sample_reports.SAMPLES)
def test_a_summary_cannot_steer_the_terminal_and_never_says_clean(sample) -> None:
    text = summary(sample())
    assert steering(text) == set()
    assert "clean" not in text.lower()
    assert not any(line != line.rstrip() for line in text.splitlines())
    text.encode()


def test_the_check_of_summaries_sees_a_planted_fault(monkeypatch) -> None:
    monkeypatch.setattr("custodes.scan.summary.visible", lambda text, chars_max=300: text)
    assert {"\x1b", "\u202e", "\ud800"} <= steering(summary(sample_reports.hostile()))


def test_a_very_long_name_leaves_the_summary_short() -> None:
    assert len(summary(sample_reports.hostile("x" * 100_000))) < 10_000


def test_a_command_to_copy_survives_a_path_with_spaces_and_quotes() -> None:
    report = msgspec.structs.replace(sample_reports.ordinary(), run="my runs; rm -r '~'")
    assert """custodes open 'my runs; rm -r '"'"'~'"'"'/findings' --identity KEY""" in summary(report)


@pytest.mark.parametrize("sample", [f for name, f in sample_reports.SAMPLES.items() if "hostile" not in name])
def test_the_document_is_the_report_without_its_curve(sample) -> None:
    report = sample()
    document = json.loads(msgspec.json.encode(json_line(report)))
    assert set(document) == set(RunReport.__struct_fields__) - {"throughput"}
    assert list(document["outcomes"]) == [name.value for name in OutcomeName]
    assert document["reasons"] == {reason.value: rows for reason, rows in report.reasons.items()}
    assert msgspec.convert(document | {"throughput": []}, RunReport) == msgspec.structs.replace(report, throughput=[])


def test_the_document_has_all_four_outcomes_even_if_the_report_has_not() -> None:
    report = sample_reports.report_with({}, outcomes={OutcomeName.EXAMINED: 2})
    assert json_line(report)["outcomes"] == {"examined": 2, "unavailable": 0, "undecodable": 0, "failed": 0}
