"""Signed notes, checkpoints and cosignatures (C2SP signed-note, tlog-checkpoint, tlog-cosignature), read strictly.

Promises: what parses prints to the same bytes. A checkpoint counts only if a key of its log signed it, enough different witnesses did, and no
key that is known signed it wrongly; lines of keys that are not known decide nothing. Witnesses' keys that are not Ed25519 are for ``postquantum``; whether a
checkpoint goes on from an earlier one is for ``memory`` and ``witness``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from custodes.crypto.keys import Signer, VerifierKey
from custodes.errors import ConfigError, InputError
from custodes.transparency.merkle import EMPTY_ROOT, HASH_BYTES, SIZE_MAX, Tree

__all__ = [
    "NOTE_BYTES_MAX",
    "Checkpoint",
    "Cosigner",
    "Cosigns",
    "Group",
    "Line",
    "Note",
    "Seen",
    "Trust",
    "cosign",
    "hash_text",
    "parse_hash",
    "parse_lines",
    "parse_note",
    "parse_size",
    "sign",
]

NOTE_BYTES_MAX: Final = 1 << 17  # 16 signatures of a post-quantum kind fit: signed-note asks for so many
TIME_S_MAX: Final = 2**63 - 1

_COSIGNATURE: Final = b"\x04"  # signed-note, Signature types
_DASH: Final = "\u2014 "
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL: Final = re.compile(rb"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Line:
    """One signature: whose it says it is, and its bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the lines under it. Nothing of it is to be believed before it was verified."""

    text: bytes
    lines: tuple[Line, ...]

    def __bytes__(self) -> bytes:
        return self.text + b"\n" + "".join(map(str, self.lines)).encode()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log states of itself."""

    origin: str
    tree: Tree
    extensions: tuple[str, ...] = ()

    def text(self) -> bytes:
        """The text that is signed."""
        lines = [self.origin, str(self.tree.size), hash_text(self.tree.root), *self.extensions]
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def parse(cls, text: bytes) -> Checkpoint:
        """Raises InputError unless it is exactly what ``text`` would write."""
        lines = _utf8(text).split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise InputError("not a checkpoint: it has an origin, a size and a root, each on a line of its own")
        tree = Tree(parse_size(lines[1]), parse_hash(lines[2]))
        if tree.size == 0 and tree.root != EMPTY_ROOT:
            raise InputError("the checkpoint of an empty log has the root of another")
        return cls(lines[0], tree, tuple(lines[3:]))


