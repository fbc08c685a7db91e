"""``custodes lists show`` and ``remove``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.lists.store import ListSummary

__all__ = ["remove", "show"]


@click.command("show")
@click.argument("list_ids", nargs=-1, metavar="[ID]…")
@config_option
@json_option
def show(list_ids: tuple[str, ...], config: str | None, *, json_: bool) -> None:
    """Show how many entries lists have, of which kinds; never a value."""
    summaries = load_site(config).lists().show(list_ids or None)
    if json_:
        for summary in summaries:
            as_json(summary)
    elif not summaries:
        click.echo("no lists; import one with: custodes lists import FILE --list ID")
    for summary in [] if json_ else summaries:
        click.echo(describe(summary))


@click.command("remove")
@click.argument("list_id", metavar="ID")
@config_option
@json_option
def remove(list_id: str, config: str | None, *, json_: bool) -> None:
    """Delete a list, with all its versions."""
    load_site(config).lists().remove(list_id)
    if json_:
        as_json({"list": list_id, "removed": True})
    else:
        click.echo(f"removed list {list_id}")


def describe(summary: ListSummary) -> str:
    """A list in a few lines."""
    rows: list[tuple[str, Mapping[Any, int]]] = [
        ("kinds", summary.entries),
        ("roles", summary.roles),
        ("categories", summary.categories),
    ]
    lines = [
        f"{summary.list}  version {summary.version}, imported {summary.created} from {printable(summary.provenance.source)}"
    ]
    lines += [
        f"  {name:<11}" + ", ".join(f"{count:,} {printable(str(key)) or '(none)'}" for key, count in counts.items())
        for name, counts in rows
    ]
    return "\n".join(lines)
