"""``custodes lists import``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import as_json, config_option, json_option
from custodes.config import load_site
from custodes.lists.container import Provenance
from custodes.lists.formats import ImportOptions, parse_map, read_entries
from custodes.model import Kind

__all__ = ["import_list"]


@click.command("import")
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
