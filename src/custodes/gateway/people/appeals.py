"""Appeals: who says that a refusal was wrong is heard by a person, and what the refusal led to is taken back if it was.

Promises that a hard refusal is overturned by two people or not at all, each of them on record before it is done. What is told of an appeal is names
and counts: what was asked is not kept anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from custodes.errors import ConfigError
from custodes.gateway.people.ledger import Ledger, Outcome, Restored
from custodes.gateway.vocabulary import Grade
from custodes.handover.approvals import Guarded, Papers, TwoPerson, Wanted, subject_of
from custodes.handover.custody import Custody
from custodes.handover.words import Environment, check_person

__all__ = ["Bench", "Judgement", "overturning"]


@dataclass(frozen=True, slots=True)
class Judgement:
    """How an appeal is to end. ``by``: who says so; ``papers``: the agreement of two, where the refusal was hard."""

    request: str
    outcome: Outcome
    by: str
    papers: Papers | None = None

    def __post_init__(self) -> None:
        check_person(self.by)
        if self.outcome is Outcome.OPEN:
            raise ValueError("an appeal is upheld or overturned")


def overturning(request: str, environment: Environment = "production") -> Wanted:
    """What two people sign: that this refusal is overturned."""
    return Wanted(Guarded.OVERTURN, subject_of([request]), environment)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where appeals are decided. ``rule``: who may agree; ``custody``: where it is recorded that they did."""

    ledger: Ledger
    rule: TwoPerson
    custody: Custody
    environment: Environment = "production"

    async def waiting(self) -> Sequence[str]:
        """Requests whose appeals are open, the oldest first. Raises StorageError."""
        return [appeal.request for appeal in await self.ledger.appeals(Outcome.OPEN)]

    async def decide(self, judgement: Judgement, now: datetime) -> Restored:
        """End an appeal. Raises InputError where there is none, where it was ended, or where two people are needed and did not agree."""
        appeal = await self.ledger.appealed(judgement.request)
        hard = appeal.grade is Grade.HARD and judgement.outcome is Outcome.OVERTURNED
        if (
            hard and appeal.outcome is Outcome.OPEN
        ):  # else the ledger says that it is settled, and no permission is spent
            self._permitted(judgement, now)
        milliseconds = int(now.timestamp() * 1000)
        return await self.ledger.settle(judgement.request, judgement.outcome, (judgement.by,), milliseconds)

    def _permitted(self, judgement: Judgement, now: datetime) -> None:
        if Guarded.OVERTURN not in self.rule.acts:
            raise ConfigError(
                "a hard refusal is overturned by two people, and none are named",
                hint='set two_person = ["overturn"] and approvers under [handover]',
            )
        self.rule.permit(overturning(judgement.request, self.environment), judgement.papers, self.custody, now)
