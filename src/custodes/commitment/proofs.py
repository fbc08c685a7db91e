"""What an auditor and a signer hand each other, and whether it holds: a row's proof, a challenge, its answer. Pure: no I/O, no clock.

Promises that each document is written in one way only, that nothing passes that was not committed to by the card, and that an answer is to exactly the rows
that were asked. Whether outcomes are true is for ``commitment.again``. Format: docs/formats/row-proofs.md.
"""

from __future__ import annotations

import base64
import math
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from random import SystemRandom
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from custodes.attest.statement import Statement
from custodes.commitment.tree import entry_of, outcome_of
from custodes.errors import InputError
from custodes.model import Reason
from custodes.transparency.merkle import PROOF_HASHES_MAX, SIZE_MAX, Tree, leaf_hash, verify_inclusion

__all__ = [
    "ASKED_MAX",
    "Answer",
    "Ask",
    "CardRows",
    "Opening",
    "RowProof",
    "ask_of",
    "card_rows",
    "chance_of_missing",
    "check_answer",
    "check_proof",
    "encode",
    "kind_of",
    "read_document",
    "unverified_rows",
]

ASKED_MAX: Final = 10_000

Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Row = Annotated[int, Meta(ge=0)]
Path = Annotated[tuple[Hash, ...], Meta(max_length=PROOF_HASHES_MAX)]


class RowProof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """That a row was examined under a card, without saying with which result."""

    format: Literal["custodes-row-proof/1"] = "custodes-row-proof/1"
    card: Hash
    row: Row
    entry: Hash
    hashes: Path


class Ask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An auditor's challenge: the rows to open. ``card``: SHA-256 of what was signed; ``rows`` and ``root``: its commitment."""

    format: Literal["custodes-row-ask/1"] = "custodes-row-ask/1"
    card: Hash
    rows: Annotated[int, Meta(gt=0)]
    root: Hash
    nonce: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    asked: Annotated[tuple[Row, ...], Meta(min_length=1, max_length=ASKED_MAX)]

    def __post_init__(self) -> None:
        if any(row >= after for row, after in zip(self.asked, (*self.asked[1:], self.rows), strict=True)):
            raise ValueError("the asked rows are in order, each once, and there are so many")


