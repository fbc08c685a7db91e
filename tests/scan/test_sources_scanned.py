"""The same pictures, however they are laid out: every row accounted for, what is planted found, nothing else, under its own row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shelf import Office, adds_up, md5, office, standing
from tests.world import Server

from custodes.demo.gallery import Gallery

LOOPBACK = "--unsafe-allow-loopback"


@dataclass(frozen=True)
class Links:
    """A table of links with its truth."""

    rows: list[tuple[str | None, str | None]]
    reasons: list[str]
    findings: list[int]
    by_columns: list[int]


@pytest.fixture(scope="module")
def gallery(server: Server) -> Gallery:
    return server.gallery


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, gallery: Gallery) -> Office:
    """Knows two pictures by md5, and what two copies are copies of."""
    made = office(tmp_path_factory.mktemp("desk") / "site")
    made.know(gallery, exact=[gallery.reserved[0], gallery.reserved[1]], near=[0, 3])
    return made


@pytest.fixture(scope="module")
def links(gallery: Gallery) -> Iterator[Links]:
    """Eight ordinary pictures, then: known by md5, near, dead but known by its column, dead, no link, near as GIF."""
    shown = [*gallery.ordinary[:8], gallery.reserved[0], gallery.copies[0].name]
    with standing({name: picture.data for name, picture in gallery.pictures.items()}) as shelf:
        rows: list[tuple[str | None, str | None]] = [
            (shelf.url(name), md5(gallery.pictures[name].data).hex() if place < 8 else None)
            for place, name in enumerate(shown)
        ]
        rows += [(shelf.url("gone-1"), md5(gallery.pictures[gallery.reserved[1]].data).hex().upper())]
        rows += [(shelf.url("gone-2"), None), (None, None), (shelf.url(gallery.copies[3].name), None)]
        yield Links(rows, ["full"] * 10 + ["http_404", "http_404", "no_url", "full"], [8, 9, 10, 13], [10])


def separated(path: Path, links: Links, delimiter: str = ",") -> Path:
    held = io.StringIO()
    out = csv.writer(held, delimiter=delimiter)
    out.writerows([("Link to it", "Check,sum"), *((url or "", digest or "") for url, digest in links.rows)])
    text = held.getvalue().encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def json_lines(path: Path, links: Links) -> Path:
    text = "".join(json.dumps({"Link to it": url, "Check,sum": digest}) + "\n" for url, digest in links.rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def table(path: Path, links: Links) -> Path:
    urls, digests = zip(*links.rows, strict=True)
    pq.write_table(pa.table({"Link to it": urls, "Check,sum": digests, "caption": ["x"] * 14}), path, row_group_size=5)
    return path


TABLES: dict[str, Callable[[Path, Links], Path]] = {
    "links.csv": separated,
    "links.csv.gz": separated,
    "links.tsv": lambda path, links: separated(path, links, "\t"),
    "links.jsonl": json_lines,
    "links.jsonl.gz": json_lines,
    "links.parquet": table,
}
COLUMNS = ("--column", "url=Link to it", "--column", "md5=Check,sum")


@pytest.mark.parametrize("name", TABLES)
def test_a_table_of_links_in_any_format(name: str, desk: Office, links: Links, tmp_path: Path) -> None:
    source = TABLES[name](tmp_path / name, links)
    said = desk.scan(source, tmp_path / "run", LOOPBACK, *COLUMNS)
    assert (said.code, said.err) == (1, "")
    assert adds_up(said)
    assert desk.reasons(tmp_path / "run") == links.reasons
    found = desk.findings(tmp_path / "run")
    assert sorted(finding.row for finding in found) == links.findings
    assert all(finding.url == links.rows[finding.row][0] for finding in found)
    assert said.answer["findings"] == len(links.findings)

    said = desk.scan(source, tmp_path / "columns", "--pass", "columns", *COLUMNS)
    assert said.code == 1, said.err
    assert sorted(finding.row for finding in desk.findings(tmp_path / "columns")) == links.by_columns
    assert said.answer["outcomes"] == {"examined": 9, "unavailable": 5, "undecodable": 0, "failed": 0}


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        (1, "links.csv"),
        (5, "links.jsonl.gz"),
        (5, "links.parquet"),
        (13, "links.csv.gz"),
        (14, "links.csv"),
        (100, "links.parquet"),
    ],
)
def test_a_limit_takes_the_first_rows_and_no_other(
    limit: int, name: str, desk: Office, links: Links, tmp_path: Path
) -> None:
    source = TABLES[name](tmp_path / name, links)
    said = desk.scan(source, tmp_path / "run", LOOPBACK, *COLUMNS, "--limit", limit)
    assert said.answer["rows"] == min(limit, 14)
    assert desk.reasons(tmp_path / "run") == links.reasons[:limit]
    assert said.answer["findings"] == sum(row < limit for row in links.findings)


# -- images


@dataclass(frozen=True)
class Images:
    """Pictures with their truth."""

    files: list[tuple[str, bytes]]
    reasons: list[str]
    findings: list[int]


@pytest.fixture(scope="module")
def images(gallery: Gallery) -> Images:
    """Four ordinary pictures, then: known by md5, near, broken, near as GIF."""
    shown = [*gallery.ordinary[:4], gallery.reserved[0], gallery.copies[0].name, "", gallery.copies[3].name]
    held = [gallery.pictures[name].data if name else b"\x89PNG\r\n\x1a\n" + bytes(200) for name in shown]
    suffixes = [name.rpartition(".")[2] or "png" for name in shown]
    files = [(f"{place:04}.{suffix}", data) for place, (suffix, data) in enumerate(zip(suffixes, held, strict=True))]
    return Images(files, ["full"] * 6 + ["broken", "full"], [4, 5, 7])


def webdataset(path: Path, images: Images) -> Path:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, data in images.files:
            for member, body in ((name, data), (f"{name[:4]}.txt", b"a caption")):
                info = tarfile.TarInfo(member)
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
    path.write_bytes(gzip.compress(held.getvalue()) if path.suffix == ".gz" else held.getvalue())
    return path


def img2dataset(path: Path, images: Images) -> Path:
    path.mkdir()
    webdataset(path / "00000.tar", images)
    keys = [name[:4] for name, _ in images.files]
    digests = [md5(data).hex() for _, data in images.files]
    urls = [f"https://pictures.example/{key}" for key in keys]
    pq.write_table(pa.table({"key": keys, "url": urls, "md5": digests}), path / "00000.parquet")
    return path


def hugging_face(path: Path, images: Images) -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = pa.array([{"bytes": data, "path": name} for name, data in images.files], kind)
    pq.write_table(pa.table({"image": values, "label": [0] * len(images.files)}), path, row_group_size=3)
    return path


def folder(path: Path, images: Images) -> Path:
    path.mkdir()
    for name, data in images.files:
        (path / name).write_bytes(data)
    (path / "notes.txt").write_text("captions")
    return path


CONTAINERS: dict[str, Callable[[Path, Images], Path]] = {
    "images.tar": webdataset,
    "images.tar.gz": webdataset,
    "img2dataset": img2dataset,
    "images.parquet": hugging_face,
    "folder": folder,
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_images_in_any_container(name: str, desk: Office, images: Images, tmp_path: Path) -> None:
    said = desk.scan(CONTAINERS[name](tmp_path / name, images), tmp_path / "run")
    assert (said.code, said.err) == (1, "")
    assert adds_up(said)
    assert desk.reasons(tmp_path / "run") == images.reasons
    found = {finding.row: finding for finding in desk.findings(tmp_path / "run")}
    assert sorted(found) == images.findings
    assert said.answer["findings"] == len(images.findings)
    for row, finding in found.items():
        assert finding.digests["md5"] == md5(images.files[row][1]).hex()
        if name == "img2dataset":
            assert finding.url == f"https://pictures.example/{row:04}"
        elif name != "images.parquet":
            assert images.files[row][0].startswith(finding.row_key[:4])
            assert finding.row_key


def test_the_tables_of_img2dataset_are_judged_without_the_images(desk: Office, images: Images, tmp_path: Path) -> None:
    said = desk.scan(img2dataset(tmp_path / "out", images), tmp_path / "run", "--pass", "columns")
    assert said.code == 1, said.err
    assert [finding.row for finding in desk.findings(tmp_path / "run")] == [4]
    assert said.answer["coverage"] == {"columns": 8}


def test_a_limit_on_images(desk: Office, images: Images, tmp_path: Path) -> None:
    for number, made in enumerate((webdataset(tmp_path / "a.tar", images), folder(tmp_path / "folder", images))):
        said = desk.scan(made, tmp_path / str(number), "--limit", 5)
        assert (said.code, said.answer["rows"], said.answer["findings"]) == (1, 5, 1)
    said = desk.scan(webdataset(tmp_path / "a.tar.gz", images), tmp_path / "run-2", "--limit", 5)
    assert said.code == 2
    assert "--limit needs to know how many rows a shard has" in said.err


def test_an_unknown_picture_is_no_finding(desk: Office, gallery: Gallery, tmp_path: Path) -> None:
    ordinary = Images(
        [(f"{n}.jpg", gallery.pictures[name].data) for n, name in enumerate(gallery.ordinary[8:14])], [], []
    )
    said = desk.scan(folder(tmp_path / "folder", ordinary), tmp_path / "run")
    assert (said.code, said.answer["findings"], said.answer["outcomes"]["examined"]) == (0, 0, 6)
