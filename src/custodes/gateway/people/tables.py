"""A ledger in a database, whichever: each thing that is asked of it is one piece of work in its tables, written or read by a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from custodes.gateway.people import books
from custodes.gateway.people.ledger import (
    Appeal,
    Asking,
    Consequence,
    Decision,
    Entered,
    Entry,
    Noted,
    Outcome,
    Restored,
    Standing,
    Tally,
)
from custodes.gateway.people.writing import Engine, Reader, Writer

__all__ = ["TableLedger"]


class TableLedger:
    """What ``Ledger`` promises, of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._writer, self._reader = Writer(engine), Reader(engine)

    def close(self) -> None:
        """Finish what waits, and close."""
        self._writer.close()
        self._reader.close()

    async def enter(self, entry: Entry) -> Entered:
        """Let one in, and book its images. A loss of power ends what is in flight, and may forget what was booked for it."""
        return await self._writer.run(lambda tables: books.enter(tables, entry), synced=False)

    def give_back(self, booking: str) -> None:
        """What is left of a booking was not used."""
        self._writer.post(lambda tables: books.give_back(tables, booking))

    async def note(self, noted: Noted) -> Consequence:
        """Write a decision and all that follows from it."""
        return await self._writer.run(lambda tables: books.note(tables, noted))

    async def standing(self, asking: Asking) -> Standing:
        """How one stands who asks."""
        return await self._reader.run(lambda tables: books.standing(tables, asking))

    async def appeal(self, tenant: str, request: str, at: int) -> Appeal:
        """Open an appeal. Raises InputError."""
        return await self._writer.run(lambda tables: books.appeal(tables, tenant, request, at))

    async def appeals(self, outcome: Outcome) -> Sequence[Appeal]:
        """All that ended so, the oldest first."""
        return await self._reader.run(lambda tables: books.appeals(tables, outcome))

    async def appealed(self, request: str) -> Appeal:
        """One of them. Raises InputError."""
        return await self._reader.run(lambda tables: books.appealed(tables, request))

    async def settle(self, request: str, outcome: Outcome, people: Sequence[str], at: int) -> Restored:
        """End an appeal. Raises InputError."""
        return await self._writer.run(lambda tables: books.settle(tables, request, outcome, people, at))

    async def tally(self, first: date, last: date) -> Tally:
        """What was counted."""
        return await self._reader.run(lambda tables: books.tally(tables, first, last))

    async def decisions(self, after: int, limit: int) -> Sequence[Decision]:
        """Those with greater numbers."""
        return await self._reader.run(lambda tables: books.decisions(tables, after, limit))

    async def forget(self, before: int) -> int:
        """Drop older decisions that have no strike and no appeal."""
        return await self._writer.run(lambda tables: books.forget(tables, before))
