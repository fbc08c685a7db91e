"""``custodes attest``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cards import Beside, holders_of, leave_card, statement_of, write_card
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.errors import ExitCode
from custodes.ledger.run import RunDirectory

__all__ = ["attest"]

PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run")
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
def attest(run: str, out: Path | None, cleaned: Path | None, config: str | None, *, sha256: bool, json_: bool) -> int:
    """Sign a card of RUN: what was examined, with which lists, how it ended, and how much was out of reach. The key to verify it with is written beside it.

    It holds counts; matches of fewer than ten rows are not told as a number.
    """
    site = load_site(config)
    key, run_key = site.signing_key(), site.run_key()
    told = Beside(holders=holders_of(site.lists()), written=cleaned, digested=sha256)
    examined = RunDirectory.open(run, run_key)
    statement = statement_of(examined, run_key, told)
    path, beside = map(str, (out, write_card(statement, key, out))) if out else leave_card(statement, key, examined)
    if json_:
        as_json({"card": path, "key": beside, "signer": str(key.verifier)})
    else:
        click.echo(f"wrote {printable(path)}, signed by {key.verifier.name}")
        click.echo(f"verify it with: custodes verify {printable(path)} --key {printable(beside)}")
    return ExitCode.NOTHING_FOUND
