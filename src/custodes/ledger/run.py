"""The run directory, in a folder or an object store: one manifest, then one first-wins commit per shard, and nothing that says which rows matched.

A commit is a findings file (sealed to the authority, always present, padded), a file of vectors where a model made any, and then a shard file (outcomes,
digests, counts) that names them by digest: the shard file is the done-mark, so a crash before it leaves orphans and an undone shard, never a shard
without its findings. Counts of findings are locked under the run key. Resuming is subtraction: planned shards less committed ones. Shard files are found by
the names that follow from the plan; no listing is needed to know what is done.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from custodes.crypto.keys import AeadKey, RunKey
from custodes.crypto.vault import lock, unlock
from custodes.errors import InputError, InternalError, StorageError
from custodes.ledger.fence import OPEN, Fence
from custodes.ledger.manifest import Manifest, refuse_if_different
from custodes.ledger.rows import fits_schema, outcome_counts
from custodes.ledger.store import Folder, Place, Store, Stored, store_at, together
from custodes.model import Reason

__all__ = ["Counts", "Found", "RunDirectory", "ShardCommit", "ShardRecord", "Vectors", "newest_of"]

RECORD_KEY = b"custodes.shard"
SHARDS_PER_FOLDER = 1000
KEPT_BYTES_MIN = 4096
MANIFEST: Final = "manifest.json"
FOOTER_BYTES: Final = 64 << 10
"""Read first of the end of a shard file. Its footer is a twentieth of that."""

_OF_SHARD = re.compile(r"([0-9]{8,})\.g([0-9]+)-[0-9a-f]+\.(?:age|npy)")
"""Names of files of findings and vectors."""

Vectors = npt.NDArray[np.float16]


class Found(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Findings of one commit, as counts. Kept locked under the run key, because the count of a small shard names a row."""

    rows: int = 0
    by_list: dict[str, int] = {}
    by_rule: dict[str, int] = {}
    flooded: dict[str, int] = {}
    """Rows held because their list matched too much, by list."""


class ShardRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a shard file says of itself, in the clear."""

    run_id: str
    shard: int
    generation: int
    rows: int
    reasons: dict[Reason, int]
    coverage: dict[str, int]
    started: float
    finished: float
    bytes_fetched: int
    findings_file: str
    findings_sha256: str
    locked: bytes
    """``Found``, locked under the run key."""
    vectors_sha256: str = ""
    """Of the file of vectors; empty where the run makes none."""

    @property
    def vectors_file(self) -> str:
        """The name of the file of vectors."""
        return f"{self.shard:08d}.g{self.generation}-{self.vectors_sha256[:16]}.npy" if self.vectors_sha256 else ""


class ShardCommit(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker hands over for one shard: a table of rows, counts, findings that are sealed already, and, where a model made any, vectors.

    ``vectors``: fp16[rows, dimension], not numbers in a row that has none. ``fence``: the token of who works the shard (see ``ledger.fence``).
    """

    shard: int
    generation: int
    table: pa.Table
    coverage: Mapping[str, int]
    started: float
    finished: float
    bytes_fetched: int
    sealed: bytes
    found: Found
    vectors: Vectors | None = None
    fence: int = 0


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """A run added up over its committed shards (latest generation of each; findings over all generations)."""

    rows: int
    reasons: dict[Reason, int]
    coverage: dict[str, int]
    findings: int
    by_list: dict[str, int]
    by_rule: dict[str, int]
    flooded: dict[str, int]
    bytes_fetched: int


