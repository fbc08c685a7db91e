"""A strict stand-in for NCMEC's hash sharing API v2: what its documentation shows is served, anything else is refused and remembered."""

from __future__ import annotations

import random
import re
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from tests.authorities.service import Reply, Seen, Service, UndocumentedError

NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
USER, PASSWORD = "esp-user", "correct horse battery"
XML = "application/xml;charset=UTF-8"
TYPES: Final = frozenset(
    {"MD5", "SHA1", "PDNA", "PDQ", "NETCLEAN", "VIDENTIFIER", "TMK_PDQF", "SSVH_PDNA", "SSVH_SAFER_HASH"}
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
_FEEDBACK: Final = re.compile(r"/v2/entries/(\d+)/([^/]+)/([A-Z0-9_]+)/feedback")
_REASONS: Final = re.compile(r"/v2/feedback/([A-Z0-9_]+)/reasons")


@dataclass
class Item:
    """An entry as its member last left it. ``fingerprints``: element name -> text."""

    timestamp: float
    fingerprints: dict[str, str] = field(default_factory=dict)
    classification: str = ""
    deleted: bool = False
    video: bool = False
    visible: float = 0.0  # from when on queries see this state; until then the one before


class NcmecServer(Service):
    """``items`` by (member id, entry id), each with its states in time. ``seed`` decides on every order that the protocol leaves open."""

    prefix = "/npo"

    def __init__(self, seed: int = 0, page_size: int = 1000) -> None:
        super().__init__()
        self.page_size = page_size
        self.repeats = False  # some entries stand on two pages
        self.members: dict[str, str] = {"42": "Example Member", "43": "Take It Down", "7": 'O\'Neil & "Sons" <Ltd>'}
        self.items: dict[tuple[str, str], list[Item]] = {}
        self.reasons: dict[str, dict[str, str]] = {}  # type -> name -> GUID
        self.given: list[tuple[str, str, str, str]] = []  # member, entry, type, "affirmative" or a GUID
        self._random = random.Random(seed)
        self._queries = 0
        self._cursors: dict[int, tuple[float, list[tuple[str, str]]]] = {}

    def put(self, member: str, entry: str, item: Item) -> None:
        self.items.setdefault((member, entry), []).append(item)

    def expire_paging(self) -> None:
        """No paging address that was given until now is taken any more."""
        self._cursors.clear()

    def answer(self, seen: Seen) -> Reply:
        expected = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if seen.headers.get("Authorization") != expected:
            return Reply(b"", "text/plain", 401)
        path = seen.path.removeprefix(self.prefix)
        if seen.method == "PUT":
            return self._take_feedback(path, seen)
        if seen.method != "GET" or seen.body:
            raise UndocumentedError("neither GET nor PUT, or GET with a body")
        if path == "/v2/entries":
            return self._entries(seen.query)
        if seen.query:
            raise UndocumentedError("a query where there is none")
        if path == "/v2/status":
            return _xml(
                "status", '<ipAddress>127.0.0.1</ipAddress><username>x</username><member id="42">Example</member>'
            )
        if path == "/v2/categorizations":
            return _xml("availableCategorizations", _CATEGORIZATIONS)
        if (found := _REASONS.fullmatch(path)) and found[1] in TYPES:
            reasons = self.reasons.get(found[1], {})
            rows = (
                f'<reason guid="{guid}" name={quoteattr(n)} type="{found[1].title()}"/>' for n, guid in reasons.items()
            )
            return _xml("availableFeedbackReasons", "".join(rows))
        raise UndocumentedError("an unknown path")

    def _entries(self, raw: str) -> Reply:
        query = _query(raw)
        if set(query) == {"from", "to"}:
            begin, end = _seconds(query["from"]), _seconds(query["to"])
            if begin >= end:
                raise UndocumentedError("from is not before to")
            keys = [key for key in self.items if self._in(key, begin, end)]
            self._random.shuffle(keys)
            self._queries += 1
            number = self._queries * 1_000_000 + len(keys)
            self._cursors[number] = (self.now, keys)
            return self._page(query, number, 1)
        if set(query) != {"from", "to", "start", "size", "max"} or query["size"] != str(self.page_size):
            raise UndocumentedError("other parameters than from, to and those of paging")
        made, _ = self._cursors.get(int(query["max"]), (0.0, []))
        if self.now - made > 12 * 3600:
            return Reply(b"", "text/plain", 404)
        return self._page(query, int(query["max"]), int(query["start"]))

    def _page(self, query: dict[str, str], number: int, start: int) -> Reply:
        _, keys = self._cursors[number]
        chosen = keys[start - 1 : start - 1 + self.page_size]
        if self.repeats and start > 1:
            chosen += self._random.sample(keys[: start - 1], 1)
        images = [key for key in chosen if not self._item(key).video]
        videos = [key for key in chosen if self._item(key).video]
        body = self._group("images", images) + self._group("videos", videos)
        if start - 1 + self.page_size < len(keys):
            told = {"start": start + self.page_size, "size": self.page_size, "max": number}
            url = f"/v2/entries?{urlencode({'from': query['from'], 'to': query['to'], **told})}"
            body += f"<paging><next>{escape(url)}</next></paging>"
        return _xml("queryResult", body)

    def _group(self, name: str, keys: list[tuple[str, str]]) -> str:
        newest = max((self._item(key).timestamp for key in keys), default=0.0)
        told = f' maxTimestamp="{_text(newest)}"' if keys else ""
        return f'<{name} count="{len(keys)}"{told}>{"".join(map(self._element, keys))}</{name}>'

    def _element(self, key: tuple[str, str]) -> str:
        item = self._item(key)
        parts = [
            f'<member id="{key[0]}">{escape(self.members[key[0]])}</member>',
            f"<timestamp>{_text(item.timestamp)}</timestamp>",
            f"<id>{escape(key[1])}</id>",
        ]
        if not item.deleted:
            parts += [self._fingerprints(item)]
            parts += [f"<classification>{item.classification}</classification>"] if item.classification else []
            parts += self._random.choice(([], ["<feedback/>"], [_FEEDBACK_XML], ["<unheardOf><id>1</id></unheardOf>"]))
        self._random.shuffle(parts)
        name = (
            ("deletedVideo" if item.deleted else "video")
            if item.video
            else ("deletedImage" if item.deleted else "image")
        )
        return f"<{name}>{''.join(parts)}</{name}>"

    def _fingerprints(self, item: Item) -> str:
        rows = [
            f'<{name} rel="self" href="/v2/x"/>' if text.startswith("/v2/") else f"<{name}>{escape(text)}</{name}>"
            for name, text in item.fingerprints.items()
        ]
        self._random.shuffle(rows)
        return f"<fingerprints>{''.join(rows)}</fingerprints>"

    def _item(self, key: tuple[str, str]) -> Item:
        """The newest state: what is served is never stale."""
        return [item for item in self.items[key] if item.visible <= self.now][-1]

    def _in(self, key: tuple[str, str], begin: float, end: float) -> bool:
        seen = [item for item in self.items[key] if item.visible <= self.now]
        return bool(seen) and begin <= round(seen[-1].timestamp, 3) < end

    def _take_feedback(self, path: str, seen: Seen) -> Reply:
        found = _FEEDBACK.fullmatch(path)
        if not found or found[3] not in TYPES or seen.query:
            raise UndocumentedError("feedback on an unknown path")
        if seen.headers.get("Content-Type") != "application/xml; charset=utf-8":
            raise UndocumentedError("feedback of another content type")
        root = ElementTree.fromstring(seen.body)
        space = f"{{{NAMESPACE}}}"
        shape = [element.tag.removeprefix(space) for element in root.iter()]
        if shape == ["feedbackSubmission", "affirmative"]:
            said = "affirmative"
        elif shape == ["feedbackSubmission", "negative", "reasonIds", "guid"]:
            said = root.findtext(f".//{space}guid") or ""
            if said not in self.reasons.get(found[3], {}).values():
                raise UndocumentedError("a reason of another environment or type")
        else:
            raise UndocumentedError("feedback of another shape")
        if not all(element.tag.startswith(space) for element in root.iter()):
            raise UndocumentedError("feedback without its namespace")
        if not any(quote(entry, safe="") == found[2] for member, entry in self.items if member == found[1]):
            return Reply(b"", "text/plain", 404)
        self.given.append((found[1], found[2], found[3], said))
        return _xml("submissionResult", "")


def _xml(root: str, inner: str) -> Reply:
    text = f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<{root} xmlns="{NAMESPACE}">{inner}</{root}>'
    return Reply(text.encode(), XML)


def _query(raw: str) -> dict[str, str]:
    pairs = parse_qsl(raw, keep_blank_values=True, strict_parsing=True)
    if len(dict(pairs)) != len(pairs) or urlencode(pairs) != raw:
        raise UndocumentedError("a query that is not in its usual encoding")
    return dict(pairs)


def _seconds(text: str) -> float:
    if not _TIME.fullmatch(text):
        raise UndocumentedError("a time in another form than ISO 8601 in UTC")
    return datetime.fromisoformat(text).timestamp()


def _text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_FEEDBACK_XML: Final = (
    '<feedback lastUpdateTimestamp="2023-06-01T12:48:14Z"><negativeFeedback type="Sha1"><reasons>'
    '<reason guid="01234567-abcd-0123-4567-012345678900" name="Example" type="Sha1"/>'
    '<members timestamp="2023-06-01T12:48:14Z"><member id="9">Somebody</member></members></reasons></negativeFeedback></feedback>'
)
_CATEGORIZATIONS: Final = (
    '<group name="Content" allowMultiple="false">'
    '<categorization guid="01234567-abcd-0123-4567-012345678900" name="First option"/>'
    '<categorization guid="01234567-abcd-0123-4567-012345678901" name="Second option"/></group>'
    '<group name="Context" allowMultiple="true">'
    '<categorization guid="01234589-abcd-0123-4567-012345678910" name="Viral"/></group>'
)
