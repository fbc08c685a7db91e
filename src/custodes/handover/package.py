"""Packages: incidents sealed to authorities, signed outside (so that a stranger's file is never decrypted) and inside (so that who reports is sealed too).

Promises that what ``open_package`` gives is whole, was meant for who opens it, and was signed by one trusted key at both places; and that no package
is larger than its limits, however many places an incident has. Where packages are kept and how they travel is for others. Format: docs/formats/package.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from custodes.crypto.dsse import sign, verify
from custodes.crypto.keys import Signer, VerifierKey
from custodes.crypto.seal import Recipient, recipients_of, seal, unseal
from custodes.durable import replace_file
from custodes.errors import InputError
from custodes.handover.incident import Incident, folded
from custodes.handover.words import Environment

__all__ = [
    "ENVELOPE_SUFFIX",
    "SEALED_SUFFIX",
    "About",
    "Header",
    "ListVersion",
    "Opened",
    "Package",
    "PackageLimits",
    "Reporter",
    "how_to_verify",
    "make_packages",
    "open_package",
    "read_package",
    "save_package",
    "signed_outside",
]

SEALED_SUFFIX: Final = ".custodes.age"
ENVELOPE_SUFFIX: Final = ".custodes.dsse.json"
OUTSIDE_TYPE: Final = "application/vnd.custodes.package+json"
INSIDE_TYPE: Final = "application/vnd.custodes.package-header+json"
PLAIN_BYTES_MIN: Final = 4096
SEALED_BYTES_MAX: Final = 256 << 20

Format = Literal["custodes-package/1"]


class Reporter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who reports, in words, and how to reach them. Whose key signed is what can be relied on."""

    name: str
    contact: str

    def __post_init__(self) -> None:
        if not self.name or not self.contact:
            raise ValueError("a reporter has a name and a contact")


class ListVersion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list that was compared with, in the version that was used."""

    list: str
    version: str


class About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a reporter says of a package, beside its incidents."""

    reporter: Reporter
    environment: Environment
    made_at: str
    tool: str
    runs: tuple[str, ...]
    datasets: tuple[str, ...]
    lists: tuple[ListVersion, ...]

    def __post_init__(self) -> None:
        if datetime.fromisoformat(self.made_at).tzinfo is None:
            raise ValueError("made_at is no time with its offset from UTC")


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed inside. ``recipients``: to whom it was sealed, so that none of them can pass it on as if it had been sealed to another."""

    format: Format
    about: About
    recipients: tuple[str, ...]
    part: int
    parts: int
    incidents: int
    body_bytes: int
    body_sha256: str
    how_to_verify: str


class _NamesFile(Protocol):
    """A payload that names the sealed file which it lies beside."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def sha256(self) -> str: ...


T = TypeVar("T", bound=_NamesFile)