class RunDirectory:
    """A run in its store. Open one with ``create`` or ``open``; several processes may commit to it at once."""

    def __init__(self, store: Store, manifest: Manifest, key: RunKey, fence: Fence = OPEN) -> None:
        self.store = store
        self.manifest = manifest
        self._key = AeadKey(key.derive("found"))
        self._fence = fence

    @classmethod
    def create(cls, place: Place | Store, manifest: Manifest, key: RunKey, fence: Fence = OPEN) -> RunDirectory:
        """Start a run, or go on with it if the place holds the same one. Raises ConfigError saying what changed otherwise."""
        store = at(place)
        store.begin()
        stored = manifest_in(store)
        if stored is None:
            if store.names():
                raise InputError(f"{store.shown} is not empty and holds no run", hint="give --run a new directory")
            store.publish(MANIFEST, manifest.encode())
            stored = read_manifest(store)
        refuse_if_different(stored, manifest)
        return cls(store, stored, key, fence)

    @classmethod
    def open(cls, place: Place | Store, key: RunKey, fence: Fence = OPEN) -> RunDirectory:
        """Open an existing run. Raises InputError if there is none."""
        store = at(place)
        return cls(store, read_manifest(store), key, fence)

    @property
    def shown(self) -> str:
        """Where it lies, for people."""
        return self.store.shown

    @property
    def path(self) -> Path:
        """The folder that it lies in. Raises InputError for a run in an object store."""
        if not isinstance(self.store, Folder):
            raise InputError(f"{self.shown} is no folder of this machine", hint="copy it here first")
        return self.store.path

    def hold(self, *, shared: bool = False) -> ExitStack:
        """Keep other coordinators out until the answer is closed. In an object store nobody is kept out: there the first commit of each shard wins."""
        return self.store.hold(shared=shared)

    # -- writing

    def commit(self, commit: ShardCommit) -> ShardRecord:
        """Make a shard done. First wins: if it was done already, the record that stands is returned and nothing is added."""
        check_conservation(commit)
        vectors = None if commit.vectors is None else encode_vectors(commit.vectors)
        digest = hashlib.sha256(commit.sealed).hexdigest()
        name = f"{commit.shard:08d}.g{commit.generation}-{digest[:16]}.age"
        record = self._record(commit, name, digest, "" if vectors is None else hashlib.sha256(vectors).hexdigest())
        files = {f"{folder_of('findings', commit.shard)}/{name}": commit.sealed}
        if vectors is not None:
            files[self.vectors_name(record)] = vectors
        final, shard_file = shard_name(commit.shard, commit.generation), encode_shard(commit.table, record)
        with self._fence.held(commit.shard, commit.generation, commit.fence):
            # Order matters. 1: findings, and vectors. 2: the shard file, which is the done-mark.
            for each, data in files.items():
                self.store.publish(each, data)
            won = self.store.publish(final, shard_file)
        if won:
            return record
        stands = read_record(self.store, final)
        if stands is None:
            raise StorageError(f"{self.store.at(final)} was there and is gone", hint="scan again: the shard is redone")
        for each in files:  # equal vectors have one name: what the commit that stands names is no orphan
            if each.rpartition("/")[2] not in (stands.findings_file, stands.vectors_file):
                self.store.remove(each)
        return stands

    def _record(self, commit: ShardCommit, name: str, digest: str, vectors_digest: str) -> ShardRecord:
        record = ShardRecord(
            run_id=self.manifest.run_id,
            shard=commit.shard,
            generation=commit.generation,
            rows=commit.table.num_rows,
            reasons=outcome_counts(commit.table),
            coverage=dict(commit.coverage),
            started=commit.started,
            finished=commit.finished,
            bytes_fetched=commit.bytes_fetched,
            findings_file=name,
            findings_sha256=digest,
            locked=b"",
            vectors_sha256=vectors_digest,
        )
        return msgspec.structs.replace(record, locked=lock(self._key, padded(commit.found), context_of(record)))

    # -- reading

    def latest(self) -> dict[int, ShardRecord]:
        """The newest record of each committed shard."""
        return newest_of(self.records())

    def latest_of(self, shard: int) -> ShardRecord | None:
        """The newest record of one shard, without reading the others."""
        return max(self._generations(shard), key=lambda record: record.generation, default=None)

    def records(self) -> Iterator[ShardRecord]:
        """Every committed record of the shards that are planned, in order."""
        planned = (shard["index"] for shard in self.manifest.plan["shards"])
        for found in together(self.store, self._generations, planned):
            yield from found

    def _generations(self, shard: int) -> list[ShardRecord]:
        """The records of one shard: a new generation is made only where there is one before it."""
        found: list[ShardRecord] = []
        while (record := read_record(self.store, name := shard_name(shard, len(found)))) is not None:
            if record.run_id != self.manifest.run_id:
                raise InputError(f"{self.store.at(name)} belongs to another run")
            found.append(record)
        return found

    def found(self, record: ShardRecord) -> Found:
        """The locked counts of a record. Raises InputError with the wrong key, or if anything in the record was changed."""
        try:
            data = unlock(self._key, record.locked, context_of(record))
        except InputError as error:
            raise InputError(
                f"the counts of shard {record.shard} in {self.shown} cannot be opened: {error}",
                hint="use the configuration, and with it the run key, that the run was made with",
            ) from error
        return msgspec.json.decode(data, type=Found)

    def rows(self, record: ShardRecord) -> pa.Table:
        """Outcomes and digests of a committed shard, one line a row in order (schema: ``custodes.ledger.rows.SCHEMA``)."""
        return read_rows(self.store, record)

    def vectors(self, record: ShardRecord) -> Vectors:
        """The vectors of a committed shard, fp16[rows, dimension]. Raises StorageError where they are not what was committed."""
        found: Vectors = np.load(BytesIO(self._checked_vectors(record)), allow_pickle=False)
        return found

    def vector_files(self, records: Iterable[ShardRecord]) -> list[str]:
        """The files of vectors of these commits, by path or address. Each is checked against the digest that its shard file names."""

        def checked(record: ShardRecord) -> str:
            self._checked_vectors(record)
            return self.store.at(self.vectors_name(record))

        return list(together(self.store, checked, records))

    def _checked_vectors(self, record: ShardRecord) -> bytes:
        if not record.vectors_sha256:
            raise StorageError(
                f"shard {record.shard} of {self.shown} was committed without vectors",
                hint="delete its shard file and scan again",
            )
        return self._checked(self.vectors_name(record), record, record.vectors_sha256)

    def _checked(self, name: str, record: ShardRecord, sha256: str) -> bytes:
        try:
            data = self.store.read(name)
        except FileNotFoundError:
            data = None
        if data is None or hashlib.sha256(data).hexdigest() != sha256:
            raise StorageError(
                f"{self.store.at(name)} is missing or was changed",
                hint=f"delete the shard file of shard {record.shard} and scan again",
            )
        return data

    # Each shard file takes a while to open: who asks several of the following at once reads the records once and hands them in.

    def sealed_files(self, records: Iterable[ShardRecord] | None = None) -> list[Stored]:
        """The findings files of all commits. Each is checked against the digest that its shard file names."""

        def checked(record: ShardRecord) -> Stored:
            name = f"{folder_of('findings', record.shard)}/{record.findings_file}"
            self._checked(name, record, record.findings_sha256)
            return Stored(self.store, name)

        return list(together(self.store, checked, self.records() if records is None else records))

    def counts(self, records: Sequence[ShardRecord] | None = None) -> Counts:
        """The run added up."""
        reasons: dict[Reason, int] = {}
        coverage: dict[str, int] = {}
        by_list: dict[str, int] = {}
        by_rule: dict[str, int] = {}
        flooded: dict[str, int] = {}
        rows = findings = fetched = 0
        records = list(self.records()) if records is None else records
        newest = newest_of(records)
        for record in records:
            found = self.found(record)
            findings += found.rows
            fetched += record.bytes_fetched
            add(by_list, found.by_list)
            add(by_rule, found.by_rule)
            add(flooded, found.flooded)
            if newest[record.shard] is record:
                rows += record.rows
                add(reasons, record.reasons)
                add(coverage, record.coverage)
        return Counts(
            rows=rows,
            reasons=reasons,
            coverage=coverage,
            findings=findings,
            by_list=by_list,
            by_rule=by_rule,
            flooded=flooded,
            bytes_fetched=fetched,
        )

    def sweep(self, records: Iterable[ShardRecord] | None = None) -> int:
        """Remove files of findings and vectors of shards that were committed without them: left by a crash, or by who came second.

        Of a shard that is not committed nothing is removed: somebody may be about to. So it may be called at any time; half-written files go as well if
        the caller holds the lock, which he must where there is one.
        """
        records = list(self.records() if records is None else records)
        settled = {(record.shard, record.generation) for record in records}
        named = {name for record in records for name in (record.findings_file, record.vectors_file)}
        orphans = [
            f"{kind}/{folder}/{name}"
            for kind in ("findings", "vectors")
            for folder in self.store.names(kind)
            for name in self.store.names(f"{kind}/{folder}")
            if name not in named and shard_of(name) in settled
        ]
        for each in orphans:
            self.store.remove(each)
        return len(orphans) + self.store.tidy()

    # -- what only holders of the run key can read

    def keep(self, name: str, data: bytes) -> bool:
        """Publish a file of the run, locked under the run key and padded. First wins: False if it is there already."""
        room = max(KEPT_BYTES_MIN, 1 << (len(data) + 7).bit_length())
        plain = (len(data).to_bytes(8, "little") + data).ljust(room, b"\0")
        return self.store.publish(name, lock(self._key, plain, self._context(name)))

    def kept(self, name: str) -> bytes | None:
        """What is kept under this name; None if nothing is. Raises StorageError if it is damaged."""
        try:
            plain = unlock(self._key, self.store.read(name), self._context(name))
        except FileNotFoundError:
            return None
        except (InputError, OSError) as error:
            raise StorageError(
                f"{self.store.at(name)} cannot be read back, or is of another run key",
                hint="delete it, and start the command again",
            ) from error
        return plain[8 : 8 + int.from_bytes(plain[:8], "little")]

    def forget(self, folder: str) -> None:
        """Remove all that is kept below this name."""
        self.store.clear(folder)

    def _context(self, name: str) -> bytes:
        return f"kept/{self.manifest.fingerprint}/{name}".encode()

    def vectors_name(self, record: ShardRecord) -> str:
        """The name of a shard's vectors."""
        return f"{folder_of('vectors', record.shard)}/{record.vectors_file}"


