"""The configuration explained, from the settings themselves: the commented file that ``init`` writes and the reference page.

Every setting says its meaning in the docstring below it (PEP 257 attribute docstrings) or in the comment behind it; nothing is written twice.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from custodes.authorities.settings import ListSettings
from custodes.authorities.shield import ShieldSettings
from custodes.decoding import ImageLimits
from custodes.gateway.people.settings import ProbingSettings, StrikeSettings
from custodes.gateway.settings import (
    DetectorSettings,
    EvidenceSettings,
    GatewaySettings,
    RemoteSettings,
    UpstreamSettings,
)
from custodes.handover.cybertipline.settings import CyberTiplineSettings
from custodes.handover.settings import HandoverSettings
from custodes.jurisdictions import PolicySettings
from custodes.lists.checks import ListChecks
from custodes.lists.matcher import MatchSettings
from custodes.net import FetchLimits
from custodes.postgres.settings import DatabaseSettings
from custodes.services.limits import CallLimits
from custodes.serving.settings import ServeSettings
from custodes.transparency.settings import LogSettings, WitnessSettings

__all__ = ["Setting", "configuration_text", "settings_of"]

_FIELD: Final = re.compile(r"^    (?P<name>[a-z][a-z0-9_]*): [^#\n]*?(?:#\s*(?P<comment>.*))?$")


@dataclass(frozen=True)
class Setting:
    """One setting: its name, its default as TOML, what it means."""

    name: str
    default: str
    meaning: str


def settings_of(struct: type[msgspec.Struct]) -> Iterator[Setting]:
    """The settings of a section, in order."""
    meanings = meanings_of(struct)
    for field in msgspec.structs.fields(struct):
        if field.default_factory is dict:  # sections of their own
            continue
        if field.required:
            yield Setting(field.name, "(none)", meanings.get(field.name, ""))
            continue
        default = field.default if field.default is not msgspec.NODEFAULT else None
        if default is None and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if default is None or isinstance(default, msgspec.Struct):  # sections of their own, too
            continue
        yield Setting(field.name, toml(default), meanings.get(field.name, ""))


def meanings_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The comment or attribute docstring of each field, read from the source."""
    meanings: dict[str, str] = {}
    lines = inspect.getsource(struct).splitlines()
    for number, line in enumerate(lines):
        if not (match := _FIELD.match(line)):
            continue
        following = "\n".join(lines[number + 1 : number + 8]).lstrip()
        text = match["comment"] or ""
        if following.startswith('"""'):
            text = following.split('"""')[1]
        meanings[match["name"]] = " ".join(text.split())
    return meanings


def toml(value: Any) -> str:
    """A default as it is written in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + value + '"'
    return f"{value:_}" if isinstance(value, int) and value >= 100_000 else str(value)


def commented(struct: type[msgspec.Struct]) -> str:
    """The settings of a section as comments that only need their # removed."""
    return "\n".join(f"# {setting.meaning}\n#{setting.name} = {setting.default}" for setting in settings_of(struct))


def configuration_text(recipients: list[str], *, demo: bool) -> str:
    """The file that ``custodes init`` writes."""
    quoted = ", ".join(f'"{recipient}"' for recipient in recipients)
    return TEMPLATE.format(
        recipients=quoted,
        demo=str(demo).lower(),
        database=commented(DatabaseSettings),
        fetch=commented(FetchLimits),
        image=commented(ImageLimits),
        lists=commented(ListSettings),
        checks=commented(ListChecks),
        calls=commented(CallLimits),
        match=commented(MatchSettings),
        policy=commented(PolicySettings),
        handover=commented(HandoverSettings),
        cybertipline=commented(CyberTiplineSettings),
        serve=commented(ServeSettings),
        log=commented(LogSettings),
        witness=commented(WitnessSettings),
        shield=commented(ShieldSettings),
        gateway=commented(GatewaySettings),
        upstream=commented(UpstreamSettings),
        detectors=commented(DetectorSettings),
        remote=commented(RemoteSettings),
        evidence=commented(EvidenceSettings),
        strikes=commented(StrikeSettings),
        probing=commented(ProbingSettings),
    )


