"""Writes the demonstration's dataset and hash list: a table of links as LAION publishes them, and a list that knows
some of what it shows.

It knows the truth by construction, row by row: how the examination may end and whether the row is a finding; nothing of
custodes' matching is asked. The truth is kept in memory and reaches a file only by ``save_truth``, because nothing at
rest may say which rows match.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, cycle, islice
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from custodes.demo.corpus import FAMILIES, decoded
from custodes.demo.gallery import TREATMENTS, Gallery
from custodes.demo.plain_pdq import forms
from custodes.demo.server import Site
from custodes.demo.ways import EXPECTED, OFF_SITE, Way
from custodes.model import MATCHED_KINDS, Kind, Outcome, OutcomeName, Reason, Role

__all__ = ["DemoSet", "DemoSettings", "RowTruth", "build"]


class DemoSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How large the demonstration's table is and how much of it is dead."""

    rows: int = 2000
    """Rows of the table, 200 to 1,000,000."""
    seed: int = 2023
    """The same seed, gallery and site give the same table and list."""
    dead_share: float = 1 / 3
    """Share of the rows whose link is unavailable, hanging ones included, 0.3 to 0.9."""
    hang_share: float = 0.01
    """Share of the rows that never answer or drip, 0 to 0.2: they set how long a scan takes."""
    hosts: int = 0
    """Number of host names h0.localhost, h1.localhost, ... that the links are spread over; 0 means 127.0.0.1."""
    row_group_rows: int = 250
    """Rows of a row group of the table."""
    decoys: int = 240
    """Entries of the list that match nothing."""

    def __post_init__(self) -> None:
        ranges = {"rows": (200, 1_000_000), "dead_share": (0.3, 0.9), "hang_share": (0, 0.2), "hosts": (0, 10_000)}
        for name, (low, high) in {**ranges, "row_group_rows": (1, 1_000_000), "decoys": (0, 1_000_000)}.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from {low} to {high}")


class RowTruth(msgspec.Struct, frozen=True):
    """What is true of one row: what its link does, the reasons an examination may end with, whether it is a finding.

    ``by_columns`` says that the columns alone give the finding away, without a fetch; ``story`` says what was planted.
    """

    row: int
    way: Way
    reasons: tuple[Reason, ...]
    finding: bool = False
    by_columns: bool = False
    story: str = ""


@dataclass(frozen=True, slots=True)
class DemoSet:
    """The two files that were written, how many entries the list has, and the truth of every row."""

    links: Path
    hashes: Path
    entries: int
    truth: tuple[RowTruth, ...]

    @property
    def findings(self) -> frozenset[int]:
        """Rows that a full scan must report."""
        return frozenset(each.row for each in self.truth if each.finding)

    @property
    def column_findings(self) -> frozenset[int]:
        """Rows that a scan of the columns alone must report."""
        return frozenset(each.row for each in self.truth if each.by_columns)

    def save_truth(self, path: Path) -> None:
        """Write the truth as JSON. For tests: this file is a directory of what matches."""
        path.write_bytes(msgspec.json.encode(self.truth))


@dataclass(frozen=True, slots=True)
class _Plant:
    """An entry of the list. Without a value it is the digest of the row's link."""

    kind: Kind
    value: bytes | None
    role: Role = Role.CONFIRMED


@dataclass(frozen=True, slots=True)
class _Row:
    """A row without a number yet: the picture behind its link, the one its md5 column remembers, what it plants."""

    way: Way
    live: str
    first: str
    plants: tuple[_Plant, ...] = ()
    finding: bool = False
    by_columns: bool = False
    story: str = ""


# --- The rows that are planted ---


def _digest(kind: Kind, data: bytes) -> bytes:
    name = kind.value.rpartition("-")[2].rpartition("/")[2]
    return hashlib.new(name, data, usedforsecurity=False).digest()


_ALIVE: Final = (Way.OK, Way.OK, Way.MOVED, Way.BUSY_ONCE, Way.LIMITED_ONCE)
_DEAD: Final = (
    Way.NOT_FOUND, Way.REFUSED, Way.NO_NAME, Way.NO_URL, Way.GONE,
    Way.PAGE, Way.MOVED_INSIDE, Way.BAD_URL, Way.BROKEN,
)  # fmt: skip
_EXACT: Final = (Kind.MD5,) * 5 + (Kind.SHA1,) * 4 + (Kind.SHA256,) * 4


