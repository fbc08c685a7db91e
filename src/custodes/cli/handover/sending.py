"""``custodes handover send``."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from custodes.cli.handover.papers import papers_of, papers_options
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import Site, load_site
from custodes.demo.job import demo_job
from custodes.errors import ConfigError, ExitCode, InputError
from custodes.handover.approvals import Guarded, Papers
from custodes.handover.delivery import Route
from custodes.handover.desk import Desk, Queued, Worked
from custodes.handover.parcel import Handed, Parcel
from custodes.office import Office, route_of, told_of, usual_route
from custodes.withheld import Parcels, Taking, evidence_route, unqueued

__all__ = ["send"]

PATH = click.Path(path_type=Path)
DEMO_ROWS = 200
SECTION = "[handover.cybertipline]"
DEMO_REPORTER = 'email = "demonstration@example.org"'


class Sending(NamedTuple):
    """What was asked for."""

    run: str | None
    withheld: Path | None
    papers: Papers | None
    limit: int | None
    json_: bool


@click.command()
@click.argument("run", required=False)
@click.option(
    "--route",
    "route_name",
    default=None,
    metavar="ROUTE",
    help="cybertipline, coop, webhook.NAME or hotline.NAME (default: what the jurisdiction of the policy asks for).",
)
@click.option(
    "--withheld", type=PATH, default=None, metavar="DIR", help="In place of RUN: images that a gateway sealed into DIR."
)
@click.option("--dry-run", is_flag=True, help="Show exactly what would be sent; nothing is sent or kept.")
@click.option("--demo", is_flag=True, help="In place of RUN: what the embedded example finds. With --dry-run alone.")
@click.option("--limit", type=click.IntRange(min=1), default=None, metavar="N", help="Send, or show, at most so many.")
@papers_options
@config_option
@json_option
def send(
    run: str | None,
    route_name: str | None,
    withheld: Path | None,
    limit: int | None,
    request: Path | None,
    approval: Path | None,
    config: str | None,
    *,
    dry_run: bool,
    demo: bool,
    json_: bool,
) -> int:
    """Have what RUN found wait to be sent, and send all that is due by this route. Without RUN: send what waits already.

    What the site's gateway noted for this route ([gateway.evidence] hand_over) is taken up each time.

    Nothing is sent twice: start it again as often as you like. Places that are found later follow.
    """
    if run is not None and withheld is not None:
        raise InputError("a run and withheld images are handed over one after the other", hint="give RUN or --withheld")
    if demo and (run is not None or withheld is not None or not dry_run):
        raise InputError(
            "--demo shows the embedded example, and nothing else", hint="give it with --dry-run, in place of RUN"
        )
    if dry_run:
        with shown_site(config, demo=demo) as (site, path):
            route = route_of(site, route_name or usual_route(site), to_show=True)
            if run is not None or demo:
                return show(told_of(site, run or path).incidents, route, limit)
            return show(withheld_of(site, route, withheld), route, limit)
    site = load_site(config)
    sending = Sending(run, withheld, papers_of(request, approval), limit, json_)
    return asyncio.run(sent(Office(site), route_of(site, route_name or usual_route(site)), sending))


@contextmanager
def shown_site(config: str | None, *, demo: bool) -> Iterator[tuple[Site, Path]]:
    """The site whose run is shown; for the example one that is gone afterwards."""
    if not demo:
        yield load_site(config), Path()
        return
    with tempfile.TemporaryDirectory(prefix="custodes-demo-") as folder:
        home = Path(folder) / "demo"
        with demo_job(home, rows=DEMO_ROWS) as job:
            job.work(lambda _: None)
        path = home / "custodes.toml"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace(SECTION, f"{SECTION}\n{DEMO_REPORTER}"), encoding="utf-8")
        yield load_site(str(path)), home / "run"


def withheld_of(site: Site, route: Route, folder: Path | None) -> list[Parcel]:
    """What lies sealed in a folder, or else what the gateway noted. Raises InputError where that is nothing."""
    parcels = Parcels(site, route)
    found = [parcel for parcel, _ in parcels.lying(folder)] if folder else [parcel for _, parcel, _ in parcels.noted()]
    if not found:
        raise InputError("there is nothing to show", hint="name a run, or withheld images (--withheld), or say --demo")
    return found


def show(things: Sequence[Handed], route: Route, limit: int | None) -> int:
    """Each document as it would be sent, under a line that says where."""
    shown = 0
    refused = Queued().refused
    for incident in things:
        if limit is not None and shown >= limit:
            break
        try:
            document = route.preview(incident, datetime.now(UTC))
        except InputError as error:
            refused[str(error)] += 1
            continue
        click.echo(f"--- {where(route)}, incident {incident.id}; NOT SENT")
        click.echo(document)
        shown += 1
    click.echo(f"--- {shown:,} of {len(things):,} incidents shown; nothing was sent", err=True)
    tell_refused(refused)
    return ExitCode.FOUND if shown else ExitCode.NOTHING_FOUND


async def sent(office: Office, route: Route, sending: Sending) -> int:
    """Queue what is new, then send."""
    desk = office.desk(route)
    try:
        queued = queue(office, route, desk, sending)
        worked = await desk.work(sending.limit)
    finally:
        await route.close()
    left = desk.survey()
    if sending.json_:
        as_json(document(route, queued, worked, len(left.items), alarming=left.alarming))
    else:
        tell(route, queued, worked)
        click.echo(f"waiting now: {len(left.items):,}")
        if left.alarming:
            click.echo("custodes: ALARM: something has not been sent for too long: custodes handover status", err=True)
    return ExitCode.WORLD if worked.stopped or worked.dead or left.alarming else ExitCode.NOTHING_FOUND


def queue(office: Office, route: Route, desk: Desk, sending: Sending) -> Queued:
    """What was named, and what the gateway noted for this route. Where two people's word is asked for, it is for what was named, if anything."""
    taking, named = Taking(office, route), sending.run is not None or sending.withheld is not None
    told = queue_run(office, desk, sending) if sending.run is not None else Queued()
    if sending.withheld is not None:
        told = taking.files(sending.withheld, sending.papers)
    if noted_for(office.site, route):
        if Guarded.SEND in office.rule.acts and (named or sending.papers is None):
            click.echo("custodes: withheld images wait for two people's word: custodes handover ask send", err=True)
        else:
            told.add(taking.slips(sending.papers))
    return told


