"""What an authority says of findings: a signed file, and the store of those that were imported.

Promises that no verdict counts that a trusted key did not sign, in the name of the authority that the key belongs to; that files may come
in any order and any number of times; and that at rest nobody without the run key can read them, who could not tell what row a finding
is anyway. What is learnt from verdicts is for ``similar``. Format and rules: docs/formats/verdicts.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from custodes.crypto.dsse import sign, verify
from custodes.crypto.keys import AeadKey, RunKey, Signer, VerifierKey
from custodes.crypto.vault import lock, unlock
from custodes.durable import exclusive, replace_file
from custodes.errors import InputError, StorageError
from custodes.model import Meaning

__all__ = [
    "FORMAT",
    "PAYLOAD_TYPE",
    "Imported",
    "Ruling",
    "Verdict",
    "VerdictStore",
    "Verdicts",
    "counts_of",
    "make_verdicts",
    "read_verdicts",
    "standing",
]

FORMAT: Final = "custodes-verdicts/1"
PAYLOAD_TYPE: Final = "application/vnd.custodes.verdicts+json"
VERDICTS_MAX: Final = 1_000_000  # in a file
AHEAD_MAX: Final = timedelta(days=1)
STORED_BYTES_MIN: Final = 4096
_FINDING: Final = re.compile(r"[0-9a-f]{32}")
_CLASSES: Final = frozenset({"", *(meaning.value for meaning in Meaning)})
_SUFFIX: Final = ".verdicts"


class Ruling(StrEnum):
    """What the authority says that a finding is."""

    CONFIRMED = "confirmed"
    NOT = "not"
    UNSURE = "unsure"


class Verdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"meaning": "class"}):
    """Of one finding. ``meaning`` says of which class (``model.Meaning``) a confirmed one is; empty: it was not said."""

    finding: str
    verdict: Ruling
    meaning: str = ""

    def __post_init__(self) -> None:
        if not _FINDING.fullmatch(self.finding):
            raise ValueError("a finding is named by 32 lower-case hex digits")
        if self.meaning not in _CLASSES:
            raise ValueError(f"the class is none of {', '.join(Meaning)}")
        if self.meaning and self.verdict is not Ruling.CONFIRMED:
            raise ValueError("only a confirmed finding has a class")

    def __repr__(self) -> str:
        return f"<Verdict {self.verdict.value}>"


class Verdicts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of them. ``runs``: the runs that the findings are of, if the authority said so."""

    format: str
    authority: str
    made_at: str
    runs: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...]

    @property
    def made(self) -> datetime:
        """When it was made."""
        return datetime.fromisoformat(self.made_at).astimezone(UTC)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise ValueError(f"the format is not {FORMAT}")
        if not _is_time(self.made_at):
            raise ValueError("made_at is no time with its offset from UTC")
        if not 1 <= len(self.verdicts) <= VERDICTS_MAX:
            raise ValueError(f"a file holds 1 to {VERDICTS_MAX:,} verdicts, not {len(self.verdicts):,}")
        if len({each.finding for each in self.verdicts}) != len(self.verdicts):
            raise ValueError("a finding is judged twice in it")


def _is_time(text: str) -> bool:
    try:
        told = datetime.fromisoformat(text)
        told.astimezone(UTC)
    except (ValueError, OverflowError):
        return False
    return told.tzinfo is not None


def make_verdicts(verdicts: Sequence[Verdict], key: Signer, made_at: datetime, runs: Sequence[str] = ()) -> bytes:
    """The signed file, as an authority makes it. The authority's name is its key's."""
    payload = Verdicts(
        format=FORMAT,
        authority=key.verifier.name,
        made_at=made_at.isoformat(timespec="seconds"),
        runs=tuple(runs),
        verdicts=tuple(verdicts),
    )
    return sign(PAYLOAD_TYPE, msgspec.json.encode(payload), key)


