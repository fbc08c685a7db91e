"""Every reason has its words, no rounding hides a row, and foreign text cannot pretend to be something else."""

from __future__ import annotations

import unicodedata

import pytest
import sample_reports
from hypothesis import given
from hypothesis import strategies as st

from custodes.model import OutcomeName, Reason
from custodes.scan import wording
from custodes.scan.report import RunReport
from custodes.scan.wording import (
    OUTCOMES,
    PASSING,
    REASON_WORDS,
    cautions,
    count,
    count_of,
    duration,
    percent,
    reason_counts,
    short_key,
    size,
    visible,
)


def test_every_reason_and_every_outcome_has_its_words() -> None:
    assert set(REASON_WORDS) == set(Reason)
    assert set(OUTCOMES) == set(OutcomeName)
    for label, sentence in REASON_WORDS.values():
        assert 0 < len(label) <= 30
        assert label[0].isupper() or label[0].isdigit()
        assert sentence.endswith(".")
        assert len(sentence) > len(label)


def test_no_two_reasons_read_alike() -> None:
    assert len({words.label for words in REASON_WORDS.values()}) == len(Reason)
    assert len({words.sentence for words in REASON_WORDS.values()}) == len(Reason)


def test_no_word_says_clean() -> None:
    text = " ".join(" ".join(words) for words in REASON_WORDS.values()) + " ".join(OUTCOMES.values())
    assert not {"clean", "safe", "harmless", "innocent"} & set(text.lower().replace(".", " ").replace(",", " ").split())


def test_only_reasons_that_may_pass_are_proposed_for_another_try() -> None:
    assert Reason.HTTP_404 not in PASSING
    assert Reason.BLOCKED_ADDRESS not in PASSING
    assert {Reason.DNS, Reason.TIMEOUT, Reason.HTTP_5XX} <= PASSING


PERCENTAGES = {
    "nothing of nothing": (0, 0, "n/a"),
    "nothing": (0, 7, "0 %"),
    "all": (7, 7, "100 %"),
    "half": (1, 2, "50.0 %"),
    "one row of five billion": (1, 5_526_641_167, "<0.1 %"),
    "all but one of five billion": (5_526_641_166, 5_526_641_167, ">99.9 %"),
    "just below the rounding": (49, 100_000, "<0.1 %"),
    "just above the rounding": (51, 100_000, "0.1 %"),
}


@pytest.mark.parametrize(("part", "whole", "text"), PERCENTAGES.values(), ids=PERCENTAGES)
def test_rounding_never_makes_something_nothing_or_nearly_all_all(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


@given(st.integers(0, 10**12), st.integers(1, 10**12), st.integers(0, 3))
def test_a_share_reads_zero_or_hundred_only_if_it_is(part: int, whole: int, digits: int) -> None:
    part = min(part, whole)
    text = percent(part, whole, digits)
    assert (text == "0 %") == (part == 0)
    assert (text == "100 %") == (part == whole)
    if text[0] not in "<>":
        assert abs(float(text.removesuffix(" %")) - 100 * part / whole) <= 0.5 * 10**-digits + 1e-9


def test_numbers_are_written_for_people() -> None:
    assert count(5_526_641_167) == "5,526,641,167"
    assert [count_of(number, "row") for number in (0, 1, 2_000)] == ["0 rows", "1 row", "2,000 rows"]


SIZES = {
    0: "0 bytes",
    999: "999 bytes",
    1_000: "1.0 kB",
    99_400: "99.4 kB",
    99_600: "100 kB",
    999_499: "999 kB",
    999_500: "1.0 MB",
}
SIZES |= {1_234_567_890: "1.2 GB", 2 * 10**12: "2.0 TB", 10**18: "1,000.0 PB"}


@pytest.mark.parametrize(("size_bytes", "text"), SIZES.items())
def test_sizes(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


DURATIONS = {
    -1.0: "under 1 s",
    0.99: "under 1 s",
    1: "1 s",
    60: "1 min",
    61.9: "1 min 1 s",
    3600: "1 h",
    3661: "1 h 1 min",
    86400 * 49: "49 d",
}


@pytest.mark.parametrize(("seconds", "text"), DURATIONS.items())
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_short_key_is_kept_and_a_long_one_shows_both_ends() -> None:
    assert short_key("age1short") == "age1short"
    assert short_key("age1" + "q" * 50 + "xyzxyz") == "age1qqqqqqqq…xyzxyz"


FOREIGN = {
    "a plain path": ("data/Bücher 本.parquet", "data/Bücher 本.parquet"),
    "an escape sequence": ("\x1b[2J", "\\x1b[2J"),
    "a line end": ("a\r\nb", "a\\x0d\\x0ab"),
    "a right-to-left override": ("a\u202egnp.exe", "a\\u202egnp.exe"),
    "an isolate": ("\u2066x\u2069", "\\u2066x\\u2069"),
    "a zero-width space": ("a\u200bb", "a\\u200bb"),
    "a line separator": ("a\u2028b", "a\\u2028b"),
    "half a surrogate pair": ("a\udc80b", "a\\udc80b"),
    "a private character beyond the plane": ("\U000f0000", "\\U000f0000"),
}


@pytest.mark.parametrize(("text", "shown"), FOREIGN.values(), ids=FOREIGN)
def test_what_does_not_print_is_shown_not_obeyed(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet=st.characters()), st.integers(3, 50))
def test_visible_text_prints_and_is_bounded(text: str, chars_max: int) -> None:
    shown = visible(text, chars_max)
    assert all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in shown)
    assert len(shown) <= 10 * chars_max


