"""``custodes prove`` and ``custodes audit``: what a card commits to of each row, and the auditor's challenge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from custodes.attest.verification import verify_card
from custodes.carrier.client import Carrier
from custodes.cli.inputs import bounded, keys_in
from custodes.cli.options import as_json, config_option, config_unused, json_option, printable
from custodes.cli.scan import pairs
from custodes.commitment.again import Again, Compared, Dataset, Fetch, compare
from custodes.commitment.proofs import (
    ASKED_MAX,
    Answer,
    Ask,
    CardRows,
    RowProof,
    ask_of,
    card_rows,
    chance_of_missing,
    check_answer,
    check_proof,
    encode,
    kind_of,
    read_document,
    unverified_rows,
)
from custodes.commitment.runs import committed_rows, row_of_file
from custodes.config import load_site
from custodes.durable import replace_file
from custodes.errors import ExitCode, InputError
from custodes.ledger.run import RunDirectory
from custodes.scan.settings import ScanSettings
from custodes.sources.base import Format, SourceOptions

__all__ = ["audit", "prove"]

PATH = click.Path(path_type=Path)
ROWS_SHOWN: Final = 20
LIES: Final = {"1 row": 0.0, "0.01 % of the rows": 1e-4, "0.1 %": 1e-3, "1 %": 1e-2, "10 %": 0.1}

NOT_SHOWN: Final = (
    "that a row was compared with the lists, or matched; that a link which gave nothing then was dead; "
    "or anything of rows that were not asked"
)

TOLD: Final = {
    Again.AGREES: "have the digest, or lack the link, that the card is bound to",
    Again.DIFFERS: "do NOT: the card is wrong about them",
    Again.CHANGED: "give other bytes today than were digested: the web changes, and nobody can say",
    Again.GONE: "give nothing today: nobody can say",
    Again.BACK: "give bytes today and gave none then: nobody can say",
    Again.STILL_AWAY: "give nothing today, as then: that says nothing of then",
    Again.NOT_FETCHED: "have a link, which was not fetched (--fetch)",
    Again.NOT_DIGESTED: "were not digested, says the card: there is nothing to compare",
}


def keys_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--key FILE``."""
    text = "File with the signer's key, as the signer gave it to you."
    return click.option("--key", "keys", multiple=True, required=True, type=PATH, metavar="FILE", help=text)(function)


