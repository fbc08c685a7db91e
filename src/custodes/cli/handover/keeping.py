"""``custodes handover received``, ``retract``, ``hold``, ``unhold``, ``purge``, ``revive`` and ``rotate``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import click

from custodes.cli.handover.papers import papers_of, papers_options
from custodes.cli.handover.sending import where
from custodes.cli.options import as_json, config_option, json_option
from custodes.config import load_site
from custodes.errors import ExitCode, InputError
from custodes.handover.approvals import Guarded
from custodes.handover.clocks import Kept, due, hold, kept, purge, unhold
from custodes.handover.custody import Act, Deed
from custodes.handover.words import Environment, check_incident, check_receipt, check_word
from custodes.office import Office, route_of
from custodes.withheld import rotated

__all__ = [
    "due_of",
    "hold_incident",
    "incidents_of",
    "purge_kept",
    "received",
    "retract",
    "revive",
    "rotate",
    "unhold_incident",
]

PATH = click.Path(path_type=Path)
REASON = click.option("--reason", required=True, metavar="WORD", help="Why, in one word: a-z, 0-9, _ and -.")


def checked(incident: str, reason: str = "") -> None:
    """Raises InputError for what is no id, or no word."""
    try:
        check_incident(incident)
        if reason:
            check_word(reason)
    except ValueError as error:
        raise InputError(str(error), hint="ids are those of: custodes handover list") from error


@click.command("received")
@click.argument("incident")
@click.argument("receipt")
@click.option("--route", "route_name", required=True, metavar="ROUTE", help="By which route it was handed over.")
@config_option
@json_option
def received(incident: str, receipt: str, route_name: str, config: str | None, *, json_: bool) -> int:
    """Record the RECEIPT (an id) that an authority gave for an INCIDENT that was handed over by hand."""
    checked(incident)
    try:
        check_receipt(receipt)
    except ValueError as error:
        raise InputError(str(error)) from error
    site = load_site(config)
    office, route = Office(site), route_of(site, route_name)
    if not office.custody.of(incident):
        raise InputError("the record knows no such incident", hint="see: custodes handover list")
    deed = Deed(
        act=Act.RECEIVED,
        who=office.who,
        incident=incident,
        environment=route.environment,
        route=route.name,
        receipt=receipt,
    )
    office.custody.append(deed)
    if json_:
        as_json({"incident": incident, "receipt": receipt, "environment": route.environment})
    else:
        click.echo(f"{where(route)}: receipt recorded")
    return ExitCode.NOTHING_FOUND


@click.command()
@click.argument("incident")
@click.option("--route", "route_name", required=True, metavar="ROUTE", help="By which route it waits to be sent.")
@REASON
@config_option
@json_option
def retract(incident: str, route_name: str, reason: str, config: str | None, *, json_: bool) -> int:
    """Take an INCIDENT back that waits to be sent. What was delivered is corrected instead: custodes handover follow-up."""
    checked(incident, reason)
    site = load_site(config)
    route = route_of(site, route_name)
    Office(site).desk(route).retract(incident, reason)
    if json_:
        as_json({"incident": incident, "act": Act.RETRACTED.value, "environment": route.environment})
    else:
        click.echo(f"{where(route)}: taken back")
    return ExitCode.NOTHING_FOUND


@click.command("hold")
@click.argument("incident")
@REASON
@config_option
@json_option
def hold_incident(incident: str, reason: str, config: str | None, *, json_: bool) -> int:
    """Keep everything of an INCIDENT, whatever its time, until this hold is lifted."""
    checked(incident, reason)
    office = Office(load_site(config))
    hold(office.custody, incident, reason, office.who)
    if json_:
        as_json({"incident": incident, "act": Act.HELD.value, "reason": reason})
    else:
        click.echo("held: nothing of it is deleted")
    return ExitCode.NOTHING_FOUND


@click.command("unhold")
@click.argument("incident")
@REASON
@config_option
@json_option
def unhold_incident(incident: str, reason: str, config: str | None, *, json_: bool) -> int:
    """Lift the hold of an INCIDENT that has this reason."""
    checked(incident, reason)
    office = Office(load_site(config))
    unhold(office.custody, incident, reason, office.who)
    if json_:
        as_json({"incident": incident, "act": Act.UNHELD.value, "reason": reason})
    else:
        click.echo("lifted")
    return ExitCode.NOTHING_FOUND


def due_of(office: Office) -> list[Kept]:
    """What has been kept for long enough, and that nothing holds."""
    return due(kept(office.custody.records(), office.terms()), datetime.now(UTC))


def incidents_of(things: Iterable[Kept], environment: Environment) -> list[str]:
    """Of which incidents these are, in one environment."""
    return sorted({name for thing in things if thing.environment == environment for name in thing.incidents})


@click.command("purge")
@click.option("--dry-run", is_flag=True, help="Say how much it is, and delete nothing.")
@click.option(
    "--packages",
    type=PATH,
    default=None,
    metavar="DIR",
    help="Where sealed packages are kept: those that are due are deleted there.",
)
@papers_options
@config_option
@json_option
def purge_kept(
    packages: Path | None,
    request: Path | None,
    approval: Path | None,
    config: str | None,
    *,
    dry_run: bool,
    json_: bool,
) -> int:
    """Delete receipts and packages whose time is over, each with its line in the record. Held incidents stay.

    How long they are kept is said by the jurisdiction: docs/concepts/routes.md.
    """
    office = Office(load_site(config))
    things = due_of(office)
    if not dry_run and things:
        environments = {thing.environment for thing in things}
        for environment in sorted(environments):
            names = incidents_of(things, environment)
            office.permit(Guarded.DELETE, names, environment, papers_of(request, approval))
        purge(
            office.custody, office.terms(), datetime.now(UTC), office.who, lambda thing: office.remove(thing, packages)
        )
    counts = {what: sum(thing.what == what for thing in things) for what in ("receipt", "package")}
    if json_:
        as_json({"due": counts, "deleted": not dry_run})
    else:
        word = "would be deleted" if dry_run else "deleted"
        click.echo(f"{word}: the receipts of {counts['receipt']:,} deliveries, {counts['package']:,} packages")
    return ExitCode.NOTHING_FOUND


@click.command()
@click.option("--route", "route_name", required=True, metavar="ROUTE", help="Of which route.")
@config_option
@json_option
def revive(route_name: str, config: str | None, *, json_: bool) -> int:
    """Try dead letters of a route again, from where they had come."""
    site = load_site(config)
    route = route_of(site, route_name)
    number = Office(site).desk(route).revive()
    if json_:
        as_json({"revived": number, "environment": route.environment})
    else:
        click.echo(f"{where(route)}: {number:,} to be tried again")
    return ExitCode.NOTHING_FOUND


@click.command()
@config_option
@json_option
def rotate(config: str | None, *, json_: bool) -> int:
    """Lock all that waits and is kept under transport.key.

    Before: move the old key to another name, name it under [handover] earlier_transport_keys, and make a new transport.key. Afterwards the old one may go.
    """
    site = load_site(config)
    office = Office(site)
    number = office.outbox.rotate() + office.receipts.rotate()
    number += rotated(site)
    office.custody.append(Deed(act=Act.ROTATED, who=office.who))
    if json_:
        as_json({"rotated": number})
    else:
        click.echo(f"{number:,} files are locked under the new key")
    return ExitCode.NOTHING_FOUND
