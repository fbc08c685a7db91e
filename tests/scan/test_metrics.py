"""Counts of a scan for Prometheus: what they say, what they must never say, and the port where they are asked for."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from collections import Counter as Counts
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from prometheus_client import Counter
from prometheus_client.parser import text_string_to_metric_families
from tests.stored import earlier
from tests.world import World, free_port

from custodes.cli.main import cli
from custodes.cli.scan import conduct
from custodes.errors import ExitCode, InputError, WorldError
from custodes.jobs import ScanRequest, prepare_scan
from custodes.ledger.manifest import Manifest
from custodes.model import Reason
from custodes.scan import listener
from custodes.scan.listener import listening, parsed
from custodes.scan.metrics import FRESH_S, ScanMetrics
from custodes.scan.pool import Event, Failure, Report, Tick
from custodes.scan.shard import ShardReport

Samples = dict[tuple[str, ...], float]


def samples(text: bytes) -> Samples:
    """Every sample by its name and the values of its labels; when a series was made is left out."""
    return {
        (each.name.removeprefix("custodes_scan_"), *(value for value in each.labels.values() if value)): each.value
        for family in text_string_to_metric_families(text.decode())
        for each in family.samples
        if not each.name.endswith("_created")
    }


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return earlier(tmp_path_factory.mktemp("earlier"), shards=3, shard_rows=4).run.manifest


def watched(clock: Clock, manifest: Manifest, *events: Event) -> ScanMetrics:
    metrics = ScanMetrics(clock)
    metrics.begin(manifest, rows_before=4, workers=2)
    for event in events:
        metrics.watch(event)
    return metrics


def report(shard: int, reasons: dict[Reason, int], generation: int = 0, findings: int = 0) -> Report:
    return Report(ShardReport(shard, generation, sum(reasons.values()), reasons, findings, bytes_fetched=1000))


FULL, DNS = Reason.FULL, Reason.DNS

CASES: dict[str, tuple[tuple[Event, ...], Samples]] = {
    "before anything happened": (
        (),
        {("rows_planned",): 12, ("rows_before",): 4, ("shards_planned",): 3, ("failures_total",): 0},
    ),
    "a tick settles rows and commits none": (
        (Tick({FULL: 2, DNS: 1}, in_flight=7, hosts_in_trouble=2),),
        {
            ("rows_settled_total", "examined", "full"): 2,
            ("rows_settled_total", "unavailable", "dns"): 1,
            ("in_flight",): 7,
            ("hosts_in_trouble",): 2,
        },
    ),
    "a report commits rows and settles none": (
        (report(1, {FULL: 3, DNS: 1}),),
        {
            ("rows_committed_total", "examined", "full"): 3,
            ("rows_committed_total", "unavailable", "dns"): 1,
            ("shards_committed_total",): 1,
            ("bytes_fetched_total",): 1000,
        },
    ),
    "rows that are tried again are not committed twice, what was fetched for them counts": (
        (report(1, {DNS: 4}), report(1, {FULL: 4}, generation=1)),
        {
            ("rows_committed_total", "unavailable", "dns"): 4,
            ("shards_committed_total",): 2,
            ("bytes_fetched_total",): 2000,
        },
    ),
    "in flight is what the last ticks say, one for each worker": (
        (Tick(in_flight=50), Tick(in_flight=3), Tick(in_flight=4)),
        {("in_flight",): 7},
    ),
    "what nodes did is told for each": (
        (
            Tick({FULL: 2}, in_flight=3, node="a"),
            Report(report(0, {FULL: 4}).report, node="b"),
            Tick({FULL: 1}, node="b"),
        ),
        {
            ("rows_settled_total", "a", "examined", "full"): 2,
            ("rows_settled_total", "b", "examined", "full"): 1,
            ("rows_committed_total", "b", "examined", "full"): 4,
            ("shards_committed_total", "b"): 1,
            ("in_flight", "a"): 3,
            ("in_flight", "b"): 0,
        },
    ),
    "a shard that cannot be worked is counted": ((Failure("SourceError", "m", shard=2),), {("failures_total",): 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_counts_are_those_of_the_events(case: str, clock: Clock, manifest: Manifest) -> None:
    events, expected = CASES[case]
    found = samples(watched(clock, manifest, *events).text())
    assert {name: found[name] for name in expected} == expected
    told = {name for name, *labels in found if name in {each for each, *_ in expected} and labels}
    assert {name for name in found if name[0] in told} == {name for name in expected if name[0] in told}


def test_what_nobody_told_of_lately_is_not_in_flight(clock: Clock, manifest: Manifest) -> None:
    metrics = watched(clock, manifest, Tick(in_flight=5))
    for later, expected in ((FRESH_S - 0.1, 5), (0.1, 0)):
        clock.now += later
        assert samples(metrics.text())["in_flight",] == expected


def test_the_lag_is_counted_from_the_last_commit_or_the_beginning(clock: Clock, manifest: Manifest) -> None:
    metrics = watched(clock, manifest)
    clock.now += 30
    assert samples(metrics.text())["seconds_since_commit",] == 30
    metrics.watch(Tick({FULL: 1}))
    assert samples(metrics.text())["seconds_since_commit",] == 30, "a tick commits nothing"
    metrics.watch(report(0, {FULL: 4}))
    clock.now += 2
    assert samples(metrics.text())["seconds_since_commit",] == 2


def test_a_number_of_rows_that_is_not_known_is_not_made_up(clock: Clock, manifest: Manifest) -> None:
    unknown = msgspec.structs.replace(manifest, plan={**manifest.plan, "rows": -1})
    planned = samples(watched(clock, unknown).text())["rows_planned",]
    assert planned != planned


def test_a_dataset_named_to_break_the_format_stays_one_label(clock: Clock, manifest: Manifest) -> None:
    hostile = msgspec.structs.replace(manifest, dataset='a"} 1\ncustodes_scan_forged 1\n\\')
    found = samples(watched(clock, hostile).text())
    assert not [name for name in found if "forged" in name[0]]
    assert [name for name in found if name[0] == "info" and hostile.dataset in name]


class Telling(ScanMetrics):
    """The planted fault: findings are counted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._findings = Counter("custodes_scan_findings", "Planted", registry=self._registry)

    def watch(self, event: Event) -> None:
        super().watch(event)
        if isinstance(event, Report):
            self._findings.inc(event.report.findings)


