"""A strict stand-in for Tech Against Terrorism's hash list: tokens that run out, changes in the order of their times."""

from __future__ import annotations

import random
from dataclasses import dataclass
from hashlib import md5, sha1, sha256, sha512
from typing import Any

from custodes.model import Entry, Kind
from tests.authorities.service import Seen, UndocumentedError
from tests.authorities.simulator import SECRET, JsonService, RefusedError, only, read_form

USER, PASSWORD = "somebody", SECRET
ALGORITHMS = {"MD5": md5, "SHA1": sha1, "SHA256": sha256, "SHA512": sha512, "PDQ": sha256}
KINDS = {"MD5": Kind.MD5, "SHA1": Kind.SHA1, "SHA256": Kind.SHA256, "PDQ": Kind.PDQ}


@dataclass
class Item:
    """An entry of the list, as it was last changed."""

    algorithm: str
    file_type: str
    ideology: str
    updated: float
    deleted: bool = False


class TatServer(JsonService):
    """``tokens_last`` requests, each token; ``page_records`` results, each page."""

    def __init__(self, page_records: int = 3, tokens_last: int = 1000) -> None:
        super().__init__()
        self.clock = 1_700_000_000.0
        self.page_records = page_records
        self.tokens_last = tokens_last
        self.tokens: dict[str, int] = {}
        self.items: dict[int, Item] = {}

    def told(self, seen: Seen, query: dict[str, str]) -> Any:
        if (seen.method, seen.path) == ("POST", "/token-auth/tcap/"):
            return self._sign_in(seen, query)
        if (seen.method, seen.path) == ("GET", "/api/hash-list/v2/all"):
            return self._list(seen, query)
        raise UndocumentedError("no such path")

    def _sign_in(self, seen: Seen, query: dict[str, str]) -> Any:
        form = read_form(seen.body.decode())
        only(form, {"username", "password"})
        if query or "Authorization" in seen.headers:
            raise UndocumentedError("name and password in the body")
        if form != {"username": USER, "password": PASSWORD}:
            raise RefusedError(401)
        token = f"{SECRET}-{len(self.tokens)}".replace("|", ".")
        self.tokens[token] = self.tokens_last
        return {"token": token, "user": {"username": USER}}

    def _list(self, seen: Seen, query: dict[str, str]) -> Any:
        if set(query) != {"order", "after"} or query["order"] != "asc" or seen.body:
            raise UndocumentedError("order and after")
        token = seen.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0) < 1:
            raise RefusedError(401)
        self.tokens[token] -= 1
        time, _, number = query["after"].partition(",") if query["after"] else ("-1", "", "0")
        order = sorted((each.updated, name) for name, each in self.items.items())
        left = [place for place in order if place > (float(time), int(number))]
        page = left[: self.page_records]
        return {
            "count": len(self.items),
            # Not to be followed: another host, and counted from the front of a list whose front moves.
            "next": "http://dev.example/hash-list/v2/all?limit=3&offset=3&order=asc" if len(left) > len(page) else None,
            "previous": None,
            "checkpoint": f"{page[-1][0]!r},{page[-1][1]}" if page else "",
            "results": [self._shown(name) for _, name in page],
        }

    def _shown(self, name: int) -> dict[str, Any]:
        each = self.items[name]
        return {
            "hash_digest": digest_of(each.algorithm, name),
            "algorithm": each.algorithm,
            "ideology": each.ideology,
            "file_type": each.file_type,
            "deleted": each.deleted,
            "updated_on": each.updated,
            "created_on": "2024-01-10T15:37:20Z",
            "id": name,
        }

    # -- the world

    def put(self, name: int, algorithm: str = "PDQ", file_type: str = "png", ideology: str = "far-right") -> None:
        self.clock += 0.25
        self.items[name] = Item(algorithm, file_type, ideology, self.clock)

    def delete(self, name: int) -> None:
        self.clock += 0.25
        self.items[name].deleted, self.items[name].updated = True, self.clock

    def change(self, rng: random.Random) -> None:
        """Something happens."""
        name = rng.randrange(1, 30)
        old = self.items.get(name)
        if old is None:
            kind = rng.choice(("png", "jpg", "jpeg", "mp4", "pdf"))
            self.put(name, rng.choice(list(ALGORITHMS)), kind, rng.choice(("islamist", "far-right")))
        elif old.deleted or rng.random() < 0.5:
            self.put(name, old.algorithm, old.file_type, rng.choice(("islamist", "far-right")))
        else:
            self.delete(name)

    def truth(self) -> set[Entry]:
        """What a copy of the list should hold of images, written without a look at the client."""
        return {
            Entry(KINDS[each.algorithm], bytes.fromhex(digest_of(each.algorithm, name)), str(name), each.ideology)
            for name, each in self.items.items()
            if each.algorithm in KINDS and each.file_type in ("png", "jpg", "jpeg") and not each.deleted
        }


def digest_of(algorithm: str, number: int) -> str:
    """A digest of a number."""
    return ALGORITHMS[algorithm](b"entry %d" % number).hexdigest()
