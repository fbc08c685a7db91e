"""``custodes policy``: what the gateway's rules lead to, and what a change of them would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click

from custodes.cli.lexicon import lexicon
from custodes.cli.options import as_json, config_unused, json_option, printable
from custodes.errors import ExitCode, InputError
from custodes.gateway.rules.deciding import decide, weigh
from custodes.gateway.rules.policy import EMBEDDED, Policy, Rule, load_policy
from custodes.gateway.rules.records import Compared, Differ, compared, fact_of, missed, read_cases, read_records
from custodes.gateway.vocabulary import Fact, Stage, Verdict

__all__ = ["policy"]

PATH = click.Path(path_type=Path)
CASES_BYTES_MAX = 16 << 20
named_policy = click.option(
    "--policy",
    "named",
    default="strict",
    show_default=True,
    metavar="NAME|FILE.toml",
    help=f"The policy: {', '.join(EMBEDDED)}, or a file.",
)


@click.group()
def policy() -> None:
    """Show the gateway's rules, what they make of facts, and what a change of them would change."""


@policy.command()
@named_policy
@config_unused
@json_option
def show(named: str, *, json_: bool) -> int:
    """Show a policy with all that it stands on, and its version."""
    found = load_policy(named)
    if json_:
        as_json({"version": found.version, "switches": sorted(found.switches), "policy": found})
        return ExitCode.NOTHING_FOUND
    for name in ("name", "version", "jurisdiction", "as_of", "source", "keep"):
        click.echo(f"{name:<13} {printable(str(getattr(found, name)))}")
    click.echo(f"{'switches':<13} {', '.join(sorted(found.switches)) or 'none'}")
    click.echo(f"{'harmless':<13} {', '.join(found.harmless) or 'none'}\n")
    for rule in found.rules:
        click.echo(f"{_what(rule):<14} {printable(rule.name)}")
        click.echo(f"{'':<14} {_when(rule)}")
    return ExitCode.NOTHING_FOUND


@policy.command()
@click.argument("facts", nargs=-1, metavar="[FACT]...")
@click.option(
    "--stage",
    "asked_at",
    type=click.Choice([stage.value for stage in Stage]),
    default="input",
    show_default=True,
    help="Of a request, or of an image.",
)
@click.option("--acknowledged", is_flag=True, help="The caller was told, and goes on.")
@named_policy
@config_unused
@json_option
def explain(facts: tuple[str, ...], asked_at: str, named: str, *, acknowledged: bool, json_: bool) -> int:
    """Say what a policy makes of FACTs (context:umbrella, explicit=0.4): which rule decides, and all others that apply."""
    found, stage = load_policy(named), Stage(asked_at)
    given = [fact_of(text, stage) for text in facts]
    verdict = decide(found, given, stage, acknowledged=acknowledged)
    applies = weigh(found, given, stage, acknowledged=acknowledged)
    if json_:
        rules = [{"rule": each.rule, "facts": _names(each.facts)} for each in applies]
        as_json({"policy": found.name, "version": found.version, "verdict": _told(verdict), "applies": rules})
        return ExitCode.NOTHING_FOUND
    click.echo(f"{_in_words(verdict)}, by: {printable(verdict.rule)}")
    for number, each in enumerate(applies):
        why = ", ".join(_names(each.facts))
        click.echo(f"  {'decides' if number == 0 else 'applies'}  {_what(each.rule):<14} {printable(each.rule.name)}")
        click.echo(f"  {'':<7}  {'':<14} because of {printable(why)}")
    return ExitCode.NOTHING_FOUND


@policy.command()
@click.argument("file", type=PATH)
@click.option(
    "--policy", "named", default="", metavar="NAME|FILE.toml", help="The policy (default: the one that FILE names)."
)
@config_unused
@json_option
def test(file: Path, named: str, *, json_: bool) -> int:
    """Test a policy with the cases of FILE. Exits with 0 if all come out as they should, with 1 if one does not."""
    cases = read_cases(_text(file))
    if not named and not cases.policy:
        raise InputError(f"{file} names no policy", hint="name one: --policy strict")
    found = load_policy(named) if named else load_policy(cases.policy, file.parent)
    wrong = list(missed(found, cases.cases))
    if json_:
        as_json({"policy": found.name, "version": found.version, "cases": len(cases.cases), "missed": wrong})
    else:
        for each in wrong:
            click.echo(f"MISSED  {printable(each.name)}")
            for name, (wanted, got) in each.what.items():
                click.echo(f"        {name}: {printable(wanted)} was expected, it is {printable(got)}")
        click.echo(f"{len(cases.cases) - len(wrong):,} of {len(cases.cases):,} cases come out as they should")
    return ExitCode.FOUND if wrong else ExitCode.NOTHING_FOUND


