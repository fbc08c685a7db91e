"""The run directory: one manifest, then one first-wins commit per shard, and nothing that says which rows matched.

A commit is a findings file (sealed to the authority, always present, padded), a file of vectors where a model made any, and then a shard file (outcomes,
digests, counts) that names them by digest: the shard file is the done-mark, so a crash before it leaves orphans and an undone shard, never a shard
without its findings. Counts of findings are locked under the run key. Resuming is subtraction: planned shards less committed ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from custodes.crypto.keys import AeadKey, RunKey
from custodes.crypto.vault import lock, unlock
from custodes.errors import InputError, InternalError, StorageError
from custodes.ledger.disk import Disk, translated
from custodes.ledger.manifest import Manifest, refuse_if_different
from custodes.ledger.rows import fits_schema, outcome_counts
from custodes.model import Reason

__all__ = ["Counts", "Found", "RunDirectory", "ShardCommit", "ShardRecord", "Vectors", "newest_of"]

RECORD_KEY = b"custodes.shard"
SHARDS_PER_FOLDER = 1000
KEPT_BYTES_MIN = 4096

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

    ``vectors``: fp16[rows, dimension], not numbers in a row that has none.
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
    """A run on disk. Open one with ``create`` or ``open``; several processes may commit to it at once."""

    def __init__(self, path: Path, manifest: Manifest, key: RunKey, disk: Disk | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self._key = AeadKey(key.derive("found"))
        self._disk = disk or Disk()

    @classmethod
    def create(cls, path: Path, manifest: Manifest, key: RunKey, disk: Disk | None = None) -> RunDirectory:
        """Start a run, or go on with it if the directory holds the same one. Raises ConfigError saying what changed otherwise."""
        disk = disk or Disk()
        disk.make_directory(path)
        if not (path / "manifest.json").exists():
            if any(entry for entry in path.iterdir() if not entry.name.startswith(".")):
                raise InputError(f"{path} is not empty and holds no run", hint="give --run a new directory")
            disk.publish(path / "manifest.json", manifest.encode())
        stored = read_manifest(path)
        refuse_if_different(stored, manifest)
        return cls(path, stored, key, disk)

    @classmethod
    def open(cls, path: Path, key: RunKey, disk: Disk | None = None) -> RunDirectory:
        """Open an existing run. Raises InputError if there is none."""
        return cls(path, read_manifest(path), key, disk)

    def hold(self) -> int:
        """Lock the directory for one coordinator, for as long as the returned descriptor stays open."""
        with translated(self.path):
            descriptor = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise InputError(
                f"{self.path} is in use by another custodes process", hint="wait for it to end, or stop it"
            ) from error
        return descriptor

    # -- writing

    def commit(self, commit: ShardCommit) -> ShardRecord:
        """Make a shard done. First wins: if it was done already, the record that stands is returned and nothing is added."""
        check_conservation(commit)
        vectors = None if commit.vectors is None else encode_vectors(commit.vectors)
        digest = hashlib.sha256(commit.sealed).hexdigest()
        name = f"{commit.shard:08d}.g{commit.generation}-{digest[:16]}.age"
        record = self._record(commit, name, digest, "" if vectors is None else hashlib.sha256(vectors).hexdigest())
        files = {self._folder("findings", commit.shard) / name: commit.sealed}
        if vectors is not None:
            files[self.vectors_path(record)] = vectors
        final = self.shard_path(commit.shard, commit.generation)
        for directory in (*(path.parent for path in files), final.parent):
            self._disk.make_directory(directory)
        # Order matters. 1: findings, and vectors. 2: the shard file, which is the done-mark.
        for path, data in files.items():
            self._disk.publish(path, data)
        if self._disk.publish(final, encode_shard(commit.table, record)):
            return record
        stands = read_record(final)
        for path in files:  # equal vectors have one name: what the commit that stands names is no orphan
            if path.name not in (stands.findings_file, stands.vectors_file):
                path.unlink(missing_ok=True)
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
        folder, start = self._folder("shards", shard), f"{shard:08d}.g"
        if not folder.is_dir():
            return None
        with os.scandir(folder) as names:  # a glob would make a path of each of a thousand neighbours
            found = [name.name for name in names if name.name.startswith(start) and name.name.endswith(".parquet")]
        newest = max(found, key=lambda name: int(name[len(start) : -len(".parquet")]), default=None)
        return None if newest is None else read_record(folder / newest)

    def records(self) -> Iterator[ShardRecord]:
        """Every committed record, checked: it belongs to this run, and its findings file is there and whole."""
        for path in sorted((self.path / "shards").glob("*/*.parquet")):
            record = read_record(path)
            if record.run_id != self.manifest.run_id:
                raise InputError(f"{path} belongs to another run")
            yield record

    def found(self, record: ShardRecord) -> Found:
        """The locked counts of a record. Raises InputError with the wrong key, or if anything in the record was changed."""
        try:
            data = unlock(self._key, record.locked, context_of(record))
        except InputError as error:
            raise InputError(
                f"the counts of shard {record.shard} in {self.path} cannot be opened: {error}",
                hint="use the configuration, and with it the run key, that the run was made with",
            ) from error
        return msgspec.json.decode(data, type=Found)

    def rows(self, record: ShardRecord) -> pa.Table:
        """Outcomes and digests of a committed shard, one line a row in order (schema: ``custodes.ledger.rows.SCHEMA``)."""
        return read_rows(self.shard_path(record.shard, record.generation), record)

    def vectors(self, record: ShardRecord) -> Vectors:
        """The vectors of a committed shard, fp16[rows, dimension]. Raises StorageError where they are not what was committed."""
        data = self._checked_vectors(record).read_bytes()
        found: Vectors = np.load(BytesIO(data), allow_pickle=False)
        return found

    def vector_files(self, records: Iterable[ShardRecord]) -> list[Path]:
        """The files of vectors of these commits. Each is checked against the digest that its shard file names."""
        return [self._checked_vectors(record) for record in records]

    def _checked_vectors(self, record: ShardRecord) -> Path:
        if not record.vectors_sha256:
            raise StorageError(
                f"shard {record.shard} of {self.path} was committed without vectors",
                hint="delete its shard file and scan again",
            )
        path = self.vectors_path(record)
        if not path.exists() or digest_of(path) != record.vectors_sha256:
            raise StorageError(
                f"{path} is missing or was changed",
                hint=f"delete the shard file of shard {record.shard} and scan again",
            )
        return path

    # Each shard file takes a while to open: who asks several of the following at once reads the records once and hands them in.

    def sealed_files(self, records: Iterable[ShardRecord] | None = None) -> list[Path]:
        """The findings files of all commits. Each is checked against the digest that its shard file names."""
        paths = []
        for record in self.records() if records is None else records:
            path = self._folder("findings", record.shard) / record.findings_file
            if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != record.findings_sha256:
                raise StorageError(
                    f"{path} is missing or was changed",
                    hint=f"delete the shard file of shard {record.shard} and scan again",
                )
            paths.append(path)
        return paths

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
        """Remove files of findings and vectors that no commit names (left by a crash before the done-mark). Call it holding the lock, with no worker left."""
        named: set[str] = set()
        for record in self.records() if records is None else records:
            named |= {record.findings_file, record.vectors_file}
        orphans = [
            path
            for kind in ("findings", "vectors")
            for path in (self.path / kind).glob("*/*")
            if path.name not in named
        ]
        orphans += list((self.path / "shards").glob("*/.*.tmp"))
        for path in orphans:
            path.unlink(missing_ok=True)
        return len(orphans)

    # -- what only holders of the run key can read

    def keep(self, name: str, data: bytes) -> bool:
        """Publish a file of the run, locked under the run key and padded. First wins: False if it is there already."""
        path = self.path / name
        self._disk.make_directory(path.parent)
        room = max(KEPT_BYTES_MIN, 1 << (len(data) + 7).bit_length())
        plain = (len(data).to_bytes(8, "little") + data).ljust(room, b"\0")
        return self._disk.publish(path, lock(self._key, plain, self._context(name)))

    def kept(self, name: str) -> bytes | None:
        """What is kept under this name; None if nothing is. Raises StorageError if it is damaged."""
        path = self.path / name
        if not path.exists():
            return None
        try:
            plain = unlock(self._key, path.read_bytes(), self._context(name))
        except (InputError, OSError) as error:
            raise StorageError(
                f"{path} cannot be read back, or is of another run key", hint="delete it, and start the command again"
            ) from error
        return plain[8 : 8 + int.from_bytes(plain[:8], "little")]

    def forget(self, name: str) -> None:
        """Remove what is kept under this name, a file or a folder of them."""
        path = self.path / name
        with translated(path):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _context(self, name: str) -> bytes:
        return f"kept/{self.manifest.fingerprint}/{name}".encode()

    def shard_path(self, shard: int, generation: int) -> Path:
        """Where a shard's file lies."""
        return self._folder("shards", shard) / f"{shard:08d}.g{generation}.parquet"

    def vectors_path(self, record: ShardRecord) -> Path:
        """Where a shard's vectors lie."""
        return self._folder("vectors", record.shard) / record.vectors_file

    def _folder(self, kind: str, shard: int) -> Path:
        return self.path / kind / f"{shard // SHARDS_PER_FOLDER:05d}"


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


