"""``custodes similar scan --then bytes``: only the suspects are fetched, and what lists know of their bytes decides."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from custodes.config import load_site
from custodes.handover.finding import Finding, open_bundle
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind, Reason, Role
from custodes.office import told_of
from tests.world import custodes, make_site

KNOWN, OTHER_HASH, NEW, DEAD, HARMLESS = range(5)
ROWS = 40


def picture(row: int) -> bytes:
    pixels = np.random.default_rng(row).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((64, 64)).save(file, format="PNG")
    return file.getvalue()


@contextmanager
def pictures_served() -> Iterator[tuple[str, list[int]]]:
    """Its address, and the rows that were asked for."""
    asked: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            row = int(self.path[1:])
            asked.append(row)
            body = b"" if row == DEAD else picture(row)
            self.send_response(404 if row == DEAD else 200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Searched:
    said: dict[str, Any]
    findings: dict[int, Finding]
    asked: list[int]
    run: RunDirectory
    parent: RunDirectory


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    home = tmp_path_factory.mktemp("then")
    site = make_site(home / "site")
    md5s = [hashlib.md5(picture(KNOWN)).digest() if row == KNOWN else None for row in range(ROWS)]
    entries = [Entry(Kind.MD5, hashlib.md5(picture(KNOWN)).digest(), "1", "A")]
    entries.append(Entry(Kind.SHA256, hashlib.sha256(picture(OTHER_HASH)).digest(), "2", "A"))
    site.lists().import_entries("known", entries, Provenance(source="test", scheme="iwf"))
    dismissed = [Entry(Kind.SHA1, hashlib.sha1(picture(HARMLESS)).digest(), "3", role=Role.NEGATIVE)]
    site.lists().import_entries("harmless", dismissed, Provenance(source="test"))
    vectors = np.random.default_rng(9).standard_normal((ROWS, 32)).astype("<f2")
    for row in (OTHER_HASH, NEW, DEAD, HARMLESS):
        vectors[row] = vectors[KNOWN] + vectors[row] * np.float16(0.2)
    np.save(home / "0.npy", vectors)
    with pictures_served() as (address, asked):
        urls = [f"{address}/{row}" for row in range(ROWS)]
        pq.write_table(pa.table({"URL": urls, "md5": pa.array(md5s, pa.binary(16))}), home / "0.parquet")
        config = ("--config", site.path)
        loopback = "--unsafe-allow-loopback"
        first = custodes("scan", home / "0.parquet", "--run", home / "run", "--pass", "columns", loopback, *config)
        assert first.returncode == 1, first.stderr
        given = ("--vectors", home / "0.npy", "--model", "numbers", "--above", "0.8", "--then", "bytes", "--json")
        second = custodes("similar", "scan", home / "run", *given, *config)
    assert second.returncode == 1, second.stderr
    said = json.loads(second.stdout)
    run = RunDirectory.open(Path(said["run"]), site.run_key())
    identity = (home / "site" / "demo-authority.key").read_text()
    findings = [each for path in run.sealed_files() for each in open_bundle(path.read_bytes(), identity)[1]]
    by_row = {each.row: each for each in findings}
    assert len(by_row) == len(findings)
    return Searched(said, by_row, asked, run, RunDirectory.open(home / "run", site.run_key()))


def test_only_the_suspects_are_fetched(searched: Searched) -> None:
    assert sorted(set(searched.asked)) == [OTHER_HASH, NEW, DEAD, HARMLESS]


def test_what_lists_know_under_another_hash_is_a_finding_of_theirs(searched: Searched) -> None:
    found = searched.findings[OTHER_HASH]
    assert (found.decision, found.rule) == ("report", "exact-confirmed")
    assert [(match.list, match.kind) for match in found.matches] == [("known", "sha256")]
    assert found.passes == ("similar", "bytes")
    assert found.suspicion is not None
    assert found.digests["sha256"] == hashlib.sha256(picture(OTHER_HASH)).hexdigest()


def test_what_no_list_knows_stays_a_suspect_with_its_digests(searched: Searched) -> None:
    found = searched.findings[NEW]
    assert (found.decision, found.rule, found.matches) == ("hold", "similar", ())
    assert (found.reason, found.http_status, found.width) == (Reason.FULL, 200, 64)
    assert found.digests["sha1"] == hashlib.sha1(picture(NEW)).hexdigest()


def test_a_dead_link_stays_a_suspect(searched: Searched) -> None:
    found = searched.findings[DEAD]
    assert (found.rule, found.outcome, found.reason) == ("similar", "unavailable", "http_404")
    assert found.digests == {}


def test_what_an_authority_dismissed_byte_for_byte_is_no_suspect(searched: Searched) -> None:
    assert sorted(searched.findings) == [OTHER_HASH, NEW, DEAD]


def test_the_report_says_how_many_are_on_a_list(searched: Searched) -> None:
    assert searched.said["findings_by_rule"] == {"exact-confirmed": 1, "similar": 2}
    assert "1 row, by the bytes that were fetched" in (searched.run.path / "report.html").read_text()


def test_what_was_fetched_is_told_again_without_a_fetch(searched: Searched) -> None:
    """As hand-over tells it: the same findings, from what is kept under the run key."""
    before = len(searched.asked)
    site = load_site(str(searched.parent.path.parent / "site" / "custodes.toml"))
    told = {
        place.row: incident for incident in told_of(site, searched.parent.path).incidents for place in incident.places
    }
    assert sorted(told) == [KNOWN, OTHER_HASH, NEW, DEAD]
    assert told[OTHER_HASH].digests["sha256"] == hashlib.sha256(picture(OTHER_HASH)).hexdigest()
    assert (told[OTHER_HASH].decision, told[NEW].decision) == ("report", "hold")
    assert told[KNOWN].recorded == {"md5": hashlib.md5(picture(KNOWN)).hexdigest()}
    assert len(searched.asked) == before


def test_the_shard_files_say_nothing_of_what_was_fetched(searched: Searched) -> None:
    (record,), (before,) = searched.run.latest().values(), searched.parent.latest().values()
    assert searched.run.rows(record)["reason"].to_pylist() == searched.parent.rows(before)["reason"].to_pylist()
    assert searched.run.rows(record).column_names == ["reason"]
    assert record.bytes_fetched == 0
    assert record.coverage == {"similar": ROWS}
