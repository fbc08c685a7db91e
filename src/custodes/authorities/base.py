"""The seam: what every authority's service can be asked, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from custodes.errors import AuthorityError
from custodes.lists.records import Record
from custodes.model import Kind

__all__ = ["Authority", "Environment", "Feedback", "Page", "ResumeExpired", "Verdict"]


class ResumeExpired(AuthorityError):  # noqa: N818 - what happened to the walk, not what went wrong
    """A walk cannot go on where it stopped: it must begin again at the checkpoint. Nothing that was received is wrong."""


@dataclass(frozen=True, slots=True, repr=False)
class Page:
    """One answer of a walk over what changed.

    ``resume`` is where the same walk goes on after this page: opaque text, kept encrypted. ``checkpoint`` stands on the last page alone:
    from there the next walk begins. ``skipped`` counts what the page held and no list of images can use, by reason.
    """

    records: tuple[Record, ...]
    resume: str = ""
    checkpoint: str | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)
    unchanged: bool = False
    """Of a service that gives the whole list: it is the one that the checkpoint names, and is not given again."""

    def __repr__(self) -> str:
        return f"<Page {len(self.records)} records{', the last' if self.checkpoint is not None else ''}>"


class Environment(NamedTuple):
    """One of a service's environments: where it is, whether it is the real one, and the category scheme of what it holds."""

    base: str
    production: bool
    scheme: str


class Verdict(StrEnum):
    """What a user of a list says back of an entry."""

    CONFIRM = "confirm"
    DISPUTE = "dispute"


@dataclass(frozen=True, slots=True, repr=False)
class Feedback:
    """What is said of an entry, by the authority's own id and the kind of the hash. ``reason`` is one of ``Authority.feedback_reasons``.

    ``value`` is the hash itself, for services that know no other name of it.
    """

    id: str
    kind: Kind
    verdict: Verdict
    reason: str = ""
    value: bytes = b""


class Authority(Protocol):
    """A service that shares a list. An adapter holds its credentials and a ``Caller``; it keeps no state between walks."""

    name: str
    """Which protocol: ncmec, stopncii, threatexchange, tat, bundle."""
    environment: str
    """Which of the service's environments, as its documentation names them."""
    production: bool
    """Whether that is the real one. Every output names both."""
    scheme: str
    """The category scheme of its records (``lists.meaning``)."""
    whole: bool
    """Whether a walk gives the whole list, so that what it does not hold is withdrawn; else it gives what changed."""

    def pages(self, checkpoint: str, resume: str = "") -> AsyncIterator[Page]:
        """Walk over everything that changed since ``checkpoint`` ("": from the beginning), or go on with a walk that stopped.

        The last page, and only it, has a checkpoint. Raises ResumeExpired when ``resume`` is not taken any more, AuthorityError.
        """
        ...

    async def status(self) -> str:
        """One line that says with whom one speaks: proof that address and credentials are right. Holds no secret. Raises AuthorityError."""
        ...

    async def feedback_reasons(self, kind: Kind) -> dict[str, str]:
        """Reasons to dispute an entry of this kind, name -> meaning; empty where the service has none."""
        ...

    async def give(self, feedback: Feedback) -> None:
        """Tell the service what is said of an entry. Never repeated by itself. Raises AuthorityError, InputError if it takes no such feedback."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...
