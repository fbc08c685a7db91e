"""A site's transparency log: what the site states goes in, witnesses are asked, and what is published can be proven.

Promises that what is in the log already is not put in again, so that each step may be repeated after a crash; and that a proof is given out
only of what was published, verified as its reader would. Files, their order and what is signed are for ``transparency``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from custodes.config import Site
from custodes.crypto.keys import Signer, VerifierKey
from custodes.durable import replace_file
from custodes.errors import AuthorityError, ConfigError, CustodesError, InputError, StorageError
from custodes.services.calls import Caller, CallLimits
from custodes.transparency.entries import Entry, ListEntry, entry_bytes
from custodes.transparency.finding import index_of, index_path
from custodes.transparency.log import SIGNED, Log
from custodes.transparency.memory import Memory
from custodes.transparency.merkle import Tree
from custodes.transparency.notes import NOTE_BYTES_MAX, Checkpoint, Line, Seen, Trust, parse_note
from custodes.transparency.policy import KnownWitness, Policy
from custodes.transparency.proof import SUFFIX, Proof
from custodes.transparency.reading import Folder, consistency, inclusion, prefix_root, read_folder
from custodes.transparency.witness import Witness
from custodes.transparency.witness_web import cosigned

__all__ = ["Published", "Renamed", "SiteLog", "list_entries", "proof_path", "read_policy", "witness_of"]

_MODE: Final = 0o644  # as of the log's own files
_CARD: Final = ".dsse.json"


@dataclass(frozen=True)
class Published:
    """The checkpoint that is there for all to read, and why which witness did not sign it."""

    seen: Seen
    silent: Mapping[str, str]


class Renamed:
    """A signer under another name: a log's key is called as the log is."""

    def __init__(self, signer: Signer, name: str) -> None:
        self.verifier = VerifierKey(name, signer.verifier.public)
        self._signer = signer

    def sign(self, message: bytes) -> bytes:
        """As the signer does."""
        return self._signer.sign(message)


