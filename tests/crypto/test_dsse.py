"""DSSE: what comes out is what was signed, by a key that is trusted, as the type that is expected; anything else is refused."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.crypto import dsse
from custodes.crypto.keys import SigningKey, VerifierKey
from custodes.errors import ConfigError, InputError

TYPE = "application/vnd.example+json"
BODY = b'{"numbers":[1,2,3,255]}\xff\xfe?'


def key(number: int, name: str = "authority") -> SigningKey:
    return SigningKey(name, Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)))


OURS, OTHER = key(1), key(2, "another")


def envelope(**changed: Any) -> dict[str, Any]:
    return json.loads(dsse.sign(TYPE, BODY, OURS)) | changed


def refused(data: bytes | dict[str, Any], kind: str = TYPE) -> str:
    with pytest.raises(InputError) as raised:
        dsse.verify(data if isinstance(data, bytes) else json.dumps(data).encode(), kind, [OURS.verifier])
    assert "numbers" not in str(raised.value)
    return str(raised.value)


def test_the_specifications_own_example_of_what_is_signed(vectors: Path) -> None:
    text = (vectors / "dsse" / "protocol.md").read_text()
    found = re.search(r"^PAE:\n\n```none\n(.*)\n```", text, re.MULTILINE)
    assert found is not None
    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == found[1].encode()


def test_the_specifications_own_envelope_is_read_and_its_foreign_signature_refused(vectors: Path) -> None:
    text = (vectors / "dsse" / "protocol.md").read_text()
    found = re.search(r"```json\n(\{\"payload\".*?)\n```", text, re.DOTALL)
    assert found is not None
    assert "no trusted key" in refused(found[1].encode(), "http://example.com/HelloWorld")


@pytest.mark.parametrize(
    ("kind", "body", "signed"),
    [
        ("", b"", b"DSSEv1 0  0 "),
        ("a b", b"c", b"DSSEv1 3 a b 1 c"),
        ("\u00e9", b"\x00", b"DSSEv1 2 \xc3\xa9 1 \x00"),
    ],
)
def test_lengths_are_those_of_bytes(kind: str, body: bytes, signed: bytes) -> None:
    assert dsse.pae(kind, body) == signed


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.text(max_size=30))
def test_what_is_signed_comes_out(body: bytes, kind: str) -> None:
    found = dsse.verify(dsse.sign(kind, body, OURS), kind, [OTHER.verifier, OURS.verifier])
    assert found == (body, OURS.verifier)


@pytest.mark.parametrize("names", ["payload", "sig"])
def test_either_alphabet_of_base64_is_read(names: str) -> None:
    given = envelope()
    place = given if names == "payload" else given["signatures"][0]
    place[names] = place[names].translate(str.maketrans("+/", "-_"))
    assert dsse.verify(json.dumps(given).encode(), TYPE, [OURS.verifier]).payload == BODY


def test_every_bit_of_payload_and_signature_counts() -> None:
    given = envelope()
    for name, place in (("payload", given), ("sig", given["signatures"][0])):
        whole = base64.b64decode(place[name])
        for bit in range(len(whole) * 8):
            turned = bytearray(whole)
            turned[bit // 8] ^= 1 << bit % 8
            changed = json.loads(json.dumps(given))
            (changed if name == "payload" else changed["signatures"][0])[name] = base64.b64encode(turned).decode()
            assert "no trusted key" in refused(changed)


CASES: dict[str, tuple[dict[str, Any] | bytes, str]] = {
    "no signature": (envelope(signatures=[]), "no trusted key"),
    "a signature of no byte": (envelope(signatures=[{"sig": ""}]), "no trusted key"),
    "a signature that is cut": (envelope(signatures=[{"sig": base64.b64encode(bytes(63)).decode()}]), "no trusted key"),
    "another key's": (dsse.sign(TYPE, BODY, OTHER), "no trusted key"),
    "signed as another type, said to be this one": (
        json.loads(dsse.sign("text/plain", BODY, OURS)) | {"payloadType": TYPE},
        "no trusted key",
    ),
    "another type": (dsse.sign("text/plain", BODY, OURS), "another type"),
    "a type in other letters": (envelope(payloadType=TYPE.upper()), "another type"),
    "a field beside": (envelope(note="unsigned"), "not a DSSE envelope"),
    "a field beside in a signature": (envelope(signatures=[{"sig": "", "cert": "x"}]), "not a DSSE envelope"),
    "no payload": ({k: v for k, v in envelope().items() if k != "payload"}, "not a DSSE envelope"),
    "no type": ({k: v for k, v in envelope().items() if k != "payloadType"}, "not a DSSE envelope"),
    "a space in base64": (envelope(payload=" " + envelope()["payload"]), "not a DSSE envelope"),
    "base64 without its padding": (envelope(payload="YQ"), "not a DSSE envelope"),
    "base64 with bits over": (envelope(payload="YR=="), "not a DSSE envelope"),
    "a payload that is no text": (envelope(payload=7), "not a DSSE envelope"),
    "letters beyond ASCII": (envelope(payload="\u00e9\u00e9=="), "not a DSSE envelope"),
    "truncated": (dsse.sign(TYPE, BODY, OURS)[:-1], "not a DSSE envelope"),
    "something behind": (dsse.sign(TYPE, BODY, OURS) + b"{}", "not a DSSE envelope"),
    "nothing": (b"", "not a DSSE envelope"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_no_sound_envelope_is_refused(case: str) -> None:
    data, said = CASES[case]
    assert said in refused(data)


def test_a_key_id_decides_nothing() -> None:
    good = envelope()["signatures"][0]
    for keyid in ("", "another+00000000", good["keyid"]):
        given = envelope(signatures=[{"sig": good["sig"], "keyid": keyid}])
        assert dsse.verify(json.dumps(given).encode(), TYPE, [OURS.verifier]).key == OURS.verifier


def test_of_two_signatures_with_one_key_id_the_good_one_counts_wherever_it_stands() -> None:
    good = envelope()["signatures"][0]
    bad = {"sig": base64.b64encode(bytes(64)).decode(), "keyid": good["keyid"]}
    for both in ([good, bad], [bad, good], [good, good]):
        assert dsse.verify(json.dumps(envelope(signatures=both)).encode(), TYPE, [OURS.verifier]).payload == BODY
    assert "no trusted key" in refused(envelope(signatures=[bad, bad]))


def test_the_number_of_signatures_is_limited() -> None:
    good = envelope()["signatures"]
    many = json.dumps(envelope(signatures=good * dsse.SIGNATURES_MAX)).encode()
    assert dsse.verify(many, TYPE, [OURS.verifier]).payload == BODY
    assert "more than 16 signatures" in refused(envelope(signatures=good * (dsse.SIGNATURES_MAX + 1)))


def test_the_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dsse.sign(TYPE, BODY, OURS)
    monkeypatch.setattr(dsse, "ENVELOPE_BYTES_MAX", len(data))
    assert dsse.verify(data, TYPE, [OURS.verifier]).payload == BODY
    assert "more than" in refused(data + b" ")


def test_without_a_trusted_key_nothing_is_verified() -> None:
    with pytest.raises(ConfigError, match="no key"):
        dsse.verify(dsse.sign(TYPE, BODY, OURS), TYPE, [])


def test_planted_a_key_that_says_yes_to_all_lets_a_change_through(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = json.dumps(envelope(payload=base64.b64encode(b"changed").decode())).encode()
    monkeypatch.setattr(VerifierKey, "verify", lambda *_: True)
    assert dsse.verify(changed, TYPE, [OURS.verifier]).payload == b"changed"