class Cosigns(Protocol):
    """A witness's public key, of any kind."""

    @property
    def name(self) -> str:
        """Under which it signs."""

    @property
    def public(self) -> bytes:
        """The key itself."""

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signed note."""

    def time_s(self, text: bytes, signature: bytes) -> int | None:
        """When the witness says that it signed this text; None if it did not."""


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's public key, Ed25519. As a verifier key it has its own type, so that a log's signature never counts as a witness's."""

    key: VerifierKey

    @classmethod
    def parse(cls, text: str) -> Cosigner:
        """Read a line ``name+keyid+base64(0x04 || key)``. Raises ConfigError as :meth:`VerifierKey.parse` does."""
        parts = text.strip().split("+", 2)
        try:
            blob = base64.b64decode(parts[2], validate=True)
        except (IndexError, ValueError) as error:
            raise ConfigError("a witness's key has the form name+keyid+base64") from error
        if blob[:1] != _COSIGNATURE:
            raise ConfigError("the key is not one for cosignatures with Ed25519 (type 4)")
        found = cls(VerifierKey(parts[0], blob[1:]))
        if str(found) != text.strip():
            raise ConfigError(
                f"the key of witness {parts[0]} carries a key id that is not its own: it was altered or mistyped"
            )
        return found

    @property
    def name(self) -> str:
        """Under which it signs."""
        return self.key.name

    @property
    def public(self) -> bytes:
        """The key itself."""
        return self.key.public

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signed note (tlog-cosignature, Format)."""
        return hashlib.sha256(self.key.name.encode() + b"\n" + _COSIGNATURE + self.key.public).digest()[:4]

    def time_s(self, text: bytes, signature: bytes) -> int | None:
        """When the witness says that it signed this text; None if it did not."""
        time_s = int.from_bytes(signature[:8])
        if len(signature) != 72 or time_s > TIME_S_MAX:
            return None
        return time_s if self.key.verify(_cosigned(text, time_s), signature[8:]) else None

    def __str__(self) -> str:
        return f"{self.key.name}+{self.key_id.hex()}+{_base64(_COSIGNATURE + self.key.public)}"


@dataclass(frozen=True, slots=True)
class Group:
    """Witnesses, or groups of them, of which at least ``least`` must have signed (tlog-policy)."""

    least: int
    members: tuple[Cosigns | Group, ...]

    def __post_init__(self) -> None:
        if not 1 <= self.least <= len(self.members):
            raise ConfigError(f"{self.least} of {len(self.members)} witnesses cannot be asked for")

    def met(self, names: Container[str]) -> bool:
        """Whether these witnesses are enough."""
        there = sum(each.met(names) if isinstance(each, Group) else each.name in names for each in self.members)
        return there >= self.least

    def witnesses(self) -> Iterator[Cosigns]:
        """All that could count."""
        for each in self.members:
            yield from each.witnesses() if isinstance(each, Group) else (each,)


class Seen(NamedTuple):
    """A checkpoint that was verified, its note as it came, and by witness when it was cosigned."""

    checkpoint: Checkpoint
    note: bytes
    witnesses: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Trust:
    """Which log this is about, its keys (several while one replaces another), and which witnesses must have seen it: so many of all, or by groups."""

    origin: str
    keys: tuple[VerifierKey, ...]
    witnesses: tuple[Cosigns, ...] = ()
    quorum: int | Group = 0

    def __post_init__(self) -> None:
        if not self.origin or not self.keys:
            raise ConfigError("a log is trusted by its origin and at least one key")
        if isinstance(self.quorum, int) and not 0 <= self.quorum <= len(self.witnesses):
            raise ConfigError(f"{self.quorum} of {len(self.witnesses)} witnesses cannot be asked for")
        if isinstance(self.quorum, Group) and not set(self.quorum.witnesses()) <= set(self.witnesses):
            raise ConfigError("a witness is asked for whose key is not known")
        # One key under two names would count twice; a log that witnesses itself is no witness.
        publics = {key.public for key in self.keys} | {witness.public for witness in self.witnesses}
        names = {witness.name for witness in self.witnesses}
        if len(publics) < len({key.public for key in self.keys}) + len(self.witnesses) or len(names) < len(
            self.witnesses
        ):
            raise ConfigError(
                "two witnesses share a key or a name, or a witness has a key of the log: each must be its own"
            )

    def enough(self, names: Mapping[str, int]) -> bool:
        """Whether a checkpoint that these witnesses signed counts."""
        return self.quorum.met(names) if isinstance(self.quorum, Group) else len(names) >= self.quorum

    def by_s(self, witnesses: Mapping[str, int]) -> int | None:
        """By when enough witnesses had signed, by their own clocks; None where none must, or too few did."""
        signed: dict[str, int] = {}
        for name, time_s in sorted(witnesses.items(), key=lambda item: item[1]):
            signed[name] = time_s
            if self.quorum and self.enough(signed):
                return time_s
        return None

    def verify(self, data: bytes) -> Seen:
        """The checkpoint, if it counts. Raises InputError for anything else."""
        note = parse_note(data)
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin != self.origin:
            raise InputError(
                "the checkpoint is of another log", hint="compare the log's origin with the one configured"
            )
        if not self._signed(note):
            raise InputError(
                "no known key of the log signed this checkpoint", hint="compare the configured keys with the log's"
            )
        witnesses = self._witnessed(note)
        if not self.enough(witnesses):
            must = "" if isinstance(self.quorum, Group) else f": {self.quorum} must have"
            raise InputError(f"{len(witnesses)} known witnesses signed this checkpoint, which is too few{must}")
        return Seen(checkpoint, data, witnesses)

    def _signed(self, note: Note) -> bool:
        signed = False
        for key in self.keys:
            for line in _lines_of(note, key.name, key.key_id):
                if len(line.signature) != 64 or not key.verify(note.text, line.signature):
                    raise _forged(key.name)
                signed = True
        return signed

    def _witnessed(self, note: Note) -> dict[str, int]:
        found: dict[str, int] = {}
        for witness in self.witnesses:
            for line in _lines_of(note, witness.name, witness.key_id):
                time_s = witness.time_s(note.text, line.signature)
                if time_s is None:
                    raise _forged(witness.name)
                found[witness.name] = max(time_s, found.get(witness.name, 0))
        return found


def parse_note(data: bytes) -> Note:
    """Raises InputError unless it is a signed note whose bytes ``bytes(note)`` gives back."""
    if len(data) > NOTE_BYTES_MAX:
        raise InputError(f"the note has {len(data):,} bytes, more than {NOTE_BYTES_MAX:,}")
    text, blank, lines = data.rpartition(b"\n\n")  # the last blank line: a text may hold others
    if not blank or _CONTROL.search(data):
        raise InputError("not a signed note: no blank line before the signatures, or control characters")
    _utf8(text)
    return Note(text + b"\n", parse_lines(lines))


def parse_lines(data: bytes) -> tuple[Line, ...]:
    """The signature lines, at least one. Raises InputError unless they are exactly what ``str(line)`` writes."""
    lines = _utf8(data).split("\n")
    if len(data) > NOTE_BYTES_MAX or len(lines) < 2 or lines.pop():
        raise InputError("a note ends with at least one signature, and each with a line feed")
    return tuple(map(_line, lines))


def sign(checkpoint: Checkpoint, key: Signer) -> Note:
    """The checkpoint with the log's own signature. Whether it may be signed is for the log to know."""
    text = checkpoint.text()
    if Checkpoint.parse(text) != checkpoint or _CONTROL.search(text):
        raise InputError("the checkpoint cannot be written: its origin or an extension holds what a line cannot")
    return Note(text, (Line(key.verifier.name, key.verifier.key_id, key.sign(text)),))


