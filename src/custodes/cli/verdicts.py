"""``custodes verdicts import`` and ``show``: what the authority says of findings. Counts are told, findings never."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.errors import ExitCode, InputError
from custodes.handover.verdicts import Ruling, counts_of

__all__ = ["verdicts"]


@click.group()
def verdicts() -> None:
    """Import what the authority says of findings: confirmed, not, or unsure."""


@verdicts.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@config_option
@json_option
def import_verdicts(file: Path, config: str | None, *, json_: bool) -> int:
    """Verify FILE, which the authority signed, and keep it. Files may come in any order; one that came before changes nothing."""
    store = load_site(config).verdicts()
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    found, new = store.add(data, datetime.now(UTC))
    counted = counts_of(found.verdicts)
    if json_:
        as_json({"authority": found.authority, "made_at": found.made_at, "new": new, "verdicts": counted})
    else:
        click.echo(f"{printable(found.authority)}, {found.made_at}: {told(counted)}")
        if not new:
            click.echo("  imported before: nothing changed")
    return ExitCode.NOTHING_FOUND


@verdicts.command("show")
@config_option
@json_option
def show(config: str | None, *, json_: bool) -> int:
    """Say how many findings are judged, and how. Of several verdicts on a finding the latest counts."""
    store = load_site(config).verdicts()
    files, counted = len(store.files()), counts_of(store.standing().values())
    if json_:
        as_json({"files": files, "verdicts": counted})
    else:
        click.echo(f"{files:,} {'file' if files == 1 else 'files'}: {told(counted)}")
    return ExitCode.NOTHING_FOUND


def told(counted: dict[str, int]) -> str:
    """Counts in a line."""
    return ", ".join(f"{counted[ruling]:,} {ruling.value}" for ruling in Ruling)