def test_text_at_the_limit_is_whole_and_past_it_is_cut_in_the_middle() -> None:
    assert visible("a" * 300) == "a" * 300
    assert visible("b" * 150 + "c" * 151) == "b" * 149 + "…" + "c" * 149
    assert len(visible("a" * 100_000)) <= 300


def titles(report: RunReport, share: float = wording.UNEXAMINED_WARNING_SHARE) -> list[tuple[str, bool]]:
    return [(caution.title, caution.grave) for caution in cautions(report, share)]


def test_an_ordinary_run_needs_no_grave_caution() -> None:
    assert titles(sample_reports.ordinary()) == [("The examination of 50 rows went wrong", False)]


def test_a_demonstration_with_guards_off_says_so_first() -> None:
    assert titles(sample_reports.unsafe()) == [
        ("Demonstration only", True),
        ("Unsafe options were in use", True),
        ("86.7 % of the rows were out of reach", False),
        ("No image was looked at", False),
    ]


def test_an_unfinished_run_says_so() -> None:
    assert titles(sample_reports.huge())[:2] == [
        ("This run is not finished", False),
        ("This run met 2 failures", False),
    ]
    assert "103,870,836 rows left" in cautions(sample_reports.huge())[0].text


def test_a_run_that_examined_nothing_says_so() -> None:
    assert ("No row was examined", False) in titles(sample_reports.untouched())
    assert ("No list was used", True) in titles(sample_reports.report_with({Reason.FULL: 1}, lists=[]))


def test_a_list_that_matched_too_much_is_named_with_what_was_held_and_the_most_first() -> None:
    report = sample_reports.report_with(
        {Reason.FULL: 9_000}, findings=7_001, findings_flooded={"a": 1, "b": 7_000, "c\u202e": 1}
    )
    assert titles(report) == [
        ("List b matched too much: 7,000 rows held", False),
        ("List a matched too much: 1 row held", False),
        (r"List c\u202e matched too much: 1 row held", False),
    ]


def test_the_warning_level_itself_does_not_warn_and_more_does() -> None:
    report = sample_reports.report_with({Reason.FULL: 3, Reason.DNS: 1})
    assert titles(report, 0.25) == []
    assert titles(report, 0.24) == [("25.0 % of the rows were out of reach", False)]


def test_reasons_come_most_common_first_and_without_the_plain_one() -> None:
    reasons = {Reason.FULL: 9, Reason.DNS: 2, Reason.HTTP_404: 5, Reason.TLS: 2, Reason.BROKEN: 1, Reason.TIMEOUT: 0}
    assert reason_counts(reasons, OutcomeName.UNAVAILABLE) == [(Reason.HTTP_404, 5), (Reason.DNS, 2), (Reason.TLS, 2)]
    assert reason_counts(reasons, OutcomeName.EXAMINED) == []


def test_a_stale_list_is_said_with_its_age() -> None:
    said = sample_reports.report_with({Reason.FULL: 9}, stale_lists={"a": "2026-01-01T00:00:00+00:00", "b\u202e": ""})
    titles = [caution.title for caution in cautions(said)]
    assert "List a was stale: last confirmed 2026-01-01T00:00:00+00:00" in titles
    assert any("last confirmed never" in title and "\u202e" not in title for title in titles)
