"""Key files: made once, never overwritten, refused when anyone else can read them.

A key file names its own purpose, so that a list key is never taken for a run key. Key objects never print or pickle
their bytes. Where the files lie and which process loads which of them is for the configuration to say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from custodes.errors import ConfigError, StorageError

__all__ = [
    "KEY_FILES",
    "AeadKey",
    "ListsKey",
    "RunKey",
    "Signer",
    "SigningKey",
    "TransportKey",
    "VerifierKey",
    "create_keys",
    "hkdf_sha256",
    "load_lists_key",
    "load_run_key",
    "load_signing_key",
    "load_transport_key",
    "read_private",
    "write_private",
    "write_signing_key",
]

KEY_FILES: Final = ("run.key", "transport.key", "lists.key", "signing.key", "signing.vkey")
_SECRET_BYTES: Final = 32
_FILE_BYTES_MAX: Final = 4096
_ED25519: Final = b"\x01"  # C2SP signed-note: the signature type byte of Ed25519
_NAME: Final = re.compile(r"[!-*,-~]{1,128}")  # C2SP signed-note: no spaces, no plus; ASCII by our own choice

# Encodings of the points of order 1, 2, 4 and 8 less the sign bit: signatures under them verify for almost any message,
# and OpenSSL accepts them (C2SP/CCTV ed25519). RFC 8032 section 5.1.3 asks for y < p on top.
_P: Final = 2**255 - 19
_Y8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_LOW_ORDER_Y: Final = frozenset({0, 1, _P - 1, _Y8, _P - _Y8})


def hkdf_sha256(secret: bytes, salt: bytes, label: bytes, size_bytes: int = 32) -> bytes:
    """HKDF with SHA-256 (RFC 5869): ``size_bytes`` bytes that only holders of ``secret`` can compute for this label."""
    return HKDF(algorithm=hashes.SHA256(), length=size_bytes, salt=salt, info=label).derive(secret)


class _Secret:
    """32 secret bytes with one purpose. Never printed or pickled: a process that needs a key loads the file itself."""

    purpose = ""
    __slots__ = ("_bytes",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != _SECRET_BYTES:
            raise ConfigError(f"a {self.purpose} key has {_SECRET_BYTES} bytes, got {len(secret)}")
        self._bytes = secret

    def derive(self, label: str, size_bytes: int = 32) -> bytes:
        """A key for one use, independent of those for every other label. The bytes are secret."""
        return hkdf_sha256(self._bytes, b"", f"custodes/{self.purpose}/{label}".encode(), size_bytes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are never pickled or copied: load the file again")


class RunKey(_Secret):
    """Names findings and masks what is written of a run: everything made of it is meaningless without it."""

    purpose = "run"
    __slots__ = ()

    def name(self, label: str, *parts: bytes) -> bytes:
        """HMAC-SHA256 of the parts under the label's own key, 32 bytes.

        Each part is length-prefixed, so that ("ab", "c") is not ("a", "bc").
        """
        return self.naming(label)(*parts)

    def naming(self, label: str) -> Callable[..., bytes]:
        """``name`` with this label, for many names: the label's key is derived once."""
        keyed = hmac.new(self.derive(label), digestmod=hashlib.sha256)

        def name(*parts: bytes) -> bytes:
            mac = keyed.copy()
            for part in parts:
                mac.update(len(part).to_bytes(8, "little") + part)
            return mac.digest()

        return name


class AeadKey(_Secret):
    """A key that encrypts at rest, through :mod:`custodes.crypto.vault` only."""

    purpose = "aead"
    __slots__ = ()


class TransportKey(AeadKey):
    """Encrypts what waits to be sent: the outbox and the private box of a shard commit."""

    purpose = "transport"
    __slots__ = ()


