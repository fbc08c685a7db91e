"""Rows that leave by rules that anyone can compute: exactly those above a threshold, or above it with a word in the caption; what is unknown stays."""

from __future__ import annotations

import csv
import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from custodes.cleaning import rules
from custodes.cleaning.rules import Rule, Words, ruled_by, words_of
from custodes.errors import InputError, SourceError
from custodes.sources.base import Plan
from tests.cleaning.making import made, planned


def words(tmp_path: Path, text: str) -> Words:
    path = tmp_path / "words.txt"
    path.write_text(text)
    return words_of(path)


def table(folder: Path, form: str, scores: list[Any], captions: list[str | None]) -> Plan:
    """A dataset of these scores and captions, in shards of seven rows."""
    folder.mkdir()
    rows = [
        {"url": f"http://a.test/{row}", "punsafe": score, "caption": caption}
        for row, (score, caption) in enumerate(zip(scores, captions, strict=True))
    ]
    if form == "parquet":
        schema = pa.schema([("url", pa.string()), ("punsafe", pa.float32()), ("caption", pa.string())])
        pq.write_table(pa.Table.from_pylist(rows, schema), folder / "a.parquet", row_group_size=5)
    elif form == "jsonl":
        (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with (folder / "a.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["url", "punsafe", "caption"])
            writer.writeheader()
            writer.writerows(rows)
    return planned(folder)


def left(plan: Plan, *some: Rule) -> list[int]:
    return np.flatnonzero(ruled_by(plan, some, plan.rows).left).tolist()


SCORES = [0.96, 0.96, 0.95, 0.46, 0.45, 0.1, None, 1.0, 0.951]
CAPTIONS = ["a Word", "nothing", "a word", "word", "word", "word", "word", None, "two  WORDS here"]


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_the_rules_of_re_laion_take_what_they_say(tmp_path: Path, form: str) -> None:
    plan = table(tmp_path / "old", form, SCORES, CAPTIONS)
    listed = words(tmp_path, "word\n\ntwo words\n")
    research, safe = Rule("punsafe", 0.95, listed), Rule("punsafe", 0.45)
    assert left(plan, research) == [0, 8]
    assert left(plan, safe) == [0, 1, 2, 3, 7, 8]
    assert left(plan, research, safe) == left(plan, safe)  # every row of the first is one of the second
    assert left(plan) == []
    assert ruled_by(plan, [research, safe], plan.rows).unknown == {"punsafe": 1}


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "img2dataset"])
@pytest.mark.parametrize("seed", [*range(5), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(5, 100))])
def test_rules_agree_with_a_slow_and_simple_reading(tmp_path: Path, form: str, seed: int) -> None:
    rng = random.Random(seed)
    texts = ["one two", "Two-three", "twofold", "ONE", "three. one", "", None, "\uff4f\uff4e\uff45", "\ufb01ne", "fine"]
    listed = words(tmp_path, rng.choice(["one\n", "two three\nfine\n", "three one\none two\n"]))
    some = [Rule("punsafe", rng.random(), listed), Rule("punsafe", rng.random())][: rng.randint(1, 2)]
    if form == "img2dataset":
        plan, scores, captions = beside(tmp_path / "old", seed, rng, texts)
    else:
        count = rng.randint(1, 40)
        scores = [0.5, *(rng.choice([None, float(np.float32(rng.random()))]) for _ in range(count - 1))]
        captions = [rng.choice(texts) for _ in scores]
        plan = table(tmp_path / "old", form, scores, captions)
    found = ruled_by(plan, some, len(scores))
    assert np.flatnonzero(found.left).tolist() == [
        row
        for row, (score, text) in enumerate(zip(scores, captions, strict=True))
        if score is not None and any(score > rule.above and (not rule.words or has(text, listed)) for rule in some)
    ]
    assert found.unknown == {"punsafe": scores.count(None)}


def beside(folder: Path, seed: int, rng: random.Random, texts: list[str | None]) -> tuple[Plan, list[Any], list[Any]]:
    """An img2dataset dataset whose tables have scores and captions, in another order than the images and with rows of no image."""
    made(folder, "img2dataset", seed)
    scores, captions = [], []
    for path in sorted(folder.glob("*.parquet")):
        keys = pq.read_table(path)["key"].to_pylist()
        rows = [(key, rng.choice([None, 0.25, 0.75]), rng.choice(texts)) for key in keys]
        scores += [row[1] for row in rows[:-1]]
        captions += [row[2] for row in rows[:-1]]
        rng.shuffle(rows)
        columns = dict(zip(("key", "punsafe", "caption"), map(list, zip(*rows, strict=True)), strict=True))
        columns["punsafe"] = pa.array(columns["punsafe"], pa.float64())
        columns["caption"] = pa.array(columns["caption"], pa.string())
        pq.write_table(pa.table(columns | {"url": [f"http://a.test/{row[0]}" for row in rows]}), path)
    if not any(score is not None for score in scores):
        scores[0] = 0.5
        path = min(folder.glob("*.parquet"))
        held = pq.read_table(path)
        rows = [0.5 if key == "00000" else None for key in held["key"].to_pylist()]
        pq.write_table(held.set_column(1, "punsafe", pa.array(rows, pa.float64())), path)
    return planned(folder), scores, captions


