"""DSSE v1 envelopes (secure-systems-lab/dsse, protocol 1.0.2): bytes, what kind of bytes they are, and who signed both.

Promises that what ``verify`` returns is what was signed: the payload is decoded once, and those very bytes are checked and given
back. The key id in an envelope is a hint and decides nothing. An envelope carries nothing beside what is signed: a field that DSSE
does not name is refused. What the bytes mean is for the caller.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from custodes.crypto.keys import Signer, VerifierKey
from custodes.errors import ConfigError, InputError

__all__ = ["ENVELOPE_BYTES_MAX", "SIGNATURES_MAX", "Verified", "document", "is_document", "pae", "sign", "verify"]

ENVELOPE_BYTES_MAX: Final = 256 << 20
SIGNATURES_MAX: Final = 16


class _Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signature]


class Verified(NamedTuple):
    """The bytes that were signed, and the key that signed them."""

    payload: bytes
    key: VerifierKey


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: type and payload, each with its length before it, so that neither can lend bytes to the other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload_type: str, payload: bytes, key: Signer) -> bytes:
    """An envelope as JSON, with one signature."""
    name = f"{key.verifier.name}+{key.verifier.key_id.hex()}"
    signature = _Signature(sig=_text(key.sign(pae(payload_type, payload))), keyid=name)
    return msgspec.json.encode(_Envelope(payload=_text(payload), payload_type=payload_type, signatures=[signature]))


def verify(envelope: bytes, payload_type: str, keys: Sequence[VerifierKey]) -> Verified:
    """The payload, if it is of this type and one of the keys signed it. Raises InputError for anything else, ConfigError where no key is trusted."""
    if not keys:
        raise ConfigError("there is no key to verify a signature with")
    if len(envelope) > ENVELOPE_BYTES_MAX:
        raise InputError(f"the envelope has {len(envelope):,} bytes, more than {ENVELOPE_BYTES_MAX:,}")
    try:
        parsed = msgspec.json.decode(envelope, type=_Envelope)
        payload = _bytes(parsed.payload)
        signatures = [_bytes(each.sig) for each in parsed.signatures[: SIGNATURES_MAX + 1]]
    except (msgspec.MsgspecError, ValueError) as error:  # which names no value of ours: it may hold any
        raise InputError("not a DSSE envelope, or damaged", hint="give the signed file as it was received") from error
    if len(signatures) > SIGNATURES_MAX:
        raise InputError(f"the envelope has more than {SIGNATURES_MAX} signatures")
    # The type stands in the signed bytes; the envelope's own claim is not what is signed, ours is.
    if parsed.payload_type != payload_type:
        raise InputError("the envelope holds another type of document than is expected here")
    message = pae(payload_type, payload)
    signer = next((key for key in keys for each in signatures if key.verify(message, each)), None)
    if signer is None:
        raise InputError(
            "no trusted key signed this, or it was changed after it was signed",
            hint="get the file again from who signed it, or compare the configured keys with theirs",
        )
    return Verified(payload, signer)


def document(payload_type: str, payload: bytes, signature: bytes, key: VerifierKey) -> bytes:
    """The one way in which a document of ours is written: what DSSE leaves open (spaces, order, spelling, hints) is as here."""
    whole = {
        "payload": _text(payload),
        "payloadType": payload_type,
        "signatures": [{"sig": _text(signature), "keyid": f"{key.name}+{key.key_id.hex()}"}],
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


def is_document(envelope: bytes, payload_type: str, verified: Verified) -> bool:
    """Whether an envelope that was verified is written in that one way: then no byte of it can be changed."""
    signatures = msgspec.json.decode(envelope)["signatures"]
    if len(signatures) != 1:
        return False
    return envelope == document(payload_type, verified.payload, _bytes(signatures[0]["sig"]), verified.key)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Base64, standard or URL-safe (a verifier must accept both), with its padding, and nothing between. Raises ValueError."""
    plain = text.translate(_STANDARD)
    data = base64.b64decode(plain, validate=True)
    if _text(data) != plain:  # bits that no byte uses: two texts would mean the same
        raise binascii.Error
    return data


_STANDARD: Final = str.maketrans("-_", "+/")
