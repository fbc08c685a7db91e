"""A log and a witness that die at each of their steps on the disk: run as a program, because it forks. As ``tests.handover.crashing``, which kills."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from custodes.errors import InputError
from custodes.transparency import log as log_module
from custodes.transparency.log import Log
from custodes.transparency.memory import Memory
from custodes.transparency.merkle import leaf_hash
from custodes.transparency.reading import Folder, audit, read_folder
from custodes.transparency.witness import request
from tests.handover.crashing import STORIES, Step, Story, every
from tests.transparency.worlds import (
    ORIGIN,
    TRUST,
    log_in,
    naive_consistency,
    note_of,
    numbered,
    tree_of,
    witness_in,
)

STEPS = (2, 257)


class LogStory(Story):
    """A log grows past its tiles and is published each time. What is signed and what is published is old or new, whole, and goes on."""

    def acts(self) -> Iterator[Step]:
        log = log_in(self.home / "log")
        log.create()
        at = 0
        yield lambda: None
        for size in STEPS:
            yield lambda at=at, size=size: log.append(numbered(at, size))
            yield log.publish
            at = size

    def seen(self) -> Any:
        folder, log = self.home / "log", log_in(self.home / "log")
        signed = TRUST.verify(log.signed()).checkpoint.tree
        sizes = [signed.size]
        read_folder(Folder(folder), audit(signed))
        if (folder / "checkpoint").exists():
            tree = TRUST.verify((folder / "checkpoint").read_bytes()).checkpoint.tree
            read_folder(Folder(folder), audit(tree))
            sizes.append(tree.size)
        # And it goes on, with other entries than those that were on their way.
        log.append(numbered(signed.size, signed.size + 5, "after"))
        log.publish()
        tree = TRUST.verify((folder / "checkpoint").read_bytes()).checkpoint.tree
        rows = [*numbered(0, signed.size), *numbered(signed.size, signed.size + 5, "after")]
        assert tree == tree_of(rows)
        read_folder(Folder(folder), audit(tree))
        return sizes


class WitnessStory(Story):
    """A witness signs one after another. What it remembers is never less than what it signed."""

    def acts(self) -> Iterator[Step]:
        yield lambda: None
        at = 0
        for size in (2, 3, 7, 8, 20, 21):
            yield lambda at=at, size=size: self._ask(at, size)
            at = size

    def _ask(self, old: int, size: int) -> None:
        proof = naive_consistency(old, [leaf_hash(row) for row in numbered(0, size)]) if old else []
        reply = witness_in(self.home / "witness").add_checkpoint(
            request(old, proof, note_of(tree_of(numbered(0, size))))
        )
        assert reply.status == 200

    def seen(self) -> Any:
        last = Memory(self.home / "witness").last(ORIGIN)
        return last.size if last else 0


STORIES.update(log=LogStory, witness=WitnessStory)

# -- faults that the tests must notice


def publishes_first() -> None:
    """The signed note is there before entries and tiles are."""
    append = Log.append

    def early(self: Log, entries: Any) -> bytes:
        tree = TRUST.verify(self.signed()).checkpoint.tree
        rows = [*numbered(0, tree.size), *entries]
        log_module.replace_file(self._folder / ".signed", note_of(tree_of(rows)))
        log_module.replace_file(self._folder / ".signed", note_of(tree))
        return append(self, entries)

    Log.append = early  # type: ignore[method-assign]


def writes_in_place() -> None:
    """Files are overwritten where they lie."""

    def replace_file(path: Path, content: bytes, *, mode: int = 0o600) -> None:
        path.write_bytes(b"")
        path.write_bytes(content)

    log_module.replace_file = replace_file  # type: ignore[assignment]


FAULTS = (publishes_first, writes_in_place)


def main(story: str, fault: str = "") -> None:
    if fault:
        next(plant for plant in FAULTS if plant.__name__ == fault)()
    memory = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        wrong = every(story, home)
    except (AssertionError, InputError) as error:
        wrong = [f"{story}: {type(error).__name__}"]
    finally:
        shutil.rmtree(home)
    sys.stdout.write(json.dumps(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
