"""What a reader of the page has in hand: a card with everything in it, its key, a log that holds it, a policy."""

from __future__ import annotations

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
from custodes.transparency.entries import card_entry, entry_bytes
from custodes.transparency.merkle import Builder, Tree, inclusion_path, leaf_hash
from custodes.transparency.notes import Checkpoint, Cosigner, Note, cosign, sign
from custodes.transparency.proof import Proof

NOW_S = 1_790_000_000  # 2026-09-21: what the browser's clock says


def key(name: str, seed: int) -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([seed] * 32)))


KEY, OTHER = key("lab.example/2026", 4), key("lab.example/2026", 5)
LOG = key("log.example/cards", 21)
WITNESSES = tuple(key(f"witness{number}.example", 30 + number) for number in range(3))

POLICY = "\n".join(
    [
        f"log {LOG.verifier}",
        *(f"witness w{number} {Cosigner(each.verifier)}" for number, each in enumerate(WITNESSES)),
        "group enough 2 w0 w1 w2",
        "quorum enough",
        "",
    ]
)


def statement() -> Statement:
    """Of a set of links that were fetched, with figures as such a run has them."""
    rows = 5_868_242
    reasons = {
        Reason.FULL: 4_104_771,
        Reason.PARTIAL_FRAMES: 1_204,
        Reason.COLUMNS_ONLY: 11_019,
        Reason.HTTP_404: 911_206,
        Reason.DNS: 402_117,
        Reason.HTTP_403: 204_400,
        Reason.TIMEOUT: 121_009,
        Reason.NOT_IMAGE: 88_021,
        Reason.BROKEN: 20_330,
        Reason.UNKNOWN_FORMAT: 4_165,
    }
    examined, undecodable = 4_104_771 + 1_204 + 11_019, 20_330 + 4_165
    assert sum(reasons.values()) == rows
    return Statement(
        subject=(
            *(
                Subject(name=f"part-{n:05d}.parquet", digest={"custodes-fingerprint-1": f"{n:064x}"})
                for n in range(0xA1, 0xA7)
            ),
            *(Subject(name=f"cleaned/part-{n:05d}.parquet", digest={"sha256": f"{n:064x}"}) for n in range(0xB1, 0xB5)),
        ),
        predicate=Examination(
            run="01k3v5yqp7",
            dataset="open-pictures-6m",
            began="2026-09-12T06:30:11+00:00",
            signed="2026-09-14T18:02:45+00:00",
            tool=Tool(name="custodes", version="0.1.0", confinement="seccomp and Landlock, ABI 6"),
            lists=(
                ListCommitment(id="ncmec-hashes", holder="NCMEC", version="2026-09-11.3"),
                ListCommitment(id="iwf-hashes", holder="IWF", version="8812", stale_since="2026-09-10"),
            ),
            passes=("columns", "bytes", "similar"),
            settings={"policy.jurisdiction": "eu", "decode.pixels_max": "178956970", "fetch.timeout_s": "20"},
            rows=rows,
            complete=True,
            outcomes={
                OutcomeName.EXAMINED: examined,
                OutcomeName.UNAVAILABLE: rows - examined - undecodable,
                OutcomeName.UNDECODABLE: undecodable,
                OutcomeName.FAILED: 0,
            },
            reasons=reasons,
            coverage={"columns": 5_868_242, "bytes": 4_105_975, "similar": 4_105_975},
            matches=Matches(rows=41),
            matches_by_list={"ncmec-hashes": Matches(rows=38), "iwf-hashes": Matches(below=10)},
            detectors=(
                Detector(
                    name="pdq",
                    kind="near-hash",
                    version="eight forms, every frame",
                    origin="Facebook, 2019: ThreatExchange, PDQ",
                ),
                Detector(
                    name="photos near confirmed ones",
                    kind="probe",
                    version="probe 3",
                    origin="taught from verdicts of the authority",
                    training_data="verdicts of 2026",
                    licence="Apache-2.0",
                    measured=(
                        Measure(
                            what="cross-validation", of="recall", at="0.9", value=0.935, low=0.9, high=0.96, on=310
                        ),
                        Measure(what="verdicts", of="precision", at="0.9", value=1.0, low=0.00001, high=1.0, on=12),
                    ),
                ),
            ),
            commitment=Commitment(rows=rows, root="7c" * 32),
            cleaned=Cleaned(rows=rows, left=21_402, crowd=500, files=4),
            recipients=("authority.example",),
            demonstration=False,
            limits=(
                "A row without a match is not on these lists in these versions. That is no judgement of the image.",
                "Whether the signer examined what it says, and with these lists, rests on the signer.",
                "A row that was not examined was compared at most by a digest that the dataset records.",
            ),
        ),
    )


def signed(payload: bytes, by: SigningKey = KEY) -> bytes:
    """A card over this payload."""
    return card_bytes(payload, by.sign(pae(PAYLOAD_TYPE, payload)), by.verifier)


def logged(card: bytes, size: int = 700, index: int = 300, witnesses: int = 2) -> Proof:
    """The proof of a card in a log of other entries, and that so many witnesses saw it."""
    leaves = [leaf_hash(b"entry %d" % number) for number in range(size)]
    leaves[index] = leaf_hash(entry_bytes(card_entry(card)))
    hashes = tuple(root_of(leaves[start:stop]) for start, stop in inclusion_path(index, size))
    note = sign(Checkpoint(LOG.verifier.name, Tree(size, root_of(leaves))), LOG)
    lines = tuple(cosign(note.text, each, NOW_S - 60 * n) for n, each in enumerate(WITNESSES[:witnesses]))
    return Proof(index, hashes, bytes(Note(note.text, note.lines + lines)))


def root_of(leaves: list[bytes]) -> bytes:
    builder = Builder()
    for leaf in leaves:
        builder.append(leaf)
    return builder.root()
