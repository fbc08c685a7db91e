"""``custodes open``: the authority's side."""

from __future__ import annotations

from pathlib import Path

import click

from custodes.cli.options import as_json, config_unused, json_option, printable
from custodes.errors import ExitCode, InputError
from custodes.handover.finding import Finding, open_bundle

__all__ = ["open_bundle_command"]


@click.command("open")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--identity",
    required=True,
    type=click.Path(path_type=Path),
    metavar="KEYFILE",
    help="The authority's secret key (AGE-SECRET-KEY-1…).",
)
@config_unused
@json_option
def open_bundle_command(files: tuple[Path, ...], identity: Path, *, json_: bool) -> int:
    """Open sealed findings, for the authority that they are sealed to. FILES are .age files, or directories of them.

    Works offline and writes nothing to disk. With --json: one line a finding.
    """
    secret = read_text(identity)
    opened = [finding for path in sealed_files(files) for finding in opened_file(path, secret)]
    findings = list({finding.id: finding for finding in opened}.values())  # of one told twice, the later
    if json_:
        for finding in findings:
            as_json(finding)
    else:
        repeats = f" ({len(opened) - len(findings)} repeats folded)" if len(opened) > len(findings) else ""
        click.echo(f"{len(findings)} {'finding' if len(findings) == 1 else 'findings'}{repeats}")
        for finding in findings:
            click.echo("\n" + describe(finding))
    return ExitCode.FOUND if findings else ExitCode.NOTHING_FOUND


def read_text(path: Path) -> str:
    """The identity file. Raises InputError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the identity file {path} cannot be read", hint="give the file that holds AGE-SECRET-KEY-1…"
        ) from error


def opened_file(path: Path, secret: str) -> tuple[Finding, ...]:
    """The findings of one sealed file. Raises InputError, naming the file, if it cannot be opened."""
    try:
        return tuple(open_bundle(path.read_bytes(), secret)[1])
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}", hint=error.hint) from error


def sealed_files(paths: tuple[Path, ...]) -> list[Path]:
    """The files named, and the .age files in the directories named. Raises InputError if one is absent or there is none."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(path.rglob("*.age"))
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path} is not there")
    if not found:
        raise InputError("there is no .age file in what was given")
    return found


def describe(finding: Finding) -> str:
    """A finding for a terminal; whatever a URL or a name may hold, it prints as text."""
    lines = [f"finding {finding.id} ({finding.decision}: {finding.rule})"]
    lines += [f"  {label:<12} {printable(text)}" for label, text in fields_of(finding) if text]
    for match in finding.matches:
        near = f", {match.distance_bits} bits away ({match.form})" if match.kind == "pdq" else ""
        lines.append(
            f"  matches      {printable(match.list)} entry {printable(match.entry)}, {match.kind}{near}, category {printable(match.category) or 'not given'}"
        )
    return "\n".join(lines)


def fields_of(finding: Finding) -> list[tuple[str, str]]:
    """What a reader wants first."""
    digests = [(kind, value) for kind, value in finding.digests.items() if kind != "pdq_quality"]
    return [
        ("url", finding.url),
        ("dataset", f"{finding.dataset}, {finding.file} row {finding.row}"),
        ("row key", finding.row_key),
        ("found", f"{finding.found_at} by pass {' and '.join(finding.passes)}; viewed by a person: no"),
        ("outcome", f"{finding.outcome} ({finding.reason})"),
        (
            "fetched",
            f"{finding.fetched_at}, status {finding.http_status}, {finding.size_bytes} bytes"
            if finding.fetched_at
            else "",
        ),
        ("redirected", finding.final_url),
        *digests,
    ]
