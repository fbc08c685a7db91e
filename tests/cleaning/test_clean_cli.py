"""``custodes clean``, as a user types it: refused while too few leave; then what a rematch found has left, and sums are told."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from custodes.cleaning.output import output_digests
from custodes.cli.main import cli
from custodes.errors import InputError, SourceError
from tests.stored import earlier, md5_of


def test_what_was_found_leaves_in_a_crowd_or_nothing_is_written(tmp_path: Path) -> None:
    past, out = earlier(tmp_path / "run", 2, 200), tmp_path / "new"
    past.know([0, 7, 300], {})

    def ran(*words: str | Path) -> str:
        arguments = [*map(str, words), *past.config]
        return CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False).output

    ran("rematch", past.run.path, "--quiet")
    with pytest.raises(InputError, match="too few rows would leave"):
        ran("clean", past.run.path, "--out", out)
    assert not out.exists()
    said = ran("clean", past.run.path, "--out", out, "--decoys", "0.5", "--crowd", "10")
    links = {url for path in out.glob("*.parquet") for url in pq.read_table(path)["URL"].to_pylist()}
    assert 100 < len(links) < 300
    assert f"{400 - len(links)} of 400 rows left" in said
    assert not links & {f"http://a.test/{row}" for row in (0, 7, 300)}


def test_a_second_release_hides_what_is_new_in_it_and_says_which_reasons_anyone_can_see(tmp_path: Path) -> None:
    past = earlier(tmp_path / "run", 1, 300)

    def ran(*words: str | Path) -> str:
        arguments = [*map(str, words), *past.config]
        return CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False).output

    past.know([0, 7], {})
    ran("rematch", past.run.path, "--quiet")
    ran("clean", past.run.path, "--out", tmp_path / "first", "--keep-metadata", "--decoys", "0.2", "--crowd", "10")
    again = ("clean", past.run.path, "--after", tmp_path / "first" / "keep.parquet", "--crowd", "10", "--json")
    with pytest.raises(InputError, match="too few rows would leave"):
        ran(*again, "--out", tmp_path / "same", "--decoys", "0.2")
    ran(*again, "--out", tmp_path / "more", "--decoys", "0.5")
    kept = set(pq.read_table(tmp_path / "first" / "keep.parquet")["key"].to_pylist())
    links = pq.read_table(next((tmp_path / "more").glob("*.parquet")))["URL"].to_pylist()
    assert {int(link.rpartition("/")[2]) for link in links} < kept
    assert output_digests(tmp_path / "more")[0].reasons == ("undecodable",)
    with pytest.raises(SourceError, match="has not one column 'punsafe'"):
        ran("clean", past.run.path, "--out", tmp_path / "ruled", "--drop-above", "punsafe", "0.5")
    with pytest.raises(InputError, match="no image can be known to be swapped"):
        ran("clean", past.run.path, "--out", tmp_path / "ruled", "--drop", "swapped")


def test_rules_are_told_and_what_they_take_has_left(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    lines = [
        f"http://127.0.0.1:9/{row},{row / 100},{'a Word' if row % 2 else ''},{md5_of(row).hex()}\n"
        for row in range(100)
    ]
    (tmp_path / "old" / "a.csv").write_text("url,punsafe,caption,md5\n" + "".join(lines))
    (tmp_path / "words.txt").write_text("word\n")
    site = earlier(tmp_path / "run", 1, 1)

    def ran(*words: str | Path) -> str:
        arguments = [*map(str, words), *site.config]
        return CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False).output

    ran("scan", tmp_path / "old", "--run", tmp_path / "scanned", "--pass", "columns", "--quiet")
    rules = ("--drop-above", "punsafe", "0.895", "--drop-words", tmp_path / "words.txt", "punsafe", "0.795")
    said = ran("clean", tmp_path / "scanned", "--out", tmp_path / "new", *rules, "--decoys", "0.3", "--crowd", "2")
    assert "rules took 15 rows" in said
    stay = [line.split(",")[0].rpartition("/")[2] for line in (tmp_path / "new" / "a.csv").read_text().splitlines()[1:]]
    assert not {int(row) for row in stay} & {81, 83, 85, 87, 89, *range(90, 100)}
    assert 30 < len(stay) < 85
    reasons = output_digests(tmp_path / "new")[0].reasons
    assert reasons[:2] == ("undecodable", "punsafe > 0.895")
    assert reasons[2].startswith("punsafe > 0.795 and a word of the list sha256:")
