"""``custodes lists``: import, show, remove."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.lists.container import Provenance
from custodes.lists.formats import ImportOptions, parse_map, read_entries
from custodes.lists.store import ListSummary
from custodes.model import Kind

__all__ = ["lists"]


@click.group()
def lists() -> None:
    """Import, show and remove hash lists. Values are never shown."""


@lists.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--list", "list_id", required=True, metavar="ID", help="The list; a new version of it if it exists.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "ndjson", "text"]),
    default=None,
    help="Default: by the file's suffix.",
)
@click.option(
    "--map",
    "map_",
    default=None,
    metavar="FIELD=COLUMN,…",
    help="Which column holds kind, value, id, category, assurance, role; FIELD==TEXT for a constant.",
)
@click.option(
    "--kind", type=click.Choice([kind.value for kind in Kind]), default=None, help="The kind of values that do not say."
)
@config_option
@json_option
def import_list(
    file: Path,
    list_id: str,
    format_: str | None,
    map_: str | None,
    kind: str | None,
    config: str | None,
    *,
    json_: bool,
) -> None:
    """Make the entries of FILE the whole of a list, as a new version. One malformed row, and nothing is imported."""
    site = load_site(config)
    options = ImportOptions(format=format_, kind=kind, columns=parse_map(map_) if map_ else {})
    report = site.lists().import_entries(list_id, read_entries(file, options), Provenance(source=file.name))
    if json_:
        as_json(report)
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.entries.items())
    click.echo(f"list {report.list}, version {report.version}: {kinds} ({report.skipped:,} repeats folded)")


@lists.command("show")
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


@lists.command("remove")
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