@policy.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option(
    "--records", type=PATH, required=True, metavar="FILE", help="Recorded decisions: names of facts, and verdicts."
)
@config_unused
@json_option
def diff(old: str, new: str, records: Path, *, json_: bool) -> int:
    """Say which recorded decisions the policy NEW would make differently than OLD. Exits with 1 if there are any."""
    before, after = load_policy(old), load_policy(new)
    try:
        with records.open("rb") as lines:
            found = compared(before, after, read_records(lines))
    except OSError as error:
        raise InputError(f"{records} cannot be read: {error.strerror}") from error
    if json_:
        as_json(_diff(before, after, found))
    else:
        for line in _diff_in_words(found):
            click.echo(printable(line))
    return ExitCode.FOUND if found.differ else ExitCode.NOTHING_FOUND


policy.add_command(lexicon)


def _diff(old: Policy, new: Policy, found: Compared) -> dict[str, object]:
    return {
        "old": old.version,
        "new": new.version,
        "records": found.records,
        "counts": _changes(found.differ),
        "differ": [
            {
                "line": each.line,
                "id": each.id,
                "stage": each.stage,
                "facts": each.facts,
                "old": _told(each.old),
                "new": _told(each.new),
            }
            for each in found.differ
        ],
    }


def _diff_in_words(found: Compared) -> list[str]:
    lines = [f"{len(found.differ):,} of {found.records:,} recorded decisions would differ"]
    lines += [f"  {number:>9,}  {change}" for change, number in _changes(found.differ).items()]
    for each in found.differ:
        lines.append(" ".join([f"line {each.line}", each.id, f"{each.stage}:", *each.facts]).replace("  ", " "))
        lines += [f"  {word}  {_in_words(it)}, by: {it.rule}" for word, it in (("old", each.old), ("new", each.new))]
    return lines


def _changes(found: Iterable[Differ]) -> dict[str, int]:
    """How many change from what to what, the most first."""
    return dict(Counter(f"{_in_words(each.old)} -> {_in_words(each.new)}" for each in found).most_common())


def _told(verdict: Verdict) -> dict[str, object]:
    names = ("action", "rule", "grade", "category", "report", "strikes")
    return {name: getattr(verdict, name) for name in names} | {"facts": _names(verdict.facts)}


def _in_words(verdict: Verdict) -> str:
    more = [verdict.grade.value, verdict.category.value] if verdict.grade != "none" else []
    more += ["reported"] if verdict.report else []
    more += [f"{verdict.strikes} strikes"] if verdict.strikes else []
    return " ".join([verdict.action.value, *([f"({', '.join(more)})"] if more else [])])


def _what(rule: Rule) -> str:
    return f"{rule.action} {rule.grade}" if rule.stops else rule.action.value


def _when(rule: Rule) -> str:
    asked = [f"{fact} >= {rule.least[fact]:g}" if fact in rule.least else fact for fact in rule.when]
    without = [f"without {fact}" for fact in rule.unless]
    more = [word for word in ("report", "acknowledge") if getattr(rule, word)]
    more += [f"strikes {rule.strikes}"] if rule.strikes else []
    more += [f"switch {rule.switch}"] if rule.switch else []
    where = [f"{rule.stage} only"] if rule.stage != "any" else []
    return printable("; ".join([" and ".join([*asked, *without]), *where, *more]))


def _names(facts: Iterable[Fact]) -> list[str]:
    return [fact.name if fact.score is None else f"{fact.name}={fact.score:g}" for fact in facts]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(CASES_BYTES_MAX + 1)
        if len(data) > CASES_BYTES_MAX:
            raise InputError(f"{path} is longer than {CASES_BYTES_MAX} bytes")
        return data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8") from error
