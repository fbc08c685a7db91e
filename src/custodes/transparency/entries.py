"""What a site states in a log: cards, how far its record of custody has come, versions of lists, events in the life of keys.

Promises that an entry is written in one way only, so that whoever has what it stands for can say its bytes; and that it holds digests, and
names that a card tells as well, never content. Whether it is true is for the card, the record or the statement itself. Format: docs/formats/log.md.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from custodes.errors import InputError

__all__ = ["CardEntry", "CustodyEntry", "Entry", "KeyEntry", "ListEntry", "card_entry", "entry_bytes", "read_entry"]

ENTRY_TEXT_MAX: Final = 1000

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Meta(max_length=ENTRY_TEXT_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=ENTRY_TEXT_MAX)]


class CardEntry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custodes-card-1"
):
    """A card. ``sha256``: of the whole file, which is written in one way only."""

    sha256: Sha256


class CustodyEntry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custodes-custody-1"
):
    """How far the record of custody has come: its last line, by number and hash. Nobody can change a line before it any more."""

    seq: Annotated[int, Meta(ge=1, lt=2**53)]
    hash: Sha256


class ListEntry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custodes-list-1"
):
    """A list in a version, which commits to its content without telling it."""

    id: Name
    holder: Text
    version: Name


class KeyEntry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="custodes-key-1"
):
    """A statement about a key: that another follows on it, or that it counts no more. ``sha256``: of the statement's file."""

    sha256: Sha256


Entry = CardEntry | CustodyEntry | ListEntry | KeyEntry


def card_entry(card: bytes) -> CardEntry:
    """The entry of a card's file."""
    return CardEntry(sha256=sha256(card).hexdigest())


def entry_bytes(entry: Entry) -> bytes:
    """The entry as it stands in a log: JSON, names in order, no spaces. Raises InputError for one that could not be read back."""
    data = msgspec.json.encode(entry, order="sorted")
    _decoded(data)
    return data


def read_entry(data: bytes) -> Entry:
    """An entry of a log. Raises InputError for one of another kind, or that is written otherwise."""
    found = _decoded(data)
    if entry_bytes(found) != data:
        raise InputError("the entry is not written in the one way that it may be")
    return found


def _decoded(data: bytes) -> Entry:
    try:
        found: Entry = msgspec.json.decode(data, type=Entry)
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError("the entry is of no kind that is known here") from error
    return found
