"""The table is LAION's, a third of it is dead, and the truth is what the two files really say."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from custodes.demo.gallery import Gallery
from custodes.demo.links import DemoSet, DemoSettings, RowTruth, build
from custodes.demo.server import Site
from custodes.demo.ways import EXPECTED, Way
from custodes.model import MATCHED_KINDS, Kind, Outcome, OutcomeName, Role

SITE = Site(port=5001, closed_port=5002)
LAION = {
    "URL": pa.string(),
    "TEXT": pa.string(),
    "WIDTH": pa.int64(),
    "HEIGHT": pa.int64(),
    "similarity": pa.float64(),
    "hash": pa.int64(),
    "punsafe": pa.float32(),
    "pwatermark": pa.float32(),
    "LANGUAGE": pa.string(),
    "md5": pa.string(),
}


def listed(demo: DemoSet) -> list[dict[str, str]]:
    with demo.hashes.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def dead_rows(demo: DemoSet) -> int:
    return sum(Outcome(each.reasons[0]).name is OutcomeName.UNAVAILABLE for each in demo.truth)


def test_table_has_the_columns_types_and_row_groups_of_laion(demo: DemoSet) -> None:
    with pq.ParquetFile(demo.links) as file:
        schema = file.schema_arrow
        groups = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
    assert {field.name: field.type for field in schema} == LAION
    assert groups == [250] * 8


def test_a_third_of_the_links_is_dead_and_one_in_a_hundred_hangs(demo: DemoSet) -> None:
    ways = Counter(each.way for each in demo.truth)
    assert dead_rows(demo) == 667
    assert ways[Way.SILENT] + ways[Way.DRIP] == 20
    assert all(ways[way] >= 10 for way in Way), ways
    assert Counter(Outcome(each.reasons[0]).name for each in demo.truth)[OutcomeName.UNDECODABLE] > 40


@pytest.mark.parametrize("rows", [200, 201, 333, 1000, 5003])
def test_every_size_has_every_way_and_its_share_of_dead_links(rows: int, gallery: Gallery, tmp_path: Path) -> None:
    made = build(tmp_path, gallery, SITE, DemoSettings(rows=rows))
    assert [each.row for each in made.truth] == list(range(rows))
    assert {each.way for each in made.truth} == set(Way)
    assert dead_rows(made) == round(rows / 3)
    assert len(made.findings) == 70
    assert pq.read_metadata(made.links).num_rows == rows


def test_same_seed_writes_the_same_files_and_another_others(gallery: Gallery, demo: DemoSet, tmp_path: Path) -> None:
    again = build(tmp_path / "again", gallery, SITE, DemoSettings())
    other = build(tmp_path / "other", gallery, SITE, DemoSettings(seed=1))
    assert again.links.read_bytes() == demo.links.read_bytes()
    assert again.hashes.read_bytes() == demo.hashes.read_bytes()
    assert again.truth == demo.truth
    assert other.links.read_bytes() != demo.links.read_bytes()
    assert other.findings != demo.findings


def test_the_truth_is_saved_only_when_asked_and_reads_back(demo: DemoSet, tmp_path: Path) -> None:
    assert sorted(path.name for path in demo.links.parent.iterdir()) == ["links.parquet", "list.csv"]
    demo.save_truth(tmp_path / "truth.json")
    read = msgspec.json.decode((tmp_path / "truth.json").read_bytes(), type=list[RowTruth])
    assert tuple(read) == demo.truth


def test_row_truths_agree_with_each_other(demo: DemoSet) -> None:
    for each in demo.truth:
        assert each.reasons == EXPECTED[each.way]
        assert each.finding or not each.by_columns
        assert not each.finding or each.story
    assert demo.column_findings < demo.findings
    assert len(demo.findings) == 70
    assert len(demo.column_findings) == 24


def column_matches(demo: DemoSet) -> set[int]:
    """The rows whose md5 or link is on the list as confirmed: by set lookups, as the slow simple answer."""
    confirmed = {(entry["kind"], entry["value"]) for entry in listed(demo) if entry["role"] == Role.CONFIRMED}
    rows = pq.read_table(demo.links, columns=["URL", "md5"]).to_pylist()
    found = set()
    for number, row in enumerate(rows):
        link, usual = row["URL"] or "", (row["URL"] or "").split("#")[0]
        usual = usual.replace("HTTP://", "http://").replace("/./album/..", "")
        raw, normal = hashlib.sha256(link.encode()).hexdigest(), hashlib.md5(usual.encode()).hexdigest()
        keys = {("md5", row["md5"]), ("url/raw-sha256", raw), ("url/normalised-md5", normal)}
        if keys & confirmed:
            found.add(number)
    return found


def test_the_columns_give_away_exactly_the_rows_that_the_truth_says(demo: DemoSet, small_demo: DemoSet) -> None:
    assert column_matches(demo) == demo.column_findings
    assert column_matches(small_demo) == small_demo.column_findings


def test_list_has_decoys_every_role_and_no_entry_twice(demo: DemoSet) -> None:
    entries = listed(demo)
    assert len(entries) == demo.entries >= 200 + len(demo.findings)
    assert len({entry["id"] for entry in entries}) == len({(entry["kind"], entry["value"]) for entry in entries})
    assert Counter(entry["role"] for entry in entries) == {"confirmed": demo.entries - 5, "seed": 2, "negative": 3}
    assert {entry["kind"] for entry in entries} == set(MATCHED_KINDS)
    assert all(len(bytes.fromhex(entry["value"])) == Kind(entry["kind"]).size_bytes for entry in entries)
    assert all(entry["category"].startswith("stand-in-") for entry in entries)


def test_md5_column_remembers_what_was_behind_the_link(demo: DemoSet, gallery: Gallery) -> None:
    known = {hashlib.md5(picture.data).hexdigest(): name for name, picture in gallery.pictures.items()}
    rows = pq.read_table(demo.links, columns=["URL", "md5"]).to_pylist()
    nulls = sum(row["md5"] is None for row in rows)
    assert 50 <= nulls <= 150
    for truth, row in zip(demo.truth, rows, strict=True):
        if row["md5"] is None or row["URL"] is None:
            continue
        shown = row["URL"].split("#")[0].rpartition("/")[2]
        assert (known[row["md5"]] == shown) == (truth.way is not Way.CHANGED) or truth.way is Way.DATA


def test_links_spread_over_the_host_names_asked_for(gallery: Gallery, tmp_path: Path) -> None:
    made = build(tmp_path, gallery, SITE, DemoSettings(rows=400, hosts=16))
    links = [link or "" for link in pq.read_table(made.links, columns=["URL"])["URL"].to_pylist()]
    names = {link.split("/")[2] for link in links if ".localhost:5001" in link and "@" not in link}
    assert names == {f"h{number}.localhost:5001" for number in range(16)}
    assert not any("127.0.0.1" in link for link in links)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("rows", (200, 1_000_000), (199, 1_000_001)),
        ("dead_share", (0.3, 0.9), (0.29, 0.91)),
        ("hang_share", (0, 0.2), (-0.01, 0.21)),
        ("hosts", (0, 10_000), (-1, 10_001)),
        ("decoys", (0,), (-1,)),
        ("row_group_rows", (1,), (0,)),
    ],
)
def test_settings_are_refused_outside_their_range(name: str, good: tuple[float, ...], bad: tuple[float, ...]) -> None:
    for value in good:
        DemoSettings(**{name: value})
    for value in bad:
        with pytest.raises(ValueError, match=f"{name} must be"):
            DemoSettings(**{name: value})


def test_extreme_shares_still_add_up(gallery: Gallery, tmp_path: Path) -> None:
    for settings in (
        DemoSettings(rows=200, dead_share=0.3, hang_share=0.2),
        DemoSettings(rows=400, dead_share=0.7, hang_share=0),
    ):
        made = build(tmp_path, gallery, SITE, settings)
        assert len(made.truth) == settings.rows
        assert dead_rows(made) == round(settings.rows * settings.dead_share)
