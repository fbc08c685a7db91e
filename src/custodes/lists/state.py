"""What a store remembers beside its lists: when each was last confirmed, what is held back, and how far each had come.

The memory of how far lists had come lies apart from them: whoever puts an old folder of lists back does not put that back with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from custodes.crypto.keys import ListsKey
from custodes.crypto.vault import lock, unlock
from custodes.durable import replace_file
from custodes.errors import InputError, ListError

__all__ = ["ListState", "Memory", "Stateful"]


class ListState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one list. ``checkpoint`` is good for ``version`` alone."""

    confirmed: str = ""  # when the version in force was last imported, or found unchanged (RFC 3339, UTC)
    version: str = ""
    checkpoint: str = ""
    held: dict[str, list[str]] = {}  # versions that are kept aside, and why


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of all lists: the greatest sequence that was in force, and which were removed on purpose."""

    seen: dict[str, int] = {}
    removed: list[str] = []
    latest: str = ""  # the latest time this store has seen: a clock that is set back makes nothing fresh


_S = TypeVar("_S", bound=msgspec.Struct)


class Stateful:
    """Reads and writes both, encrypted, each bound to its place."""

    def __init__(self, key: ListsKey, memory: Path | None) -> None:
        self._key = key
        self._memory = memory

    def state(self, folder: Path) -> ListState:
        """What is remembered of the list in a folder; nothing where nothing is."""
        return self._read(folder / "state", f"list-state/{folder.name}", ListState)

    def put_state(self, folder: Path, state: ListState) -> None:
        """Remember it."""
        self._write(folder / "state", f"list-state/{folder.name}", state)

    def memory(self) -> Memory:
        """How far all lists had come."""
        return Memory() if self._memory is None else self._read(self._memory, "lists-memory", Memory)

    def put_memory(self, memory: Memory) -> None:
        """Remember it, where there is a place for it."""
        if self._memory is not None:
            self._write(self._memory, "lists-memory", memory)

    def _read(self, path: Path, context: str, kind: type[_S]) -> _S:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return kind()
        except OSError as error:
            raise ListError(f"cannot read {path}: {error.strerror}") from error
        try:
            return msgspec.json.decode(unlock(self._key, data, context.encode()), type=kind)
        except (InputError, msgspec.MsgspecError) as error:
            raise ListError(
                f"{path} is damaged, or of another key", hint="check lists.key; if it is lost, import the lists again"
            ) from error

    def _write(self, path: Path, context: str, value: msgspec.Struct) -> None:
        replace_file(path, lock(self._key, msgspec.json.encode(value), context.encode()))


def later(now: datetime, memory: Memory) -> datetime:
    """The time, which never runs backwards."""
    latest = parsed(memory.latest)
    return max(now, latest) if latest else now


def parsed(text: str) -> datetime | None:
    """A time as it was written here; None where there is none."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def noted(memory: Memory, now: datetime, seen: Mapping[str, int]) -> Memory:
    """The memory with these lists at these sequences."""
    further = {name: max(sequence, memory.seen.get(name, 0)) for name, sequence in seen.items()}
    removed = [name for name in memory.removed if name not in seen]
    return Memory(seen=memory.seen | further, removed=removed, latest=now.isoformat(timespec="seconds"))
