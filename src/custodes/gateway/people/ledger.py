"""What a ledger keeps, and what it promises whoever writes it: SQLite, or PostgreSQL where several machines share one.

Promises, of every ledger: what a call returned from is there, whatever is killed next, and but for who came in also after a loss of power; one step is whole
or not at all; two requests with one name have one strike; a fault raises StorageError and nothing is half done. It is told no prompt, no image, no digest of
one, and no name that a client gave. The tests of this contract run on any ledger: tests/gateway/people/test_contract.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from custodes.errors import InputError
from custodes.gateway.vocabulary import Action, Category, Fact, Grade, Stage, Verdict

__all__ = [
    "FAULT",
    "Appeal",
    "Asking",
    "Consequence",
    "Count",
    "Decision",
    "Entered",
    "Entry",
    "Ladder",
    "Ledger",
    "Noted",
    "Outcome",
    "Restored",
    "Standing",
    "Tally",
    "Totals",
    "already_settled",
    "day_of",
    "no_such_refusal",
]

FAULT: Final = "fault"
"""The rule that a verdict names when a check was broken: nobody's doing."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """What strikes lead to, in milliseconds."""

    warn_at: int
    suspend_at: int
    window_ms: int
    suspend_ms: int
    growth: int
    suspend_ms_max: int

    def suspension_ms(self, before: int) -> int:
        """How long a suspension is after so many that were not lifted."""
        return min(self.suspend_ms_max, self.suspend_ms * int(self.growth ** min(before, 64)))


@dataclass(frozen=True, slots=True)
class Noted:
    """One decision, to be written. ``name``: the same for all retries; a strike of that name since ``retried_since`` is this one's.

    ``user``: a name made under the run key, or empty. ``ladders``: of the user, of the tenant. ``booking``: that the images are of.
    Times are milliseconds since 1970, UTC.
    """

    at: int
    tenant: str
    user: str
    request: str
    name: str
    stage: Stage
    verdict: Verdict
    facts: tuple[Fact, ...]
    policy: str
    acknowledged: bool
    retried_since: int
    ladders: tuple[Ladder, Ladder]
    booking: str = ""

    @property
    def stops(self) -> bool:
        """Whether something was refused or withheld."""
        return self.verdict.action in (Action.REFUSE, Action.WITHHOLD)

    @property
    def releases(self) -> bool:
        """Whether an image may leave."""
        return self.stage is Stage.OUTPUT and self.verdict.action is Action.ALLOW

    @property
    def refusal(self) -> bool:
        """Whether it counts as one against probing: what broke here is nobody's doing."""
        return self.stops and self.verdict.rule != FAULT


@dataclass(frozen=True, slots=True)
class Consequence:
    """What a decision led to. ``struck``: it has a strike that none of its retries had."""

    struck: bool = False
    warned: bool = False
    suspended: bool = False
    tenant_warned: bool = False
    tenant_suspended: bool = False


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks, and since when refusals count."""

    tenant: str
    user: str
    at: int
    refusals_since: int
    strikes_since: int


@dataclass(frozen=True, slots=True)
class Standing:
    """How one who asks stands. ``suspended_until``: 0 where not; refusals: of different requests, told up to a few thousand."""

    suspended_until: int = 0
    strikes: int = 0
    warned: bool = False
    refusals: int = 0
    tenant_refusals: int = 0
    images_today: int = 0
    images_booked: int = 0
    """That may yet be released, by requests in flight."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody wants to be let in with a request. ``images``: that may come of it; ``booking``: a name that no other has, under which they are booked."""

    asking: Asking
    per_minute: int
    images: int
    images_per_day: int
    booking: str
    booked_until: int


@dataclass(frozen=True, slots=True)
class Entered:
    """What came of it. ``hurried``: there were too many in a minute, and nothing else was looked at."""

    standing: Standing = Standing()
    hurried: bool = False
    booked: bool = False


class Outcome(StrEnum):
    """How an appeal ended."""

    OPEN = "open"
    UPHELD = "upheld"
    OVERTURNED = "overturned"


@dataclass(frozen=True, slots=True)
class Appeal:
    """Somebody says that a refusal was wrong. ``grade``: the gravest of the request's refusals; ``strikes``: as they count."""

    request: str
    tenant: str
    at: int
    grade: Grade
    strikes: int
    outcome: Outcome = Outcome.OPEN
    settled_at: int = 0
    people: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What was taken back by an appeal."""

    strikes: int = 0
    warnings: int = 0
    suspensions: int = 0


@dataclass(frozen=True, slots=True)
class Count:
    """So many decisions of one sort. ``category`` is empty for what stopped nothing."""

    stage: Stage
    action: Action
    grade: Grade
    category: Category | None
    decisions: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What happened to people in a period."""

    strikes: int = 0
    warnings: int = 0
    suspensions: int = 0
    appeals: int = 0
    overturned: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """All that was counted from one day to another, both included (UTC)."""

    first: date
    last: date
    counts: tuple[Count, ...]
    totals: Totals


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as it was kept. ``facts``: names and scores; ``versions``: of what noticed them."""

    number: int
    at: int
    tenant: str
    user: str
    request: str
    stage: Stage
    action: Action
    rule: str
    grade: Grade
    category: Category
    report: bool
    strikes: int
    facts: tuple[tuple[str, float | None], ...]
    policy: str
    acknowledged: bool
    versions: tuple[str, ...]


class Ledger(Protocol):
    """Everything that is asked of it. Every method may raise StorageError."""

    async def enter(self, entry: Entry) -> Entered:
        """Count a request, and book its images: both for all gateways together. Who may not come in has nothing booked.

        A loss of power may forget it: it ends the request, too.
        """

    def give_back(self, booking: str) -> None:
        """What is left of a booking was not used. Nobody waits for that to be written: a booking that is not given back ends by itself."""

    async def note(self, noted: Noted) -> Consequence:
        """Write a decision and all that follows from it."""

    async def standing(self, asking: Asking) -> Standing:
        """How one stands who asks."""

    async def appeal(self, tenant: str, request: str, at: int) -> Appeal:
        """Open an appeal, once. Raises InputError where this tenant has no refusal of that name."""

    async def appeals(self, outcome: Outcome) -> Sequence[Appeal]:
        """All that ended so, the oldest first."""

    async def appealed(self, request: str) -> Appeal:
        """One of them. Raises InputError."""

    async def settle(self, request: str, outcome: Outcome, people: Sequence[str], at: int) -> Restored:
        """End an appeal, once. Overturned: its strikes are taken back, and what there would not be without them is lifted. Raises InputError."""

    async def tally(self, first: date, last: date) -> Tally:
        """What was counted."""

    async def decisions(self, after: int, limit: int) -> Sequence[Decision]:
        """Those with greater numbers, in order."""

    async def forget(self, before: int) -> int:
        """Drop older decisions that have no strike and no appeal. Returns how many."""


def day_of(at: int) -> str:
    """The day of a time, UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()


def no_such_refusal() -> InputError:
    """There is nothing to appeal against."""
    return InputError("there is no refusal of that request", hint="give the x-request-id of the refusal")


def already_settled() -> InputError:
    """An appeal is settled once."""
    return InputError("that appeal is settled already")
