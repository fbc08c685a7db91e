"""Keys made of numbers, and what their holders state of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.attest.keyring import Grounds, Revoked, Succeeded, TrustedKey, write_statement
from custodes.crypto.keys import SigningKey


def key(number: int, name: str = "lab.example") -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))


KEYS = [key(number) for number in range(1, 8)]


def day(number: int) -> datetime:
    """Days of 2030."""
    return datetime(2030, 1 + (number - 1) // 28, 1 + (number - 1) % 28, tzinfo=UTC)


def succeeded(old: int, new: int, on: int, by: int | None = None) -> bytes:
    told = Succeeded(key=str(KEYS[old].verifier), at=day(on), successor=str(KEYS[new].verifier))
    return write_statement(told, KEYS[old if by is None else by])


def revoked(key: int, on: int, reason: Grounds, by: int | None = None) -> bytes:
    told = Revoked(key=str(KEYS[key].verifier), at=day(on), reason=reason)
    return write_statement(told, KEYS[key if by is None else by])


def trusted(*numbers: int) -> Sequence[TrustedKey]:
    return [TrustedKey(KEYS[number].verifier) for number in numbers]
