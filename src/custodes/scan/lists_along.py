"""The lists of a run, kept in it while a cluster works at it: for nodes that do not have them, or not in these versions.

They are encrypted under the site's list key, as in its list store, each bound to its name and version: whoever can read the run cannot read them, and what was
changed or exchanged does not open. When the run is done they are removed.
"""

from __future__ import annotations

from collections.abc import Callable

from custodes.ledger.run import RunDirectory
from custodes.lists.store import ListStore

__all__ = ["leave_lists", "lists_left", "take_lists_away"]

FOLDER = "lists"


def leave_lists(run: RunDirectory, store: ListStore) -> None:
    """Keep the run's lists in it."""
    for used in run.manifest.lists:
        run.store.publish(name_of(used.id, used.version), store.sealed(used.id, used.version))


def lists_left(run: RunDirectory) -> Callable[[str, str], bytes | None]:
    """Gives a list by id and version, encrypted; None where it was not left in the run."""

    def read(list_id: str, version: str) -> bytes | None:
        try:
            return run.store.read(name_of(list_id, version))
        except FileNotFoundError:
            return None

    return read


def take_lists_away(run: RunDirectory) -> None:
    """Remove what ``leave_lists`` left."""
    run.store.clear(FOLDER)


def name_of(list_id: str, version: str) -> str:
    """Where a list lies in a run."""
    return f"{FOLDER}/{list_id}-{version}"