def cosign(text: bytes, key: Signer, time_s: int) -> Line:
    """A witness's signature over a checkpoint's text. Whether it may be signed is for the witness to know."""
    signature = time_s.to_bytes(8) + key.sign(_cosigned(text, time_s))
    return Line(key.verifier.name, Cosigner(key.verifier).key_id, signature)


def parse_size(text: str) -> int:
    """A number of leaves in the one way that it may be written. Raises InputError."""
    if not _SIZE.fullmatch(text) or int(text) > SIZE_MAX:
        raise InputError("a log's size is a decimal number below 2^63, without leading zeroes")
    return int(text)


def parse_hash(text: str) -> bytes:
    """A hash in the one way that it may be written. Raises InputError."""
    data = _decoded(text)
    if len(data) != HASH_BYTES:
        raise InputError(f"a hash has {HASH_BYTES} bytes, not {len(data)}")
    return data


def hash_text(data: bytes) -> str:
    """A hash as notes and proofs write it."""
    return _base64(data)


def _cosigned(text: bytes, time_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % time_s + text


def _lines_of(note: Note, name: str, key_id: bytes) -> Iterable[Line]:
    return (line for line in note.lines if (line.name, line.key_id) == (name, key_id))


def _line(text: str) -> Line:
    name, space, signature = text.removeprefix(_DASH).partition(" ")
    named = name and "+" not in name and not any(character.isspace() for character in name)
    if not text.startswith(_DASH) or not space or not named:
        raise InputError("a signature line is a dash, the key's name and the signature")
    data = _decoded(signature)
    if len(data) < 5:
        raise InputError("a signature is shorter than a key id and one byte")
    return Line(name, data[:4], data[4:])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("what should be base64 is not") from error
    if _base64(data) != text:  # bits that no byte uses: two texts would mean the same
        raise InputError("what should be base64 is not written in the one way that it may be")
    return data


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError("a note is UTF-8, and this is not") from error


def _forged(name: str) -> InputError:
    return InputError(
        f"the signature of {name} is not its own: the checkpoint was changed, or never signed",
        hint="get it again from the log",
    )