def _exact_rows(gallery: Gallery, kept: Iterator[str], ordinary: Iterator[str]) -> Iterator[_Row]:
    """Rows found by a digest of bytes: of what the link shows, or of what it showed when the table was made."""
    for kind, way, name in zip(_EXACT, cycle(_ALIVE), kept, strict=False):
        plant = _Plant(kind, _digest(kind, gallery.pictures[name].data))
        yield _Row(way, name, name, (plant,), finding=True, by_columns=kind is Kind.MD5, story=f"exact {kind}")
    for way, name in zip(_DEAD, kept, strict=False):
        plant = _Plant(Kind.MD5, _digest(Kind.MD5, gallery.pictures[name].data))
        yield _Row(way, name, name, (plant,), finding=True, by_columns=True, story="dead, known by its md5 column")
    for name, other in zip(islice(kept, 2), ordinary, strict=False):
        plant = _Plant(Kind.MD5, _digest(Kind.MD5, gallery.pictures[name].data))
        yield _Row(Way.CHANGED, other, name, (plant,), finding=True, by_columns=True, story="known before it changed")
    for name, other in zip(islice(kept, 2), ordinary, strict=False):
        plant = _Plant(Kind.SHA256, _digest(Kind.SHA256, gallery.pictures[name].data))
        yield _Row(Way.CHANGED, name, other, (plant,), finding=True, story="known since it changed")


def _link_rows(ordinary: Iterator[str]) -> Iterator[_Row]:
    """Rows found by a digest of the link, alive and dead."""
    for kind in (Kind.URL_RAW_SHA256, Kind.URL_NORMALISED_MD5):
        for way, name in zip((Way.OK, Way.MOVED, Way.NOT_FOUND, Way.RESET), ordinary, strict=False):
            plants = (_Plant(kind, None),)
            yield _Row(way, name, name, plants, finding=True, by_columns=True, story=f"link known by {kind}")


def _near_rows(gallery: Gallery) -> Iterator[_Row]:
    """Rows that show changed copies of listed pictures; of the last treatment, copies that the list says are something
    else.
    """
    for number, copy in enumerate(gallery.copies):
        base = _Plant(Kind.PDQ, copy.base_code)
        if copy.treatment != TREATMENTS[-1][0]:
            way = Way.MOVED if number % 5 == 0 else Way.OK
            yield _Row(way, copy.name, copy.name, (base,), finding=True, story=copy.treatment)
            continue
        negative = _Plant(Kind.SHA256, _digest(Kind.SHA256, gallery.pictures[copy.name].data), Role.NEGATIVE)
        yield _Row(Way.OK, copy.name, copy.name, (base, negative), story=copy.treatment)
        yield _Row(Way.OK, copy.base, copy.base, finding=True, story="the listed picture itself")


def _seed_rows(gallery: Gallery, kept: Iterator[str]) -> Iterator[_Row]:
    """Rows that match only a seed, which reports nothing."""
    near, exact = islice(kept, 2)
    code = forms(decoded(gallery.pictures[near]))[0][0].tobytes()
    yield _Row(Way.OK, near, near, (_Plant(Kind.PDQ, code, Role.SEED),), story="near a seed")
    md5 = _digest(Kind.MD5, gallery.pictures[exact].data)
    yield _Row(Way.OK, exact, exact, (_Plant(Kind.MD5, md5, Role.SEED),), story="a seed itself")


# --- The rows that are not ---

_WEIGHTS: Final = {Way.NOT_FOUND: 6.0, Way.NO_NAME: 3.0, Way.FORBIDDEN: 2.0, Way.REFUSED: 2.0, Way.PAGE: 2.0}
_HANGING: Final = (Way.SILENT, Way.DRIP)
_ODD_SHARE: Final = 0.01
_ODD: Final = (
    Way.MOVED, Way.MOVED, Way.CHANGED, Way.CHANGED, Way.BUSY_ONCE, Way.LIMITED_ONCE,
    Way.CUT, Way.DOCUMENT, Way.BROKEN, Way.BOMB,
)  # fmt: skip


def _is_dead(way: Way) -> bool:
    return Outcome(EXPECTED[way][0]).name is OutcomeName.UNAVAILABLE


