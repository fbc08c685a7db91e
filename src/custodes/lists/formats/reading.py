"""What comes to light while a file is read: how many records it has, what was passed over, what is wrong.

A problem names the line or record and the field, never a value. One problem refuses the file.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from custodes.errors import ListError

__all__ = [
    "FIELD_CHARS_MAX",
    "PROBLEMS_SHOWN_MAX",
    "SKIPPED_SHOWN_MAX",
    "Malformed",
    "Passed",
    "Reading",
    "Skipped",
    "checked_text",
]

FIELD_CHARS_MAX: Final = 1024
PROBLEMS_SHOWN_MAX: Final = 20
SKIPPED_SHOWN_MAX: Final = 100

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


class Malformed(Exception):  # noqa: N818 - control flow inside the readers, not an error of the tree
    """A field of the row in hand is wrong."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name, self.reason = name, reason


class Passed(Exception):  # noqa: N818 - control flow inside the readers
    """The row in hand is in order, and of no use here."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Skipped:
    """What was passed over: how often for each reason, and the first hundred as (line or record, reason)."""

    reasons: Counter[str] = field(default_factory=Counter)
    rows: list[tuple[int, str]] = field(default_factory=list)

    def add(self, place: int, reason: str) -> None:
        """Note one row, or a part of one."""
        self.reasons[reason] += 1
        if len(self.rows) < SKIPPED_SHOWN_MAX:
            self.rows.append((place, reason))


@dataclass(slots=True)
class Reading:
    """The state of one reading of one file."""

    file: str
    unit: str = "line"
    records: int = 0
    scheme: str = ""  # the category scheme that the file itself names
    said: dict[str, str] = field(default_factory=dict)  # what else it says of itself, by field of Provenance
    skipped: Skipped = field(default_factory=Skipped)
    problems: int = 0
    shown: list[str] = field(default_factory=list)

    def problem(self, place: int, name: str, reason: str) -> None:
        """Note what is wrong."""
        self.problems += 1
        if len(self.shown) < PROBLEMS_SHOWN_MAX:
            self.shown.append(f"{self.file} {self.unit} {place}: {name}: {reason}")

    def refuse(self) -> None:
        """Raise ListError if anything is wrong."""
        if self.problems:
            head = f"{self.file} has {self.problems} problem{'s' * (self.problems > 1)}, nothing was imported"
            more = self.problems - len(self.shown)
            raise ListError("\n".join([head, *self.shown, *([f"and {more} more"] if more else [])]))


def checked_text(name: str, text: str) -> str:
    """Text that is kept with an entry. Malformed when it is too long, or a terminal could obey it."""
    if not text.isprintable() and _CONTROL.search(text):
        raise Malformed(name, "has control characters")
    if len(text) > FIELD_CHARS_MAX:
        raise Malformed(name, f"is longer than {FIELD_CHARS_MAX} characters")
    return text
