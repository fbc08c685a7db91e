"""What waits to be sent: encrypted, handed to one worker at a time, and gone when it was received.

Promises that what was put is there until it is deleted or dropped, whatever crashes; that the same key is put once, ever, also after it was delivered;
that two workers never have the same item under a lease; and that every delivery of an item carries the same key, so that a receiver can tell a second
one. A crash after the authority received it and before it is deleted is the one case of a second delivery; what a route saved tells it how far it was.
It knows nothing of incidents, routes or authorities: the payload is opaque. Format: docs/formats/outbox.md.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Annotated, Final

import msgspec

from custodes.crypto.keys import TransportKey
from custodes.errors import InputError, WorldError
from custodes.handover.locker import Damaged, Locker
from custodes.handover.place import Place
from custodes.handover.words import Environment, check_word

__all__ = ["FORMAT", "Head", "Item", "LeaseLost", "Letter", "Outbox", "Pace", "Put", "Seams", "State", "Survey"]

FORMAT: Final = "custodes-outbox/1"
KEY_CHARS_MAX: Final = 256
PAYLOAD_BYTES_MAX: Final = 16 << 20
PROGRESS_MAX: Final = 256  # entries
PROGRESS_CHARS_MAX: Final = 1024  # of a value
WAIT_S_MAX: Final = 86_400  # that a service may ask for
_AHEAD: Final = timedelta(hours=1)

Time = Annotated[datetime, msgspec.Meta(tz=True)]


class LeaseLost(WorldError):  # noqa: N818 - what happened, not what went wrong
    """The item is another worker's by now, or gone. Whoever hears this does nothing further with it."""


class State(StrEnum):
    """Of an item that is there. One that was delivered is not there."""

    WAITING = "waiting"
    SENDING = "sending"
    DEAD = "dead"
    """Not tried again until a person says so."""


class Put(StrEnum):
    """What came of putting a letter."""

    NEW = "new"
    SAME = "same"
    """It is there already."""
    OTHER = "other"
    """Another payload is there under this key, and stays."""
    DELIVERED = "delivered"
    """It was there, and was received."""


class Letter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be sent. ``key``: the idempotency key, which every delivery of it carries."""

    key: str
    route: str
    environment: Environment
    payload: bytes

    def __post_init__(self) -> None:
        check_word(self.route)
        if self.environment not in ("test", "production"):
            raise ValueError("the environment is test or production")
        if not 1 <= len(self.key) <= KEY_CHARS_MAX:
            raise ValueError(f"a key has 1 to {KEY_CHARS_MAX} characters")
        if len(self.payload) > PAYLOAD_BYTES_MAX:
            raise ValueError(f"a payload has at most {PAYLOAD_BYTES_MAX:,} bytes")

    def __repr__(self) -> str:
        return f"<Letter {self.environment}>"


class Head(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item without its payload. ``error``: the sort of the last failure, one word. ``progress`` is the route's own."""

    id: str
    key: str
    route: str
    environment: Environment
    created: Time
    next_try: Time
    state: State = State.WAITING
    attempts: int = 0
    error: str = ""
    progress: dict[str, str] = {}
    lease: str = ""
    leased_until: Time | None = None

    def __repr__(self) -> str:
        return f"<Head {self.environment} {self.state.value}>"


class Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What waits, and all that is known of it."""

    head: Head
    payload: bytes

    def __repr__(self) -> str:
        return f"<Item {self.head.environment} {self.head.state.value}>"


class Pace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long things take. An attempt that fails is followed by a pause that doubles from ``first_s`` to ``cap_s``, half of it by chance."""

    lease_s: float = 600
    first_s: float = 60
    cap_s: float = 3600
    attempts_max: int = 100
    alarm_after_s: float = 86_400

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.cap_s <= WAIT_S_MAX:
            raise ValueError(f"first_s is more than 0, and cap_s from there to {WAIT_S_MAX:,}")
        if self.lease_s <= 0 or self.alarm_after_s <= 0 or self.attempts_max < 1:
            raise ValueError("lease_s and alarm_after_s are more than 0, and attempts_max is at least 1")


@dataclass(frozen=True, slots=True)
class Seams:
    """The time, and chance. ``clock``: in place of the one that all who share the outbox have."""

    clock: Callable[[], datetime] | None = None
    chance: Callable[[], float] = random.random  # of a pause, which is no secret


