"""``custodes init``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import as_json, config_unused, json_option
from custodes.config import create_site

__all__ = ["init"]


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--authority",
    "recipients",
    multiple=True,
    metavar="RECIPIENT",
    help="Public key (age1…) that findings are sealed to; may be given twice.",
)
@click.option(
    "--demo-authority", is_flag=True, help="Make a throw-away authority for trying things out; every report says so."
)
@click.option(
    "--name",
    default="custodes",
    show_default=True,
    metavar="NAME",
    help="Whose signing key it is: what it signs is signed in this name.",
)
@config_unused
@json_option
def init(directory: Path, recipients: tuple[str, ...], name: str, *, demo_authority: bool, json_: bool) -> None:
    """Write a commented configuration and new keys into DIRECTORY. Overwrites nothing."""
    site = create_site(directory, list(recipients), demo=demo_authority, name=name)
    if json_:
        as_json(
            {"config": str(site.path), "recipients": site.config.authority.recipients, "demo_authority": demo_authority}
        )
        return
    click.echo(f"wrote {site.path} and keys in {site.path.parent / 'keys'}")
    if demo_authority:
        click.echo(
            f"wrote {site.path.parent / 'demo-authority.key'}: a throw-away authority, for trying things out only"
        )
    elif not recipients:
        click.echo("next: put the authority's public key under [authority] in custodes.toml")
    click.echo(f"next: custodes lists import FILE --list ID --config {site.path}")
