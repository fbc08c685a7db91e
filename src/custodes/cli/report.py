"""``custodes report``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import as_json, config_option, json_option
from custodes.config import load_site
from custodes.errors import InputError
from custodes.ledger.run import RunDirectory
from custodes.scan.html import render
from custodes.scan.report import report_of
from custodes.scan.summary import json_line, summary

__all__ = ["report"]


@click.command()
@click.argument("run")
@click.option(
    "--html", "html", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Write the page to FILE too."
)
@config_option
@json_option
def report(run: str, html: Path | None, config: str | None, *, json_: bool) -> int:
    """Say what a RUN examined, with what, and how much was out of reach."""
    site = load_site(config)
    document = report_of(RunDirectory.open(run, site.run_key()), share_warn=site.config.scan.unexamined_share_warn)
    if html is not None:
        write_page(html, render(document))
    if json_:
        as_json(json_line(document))
    else:
        click.echo(summary(document))
    return document.exit_code


def write_page(path: Path, page: str) -> None:
    """The page where the user wants it. Raises InputError if it cannot lie there."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise InputError(f"could not write {path}: {error.strerror}", hint="give --html another file") from error
