"""``custodes scan``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from custodes import native
from custodes.cli.options import (
    as_json,
    cluster_of,
    config_option,
    executor_options,
    json_option,
    metrics_option,
    printable,
    workers_option,
)
from custodes.config import load_site
from custodes.errors import ExitCode, InputError
from custodes.jobs import Job, ScanRequest, prepare_scan
from custodes.scan.embedding import EmbedRequest
from custodes.scan.pool import Event
from custodes.scan.progress import Progress
from custodes.scan.report import RunReport
from custodes.scan.run import retry_reasons
from custodes.scan.summary import json_line, summary
from custodes.sources.base import ColumnMap, Format, SourceOptions

if TYPE_CHECKING:
    from custodes.scan.metrics import ScanMetrics

__all__ = ["conduct", "counted_at", "scan"]


def pairs(text: tuple[str, ...]) -> dict[str, str]:
    """``field=column`` options as a mapping."""
    fields = ColumnMap.__struct_fields__
    split = [part.split("=", 1) for item in text for part in re.split(r",(?=\s*\w+=)", item)]  # a name may hold a comma
    if any(len(part) != 2 or not part[1] for part in split):
        raise InputError("--column wants FIELD=COLUMN", hint="for example --column url=image_link")
    if unknown := [part[0].strip() for part in split if part[0].strip() not in fields]:
        raise InputError(f"--column {printable(unknown[0])!r}: no such field", hint=f"fields are {', '.join(fields)}")
    return {field.strip(): column.strip() for field, column in split}


@click.command()
@click.argument("source")
@click.option(
    "--run",
    "run",
    required=True,
    metavar="DIR",
    help="Run directory: created, or gone on with. A path, or s3://BUCKET/PREFIX, or gs://.",
)
@click.option("--list", "list_ids", multiple=True, metavar="ID", help="Only these lists (default: all).")
@click.option("--pass", "passes", default=None, metavar="columns,bytes", help="Passes to run (default: as configured).")
@click.option("--limit", type=click.IntRange(min=1), default=None, metavar="N", help="Only the first N rows.")
@click.option(
    "--retry",
    "retry",
    multiple=True,
    metavar="OUTCOME[:REASON]",
    help="Try such rows again, e.g. unavailable or unavailable:dns.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Which column holds url, md5, sha1, sha256, key or image.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice([f.value for f in Format]),
    default=None,
    help="Format of SOURCE (default: found out).",
)
@click.option(
    "--no-header", is_flag=True, help="CSV without a header: columns are given by position, e.g. --column url=0."
)
@workers_option
@executor_options
@click.option(
    "--unsafe-allow-loopback",
    is_flag=True,
    help="Tests and demos only: links may lead to this machine. Every report says so.",
)
@click.option(
    "--unsafe-no-jail", is_flag=True, help="Decode without confinement where the kernel has none. Every report says so."
)
@click.option(
    "--embed",
    default=None,
    metavar="MODEL",
    help="Make a vector of each image, too, by this model (custodes similar models) or card FILE.toml.",
)
@click.option(
    "--embed-file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    metavar="PATH",
    help="The model's file, where its package or hub does not have it.",
)
@click.option(
    "--embed-device",
    type=click.Choice(["cpu", "cuda"]),
    default=None,
    help="Where the model runs (default: cpu).",
)
@click.option(
    "--accept-tainted",
    is_flag=True,
    help="Use the model even if abuse material is known to be in what it was trained on. Every report says so.",
)
@metrics_option
@click.option("--quiet", is_flag=True, help="No progress.")
@config_option
@json_option
def scan(source: str, run: str, config: str | None, **options: Any) -> int:
    """Scan SOURCE: a table of links (parquet, csv, jsonl) or images (parquet, tar, folder); a path, a pattern, or an http(s), s3 or gs address.

    Started again with the same run directory, it goes on where it stopped.
    """
    site = load_site(config)
    settings = site.scan_settings(
        passes=passes_of(options["passes"]),
        limit=options["limit"],
        unsafe_allow_loopback=options["unsafe_allow_loopback"],
        unsafe_no_jail=options["unsafe_no_jail"],
    )
    request = ScanRequest(
        source=source,
        run=run,
        lists=options["list_ids"],
        settings=settings,
        options=SourceOptions(
            format=Format(options["format_"]) if options["format_"] else None,
            columns=pairs(options["columns"]) if options["columns"] else {},
            header=not options["no_header"],
        ),
        retry=[reason for text in options["retry"] for reason in retry_reasons(text)],
        workers=options["workers"],
        embed=embed_of(options),
        cluster=cluster_of(options["executor"], options["address"], options["workers"]),
    )
    with counted_at(options["metrics"]) as metrics:
        report = conduct(prepare_scan(site, request), quiet=options["quiet"], metrics=metrics)
    say(report, json_=options["json_"])
    return report.exit_code


IN_SWAP: Final = (
    "the lists' memory could not be locked, so it may have reached swap: raise the limit (ulimit -l, LimitMEMLOCK=) "
    "above the size of the lists, or encrypt swap"
)


def embed_of(options: dict[str, Any]) -> EmbedRequest | None:
    """The model to make vectors with, if one is asked for."""
    model, file, device = options["embed"], options["embed_file"], options["embed_device"]
    if model is None:
        if file or device or options["accept_tainted"]:
            raise InputError(
                "--embed-file, --embed-device and --accept-tainted are about a model, and none is named",
                hint="name it with --embed, or leave them out",
            )
        return None
    return EmbedRequest(model, file, device or "cpu", options["accept_tainted"])


def passes_of(text: str | None) -> tuple[str, ...] | None:
    """``columns,bytes`` as the settings want it."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or any(name not in ("columns", "bytes") for name in names):
        raise InputError(
            f"--pass {printable(text)!r}: passes are columns and bytes", hint="for example --pass columns,bytes"
        )
    return names


@contextmanager
def counted_at(place: str | None) -> Iterator[ScanMetrics | None]:
    """Counts for Prometheus and the port where they are asked for, if one is named. Opened before anything starts, so that a port that is taken stops it."""
    if place is None:
        yield None
        return
    from custodes.scan.listener import listening, parsed  # noqa: PLC0415 - slow to import, and few scans are watched
    from custodes.scan.metrics import ScanMetrics  # noqa: PLC0415

    metrics = ScanMetrics()
    with listening(parsed(place), metrics.text):
        yield metrics


def conduct(job: Job, *, quiet: bool = False, metrics: ScanMetrics | None = None) -> RunReport:
    """Work a job under a progress display, and count it."""
    if native.missing() and not quiet:
        click.echo(f"custodes: note: {native.missing()}. Results are the same and take longer to come", err=True)
    with Progress(rows=job.run.manifest.plan["rows"], rows_done=job.rows_done, quiet=quiet) as progress:

        def watch(event: Event) -> None:
            progress.update(event)
            if metrics is not None:
                metrics.watch(event)

        if metrics is not None:
            metrics.begin(job.run.manifest, job.rows_done, job.workers)
        report = job.work(watch)
    if job.in_swap and not quiet:
        click.echo(f"custodes: note: {IN_SWAP}", err=True)
    return report


def say(report: RunReport, *, json_: bool) -> None:
    """The answer; warnings go to standard error."""
    for failure in report.failures:
        click.echo(f"custodes: {printable(failure)}", err=True)
    if report.exit_code == ExitCode.MUCH_UNEXAMINED:
        click.echo(f"custodes: warning: {report.unexamined_share:.0%} of the rows could not be examined", err=True)
    if json_:
        as_json(json_line(report))
    else:
        click.echo(summary(report))
