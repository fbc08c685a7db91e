"""Which logs and witnesses are trusted, and how many witnesses must have signed, as a file says it (C2SP tlog-policy), read strictly.

Promises: what the specification does not allow is refused, with the number of its line; no witness counts twice. Beyond the specification
names of keys are ASCII, no two witnesses' keys have one name, and none is a key of a log.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from custodes.crypto.keys import VerifierKey
from custodes.errors import ConfigError, InputError
from custodes.transparency.notes import Checkpoint, Cosigner, Cosigns, Group, Trust, parse_note
from custodes.transparency.postquantum import ML_DSA, LatticeCosigner

__all__ = ["POLICY_BYTES_MAX", "KnownLog", "KnownWitness", "Policy", "parse_cosigner"]

POLICY_BYTES_MAX: Final = 1 << 20
KNOWN_MAX: Final = 256
"""Logs; and witnesses and groups together: four times what the specification asks for, and more."""

_ALLOWED: Final = re.compile(rb"[\t\n\x20-\x7e\x80-\xff]*")
_SPACE: Final = re.compile(r"[ \t]+")
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,5}")
_NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log's key, whose name is the log's origin, and where it is, if that is said."""

    key: VerifierKey
    url: str = ""


@dataclass(frozen=True, slots=True)
class KnownWitness:
    """A witness's key, and where it is asked, if that is said."""

    key: Cosigns
    url: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A file's content. ``quorum``: None where no witness must have signed."""

    logs: tuple[KnownLog, ...]
    witnesses: tuple[KnownWitness, ...]
    quorum: Group | None

    @classmethod
    def parse(cls, data: bytes) -> Policy:
        """Raises ConfigError, which names the line."""
        if len(data) > POLICY_BYTES_MAX or not _ALLOWED.fullmatch(data) or (data and not data.endswith(b"\n")):
            raise ConfigError(
                "not a policy of logs and witnesses: it has control characters, is cut off, or is far too long"
            )
        reading = _Reading()
        # Names are opaque octets: one character each keeps them apart as they are.
        for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
            words = _SPACE.split(line.strip(" \t"))
            if words[0] and not words[0].startswith("#"):
                try:
                    reading.line(words[0], words[1:])
                except ConfigError as error:
                    raise ConfigError(f"line {number} of the policy: {error}", hint=error.hint) from error
        return reading.policy()

    def trust(self, origin: str) -> Trust:
        """How a log is believed. Raises InputError for one that is not in the policy."""
        keys = tuple(known.key for known in self.logs if known.key.name == origin)
        if not keys:
            raise InputError(
                "the checkpoint is of a log that the policy does not name", hint="compare its origin with the policy"
            )
        return Trust(origin, keys, tuple(known.key for known in self.witnesses), self.quorum or 0)

    def trust_of(self, note: bytes) -> Trust:
        """As ``trust``, for the log that a checkpoint says it is of: nothing of that was verified yet."""
        return self.trust(Checkpoint.parse(parse_note(note).text).origin)


def parse_cosigner(text: str) -> Cosigns:
    """A witness's key, of any kind that is known. Raises ConfigError."""
    name, _, rest = text.partition("+")
    try:
        blob = base64.b64decode(rest.partition("+")[2], validate=True)
    except ValueError as error:
        raise ConfigError("a witness's key has the form name+keyid+base64") from error
    if blob[:1] != ML_DSA:
        return Cosigner.parse(text)
    found = LatticeCosigner(name, blob[1:])
    if str(found) != text:
        raise ConfigError(f"the key of witness {name} carries a key id that is not its own: it was altered or mistyped")
    return found


@dataclass
class _Reading:
    """What was read so far."""

    logs: list[KnownLog] = field(default_factory=list)
    witnesses: list[KnownWitness] = field(default_factory=list)
    named: dict[str, Group] = field(default_factory=dict)  # a witness is a group of one
    members: set[str] = field(default_factory=set)  # names that are in a group already
    quorum: str = ""

    def line(self, word: str, rest: Sequence[str]) -> None:
        kinds: Mapping[str, Callable[[Sequence[str]], None]] = {
            "log": self._log,
            "witness": self._witness,
            "group": self._group,
            "quorum": self._quorum,
        }
        if word not in kinds:
            raise ConfigError("it begins with none of log, witness, group and quorum")
        kinds[word](rest)

    def policy(self) -> Policy:
        if not self.quorum:
            raise ConfigError("the policy has no quorum line", hint="to ask for no witness, say: quorum none")
        found = Policy(tuple(self.logs), tuple(self.witnesses), self.named.get(self.quorum))
        for origin in {known.key.name for known in self.logs}:
            found.trust(origin)  # raises where keys are not each one's own
        return found

    def _log(self, rest: Sequence[str]) -> None:
        if len(rest) not in (1, 2):
            raise ConfigError("a log has a key, and perhaps an address")
        found = KnownLog(VerifierKey.parse(rest[0]), _url(rest[1:]))
        if str(found.key) != rest[0]:
            raise ConfigError("the log's key is not written in the one way that it may be")
        if any(found.key.public == known.key.public for known in self.logs):
            raise ConfigError("two logs have one key")
        self.logs.append(found)
        _bounded(self.logs)

    def _witness(self, rest: Sequence[str]) -> None:
        if len(rest) not in (2, 3):
            raise ConfigError("a witness has a name, a key, and perhaps an address")
        found = KnownWitness(parse_cosigner(rest[1]), _url(rest[2:]))
        if any(found.key.public == known.key.public for known in self.witnesses):
            raise ConfigError("two witnesses have one key")
        self._define(rest[0], Group(1, (found.key,)))
        self.witnesses.append(found)

    def _group(self, rest: Sequence[str]) -> None:
        if len(rest) < 3:
            raise ConfigError("a group has a name, how many of its members must have signed, and members")
        name, least, *members = rest
        if len(set(members)) < len(members) or self.members & set(members):
            raise ConfigError("a member is in a group already: it would count twice")
        groups = tuple(self._known(each) for each in members)
        count = {"all": len(members), "any": 1}.get(least) or (int(least) if _NUMBER.fullmatch(least) else 0)
        self._define(name, Group(count, groups))
        self.members |= set(members)

    def _quorum(self, rest: Sequence[str]) -> None:
        if len(rest) != 1 or self.quorum:
            raise ConfigError("there is one quorum line, with one name")
        if rest[0] != _NONE:
            self._known(rest[0])
        self.quorum = rest[0]

    def _known(self, name: str) -> Group:
        if name not in self.named:
            raise ConfigError("a name is used that no line before defines")
        return self.named[name]

    def _define(self, name: str, group: Group) -> None:
        if name == _NONE or name in self.named:
            raise ConfigError("the name is taken: witnesses and groups share theirs, and none means no witness")
        self.named[name] = group
        _bounded(self.named)


def _bounded(known: Sequence[object] | Mapping[str, object]) -> None:
    if len(known) > KNOWN_MAX:
        raise ConfigError(f"a policy has at most {KNOWN_MAX} logs, and as many witnesses and groups together")


def _url(words: Sequence[str]) -> str:
    try:
        return words[0].encode("latin-1").decode() if words else ""
    except UnicodeDecodeError as error:
        raise ConfigError("the address is not UTF-8") from error