def has(text: str | None, listed: Words) -> bool:
    """With spaces around, and everything that is no letter a space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text or "").casefold())
    spaced = " ".join(["", *re.sub(r"\W", " ", folded).split(), ""])
    return any(f" {phrase} " in spaced for phrase in listed.phrases)


TEXTS: dict[str, tuple[str, str, bool]] = {
    "the word alone": ("word", "word", True),
    "another case": ("word", "a WORD.", True),
    "case that folds to two letters": ("straße", "STRASSE", True),
    "full width letters": ("word", "\uff57\uff4f\uff52\uff44", True),
    "a ligature": ("fine", "\ufb01ne", True),
    "composed and decomposed": ("caf\u00e9", "cafe\u0301", True),
    "at punctuation": ("word", "(word)", True),
    "a phrase over punctuation and spaces": ("two words", "two - words", True),
    "within a word": ("word", "sword", False),
    "the beginning of a word": ("word", "words", False),
    "with a digit": ("word", "word1", False),
    "words of a phrase apart": ("two words", "two other words", False),
    "words of a phrase turned round": ("two words", "words two", False),
    "half a phrase at the end": ("two words", "two", False),
    "nothing": ("word", "", False),
}


@pytest.mark.parametrize("case", TEXTS)
def test_words_are_found_at_their_boundaries_whatever_their_case_and_form(tmp_path: Path, case: str) -> None:
    listed, text, found = TEXTS[case]
    assert words(tmp_path, listed).are_in(text) is found


@pytest.mark.parametrize("data", [b"", b"\n \n", b"word\n...\n", b"\xff\xfe", "x" * 65], ids=str)
def test_what_is_no_list_of_words_is_refused_and_its_words_are_not_told(
    tmp_path: Path, data: bytes | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "WORDS_BYTES_MAX", 64)
    path = tmp_path / "words.txt"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(InputError, match=re.escape(str(path))) as raised:
        words_of(path)
    assert "word\n" not in str(raised.value)
    with pytest.raises(InputError):
        words_of(tmp_path / "nowhere")
    path.write_text("x" * 64)
    assert "xxx" not in repr(words_of(path))


@pytest.mark.parametrize("above", [float("nan"), float("inf")])
def test_a_threshold_is_a_number(above: float) -> None:
    with pytest.raises(InputError, match="is no threshold"):
        Rule("punsafe", above)


def test_a_number_of_half_the_precision_is_not_above_the_number_that_it_was_written_from(tmp_path: Path) -> None:
    plan = table(tmp_path / "old", "parquet", [0.1, 0.2], ["", ""])
    assert left(plan, Rule("punsafe", 0.1)) == [1]
    assert left(plan, Rule("punsafe", 1e300)) == []


def _parquet(folder: Path, **columns: Any) -> Plan:
    folder.mkdir()
    pq.write_table(pa.table({"url": ["http://a.test/1"], **columns}), folder / "a.parquet")
    return planned(folder)


BAD: dict[str, tuple[Any, str]] = {
    "a column that is not there": (lambda at: table(at, "csv", [1], [""]), "'score'"),
    "a parquet column that is not there": (lambda at: table(at, "parquet", [1], [""]), "'score'"),
    "a field that no row has": (lambda at: table(at, "jsonl", [1], [""]), "'score'"),
    "a column of text": (lambda at: _parquet(at, score=["0.5"]), "'score'.*holds string"),
    "a column of truth values": (lambda at: _parquet(at, score=[True]), "'score'.*holds bool"),
    "a column of nothing": (lambda at: _parquet(at, score=pa.nulls(1, pa.float32())), "no row has a number in 'score'"),
    "an archive": (lambda at: made(at, "tar", 1), "has no columns"),
    "a folder of images": (lambda at: made(at, "folder", 1), "has no columns"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_column_that_is_missing_or_of_another_type_is_an_error_that_names_file_and_column(
    tmp_path: Path, case: str
) -> None:
    make, said = BAD[case]
    plan = make(tmp_path / "old")
    with pytest.raises(SourceError, match=said) as raised:
        ruled_by(plan, [Rule("score", 0.5)], max(plan.rows, 1))
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(("form", "cell"), [("csv", "high"), ("jsonl", "0.5"), ("jsonl", True), ("jsonl", [1])])
def test_a_cell_that_is_no_number_is_an_error_and_is_not_told(tmp_path: Path, form: str, cell: Any) -> None:
    plan = table(tmp_path / "old", form, [0.5, cell], ["", ""])
    with pytest.raises(SourceError, match=r"'punsafe', row 1 of its shard, is no number") as raised:
        ruled_by(plan, [Rule("punsafe", 0.5)], plan.rows)
    assert "high" not in str(raised.value)


def test_words_want_captions_and_captions_are_text(tmp_path: Path) -> None:
    rule = Rule("score", 0.5, words(tmp_path, "word"))
    with pytest.raises(SourceError, match="no column with captions"):
        left(_parquet(tmp_path / "none", score=[0.7]), rule)
    with pytest.raises(SourceError, match="column 'caption' holds int, not text"):
        left(_parquet(tmp_path / "number", score=[0.7], caption=[3]), rule)


def test_a_rule_is_told_with_the_digest_of_its_words_and_without_them(tmp_path: Path) -> None:
    rule = Rule("punsafe", 0.95, words(tmp_path, "word"))
    assert str(rule) == f"punsafe > 0.95 and a word of the list sha256:{rule.words.digest}"  # type: ignore[union-attr]
    assert str(Rule("punsafe", 0.45)) == "punsafe > 0.45"
    assert "word'" not in repr(rule)
