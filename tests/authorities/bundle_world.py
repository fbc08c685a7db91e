"""A publisher, whoever stands between it and its subscribers, and subscribers with a clock of their own.

The clock stands in 2090: what is signed here has not expired by the clock of the machine, whatever that says. What is served is a table of
names and bytes, so that an attack is a change of the table.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Timestamp

from custodes.authorities.base import Page
from custodes.authorities.bundle import Bundle
from custodes.authorities.bundle_files import BundleFiles
from custodes.authorities.settings import BundleSettings
from custodes.bundles.repository import Lifetimes, Publisher
from custodes.bundles.target import Said, seal_list
from custodes.crypto.seal import Recipient, create_identity
from custodes.crypto.signers import load_signer
from custodes.errors import AuthorityError, CustodesError
from custodes.lists.container import Provenance, collect
from custodes.lists.formats.own import OwnHeader, export_lines
from custodes.model import Entry, Kind

Table = dict[str, bytes]
START = datetime(2090, 1, 1, tzinfo=UTC)
OWNERS = ("alice", "bob", "carol")
LIST = "demo"
VERSIONS = 11
TIMESTAMP = "metadata/timestamp.json"


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Served(BundleFiles):
    """What the subscriber is given when it asks. ``asked`` holds the names, ``given`` how many bytes went out."""

    table: Table
    asked: list[str] = field(default_factory=list)
    given: int = 0
    stop_before: int = -1  # the number of the request at which everything ends

    def parts(self, name: str, size_bytes_max: int) -> Iterator[bytes]:
        if len(self.asked) == self.stop_before:
            raise StoppedError
        self.asked.append(name)
        if name not in self.table:
            raise DownloadHTTPError("absent", 404)
        data = self.table[name]
        for start in range(0, len(data), 4096):
            self.given += len(data[start : start + 4096])
            yield data[start : start + 4096]


class StoppedError(BaseException):
    """The process ends here."""


def entries(count: int, category: str = "A1") -> list[Entry]:
    """The list at its ``count``-th version: entries come, and the first ones go."""
    numbers = range(count // 2, count + 3)
    return [Entry(Kind.SHA256, hashlib.sha256(b"entry %d" % n).digest(), f"e{n}", category, "high") for n in numbers]


def said_of(count: int, **changed: Any) -> Said:
    fields = {"list": LIST, "version": f"{count}-{count:012x}", "sequence": count, "scheme": "ncmec"}
    return Said(**{**fields, "created": "2090-01-01T00:00:00+00:00", **changed})


def export_of(said: Said, held: list[Entry]) -> bytes:
    header = OwnHeader(
        list=said.list, version=said.version, created=said.created, provenance=Provenance(scheme=said.scheme)
    )
    return b"".join(export_lines(header, collect(held)[0]))


@dataclass
class World:
    """One publisher of one list."""

    home: Path
    clock: Clock
    recipient: Recipient
    publisher: Publisher

    @classmethod
    def make(cls, home: Path, lifetimes: Lifetimes | None = None) -> World:
        clock = Clock()
        secret, recipient = create_identity()
        (home / "identity").touch(0o600)
        (home / "identity").write_text(secret)
        publisher = Publisher.create(home / "publisher", OWNERS, lifetimes or Lifetimes(), clock)
        shutil.copy(publisher.public / "metadata" / "1.root.json", home / "root.json")
        return cls(home, clock, Recipient(recipient), publisher)

    def publish(self, count: int) -> Table:
        """The ``count``-th version, and everything that is served then."""
        said = said_of(count)
        self.publisher.publish(said, seal_list(export_of(said, entries(count)), [self.recipient]))
        return self.served()

    def served(self) -> Table:
        root = self.publisher.public
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def subscriber(self, state: Path, files: BundleFiles | Table, **changed: Any) -> Bundle:
        settings = {"source": "nowhere", "list": LIST, "trusted_root": "root.json", "identity": "identity", **changed}
        served = files if isinstance(files, BundleFiles) else Served(files)
        return Bundle(BundleSettings(**settings), self.home, state, served, self.clock)

    def online(self, role: str) -> Signer:
        """The first key of a role: in an attack, stolen."""
        return load_signer(self.publisher.directory / "keys" / f"{role}.pem")

    def owner(self, name: str) -> Signer:
        return load_signer(self.publisher.directory / "root-keys" / f"{name}.pem")


def pages(bundle: Bundle, checkpoint: str = "") -> list[Page]:
    async def walk() -> list[Page]:
        return [page async for page in bundle.pages(checkpoint)]

    return asyncio.run(walk())


def taken(bundle: Bundle, checkpoint: str = "") -> frozenset[Entry] | str:
    """What the subscriber takes for the list; "unchanged", or "refused" where it says why."""
    try:
        (page,) = pages(bundle, checkpoint)
    except CustodesError as error:
        return "refused" if str(error) else "refused without a word"
    return "unchanged" if page.unchanged else frozenset(entry for record in page.records for entry in record.entries)


def truth(count: int) -> frozenset[Entry]:
    return frozenset(entries(count))


def refusal(bundle: Bundle, checkpoint: str = "") -> str:
    try:
        (page,) = pages(bundle, checkpoint)
    except AuthorityError as error:
        return str(error)
    raise AssertionError(f"taken: {page}")


def resigned(data: bytes, change: Callable[[Any], object], *signers: Signer) -> bytes:
    """Metadata with what they say changed, signed by these keys alone (none: the signatures as they were)."""
    metadata: Metadata[Any] = Metadata.from_bytes(data)
    change(metadata.signed)
    if signers:
        metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


class History:
    """A publisher with eleven versions behind it: what was served at each, and subscribers who have seen each."""

    def __init__(self, home: Path) -> None:
        self.world = World.make(home)
        self.served: list[Table] = [self.world.publish(count) for count in range(1, VERSIONS + 1)]
        for count in range(1, VERSIONS + 1):
            if count > 1:
                shutil.copytree(home / f"seen-{count - 1}", home / f"seen-{count}", symlinks=True)
            assert taken(self.world.subscriber(home / f"seen-{count}", self.served[count - 1])) == truth(count)
        self._numbers = itertools.count()

    def at(self, count: int) -> Table:
        return dict(self.served[count - 1])

    def subscriber(self, seen: int, table: Table | Served, **changed: Any) -> Bundle:
        """A subscriber who has taken version ``seen``; 0: nothing yet."""
        state = self.world.home / f"subscriber-{next(self._numbers)}"
        if seen:
            shutil.copytree(self.world.home / f"seen-{seen}", state, symlinks=True)
        return self.world.subscriber(state, table, **changed)

    def name(self, count: int, role: str) -> str:
        """The file of a role in the state of a version."""
        if role == Timestamp.type:
            return TIMESTAMP
        if role == "list":
            return next(
                name
                for name in self.at(count)
                if name.startswith("targets/") and (count == 1 or name not in self.at(count - 1))
            )
        return f"metadata/{count + 1}.{role}.json"  # the first, empty state came before


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is one: what a thousand runs leave need not be durable."""
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="custodes-", dir=place) as folder:
        yield Path(folder)