def told_alike(kind: type[ScanMetrics], clock: Clock, manifest: Manifest) -> bool:
    """Whether a run that found two rows is told as one that found none."""
    texts = []
    for findings in (0, 2):
        metrics = kind(clock)
        metrics.begin(manifest, 0, 1)
        metrics.watch(report(0, {FULL: 4}, findings=findings))
        texts.append(samples(metrics.text()))
    return texts[0] == texts[1]


def test_what_was_found_makes_no_difference(clock: Clock, manifest: Manifest) -> None:
    assert told_alike(ScanMetrics, clock, manifest)


def test_the_check_sees_a_planted_count_of_findings(clock: Clock, manifest: Manifest) -> None:
    assert not told_alike(Telling, clock, manifest)


# -- a whole scan


def links_in(text: bytes, world: World) -> list[str]:
    """Links of the dataset, and their hosts, that stand in a text."""
    urls = [url for url in pq.read_table(world.demo.links)["URL"].to_pylist() if url]
    hosts = {host for url in urls if (host := hostname(url)) and len(host) > 3}
    assert len(hosts) > 3
    return [word for word in (*urls, *hosts) if word.encode() in text]


def hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # some links of the dataset are broken on purpose
        return None


def test_a_whole_scan_is_counted_as_its_ledger_counts_it_and_no_link_is_told(world: World, tmp_path: Path) -> None:
    settings = world.site.scan_settings(unsafe_allow_loopback=True)
    request = ScanRequest(str(world.demo.links), tmp_path / "run", settings=settings, workers=2)
    metrics = ScanMetrics()
    told = conduct(prepare_scan(world.site, request), quiet=True, metrics=metrics)
    text = metrics.text()
    found = samples(text)
    committed = {name[2]: int(rows) for name, rows in found.items() if name[0] == "rows_committed_total"}
    assert committed == Counts(world.outcomes(tmp_path / "run"))
    assert sum(rows for name, rows in found.items() if name[0] == "rows_settled_total") == told.rows == 400
    assert found["shards_committed_total",] == told.shards
    assert found["bytes_fetched_total",] == told.bytes_fetched > 0
    assert links_in(text, world) == []
    url = pq.read_table(world.demo.links)["URL"][0].as_py()
    assert links_in(text + url.encode(), world), "the check sees a planted link"