def _other_ways(settings: DemoSettings, planted: Sequence[_Row]) -> Iterator[Way]:
    """One way for each row that plants nothing: the hanging, the dead by weight, the odd, and the rest alive."""
    hanging = round(settings.rows * settings.hang_share)
    dead = round(settings.rows * settings.dead_share) - hanging - sum(_is_dead(row.way) for row in planted)
    ways = [way for way in Way if _is_dead(way) and way not in _HANGING]
    # Taking turns by weight gives every way its share to within one row, and each at least one in the smallest table.
    ends = np.cumsum([_WEIGHTS.get(way, 1.0) for way in ways])
    turns = np.searchsorted(ends, (np.arange(dead) + 0.5) * ends[-1] / dead)
    odd = max(1, round(settings.rows * _ODD_SHARE)) * len(_ODD)
    alive = settings.rows - len(planted) - hanging - dead - odd
    yield from islice(cycle(_HANGING), hanging)
    yield from (ways[turn] for turn in turns)
    yield from islice(cycle(_ODD), odd)
    yield from islice(cycle((Way.OK,)), alive)


def _other_rows(gallery: Gallery, ways: Iterator[Way]) -> Iterator[_Row]:
    shown = cycle(gallery.ordinary)
    jpegs = cycle([name for name in gallery.ordinary if gallery.pictures[name].mime == "image/jpeg"])
    for number, way in enumerate(ways):
        live = next(jpegs if way is Way.CUT else shown)
        first = next(shown) if way is Way.CHANGED else live
        yield _Row(way, live, "" if number % 20 == 7 else first)  # some were never fetched, so their md5 is null


def _rows(gallery: Gallery, settings: DemoSettings) -> list[_Row]:
    kept, ordinary = iter(gallery.reserved), cycle(gallery.ordinary)
    planted = [
        *_exact_rows(gallery, kept, ordinary),
        *_link_rows(ordinary),
        *_near_rows(gallery),
        *_seed_rows(gallery, iter(gallery.reserved[-2:])),
    ]
    rows = planted + list(_other_rows(gallery, _other_ways(settings, planted)))
    order = np.random.default_rng([settings.seed, 1]).permutation(len(rows))
    return [rows[place] for place in order]


# --- Links ---

_INSIDE: Final = (
    "169.254.169.254", "10.0.0.7", "192.168.1.1", "100.64.0.9",
    "[fd00:ec2::254]", "172.16.5.4", "[::ffff:a9fe:a9fe]", "0xa9fea9fe",
)  # fmt: skip
_BAD: Final = (
    "http://[::1/",
    "http://exa mple.invalid/",
    "http://256.256.256.256/",
    "picture ",
    "http://%/",
    "//pictures.invalid/",
)
_DOT: Final = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw=="


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row's link points."""

    site: Site
    host: str
    number: int
    name: str

    def on_site(self, way: Way) -> str:
        return f"http://{self.host}:{self.site.port}/{way}/{self.number}/{self.name}"


def _no_label(number: int) -> str:
    """A label one character too long for the DNS (RFC 1035 section 2.3.4): no resolver sends or waits for anything."""
    return f"album{number % 997}".ljust(64, "x")


def _off_site(way: Way, place: _Place) -> str | None:
    """Links that end before the server is asked; None is the missing link."""
    path = f"{place.number}/{place.name}"
    made = {
        Way.REFUSED: f"http://{place.host}:{place.site.closed_port}/{path}",
        Way.NO_NAME: f"http://{_no_label(place.number)}.invalid/{path}",
        Way.INSIDE: f"http://{_INSIDE[place.number % len(_INSIDE)]}/{path}",
        Way.FTP: f"ftp://{place.host}:{place.site.port}/{path}",
        Way.DATA: _DOT,
        Way.FILE: f"file:///srv/pictures/{path}",
        Way.USERINFO: place.on_site(Way.OK).replace("http://", "http://visitor:guest@"),
        Way.BAD_URL: f"{_BAD[place.number % len(_BAD)]}{path}",
    }
    return made.get(way)


def _link(row: _Row, place: _Place) -> str | None:
    if row.way in OFF_SITE:
        return _off_site(row.way, place)
    way = Way.OK if row.way is Way.CHANGED else row.way
    straight = place.on_site(way)
    if not any(plant.kind is Kind.URL_NORMALISED_MD5 for plant in row.plants):
        return straight
    # The same link to every browser, and another string.
    return straight.replace("http://", "HTTP://").replace(f"/{way}/", f"/./album/../{way}/") + "#detail"


