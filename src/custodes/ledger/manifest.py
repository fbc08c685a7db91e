"""The manifest: what a run is, written before anything else, and compared before anything goes on.

A run is named by its fingerprint: the digest of the input, the lists, the passes and every setting that can change an outcome.
Settings that only change speed are left out, so that a run may go on with more workers.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any

import msgspec

from custodes import __version__
from custodes.errors import ConfigError, InputError

__all__ = ["FORMAT", "ListUsed", "Manifest", "differences", "flatten", "make_manifest"]

FORMAT = "custodes-run/1"


class ListUsed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A hash list and the version of it that a run used. The version commits to the content without revealing it."""

    id: str
    version: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is. ``plan`` is the sources' own document: files with their fingerprints, shards with their rows."""

    format: str
    run_id: str
    created: str
    tool: str
    dataset: str
    passes: list[str]
    lists: list[ListUsed]
    settings: dict[str, Any]
    recipients: list[str]
    demo_authority: bool
    unsafe: list[str]
    confinement: str
    input: str
    """Fingerprint of the dataset's files and of how they are cut into shards; where they lie does not matter."""
    plan: dict[str, Any]
    parent: str = ""
    fingerprint: str = ""
    stale_lists: dict[str, str] = {}
    """Lists that were past their age when the run began: list id -> when they were last confirmed ("": never)."""

    def encode(self) -> bytes:
        """The bytes that are written; keys in a fixed order."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1)

    @staticmethod
    def decode(data: bytes) -> Manifest:
        """Parse and check. Raises InputError if the bytes are not a manifest of this format or do not carry their own fingerprint."""
        try:
            manifest = msgspec.json.decode(data, type=Manifest)
        except msgspec.MsgspecError as error:
            raise InputError(
                f"manifest.json is not a run manifest: {error}", hint="is this a run directory?"
            ) from error
        if manifest.format != FORMAT:
            raise InputError(f"manifest.json has format {manifest.format!r}, this version reads {FORMAT!r}")
        if manifest.fingerprint != fingerprint(manifest):
            raise InputError("manifest.json was changed after it was written: its fingerprint does not fit")
        return manifest


_IDENTITY = ("passes", "lists", "settings", "recipients", "unsafe", "input", "parent")
"""The fields that make two runs the same run."""


def fingerprint(manifest: Manifest) -> str:
    """SHA-256 (hex) over the fields that can change an outcome, as sorted JSON."""
    identity = {name: getattr(manifest, name) for name in _IDENTITY}
    return hashlib.sha256(msgspec.json.encode(identity, order="sorted")).hexdigest()


def make_manifest(**fields: Any) -> Manifest:
    """A new manifest with its id, time, tool version and fingerprint filled in."""
    manifest = Manifest(
        format=FORMAT,
        run_id=secrets.token_hex(8),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tool=f"custodes {__version__}",
        **fields,
    )
    named = msgspec.structs.replace(manifest, fingerprint=fingerprint(manifest))
    return Manifest.decode(named.encode())  # as it will be read back: JSON has no tuples


def differences(old: Manifest, new: Manifest) -> list[str]:
    """What changed between two manifests, one line each, by dotted name. Empty if they are the same run."""
    before, after = (flatten({name: msgspec.to_builtins(getattr(m, name)) for name in _IDENTITY}) for m in (old, new))
    names = sorted(before.keys() | after.keys())
    return [
        f"{name} was {before.get(name, 'absent')}, is {after.get(name, 'absent')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def refuse_if_different(old: Manifest, new: Manifest) -> None:
    """Raise ConfigError, saying what changed, unless both describe the same run."""
    changed = differences(old, new)
    if not changed:
        return
    shown = "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
    raise ConfigError(
        f"this run was started with something else: {shown}",
        hint="go on with what it was started with, or start a new run in another directory with --run",
    )


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested documents as one level of dotted names."""
    if isinstance(value, dict) and value:
        pairs = [(f"{prefix}.{key}" if prefix else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict | list):
        pairs = [(f"{prefix}[{index}]", inner) for index, inner in enumerate(value)]
    else:
        return {prefix: value}
    return {name: leaf for path, inner in pairs for name, leaf in flatten(inner, path).items()}
