"""What an authority says of one of its own ids: the unit in which lists grow, change and shrink.

A file import replaces a whole list; an authority's service tells what changed, id by id, in any order and more than once. A record is
whole: it replaces everything that was known of its id, and without entries it withdraws it.
"""

from __future__ import annotations

import msgspec

from custodes.model import Entry

__all__ = ["Record"]


class Record(msgspec.Struct, frozen=True, array_like=True):
    """All entries of one id; none: withdrawn.

    Of several records of one id the one with the greatest ``modified`` counts (milliseconds since 1970, by the authority's clock; 0 where
    it gives none); of equals a withdrawal before anything else, and then the one that came last.
    """

    id: str
    entries: tuple[Entry, ...] = ()
    modified: int = 0

    def __repr__(self) -> str:
        return f"<Record {len(self.entries)} entries>"