def read_verdicts(data: bytes, keys: Sequence[VerifierKey]) -> Verdicts:
    """Verify and parse a signed file. Raises InputError for what no trusted key signed, or what is not whole."""
    payload, key = verify(data, PAYLOAD_TYPE, keys)
    try:
        found = msgspec.json.decode(payload, type=Verdicts)
    except msgspec.ValidationError as error:
        raise InputError(f"the signed verdicts do not fit their format: {error}") from error
    except msgspec.DecodeError as error:
        raise InputError("the signed verdicts are not JSON") from error
    if found.authority != key.name:
        raise InputError(f"the key of {key.name} signed verdicts in the name of another authority")
    return found


def standing(files: Iterable[Verdicts]) -> dict[str, Verdict]:
    """What holds of each finding: the latest word. Where words of the same time differ, it is unsure, or has no class; in any order the same."""
    latest: dict[str, tuple[datetime, Verdict]] = {}
    for file in files:
        made = file.made
        for verdict in file.verdicts:
            held = latest.get(verdict.finding)
            if held is None or made > held[0]:
                latest[verdict.finding] = (made, verdict)
            elif made == held[0]:
                latest[verdict.finding] = (made, _agreed(held[1], verdict))
    return {finding: latest[finding][1] for finding in sorted(latest)}


def _agreed(one: Verdict, other: Verdict) -> Verdict:
    if one == other:
        return one
    ruling = one.verdict if one.verdict is other.verdict else Ruling.UNSURE
    return Verdict(finding=one.finding, verdict=ruling)


def counts_of(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many of each ruling."""
    counted = Counter(each.verdict for each in verdicts)
    return {ruling.value: counted[ruling] for ruling in Ruling}


class Imported(NamedTuple):
    """A file, and whether it was not there before."""

    verdicts: Verdicts
    new: bool


class VerdictStore:
    """Imported files in a folder, as they were signed, each locked under the run key. They are verified again whenever they are read."""

    def __init__(self, folder: Path, key: RunKey, verifiers: Sequence[VerifierKey]) -> None:
        self.folder = folder
        self._naming = key
        self._key = AeadKey(key.derive("verdicts"))
        self._verifiers = verifiers

    def add(self, data: bytes, now: datetime) -> Imported:
        """Import a signed file. One that is there already changes nothing. Raises InputError where it cannot be trusted."""
        found = read_verdicts(data, self._verifiers)
        if found.made > now + AHEAD_MAX:
            raise InputError(
                f"these verdicts were made at {found.made_at}, which is still to come: they would overrule all that follow",
                hint="compare the clock of this machine with the authority's",
            )
        # Named by what was signed, not by how: of one payload in two envelopes the first is kept.
        name = self._naming.name("verdicts file", msgspec.json.encode(found)).hex()[:32]
        with exclusive(self.folder):
            path = self.folder / (name + _SUFFIX)
            if path.exists():
                return Imported(found, new=False)
            plain = data.ljust(max(STORED_BYTES_MIN, 1 << (len(data) - 1).bit_length()))  # spaces: still JSON
            replace_file(path, lock(self._key, plain, _context(name)))
        return Imported(found, new=True)

    def files(self) -> list[Verdicts]:
        """Every imported file. Raises StorageError where one is damaged, InputError where its key is trusted no more."""
        paths = sorted(self.folder.glob(f"*{_SUFFIX}")) if self.folder.is_dir() else []
        return [self._read(path) for path in paths]

    def standing(self, runs: Collection[str] = ()) -> dict[str, Verdict]:
        """What holds of each finding that was judged. ``runs``: ids; files that say that they are of other runs are left aside."""
        files = self.files()
        return standing(file for file in files if not runs or not file.runs or set(file.runs) & set(runs))

    def _read(self, path: Path) -> Verdicts:
        try:
            plain = unlock(self._key, path.read_bytes(), _context(path.name.removesuffix(_SUFFIX)))
        except (InputError, OSError) as error:
            raise StorageError(
                f"{path} cannot be read back, or is of another run key", hint="delete it, and import the verdicts again"
            ) from error
        try:
            return read_verdicts(plain, self._verifiers)
        except InputError as error:
            raise InputError(
                f"{path}: {error}", hint="put the authority's key back under [authority] verifiers, or delete the file"
            ) from error


def _context(name: str) -> bytes:
    return b"verdicts/" + name.encode()
