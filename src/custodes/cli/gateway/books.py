"""``custodes gateway card`` and ``decisions``: what the ledger holds, for those outside."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.errors import ExitCode
from custodes.gatebooks import CardAsked, ledger_of, stated
from custodes.gateway.people.card import read_measures, recorded, write_gateway_card
from custodes.gateway.people.ledger import Ledger
from custodes.gateway.rules.policy import load_policy

__all__ = ["card", "decisions"]

PATH = click.Path(path_type=Path)
DAY = click.DateTime(["%Y-%m-%d"])


@click.command("card")
@click.option("--from", "first", type=DAY, required=True, metavar="DATE", help="The first day (UTC), as 2026-11-01.")
@click.option("--to", "last", type=DAY, required=True, metavar="DATE", help="The last day. It must be over.")
@click.option("--out", type=PATH, required=True, metavar="FILE", help="Where the card is written, as NAME.dsse.json.")
@click.option("--measured", type=PATH, default=None, metavar="FILE", help="Measurements, as JSON.")
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME|FILE.toml",
    help="A policy that decided in the period and is not in force now; may be repeated.",
)
@config_option
@json_option
def card(
    first: datetime,
    last: datetime,
    out: Path,
    measured: Path | None,
    policies: tuple[str, ...],
    config: str | None,
    *,
    json_: bool,
) -> int:
    """Sign a card of a period: what was decided, in counts, and with what. The key to verify it with is written beside it.

    Fewer than ten of anything are not told as a number, and nothing is told of a person.
    """
    site = load_site(config)
    signer = site.signing_key()
    asked = CardAsked(
        first.date(),
        last.date(),
        policies=[load_policy(each) for each in policies],
        measured=read_measures(measured) if measured else (),
    )
    with ledger_of(site) as ledger:
        statement = asyncio.run(stated(site, ledger, asked, datetime.now(UTC)))
    beside = write_gateway_card(statement, signer, out)
    if json_:
        as_json({"card": str(out), "key": str(beside), "signer": str(signer.verifier)})
    else:
        click.echo(f"wrote {printable(str(out))}, signed by {signer.verifier.name}")
        click.echo(f"verify it with: custodes verify {printable(str(out))} --key {printable(str(beside))}")
    return ExitCode.NOTHING_FOUND


@click.command("decisions")
@click.option(
    "--after",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Only those with greater numbers. A line's `id` ends in its number.",
)
@config_option
@json_option
def decisions(after: int, config: str | None, *, json_: bool) -> int:
    """Tell what was decided, as lines of JSON: names of facts, verdicts, versions; nothing of a prompt or an image.

    `custodes policy diff --records` reads them.
    """
    del json_  # the answer is always JSON

    async def tell(ledger: Ledger) -> None:
        async for line in recorded(ledger, after):
            as_json(line)

    with ledger_of(load_site(config)) as ledger:
        asyncio.run(tell(ledger))
    return ExitCode.NOTHING_FOUND