class Outside(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is signed outside: all that may be known of a package without opening it."""

    format: Format
    reporter: str
    environment: Environment
    made_at: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PackageLimits:
    """How much one package holds. ``body_bytes_max`` counts the incidents as they are before padding."""

    incidents_max: int = 10_000
    body_bytes_max: int = 48 << 20


@dataclass(frozen=True, slots=True, repr=False)
class Package:
    """A sealed file and the envelope that belongs beside it. ``sha256``, in hex, names the sealed file; ``incidents``: what is in it, where that is known."""

    sealed: bytes
    envelope: bytes
    incidents: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Of the sealed file: what a record of its way refers to."""
        return hashlib.sha256(self.sealed).hexdigest()


class Opened(NamedTuple):
    """What a package held, and whose key signed it."""

    header: Header
    incidents: list[Incident]
    signer: VerifierKey


class _Named(msgspec.Struct):
    id: str


def make_packages(
    incidents: Iterable[Incident],
    about: About,
    recipients: Sequence[Recipient],
    key: Signer,
    limits: PackageLimits = PackageLimits(),
) -> list[Package]:
    """As many packages as the limits ask for. Raises InputError where there is nothing to hand over."""
    bodies = list(_bodies(incidents, limits))
    if not bodies:
        raise InputError("there is no incident to hand over")
    packages = []
    for number, lines in enumerate(bodies, 1):
        body = b"".join(lines)
        header = Header(
            format="custodes-package/1",
            about=about,
            recipients=tuple(str(recipient) for recipient in recipients),
            part=number,
            parts=len(bodies),
            incidents=len(lines),
            body_bytes=len(body),
            body_sha256=hashlib.sha256(body).hexdigest(),
            how_to_verify=how_to_verify(key.verifier),
        )
        named = sorted({msgspec.json.decode(line, type=_Named).id for line in lines})
        packages.append(replace(_package(header, body, recipients, key), incidents=tuple(named)))
    return packages


def _package(header: Header, body: bytes, recipients: Sequence[Recipient], key: Signer) -> Package:
    plain = sign(INSIDE_TYPE, msgspec.json.encode(header), key) + b"\n" + body
    room = max(PLAIN_BYTES_MIN, 1 << (len(plain) - 1).bit_length())
    sealed = seal(plain.ljust(room, b" "), recipients)
    outside = Outside(
        format=header.format,
        reporter=header.about.reporter.name,
        environment=header.about.environment,
        made_at=header.about.made_at,
        size_bytes=len(sealed),
        sha256=hashlib.sha256(sealed).hexdigest(),
    )
    return Package(sealed, sign(OUTSIDE_TYPE, msgspec.json.encode(outside), key))


def _bodies(incidents: Iterable[Incident], limits: PackageLimits) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    size_bytes = 0
    for incident in incidents:
        for line in _portions(incident, limits.body_bytes_max):
            if lines and (len(lines) == limits.incidents_max or size_bytes + len(line) > limits.body_bytes_max):
                yield lines
                lines, size_bytes = [], 0
            lines.append(line)
            size_bytes += len(line)
    if lines:
        yield lines


def _portions(incident: Incident, bytes_max: int) -> Iterator[bytes]:
    """The incident as a line; one with more places than fit as several, which ``folded`` puts together again."""
    line = msgspec.json.encode(incident) + b"\n"
    if len(line) <= bytes_max:
        yield line
        return
    half = len(incident.places) // 2
    if not half:
        raise InputError(
            f"one place of an incident takes more than the {bytes_max:,} bytes that a package may hold",
            hint="allow larger packages",
        )
    for places in (incident.places[:half], incident.places[half:]):
        yield from _portions(msgspec.structs.replace(incident, places=places), bytes_max)


def save_package(package: Package, folder: Path, name: str) -> tuple[Path, Path]:
    """Write NAME.custodes.age and NAME.custodes.dsse.json, whole and durable; the sealed file last, so that none stands without its envelope."""
    sealed, envelope = folder / f"{name}{SEALED_SUFFIX}", folder / f"{name}{ENVELOPE_SUFFIX}"
    replace_file(envelope, package.envelope)
    replace_file(sealed, package.sealed)
    return sealed, envelope


def read_package(sealed: Path) -> Package:
    """The package whose sealed file this is, with its envelope from beside it. Raises InputError where either is absent or too long."""
    beside = sealed.with_name(sealed.name.removesuffix(SEALED_SUFFIX) + ENVELOPE_SUFFIX)
    return Package(
        _bounded(sealed, "a package is two files"), _bounded(beside, "a package is two files: get the envelope too")
    )


def _bounded(path: Path, hint: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(SEALED_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    if len(data) > SEALED_BYTES_MAX:
        raise InputError(f"{path} has more than {SEALED_BYTES_MAX:,} bytes, more than a package can have")
    return data


def how_to_verify(key: VerifierKey) -> str:
    """In words, for those without this program; for a cover sheet too."""
    return (
        f"NAME{ENVELOPE_SUFFIX} is a DSSE v1 envelope. Check its Ed25519 signature with the key {key}, which you have "
        f"from the reporter by another way. Its payload gives size and SHA-256 of NAME{SEALED_SUFFIX}: compare them before you "
        "decrypt. That file is in the age v1 format. Inside, the first line is a DSSE envelope of the same key; its payload "
        "gives size and SHA-256 of the lines that follow, without the spaces at the end. "
        f"With this program: custodes open NAME{SEALED_SUFFIX} --identity KEYFILE --reporter KEYLINE"
    )


def open_package(package: Package, identity: str, reporters: Sequence[VerifierKey]) -> Opened:
    """Verify, decrypt and verify again, in memory and whole. Raises InputError at the first step that fails; then nothing is given out."""
    # 1. Outside: a trusted key signed this very ciphertext. Nothing is decrypted before.
    outside, signer = _outside(package, reporters)
    # 2. Decryption: age checks every byte to the end.
    head, _, body = unseal(package.sealed, identity).rstrip(b" ").partition(b"\n")
    # 3. Inside: the same key signed the header, and the header names this body and whoever opens it.
    header = _header(head, signer)
    _check_same(header, outside)
    if not set(header.recipients) & set(recipients_of(identity)):
        raise InputError(
            "the package was signed for other recipients, and then sealed to this one by somebody else",
            hint="do not rely on it; tell the reporter",
        )
    if (header.body_bytes, header.body_sha256) != (len(body), hashlib.sha256(body).hexdigest()):
        raise InputError("the incidents in the package are not those that were signed", hint="tell the reporter")
    # 4. Only now are the incidents read.
    return Opened(header, _incidents(body, header), signer)


def _outside(package: Package, reporters: Sequence[VerifierKey]) -> tuple[Outside, VerifierKey]:
    size_bytes = len(package.sealed)
    if size_bytes > SEALED_BYTES_MAX:
        raise InputError(f"the sealed file has {size_bytes:,} bytes, more than {SEALED_BYTES_MAX:,}")
    return signed_outside(package, reporters, OUTSIDE_TYPE, Outside, "docs/formats/package.md")


def signed_outside(
    package: Package, reporters: Sequence[VerifierKey], payload_type: str, form: type[T], page: str
) -> tuple[T, VerifierKey]:
    """What an envelope says, and whose signature it bears. ``page`` describes it. Raises InputError where none of these signed it, or it is another file's."""
    payload, signer = verify(package.envelope, payload_type, reporters)
    try:
        outside = msgspec.json.decode(payload, type=form)
    except msgspec.MsgspecError as error:
        raise InputError("what was signed outside does not fit its format", hint=f"see {page}") from error
    size_bytes = len(package.sealed)
    if outside.size_bytes != size_bytes:
        word = "shorter" if size_bytes < outside.size_bytes else "longer"
        raise InputError(
            f"the sealed file is {word} than what was signed: {size_bytes:,} bytes, not {outside.size_bytes:,}",
            hint="get the file again; is it the one that the envelope belongs to?",
        )
    if outside.sha256 != package.sha256:
        raise InputError(
            "the sealed file is not the one that was signed: it was changed, or belongs to another envelope",
            hint="get both files again",
        )
    return outside, signer


def _header(head: bytes, signer: VerifierKey) -> Header:
    try:
        payload, _ = verify(head, INSIDE_TYPE, [signer])
        return msgspec.json.decode(payload, type=Header)
    except InputError as error:
        raise InputError(
            "the package was not signed inside by the key that signed outside",
            hint="do not rely on it; tell the reporter",
        ) from error
    except msgspec.MsgspecError as error:
        raise InputError(
            "what was signed inside does not fit its format", hint="see docs/formats/package.md"
        ) from error


def _check_same(header: Header, outside: Outside) -> None:
    about = header.about
    if (about.reporter.name, about.environment, about.made_at) != (
        outside.reporter,
        outside.environment,
        outside.made_at,
    ):
        raise InputError(
            "outside and inside of the package differ in who reports, environment or time", hint="tell the reporter"
        )


def _incidents(body: bytes, header: Header) -> list[Incident]:
    try:
        found = [msgspec.json.decode(line, type=Incident) for line in body.splitlines()]
    except msgspec.MsgspecError as error:
        raise InputError("the package holds what is no incident", hint="see docs/formats/package.md") from error
    if len(found) != header.incidents:
        raise InputError(
            f"the package says {header.incidents} incidents, but holds {len(found)}", hint="tell the reporter"
        )
    return folded(found)
