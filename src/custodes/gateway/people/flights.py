"""Requests in flight, by who asks: so that a hard refusal of one ends those that were sent beside it, and what one booked is given back at its end.

Promises that a request which is ended so hears the refusal, and nothing else; and that a booking ends once, when all that work on it have. Only within one
process.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from custodes.gateway.guard import Caller, RefusedError
from custodes.gateway.vocabulary import Stage, Verdict

__all__ = ["Flights"]


def _nothing(_: str) -> None:
    """Nothing was booked."""


class Flights:
    """The tasks that handle requests. Those that name no user may be anybody's, and are not ended for each other. ``landed`` hears of each booking's end."""

    def __init__(self, landed: Callable[[str], None] = _nothing) -> None:
        self._landed = landed
        self._flying: dict[asyncio.Task[object], Caller] = {}
        self._ended: dict[asyncio.Task[object], RefusedError] = {}
        self._working: Counter[str] = Counter()

    def enter(self, caller: Caller) -> None:
        """The current task handles a request of this caller, until ``leave`` or its end."""
        if (task := asyncio.current_task()) is None:
            return
        if task not in self._flying:
            task.add_done_callback(self._gone)
        else:
            self._gone(task)
        self._flying[task] = caller
        self._working[caller.booking] += 1

    def goes_on(self, caller: Caller, task: asyncio.Task[None]) -> None:
        """A task works for the caller's request, also when that is answered: until its end nothing is given back."""
        self._working[caller.booking] += 1
        task.add_done_callback(lambda _: self._left(caller.booking))

    def leave(self) -> None:
        """The request of the current task is answered: what the task does next is another one."""
        if (task := asyncio.current_task()) is not None:
            self._gone(task)

    def end_siblings(self, caller: Caller, verdict: Verdict) -> int:
        """Cancel what else this user has in flight. Returns how many."""
        current = asyncio.current_task()
        siblings = [
            task
            for task, other in self._flying.items()
            if task is not current
            and task not in self._ended
            and other.user
            and (other.tenant, other.user) == (caller.tenant, caller.user)
        ]
        for task in siblings:
            self._ended[task] = RefusedError(verdict, Stage.INPUT)
            task.cancel()
        return len(siblings)

    def ended(self) -> RefusedError | None:
        """For a handler that caught ``CancelledError``: the refusal to answer with, if it was ended here; else the cancellation is another's."""
        task = asyncio.current_task()
        if task is None or (error := self._ended.pop(task, None)) is None:
            return None
        return error if task.uncancel() == 0 else None

    def _gone(self, task: asyncio.Task[object]) -> None:
        self._ended.pop(task, None)
        if (caller := self._flying.pop(task, None)) is not None:
            self._left(caller.booking)

    def _left(self, booking: str) -> None:
        self._working[booking] -= 1
        if not self._working[booking]:
            del self._working[booking]
            if booking:
                self._landed(booking)
