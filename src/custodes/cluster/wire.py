"""What a coordinator and its Ray driver say to each other.

A **seat** is a place for one worker process on some machine of the cluster. The coordinator says how many seats it wants and what their workers are told;
the driver says which seats there are, what was heard from their workers, and which were lost. What is given and heard are frames of the worker's own
conversation (``scan.pool``), which the driver does not read.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

__all__ = [
    "Broken",
    "Capacity",
    "Close",
    "Ended",
    "FromDriver",
    "Give",
    "Heard",
    "Join",
    "Joined",
    "Lost",
    "Open",
    "Place",
    "Seated",
    "ToDriver",
]

SEATS_MAX: Final = 100_000


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a seat is, and what would work there."""

    node: str
    host: str
    version: str


# -- coordinator to driver


class Join(msgspec.Struct, frozen=True, tag=True):
    """First message: the head of a cluster, ``HOST:PORT``; empty for one that is started for this run, with so many processors."""

    address: str
    processors: int


class Open(msgspec.Struct, frozen=True, tag=True):
    """A seat is wanted."""

    seat: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """A seat is not wanted any more. Its worker ends."""

    seat: int


class Give(msgspec.Struct, frozen=True, tag=True):
    """Frames for the worker of a seat."""

    seat: int
    frames: bytes


# -- driver to coordinator


class Joined(msgspec.Struct, frozen=True, tag=True):
    """The cluster can be used."""

    address: str


class Capacity(msgspec.Struct, frozen=True, tag=True):
    """Processors that Ray hands out now, by node."""

    processors: dict[str, int]


class Seated(msgspec.Struct, frozen=True, tag=True):
    """A seat has found its place, and a worker waits there for its first message."""

    seat: int
    place: Place


class Heard(msgspec.Struct, frozen=True, tag=True):
    """Frames from the worker of a seat."""

    seat: int
    frames: bytes


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The worker process of a seat has ended. The seat is gone."""

    seat: int


class Lost(msgspec.Struct, frozen=True, tag=True):
    """Ray has lost a seat: its node, or the process beside the worker. ``why``: the kind of error, nothing more."""

    seat: int
    why: str


class Broken(msgspec.Struct, frozen=True, tag=True):
    """The cluster cannot be used, or not any more."""

    message: str
    hint: str


ToDriver: Any = Join | Open | Close | Give
FromDriver: Any = Joined | Capacity | Seated | Heard | Ended | Lost | Broken
