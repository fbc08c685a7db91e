"""What waits to be handed over, as metrics in a text file that Prometheus' node exporter picks up.

Counts and times over all runs together: no incident, row, link or hash. How many wait is what ``handover status`` prints; how many a run found is not
told here. The file is new each time, so what is gone is gone from it; ``checked`` says how old it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from custodes.errors import StorageError
from custodes.handover.outbox import Survey

__all__ = ["Looked", "write_metrics"]


@dataclass(frozen=True)
class Looked:
    """What a look at the hand-over saw. ``lines`` of the record of custody: None where it is not whole, and then ``due`` is not known.

    ``noted``: by the gateway, and not queued; ``late``: for too long.
    """

    survey: Survey
    lines: int | None = None
    due: int = 0
    noted: int = 0
    late: bool = False


def write_metrics(path: Path, looked: Looked) -> None:
    """Write the file aside and rename it. Raises StorageError."""
    registry = registry_of(looked)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}", hint="is it in the node exporter's folder?"
        ) from error


def registry_of(looked: Looked) -> CollectorRegistry:
    """The metrics of one look."""
    registry, survey = CollectorRegistry(), looked.survey

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"custodes_handover_{name}", text, labels, registry=registry)

    unsent = gauge("unsent", "What waits to be sent", "route", "environment", "state")
    for key, items in Counter((item.route, item.environment, item.state.value) for item in survey.items).items():
        unsent.labels(*key).set(items)
    oldest = gauge("oldest_unsent_timestamp_seconds", "Since when the oldest waits", "route", "environment")
    for item in sorted(survey.items, key=lambda item: item.created, reverse=True):
        oldest.labels(item.route, item.environment).set(item.created.timestamp())
    gauge("noted", "Withheld images that the gateway noted and the outbox has not yet").set(looked.noted)
    gauge("damaged", "Items that cannot be read back").set(len(survey.damaged))
    gauge("alarm", "1 where something has not been sent for too long, or cannot be read").set(
        survey.alarming or looked.late
    )
    gauge("record_whole", "1 where the record of custody was verified").set(looked.lines is not None)
    if looked.lines is not None:
        gauge("record_lines", "Lines of the record of custody").set(looked.lines)
        gauge("deletions_due", "What has been kept for long enough: custodes handover purge").set(looked.due)
    gauge("checked_timestamp_seconds", "When all this was looked at").set(survey.taken.timestamp())
    return registry
