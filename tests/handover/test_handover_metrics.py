"""What waits to be handed over, as Prometheus reads it: counts, times, alarms; also of a record that is not whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from custodes.cli.main import cli
from custodes.errors import ExitCode, StorageError
from custodes.handover.custody import Act, Deed
from custodes.handover.metrics import Looked, write_metrics
from custodes.handover.outbox import Head, State, Survey
from custodes.office import Office
from tests.stored import Earlier, earlier

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY_S = 86_400.0
LABELS = ("route", "environment", "state")
Samples = dict[tuple[str, ...], float]


def read(path: Path) -> Samples:
    return {
        (
            each.name.removeprefix("custodes_handover_"),
            *(each.labels[name] for name in LABELS if name in each.labels),
        ): each.value
        for family in text_string_to_metric_families(path.read_text())
        for each in family.samples
    }


def head(name: str, hours_ago: float, state: State = State.WAITING, route: str = "cybertipline") -> Head:
    created = NOW - timedelta(hours=hours_ago)
    return Head(
        id=name, key=f"key-{name}", route=route, environment="production", created=created, next_try=NOW, state=state
    )


def seen(tmp_path: Path, *items: Head, damaged: tuple[str, ...] = (), lines: int | None = 5) -> Samples:
    write_metrics(tmp_path / "custodes.prom", Looked(Survey(items, damaged, NOW, DAY_S), lines, due=2))
    return read(tmp_path / "custodes.prom")


def test_what_waits_is_counted_by_route_and_state_and_told_since_when(tmp_path: Path) -> None:
    items = [head("a", 1), head("b", 3), head("c", 2, State.DEAD), head("d", 9, route="webhook.lab")]
    found = seen(tmp_path, *items)
    assert {key[1:]: value for key, value in found.items() if key[0] == "unsent"} == {
        ("cybertipline", "production", "waiting"): 2,
        ("cybertipline", "production", "dead"): 1,
        ("webhook.lab", "production", "waiting"): 1,
    }
    assert {key[1]: NOW.timestamp() - value for key, value in found.items() if key[0].startswith("oldest")} == {
        "cybertipline": 3 * 3600,
        "webhook.lab": 9 * 3600,
    }
    assert (found["alarm",], found["damaged",], found["record_whole",], found["record_lines",]) == (0, 0, 1, 5)
    assert (found["deletions_due",], found["checked_timestamp_seconds",]) == (2, NOW.timestamp())


ALARMS = {
    "nothing waits": ((), (), 0),
    "something waits for an hour": ((head("a", 1),), (), 0),
    "something waits for a day": ((head("a", 24),), (), 1),
    "something cannot be read": ((), ("a" * 64,), 1),
    "something is of a time still to come": ((head("a", -48),), (), 1),
}


@pytest.mark.parametrize("case", ALARMS)
def test_it_alarms_where_status_alarms(case: str, tmp_path: Path) -> None:
    items, damaged, expected = ALARMS[case]
    assert seen(tmp_path, *items, damaged=damaged)["alarm",] == expected


def test_what_was_sent_is_gone_from_the_next_file(tmp_path: Path) -> None:
    assert ("unsent", "cybertipline", "production", "waiting") in seen(tmp_path, head("a", 1))
    assert not [key for key in seen(tmp_path) if key[0] in ("unsent", "oldest_unsent_timestamp_seconds")]


def test_no_id_key_or_name_of_a_file_is_told(tmp_path: Path) -> None:
    seen(tmp_path, head("the-id-of-it", 1), damaged=("the-name-of-a-file",))
    text = (tmp_path / "custodes.prom").read_text()
    assert not [word for word in ("the-id-of-it", "key-", "the-name") if word in text]


def test_a_folder_that_is_not_there_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write") as raised:
        write_metrics(tmp_path / "none" / "custodes.prom", Looked(Survey((), (), NOW, DAY_S), 0))
    assert raised.value.hint


# -- the command


@pytest.fixture
def past(tmp_path: Path) -> Earlier:
    made = earlier(tmp_path, shards=1, shard_rows=2)
    Office(made.site).custody.append(
        Deed(act=Act.OPENED, who="lab.example", digest="0" * 64),
        Deed(act=Act.OPENED, who="lab.example", digest="1" * 64),
    )
    return made


def status(past: Earlier, path: Path) -> int:
    line = ["handover", "status", "--metrics", str(path), *past.config]
    result = CliRunner().invoke(cli, line, catch_exceptions=False, standalone_mode=False)
    value: int = result.return_value
    return value


def test_status_writes_the_file(past: Earlier, tmp_path: Path) -> None:
    assert status(past, tmp_path / "custodes.prom") == ExitCode.NOTHING_FOUND
    found = read(tmp_path / "custodes.prom")
    assert (found["record_whole",], found["record_lines",], found["alarm",]) == (1, 2, 0)


def test_a_record_that_was_changed_is_told_as_not_whole_and_status_fails(past: Earlier, tmp_path: Path) -> None:
    (record,) = past.site.path.parent.rglob("record.jsonl")
    record.write_bytes(record.read_bytes().replace(b"lab.example", b"lap.example", 1))
    with pytest.raises(StorageError):
        status(past, tmp_path / "custodes.prom")
    found = read(tmp_path / "custodes.prom")
    assert found["record_whole",] == 0
    assert not [key for key in found if key[0] in ("record_lines", "deletions_due")]
