"""1,000 entries of a list are planted with a service, and searched for in everything that custodes writes or says while it syncs, fails, scans and dies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.authorities.ncmec_server import PASSWORD, USER, Item, NcmecServer
from tests.authorities.service import Fault
from tests.faults.test_leaks import PLANTED, holds_any
from tests.world import custodes, make_site

COUNT = 1000
PLANTED_ID = "umbrella-entry"


def value(number: int, name: str) -> bytes:
    size = {"md5": 16, "sha1": 20, "pdq": 32}[name]
    return hashlib.shake_256(f"umbrella {name} {number}".encode()).digest(size)


VALUES = [value(number, name) for number in range(COUNT) for name in ("md5", "sha1", "pdq")]


def needles() -> list[bytes]:
    """Every spelling of a value in which it could stand somewhere, and 16-byte windows of the long ones."""
    found = [PASSWORD.encode(), PLANTED_ID.encode()]
    for each in VALUES:
        text = each.hex()
        found += [each, each[::-1], text.encode(), text.upper().encode(), text[::-1].encode(), each[4:20]]
        found += [base64.b64encode(each).rstrip(b"="), base64.b32encode(each).rstrip(b"=")]
    return found


def leaks(haystacks: dict[str, bytes]) -> list[str]:
    starts: dict[bytes, list[bytes]] = {}
    for needle in needles():
        starts.setdefault(needle[:8], []).append(needle)
    return [name for name, data in haystacks.items() if holds_any(data, starts)]


@contextmanager
def served(server: NcmecServer) -> Iterator[NcmecServer]:
    """The service in a thread of its own, for commands in processes of theirs."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(coroutine: object) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)  # type: ignore[arg-type]

    wait(server.__aenter__())
    try:
        yield server
    finally:
        wait(server.__aexit__())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def service() -> Iterator[NcmecServer]:
    server = NcmecServer(page_size=100)
    server.now = time.time()
    for number in range(COUNT):
        prints = {name: value(number, name).hex() for name in ("md5", "sha1", "pdq")}
        server.put("42", f"{PLANTED_ID}-{number}", Item(1.6e9 + number, prints, "A1"))
    server.put("42", f"{PLANTED_ID}-bad", Item(1.6e9, {"md5": value(0, "md5").hex()[:-1]}))
    server.reasons = {"MD5": {"Not what it says": "01234567-abcd-0123-4567-012345678900"}}
    with served(server):
        yield server


def site_of(home: Path, server: NcmecServer) -> Path:
    text = (
        f'[lists.hotline]\nauthority = "ncmec"\nenvironment = "ngo-test"\ncredentials = "keys/ncmec.toml"\n'
        f'url = "{server.base}"\nunsafe_allow_loopback = true\n[lists.hotline.calls]\nattempts_max = 1\n'
    )
    site = make_site(home / "site", text)
    secrets = home / "site/keys/ncmec.toml"
    secrets.touch(mode=0o600)
    secrets.write_text(f'username = "{USER}"\npassword = "{PASSWORD}"\n')
    return site.path


CRASH = (
    "import faulthandler, os, sys; faulthandler.enable();"
    "from custodes.config import load_site; site = load_site(sys.argv[1]); examiner = site.examiner();"
    "loaded = site.lists().load();"
)
CRASHES = {
    "killed by SIGABRT": "os.abort()",
    "a bug": "raise RuntimeError(repr(locals()))",
    "a print of everything": "print(locals(), loaded.lists, examiner, vars(examiner)); assert not loaded, loaded",
}


