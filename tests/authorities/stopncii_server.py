"""A strict stand-in for StopNCII's hash exchange: what its documentation and its known client show is served, anything else refused and remembered."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from tests.authorities.service import Reply, Seen, Service, UndocumentedError

SUBSCRIPTION, FETCH_KEY, FEEDBACK_KEY = "subscription-key-1", "fetch-key-2", "feedback-key-3"
VALUES: Final = frozenset(
    {"Unknown", "None", "QualityUnknown", "PendingReview", "Blocked", "NotBlocked", "Withdrawn", "Deleted"}
)


@dataclass(frozen=True)
class Hash:
    """What the service says of one (signalType, hashValue)."""

    modified: int
    status: str
    visible: float = 0.0  # from when on it is seen


class StopNciiServer(Service):
    """``hashes`` by (type, value), each with its states in time. ``next_set`` is what ``nextSetTimestamp`` means, which nobody documents.

    ``newest``: the newest record that was sent; ``now``: the service's clock; ``first``: its clock when the walk began.
    """

    prefix = "/v1"

    def __init__(self, seed: int = 0, page_size: int = 800, next_set: str = "newest") -> None:
        super().__init__()
        self.page_size = page_size  # what is served; the client must ask for the documented 800
        self.next_set = next_set
        self.hashes: dict[tuple[str, str], list[Hash]] = {}
        self.given: list[tuple[str, str]] = []
        self.token_age_s_max = 12 * 3600
        self._random = random.Random(seed)
        self._walks: dict[str, tuple[float, int, list[tuple[str, str]]]] = {}
        self._count = 0

    def put(self, kind: str, value: str, state: Hash) -> None:
        self.hashes.setdefault((kind, value), []).append(state)

    def expire_tokens(self) -> None:
        self._walks.clear()

    def answer(self, seen: Seen) -> Reply:
        path = seen.path.removeprefix(self.prefix)
        key = {"/FetchHashes": FETCH_KEY, "/SubmitFeedback": FEEDBACK_KEY}.get(path)
        if key is None:
            raise UndocumentedError("an unknown path")
        headers = {name.lower(): text for name, text in seen.headers.items()}
        if headers.get("x-functions-key") != key or headers.get("ocp-apim-subscription-key") != SUBSCRIPTION:
            return Reply(b"", "text/plain", 401)
        if "authorization" in headers or "cookie" in headers:
            raise UndocumentedError("credentials of another kind")
        if path == "/SubmitFeedback":
            return self._take_feedback(seen)
        if seen.method != "GET" or seen.body:
            raise UndocumentedError("not a GET")
        return self._fetch(seen.query)

    def _fetch(self, raw: str) -> Reply:
        pairs = parse_qsl(raw, keep_blank_values=True, strict_parsing=True)
        query = dict(pairs)
        if len(query) != len(pairs) or urlencode(pairs) != raw or query.get("pageSize") != "800":
            raise UndocumentedError("a query in another encoding, or another page size")
        if set(query) - {"nextPageToken"} != {"startTimestamp", "pageSize"} or not query["startTimestamp"].isdecimal():
            raise UndocumentedError("other parameters")
        start = int(query["startTimestamp"])
        if start < 10:
            raise UndocumentedError("startTimestamp begins at 10")
        if "nextPageToken" not in query:
            keys = [key for key in self.hashes if (state := self._state(key)) and state.modified > start]
            self._random.shuffle(keys)
            self._count += 1
            name = f"walk-{self._count}"
            self._walks[name] = (self.now, start, keys)
            return self._page(name, 0)
        name, _, at = query["nextPageToken"].partition(":+/=")
        made, first_start, _ = self._walks.get(name, (0.0, 0, []))
        if self.now - made > self.token_age_s_max:
            return Reply(b"", "text/plain", 410)
        if first_start != start:
            raise UndocumentedError("a token with another startTimestamp")
        return self._page(name, int(at))

    def _page(self, name: str, at: int) -> Reply:
        made, start, keys = self._walks[name]
        chosen = keys[at : at + self.page_size]
        end = at + self.page_size
        records = [self._record(key) for key in chosen]
        newest = max([start, *(record["lastModtimestamp"] for record in map(self._record, keys[:end]))])
        told = {"newest": newest, "now": int(self.now), "first": int(made)}[self.next_set]
        page = {
            "count": len(records),
            "nextPageToken": f"{name}:+/={end}" if self._random.random() < 0.9 or end < len(keys) else None,
            "nextSetTimestamp": told,
            "hasMoreRecords": end < len(keys),
            "hashRecords": records,
        }
        return Reply(json.dumps(page).encode(), "application/json; charset=utf-8")

    def _record(self, key: tuple[str, str]) -> dict[str, Any]:
        state = self._state(key)
        assert state is not None
        case = b64encode(key[1].encode()).decode()[:8]
        record: dict[str, Any] = {
            "lastModtimestamp": state.modified,
            "signalType": key[0],
            "hashValue": key[1] if self._random.random() < 0.8 else key[1].upper(),
            "hashStatus": state.status,
            "caseNumbers": {case: state.status},
        }
        if self._random.random() < 0.3:
            record["CSPFeedbacks"] = [{"source": "Example", "feedbackValue": "Undefined", "tags": ["One"]}]
            record["hashRegions"] = ["UK"]
        return record

    def _state(self, key: tuple[str, str]) -> Hash | None:
        seen = [state for state in self.hashes[key] if state.visible <= self.now]
        return seen[-1] if seen else None

    def _take_feedback(self, seen: Seen) -> Reply:
        if seen.method != "POST" or seen.query or seen.headers.get("Content-Type") != "application/json":
            raise UndocumentedError("feedback of another form")
        said = json.loads(seen.body)
        if set(said) != {"count", "hashFeedbacks"} or said["count"] != len(said["hashFeedbacks"]):
            raise UndocumentedError("feedback of another shape")
        for feedback in said["hashFeedbacks"]:
            if set(feedback) != {"hashValue", "feedbackValue", "tags"} or feedback["feedbackValue"] not in VALUES:
                raise UndocumentedError("feedback of another shape")
            self.given.append((feedback["hashValue"], feedback["feedbackValue"]))
        return Reply(b"{}", "application/json")
