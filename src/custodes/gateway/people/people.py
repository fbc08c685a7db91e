"""Who asks, how much they may, and what is kept of what was decided: the door's ``Admitting`` and the guard's ``Records``.

Promises that a key is looked for in constant time and kept nowhere; that an end user and a request are known here by names made under the run key alone;
that who is suspended does not pass; that what is recorded is durable before anybody is answered; and that a limit of rate is never told as a refusal, nor
a refusal as a limit.
What the policy says is for ``rules``.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

from custodes.crypto.keys import RunKey
from custodes.errors import StorageError
from custodes.gateway.door import Denial, DeniedError
from custodes.gateway.guard import Caller, RefusedError, UnableError
from custodes.gateway.people.flights import Flights
from custodes.gateway.people.ledger import Asking, Entered, Entry, Ledger, Noted, Standing
from custodes.gateway.people.metrics import Metrics
from custodes.gateway.people.settings import DAY_MS, PeopleSettings, TenantSettings, ladders
from custodes.gateway.vocabulary import Action, Fact, Grade, Stage, Verdict
from custodes.serving.rate import Rate

__all__ = ["Means", "People", "Recording", "name_of"]

T = TypeVar("T")
LEDGER_S: Final = 10.0
"""After so long without an answer of the ledger nobody is let in."""
_BOOKED_MS: Final = 3_600_000
"""A gateway that is killed gives nothing back: what it had booked is free after so long."""
_IN_FLIGHT_S: Final = 30
_NAME_HEX: Final = 32
_VISITS_MIN: Final = 1_200
_VISITS: Final = 20
"""Who waits for a picture may look how far it is so many times for each request of its rate, and so often in any case."""


@dataclass(frozen=True, slots=True)
class Means:
    """What people are known and told by."""

    key: RunKey
    metrics: Metrics = field(default_factory=Metrics)
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def name_of(request: str) -> str:
    """What all retries of a request share: the rest of its id tells in which hour it was asked."""
    return request.rpartition("-")[0] or request


class _Rated:
    """So many a minute. Raises DeniedError where there are more."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self.per_minute = per_minute
        self._rate, self._wait_s = Rate(per_minute, clock), math.ceil(60 / per_minute)

    def take(self) -> None:
        if not self._rate.take(1):
            raise self.hurried()

    def hurried(self) -> DeniedError:
        return DeniedError(Denial.RATE, "too many requests in a minute", retry_after_s=self._wait_s)


