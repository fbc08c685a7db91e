"""A node that has the site's keys and not its lists gets them with the run, encrypted; what was exchanged on the way does not open."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from wanted import Wanted, md5_of, wanted

from custodes.cli.worker import shelf_of
from custodes.errors import ListError
from custodes.ledger.run import RunDirectory
from custodes.lists.container import Provenance
from custodes.lists.shelf import Shelf
from custodes.model import Entry, Kind
from custodes.scan.lists_along import leave_lists, take_lists_away
from custodes.scan.pool import Hello


@pytest.fixture
def one(tmp_path: Path) -> Wanted:
    return wanted(tmp_path, 1)


def left(one: Wanted) -> tuple[RunDirectory, Path]:
    """The run with its lists, the site without."""
    run = RunDirectory.open(one.run, one.site.run_key())
    leave_lists(run, one.site.lists())
    shutil.rmtree(one.site.home / "lists")
    return run, next((one.run / "lists").iterdir())


def asked(one: Wanted, run: RunDirectory) -> Shelf:
    return shelf_of(Hello(config=str(one.site.path), run=str(one.run), workers=1), one.site, run)


def test_a_node_without_the_lists_reads_those_that_were_left_in_the_run(one: Wanted) -> None:
    run, file = left(one)
    assert bytes.fromhex(md5_of(7)) not in file.read_bytes()
    assert [len(each.contents) for each in asked(one, run).lists().lists] == [len(one.known)]
    take_lists_away(run)
    assert not file.exists()


def test_without_them_it_says_which_list_is_missing(one: Wanted) -> None:
    run, _ = left(one)
    take_lists_away(run)
    with pytest.raises(ListError, match=r"cannot read version 1-[0-9a-f]{12} of list known"):
        asked(one, run)


def test_a_list_that_was_changed_or_exchanged_on_the_way_does_not_open(one: Wanted) -> None:
    store = one.site.lists()
    store.import_entries("other", [Entry(Kind.MD5, bytes(16), "e")], Provenance(source="test"))
    other = store.sealed("other", store.current()["other"])
    run, file = left(one)
    good = file.read_bytes()
    for bad in (other, good[:-1], good[:-1] + bytes([good[-1] ^ 1]), b""):
        file.write_bytes(bad)
        with pytest.raises(ListError):
            asked(one, run)
    file.write_bytes(good)
    assert asked(one, run).lists().lists
