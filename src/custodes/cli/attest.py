"""``custodes attest`` and ``custodes verify``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from custodes.attest.verification import Verdict, verify_card
from custodes.cards import CARD_NAME, Beside, holders_of, statement_of, write_card
from custodes.cli.options import as_json, config_option, config_unused, json_option, printable
from custodes.config import load_site
from custodes.crypto.keys import VerifierKey
from custodes.errors import ExitCode, InputError
from custodes.ledger.run import RunDirectory

__all__ = ["attest", "verify"]

PATH = click.Path(path_type=Path)
CARD_BYTES_MAX = 256 << 20
MARKS = {"passed": "ok    ", "failed": "FAILED", "note": "note  "}


@click.command()
@click.argument("run", type=PATH)
@click.option(
    "--out", type=PATH, default=None, metavar="FILE", help="Where the card is written (default: card.dsse.json in RUN)."
)
@click.option(
    "--cleaned",
    type=PATH,
    default=None,
    metavar="DIR",
    help="The dataset as `custodes clean` wrote it again: the card names each of its files by SHA-256.",
)
@click.option("--sha256", is_flag=True, help="Read the files that were examined in full, and name them by SHA-256 too.")
@config_option
@json_option
def attest(run: Path, out: Path | None, cleaned: Path | None, config: str | None, *, sha256: bool, json_: bool) -> int:
    """Sign a card of RUN: what was examined, with which lists, how it ended, and how much was out of reach. The key to verify it with is written beside it.

    It holds counts; matches of fewer than ten rows are not told as a number.
    """
    site = load_site(config)
    key, run_key = site.signing_key(), site.run_key()
    path = out or run / CARD_NAME
    told = Beside(holders=holders_of(site.lists()), written=cleaned, digested=sha256)
    beside = write_card(statement_of(RunDirectory.open(run, run_key), run_key, told), key, path)
    if json_:
        as_json({"card": str(path), "key": str(beside), "signer": str(key.verifier)})
    else:
        click.echo(f"wrote {printable(str(path))}, signed by {key.verifier.name}")
        click.echo(f"verify it with: custodes verify {printable(str(path))} --key {printable(str(beside))}")
    return ExitCode.NOTHING_FOUND


@click.command()
@click.argument("card", type=PATH)
@click.option(
    "--key",
    "keys",
    multiple=True,
    required=True,
    type=PATH,
    metavar="FILE",
    help="File with the signer's key (NAME+ID+KEY), as the signer gave it to you.",
)
@config_unused
@json_option
def verify(card: Path, keys: tuple[Path, ...], *, json_: bool) -> int:
    """Verify CARD, offline. Each check is told in a line. Exits with 0 if all pass, 2 if one fails."""
    verdict = verify_card(bounded(card), [key for path in keys for key in keys_in(path)])
    if json_:
        as_json(
            {
                "passed": verdict.passed,
                "signer": verdict.signer,
                "checks": [{"name": each.name, "state": each.state, "means": each.means} for each in verdict.checks],
                "statement": msgspec.to_builtins(verdict.statement) if verdict.statement else None,
            }
        )
    else:
        tell(verdict)
    return ExitCode.NOTHING_FOUND if verdict.passed else ExitCode.INPUT


def tell(verdict: Verdict) -> None:
    """Each check, then what the card says."""
    for check in verdict.checks:
        click.echo(f"{MARKS[check.state]}  {check.name:<10}  {printable(check.means)}")
    if verdict.statement is None:
        click.echo("this card is NOT to be believed")
        return
    told = verdict.statement.predicate
    lists = ", ".join(f"{each.id} ({each.version})" for each in told.lists)
    matches = f"{told.matches.rows:,}" if told.matches.rows is not None else f"fewer than {told.matches.below:,}"
    lines = {
        "dataset": told.dataset,
        "rows": f"{told.rows:,}",
        "outcomes": ", ".join(f"{name} {count:,}" for name, count in told.outcomes.items()),
        "lists": lists,
        "passes": ", ".join(told.passes),
        "matches": f"{matches} rows",
    }
    click.echo("")
    for name, text in lines.items():
        click.echo(f"{name:<9} {printable(text)}")
    for sentence in told.limits:
        click.echo(f"  - {printable(sentence)}")


def bounded(path: Path) -> bytes:
    """A file that is not too large. Raises InputError."""
    try:
        with path.open("rb") as file:
            data = file.read(CARD_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > CARD_BYTES_MAX:
        raise InputError(f"{path} is larger than {CARD_BYTES_MAX:,} bytes")
    return data


def keys_in(path: Path) -> list[VerifierKey]:
    """The keys in a file, one a line. Raises ConfigError for one that is malformed or weak."""
    lines = bounded(path).decode("ascii", errors="replace").splitlines()
    return [VerifierKey.parse(line) for line in lines if line.strip() and not line.startswith("#")]