@dataclass(frozen=True, slots=True)
class Survey:
    """All that is there. ``damaged``: files that cannot be read back, by name; each is in the way of nothing else."""

    items: tuple[Head, ...]
    damaged: tuple[str, ...]
    taken: datetime
    alarm_after_s: float

    @property
    def oldest(self) -> datetime | None:
        """When the item that has been there longest was put."""
        return min((item.created for item in self.items), default=None)

    @property
    def alarm_at(self) -> datetime | None:
        """When something will have waited, or has waited, for too long."""
        return None if self.oldest is None else self.oldest + timedelta(seconds=self.alarm_after_s)

    @property
    def alarming(self) -> bool:
        """Something waits for too long, in whatever state, or cannot be read, or is of a time still to come: then no age of it can be believed."""
        overdue = self.alarm_at is not None and self.alarm_at <= self.taken
        return overdue or bool(self.damaged) or any(item.created > self.taken + _AHEAD for item in self.items)


class Outbox:
    """The outbox of a place. Opening it raises ConfigError where a transport key is missing that something in it is locked under; ``keys``: the first locks."""

    def __init__(
        self, place: Place, keys: Sequence[TransportKey], pace: Pace | None = None, seams: Seams | None = None
    ) -> None:
        self._locker = Locker(place, FORMAT, keys)
        self._pace = pace or Pace()
        seams = seams or Seams()
        self._now, self._chance = seams.clock or place.now, seams.chance
        self._queues: dict[
            tuple[str, str], list[str]
        ] = {}  # what is due, as it was when it was last looked up: hints only

    # -- who has something to send

    def put(self, letter: Letter) -> Put:
        """It waits from now on, and is durable. Of a key that was ever put nothing changes."""
        return self._locker.alone(lambda: self._put(letter))

    def _put(self, letter: Letter) -> Put:
        name, now = self._locker.name(letter.key), self._now()
        if self._locker.spent(name):
            return Put.DELIVERED
        if (there := self._read(name)) is not None:
            return Put.SAME if there.payload == letter.payload else Put.OTHER
        head = Head(
            id=name, key=letter.key, route=letter.route, environment=letter.environment, created=now, next_try=now
        )
        self._write(Item(head=head, payload=letter.payload))
        return Put.NEW

    def known(self, key: str) -> bool:
        """Whether a letter of this key is there, or was delivered."""
        name = self._locker.name(key)
        return self._locker.spent(name) or name in self._locker

    # -- who sends

    def take(self, route: str, environment: Environment) -> Item | None:
        """An item that is due, under a lease: nobody else has it until the lease ends. None where nothing is due."""
        queue = self._queues.setdefault((route, environment), [])
        if (item := self._first(queue)) is None:
            queue += [head.id for head in reversed(self._due(route, environment))]
            item = self._first(queue)
        return item

    def save(self, item: Item, progress: Mapping[str, str]) -> Item:
        """Keep how far the route has come, and begin the lease anew. To be called before each step that cannot be taken back."""
        if len(progress) > PROGRESS_MAX or any(len(value) > PROGRESS_CHARS_MAX for value in progress.values()):
            raise InputError(f"progress has at most {PROGRESS_MAX} values of {PROGRESS_CHARS_MAX:,} characters")
        for name in progress:
            check_word(name)
        return self._change(item, progress=dict(progress), leased_until=self._lease_end())

    def retry(self, item: Item, error: str, after_s: float = 0.0) -> State:
        """It was not delivered: again after a pause, or after what the service asked for if that is longer. After too many attempts it is dead."""
        if item.head.attempts >= self._pace.attempts_max:
            return self.bury(item, error)
        pause = self._pace.first_s * 2 ** min(item.head.attempts - 1, 32)
        pause = min(pause, self._pace.cap_s) * (0.5 + 0.5 * self._chance())
        pause = max(pause, min(after_s, WAIT_S_MAX))
        return self._release(item, error, State.WAITING, pause)

    def bury(self, item: Item, error: str) -> State:
        """It cannot be delivered as it is: a dead letter, kept for a person to look into."""
        return self._release(item, error, State.DEAD, 0.0)

    def delete(self, item: Item) -> None:
        """It was received: its content is gone, and its key is never taken again. Raises LeaseLost."""

        def gone() -> None:
            self._mine(item)
            self._locker.spend(item.head.id)

        self._locker.alone(gone)

    # -- who looks after it

    def survey(self) -> Survey:
        """All that is there, without payloads, in the order in which it is due."""
        heads: list[Head] = []
        damaged: list[str] = []
        for name, content in self._locker.each():
            try:
                heads.append(self._parsed(content).head)
            except Damaged:
                damaged.append(name)
        heads.sort(key=lambda head: (head.next_try, head.created, head.id))
        return Survey(tuple(heads), tuple(damaged), self._now(), self._pace.alarm_after_s)

    def get(self, name: str) -> Item | None:
        """One item, to be shown. Raises Damaged."""
        return self._read(name)

    def revive(self, name: str) -> None:
        """A dead letter is tried again, from where its route had come. So is one whose lease ends later than a lease can: the clock was set back."""

        def revived() -> None:
            item = self._there(name)
            if item.head.state is not State.DEAD and not self._lease_is_odd(item.head):
                raise InputError("this item is no dead letter", hint="it is tried by itself")
            head = _freed(item.head, state=State.WAITING, next_try=self._now(), attempts=0)
            self._write(Item(head=head, payload=item.payload))

        self._locker.alone(revived)

    def drop(self, name: str) -> None:
        """Delete what was not delivered, readable or not; its key may be put again. Refused while it is being sent."""

        def dropped() -> None:
            try:
                item = self._there(name)
            except Damaged:
                item = None
            if item is not None and item.head.state is State.SENDING and not self._free(item.head):
                raise InputError("this item is being sent", hint="try again when its lease has ended")
            self._locker.remove(name)

        self._locker.alone(dropped)

    def rotate(self) -> int:
        """Lock every item under the first key; see ``Locker.rotate``."""
        return self._locker.rotate()

    # -- leases

    def _first(self, queue: list[str]) -> Item | None:
        while queue:
            if (item := self._locker.alone(partial(self._lease, queue.pop()))) is not None:
                return item
        return None

    def _due(self, route: str, environment: Environment) -> list[Head]:
        now = self._now()
        return [h for h in self.survey().items if (h.route, h.environment) == (route, environment) and _is_due(h, now)]

    def _lease(self, name: str) -> Item | None:
        """The item, if it is still due: the hint that it is may be old."""
        try:
            item = self._read(name)
        except Damaged:  # the survey tells it
            return None
        if item is None or not _is_due(item.head, self._now()):
            return None
        if item.head.attempts >= self._pace.attempts_max:  # whoever tries it dies
            head = _freed(item.head, state=State.DEAD, error="attempts")
            self._write(Item(head=head, payload=item.payload))
            return None
        head = msgspec.structs.replace(
            item.head,
            state=State.SENDING,
            attempts=item.head.attempts + 1,
            lease=secrets.token_hex(16),
            leased_until=self._lease_end(),
        )
        return self._write(Item(head=head, payload=item.payload))

    def _lease_end(self) -> datetime:
        return self._now() + timedelta(seconds=self._pace.lease_s)

    def _lease_is_odd(self, head: Head) -> bool:
        return head.leased_until is not None and head.leased_until > self._lease_end()

    def _free(self, head: Head) -> bool:
        return head.leased_until is None or head.leased_until <= self._now()

    def _mine(self, item: Item) -> Item:
        """The item as it is now, if it is still under the lease that it was taken with: also one that has ended, if nobody took it since."""
        there = self._read(item.head.id)
        if there is None or there.head.state is not State.SENDING or there.head.lease != item.head.lease:
            raise LeaseLost(
                "the lease of this item ended, and it is no longer this worker's",
                hint="if this happens often, give leases more time: lease_s",
            )
        return there

    def _change(self, item: Item, **changed: object) -> Item:
        def change() -> Item:
            there = self._mine(item)
            return self._write(Item(head=msgspec.structs.replace(there.head, **changed), payload=there.payload))

        return self._locker.alone(change)

    def _release(self, item: Item, error: str, state: State, pause_s: float) -> State:
        check_word(error)
        next_try = self._now() + timedelta(seconds=pause_s)
        self._change(item, state=state, error=error, next_try=next_try, lease="", leased_until=None)
        return state

    # -- pieces

    def _there(self, name: str) -> Item:
        item = self._read(name)
        if item is None:
            raise InputError("there is no such item in the outbox")
        return item

    def _read(self, name: str) -> Item | None:
        content = self._locker.read(name)
        return None if content is None else self._parsed(content)

    def _parsed(self, content: bytes | Damaged) -> Item:
        if isinstance(content, Damaged):
            raise content
        try:
            return msgspec.msgpack.decode(content, type=Item)
        except msgspec.MsgspecError as error:
            raise Damaged(f"an item of {self._locker.place} is of another format") from error

    def _write(self, item: Item) -> Item:
        self._locker.write(item.head.id, msgspec.msgpack.encode(item))
        return item


def _is_due(head: Head, now: datetime) -> bool:
    """A time further off than any pause is from before the clock was set back."""
    if head.state is State.SENDING:
        return head.leased_until is None or head.leased_until <= now
    if head.state is State.DEAD:
        return False
    return head.next_try <= now or head.next_try > now + timedelta(seconds=WAIT_S_MAX)


def _freed(head: Head, **changed: object) -> Head:
    return msgspec.structs.replace(head, lease="", leased_until=None, **changed)