def at(place: Place | Store) -> Store:
    """A store, or the one at a place."""
    return store_at(place) if isinstance(place, str | Path) else place


def folder_of(kind: str, shard: int) -> str:
    """Where the files of a kind lie: a thousand shards to a folder."""
    return f"{kind}/{shard // SHARDS_PER_FOLDER:05d}"


def shard_name(shard: int, generation: int) -> str:
    """The name of a shard's file."""
    return f"{folder_of('shards', shard)}/{shard:08d}.g{generation}.parquet"


def shard_of(name: str) -> tuple[int, int] | None:
    """Shard and generation that a file of findings or vectors is of; None for what we did not name."""
    found = _OF_SHARD.fullmatch(name)
    return (int(found[1]), int(found[2])) if found else None


def padded(found: Found) -> bytes:
    """Counts as JSON, filled up with spaces to a power of two of at least 1 KiB, so that their length tells nothing."""
    plain = msgspec.json.encode(found)
    return plain.ljust(max(1024, 1 << (len(plain) - 1).bit_length()))


def context_of(record: ShardRecord) -> bytes:
    """What the locked counts are bound to: all the rest of the record."""
    return msgspec.json.encode(msgspec.structs.replace(record, locked=b""), order="sorted")


def newest_of(records: Iterable[ShardRecord]) -> dict[int, ShardRecord]:
    """The record of the latest generation of each shard."""
    newest: dict[int, ShardRecord] = {}
    for record in records:
        held = newest.get(record.shard)
        if held is None or record.generation > held.generation:
            newest[record.shard] = record
    return newest


