"""Keys that sign what a publisher says of its lists (TUF): Ed25519, one key in one file.

A file is PEM PKCS8, made once, never overwritten, and refused when anyone else can read it. Which key signs what, and how many of
them must, stands in the publisher's root metadata (``bundles``).
"""

from __future__ import annotations

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from custodes.crypto.keys import read_private, write_private
from custodes.errors import ConfigError

__all__ = ["create_signer", "load_signer"]


def create_signer(path: Path) -> Signer:
    """A new key, written to ``path``, which must not exist."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_private(path, pem)
    return _signer(private)


def load_signer(path: Path) -> Signer:
    """The key in a file. ConfigError when it is absent, malformed, not Ed25519, or readable by others."""
    try:
        private = serialization.load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} does not hold an unencrypted PEM PKCS8 private key") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds a key that is not Ed25519")
    return _signer(private)


def _signer(private: Ed25519PrivateKey) -> Signer:
    return CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))
