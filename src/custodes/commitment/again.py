"""The rows of an answer examined again, from the dataset: images are digested, links are looked at and, where asked for, fetched.

Promises that only bytes with the digest that was opened count as agreement, and that what a link gives today is told apart from a lie: it may have changed, or
be gone. Nothing is decoded here, compared with a list or kept. A dataset is read only where its files have the fingerprints that the card names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

from custodes.attest.statement import CLEANED, Statement
from custodes.carrier.protocol import Carried
from custodes.commitment.proofs import CardRows, Opening
from custodes.digests import crypto_digests
from custodes.errors import InputError
from custodes.model import Content, Outcome, OutcomeName, Reason
from custodes.scan.shard import refused_link
from custodes.sources.base import ROWS_UNKNOWN, Plan, ShardSpec, SourceOptions
from custodes.sources.source import iter_images, plan, read_links, row_details

__all__ = ["Again", "Compared", "Dataset", "Fetch", "compare"]

FINGERPRINT: Final = "custodes-fingerprint-1"
SHARD_ROWS: Final = 1_000

Fetch = Callable[[list[tuple[int, str]]], Iterable[Carried]]
"""Fetches links, as (key, URL); one answer for each key."""


@dataclass(frozen=True)
class Dataset:
    """Where the dataset lies, and how it was read when that was told to the scan (format, columns, header)."""

    source: str
    options: SourceOptions = field(default_factory=SourceOptions)


class Again(StrEnum):
    """What became of a row that was looked at again. Only the first is agreement, and only the second shows that the card is wrong."""

    AGREES = "agrees"
    DIFFERS = "differs"
    CHANGED = "changed"
    """The link gives other bytes than it gave then."""
    GONE = "gone"
    """The link gave bytes then, and gives none."""
    BACK = "back"
    """The link gave none then, and gives bytes."""
    STILL_AWAY = "still away"
    """The link gives nothing, as then: that says nothing of then."""
    NOT_FETCHED = "not fetched"
    NOT_DIGESTED = "not digested"
    """The card says that no bytes of the row were digested: there is nothing to compare."""


@dataclass
class Compared:
    """How the rows were found, by number."""

    rows: dict[Again, list[int]] = field(default_factory=lambda: {each: [] for each in Again})

    def add(self, again: Again, openings: Iterable[Opening]) -> None:
        """Note how these were found."""
        self.rows[again] += [opening.row for opening in openings]

    @property
    def checked(self) -> int:
        """Rows that a lie would have shown in."""
        return len(self.rows[Again.AGREES]) + len(self.rows[Again.DIFFERS])


def compare(card: CardRows, openings: Sequence[Opening], dataset: Dataset, fetch: Fetch | None = None) -> Compared:
    """Examine the opened rows of a dataset again. Raises InputError where the dataset is not the card's."""
    found = Compared()
    planned = _plan(card.statement, dataset)
    links: dict[int, str] = {}
    for shard, opened in _by_shard(planned, card, openings):
        if "bytes" not in card.statement.predicate.passes:
            found.add(Again.NOT_DIGESTED, opened.values())
        elif planned.holds_images:
            _images(planned, shard, opened, found)
        else:
            links |= _links(planned, shard, opened, found)
    if fetch is None:
        found.rows[Again.NOT_FETCHED] += links
    elif links:
        by_row = {opening.row: opening for opening in openings}
        for carried in fetch(list(links.items())):
            found.add(_today(by_row[carried.key], carried), [by_row[carried.key]])
    return found


def _plan(statement: Statement, dataset: Dataset) -> Plan:
    """The dataset, if its files are those of the card."""
    options = msgspec.structs.replace(dataset.options, shard_rows_max=SHARD_ROWS)
    if (body := statement.predicate.settings.get("fetch.body_bytes_max", "")).isdecimal():
        options = msgspec.structs.replace(options, body_bytes_max=int(body))
    planned = plan(dataset.source, options)
    named = [each.digest.get(FINGERPRINT) for each in statement.subject if not each.name.startswith(CLEANED)]
    if [file.fingerprint for file in planned.files] != named:
        raise InputError(
            "these are not the files that the card names, in this order", hint="give the dataset as it was scanned"
        )
    return planned


def _by_shard(
    planned: Plan, card: CardRows, openings: Sequence[Opening]
) -> Iterator[tuple[ShardSpec, dict[int, Opening]]]:
    """The shards that hold opened rows, each with the openings by their rows in it."""
    first, left = 0, sorted(openings, key=lambda opening: -opening.row)
    for shard in planned.shards:
        rows = shard.rows
        if rows == ROWS_UNKNOWN:
            rows = read_links(planned, shard, (), with_urls=False).rows
        inside = {}
        while left and left[-1].row < first + rows:
            opening = left.pop()
            inside[opening.row - first] = opening
        first += rows
        if inside:
            yield shard, inside
    limit = card.statement.predicate.settings.get("limit", "null")
    if left or (limit == "null" and first != card.tree.size):
        raise InputError(f"the dataset has {first:,} rows, the card commits to {card.tree.size:,}")


def _images(planned: Plan, shard: ShardSpec, opened: Mapping[int, Opening], found: Compared) -> None:
    last = max(opened)
    for item in iter_images(planned, shard):
        if item.row in opened:
            found.add(_image(opened[item.row], item.content), [opened[item.row]])
        if item.row >= last:
            return


def _image(opening: Opening, content: Content | Reason) -> Again:
    """An image of the dataset cannot change: its files are those of the card."""
    if isinstance(content, Reason):
        return Again.AGREES if (opening.reason, opening.digest) == (content, "") else Again.DIFFERS
    if opening.digest:
        md5, _, sha256 = crypto_digests(content)
        return Again.AGREES if bytes.fromhex(opening.digest) in (md5, sha256) else Again.DIFFERS
    return Again.DIFFERS if _unfounded(opening) else Again.NOT_DIGESTED


def _links(planned: Plan, shard: ShardSpec, opened: Mapping[int, Opening], found: Compared) -> dict[int, str]:
    """The links to fetch, by row of the run. A row without one tells by itself, and so does one that the card says has none."""
    links = {}
    for opening, detail in zip(opened.values(), row_details(planned, shard, list(opened)), strict=True):
        refused = refused_link(detail.url)
        if refused is not None:
            agrees = opening.reason in (refused, Reason.MALFORMED_ROW) and not opening.digest
            found.add(Again.AGREES if agrees else Again.DIFFERS, [opening])
        elif opening.reason is Reason.NO_URL or _unfounded(opening):
            found.add(Again.DIFFERS, [opening])
        else:
            links[opening.row] = str(detail.url)
    return links


def _unfounded(opening: Opening) -> bool:
    """Whether a row is said to have been examined, and no bytes were digested."""
    return not opening.digest and Outcome(opening.reason).name is OutcomeName.EXAMINED


def _today(opening: Opening, carried: Carried) -> Again:
    """What a link gives today beside what it gave."""
    if not opening.digest:
        return Again.BACK if carried.md5 else Again.STILL_AWAY
    if not carried.md5:
        return Again.GONE
    return Again.AGREES if bytes.fromhex(opening.digest) in (carried.md5, carried.sha256) else Again.CHANGED
