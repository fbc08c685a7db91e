"""Withheld images, as ``custodes open`` tells them to the authority: what they are, and never the image.

Promises that no image is written unless its reader says in so many words that they may hold it, and then under a name that nothing in the file chose, for
its owner alone. Whoever knows a recipient can seal to it, so all that is told is printed as text and nothing of it is a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import msgspec

from custodes.cli.options import as_json, printable
from custodes.crypto.keys import VerifierKey
from custodes.durable import make_folder, replace_file
from custodes.errors import ExitCode, InputError
from custodes.gateway.evidence import SUFFIX, Header, read_withheld
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.package import Package
from custodes.handover.routes.enclosed import Sent, check_envelope, envelope_beside

__all__ = ["Extract", "is_withheld", "open_withheld_files"]

_ENVELOPE_BYTES_MAX: Final = 1 << 16


@dataclass(frozen=True)
class Extract:
    """Where images are written, if anywhere. Raises InputError unless its reader may hold them."""

    folder: Path | None
    may_hold: bool

    def __post_init__(self) -> None:
        if self.folder is not None and not self.may_hold:
            raise InputError(
                "withheld images are written only for those whom the law lets hold them",
                hint="if you are such an authority: --unsafe-may-hold-images",
            )
        if self.folder is None and self.may_hold:
            raise InputError("there is no folder to write images to", hint="name it: --extract DIR")


@dataclass(frozen=True)
class Opened:
    """One of them."""

    header: Header
    told: Withheld
    content: bytes = field(repr=False)
    sent: Sent | None = None
    """By whom, where that was asked and is so."""
    enveloped: bool = False
    """Whether an envelope lies beside it."""

    @property
    def sha256(self) -> str:
        """Of the image as it is there."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def agrees(self) -> bool:
        """Whether the image is there and has the digests that are told."""
        md5 = hashlib.md5(self.content, usedforsecurity=False).hexdigest()
        found = {"sha256": self.sha256, "md5": md5}
        told = self.told.digests
        return bool(self.content and told) and all(found.get(kind) == value for kind, value in told.items())


def is_withheld(path: Path) -> bool:
    """By its name."""
    return path.name.endswith(SUFFIX)


def open_withheld_files(
    paths: Sequence[Path], secret: str, reporters: Sequence[VerifierKey], extract: Extract, *, json_: bool
) -> int:
    """Open, tell and, if that is asked for, write one after the other: there is one image in memory. With keys of reporters each must have its envelope.

    Raises InputError for the first that cannot be opened, or that none of these reporters sent.
    """
    for path in paths:
        each = _opened(path, secret, reporters)
        written = _written(each, extract)
        if json_:
            as_json(_in_json(each))
            continue
        click.echo("\n".join(_lines(each)))
        click.echo(f"  wrote        {printable(str(written))}\n" if written else "")
    if not json_:
        click.echo(f"{len(paths):,} withheld {'image' if len(paths) == 1 else 'images'}, none of them shown")
    return ExitCode.FOUND


def _opened(path: Path, secret: str, reporters: Sequence[VerifierKey]) -> Opened:
    """Raises InputError, naming the file."""
    try:
        sealed = path.read_bytes()
        sent = (
            check_envelope(Package(sealed, _envelope(path)), reporters) if reporters else None
        )  # before it is decrypted
        header, told = read_withheld(sealed, secret)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}", hint=error.hint) from error
    return Opened(header, told, told.file.content if told.file else b"", sent, envelope_beside(path).exists())


def _envelope(path: Path) -> bytes:
    """From beside the file. Raises InputError."""
    beside = envelope_beside(path)
    try:
        with beside.open("rb") as file:
            return file.read(_ENVELOPE_BYTES_MAX)
    except OSError as error:
        raise InputError(
            f"its envelope {beside.name} cannot be read: {error.strerror}",
            hint="get it too; without --reporter the file is opened as the word of a stranger",
        ) from error


def _written(each: Opened, extract: Extract) -> Path | None:
    """The image by its own digest, with no suffix that a viewer would open."""
    if extract.folder is None or not each.content:
        return None
    make_folder(extract.folder)
    path = extract.folder / f"{each.sha256}.bin"
    replace_file(path, each.content, mode=0o600)
    return path


def _in_json(each: Opened) -> dict[str, object]:
    told = each.told
    return {
        "id": told.id,
        "found_at": told.found_at,
        "rule": each.header.rule,
        "stage": each.header.stage,
        "decision": told.decision,
        "meaning": told.meaning,
        "exact": told.exact,
        "matches": told.matches,
        "digests": told.digests,
        "digests_agree": each.agrees,
        "size_bytes": len(each.content),
        "generated": told.file.generated if told.file else None,
        "user": told.user,
        "service": told.service,
        "tool": told.tool,
        "demo": told.demo,
        "viewed_by_a_person": told.viewed_by_a_person,
        "sent": {"key": str(each.sent.signer), **msgspec.to_builtins(each.sent.outside)} if each.sent else None,
    }


def _sender(each: Opened) -> str:
    if each.sent is None:
        asks = "give the key of the one who sent it with --reporter"
        return f"not checked: {asks}" if each.enveloped else "nobody signed this file: its word is a stranger's"
    outside, key = each.sent.outside, each.sent.signer
    test = ": a TEST" if outside.environment == "test" else ""
    return f"{outside.reporter}, {outside.made_at}, signed with key {key.name}, id {key.key_id.hex()}{test}"


def _lines(each: Opened) -> Iterator[str]:
    """What a reader wants first. Whatever a name may hold, it prints as text."""
    told = each.told
    made = "made by a generator" if told.file and told.file.generated else "given by a user"
    lines = {
        "sent by": _sender(each),
        "found": f"{told.found_at} by {told.tool}, {told.service}; viewed by a person: no",
        "stage": f"{each.header.stage}: {made}",
        "meaning": told.meaning,
        "image": f"{len(each.content):,} bytes, {'as its digests say' if each.agrees else 'NOT as its digests say'}",
        "user": f"{told.user.identifier} of {told.user.service}" if told.user else "",
        "demo": "a demonstration: this must not be taken for a real one" if told.demo else "",
        **told.digests,
    }
    yield printable(f"withheld {told.id} ({told.decision}: {each.header.rule})")
    yield from (printable(f"  {label:<12} {text}") for label, text in lines.items() if text)
    for match in told.matches:
        near = f", {match.distance_bits} bits away ({match.form})" if match.kind == "pdq" else ""
        category = match.category or "not given"
        yield printable(f"  matches      {match.list} entry {match.entry}, {match.kind}{near}, category {category}")
