"""What a report says in words: how the match came about, which entries, which rows, and that nobody looked.

Whatever comes from a dataset or a list stands in quotes, in one line, with a bound; it can neither make a line of its own nor end one. Everything is
said that an officer needs to act (source, place, time, hash, list), and nothing that was not found out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from custodes.handover.cybertipline.links import Links
from custodes.handover.cybertipline.text import LEGEND, clipped, quoted
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.finding import Match
from custodes.handover.incident import Incident, Place
from custodes.handover.words import Environment
from custodes.model import PDQ_BITS, Kind, OutcomeName

__all__ = ["DETECTION", "FILE_KINDS", "places_text", "statement"]

FILE_KINDS: Final = {Kind.MD5.value: "MD5", Kind.SHA1.value: "SHA1", Kind.SHA256.value: "SHA256", Kind.PDQ.value: "PDQ"}
"""Digests of files, and NCMEC's words for them."""
DETECTION: Final = "Time of detection by comparison of hash values. When the file was made, and when the link was first collected, is not known."

_NAME_CHARS_MAX: Final = 300
_WORD_CHARS_MAX: Final = 40
_MATCHES_MAX: Final = 100
_ROWS_CHARS_MAX: Final = 200_000

_HEAD: Final = (
    "A dataset of links to images lists these URLs. They are on servers of others; the reporter hosts nothing of this, and holds no file.",
    "Where the image was not seen, what matched is a hash of it that the dataset records, or a hash of the link.",
    "Rows:",
)

_EXACT: Final = "EXACT MATCH: a hash of the whole file is equal to a listed one."
_NEAR: Final = "SIMILAR IMAGE, NOT AN EXACT MATCH: the image's PDQ hash is near a listed one. It looks alike, and may be another image."
_LINK: Final = "LINK ONLY: a hash of the link is listed. What the link shows was not compared."
_UNSEEN: Final = "Found by automatic comparison of hash values. No person viewed the file."


def statement(of: Incident | Withheld, environment: Environment, facts: Iterable[str] = ()) -> str:
    """What was compared with what, and what that means. ``facts``: sentences that only this sort of report has."""
    lines = [
        *(["TEST: this was made for the test environment, and reports nothing."] if environment == "test" else []),
        *(["DEMONSTRATION: made-up data."] if of.demo else []),
        _UNSEEN,
        _sort(of),
        *facts,
        "Hash values:",
        *_hash_values(of),
        "Entries of hash lists that matched:",
        *(_match(match) for match in of.matches[:_MATCHES_MAX]),
        *_further(len(of.matches) - _MATCHES_MAX, "entries"),
        f"Incident {of.id}, made by {_quoted(of.tool)}.",
        LEGEND,
    ]
    return "\n".join(lines)


def places_text(places: Sequence[Place], links: Links) -> str:
    """The rows, each with its links."""
    lines: list[str] = []
    room = _ROWS_CHARS_MAX
    for number, place in enumerate(places, start=1):
        line = f"{number}. {_place(place, links)}"
        room -= len(line) + 1
        if room < 0:
            break
        lines.append(line)
    return "\n".join([*_HEAD, *lines, *_further(len(places) - len(lines), "rows")])


def _sort(of: Incident | Withheld) -> str:
    kinds = {match.kind for match in of.matches}
    told = _EXACT if of.exact else _NEAR if kinds & FILE_KINDS.keys() else _LINK
    return f"{told} Its list's category is taken to mean: {of.meaning or 'nothing that is known here'}."


def _hash_values(of: Incident | Withheld) -> list[str]:
    recorded = [f"{line} (as the dataset records it)" for line in _digests(getattr(of, "recorded", {}))]
    return _digests(of.digests) + recorded or ["- of the file itself: not known, see the entries"]


def _digests(digests: Mapping[str, str]) -> list[str]:
    return [f"- {word}: {clipped(digests[kind], 64)}" for kind, word in FILE_KINDS.items() if digests.get(kind)]


def _match(match: Match) -> str:
    near = f"{match.distance_bits} of {PDQ_BITS} bits apart ({match.form})"
    how = near if match.kind == Kind.PDQ else "equal"
    said = [("version", match.list_version), ("entry", match.entry), ("category", match.category)]
    more = "".join(f", {name} {_quoted(text)}" for name, text in [*said, ("assurance", match.assurance)] if text)
    return f"- {match.kind}, {how}: list {_quoted(match.list)}{more}"


def _place(place: Place, links: Links) -> str:
    where = f"dataset {_quoted(place.dataset)}, file {_quoted(place.file)}, row {place.row}"
    key = f", key {_quoted(place.row_key)}" if place.row_key else ""
    led = f", led to {links.told(place.final_url)}" if place.seen and place.final_url else ""
    found = f"found {clipped(place.found_at, _WORD_CHARS_MAX)}"
    return f"{where}{key}; {links.told(place.url) if place.url else 'no link'}{led}; {found}; {_liveness(place)}"


def _liveness(place: Place) -> str:
    """What the program saw at the link, if it was opened. That nobody tried is not that it is dead."""
    if place.seen:
        return f"the image was there at {clipped(place.fetched_at, _WORD_CHARS_MAX)}"
    if place.fetched_at:
        return f"another file was there at {clipped(place.fetched_at, _WORD_CHARS_MAX)}"
    if place.http_status:
        return f"the link answered with status {place.http_status}"
    if place.outcome == OutcomeName.UNAVAILABLE:
        return f"the link was not reached ({clipped(place.reason, _WORD_CHARS_MAX)})"
    return "the link was not opened"


def _quoted(text: str) -> str:
    return quoted(text, _NAME_CHARS_MAX)


def _further(count: int, of: str) -> list[str]:
    return [f"and {count} further {of}, which the reporter can give"] if count > 0 else []
