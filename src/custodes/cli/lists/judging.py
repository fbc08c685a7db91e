"""``custodes lists verify``, ``accept`` and ``reject``: what is sound, and what a person decides about a version that waits."""

from __future__ import annotations

import click

from custodes.cli.options import as_json, config_option, json_option
from custodes.config import load_site
from custodes.errors import ExitCode

__all__ = ["accept", "reject", "verify"]


@click.command("verify")
@click.argument("list_ids", nargs=-1, metavar="[ID]…")
@config_option
@json_option
def verify(list_ids: tuple[str, ...], config: str | None, *, json_: bool) -> int:
    """Read every version of lists, and hold those in force against their checks, their age and what was in force before.

    Exits with 2 if anything is wrong.
    """
    store = load_site(config).lists()
    sound = True
    for list_id in list_ids or store.ids():
        problems = store.verify(list_id)
        sound = sound and not problems
        if json_:
            as_json({"list": list_id, "problems": problems})
        else:
            click.echo(
                "\n".join([f"{list_id}  {'sound' if not problems else 'NOT SOUND'}", *(f"  {p}" for p in problems)])
            )
    return ExitCode.NOTHING_FOUND if sound else ExitCode.INPUT


@click.command("accept")
@click.argument("list_id", metavar="ID")
@click.argument("version")
@config_option
@json_option
def accept(list_id: str, version: str, config: str | None, *, json_: bool) -> None:
    """Put VERSION of a list into force although a check speaks against it, or although it is older."""
    load_site(config).lists().accept(list_id, version)
    as_json({"list": list_id, "version": version, "accepted": True}) if json_ else click.echo(
        f"list {list_id}: version {version} is in force"
    )


@click.command("reject")
@click.argument("list_id", metavar="ID")
@click.argument("version")
@config_option
@json_option
def reject(list_id: str, version: str, config: str | None, *, json_: bool) -> None:
    """Throw away VERSION of a list, which was held back."""
    load_site(config).lists().reject(list_id, version)
    as_json({"list": list_id, "version": version, "rejected": True}) if json_ else click.echo(
        f"list {list_id}: version {version} was thrown away"
    )
