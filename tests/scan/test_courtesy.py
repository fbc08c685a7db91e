"""``per_host`` holds for all that fetch for a run together: counted by the server, connection by connection."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from counting import Counting, counting
from shelf import children
from tests.world import make_site, write_links

from custodes.carrier.client import Alone, Carrier
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind, Reason
from custodes.net import Fetched, Fetcher, FetchLimits
from custodes.net.courtesy import Ask, Grant
from custodes.scan.manners import SILENCE_S_MAX, Manners
from custodes.scan.pool import Failure, WorkerMessage
from custodes.scan.settings import ScanSettings

PLANTED = Path(__file__).parent / "planted"
PER_HOST = 3
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


@pytest.fixture
def server() -> Iterator[Counting]:
    with counting() as server:
        yield server


def start(workers: int, **fetch: int) -> object:
    limits = FetchLimits(per_host=PER_HOST, total_timeout_s=5, **fetch)
    return ScanSettings(fetch=limits, unsafe_allow_loopback=True, unsafe_no_jail=True).carrier_start((), workers)


def links(server: Counting, number: int) -> list[str]:
    """To three hosts; some lead from one to another, some end their connection."""
    paths = ("gone", "gone", f"to/{HOSTS[0]}", "close")
    return [server.url(HOSTS[n % 3], paths[n % 4]) for n in range(number)]


def fetch_together(carriers: list[Carrier], urls: list[str]) -> list[Reason]:
    """Each carrier its part, all at once."""
    found: list[Reason] = []
    for carrier in carriers:
        carrier.ready()  # it ends with the thread that starts it

    def fetch(carrier: Carrier, part: list[str]) -> None:
        found.extend(carried.reason for carried in carrier.fetch(list(enumerate(part))))

    parts = [urls[n :: len(carriers)] for n in range(len(carriers))]
    threads = [threading.Thread(target=fetch, args=pair) for pair in zip(carriers, parts, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("number", [1, 4])
def test_carriers_together_have_no_more_than_one_host_allows_and_one_may_have_it_all(
    server: Counting, number: int
) -> None:
    courtesy = Alone(PER_HOST)
    carriers = [Carrier(start(number), courtesy) for _ in range(number)]  # type: ignore[arg-type]
    found = fetch_together(carriers, links(server, 240))
    for carrier in carriers:
        carrier.close()
    assert found == [Reason.HTTP_404] * 240
    assert dict(server.most) == dict.fromkeys(HOSTS, PER_HOST)


def test_one_that_gave_back_is_taken_over_at_once(server: Counting) -> None:
    courtesy = Alone(PER_HOST)
    for _ in range(3):
        with Carrier(start(1), courtesy) as carrier:  # type: ignore[arg-type]
            began = time.monotonic()
            assert len(fetch_together([carrier], [server.url(HOSTS[0])] * 30)) == 30
            assert time.monotonic() - began < 3
    assert server.most[HOSTS[0]] == PER_HOST


def trickle(server: Counting, number: int) -> list[Fetched]:
    """Links that come a few at a time, so that connections are closed and others begun all the while."""
    limits = FetchLimits(per_host=8, total_timeout_s=5)
    found: list[Fetched] = []
    with selectors.DefaultSelector() as selector:
        fetcher = Fetcher(limits, selector, unsafe_allow_loopback=True)
        added = 0
        while len(found) < number:
            while added < number and added - len(found) < 1 + added % 7:
                fetcher.add(added, server.url(HOSTS[0]))
                added += 1
            if added == number:
                fetcher.finish()
            fetcher.pump()
            for key, mask in selector.select(fetcher.timeout_s()):
                key.data(mask)
            found += fetcher.take()
        fetcher.close()
    return found


def test_no_exchange_fails_where_links_of_a_host_come_a_few_at_a_time(server: Counting) -> None:
    found = trickle(server, 300)
    assert {(fetched.reason, fetched.attempts) for fetched in found} == {(Reason.HTTP_404, 1)}


def scan(home: Path, server: Counting, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """A scan of eight shards, by four workers."""
    site = make_site(home / "site", f"[fetch]\nper_host = {PER_HOST}\ntotal_timeout_s = 5.0\n")
    site.lists().import_entries("demo", [Entry(Kind.MD5, bytes(16), "one")], Provenance(source="test"))
    (home / "parts").mkdir()
    urls = links(server, 360)
    for part in range(8):
        write_links(home / "parts" / f"{part:02}.parquet", list(urls[part::8]))
    argv = [sys.executable, "-m", "custodes.cli.main", "scan", str(home / "parts"), "--run", str(home / "run")]
    argv += ["--config", str(site.path), "--unsafe-allow-loopback", "--workers", "4", "--quiet", "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(argv, text=True, env=os.environ | (env or {}), **pipes)  # type: ignore[call-overload,no-any-return]


def reasons(process: subprocess.Popen[str]) -> dict[str, int]:
    out, err = process.communicate(timeout=120)
    assert out, err
    found: dict[str, int] = json.loads(out.splitlines()[-1])["reasons"]
    return {reason: rows for reason, rows in found.items() if rows}


def test_a_scan_has_no_more_connections_to_a_host_than_per_host_however_many_workers(
    server: Counting, tmp_path: Path
) -> None:
    assert reasons(scan(tmp_path, server)) == {"http_404": 360}
    assert dict(server.most) == dict.fromkeys(HOSTS, PER_HOST)


def test_carriers_that_keep_to_nothing_are_found_by_the_same_count(server: Counting, tmp_path: Path) -> None:
    with scan(tmp_path, server, {"PYTHONPATH": str(PLANTED / "no_manners")}) as process:
        assert reasons(process) == {"http_404": 360}
    assert max(server.most.values()) > PER_HOST


def test_a_worker_that_is_killed_takes_no_slots_with_it_and_none_are_held_twice(
    server: Counting, tmp_path: Path
) -> None:
    with scan(tmp_path, server) as process:
        while sum(server.served.values()) < 60 and process.poll() is None:
            time.sleep(0.01)
        workers = [child for child, line in children(process.pid) if "custodes.cli.worker" in line]
        os.kill(workers[0], signal.SIGKILL)
        assert reasons(process) == {"http_404": 360}
    assert dict(server.most) == dict.fromkeys(HOSTS, PER_HOST)


# A worker's part


def said_by(manners_clock: list[float]) -> tuple[Manners, list[WorkerMessage]]:
    said: list[WorkerMessage] = []
    return Manners(said.append, lambda digest: digest[::-1] + b"tail", lambda: manners_clock[0]), said


def test_what_leaves_a_worker_has_the_runs_names_and_answers_find_their_carrier() -> None:
    manners, said = said_by([0.0])
    got: list[Grant] = []
    plain, keyed = bytes(range(16)), bytes(range(16))[::-1]
    for carrier in (1, 2):
        manners.ask(Ask(carrier, 5, 30.0, [(plain, 3, 0)]), got.append)
    assert [message.hosts for message in said if isinstance(message, Ask)] == [[(keyed, 3, 0)]] * 2
    manners.granted(Grant(1, 4, 30.0, [(keyed, 3)]))  # to an older ask
    manners.granted(Grant(3, 5, 30.0, [(keyed, 3)]))  # to nobody
    assert got == []
    manners.granted(Grant(2, 5, 30.0, [(keyed, 3), (plain, 1)]))
    assert got == [Grant(2, 5, 30.0, [(plain, 3)])]


def test_a_worker_that_is_never_answered_says_so_and_one_that_is_goes_on() -> None:
    clock = [0.0]
    manners, said = said_by(clock)
    for at, answered, fails in ((0.0, False, False), (SILENCE_S_MAX, True, False), (2 * SILENCE_S_MAX, False, False)):
        clock[0] = at
        manners.ask(Ask(1, int(at), 30.0), lambda _: None)
        assert isinstance(said[-1], Failure) is fails
        if answered:
            manners.granted(Grant(1, int(at), 30.0))
    clock[0] += SILENCE_S_MAX + 0.1
    manners.ask(Ask(1, 10_000, 30.0), lambda _: None)
    failure = said[-1]
    assert isinstance(failure, Failure)
    assert failure.fatal
