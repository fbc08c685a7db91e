"""A card as plain text, for a terminal, a file or paper.

Promises that foreign text is made visible, and that a line that runs on stays indented, so that no name can look like a heading.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from custodes.rendering import content
from custodes.rendering.card import Card
from custodes.rendering.content import Fact, Line, Section, Told
from custodes.scan.wording import visible

__all__ = ["as_text"]

COLUMNS: Final = 100


def as_text(card: Card) -> str:
    """All that the card says."""
    sections = (content.about(card), *content.after_about(card))
    first, *rest = (section for section in sections if section)
    notes = [line for note in card.notes for line in _filled(visible(note, content.SENTENCE_CHARS_MAX), "  ", "! ")]
    if notes:
        notes.insert(0, "")
    lines = [*_lines(first), *notes, *(line for each in rest for line in ("", *_lines(each)))]
    return "\n".join(lines) + "\n"


def _lines(section: Section) -> Iterator[str]:
    yield f"{section.heading}\n{'=' * len(section.heading)}"
    for line in section.says:
        yield from _filled(_plain(line), "    ", "  - " if len(section.says) > 1 else "  ")
    for fact in section.facts:
        yield from _fact(fact)


def _fact(fact: Fact) -> Iterator[str]:
    first, *rest = fact.lines
    yield from _filled(f"{_plain((fact.name,)).strip()}: {_plain(first)}", "    ", "  ")
    for line in rest:
        yield from _filled(_plain(line), "    ", "    ")


def _plain(line: Line) -> str:
    return "".join(visible(piece.text, piece.chars_max) if isinstance(piece, Told) else piece for piece in line)


def _filled(text: str, indent: str, first: str = "") -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
