"""A ledger in plain Python: slow, simple, and written without a look at the other. What both say must be the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from custodes.gateway.people.ledger import (
    Appeal,
    Asking,
    Consequence,
    Count,
    Decision,
    Entered,
    Entry,
    Noted,
    Outcome,
    Restored,
    Standing,
    Tally,
    Totals,
    already_settled,
    day_of,
    no_such_refusal,
)
from custodes.gateway.vocabulary import Action, Grade, Stage


@dataclass
class Strike:
    noted: Noted
    weight: int
    requests: set[str]
    overturned: bool = False


@dataclass
class Step:
    kind: str
    who: tuple[str, str]
    at: int
    until: int
    since: int
    strikes: list[Strike]
    needed: int
    lifted: bool = False

    @property
    def deserved(self) -> bool:
        return weigh(self.strikes, self.since) >= self.needed


def weigh(strikes: Sequence[Strike], since: int) -> int:
    return sum(each.weight for each in strikes if not each.overturned and each.noted.at > since)


@dataclass
class MemoryLedger:
    """All that was noted, and every question answered by walking over it."""

    all: list[tuple[int, Noted]] = field(default_factory=list)
    strikes: list[Strike] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    appealed_: dict[str, Appeal] = field(default_factory=dict)
    counters: Counter[tuple[str, str, Stage, Action, Grade, str]] = field(default_factory=Counter)
    numbers: int = 0
    bookings: dict[str, list[Any]] = field(default_factory=dict)
    rates: dict[str, list[int]] = field(default_factory=dict)

    def close(self) -> None:
        """Nothing is open."""

    async def note(self, noted: Noted) -> Consequence:
        self.numbers += 1
        self.all.append((self.numbers, noted))
        verdict = noted.verdict
        category = verdict.category.value if noted.stops else ""
        key = (day_of(noted.at), noted.tenant, noted.stage, verdict.action, verdict.grade, category)
        self.counters[key] += 1
        if noted.releases and (booked := self.bookings.get(noted.booking)) and booked[1]:
            booked[1] -= 1
        if not verdict.strikes or not self._strike(noted):
            return Consequence()
        own = self._climb(noted, noted.user, 0) if noted.user else (False, False)
        return Consequence(True, *own, *self._climb(noted, "", 1))

    def _strike(self, noted: Noted) -> bool:
        same = [s for s in self.strikes if s.noted.name == noted.name and s.noted.at > noted.retried_since]
        if not same:
            self.strikes.append(Strike(noted, noted.verdict.strikes, {noted.request}))
            return True
        newest = max(same, key=lambda each: each.noted.at)
        newest.requests.add(noted.request)
        graver = noted.verdict.strikes > newest.weight
        newest.weight = max(newest.weight, noted.verdict.strikes)
        return graver

    def _of(self, tenant: str, user: str) -> list[Strike]:
        return [s for s in self.strikes if s.noted.tenant == tenant and user in ("", s.noted.user)]

    def _climb(self, noted: Noted, user: str, which: int) -> tuple[bool, bool]:
        ladder, who, since = noted.ladders[which], (noted.tenant, user), noted.at - noted.ladders[which].window_ms
        strikes = self._of(*who)
        weight = weigh(strikes, since)
        warned = weight >= ladder.warn_at and not self._lasting("warning", who, noted.at)
        if warned:
            until = noted.at + ladder.window_ms
            self.steps.append(Step("warning", who, noted.at, until, since, strikes, ladder.warn_at))
        suspended = weight >= ladder.suspend_at and not self._lasting("suspension", who, noted.at)
        if suspended:
            until = noted.at + ladder.suspension_ms(len(self._lasting("suspension", who, 0)))
            self.steps.append(Step("suspension", who, noted.at, until, since, strikes, ladder.suspend_at))
        return warned, suspended

    def _lasting(self, kind: str, who: tuple[str, str], at: int) -> list[Step]:
        return [s for s in self.steps if (s.kind, s.who) == (kind, who) and s.until > at and not s.lifted]

    async def standing(self, asking: Asking) -> Standing:
        tenant, user, since = asking.tenant, asking.user, asking.refusals_since
        mine = [n for _, n in self.all if n.refusal and n.tenant == tenant and n.at > since]
        suspensions = [s for who in {user, ""} for s in self._lasting("suspension", (tenant, who), asking.at)]
        today = day_of(asking.at)
        return Standing(
            suspended_until=max((s.until for s in suspensions), default=0),
            strikes=weigh(self._of(tenant, user), asking.strikes_since),
            warned=bool(self._lasting("warning", (tenant, user), asking.at)),
            refusals=len({n.request for n in mine if n.user == user}) if user else 0,
            tenant_refusals=len({n.request for n in mine}),
            images_today=sum(
                count
                for (day, whose, stage, action, *_), count in self.counters.items()
                if (day, whose, stage, action) == (today, tenant, Stage.OUTPUT, Action.ALLOW)
            ),
            images_booked=sum(n for whose, n, until in self.bookings.values() if whose == tenant and until > asking.at),
        )

    async def enter(self, entry: Entry) -> Entered:
        """The rate as tokens are counted by hand: one comes back every so many milliseconds, up to a minute's worth."""
        asking = entry.asking
        full, step = entry.per_minute * 60_000, entry.per_minute
        room, at = self.rates.get(asking.tenant, [full, asking.at])
        room = min(full, room + max(0, asking.at - at) * step)
        if room < 60_000:
            return Entered(hurried=True)
        self.rates[asking.tenant] = [room - 60_000, max(at, asking.at)]
        standing = await self.standing(asking)
        if standing.suspended_until or standing.images_today + standing.images_booked + entry.images > (
            entry.images_per_day
        ):
            return Entered(standing)
        if entry.images:
            self.bookings[entry.booking] = [asking.tenant, entry.images, entry.booked_until]
        return Entered(standing, booked=True)

    def give_back(self, booking: str) -> None:
        self.bookings.pop(booking, None)

    async def appeal(self, tenant: str, request: str, at: int) -> Appeal:
        of = [n for _, n in self.all if n.request == request and n.refusal]
        if not any(n.tenant == tenant for n in of):
            raise no_such_refusal()
        self.appealed_.setdefault(request, Appeal(request, tenant, at, Grade.NONE, 0))
        return await self.appealed(request)

    async def appeals(self, outcome: Outcome) -> Sequence[Appeal]:
        found = [await self.appealed(each.request) for each in self.appealed_.values() if each.outcome is outcome]
        return sorted(found, key=lambda each: (each.at, each.request))

    async def appealed(self, request: str) -> Appeal:
        if request not in self.appealed_:
            raise no_such_refusal()
        grades = {n.verdict.grade for _, n in self.all if n.request == request and n.refusal}
        gravest = Grade.HARD if Grade.HARD in grades else Grade.SOFT if Grade.SOFT in grades else Grade.NONE
        weight = sum(s.weight for s in self.strikes if request in s.requests and not s.overturned)
        return replace(self.appealed_[request], grade=gravest, strikes=weight)

    async def settle(self, request: str, outcome: Outcome, people: Sequence[str], at: int) -> Restored:
        appeal = await self.appealed(request)
        if appeal.outcome is not Outcome.OPEN or outcome is Outcome.OPEN:
            raise already_settled()
        self.appealed_[request] = replace(appeal, outcome=outcome, settled_at=at, people=tuple(people))
        if outcome is Outcome.UPHELD:
            return Restored()
        those = [s for s in self.strikes if request in s.requests and not s.overturned]
        for each in those:
            each.overturned = True
        # Every step is asked anew, though only those of the same people can have changed.
        wrong = [s for s in self.steps if not s.lifted and not s.deserved]
        for step in wrong:
            step.lifted = True
        kinds = [s.kind for s in wrong]
        return Restored(sum(s.weight for s in those), kinds.count("warning"), kinds.count("suspension"))

    async def tally(self, first: date, last: date) -> Tally:
        def within(at: int) -> bool:
            return first.isoformat() <= day_of(at) <= last.isoformat()

        sums: Counter[tuple[Stage, Action, Grade, str]] = Counter()
        for (day, _, *sort), count in self.counters.items():
            if first.isoformat() <= day <= last.isoformat():
                sums[tuple(sort)] += count  # type: ignore[index]
        appeals = self.appealed_.values()
        totals = Totals(
            strikes=sum(s.weight for s in self.strikes if within(s.noted.at)),
            warnings=sum(s.kind == "warning" and within(s.at) for s in self.steps),
            suspensions=sum(s.kind == "suspension" and within(s.at) for s in self.steps),
            appeals=sum(within(a.at) for a in appeals),
            overturned=sum(a.outcome is Outcome.OVERTURNED and within(a.settled_at) for a in appeals),
        )
        ordered = sorted(sums.items(), key=lambda each: [str(part) for part in each[0]])
        return Tally(first, last, tuple(Count(*sort[:3], sort[3] or None, n) for sort, n in ordered), totals)  # type: ignore[arg-type]

    async def decisions(self, after: int, limit: int) -> Sequence[Decision]:
        return [_decision(number, n) for number, n in self.all if number > after][:limit]

    async def forget(self, before: int) -> int:
        old = [
            (number, n)
            for number, n in self.all
            if n.at < before and not n.verdict.strikes and n.request not in self.appealed_
        ]
        self.all = [each for each in self.all if each not in old]
        return len(old)


def _decision(number: int, n: Noted) -> Decision:
    v = n.verdict
    facts = sorted({(f.name, f.score) for f in n.facts}, key=lambda each: (each[0], each[1] or 0.0))
    return Decision(
        number=number,
        at=n.at,
        tenant=n.tenant,
        user=n.user,
        request=n.request,
        stage=n.stage,  # type: ignore[arg-type]
        action=v.action,
        rule=v.rule,
        grade=v.grade,
        category=v.category,
        report=v.report,  # type: ignore[arg-type]
        strikes=v.strikes,
        facts=tuple(facts),
        policy=n.policy,  # type: ignore[arg-type]
        acknowledged=n.acknowledged,
        versions=tuple(sorted({f.by for f in n.facts})),
    )
