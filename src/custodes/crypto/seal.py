"""Sealing to an authority's public key, in the age format (age-encryption.org/v1) through pyrage.

Only the authority can open what is sealed: a private key given where a public one belongs is refused by name. Opening
is whole or not at all, in memory: streaming decryption gives out plaintext before the end is checked. age says nothing
of who sealed; that is said inside the package and signed outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyrage

from custodes.errors import ConfigError, InputError

__all__ = ["Recipient", "create_identity", "recipients_of", "seal", "unseal"]


@dataclass(frozen=True, slots=True)
class Recipient:
    """The public key of an authority: ``age1`` and an X25519 key in bech32. Public, so it prints."""

    text: str

    def __post_init__(self) -> None:
        _native(self.text)

    @classmethod
    def parse(cls, text: str) -> Recipient:
        """Read one recipient.

        ConfigError for private keys, ssh keys, plugins and typing errors, repeating none of them.
        """
        return cls(text.strip())

    def __str__(self) -> str:
        return self.text


def seal(plaintext: bytes, recipients: Sequence[Recipient]) -> bytes:
    """Encrypt so that each of the recipients, and nobody else, can open it. Binary age file; at least one recipient."""
    if not recipients:
        raise ConfigError("nothing is sealed to nobody: give at least one recipient")
    return bytes(pyrage.encrypt(plaintext, [_native(recipient.text) for recipient in recipients]))


def unseal(ciphertext: bytes, identity_file_text: str) -> bytes:
    """Open a sealed file with the identities in the text of an age identity file: all of it checked, or InputError."""
    identities = _identities(identity_file_text)
    try:
        return bytes(pyrage.decrypt(ciphertext, identities))
    except pyrage.DecryptError as error:
        raise InputError(
            "cannot open the sealed file: it is for another key, was altered, or is not an age file",
            hint="check that the identity belongs to the recipient it was sealed to",
        ) from error


def create_identity() -> tuple[str, str]:
    """A new key pair for a demo authority: (secret, recipient). A real one makes its own and never shows the secret."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def recipients_of(identity_file_text: str) -> list[str]:
    """The public keys of the identities in a file: what others seal to. Errors as for :func:`unseal`."""
    return [str(identity.to_public()) for identity in _identities(identity_file_text)]


def _native(text: str) -> pyrage.x25519.Recipient:
    folded = text.upper()
    if "AGE-SECRET-KEY" in folded or "AGE-PLUGIN" in folded or "PRIVATE KEY" in folded:
        raise ConfigError(
            "this is a private key: it belongs to the authority",
            hint="ask the authority for its recipient, which begins with age1",
        )
    if folded.startswith(("SSH-", "ECDSA-")):
        raise ConfigError(
            "ssh keys are not taken as recipients", hint="ask the authority for a recipient that begins with age1"
        )
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ConfigError(
            "this is not an age recipient: it is mistyped, or of a kind that is not supported",
            hint="a recipient begins with age1 and has 62 characters",
        ) from error


def _identities(text: str) -> list[pyrage.x25519.Identity]:
    """The identities of a file as age-keygen writes it: one a line, with # comments."""
    lines = [line.strip() for line in text.splitlines()]
    secrets = [line for line in lines if line and not line.startswith("#")]
    if not secrets:
        raise InputError(
            "the identity file holds no identity", hint="it must have a line that begins with AGE-SECRET-KEY-1"
        )
    try:
        return [pyrage.x25519.Identity.from_str(secret) for secret in secrets]
    except pyrage.IdentityError:
        # The chain is cut on purpose: the foreign message may quote the line, which is a secret.
        raise InputError("the identity file has a line that is not an age X25519 identity") from None
