"""``custodes check``."""

from __future__ import annotations

from typing import Any

import click

from custodes.carrier.client import Carrier
from custodes.carrier.protocol import Carried
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import load_site
from custodes.decoding import DecodePolicy
from custodes.errors import ExitCode
from custodes.examine import Evidence, Examiner
from custodes.model import Action, Decision, Outcome, OutcomeName, Reason

__all__ = ["check"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--list", "list_ids", multiple=True, metavar="ID", help="Only these lists (default: all).")
@click.option("--unsafe-no-jail", is_flag=True, help="Decode without confinement where the kernel has none.")
@config_option
@json_option
def check(
    files: tuple[str, ...], list_ids: tuple[str, ...], config: str | None, *, unsafe_no_jail: bool, json_: bool
) -> int:
    """Compare FILES with the lists and give a verdict for each: match, hold, no known match, or not examined.

    Where nothing is found, exits with 5 if much was not examined, and with 2 if none of FILES could be read.
    """
    site = load_site(config)
    site.recipients()
    examiner = site.examiner(site.lists_used(list_ids))
    settings = site.scan_settings(decode_policy=DecodePolicy.EXACT, unsafe_no_jail=unsafe_no_jail)
    with Carrier(settings.carrier_start(readable=files)) as carrier:
        answers = sorted(carrier.read_files(list(enumerate(files))), key=lambda carried: carried.key)
    found = False
    for carried in answers:
        verdict = judge(carried, examiner)
        found = found or verdict["verdict"] in ("match", "hold")
        say(files[carried.key], verdict, json_=json_)
    return ExitCode.FOUND if found else exit_code(answers, site.config.scan.unexamined_share_warn)


def exit_code(answers: list[Carried], share_warn: float) -> ExitCode:
    """The answer where nothing was found: a file that was not examined is no file without a match."""
    if all(carried.reason is Reason.READ_ERROR for carried in answers):
        return ExitCode.INPUT
    unexamined = sum(Outcome(carried.reason).name is not OutcomeName.EXAMINED for carried in answers)
    return ExitCode.MUCH_UNEXAMINED if unexamined > share_warn * len(answers) else ExitCode.NOTHING_FOUND


def judge(carried: Carried, examiner: Examiner) -> dict[str, Any]:
    """The verdict on one file. A file that did not decode is still compared by its exact digests; unknown is never a match and never clean."""
    outcome = Outcome(carried.reason).name
    digests = carried.digests()
    decision = examiner.judge(Evidence.from_digests([(0, digests)])).get(0) if digests else None
    verdict = {"verdict": name_of(decision, outcome), "outcome": outcome.value, "reason": carried.reason.value}
    if decision is None or decision.action is Action.NONE:
        return verdict
    lists = sorted({signal.list_id for signal in decision.signals})
    return verdict | {
        "lists": lists,
        "kinds": sorted({signal.kind.value for signal in decision.signals}),
        "rule": decision.rule,
    }


def name_of(decision: Decision | None, outcome: OutcomeName) -> str:
    """The word for it."""
    if decision is not None and decision.action is not Action.NONE:
        return "match" if decision.action is Action.REPORT else "hold"
    return "no known match" if outcome is OutcomeName.EXAMINED else "not examined"


def say(file: str, verdict: dict[str, Any], *, json_: bool) -> None:
    """One line a file."""
    if json_:
        as_json({"file": file} | verdict)
        return
    more = f" ({', '.join(verdict['lists'])}; {verdict['rule']})" if "lists" in verdict else ""
    why = f" ({verdict['outcome']}: {verdict['reason']})" if verdict["outcome"] != "examined" else ""
    click.echo(f"{printable(file)}: {verdict['verdict']}{more}{why}")
