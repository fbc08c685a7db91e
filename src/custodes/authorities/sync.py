"""A walk over what an authority changed, from its checkpoint into the store: it may stop anywhere, and goes on there.

Every page is durable in the journal before the next is asked for, and the list changes once, when the walk is whole: a list is never half
of an update. What came twice, late or in another order ends as the same list (``Record``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from custodes.authorities.base import Authority, Page, ResumeExpired
from custodes.durable import exclusive
from custodes.errors import AuthorityError, ListError
from custodes.lists.container import Provenance
from custodes.lists.journal import Journal, Start
from custodes.lists.store import ListStore, UpdateReport, Walk
from custodes.model import Kind

__all__ = ["MALFORMED", "SyncReport", "sync"]

MALFORMED: Final = "malformed"
"""The reason by which adapters count records with a hash that is none; the store's checks look at their share."""

_PAGES_MAX: Final = 10_000_000
_RESTARTS_MAX: Final = 3


class SyncReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync did. Counts only; ``added``, ``changed`` and ``withdrawn`` count the authority's ids."""

    list: str
    authority: str
    environment: str
    production: bool
    version: str
    unchanged: bool
    pages: int  # of this walk, also those that an earlier try brought
    records: int
    added: int
    changed: int
    withdrawn: int
    entries: dict[Kind, int]
    skipped: dict[str, int]
    held: tuple[str, ...] = ()


async def sync(
    store: ListStore,
    list_id: str,
    authority: Authority,
    watch: Callable[[Page], None] = lambda _: None,
    *,
    afresh: bool = False,
) -> SyncReport:
    """Bring a list up to date. Raises AuthorityError (what came so far is kept), ListError, StorageError.

    ``afresh``: ask for all of it again, so that what the authority does not name any more goes, whatever was missed before.
    """
    journal = store.journal(list_id)
    with _alone(journal, list_id):
        checkpoint = "" if afresh else store.checkpoint(list_id)
        journal.begin(
            Start(
                version=store.in_force(list_id),
                checkpoint=checkpoint,
                service=authority.name,
                environment=authority.environment,
            )
        )
        if journal.checkpoint is None and await _walk(authority, checkpoint, journal, watch):
            store.confirm(list_id, checkpoint)
            report = _unchanged(store, list_id)
        else:
            report = _taken(store, list_id, authority, journal, whole=authority.whole or afresh)
        done = _report(report, authority, journal)
        journal.clear()
        return done


async def _walk(authority: Authority, checkpoint: str, journal: Journal, watch: Callable[[Page], None]) -> bool:
    """Bring pages until the last one. True where the service says that nothing changed at all."""
    for _ in range(_RESTARTS_MAX):
        try:
            async for page in authority.pages(checkpoint, journal.resume):
                if page.unchanged:
                    return True
                journal.append(page.records, page.resume, page.checkpoint, page.skipped)
                watch(page)
                if page.checkpoint is not None:
                    return False
                if journal.pages > _PAGES_MAX:
                    raise AuthorityError(f"{authority.name} does not come to an end: {journal.pages:,} pages")
            raise AuthorityError(f"{authority.name} ended its answer without a checkpoint")
        except ResumeExpired:
            if authority.whole:
                journal.clear()  # a whole list in two halves of different times may hold what was withdrawn between
            journal.forget_resume()
    raise AuthorityError(f"{authority.name} let the walk expire {_RESTARTS_MAX} times", hint="try again later")


def _taken(store: ListStore, list_id: str, authority: Authority, journal: Journal, *, whole: bool) -> UpdateReport:
    """Fold what the journal holds into the list."""
    assert journal.checkpoint is not None
    provenance = Provenance(
        source=authority.name,
        format=authority.name,
        authority=authority.name,
        scheme=authority.scheme,
        environment=authority.environment,
    )
    walk = Walk(journal.checkpoint, whole, journal.skipped[MALFORMED])
    return store.update(list_id, journal.records(), provenance, walk)


def _unchanged(store: ListStore, list_id: str) -> UpdateReport:
    (summary,) = store.show([list_id])
    return UpdateReport(
        list=list_id,
        version=summary.version,
        records=0,
        added=0,
        changed=0,
        withdrawn=0,
        entries=summary.entries,
        unchanged=True,
    )


def _report(update: UpdateReport, authority: Authority, journal: Journal) -> SyncReport:
    return SyncReport(
        list=update.list,
        authority=authority.name,
        environment=authority.environment,
        production=authority.production,
        version=update.version,
        unchanged=update.unchanged,
        pages=journal.pages,
        records=update.records,
        added=update.added,
        changed=update.changed,
        withdrawn=update.withdrawn,
        entries=update.entries,
        skipped=dict(journal.skipped),
        held=update.held,
    )


@contextmanager
def _alone(journal: Journal, list_id: str) -> Iterator[None]:
    """One sync of a list at a time, over all processes."""
    try:
        with exclusive(journal.folder, wait=False):
            yield
    except BlockingIOError:
        raise ListError(f"list {list_id} is being synced by another process", hint="wait for it to end") from None