def test_a_command_answers_while_it_works_and_not_after(world: World, tmp_path: Path) -> None:
    port = free_port()
    fixed = ["--config", world.config, "--unsafe-allow-loopback", "--workers", "1", "--quiet", "--json"]
    argv = [sys.executable, "-m", "custodes.cli.main", "scan", str(world.demo.links), "--run", str(tmp_path / "run")]
    with subprocess.Popen([*argv, *fixed, "--metrics", str(port)], stdout=subprocess.PIPE) as process:
        try:
            told = asked_until_planned(process, port)
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert told["shards_planned",] == json.loads(output)["shards_planned"]
    with pytest.raises(ConnectionRefusedError):
        ask(port)


def asked_until_planned(process: subprocess.Popen[bytes], port: int) -> Samples:
    """What it tells as soon as it knows what there is to do."""
    while process.poll() is None:
        with suppress(ConnectionRefusedError):
            if (found := samples(ask(port)[1]))["shards_planned",]:
                return found
    raise AssertionError("it ended and had told nothing")


# -- the port


def ask(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextmanager
def at_a_port(text: Callable[[], bytes] = lambda: b"custodes_scan_up 1\n") -> Iterator[int]:
    port = free_port()
    with listening(("127.0.0.1", port), text):
        yield port


PLACES = {
    "9311": ("127.0.0.1", 9311),
    ":9311": ("127.0.0.1", 9311),
    "localhost:1": ("localhost", 1),
    "0.0.0.0:65535": ("0.0.0.0", 65535),
    "[::1]:9311": ("::1", 9311),
}


@pytest.mark.parametrize("text", PLACES)
def test_a_place_is_a_host_and_a_port_or_a_port_of_this_machine(text: str) -> None:
    assert parsed(text) == PLACES[text]


@pytest.mark.parametrize("text", ["", ":", "127.0.0.1", "host:", "host:0", "host:65536", "host:-1", "host:٣", "a:b"])
def test_anything_else_is_no_place(text: str) -> None:
    with pytest.raises(InputError):
        parsed(text)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/metrics", 200), ("GET", "/", 404), ("GET", "/metrics/../etc", 404), ("POST", "/metrics", 404)],
)
def test_only_the_metrics_are_answered(method: str, path: str, status: int) -> None:
    with at_a_port() as port:
        found, body = ask(port, path, method)
    assert (found, body) == (status, b"custodes_scan_up 1\n" if status == 200 else b"")


def test_the_text_is_made_once_however_many_ask() -> None:
    made: list[int] = []

    def text() -> bytes:
        made.append(1)
        return b"x 1\n"

    with at_a_port(text) as port:
        assert {ask(port)[0] for _ in range(50)} == {200}
    assert len(made) <= 3, "once a second"


def test_who_dawdles_or_talks_without_end_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "ANSWER_S", 0.3)
    with at_a_port() as port:
        for said in (b"", b"GET /metrics HTTP/1.1\r\n", b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 20_000):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as slow:
                slow.sendall(said)
                with suppress(ConnectionResetError):
                    assert slow.recv(1) == b""
        assert ask(port)[0] == 200


def test_many_open_connections_are_refused_and_the_next_one_is_answered_when_they_are_gone() -> None:
    with at_a_port() as port:
        with ExitStack() as stack:
            for _ in range(listener.CONNECTIONS_MAX):
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                ask(port)
        assert answered(port)


def answered(port: int) -> bool:
    """Whether it answers again: that the others are gone is noticed a moment later."""
    for _ in range(100):
        try:
            return ask(port)[0] == 200
        except (http.client.RemoteDisconnected, ConnectionResetError):
            continue
    return False


def test_the_end_waits_for_nobody_who_is_still_connected(capfd: pytest.CaptureFixture[str]) -> None:
    with at_a_port() as port:
        hanging = socket.create_connection(("127.0.0.1", port), timeout=5)
        assert ask(port)[0] == 200
    with hanging:
        assert hanging.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_stops_the_command_before_anything_starts(world: World, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        line = ["scan", str(world.demo.links), "--run", str(run), "--metrics", where, "--config", world.config]
        with pytest.raises(WorldError, match="cannot listen") as raised:
            CliRunner().invoke(cli, line, catch_exceptions=False, standalone_mode=False)
    assert raised.value.exit_code == ExitCode.WORLD
    assert raised.value.hint
    assert not run.exists()


def test_a_host_that_does_not_exist_is_said_so() -> None:
    with pytest.raises(WorldError, match="cannot listen"), listening(("no such host", 9311), bytes):
        pass
