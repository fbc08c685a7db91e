"""``custodes clean``, as a user types it: refused while too few leave; then what a rematch found has left, and sums are told."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from custodes.cli.main import cli
from custodes.errors import InputError
from tests.stored import earlier


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