def noted_for(site: Site, route: Route) -> bool:
    """Whether the gateway noted anything that goes by this route."""
    if not unqueued(site):
        return False
    try:
        noted = evidence_route(site)
    except ConfigError:  # status tells that they wait; what was named goes all the same
        return False
    return (noted.name, noted.environment) == (route.name, route.environment)


def queue_run(office: Office, desk: Desk, sending: Sending) -> Queued:
    """What the run found, as far as it was not sent."""
    assert sending.run is not None
    incidents = office.asked_for(told_of(office.site, sending.run).incidents)
    if fresh := desk.fresh(incidents):
        office.permit(Guarded.SEND, [each.id for each in fresh], desk.environment, sending.papers)
    return desk.queue(incidents)


def where(route: Route) -> str:
    """The route with its environment, which stands in every output."""
    return f"{route.name}, environment {route.environment.upper()}"


def tell(route: Route, queued: Queued, worked: Worked) -> None:
    """What became of everything, by numbers."""
    click.echo(where(route) + ("" if route.environment == "production" else ": nothing of this reaches an authority"))
    lines = {
        "new": len(queued.new),
        "with places found later": len(queued.following),
        "waiting already": queued.waiting,
        "delivered before": queued.delivered,
        "delivered now": len(worked.delivered),
        "dead letters": len(worked.dead),
    }
    for name, number in lines.items():
        if number:
            click.echo(f"  {name:<24} {number:,}")
    for why, number in sorted(worked.later.items()):
        click.echo(f"  {'to be tried again':<24} {number:,} ({printable(why)})")
    tell_refused(queued.refused)
    if worked.stopped:
        click.echo(f"custodes: nothing more was tried: {printable(worked.stopped)}: look at the account", err=True)


def tell_refused(refused: Any) -> None:
    """What the route does not take, with its reason."""
    for why, number in sorted(refused.items()):
        click.echo(f"  not for this route       {number:,}: {printable(why)}", err=True)


def document(route: Route, queued: Queued, worked: Worked, waiting: int, *, alarming: bool) -> dict[str, Any]:
    """The same for a program."""
    return {
        "route": route.name,
        "environment": route.environment,
        "new": len(queued.new),
        "following": len(queued.following),
        "delivered_before": queued.delivered,
        "delivered": len(worked.delivered),
        "later": dict(worked.later),
        "dead": len(worked.dead),
        "refused": dict(queued.refused),
        "stopped": worked.stopped,
        "waiting": waiting,
        "alarm": alarming,
    }
