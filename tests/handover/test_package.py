"""Packages: opened whole, by whom they were sealed to, from whom they say; or refused, with nothing given out."""

from __future__ import annotations

import contextlib
import hashlib
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyrage
import pytest

from custodes.crypto.dsse import sign, verify
from custodes.crypto.keys import SigningKey, VerifierKey
from custodes.crypto.seal import seal, unseal
from custodes.errors import ConfigError, CustodesError, InputError
from custodes.handover import package as module
from custodes.handover.incident import Incident, Place, folded
from custodes.handover.package import (
    INSIDE_TYPE,
    OUTSIDE_TYPE,
    About,
    Package,
    PackageLimits,
    Reporter,
    make_packages,
    open_package,
    read_package,
    save_package,
)
from tests.handover.making import KEY, KEYS, OTHER, OTHER_SECRET, SECRET, TO, about, finding, incidents, packed, signer

WHOLE = packed(finding(1, 7), finding(2, 7), finding(3))


def opened_by(secret: str, package: Package = WHOLE) -> list[Incident]:
    return open_package(package, secret, KEYS).incidents


def test_what_was_packed_is_opened_as_it_was() -> None:
    found = open_package(WHOLE, SECRET, KEYS)
    assert found.incidents == incidents(finding(1, 7), finding(2, 7), finding(3))
    assert (found.signer, found.header.about) == (KEY.verifier, about())
    assert (found.header.part, found.header.parts, found.header.incidents) == (1, 1, 2)
    assert str(KEY.verifier) in found.header.how_to_verify


def test_each_recipient_opens_it_and_nobody_else() -> None:
    (package,) = make_packages(incidents(finding(1)), about(), [TO, OTHER], KEY)
    assert opened_by(SECRET, package) == opened_by(OTHER_SECRET, package)
    with pytest.raises(InputError, match="for another key"):
        opened_by(OTHER_SECRET)
    with pytest.raises(ConfigError):
        make_packages(incidents(finding(1)), about(), [], KEY)


def test_outside_tells_who_and_when_and_nothing_of_the_incidents() -> None:
    payload, _ = verify(WHOLE.envelope, OUTSIDE_TYPE, KEYS)
    assert msgspec.json.decode(payload) == {
        "format": "custodes-package/1",
        "reporter": "Example Lab",
        "environment": "production",
        "made_at": "2026-03-02T09:00:00+00:00",
        "size_bytes": len(WHOLE.sealed),
        "sha256": hashlib.sha256(WHOLE.sealed).hexdigest(),
    }
    plain = [unseal(packed(*(finding(number) for number in range(count))).sealed, SECRET) for count in (1, 2)]
    assert {len(each) for each in plain} == {4096}  # one incident or two: the length does not tell
    assert repr(WHOLE).startswith("<custodes.handover.package.Package object")


# -- what is refused


def envelope_for(sealed: bytes, key: SigningKey = KEY, **changed: Any) -> bytes:
    """A right envelope for a file that is not."""
    outside = msgspec.json.decode(verify(WHOLE.envelope, OUTSIDE_TYPE, KEYS).payload)
    outside |= {"size_bytes": len(sealed), "sha256": hashlib.sha256(sealed).hexdigest()} | changed
    return sign(OUTSIDE_TYPE, msgspec.json.encode(outside), key)


def made(head: bytes | None = None, body: bytes | None = None, **changed: Any) -> Package:
    """A package that its reporter made by other means than ours; ``changed`` are fields of the inner header."""
    plain = unseal(WHOLE.sealed, SECRET).rstrip(b" ")
    old_head, _, old_body = plain.partition(b"\n")
    header = msgspec.json.decode(verify(old_head, INSIDE_TYPE, KEYS).payload) | changed
    new_head = head if head is not None else sign(INSIDE_TYPE, msgspec.json.encode(header), KEY)
    sealed = seal(new_head + b"\n" + (old_body if body is None else body), [TO])
    return Package(sealed, envelope_for(sealed))


def flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def inner(key: SigningKey) -> bytes:
    head = unseal(WHOLE.sealed, SECRET).partition(b"\n")[0]
    return sign(INSIDE_TYPE, verify(head, INSIDE_TYPE, KEYS).payload, key)


def body() -> bytes:
    return unseal(WHOLE.sealed, SECRET).rstrip(b" ").partition(b"\n")[2]


