"""What is tried again, and what is matched again: dead links that live, lists that grow and shrink, nothing counted twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from shelf import Office, Shelf, adds_up, md5, office, run, standing
from tests.world import Server, write_links

from custodes.demo.gallery import Gallery
from custodes.ledger.run import RunDirectory

LOOPBACK = "--unsafe-allow-loopback"


@pytest.fixture(scope="module")
def gallery(server: Server) -> Gallery:
    return server.gallery


@pytest.fixture
def shelf(gallery: Gallery) -> Iterator[Shelf]:
    with standing({name: picture.data for name, picture in gallery.pictures.items()}) as made:
        yield made


@pytest.fixture
def desk(tmp_path: Path, gallery: Gallery) -> Office:
    """Knows two pictures by md5, and what one copy is a copy of."""
    made = office(tmp_path / "site")
    made.know(gallery, exact=list(gallery.reserved[:2]), near=[0])
    return made


def dataset(path: Path, gallery: Gallery, shelf: Shelf) -> Path:
    """Two ordinary pictures, known by its column too, known by its bytes only, near, ordinary; three rows a shard."""
    names = [*gallery.ordinary[:2], *gallery.reserved[:2], gallery.copies[0].name, gallery.ordinary[2]]
    digests = [md5(gallery.pictures[names[2]].data).hex() if place == 2 else None for place in range(6)]
    return write_links(path, [shelf.url(name) for name in names], md5=digests)


def test_links_that_live_again_are_examined_and_counted_once(
    tmp_path: Path, desk: Office, shelf: Shelf, gallery: Gallery
) -> None:
    source, path = dataset(tmp_path / "links.parquet", gallery, shelf), tmp_path / "run"
    shelf.cut = {gallery.ordinary[2], *gallery.reserved[:2], gallery.copies[0].name}
    first = desk.scan(source, path, LOOPBACK)
    assert desk.reasons(path) == ["full"] * 2 + ["http_404"] * 4
    assert (first.answer["findings"], [finding.row for finding in desk.findings(path)]) == (1, [2])

    # Only what is asked for is tried: nothing here died of its name.
    none = desk.scan(source, path, LOOPBACK, "--retry", "unavailable:dns")
    assert none.answer["findings"] == 1
    assert len(shelf.asked) == 6

    shelf.cut = {gallery.ordinary[2]}
    again = desk.scan(source, path, LOOPBACK, "--retry", "unavailable:http_404")
    assert adds_up(again)
    assert desk.reasons(path) == ["full"] * 5 + ["http_404"]
    assert (again.code, again.answer["findings"]) == (1, 3)
    assert len(shelf.asked) == 10
    assert {finding.row for finding in desk.findings(path)} == {2, 3, 4}
    assert len({finding.id for finding in desk.findings(path)}) == 3
    ledger = RunDirectory.open(path, desk.site.run_key())
    assert {record.generation for record in ledger.records()} == {0, 1}

    opened = run("open", path, "--identity", desk.home / "demo-authority.key")
    assert opened.out.startswith("3 findings (1 repeats folded)\n")

    # Once more, with nothing but the dead one left; and what was counted stays counted.
    shelf.cut = set()
    third = desk.scan(source, path, LOOPBACK, "--retry", "unavailable")
    assert desk.reasons(path) == ["full"] * 6
    assert third.answer["findings"] == 3
    done = desk.scan(source, path, LOOPBACK, "--retry", "unavailable")
    assert done.answer == third.answer
    assert len(shelf.asked) == 11


def test_a_finding_by_bytes_that_did_not_decode_is_not_counted_again(
    tmp_path: Path, desk: Office, shelf: Shelf, gallery: Gallery
) -> None:
    page = b"<!doctype html><html><body>moved</body></html>"
    listing = tmp_path / "list.csv"
    listing.write_text(f"kind,value\nmd5,{md5(page).hex()}\n")
    assert run("lists", "import", listing, "--list", "pages", *desk.config).code == 0
    name = gallery.ordinary[0]
    shelf.page = {name}
    source, path = write_links(tmp_path / "links.parquet", [shelf.url(name)]), tmp_path / "run"
    first = desk.scan(source, path, LOOPBACK)
    assert (desk.reasons(path), first.answer["findings"]) == (["not_image"], 1)
    again = desk.scan(source, path, LOOPBACK, "--retry", "unavailable")
    assert (desk.reasons(path), again.answer["findings"]) == (["not_image"], 1)
    # It dies: what was known of its bytes is kept, and it lives on as something else.
    shelf.page, shelf.cut = set(), {name}
    assert desk.scan(source, path, LOOPBACK, "--retry", "unavailable").answer["findings"] == 1
    assert desk.reasons(path) == ["not_image"]
    shelf.cut = set()
    last = desk.scan(source, path, LOOPBACK, "--retry", "unavailable:not_image")
    assert (desk.reasons(path), last.answer["findings"]) == (["full"], 1)


def test_a_grown_list_finds_more_and_a_shrunk_one_less_without_a_fetch(
    tmp_path: Path, desk: Office, shelf: Shelf, gallery: Gallery
) -> None:
    source, path = dataset(tmp_path / "links.parquet", gallery, shelf), tmp_path / "run"
    assert desk.scan(source, path, LOOPBACK).answer["findings"] == 3
    asked = len(shelf.asked)

    desk.know(gallery, exact=[*gallery.reserved[:2], gallery.ordinary[0]], near=[0])
    more = run("rematch", path, *desk.config, "--quiet", "--json")
    assert (more.code, more.answer["findings"], more.answer["rows"]) == (1, 4, 6)
    assert {finding.row for finding in desk.findings(Path(more.answer["run"]))} == {0, 2, 3, 4}
    assert desk.reasons(Path(more.answer["run"])) == ["full"] * 6

    desk.know(gallery, exact=[gallery.reserved[0]])
    less = run("rematch", path, *desk.config, "--quiet", "--json")
    assert {finding.row for finding in desk.findings(Path(less.answer["run"]))} == {2}
    assert all(finding.url for finding in desk.findings(Path(less.answer["run"])))
    assert len(shelf.asked) == asked

    # The dataset has moved: its links are in no run directory.
    moved = source.rename(tmp_path / "elsewhere.parquet")
    gone = run("rematch", path, *desk.config, "--list", "demo", "--quiet", "--json")
    assert gone.code in (1, 2)
    desk.know(gallery, exact=[gallery.ordinary[1]])
    gone = run("rematch", path, *desk.config, "--quiet")
    assert gone.code == 2
    assert "links.parquet" in gone.err
    moved.rename(source)
    assert run("rematch", path, *desk.config, "--quiet").code == 1


def test_an_unfinished_run_is_not_matched_again(tmp_path: Path, desk: Office, shelf: Shelf, gallery: Gallery) -> None:
    source, path = dataset(tmp_path / "links.parquet", gallery, shelf), tmp_path / "run"
    desk.scan(source, path, LOOPBACK)
    shutil.rmtree(path / "shards")
    said = run("rematch", path, *desk.config)
    assert said.code == 2
    assert "is not finished: 0 of 1 shards" in said.err
    assert "finish the scan first" in said.err


def test_nothing_found_and_much_out_of_reach_has_a_code_of_its_own(
    tmp_path: Path, desk: Office, shelf: Shelf, gallery: Gallery
) -> None:
    dead = [shelf.url(f"gone-{number}") for number in range(3)]
    said = desk.scan(write_links(tmp_path / "a.parquet", dead), tmp_path / "run", LOOPBACK)
    assert (said.code, said.err) == (5, "custodes: warning: 100% of the rows could not be examined\n")
    known = [*dead, shelf.url(gallery.reserved[0])]
    said = desk.scan(write_links(tmp_path / "b.parquet", known), tmp_path / "run-2", LOOPBACK)
    assert (said.code, said.err) == (1, "")
    half = [*dead, *(shelf.url(name) for name in gallery.ordinary[:3])]
    assert desk.scan(write_links(tmp_path / "c.parquet", half), tmp_path / "run-3", LOOPBACK).code == 0
