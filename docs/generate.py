"""Writes the pages of the documentation that the program knows better than we do: commands, configuration, reasons.

Promises that the same program gives the same bytes, whatever the terminal, and that ``--check`` writes nothing. Whole pages are made
anew; in hand-written pages only what stands between ``<!-- generated: NAME -->`` and ``<!-- end -->`` is. Run by ``make docs``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from custodes.authorities.settings import BundleSettings, ListSettings
from custodes.authorities.shield import ShieldSettings
from custodes.cli.main import cli
from custodes.config import Authority, Places, Scan, Signing
from custodes.decoding import ImageLimits
from custodes.gateway.people.settings import ProbingSettings, StrikeSettings, TenantSettings
from custodes.gateway.settings import (
    DetectorSettings,
    EvidenceSettings,
    GatewaySettings,
    RemoteSettings,
    UpstreamSettings,
)
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.routes.settings import CoopSettings, HotlineSettings, WebhookSettings
from custodes.handover.settings import HandoverSettings
from custodes.jurisdictions import PolicySettings
from custodes.lists.checks import ListChecks
from custodes.lists.matcher import MatchSettings
from custodes.model import REASONS
from custodes.net import FetchLimits
from custodes.postgres.settings import DatabaseSettings
from custodes.scan.settings import PACE
from custodes.scan.wording import OUTCOMES, PASSING, REASON_WORDS
from custodes.services.limits import CallLimits
from custodes.serving.settings import ServeSettings, Tenant
from custodes.settings_text import settings_of
from custodes.transparency.settings import LogSettings, WitnessSettings

__all__ = ["commands", "commands_page", "configuration_page", "pages", "reasons_table"]

DOCS: Final = Path(__file__).resolve().parent
NOTE: Final = "<!-- Made by docs/generate.py (make docs). Change the program, not this page. -->"
_BLOCK: Final = r"(<!-- generated: {name} -->\n).*?(<!-- end -->)"


def pages() -> dict[Path, str]:
    """Every page that is generated, in whole or in part, as it should read."""
    reasons = DOCS / "concepts" / "outcomes-and-reasons.md"
    return {
        DOCS / "reference" / "commands.md": commands_page(),
        DOCS / "reference" / "configuration.md": configuration_page(),
        reasons: with_block(reasons.read_text(encoding="utf-8"), "reasons", reasons_table()),
    }


def with_block(text: str, name: str, content: str) -> str:
    """A hand-written page with its generated block made anew."""
    pattern = re.compile(_BLOCK.format(name=re.escape(name)), re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no block <!-- generated: {name} --> to fill")
    return pattern.sub(lambda found: found[1] + content + found[2], text)


def row(*cells: str) -> str:
    """A row of a table; a pipe in a cell would end it."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


# -- commands


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command with its full name, groups before their members."""
    root = click.Context(cli, info_name="custodes", terminal_width=1000, max_content_width=1000)
    yield from below("custodes", cli, root)


def below(
    name: str, command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command, click.Context]]:
    """A command and those under it."""
    yield name, command, context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            inner = click.Context(found, info_name=child, parent=context, terminal_width=1000, max_content_width=1000)
            yield from below(f"{name} {child}", found, inner)


def commands_page() -> str:
    """docs/reference/commands.md."""
    parts = [NOTE, "# Commands", COMMANDS_INTRODUCTION]
    for name, command, context in commands():
        parts += [f"{'#' * min(2 + name.count(' '), 3)} `{name}`", *command_text(command, context)]
    return "\n\n".join(parts) + "\n"


def command_text(command: click.Command, context: click.Context) -> Iterator[str]:
    """Usage, help and options of one command."""
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    for paragraph in (command.help or "").split("\n\n"):
        yield " ".join(paragraph.split())
    records = [param.get_help_record(context) for param in command.get_params(context)]
    lines = [record for record in records if record and record[1] and "--help" not in record[0]]
    if lines:
        yield "\n".join([row("option", "meaning"), "|---|---|", *(row(f"`{names}`", text) for names, text in lines)])


COMMANDS_INTRODUCTION: Final = """\
Answers go to standard output, everything else to standard error. Every command takes `--json` (`hash` answers in JSON in any case).

| exit code | meaning | given by |
|---|---|---|
| 0 | done; nothing found | all |
| 1 | found: at least one finding, match or hold | `scan`, `rematch`, `check`, `open` |
| 2 | your input: arguments, files, lists, configuration, another run's directory | all |
| 3 | the world: disk, network, kernel | all |
| 4 | a bug of ours | all |
| 5 | nothing found, but more than `unexamined_share_warn` of the rows or files was not examined | `scan`, `rematch`, `check` |
| 130 | stopped by you (Ctrl-C); start the same command again to go on | all |

