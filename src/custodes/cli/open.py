"""``custodes open``: the authority's side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from custodes.cli.handover.papers import papers_of, papers_options
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.cli.withheld import Extract, is_withheld, open_withheld_files
from custodes.config import load_site
from custodes.crypto.keys import VerifierKey, load_signing_key
from custodes.durable import replace_file
from custodes.errors import ConfigError, ExitCode, InputError
from custodes.handover.finding import BundleHeader, Finding, open_bundle
from custodes.handover.incident import folded, named_by_findings
from custodes.handover.index_page import Index, csv_index, html_index, summary, suspicion_text, text_index
from custodes.handover.judging import Judgement, judgements_in, runs_of, verdicts_on
from custodes.handover.package import SEALED_SUFFIX, Opened, open_package, read_package
from custodes.handover.verdicts import make_verdicts
from custodes.model import Meaning
from custodes.office import Office

__all__ = ["open_bundle_command"]

PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Content:
    """What was in the files: as incidents, and line by line as it was told."""

    index: Index
    lines: Sequence[msgspec.Struct]
    told: Sequence[str]


class Answer(NamedTuple):
    """What the authority says, and who signs it."""

    key: Path | None
    table: Path | None
    said: Sequence[Judgement]


@click.command("open")
@click.argument("files", nargs=-1, required=True, type=PATH)
@click.option(
    "--identity", required=True, type=PATH, metavar="KEYFILE", help="The authority's secret key (AGE-SECRET-KEY-1…)."
)
@click.option(
    "--reporter",
    "reporters",
    multiple=True,
    metavar="KEYLINE",
    help="The public key of a reporter (NAME+ID+KEY), or a file of them; needed for packages. With it withheld images need their envelope, too.",
)
@click.option("--out", type=PATH, metavar="FILE", help="Write what was sealed to FILE, once all of it is verified.")
@click.option("--html", type=PATH, metavar="FILE", help="Write a page to read and print.")
@click.option("--csv", "table", type=PATH, metavar="FILE", help="Write a table, with columns for verdicts.")
@click.option(
    "--defang", is_flag=True, help="Show links so that no viewer makes links of them: hxxps://images[.]example."
)
@click.option("--verdicts", type=PATH, metavar="FILE", help="Write signed verdicts to FILE.")
@click.option("--key", type=PATH, metavar="KEYFILE", help="The key that signs them, with its .vkey beside it.")
@click.option("--judged", type=PATH, metavar="FILE", help="The table of --csv, with verdicts filled in.")
@click.option("--confirm", multiple=True, metavar="ID", help="Confirm an incident: all findings of it.")
@click.option("--reject", multiple=True, metavar="ID", help="Say that it is not.")
@click.option("--unsure", multiple=True, metavar="ID", help="Say that it cannot be told.")
@click.option("--class", "class_", type=click.Choice([each.value for each in Meaning]), help="Of what --confirm names.")
@click.option(
    "--extract", type=PATH, metavar="DIR", help="Write withheld images to DIR, for whom the law lets hold them."
)
@click.option("--unsafe-may-hold-images", is_flag=True, help="Say so: needed with --extract.")
@papers_options
@config_option
@json_option
def open_bundle_command(
    files: tuple[Path, ...],
    identity: Path,
    reporters: tuple[str, ...],
    out: Path | None,
    html: Path | None,
    table: Path | None,
    verdicts: Path | None,
    key: Path | None,
    judged: Path | None,
    confirm: tuple[str, ...],
    reject: tuple[str, ...],
    unsure: tuple[str, ...],
    class_: str | None,
    extract: Path | None,
    request: Path | None,
    approval: Path | None,
    config: str | None,
    *,
    defang: bool,
    unsafe_may_hold_images: bool,
    json_: bool,
) -> int:
    """Open packages, sealed findings and withheld images, for the authority that they are sealed to. FILES are .age files, or directories of them.

    Works offline, and writes nothing to disk but what you ask for. With --config, that they are opened stands in the record of that site, and two people
    open them where it asks for two. With --json: one line an incident (after its package), a finding or a withheld image.

    Of withheld images (.withheld.age) it says what they are. They are never shown.
    """
    said = [Judgement(name, "confirmed", class_ or "", "--confirm") for name in confirm]
    said += [Judgement(name, "not", "", "--reject") for name in reject]
    said += [Judgement(name, "unsure", "", "--unsure") for name in unsure]
    if verdicts is None and (said or judged or key or class_):
        raise InputError("there is no file to write verdicts to", hint="name it: --verdicts FILE --key KEYFILE")
    images = Extract(extract, unsafe_may_hold_images)
    sealed = sealed_files(files)
    withheld = [path for path in sealed if is_withheld(path)]
    if withheld and (len(withheld) < len(sealed) or any((out, html, table, verdicts))):
        raise InputError(
            "withheld images are opened apart, and told on standard output alone",
            hint="leave out --out, --html, --csv and --verdicts",
        )
    if extract and not withheld:
        raise InputError("there is no withheld image in what was given", hint="they end in .withheld.age")
    if config is not None:
        Office(load_site(config)).unseal(sealed, papers_of(request, approval))
    keys = [key for text in reporters for key in reporter_keys(text)]
    if withheld:
        return open_withheld_files(withheld, read_text(identity), keys, images, json_=json_)
    content = opened(sealed, read_text(identity), keys)
    index = replace(content.index, defang=defang)
    wrote = [
        *write(verdicts, lambda: signed_verdicts(index, Answer(key, judged, said))),  # first: it may be refused
        *write(out, lambda: b"".join(msgspec.json.encode(line) + b"\n" for line in content.lines)),
        *write(html, lambda: html_index(index).encode()),
        *write(table, lambda: csv_index(index).encode()),
    ]
    if json_:
        for line in content.lines:
            as_json(line)
    else:
        shown = summary(index) if wrote else (not defang and content.told) or text_index(index)
        click.echo("\n".join([*shown, *wrote]))
    return ExitCode.FOUND if index.incidents else ExitCode.NOTHING_FOUND


def write(path: Path | None, content: Callable[[], bytes]) -> Iterator[str]:
    """Make a file, if it is asked for: it has its name only when it is whole. Says that it is there."""
    if path is not None:
        replace_file(path, content())
        yield f"wrote {printable(str(path))}"


def signed_verdicts(index: Index, answer: Answer) -> bytes:
    """The file that goes back to the reporter."""
    if answer.key is None:
        raise InputError("verdicts are signed, and no key is given", hint="name it: --key KEYFILE")
    said = [*answer.said, *(judgements_in(read_bytes(answer.table)) if answer.table else ())]
    verdicts = verdicts_on(index.incidents, said)
    return make_verdicts(verdicts, load_signing_key(answer.key), datetime.now(UTC), runs_of(index.incidents, verdicts))


def opened(paths: Sequence[Path], secret: str, keys: Sequence[VerifierKey]) -> Content:
    """What is in the files. Raises InputError where one cannot be opened, or where they do not belong together."""
    packages = [path for path in paths if path.name.endswith(SEALED_SUFFIX)]
    if not packages:
        return opened_bundles(paths, secret)
    if len(packages) < len(paths):
        raise InputError(
            "these are packages and bundles of findings", hint="open them apart: a package ends in .custodes.age"
        )
    return opened_packages(packages, secret, keys)


def opened_packages(paths: Sequence[Path], secret: str, keys: Sequence[VerifierKey]) -> Content:
    """Packages, as incidents: of one that is told twice the later word counts."""
    if not keys:
        raise InputError(
            "whose packages do you take? no key of a reporter is given", hint="name it: --reporter KEYLINE, as the reporter gave it to you"
        )  # fmt: skip
    found = sorted(
        (opened_package(path, secret, keys) for path in paths),
        key=lambda each: datetime.fromisoformat(each.header.about.made_at),
    )
    index = Index(tuple(folded(incident for each in found for incident in each.incidents)), tuple(found))
    if len({each.signer for each in found}) > 1:
        raise InputError("these are packages of several reporters", hint="open them apart: verdicts go back to one")
    if len(index.environments) > 1:
        raise InputError("these are packages of test and of production", hint="open them apart")
    return Content(index, [line for each in found for line in (each.header, *each.incidents)], ())


def opened_package(path: Path, secret: str, keys: Sequence[VerifierKey]) -> Opened:
    """One of them. Raises InputError, naming the file."""
    try:
        return open_package(read_package(path), secret, keys)
    except InputError as error:
        raise InputError(f"{path}: {error}", hint=error.hint) from error


def opened_bundles(paths: Sequence[Path], secret: str) -> Content:
    """Bundles of findings: of one that is told twice, the later."""
    bundles = [opened_file(path, secret) for path in paths]
    told = [finding for _, findings in bundles for finding in findings]
    findings = list({finding.id: finding for finding in told}.values())
    repeats = f" ({len(told) - len(findings)} repeats folded)" if len(told) > len(findings) else ""
    index = Index(tuple(named_by_findings(findings, demo=any(header.demo for header, _ in bundles))))
    lines = [f"{len(findings)} {'finding' if len(findings) == 1 else 'findings'}{repeats}"]
    return Content(index, findings, [*lines, *("\n" + describe(finding) for finding in findings)])


def reporter_keys(text: str) -> list[VerifierKey]:
    """The key of a line, or those of the lines of a file. Raises ConfigError."""
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):  # no file, or no name of one
        lines = [text]
    try:
        return [VerifierKey.parse(line) for line in map(str.strip, lines) if line and not line.startswith("#")]
    except ConfigError as error:
        raise ConfigError(
            f"--reporter: {error}", hint="give the line as the reporter gave it, or a file of such lines"
        ) from error


def read_bytes(path: Path) -> bytes:
    """A file. Raises InputError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def read_text(path: Path) -> str:
    """The identity file. Raises InputError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"the identity file {path} cannot be read", hint="give the file that holds AGE-SECRET-KEY-1…"
        ) from error


def opened_file(path: Path, secret: str) -> tuple[BundleHeader, list[Finding]]:
    """The findings of one sealed file. Raises InputError, naming the file, if it cannot be opened."""
    try:
        return open_bundle(path.read_bytes(), secret)
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
        ("suspicion", suspicion_text(finding.suspicion) if finding.suspicion else ""),
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