def out_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--out FILE``."""
    return click.option("--out", required=True, type=PATH, metavar="FILE", help="Write here.")(function)


@click.command()
@click.argument("run")
@click.option("--row", type=click.IntRange(min=0), required=True, metavar="N", help="Which row, counted from 0.")
@click.option("--file", default=None, metavar="NAME", help="Count in this file of the dataset, not over all of them.")
@click.option("--card", type=PATH, required=True, metavar="CARD", help="The card that the row was examined under.")
@out_option
@config_option
@json_option
def prove(run: str, row: int, file: str | None, card: Path, out: Path, config: str | None, *, json_: bool) -> None:
    """Write a proof that a row of RUN is under CARD. With which result, it does not say. Anyone checks it with custodes audit check."""
    key = load_site(config).run_key()
    told, ledger = unverified_rows(bounded(card)), RunDirectory.open(run, key)
    rows = committed_rows(ledger, key, told.tree.root)
    number = row if file is None else row_of_file(ledger, rows, row, file)
    proof = rows.prove(told, number)
    replace_file(out, encode(proof))
    if json_:
        as_json({"proof": str(out), "row": number, "rows": told.tree.size})
    else:
        click.echo(f"wrote {printable(str(out))}: row {number:,} of {told.tree.size:,}")


@click.group()
def audit() -> None:
    """Challenge a card: ask for rows drawn by lot, have them opened, and examine them again.

    An answer holds digests of the images that were drawn: it is for the auditor, not for publication.
    """


@audit.command()
@click.argument("card", type=PATH)
@keys_option
@click.option(
    "--rows",
    type=click.IntRange(1, ASKED_MAX),
    default=1000,
    show_default=True,
    metavar="K",
    help="How many rows to ask for.",
)
@out_option
@config_unused
@json_option
def ask(card: Path, keys: tuple[Path, ...], rows: int, out: Path, *, json_: bool) -> None:
    """Write a challenge to the signer of CARD: K rows, drawn by lot."""
    told = verified(card, keys)
    replace_file(out, encode(ask_of(told, rows)))
    missing = chances(told.tree.size, rows)
    if json_:
        as_json({"ask": str(out), "rows": told.tree.size, "asked": rows, "missing": missing})
    else:
        click.echo(f"wrote {printable(str(out))}: {rows:,} of {told.tree.size:,} rows; send it to the signer")
        say_chances(missing, f"if all {rows:,} can be examined again")


@audit.command()
@click.argument("run")
@click.argument("ask", type=PATH)
@out_option
@config_option
@json_option
def answer(run: str, ask: Path, out: Path, config: str | None, *, json_: bool) -> None:
    """Open the rows of RUN that the challenge ASK names, for the auditor alone."""
    key = load_site(config).run_key()
    asked = read_document(bounded(ask), Ask)
    rows = committed_rows(RunDirectory.open(run, key), key, bytes.fromhex(asked.root))
    replace_file(out, encode(rows.answer(asked)))
    if json_:
        as_json({"answer": str(out), "opened": len(asked.asked)})
    else:
        click.echo(f"wrote {printable(str(out))}: {len(asked.asked):,} rows opened; it is for the auditor alone")


@audit.command()
@click.argument("card", type=PATH)
@click.argument("document", type=PATH)
@keys_option
@click.option(
    "--ask", "ask_file", type=PATH, default=None, metavar="FILE", help="The challenge, where an answer is checked."
)
@click.option(
    "--dataset", default=None, metavar="SOURCE", help="Examine the opened rows again: the dataset of the card."
)
@click.option("--fetch", is_flag=True, help="Fetch links again, guarded as a scan fetches.")
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="As the scan was told.")
@click.option(
    "--format", "format_", type=click.Choice([f.value for f in Format]), default=None, help="As the scan was told."
)
@click.option("--no-header", is_flag=True, help="As the scan was told.")
@click.option("--unsafe-allow-loopback", is_flag=True, help="Tests and demos only: links may lead to this machine.")
@click.option("--unsafe-no-jail", is_flag=True, help="Decode without confinement where the kernel has none.")
@config_unused
@json_option
def check(card: Path, document: Path, keys: tuple[Path, ...], **options: Any) -> int:
    """Check DOCUMENT, a row's proof or an answer to a challenge, against CARD.

    Exits with 2 if it proves nothing, or if a row that was examined again is not what the card is bound to.
    """
    told, data = verified(card, keys), bounded(document)
    if kind_of(data) is RowProof:
        return check_row(told, read_document(data, RowProof), json_=options["json_"])
    if options["ask_file"] is None:
        raise InputError("an answer is checked with the challenge that it answers", hint="give it with --ask")
    opened = read_document(data, Answer)
    check_answer(told, read_document(bounded(options["ask_file"]), Ask), opened)
    found = None
    if options["dataset"] is not None:
        source = SourceOptions(
            format=Format(options["format_"]) if options["format_"] else None,
            columns=pairs(options["columns"]) if options["columns"] else {},
            header=not options["no_header"],
        )
        found = compare(told, opened.openings, Dataset(options["dataset"], source), fetcher(options))
    return say_answer(told, opened, found, json_=options["json_"])


def fetcher(options: dict[str, Any]) -> Fetch | None:
    """Who fetches links, if that is asked for: a carrier, as in a scan."""
    if not options["fetch"]:
        return None
    settings = ScanSettings(
        unsafe_allow_loopback=options["unsafe_allow_loopback"], unsafe_no_jail=options["unsafe_no_jail"]
    )

    def fetch(links: list[tuple[int, str]]) -> Iterator[Any]:
        with Carrier(settings.carrier_start()) as carrier:
            yield from carrier.fetch(links)

    return fetch


def check_row(card: CardRows, proof: RowProof, *, json_: bool) -> int:
    """A row's proof."""
    check_proof(card, proof)
    if json_:
        as_json({"row": proof.row, "rows": card.tree.size, "proven": True})
    else:
        click.echo(
            f"row {proof.row:,} of {card.tree.size:,} is under this card: its outcome was fixed when it was signed"
        )
        click.echo("  - with which result is not told, and whether it is true is not shown")
    return ExitCode.NOTHING_FOUND


def say_answer(card: CardRows, opened: Answer, found: Compared | None, *, json_: bool) -> int:
    """What an answer shows, which holds by itself, and what of it was seen again."""
    wrong = found.rows[Again.DIFFERS] if found else []
    missing = chances(card.tree.size, found.checked) if found else {}
    if json_:
        seen = {each.value: len(rows) for each, rows in found.rows.items()} if found else None
        sums = {"opened": len(opened.openings), "rows": card.tree.size, "again": seen, "missing": missing}
        as_json(sums | {"wrong": wrong[:ROWS_SHOWN]})
        return ExitCode.INPUT if wrong else ExitCode.NOTHING_FOUND
    click.echo(f"{len(opened.openings):,} of {card.tree.size:,} rows opened: each is what the card is bound to")
    for again, rows in found.rows.items() if found else ():
        if rows:
            click.echo(f"  {len(rows):,} {TOLD[again]}")
    if wrong:
        click.echo(f"the card is NOT to be believed: see rows {', '.join(f'{row:,}' for row in wrong[:ROWS_SHOWN])}")
        return ExitCode.INPUT
    if found:
        say_chances(missing, f"with the {found.checked:,} rows that could be examined again")
    else:
        click.echo("whether they are true was not looked at (--dataset)")
    click.echo(f"not shown by this: {NOT_SHOWN}")
    return ExitCode.NOTHING_FOUND


def chances(rows: int, checked: int) -> dict[str, float]:
    """The chance that so many checked rows miss a lie, by its size."""
    return {name: chance_of_missing(rows, max(1, round(share * rows)), checked) for name, share in LIES.items()}


def say_chances(missing: dict[str, float], when: str) -> None:
    """The same in words."""
    click.echo(f"the chance that a lie about so many rows is missed, {when}:")
    for name, chance in missing.items():
        click.echo(f"  {name:<20} {chance:.3g}")


def verified(card: Path, keys: tuple[Path, ...]) -> CardRows:
    """What a card commits to, if it may be believed. Raises InputError."""
    verdict = verify_card(bounded(card), [key for path in keys for key in keys_in(path)])
    if verdict.statement is None:
        failed = next(check for check in verdict.checks if check.state == "failed")
        raise InputError(f"the card is not to be believed: {failed.means}", hint="see custodes verify")
    return card_rows(verdict.statement)
