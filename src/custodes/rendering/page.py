"""A card as one page: self-contained, without script, fit to be published or printed.

Promises that nothing on it comes from elsewhere or could run, that foreign text is made visible, bounded and escaped, and that what
weakens the card, and what it cannot show, is not left out. Leaves the words to ``content``, the bars to ``scan.plots`` and the layout to the template.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from custodes.model import OutcomeName
from custodes.rendering import content
from custodes.rendering.card import Card
from custodes.rendering.content import Fact, Line, Told
from custodes.scan import plots
from custodes.scan.wording import count, count_of, percent, visible

__all__ = ["as_page"]


def as_page(card: Card) -> str:
    """The page, as text to be written in UTF-8."""
    style, sections = _source("card.css"), content.after_about(card)
    page: str = (
        _environment()
        .get_template("card.html.j2")
        .render(
            dataset=Told(card.told.dataset),
            when=("Signed ", Told(card.told.signed), " by ", Told(card.signer), " · run ", Told(card.told.run)),
            style=Markup(style),  # noqa: S704  # our own file
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            figures=_figures(card),
            notes=[Told(note, content.SENTENCE_CHARS_MAX) for note in card.notes],
            hatches=plots.hatches(),
            stacked=_stacked(card),
            outcomes_heading=content.outcomes(card).heading,
            sections=[section for section in sections if section],
        )
    )
    return page


def _figures(card: Card) -> list[tuple[str, str, str]]:
    """What the page opens with: a label, a value, and what belongs beside it."""
    told = card.told
    examined = told.outcomes[OutcomeName.EXAMINED]
    away = told.rows - examined
    return [
        (
            "Rows",
            count(told.rows),
            "all that the run was to examine" if told.complete else "done; the run was not finished",
        ),
        ("Examined", count(examined), percent(examined, told.rows)),
        ("Out of reach", count(away), f"{percent(away, told.rows)}, of which at most a digest was compared"),
        ("Matches", content.matched(told.matches), f"on {count_of(len(told.lists), 'list')}, named below"),
    ]


def _stacked(card: Card) -> Markup:
    rows = max(card.told.rows, 1)
    parts = [
        plots.Part(name.value, name.value, f"{count_of(here, 'row')}, {percent(here, card.told.rows)}", here / rows)
        for name in OutcomeName
        for here in (card.told.outcomes[name],)
    ]
    return plots.stacked(parts, "Rows by outcome", "outcomes")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("custodes.rendering"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"piece": _piece, "line": _line, "bar": _bar}
    return environment


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _piece(piece: str | Told) -> Markup:
    if isinstance(piece, Told):
        return Markup('<span class="told">{}</span>').format(visible(piece.text, piece.chars_max))
    return escape(piece)


def _line(line: Line) -> Markup:
    return Markup("").join(_piece(piece) for piece in line)


def _bar(fact: Fact) -> Markup:
    """The bar of a fact that has a share; its words stand beside it."""
    return Markup("") if fact.share is None else plots.bar(fact.share, fact.kind, str(fact.lines[0][0]))
