"""Keys of tenants, of whatever service: made once, told once, kept nowhere."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Container

from custodes.errors import InputError

__all__ = ["new_key"]


def new_key(name: str, settings: Callable[[str], object], there: Container[str]) -> tuple[str, str]:
    """A key and its digest. ``settings`` takes the digest, and refuses a name that is none. Raises InputError, also where ``name`` is there already."""
    secret = secrets.token_hex(32)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    try:
        settings(digest)
    except ValueError as error:
        raise InputError(str(error)) from None
    if name in there:
        raise InputError(f"there is a tenant {name} already", hint="to change its key, remove its section first")
    return secret, digest
