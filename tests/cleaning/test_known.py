"""What a run knows of its rows: which links gave another image than the dataset says, when that was seen, and which rows are near copies of one another."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from custodes.cleaning import copies, rows
from custodes.cleaning.copies import Copies
from custodes.cleaning.mask import Choice, leaving
from custodes.cleaning.rows import check_says_digests, rows_of
from custodes.crypto.keys import RunKey
from custodes.errors import InputError
from custodes.ledger.rows import RowsBuilder
from custodes.ledger.run import RunDirectory
from custodes.pdq import forms_of
from custodes.sources.base import Plan
from tests.cleaning.making import made, planned

KEY = RunKey(bytes(range(32)))


@dataclass
class Known:
    """Stands for the directory of a finished run: only what it knows of rows is asked for."""

    plan: Plan
    tables: list[Any]
    path: Path = Path("run")
    manifest: Any = dataclasses.field(default_factory=lambda: SimpleNamespace(settings={}))

    def latest(self) -> dict[int, Any]:
        return {shard.index: SimpleNamespace(shard=shard.index) for shard in self.plan.shards}

    def rows(self, record: Any) -> Any:
        return self.tables[record.shard]

    def directory(self) -> RunDirectory:
        return cast(RunDirectory, self)


def digest(number: int, size: int) -> bytes:
    return bytes([number]) * size


def links(folder: Path, says: list[dict[str, Any]]) -> Plan:
    """A table of links with the digests that it says of their images, in shards of seven rows."""
    folder.mkdir()
    named = [{"url": f"http://a.test/{row}", "md5": None, "sha256": None} | each for row, each in enumerate(says)]
    pq.write_table(pa.Table.from_pylist(named), folder / "a.parquet", row_group_size=7)
    return planned(folder)


def known(plan: Plan, seen: list[dict[str, Any]]) -> Known:
    tables = []
    for shard in plan.shards:
        builder = RowsBuilder(shard.rows)
        for row in range(shard.rows):
            builder.set(row, **({"reason": "full", "attempts": 1} | seen[shard.first_row + row]))
        tables.append(builder.table())
    return Known(plan, tables)


ON = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 31)]


def test_swapped_images_are_those_with_another_digest_than_the_dataset_says(tmp_path: Path) -> None:
    says = [{"md5": digest(row, 16).hex()} for row in range(20)]
    says[3] = {}
    says[5] = {"md5": digest(5, 16).hex(), "sha256": digest(5, 32).hex()}
    says[6] = {"sha256": digest(6, 32).hex()}
    plan = links(tmp_path / "old", says)
    seen: list[dict[str, Any]] = [
        {"md5": digest(row, 16), "sha1": digest(row, 20), "sha256": digest(row, 32), "fetched_at": ON[row]}
        for row in range(20)
    ]
    for swapped in (2, 9, 19):
        seen[swapped]["md5"] = digest(99, 16)
    seen[3]["md5"] = digest(99, 16)  # nothing is said of it
    seen[5]["sha256"] = digest(99, 32)
    seen[6]["md5"] = digest(99, 16)  # its MD5 is not said
    seen[10] = {"reason": "http_404"}  # nothing was seen
    found, between = rows_of(known(plan, seen).directory(), plan, [], KEY)
    assert np.flatnonzero(found.swapped).tolist() == [2, 5, 9, 19]
    assert between == (ON[2], ON[19])
    assert np.flatnonzero(leaving(found, Choice(drop_swapped=True, decoys=0, crowd=0)).left).tolist() == [2, 5, 9, 19]
    check_says_digests(plan)


def test_no_image_is_swapped_where_it_cannot_be_known(tmp_path: Path) -> None:
    plan = links(tmp_path / "old", [{}] * 3)
    seen = [{"md5": digest(row, 16), "sha1": digest(row, 20), "sha256": digest(row, 32)} for row in range(3)]
    found, between = rows_of(known(plan, seen).directory(), plan, [], KEY)
    assert (found.swapped.any(), between) == (False, None)
    for said, no_digests in (
        ("holds its images itself", made(tmp_path / "images", "img2dataset", 1)),
        ("has no column with digests", made(tmp_path / "links", "jsonl", 1)),
    ):
        with pytest.raises(InputError, match=said):
            check_says_digests(no_digests)


def test_an_image_that_a_dataset_holds_smaller_than_it_says_is_not_swapped(tmp_path: Path) -> None:
    made(tmp_path / "old", "img2dataset", 1)
    for path in (tmp_path / "old").glob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.append_column("md5", pa.array([digest(1, 16).hex()] * table.num_rows)), path)
    plan = planned(tmp_path / "old")
    seen = [{"md5": digest(2, 16), "sha1": digest(2, 20), "sha256": digest(2, 32)}] * plan.rows
    tables = Known(plan, [known_part(shard.rows, seen[: shard.rows]) for shard in plan.shards])
    assert not rows_of(tables.directory(), plan, [], KEY)[0].swapped.any()


def known_part(count: int, seen: list[dict[str, Any]]) -> Any:
    builder = RowsBuilder(count)
    for row, each in enumerate(seen):
        builder.set(row, reason="full", attempts=1, **each)
    return builder.table()


# -- near copies


def looks(rng: np.random.Generator, plan: Plan) -> list[dict[str, Any]]:
    """What a run saw: of some rows no code, of some two frames, of some one of poor quality; near copies in any form and at any distance about the limit."""
    seen: list[dict[str, Any]] = []
    codes: list[Any] = []
    for row in range(plan.rows):
        code = rng.integers(0, 256, 128, dtype=np.uint8)
        if codes and rng.random() < 0.7:
            code = changed(rng, codes[rng.integers(len(codes))], rng.choice([0, 1, 20, 31, 32, 33, 60]))
        codes.append(code)
        frames = [] if rng.random() < 0.1 else [frame(code, 100 if rng.random() < 0.9 else 49)]
        if rng.random() < 0.1:
            frames.append(frame(rng.integers(0, 256, 128, dtype=np.uint8), 50))
        seen.append({"md5": digest(row, 16), "sha1": digest(row, 20), "sha256": digest(row, 32), "pdq": frames or None})
    return seen


def changed(rng: np.random.Generator, code: Any, bits: int) -> Any:
    """A form of a code with some bits turned. What the reflections of it are is left to chance: the stored ones alone are compared."""
    own = code.copy()
    own[:32] = forms_of(code.reshape(1, 128))[0, rng.integers(8)]
    for bit in rng.choice(256, bits, replace=False):
        own[bit // 8] ^= 1 << (bit % 8)
    return own


def frame(code: Any, quality: int) -> dict[str, Any]:
    return {"frame": 0, "quality": quality, "code": code[:32].tobytes(), "reflections": code[32:].tobytes()}


def slowly(seen: list[dict[str, Any]], some: list[int]) -> set[int]:
    """Every row with a code within 31 bits of any form of a code of one of these, by comparing all."""
    good = {row: [each for each in of["pdq"] or [] if each["quality"] >= 50] for row, of in enumerate(seen)}
    found = set()
    for asked in some:
        for own in good[asked]:
            both = np.frombuffer(own["code"] + own["reflections"], np.uint8).reshape(1, 128)
            forms = forms_of(both)[0]
            for row, frames in good.items():
                for each in frames:
                    code = np.frombuffer(each["code"], np.uint8)
                    if min(int(np.unpackbits(form ^ code).sum()) for form in forms) <= 31:
                        found.add(row)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_near_copies_are_those_that_comparing_all_with_all_finds(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "CODES_AT_ONCE", 1 + 10 * (seed % 3))
    rng = np.random.default_rng(seed)
    plan = links(tmp_path / "old", [{}] * 40)
    seen = looks(rng, plan)
    near = Copies(known(plan, seen).directory(), plan, (0, 40)).near
    for some in (rng.random(40) < 0.2, rng.random(40) < 0.02, np.zeros(40, np.bool_), np.ones(40, np.bool_)):
        found, like = near(some)
        assert set(found.tolist()) == slowly(seen, np.flatnonzero(some).tolist())
        assert set(like.tolist()) <= set(found.tolist())


def test_rows_of_a_run_that_saw_no_image_have_no_near_copies(tmp_path: Path) -> None:
    plan = links(tmp_path / "old", [{}] * 3)
    tables = [pa.table({"reason": pa.array(["columns_only"] * 3).dictionary_encode()})]
    found, like = Copies(Known(plan, tables).directory(), plan, (0, 3)).near(np.ones(3, np.bool_))
    assert (len(found), len(like)) == (0, 0)


def test_families_leave_whole_from_the_codes_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of near copies, of which the first matched; what is near no other stays. With the search broken the chain is torn."""
    rng = np.random.default_rng(5)
    plan = links(tmp_path / "old", [{}] * 20)
    code = rng.integers(0, 256, 128, dtype=np.uint8)
    codes = [rng.integers(0, 256, 128, dtype=np.uint8) for _ in range(20)]
    for row in (4, 9, 17):
        code = code.copy()
        code[row] ^= 0xFF
        code[row + 1] ^= 0xFF
        codes[row] = code
    assert all(
        np.unpackbits(codes[one][:32] ^ codes[other][:32]).sum() > 31
        for one, other in combinations(range(20), 2)
        if (one, other) not in ((4, 9), (9, 17), (4, 17))
    )
    seen = [
        {"md5": digest(row, 16), "sha1": digest(row, 20), "sha256": digest(row, 32), "pdq": [frame(codes[row], 90)]}
        for row in range(20)
    ]
    run = known(plan, seen).directory()
    found, _ = rows.rows_of(run, plan, [(plan.files[0].path, 4)], KEY)
    near = Copies(run, plan, found.starts).near
    choice = Choice(decoys=0, crowd=0)
    assert np.flatnonzero(leaving(found, choice, near).left).tolist() == [4, 9, 17]
    assert np.flatnonzero(leaving(found, choice).left).tolist() == [4]
    monkeypatch.setattr(copies, "NEAR_BITS", 1)
    assert np.flatnonzero(leaving(found, choice, near).left).tolist() == [4]
