"""The root of a publisher's trust: three keys held by three people, of which two must sign, and what they sign.

A root names the keys of all roles. Its successor counts when two keys of the old root and two of its own have signed it, so no single
person, and no key that lies on a machine, can change what subscribers trust. Values only: files and folders are for ``repository``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from custodes.errors import InputError

__all__ = ["OWNERS", "ROLES", "THRESHOLD", "first_root", "merged_root", "next_root", "owner_names", "read_root"]

ROLES: Final = (Targets.type, Snapshot.type, Timestamp.type)
"""The roles whose keys lie where lists are published."""
OWNERS: Final = 3
THRESHOLD: Final = 2
_NAME: Final = "x-custodes-name"
_BYTES_MAX: Final = 512_000  # as much as subscribers read of a root


def first_root(owners: Mapping[str, Signer], online: Mapping[str, Signer], expires: datetime) -> Metadata[Root]:
    """A root of these keys, signed by all owners."""
    root = Root(version=1, expires=expires, consistent_snapshot=True)
    root.roles[Root.type].threshold = THRESHOLD
    for name, signer in owners.items():
        root.add_key(_named(signer.public_key, name), Root.type)
    for role, signer in online.items():
        root.add_key(signer.public_key, role)
    metadata = Metadata(root)
    for signer in owners.values():
        metadata.sign(signer, append=True)
    return metadata


def next_root(
    current: Root, owners: Mapping[str, tuple[str, Signer]], online: Mapping[str, Signer], expires: datetime
) -> Metadata[Root]:
    """The next root, not signed: ``owners`` maps the name of an owner who leaves to who comes instead; ``online`` roles get new keys."""
    root = deepcopy(current)
    root.version += 1
    root.expires = expires
    known = owner_names(current)
    for old, (new, signer) in owners.items():
        root.revoke_key(known[old], Root.type)
        root.add_key(_named(signer.public_key, new), Root.type)
    for role, signer in online.items():
        for keyid in list(root.roles[role].keyids):
            root.revoke_key(keyid, role)
        root.add_key(signer.public_key, role)
    return Metadata(root)


def merged_root(current: Root, signed: Sequence[Metadata[Root]], now: datetime) -> Metadata[Root]:
    """The next root with the signatures of all copies given. Raises InputError unless it may follow ``current``, signed by enough of both."""
    merged = deepcopy(signed[0])
    for other in signed[1:]:
        if other.signed_bytes != merged.signed_bytes:
            raise InputError("the files are not copies of one root", hint="give the copies that were made of one file")
        merged.signatures.update(other.signatures)
    if merged.signed.version != current.version + 1:
        raise InputError(f"the root has version {merged.signed.version}, and {current.version + 1} would be next")
    if merged.signed.is_expired(now):
        raise InputError("the root has expired", hint="make another one: custodes lists publisher rotate")
    for which, root in (("old", current), ("new", merged.signed)):
        try:
            root.verify_delegate(Root.type, merged.signed_bytes, merged.signatures)
        except UnsignedMetadataError as error:
            said = f"the root is not signed by {root.roles[Root.type].threshold} of the {which} root keys"
            raise InputError(said, hint="sign it with: custodes lists publisher sign FILE --key KEY") from error
    keyids = {*current.roles[Root.type].keyids, *merged.signed.roles[Root.type].keyids}
    merged.signatures = {keyid: made for keyid, made in merged.signatures.items() if keyid in keyids}
    return merged


def owner_names(root: Root) -> dict[str, str]:
    """Name of an owner -> id of the key."""
    return {
        str(root.keys[keyid].unrecognized_fields.get(_NAME, keyid[:12])): keyid
        for keyid in root.roles[Root.type].keyids
    }


def read_root(path: Path) -> Metadata[Root]:
    """A root from a file, its signatures not checked. Raises InputError."""
    try:
        with path.open("rb") as file:
            metadata = Metadata[Root].from_bytes(file.read(_BYTES_MAX))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except DeserializationError as error:
        raise InputError(f"{path} is not TUF metadata") from error
    if not isinstance(metadata.signed, Root):
        raise InputError(f"{path} is not a root")
    return metadata


def _named(key: Key, name: str) -> Key:
    named = deepcopy(key)
    named.unrecognized_fields[_NAME] = name
    return named
