"""A dataset written again: exactly the rows that are meant leave, and everything else is as it was, in each format."""

from __future__ import annotations

import random
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from custodes.cleaning.job import KEEP_NAME, apply_keep, keep_of, write_dataset
from custodes.cleaning.keep import keep_header
from custodes.cleaning.mask import Choice, Leaving
from custodes.cleaning.tables import write_table
from custodes.cleaning.writing import NOTE
from custodes.crypto.keys import RunKey
from custodes.errors import InputError, SourceError
from custodes.sources.base import Format, Plan, SourceOptions
from custodes.sources.source import plan
from tests.cleaning.making import FORMATS, going, made, seen

KEY = RunKey(bytes(range(32)))
SEEDS = [*range(10), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(10, 100))]
CUT = re.compile(rb'(?:[^"\n]|"(?:[^"]|"")*")*\n|(?:[^"\n]|"(?:[^"]|"")*")+$')
"""A line of CSV, line ends in quotes included."""


def some_leave(planned: Plan, seed: int) -> Leaving:
    rng = random.Random(seed)
    share = rng.choice([0, 0.1, 0.5, 1])
    left = np.array([rng.random() < share for _ in range(sum(counts(planned)))], dtype=np.bool_)
    return going(left)


def expected(before: dict[str, Any], planned: Plan, left: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The slow, simple answer: what is read of the old files, less the rows that leave."""
    after, first = {}, 0
    if planned.format is Format.FOLDER:
        return expected_loose(before, left.tolist())
    for file, rows in zip(planned.files, counts(planned), strict=True):
        name = Path(file.path).name
        part = left[first : first + rows].tolist()
        first += rows
        after[name] = without(before[name], name, part)
        beside = name.replace(".tar", ".parquet")
        if name.endswith(".tar") and beside in before:
            gone = [*part, False]
            after[beside] = before[beside] | {
                "rows": [row for row, go in zip(before[beside]["rows"], gone, strict=True) if not go]
            }
    return after


def expected_loose(before: dict[str, Any], left: list[bool]) -> dict[str, Any]:
    images = sorted((name for name in before if name.endswith((".jpg", ".png"))), key=str.encode)
    stay = {name for name, go in zip(images, left, strict=True) if not go}
    keys, all_keys = ({name.rpartition(".")[0] for name in some} for some in (stay, images))
    captions = {
        name
        for name in before
        if name not in images and (name.rpartition(".")[0] in keys or name.rpartition(".")[0] not in all_keys)
    }
    return {name: held for name, held in before.items() if name in stay | captions and name != NOTE}


def counts(planned: Plan) -> list[int]:
    known = [sum(s.rows for s in planned.shards if s.file == number) for number in range(len(planned.files))]
    if planned.rows >= 0:
        return known
    return [images_in(file.path) for file in planned.files]


def images_in(path: str) -> int:
    with tarfile.open(path) as archive:
        return sum(name.endswith(".jpg") for name in archive.getnames())


def without(held: dict[str, Any], name: str, left: list[bool]) -> dict[str, Any]:
    if "rows" in held:
        return held | {"rows": [row for row, go in zip(held["rows"], left, strict=True) if not go]}
    if "members" in held:
        images = [member[0] for member in held["members"] if member[0].endswith(".jpg")]
        gone = {image.rpartition(".")[0] for image, go in zip(images, left, strict=True) if go}
        return {"members": [member for member in held["members"] if member[0].rpartition(".")[0] not in gone]}
    lines = CUT.findall(held["text"])
    assert b"".join(lines) == held["text"]
    heading = [] if "jsonl" in name else [lines.pop(0)]
    going = iter(left)
    return {"text": b"".join([*heading, *(line for line in lines if not line.strip(b"\r\n") or not next(going))])}


def equal(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    found = {name: held for name, held in found.items() if name != NOTE}
    for held in (*found.values(), *wanted.values()):
        if not held.get("rows", True):  # a table without row groups has no codec
            held["head"] = held["head"][:2]
    return found == wanted


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("seed", SEEDS)
def test_exactly_the_rows_that_are_meant_leave_and_all_else_is_equal(tmp_path: Path, form: str, seed: int) -> None:
    planned = made(tmp_path / "old", form, seed)
    found, out = some_leave(planned, seed), tmp_path / "new"
    before = seen(tmp_path / "old")
    write_dataset(planned, found, Choice(), out, KEY)
    assert equal(seen(out), expected(before, planned, found.left))
    assert seen(tmp_path / "old") == before
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_keep_list_makes_the_same_of_an_old_copy(tmp_path: Path, form: str, seed: int) -> None:
    planned = made(tmp_path / "old", form, seed)
    found = some_leave(planned, seed)
    write_dataset(planned, found, Choice(), tmp_path / "new", KEY)
    keep_of(planned, found, Choice(), tmp_path / "keep", KEY)
    (tmp_path / "old").rename(tmp_path / "copy")
    keep = tmp_path / "keep" / KEEP_NAME
    header = keep_header(keep)
    keyed = form in ("parquet", "csv", "tsv", "jsonl", "csv.gz", "img2dataset")
    assert header.keys == ("column" if keyed else "name" if form == "folder" else "row")
    rows, left = apply_keep(keep, plan(str(tmp_path / "copy"), header.options), tmp_path / "applied")
    assert (rows, left) == (len(found.left), np.count_nonzero(found.left))
    assert equal(seen(tmp_path / "applied"), {k: v for k, v in seen(tmp_path / "new").items() if k != NOTE})


def test_the_comparison_sees_a_row_too_many_and_a_changed_byte(tmp_path: Path) -> None:
    planned = made(tmp_path / "old", "csv", 3)
    left = np.zeros(planned.rows, dtype=np.bool_)
    left[0] = True
    wanted = expected(seen(tmp_path / "old"), planned, left)
    write_dataset(planned, going(~left), Choice(), tmp_path / "other", KEY)
    assert not equal(seen(tmp_path / "other"), wanted)
    write_dataset(planned, going(left), Choice(), tmp_path / "new", KEY)
    assert equal(seen(tmp_path / "new"), wanted)
    path = next((tmp_path / "new").glob("*.csv"))
    path.write_bytes(path.read_bytes().replace(b"url", b"uri"))
    assert not equal(seen(tmp_path / "new"), wanted)


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"http://a.test/more,x,1\n")


def _other(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"a.test", b"b.test", 1))


@pytest.mark.parametrize("change", [_longer, _other, Path.unlink], ids=["longer", "other bytes", "gone"])
def test_a_dataset_that_changed_since_it_was_scanned_is_refused(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    planned = made(tmp_path / "old", "csv", 1)
    change(Path(planned.files[0].path))
    with pytest.raises(SourceError):
        write_dataset(planned, some_leave(planned, 1), Choice(), tmp_path / "new", KEY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


@pytest.mark.parametrize("more", [-1, 1])
def test_a_table_with_a_row_more_or_less_than_the_mask_is_refused(tmp_path: Path, more: int) -> None:
    planned = made(tmp_path / "old", "parquet", 1)
    path = planned.files[0].path
    with (tmp_path / "new").open("wb") as target, pytest.raises(SourceError, match="other rows"):
        write_table(path, np.ones(pq.read_metadata(path).num_rows + more, dtype=np.bool_), target)


def test_keys_on_both_sides_or_missing_make_a_list_of_row_numbers(tmp_path: Path) -> None:
    for number, keys in enumerate((["1", "1", "2"], ["1", "", "2"])):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        (folder / "a.csv").write_text(
            "url,hash\n" + "".join(f"http://a.test/{row},{key}\n" for row, key in enumerate(keys))
        )
        planned = plan(str(folder), SourceOptions())
        left = np.array([True, False, False])
        keep_of(planned, going(left), Choice(), tmp_path / f"keep {number}", KEY)
        keep = tmp_path / f"keep {number}" / KEEP_NAME
        assert keep_header(keep).keys == "row"
        assert pq.read_table(keep)["key"].to_pylist() == [1, 2]
        (folder / "a.csv").write_text("url,hash\nhttp://a.test/9,9\n")
        with pytest.raises(InputError, match="not the very dataset"):
            apply_keep(keep, plan(str(folder), SourceOptions()), tmp_path / "applied")


def test_rows_of_a_copy_that_the_list_does_not_name_leave(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    lines = [f"http://a.test/{row},{row}\n" for row in range(4)]
    (folder / "a.csv").write_text("url,hash\n" + "".join(lines))
    left = np.array([True, False, False, False])
    keep_of(plan(str(folder), SourceOptions()), going(left), Choice(), tmp_path / "keep", KEY)
    (folder / "a.csv").write_text(
        "url,hash\n" + "http://a.test/new,7\n" + "".join(reversed(lines)) + "http://a.test/none,\n"
    )
    keep = tmp_path / "keep" / KEEP_NAME
    apply_keep(keep, plan(str(folder), keep_header(keep).options), tmp_path / "applied")
    assert (tmp_path / "applied" / "a.csv").read_text() == "url,hash\n" + "".join(reversed(lines[1:]))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a list at all"])
def test_what_is_no_keep_list_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keep.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is no keep list"):
        keep_header(path)
    with pytest.raises(InputError, match="is no keep list"):
        keep_header(tmp_path / "nowhere")
