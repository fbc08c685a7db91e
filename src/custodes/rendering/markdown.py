"""A card as a section of somebody's README: of a dataset (as Hugging Face has them, with metadata), or of a model that was trained on what was examined.

Promises that text from elsewhere stays text under any renderer of Markdown: it is written plain only where no character of it can mean anything, and else as a
code span, in which nothing is markup, HTML or a link. What is put into the metadata is quoted so that JSON and YAML read the same. Where the section goes in
a README is for ``merging``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from custodes.attest.statement import PREDICATE_TYPE
from custodes.rendering import content
from custodes.rendering.card import Card
from custodes.rendering.content import Fact, Line, Section, Told
from custodes.scan.wording import visible

__all__ = ["dataset_metadata", "dataset_section", "model_section"]

_PLAIN: Final = re.compile(r"(?!\d+[.)](?: |$))[^\W_](?:[^\W_]|[ ,;'\"()%-]|/(?=\w)|:(?= )|\.(?=[ \d]|$))*")
"""Text that is plain under any renderer: it begins as no list does, and holds neither a mark of any dialect nor what looks like a link, a mention, an emoji."""

_LINKS: Final = re.compile("www|http|mailto|xmpp|ftp", re.IGNORECASE)


TRAINED_ON: Final = (
    "Each card below is signed by who examined the files that it names. That this model was trained on these files, and on no others, "
    "no card says: that is said by who publishes this model."
)


def dataset_section(card: Card) -> str:
    """A section of a dataset card."""
    sections = (
        content.outcomes(card),
        content.matches(card),
        content.coverage(card),
        content.written(card),
        content.lists(card),
        content.detectors(card),
        content.shows_not(card),
        content.verifying(card),
    )
    lines = [*_section(content.about(card), "##"), *_notes(card)]
    return "\n".join([*lines, *(line for each in sections if each for line in ("", *_section(each, "###")))]) + "\n"


def dataset_metadata(card: Card) -> str:
    """Lines for the YAML at the top of a dataset card, under one key of our own."""
    told = card.told
    head: dict[str, str | int] = {
        "card_sha256": card.sha256,
        "signer": card.signer,
        "type": PREDICATE_TYPE,
        "run": told.run,
        "began": told.began,
        "signed": told.signed,
        "complete": told.complete,
        "demonstration": told.demonstration,
        "rows": told.rows,
        "matches": content.matched(told.matches),
    }
    lines = ["custodes:", *(f"  {key}: {_scalar(value)}" for key, value in head.items()), "  outcomes:"]
    lines += [f"    {outcome.value}: {rows}" for outcome, rows in sorted(told.outcomes.items())]
    lines.append("  lists:")
    for used in told.lists:
        lines += [f"  - id: {_scalar(used.id)}", f"    version: {_scalar(used.version)}"]
    return "\n".join(lines) + "\n"


def model_section(cards: Sequence[Card]) -> str:
    """A section of a model card: what the files that a model was trained on were examined with."""
    lines = [
        "## What the training data was examined with",
        "",
        TRAINED_ON,
    ]
    for number, card in enumerate(cards, 1):
        about = Section(f"Card {number} of {len(cards)}", facts=(*content.about(card).facts[:-1], *_summary(card)))
        lines += ["", *_section(about, "###"), *_notes(card)]
    limits = dict.fromkeys(line for card in cards for line in content.shows_not(card).says)
    verifying = Section(
        content.verifying(cards[0]).heading, content.verifying(cards[0]).says, content.verifying(cards[0]).facts[-1:]
    )
    lines += [
        "",
        *_section(Section("What these cards cannot show", tuple(limits)), "###"),
        "",
        *_section(verifying, "###"),
    ]
    return "\n".join(lines) + "\n"


def _summary(card: Card) -> Iterator[Fact]:
    """The facts of one card of several."""
    yield from (Fact(each.name, each.lines[:1]) for each in content.outcomes(card).facts)
    yield content.matches(card).facts[0]
    if again := content.written(card):
        yield again.facts[0]
    for used in content.lists(card).facts:
        yield Fact("List", (((used.name, ", ", *used.lines[0])), *used.lines[1:]))
    for found in content.detectors(card).facts:
        yield Fact("Detector", (((found.name, ", ", *found.lines[0])), *found.lines[1:]))
    yield Fact("Card, SHA-256", ((Told(card.sha256),),))


def _section(section: Section, level: str) -> Iterator[str]:
    yield f"{level} {section.heading}"
    if len(section.says) == 1:
        yield f"\n{_line(section.says[0])}"
    elif section.says:
        yield ""
        yield from (f"- {_line(each)}" for each in section.says)
    if section.facts:
        yield ""
    for fact in section.facts:
        yield f"- {_piece(fact.name)}: {_line(fact.lines[0])}"
        yield from (f"  - {_line(line)}" for line in fact.lines[1:])


def _notes(card: Card) -> Iterator[str]:
    if card.notes:
        yield ""
        yield "What weakens this card, or must be known of it:"
        yield ""
    yield from (f"- {_text(Told(note, content.SENTENCE_CHARS_MAX))}" for note in card.notes)


def _line(line: Line) -> str:
    return "".join(_piece(piece) for piece in line)


def _piece(piece: str | Told) -> str:
    return _text(piece) if isinstance(piece, Told) else piece


def _text(told: Told) -> str:
    """Text from elsewhere: plain where it is plain, else a code span."""
    text = visible(told.text, told.chars_max)
    if _PLAIN.fullmatch(text) and not _LINKS.search(text):
        return text
    if not text.strip():
        return "(no text)"
    # A code span ends at a run of as many backticks as it began with (CommonMark 0.31, 6.1); one space at either end is not shown.
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    around = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{around}{text}{around}{fence}"


def _scalar(value: str | int) -> str:
    """A value as YAML and JSON both read it; what does not print is made visible first."""
    return json.dumps(visible(value) if isinstance(value, str) else value, ensure_ascii=False)
