"""A card with something in every field, and one whose every free text is of the test's choosing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.attest.statement import (
    PAYLOAD_TYPE,
    Cleaned,
    Commitment,
    Detector,
    Examination,
    ListCommitment,
    Matches,
    Measure,
    Statement,
    Subject,
    Tool,
)
from custodes.attest.verification import card_bytes
from custodes.crypto.dsse import pae
from custodes.crypto.keys import SigningKey
from custodes.model import OutcomeName, Reason

__all__ = ["KEY", "NOW", "envelope", "statement"]

KEY = SigningKey("lab.example", Ed25519PrivateKey.from_private_bytes(bytes([4] * 32)))
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def envelope(told: Statement, key: SigningKey = KEY) -> bytes:
    payload = told.encode()
    return card_bytes(payload, key.sign(pae(PAYLOAD_TYPE, payload)), key.verifier)


def statement(text: str | None = None, **changes: Any) -> Statement:
    """``text``: what stands wherever a card has words of its own."""

    def say(plain: str) -> str:
        return plain if text is None else text

    measured = Measure(
        what=say("photos that the authority judged"),
        of="precision",
        at=say("0.9 and more"),
        value=0.93,
        low=0.88,
        high=0.96,
        on=120,
    )
    told = Examination(
        run=say("a9d0a6d67471202c"),
        dataset=say("photos-of-harbours"),
        began="2025-03-01T09:00:00+00:00",
        signed="2025-03-02T09:00:00+00:00",
        tool=Tool(name=say("custodes"), version=say("0.1.0"), confinement=say("seccomp"), unsafe=(say("--unsafe-x"),)),
        lists=(ListCommitment(id=say("hotline"), holder=say("A hotline"), version=say("v7"), stale_since=say("2029")),),
        passes=("columns", "bytes"),
        settings={say("image.pixels_max"): say("100")},
        rows=100_000,
        complete=True,
        outcomes={
            OutcomeName.EXAMINED: 91_000,
            OutcomeName.UNAVAILABLE: 8_000,
            OutcomeName.UNDECODABLE: 999,
            OutcomeName.FAILED: 1,
        },
        reasons={
            Reason.FULL: 91_000,
            Reason.HTTP_404: 7_000,
            Reason.DNS: 1_000,
            Reason.BROKEN: 999,
            Reason.INTERNAL: 1,
        },
        coverage={say("bytes"): 91_000},
        matches=Matches(below=10),
        matches_by_list={say("hotline"): Matches(below=10)},
        detectors=(
            Detector(
                name=say("a model"),
                kind="encoder",
                version=say("7"),
                origin=say("a laboratory"),
                training_data=say("photos of the web"),
                licence=say("MIT"),
                known_findings=(say("its training data was withdrawn once"),),
                measured=(measured,),
            ),
        ),
        commitment=Commitment(rows=100_000, root="ab" * 32),
        cleaned=Cleaned(rows=100_000, left=1_500, crowd=100, files=1),
        recipients=(say("age1xyz"),),
        demonstration=True,
        limits=(say("A signature says who says it."), say("Lists hold known material only.")),
    )
    subject = (
        Subject(name=say("links.parquet"), digest={"custodes-fingerprint-1": "12" * 32, "sha256": "34" * 32}),
        Subject(name=f"cleaned/{say('links.parquet')}", digest={"sha256": "56" * 32}),
    )
    if "cleaned" in changes:
        subject = subject[:1]
    return Statement(subject=subject, predicate=msgspec.structs.replace(told, **changes))
