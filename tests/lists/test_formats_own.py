"""Our own format holds a whole list: what is cut, changed, joined or sealed to another imports nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from custodes.crypto.seal import Recipient, create_identity, seal
from custodes.errors import ListError
from custodes.lists.container import Provenance, collect
from custodes.lists.formats import ImportOptions, ListFile, OwnHeader, export_lines, own
from custodes.model import Entry, Kind, Role

FROM = Provenance(source="a.csv", authority="Somebody", scheme="iwf", environment="test", issued="2026-01-02T03:04:05Z")
HEADER = OwnHeader(list="demo", version="1-0123456789ab", created="2026-01-02T03:04:05+00:00", provenance=FROM)


def digest(number: int, kind: Kind) -> bytes:
    return hashlib.shake_256(f"entry {number}".encode()).digest(kind.size_bytes)


ENTRIES = [
    *(Entry(kind, digest(number, kind), f"id-{number}", "A") for number, kind in enumerate(Kind)),
    Entry(Kind.PHOTODNA, digest(90, Kind.PHOTODNA), "ä\u2028\U0001f600", "", "unreviewed", Role.SEED),
    Entry(Kind.PHOTODNA, digest(91, Kind.PHOTODNA), "x", role=Role.NEGATIVE),
]
WHOLE = b"".join(export_lines(HEADER, collect(ENTRIES)[0]))
LINES = WHOLE.splitlines(keepends=True)


def opened(tmp_path: Path, content: bytes, identity: str = "", **options: object) -> ListFile:
    path = tmp_path / "a.dat"
    path.write_bytes(content)
    return ListFile(path, ImportOptions(**options), identity)  # type: ignore[arg-type]


def test_what_is_exported_is_imported(tmp_path: Path) -> None:
    file = opened(tmp_path, WHOLE)
    assert list(file.entries()) == ENTRIES
    assert file.records == len(ENTRIES)
    assert file.provenance == Provenance(
        source="a.dat",
        format="custodes",
        authority="Somebody",
        scheme="iwf",
        environment="test",
        issued="2026-01-02T03:04:05Z",
    )


def test_a_sealed_export_is_opened_by_its_recipients_alone(tmp_path: Path) -> None:
    secrets, recipients = zip(*(create_identity() for _ in range(3)), strict=True)
    sealed = seal(WHOLE, [Recipient.parse(text) for text in recipients[:2]])
    assert digest(0, Kind.MD5).hex().encode() not in sealed
    for secret in secrets[:2]:
        assert list(opened(tmp_path, sealed, f"# a key\n{secret}\n").entries()) == ENTRIES
    named = opened(tmp_path, sealed, secrets[0], sha256=hashlib.sha256(sealed).hexdigest())
    assert list(named.entries()) == ENTRIES, "the digest is that of the file as it lies there"
    for content, identity, reason in [
        (sealed, secrets[2], "cannot open the sealed file"),
        (sealed[:-1], secrets[0], "cannot open the sealed file"),
        (WHOLE, secrets[0], "cannot open the sealed file"),
        (sealed, "", "is sealed"),
    ]:
        with pytest.raises(ListError, match=reason) as caught:
            list(opened(tmp_path, content, identity).entries())
        assert "AGE-SECRET-KEY" not in f"{caught.value}{caught.value.hint}"


def test_a_sealed_file_of_another_format_is_told_by_the_suffix_beneath(tmp_path: Path) -> None:
    secret, recipient = create_identity()
    path = tmp_path / "a.csv.age"
    path.write_bytes(seal(f"md5\n{digest(1, Kind.MD5).hex()}\n".encode(), [Recipient.parse(recipient)]))
    assert [entry.kind for entry in ListFile(path, None, secret).entries()] == [Kind.MD5]


def refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ListError, match=reason) as caught:
        list(opened(tmp_path, content, format="custodes").entries())
    shown = f"{caught.value}{caught.value.hint}"
    assert not [entry for entry in ENTRIES if entry.value.hex()[:10] in shown]


@pytest.mark.parametrize(
    "size", [*range(0, len(WHOLE), 61), len(WHOLE) - 1, *(len(b"".join(LINES[:n])) for n in range(len(LINES)))]
)
def test_a_file_cut_anywhere_imports_nothing(tmp_path: Path, size: int) -> None:
    refused(tmp_path, WHOLE[:size], ".")


def ended(*lines: bytes) -> bytes:
    """Lines with an end that fits them."""
    body = b"".join(lines)
    return body + b'{"end":true,"entries":%d,"sha256":"%s"}\n' % (
        len(lines) - 1,
        hashlib.sha256(body).hexdigest().encode(),
    )


BAD = {
    "two lines change places": (b"".join([LINES[0], LINES[2], LINES[1], *LINES[3:]]), "end: has another digest"),
    "a line is gone": (b"".join(LINES[:2] + LINES[3:]), "end: counts other entries"),
    "a line stands twice": (b"".join([*LINES[:2], *LINES[1:]]), "end: counts other entries"),
    "a letter changes": (WHOLE.replace(b"id-1", b"id-2", 1), "end: has another digest"),
    "the file stands twice": (WHOLE * 2, "stands behind the end"),
    "a line behind the end": (WHOLE + b"\n", "stands behind the end"),
    "another version of the format": (
        WHOLE.replace(b"-list/1", b"-list/2"),
        "line 1: header: is not one of custodes-list/1",
    ),
    "a header with more in it": (ended(LINES[0].replace(b'"list":', b'"x":1,"list":'), *LINES[1:-1]), "line 1: header"),
    "an entry of another kind": (
        ended(LINES[0], LINES[1].replace(b'"md5"', b'"phash"')),
        "line 2: row: is not an entry",
    ),
    "an entry of another length": (
        ended(LINES[0], LINES[1].replace(b'"md5"', b'"sha1"')),
        "line 2: row: is not an entry",
    ),
    "an entry with more in it": (
        ended(LINES[0], LINES[1].replace(b'"id"', b'"x":1,"id"')),
        "line 2: row: is not an entry",
    ),
    "an entry with a control character": (ended(LINES[0], LINES[1].replace(b"id-0", b"\\u0007")), "id: has control"),
    "a lone surrogate": (ended(LINES[0], LINES[1].replace(b"id-0", b"\\ud800")), "line 2: row: is not an entry"),
    "bytes that are not UTF-8": (ended(LINES[0], LINES[1].replace(b"id-0", b"\xff")), "line 2: row: is not an entry"),
    "a blank line": (ended(LINES[0], b"\n"), "line 2: row: is not an entry"),
    "nesting": (ended(LINES[0], b"[" * 100_000 + b"\n"), "line 2: row: is not an entry"),
    "no entries": (ended(LINES[0]), "end: is malformed"),
    "a malformed end": (b"".join(LINES[:-1]) + b'{"end":false}\n', "end: is malformed"),
    "no header": (ended(*LINES[1:-1]), "line 1: header"),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_what_was_changed_imports_nothing_and_no_value_is_told(tmp_path: Path, content: bytes, reason: str) -> None:
    refused(tmp_path, content, reason)


def test_planted_fault_without_the_digest_a_change_goes_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_check_end", lambda *_: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        refused(tmp_path, *BAD["a letter changes"])


@pytest.mark.parametrize(
    "options", [{"kind": "md5"}, {"columns": {"value": "value"}}, {"role": Role.SEED}], ids=["kind", "map", "role"]
)
def test_an_export_says_everything_itself(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ListError) as caught:
        list(opened(tmp_path, WHOLE, **options).entries())
    assert str(caught.value.hint).startswith("leave --")
