"""Hostile and broken files by others and by chance: a clear error or the right rows, no file created, no process
lost.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_making import (
    EXACT,
    all_digests,
    all_images,
    all_urls,
    laion,
    md5_of,
    picture,
    planned,
    tar,
    url_of,
    webdataset,
)

from custodes.errors import SourceError
from custodes.model import Kind, Reason
from custodes.sources import tar as tar_module
from custodes.sources.base import Plan
from custodes.sources.files import shown
from custodes.sources.source import read_links

ARCHIVES = {
    "absolute.tar": "holds no image",
    "absolute.zip": "zip archive",
    "backslash.zip": "zip archive",
    "bomb_300MB.zip": "zip archive",
    "central_dir_size_lie.zip": "zip archive",
    "deep_path_8000.tar": [b"x"],
    "device.tar": "holds no image",
    "dotdot.tar": "holds no image",
    "dotdot.zip": "zip archive",
    "dup_names.tar": [b"first", b"second"],
    "fifo.tar": "holds no image",
    "gzip_bomb_300MB.tar.gz": "unpacks to more than is allowed",
    "gzip_of_gzip.gz": "compressed more than once",
    "hardlink_out.tar": [b"x"],
    "hardlink_to_symlink.tar": "holds no image",
    "long_name_60k.tar": [b"x"],
    "many_4000.zip": "zip archive",
    "newline_ansi_names.tar": [b"x", b"x", b"x"],
    "ok_small.tar": [b"x"],
    "size_8EB.tar": "size is no number|truncated",
    "size_negative.tar": "size is no number",
    "size_nonoctal.tar": "size is no number",
    "symlink.zip": "zip archive",
    "symlink_empty_name.tar": [b"x"],
    "symlink_rel_chain.tar": "holds no image",
    "symlink_then_write.tar": "holds no image",
    "truncated_half.tar": "truncated",
}


def tree(*roots: Path) -> set[str]:
    return {str(path) for root in roots for path in root.rglob("*")}


@pytest.mark.parametrize("name", ARCHIVES)
def test_hostile_archive_gives_items_or_a_clear_error_and_no_file(
    tmp_path: Path, vectors: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    before = tree(tmp_path)
    expected = ARCHIVES[name]
    path = vectors / "own-archives" / name
    if isinstance(expected, str):
        with pytest.raises(SourceError, match=expected) as raised:
            all_images(planned(path))
        assert name in str(raised.value)
    else:
        assert all_images(planned(path)) == expected
    assert tree(tmp_path) == before
    assert not Path("/tmp/research-escape.txt").exists()


def test_every_hostile_archive_is_expected(vectors: Path) -> None:
    assert {path.name for path in (vectors / "own-archives").iterdir()} == set(ARCHIVES)


READ_ALL = """
import sys, resource
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from custodes.errors import SourceError
from custodes.model import Kind
from custodes.sources.base import SourceOptions
from custodes.sources.source import iter_images, plan, read_links
for path in sys.argv[1:]:
    for columns in ({}, {"url": "x"}, {"url": "v"}, {"url": "foo"}, {"url": "col1"}, {"url": "c"}, {"image": "x"}):
        try:
            made = plan(path, SourceOptions(columns=columns))
            rows = sum(read_links(made, s, list(Kind)[:3], with_urls=True).rows for s in made.shards)
            answer = f"{rows} of {made.rows}"
            assert rows == made.rows > 0
        except SourceError as error:
            answer = "SourceError"
            assert path.rpartition("/")[2] in str(error)
        print(path.rpartition("/")[2], answer)
