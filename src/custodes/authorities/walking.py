"""What walks have in common that go on at a place which the service gave: it lasts for a while, and the service may refuse it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec

from custodes.authorities.base import ResumeExpired
from custodes.services.calls import RefusedError

__all__ = ["PLACE_S_MAX", "going_on", "still_good", "stopped_walk", "unreadable"]

PLACE_S_MAX: Final = 12 * 3600
"""How long a place counts. NCMEC asks not to keep paging addresses; how long other services' tokens last is not documented."""
_EXPIRED: Final = frozenset({400, 404, 410})  # answers to a place that is not taken any more

_W = TypeVar("_W", bound=msgspec.Struct)


def stopped_walk(resume: str, kind: type[_W]) -> _W:
    """A walk as a page told it. Raises ResumeExpired."""
    try:
        return msgspec.json.decode(resume, type=kind)
    except msgspec.DecodeError as error:
        raise unreadable() from error


def unreadable() -> ResumeExpired:
    """Of a walk that cannot be gone on with."""
    return ResumeExpired("where the walk stopped cannot be read")


def still_good(place: str, age_s: float) -> None:
    """Raises ResumeExpired for a place that is too old, or of the future."""
    if not 0 <= age_s <= PLACE_S_MAX:
        raise ResumeExpired(f"{place} is older than 12 hours")


@contextmanager
def going_on(place: str) -> Iterator[None]:
    """Around a call that goes on at a place: where the service refuses it, ResumeExpired."""
    try:
        yield
    except RefusedError as error:
        if error.status in _EXPIRED:
            raise ResumeExpired(f"{place} is not taken any more: status {error.status}") from error
        raise
