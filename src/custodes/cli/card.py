"""``custodes card``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from custodes.cli.inputs import bounded, keys_in
from custodes.cli.options import config_unused
from custodes.durable import replace_file
from custodes.errors import ExitCode, InputError
from custodes.rendering.card import Card, read_card
from custodes.rendering.croissant import as_croissant, as_member, json_text
from custodes.rendering.markdown import dataset_metadata, dataset_section, model_section
from custodes.rendering.merging import in_croissant, in_front, in_readme
from custodes.rendering.page import as_page
from custodes.rendering.text import as_text

__all__ = ["card"]

PATH = click.Path(path_type=Path)


def huggingface(cards: list[Card], into: str) -> str:
    """A README of a dataset with its section and its metadata."""
    return in_readme(in_front(into, "card", dataset_metadata(cards[0])), "card", dataset_section(cards[0]))


def model_card(cards: list[Card], into: str) -> str:
    """A README of a model with its section."""
    return in_readme(into, "training data", model_section(cards))


def croissant(cards: list[Card], into: str) -> str:
    """A dataset's Croissant document with its member; without one, a document of its own."""
    if not into:
        return json_text(as_croissant(cards[0])) + "\n"
    return in_croissant(into, json_text(as_member(cards[0])))


RENDERINGS: Final[dict[str, Callable[[list[Card]], str]]] = {
    "page": lambda cards: as_page(cards[0]),
    "text": lambda cards: as_text(cards[0]),
}
MERGED: Final[dict[str, Callable[[list[Card], str], str]]] = {
    "huggingface": huggingface,
    "croissant": croissant,
    "model-card": model_card,
}
"""What can be a section of somebody's document; of an empty one, it is all of it."""


@click.command()
@click.argument("cards", nargs=-1, required=True, type=PATH, metavar="CARD...")
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    type=PATH,
    metavar="FILE",
    help="File with the signer's key (NAME+ID+KEY), as the signer gave it to you.",
)
@click.option(
    "--as",
    "form",
    type=click.Choice([*RENDERINGS, *MERGED]),
    default="text",
    show_default=True,
    help="What is made of it.",
)
@click.option("--out", type=PATH, default=None, metavar="FILE", help="Write it to FILE (default: standard output).")
@click.option(
    "--into",
    type=PATH,
    default=None,
    metavar="FILE",
    help="Put the section into FILE, a README.md or croissant.json: the section alone is added or replaced.",
)
@config_unused
def card(cards: tuple[Path, ...], keys: tuple[Path, ...], form: str, out: Path | None, into: Path | None) -> int:
    """Render CARD, as a page, as text, or as a section for a dataset's or a model's own documents.

    A card that does not verify is not rendered. A model card takes several cards.
    """
    if len(cards) > 1 and form != "model-card":
        raise click.UsageError("several cards go into a model card only")
    if into and (out or form not in MERGED):
        raise click.UsageError(f"--into goes with --as {', '.join(MERGED)}, and without --out")
    trusted = [key for path in keys for key in keys_in(path)]
    read = [read_card(bounded(path), trusted) for path in cards]
    if into:
        before = document(into)
        replace_file(into.resolve(), MERGED[form](read, before).encode(), mode=into.stat().st_mode & 0o777)
        return ExitCode.NOTHING_FOUND
    made = RENDERINGS[form](read) if form in RENDERINGS else MERGED[form](read, "")
    if out:
        replace_file(out, made.encode(), mode=0o644)
    else:
        click.echo(made, nl=False)
    return ExitCode.NOTHING_FOUND


def document(path: Path) -> str:
    """Somebody's document, byte for byte. Raises InputError where it is no UTF-8."""
    try:
        return bounded(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not in UTF-8", hint="the section can be added by hand: leave out --into"
        ) from error
