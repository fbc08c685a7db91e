"""Progress counts each row once, says how long it will take, and shows numbers only. No test waits: time is a number."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from custodes.model import OutcomeName, Reason
from custodes.scan.pool import Event, Failure, Report, Tick
from custodes.scan.progress import Display, Progress, Tally
from custodes.scan.shard import ShardReport

SECRET = "http://host.example/secret.jpg"


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watch:
    """Progress into a string, at a time of our making."""

    def __init__(
        self, rows: int, rows_done: int = 0, *, terminal: bool = False, quiet: bool = False, **environ: str
    ) -> None:
        self.clock = Clock()
        self.file = io.StringIO()
        console = Console(
            file=self.file, force_terminal=terminal, width=80, highlight=False, _environ={"TERM": "xterm", **environ}
        )
        self.progress = Progress(
            rows, rows_done, quiet=quiet, display=Display(console=console, workers=2, clock=self.clock)
        )

    def feed(self, *events: Event, seconds: float = 1.0) -> None:
        for event in events:
            self.clock.now += seconds
            self.progress.update(event)

    @property
    def text(self) -> str:
        return self.file.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def tick(full: int = 0, dead: int = 0, broken: int = 0, in_flight: int = 0, hosts: int = 0) -> Tick:
    return Tick({Reason.FULL: full, Reason.HTTP_404: dead, Reason.BROKEN: broken}, in_flight, hosts)


def committed(rows: int, generation: int = 0, reason: Reason = Reason.COLUMNS_ONLY) -> Report:
    return Report(ShardReport(0, generation, rows, {reason: rows}, 0))


FAILURE = Failure("WorldError", f"could not read {SECRET}", f"ask {SECRET}", 3, shard=1)


# -- counting


def test_rows_that_tick_and_are_then_committed_count_once() -> None:
    tally = Tally(100, 0, 1)
    for event in (tick(30), tick(20), committed(50, reason=Reason.FULL), tick(10)):
        tally.add(event)
    assert tally.rows == 60


def test_shards_that_never_tick_count_when_they_are_committed() -> None:
    tally = Tally(3_000_000, 1_000_000, 1)
    tally.add(committed(1_000_000))
    assert tally.rows == 2_000_000


def test_a_worker_that_died_cannot_push_the_count_past_the_rows_there_are() -> None:
    tally = Tally(100, 0, 1)
    for event in (tick(90), tick(90), committed(60, reason=Reason.FULL)):
        tally.add(event)
    assert tally.rows == 100


def test_once_everything_is_committed_the_commits_are_the_truth() -> None:
    tally = Tally(100, 0, 1)
    for event in (tick(dead=90), tick(100), committed(100, reason=Reason.FULL)):
        tally.add(event)
    assert tally.outcomes == {
        OutcomeName.EXAMINED: 100,
        OutcomeName.UNAVAILABLE: 0,
        OutcomeName.UNDECODABLE: 0,
        OutcomeName.FAILED: 0,
    }


def test_rows_tried_again_are_not_counted_as_new_ones() -> None:
    tally = Tally(100, 100, 1)
    for event in (tick(5, dead=10), committed(100, generation=1, reason=Reason.FULL)):
        tally.add(event)
    assert (tally.rows, tally.settled, tally.is_again) == (100, 15, True)
    assert tally.outcomes[OutcomeName.EXAMINED] == 5


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20), st.booleans())
def test_shards_worked_in_any_interleaving_end_at_the_rows_there_are(
    shards: list[tuple[int, int]], with_ticks: bool
) -> None:
    planned = sum(map(sum, shards))
    tally, seen = Tally(planned, 0, 4), 0
    for full, dead in shards:
        if with_ticks:
            tally.add(tick(full))
            tally.add(tick(0, dead))
        tally.add(Report(ShardReport(0, 0, full + dead, {Reason.FULL: full, Reason.HTTP_404: dead}, 0)))
        assert seen <= tally.rows <= planned
        seen = tally.rows
    assert tally.rows == planned
    assert tally.outcomes[OutcomeName.EXAMINED] == sum(full for full, _ in shards)


def test_speed_follows_a_run_that_stalls() -> None:
    tally = Tally(10_000, 0, 1)
    for second in range(60):
        tally.add(tick(100 if second < 20 else 0))
        tally.sample(float(second))
    assert tally.rate(59.0) == 0
    assert tally.rows == 2_000


def test_more_rows_done_than_there_are_is_refused() -> None:
    Progress(5, 5)
    for rows, done in ((5, 6), (5, -1)):
        with pytest.raises(ValueError, match="rows_done must be between 0 and rows"):
            Progress(rows, done)


# -- plain lines


def test_plain_lines_come_every_five_seconds_and_read_so() -> None:
    watch = Watch(40_000)
    with watch.progress:
        watch.feed(*[tick(840, 336, 24, in_flight=100, hosts=1)] * 10)
        watch.feed(FAILURE)
    assert watch.lines == [
        "custodes: 6,000 of 40,000 rows, 1,200 rows/s, examined 70 %, unavailable 28 %, undecodable 2 %, 200 in flight, 2 hosts in trouble, 28 s left",
        "custodes: 12,000 of 40,000 rows, 1,200 rows/s, examined 70 %, unavailable 28 %, undecodable 2 %, 200 in flight, 2 hosts in trouble, 23 s left",
        "custodes: 12,000 of 40,000 rows, 1,091 rows/s, examined 70 %, unavailable 28 %, undecodable 2 %, 1 failure, in 11 s",
    ]


def test_a_line_does_not_come_before_its_time() -> None:
    watch = Watch(40_000)
    with watch.progress:
        watch.feed(tick(1), seconds=4.999)
        assert watch.lines == []
        watch.feed(tick(1), seconds=0.001)
        assert len(watch.lines) == 1
        watch.feed(tick(1), seconds=4.999)
        assert len(watch.lines) == 1


def test_time_left_is_told_in_the_unit_that_matters() -> None:
    def left(rows: int) -> str:
        watch = Watch(rows)
        with watch.progress:
            watch.feed(tick(500), seconds=5)
            return watch.lines[0].split(", ")[-1]

    assert [left(600), left(20_500), left(1_200_500)] == ["1 s left", "3 min left", "3 h 20 min left"]


def test_a_run_gone_on_with_counts_what_was_done_but_not_its_speed() -> None:
    watch = Watch(40_000, 30_000)
    with watch.progress:
        watch.feed(committed(5_000), seconds=5)
    assert watch.lines == [
        "custodes: 35,000 of 40,000 rows, 1,000 rows/s, examined 100 %, 5 s left",
        "custodes: 35,000 of 40,000 rows, 1,000 rows/s, examined 100 %, in 5 s",
    ]


def test_rows_tried_again_are_told_apart() -> None:
    watch = Watch(12_000, 12_000)
    with watch.progress:
        watch.feed(tick(10, 90), committed(2_000, generation=1), seconds=4)
    assert (
        watch.lines[-1]
        == "custodes: 12,000 of 12,000 rows done before, 100 tried again, 12 rows/s, examined 10 %, unavailable 90 %, in 8 s"
    )
    assert "left" not in watch.text


def test_an_unknown_number_of_rows_gives_no_time_left() -> None:
    watch = Watch(-1)
    with watch.progress:
        watch.feed(tick(50), seconds=5)
    assert watch.lines[0] == "custodes: 50 rows, 10 rows/s, examined 100 %"


def test_nothing_to_do_is_no_division_by_nothing() -> None:
    watch = Watch(0)
    with watch.progress:
        pass
    assert watch.lines == ["custodes: 0 of 0 rows done before, 0 rows/s, in under 1 s"]


PLAIN = {"a pipe": (False, {}), "NO_COLOR": (True, {"NO_COLOR": "1"}), "a dumb terminal": (True, {"TERM": "dumb"})}


@pytest.mark.parametrize(("terminal", "environ"), PLAIN.values(), ids=PLAIN)
def test_plain_lines_hold_no_control_sequence(terminal: bool, environ: dict[str, str]) -> None:
    watch = Watch(10, terminal=terminal, **environ)
    with watch.progress:
        watch.feed(tick(5), seconds=6)
    assert len(watch.lines) == 2
    assert "\x1b" not in watch.text


@pytest.mark.parametrize("terminal", [False, True])
def test_quiet_prints_nothing(terminal: bool) -> None:
    watch = Watch(10, terminal=terminal, quiet=True)
    with watch.progress:
        watch.feed(tick(5), FAILURE, committed(10), seconds=60)
    assert watch.text == ""


# -- on a terminal


def last_frame(text: str) -> str:
    """What stands on the terminal in the end, without colours."""
    frame = re.split(r"\x1b\[2K(?:\x1b\[1A\x1b\[2K)*", text)[-1]
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", frame).strip()


def test_a_terminal_shows_bar_speed_time_outcomes_and_trouble() -> None:
    watch = Watch(40_000, terminal=True)
    with watch.progress:
        watch.feed(*[tick(840, 336, 24, in_flight=100, hosts=1)] * 10)
        watch.feed(FAILURE)
        shown = last_frame(watch.text).splitlines()
    assert re.fullmatch(r"custodes ━+[╸╺]?━+ 30\.0 %", shown[0].strip())
    assert shown[1:] == [
        "  12,000 of 40,000 rows · 1,091 rows/s · 25 s left",
        "  examined 8,400 · unavailable 3,360 · undecodable 240",
        "  200 in flight · 2 hosts in trouble · 1 failure",
    ]


def test_the_last_picture_stays_and_the_cursor_comes_back() -> None:
    watch = Watch(100, terminal=True)

    def interrupted() -> None:
        with watch.progress:
            watch.feed(tick(100, in_flight=7))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert watch.text.rstrip().endswith("\x1b[?25h")
    assert "in flight" not in last_frame(watch.text)
    assert "100 of 100 rows · 100 rows/s · in 1 s" in last_frame(watch.text)


def test_a_terminal_is_not_redrawn_more_than_five_times_a_second() -> None:
    watch = Watch(10_000, terminal=True)
    with watch.progress:
        drawn = watch.text.count("custodes")
        watch.feed(*[tick(1)] * 100, seconds=0.01)
        assert watch.text.count("custodes") - drawn <= 5


def test_an_unknown_number_of_rows_has_no_bar() -> None:
    watch = Watch(-1, terminal=True)
    with watch.progress:
        watch.feed(tick(50))
    assert "number of rows not known beforehand" in last_frame(watch.text)
    assert "━" not in watch.text


def test_a_narrow_terminal_is_not_overrun() -> None:
    watch = Watch(5_526_641_167, terminal=True)
    watch.progress._display.console.width = 40
    with watch.progress:
        watch.feed(tick(3_526_641_167, 1_000_000_000, 1_000_000, in_flight=4096, hosts=99))
        assert max(map(len, last_frame(watch.text).splitlines())) <= 40


def names_a_host(text: str) -> bool:
    return "example" in text or "http" in text


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_never_shows_what_a_failure_says(terminal: bool) -> None:
    watch = Watch(10, terminal=terminal)
    with watch.progress:
        watch.feed(tick(1), FAILURE, tick(1), seconds=6)
    assert "1 failure" in watch.text
    assert not names_a_host(watch.text)


def test_the_check_for_hosts_sees_a_planted_fault(monkeypatch) -> None:
    monkeypatch.setattr(Progress, "_trouble", lambda self, ended: [FAILURE.message])
    watch = Watch(10)
    with watch.progress:
        watch.feed(tick(1), seconds=6)
    assert names_a_host(watch.text)
