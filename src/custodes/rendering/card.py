"""A card that may be shown: one that verified, with the digest that names it.

Promises that nothing is rendered of a card that did not verify. What is checked is for ``attest.verification``, what is said for ``content``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from custodes.attest.statement import Examination, Statement
from custodes.attest.verification import verify_card
from custodes.crypto.keys import VerifierKey
from custodes.errors import InputError

__all__ = ["Card", "read_card"]


@dataclass(frozen=True)
class Card:
    """``sha256``: of the whole file, which can be written in one way only. ``signer``: name and id of the key. ``notes``: what weakens it."""

    statement: Statement
    sha256: str
    signer: str
    notes: tuple[str, ...]

    @property
    def told(self) -> Examination:
        """What was examined."""
        return self.statement.predicate


def read_card(envelope: bytes, keys: Sequence[VerifierKey], now: datetime | None = None) -> Card:
    """A card as it may be shown. Raises InputError where a check fails, ConfigError where there is no key to check with."""
    verdict = verify_card(envelope, keys, now)
    if verdict.statement is None or verdict.key is None:
        failed = next(check for check in verdict.checks if check.state == "failed")
        raise InputError(
            f"the card does not verify ({failed.name}): {failed.means}",
            hint="nothing of it is rendered; see: custodes verify",
        )
    return Card(
        statement=verdict.statement,
        sha256=hashlib.sha256(envelope).hexdigest(),
        signer=f"{verdict.key.name}+{verdict.key.key_id.hex()}",
        notes=tuple(check.means for check in verdict.checks if check.state == "note"),
    )