TEMPLATE: Final = """\
# custodes configuration. Paths are relative to this file. Every commented setting shows its default.

[authority]
# Public keys (age1…) of the authority that findings are sealed to. Without one, nothing that could find something starts.
# A private key never belongs here: custodes refuses it.
recipients = [{recipients}]
# Keys (name+id+base64) that the authority signs its verdicts with. Only what one of them signed is imported (docs/formats/verdicts.md).
#verifiers = []
# Photos that look like confirmed ones, and wait for the authority's verdict, at most: so many can it judge. 0: it wants none.
suspects_max = 1000
# A throw-away authority made by `custodes init --demo-authority`, for trying things out; every report says so.
demo = {demo}

[places]
keys = "keys"
lists = "lists"
#verdicts = "verdicts"

# [signing]: the token (PKCS #11) with the key that this site signs with; left out, the key is signing.key among the keys (docs/concepts/keys.md).
#[signing]
#pkcs11_module = "/usr/lib/softhsm/libsofthsm2.so"
#token = "custodes"
#key = "signing"
#pin = "keys/token.pin"
#name = "custodes"

[scan]
# Which passes a scan runs: "columns" compares the dataset's own digests (no network), "bytes" fetches or reads the images.
#passes = ["columns", "bytes"]
# "fast/2": luma only, JPEG decoded at a reduced scale with compensation; "exact/1": full resolution, as the PDQ reference.
#decode_policy = "fast/2"
# Worker processes; 0: one for each processor.
#workers = 0
# Warn, and exit with 5 if nothing was found, when more than this share of the rows was not examined.
#unexamined_share_warn = 0.5

# [database]: what several machines share; left out, all is in files (docs/guides/postgresql.md).
[database]
{database}

[fetch]
{fetch}

[image]
{image}

# A list, where it comes from and how its versions are judged: replace LIST by its id (docs/guides/keep-lists-up-to-date.md).
#[lists.LIST]
{lists}
#[lists.LIST.checks]
{checks}
#[lists.LIST.calls]
{calls}

# Matching, for each list: replace LIST by its id.
#[match.LIST]
{match}

[policy]
{policy}
# Other actions than the jurisdiction's: report, hold or none, for each standing (docs/concepts/meaning.md).
#[policy.actions.unreviewed]
#exact = "hold"
#near = "hold"

# What categories mean, for each scheme (docs/concepts/meaning.md): csam, exploitative, ncii, suspected or unmapped. A category that no table
# names is unmapped: its matches are held.
#[meaning.SCHEME]
#"CATEGORY" = "suspected"

# Who hands findings over, and what needs two people (docs/concepts/custody.md). Other routes: docs/concepts/routes.md.
[handover]
{handover}

# Reports to NCMEC's CyberTipline (docs/concepts/cybertipline.md). Credentials stand in a file of their own.
[handover.cybertipline]
{cybertipline}

# The match service (docs/guides/serve-matches.md). `custodes serve key NAME` makes the section of a tenant, [serve.tenants.NAME].
[serve]
{serve}

# Who must have seen this site's transparency log before it is published (docs/guides/publish-a-log.md).
[log]
{log}

# The logs of others that this site witnesses, with `custodes log witness`.
[log.witness]
{witness}

# A detector at a third party's, for `custodes check --remote shield` alone (docs/concepts/authorities.md).
[shield]
{shield}

# The gateway, and the generator behind it (docs/guides/guard-a-generator.md). `custodes gateway key NAME` makes the section of a tenant,
# [gateway.tenants.NAME]. This section and those below it stand last.
[gateway]
{gateway}

[gateway.upstream]
{upstream}
# Further files that graphs of ComfyUI may load, by its folders.
#[gateway.upstream.folders]
#vae = ["NAME.safetensors"]

[gateway.detectors]
{detectors}

[gateway.remote]
{remote}

[gateway.evidence]
{evidence}

[gateway.strikes]
{strikes}

[gateway.probing]
{probing}
"""
