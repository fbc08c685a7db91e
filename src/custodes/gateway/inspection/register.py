"""The register of protected persons: perceptual hashes of pictures that people gave so that none like them is made explicit.

Promises that it holds hashes and names that the operator chose, never pictures; that it is encrypted at rest; that somebody who takes
back what they asked for is gone from it with the next save. When it is compared, and that it is compared with explicit pictures only, is for ``inspector``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from custodes.crypto.keys import AeadKey
from custodes.crypto.vault import lock, unlock
from custodes.durable import replace_file
from custodes.errors import InputError
from custodes.index import HammingIndex
from custodes.model import PDQ_BITS, Pdq
from custodes.pdq import FORMS, forms_of

__all__ = ["Register"]

DISTANCE_BITS: Final = 31
QUALITY_MIN: Final = 50
CODES_MAX: Final = 1000
_CONTEXT: Final = b"custodes/register/1"
_NAME: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
_BYTES_MAX: Final = 1 << 28
_CODE_BYTES: Final = PDQ_BITS // 8


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    people: dict[str, list[bytes]]


_FORMAT: Final = "custodes-register/1"


class Register:
    """People by the names that the operator gave them, and the codes of their pictures. Prints as a number of people."""

    def __init__(self, people: dict[str, tuple[bytes, ...]] | None = None) -> None:
        self._people = dict(people or {})
        codes = [code for held in self._people.values() for code in held]
        self._index = HammingIndex.build(_array(codes)) if codes else None

    def __repr__(self) -> str:
        return f"<Register {len(self._people)} people>"

    def __len__(self) -> int:
        return len(self._people)

    @classmethod
    def load(cls, path: Path, key: AeadKey) -> Register:
        """What ``save`` wrote. Raises InputError where it is not that, or cannot be opened with this key."""
        try:
            with path.open("rb") as file:
                sealed = file.read(_BYTES_MAX + 1)
        except OSError as error:
            raise InputError(f"the register {path} cannot be read: {error.strerror}") from None
        try:
            stored = msgspec.msgpack.decode(unlock(key, sealed, _CONTEXT), type=_Stored)
        except msgspec.MsgspecError:
            raise InputError(f"{path} is no register") from None
        codes = [code for held in stored.people.values() for code in held]
        if stored.format != _FORMAT or any(len(code) != _CODE_BYTES for code in codes):
            raise InputError(f"{path} is no register that this version reads")
        return cls({name: tuple(held) for name, held in stored.people.items()})

    def save(self, path: Path, key: AeadKey) -> None:
        """Encrypted, whole and durable."""
        stored = _Stored(_FORMAT, {name: list(held) for name, held in self._people.items()})
        replace_file(path, lock(key, msgspec.msgpack.encode(stored), _CONTEXT))

    @property
    def people(self) -> tuple[str, ...]:
        """Their names here, which are the operator's own and should be no person's."""
        return tuple(sorted(self._people))

    def with_person(self, name: str, pictures: Iterable[Pdq]) -> Register:
        """The register with a person, or with more pictures of one. Raises InputError for pictures that are too plain to be told from others."""
        if not _NAME.fullmatch(name):
            raise InputError("a name in the register is 1 to 64 letters, digits, dots, dashes or underscores")
        good = [each.code for each in pictures if each.quality >= QUALITY_MIN]
        if not good:
            raise InputError("no picture has enough structure to be compared", hint="give larger or sharper pictures")
        held = tuple(dict.fromkeys((*self._people.get(name, ()), *good)))
        if len(held) > CODES_MAX:
            raise InputError(f"more than {CODES_MAX:,} pictures of one person")
        return Register(self._people | {name: held})

    def without_person(self, name: str) -> Register:
        """The register after somebody took back what they asked for. Raises InputError for nobody of that name."""
        if name not in self._people:
            raise InputError("nobody of that name is in the register")
        return Register({other: held for other, held in self._people.items() if other != name})

    def shows_one(self, pictures: Sequence[Pdq]) -> bool:
        """Whether any of these looks like a picture of anybody here, turned or mirrored too."""
        good = [each.code + (each.reflections or each.code * 3) for each in pictures if each.quality >= QUALITY_MIN]
        if self._index is None or not good:
            return False
        forms = forms_of(np.frombuffer(b"".join(good), np.uint8).reshape(len(good), 4 * _CODE_BYTES))
        queries = forms.reshape(len(good) * len(FORMS), _CODE_BYTES)
        return len(self._index.search(queries, DISTANCE_BITS).rows) > 0


def _array(codes: Sequence[bytes]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.frombuffer(b"".join(codes), np.uint8).reshape(len(codes), _CODE_BYTES)
