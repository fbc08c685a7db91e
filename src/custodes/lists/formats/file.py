"""One list file, in any of the formats: opened, told apart, read as a stream, taken whole or not at all.

One malformed row refuses the file, after up to twenty problems were collected by line and field. No message ever holds a value, nor
the header line (in a file without one it is a hash). What becomes of the entries is for the store.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from custodes.crypto.seal import unseal
from custodes.errors import InputError, ListError
from custodes.lists.container import Provenance
from custodes.lists.formats.options import FORMATS, HARMLESS, ImportOptions
from custodes.lists.formats.own import START, read_own
from custodes.lists.formats.reading import Reading, Skipped
from custodes.lists.formats.rows import ICSE_HEADER, read_csv, read_hashkeeper, read_icse, read_ndjson, read_nsrl
from custodes.lists.formats.text import read_text
from custodes.lists.formats.vics import read_vics
from custodes.model import Entry, Role

__all__ = ["ListFile", "guess_format", "read_entries"]

_Reader = Callable[[BinaryIO, ImportOptions, Reading], Iterator[Entry]]

_READERS: Final[dict[str, _Reader]] = {
    "csv": read_csv,
    "ndjson": read_ndjson,
    "text": read_text,
    "vics": read_vics,
    "icse": read_icse,
    "nsrl": read_nsrl,
    "hashkeeper": read_hashkeeper,
    "custodes": read_own,
}
# Collections of harmless files are not here: what excuses content is never guessed.
_SUFFIXES: Final = {
    ".csv": "csv",
    ".tsv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".txt": "text",
    ".text": "text",
    ".json": "vics",
}
_VICS_HEAD: Final = re.compile(rb'\s*\{\s*"@?odata\.(context|metadata)"', re.IGNORECASE)
_SEALED: Final = b"age-encryption.org/"
_BUFFER_BYTES: Final = 1 << 18


def guess_format(path: Path) -> str:
    """The format that the suffix names. ListError when it names none."""
    try:
        return _SUFFIXES[path.suffix.lower()]
    except KeyError:
        named = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ListError(f"cannot tell the format of {path.name} by its suffix", hint=f"give --format {named}") from None


def read_entries(path: Path, options: ImportOptions | None = None) -> Iterator[Entry]:
    """The entries of a file, in its order: see ``ListFile.entries``."""
    return ListFile(path, options).entries()


class ListFile:
    """A file to be read once. What it says of itself is known when its entries have been read."""

    def __init__(self, path: Path, options: ImportOptions | None = None, identity: str = "") -> None:
        """``identity`` is the text of the age identity file that opens a sealed file."""
        self._path = path
        self._options = options or ImportOptions()
        self._identity = identity
        self._form = self._options.format or ""
        self._reading = Reading(path.name)

    @property
    def records(self) -> int:
        """How many rows or records there are, whether taken or passed over."""
        return self._reading.records

    @property
    def skipped(self) -> Skipped:
        """What was passed over, and why."""
        return self._reading.skipped

    @property
    def provenance(self) -> Provenance:
        """What is to be kept of where the entries came from."""
        options, reading = self._options, self._reading
        scheme = reading.scheme if options.scheme is None else options.scheme
        return Provenance(source=self._path.name, format=self._form, scheme=scheme, **reading.said)

    def entries(self) -> Iterator[Entry]:
        """The entries, in the order of the file. ListError at the end if any row was malformed or there was none.

        Take nothing as imported before the iterator has ended. An entry without an id of its own has id "".
        """
        reading, count = self._reading, 0
        raw = _opened(self._path)
        with io.BufferedReader(raw, _BUFFER_BYTES) as source:
            file = self._unsealed(source) if self._identity else source
            self._form = self._form or self._told(file)
            self._refuse_contradictions()
            for entry in _READERS[self._form](file, self._options, reading):
                count += 1
                if not reading.problems:  # after the first problem the rest is read only for its problems
                    yield entry
            reading.refuse()
            self._check_digest(raw)
        if self._options.records not in {None, reading.records}:
            raise ListError(
                f"{self._path.name} holds {reading.records} records, not {self._options.records}",
                hint="was the file cut, or is it another one? get it again",
            )
        if not count:
            raise ListError(
                f"{self._path.name} holds no entries", hint="an empty list is refused: it would match nothing, silently"
            )

    def _unsealed(self, source: BinaryIO) -> io.BufferedReader[_Bytes]:
        try:
            return io.BufferedReader(_Bytes(io.BytesIO(unseal(source.read(), self._identity))))
        except InputError as error:
            raise ListError(f"{self._path.name}: {error}", hint=error.hint) from error

    def _told(self, file: io.BufferedReader[_Bytes]) -> str:
        """The format, by the first bytes where they leave no doubt, else by the suffix."""
        head = file.peek().removeprefix(codecs.BOM_UTF8)
        if head.startswith(_SEALED):
            raise ListError(
                f"{self._path.name} is sealed", hint="give --identity KEYFILE, the key that it was sealed to"
            )
        if head.startswith(START):
            return "custodes"
        if _VICS_HEAD.match(head):
            return "vics"
        if head.lower().startswith(ICSE_HEADER.lower().encode()):
            return "icse"
        return guess_format(self._path.with_suffix("") if self._path.suffix == ".age" else self._path)

    def _refuse_contradictions(self) -> None:
        """Options that the format leaves no room for."""
        if self._options.columns and self._form not in {"csv", "ndjson", "nsrl"}:
            raise ListError(f"a column map is for csv and ndjson, not for {self._form}", hint="leave --map out")
        if self._options.kind and self._form not in {"csv", "ndjson", "text"}:
            raise ListError(f"the kind is said in every file of the format {self._form}", hint="leave --kind out")
        if self._options.role and self._form == "custodes":
            raise ListError("an export says the role of every entry", hint="leave --role out")
        if self._form in HARMLESS and self._options.role not in {None, Role.NEGATIVE}:
            raise ListError(f"{self._form} is a format of known harmless files: their role is negative")

    def _check_digest(self, raw: _Bytes) -> None:
        wanted = self._options.sha256
        if wanted is not None and raw.digest.hexdigest() != wanted.lower():
            raise ListError(
                f"{self._path.name} has another SHA-256 digest than --sha256 names",
                hint="was the file cut, or is it another one? get it again",
            )


class _Bytes(io.RawIOBase):
    """A file that is digested as it is read."""

    def __init__(self, file: io.FileIO | io.BytesIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer) or 0
        self.digest.update(memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _opened(path: Path) -> _Bytes:
    if path.exists() and not (path.is_file() or path.is_fifo()):
        raise ListError(f"cannot read {path}: it is not a file")
    try:
        return _Bytes(path.open("rb", buffering=0))
    except OSError as error:
        raise ListError(f"cannot read {path}: {error.strerror}") from error
