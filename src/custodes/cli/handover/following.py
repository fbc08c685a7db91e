"""``custodes handover follow-up``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from custodes.cli.handover.sending import where
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.durable import replace_file
from custodes.errors import ExitCode
from custodes.handover.following import corrections_of, mistaken, record
from custodes.office import Office, route_of, told_of

__all__ = ["follow_up"]


@click.command("follow-up")
@click.argument("run")
@click.option("--route", "route_name", required=True, metavar="ROUTE", help="By which route it was delivered.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for the corrections.",
)
@config_option
@json_option
def follow_up(run: str, route_name: str, out: Path, config: str | None, *, json_: bool) -> int:
    """Correct what of RUN was delivered and turned out to be mistaken: the authority's verdict on all its findings is "not", or its list withdrew every entry.

    Writes a letter for each, by the authority's number and without a link or a hash, for the channel that was agreed with it. The record keeps what was done.
    """
    site = load_site(config)
    office, route = Office(site), route_of(site, route_name)
    desk = office.desk(route)
    verdicts = site.verdicts().standing() if site.config.authority.verifiers else {}
    found = mistaken(told_of(site, run).incidents, verdicts, office.listed())
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    written = 0
    out.mkdir(parents=True, exist_ok=True)
    for incident, why in found:
        for correction in corrections_of(incident, why, desk, (made_at, site.config.handover.contact)):
            name = f"{correction.report_id}-{why}"
            if not any(
                each.reason == why and each.receipt == correction.report_id
                for each in office.custody.of(correction.incident)
            ):
                replace_file(out / f"{name}.json", correction.document())
                replace_file(out / f"{name}.txt", (correction.text() + "\n").encode())
                record(office.custody, correction, (office.who, route.name))
                written += 1
    if json_:
        as_json({"environment": route.environment, "mistaken": len(found), "corrections": written, "out": str(out)})
    else:
        click.echo(
            f"{where(route)}: {len(found):,} incidents turned out to be mistaken; {written:,} corrections written to {printable(str(out))}"
        )
    return ExitCode.FOUND if written else ExitCode.NOTHING_FOUND
