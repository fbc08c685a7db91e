"""A dataset that lies elsewhere is written here; one whose files have no safe names, or that holds the folder that is to be written, is refused."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import numpy as np
import pytest

from custodes.cleaning import job
from custodes.cleaning.job import write_dataset
from custodes.cleaning.mask import Choice
from custodes.cleaning.output import output_digests
from custodes.cleaning.writing import NOTE
from custodes.crypto.keys import RunKey
from custodes.errors import InputError, SourceError
from custodes.sources.base import Plan, SourceFile, SourceOptions
from custodes.sources.source import plan
from tests.cleaning.making import going, made, planned, seen

KEY = RunKey(bytes(range(32)))


class _Handler(SimpleHTTPRequestHandler):
    """Files with ranges, which the standard server lacks."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        data = Path(self.translate_path(self.path.partition("?")[0])).read_bytes()
        first, _, last = self.headers.get("Range", f"bytes=0-{len(data) - 1}").removeprefix("bytes=").partition("-")
        part = data[int(first) : int(last or len(data)) + 1]
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(part)

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


@pytest.mark.parametrize("form", ["parquet", "csv.gz", "tar", "tar.gz", "img2dataset"])
def test_a_dataset_on_a_server_is_written_as_one_that_lies_here(tmp_path: Path, served: str, form: str) -> None:
    made(tmp_path / "old", form, 2)
    name = next(
        path.name for path in sorted((tmp_path / "old").iterdir()) if "parquet" not in path.name or form == "parquet"
    )
    away = plan(f"{served}/old/{name}", SourceOptions(shard_rows_max=7))
    here = plan(str(tmp_path / "old" / name), SourceOptions(shard_rows_max=7))
    rows = job._rows_of_files(here, here.rows)[0] if here.rows >= 0 else rows_in(here)
    found = going(np.arange(rows) % 3 == 0)
    for source, out in ((away, "away"), (here, "here")):
        write_dataset(source, found, Choice(), tmp_path / out, KEY)
        (tmp_path / out / NOTE).unlink()
    assert seen(tmp_path / "away") == seen(tmp_path / "here")
    assert name in seen(tmp_path / "away")


def rows_in(plan: Plan) -> int:
    return sum(job.read_links(plan, shard, (), with_urls=False).rows for shard in plan.shards)


def of(*paths: str) -> Plan:
    files = tuple(SourceFile(path=path, size_bytes=1, fingerprint="") for path in paths)
    return Plan(format="csv", files=files, shards=(), columns={}, rows=0, options=SourceOptions())  # type: ignore[arg-type]


NAMES: dict[str, tuple[list[str], list[str]]] = {
    "one file": (["/a/b/c.csv"], ["c.csv"]),
    "files of a folder": (["/a/b/c.csv", "/a/b/d.csv"], ["c.csv", "d.csv"]),
    "files of several": (["/a/b/c.csv", "/a/d/c.csv", "/a/e.csv"], ["b/c.csv", "d/c.csv", "e.csv"]),
    "at the root": (["/c.csv", "/a/c.csv"], ["c.csv", "a/c.csv"]),
    "a folder whose name begins as another's": (["/a/bc/d.csv", "/a/b/d.csv"], ["bc/d.csv", "b/d.csv"]),
    "with a protocol": (["file:///a/b.csv"], ["b.csv"]),
    "in a bucket": (["s3://bucket/a/b.csv", "s3://bucket/c/b.csv"], ["a/b.csv", "c/b.csv"]),
    "signed": (["https://a.test/b/c.csv?signature=1/2"], ["c.csv"]),
    "not signed, with a question mark": (["/a/what?.csv"], ["what?.csv"]),
}


@pytest.mark.parametrize("case", NAMES)
def test_files_have_names_below_the_folder_that_all_lie_in(case: str) -> None:
    paths, names = NAMES[case]
    assert job._names(of(*paths)) == names


BAD = {
    "two files of one name": ["https://a.test/b.csv?1", "https://a.test/b.csv?2"],
    "a name that leads out": ["s3://bucket/a/../../b.csv", "s3://bucket/a/c.csv"],
    "the name of the note": ["/a/cleaning.json"],
}


@pytest.mark.parametrize("case", BAD)
def test_files_without_names_of_their_own_are_refused(case: str) -> None:
    with pytest.raises(InputError, match="no names of their own"):
        job._names(of(*BAD[case]))


def _more(folder: Path) -> None:
    (folder / "zz.jpg").write_bytes(b"\xff\xd8\xff")


def _other(folder: Path) -> None:
    (folder / "image.jpg").write_bytes(b"\xff\xd8\xff other")


def _less(folder: Path) -> None:
    (folder / "image.jpg").unlink()


@pytest.mark.parametrize("change", [_more, _other, _less], ids=["more", "other bytes", "less"])
def test_a_folder_that_changed_since_it_was_scanned_is_refused(tmp_path: Path, change: Callable[[Path], None]) -> None:
    source = made(tmp_path / "old", "folder", 1)
    change(tmp_path / "old")
    with pytest.raises(SourceError, match="changed since"):
        write_dataset(source, going(np.zeros(source.rows, np.bool_)), Choice(), tmp_path / "new", KEY)
    assert not (tmp_path / "new").exists()


def test_a_folder_is_not_written_into_itself(tmp_path: Path) -> None:
    source = made(tmp_path / "old", "folder", 1)
    with pytest.raises(InputError, match="would lie in the dataset itself"):
        write_dataset(source, going(np.zeros(source.rows, np.bool_)), Choice(), tmp_path / "old" / "new", KEY)


def test_names_of_loose_images_that_are_no_text_are_refused_and_the_longest_are_written(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / ("n" * 251 + ".jpg")).write_bytes(b"\xff\xd8\xff")
    write_dataset(planned(folder), going(np.zeros(1, np.bool_)), Choice(), tmp_path / "new", KEY)
    assert list(output_digests(tmp_path / "new")[1]) == [NOTE, "n" * 251 + ".jpg"]
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(b"\xff\xd8\xff")
    source = planned(folder)
    with pytest.raises(SourceError, match="is not UTF-8"):
        write_dataset(source, going(np.zeros(2, np.bool_)), Choice(), tmp_path / "newer", KEY)
    assert not (tmp_path / "newer").exists()


@pytest.mark.parametrize("name", [".custodes.aside", "below/.custodes.aside", "cleaning.json"])
def test_a_loose_image_with_a_name_that_is_needed_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "old" / "below").mkdir(parents=True)
    (tmp_path / "old" / name).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="a name that is needed"):
        write_dataset(planned(tmp_path / "old"), going(np.zeros(1, np.bool_)), Choice(), tmp_path / "new", KEY)


def test_an_archive_with_other_rows_than_the_mask_is_refused(tmp_path: Path) -> None:
    source = made(tmp_path / "old", "tar.gz", 1)
    with pytest.raises(SourceError, match="other rows"):
        write_dataset(source, going(np.zeros(rows_in(source) + 1, np.bool_)), Choice(), tmp_path / "new", KEY)
    assert msgspec.structs.asdict(source)["rows"] == -1
