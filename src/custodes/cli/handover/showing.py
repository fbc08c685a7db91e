"""``custodes handover status`` and ``list``."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.errors import ExitCode
from custodes.handover.clocks import kept
from custodes.handover.custody import Recorded
from custodes.handover.outbox import Survey
from custodes.office import Office

__all__ = ["list_incidents", "status"]


@click.command()
@config_option
@json_option
def status(config: str | None, *, json_: bool) -> int:
    """Say what waits to be sent, by route and environment, since when, and verify the record of custody.

    Exits with 3 where something waits for too long: let a timer run it.
    """
    office = Office(load_site(config))
    survey, head = office.outbox.survey(), office.custody.verify()
    waiting = Counter((item.route, str(item.environment), item.state.value) for item in survey.items)
    if json_:
        as_json(
            {
                "waiting": [
                    {"route": r, "environment": e, "state": s, "items": n} for (r, e, s), n in sorted(waiting.items())
                ],
                "oldest": survey.oldest.isoformat() if survey.oldest else None,
                "damaged": len(survey.damaged),
                "alarm": survey.alarming,
                "custody": {"lines": head.seq, "head": head.hash},
            }
        )
    else:
        tell(survey, waiting, head.seq)
    return ExitCode.WORLD if survey.alarming else ExitCode.NOTHING_FOUND


def tell(survey: Survey, waiting: Counter[tuple[str, str, str]], lines: int) -> None:
    """The same for people."""
    for (route, environment, state), number in sorted(waiting.items()):
        click.echo(f"{route}, environment {environment.upper()}: {number:,} {state}")
    if not waiting:
        click.echo("nothing waits")
    if survey.oldest is not None:
        click.echo(f"the oldest since {survey.oldest.isoformat(timespec='seconds')}")
    if survey.damaged:
        click.echo(f"custodes: {len(survey.damaged):,} items cannot be read back", err=True)
    if survey.alarming:
        click.echo("custodes: ALARM: something has not been sent for too long", err=True)
    click.echo(f"the record of custody is whole: {lines:,} lines")


@click.command("list")
@config_option
@json_option
def list_incidents(config: str | None, *, json_: bool) -> int:
    """List incidents by their ids: environment, route, the last act with its time, the authority's receipt, and until when it is kept."""
    office = Office(load_site(config))
    records = [each for each in office.custody.records() if each.incident]
    last: dict[tuple[str, str, str], Recorded] = {}
    receipts: dict[tuple[str, str, str], str] = {}
    for each in records:
        key = (each.incident, each.environment, each.route)
        last[key] = each
        receipts[key] = each.receipt or receipts.get(key, "")
    due = {
        (name, str(thing.environment), thing.route): thing.due
        for thing in kept(records, office.terms())
        for name in thing.incidents
    }
    held = {name for thing in kept(records, office.terms()) if thing.holds for name in thing.incidents}
    lines = [told(each, receipts[key], due.get(key), held=key[0] in held) for key, each in sorted(last.items())]
    if json_:
        as_json({"incidents": lines})
    else:
        for line in lines:
            click.echo(printable("  ".join(str(value) for value in line.values() if value)))
        click.echo(f"{len({line['incident'] for line in lines}):,} incidents")
    return ExitCode.NOTHING_FOUND


def told(recorded: Recorded, receipt: str, due: datetime | None, *, held: bool) -> dict[str, Any]:
    """A line of the list."""
    return {
        "incident": recorded.incident,
        "environment": recorded.environment.upper(),
        "route": recorded.route or "-",
        "act": recorded.act.value,
        "time": recorded.time,
        "receipt": receipt,
        "kept_until": due.date().isoformat() if due else "",
        "held": "held" if held else "",
    }