def manifest_in(store: Store) -> Manifest | None:
    """The manifest of a run; None where there is none."""
    try:
        return Manifest.decode(store.read(MANIFEST))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{store.at(MANIFEST)} cannot be read: {error.strerror}") from error


def read_manifest(store: Store) -> Manifest:
    """The manifest of a run. Raises InputError if there is none."""
    found = manifest_in(store)
    if found is None:
        raise InputError(
            f"{store.shown} holds no run: manifest.json cannot be read", hint="give the directory that --run named"
        )
    return found


def encode_shard(table: pa.Table, record: ShardRecord) -> bytes:
    """A shard file: the rows as parquet with page checksums, the record in its metadata."""
    tagged = table.replace_schema_metadata({RECORD_KEY: msgspec.json.encode(record, order="sorted")})
    sink = pa.BufferOutputStream()
    pq.write_table(tagged, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def encode_vectors(vectors: Vectors) -> bytes:
    """A file of vectors: ``.npy``, version 1."""
    file = BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(vectors, dtype="<f2"), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def read_record(store: Store, name: str) -> ShardRecord | None:
    """The record of a shard file; None where there is none. Raises StorageError if the file is not whole."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(footer_of(store, name)))
        record = msgspec.json.decode((metadata.metadata or {})[RECORD_KEY], type=ShardRecord)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException, KeyError, msgspec.MsgspecError) as error:
        raise StorageError(
            f"{store.at(name)} is not a whole shard file", hint="delete it, then scan again: the shard is redone"
        ) from error
    if metadata.num_rows != record.rows or sum(record.reasons.values()) != record.rows:
        raise StorageError(
            f"{store.at(name)} holds {metadata.num_rows} rows but says {record.rows}", hint="delete it, then scan again"
        )
    return record


def footer_of(store: Store, name: str) -> bytes:
    """The end of a parquet file, with all of its footer: that ends with its own length and four letters."""
    end = store.tail(name, FOOTER_BYTES)
    length = int.from_bytes(end[-8:-4], "little") + 8
    return end if length <= len(end) or len(end) < FOOTER_BYTES else store.tail(name, length)


def read_rows(store: Store, record: ShardRecord, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a shard file, or these columns of them (``reason`` among them). Raises StorageError where they are not what the record says."""
    name = shard_name(record.shard, record.generation)
    try:
        with pq.ParquetFile(
            store.opened(name), page_checksum_verification=True
        ) as file:  # read_table plans a data set first
            table = file.read(columns=columns, use_threads=False)
        reasons = outcome_counts(table)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StorageError(
            f"{store.at(name)} cannot be read back", hint="restore it, or delete it to redo the shard"
        ) from error
    if reasons != record.reasons or not fits_schema(table.schema):
        raise StorageError(
            f"{store.at(name)} does not hold the outcomes that it says it holds", hint="delete it to redo the shard"
        )
    return table


def check_conservation(commit: ShardCommit) -> None:
    """Rows = examined + unavailable + undecodable + failed, and a vector or none for each, or the shard is not done."""
    counted = sum(outcome_counts(commit.table).values())
    if counted != commit.table.num_rows:
        raise InternalError(f"shard {commit.shard}: {commit.table.num_rows} rows but {counted} outcomes")
    if commit.vectors is not None and (commit.vectors.ndim != 2 or len(commit.vectors) != commit.table.num_rows):
        raise InternalError(f"shard {commit.shard}: {commit.table.num_rows} rows but vectors {commit.vectors.shape}")


def add(total: dict, more: Mapping) -> None:  # type: ignore[type-arg]
    """Add counts to counts, by key."""
    for key, count in more.items():
        total[key] = total.get(key, 0) + count
