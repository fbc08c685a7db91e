"""A card in Croissant (MLCommons, JSON-LD): one member of a dataset's document, in a namespace of our own, or a small document that holds it.

Promises that the member says all that the card says, under names that stand in no other vocabulary; that it needs nothing of the document around it; and that
the text can stand in a page as it is. The document says only what the card knows: licence, creator and records are for the dataset's own document, which the
member is merged into (``merging``).
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

import msgspec

from custodes.attest.statement import CLEANED, PREDICATE_TYPE, Subject
from custodes.model import OutcomeName
from custodes.rendering import content
from custodes.rendering.card import Card
from custodes.scan.wording import REASON_WORDS, count, count_of, reason_counts

__all__ = ["MEMBER", "as_croissant", "as_member", "json_text"]

MEMBER: Final = f"{PREDICATE_TYPE}#card"
"""The whole IRI, so that it needs no prefix in the document around it."""

CARD_FILE: Final = "card.dsse.json"

CONTEXT: Final = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "custodes": f"{PREDICATE_TYPE}#",
}
"""Of Croissant's terms those that are used here."""

CONFORMS: Final = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")

MEDIA_TYPES: Final = {
    ".parquet": "application/vnd.apache.parquet",
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".tar": "application/x-tar",
    ".gz": "application/gzip",
}


def as_member(card: Card) -> dict[str, Any]:
    """The card as JSON-LD, with its own context."""
    head = {
        "@context": {"@language": None, "custodes": f"{PREDICATE_TYPE}#"},
        "@type": "custodes:Card",
        "custodes:sha256": card.sha256,
        "custodes:signer": card.signer,
        "custodes:howToVerify": f"{content.HOW_TO_VERIFY} {content.COMMAND}",
    }
    told: dict[str, Any] = _linked(msgspec.to_builtins(card.told), _NAMED)
    return head | told | {"custodes:subject": [_named(each.name, dict(each.digest)) for each in card.statement.subject]}


def as_croissant(card: Card) -> dict[str, Any]:
    """A document of its own, with the files whose digests the card has in full."""
    known = [each for each in card.statement.subject if "sha256" in each.digest]
    again = [each for each in known if each.name.startswith(CLEANED)]
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(CONFORMS),
        "name": card.told.dataset or card.told.run,
        "description": _description(card),
        "rai:dataLimitations": list(card.told.limits),
        "rai:dataCollectionMissingData": _missing(card),
        "distribution": [
            _file(number, each.name.removeprefix(CLEANED), each.digest["sha256"])
            for number, each in enumerate([*(again or known), Subject(name=CARD_FILE, digest={"sha256": card.sha256})])
        ],
        MEMBER: as_member(card),
    }


def json_text(value: object) -> str:
    """JSON in ASCII, in which no character can end the element of a page that it stands in."""
    text = json.dumps(value, indent=2)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _description(card: Card) -> str:
    told = card.told
    examined = f"{count(told.outcomes[OutcomeName.EXAMINED])} of {count_of(told.rows, 'row')} examined"
    used = ", ".join(f"{each.id} ({each.version})" for each in told.lists)
    return f"{examined}, with the lists {used}; matches: {content.matched(told.matches)}. {content.HOW_TO_VERIFY}"


def _missing(card: Card) -> str:
    """Rows that were not examined, by reason, as a sentence."""
    told = card.told
    away = told.rows - told.outcomes[OutcomeName.EXAMINED]
    why = [
        f"{REASON_WORDS[reason].label}: {count(rows)}"
        for outcome in OutcomeName
        if outcome is not OutcomeName.EXAMINED
        for reason, rows in reason_counts(told.reasons, outcome)
    ]
    return f"{count_of(away, 'row')} of {count(told.rows)} not examined" + (f" ({'; '.join(why)})" if why else "")


def _file(number: int, name: str, sha256: str) -> dict[str, str]:
    return {
        "@type": "cr:FileObject",
        "@id": f"file-{number}",  # names may be the same in two folders; these may not
        "name": name,
        "contentUrl": quote(name),
        "encodingFormat": MEDIA_TYPES.get(PurePath(name).suffix, "application/octet-stream"),
        "sha256": sha256,
    }


_NAMED: Final = frozenset({"settings", "outcomes", "reasons", "coverage", "matches_by_list"})
"""Of the predicate what has names of its own as keys, which are values here: a name may be anything."""


def _linked(value: Any, named: frozenset[str] = frozenset()) -> Any:
    """Builtins under names of ours. What is not told is left out."""
    if isinstance(value, dict):
        return {
            f"custodes:{key}": [_named(name, {"value": each}) for name, each in sorted(inner.items())]
            if key in named
            else _linked(inner)
            for key, inner in value.items()
            if inner is not None and inner != []
        }
    return [_linked(each) for each in value] if isinstance(value, list | tuple) else value


def _named(name: str, rest: dict[str, Any]) -> dict[str, Any]:
    return {"custodes:name": name, **_linked(rest)}
