"""The native kernels, where they were built: found, chosen by what the processor has, and called.

Promises that whatever a kernel gives, NumPy, Pillow or libpng beside its caller give too: a level changes the time, never the answer (of what is
deflated: what it inflates to). Kernels hold no state and release the interpreter lock. They trust types and sizes of arrays, so those who call them check
what comes from outside. Without a compiler at installation the library is absent, ``kernels()`` is None, and callers use the others.

The C interface is native/custodes.h. ``CUSTODES_NATIVE`` in the environment names the level to use, or ``none``.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from custodes.errors import ConfigError

__all__ = [
    "LEVELS",
    "NONE",
    "NO_HITS",
    "Chain",
    "Kernels",
    "Table",
    "Tents",
    "Vectors",
    "function",
    "kernels",
    "level",
    "levels",
    "missing",
    "table",
    "use",
]

Uint8s = npt.NDArray[np.uint8]
Uint32s = npt.NDArray[np.uint32]

LEVELS: Final = ("avx512", "avx2", "neon", "baseline")
"""Every level, the fastest first."""

NONE: Final = "none"
"""The level that uses no native code."""

_INTERFACE: Final = 4  # CUSTODES_INTERFACE in native/custodes.h
_FILE: Final = Path(__file__).with_name(
    {"win32": "_custodes.dll", "darwin": "_custodes.dylib"}.get(sys.platform, "_custodes.so")
)


class Table(ctypes.Structure):
    """``custodes_table``: pointers into arrays that the caller keeps alive."""

    _fields_ = (
        ("codes", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
        ("near", ctypes.c_void_p),
        ("far", ctypes.c_void_p),
        ("entries", ctypes.c_void_p),
        ("count", ctypes.c_int64),
    )


class Chain(ctypes.Structure):
    """``custodes_chain``: a radius in bits, and the threshold of each band."""

    _fields_ = (("radius", ctypes.c_uint32), ("threshold", ctypes.c_int32 * 16))


def table(codes: Uint8s, *arrays: npt.NDArray[np.unsignedinteger]) -> Table:
    """Pointers to codes, starts, near, far and entries. Keep the arrays as long as it."""
    if not all(array.flags.c_contiguous for array in (codes, *arrays)):
        raise ValueError("a kernel takes contiguous arrays")
    return Table(codes.ctypes.data, *(array.ctypes.data for array in arrays), len(codes))


class Tents(ctypes.Structure):
    """``custodes_tents``: pointers into arrays that the caller keeps alive."""

    _fields_ = (("begin", ctypes.c_void_p), ("weights", ctypes.c_void_p), ("support", ctypes.c_int64))


class Vectors(ctypes.Structure):
    """``custodes_vectors``: a pointer into an array that the caller keeps alive."""

    _fields_ = (
        ("rows", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("dimension", ctypes.c_int64),
        ("type", ctypes.c_int64),
    )


class _Hits(ctypes.Structure):
    _fields_ = (("hits", ctypes.c_void_p), ("count", ctypes.c_int64), ("capacity", ctypes.c_int64))


NO_HITS: Final[Uint32s] = np.empty((0, 3), dtype=np.uint32)
"""What a kernel gives that finds no pair."""


class Kernels:
    """The kernels of one level."""

    def __init__(self, library: ctypes.CDLL, level: str) -> None:
        self.level = level
        self._library = library

    def call(self, name: str, *arguments: Any) -> None:
        """Call custodes_<level>_<name>. Arrays go as pointers: that they are contiguous and large enough is for the caller to know."""
        function: Callable[..., int] = getattr(self._library, f"custodes_{self.level}_{name}")
        if function(*(_argument(each) for each in arguments)):
            raise MemoryError

    def hits(self, name: str, *arguments: Any) -> Uint32s:
        """Call a kernel that finds pairs: uint32[n, 3] of query row, entry and distance."""
        found = _Hits()
        try:
            self.call(name, *arguments, found)
            if not found.count:
                return NO_HITS
            content = ctypes.string_at(found.hits, found.count * 12)  # quicker than an array over the pointer
            return np.frombuffer(content, dtype=np.uint32).reshape(-1, 3).copy()
        finally:
            if found.hits:
                self._library.custodes_release(ctypes.c_void_p(found.hits))


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous:
            raise ValueError("a kernel takes contiguous arrays")
        return ctypes.c_void_p(value.__array_interface__["data"][0])  # half the time of value.ctypes.data
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    return ctypes.c_int64(value)


@cache
def _library() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    if not _FILE.exists():
        return "the native library was not built: no C++17 compiler was found when custodes was installed"
    try:
        library = ctypes.CDLL(str(_FILE))
    except OSError:
        return f"{_FILE.name} cannot be loaded: it was built for another machine"
    if library.custodes_interface() != _INTERFACE:
        return f"{_FILE.name} was built from another version of custodes"
    return library


@cache
def levels() -> tuple[str, ...]:
    """The levels that this machine has, the fastest first."""
    library = _library()
    if isinstance(library, str):
        return ()
    present = (getattr(library, f"custodes_has_{level}", None) for level in LEVELS)
    return tuple(level for level, has in zip(LEVELS, present, strict=True) if has is not None and has())


def function(name: str) -> Callable[..., Any] | None:
    """custodes_<name>, which is the same for all levels; None where this library, or this machine's, does not have it."""
    library = _library()
    return None if isinstance(library, str) else getattr(library, f"custodes_{name}", None)


def missing() -> str:
    """Why there is no native library; empty where there is one."""
    library = _library()
    return library if isinstance(library, str) else ""


_chosen: list[Kernels | None] = []


def use(level: str | None) -> None:
    """Use one of ``levels()``; ``none`` or None: no native code. For tests, benchmarks and the environment variable."""
    library = _library()
    if level in (None, NONE):
        _chosen[:] = [None]
    elif isinstance(library, str) or level not in levels():
        raise ConfigError(f"this machine has no native level {level!r}", hint=f"it has: {', '.join((*levels(), NONE))}")
    else:
        _chosen[:] = [Kernels(library, str(level))]


def kernels() -> Kernels | None:
    """The kernels in use; None where NumPy answers."""
    if not _chosen:
        use(os.environ.get("CUSTODES_NATIVE") or next(iter(levels()), NONE))
    return _chosen[0]


def level() -> str | None:
    """The name of the level in use; None where NumPy answers."""
    active = kernels()
    return active.level if active else None
