"""Findings, and the sealed bundles in which they leave.

A finding holds what makes a report actionable (where, when and how it was found, what it matched, in which version of which list)
and never the image. A bundle is sealed to the authority's key before it touches a disk; every shard has one, empty or not, padded to
powers of two, so that neither its presence nor (for a few findings) its size tells which shard matched. Format: docs/formats/findings.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from custodes.crypto.seal import Recipient, seal, unseal
from custodes.errors import InputError
from custodes.model import Role, Signal

__all__ = [
    "FORMAT",
    "BundleHeader",
    "Finding",
    "Match",
    "Measured",
    "Suspicion",
    "match_of",
    "open_bundle",
    "seal_bundle",
]

FORMAT: Final = "custodes-findings/1"
BUNDLE_BYTES_MIN: Final = 4096


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One list entry that the item matched."""

    list: str
    list_version: str
    entry: str
    kind: str
    category: str
    assurance: str
    distance_bits: int
    form: str
    meaning: str = ""


def match_of(signal: Signal) -> Match:
    """A signal as the authority sees it. Only a confirmed entry says what the image is."""
    return Match(
        list=signal.list_id,
        list_version=signal.list_version,
        entry=signal.entry_id,
        kind=signal.kind.value,
        category=signal.category,
        assurance=signal.assurance,
        distance_bits=signal.distance,
        form=signal.form,
        meaning=signal.meaning.value if signal.role is Role.CONFIRMED else "",
    )


class Measured(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of earlier suspects of this sort so many were confirmed, and the interval that holds the true share in 95 of 100 cases.

    ``basis``: ``verdicts`` (on suspects that were handed over before) or ``cross-validation`` (of the probe).
    """

    slice: str
    basis: str
    confirmed: int
    judged: int
    low: float
    high: float


class Suspicion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an item that no list knows is shown to the authority: it looks like what is confirmed. It says of nothing what it is.

    ``photo`` is the same for all rows of one photo; ``rank`` counts photos from 1. ``cosine`` is that with the nearest confirmed photo. None: no such signal.
    """

    photo: str
    rank: int
    model: str
    cosine: float | None = None
    probe: str = ""
    score: float | None = None
    measured: tuple[Measured, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One item that matched, as the authority sees it. ``viewed_by_a_person`` is constantly false, because nobody views."""

    id: str
    dataset: str
    file: str
    row: int
    row_key: str
    url: str
    domain: str
    found_at: str
    passes: tuple[str, ...]
    decision: str
    rule: str
    matches: tuple[Match, ...]
    outcome: str
    reason: str
    fetched_at: str = ""
    http_status: int = 0
    final_url: str = ""
    size_bytes: int = 0
    format: str = ""
    width: int = 0
    height: int = 0
    digests: dict[str, str] = {}
    recorded: dict[str, str] = {}
    decode_policy: str = ""
    tool: str = ""
    run_id: str = ""
    suspicion: Suspicion | None = None
    viewed_by_a_person: Literal[False] = False


class BundleHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First line of a bundle."""

    format: str
    run_id: str
    tool: str
    shard: int
    generation: int
    findings: int
    demo: bool


def seal_bundle(header: BundleHeader, findings: Sequence[Finding], recipients: Sequence[Recipient]) -> bytes:
    """Header and findings as JSON lines, padded with spaces to a power of two of at least 4 KiB, sealed. Raises if there is no recipient."""
    lines = [msgspec.json.encode(line) for line in (header, *findings)]
    plain = b"\n".join(lines) + b"\n"
    room = max(BUNDLE_BYTES_MIN, 1 << (len(plain) - 1).bit_length())
    return seal(plain.ljust(room, b" "), recipients)


def open_bundle(sealed: bytes, identity: str) -> tuple[BundleHeader, list[Finding]]:
    """Unseal and parse a bundle, in memory and whole. Raises InputError for a wrong key, tampering or another format."""
    lines = unseal(sealed, identity).rstrip(b" ").splitlines()
    try:
        header = msgspec.json.decode(lines[0], type=BundleHeader)
        findings = [msgspec.json.decode(line, type=Finding) for line in lines[1:]]
    except (IndexError, msgspec.MsgspecError) as error:
        raise InputError(
            "the sealed file opens, but does not hold findings", hint="was it written by another program?"
        ) from error
    if header.format != FORMAT or header.findings != len(findings):
        raise InputError(f"the bundle says {header.format!r} and {header.findings} findings, but holds {len(findings)}")
    return header, findings
