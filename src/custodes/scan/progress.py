"""How far a scan is, while it runs: a live display on a terminal, plain lines anywhere else, nothing when quiet.

Promises to show numbers only: never a link, a host, a file or a message. Rows are counted once, although two kinds of event tell of them: a tick
previews rows that are settled but not committed, a report states the rows of a committed shard. Shown is whichever has told of more rows, because
a shard that fetches ticks before it reports and one that only compares columns never ticks; once every row is committed, the reports. A worker
that dies takes its preview with it unseen, so a display can be ahead of the truth, but never past the number of rows there are.
Summing up belongs to ``report`` and ``summary``.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from custodes.model import OutcomeName
from custodes.scan.pool import Event, Failure, Report, Tick
from custodes.scan.report import outcomes_of
from custodes.scan.wording import count, count_of, duration, percent

__all__ = ["Display", "Progress"]

LINE_EVERY_S: Final = 5.0
REDRAW_EVERY_S: Final = 0.2
RATE_OVER_S: Final = 30.0
"""Rows per second and time left come from this much of the past, so that they follow a run that speeds up or stalls."""

SAMPLE_EVERY_S: Final = 1.0
NODES_SHOWN: Final = 6

STYLES: Final = {
    OutcomeName.EXAMINED: "blue",
    OutcomeName.UNAVAILABLE: "",
    OutcomeName.UNDECODABLE: "yellow",
    OutcomeName.FAILED: "magenta",
}
"""No outcome is green: none says that all is well."""


def _stderr() -> Console:
    return Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Display:
    """Where and how progress is shown. ``workers`` is how many workers tick; ``clock`` gives seconds that never go back."""

    console: Console = field(default_factory=_stderr)
    workers: int = 1
    clock: Callable[[], float] = time.monotonic

    @property
    def is_live(self) -> bool:
        """Whether the console can redraw and its reader wants it to: a terminal, not a dumb one, and NO_COLOR not set."""
        console = self.console
        return console.is_terminal and not console.is_dumb_terminal and not console.no_color


class Tally:
    """Counts and speed, from events. ``planned`` is None where the number of rows is not known; ``before`` were done by a run that stopped."""

    def __init__(self, planned: int | None, before: int, workers: int) -> None:
        self.planned = planned
        self.before = before
        self.failures = 0
        self._ticked: Counter[OutcomeName] = Counter()
        self._committed: Counter[OutcomeName] = Counter()
        self._latest: deque[Tick] = deque(maxlen=max(1, workers))
        self._by_node: Counter[str] = Counter()
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Tick):
            self._ticked.update(outcomes_of(event.reasons))
            self._latest.append(event)
        elif isinstance(event, Failure):
            self.failures += 1
        elif event.report.generation == 0:  # rows tried again were committed before: only their ticks tell of them
            self._committed.update(outcomes_of(event.report.reasons))
        if isinstance(event, Report):
            self._by_node[event.node] += event.report.rows

    def nodes(self, seconds: float) -> list[tuple[str, float]]:
        """Rows per second that each machine has committed, the quickest first; none where there is only one."""
        by_node = self._by_node.most_common()
        return [(node, rows / seconds) for node, rows in by_node] if len(by_node) > 1 and seconds > 0 else []

    @property
    def outcomes(self) -> dict[OutcomeName, int]:
        """Counts of this session, all four outcomes present."""
        ticked, committed = self._ticked.total(), self._committed.total()
        is_whole = committed > 0 and self.before + committed == self.planned
        told = self._ticked if ticked > committed and not is_whole else self._committed
        return {name: told[name] for name in OutcomeName}

    @property
    def settled(self) -> int:
        """Rows of this session."""
        return sum(self.outcomes.values())

    @property
    def rows(self) -> int:
        """Rows done, those before this session included."""
        rows = self.before + self.settled
        return rows if self.planned is None else min(rows, self.planned)

    @property
    def is_again(self) -> bool:
        """Whether all rows were done before, so that what is settled now was tried again."""
        return self.before == self.planned

    @property
    def in_flight(self) -> int:
        """Links being fetched: the sum over the latest ticks, one for each worker. A tick does not say whose it is, so this is an estimate."""
        return sum(tick.in_flight for tick in self._latest)

    @property
    def hosts_in_trouble(self) -> int:
        """Hosts that are being left alone for a while, estimated in the same way."""
        return sum(tick.hosts_in_trouble for tick in self._latest)

    def sample(self, now: float) -> None:
        """Remember how far it was at ``now``, if some time has passed since the last time."""
        if not self._samples or now - self._samples[-1][0] >= SAMPLE_EVERY_S:
            self._samples.append((now, self.settled))
        while len(self._samples) > 2 and self._samples[1][0] <= now - RATE_OVER_S:
            self._samples.popleft()

    def rate(self, now: float) -> float:
        """Rows per second, lately."""
        since, rows = self._samples[0]
        return max(0, self.settled - rows) / (now - since) if now > since else 0.0


class Progress:
    """Fed with every event of an executor between ``with`` and its end.

    ``rows`` counts all rows of the run, negative where the dataset does not say; ``rows_done`` those committed before, by a run that stopped or
    that is to try rows again. Raises ValueError if more rows are done than there are.
    """

    def __init__(self, rows: int, rows_done: int = 0, *, quiet: bool = False, display: Display | None = None) -> None:
        if rows_done < 0 or 0 <= rows < rows_done:
            raise ValueError("rows_done must be between 0 and rows")
        self._quiet = quiet
        self._display = display or Display()
        self._tally = Tally(rows if rows >= 0 else None, rows_done, self._display.workers)
        self._live: Live | None = None
        self._began = self._shown = 0.0

    def __enter__(self) -> Self:
        self._began = self._shown = self._display.clock()
        self._tally.sample(self._began)
        if not self._quiet and self._display.is_live:
            # No thread of its own redraws it: workers tick several times a second.
            self._live = Live(self._drawing(), console=self._display.console, auto_refresh=False, redirect_stdout=False)
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._drawing(ended=True), refresh=True)
            self._live.stop()
        elif not self._quiet:
            self._print(ended=True)

    def update(self, event: Event) -> None:
        """Take an event in, and show it when it is time to."""
        self._tally.add(event)
        now = self._display.clock()
        self._tally.sample(now)
        if self._quiet or now - self._shown < (LINE_EVERY_S if self._live is None else REDRAW_EVERY_S):
            return
        self._shown = now
        if self._live is None:
            self._print()
        else:
            self._live.update(self._drawing(), refresh=True)

    # -- in words

    def _done(self) -> str:
        tally = self._tally
        if tally.planned is None:
            return count_of(tally.rows, "row")
        before = " done before" if tally.is_again else ""
        again = f", {count(tally.settled)} tried again" if tally.is_again and tally.settled else ""
        return f"{count(tally.rows)} of {count_of(tally.planned, 'row')}{before}{again}"

    def _pace(self, ended: bool) -> list[str]:
        """Speed and time: of the whole session once it ended, else of late and to come."""
        now, tally = self._display.clock(), self._tally
        if ended:
            seconds = now - self._began
            mean = tally.settled / seconds if seconds > 0 else 0
            return [f"{mean:,.0f} rows/s", f"in {duration(seconds)}"]
        rate = tally.rate(now)
        return [f"{rate:,.0f} rows/s", *self._left(rate)]

    def _left(self, rate: float) -> list[str]:
        if self._tally.planned is None or self._tally.is_again or not rate:
            return []
        seconds = (self._tally.planned - self._tally.rows) / rate
        return [f"{duration(seconds, parts=2 if seconds >= 3600 else 1)} left"]

    def _trouble(self, ended: bool) -> list[str]:
        tally = self._tally
        going_on = [] if ended else [(tally.in_flight, f"{count(tally.in_flight)} in flight")]
        hosts = [] if ended else [(tally.hosts_in_trouble, f"{count_of(tally.hosts_in_trouble, 'host')} in trouble")]
        return [
            text
            for number, text in [*going_on, *hosts, (tally.failures, count_of(tally.failures, "failure"))]
            if number
        ]

    def _nodes(self) -> list[str]:
        """How quick each machine is, where there are several: the quickest, and how many more there are."""
        nodes = self._tally.nodes(self._display.clock() - self._began)
        more = [f"{count_of(len(nodes) - NODES_SHOWN, 'more node')}"] if len(nodes) > NODES_SHOWN else []
        return [*(f"{node} {rate:,.0f} rows/s" for node, rate in nodes[:NODES_SHOWN]), *more]

    def _print(self, ended: bool = False) -> None:
        outcomes = self._tally.outcomes
        total = sum(outcomes.values())
        shares = [f"{name.value} {percent(rows, total, digits=0)}" for name, rows in outcomes.items() if rows]
        rate, *times = self._pace(ended)
        line = ", ".join([self._done(), rate, *shares, *self._trouble(ended), *times, *self._nodes()])
        file = self._display.console.file  # Console.print would wrap the line
        file.write(f"custodes: {line}\n")
        file.flush()

    # -- on a terminal

    def _drawing(self, ended: bool = False) -> Group:
        outcomes = self._tally.outcomes
        counts = [(f"{name.value} {count(rows)}", STYLES[name]) for name, rows in outcomes.items() if rows]
        lines = [
            [(text, "") for text in (self._done(), *self._pace(ended))],
            counts or [("no row yet", "dim")],
            [(text, "red" if "failure" in text else "dim") for text in self._trouble(ended)],
            [(text, "dim") for text in self._nodes()],
        ]
        return Group(self._bar(), *(joined(line) for line in lines if line))

    def _bar(self) -> Table:
        tally = self._tally
        grid = Table.grid(padding=(0, 1))
        if tally.planned is None:
            grid.add_row(Text("custodes", style="bold"), Text("number of rows not known beforehand", style="dim"))
            return grid
        width = max(10, min(60, self._display.console.width - 20))
        bar = ProgressBar(
            max(tally.planned, 1),
            tally.rows if tally.planned else 1,
            width=width,
            complete_style="blue",
            finished_style="blue",
        )
        grid.add_row(Text("custodes", style="bold"), bar, percent(tally.rows, tally.planned))
        return grid


def joined(parts: Sequence[tuple[str, str]]) -> Text:
    """Texts and their styles as one line, cut where the terminal ends."""
    line = Text("  ", no_wrap=True, overflow="ellipsis")
    for number, (text, style) in enumerate(parts):
        line.append(" · " if number else "", style="dim")
        line.append(text, style=style)
    return line
