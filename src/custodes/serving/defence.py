"""What one tenant has found, and what it may still learn: the defence of the lists against whoever asks cleverly.

A yes or no for chosen codes gives a listed code away in some 275 questions: find a code just within the distance, then turn one bit after the other.
So whatever lies within 2T + 2 bits of an earlier match (T the greatest distance of a list) gets that match's answer, without a look at the lists:
every code that matches the same entry lies there, and so no answer after the first says anything of it (*sticky verdict*). A tenant that asks
there for different pictures again and again is locked: every answer is hold until the operator looks (*probe lock*). New matches have budgets.
Matches are remembered, encrypted, before they are answered, and never forgotten to make room.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from custodes.crypto.keys import AeadKey
from custodes.crypto.vault import lock, unlock
from custodes.durable import make_folder, replace_file
from custodes.errors import InputError, StorageError
from custodes.serving.rate import Rate
from custodes.serving.settings import Tenant

__all__ = ["Clock", "Guard", "Hit", "Memory", "State", "ask_unlock"]

Uint8s = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

_DAY_S: Final = 86_400
_WORDS_AT_ONCE: Final = 1 << 21
_EXACT_BYTES: Final = 16


@dataclass(frozen=True)
class Clock:
    """The two clocks that count: of the calendar, and one that never goes back."""

    wall_s: Callable[[], float]
    steady_s: Callable[[], float]


class Hit(msgspec.Struct):
    """A match: the form of the code that matched, and the different codes asked for around it, this one first."""

    centre: bytes
    probes: list[bytes]

    def __repr__(self) -> str:
        return "<Hit>"


class State(msgspec.Struct):
    """What is remembered of a tenant."""

    hits: list[Hit] = []
    exact: list[bytes] = []  # names of images that matched by their bytes
    locked: bool = False
    day: int = 0
    hits_today: int = 0

    def __repr__(self) -> str:
        return "<State>"


class Memory:
    """Where the state of a tenant lies: one encrypted file, replaced as a whole."""

    def __init__(self, folder: Path, tenant: str, key: AeadKey) -> None:
        self._path = folder / f"{tenant}.hits"
        self._unlock = unlock_order(folder, tenant)
        self._context = f"serve/{tenant}".encode()
        self._key = key

    def load(self) -> State:
        """What was remembered; nothing, if there is no file. Raises InputError: a file that cannot be read is not forgotten."""
        try:
            return msgspec.msgpack.decode(unlock(self._key, self._path.read_bytes(), self._context), type=State)
        except FileNotFoundError:
            return State()
        except (OSError, InputError, msgspec.MsgspecError) as error:
            raise InputError(
                f"{self._path} cannot be read", hint="restore it, or remove it to forget what the tenant has found"
            ) from error

    def save(self, state: State) -> None:
        """Make it durable. Raises StorageError."""
        make_folder(self._path.parent)
        replace_file(self._path, lock(self._key, msgspec.msgpack.encode(state), self._context))

    def unlock_ordered(self) -> bool:
        """Whether the operator asks for the tenant to be unlocked. The order holds once."""
        with suppress(FileNotFoundError):
            self._unlock.unlink()
            return True
        return False


def unlock_order(folder: Path, tenant: str) -> Path:
    """The file by which the operator asks that a tenant is unlocked."""
    return folder / f"{tenant}.unlock"


def ask_unlock(folder: Path, tenant: str) -> None:
    """Order that a tenant is unlocked, now if the service runs, else when it does. Raises StorageError."""
    make_folder(folder)
    try:
        unlock_order(folder, tenant).touch(mode=0o600)
    except OSError as error:
        raise StorageError(f"cannot write in {folder}: {error.strerror}") from error


class Guard:
    """One tenant. The caller asks ``inside`` before it looks at a list, tells every new match, and saves before it answers."""

    def __init__(self, name: str, limits: Tenant, memory: Memory, clock: Clock, radius_bits: int) -> None:
        self._name = name
        self._limits = limits
        self._memory = memory
        self._clock = clock
        self._radius_bits = radius_bits
        self._rate = Rate(limits.requests_per_minute, clock.steady_s)
        self._state = memory.load()
        self._centres = _stacked(hit.centre for hit in self._state.hits)
        self._changed = False

    def __len__(self) -> int:
        """Matches that others may lie around."""
        return len(self._centres)

    def admits(self, count: int) -> bool:
        """Whether so many items may be asked for now."""
        return self._rate.take(count)

    @property
    def locked(self) -> bool:
        """Whether every answer is hold. Looks whether the operator has unlocked it."""
        if self._state.locked and self._memory.unlock_ordered():
            self._state.locked = False
            for hit in self._state.hits:
                del hit.probes[1:]
            self._tell("unlocked by the operator")
        return self._state.locked

    @property
    def hits_today(self) -> int:
        """New matches since midnight UTC."""
        return self._state.hits_today if self._state.day == self._today() else 0

    @property
    def spent(self) -> bool:
        """Whether the day's budget of matches is."""
        return self.hits_today >= self._limits.hits_per_day

    def inside(self, forms: Uint8s) -> Int64s:
        """For the eight forms of codes, uint8[n, 8, 32], the match that any of them lies around, or -1."""
        found = np.full(len(forms), -1, dtype=np.int64)
        if not len(self._centres) or not len(forms):
            return found
        words = np.ascontiguousarray(forms).view(np.uint64)
        step = max(1, _WORDS_AT_ONCE // (32 * len(self._centres)))
        for first in range(0, len(words), step):
            turned = words[first : first + step, :, None, :] ^ self._centres
            distances = np.bitwise_count(turned).sum(axis=3, dtype=np.int64).min(axis=1)
            nearest = distances.argmin(axis=1)
            within = distances.min(axis=1) <= self._radius_bits
            found[first : first + step][within] = nearest[within]
        return found

    def probe(self, hit: int, code: bytes) -> None:
        """A code was asked for that lies around a match. Too many different ones lock the tenant."""
        probes = self._state.hits[hit].probes
        if code in probes:
            return
        probes.append(code)
        self._changed = True
        if len(probes) >= self._limits.probes_per_hit:
            self._lock(f"{len(probes)} different pictures around one match")

    def hit(self, matched: dict[bytes, bytes], exact: bytes) -> None:
        """A new match: the forms that matched, each with its code, and the exact digests of the image, which names it if nothing is near."""
        state = self._state
        if not matched and exact[:_EXACT_BYTES] in state.exact:
            return
        state.day, state.hits_today = self._today(), self.hits_today + 1
        if not matched:
            state.exact.append(exact[:_EXACT_BYTES])
        state.hits += [Hit(form, [code]) for form, code in matched.items()]
        self._centres = np.concatenate([self._centres, _stacked(matched)])
        self._changed = True
        if len(state.hits) + len(state.exact) > self._limits.hits_kept:
            self._lock(f"more than {self._limits.hits_kept} matches")

    def save(self) -> None:
        """Remember what has changed. Raises StorageError; then nothing may be answered."""
        if self._changed:
            self._memory.save(self._state)
            self._changed = False

    def _lock(self, why: str) -> None:
        if not self._state.locked:
            self._memory.unlock_ordered()  # an order from before is not for this
            self._state.locked = True
            self._tell(f"locked after {why}: every answer is hold until `custodes serve unlock {self._name}`")

    def _tell(self, what: str) -> None:
        self._changed = True
        sys.stderr.write(f"custodes: tenant {self._name} is {what}\n")

    def _today(self) -> int:
        return int(self._clock.wall_s() // _DAY_S)


def _stacked(codes: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    return np.frombuffer(b"".join(codes), dtype=np.uint64).reshape(-1, 4)
