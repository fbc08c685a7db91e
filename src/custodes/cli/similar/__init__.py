"""``custodes similar``: one file for each of its commands."""

from __future__ import annotations

from typing import Final

import click

from custodes.cli.lazy import lazy_group

__all__ = ["similar"]

COMMANDS: Final = {
    "neighbours": ("similar.neighbours:neighbours", "Find the nearest vectors of each seed."),
    "scan": ("similar.scan:scan", "Hand over photos like the confirmed ones, as suspects."),
    "teach": ("similar.teach:teach_command", "Teach a probe from what the authority confirmed and rejected."),
    "models": ("similar.models:models", "Show the models that make vectors, and where they come from."),
}
"""Each command, where it lies, and its line in the list of commands."""


@click.group(cls=lazy_group(COMMANDS))
def similar() -> None:
    """Find photos that lie near confirmed ones. What is found is a suspect: an authority judges it."""
