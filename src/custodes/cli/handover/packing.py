"""``custodes handover pack``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.errors import ExitCode
from custodes.handover.words import Environment
from custodes.office import Office, told_of

__all__ = ["pack"]


@click.command()
@click.argument("run")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Folder to write to."
)
@click.option(
    "--environment",
    type=click.Choice(["test", "production"]),
    default="test",
    show_default=True,
    help="Whether an authority is to act on it; stands in every package.",
)
@config_option
@json_option
def pack(run: str, out: Path, environment: Environment, config: str | None, *, json_: bool) -> int:
    """Group what RUN found into incidents, seal them to the authority, and sign the packages: NAME.custodes.age, and beside it NAME.custodes.dsse.json.

    The authority opens them with: custodes open FILE --identity KEYFILE --reporter KEYLINE
    """
    site = load_site(config)
    office, told = Office(site), told_of(site, run)
    paths = office.pack(told, out, environment)
    signer = site.signing_key().verifier
    if json_:
        as_json(
            {
                "environment": environment,
                "incidents": len(told.incidents),
                "packages": [str(path) for path in paths],
                "signed_by": str(signer),
            }
        )
    else:
        click.echo(
            f"environment {environment.upper()}: {len(told.incidents):,} incidents in {len(paths):,} sealed packages"
        )
        for path in paths:
            click.echo(f"  {printable(str(path))}")
        click.echo(f"signed by {signer}")
    return ExitCode.FOUND