`demo`, `report` and `hash` answer 0 when they did their work, whatever they found, `hash` also for a file that it could not read: look at
the `outcome`. `-h` and `--help` explain every command."""


# -- configuration


def configuration_page() -> str:
    """docs/reference/configuration.md."""
    parts = [NOTE, "# Configuration", CONFIGURATION_INTRODUCTION]
    for heading, struct, text in SECTIONS:
        rows = [
            row(f"`{s.name}`", f"`{s.default}`", s.meaning or MEANINGS.get(f"{heading}.{s.name}", ""))
            for s in settings_of(struct)
        ]
        parts += [f"## `[{heading}]`", text, "\n".join([row("setting", "default", "meaning"), "|---|---|---|", *rows])]
    return "\n\n".join([*parts, FOLDERS_SECTION, ACTIONS_SECTION, MEANING_SECTION, MAPS_SECTION]) + "\n"


MAPS_SECTION: Final = """\
## `[maps.NAME]`

A column map for `lists import --map NAME`: our field in front, the file's column behind it, or `"=TEXT"` for a constant. See
[lists to import](../formats/list-import.md)."""


FOLDERS_SECTION: Final = """\
## `[gateway.upstream.folders]`

Further files that graphs of ComfyUI may load. The keys are ComfyUI's folders, such as `vae`, `controlnet` and `upscale_models`; the values are lists of names
of files."""

ACTIONS_SECTION: Final = """\
## `[policy.actions.STANDING]`

What to do otherwise than the jurisdiction says with matches of one standing: `confirmed`, `unreviewed`, `suspected`, `exploitative` or `ncii`. The settings are
`exact` and `near`, the values `report`, `hold` or `none`. `confirmed` and `unreviewed` are never `none`."""

MEANING_SECTION: Final = """\
## `[meaning.SCHEME]`

What categories of a scheme mean, in addition to the tables that are shipped, or in their place. The keys are categories as the authority writes
them, the values `csam`, `exploitative`, `ncii`, `suspected` or `unmapped`: see [meaning](../concepts/meaning.md)."""


CONFIGURATION_INTRODUCTION: Final = f"""\
One TOML file, `custodes.toml`, written with its comments by `custodes init DIR`. It is found by `--config FILE`, then the environment variable
`CUSTODES_CONFIG`, then in the working directory. `--config` may name the directory. Paths in it are relative to it.

An unknown section or setting is refused; so is a value of the wrong type or out of its range, by its place (`$.fetch.total_timeout_s`).
A file that holds an age secret key anywhere is refused: that key belongs to the authority alone.

