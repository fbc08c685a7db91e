"""``custodes check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from custodes.carrier.client import Carrier
from custodes.carrier.protocol import Carried
from custodes.cli.main import tell
from custodes.cli.options import as_json, config_option, json_option, printable
from custodes.config import Site, load_site
from custodes.decoding import DecodePolicy
from custodes.errors import ExitCode
from custodes.examine import Evidence, Examiner
from custodes.model import Action, Decision, Outcome, OutcomeName, Reason

if TYPE_CHECKING:  # without --remote there is no use for a client
    from custodes.cli.remote import Remote, Said

__all__ = ["check"]


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path())
@click.option("--list", "list_ids", multiple=True, metavar="ID", help="Only these lists (default: all).")
@click.option(
    "--remote",
    type=click.Choice(["shield"]),
    default=None,
    help="Look up what the lists do not know with a detector at a third party's, as [shield] allows.",
)
@click.option("--unsafe-no-jail", is_flag=True, help="Decode without confinement where the kernel has none.")
@config_option
@json_option
def check(
    files: tuple[str, ...],
    list_ids: tuple[str, ...],
    remote: str | None,
    config: str | None,
    *,
    unsafe_no_jail: bool,
    json_: bool,
) -> int:
    """Compare FILES with the lists and give a verdict for each: match, hold, no known match, or not examined.

    Where nothing is found, exits with 5 if much was not examined, with 3 if a remote detector did not answer, and with 2 if none of FILES could
    be read.
    """
    site = load_site(config)
    site.recipients()
    detector = remote_detector(site) if remote else None
    examiner = site.examiner(site.lists_used(list_ids))
    settings = site.scan_settings(decode_policy=DecodePolicy.EXACT, unsafe_no_jail=unsafe_no_jail)
    with Carrier(settings.carrier_start(readable=files)) as carrier:
        answers = sorted(carrier.read_files(list(enumerate(files))), key=lambda carried: carried.key)
    decisions = {carried.key: decided(carried, examiner) for carried in answers}
    said = ask(detector, [(each, files[each.key]) for each in answers], decisions) if detector else {}
    for carried in answers:
        if carried.key in said:
            signals = decisions[carried.key].signals + said[carried.key].signals()
            decisions[carried.key] = examiner.policy.decide(signals)
        say(files[carried.key], verdict_on(carried, decisions[carried.key], said.get(carried.key)), json_=json_)
    failed = detector is not None and detector.error is not None and tell(detector.error)
    if any(decision.action is not Action.NONE for decision in decisions.values()):
        return ExitCode.FOUND
    return failed or exit_code(answers, said, site.config.scan.unexamined_share_warn)


def remote_detector(site: Site) -> Remote:
    """The detector of ``--remote``."""
    from custodes.cli.remote import connected  # noqa: PLC0415 - a client takes a fifth of a second to import

    return connected(site)


def ask(detector: Remote, files: list[tuple[Carried, str]], decisions: dict[int, Decision]) -> dict[int, Said]:
    """What a remote detector says of the files that the lists gave no reason to act on. Of the others it is never told."""
    return detector.ask([pair for pair in files if decisions[pair[0].key].action is Action.NONE])


def exit_code(answers: list[Carried], said: dict[int, Said], share_warn: float) -> ExitCode:
    """The answer where nothing was found: a file that was not examined is no file without a match."""
    if all(carried.reason is Reason.READ_ERROR for carried in answers):
        return ExitCode.INPUT
    unexamined = sum(
        Outcome(carried.reason).name is not OutcomeName.EXAMINED
        or bool(said.get(carried.key) and said[carried.key].why)
        for carried in answers
    )
    return ExitCode.MUCH_UNEXAMINED if unexamined > share_warn * len(answers) else ExitCode.NOTHING_FOUND


def decided(carried: Carried, examiner: Examiner) -> Decision:
    """What the lists say of one file. One that did not decode is still compared by its exact digests."""
    digests = carried.digests()
    found = examiner.judge(Evidence.from_digests([(0, digests)])) if digests else {}
    return found.get(0) or examiner.policy.decide(())


def verdict_on(carried: Carried, decision: Decision, said: Said | None = None) -> dict[str, Any]:
    """The verdict on one file; unknown is never a match and never clean."""
    outcome = Outcome(carried.reason).name
    verdict: dict[str, Any] = {
        "verdict": name_of(decision, outcome, said),
        "outcome": outcome.value,
        "reason": carried.reason.value,
    }
    if decision.action is not Action.NONE:
        verdict |= {
            "lists": sorted({signal.list_id for signal in decision.signals}),
            "kinds": sorted({signal.kind.value for signal in decision.signals}),
            "rule": decision.rule,
        }
    return verdict | ({"remote": said.document()} if said else {})


def name_of(decision: Decision, outcome: OutcomeName, said: Said | None) -> str:
    """The word for it."""
    if decision.action is not Action.NONE:
        return "match" if decision.action is Action.REPORT else "hold"
    return "no known match" if outcome is OutcomeName.EXAMINED and not (said and said.why) else "not examined"


def say(file: str, verdict: dict[str, Any], *, json_: bool) -> None:
    """One line a file."""
    if json_:
        as_json({"file": file} | verdict)
        return
    more = f" ({', '.join(verdict['lists'])}; {verdict['rule']})" if "lists" in verdict else ""
    why = f" ({verdict['outcome']}: {verdict['reason']})" if verdict["outcome"] != "examined" else ""
    click.echo(f"{printable(file)}: {verdict['verdict']}{more}{why}{remote_words(verdict)}")


def remote_words(verdict: dict[str, Any]) -> str:
    """Which remote detector was asked, whether that was the real one, and what it said."""
    if not (told := verdict.get("remote")):
        return ""
    place = "production" if told["production"] else "not production"
    if told["examined"]:
        return printable(f"; {told['detector']} ({place}): {told['classification']}")
    link = " by" if verdict["outcome"] == "examined" else ", nor by"
    return printable(f"{link} {told['detector']} ({place}): {told['reason']}")
