"""Requests in flight, by who asks: so that a hard refusal of one ends those that were sent beside it.

Promises that a request which is ended so hears the refusal, and nothing else. Only within one process.
"""

from __future__ import annotations

import asyncio

from custodes.gateway.guard import Caller, RefusedError
from custodes.gateway.vocabulary import Stage, Verdict

__all__ = ["Flights"]


class Flights:
    """The tasks that handle requests of named users. Requests that name nobody may be anybody's, and are not ended for each other."""

    def __init__(self) -> None:
        self._flying: dict[asyncio.Task[object], Caller] = {}
        self._ended: dict[asyncio.Task[object], RefusedError] = {}

    def enter(self, caller: Caller) -> None:
        """The current task handles a request of this caller, until ``leave`` or its end."""
        task = asyncio.current_task()
        if task is None or not caller.user:
            return
        if task not in self._flying:
            task.add_done_callback(self._gone)
        self._flying[task] = caller

    def leave(self) -> None:
        """The request of the current task is answered: what the task does next is another one."""
        if (task := asyncio.current_task()) is not None:
            self._flying.pop(task, None)
            self._ended.pop(task, None)

    def end_siblings(self, caller: Caller, verdict: Verdict) -> int:
        """Cancel what else this user has in flight. Returns how many."""
        current = asyncio.current_task()
        siblings = [
            task
            for task, other in self._flying.items()
            if task is not current
            and task not in self._ended
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
        self._flying.pop(task, None)
        self._ended.pop(task, None)
