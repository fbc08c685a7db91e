"""robots.txt by RFC 9309: which paths of an origin a crawler is asked to leave alone.

Promises: pure; the longest matching rule wins and allow wins a tie, "*" and "$" work, at most 500 KiB are read.
Leaves to others: fetching the file, and whether to honour it at all (fetch, FetchLimits.robots).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ALLOW_ALL", "DISALLOW_ALL", "ROBOTS_BYTES_MAX", "Robots", "parse_robots"]

ROBOTS_BYTES_MAX: Final = 512_000
"""RFC 9309 section 2.5: a parsing limit of at least 500 KiB."""

_RULES_MAX: Final = 5_000
_PATTERN_CHARS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules that hold for us: (pattern, allowed), longest pattern first, allow before disallow."""

    rules: tuple[tuple[str, bool], ...] = ()

    def allows(self, path: str) -> bool:
        """Whether ``path`` (with its query, percent-encoded as in a URL) may be fetched."""
        return next((allowed for pattern, allowed in self.rules if _matches(pattern, path)), True)


ALLOW_ALL: Final = Robots()
DISALLOW_ALL: Final = Robots((("/", False),))


def parse_robots(data: bytes, product: str) -> Robots:
    """The rules in ``data`` for the product token ``product``, or for "*" where it is not named (RFC 9309 section 2.2).

    Groups that name the same product are taken together. Only the two groups that can matter are kept, so that a file
    of a thousand names before a thousand rules costs no million.
    """
    product = product.lower()
    groups: dict[str, list[tuple[str, bool]]] = {}
    agents: set[str] = set()
    in_rules = False
    for raw in data[:ROBOTS_BYTES_MAX].decode("utf-8-sig", "replace").splitlines():
        field, _, value = (part.strip() for part in raw.partition("#")[0].partition(":"))
        match field.lower():
            case "user-agent":
                agents = set() if in_rules else agents
                in_rules = False
                if value.lower() in (product, "*"):
                    agents.add(value.lower())
                    groups.setdefault(value.lower(), [])
            case "allow" | "disallow" as name:
                in_rules = True
                for agent in agents if value else ():
                    groups[agent].append((value[:_PATTERN_CHARS_MAX], name == "allow"))
    chosen = groups.get(product, groups.get("*", []))[:_RULES_MAX]
    return Robots(tuple(sorted(chosen, key=lambda rule: (-len(rule[0]), not rule[1]))))


def _matches(pattern: str, path: str) -> bool:
    """RFC 9309 section 2.2.3. Leftmost placement of each piece is enough: no backtracking, no regular expression."""
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    if not rest:
        return not anchored or at == len(path)
    *middle, last = rest
    for piece in middle:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    if anchored:
        return len(path) - at >= len(last) and path.endswith(last)
    return path.find(last, at) >= 0
