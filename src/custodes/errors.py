"""The exception tree. Every error says what happened and, as its hint, what to do; the class decides the exit code.

    CustodesError            a bug of ours if raised bare          exit 4
    ├── InputError           you: arguments, files, rows, settings exit 2
    │   ├── ConfigError      the configuration or a key file
    │   ├── ListError        a hash list: malformed, empty, unknown
    │   └── SourceError      a dataset that cannot be read
    ├── WorldError           disk, network, kernel                 exit 3
    │   ├── StorageError     a write that did not become durable
    │   ├── FencedError      a lease that has run out: others may do the work now
    │   ├── AuthorityError   an authority's service refused, or answered what its protocol does not allow
    │   └── JailError        the kernel cannot confine the decoder
    └── InternalError        an invariant of ours does not hold    exit 4

Foreign exceptions become one of these where they enter (net, image, crypto, sources). Only ``cli`` prints or exits.
Messages never hold list entries, URLs or keys: they name the file, the row and the field.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = [
    "AuthorityError",
    "ConfigError",
    "CustodesError",
    "ExitCode",
    "FencedError",
    "InputError",
    "InternalError",
    "JailError",
    "ListError",
    "SourceError",
    "StorageError",
    "WorldError",
]


class ExitCode(IntEnum):
    """What the process tells its caller."""

    NOTHING_FOUND = 0
    FOUND = 1
    INPUT = 2
    WORLD = 3
    BUG = 4
    MUCH_UNEXAMINED = 5
    """Nothing was found, but the share of rows that could not be examined is above the configured warning level."""


class CustodesError(Exception):
    """Root of the tree. ``hint`` says what to do next."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InputError(CustodesError):
    """What the user gave cannot be used."""

    exit_code = ExitCode.INPUT


class ConfigError(InputError):
    """The configuration or a key file is missing, malformed or unsafe."""


class ListError(InputError):
    """A hash list is malformed, empty or unknown."""


class SourceError(InputError):
    """A dataset, or one shard of it, cannot be read."""


class WorldError(CustodesError):
    """The machine or the network refused."""

    exit_code = ExitCode.WORLD


class StorageError(WorldError):
    """A write did not become durable. Never retried on the same file: the run stops."""


class FencedError(WorldError):
    """Whoever raises this has outlived a lease. Others may do the work now: nothing more is written here."""


class AuthorityError(WorldError):
    """An authority's service cannot be reached, refused, or answered what its protocol does not allow."""


class JailError(WorldError):
    """The kernel cannot confine a process as asked."""


class InternalError(CustodesError):
    """An invariant of ours does not hold: a bug."""
