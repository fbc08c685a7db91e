"""Witnesses that sign with ML-DSA-44 (C2SP tlog-cosignature, type 6): their keys, and whether they signed a checkpoint.

Promises what ``notes.Cosigner`` promises. Such keys are verified, never made here. What is signed names the witness, the origin, the size and
the root; further lines of a checkpoint are not in it, so that nothing may rest on them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from custodes.errors import ConfigError
from custodes.transparency.notes import TIME_S_MAX, Checkpoint

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

__all__ = ["ML_DSA", "LatticeCosigner"]

ML_DSA: Final = b"\x06"  # signed-note, Signature types
_NAME: Final = re.compile(r"[!-*,-~]{1,128}")  # as of every other key
_PUBLIC_BYTES: Final = 1312
_SIGNATURE_BYTES: Final = 8 + 2420


@dataclass(frozen=True, slots=True)
class LatticeCosigner:
    """A witness's public key, ML-DSA-44."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError("a witness's name must be 1 to 128 printable ASCII characters without spaces or '+'")
        if len(self.public) != _PUBLIC_BYTES:
            raise ConfigError(f"an ML-DSA-44 public key has {_PUBLIC_BYTES:,} bytes, got {len(self.public):,}")
        self._key()

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signed note (tlog-cosignature, Format)."""
        return hashlib.sha256(self.name.encode() + b"\n" + ML_DSA + self.public).digest()[:4]

    def time_s(self, text: bytes, signature: bytes) -> int | None:
        """When the witness says that it signed this checkpoint; None if it did not."""
        time_s = int.from_bytes(signature[:8])
        origin = Checkpoint.parse(text).origin.encode()
        if len(signature) != _SIGNATURE_BYTES or time_s > TIME_S_MAX or len(origin) > 255:
            return None
        try:
            self._key().verify(signature[8:], _message(self.name.encode(), text, time_s))
        except InvalidSignature:
            return None
        return time_s

    def _key(self) -> MLDSA44PublicKey:
        try:
            from cryptography.hazmat.primitives.asymmetric import mldsa  # noqa: PLC0415  # not in every release

            return mldsa.MLDSA44PublicKey.from_public_bytes(self.public)
        except (ImportError, UnsupportedAlgorithm) as error:
            raise ConfigError(
                f"the key of witness {self.name} is for ML-DSA-44, which the installed cryptography has not",
                hint="install a newer one: pip install -U cryptography",
            ) from error
        except ValueError as error:
            raise ConfigError(f"the key of witness {self.name} is no ML-DSA-44 key") from error

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(ML_DSA + self.public).decode()}"


def _message(name: bytes, text: bytes, time_s: int) -> bytes:
    """``cosigned_message`` of the specification: a checkpoint is the subtree from leaf 0 to its size."""
    checkpoint = Checkpoint.parse(text)
    origin, tree = checkpoint.origin.encode(), checkpoint.tree
    head = b"subtree/v1\n\0" + bytes([len(name)]) + name + time_s.to_bytes(8) + bytes([len(origin)]) + origin
    return head + bytes(8) + tree.size.to_bytes(8) + tree.root
