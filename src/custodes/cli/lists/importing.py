"""``custodes lists import``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np

from custodes.cli.open import read_text
from custodes.cli.options import as_json, config_option, json_option
from custodes.config import Site, load_site
from custodes.errors import ExitCode, ListError
from custodes.examine import Examiner
from custodes.ledger.run import RunDirectory
from custodes.lists.container import ROLES, Contents, collect
from custodes.lists.formats import FORMATS, ImportOptions, ListFile, check_map, parse_map
from custodes.lists.matcher import Matcher
from custodes.lists.meaning import schemes
from custodes.lists.store import ImportReport, LoadedList, LoadedLists
from custodes.model import Kind, Role
from custodes.scan.run import plan_of
from custodes.scan.trial import Trial, trial

__all__ = ["import_list"]


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--list", "list_id", required=True, metavar="ID", help="The list; a new version of it if it exists.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default=None,
    help="Default: by the file's first bytes where they leave no doubt, else by its suffix.",
)
@click.option(
    "--map",
    "map_",
    default=None,
    metavar="FIELD=COLUMN,…",
    help="Which column holds kind, value, id, category, assurance, role; FIELD==TEXT for a constant; "
    "a NAME alone is the map [maps.NAME] of the configuration.",
)
@click.option(
    "--kind", type=click.Choice([kind.value for kind in Kind]), default=None, help="The kind of values that do not say."
)
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=None, help="The role of rows that do not say."
)
@click.option("--scheme", default=None, metavar="NAME", help="Whose categories these are (default: as the file says).")
@click.option(
    "--records",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Refuse the file unless it holds N records.",
)
@click.option("--sha256", default=None, metavar="HEX", help="Refuse the file unless it has this SHA-256 digest.")
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    default=None,
    metavar="KEYFILE",
    help="The secret key that opens a sealed export (AGE-SECRET-KEY-1…).",
)
@click.option("--dry-run", is_flag=True, help="Read the file and report; write nothing.")
@click.option(
    "--against",
    default=None,
    metavar="RUN",
    help="With --dry-run: count what these entries would match in a run.",
)
@config_option
@json_option
def import_list(
    file: Path,
    list_id: str,
    map_: str | None,
    identity: Path | None,
    against: str | None,
    config: str | None,
    *,
    dry_run: bool,
    json_: bool,
    **given: Any,
) -> int:
    """Make the entries of FILE the whole of a list, as a new version. One malformed row, and nothing is imported.

    A version that a check speaks against is held, not in force; then exits with 2.
    """
    if against is not None and not dry_run:
        raise click.UsageError("--against is for --dry-run: a list in force is compared with custodes rematch")
    site = load_site(config)
    options = options_of(site, map_, given)
    source = ListFile(file, options, read_text(identity) if identity else "")
    store = site.lists()
    if dry_run:
        tried(site, list_id, source, against, json_=json_)
        return ExitCode.NOTHING_FOUND
    report = store.import_entries(list_id, source.entries(), lambda: source.provenance)
    if json_:
        as_json(msgspec.to_builtins(report) | counted(source, report.skipped))
    else:
        click.echo(f"list {report.list}, version {report.version}: {summary(source, report)}")
        for reason in report.held:
            click.echo(f"  held, not in force: {reason}")
    if report.held:
        click.echo(f"hint: custodes lists accept {list_id} {report.version}, or reject", err=True)
    return ExitCode.INPUT if report.held else ExitCode.NOTHING_FOUND


def options_of(site: Site, map_: str | None, given: dict[str, Any]) -> ImportOptions:
    """The options of the command line. ListError where they cannot be."""
    columns = {}
    if map_ and "=" in map_:
        columns = parse_map(map_)
    elif map_ is not None:
        if map_ not in site.config.maps:
            known = ", ".join(sorted(site.config.maps)) or "none"
            raise ListError(f"there is no map {map_!r} in the configuration", hint=f"maps there are: {known}")
        columns = check_map(site.config.maps[map_])
    scheme = given["scheme"]
    known_schemes = sorted({*schemes(), *site.config.meaning} - {""})
    if scheme not in {None, "", *known_schemes}:
        raise ListError(f"there is no category scheme {scheme!r}", hint=f"schemes: {', '.join(known_schemes)}")
    try:
        return ImportOptions(format=given.pop("format_"), columns=columns, **given)
    except ValueError as error:
        raise ListError(str(error)) from error


def counted(source: ListFile, repeats: int) -> dict[str, Any]:
    """What is said of a file as it was read."""
    reasons = dict(source.skipped.reasons) | ({"repeat": repeats} if repeats else {})
    return {
        "records": source.records,
        "skipped": sum(reasons.values()),
        "skipped_reasons": reasons,
        "skipped_rows": source.skipped.rows,
        "format": source.provenance.format,
        "scheme": source.provenance.scheme,
    }


def summary(source: ListFile, report: ImportReport) -> str:
    """The same in a line."""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.entries.items())
    passed = "".join(f", {count:,} skipped: {reason}" for reason, count in source.skipped.reasons.items())
    return f"{kinds} ({report.skipped:,} repeats folded{passed})"


def tried(site: Site, list_id: str, source: ListFile, against: str | None, *, json_: bool) -> None:
    """Read, report, and write nothing."""
    contents, given = collect(source.entries())
    report = draft(list_id, contents, given, site.lists().objections_to(list_id, contents, given))
    matched = None
    if against is not None:
        run = RunDirectory.open(against, site.run_key())
        loaded = LoadedList(list_id, report.version, contents, source.provenance.scheme)
        matched = trial(run, plan_of(run.manifest), examiner_of(site, loaded))
    if json_:
        said = msgspec.to_builtins(report) | counted(source, report.skipped) | {"dry_run": True}
        as_json(said | ({} if matched is None else {"against": matched}))
        return
    click.echo(f"list {list_id}, nothing written: {summary(source, report)}")
    for reason in report.held:
        click.echo(f"  would be held: {reason}")
    if matched is not None:
        click.echo(compared(matched))


def draft(list_id: str, contents: Contents, given: int, against: list[str]) -> ImportReport:
    """What would be said of an import. It has no version: none was made."""
    roles = sum((np.bincount(each.roles, minlength=len(ROLES)) for each in contents.kinds.values()), np.zeros(3, int))
    return ImportReport(
        list=list_id,
        version="",
        records=given,
        entries={kind: len(columns) for kind, columns in contents.kinds.items()},
        skipped=given - len(contents),
        roles={role: count for role, count in zip(ROLES, roles.tolist(), strict=True) if count},
        held=tuple(against),
    )


def examiner_of(site: Site, loaded: LoadedList) -> Examiner:
    """An examiner for this one list."""
    settings = site.scan_settings()
    return Examiner(
        Matcher(LoadedLists((loaded,)), settings.match, meanings=settings.meaning), settings.policy.policy()
    )


def compared(matched: Trial) -> str:
    """What a trial found, in a few lines."""
    rows: list[tuple[str, Mapping[Any, int]]] = [
        ("kinds", matched.kinds),
        ("roles", matched.roles),
        ("meanings", matched.meanings),
    ]
    whole = "" if matched.complete else ", the run is not finished"
    head = (
        f"of {matched.rows:,} rows {matched.matched:,} match: {matched.exact:,} exactly, {matched.near:,} nearly{whole}"
    )
    said = ((name, ", ".join(f"{count:,} {key}" for key, count in counts.items())) for name, counts in rows if counts)
    return "\n".join([head, *(f"  {name:<9}{text}" for name, text in said)])
