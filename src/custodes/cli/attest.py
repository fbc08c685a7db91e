"""``custodes attest``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cards import CARD_NAME, Beside, holders_of, statement_of, write_card
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.errors import ExitCode
from custodes.ledger.run import RunDirectory

__all__ = ["attest"]

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--out", type=PATH, default=None, metavar="FILE", help="Where the card is written (default: card.dsse.json in RUN)."
)
@click.option(
    "--cleaned",
    type=PATH,
    default=None,
    metavar="DIR",
    help="The dataset as `custodes clean` wrote it again: the card names each of its files by SHA-256.",
)
@click.option("--sha256", is_flag=True, help="Read the files that were examined in full, and name them by SHA-256 too.")
@config_option
@json_option
def attest(run: Path, out: Path | None, cleaned: Path | None, config: str | None, *, sha256: bool, json_: bool) -> int:
    """Sign a card of RUN: what was examined, with which lists, how it ended, and how much was out of reach. The key to verify it with is written beside it.

    It holds counts; matches of fewer than ten rows are not told as a number.
    """
    site = load_site(config)
    key, run_key = site.signing_key(), site.run_key()
    path = out or run / CARD_NAME
    told = Beside(holders=holders_of(site.lists()), written=cleaned, digested=sha256)
    beside = write_card(statement_of(RunDirectory.open(run, run_key), run_key, told), key, path)
    if json_:
        as_json({"card": str(path), "key": str(beside), "signer": str(key.verifier)})
    else:
        click.echo(f"wrote {printable(str(path))}, signed by {key.verifier.name}")
        click.echo(f"verify it with: custodes verify {printable(str(path))} --key {printable(str(beside))}")
    return ExitCode.NOTHING_FOUND
