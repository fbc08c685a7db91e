"""``custodes handover status`` and ``list``."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.errors import ExitCode, StorageError
from custodes.handover.clocks import due, kept
from custodes.handover.custody import Head, Recorded
from custodes.handover.metrics import Looked, write_metrics
from custodes.handover.outbox import Survey
from custodes.office import Office
from custodes.withheld import Waiting
from custodes.withheld import waiting as waiting_slips

__all__ = ["list_incidents", "status"]

Key = tuple[str, str, str]
"""Incident, environment, route."""


@click.command()
@click.option(
    "--metrics", type=click.Path(path_type=Path), default=None, help="Write metrics for Prometheus to a file."
)
@config_option
@json_option
def status(metrics: Path | None, config: str | None, *, json_: bool) -> int:
    """Say what waits to be sent, by route and environment, since when, and verify the record of custody.

    Exits with 3 where something waits for too long: let a timer run it.
    """
    office = Office(load_site(config))
    survey, noted = office.outbox.survey(), waiting_slips(office.site)
    late = noted.alarming(survey.taken, survey.alarm_after_s)
    looked, alarm = Looked(survey, noted=noted.slips, late=late), survey.alarming or late
    head = looked_at(office, looked, metrics) if metrics else office.custody.verify()
    waiting = Counter((item.route, str(item.environment), item.state.value) for item in survey.items)
    if json_:
        as_json(
            {
                "waiting": [
                    {"route": r, "environment": e, "state": s, "items": n} for (r, e, s), n in sorted(waiting.items())
                ],
                "oldest": survey.oldest.isoformat() if survey.oldest else None,
                "withheld": {"unqueued": noted.slips, "since": noted.oldest.isoformat() if noted.oldest else None},
                "damaged": len(survey.damaged) + noted.damaged,
                "alarm": alarm,
                "custody": {"lines": head.seq, "head": head.hash},
            }
        )
    else:
        tell_noted(noted)
        tell(survey, waiting, head.seq, alarm=alarm)
    return ExitCode.WORLD if alarm else ExitCode.NOTHING_FOUND


def looked_at(office: Office, looked: Looked, metrics: Path) -> Head:
    """Verify the record of custody, and write the metrics, also of one that is not whole. Raises StorageError for that one."""
    try:
        head = office.custody.verify()
        things = kept(office.custody.records(), office.terms())
    except StorageError:
        write_metrics(metrics, looked)
        raise
    write_metrics(metrics, replace(looked, lines=head.seq, due=len(due(things, looked.survey.taken))))
    return head


def tell_noted(noted: Waiting) -> None:
    """Withheld images that the outbox has not yet."""
    if noted.slips:
        since = f", the oldest since {noted.oldest.isoformat(timespec='seconds')}" if noted.oldest else ""
        click.echo(f"withheld by the gateway and not queued yet: {noted.slips:,}{since}")
    if noted.damaged:
        click.echo(f"custodes: {noted.damaged:,} slips of the gateway cannot be read back", err=True)


def tell(survey: Survey, waiting: Counter[tuple[str, str, str]], lines: int, *, alarm: bool) -> None:
    """The same for people."""
    for (route, environment, state), number in sorted(waiting.items()):
        click.echo(f"{route}, environment {environment.upper()}: {number:,} {state}")
    if not waiting:
        click.echo("nothing waits")
    if survey.oldest is not None:
        click.echo(f"the oldest since {survey.oldest.isoformat(timespec='seconds')}")
    if survey.damaged:
        click.echo(f"custodes: {len(survey.damaged):,} items cannot be read back", err=True)
    if alarm:
        click.echo("custodes: ALARM: something has not been sent for too long", err=True)
    click.echo(f"the record of custody is whole: {lines:,} lines")


@click.command("list")
@config_option
@json_option
def list_incidents(config: str | None, *, json_: bool) -> int:
    """List incidents by their ids: environment, route, the last act with its time, the authority's receipt, and until when it is kept."""
    office = Office(load_site(config))
    records = [each for each in office.custody.records() if each.incident]
    last, receipts = lines_of(records)
    things = kept(records, office.terms())
    due = {(name, str(thing.environment), thing.route): thing.due for thing in things for name in thing.incidents}
    held = {name for thing in things if thing.holds for name in thing.incidents}
    lines = [told(each, key, (receipts[key], due.get(key)), held=key[0] in held) for key, each in sorted(last.items())]
    if json_:
        as_json({"incidents": lines})
    else:
        for line in lines:
            click.echo(printable("  ".join(str(value) for value in line.values() if value)))
        click.echo(f"{len({line['incident'] for line in lines}):,} incidents")
    return ExitCode.NOTHING_FOUND


def lines_of(records: list[Recorded]) -> tuple[dict[Key, Recorded], dict[Key, str]]:
    """The last act and the receipt for each incident, environment and route. An act without a route stands in all lines of its incident."""
    last: dict[Key, Recorded] = {}
    receipts: dict[Key, str] = {}
    for each in records:
        mine = [key for key in last if key[:2] == (each.incident, each.environment)] if not each.route else []
        for key in mine or [(each.incident, str(each.environment), each.route)]:
            last[key] = each
            receipts[key] = (each.receipt if each.route else "") or receipts.get(key, "")
    return last, receipts


def told(recorded: Recorded, key: Key, more: tuple[str, datetime | None], *, held: bool) -> dict[str, Any]:
    """A line of the list."""
    receipt, due = more
    return {
        "incident": recorded.incident,
        "environment": recorded.environment.upper(),
        "route": key[2] or "-",
        "act": recorded.act.value,
        "time": recorded.time,
        "receipt": receipt,
        "kept_until": due.date().isoformat() if due else "",
        "held": "held" if held else "",
    }
