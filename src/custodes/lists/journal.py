"""What a walk over an authority's changes has brought so far, encrypted: a walk that stops anywhere goes on there.

Each page is one file, durable before the next is asked for. The journal belongs to one start: another version in force, another
checkpoint or another service begins it anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from custodes.crypto.keys import ListsKey
from custodes.crypto.vault import lock, unlock
from custodes.durable import make_folder, replace_file
from custodes.errors import InputError
from custodes.lists.records import Record

__all__ = ["Journal", "Start"]

_SUFFIX: Final = ".page"


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a walk began."""

    version: str
    checkpoint: str
    service: str
    environment: str


class _Page(msgspec.Struct, frozen=True, kw_only=True):
    start: Start
    records: tuple[Record, ...]
    resume: str
    checkpoint: str | None
    skipped: dict[str, int]


class Journal:
    """The pages of one list's walk, in ``folder``."""

    def __init__(self, folder: Path, key: ListsKey, list_id: str) -> None:
        self.folder = folder
        self._key = key
        self._list_id = list_id
        self._start = Start(version="", checkpoint="", service="", environment="")
        self.pages = 0
        self.resume = ""
        self.checkpoint: str | None = None
        self.skipped: Counter[str] = Counter()

    def begin(self, start: Start) -> None:
        """Go on with what was brought from this start; anything else is thrown away, and so is what cannot be read."""
        self._start = start
        try:
            for number in range(1, len(self._files()) + 1):
                page = self._read(number)
                if page.start != start:
                    return self.clear()
                self._count(page)
        except (InputError, OSError, msgspec.MsgspecError):
            self.clear()

    def append(
        self, records: tuple[Record, ...], resume: str, checkpoint: str | None, skipped: Mapping[str, int]
    ) -> None:
        """Keep one more page. Raises StorageError."""
        page = _Page(
            start=self._start,
            records=records,
            resume=resume,
            checkpoint=checkpoint,
            skipped=dict(skipped),
        )
        make_folder(self.folder)
        number = self.pages + 1
        replace_file(self._path(number), lock(self._key, msgspec.msgpack.encode(page), self._context(number)))
        self._count(page)

    def records(self) -> Iterator[Record]:
        """All records, in the order they came."""
        for number in range(1, self.pages + 1):
            yield from self._read(number).records

    def forget_resume(self) -> None:
        """The walk begins again; what it brought stays, since of each id the last word counts."""
        self.resume = ""

    def clear(self) -> None:
        """Throw everything away, the last page first: what is left is always a beginning."""
        for path in reversed(self._files()):
            path.unlink()
        self.pages, self.resume, self.checkpoint = 0, "", None
        self.skipped = Counter()

    def _count(self, page: _Page) -> None:
        self.pages += 1
        self.resume, self.checkpoint = page.resume, page.checkpoint
        self.skipped.update(page.skipped)

    def _read(self, number: int) -> _Page:
        plain = unlock(self._key, self._path(number).read_bytes(), self._context(number))
        return msgspec.msgpack.decode(plain, type=_Page)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{_SUFFIX}"))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}{_SUFFIX}"

    def _context(self, number: int) -> bytes:
        return f"sync/{self._list_id}/{number}".encode()
