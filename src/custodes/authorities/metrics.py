"""What syncs did, as metrics in a text file that Prometheus' node exporter picks up. Counts, times and list ids; no value."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, write_to_textfile

from custodes.authorities.sync import SyncReport
from custodes.errors import StorageError
from custodes.lists.store import ListSummary

__all__ = ["SyncMetrics"]


class SyncMetrics:
    """Counts on while the process lives."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        of = ("list",)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"custodes_list_{name}", text, (*of, *labels), registry=self._registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"custodes_list_{name}", text, (*of, *labels), registry=self._registry)

        self._entries = gauge("entries", "Entries of the version in force, by kind", "kind")
        self._confirmed = gauge("confirmed_timestamp_seconds", "When the list was last imported or found unchanged")
        self._stale = gauge("stale", "1 where it was not confirmed for longer than its limit")
        self._held = gauge("held_versions", "Versions that wait for a person")
        self._syncs = counter("syncs", "Syncs, by how they ended", "result")
        self._records = counter("sync_records", "Records that an authority gave, by what they did", "did")
        self._skipped = counter("sync_skipped", "What records held and no list of images can use, by reason", "reason")

    def succeeded(self, report: SyncReport) -> None:
        """A sync that came to its end."""
        self._syncs.labels(report.list, "held" if report.held else "unchanged" if report.unchanged else "changed").inc()
        for did in ("added", "changed", "withdrawn"):
            self._records.labels(report.list, did).inc(getattr(report, did))
        for reason, count in report.skipped.items():
            self._skipped.labels(report.list, reason).inc(count)

    def failed(self, list_id: str) -> None:
        """A sync that did not."""
        self._syncs.labels(list_id, "failed").inc()

    def seen(self, summaries: Iterable[ListSummary], confirmed_s: dict[str, float]) -> None:
        """The lists as they are now."""
        for each in summaries:
            for kind, count in each.entries.items():
                self._entries.labels(each.list, kind.value).set(count)
            self._confirmed.labels(each.list).set(confirmed_s.get(each.list, 0.0))
            self._stale.labels(each.list).set(each.stale)
            self._held.labels(each.list).set(len(each.held))

    def write(self, path: Path) -> None:
        """Write the file aside and rename it. Raises StorageError."""
        try:
            write_to_textfile(str(path), self._registry)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
