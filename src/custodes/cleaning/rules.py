"""Rows that leave by a rule that anyone can compute again from the dataset: a column above a threshold, and perhaps a word in the caption as well.

What Re-LAION-5B was made by (https://laion.ai/blog/relaion-5b) is two such rules. A row without a number in the column is unknown: it stays, and is counted.
The words are the operator's; they show in no error and no repr. Such rows hide nothing, because whoever knows the rule subtracts them.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from custodes.cleaning.mask import Flags
from custodes.cleaning.tables import check_columns, columns_of
from custodes.errors import InputError, SourceError
from custodes.sources.base import Format, Plan, ShardSpec
from custodes.sources.files import exists, shown
from custodes.sources.members import key_of
from custodes.sources.parquet import read_columns
from custodes.sources.sidecars import sidecar_path
from custodes.sources.tar import shard_members
from custodes.sources.text import cells

__all__ = ["Rule", "Ruled", "Words", "ruled_by", "words_of"]

WORDS_BYTES_MAX: Final = 16 << 20
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, repr=False)
class Words:
    """Words and phrases, each as its words with one space between. ``digest``: SHA-256 (hex) of the file that they come from."""

    phrases: frozenset[str]
    longest: int
    digest: str

    def are_in(self, text: str) -> bool:
        """Whether one of them stands in a text, from word boundary to word boundary, whatever the case and form of its letters."""
        words = _words_in(text)
        return any(
            " ".join(words[first : first + count]) in self.phrases
            for count in range(1, self.longest + 1)
            for first in range(len(words) - count + 1)
        )


def _words_in(text: str) -> list[str]:
    """Unicode 15, definition D146: case is folded between two normalisations, because either can undo what the other did."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _WORD.findall(unicodedata.normalize("NFKC", folded))


def words_of(path: Path) -> Words:
    """A word or phrase a line, in UTF-8; blank lines are none. Raises InputError for what is no such list."""
    try:
        with path.open("rb") as file:
            data = file.read(WORDS_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of words", hint="one word a line, in UTF-8") from error
    if len(data) > WORDS_BYTES_MAX:
        raise InputError(f"{path} is larger than {WORDS_BYTES_MAX} bytes", hint="is it a list of words?")
    phrases = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if not (words := _words_in(line)):
            raise InputError(f"{path}, line {number}, holds no letter and no digit", hint="one word a line, in UTF-8")
        phrases.add(" ".join(words))
    if not phrases:
        raise InputError(f"{path} holds no word", hint="one word a line, in UTF-8")
    longest = max(phrase.count(" ") + 1 for phrase in phrases)
    return Words(frozenset(phrases), longest, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class Rule:
    """A row leaves whose ``column`` is above a threshold and, where words are given, whose caption has one of them."""

    column: str
    above: float
    words: Words | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.above):
            raise InputError(f"{self.above} is no threshold for {self.column!r}", hint="give a number, as 0.95")

    def __str__(self) -> str:
        with_words = "" if self.words is None else f" and a word of the list sha256:{self.words.digest}"
        return f"{self.column} > {self.above}{with_words}"


@dataclass(frozen=True, slots=True, repr=False)
class Ruled:
    """The rows that leave by rules, and how many rows have no number in a column that a rule asks for, by column."""

    left: Flags
    unknown: Mapping[str, int]


def ruled_by(plan: Plan, rules: Sequence[Rule], rows: int) -> Ruled:
    """Apply rules to a dataset of so many rows. Raises SourceError, naming file and column, where one is missing or of another type."""
    unknown = dict.fromkeys((rule.column for rule in rules), 0)
    if not rules:
        return Ruled(np.zeros(rows, dtype=np.bool_), unknown)
    asked = [*unknown, *({_caption(plan)} if any(rule.words for rule in rules) else ())]
    parts = []
    for shard in plan.shards:
        columns, where = _columns(plan, shard, asked), shown(plan.files[shard.file].path)
        numbers = {name: _numbers(columns[name], f"{where}: column {name!r}", plan.format) for name in unknown}
        for name, values in numbers.items():
            unknown[name] += int(np.count_nonzero(np.isnan(values)))
        held = [_held(rule, numbers[rule.column], columns, (plan, where)) for rule in rules]
        parts.append(np.logical_or.reduce(held))
    for name, count in unknown.items():
        if count == rows:
            raise SourceError(
                f"{shown(plan.files[0].path)}: no row has a number in {name!r}", hint="name another column"
            )
    return Ruled(np.concatenate(parts), unknown)


def _caption(plan: Plan) -> str:
    if plan.columns.text is None and plan.format is not Format.IMG2DATASET:
        raise SourceError(
            f"{shown(plan.files[0].path)} has no column with captions, in which words could be looked for",
            hint="name it when the dataset is scanned: --column text=NAME",
        )
    return plan.columns.text or "caption"  # img2dataset, README, "Output format"


def _held(rule: Rule, numbers: npt.NDArray[Any], columns: Mapping[str, Any], of: tuple[Plan, str]) -> Flags:
    """The rows of a shard that a rule takes."""
    with np.errstate(over="ignore"):
        threshold = numbers.dtype.type(rule.above)  # a float32 that was written from 0.1 is not above 0.1
    above: Flags = numbers > threshold
    if rule.words is None:
        return above
    plan, where = of
    name = _caption(plan)
    for row in np.flatnonzero(above).tolist():
        text = _plain(columns[name][row])
        if not isinstance(text, str | None):
            raise SourceError(f"{where}: column {name!r} holds {type(text).__name__}, not text", hint="map another")
        above[row] = text is not None and rule.words.are_in(text)
    return above


def _plain(value: Any) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value


def _numbers(values: Any, where: str, form: Format) -> npt.NDArray[Any]:
    """A column as floats; not a number where there is none."""
    if isinstance(values, list):
        return np.array([_number(value, where, row, form) for row, value in enumerate(values)], dtype=np.float64)
    kind = values.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise SourceError(f"{where} holds {kind}, not numbers", hint="name a column of numbers")
    plain: npt.NDArray[Any] = (
        pa.chunked_array([values]).to_numpy() if isinstance(values, pa.Array) else values.to_numpy()
    )
    return plain if plain.dtype.kind == "f" else plain.astype(np.float64)


def _number(value: object, where: str, row: int, form: Format) -> float:
    if value is None:
        return math.nan
    try:
        if isinstance(value, str) and form in (Format.CSV, Format.TSV):
            return float(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise SourceError(f"{where}, row {row} of its shard, is no number", hint="name a column of numbers")


def _columns(plan: Plan, shard: ShardSpec, names: Sequence[str]) -> Mapping[str, Any]:
    """Columns of a shard: Arrow arrays of Parquet, lists of anything else."""
    file = plan.files[shard.file]
    if plan.format in (Format.PARQUET_LINKS, Format.PARQUET_IMAGES):
        check_columns(file.path, names)
        return read_columns(file, shard, names)
    if plan.format in (Format.CSV, Format.TSV, Format.JSONL):
        rows = [row or {} for row in cells(plan, shard, names)]
        return {name: [row.get(name) for row in rows] for name in names}
    if plan.format is Format.IMG2DATASET and exists(beside := sidecar_path(file.path)):
        held = columns_of(beside, ("key", *names))
        at = {str(key).encode(): place for place, key in enumerate(held["key"])}
        places = [
            at.get(key_of(member.name)) for member, _ in shard_members(file, shard, plan.options) if member.is_item
        ]
        return {name: [None if place is None else held[name][place] for place in places] for name in names}
    raise SourceError(f"{shown(file.path)} has no columns to which a rule could apply", hint="leave the rules out")