class Opening(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A row's outcome, with what shows that it was committed to. ``digest``: SHA-256, else MD5, of the bytes that were seen, else empty."""

    row: Row
    salt: Hash
    reason: Reason
    digest: Annotated[str, Meta(pattern="^(|[0-9a-f]{32}|[0-9a-f]{64})$")]
    hashes: Path

    def __repr__(self) -> str:
        return "<Opening>"


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The openings of the rows that were asked. ``ask``: SHA-256 of the challenge as it was written."""

    format: Literal["custodes-row-answer/1"] = "custodes-row-answer/1"
    card: Hash
    ask: Hash
    openings: Annotated[tuple[Opening, ...], Meta(min_length=1, max_length=ASKED_MAX)]


_KINDS: Final[dict[object, type[RowProof | Answer]]] = {
    "custodes-row-proof/1": RowProof,
    "custodes-row-answer/1": Answer,
}

Document = TypeVar("Document", RowProof, Ask, Answer)


def encode(document: RowProof | Ask | Answer) -> bytes:
    """The one way in which a document is written."""
    return msgspec.json.encode(document, order="sorted") + b"\n"


def kind_of(data: bytes) -> type[RowProof | Answer]:
    """Which of the documents that are checked against a card this says it is. Raises InputError for neither."""
    try:
        told = msgspec.json.decode(data, type=dict).get("format")
    except msgspec.MsgspecError:
        told = None
    if told not in _KINDS:
        raise InputError("neither a row's proof nor an answer to a challenge, or damaged")
    return _KINDS[told]


def read_document(data: bytes, kind: type[Document]) -> Document:
    """A document of this kind. Raises InputError for anything else, and for one in other words."""
    try:
        found: Document = msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:  # which names fields, not values
        raise InputError(f"not a document of the kind {kind.__name__}, or damaged: {error}") from error
    if encode(found) != data:
        raise InputError("the document is not written as it was made", hint="get it again from who made it")
    return found


@dataclass(frozen=True)
class CardRows:
    """What a card commits to."""

    card: str
    tree: Tree
    statement: Statement


def card_rows(statement: Statement) -> CardRows:
    """What a statement commits to. Raises InputError where it is to no rows."""
    told = statement.predicate.commitment
    if told is None:
        raise InputError("this card commits to no rows", hint="ask the signer for one of a finished run")
    if told.rows > SIZE_MAX:
        raise InputError(f"no tree has {told.rows} rows")
    return CardRows(sha256(statement.encode()).hexdigest(), Tree(told.rows, bytes.fromhex(told.root)), statement)


def unverified_rows(card: bytes) -> CardRows:
    """What a card commits to, for who made it and compares that with the run: no signature is looked at."""
    try:
        payload = base64.b64decode(msgspec.json.decode(card, type=dict)["payload"], validate=True)
        return card_rows(msgspec.json.decode(payload, type=Statement))
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
        raise InputError("not a card, or damaged", hint="give the file that custodes attest wrote") from error


def ask_of(card: CardRows, count: int) -> Ask:
    """A challenge to open ``count`` rows, drawn by lot."""
    if not 1 <= count <= min(ASKED_MAX, card.tree.size):
        raise InputError(f"{count:,} rows cannot be asked of {card.tree.size:,}", hint=f"ask for 1 to {ASKED_MAX:,}")
    asked = sorted(SystemRandom().sample(range(card.tree.size), count))
    root = card.tree.root.hex()
    return Ask(card=card.card, rows=card.tree.size, root=root, nonce=secrets.token_hex(16), asked=tuple(asked))


def check_proof(card: CardRows, proof: RowProof) -> None:
    """Raises InputError unless the card commits to this row's entry."""
    _check_card(card, proof.card)
    _check_inclusion(card, bytes.fromhex(proof.entry), proof.row, proof.hashes)


def check_answer(card: CardRows, ask: Ask, answer: Answer) -> None:
    """Raises InputError unless this answers exactly this challenge, with outcomes that the card commits to and that fit its counts."""
    # 1. The challenge is about this card, and the answer to this challenge.
    _check_card(card, ask.card)
    _check_card(card, answer.card)
    if (ask.rows, ask.root) != (card.tree.size, card.tree.root.hex()):
        raise InputError("the challenge names another commitment than the card")
    if answer.ask != sha256(encode(ask)).hexdigest():
        raise InputError("the answer is to another challenge", hint="give the challenge as it was sent")
    # 2. Exactly the rows that were asked.
    _check_asked(ask, answer)
    # 3. Each is what was committed to.
    for opening in answer.openings:
        entry = entry_of(bytes.fromhex(opening.salt), outcome_of(opening.reason, bytes.fromhex(opening.digest)))
        _check_inclusion(card, entry, opening.row, opening.hashes)
    # 4. The card counts at least as many.
    reasons = card.statement.predicate.reasons
    for reason, count in Counter(opening.reason for opening in answer.openings).items():
        if count > reasons.get(reason, 0):
            raise InputError(f"{count:,} rows ended as {reason.value}, and the card counts {reasons.get(reason, 0):,}")


def _check_card(card: CardRows, named: str) -> None:
    if named != card.card:
        raise InputError("it is about another card")


def _check_asked(ask: Ask, answer: Answer) -> None:
    if tuple(opening.row for opening in answer.openings) != ask.asked:
        raise InputError("the answer opens other rows than were asked")


def _check_inclusion(card: CardRows, entry: bytes, row: int, hashes: Sequence[str]) -> None:
    verify_inclusion(leaf_hash(entry), row, [bytes.fromhex(each) for each in hashes], card.tree)


def chance_of_missing(rows: int, lies: int, checked: int) -> float:
    """The chance that ``checked`` rows drawn from ``rows`` hold none of ``lies`` rows: C(rows - lies, checked) / C(rows, checked)."""
    if lies + checked > rows:
        return 0.0
    # Summed term by term over the fewer: log-gammas of a hundred billion rows would cancel out the digits that matter.
    fewer, more = sorted((lies, checked))
    return math.exp(math.fsum(math.log1p(-more / (rows - at)) for at in range(fewer)))
