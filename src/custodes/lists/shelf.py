"""Lists decrypted and indexed once, in anonymous, locked memory that the workers of a machine map: ten million entries take their room once.

The memory has no name in any file system, is sealed against change when it is filled, and goes with the last process that has it. Whoever makes a shelf keeps
its own memory and descriptors from other processes of the same user (``confine.keep_secrets``). Descriptors are passed to workers when they are started.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from custodes.confine import LockedMemory
from custodes.index import ExactIndex, HammingIndex
from custodes.lists.matcher import Indexes, indexes_of
from custodes.lists.store import ListStore, LoadedLists, loaded_list
from custodes.model import Kind

__all__ = ["SEALS", "Shelf"]

SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def nowhere(_list_id: str, _version: str) -> None:
    """No list is anywhere but in the store."""


class Shelf:
    """Descriptors of the memory, by what it holds: ``list/<id>`` the plaintext of a version, ``index/<kind>`` an index over the entries of all lists."""

    def __init__(self, versions: Mapping[str, str], descriptors: Mapping[str, int]) -> None:
        self.versions = dict(versions)
        self.descriptors = dict(descriptors)
        self._locked: list[LockedMemory] = []

    @classmethod
    def filled(
        cls, store: ListStore, versions: Mapping[str, str], elsewhere: Callable[[str, str], bytes | None] = nowhere
    ) -> Shelf:
        """Decrypt and index these versions. ``elsewhere`` has those that the store has not. Raises ListError as ``ListStore.load`` does."""
        shelf = cls(versions, {})
        with ExitStack() as failed:
            failed.callback(shelf.close)
            for list_id, version in versions.items():
                sealed = None if store.holds(list_id, version) else elsewhere(list_id, version)
                shelf._put(f"list/{list_id}", store.plaintext(list_id, version, sealed))
            for kind, index in indexes_of(shelf.lists(), threads=len(os.sched_getaffinity(0))).items():
                shelf._put(f"index/{kind.value}", index)
            failed.pop_all()
        return shelf

    def lock(self) -> None:
        """Keep what another process has filled in RAM, for as long as this object is open."""
        self._locked += [LockedMemory(descriptor) for descriptor in self.descriptors.values()]

    def lists(self) -> LoadedLists:
        """The lists: views of the shared memory."""
        found = [loaded_list(name, self.versions[name], self._mapped(f"list/{name}")) for name in sorted(self.versions)]
        return LoadedLists(tuple(found))

    def indexes(self) -> Indexes:
        """The indexes over their entries: views of the shared memory."""
        named = {kind: self._path(f"index/{kind.value}") for kind in Kind if f"index/{kind.value}" in self.descriptors}
        return Indexes(
            {kind: ExactIndex.load(path) for kind, path in named.items() if kind is not Kind.PDQ},
            HammingIndex.load(named[Kind.PDQ]) if Kind.PDQ in named else None,
        )

    @property
    def in_swap(self) -> bool:
        """Whether the kernel may write some of it to swap: it refused to keep all of it in RAM."""
        return not all(memory.held for memory in self._locked)

    def close(self) -> None:
        """Give the descriptors back. What is mapped stays, and may be swapped from now on."""
        while self._locked:
            self._locked.pop().close()
        while self.descriptors:
            os.close(self.descriptors.popitem()[1])

    def _put(self, name: str, content: bytearray | ExactIndex | HammingIndex) -> None:
        # The name is for /proc, and tells nothing.
        descriptor = os.memfd_create("custodes", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self.descriptors[name] = descriptor
        with os.fdopen(os.dup(descriptor), "wb") as file:
            if isinstance(content, bytearray):
                file.write(content)
            else:
                content.save(file)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
        self._locked.append(LockedMemory(descriptor))

    def _path(self, name: str) -> Path:
        return Path(f"/proc/self/fd/{self.descriptors[name]}")

    def _mapped(self, name: str) -> memoryview:
        # Opened for reading: before Linux 6.7 nothing else of sealed memory can be mapped.
        with self._path(name).open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