def everything(home: Path, service: NcmecServer) -> dict[str, bytes]:
    """All that is written or said on the way."""
    config = site_of(home, service)
    (home / "bad.txt").write_text(f"md5 {value(0, 'md5').hex()}\nmd5 {value(1, 'md5').hex()}0\n")
    table = pa.table({"url": [f"https://example.com/{n}" for n in range(50)], "md5": [b.hex() for b in VALUES[:150:3]]})
    pq.write_table(table, home / "links.parquet")
    Image.linear_gradient("L").save(home / "a.png")
    owner = (config.parent / "demo-authority.key").read_text().splitlines()[-1]
    recipient = next(line for line in config.read_text().splitlines() if line.startswith("recipients")).split('"')[1]
    assert owner.startswith("AGE-SECRET-KEY")
    service.faults = {4: Fault(), 8: Fault(status=500), 9: Fault(body=b"<queryResult")}
    said = {}
    for number, arguments in enumerate(
        [
            ["lists", "status"],
            *(["lists", "sync", "--json"] for _ in range(4)),
            ["lists", "sync", "hotline", "--metrics", home / "metrics.prom"],
            ["lists", "show"],
            ["lists", "verify", "--json"],
            ["lists", "feedback", "hotline", "--kind", "md5"],
            ["lists", "feedback", "hotline", f"42/{PLANTED_ID}-7", "--kind", "md5", "--confirm"],
            ["lists", "feedback", "hotline", f"42/{PLANTED_ID}-none", "--kind", "md5", "--confirm"],
            ["lists", "import", home / "bad.txt", "--list", "other"],
            ["lists", "export", "hotline", "--to", home / "list.age", "--recipient", recipient],
            ["check", home / "a.png"],
            ["scan", home / "links.parquet", "--run", home / "run", "--pass", "columns", "--json"],
        ]
    ):
        done = custodes(*arguments, "--config", config, cwd=home)
        said[f"output {number} {arguments[1]}"] = (done.stdout + done.stderr).encode()
    for name, script in CRASHES.items():
        crash = subprocess.run(
            [sys.executable, "-c", CRASH + script, config], capture_output=True, cwd=home, check=False
        )
        assert crash.returncode
        said[name] = crash.stdout + crash.stderr
    bug = {"PYTHONPATH": str(PLANTED), "CUSTODES_PLANTED": "quotes-an-entry"}
    died = custodes("check", home / "a.png", "--config", config, cwd=home, env=bug)
    assert died.returncode == 4
    assert "KeyError" in died.stderr
    said["a bug whose text holds an entry"] = (died.stdout + died.stderr).encode()
    mine = {home / "bad.txt", home / "links.parquet", config.parent / "keys/ncmec.toml"}
    return said | {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file() and path not in mine}


def test_no_entry_no_id_and_no_credential_is_left_anywhere(tmp_path: Path, service: NcmecServer) -> None:
    left = everything(tmp_path, service)
    assert any(b'"added":1000' in data for data in left.values())
    assert any(b'"findings":50,' in data for data in left.values())
    assert leaks(left) == []
    assert not list(tmp_path.rglob("core*"))
    assert service.undocumented == []


def test_the_search_finds_a_value_in_any_spelling() -> None:
    one = value(500, "pdq")
    for data in (one, one.hex().encode(), one.hex().upper().encode(), base64.b64encode(one), one[::-1], one[4:20]):
        assert leaks({"x": b"some text " + data + b" and more"}) == ["x"]
    assert leaks({"x": b"some text"}) == []


@pytest.mark.parametrize(
    "fault",
    [
        "from custodes.model import Entry; Entry.__repr__ = lambda self: f'<Entry {self.value.hex()}>'; print(Entry('md5', VALUE, ''))",
        "import logging; logging.warning('entry %s', VALUE.hex())",
        "import tempfile, pathlib; pathlib.Path('left.tmp').write_bytes(VALUE)",
    ],
    ids=["a repr", "a log line", "a file"],
)
def test_planted_fault_an_entry_that_is_told_is_found(fault: str, tmp_path: Path) -> None:
    script = f"VALUE = bytes.fromhex('{value(3, 'md5').hex()}'); {fault}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=tmp_path, check=True)
    written = {str(path): path.read_bytes() for path in tmp_path.iterdir()}
    assert leaks({"output": done.stdout + done.stderr} | written)
