"""A withheld image on its way to those who open it themselves: the file as the gateway sealed it, and a signed envelope beside it.

What is sealed cannot be opened here, so the envelope says nothing of it: only who reports, in which environment, when, and which file it is. A program that
reads no envelope still opens the file. Format: docs/formats/withheld.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from custodes.crypto.dsse import sign
from custodes.crypto.keys import VerifierKey
from custodes.durable import replace_file
from custodes.errors import InputError
from custodes.handover.outbox import PAYLOAD_BYTES_MAX
from custodes.handover.package import Package, signed_outside
from custodes.handover.parcel import SEALED_SUFFIX, Parcel
from custodes.handover.routes.sending import Sender, check_real
from custodes.handover.words import Environment, text_of

__all__ = [
    "WITHHELD_TYPE",
    "Outside",
    "Sent",
    "check_enclosed",
    "check_envelope",
    "enclosed",
    "envelope_beside",
    "how_to_verify_withheld",
    "save_enclosed",
]

WITHHELD_TYPE: Final = "application/vnd.custodes.withheld+json"
SEALED_BYTES_MAX: Final = PAYLOAD_BYTES_MAX - (1 << 10)
"""So that it fits into an item of the outbox."""
ENVELOPE_SUFFIX: Final = ".withheld.dsse.json"


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed: all that may be known of the file without opening it."""

    format: Literal["custodes-withheld/1"] = "custodes-withheld/1"
    id: str
    reporter: str
    environment: Environment
    made_at: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What an envelope says, and whose signature it bears."""

    outside: Outside
    signer: VerifierKey


def check_enclosed(parcel: Parcel, environment: Environment) -> None:
    """Raises InputError for a demonstration where it would be taken for real, and for a parcel without its sealed file."""
    check_real(parcel, environment)
    if not parcel.sealed:
        raise InputError("the sealed file is not there", hint="restore it to where the gateway sealed it")
    if len(parcel.sealed) > SEALED_BYTES_MAX:
        raise InputError(f"the sealed file has more than {SEALED_BYTES_MAX:,} bytes", hint="hand it over by hand")


def enclosed(parcel: Parcel, environment: Environment, sender: Sender) -> Package:
    """The file as it is, and the envelope for beside it."""
    digest = hashlib.sha256(parcel.sealed).hexdigest()
    outside = Outside(
        id=parcel.id,
        reporter=sender.reporter.name,
        environment=environment,
        made_at=text_of(sender.clock()),
        size_bytes=len(parcel.sealed),
        sha256=digest,
    )
    envelope = sign(WITHHELD_TYPE, msgspec.json.encode(outside), sender.key)
    return Package(parcel.sealed, envelope, (parcel.id,))


def save_enclosed(package: Package, folder: Path, name: str) -> None:
    """Write NAME.withheld.age and NAME.withheld.dsse.json, whole and durable; the sealed file last."""
    replace_file(folder / f"{name}{ENVELOPE_SUFFIX}", package.envelope)
    replace_file(folder / f"{name}{SEALED_SUFFIX}", package.sealed)


def envelope_beside(sealed: Path) -> Path:
    """Where the envelope of a sealed file lies, if it has one."""
    return sealed.with_name(sealed.name.removesuffix(SEALED_SUFFIX) + ENVELOPE_SUFFIX)


def check_envelope(package: Package, reporters: Sequence[VerifierKey]) -> Sent:
    """Who sent this very file. Raises InputError where none of these keys signed the envelope, or where it is another file's."""
    return Sent(*signed_outside(package, reporters, WITHHELD_TYPE, Outside, "docs/formats/withheld.md"))


def how_to_verify_withheld(key: VerifierKey) -> str:
    """In words, for those without this program."""
    return (
        f"NAME{ENVELOPE_SUFFIX} is a DSSE v1 envelope. Check its Ed25519 signature with the key {key}, which you have "
        f"from the reporter by another way. Its payload gives size and SHA-256 of NAME{SEALED_SUFFIX}: compare them before you "
        "decrypt. That file is in the age v1 format. Inside are two lines of JSON; the second holds the image. "
        f"With this program: custodes open NAME{SEALED_SUFFIX} --identity KEYFILE --reporter KEYLINE, which tells what it is and shows no image"
    )
