"""A signing key that lies in a token (PKCS #11: a security module, a card, SoftHSM) and never leaves it.

Promises that the PIN comes from a file that nobody else can read, never from an argument or the environment, and that a signature which does not
verify is never handed out. Making the key, and who may use the token, is for the token's own tools. Needs the extra ``custodes[pkcs11]``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from custodes.crypto.keys import VerifierKey, read_private
from custodes.errors import ConfigError, WorldError

__all__ = ["Pkcs11Signer", "Token"]

_DER_OCTETS = b"\x04\x20"


@dataclass(frozen=True)
class Token:
    """Where a key is: the maker's library, the label of the token, the label of the key pair, and the file with the PIN."""

    module: Path
    label: str
    key: str
    pin: Path


class Pkcs11Signer:
    """The key of a token, under a name of the operator's choice. A session is held open; one signature is made at a time."""

    __slots__ = ("_held", "_key", "_pkcs11", "_session", "verifier")

    def __init__(self, name: str, token: Token) -> None:
        pin = _pin(token.pin)
        self._pkcs11 = _library()
        self._held = threading.Lock()
        try:
            found = self._pkcs11.lib(str(token.module)).get_token(token_label=token.label)
            try:
                self._session = found.open(user_pin=pin)
            except self._pkcs11.exceptions.UserAlreadyLoggedIn:  # this process has: that holds for all its sessions
                self._session = found.open()
            kinds = self._pkcs11.ObjectClass
            public = self._session.get_key(object_class=kinds.PUBLIC_KEY, label=token.key)
            self._key: Any = self._session.get_key(object_class=kinds.PRIVATE_KEY, label=token.key)
            point = bytes(public[self._pkcs11.Attribute.EC_POINT])
        except (self._pkcs11.PKCS11Error, RuntimeError, KeyError) as error:  # of which none holds the PIN
            raise ConfigError(
                f"the key {token.key!r} of the token {token.label!r} cannot be used: {_said(error)}",
                hint="compare [signing] with what the token's own tool lists (pkcs11-tool --list-objects --login)",
            ) from error
        point = point.removeprefix(_DER_OCTETS) if len(point) > 32 else point
        if len(point) != 32:
            raise ConfigError(f"the key {token.key!r} of the token {token.label!r} is not Ed25519")
        self.verifier = VerifierKey(name, point)

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 signature. Raises WorldError where the token makes none that verifies."""
        with self._held:
            try:
                signature = bytes(self._key.sign(message, mechanism=self._pkcs11.Mechanism.EDDSA))
            except self._pkcs11.PKCS11Error as error:
                raise WorldError(f"the token did not sign: {_said(error)}", hint="is it still connected?") from error
        if len(signature) != 64 or not self.verifier.verify(message, signature):
            raise WorldError(f"the token made a signature that does not verify under {self.verifier.name}")
        return signature

    def __repr__(self) -> str:
        return f"<Pkcs11Signer {self.verifier.name}+{self.verifier.key_id.hex()}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are never pickled or copied: open the token again")


def _library() -> Any:
    try:
        import pkcs11  # noqa: PLC0415  # an extra, and slow to load
    except ImportError as error:
        raise ConfigError(
            "a key in a token needs python-pkcs11, which is not installed", hint="pip install 'custodes[pkcs11]'"
        ) from error
    return pkcs11


def _pin(path: Path) -> str:
    try:
        pin = read_private(path, hint="write the token's PIN into a file of mode 0600").decode().strip("\r\n")
    except UnicodeDecodeError:
        pin = ""
    if not pin or not pin.isprintable():
        raise ConfigError(f"{path} does not hold a PIN on one line")
    return pin


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
