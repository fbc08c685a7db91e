"""How many names are looked up at once. libcurl has a thread for each look-up and, in older versions, no bound to them.

Promises: no more exchanges than ``at_once`` are where their name is looked up; hosts whose name is known go on meanwhile.
Leaves to others: looking up (libcurl), and beginning again with those that were held back (``fetch``).
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from time import monotonic
from typing import Any, Final

from custodes.url import Url

__all__ = ["Lookups"]

KNOWN_MAX: Final = 29_999
"""Names that libcurl remembers."""

MARGIN_S: Final = 1.0


class Lookups:
    """Exchanges at their look-up, and names that libcurl remembers, for ``known_s``."""

    def __init__(self, at_once: int, known_s: float) -> None:
        self._at_once = at_once
        self._known_s = known_s - MARGIN_S
        self._known: OrderedDict[str, float] = OrderedDict()
        self._running: dict[Any, tuple[str, float]] = {}
        self._held_back: dict[str, None] = {}

    def may_begin(self, url: Url) -> bool:
        """Whether an exchange may begin now. A host that may not is named by a later ``end``."""
        if len(self._running) < self._at_once or self._is_known(url):
            return True
        self._held_back[url.host] = None
        return False

    def begin(self, url: Url, exchange: Any) -> None:
        """An exchange begins."""
        if not self._is_known(url):
            self._running[exchange] = (url.host, monotonic())

    def end(self, exchange: Any, *, found: bool) -> list[str]:
        """An exchange is past its look-up, or over. Gives hosts that may be tried again."""
        if exchange not in self._running:
            return []
        host, since = self._running.pop(exchange)
        if found and self._known_s > 0:
            self._known[host] = since + self._known_s
            self._known.move_to_end(host)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        again = {host, *islice(self._held_back, 1)} & self._held_back.keys()
        for each in again:
            del self._held_back[each]
        return list(again)

    def _is_known(self, url: Url) -> bool:
        return url.is_literal_ip or monotonic() < self._known.get(url.host, 0.0)
