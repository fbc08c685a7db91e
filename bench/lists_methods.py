"""One piece of work on lists, in a process of its own, which prints what it took as JSON. Run as a program.

lists_methods.py load CONFIG LIST                    decrypt and index a list, as a scan does
lists_methods.py update CONFIG LIST ID               rewrite it for one changed id
lists_methods.py prepare FOLDER RECORDS              a store with a list of so many records
lists_methods.py sync FOLDER BASE                    our sync from the service at BASE into the store in FOLDER
lists_methods.py prepare-peer FILE RECORDS           the same list as ThreatExchange keeps it
lists_methods.py sync-peer FILE BASE                 its client's walk over the same pages, into the file (.venv-bench)
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lists_server import MEMBER, digests, name

LIST = "bench"
SINCE = "2026-05-01T00:00:00Z"


def timed(work: Callable[[], Any]) -> Any:
    """Do it, and print what it took beside what it says."""
    wall, cpu = time.perf_counter(), time.process_time()
    said = work()
    print(json.dumps({"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu} | said))


# -- ours


def load(config: str, list_id: str) -> None:
    from custodes.config import load_site
    from custodes.lists.shelf import Shelf

    store = load_site(config).lists()

    def do() -> dict[str, Any]:
        shelf = Shelf.filled(store, store.current([list_id]))
        return {"entries": sum(len(each.contents) for each in shelf.lists().lists)}

    timed(do)


def update(config: str, list_id: str, own_id: str) -> None:
    from custodes.config import load_site
    from custodes.lists.container import Provenance
    from custodes.lists.records import Record
    from custodes.lists.store import Walk
    from custodes.model import Entry, Kind

    store = load_site(config).lists()
    entry = Entry(Kind.MD5, bytes.fromhex(digests(time.time_ns())["md5"]), own_id, "A1")

    def do() -> dict[str, Any]:
        walk = Walk("bench")
        report = store.update(list_id, [Record(own_id, (entry,), 1)], Provenance(scheme="ncmec"), walk)
        assert report.changed == 1, report
        assert not report.held, report
        return {"entries": sum(report.entries.values())}

    timed(do)


def store_in(folder: str) -> Any:
    from custodes.crypto.keys import ListsKey
    from custodes.lists.store import ListStore, StoreRules

    return ListStore(Path(folder) / "lists", ListsKey(bytes(32)), StoreRules(memory=Path(folder) / "memory"))


def prepare(folder: str, count: str) -> None:
    from custodes.lists.container import Provenance
    from custodes.lists.records import Record
    from custodes.lists.store import Walk
    from custodes.model import Entry, Kind

    def records() -> Any:
        for number in range(int(count)):
            own = f"{MEMBER}/{name(number)}"
            values = digests(number).items()
            entries = (Entry(Kind(kind), bytes.fromhex(value), own, f"A{1 + number % 2}") for kind, value in values)
            yield Record(own, tuple(entries), 1)

    store_in(folder).update(LIST, records(), Provenance(scheme="ncmec"), Walk(SINCE))


def sync(folder: str, base: str) -> None:
    from custodes.authorities.ncmec import Ncmec
    from custodes.authorities.sync import sync
    from custodes.services.calls import Caller

    async def all_of_it() -> Any:
        caller = Caller(base, "the benchmark", basic=("user", "password"), unsafe_allow_loopback=True)
        authority = Ncmec(caller, "ngo-test")
        try:
            return await sync(store_in(folder), LIST, authority)
        finally:
            await authority.close()

    def do() -> dict[str, Any]:
        report = asyncio.run(all_of_it())
        assert not report.held, report.held
        return {"records": report.records, "entries": sum(report.entries.values())}

    timed(do)


# -- ThreatExchange


def sync_peer(file: str, base: str) -> None:
    from threatexchange.exchanges.clients.ncmec.hash_api import NCMECHashAPI

    def do() -> dict[str, Any]:
        """As its command line does: what is kept is unpickled, merged and pickled whole."""
        path, records = Path(file), 0
        kept = pickle.loads(path.read_bytes()) if path.exists() else {}
        client = NCMECHashAPI("user", "password", SimpleNamespace(value=base))  # type: ignore[arg-type]
        for answer in client.get_entries_iter():
            records += len(answer.updates)
            for update in answer.updates:
                if update.deleted:
                    kept.pop(f"{update.member_id}-{update.id}", None)
                else:
                    kept[f"{update.member_id}-{update.id}"] = update
        with path.with_suffix(".new").open("wb") as written:
            pickle.dump(kept, written)
        path.with_suffix(".new").replace(path)
        return {"records": records, "entries": sum(len(update.fingerprints) for update in kept.values())}

    timed(do)


def prepare_peer(file: str, count: str) -> None:
    from threatexchange.exchanges.clients.ncmec.hash_api import NCMECEntryType, NCMECEntryUpdate

    kept = {
        f"{MEMBER}-{name(number)}": NCMECEntryUpdate(
            name(number), MEMBER, NCMECEntryType.image, False, f"A{1 + number % 2}", digests(number), {}
        )
        for number in range(int(count))
    }
    Path(file).write_bytes(pickle.dumps(kept))


WORK = {
    "load": load,
    "update": update,
    "prepare": prepare,
    "sync": sync,
    "prepare-peer": prepare_peer,
    "sync-peer": sync_peer,
}

if __name__ == "__main__":
    WORK[sys.argv[1]](*sys.argv[2:])
