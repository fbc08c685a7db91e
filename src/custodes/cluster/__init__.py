"""Shards worked on the machines of a Ray cluster, by the same worker program as on one machine.

Here is only what says that one is wanted: nothing of Ray is imported where it is not.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from typing import Final

from custodes.errors import InputError

__all__ = ["Cluster", "wanted_cluster"]

_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9][A-Za-z0-9._-]*):[0-9]{1,5}")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster: the address of its head, ``HOST:PORT``, or none for one of this run's own; and so many workers on it at most (0: one a processor)."""

    address: str = ""
    workers: int = 0


def wanted_cluster(address: str, workers: int) -> Cluster:
    """A cluster that can be asked for. Raises InputError where Ray is not installed, or where an address is not one."""
    if importlib.util.find_spec("ray") is None:
        raise InputError("--executor ray needs Ray, which is not installed", hint="pip install 'custodes[ray]'")
    if address and not _ADDRESS.fullmatch(address):
        raise InputError(
            "--address wants HOST:PORT, as ray start --head says it",
            hint="an address that Ray would look for by itself may be of a cluster that is gone, so name it",
        )
    return Cluster(address, workers)
