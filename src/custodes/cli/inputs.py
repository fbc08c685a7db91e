"""Files that are given to commands: cards, statements, proofs, keys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from custodes.crypto.keys import VerifierKey
from custodes.errors import InputError

__all__ = ["bounded", "keys_in"]

CARD_BYTES_MAX: Final = 256 << 20


def bounded(path: Path) -> bytes:
    """A file that is not too large. Raises InputError."""
    try:
        with path.open("rb") as file:
            data = file.read(CARD_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > CARD_BYTES_MAX:
        raise InputError(f"{path} is larger than {CARD_BYTES_MAX:,} bytes")
    return data


def keys_in(path: Path) -> list[VerifierKey]:
    """The keys in a file, one a line. Raises ConfigError for one that is malformed or weak."""
    lines = bounded(path).decode("ascii", errors="replace").splitlines()
    return [VerifierKey.parse(line) for line in lines if line.strip() and not line.startswith("#")]
