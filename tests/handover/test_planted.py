"""Links and hashes that were planted are in nothing that hand-over writes or says: not while it sends, not in a copy that somebody takes meanwhile."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired

import pytest
from click.testing import CliRunner

from custodes.cli.main import cli
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from tests.handover.cybertipline.server import PASSWORD, USER
from tests.handover.test_handover_cli import House, served
from tests.stored import earlier, md5_of

COPIES = 5


def house_of(home: Path, rows: int, server) -> House:  # type: ignore[no-untyped-def]
    """Every row of the run is known."""
    past = earlier(home / "run", 2, rows // 2)
    entries = [Entry(Kind.MD5, md5_of(row), f"planted-entry-{row}-", "A") for row in range(rows)]
    past.site.lists().import_entries("known", entries, Provenance(source="test", scheme="iwf"))
    CliRunner().invoke(cli, ["rematch", str(past.run.path), "--quiet", *past.config], catch_exceptions=False)
    house = House(home, past, server)
    house.configure("handover", 'operator = "lab.example"')
    house.configure(
        "handover.cybertipline",
        'email = "safety@lab.example"',
        f'url = "{server.base}"',
        "unsafe_allow_loopback = true",
        "calls_per_minute = 1000000",
    )
    return house


def sending(house: House, *options: str) -> tuple[Popen[bytes], list[str]]:
    argv = [sys.executable, "-m", "custodes.cli.main", "handover", "send", str(house.past.run.path)]
    argv += ["--route", "cybertipline", "--json", *options, *house.past.config]
    environ = os.environ | {
        "CUSTODES_CYBERTIPLINE_TEST_USERNAME": USER,
        "CUSTODES_CYBERTIPLINE_TEST_PASSWORD": PASSWORD,
        "TMPDIR": str(house.home / "tmp"),
    }
    (house.home / "tmp").mkdir(exist_ok=True)
    return Popen(argv, stdout=PIPE, stderr=PIPE, env=environ), argv


def everything(folder: Path, dataset: Path) -> Iterator[tuple[str, bytes]]:
    """All files, but the dataset itself, which has the links."""
    for path in folder.rglob("*"):
        if path.is_file() and dataset not in path.parents:
            try:
                yield path.name, path.read_bytes()
            except FileNotFoundError:  # moved on meanwhile
                continue


def found_in(files: Sequence[tuple[str, bytes]], secrets: Sequence[bytes]) -> set[str]:
    return {name for name, data in files if any(secret in data for secret in secrets)}


def searched(home: Path, rows: int) -> tuple[list[tuple[str, bytes]], list[bytes], int]:
    """What was written in all, what must not be in it, and how many were delivered."""
    with served() as server:
        house = house_of(home, rows, server)
        dataset = home / "run" / "dataset"
        process, _ = sending(house)
        files: list[tuple[str, bytes]] = []
        for copy in range(COPIES):
            with suppress(TimeoutExpired):  # it goes on
                process.wait(timeout=max(0.3, rows / 400))
            files += [(f"copy {copy}: {name}", data) for name, data in everything(house.past.site.home, dataset)]
        out, err = process.communicate(timeout=600)
        files += everything(home, dataset)
        files += [("stdout", out), ("stderr", err), *house_outputs(house)]
        delivered = sum(report.state == "finished" for report in server.reports.values())
    secrets = [f'http://a.test/{row}"'.encode()[:-1] for row in range(10, rows)]  # 1 is a part of 10
    secrets += [md5_of(row).hex().encode() for row in range(rows)] + [md5_of(row) for row in range(rows)]
    secrets += [f"planted-entry-{row}-".encode() for row in range(rows)]
    return files, secrets, delivered


def house_outputs(house: House) -> list[tuple[str, bytes]]:
    return [(name, house.ran(name).encode()) for name in ("status", "list")]


STORED = {".parquet"}
"""A run's shard files hold the digests of all rows, matched or not, and nothing says which."""


def leaks(files: Sequence[tuple[str, bytes]], secrets: Sequence[bytes]) -> set[str]:
    return {name for name in found_in(files, secrets) if Path(name).suffix not in STORED}


def test_sixty_planted_links_and_hashes_are_nowhere(tmp_path: Path) -> None:
    files, secrets, delivered = searched(tmp_path, 60)
    assert delivered == 60
    assert len(files) > 60
    assert leaks(files, secrets) == set()
    planted = [*files, ("log", b"... " + secrets[0])]
    assert leaks(planted, secrets) == {"log"}


@pytest.mark.soak
def test_a_thousand_planted_links_and_hashes_are_nowhere(tmp_path: Path) -> None:
    files, secrets, delivered = searched(tmp_path, 1000)
    assert delivered == 1000
    assert leaks(files, secrets) == set()