def read_manifest(path: Path) -> Manifest:
    """The manifest in a run directory. Raises InputError if there is none."""
    try:
        data = (path / "manifest.json").read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} holds no run: manifest.json cannot be read", hint="give the directory that --run named"
        ) from error
    return Manifest.decode(data)


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


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_record(path: Path) -> ShardRecord:
    """The record of a shard file. Raises StorageError if the file is not whole."""
    try:
        metadata = pq.read_metadata(path)
        record = msgspec.json.decode((metadata.metadata or {})[RECORD_KEY], type=ShardRecord)
    except (OSError, pa.ArrowException, KeyError, msgspec.MsgspecError) as error:
        raise StorageError(
            f"{path} is not a whole shard file", hint="delete it, then scan again: the shard is redone"
        ) from error
    if metadata.num_rows != record.rows or sum(record.reasons.values()) != record.rows:
        raise StorageError(
            f"{path} holds {metadata.num_rows} rows but says {record.rows}", hint="delete it, then scan again"
        )
    return record


def read_rows(path: Path, record: ShardRecord, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a shard file, or these columns of them (``reason`` among them). Raises StorageError where they are not what the record says."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:  # read_table plans a data set first
            table = file.read(columns=columns, use_threads=False)
        reasons = outcome_counts(table)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise StorageError(f"{path} cannot be read back", hint="restore it, or delete it to redo the shard") from error
    if reasons != record.reasons or not fits_schema(table.schema):
        raise StorageError(
            f"{path} does not hold the outcomes that it says it holds", hint="delete it to redo the shard"
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