A run goes on only with the settings it was started with, except those that change its speed alone: `workers`, and in `[fetch]`
{", ".join(f"`{name}`" for name in PACE)}. `unexamined_share_warn` may change too: it decides nothing about a row."""

SECTIONS: Final[tuple[tuple[str, type[msgspec.Struct], str], ...]] = (
    (
        "authority",
        Authority,
        "To whom findings are sealed. Without a recipient nothing that could find something starts.",
    ),
    ("places", Places, "Where keys, lists and verdicts lie."),
    (
        "signing",
        Signing,
        "The token that holds the signing key, where it does not lie in a file: see [keys](../concepts/keys.md).",
    ),
    ("scan", Scan, "How scans run. `--pass` and `--workers` override it for one command."),
    (
        "database",
        DatabaseSettings,
        "What several machines share: see [PostgreSQL](../guides/postgresql.md).",
    ),
    (
        "fetch",
        FetchLimits,
        "What a server may cost you, and what you may cost a server. Times are in seconds, sizes in bytes.",
    ),
    (
        "image",
        ImageLimits,
        "What one image may cost. Nothing over a limit is decoded further, and the outcome says so.",
    ),
    (
        "lists.LIST",
        ListSettings,
        "A list, where it comes from. See [keep lists up to date](../guides/keep-lists-up-to-date.md) and [authorities](../concepts/authorities.md).",
    ),
    (
        "lists.LIST.checks",
        ListChecks,
        "What a version must look like to come into force by itself, and how old a list may grow: see [how lists change](../concepts/list-updates.md).",
    ),
    ("lists.LIST.calls", CallLimits, "How its service is asked."),
    (
        "lists.LIST.bundle",
        BundleSettings,
        'Where another site publishes it, for `authority = "bundle"`: see [share a list](../guides/share-a-list.md).',
    ),
    (
        "match.LIST",
        MatchSettings,
        "How near is a match, and how much of a dataset may match, for the list with the id LIST. Others have the defaults: for PDQ its published ones.",
    ),
    (
        "policy",
        PolicySettings,
        "What a match leads to: see [meaning](../concepts/meaning.md).",
    ),
    (
        "log",
        LogSettings,
        "Who must have seen this site's transparency log before it is published: see [publish a log](../guides/publish-a-log.md).",
    ),
    ("log.witness", WitnessSettings, "The logs of others that this site witnesses, with `custodes log witness`."),
    (
        "shield",
        ShieldSettings,
        "A detector at a third party's, for `check --remote shield` alone: see [authorities](../concepts/authorities.md#arachnid-shield).",
    ),
    (
        "handover",
        HandoverSettings,
        "Who hands findings over, and what needs two people: see [custody](../concepts/custody.md).",
    ),
    (
        "handover.cybertipline",
        CyberTiplineSettings,
        "Reports to NCMEC: see [CyberTipline](../concepts/cybertipline.md).",
    ),
    (
        "handover.webhook.NAME",
        WebhookSettings,
        "A receiver that takes incidents by HTTP: see [routes](../concepts/routes.md).",
    ),
    (
        "handover.hotline.NAME",
        HotlineSettings,
        "A hotline or police without an API: see [routes](../concepts/routes.md).",
    ),
    (
        "handover.coop",
        CoopSettings,
        "A ROOST Coop of your own: see [routes](../concepts/routes.md).",
    ),
    (
        "serve",
        ServeSettings,
        "The match service: see [serve matches](../guides/serve-matches.md).",
    ),
    (
        "serve.tenants.NAME",
        Tenant,
        "One who may ask the match service; `custodes serve key NAME` makes the section.",
    ),
    (
        "gateway",
        GatewaySettings,
        "The gateway in front of a generator: see [guard a generator](../guides/guard-a-generator.md).",
    ),
    ("gateway.upstream", UpstreamSettings, "The generator. Nobody but the gateway should be able to reach it."),
    (
        "gateway.detectors",
        DetectorSettings,
        "What looks at images beside the lists: see [inspection](../concepts/inspection.md).",
    ),
    (
        "gateway.remote",
        RemoteSettings,
        "Models behind endpoints, asked only about what everything here lets pass: see [the policy](../concepts/gateway-policy.md#models-behind-an-endpoint).",
    ),
    (
        "gateway.evidence",
        EvidenceSettings,
        "What becomes of a withheld image once it is sealed: see [routes](../concepts/routes.md#what-a-gateway-withheld).",
    ),
    (
        "gateway.strikes",
        StrikeSettings,
        "What strikes lead to; how many a refusal counts is the policy's: see [people](../concepts/gateway-people.md#strikes).",
    ),
    (
        "gateway.probing",
        ProbingSettings,
        "Who is refused often is answered later and later: see [people](../concepts/gateway-people.md#probing).",
    ),
    (
        "gateway.tenants.NAME",
        TenantSettings,
        "One who may ask the gateway; `custodes gateway key NAME` makes the section.",
    ),
)

MEANINGS: Final = {
    "authority.recipients": "Public keys (`age1…`) that findings are sealed to; each of them can open all of them.",
    "authority.suspects_max": "Photos like confirmed ones that may wait for a verdict ([budget](../concepts/similar.md#scanning-a-run)); 0: none are wanted.",
    "authority.verifiers": "Keys (`name+id+base64`) that the authority signs its [verdicts](../formats/verdicts.md) with; others' are refused.",
    "authority.demo": "The authority is a throw-away one, made by `init --demo-authority`. Every report says so.",
    "places.keys": "Folder of the key files.",
    "places.lists": "Folder of the encrypted hash lists.",
    "places.verdicts": "Folder of what the authority said of findings, encrypted.",
    "scan.passes": 'Which passes a scan runs: `"columns"` compares the digests that the dataset records, `"bytes"` fetches or reads the images.',
    "scan.decode_policy": '`"fast/2"`: luma only, JPEG at a reduced scale with compensation; `"exact/1"`: full resolution.',
    "scan.workers": "Worker processes; 0: one for each processor.",
    "scan.unexamined_share_warn": "Warn, and exit with 5 if nothing was found, when more than this share (0 to 1) of the rows was not examined.",
}
"""Sections whose settings the program explains in the file that it writes, not beside the field."""


# -- reasons


def reasons_table() -> str:
    """Every reason under its outcome, with its plain meaning and whether --retry may help."""
    parts = []
    for outcome, reasons in REASONS.items():
        rows = [
            row(f"`{reason}`", REASON_WORDS[reason].sentence, "yes" if reason in PASSING else "") for reason in reasons
        ]
        head = [row("reason", "meaning", "may pass"), "|---|---|---|"]
        parts.append("\n".join([f"### {outcome.value}", "", OUTCOMES[outcome], "", *head, *rows, "", ""]))
    return "\n" + "".join(parts)


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` name those that are out of date."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        sys.stderr.writelines(f"{path} is out of date: run make docs\n" for path in stale)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages()[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
