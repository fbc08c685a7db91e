"""``custodes lists show`` and ``remove``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.lists.meaning import Meanings, meaning_of
from custodes.lists.store import ListSummary

__all__ = ["remove", "show"]


@click.command("show")
@click.argument("list_ids", nargs=-1, metavar="[ID]…")
@config_option
@json_option
def show(list_ids: tuple[str, ...], config: str | None, *, json_: bool) -> None:
    """Show how many entries lists have, of which kinds; never a value."""
    site = load_site(config)
    store = site.lists()
    summaries = store.show(list_ids or None)
    waiting = {} if list_ids else {name: held for name, held in store.held().items() if name not in store.ids()}
    if json_:
        for summary in summaries:
            as_json(summary)
        for name, held in waiting.items():
            as_json({"list": name, "version": "", "held": held})
        return
    if not summaries and not waiting:
        click.echo("no lists; import one with: custodes lists import FILE --list ID")
    for summary in summaries:
        click.echo(describe(summary, site.config.meaning))
    for name, held in waiting.items():
        click.echo("\n".join([f"{name}  no version is in force", *held_lines(held)]))


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


def describe(summary: ListSummary, own: Meanings) -> str:
    """A list in a few lines."""
    source = summary.provenance
    meanings: Counter[str] = Counter()
    for category, count in summary.categories.items():
        meanings[meaning_of(source.scheme, category, own)] += count
    rows: list[tuple[str, Mapping[Any, int]]] = [
        ("kinds", summary.entries),
        ("roles", summary.roles),
        ("categories", summary.categories),
        (f"as {printable(source.scheme)}" if source.scheme else "meaning", meanings),
    ]
    where = f" ({printable(source.environment)})" if source.environment else ""
    lines = [
        f"{summary.list}  version {summary.version}, imported {summary.created} from {printable(source.source)}{where}"
    ]
    lines += [
        f"  {name:<11}" + ", ".join(f"{count:,} {printable(str(key)) or '(none)'}" for key, count in counts.items())
        for name, counts in rows
    ]
    lines += [f"  STALE: last confirmed {summary.confirmed or 'never'}"] if summary.stale else []
    return "\n".join([*lines, *held_lines(summary.held)])


def held_lines(held: Mapping[str, Sequence[str]]) -> list[str]:
    """Versions that wait for a person, and why."""
    return [f"  HELD: version {version}: {'; '.join(reasons)}" for version, reasons in held.items()]
