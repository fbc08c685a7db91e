"""``custodes verify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from custodes.attest.gateway import GatewayPeriod, GatewaySealed, GatewayVerdict, Told
from custodes.attest.keyring import TrustedKey
from custodes.attest.statement import Examination
from custodes.attest.verification import Verdict
from custodes.cli.inputs import bounded, keys_in
from custodes.cli.options import as_json, config_unused, json_option, printable
from custodes.errors import ConfigError, ExitCode
from custodes.logged import Evidence, default_memory
from custodes.verifying import Around, trusted_of, verify_with

__all__ = ["verify"]

PATH = click.Path(path_type=Path)
MARKS = {"passed": "ok    ", "failed": "FAILED", "note": "note  "}


@click.command()
@click.argument("card", type=PATH)
@click.option(
    "--key",
    "keys",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="File with the signer's key (NAME+ID+KEY), as the signer gave it to you.",
)
@click.option(
    "--policy", type=PATH, default=None, metavar="FILE", help="TOML: whose keys you trust, and what a card must say."
)
@click.option(
    "--statements",
    multiple=True,
    type=PATH,
    metavar="FILE",
    help="What the signer states of its keys: that one succeeds another, or is revoked (*.key.dsse.json).",
)
@click.option(
    "--proof", type=PATH, default=None, metavar="FILE", help="Proof that the card is in a log (*.tlog-proof)."
)
@click.option("--log", "log", default="", metavar="URL|DIR", help="The log that the card is in. Asks the network.")
@click.option(
    "--memory",
    type=PATH,
    default=None,
    metavar="DIR",
    help="Where is kept what was seen of logs (default: custodes/logs in $XDG_STATE_HOME or ~/.local/state).",
)
@click.option(
    "--dataset",
    default="",
    metavar="PATH",
    help="The dataset, as examined or as cleaned: each of its files is compared.",
)
@config_unused
@json_option
def verify(
    card: Path,
    keys: tuple[Path, ...],
    policy: Path | None,
    statements: tuple[Path, ...],
    proof: Path | None,
    log: str,
    memory: Path | None,
    dataset: str,
    *,
    json_: bool,
) -> int:
    """Verify CARD, of a run or of a gateway, offline unless a log is to be asked. Each check is told in a line. Exits with 0 if all pass, 2 if one fails."""
    if not keys and policy is None:
        raise ConfigError(
            "there is no key to verify a card with",
            hint="give --key FILE or --policy FILE, with the signer's key as you got it by a way that you trust",
        )
    given = [TrustedKey(key) for path in keys for key in keys_in(path)]
    trusted = trusted_of(given, policy, [bounded(path) for path in statements])
    evidence = Evidence(log, bounded(proof) if proof else None) if log or proof else None
    around = Around(evidence=evidence, memory=memory or default_memory(), dataset=dataset)
    verdict = verify_with(bounded(card), trusted, around)
    (in_json if json_ else tell)(verdict)
    return ExitCode.NOTHING_FOUND if verdict.passed else ExitCode.INPUT


def in_json(verdict: Verdict | GatewayVerdict) -> None:
    """The same for a program. ``statement`` is null unless every check passed."""
    as_json(
        {
            "passed": verdict.passed,
            "signer": verdict.key.name if verdict.key else "",
            "checks": [{"name": each.name, "state": each.state, "means": each.means} for each in verdict.checks],
            "statement": msgspec.to_builtins(verdict.statement) if verdict.statement else None,
        }
    )


def tell(verdict: Verdict | GatewayVerdict) -> None:
    """Each check, then what the card says."""
    for check in verdict.checks:
        click.echo(f"{MARKS[check.state]}  {check.name:<10}  {printable(check.means)}")
    if verdict.statement is None:
        click.echo(_refused([check.name for check in verdict.checks if check.state == "failed"]))
        return
    told = verdict.statement.predicate
    click.echo("")
    for name, text in (_examined(told) if isinstance(told, Examination) else _guarded(told)).items():
        click.echo(f"{name:<9} {printable(text)}")
    for sentence in told.limits:
        click.echo(f"  - {printable(sentence)}")


def _examined(told: Examination) -> dict[str, str]:
    """What a run's card says, in lines."""
    matches = f"{told.matches.rows:,}" if told.matches.rows is not None else f"fewer than {told.matches.below:,}"
    return {
        "dataset": told.dataset,
        "rows": f"{told.rows:,}",
        "outcomes": ", ".join(f"{name} {count:,}" for name, count in told.outcomes.items()),
        "lists": ", ".join(f"{each.id} ({each.version})" for each in told.lists),
        "passes": ", ".join(told.passes),
        "matches": f"{matches} rows",
    }


def _guarded(told: GatewayPeriod) -> dict[str, str]:
    """What a gateway's card says."""
    sorts = [
        f"{each.stage} {' '.join(word for word in (each.action, each.grade, each.category) if word not in ('none', ''))}"
        f" {_count(each.decisions)}"
        for each in told.decisions
    ]
    people = ("strikes", "warnings", "suspensions", "appeals", "overturned")
    shares = [f"{each.of} {each.value:.4f} of {each.on:,} ({each.what})" for each in told.measured]
    return {
        "gateway": told.gateway,
        "period": f"{told.first} to {told.last}",
        "decisions": ", ".join(sorts) or "none",
        "people": ", ".join(f"{name} {_count(getattr(told, name))}" for name in people),
        **({} if told.withheld is msgspec.UNSET else {"withheld": _sealed(told.withheld)}),
        "lists": ", ".join(f"{each.id} ({each.version})" for each in told.lists),
        "checks": ", ".join(f"{each.name} ({each.version})" for each in told.checks),
        "measured": ", ".join(shares) or "nothing",
    }


def _sealed(told: GatewaySealed) -> str:
    return (
        f"sealed {_count(told.sealed)}, received by an authority {_count(told.received)}, unsent {_count(told.unsent)}"
    )


def _count(told: Told) -> str:
    return f"{told.count:,}" if told.count is not None else f"fewer than {told.below:,}"


def _refused(failed: Sequence[str]) -> str:
    if set(failed) == {"dataset"}:
        return "this card is NOT about the files at that place"
    return "this card is NOT to be believed"
