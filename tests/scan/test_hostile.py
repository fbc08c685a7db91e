"""Everything hostile that we have, through the whole program: no crash, one outcome a row, no file made, an error that names the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shelf import Office, adds_up, md5, office, run
from tests.world import write_links

from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.model import Entry, Kind, Outcome, Reason

LOOPBACK = "--unsafe-allow-loopback"
IMAGES = ("img-own-bombs", "img-image-rs", "img-jpeg-crash", "img-pillow-bad", "img-pngsuite", "polyglot-mitra")
BAD_TARS = (
    *("absolute", "device", "dotdot", "fifo", "hardlink_to_symlink", "size_8EB", "size_negative"),
    *("size_nonoctal", "symlink_rel_chain", "symlink_then_write", "truncated_half"),
)
ODD_TARS = ("deep_path_8000", "dup_names", "hardlink_out", "long_name_60k", "newline_ansi_names", "ok_small")
OF_OURS = {Reason.CARRIER_DIED, Reason.INTERNAL, Reason.DECODER_DIED, Reason.READ_ERROR}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    """Works in an empty directory, with an empty one for temporary files; both are to stay so."""
    made = office(tmp_path / "site")
    made.site.lists().import_entries("demo", [Entry(Kind.MD5, md5(b"nobody has this"), "one")], Provenance(source="x"))
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return made


def left_behind(desk: Office) -> list[Path]:
    return [path for name in ("here", "temporary") for path in (desk.home.parent / name).iterdir()]


def without_decode(desk: Office, path: Path) -> list[str]:
    """Reasons of rows that say examined and have no PDQ hash, or have one and say otherwise."""
    ledger = RunDirectory.open(path, desk.site.run_key())
    rows = [row for record in ledger.latest().values() for row in ledger.rows(record).to_pylist()]
    return [row["reason"] for row in rows if (Outcome(Reason(row["reason"])).name == "examined") != bool(row["pdq"])]


def test_hostile_images_cost_an_outcome_each(vectors: Path, desk: Office, tmp_path: Path) -> None:
    files = [path for name in IMAGES for path in sorted((vectors / name).rglob("*")) if path.is_file()]
    (tmp_path / "all").mkdir()
    for number, path in enumerate(files):
        shutil.copy(path, tmp_path / "all" / f"{number:05}{path.suffix}")
    said = desk.scan(tmp_path / "all", tmp_path / "run", "--format", "folder")
    assert said.code in (0, 5), said.err
    assert adds_up(said)
    assert said.answer["rows"] + said.answer["not_items"] == len(files) > 500
    assert OF_OURS.isdisjoint(desk.reasons(tmp_path / "run"))
    assert without_decode(desk, tmp_path / "run") == []
    assert left_behind(desk) == []


def test_hostile_images_are_hashed_or_not_and_nothing_else(vectors: Path, desk: Office) -> None:
    files = sorted(path for path in (vectors / "img-own-bombs").iterdir() if path.is_file())
    said = run("hash", *files)
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert (said.code, [line["file"] for line in lines]) == (0, [str(path) for path in files])
    assert all(("pdq" in line) == (line["outcome"] == "examined") == ("error" not in line) for line in lines)
    assert OF_OURS.isdisjoint(line["reason"] for line in lines)
    assert left_behind(desk) == []


def test_a_size_that_no_picture_has_stops_nothing(desk: Office, tmp_path: Path) -> None:
    header = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"\xff\xff\xff\xff" * 2 + b"\x08\x02\x00\x00\x00" + bytes(40)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    values = pa.array([{"bytes": header, "path": "a.png"}, {"bytes": b"", "path": "b"}, None], kind)
    pq.write_table(pa.table({"image": values}), tmp_path / "images.parquet")
    said = desk.scan(tmp_path / "images.parquet", tmp_path / "run")
    assert said.code == 5, said.err
    reasons = desk.reasons(tmp_path / "run")
    assert Outcome(Reason(reasons[0])).name == "undecodable"
    assert reasons[1:] == ["empty", "empty"]


def test_hostile_archives_are_read_in_place_or_refused_by_name(vectors: Path, desk: Office, tmp_path: Path) -> None:
    archives = vectors / "own-archives"
    for name in BAD_TARS:
        said = desk.scan(archives / f"{name}.tar", tmp_path / name, "--pass", "columns")
        assert said.code == 2, name
        assert f"{name}.tar" in said.err
        assert not (tmp_path / name).exists()
    said = desk.scan(archives / "gzip_bomb_300MB.tar.gz", tmp_path / "bomb")
    assert said.code == 2
    assert "unpacks to more than is allowed" in said.err

    (tmp_path / "odd").mkdir()
    for name in ODD_TARS:
        shutil.copy(archives / f"{name}.tar", tmp_path / "odd")
    said = desk.scan(tmp_path / "odd", tmp_path / "run")
    assert said.code == 5, said.err
    assert adds_up(said)
    assert set(desk.reasons(tmp_path / "run")) == {"not_image"}
    assert "\x1b" not in said.out + said.err
    assert left_behind(desk) == []


def test_malformed_parquet_is_a_clear_error_each(vectors: Path, desk: Office, tmp_path: Path) -> None:
    for path in sorted((vectors / "parquet-bad" / "bad_data").glob("*.parquet")):
        plain = desk.scan(path, tmp_path / f"plain-{path.stem}", "--pass", "columns")
        forced = desk.scan(path, tmp_path / f"forced-{path.stem}", "--format", "parquet-links", *first_column(path))
        images = desk.scan(
            path, tmp_path / f"images-{path.stem}", "--format", "parquet-images", *first_column(path, "image")
        )
        for said in (plain, forced, images):
            assert said.code == 2, (path.name, said)
            assert path.name in said.err
            assert "a bug" not in said.err
    assert left_behind(desk) == []


def first_column(path: Path, field: str = "url") -> list[str]:
    try:
        return ["--column", f"{field}={pq.read_schema(path).names[0]}"]
    except (OSError, pa.ArrowException):
        return []


NASTY = [
    "http://127.0.0.1:9/\x1b[31mred\x1b]0;evil\x07",
    "http://127.0.0.1:9/a\nb\x00c",
    "http://\u202eexample.invalid/",
    "javascript:alert(1)",
    "   ",
    None,
    "http://[::1",
    "http://127.0.0.1:9/" + "a" * 900_000,
]


def test_hostile_text_is_an_outcome_a_row_and_cannot_steer_a_terminal(desk: Office, tmp_path: Path) -> None:
    digest = md5(b"nobody has this").hex()
    source = write_links(tmp_path / "links.parquet", NASTY, md5=[digest] * len(NASTY), hash=NASTY)
    said = desk.scan(source, tmp_path / "run", LOOPBACK)
    assert (said.code, said.answer["rows"], said.answer["findings"]) == (1, len(NASTY), len(NASTY))
    for more in ([], ["--json"]):
        opened = run("open", tmp_path / "run", "--identity", desk.home / "demo-authority.key", *more)
        assert opened.code == 1
        assert all(char.isprintable() or char == "\n" for char in opened.out)
    lines = [json.loads(line) for line in opened.out.splitlines()]
    assert [line["url"] for line in lines] == [url or "" for url in NASTY]
    text = run("open", tmp_path / "run", "--identity", desk.home / "demo-authority.key").out
    assert "\\u001b[31mred" in text


TEXTS = {
    "a.csv": b'url,md5\nhttp://127.0.0.1:9/a,zz\n\xff\xfe,abc\na,b,c,d\n\x00\x00\nhttp://127.0.0.1:9/b,\n"never closed,1\n',
    "b.jsonl": b'{"url":"http://127.0.0.1:9/a"}\n{bad\n[1,2]\n{"url":5}\n{"url":"http://127.0.0.1:9/\\ud800"}\n{"url":null}\n'
    + b'{"a":' * 3000
    + b"1"
    + b"}" * 3000
    + b"\nnull\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_hostile_tables_of_text_have_an_outcome_for_every_row(name: str, desk: Office, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(TEXTS[name])
    said = desk.scan(tmp_path / name, tmp_path / "run", LOOPBACK)
    assert said.code == 5, said.err
    assert adds_up(said)
    assert said.answer["reasons"]["malformed_row"] >= 3
    assert "carrier ended" not in said.err


def test_many_long_links_fit_through_the_pipes(desk: Office, tmp_path: Path) -> None:
    urls: list[str | None] = [f"http://127.0.0.1:9/{number}/" + "ä" * 60_000 for number in range(600)]
    said = desk.scan(write_links(tmp_path / "links.parquet", urls), tmp_path / "run", LOOPBACK)
    assert said.code == 5
    assert adds_up(said)
    assert "carrier_died" not in said.answer["reasons"]


def test_names_that_are_not_text_are_refused_aloud(desk: Office) -> None:
    said = run("hash", b"\xff.png".decode(errors="surrogateescape"))
    assert (said.code, said.out) == (2, "")
    assert "is not valid UTF-8" in said.err


def test_the_check_of_the_terminal_sees_a_planted_fault(
    desk: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = md5(b"nobody has this").hex()
    source = write_links(tmp_path / "links.parquet", NASTY[:1], md5=[digest])
    desk.scan(source, tmp_path / "run", "--pass", "columns")
    monkeypatch.setattr("custodes.cli.open.printable", str)
    opened = run("open", tmp_path / "run", "--identity", desk.home / "demo-authority.key")
    assert "\x07" in opened.out
