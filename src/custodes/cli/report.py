"""``custodes report``."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import as_json, config_option, json_option
from custodes.config import load_site
from custodes.ledger.run import RunDirectory
from custodes.scan.html import render
from custodes.scan.report import report_of
from custodes.scan.summary import json_line, summary

__all__ = ["report"]


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--html", "html", type=click.Path(path_type=Path), default=None, metavar="FILE", help="Write the page to FILE too."
)
@config_option
@json_option
def report(run: Path, html: Path | None, config: str | None, *, json_: bool) -> None:
    """Say what a RUN examined, with what, and how much was out of reach."""
    document = report_of(RunDirectory.open(run, load_site(config).run_key()))
    if html is not None:
        html.write_text(render(document), encoding="utf-8")
    if json_:
        as_json(json_line(document))
    else:
        click.echo(summary(document))