def with_body(new: bytes, **changed: Any) -> Package:
    return made(body=new, body_bytes=len(new), body_sha256=hashlib.sha256(new).hexdigest(), **changed)


SHORT, LONG, FOREIGN = WHOLE.sealed[:-1], WHOLE.sealed + b"\0", packed(finding(9)).sealed
CHANGED, TWICE = flipped(WHOLE.sealed, -1), WHOLE.sealed + WHOLE.sealed
OLDER = msgspec.to_builtins(about(made_at="2025-01-01T00:00:00+00:00"))

REFUSED: dict[str, tuple[Callable[[], Package], str]] = {
    "a last byte changed": (lambda: Package(CHANGED, WHOLE.envelope), "not the one that was signed"),
    "a last byte changed, and signed so": (lambda: Package(CHANGED, envelope_for(CHANGED)), "was altered"),
    "cut short": (lambda: Package(SHORT, WHOLE.envelope), "shorter than what was signed"),
    "cut short, and signed so": (lambda: Package(SHORT, envelope_for(SHORT)), "was altered"),
    "longer": (lambda: Package(LONG, WHOLE.envelope), "longer than what was signed"),
    "two files in one": (lambda: Package(TWICE, WHOLE.envelope), "longer than what was signed"),
    "two files in one, and signed so": (lambda: Package(TWICE, envelope_for(TWICE)), "was altered"),
    "empty": (lambda: Package(b"", WHOLE.envelope), "shorter than what was signed"),
    "empty, and signed so": (lambda: Package(b"", envelope_for(b"")), "not an age file"),
    "the envelope of another": (lambda: Package(FOREIGN, WHOLE.envelope), "was signed"),
    "an envelope by a stranger": (
        lambda: Package(WHOLE.sealed, envelope_for(WHOLE.sealed, signer(2))),
        "no trusted key signed",
    ),
    "no envelope": (lambda: Package(WHOLE.sealed, b""), "not a DSSE envelope"),
    "an envelope of another kind": (
        lambda: Package(WHOLE.sealed, sign(INSIDE_TYPE, b"{}", KEY)),
        "another type of document",
    ),
    "an envelope of another version": (
        lambda: Package(WHOLE.sealed, envelope_for(WHOLE.sealed, format="custodes-package/2")),
        "outside does not fit",
    ),
    "an envelope with more in it": (
        lambda: Package(WHOLE.sealed, envelope_for(WHOLE.sealed, note="")),
        "outside does not fit",
    ),
    "signed inside by another key": (lambda: made(inner(signer(2))), "not signed inside by the key"),
    "not signed inside": (lambda: made(b"{}"), "not signed inside by the key"),
    "nothing inside": (lambda: made(b"", b""), "not signed inside by the key"),
    "a header of another version": (lambda: made(format="custodes-package/0"), "inside does not fit"),
    "sealed on by one of its recipients": (lambda: made(recipients=[str(OTHER)]), "for other recipients"),
    "another reporter outside": (
        lambda: Package(WHOLE.sealed, envelope_for(WHOLE.sealed, reporter="Other Lab")),
        "outside and inside",
    ),
    "another environment outside": (
        lambda: Package(WHOLE.sealed, envelope_for(WHOLE.sealed, environment="test")),
        "outside and inside",
    ),
    "another time inside": (lambda: made(about=OLDER), "outside and inside"),
    "an incident less": (lambda: made(body=body().split(b"\n", 1)[1]), "not those that were signed"),
    "incidents in another order": (
        lambda: made(body=b"\n".join([*reversed(body().splitlines()), b""])),
        "not those that were signed",
    ),
    "another number of incidents": (lambda: made(incidents=3), "says 3 incidents, but holds 2"),
    "what is no incident": (lambda: with_body(b"{}\n"), "what is no incident"),
    "what is no JSON": (lambda: with_body(b"\xff\n"), "what is no incident"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_as_it_was_made_is_refused_and_says_why(case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises(InputError, match=words) as raised:
        opened_by(SECRET, make())
    assert "images.example" not in str(raised.value) + str(raised.value.hint)


def test_without_a_key_of_the_reporter_nothing_is_decrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[bytes] = []
    monkeypatch.setattr(module, "unseal", lambda data, _: tried.append(data))
    for package, keys in ((WHOLE, []), (WHOLE, [signer(2).verifier]), (Package(CHANGED, WHOLE.envelope), KEYS)):
        with pytest.raises(InputError):
            open_package(package, SECRET, keys)
    assert tried == []


PLANTED: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "the signature outside": (
        "an envelope by a stranger",
        lambda patch: patch.setattr(VerifierKey, "verify", lambda *_: True),
    ),
    "the digest outside": ("the envelope of another", lambda patch: patch.setattr(module, "_outside", believed)),
    "the signature inside": (
        "signed inside by another key",
        lambda patch: patch.setattr(module, "_header", unverified),
    ),
    "the comparison of both": (
        "another reporter outside",
        lambda patch: patch.setattr(module, "_check_same", lambda *_: None),
    ),
    "the recipients": (
        "sealed on by one of its recipients",
        lambda patch: patch.setattr(module, "recipients_of", lambda _: [str(OTHER)]),
    ),
}


def believed(package: Package, reporters: list[VerifierKey]) -> tuple[module.Outside, VerifierKey]:
    payload, signer = verify(package.envelope, OUTSIDE_TYPE, reporters)
    return msgspec.json.decode(payload, type=module.Outside), signer


def unverified(head: bytes, _: VerifierKey) -> module.Header:
    payload, _ = verify(head, INSIDE_TYPE, [KEY.verifier, signer(2).verifier])
    return msgspec.json.decode(payload, type=module.Header)


@pytest.mark.parametrize("control", PLANTED)
def test_planted_without_a_control_the_same_check_fails(control: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, remove = PLANTED[control]
    remove(monkeypatch)
    make, _ = REFUSED[case]
    assert opened_by(SECRET, make())


def test_no_changed_byte_is_taken() -> None:
    for at in range(0, len(WHOLE.sealed), 97):
        with pytest.raises(InputError):
            opened_by(SECRET, Package(flipped(WHOLE.sealed, at), WHOLE.envelope))
    for at in range(0, len(WHOLE.envelope), 13):
        try:
            found = opened_by(SECRET, Package(WHOLE.sealed, flipped(WHOLE.envelope, at)))
        except InputError:
            continue
        assert found == opened_by(SECRET)  # the key id is a hint, and a changed letter of it decides nothing


def test_were_decryption_to_stream_what_is_signed_inside_would_still_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = packed(*(finding(number, number) for number in range(400)))
    assert len(whole.sealed) > 3 * 65_536
    changed = flipped(whole.sealed, -1)
    package = Package(changed, envelope_for(changed))

    def streaming(data: bytes, identity: str) -> bytes:
        out = io.BytesIO()
        with contextlib.suppress(OSError):
            pyrage.decrypt_io(io.BytesIO(data), out, [pyrage.x25519.Identity.from_str(identity)])
        return out.getvalue()

    with pytest.raises(InputError, match="was altered"):
        opened_by(SECRET, package)
    monkeypatch.setattr(module, "unseal", streaming)
    assert streaming(changed, SECRET)
    with pytest.raises(InputError, match="not those that were signed"):
        opened_by(SECRET, package)


def test_age_vectors_are_opened_or_refused_as_they_say(vectors: Path) -> None:
    """Whatever the ciphertext is, and although a trusted key signed it: what age refuses gives nothing, what it opens is no package."""
    checked = 0
    for path in sorted((vectors / "age-cctv/age/testdata").iterdir()):
        head, _, sealed = path.read_bytes().partition(b"\n\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        if "passphrase" in fields or "hybrid" in path.name or "identity" not in fields:
            continue  # none of these is used here: recipients are X25519 only
        checked += 1
        sealed = zlib.decompress(sealed) if fields.get("compressed") == "zlib" else sealed
        with pytest.raises(InputError) as raised:
            open_package(Package(sealed, envelope_for(sealed)), fields["identity"], KEYS)
        opens = "not signed inside" in str(raised.value)
        assert opens == (fields["expect"] == "success") or path.name in {
            "armor_whitespace_outside",
            "stanza_missing_body",
            "stanza_missing_final_line",
        }, path.name
    assert checked >= 80


# -- limits


def many(count: int) -> list[Incident]:
    return incidents(*(finding(number) for number in range(count)))


SPLIT: dict[str, tuple[int, list[int]]] = {
    "one less": (2, [2]),
    "at the limit": (3, [3]),
    "one more": (4, [3, 1]),
    "twice the limit and one": (7, [3, 3, 1]),
}


@pytest.mark.parametrize("case", SPLIT)
def test_incidents_are_split_at_the_limit_of_their_number(case: str) -> None:
    count, expected = SPLIT[case]
    packages = make_packages(many(count), about(), [TO], KEY, PackageLimits(incidents_max=3))
    found = [open_package(package, SECRET, KEYS) for package in packages]
    assert [each.header.incidents for each in found] == expected
    assert [(each.header.part, each.header.parts) for each in found] == [
        (number, len(expected)) for number in range(1, len(expected) + 1)
    ]
    assert [incident for each in found for incident in each.incidents] == many(count)


def test_incidents_are_split_at_the_limit_of_their_bytes() -> None:
    size = sum(len(msgspec.json.encode(incident)) + 1 for incident in many(3))
    for allowed, expected in ((size, 1), (size - 1, 2)):
        assert len(make_packages(many(3), about(), [TO], KEY, PackageLimits(body_bytes_max=allowed))) == expected


def test_one_image_in_too_many_places_goes_in_portions_and_is_one_again() -> None:
    (whole,) = incidents(*(finding(number, 7) for number in range(40)))
    limits = PackageLimits(body_bytes_max=len(msgspec.json.encode(whole)) // 3)
    packages = make_packages([whole], about(), [TO], KEY, limits)
    assert len(packages) > 2
    found = [incident for package in packages for incident in opened_by(SECRET, package)]
    assert {incident.id for incident in found} == {whole.id}
    assert folded(found) == [whole]
    assert folded(reversed(found)) == [whole]


def test_a_place_that_no_package_can_hold_is_said_and_not_shown() -> None:
    with pytest.raises(InputError, match="more than the 100 bytes") as raised:
        make_packages(many(1), about(), [TO], KEY, PackageLimits(body_bytes_max=100))
    assert "images.example" not in str(raised.value)


def test_a_sealed_file_longer_than_any_package_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sealed, _ = save_package(WHOLE, tmp_path, "2026-03")
    monkeypatch.setattr(module, "SEALED_BYTES_MAX", len(WHOLE.sealed))
    assert opened_by(SECRET, read_package(sealed)) == opened_by(SECRET)
    monkeypatch.setattr(module, "SEALED_BYTES_MAX", len(WHOLE.sealed) - 1)
    with pytest.raises(InputError, match="more than"):
        opened_by(SECRET)
    with pytest.raises(InputError, match="more than a package can have"):
        read_package(sealed)


def test_nothing_to_hand_over_is_an_error() -> None:
    with pytest.raises(InputError, match="no incident"):
        make_packages([], about(), [TO], KEY)


# -- files, words


def test_a_package_is_two_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    paths = save_package(WHOLE, tmp_path, "2026-03")
    assert [path.name for path in paths] == ["2026-03.custodes.age", "2026-03.custodes.dsse.json"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)
    assert (read_package(paths[0]).sealed, read_package(paths[0]).sha256) == (WHOLE.sealed, WHOLE.sha256)
    paths[1].unlink()
    with pytest.raises(InputError, match=r"custodes\.dsse\.json cannot be read") as raised:
        read_package(paths[0])
    assert "envelope" in str(raised.value.hint)


UNFIT: dict[str, Callable[[], object]] = {
    "no name": lambda: Reporter(name="", contact="x"),
    "no contact": lambda: Reporter(name="x", contact=""),
    "a time without its offset": lambda: about(made_at="2026-03-02T09:00:00"),
    "no time": lambda: about(made_at="today"),
    "another environment": lambda: msgspec.convert(msgspec.to_builtins(about()) | {"environment": "staging"}, About),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_a_reporter_must_say_is_said(case: str) -> None:
    with pytest.raises((ValueError, CustodesError)):
        UNFIT[case]()


def test_the_format_page_names_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats" / "package.md").read_text(encoding="utf-8")
    kinds = (module.Outside, module.Header, About, Reporter, module.ListVersion, Incident, Place)
    fields = {field for kind in kinds for field in kind.__struct_fields__}
    assert sorted(field for field in fields if f"`{field}`" not in page) == []
    assert all(word in page for word in (OUTSIDE_TYPE, INSIDE_TYPE, module.SEALED_SUFFIX, module.ENVELOPE_SUFFIX))
