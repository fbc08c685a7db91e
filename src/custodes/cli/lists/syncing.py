"""``custodes lists sync``, ``status`` and ``feedback``: what goes over the network."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import click

from custodes.authorities.base import Authority, Feedback, Page, Verdict
from custodes.authorities.connect import Surroundings, connect
from custodes.authorities.metrics import SyncMetrics
from custodes.authorities.sync import SyncReport, sync
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import Site, load_site
from custodes.errors import ConfigError, CustodesError, ExitCode, InputError
from custodes.model import Kind

__all__ = ["feedback", "status", "sync_lists"]

T = TypeVar("T")


@click.command("sync")
@click.argument("list_ids", nargs=-1, metavar="[ID]…")
@click.option("--every", metavar="TIME", default=None, help="Go on for ever, with this pause: 10m, 1h, 90s.")
@click.option("--afresh", is_flag=True, help="Ask for everything again; what is not named any more is withdrawn.")
@click.option("--metrics", type=click.Path(path_type=Path), default=None, help="Keep metrics for Prometheus in a file.")
@config_option
@json_option
def sync_lists(
    list_ids: tuple[str, ...],
    every: str | None,
    metrics: Path | None,
    config: str | None,
    *,
    afresh: bool,
    json_: bool,
) -> int:
    """Bring lists up to date from their authorities: the ones named, or all that the configuration gives an authority.

    What came before an interruption is kept, and a list changes only when it came whole. One that fails stops no other.
    Exits with 3 if a service failed, with 2 if a version waits for a person.
    """
    site = load_site(config)
    pause_s = seconds(every) if every else None
    chosen = chosen_lists(site, list_ids)
    kept = SyncMetrics()
    while True:
        worst = max(
            (sync_one(site, list_id, kept, afresh=afresh, json_=json_) for list_id in chosen),
            default=ExitCode.NOTHING_FOUND,
        )
        if metrics:
            write_metrics(site, kept, metrics)
        if pause_s is None:
            return worst
        time.sleep(pause_s)


@click.command("status")
@click.argument("list_ids", nargs=-1, metavar="[ID]…")
@config_option
@json_option
def status(list_ids: tuple[str, ...], config: str | None, *, json_: bool) -> None:
    """Ask the services of lists who they take us for: proof that address and credentials are right. Nothing is fetched."""
    site = load_site(config)
    for list_id in chosen_lists(site, list_ids):
        authority = connected(site, list_id)
        said = with_authority(authority, authority.status)
        if json_:
            as_json({"list": list_id, **who(authority), "status": said})
        else:
            click.echo(f"{list_id}  {whose(authority)}: {printable(said)}")


@click.command("feedback")
@click.argument("list_id", metavar="ID")
@click.argument("entry", required=False, metavar="[ENTRY]")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), required=True, help="The kind of the hash.")
@click.option("--confirm", "verdict", flag_value=Verdict.CONFIRM.value, help="The entry is right.")
@click.option("--dispute", "verdict", flag_value=Verdict.DISPUTE.value, help="The entry is wrong.")
@click.option("--reason", default="", metavar="NAME", help="Why it is disputed; without ENTRY, all reasons are shown.")
@config_option
@json_option
def feedback(
    list_id: str, entry: str | None, kind: str, verdict: str | None, reason: str, config: str | None, *, json_: bool
) -> None:
    """Say to a list's authority that its entry ENTRY (its own id, as a finding names it) is right or wrong.

    Without ENTRY: show the reasons that the authority knows for disputing one.
    """
    site = load_site(config)
    authority = connected(site, list_id)
    if entry is None:
        reasons = with_authority(authority, lambda: authority.feedback_reasons(Kind(kind)))
        for name, meaning in reasons.items():
            as_json({"reason": name, "meaning": meaning}) if json_ else click.echo(
                f"{printable(name)}  {printable(meaning)}"
            )
        return
    if verdict is None:
        raise InputError("say what is true of the entry", hint="give --confirm or --dispute")
    value = site.lists().value_of(list_id, entry, Kind(kind))
    said = Feedback(entry, Kind(kind), Verdict(verdict), reason, value)
    with_authority(authority, lambda: authority.give(said))
    if json_:
        as_json({"list": list_id, **who(authority), "verdict": verdict, "given": True})
    else:
        click.echo(f"{list_id}  {whose(authority)}: {verdict} was given")


def chosen_lists(site: Site, list_ids: Sequence[str]) -> list[str]:
    """The lists named, or all with an authority. Raises ConfigError where there is none."""
    chosen = list(list_ids) or [name for name, settings in site.config.lists.items() if settings.authority]
    if not chosen:
        raise ConfigError(
            "no list has an authority to be synced from",
            hint='name one in the configuration: [lists.ID] authority = "ncmec"',
        )
    return chosen


def connected(site: Site, list_id: str) -> Authority:
    """The adapter of a list."""
    around = Surroundings(site.home, site.home / "lists.state", os.environ)
    return connect(list_id, site.list_settings(list_id), around)


def with_authority(authority: Authority, call: Callable[[], Awaitable[T]]) -> T:
    """Call it, and close the connections."""

    async def called() -> T:
        try:
            return await call()
        finally:
            await authority.close()

    return asyncio.run(called())


def sync_one(site: Site, list_id: str, kept: SyncMetrics, *, afresh: bool, json_: bool) -> ExitCode:
    """Sync a list and say what became of it."""
    try:
        authority = connected(site, list_id)
        watch = Progress(list_id, whose(authority))
        report = with_authority(authority, lambda: sync(site.lists(), list_id, authority, watch.page, afresh=afresh))
    except CustodesError as error:
        kept.failed(list_id)
        hint = f" (hint: {error.hint})" if error.hint else ""
        click.echo(f"list {list_id}: {printable(str(error))}{hint}", err=True)
        return error.exit_code
    kept.succeeded(report)
    if json_:
        as_json(report)
    else:
        click.echo(described(report))
    if report.held:
        click.echo(f"hint: custodes lists accept {list_id} {report.version}, or reject", err=True)
    return ExitCode.INPUT if report.held else ExitCode.NOTHING_FOUND


class Progress:
    """Says on a terminal how far a walk is."""

    def __init__(self, list_id: str, whose_: str) -> None:
        self._what = f"{list_id}  {whose_}"
        self._pages = self._records = 0

    def page(self, page: Page) -> None:
        """One more came."""
        self._pages += 1
        self._records += len(page.records)
        if sys.stderr.isatty():
            click.echo(f"\r{self._what}: {self._records:,} records in {self._pages:,} pages", err=True, nl=False)
            if page.checkpoint is not None:
                click.echo(err=True)


def described(report: SyncReport) -> str:
    """A sync in a line or two."""
    where = f"{report.authority} {report.environment}, {'production' if report.production else 'test'}"
    if report.unchanged:
        return f"{report.list}  ({where}) version {report.version} is up to date"
    did = f"{report.added:,} ids added, {report.changed:,} changed, {report.withdrawn:,} withdrawn"
    skipped = ", ".join(f"{count:,} {printable(reason)}" for reason, count in report.skipped.items())
    lines = [f"{report.list}  ({where}) version {report.version}: {did}"]
    lines += [f"  skipped    {skipped}"] if skipped else []
    lines += [f"  held       not in force: {reason}" for reason in report.held]
    return "\n".join(lines)


def who(authority: Authority) -> dict[str, object]:
    """With whom one speaks, for JSON."""
    return {"authority": authority.name, "environment": authority.environment, "production": authority.production}


def whose(authority: Authority) -> str:
    """The same, to be read."""
    return f"({authority.name} {authority.environment}, {'production' if authority.production else 'test'})"


def write_metrics(site: Site, kept: SyncMetrics, path: Path) -> None:
    """The state of all lists, beside what syncs did."""
    summaries = site.lists().show()
    kept.seen(
        summaries,
        {each.list: datetime.fromisoformat(each.confirmed).timestamp() for each in summaries if each.confirmed},
    )
    kept.write(path)


def seconds(text: str) -> float:
    """A pause such as 10m. Raises InputError."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if not match:
        raise InputError(f"{text!r} is not a time", hint="write a number and s, m, h or d: 10m")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