print("done")
"""


def test_bad_parquet_never_crashes_and_never_reads_as_nothing(vectors: Path) -> None:
    paths = sorted(str(path) for path in (vectors / "parquet-bad").rglob("*.parquet"))
    done = subprocess.run([sys.executable, "-c", READ_ALL, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = done.stdout.splitlines()
    assert answers[-1] == "done"
    assert len(answers) == 7 * len(paths) + 1


def test_bad_parquet_in_its_own_columns_is_an_error_or_all_rows(vectors: Path) -> None:
    """Whatever column there is, is taken for links: what comes is an error, or as many rows as the footer says."""
    for path in sorted((vectors / "parquet-bad").rglob("*.parquet")):
        try:
            names = pq.read_schema(path).names
        except (pa.ArrowException, OSError):
            names = ["any"]
        for name in names:
            with contextlib.suppress(SourceError):
                made = planned(path, columns={"url": name})
                assert sum(read_links(made, s, EXACT, with_urls=True).rows for s in made.shards) == made.rows > 0


# --- truncation


def _tables(path: Path) -> Path:
    return laion(path / "t.parquet", rows=400, group_rows=90)


def _images(path: Path) -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": picture(row), "path": None} for row in range(40)]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), path / "i.parquet", row_group_size=9)
    return path / "i.parquet"


def _csv_gz(path: Path) -> Path:
    import gzip

    rows = "".join(f"{url_of(row)},{md5_of(row).hex()}\n" for row in range(400))
    (path / "t.csv.gz").write_bytes(gzip.compress(f"url,md5\n{rows}".encode()))
    return path / "t.csv.gz"


TRUNCATED: dict[str, Callable[[Path], Path]] = {
    "tar": lambda path: tar(path / "0.tar", webdataset(40)),
    "tar.gz": lambda path: tar(path / "0.tar.gz", webdataset(40), packed=True),
    "table": _tables,
    "images in parquet": _images,
    "csv.gz": _csv_gz,
}


def rows_read(made: Plan) -> int:
    if made.holds_images:
        return len(all_images(made))
    return sum(read_links(made, shard, EXACT, with_urls=True).rows for shard in made.shards)


def cut_and_read(path: Path, whole: bytes, at: int, rows: int) -> None:
    """Cut both before and after planning: neither may give another number of rows without an error."""
    path.write_bytes(whole)
    before = planned(path)
    path.write_bytes(whole[:at])
    for make in (lambda: before, lambda: planned(path)):
        try:
            found = rows_read(make())
        except SourceError:
            continue
        assert found == rows, at


@pytest.mark.parametrize("form", TRUNCATED)
def test_truncated_shard_never_passes_for_a_shorter_one(tmp_path: Path, form: str) -> None:
    _truncate(tmp_path, form, 50)


@pytest.mark.soak
@pytest.mark.parametrize("form", TRUNCATED)
def test_truncated_shard_never_passes_for_a_shorter_one_200_times(tmp_path: Path, form: str) -> None:
    _truncate(tmp_path, form, 200)


def _truncate(tmp_path: Path, form: str, times: int) -> None:
    path = TRUNCATED[form](tmp_path)
    whole = path.read_bytes()
    rows = rows_read(planned(path))
    rng = random.Random(times)
    borders = [0, 1, 512, 1024, len(whole) - 1024, len(whole) - 512, len(whole) - 8, len(whole) - 1]
    for at in borders + [rng.randrange(len(whole)) for _ in range(times)]:
        cut_and_read(path, whole, at, rows)


def test_reader_that_stops_at_a_bad_header_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's tarfile takes an archive cut between members for a whole one; were ours to do so, the test above
    would fail.
    """
    path = tar(tmp_path / "0.tar.gz", webdataset(5), packed=True)
    import gzip

    cut = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(cut[: cut.index(b"00003.jpg")]))
    with pytest.raises(SourceError, match="truncated"):
        all_images(planned(path))
    monkeypatch.setattr(tar_module, "read_exactly", lambda file, size, path: file.read(size).ljust(size, b"\0"))
    assert len(all_images(planned(path))) == 3


