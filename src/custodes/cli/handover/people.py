"""``custodes handover ask`` and ``approve``: the two-person rule."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import click

from custodes.cli.handover.keeping import due_of, incidents_of
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.crypto.keys import VerifierKey, load_signing_key
from custodes.durable import replace_file
from custodes.errors import ExitCode, InputError
from custodes.handover.approvals import Guarded, Wanted, agree, ask, read_request, subject_of
from custodes.handover.words import Environment
from custodes.office import Office, route_of, told_of, usual_route
from custodes.withheld import Taking

__all__ = ["approve", "ask_for"]

PATH = click.Path(path_type=Path)
PRODUCTION: Environment = "production"


@click.command("ask")
@click.argument("act", type=click.Choice([act.value for act in Guarded if act is not Guarded.OVERTURN]))
@click.option(
    "--file", "files", multiple=True, type=PATH, help="To unseal: this sealed file; may be given several times."
)
@click.option("--run", "run", default=None, metavar="RUN", help="To send: what this run found.")
@click.option(
    "--withheld", type=PATH, default=None, metavar="DIR", help="To send: images that a gateway sealed into DIR."
)
@click.option("--route", "route_name", default=None, metavar="ROUTE", help="By which route (default: the usual one).")
@click.option("--key", required=True, type=PATH, metavar="KEYFILE", help="Your signing key, with its .vkey beside it.")
@click.option("--out", required=True, type=PATH, metavar="FILE", help="The request, for the other person.")
@config_option
@json_option
def ask_for(
    act: str,
    files: tuple[Path, ...],
    run: str | None,
    withheld: Path | None,
    route_name: str | None,
    key: Path,
    out: Path,
    config: str | None,
    *,
    json_: bool,
) -> int:
    """Sign a request to send what RUN found, to unseal files, or to delete what has been kept for long enough.

    To send without RUN: what a gateway sealed into a folder, or else what the site's gateway noted.

    It is good for a day, once, and for exactly what is there now.
    """
    site = load_site(config)
    office, environment = Office(site), PRODUCTION
    if act == Guarded.SEND:
        route = route_of(site, route_name or usual_route(site), to_show=True)
        environment = route.environment
        if run is None:
            incidents = Taking(office, route).fresh(withheld)
        else:
            found = office.asked_for(told_of(site, run).incidents)
            incidents = [each.id for each in office.desk(route).fresh(found)]
    elif act == Guarded.UNSEAL:
        incidents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    else:
        things = due_of(office)
        environment = things[0].environment if things else PRODUCTION
        incidents = incidents_of(things, environment)
    if not incidents:
        raise InputError(f"there is nothing to {act}")
    wanted = Wanted(Guarded(act), subject_of(incidents), environment)
    replace_file(out, ask(wanted, load_signing_key(key), datetime.now(UTC)))
    if json_:
        as_json({"act": act, "environment": environment, "things": len(incidents), "request": str(out)})
    else:
        click.echo(
            f"environment {environment.upper()}: asked to {act} {len(incidents):,} things; another person approves {printable(str(out))}"
        )
    return ExitCode.NOTHING_FOUND


@click.command("approve")
@click.argument("request", type=PATH)
@click.option("--key", required=True, type=PATH, metavar="KEYFILE", help="Your signing key, with its .vkey beside it.")
@click.option("--out", required=True, type=PATH, metavar="FILE", help="The approval.")
@config_option
@json_option
def approve(request: Path, key: Path, out: Path, config: str | None, *, json_: bool) -> int:
    """Approve what another person asked for in REQUEST."""
    people = [VerifierKey.parse(text) for text in load_site(config).config.handover.approvers]
    try:
        data = request.read_bytes()
    except OSError as error:
        raise InputError(f"{request} cannot be read: {error.strerror}") from error
    statement = read_request(data, people)
    replace_file(out, agree(data, people, load_signing_key(key)))
    told = {
        "act": statement.act.value,
        "environment": statement.environment,
        "asked_by": statement.asked_by,
        "expires": statement.expires,
    }
    if json_:
        as_json(told)
    else:
        click.echo(
            f"environment {statement.environment.upper()}: approved to {told['act']}, as asked by {told['asked_by']}, until {told['expires']}"
        )
    return ExitCode.NOTHING_FOUND
