"""Nothing at rest, printed or logged says which rows matched: 1,000 listed links are planted and searched for in everything that a scan leaves behind."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.world import Server, custodes, make_site

from custodes.config import Site
from custodes.crypto.seal import unseal
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind
from custodes.url import normalise, url_digest

PLANTED = Path(__file__).parent / "planted"
COUNT = 1000


@pytest.fixture(scope="module")
def planted_urls(server: Server) -> list[str]:
    """Links that are refused, not found, answered with a picture, or redirected, each with a token that occurs nowhere else."""
    token = [hashlib.sha256(f"umbrella {n}".encode()).hexdigest()[:20] for n in range(COUNT)]
    live, dead = server.address.base_url, f"http://127.0.0.1:{server.address.closed_port}/"
    name = server.gallery.ordinary[0]
    kinds = [f"{dead}{{}}.jpg", f"{live}ok/0/{name}?{{}}", f"{live}moved/0/{name}?{{}}", f"{live}not-found/{{}}"]
    return [kinds[n % 4].format(token[n]) for n in range(COUNT)]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory, planted_urls: list[str]) -> tuple[Site, Path]:
    home = tmp_path_factory.mktemp("leaks")
    table = pa.table(
        {"URL": planted_urls, "TEXT": ["an umbrella"] * COUNT, "md5": [md5_of(url) for url in planted_urls]}
    )
    pq.write_table(table, home / "links.parquet", row_group_size=250)
    site = make_site(home / "site")
    entries = [
        Entry(Kind.URL_RAW_SHA256, digest(Kind.URL_RAW_SHA256, url), f"entry-{n:07}")
        for n, url in enumerate(planted_urls)
    ]
    entries += [Entry(Kind.MD5, bytes.fromhex(md5_of(url)), f"entry-{n:07}") for n, url in enumerate(planted_urls[::2])]
    site.lists().import_entries("planted", entries, Provenance(source="planted"))
    return site, home / "links.parquet"


def md5_of(url: str) -> str:
    return hashlib.md5(b"the picture once behind " + url.encode()).hexdigest()


def digest(kind: Kind, url: str) -> bytes:
    value = url_digest(kind, url)
    assert value is not None
    return value


def needles(urls: list[str]) -> list[bytes]:
    """Everything that would give a link away: the link, its token, and its plain digests in every spelling."""
    found: list[bytes] = []
    for url in urls:
        forms = {url.encode(), (normalise(url) or url).encode()}
        digests = [hashlib.new(name, form).digest() for form in forms for name in ("md5", "sha1", "sha256")]
        found += [*forms, url.rpartition("/")[2].encode()]
        for value in digests:
            found += [value, value.hex().encode(), value.hex().upper().encode(), base64.b64encode(value), value[::-1]]
        found += [url[::-1].encode(), base64.b64encode(url.encode())[:32]]
    return found


def leaks(urls: list[str], haystacks: dict[str, bytes]) -> list[str]:
    """Names of what holds a needle. All needles are found by their first eight bytes, so that a thousand cost what one does."""
    starts: dict[bytes, list[bytes]] = {}
    for needle in needles(urls):
        starts.setdefault(needle[:8], []).append(needle)
    return [name for name, data in haystacks.items() if holds_any(data, starts)]


def unpacked(path: Path) -> bytes:
    """The bytes of a file; of a parquet file also its columns and metadata as they are without compression."""
    data = path.read_bytes()
    if path.suffix != ".parquet":
        return data
    plain = pa.BufferOutputStream()
    pq.write_table(pq.read_table(path), plain, compression="none", use_dictionary=False)
    return data + bytes(plain.getvalue())


def holds_any(data: bytes, starts: dict[bytes, list[bytes]]) -> bool:
    if len(data) < 8:
        return False
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), 8)
    heads = np.ascontiguousarray(windows).view(">u8").ravel()
    wanted = np.array([int.from_bytes(start, "big") for start in starts], np.uint64)
    places = np.flatnonzero(np.isin(heads.astype(np.uint64), wanted))
    return any(data.startswith(needle, int(at)) for at in places for needle in starts.get(data[at : at + 8], ()))


def scan(site: Site, links: Path, home: Path, planted: str = "") -> dict[str, bytes]:
    """A whole scan, a rematch and a report; everything that they wrote or said."""
    run, temporary = home / "run", home / "tmp"
    temporary.mkdir(parents=True)
    environment = {"TMPDIR": str(temporary)} | (
        {"PYTHONPATH": str(PLANTED), "CUSTODES_PLANTED": planted} if planted else {}
    )
    common = {"env": environment, "cwd": home}
    done = custodes("scan", links, "--run", run, "--config", site.path, "--unsafe-allow-loopback", "--json", **common)
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["findings"] == COUNT
    said = [
        done,
        custodes("rematch", run, "--config", site.path, **common),
        custodes("report", run, "--config", site.path, **common),
    ]
    left = {str(path): unpacked(path) for path in home.rglob("*") if path.is_file()}
    return left | {f"output {n}": (each.stdout + each.stderr).encode() for n, each in enumerate(said)}


def test_none_of_1000_planted_links_nor_their_digests_is_left_anywhere(
    listed: tuple[Site, Path], planted_urls: list[str], tmp_path: Path
) -> None:
    site, links = listed
    left = scan(site, links, tmp_path)
    assert any(name.endswith(".parquet") for name in left)
    assert leaks(planted_urls, left) == []
    assert leaks(planted_urls, {"the table itself": b" ".join(url.encode() for url in planted_urls)}) != []


def test_no_entry_id_of_a_list_is_left_anywhere(listed: tuple[Site, Path], tmp_path: Path) -> None:
    site, links = listed
    assert [name for name, data in scan(site, links, tmp_path).items() if b"entry-0" in data] == []


def test_the_search_catches_a_build_that_keeps_urls(
    listed: tuple[Site, Path], planted_urls: list[str], tmp_path: Path
) -> None:
    site, links = listed
    found = leaks(planted_urls, scan(site, links, tmp_path, planted="writes-urls"))
    assert any(name.endswith(".parquet") for name in found)


def test_every_shard_leaves_a_sealed_file_of_one_size_whether_it_matched_or_not(
    listed: tuple[Site, Path], server: Server, tmp_path: Path
) -> None:
    site, _ = listed
    urls = [f"http://127.0.0.1:{server.address.closed_port}/{n}.jpg" for n in range(40)]
    site.lists().import_entries("one", [Entry(Kind.URL_RAW_MD5, digest(Kind.URL_RAW_MD5, urls[7]), "1")], Provenance())
    pq.write_table(pa.table({"URL": urls}), tmp_path / "few.parquet", row_group_size=10)
    arguments = ["--run", tmp_path / "run", "--config", site.path, "--unsafe-allow-loopback", "--list", "one"]
    done = custodes("scan", tmp_path / "few.parquet", *arguments, "--json")
    assert json.loads(done.stdout.splitlines()[-1])["findings"] == 1
    sealed = sorted((tmp_path / "run" / "findings").rglob("*.age"))
    identity = (site.path.parent / "demo-authority.key").read_text()
    # age adds a stanza of random length, so it is what was sealed whose length must not tell.
    assert [len(unseal(path.read_bytes(), identity)) for path in sealed] == [4096] * 4
