"""Where things are kept, for tests that hold for a folder and for a database alike."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from custodes.handover.pages import FilePages, Pages
from custodes.handover.place import Folder, Place
from custodes.handover.shared import Shared
from custodes.postgres.database import Database

__all__ = ["FolderHome", "Home", "TableHome"]

Change = Callable[[list[bytes]], list[bytes]]


@dataclass
class FolderHome:
    """Folders in a folder."""

    path: Path

    def __truediv__(self, name: str) -> Place:
        return Folder(self.path / name)

    @property
    def guard(self) -> None:
        return None

    def pages(self) -> Pages:
        return FilePages(self.path / "custody", self.path / "custody.memory")

    def tamper(self, place: str, name: str, change: Callable[[bytes], bytes]) -> None:
        """Change a piece behind everybody's back."""
        path = self.path / place / f"{name}.item"
        path.write_bytes(change(path.read_bytes()))

    def lines(self) -> list[bytes]:
        return (self.path / "custody" / "record.jsonl").read_bytes().splitlines(keepends=True)

    def rewrite(self, lines: list[bytes]) -> None:
        """Put these in place of the record's lines."""
        (self.path / "custody" / "record.jsonl").write_bytes(b"".join(lines))


@dataclass
class TableHome:
    """Tables of a database. A place has a form of its own in each test; there is one record, which is empty at the beginning of a test."""

    path: Path
    database: Database
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        self.shared = Shared(self.database)
        self._do("TRUNCATE custody_record")
        self._do("UPDATE custody_memory SET envelope = NULL")

    def __truediv__(self, name: str) -> Place:
        return self.shared.place(f"{self.token}/{name}")

    @property
    def guard(self) -> Path:
        return self.path / "custody.guard"

    def pages(self) -> Pages:
        return self.shared.pages()

    def tamper(self, place: str, name: str, change: Callable[[bytes], bytes]) -> None:
        where = (f"{self.token}/{place}", name)
        ((data,),) = self._all("SELECT data FROM pieces WHERE form = %s AND name = %s", *where)
        self._do("UPDATE pieces SET data = %s WHERE form = %s AND name = %s", change(bytes(data)), *where)

    def lines(self) -> list[bytes]:
        return [bytes(line) for (line,) in self._all("SELECT line FROM custody_record ORDER BY seq")]

    def rewrite(self, lines: list[bytes]) -> None:
        self._do("TRUNCATE custody_record")
        for seq, line in enumerate(lines, 1):
            self._do("INSERT INTO custody_record VALUES (%s, %s)", seq, line)

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.database.run(lambda session: session.execute(query.encode(), values).fetchall())

    def _do(self, statement: str, *values: Any) -> None:
        self.database.run(lambda session: session.execute(statement.encode(), values))


Home = FolderHome | TableHome