def _plant_value(plant: _Plant, link: str | None, place: _Place, way: Way) -> bytes:
    if plant.value is not None:
        return plant.value
    text = place.on_site(way) if plant.kind is Kind.URL_NORMALISED_MD5 else link
    assert text is not None, "a link that is listed is there"
    return _digest(plant.kind, text.encode())


# --- The two files ---

_WORDS: Final = ("quiet", "bright", "small", "plain", "colourful", "old", "curious", "large", "soft", "tidy")
_SCHEMA: Final = pa.schema(
    [
        ("URL", pa.string()), ("TEXT", pa.string()), ("WIDTH", pa.int64()), ("HEIGHT", pa.int64()),
        ("similarity", pa.float64()), ("hash", pa.int64()), ("punsafe", pa.float32()), ("pwatermark", pa.float32()),
        ("LANGUAGE", pa.string()), ("md5", pa.string()),
    ]
)  # fmt: skip


def _record(row: _Row, link: str | None, number: int, gallery: Gallery) -> dict[str, object]:
    picture = gallery.pictures[row.first or row.live]
    thing = FAMILIES[picture.family][0] if picture.family < len(FAMILIES) else "photograph"
    text = f"a {_WORDS[number % len(_WORDS)]} {thing}, number {number}"
    # LAION's key is mmh3.hash64(url + text)[0]; any stable 64 bits serve here, and these need no library.
    key = hashlib.sha256(((link or "") + text).encode()).digest()[:8]
    return {
        "URL": link,
        "TEXT": text,
        "WIDTH": picture.width,
        "HEIGHT": picture.height,
        "hash": int.from_bytes(key, "big", signed=True),
        "LANGUAGE": "en",
        "md5": _digest(Kind.MD5, picture.data).hex() if row.first else None,
    }


def _write_table(path: Path, records: list[dict[str, object]], settings: DemoSettings) -> None:
    """The table, with made-up scores in the columns that a classifier filled."""
    rng = np.random.default_rng([settings.seed, 2])
    scores = {
        "similarity": rng.uniform(0.28, 0.42, len(records)),
        "punsafe": rng.beta(1, 30, len(records)).astype(np.float32),
        "pwatermark": rng.beta(1, 8, len(records)).astype(np.float32),
    }
    columns = {name: scores[name] if name in scores else [each[name] for each in records] for name in _SCHEMA.names}
    pq.write_table(pa.table(columns, schema=_SCHEMA), path, row_group_size=settings.row_group_rows)


def _decoys(settings: DemoSettings) -> Iterator[_Plant]:
    rng = np.random.default_rng([settings.seed, 3])
    for kind in islice(cycle(MATCHED_KINDS), settings.decoys):
        yield _Plant(kind, rng.bytes(kind.size_bytes))


def _write_list(path: Path, plants: list[_Plant], seed: int) -> None:
    order = np.random.default_rng([seed, 4]).permutation(len(plants))
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("kind", "value", "id", "category", "assurance", "role"))
        for number, plant in zip(count(1), (plants[place] for place in order), strict=False):
            assert plant.value is not None, "links have been digested"
            category = ("stand-in-A", "stand-in-B", "stand-in-C")[number % 3]
            out.writerow((plant.kind, plant.value.hex(), f"demo-{number:05}", category, "placeholder", plant.role))


def build(directory: Path, gallery: Gallery, site: Site, settings: DemoSettings) -> DemoSet:
    """Write ``links.parquet`` and ``list.csv`` into ``directory``, for the gallery as it is served at ``site``."""
    records, plants, truth = [], list(_decoys(settings)), []
    for number, row in enumerate(_rows(gallery, settings)):
        host = f"h{number % settings.hosts}.localhost" if settings.hosts else "127.0.0.1"
        place = _Place(site, host, number, row.live)
        link = _link(row, place)
        records.append(_record(row, link, number, gallery))
        plants += [replace(plant, value=_plant_value(plant, link, place, row.way)) for plant in row.plants]
        truth.append(RowTruth(number, row.way, EXPECTED[row.way], row.finding, row.by_columns, row.story))
    directory.mkdir(parents=True, exist_ok=True)
    demo = DemoSet(directory / "links.parquet", directory / "list.csv", len(plants), tuple(truth))
    _write_table(demo.links, records, settings)
    _write_list(demo.hashes, plants, settings.seed)
    return demo