@pytest.mark.parametrize("form", TRUNCATED)
def test_flipped_bytes_never_change_the_number_of_rows(tmp_path: Path, form: str) -> None:
    path = TRUNCATED[form](tmp_path)
    whole = path.read_bytes()
    rng = random.Random(7)
    for _ in range(60):
        bad = bytearray(whole)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        path.write_bytes(bad)
        with contextlib.suppress(SourceError):
            made = planned(path)
            found = rows_read(made)
            assert made.rows in (found, -1)


# --- over http


class _Handler(SimpleHTTPRequestHandler):
    """Files with ranges, which the standard server lacks."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path.partition("?")[0])).read_bytes()
        span = self.headers.get("Range")
        first, last = 0, len(data) - 1
        if span:
            first, _, end = span.removeprefix("bytes=").partition("-")
            first, last = int(first), min(int(end or last), last)
        self.send_response(206 if span else 200)
        self.send_header("Accept-Ranges", "bytes")
        if span:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[first : last + 1])

    do_HEAD = do_GET  # noqa: N815 -- the standard server's name


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_sources_are_read_over_http(tmp_path: Path, served: str) -> None:
    laion(tmp_path / "a.parquet")
    tar(tmp_path / "0.tar", webdataset(5))
    (tmp_path / "t.csv").write_text("url\n" + "".join(f"{url_of(row)}\n" for row in range(5)))
    table = planned(f"{served}/a.parquet?signature=1", shard_rows_max=3)
    assert all_urls(table) == [url_of(row) for row in range(10)]
    assert all_digests(table, Kind.MD5) == {row: md5_of(row) for row in range(10)}
    assert len(all_images(planned(f"{served}/0.tar"))) == 5
    assert all_urls(planned(f"{served}/t.csv", shard_rows_max=2)) == [url_of(row) for row in range(5)]


def test_error_about_a_remote_file_shows_no_credentials(served: str) -> None:
    host = served.removeprefix("http://")
    with pytest.raises(SourceError) as raised:
        planned(f"http://{host}/absent.parquet?signature=secret")
    shows = str(raised.value) + repr(raised.value.__cause__) + str(raised.value.hint)
    assert "secret" not in shows
    assert "absent.parquet" in shows
    assert raised.value.__suppress_context__


def test_path_in_an_error_has_no_control_characters() -> None:
    assert shown("/a\n\x1b[31m/b") == "/a??[31m/b"
    assert len(shown("/" + "a" * 5000)) < 400


# --- files that are no files


@pytest.mark.parametrize("name", ["fifo.parquet", "fifo.tar", "fifo.csv"])
def test_fifo_is_refused_without_waiting(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="no regular file"):
        planned(tmp_path / name)


def test_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    laion(tmp_path / "a.parquet").rename(tmp_path / os.fsdecode(b"\xff.parquet"))
    with pytest.raises(SourceError, match="name is not UTF-8"):
        planned(tmp_path)


def test_password_in_a_source_is_refused() -> None:
    with pytest.raises(SourceError, match="password") as raised:
        planned("https://user:secret@images.example/a.parquet")
    assert "secret" not in str(raised.value)


def test_device_is_refused() -> None:
    with pytest.raises(SourceError, match="no regular file"):
        planned("/dev/zero")


def test_links_out_of_a_folder_of_tables_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    laion(tmp_path / "outside.parquet")
    (folder / "a.parquet").symlink_to(tmp_path / "outside.parquet")
    with pytest.raises(SourceError, match="holds no file"):
        planned(folder)
    assert planned(folder / "*.parquet").rows == 10


def test_large_images_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    body = np.random.default_rng(0).bytes(4 << 20)
    path = tar(tmp_path / "0.tar", [(f"{row}.jpg", body) for row in range(40)])
    made = planned(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    from custodes.sources.source import iter_images

    assert sum(len(item.content) for item in iter_images(made, made.shards[0]) if item.content is not Reason.EMPTY) == (
        40 * (4 << 20)
    )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
