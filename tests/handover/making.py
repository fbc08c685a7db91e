"""Findings, incidents and packages for tests, made of numbers."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.crypto.keys import RunKey, SigningKey
from custodes.crypto.seal import Recipient, create_identity
from custodes.handover.finding import Finding, Match
from custodes.handover.incident import Incident, incident_namer, incidents_of
from custodes.handover.package import About, ListVersion, Package, Reporter, make_packages

NAME = incident_namer(RunKey(bytes([5] * 32)))


def digests_of(image: int) -> dict[str, str]:
    """Digests of the whole file of an image."""
    data = b"entry %d" % image
    return {name: hashlib.new(name, data).hexdigest() for name in ("md5", "sha1", "sha256")}


def match(entry_number: int, kind: str = "md5", **changed: Any) -> Match:
    """A match with an entry of a list."""
    fields = {
        "list": "hotline",
        "list_version": "2026-03-01-0a1b2c",
        "entry": f"e{entry_number}",
        "kind": kind,
        "category": "A1",
        "assurance": "reviewed",
        "distance_bits": 0,
        "form": "original",
        "meaning": "csam",
    }
    return Match(**(fields | changed))


def finding(number: int, image: int | None = None, **changed: Any) -> Finding:
    """A finding. With ``image``: it was fetched, and equals the entry of that number; else its link is dead, and its recorded digest matched."""
    url = f"https://images.example/{number}.jpg"
    fields: dict[str, Any] = {
        "id": f"{number:032x}",
        "dataset": "links.parquet",
        "file": "part-0.parquet",
        "row": number,
        "row_key": f"k{number}",
        "url": url,
        "domain": "images.example",
        "found_at": "2026-03-01T12:00:00Z",
        "passes": ("columns",),
        "decision": "report",
        "rule": "exact-confirmed",
        "matches": (match(image if image is not None else number),),
        "outcome": "unavailable",
        "reason": "http_404",
        "http_status": 404,
        "tool": "custodes 0.1.0",
        "run_id": "a9d0a6d67471202c",
    }
    if image is not None:
        fields |= {
            "passes": ("bytes",),
            "outcome": "examined",
            "reason": "full",
            "http_status": 200,
            "fetched_at": "2026-03-01T11:59:00Z",
            "digests": digests_of(image),
            "size_bytes": 1000 + image,
            "format": "jpeg",
            "width": 640,
            "height": 480,
        }
    return Finding(**(fields | changed))


def incidents(*findings: Finding) -> list[Incident]:
    """As the operator groups them."""
    return incidents_of(findings, NAME)


# -- packages

SECRET, _TO = create_identity()
TO = Recipient(_TO)
OTHER_SECRET, _OTHER = create_identity()
OTHER = Recipient(_OTHER)


def signer(number: int = 1, name: str = "lab.example") -> SigningKey:
    """A signing key."""
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))


KEY = signer()
KEYS = [KEY.verifier]


def about(**changed: Any) -> About:
    """What a reporter says."""
    fields = {
        "reporter": Reporter(name="Example Lab", contact="safety@lab.example"),
        "environment": "production",
        "made_at": "2026-03-02T09:00:00+00:00",
        "tool": "custodes 0.1.0",
        "runs": ("a9d0a6d67471202c",),
        "datasets": ("links.parquet",),
        "lists": (ListVersion(list="hotline", version="2026-03-01-0a1b2c"),),
    }
    return About(**(fields | changed))


def packed(*findings: Finding, key: SigningKey = KEY, **changed: Any) -> Package:
    """One package of their incidents."""
    (package,) = make_packages(incidents(*findings), about(**changed), [TO], key)
    return package
