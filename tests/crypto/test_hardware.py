"""A key in a token: signs as one from a file does, gives its PIN to nobody, and hands out no signature that does not verify."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.world import make_site

from custodes.config import load_site
from custodes.crypto import dsse
from custodes.crypto.hardware import Pkcs11Signer, Token
from custodes.errors import ConfigError, WorldError

PIN = "correct horse 7"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes([9] * 32))
PUBLIC = SECRET.public_key().public_bytes_raw()
LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")


class PKCS11Error(Exception):
    pass


class UserAlreadyLoggedIn(PKCS11Error):  # noqa: N818  # its name
    pass


class Stand:
    """A strict stand-in for python-pkcs11: one token, one key pair, and what it was asked."""

    def __init__(self, point: bytes = b"\x04\x20" + PUBLIC, sign: Callable[[bytes], bytes] = SECRET.sign) -> None:
        self.point, self.signs, self.logged_in = point, sign, False

    def lib(self, path: str) -> Stand:
        if path != "/maker.so":
            raise RuntimeError(f"{path}: cannot open shared object file")
        return self

    def get_token(self, *, token_label: str) -> Stand:
        if token_label != "vault":
            raise PKCS11Error
        return self

    def open(self, user_pin: str | None = None) -> Stand:
        if user_pin is None:
            assert self.logged_in
            return self
        if self.logged_in:
            raise UserAlreadyLoggedIn
        if user_pin != PIN:
            raise PKCS11Error("the PIN is wrong")
        self.logged_in = True
        return self

    def get_key(self, *, object_class: str, label: str) -> Any:
        if label != "signing":
            raise PKCS11Error("no such key")
        return {"EC_POINT": self.point} if object_class == "public" else self

    def sign(self, message: bytes, *, mechanism: str) -> bytes:
        assert mechanism == "EDDSA"
        return self.signs(message)


def plug_in(monkeypatch: pytest.MonkeyPatch, stand: Stand) -> None:
    module = ModuleType("pkcs11")
    module.__dict__.update(
        lib=stand.lib,
        PKCS11Error=PKCS11Error,
        exceptions=SimpleNamespace(UserAlreadyLoggedIn=UserAlreadyLoggedIn),
        ObjectClass=SimpleNamespace(PUBLIC_KEY="public", PRIVATE_KEY="private"),
        Attribute=SimpleNamespace(EC_POINT="EC_POINT"),
        Mechanism=SimpleNamespace(EDDSA="EDDSA"),
    )
    monkeypatch.setitem(sys.modules, "pkcs11", module)


@pytest.fixture
def pin(tmp_path: Path) -> Path:
    path = tmp_path / "pin"
    path.write_text(f"{PIN}\n")
    path.chmod(0o600)
    return path


def token(pin: Path, **changed: Any) -> Token:
    return Token(**({"module": Path("/maker.so"), "label": "vault", "key": "signing", "pin": pin} | changed))


@pytest.mark.parametrize("point", [b"\x04\x20" + PUBLIC, PUBLIC], ids=["as DER", "bare"])
def test_a_token_signs_as_a_file_does(pin: Path, monkeypatch: pytest.MonkeyPatch, point: bytes) -> None:
    plug_in(monkeypatch, Stand(point))
    signer = Pkcs11Signer("lab.example", token(pin))
    assert signer.sign(b"statement") == SECRET.sign(b"statement")
    assert dsse.verify(dsse.sign("t", b"x", signer), "t", [signer.verifier]).payload == b"x"
    assert Pkcs11Signer("lab.example", token(pin)).verifier == signer.verifier  # the process has logged in already


def test_neither_key_nor_pin_is_shown_or_copied(pin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, Stand())
    signer = Pkcs11Signer("lab.example", token(pin))
    assert PIN not in repr(signer) + repr(token(pin))
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            act(signer)


WRONG: dict[str, tuple[dict[str, Any], Stand]] = {
    "another library": ({"module": Path("/other.so")}, Stand()),
    "another token": ({"label": "other"}, Stand()),
    "another key": ({"key": "other"}, Stand()),
    "a key of another kind": ({}, Stand(b"\x04\x41" + bytes(65))),
    "a weak key": ({}, Stand(bytes(32))),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_token_that_is_not_as_configured_is_refused(pin: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    changed, stand = WRONG[case]
    plug_in(monkeypatch, stand)
    with pytest.raises(ConfigError) as raised:
        Pkcs11Signer("lab.example", token(pin, **changed))
    assert PIN not in str(raised.value)


def test_a_wrong_pin_and_a_pin_that_others_may_read_are_refused(pin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, Stand())
    pin.write_text("wrong")
    with pytest.raises(ConfigError, match="PIN is wrong"):
        Pkcs11Signer("lab.example", token(pin))
    for content in (b"", b"\n", b"a\x00b", b"\xff", b"two\nlines"):
        pin.write_bytes(content)
        with pytest.raises(ConfigError, match="does not hold a PIN"):
            Pkcs11Signer("lab.example", token(pin))
    pin.write_text(PIN)
    pin.chmod(0o640)
    with pytest.raises(ConfigError, match="read by others"):
        Pkcs11Signer("lab.example", token(pin))


def refuse(message: bytes) -> bytes:
    raise PKCS11Error("device removed")


BAD: dict[str, Callable[[bytes], bytes]] = {
    "of another message": lambda message: SECRET.sign(message + b"."),
    "with a bit changed": lambda message: bytes([SECRET.sign(message)[0] ^ 1]) + SECRET.sign(message)[1:],
    "cut": lambda message: SECRET.sign(message)[:-1],
    "none": refuse,
}


@pytest.mark.parametrize("case", BAD)
def test_a_signature_that_does_not_verify_is_never_handed_out(
    pin: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    plug_in(monkeypatch, Stand(sign=BAD[case]))
    with pytest.raises(WorldError, match="token"):
        Pkcs11Signer("lab.example", token(pin)).sign(b"statement")


def test_without_the_extra_it_says_what_to_install(pin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(ConfigError, match="not installed"):
        Pkcs11Signer("lab.example", token(pin))


def test_a_site_signs_with_the_token_that_it_names(pin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, Stand())
    site = make_site(tmp_path / "site")
    text = f'\n[signing]\npkcs11_module = "/maker.so"\ntoken = "vault"\nkey = "signing"\npin = "{pin}"\nname = "lab"\n'
    site.path.write_text(site.path.read_text() + text)
    assert load_site(str(site.path)).signing_key().verifier.public == PUBLIC
    site.path.write_text(site.path.read_text().replace('token = "vault"\n', ""))
    with pytest.raises(ConfigError, match="together"):
        load_site(str(site.path))


def test_softhsm_signs_with_ed25519(pin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another maker's token, where one is installed."""
    pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed: no real token was tried")
    library = next((path for path in LIBRARIES if Path(path).exists()), None)
    if library is None or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM is not installed: no real token was tried")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\nlog.level = ERROR\n")
    # In a process of its own: the library reads its settings once, and is never unloaded.
    code = f"""
import sys
from pathlib import Path
import pkcs11
from custodes.crypto import dsse
from custodes.crypto.hardware import Pkcs11Signer, Token
library, pin = sys.argv[1:]
found = pkcs11.lib(library).get_token(token_label="vault")
with found.open(user_pin={PIN!r}, rw=True) as session:
    curve = bytes.fromhex("06032b6570")  # 1.3.101.112, Ed25519 (RFC 8410)
    kind = {{pkcs11.Attribute.EC_PARAMS: curve}}
    parameters = session.create_domain_parameters(pkcs11.KeyType.EC_EDWARDS, kind, local=True)
    parameters.generate_keypair(mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label="signing")
signers = [Pkcs11Signer("lab.example", Token(Path(library), "vault", "signing", Path(pin))) for _ in range(2)]
for signer in signers:
    assert dsse.verify(dsse.sign("t", b"x", signer), "t", [signer.verifier]).payload == b"x"
print(signers[0].verifier)
"""
    environment = os.environ | {"SOFTHSM2_CONF": str(tmp_path / "softhsm2.conf")}
    init = ["softhsm2-util", "--init-token", "--free", "--label", "vault", "--pin", PIN, "--so-pin", PIN]
    subprocess.run(init, env=environment, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", code, library, str(pin)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lab.example+")
    assert pkcs11.__name__ == "pkcs11"
