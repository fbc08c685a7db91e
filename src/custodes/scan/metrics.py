"""Counts of a scan while it runs, for Prometheus.

Promises that no link, host of a link, list, entry or row is a label. Findings are not counted here on purpose: beside the number of committed rows,
a history of their number would say in which shard each lies; the report has their sum. Who may ask, and how often, is ``scan.listener``'s.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from custodes import __version__
from custodes.ledger.manifest import Manifest
from custodes.model import Outcome, Reason
from custodes.scan.pool import Event, Failure, Tick

__all__ = ["ScanMetrics"]

FRESH_S: Final = 10.0
"""What was told longer ago is not in flight any more: a worker that fetches tells twice a second."""


class ScanMetrics:
    """Fed with every event of an executor. A registry of its own: what other code counts in this process is not told."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = CollectorRegistry()
        self._clock = clock
        self._workers = 1
        self._latest: dict[str, deque[tuple[float, Tick]]] = {}
        self._committed_at = clock()
        self._info = self._gauge("info", "1 for the run that is worked", "run", "dataset", "passes", "version")
        self._rows_planned = self._gauge("rows_planned", "Rows of the run; NaN where the dataset does not say")
        self._rows_before = self._gauge("rows_before", "Rows that were committed before this process began")
        self._shards_planned = self._gauge("shards_planned", "Shards of the run")
        self._settled = self._counter("rows_settled", "Rows answered, committed or not", "node", "outcome", "reason")
        self._rows = self._counter("rows_committed", "Rows committed for the first time", "node", "outcome", "reason")
        self._shards = self._counter("shards_committed", "Shards committed, those tried again included", "node")
        self._bytes = self._counter("bytes_fetched", "Bytes of images, of committed shards", "node")
        self._failures = self._counter("failures", "Shards that could not be worked")
        self._in_flight = self._gauge("in_flight", "Links being fetched: an estimate", "node")
        self._in_trouble = self._gauge("hosts_in_trouble", "Hosts left alone for a while: an estimate", "node")
        lag = self._gauge("seconds_since_commit", "Time since the last commit, or since the beginning")
        lag.set_function(lambda: self._clock() - self._committed_at)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"custodes_scan_{name}", what, labels, registry=self._registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(f"custodes_scan_{name}", what, labels, registry=self._registry)

    def begin(self, manifest: Manifest, rows_before: int, workers: int) -> None:
        """The run is planned, and is worked from now on."""
        self._workers = max(1, workers)
        self._info.labels(manifest.run_id, manifest.dataset, ",".join(manifest.passes), __version__).set(1)
        rows = manifest.plan["rows"]
        self._rows_planned.set(rows if rows >= 0 else float("nan"))
        self._rows_before.set(rows_before)
        self._shards_planned.set(len(manifest.plan["shards"]))
        self._committed_at = self._clock()

    def watch(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Tick):
            self._count(self._settled, event.node, event.reasons)
            self._latest.setdefault(event.node, deque(maxlen=self._workers)).append((self._clock(), event))
        elif isinstance(event, Failure):
            self._failures.inc()
        else:
            self._committed_at = self._clock()
            self._shards.labels(event.node).inc()
            self._bytes.labels(event.node).inc(event.report.bytes_fetched)
            if event.report.generation == 0:  # a later one tells all rows of its shard again
                self._count(self._rows, event.node, event.report.reasons)

    def _count(self, counter: Counter, node: str, reasons: dict[Reason, int]) -> None:
        for reason, rows in reasons.items():
            counter.labels(node, Outcome(reason).name.value, reason.value).inc(rows)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format. Events may come in meanwhile, from another thread."""
        for node, latest in list(self._latest.items()):
            ticks = [tick for at, tick in latest.copy() if at > self._clock() - FRESH_S]
            self._in_flight.labels(node).set(sum(tick.in_flight for tick in ticks))
            self._in_trouble.labels(node).set(sum(tick.hosts_in_trouble for tick in ticks))
        return generate_latest(self._registry)
