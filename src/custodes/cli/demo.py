"""``custodes demo``."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from custodes.cards import CARD_NAME, Beside, holders_of, statement_of, write_card
from custodes.cli.open import describe
from custodes.cli.options import as_json, config_unused, json_option
from custodes.cli.scan import conduct
from custodes.demo.job import demo_job
from custodes.errors import InputError
from custodes.handover.finding import Finding, open_bundle
from custodes.scan.report import RunReport
from custodes.scan.summary import json_line, summary

__all__ = ["demo"]


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=None,
    help="Where to leave everything (default: a new directory under the system's temporary one).",
)
@click.option(
    "--rows", type=click.IntRange(200, 100_000), default=2000, show_default=True, help="Links in the example."
)
@click.option("--quiet", is_flag=True, help="No progress.")
@config_unused
@json_option
def demo(directory: Path | None, *, rows: int, quiet: bool, json_: bool) -> None:
    """Scan the embedded example: pictures and dead links on a local server, a hash list, a throw-away authority.

    Needs no credentials and no network but loopback. The planted pictures are harmless stand-ins.
    """
    home = directory or Path(tempfile.mkdtemp(prefix="custodes-demo-"))
    if home.exists() and any(home.iterdir()):
        raise InputError(f"{home} is not empty", hint="choose another directory with --dir, or remove it")
    with demo_job(home, rows=rows) as job:
        report = conduct(job, quiet=quiet)
        told = Beside(holders=holders_of(job.site.lists()))
        write_card(statement_of(job.run, job.site.run_key(), told), job.site.signing_key(), home / "run" / CARD_NAME)
    finding = first_finding(home)
    if json_:
        as_json(json_line(report))
        return
    tell(home, report, finding)


def first_finding(home: Path) -> Finding | None:
    """The first finding, opened with the demo authority's own key, as the authority would."""
    identity = (home / "demo-authority.key").read_text(encoding="utf-8")
    for path in sorted((home / "run" / "findings").rglob("*.age")):
        findings = open_bundle(path.read_bytes(), identity)[1]
        if findings:
            return findings[0]
    return None


def tell(home: Path, report: RunReport, finding: Finding | None) -> None:
    """The summary, what the authority receives, and where everything lies."""
    click.echo(summary(report))
    if finding is not None:
        click.echo("\nWhat the authority receives, opened with the demo authority's key:\n")
        click.echo(describe(finding))
    click.echo(f"\nrun directory  {home / 'run'}\nHTML report    {home / 'run' / 'report.html'}")
    card = home / "run" / CARD_NAME
    click.echo(f"signed card    custodes verify {card} --key {card.with_name('card.vkey')}")
    click.echo(f"all findings   custodes open {home / 'run' / 'findings'} --identity {home / 'demo-authority.key'}")
