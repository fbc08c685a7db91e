"""What publisher and subscriber agree on: the name of a list among a publisher's files, what is said of it openly, and its sealed bytes.

Openly stand the list's id, its version, when it was made and its category scheme. How many entries it has stands inside the seal alone:
the content is padded, so that its size does not tell either. That a sealed list is its publisher's is for TUF's metadata to show.
Format: docs/formats/list-bundle.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from custodes.crypto.seal import Recipient, seal, unseal
from custodes.errors import ListError

__all__ = ["FORMAT", "Said", "open_list", "seal_list", "target_name"]

FORMAT: Final = "custodes-bundle/1"
_PLAIN_BYTES_MIN: Final = 4096


class Said(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a publisher's signed metadata says of a list: TUF's ``custom`` of the target."""

    format: str = FORMAT
    list: str
    version: str
    sequence: int
    created: str  # RFC 3339, UTC
    scheme: str  # of the categories of its entries

    @classmethod
    def read(cls, custom: Any) -> Said:
        """From the parsed metadata. Raises ListError where it is of another format or malformed."""
        try:
            said = msgspec.convert(custom, cls)
        except msgspec.ValidationError as error:
            raise ListError("what the publisher says of the list is malformed") from error
        if said.format != FORMAT:
            raise ListError("the publisher's bundle is of another version of custodes")
        return said


def target_name(list_id: str) -> str:
    """The list's name among a publisher's files."""
    return f"lists/{list_id}.age"


def seal_list(export: bytes, recipients: Sequence[Recipient]) -> bytes:
    """An export of a list, filled up with spaces to a power of two of bytes, sealed to the recipients."""
    room = max(_PLAIN_BYTES_MIN, 1 << (len(export) - 1).bit_length())
    return seal(export.ljust(room, b" "), recipients)


def open_list(sealed: bytes, identity: str) -> bytes:
    """The export, in memory and whole. Raises InputError for another key or altered bytes."""
    return unseal(sealed, identity).rstrip(b" ")
