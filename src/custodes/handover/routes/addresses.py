"""A list of Internet addresses alone, sealed: for a form that takes nothing else, as the law of some countries has it.

What is sealed says who reports, so that nobody else can put their name to it; the envelope outside says whose file it is. Any age program opens it.
Format: docs/formats/addresses.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from custodes.crypto.dsse import sign
from custodes.crypto.seal import Recipient, seal
from custodes.durable import replace_file
from custodes.errors import InputError
from custodes.handover.incident import Incident
from custodes.handover.index_page import visible
from custodes.handover.package import PLAIN_BYTES_MIN, Package
from custodes.handover.routes.sending import Sender
from custodes.handover.words import Environment, text_of
from custodes.url import normalise

__all__ = ["ADDRESSES_TYPE", "addresses_of", "addresses_text", "save_addresses", "sealed_addresses"]

ADDRESSES_TYPE: Final = "application/vnd.custodes.addresses+json"
FORMAT: Final = "custodes-addresses/1"
SEALED_SUFFIX: Final = ".addresses.age"
ENVELOPE_SUFFIX: Final = ".addresses.dsse.json"
_WEB: Final = ("http://", "https://")


class _Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed: all that may be known of the file without opening it."""

    format: Literal["custodes-addresses/1"] = FORMAT
    reporter: str
    environment: Environment
    made_at: str
    size_bytes: int
    sha256: str


def addresses_of(incident: Incident) -> list[str]:
    """Web addresses in canonical form, each once. Raises InputError where there is none."""
    links = (link for place in incident.places for link in (place.url, place.final_url if place.seen else "") if link)
    found = dict.fromkeys(address for link in links if (address := normalise(link)) and address.startswith(_WEB))
    if not found:
        raise InputError("no place of the incident has a web address", hint='hand it over with form = "package"')
    return list(found)


def addresses_text(incident: Incident, environment: Environment, sender: Sender, now: datetime) -> str:
    """What is sealed: lines of who and when, each with # before it, then one address a line. Raises InputError."""
    lines = [
        f"# {FORMAT}, environment {environment}",
        f"# reported by {visible(sender.reporter.name)}, {visible(sender.reporter.contact)}",
        f"# signed by {sender.key.verifier}",
        f"# reference {incident.id}, made {text_of(now)}",
        "# Found by automatic comparison of hash values. No person viewed what is at these addresses.",
        *addresses_of(incident),
    ]
    return "".join(f"{line}\n" for line in lines)


def sealed_addresses(
    incident: Incident, recipients: Sequence[Recipient], environment: Environment, sender: Sender
) -> Package:
    """The list, sealed, and the envelope for beside it. Empty lines fill it up, so that its length tells little."""
    now = sender.clock()
    plain = addresses_text(incident, environment, sender, now).encode()
    room = max(PLAIN_BYTES_MIN, 1 << (len(plain) - 1).bit_length())
    sealed = seal(plain.ljust(room, b"\n"), recipients)
    outside = _Outside(
        reporter=sender.reporter.name,
        environment=environment,
        made_at=text_of(now),
        size_bytes=len(sealed),
        sha256=hashlib.sha256(sealed).hexdigest(),
    )
    return Package(sealed, sign(ADDRESSES_TYPE, msgspec.json.encode(outside), sender.key))


def save_addresses(package: Package, folder: Path, name: str) -> tuple[Path, Path]:
    """Write NAME.addresses.age and NAME.addresses.dsse.json, whole and durable; the sealed file last."""
    sealed, envelope = folder / f"{name}{SEALED_SUFFIX}", folder / f"{name}{ENVELOPE_SUFFIX}"
    replace_file(envelope, package.envelope)
    replace_file(sealed, package.sealed)
    return sealed, envelope
