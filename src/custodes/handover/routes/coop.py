"""ROOST Coop: incidents as items for an operator's own reviewers, who are told where something is and never shown it.

Coop fetches whatever stands in a media field, and a reviewer's browser loads it. So no link that works is ever sent: each is written in a form that is no
URL, which Coop's media and URL fields refuse. Digests are not sent. API: roostorg/coop, docs/api/items.md and errors.md, of 2026-08-21.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from custodes.errors import AuthorityError
from custodes.handover.delivery import Delivered, Ended, Later, Progress, key_of
from custodes.handover.finding import Match
from custodes.handover.incident import Incident
from custodes.handover.index_page import defanged, visible
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

    settings: CoopSettings
    caller: Caller | None
    name: str = "coop"

    @property
    def environment(self) -> Environment:
        """Which Coop it is."""
        return self.settings.environment

    def check(self, incident: Incident) -> None:
        """Raises InputError for a demonstration where it would be taken for real."""
        check_real(incident, self.environment)

    def preview(self, incident: Incident, now: datetime) -> str:  # noqa: ARG002
        """The request, without the API key."""
        self.check(incident)
        body = self._body(incident, name_of(key_of(self, incident.id))).decode()
        return f"POST {self.settings.url.rstrip('/')}{_ITEMS}\nContent-Type: application/json\n\n{body}"

    async def deliver(self, incident: Incident, key: str, progress: Progress) -> Ended:  # noqa: ARG002
        """Submit it. Coop gives no number: an item has ours, the same each time, so that another attempt is the same item."""
        self.check(incident)
        item, caller = name_of(key), opened(self.caller)
        try:
            answer = await caller.exchange("POST", _ITEMS, self._body(incident, item), "application/json")
        except AuthorityError:
            return Later("no-answer")
        requests = (f"items {answer.status}",)
        return Delivered(item, requests) if answer.status == _ACCEPTED else not_delivered(answer, requests)

    async def close(self) -> None:
        """Close the connections."""
        if self.caller is not None:
            await self.caller.close()

    def _body(self, incident: Incident, item: str) -> bytes:
        data = {field: self._value(incident, what) for field, what in self.settings.fields.items()}
        return plain_json({"items": [{"id": item, "typeId": self.settings.item_type, "data": data}]})

    def _value(self, incident: Incident, what: CoopValue) -> Any:
        return self.environment if what == "environment" else _VALUES[what](incident)


def _links(incident: Incident) -> str:
    return _lines(defanged(visible(link)) for place in incident.places for link in (place.url, place.final_url) if link)


def _match(match: Match) -> str:
    how = f"{match.distance_bits} bits away" if match.kind == "pdq" else "equal"
    return visible(f"{match.list} {match.list_version}: {match.kind}, {how}, category {match.category or 'not given'}")


def _lines(texts: Iterable[str]) -> str:
    """Each once, one a line; the rest is counted. What begins with a dash and a space is no URL, whatever follows."""
    lines = [f"- {text}" for text in dict.fromkeys(texts)]
    more = len(lines) - _LINES_MAX
    return "\n".join([*lines[:_LINES_MAX], *([f"- and {more:,} more"] if more > 0 else [])])


_VALUES: Final[dict[CoopValue, Callable[[Incident], str | int | bool]]] = {
    "incident": lambda of: of.id,
    "decision": lambda of: of.decision,
    "rule": lambda of: of.rule,
    "meaning": lambda of: of.meaning,
    "exact": lambda of: of.exact,
    "found_at": lambda of: of.found_at,
    "places": lambda of: len(of.places),
    "datasets": lambda of: _lines(defanged(visible(place.dataset)) for place in of.places),
    "links": _links,
    "matches": lambda of: _lines(map(_match, of.matches)),
}