class ListsKey(AeadKey):
    """Encrypts hash lists at rest."""

    purpose = "lists"
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A named Ed25519 public key, in the form of a C2SP note verifier key: ``name+keyid+base64(0x01 || key)``."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError("a verifier key's name must be 1 to 128 printable ASCII characters without spaces or '+'")
        if len(self.public) != 32:
            raise ConfigError(f"an Ed25519 public key has 32 bytes, got {len(self.public)}")
        y = int.from_bytes(self.public, "little") & (2**255 - 1)
        if y >= _P or y in _LOW_ORDER_Y:
            raise ConfigError(f"verifier key {self.name} is a weak Ed25519 key: almost any signature verifies under it")

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read one vkey line. ConfigError when it is malformed, weak, or carries a key id that is not its own."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise ConfigError("a verifier key has the form name+keyid+base64")
        try:
            blob = base64.b64decode(parts[2], validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigError("the verifier key is not valid base64") from error
        if blob[:1] != _ED25519:
            raise ConfigError("the verifier key is not of type Ed25519")
        key = cls(parts[0], blob[1:])
        if key.key_id.hex() != parts[1]:
            raise ConfigError(
                f"verifier key {key.name} carries a key id that is not its own: it was altered or mistyped"
            )
        return key

    @property
    def key_id(self) -> bytes:
        """The four bytes that name this key in a signed note (C2SP signed-note, Signatures)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this key made the signature over exactly these bytes."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"


class Signer(Protocol):
    """Whoever signs: a key from a file (``SigningKey``), in a token (``hardware.Pkcs11Signer``), or of a service that you write the few lines for."""

    @property
    def verifier(self) -> VerifierKey:
        """What its signatures are verified with."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 signature (RFC 8032, not pre-hashed) over exactly these bytes."""
        ...


class SigningKey:
    """The Ed25519 key that signs statements. Prints as its public name only."""

    __slots__ = ("_private", "verifier")

    def __init__(self, name: str, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.verifier = VerifierKey(name, private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """64 bytes of Ed25519 signature over exactly these bytes."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"<SigningKey {self.verifier.name}+{self.verifier.key_id.hex()}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("keys are never pickled or copied: load the file again")


def create_keys(directory: Path, name: str = "custodes") -> tuple[Path, ...]:
    """Make all key files of an operator in ``directory`` (made 0700 if absent), each 0600.

    Refuses when any of them exists.     ``name`` is the signing key's public name. Returns the paths, in the order of
    :data:`KEY_FILES`.
    """
    signing = Ed25519PrivateKey.generate()
    verifier = SigningKey(name, signing).verifier  # checks the name before anything is written
    contents = [_secret_text(kind, os.urandom(_SECRET_BYTES)) for kind in (RunKey, TransportKey, ListsKey)]
    contents += [_pem(signing), f"{verifier}\n".encode()]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the key folder {directory}: {error.strerror}") from error
    paths = tuple(directory / file for file in KEY_FILES)
    for path in paths:
        if path.exists() or path.is_symlink():
            raise _exists(path)
    for path, content in zip(paths, contents, strict=True):
        write_private(path, content)
    _sync_directory(directory)
    return paths


def load_run_key(path: Path) -> RunKey:
    """The run key in the file. ConfigError when it is absent, malformed, of another purpose, or readable by others."""
    return _load_secret(path, RunKey)


def load_transport_key(path: Path) -> TransportKey:
    """The transport key in the file; errors as for :func:`load_run_key`."""
    return _load_secret(path, TransportKey)


def load_lists_key(path: Path) -> ListsKey:
    """The list key in the file; errors as for :func:`load_run_key`."""
    return _load_secret(path, ListsKey)


def load_signing_key(path: Path) -> SigningKey:
    """The signing key in a PEM PKCS8 file, named by the ``.vkey`` file beside it, which must hold the same key."""
    pem = read_private(path)
    beside = path.with_suffix(".vkey")
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path} does not hold an unencrypted PEM PKCS8 private key") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{path} holds a key that is not Ed25519")
    try:
        verifier = VerifierKey.parse(beside.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {beside}, which names the signing key") from error
    key = SigningKey(verifier.name, private)
    if key.verifier != verifier:
        raise ConfigError(
            f"{beside} does not belong to {path}",
            hint="keep the two files that were made together; a rotation that was cut short: custodes keys rotate",
        )
    return key


def write_signing_key(directory: Path, stem: str, name: str, private: Ed25519PrivateKey) -> VerifierKey:
    """Write a key pair as ``create_keys`` does, into ``STEM.key`` and then ``STEM.vkey``, which must not exist."""
    verifier = SigningKey(name, private).verifier
    write_private(directory / f"{stem}.key", _pem(private))
    write_private(directory / f"{stem}.vkey", f"{verifier}\n".encode())
    _sync_directory(directory)
    return verifier


_S = TypeVar("_S", bound=_Secret)


def _pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _secret_text(kind: type[_Secret], secret: bytes) -> bytes:
    return f"custodes-{kind.purpose}-key-1 {base64.b64encode(secret).decode()}\n".encode()


def _load_secret(path: Path, kind: type[_S]) -> _S:
    words = read_private(path).split()
    tag = f"custodes-{kind.purpose}-key-1".encode()
    if len(words) != 2 or words[0] != tag:
        raise ConfigError(f"{path} is not a {kind.purpose} key file", hint="make keys with: custodes init DIR")
    try:
        secret = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != _SECRET_BYTES:
        raise ConfigError(f"{path} is damaged: it does not hold {_SECRET_BYTES} bytes in base64")
    return kind(secret)


def read_private(path: Path, *, hint: str = "make keys with: custodes init DIR") -> bytes:
    """Read a file that nobody else may read, through one descriptor, so that what was checked is what is read. ``hint``: how one is made."""
    try:
        # O_NONBLOCK: a fifo put in the file's place must not hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"cannot open key file {path}: {error.strerror}", hint=hint) from error
    try:
        _check_private(path, os.fstat(descriptor))
        content = os.read(descriptor, _FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigError(f"{path} is longer than a key file can be ({_FILE_BYTES_MAX} bytes)")
    return content


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"key file {path} is not a regular file")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigError(
            f"key file {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"run: chmod 600 {path}",
        )
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"key file {path} belongs to user {status.st_uid}, not to you", hint="run: chown")


def _exists(path: Path) -> ConfigError:
    return ConfigError(f"{path} exists already and is never overwritten", hint="choose an empty folder for new keys")


def write_private(path: Path, content: bytes) -> None:
    """Make a file that only its owner can read, durably. ConfigError where the name is taken: keys are never overwritten."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError as error:
        raise _exists(path) from error
    except OSError as error:
        raise StorageError(f"cannot write key file {path}: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise StorageError(f"cannot make {directory} durable: {error.strerror}") from error
    finally:
        os.close(descriptor)