class People:
    """Of one gateway process. What may be asked for, strikes and their consequences are the ledger's, and so of all that share it.

    Of this process alone are: how often somebody may look how far a request is, how many wait for a delayed answer, and which requests a hard refusal ends.
    """

    def __init__(self, ledger: Ledger, settings: PeopleSettings, means: Means) -> None:
        self._ledger, self._means = ledger, means
        self._user, self._request = means.key.naming("gateway user"), means.key.naming("gateway request")
        self._rates: dict[str, _Rated] = {}
        self._visits: dict[str, _Rated] = {}
        self.use(settings)
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._booked: dict[str, int] = {}
        self.flights = Flights(self._landed)

    def use(self, settings: PeopleSettings) -> None:
        """Take tenants and limits as they are now, for requests that come from here on. What of a minute is used up stays so."""
        self._settings, self._ladders = settings, ladders(settings.strikes)
        rates = {name: tenant.requests_per_minute for name, tenant in settings.tenants.items()}
        visits = {name: max(_VISITS_MIN, rate * _VISITS) for name, rate in rates.items()}
        self._rates, self._visits = self._rated(self._rates, rates), self._rated(self._visits, visits)

    def _rated(self, before: Mapping[str, _Rated], wanted: Mapping[str, int]) -> dict[str, _Rated]:
        kept = {name: rated for name, rated in before.items() if rated.per_minute == wanted.get(name)}
        return {name: kept.get(name) or _Rated(rate, self._means.clock) for name, rate in wanted.items()}

    # -- the door's Admitting

    def known(self, key: str) -> frozenset[str]:
        """The models that the tenant with this key is held to; none: to no list. Raises DeniedError."""
        return frozenset(self._tenant(key)[1].models)

    async def caller(self, key: str, user: str, request: str, images: int = 1) -> Caller:
        """1. Whose key. 2. Not too many. 3. Not suspended, and images left. 4. Later, who was refused often. Raises DeniedError, UnableError.

        Who comes in has so many images booked until the request has landed: they are nobody else's meanwhile.
        """
        name, tenant = self._tenant(key)  # 1
        rate = self._rates[name]
        rate.take()  # 2, here first: so that nobody keeps the ledger busy
        names = self._user_name(name, tenant, user), self._request_name(name, user, request)
        caller = Caller(name, *names, booking=secrets.token_hex(16))
        with self._booking(caller.booking, images):
            entered = await self._enters(caller, tenant, images)
            if entered.hurried:
                raise rate.hurried()
            standing = entered.standing
            self._may(standing)  # 3
            if not entered.booked:
                self._has_left(tenant, standing, images)
            if delay_s := self._settings.probing.delay_s(standing.refusals, standing.tenant_refusals):  # 4
                await self._delayed(caller, standing, delay_s)
                standing = await self._stands(caller)
                self._may(standing)
            self.flights.enter(caller)
        return replace(caller, warned=standing.warned)

    @contextmanager
    def _booking(self, booking: str, images: int) -> Iterator[None]:
        """Images are this request's; given back where it is not let in, whatever stops it."""
        self._booked[booking] = images
        let_in = False
        try:
            yield
            let_in = True
        finally:
            if not let_in:
                self._landed(booking)

    async def _enters(self, caller: Caller, tenant: TenantSettings, images: int) -> Entered:
        """What the ledger says to it. Raises UnableError."""
        now = self._now()
        entry = Entry(
            asking=self._asking(caller, now),
            per_minute=tenant.requests_per_minute,
            images=images,
            images_per_day=tenant.images_per_day,
            booking=caller.booking,
            booked_until=now + _BOOKED_MS,
        )
        return await self._answered(self._ledger.enter(entry))

    def _landed(self, booking: str) -> None:
        """The request is over. What of its booking was not released is given back."""
        if self._booked.pop(booking, 0):
            self._ledger.give_back(booking)

    async def visitor(self, key: str, user: str) -> Caller:
        """The steps 1 to 3, at another rate, and without images. Raises DeniedError, UnableError."""
        name, tenant = self._tenant(key)
        self._visits[name].take()
        caller = Caller(name, self._user_name(name, tenant, user))
        standing = await self._stands(caller)
        self._may(standing)
        return replace(caller, warned=standing.warned)

    async def standing(self, caller: Caller) -> Standing:
        """How the caller stands. Raises StorageError."""
        return await self._ledger.standing(self._asking(caller, self._now()))

    def _asking(self, caller: Caller, now: int) -> Asking:
        since = now - self._settings.probing.window_s * 1000
        strikes_since = now - self._settings.strikes.window_days * DAY_MS
        return Asking(caller.tenant, caller.user, now, since, strikes_since)

    async def _stands(self, caller: Caller) -> Standing:
        return await self._answered(self.standing(caller))

    async def _answered(self, asked: Awaitable[T]) -> T:
        """What the ledger says, if it says it in time. Raises UnableError."""
        try:
            async with asyncio.timeout(LEDGER_S):
                return await asked
        except (StorageError, TimeoutError) as error:
            raise UnableError("the ledger") from error

    def _tenant(self, key: str) -> tuple[str, TenantSettings]:
        """All keys are compared, each in constant time."""
        given = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        found = [
            name for name, tenant in self._settings.tenants.items() if hmac.compare_digest(given, tenant.key_sha256)
        ]
        if not found:
            raise DeniedError(Denial.KEY, "the key is not known here")
        return found[0], self._settings.tenants[found[0]]

    def _user_name(self, name: str, tenant: TenantSettings, user: str) -> str:
        """A hint of a tenant, which nobody has proved: the same words of two tenants are two users."""
        if not user and not tenant.one_user:
            return ""
        return self._user(name.encode(), user.encode("utf-8", "surrogatepass")).hex()[:_NAME_HEX]

    def _request_name(self, name: str, user: str, request: str) -> str:
        """The same for retries within one window of time; ``name_of`` is the same for all."""
        parts = (name, user, request or secrets.token_hex(16))
        named = self._request(*(part.encode("utf-8", "surrogatepass") for part in parts)).hex()[:_NAME_HEX]
        return f"req_{named}-{self._now() // (self._settings.strikes.retry_window_s * 1000):x}"

    def _may(self, standing: Standing) -> None:
        if standing.suspended_until:
            until = datetime.fromtimestamp(standing.suspended_until // 1000, UTC).isoformat()
            raise DeniedError(
                Denial.SUSPENDED, f"suspended until {until}: a refusal can be appealed against by its request id"
            )

    def _has_left(self, tenant: TenantSettings, standing: Standing, images: int) -> None:
        """Say why there is none: they are used up, or may be by what is in flight."""
        if standing.images_today + images > tenant.images_per_day:
            wait_s = math.ceil((DAY_MS - self._now() % DAY_MS) / 1000)
            raise DeniedError(Denial.RATE, "no images are left for today (UTC)", retry_after_s=wait_s)
        raise DeniedError(
            Denial.RATE, "the images that are left are asked for by other requests", retry_after_s=_IN_FLIGHT_S
        )

    async def _delayed(self, caller: Caller, standing: Standing, delay_s: float) -> None:
        """Wait; or come later, where enough do already, since who waits holds a place."""
        probing = self._settings.probing
        own = probing.delay_s(standing.refusals, 0) >= delay_s
        with self._place((caller.tenant, caller.user if own else ""), delay_s):
            await self._means.sleep(delay_s)

    @contextmanager
    def _place(self, who: tuple[str, str], delay_s: float) -> Iterator[None]:
        if self._waiting[who] >= self._settings.probing.waiting_max:
            raise DeniedError(Denial.RATE, "too many requests are waiting", retry_after_s=math.ceil(delay_s))
        self._waiting[who] += 1
        try:
            yield
        finally:
            self._waiting[who] -= 1
            if not self._waiting[who]:
                del self._waiting[who]

    # -- the guard's Records

    async def decided(  # noqa: PLR0913 - what the guard says, and the policy
        self,
        caller: Caller,
        stage: Stage,
        verdict: Verdict,
        facts: Sequence[Fact],
        *,
        acknowledged: bool = False,
        policy: str = "",
    ) -> None:
        """1. The record, durable. 2. Counts. 3. What else this user has in flight ends, where the refusal is hard. Raises StorageError."""
        now = self._now()
        consequence = await self._ledger.note(  # 1
            Noted(
                at=now,
                tenant=caller.tenant,
                user=caller.user,
                request=caller.request,
                name=name_of(caller.request),
                stage=stage,
                verdict=verdict,
                facts=tuple(facts),
                policy=policy,
                acknowledged=acknowledged,
                retried_since=now - self._settings.strikes.retry_window_s * 1000,
                ladders=self._ladders,
                booking=caller.booking,
            )
        )
        if stage is Stage.OUTPUT and verdict.action is Action.ALLOW and self._booked.get(caller.booking):
            self._booked[caller.booking] -= 1
        self._means.metrics.decided(stage, verdict, consequence)  # 2
        if verdict.grade is Grade.HARD and verdict.strikes:  # 3
            self._means.metrics.cancelled(self.flights.end_siblings(caller, verdict))

    def ended(self) -> RefusedError | None:
        """For a handler that was cancelled: the refusal to answer with, if another request of the same user was why."""
        return self.flights.ended()

    # -- once a day

    async def forgetting(self) -> None:
        """Forget at once, and every day from now on, until it is cancelled. A ledger that is broken is told of by all that is asked of it."""
        while True:
            with suppress(StorageError):
                await self.forget()
            await self._means.sleep(DAY_MS / 1000)

    async def forget(self) -> int:
        """Drop decisions that are past their time. Raises StorageError."""
        return await self._ledger.forget(self._now() - self._settings.decisions_days * DAY_MS)

    def _now(self) -> int:
        return int(self._means.clock() * 1000)


@dataclass(frozen=True, slots=True)
class Recording:
    """The guard's Records: of decisions that are made under the policies whose versions these are, by tenant."""

    people: People
    policy_of: Callable[[str], str]

    async def decided(
        self, caller: Caller, stage: Stage, verdict: Verdict, facts: Sequence[Fact], *, acknowledged: bool
    ) -> None:
        """See ``People.decided``."""
        policy = self.policy_of(caller.tenant)
        await self.people.decided(caller, stage, verdict, facts, acknowledged=acknowledged, policy=policy)
