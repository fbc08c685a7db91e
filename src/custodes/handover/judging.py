"""From what an authority decided of incidents, in a table or in words, to verdicts on all their findings.

Promises that a judgement which names nothing that was opened, contradicts another or is no word of ours stops everything: nothing is signed by half.
Signing is for ``verdicts``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from custodes.errors import InputError
from custodes.handover.incident import Incident
from custodes.handover.verdicts import Ruling, Verdict
from custodes.model import Meaning

__all__ = ["Judgement", "judgements_in", "runs_of", "verdicts_on"]

_CUTS: Final = ",;\t"
_WANTED: Final = ("incident", "verdict", "class")


class Judgement(NamedTuple):
    """What is said of an incident, which is named by its id or by one of its findings. ``source`` says where, for errors."""

    name: str
    ruling: str
    meaning: str
    source: str


def judgements_in(data: bytes) -> Iterator[Judgement]:
    """Those of a filled table (``index_page.csv_index``), as a spreadsheet saved it; rows without a verdict are passed over."""
    text = data.decode("utf-8-sig", errors="replace")  # what is wanted of it is ASCII
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(_CUTS, key=first.count))
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        if absent := [name for name in _WANTED if name not in columns]:
            raise InputError(
                f"the table has no column {', '.join(absent)}", hint="fill the table that custodes open --csv wrote"
            )
        places = [columns.index(name) for name in _WANTED]
        for row in reader:
            name, ruling, meaning = (row[place].strip().lower() if place < len(row) else "" for place in places)
            if ruling or meaning:
                yield Judgement(name, ruling, meaning, f"line {reader.line_num}")
    except csv.Error as error:
        raise InputError(f"the table cannot be read at line {reader.line_num}: {error}") from error


def verdicts_on(incidents: Sequence[Incident], judgements: Iterable[Judgement]) -> list[Verdict]:
    """A verdict on each finding of each incident that was judged. Raises InputError for the first judgement that does not stand, or if there is none."""
    by_name = {name: incident for incident in incidents for name in _names(incident)}
    found: dict[str, tuple[Ruling, str]] = {}
    for judgement in judgements:
        incident = by_name.get(judgement.name.strip().lower())
        if incident is None:
            raise InputError(
                f"{judgement.source} names none of the incidents that were opened",
                hint="give the files that it is in; a spreadsheet may also have changed the id",
            )
        said = _said(judgement)
        if found.setdefault(incident.id, said) != said:
            raise InputError(
                f"{judgement.source} contradicts another verdict on the same incident",
                hint="an incident has one verdict, whichever of its rows has it",
            )
    if not found:
        raise InputError(
            "no verdict was given", hint="fill the column verdict, or use --confirm, --reject and --unsure"
        )
    said_of = {
        place.finding: found[incident.id] for incident in incidents if incident.id in found for place in incident.places
    }
    return [
        Verdict(finding=finding, verdict=ruling, meaning=meaning)
        for finding, (ruling, meaning) in sorted(said_of.items())
    ]


def runs_of(incidents: Iterable[Incident], verdicts: Iterable[Verdict]) -> list[str]:
    """The runs that the findings are of."""
    judged = {verdict.finding for verdict in verdicts}
    return sorted({place.run_id for each in incidents for place in each.places if place.finding in judged} - {""})


def _names(incident: Incident) -> Iterator[str]:
    yield from (place.finding for place in incident.places)
    yield from incident.aliases
    yield incident.id


def _said(judgement: Judgement) -> tuple[Ruling, str]:
    if judgement.ruling not in {ruling.value for ruling in Ruling}:
        raise InputError(f"{judgement.source}: the verdict is none of {', '.join(Ruling)}")
    if judgement.meaning and (
        judgement.meaning not in {meaning.value for meaning in Meaning} or judgement.ruling != "confirmed"
    ):
        raise InputError(
            f"{judgement.source}: the class does not fit",
            hint=f"only what is confirmed has one: {', '.join(Meaning)}, or none",
        )
    return Ruling(judgement.ruling), judgement.meaning
