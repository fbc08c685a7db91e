"""``custodes gateway appeals``: somebody says that a refusal was wrong, and people decide. What was asked is kept nowhere, and so shown nowhere."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from custodes.cli.handover.papers import papers_of, papers_options
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.crypto.keys import load_signing_key
from custodes.durable import replace_file
from custodes.errors import ExitCode, InputError
from custodes.gatebooks import bench_of, decisions_on, ledger_of
from custodes.gateway.people.appeals import Judgement, overturning
from custodes.gateway.people.ledger import Appeal, Decision, Outcome
from custodes.gateway.vocabulary import Grade
from custodes.handover.approvals import ask as asked_for

__all__ = ["appeals"]

PATH = click.Path(path_type=Path)


@click.group()
def appeals() -> None:
    """Hear appeals against refusals, and take back what was wrong. REQUEST is the `x-request-id` of the refusal."""


@appeals.command("list")
@click.option(
    "--outcome",
    type=click.Choice([each.value for each in Outcome]),
    default="open",
    show_default=True,
    help="Those that wait, or that ended so.",
)
@config_option
@json_option
def list_appeals(outcome: str, config: str | None, *, json_: bool) -> int:
    """List appeals, the oldest first."""
    with ledger_of(load_site(config)) as ledger:
        found = asyncio.run(ledger.appeals(Outcome(outcome)))
    if json_:
        as_json({"appeals": [_told(each) for each in found]})
        return ExitCode.NOTHING_FOUND
    for each in found:
        click.echo(_line(each))
    if not found:
        click.echo(f"no appeal is {outcome}", err=True)
    return ExitCode.NOTHING_FOUND


@appeals.command("open")
@click.argument("name", metavar="REQUEST")
@click.option("--tenant", required=True, metavar="NAME", help="Who appeals: the tenant that was refused.")
@config_option
@json_option
def open_appeal(name: str, tenant: str, config: str | None, *, json_: bool) -> int:
    """Open an appeal, once, against the refusal of REQUEST."""
    with ledger_of(load_site(config)) as ledger:
        opened = asyncio.run(ledger.appeal(tenant, name, int(datetime.now(UTC).timestamp() * 1000)))
    if json_:
        as_json(_told(opened))
    else:
        click.echo(_line(opened))
    return ExitCode.NOTHING_FOUND


@appeals.command()
@click.argument("name", metavar="REQUEST")
@config_option
@json_option
def show(name: str, config: str | None, *, json_: bool) -> int:
    """Show what was decided on REQUEST: rules, names of facts, versions. That is all that is kept."""
    with ledger_of(load_site(config)) as ledger:
        appeal, made = asyncio.run(ledger.appealed(name)), asyncio.run(decisions_on(ledger, name))
    if json_:
        as_json(_told(appeal) | {"decisions": [msgspec.to_builtins(each) for each in made]})
        return ExitCode.NOTHING_FOUND
    click.echo(_line(appeal))
    for each in made:
        click.echo(_decided(each))
    return ExitCode.NOTHING_FOUND


@appeals.command()
@click.argument("name", metavar="REQUEST")
@click.option("--key", required=True, type=PATH, metavar="KEYFILE", help="Your signing key, with its .vkey beside it.")
@click.option("--out", required=True, type=PATH, metavar="FILE", help="The request, for the other person.")
@config_option
@json_option
def ask(name: str, key: Path, out: Path, config: str | None, *, json_: bool) -> int:
    """Ask to overturn the refusal of REQUEST, which needs two people where it is hard. The other approves it with `custodes handover approve`.

    It is good for a day, once, and for this refusal alone.
    """
    with ledger_of(load_site(config)) as ledger:
        appeal = asyncio.run(ledger.appealed(name))
    if appeal.outcome is not Outcome.OPEN:
        raise InputError("that appeal is settled already")
    if appeal.grade is not Grade.HARD:
        raise InputError("one person is enough for this one", hint="run: custodes gateway appeals decide --overturn")
    replace_file(out, asked_for(overturning(name), load_signing_key(key), datetime.now(UTC)))
    if json_:
        as_json({"act": "overturn", "request": str(out)})
    else:
        click.echo(f"asked to overturn {name}; another person approves {printable(str(out))}")
    return ExitCode.NOTHING_FOUND


@appeals.command()
@click.argument("name", metavar="REQUEST")
@click.option("--uphold", "outcome", flag_value=Outcome.UPHELD.value, help="The refusal was right.")
@click.option("--overturn", "outcome", flag_value=Outcome.OVERTURNED.value, help="It was wrong: take back its strikes.")
@click.option("--by", required=True, metavar="NAME", help="Who decides, for the record.")
@papers_options
@config_option
@json_option
def decide(
    name: str,
    outcome: str | None,
    by: str,
    request: Path | None,
    approval: Path | None,
    config: str | None,
    *,
    json_: bool,
) -> int:
    """End the appeal against the refusal of REQUEST, once, and say what was restored. A hard refusal is overturned by two people: see `ask`."""
    if outcome is None:
        raise InputError("how does it end?", hint="say --uphold or --overturn")
    try:
        judgement = Judgement(name, Outcome(outcome), by, papers_of(request, approval))
    except ValueError as error:
        raise InputError(f"--by: {error}") from error
    site = load_site(config)
    with ledger_of(site) as ledger:
        restored = asyncio.run(bench_of(site, ledger).decide(judgement, datetime.now(UTC)))
    if json_:
        as_json({"request": name, "outcome": outcome, "by": by, "restored": restored})
        return ExitCode.NOTHING_FOUND
    click.echo(f"{outcome}: {name}, by {printable(by)}")
    if judgement.outcome is Outcome.OVERTURNED:
        click.echo(
            f"taken back: {restored.strikes:,} strikes; lifted: {restored.warnings:,} warnings, {restored.suspensions:,} suspensions"
        )
    return ExitCode.NOTHING_FOUND


def _when(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")


def _told(appeal: Appeal) -> dict[str, object]:
    told: dict[str, object] = msgspec.to_builtins(appeal)
    settled = _when(appeal.settled_at) if appeal.settled_at else ""
    return told | {"at": _when(appeal.at), "settled_at": settled}


def _line(appeal: Appeal) -> str:
    ended = f", {appeal.outcome} {_when(appeal.settled_at)} by {', '.join(appeal.people)}" if appeal.settled_at else ""
    return printable(
        f"{appeal.request}  {appeal.tenant}  {_when(appeal.at)}  {appeal.grade}, {appeal.strikes} strikes{ended}"
    )


def _decided(each: Decision) -> str:
    facts = ", ".join(name if score is None else f"{name}={score:g}" for name, score in each.facts) or "none"
    return printable(f"  {_when(each.at)}  {each.stage} {each.action}, by: {each.rule}; facts: {facts}")
