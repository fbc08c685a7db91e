"""``lists sync``, ``status`` and ``feedback`` as one types them, against a service on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.authorities.ncmec_server import Item, NcmecServer
from tests.authorities.service import Fault
from tests.faults.test_list_secrets import PASSWORD, served, site_of, value
from tests.world import custodes, write_links


def server(count: int = 250) -> NcmecServer:
    made = NcmecServer(page_size=100)
    made.now = time.time()
    for number in range(count):
        made.put("42", f"e{number}", Item(1.6e9 + number, {"md5": value(number, "md5").hex()}, "A1"))
    made.reasons = {"MD5": {"Not what it says": "01234567-abcd-0123-4567-012345678900"}}
    return made


def test_a_list_is_synced_goes_on_after_a_failure_and_withdraws(tmp_path: Path) -> None:
    with served(server()) as service:
        config = site_of(tmp_path, service)
        told = custodes("lists", "status", "--config", config)
        assert (told.returncode, "hotline  (ncmec ngo-test, test): " in told.stdout) == (0, True)
        service.faults = {4: Fault(status=500)}
        failed = custodes("lists", "sync", "--config", config)
        assert (failed.returncode, failed.stdout) == (3, "")
        assert "list hotline: NCMEC ngo-test GET /v2/entries: status 500" in failed.stderr
        done = custodes("lists", "sync", "--config", config, "--json")
        said = json.loads(done.stdout)
        assert (said["added"], said["environment"], said["production"], said["pages"]) == (250, "ngo-test", False, 3)
        asked = len(service.requests)
        service.put("42", "e7", Item(time.time() - 60, deleted=True))
        metrics = tmp_path / "custodes.prom"
        done = custodes("lists", "sync", "hotline", "--config", config, "--metrics", metrics)
        assert "0 ids added, 0 changed, 1 withdrawn" in done.stdout
        assert len(service.requests) == asked + 1
        assert 'custodes_list_entries{kind="md5",list="hotline"} 249.0' in metrics.read_text()
        assert 'custodes_list_sync_records_total{did="withdrawn",list="hotline"} 1.0' in metrics.read_text()
        again = custodes("lists", "sync", "--config", config)
        assert "is up to date" in again.stdout
        assert service.undocumented == []


def test_what_is_withdrawn_matches_no_more_in_the_next_scan_and_in_a_rematch(tmp_path: Path) -> None:
    with served(server(20)) as service:
        config = site_of(tmp_path, service)
        custodes("lists", "sync", "--config", config)
        digests = [value(number, "md5").hex() for number in range(30)]
        links = write_links(tmp_path / "links.parquet", [f"https://example.com/{n}" for n in range(30)], md5=digests)
        run = ["scan", links, "--pass", "columns", "--config", config, "--json", "--run"]
        assert json.loads(custodes(*run, tmp_path / "run").stdout)["findings"] == 20
        for number in range(5):
            service.put("42", f"e{number}", Item(time.time() - 60, deleted=True))
        service.put("42", "new", Item(time.time() - 60, {"md5": digests[29]}, "A1"))
        custodes("lists", "sync", "--config", config)
        assert json.loads(custodes(*run, tmp_path / "again").stdout)["findings"] == 16
        rematched = custodes("rematch", tmp_path / "run", "--config", config, "--json")
        assert json.loads(rematched.stdout)["findings"] == 16


def test_feedback_is_given_by_the_authoritys_own_id(tmp_path: Path) -> None:
    with served(server(3)) as service:
        config = site_of(tmp_path, service)
        custodes("lists", "sync", "--config", config)
        reasons = custodes("lists", "feedback", "hotline", "--kind", "md5", "--config", config)
        assert "Not what it says" in reasons.stdout
        words = ["lists", "feedback", "hotline", "42/e1", "--kind", "md5", "--config", config]
        assert custodes(*words).returncode == 2
        done = custodes(*words, "--dispute", "--reason", "Not what it says")
        assert (done.returncode, "(ncmec ngo-test, test): dispute was given" in done.stdout) == (0, True)
        assert service.given == [("42", "e1", "MD5", "01234567-abcd-0123-4567-012345678900")]


def test_it_goes_on_for_ever_when_asked_and_ends_at_a_signal(tmp_path: Path) -> None:
    with served(server(3)) as service:
        config = site_of(tmp_path, service)
        argv = [sys.executable, "-m", "custodes.cli.main", "lists", "sync", "--every", "1s", "--config", config]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert "3 ids added" in process.stdout.readline()
            assert "is up to date" in process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) != 0


def test_credentials_that_are_refused_are_not_told(tmp_path: Path) -> None:
    with served(server(3)) as service:
        config = site_of(tmp_path, service)
        file = config.parent / "keys/ncmec.toml"
        file.write_text(file.read_text().replace(PASSWORD, "another password"))
        done = custodes("lists", "sync", "--config", config)
        assert done.returncode == 3
        assert "status 401" in done.stderr
        assert "check the credentials" in done.stderr
        assert "another password" not in done.stdout + done.stderr


def test_a_time_that_is_none_is_refused(tmp_path: Path) -> None:
    with served(server(1)) as service:
        done = custodes("lists", "sync", "--every", "ten", "--config", site_of(tmp_path, service))
        assert (done.returncode, "'ten' is not a time" in done.stderr) == (2, True)
