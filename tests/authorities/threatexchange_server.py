"""A strict stand-in for ThreatExchange: one privacy group, its updates in the order of their times, reactions."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import dataclass, field
from hashlib import md5, sha1, sha256
from typing import Any

from custodes.model import Entry, Kind, Role
from tests.authorities.service import Seen, UndocumentedError
from tests.authorities.simulator import SECRET, JsonService, RefusedError, only, read_form

GROUP = "303636684709969"
TOKEN = f"555|{SECRET}"
STATUSES = ("MALICIOUS", "SUSPICIOUS", "UNKNOWN", "NON_MALICIOUS")
TYPES = ("HASH_MD5", "HASH_SHA1", "HASH_SHA256", "HASH_PDQ", "HASH_VIDEO_MD5", "URI")
FIELDS = {"id,indicator,type,last_updated,should_delete,descriptors{id,status,tags,reactions}"}
REACTIONS = {
    "HELPFUL",
    "NOT_HELPFUL",
    "OUTDATED",
    "SAW_THIS_TOO",
    "WANT_MORE_INFO",
    "DISAGREE_WITH_TAGS",
    "INGESTED",
    "IN_REVIEW",
    "ALREADY_KNOWN",
    "REVIEWED",
}


def value_of(kind: str, number: int) -> str:
    """A digest of a number, as that type of indicator has it."""
    data = b"entry %d" % number
    if kind == "URI":
        return f"https://example.org/{number}"
    digest = {"HASH_MD5": md5, "HASH_VIDEO_MD5": md5, "HASH_SHA1": sha1}.get(kind, sha256)(data).hexdigest()
    return digest.upper() if number % 3 == 0 else digest


@dataclass
class Indicator:
    """An object of the group, as the service keeps it."""

    type: str
    indicator: str
    updated: int
    descriptors: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: bool = False
    shown_from: int = 0  # an update appears a little later than its time says


class ThreatExchangeServer(JsonService):
    """The group. ``clock`` is the service's time; ``page_records`` how many updates it gives at once, whatever is asked for."""

    prefix = "/v21.0"

    def __init__(self, page_records: int = 3) -> None:
        super().__init__()
        self.clock = 1_800_000_000
        self.page_records = page_records
        self.indicators: dict[str, Indicator] = {}
        self.reactions: list[tuple[str, str]] = []
        self.cursors_forgotten = False
        self.enabled = True

    def time(self) -> float:
        return float(self.clock)

    def told(self, seen: Seen, query: dict[str, str]) -> Any:
        if seen.path == f"/v21.0/{GROUP}/threat_updates/":
            return self._updates(seen, query)
        if seen.path == f"/v21.0/{GROUP}":
            self._get(seen, query, {"access_token", "fields"})
            name = {"id": GROUP, "name": "A group", "threat_updates_enabled": self.enabled}
            if set(query.get("fields", "").split(",")) != set(name):
                raise UndocumentedError("fields of a group")
            return name
        if seen.method == "POST" and seen.path.removeprefix("/v21.0/").isdecimal():
            return self._react(seen)
        raise UndocumentedError("no such path")

    def _get(self, seen: Seen, query: dict[str, str], allowed: set[str]) -> None:
        only(query, allowed)
        if seen.method != "GET" or seen.body:
            raise UndocumentedError("GET without a body")
        self._token(query.get("access_token", ""))

    def _token(self, token: str) -> None:
        if token != TOKEN:
            raise RefusedError(401)

    def _updates(self, seen: Seen, query: dict[str, str]) -> Any:
        self._get(seen, query, {"access_token", "start_time", "limit", "fields", "after"})
        if query.get("fields") not in FIELDS or not 0 < int(query["limit"]) <= 1000:
            raise UndocumentedError("fields or limit")
        if "after" in query and self.cursors_forgotten:
            raise RefusedError(410)
        behind = tuple(json.loads(base64.urlsafe_b64decode(query["after"]))) if "after" in query else (0, -1)
        start = int(query["start_time"])
        order = sorted(
            (each.updated, int(name))
            for name, each in self.indicators.items()
            if each.updated >= start and each.shown_from <= self.clock
        )
        left = [place for place in order if place > behind]
        page = left[: self.page_records]
        answer: dict[str, Any] = {"data": [self._shown(str(name)) for _, name in page], "paging": {}}
        if len(left) > len(page):
            cursor = base64.urlsafe_b64encode(json.dumps(page[-1]).encode()).decode()
            # Elsewhere, and with a token of somebody else's: only the cursor may be believed.
            url = f"https://graph.example/v9.0/1/threat_updates/?access_token=stolen&start_time=0&after={cursor}"
            answer["paging"] = {"cursors": {"before": "MA", "after": cursor}, "next": url}
        return answer

    def _shown(self, name: str) -> dict[str, Any]:
        each = self.indicators[name]
        shown: dict[str, Any] = {
            "id": name,
            "indicator": each.indicator,
            "type": each.type,
            "last_updated": each.updated,
            "should_delete": each.deleted,
            "creation_time": 1_581_977_111,  # a field that nobody asked for
        }
        if each.descriptors and not each.deleted:
            shown["descriptors"] = {"data": [{"id": key, **value} for key, value in each.descriptors.items()]}
        return shown

    def _react(self, seen: Seen) -> Any:
        if seen.headers.get("Content-Type") != "application/x-www-form-urlencoded" or seen.query:
            raise UndocumentedError("a form in the body")
        form = read_form(seen.body.decode())
        only(form, {"access_token", "reactions"})
        self._token(form["access_token"])
        name = seen.path.rpartition("/")[2]
        if not set(form["reactions"].split(",")) <= REACTIONS:
            raise UndocumentedError("no such reaction")
        if not any(name in each.descriptors for each in self.indicators.values()):
            raise RefusedError(404)
        self.reactions.append((name, form["reactions"]))
        return {"success": True}

    # -- the world

    def put(self, number: int, kind: str, *opinions: dict[str, Any], late_s: int = 0) -> str:
        """Add an indicator with these opinions, or change it."""
        name = str(9_000_000 + number)
        descriptors = {str(number * 100 + at): opinion for at, opinion in enumerate(opinions)}
        shown_from = self.clock + late_s
        self.indicators[name] = Indicator(kind, value_of(kind, number), self.clock, descriptors, False, shown_from)
        return name

    def delete(self, name: str) -> None:
        """Withdraw an indicator."""
        each = self.indicators[name]
        each.deleted, each.updated, each.shown_from = True, self.clock, self.clock

    def change(self, rng: random.Random) -> None:
        """Something happens."""
        self.clock += rng.randint(1, 40)
        number = rng.randrange(25)
        name = str(9_000_000 + number)
        if name in self.indicators and rng.random() < 0.3:
            self.delete(name)
            return
        kind = self.indicators[name].type if name in self.indicators else rng.choice(TYPES)
        self.put(number, kind, *(opinion(rng) for _ in range(rng.randrange(4))), late_s=rng.choice((0, 0, 0, 20)))

    def truth(self) -> set[Entry]:
        """What a copy of the group should hold of images, written without a look at the client."""
        kinds = {"HASH_MD5": Kind.MD5, "HASH_SHA1": Kind.SHA1, "HASH_SHA256": Kind.SHA256, "HASH_PDQ": Kind.PDQ}
        found = set()
        for each in self.indicators.values():
            for name, said in each.descriptors.items() if each.type in kinds and not each.deleted else ():
                tags = [tag["text"] for tag in said["tags"]["data"]] if isinstance(said.get("tags"), dict) else []
                if "media_type_video" in tags and each.type != "HASH_PDQ":
                    continue
                reactions = [pair["key"] for pair in said.get("reactions", [])]
                role = Role.NEGATIVE if said["status"] == "NON_MALICIOUS" else Role.CONFIRMED
                assurance = "DISAGREE_WITH_TAGS" if "DISAGREE_WITH_TAGS" in reactions else ""
                value = bytes.fromhex(each.indicator)
                found.add(Entry(kinds[each.type], value, name, said["status"], assurance, role))
        return found


def opinion(rng: random.Random) -> dict[str, Any]:
    """What some owner thinks."""
    said: dict[str, Any] = {"status": rng.choice(STATUSES)}
    if rng.random() < 0.5:
        texts = rng.sample(["media_type_photo", "media_type_video", "uploaded_by_hma"], rng.randrange(3))
        said["tags"] = {"data": [{"id": str(at), "text": text} for at, text in enumerate(texts)]}
    if rng.random() < 0.3:
        said["reactions"] = [{"key": rng.choice(["HELPFUL", "DISAGREE_WITH_TAGS"]), "value": "1,2"}]
    return said
