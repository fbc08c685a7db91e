"""What is handed over by one route: incidents and what a gateway withheld go in, receipts come out, and each step stands in the custody record.

Promises that an incident goes out once in its environment, whoever asks again; that places which are found later follow under the same incident; that a receipt
is durable before what waited is deleted; and that what nobody will take is said when it is queued, or kept as a dead letter, never dropped. What a route
sends is its own; what is sent by which law is for ``profiles``.

On the way, in this order: queued (outbox, then record) ─ sent (record, then the route) ─ received (receipts, record, then the outbox forgets it).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from custodes.errors import InputError
from custodes.handover.custody import Act, Custody, Deed
from custodes.handover.delivery import Dead, Delivered, Ended, Later, Route, key_of
from custodes.handover.incident import Incident
from custodes.handover.outbox import Item, Letter, Outbox, Put, Survey
from custodes.handover.parcel import Handed, Parcel, found_in, handed_in, payload_of
from custodes.handover.receipts import Receipt, Receipts
from custodes.handover.words import Environment

__all__ = ["Desk", "Means", "Queued", "Worked"]

_PLACES: Final = "places"
"""The receipt of our own: which findings were in what was delivered."""

_REFUSED: Final = "refused"


@dataclass(frozen=True)
class Means:
    """What a desk works with. ``who``: the operator, as the record names them."""

    outbox: Outbox
    receipts: Receipts
    custody: Custody
    who: str
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass
class Queued:
    """What became of incidents that were to be sent. ``refused``: by the route, with its reason in words."""

    new: list[str] = field(default_factory=list)
    following: list[str] = field(default_factory=list)
    """Places that were found since an incident was delivered."""
    waiting: int = 0
    delivered: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, more: Queued) -> None:
        """What became of others too."""
        self.new += more.new
        self.following += more.following
        self.waiting += more.waiting
        self.delivered += more.delivered
        self.refused += more.refused


@dataclass
class Worked:
    """What came of a round of sending."""

    delivered: list[str] = field(default_factory=list)
    later: Counter[str] = field(default_factory=Counter)
    dead: list[str] = field(default_factory=list)
    stopped: str = ""
    """Why nothing more was tried: the account needs a person."""


class Desk:
    """One route's."""

    def __init__(self, route: Route, means: Means) -> None:
        self._route = route
        self._means = means

    @property
    def environment(self) -> Environment:
        """The route's."""
        return self._route.environment

    # -- what goes in

    def queue(self, incidents: Iterable[Incident]) -> Queued:
        """Have them wait to be sent, less what was sent or waits already."""
        told = Queued()
        for incident in self._left(incidents, told):
            self._queue(incident, self._deliveries(incident), told)
        return told

    def fresh(self, incidents: Iterable[Incident]) -> list[Incident]:
        """What ``queue`` would have wait now."""
        return list(self._left(incidents, Queued()))

    def queue_parcels(self, parcels: Iterable[Parcel]) -> Queued:
        """The same for what a gateway withheld. It has one name and one place, so nothing follows it, and what waits need not be looked through."""
        told = Queued()
        for parcel in parcels:
            if not self._told_taken(parcel, told):
                continue
            if self._deliveries(parcel):
                told.delivered += 1
            else:
                self._queue(parcel, 0, told)
        return told

    def fresh_parcels(self, parcels: Iterable[Parcel]) -> list[str]:
        """Names of those that ``queue_parcels`` would have wait now."""
        left = (parcel for parcel in parcels if self.takes(parcel) and not self._deliveries(parcel))
        return [parcel.id for parcel in left if not self._means.outbox.known(key_of(self._route, parcel.id))]

    def _left(self, incidents: Iterable[Incident], told: Queued) -> Iterator[Incident]:
        """What of incidents is to be sent and does not wait yet; of the others it is told why not."""
        waiting = {_incident_in(head.key) for head in self.survey().items}
        for incident in incidents:
            if not self._told_taken(incident, told):
                continue
            if waiting & {incident.id, *incident.aliases}:  # what is new of it follows when that is delivered
                told.waiting += 1
                continue
            sent = self._sent(incident)
            left = tuple(place for place in incident.places if place.finding not in sent)
            if left:
                yield msgspec.structs.replace(incident, places=left)
            else:
                told.delivered += 1

    def takes(self, of: Handed) -> bool:
        """Whether the route takes it."""
        return self._told_taken(of, Queued())

    def _told_taken(self, of: Handed, told: Queued) -> bool:
        """The same; if not, it is told why."""
        try:
            self._route.check(of)
        except InputError as error:
            told.refused[str(error)] += 1
            return False
        return True

    def _queue(self, of: Handed, before: int, told: Queued) -> None:
        letter = self._letter(of, before)
        put = self._means.outbox.put(letter)
        if put is Put.NEW:
            self._record(Act.QUEUED, of.id, digest=_digest(letter.payload))
            (told.following if before else told.new).append(of.id)
        else:
            told.waiting += put is not Put.DELIVERED
            told.delivered += put is Put.DELIVERED

    def _letter(self, of: Handed, before: int) -> Letter:
        return Letter(
            key=key_of(self._route, of.id, before),
            route=self._route.name,
            environment=self._route.environment,
            payload=payload_of(of),
        )

    # -- what goes out

    async def work(self, limit: int | None = None) -> Worked:
        """Send what is due, one after the other, until nothing is, or the account refuses."""
        told = Worked()
        tried = 0
        while (limit is None or tried < limit) and not told.stopped:
            item = self._means.outbox.take(self._route.name, self._route.environment)
            if item is None:
                break
            tried += 1
            await self._send(item, told)
        return told

    async def _send(self, item: Item, told: Worked) -> None:
        incident = handed_in(item.payload)
        if item.head.attempts == 1:
            self._record(Act.SENT, incident.id, digest=_digest(item.payload))
        progress = _Progress(self._means, self._route, item, incident.id)
        try:
            ended = await self._route.deliver(incident, item.head.key, progress)
        except InputError:
            ended = Dead(why=_REFUSED)
        self._settle(progress.item, incident, ended, told)

    def _settle(self, item: Item, incident: Handed, ended: Ended, told: Worked) -> None:
        if isinstance(ended, Delivered):
            self._received(item, incident, ended)
            told.delivered.append(incident.id)
        elif isinstance(ended, Later):
            self._means.outbox.retry(item, ended.why, ended.after_s)
            told.later[ended.why] += 1
            told.stopped = ended.why if ended.account else ""
        else:
            self._means.outbox.bury(item, ended.why)
            self._record(Act.BURIED, incident.id, receipt=ended.receipt, reason=ended.why)
            told.dead.append(incident.id)

    def _received(self, item: Item, incident: Handed, ended: Delivered) -> None:
        """The receipt of the authority is kept by now, by its route."""
        findings = msgspec.json.encode(found_in(incident))
        own = Receipt(step=_PLACES, received=self._means.clock(), request_id=ended.receipt, body=findings)
        digest = self._means.receipts.keep(incident.id, self._route.name, self._route.environment, own)
        told = self._means.custody.of(incident.id)
        if not any(each.act is Act.RECEIVED and each.receipt == ended.receipt for each in told):
            self._record(Act.RECEIVED, incident.id, digest=digest, receipt=ended.receipt)
        self._means.outbox.delete(item)

    # -- what is asked of it

    def retract(self, incident: str, reason: str) -> str:
        """Take an incident back that was not delivered yet; returns the act that is recorded. Raises InputError where it was, or is not known."""
        names = [head.id for head in self.survey().items if _incident_in(head.key) == incident]
        if not names:
            delivered = self._means.receipts.of(incident, self._route.name, self._route.environment)
            hint = "what was received cannot be taken back: correct it" if delivered else "see: custodes handover list"
            raise InputError("no such incident waits to be sent by this route", hint=hint)
        for name in names:
            self._means.outbox.drop(name)
        self._record(Act.RETRACTED, incident, reason=reason)
        return Act.RETRACTED.value

    def revive(self) -> int:
        """Try dead letters again."""
        dead = [head for head in self.survey().items if head.state.value == "dead"]
        for head in dead:
            self._means.outbox.revive(head.id)
            self._record(Act.REVIVED, _incident_in(head.key))
        return len(dead)

    def survey(self) -> Survey:
        """What waits for this route."""
        found = self._means.outbox.survey()
        mine = (self._route.name, self._route.environment)
        items = tuple(head for head in found.items if (head.route, head.environment) == mine)
        return Survey(items, found.damaged, found.taken, found.alarm_after_s)

    def receipts_of(self, incident: Incident) -> dict[str, str]:
        """Name of the incident (or one that it had) and the authority's id of each delivery."""
        return {each.request_id: name for name, each in self._own_receipts(incident)}

    # -- what is known of it

    def _deliveries(self, incident: Handed) -> int:
        return sum(1 for _ in self._own_receipts(incident))

    def _sent(self, incident: Incident) -> set[str]:
        sent: set[str] = set()
        for _, receipt in self._own_receipts(incident):
            sent.update(msgspec.json.decode(receipt.body, type=list[str]))
        return sent

    def _own_receipts(self, incident: Handed) -> Iterator[tuple[str, Receipt]]:
        for name in (incident.id, *incident.aliases):
            for receipt in self._means.receipts.of(name, self._route.name, self._route.environment):
                if receipt.step == _PLACES:
                    yield name, receipt

    def _record(self, act: Act, incident: str, **more: str) -> None:
        deed = Deed(
            act=act,
            who=self._means.who,
            incident=incident,
            environment=self._route.environment,
            route=self._route.name,
            **more,
        )
        self._means.custody.append(deed)


@dataclass
class _Progress:
    """Where a route keeps how far it is: in its item, and receipts beside it."""

    means: Means
    route: Route
    item: Item
    incident: str

    def load(self) -> dict[str, str]:
        return dict(self.item.head.progress)

    def save(self, progress: Mapping[str, str]) -> None:
        self.item = self.means.outbox.save(self.item, progress)

    def keep(self, receipt: Receipt) -> None:
        self.means.receipts.keep(self.incident, self.route.name, self.route.environment, receipt)


def _incident_in(key: str) -> str:
    """Of which incident a key of ``delivery.key_of`` is."""
    return key.split("/")[2]


def _digest(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()
