"""The life of a site's signing key: succeeded by a new one, revoked, and the earlier ones kept.

Promises that after a crash at any point the next ``rotate`` goes on to the end, that a secret key is never copied nor overwritten, and that a site does not
sign with a key that was succeeded or revoked. What is stated of keys, and what a verifier makes of it, is ``attest.keyring``'s. Format: docs/formats/keys.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custodes.attest.keyring import (
    STATEMENT_SUFFIX,
    Grounds,
    KeyStatement,
    Revoked,
    Succeeded,
    TrustedKey,
    read_statement,
    trusted_by,
    write_statement,
)
from custodes.crypto.keys import Signer, VerifierKey, load_signing_key, write_signing_key
from custodes.durable import exclusive, make_folder, replace_file, sync_folder
from custodes.errors import ConfigError, InputError, StorageError

__all__ = ["earlier_keys", "refuse_retired", "revoke", "rotate", "statement_files", "succeed", "told_keys"]

CURRENT: Final = "signing"
EARLIER: Final = "earlier"
PUBLIC_MODE: Final = 0o644


def statement_files(keys: Path) -> list[Path]:
    """What was stated of the keys of a site."""
    return sorted(keys.glob(f"*{STATEMENT_SUFFIX}"))


def earlier_keys(keys: Path) -> tuple[VerifierKey, ...]:
    """The keys that were in use before."""
    return tuple(_vkey(path) for path in sorted((keys / EARLIER).glob("*.vkey")))


def told_keys(keys: Path, current: VerifierKey) -> tuple[TrustedKey, ...]:
    """The site's own keys, the one in use first, with what was stated of them."""
    given = {key: TrustedKey(key) for key in (current, *earlier_keys(keys))}
    return trusted_by(tuple(given.values()), [path.read_bytes() for path in statement_files(keys)])


def refuse_retired(keys: Path, current: VerifierKey) -> None:
    """Raises ConfigError where the key in use was succeeded or revoked: no verifier would believe what it signs."""
    for told in _statements(keys, current):
        if told.key != str(current):
            continue
        if isinstance(told, Revoked):
            raise ConfigError(
                f"the signing key {current.name} was revoked", hint="make a new one: custodes keys rotate"
            )
        raise ConfigError(
            f"the signing key {current.name} was succeeded by another, and is still configured",
            hint="run: custodes keys rotate, which goes on where it stopped; for a token, name the new key under [signing]",
        )


def rotate(keys: Path, now: datetime) -> Path:
    """Make a new signing key, which the one in use names as its successor, and use it; or go on where that was cut short. Returns the statement's file."""
    with exclusive(keys):
        for path in keys.glob("next-*.key"):  # made, and not yet named by a statement: it signed nothing
            if not (keys / f"{path.stem}.vkey").exists():
                path.unlink()
        if (unfinished := _unfinished(keys)) is None:
            old = load_signing_key(keys / f"{CURRENT}.key")
            private = Ed25519PrivateKey.generate()
            new = write_signing_key(keys, f"next-{os.urandom(4).hex()}", old.verifier.name, private)
            _state(keys, Succeeded(key=str(old.verifier), at=now.replace(microsecond=0), successor=str(new)), old)
            unfinished = _unfinished(keys)
            assert unfinished is not None
        statement, made = unfinished
        _switch(keys, made)
        return statement


def succeed(keys: Path, signer: Signer, new: VerifierKey, now: datetime) -> Path:
    """State that ``new``, which lies elsewhere, succeeds the key in use. Returns the statement's file."""
    if new == signer.verifier:
        raise InputError(f"{new.name} is the key in use: a key does not succeed itself")
    with exclusive(keys):
        at, old = now.replace(microsecond=0), signer.verifier
        make_folder(keys / EARLIER)
        replace_file((keys / EARLIER / old.key_id.hex()).with_suffix(".vkey"), f"{old}\n".encode())
        return _state(keys, Succeeded(key=str(old), at=at, successor=str(new)), signer)


def revoke(keys: Path, signer: Signer, key: VerifierKey, reason: Grounds, now: datetime) -> Path:
    """State, signed by the key in use, that it or an earlier one is revoked. Returns the statement's file."""
    with exclusive(keys):
        statement = Revoked(key=str(key), at=now.replace(microsecond=0), reason=reason)
        given = [TrustedKey(each) for each in {*earlier_keys(keys), signer.verifier}]
        said = [path.read_bytes() for path in statement_files(keys)]
        trusted_by(given, [*said, write_statement(statement, signer)])  # refuses what verifiers would refuse
        return _state(keys, statement, signer)


def _state(keys: Path, statement: KeyStatement, signer: Signer) -> Path:
    act = "revoked" if isinstance(statement, Revoked) else "succeeded"
    path = keys / f"{statement.subject.key_id.hex()}-{act}{STATEMENT_SUFFIX}"
    if path.exists():
        raise ConfigError(f"{path} exists already: what is stated of a key is not taken back")
    replace_file(path, write_statement(statement, signer), mode=PUBLIC_MODE)
    return path


def _statements(keys: Path, current: VerifierKey) -> Iterator[KeyStatement]:
    """What the files state. Raises InputError for one that was changed, or that no key of this site signed."""
    for path in statement_files(keys):
        yield read_statement(path.read_bytes(), [current, *earlier_keys(keys)])[0]


def _unfinished(keys: Path) -> tuple[Path, str] | None:
    """The statement of a rotation whose new key is not in use yet, and how the files of that key are named."""
    current = _vkey(keys / f"{CURRENT}.vkey")
    made = {str(_vkey(path)): path.stem for path in keys.glob("next-*.vkey")}
    for path in statement_files(keys):
        told, _ = read_statement(path.read_bytes(), [current, *earlier_keys(keys)])
        if isinstance(told, Succeeded) and told.key == str(current) and told.successor in made:
            return path, made[told.successor]
    return None


def _switch(keys: Path, made: str) -> None:
    """The public half last: as long as it is the old one, the rotation is not at its end."""
    old = _vkey(keys / f"{CURRENT}.vkey")
    archive = keys / EARLIER / old.key_id.hex()
    make_folder(archive.parent)
    try:
        if (keys / f"{made}.key").exists():
            for suffix in (".key", ".vkey"):
                with suppress(FileExistsError):
                    archive.with_suffix(suffix).hardlink_to(keys / f"{CURRENT}{suffix}")
            archive.with_suffix(".key").chmod(0o400)
            sync_folder(archive.parent)
            (keys / f"{made}.key").replace(keys / f"{CURRENT}.key")
            sync_folder(keys)
        (keys / f"{made}.vkey").replace(keys / f"{CURRENT}.vkey")
        sync_folder(keys)
    except OSError as error:
        raise StorageError(f"cannot put the new key into {keys}: {error.strerror}", hint="run it again") from error


def _vkey(path: Path) -> VerifierKey:
    try:
        return VerifierKey.parse(path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}, which names a signing key") from error
