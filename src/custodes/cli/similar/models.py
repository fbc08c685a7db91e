"""``custodes similar models``."""

from __future__ import annotations

import textwrap

import click
import msgspec

from custodes.cli.options import as_json, config_unused, json_option
from custodes.errors import ExitCode
from custodes.similar.embedders import missing
from custodes.similar.models import Card, cards

__all__ = ["models"]


@click.command()
@config_unused
@json_option
def models(*, json_: bool) -> int:
    """Show the models that are known: where each comes from, what it was trained on, what was found in that, and whether it is installed."""
    known = [(card, missing(card)) for card in cards().values()]
    if json_:
        as_json({card.name: {**msgspec.to_builtins(card), "missing": lacking} for card, lacking in known})
    else:
        click.echo("\n\n".join(told(card, lacking) for card, lacking in known))
    return int(ExitCode.NOTHING_FOUND)


def told(card: Card, lacking: str) -> str:
    """A card as text."""
    state = lacking and f"not installed: {lacking}" if card.loader else lacking
    refused = "tainted, refused without --accept-tainted; " if card.tainted else ""
    lines = {
        "state": refused + (state or "ready"),
        "origin": card.origin,
        "source": card.source,
        "licence": card.licence,
        "trained on": card.training_data,
        "sha256": ", ".join(card.sha256) or "not known",
        "as of": card.as_of.isoformat(),
    }
    found = [*lines.items(), *(("finding", each) for each in card.findings)]
    return "\n".join([f"{card.name}: {card.title}", *(row(name, text) for name, text in found)])


def row(name: str, text: str) -> str:
    """A line of a card, and as many more as it takes."""
    return textwrap.fill(text, 100, initial_indent=f"  {name:<11} ", subsequent_indent=" " * 14, break_on_hyphens=False)