class SiteLog:
    """A log in a folder, signed by a site's key."""

    def __init__(self, site: Site, folder: Path, origin: str = "") -> None:
        self._site, self._files = site, Folder(folder)
        self._folder = folder
        key = Renamed(site.signing_key(), origin or _origin_in(folder))
        self._policy = read_policy(site.home / site.config.log.policy) if site.config.log.policy else None
        name = key.verifier.name
        known = (key.verifier, *(VerifierKey(name, each.public) for each in site.earlier_keys()))
        self.trust = self._policy.trust(name) if self._policy else Trust(name, known)
        self._log = Log(folder, key, self.trust)

    def create(self) -> None:
        """Begin it, empty."""
        self._log.create()

    def add(self, entries: Sequence[Entry]) -> list[int]:
        """Make these a durable part of the log, those that are not yet. Returns their numbers; nobody was shown them yet."""
        data = [entry_bytes(entry) for entry in entries]
        tree = self._tree()
        known: dict[bytes, int] = {}
        for each in data if tree.size else ():
            if (there := asyncio.run(index_of(self._files, tree, each))) is not None:
                known[each] = there
        new = [each for each in dict.fromkeys(data) if each not in known]
        if new:
            size = Checkpoint.parse(parse_note(self._log.append(new)).text).tree.size
            numbers = dict(zip(new, range(size - len(new), size), strict=True))
            for each, number in numbers.items():
                self._help(each, number)
            known |= numbers
        return [known[each] for each in data]

    def publish(self) -> Published:
        """Ask the witnesses, and show what was signed last. Raises AuthorityError where too few have signed; it may be done again."""
        note, tree = self._log.signed(), self._tree()
        lines, silent = asyncio.run(self._witnessed(note, tree))
        try:
            return Published(self._log.publish("".join(map(str, lines)).encode()), silent)
        except InputError as error:
            if not silent:
                raise
            told = "; ".join(f"{name}: {why}" for name, why in silent.items())
            raise AuthorityError(
                f"all is signed, but not published: {error} ({told})",
                hint="when they answer again: custodes log publish",
            ) from error

    def proof(self, number: int, entry: Entry, seen: Seen) -> Proof:
        """The proof that an entry is in what was published."""
        hashes = read_folder(self._files, inclusion(number, seen.checkpoint.tree))
        proof = Proof(number, tuple(hashes), seen.note)
        proof.verify(entry_bytes(entry), self.trust)
        return proof

    def _tree(self) -> Tree:
        return Checkpoint.parse(parse_note(self._log.signed()).text).tree

    def _help(self, entry: bytes, number: int) -> None:
        path = self._folder / index_path(entry)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make the folder {path.parent}: {error.strerror}") from error
        replace_file(path, b"%d\n" % number, mode=_MODE)

    async def _witnessed(self, note: bytes, tree: Tree) -> tuple[list[Line], dict[str, str]]:
        witnesses = [each for each in self._policy.witnesses if each.url] if self._policy else []
        found = await asyncio.gather(*(self._asked(each, note, tree) for each in witnesses))
        lines = [each for each in found if isinstance(each, Line)]
        silent = {
            known.key.name: str(each)
            for known, each in zip(witnesses, found, strict=True)
            if not isinstance(each, Line)
        }
        return lines, silent

    async def _asked(self, witness: KnownWitness, note: bytes, tree: Tree) -> Line | CustodesError:
        async def prove(old_size: int) -> list[bytes]:
            old = Tree(old_size, read_folder(self._files, prefix_root(old_size, tree.size)))
            return read_folder(self._files, consistency(old, tree))

        settings = self._site.config.log
        limits = CallLimits(timeout_s=settings.witness_timeout_s, body_bytes_max=NOTE_BYTES_MAX)
        try:
            caller = Caller(
                witness.url,
                f"witness {witness.key.name}",
                limits=limits,
                unsafe_allow_loopback=settings.unsafe_allow_loopback,
            )
        except ConfigError as error:
            return error
        try:
            return await cosigned(caller, witness.key, note, prove)
        except AuthorityError as error:
            return error
        finally:
            await caller.close()


def list_entries(site: Site) -> list[Entry]:
    """The lists in force, each in its version."""
    return [
        ListEntry(id=each.list, holder=each.provenance.authority, version=each.version) for each in site.lists().show()
    ]


def proof_path(card: Path) -> Path:
    """Where a card's proof lies: beside it."""
    return card.with_name(card.name.removesuffix(_CARD) + SUFFIX)


def read_policy(path: Path) -> Policy:
    """A policy's file. Raises ConfigError."""
    try:
        return Policy.parse(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the policy {path}: {error.strerror}") from error


def witness_of(site: Site, time_s: Callable[[], int]) -> Witness:
    """The witness that a site is, for the logs of ``[log.witness]``. Raises ConfigError where there is none."""
    settings = site.config.log.witness
    if not settings.name or not settings.logs:
        raise ConfigError(
            f"{site.path} names no log that could be witnessed",
            hint='say under [log.witness]: name = "witness.example/1" and logs = "FILE", with a line for each log',
        )
    logs: dict[str, tuple[VerifierKey, ...]] = {}
    for known in read_policy(site.home / settings.logs).logs:
        logs[known.key.name] = (*logs.get(known.key.name, ()), known.key)
    return Witness(Memory(site.home / settings.memory), Renamed(site.signing_key(), settings.name), logs, time_s)


def _origin_in(folder: Path) -> str:
    """The origin of the log that is there: nothing of it is believed yet."""
    data = Folder(folder).read(SIGNED)
    if data is None:
        raise ConfigError(f"{folder} holds no log", hint="make one with: custodes log create DIR --origin NAME")
    return Checkpoint.parse(parse_note(data).text).origin
