"""Provenance on release: a signed manifest in the file that says it was made by a generator (C2PA).

Promises that the manifest says what is known here and no more: that the picture was created by a trained model, and which software passed it on. It holds
no prompt, no name and no thumbnail. A stamp that cannot be made raises, and then nothing leaves. Manifests are easily taken out: that one is
missing proves nothing.

Source: C2PA specification 2.x (c2pa.actions.v2); IPTC digital source type vocabulary.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BytesIO
from types import ModuleType
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from custodes import __version__
from custodes.errors import ConfigError, WorldError

__all__ = ["C2paStamp", "Credentials", "Stamp", "make_test_credentials"]

_GENERATED: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_TYPES: Final = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}
_TEST_DAYS: Final = 30


class Stamp(Protocol):
    """Puts where a picture comes from into its file."""

    async def stamped(self, content: bytes, form: str) -> bytes:
        """The file with it. Raises CustodesError where it cannot be done."""


@dataclass(frozen=True)
class Credentials:
    """A certificate with its chain, PEM, and its private key, PEM: ECDSA on P-256."""

    chain: bytes
    private: bytes = field(repr=False)


def make_test_credentials(now: datetime | None = None) -> Credentials:
    """A certificate of a test authority made on the spot, for 30 days. Readers say that it is on no list of trust: it proves the form, not who signed."""
    now = now or datetime.now(UTC)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = _name("custodes test authority"), _name("custodes test signer")
    root = (
        _certificate(root_name, root_name, root_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _certificate(name, root_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    chain = leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)
    return Credentials(chain, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _name(common: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "custodes"), x509.NameAttribute(NameOID.COMMON_NAME, common)]
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=_TEST_DAYS))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


class C2paStamp:
    """A C2PA manifest, embedded. ``generator``: what made the picture, as the operator names it; ``timestamps``: address of a time-stamping
    authority, or none.
    """

    def __init__(self, credentials: Credentials, generator: str = "", timestamps: str | None = None) -> None:
        self._c2pa = _library()
        self._credentials, self._timestamps = credentials, timestamps
        action = {"action": "c2pa.created", "digitalSourceType": _GENERATED}
        if generator:
            action["softwareAgent"] = {"name": generator}  # type: ignore[assignment]
        self._settings = {"builder": {"thumbnail": {"enabled": False}}}  # pixels that nobody judged
        self._manifest = json.dumps(
            {
                "claim_generator_info": [{"name": "custodes", "version": __version__}],
                "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
            }
        )

    async def stamped(self, content: bytes, form: str) -> bytes:
        """The file with its manifest. Raises WorldError where it cannot be made."""
        return await asyncio.to_thread(self._stamped, content, form)

    def _stamped(self, content: bytes, form: str) -> bytes:
        if form not in _TYPES:
            raise WorldError(f"no manifest can be put into {form or 'this'}")
        source, out, c2pa = BytesIO(content), BytesIO(), self._c2pa
        try:
            info = c2pa.C2paSignerInfo(
                c2pa.C2paSigningAlg.ES256, self._credentials.chain, self._credentials.private, self._timestamps
            )
            with (
                c2pa.Settings.from_dict(self._settings) as settings,
                c2pa.Context(settings=settings) as context,
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(self._manifest, context) as builder,
            ):
                builder.sign(signer, _TYPES[form], source, out)
        except (c2pa.C2paError, OSError, ValueError, TypeError):
            raise WorldError("the manifest of provenance could not be made", hint="look at the certificate") from None
        return out.getvalue()


def _library() -> ModuleType:
    try:
        import c2pa  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("C2PA is not installed", hint="pip install 'custodes[c2pa]'") from None
    module: ModuleType = c2pa
    return module
