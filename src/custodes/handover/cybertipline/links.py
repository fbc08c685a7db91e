"""The links of an incident: those that can stand in a report as ``url``, and the words for every one.

NCMEC takes web addresses of up to 2,083 characters. They are given in canonical form; a link that is longer, or of another kind, is told in the
text, as is how the dataset writes one where that differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from custodes.handover.cybertipline.rules import URL_CHARS_MAX
from custodes.handover.cybertipline.text import quoted
from custodes.handover.incident import Place
from custodes.url import normalise

__all__ = ["Links"]

_WEB: Final = ("http://", "https://")
_TOLD_CHARS_MAX: Final = 8192
_ODD_CHARS_MAX: Final = 200
"""Of a link that is not of the web: a data: link may hold the file itself."""


class Links:
    """Every link of these places, and where redirects led to the image."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._numbers: dict[str, int] = {}
        self.of_the_web = False
        """Whether there is one that can be opened, however long."""
        for place in places:
            for link in (place.url, place.final_url if place.seen else ""):
                self._add(_canonical(link))

    def _add(self, address: str) -> None:
        self.of_the_web |= bool(address)
        if address and len(address) <= URL_CHARS_MAX:
            self._numbers.setdefault(address, len(self._numbers) + 1)

    @property
    def urls(self) -> list[str]:
        """Those that can stand as ``url``, each once, in their order."""
        return list(self._numbers)

    def told(self, link: str) -> str:
        """One of them in words: by its number where it has one."""
        address = _canonical(link)
        if not address:
            return f"link {quoted(link, _ODD_CHARS_MAX)}"
        if address not in self._numbers:
            return f"link {quoted(link, _TOLD_CHARS_MAX)}"
        number = f"URL {self._numbers[address]}"
        return number if address == link else f"{number}, which the dataset writes {quoted(link, _TOLD_CHARS_MAX)}"


def _canonical(link: str) -> str:
    """The address in canonical form; "" where it is none of the web."""
    address = normalise(link) if link else None
    return address if address is not None and address.startswith(_WEB) else ""
