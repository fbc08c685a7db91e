"""ROOST Coop: incidents as items for an operator's own reviewers, who are told where something is and never shown it.

Coop fetches whatever stands in a media field, and a reviewer's browser loads it. So no link that works is ever sent: each is written in a form that is no
URL, which Coop's media and URL fields refuse. Digests are not sent. API: roostorg/coop, docs/api/items.md and errors.md, of 2026-08-21.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from custodes.errors import AuthorityError, InputError
from custodes.handover.cybertipline.withheld import Withheld
from custodes.handover.delivery import Delivered, Ended, Later, Progress, key_of
from custodes.handover.finding import Match
from custodes.handover.incident import Incident, Place
from custodes.handover.index_page import defanged, visible
from custodes.handover.parcel import Handed, Takes
from custodes.handover.routes.sending import check_real, name_of, not_delivered, opened, plain_json
from custodes.handover.routes.settings import CoopSettings, CoopValue
from custodes.handover.words import Environment
from custodes.services.calls import Caller

__all__ = ["Coop"]

_ITEMS: Final = "/api/v1/items/async/"
_ACCEPTED: Final = 202
_LINES_MAX: Final = 200


@dataclass(frozen=True, repr=False)
class Coop:
    """One Coop, with one item type. Without ``caller``: for checks and previews."""

    takes: ClassVar[Takes] = "facts"
    settings: CoopSettings
    caller: Caller | None
    name: str = "coop"

    @property
    def environment(self) -> Environment:
        """Which Coop it is."""
        return self.settings.environment

    def check(self, of: Handed) -> None:
        """Raises InputError for a demonstration where it would be taken for real, and for what nothing is known of."""
        check_real(of, self.environment)
        _known(of)

    def preview(self, of: Handed, now: datetime) -> str:  # noqa: ARG002
        """The request, without the API key."""
        self.check(of)
        body = self._body(of, name_of(key_of(self, of.id))).decode()
        return f"POST {self.settings.url.rstrip('/')}{_ITEMS}\nContent-Type: application/json\n\n{body}"

    async def deliver(self, of: Handed, key: str, progress: Progress) -> Ended:  # noqa: ARG002
        """Submit it. Coop gives no number: an item has ours, the same each time, so that another attempt is the same item."""
        self.check(of)
        item, caller = name_of(key), opened(self.caller)
        try:
            answer = await caller.exchange("POST", _ITEMS, self._body(of, item), "application/json")
        except AuthorityError:
            return Later("no-answer")
        requests = (f"items {answer.status}",)
        return Delivered(item, requests) if answer.status == _ACCEPTED else not_delivered(answer, requests)

    async def close(self) -> None:
        """Close the connections."""
        if self.caller is not None:
            await self.caller.close()

    def _body(self, of: Handed, item: str) -> bytes:
        known = _known(of)
        data = {field: self._value(known, what) for field, what in self.settings.fields.items()}
        return plain_json({"items": [{"id": item, "typeId": self.settings.item_type, "data": data}]})

    def _value(self, of: _Known, what: CoopValue) -> Any:
        return self.environment if what == "environment" else _VALUES[what](of)


@dataclass(frozen=True)
class _Known:
    """What reviewers can be told of an incident, or of what a gateway withheld: that has no place, and ``sources`` is the gateway's service."""

    of: Incident | Withheld
    rule: str
    places: tuple[Place, ...]
    sources: tuple[str, ...]


def _known(of: Handed) -> _Known:
    """Raises InputError for what lay sealed, with nothing noted beside it."""
    if isinstance(of, Incident):
        return _Known(of, of.rule, of.places, tuple(place.dataset for place in of.places))
    if of.told is None:
        raise InputError("it lay sealed, and nothing is known of it here: there is nothing to tell a reviewer")
    return _Known(of.told, of.rule, (), (of.told.service,))


def _links(known: _Known) -> str:
    return _lines(defanged(visible(link)) for place in known.places for link in (place.url, place.final_url) if link)


def _match(match: Match) -> str:
    how = f"{match.distance_bits} bits away" if match.kind == "pdq" else "equal"
    return visible(f"{match.list} {match.list_version}: {match.kind}, {how}, category {match.category or 'not given'}")


def _lines(texts: Iterable[str]) -> str:
    """Each once, one a line; the rest is counted. What begins with a dash and a space is no URL, whatever follows."""
    lines = [f"- {text}" for text in dict.fromkeys(texts)]
    more = len(lines) - _LINES_MAX
    return "\n".join([*lines[:_LINES_MAX], *([f"- and {more:,} more"] if more > 0 else [])])


_VALUES: Final[dict[CoopValue, Callable[[_Known], str | int | bool]]] = {
    "incident": lambda known: known.of.id,
    "decision": lambda known: known.of.decision,
    "rule": lambda known: known.rule,
    "meaning": lambda known: known.of.meaning,
    "exact": lambda known: known.of.exact,
    "found_at": lambda known: known.of.found_at,
    "places": lambda known: len(known.places),
    "datasets": lambda known: _lines(defanged(visible(source)) for source in known.sources),
    "links": _links,
    "matches": lambda known: _lines(map(_match, known.of.matches)),
}
