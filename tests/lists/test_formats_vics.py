"""VICS and CAID files are read in every dialect, in bounded memory, and refused whole, without a value in the message, when malformed."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.errors import ListError
from custodes.lists.formats import ImportOptions, ListFile, vics
from custodes.lists.formats.reading import Reading
from custodes.model import Entry, Kind, Role

US = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
MD5 = hashlib.md5(b"entry 1").digest()
SHA1 = hashlib.sha1(b"entry 1").digest()
SHA256 = hashlib.sha256(b"entry 1").digest()
DNA = hashlib.shake_128(b"entry 1").digest(144)
RECORD = {"MediaID": 7, "Category": 1, "MD5": MD5.hex().upper()}
ENTRY = Entry(Kind.MD5, MD5, "7", "1")


def envelope(*records: Any, context: str = US, key: str = "@odata.context") -> dict[str, Any]:
    return {key: context, "value": list(records)}


def opened(tmp_path: Path, content: Any, **options: Any) -> ListFile:
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return ListFile(path, ImportOptions(format="vics", **options))


def read(tmp_path: Path, content: Any) -> list[Entry]:
    return list(opened(tmp_path, content).entries())


FULL = {
    "MediaID": 7,
    "Category": 2,
    "MD5": MD5.hex().upper(),
    "SHA1": SHA1.hex(),
    "SHA256": SHA256.hex(),
    "PhotoDNA": base64.b64encode(DNA).decode(),
    "AlternativeHashes": [{"MD5": MD5.hex(), "HashName": "PhotoDNA", "HashValue": DNA.hex()}],
    "VictimIdentified": "True",
    "OffenderIdentified": 0,
    "IsDistributed": "1",
    "IsSuspected": False,
    "Tags": None,
    "MimeType": "image/jpeg",
    "Exifs": [{"MD5": MD5.hex(), "PropertyName": "Make", "PropertyValue": "x"}] * 2,
    "MediaFiles": [{"MD5": MD5.hex(), "FileName": "a", "FilePath": "C:\\udata\\ud83d", "Unallocated": True}],
}
ALL = [
    Entry(kind, value, "7", "2")
    for kind, value in [
        (Kind.MD5, MD5),
        (Kind.SHA1, SHA1),
        (Kind.SHA256, SHA256),
        (Kind.PHOTODNA, DNA),
        (Kind.PHOTODNA, DNA),
    ]
]
CASE = {
    "CaseID": "00000000-0000-0000-0000-000000000001",
    "CaseNumber": "1",
    "CaseMetadata": [{"a": [1]}],
    "Media": [RECORD],
}

GOOD: dict[str, tuple[Any, list[Entry]]] = {
    "a hash set": (envelope(RECORD), [ENTRY]),
    "all fields": (envelope(FULL), ALL),
    "a case export": (envelope(CASE), [ENTRY]),
    "several cases, one empty, one without media, and a bare record": (
        envelope(CASE, {"CaseID": "2", "Media": []}, {"CaseID": "3", "Media": None}, CASE, RECORD),
        [ENTRY] * 3,
    ),
    "version 1.3": (
        envelope(RECORD, context="http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media", key="odata.metadata"),
        [ENTRY],
    ),
    "names in another case": (
        {"@ODATA.CONTEXT": US, "VALUE": [{"mediaid": 7, "CATEGORY": "1", "mD5": MD5.hex()}]},
        [ENTRY],
    ),
    "the context behind the records": ({"value": [RECORD], "@odata.context": US}, [ENTRY]),
    "one id, several records": (envelope(RECORD, RECORD | {"Category": 3}), [ENTRY, Entry(Kind.MD5, MD5, "7", "3")]),
    "an id that is text, no category": (
        envelope({"MediaID": " g-1 ", "MD5": MD5.hex()}),
        [Entry(Kind.MD5, MD5, "g-1")],
    ),
    "hashes that are empty or null are absent": (
        envelope(RECORD | {"SHA1": "", "PhotoDNA": None, "AlternativeHashes": None}),
        [ENTRY],
    ),
    "alternative hashes by any name of a kind": (
        envelope(
            {
                "MediaID": 7,
                "Category": 1,
                "MD5": None,
                "AlternativeHashes": [
                    {"HashName": "SHA-1", "HashValue": SHA1.hex()},
                    {"hashname": "pdq", "hashvalue": SHA256.hex()},
                    {"HashName": "SHA256", "HashValue": ""},
                ],
            }
        ),
        [Entry(Kind.SHA1, SHA1, "7", "1"), Entry(Kind.PDQ, SHA256, "7", "1")],
    ),
    "a byte order mark": (b"\xef\xbb\xbf" + json.dumps(envelope(RECORD)).encode(), [ENTRY]),
    "UTF-16": (
        json.dumps(envelope(RECORD | {"Series": "\u00e4\U0001f600"}), ensure_ascii=False).encode("utf-16"),
        [ENTRY],
    ),
    "UTF-16, big end first": (b"\xfe\xff" + json.dumps(envelope(RECORD)).encode("utf-16-be"), [ENTRY]),
    "a pair of surrogates, escaped": (
        json.dumps(envelope(RECORD | {"MediaID": "\U0001f600"})).encode(),
        [Entry(Kind.MD5, MD5, "\U0001f600", "1")],
    ),
    "white space and line breaks": (json.dumps(envelope(RECORD), indent=4).encode(), [ENTRY]),
}


@pytest.mark.parametrize(("content", "expected"), GOOD.values(), ids=GOOD)
def test_accepted_dialects(tmp_path: Path, content: Any, expected: list[Entry]) -> None:
    assert read(tmp_path, content) == expected


@pytest.mark.parametrize(
    ("context", "scheme"),
    [
        (US, "vics/us"),
        (US.replace("/US/", "/uk/"), "vics/uk"),
        (US.replace("/US/", "/Default/"), "vics/default"),
        ("http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Cases", "vics/default"),
        ("http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media", "vics/uk"),
        ("", "vics/default"),
    ],
)
def test_the_scheme_is_the_jurisdiction_that_the_envelope_names(tmp_path: Path, context: str, scheme: str) -> None:
    behind = {"value": [RECORD], "@odata.context": context}
    for content in (envelope(RECORD, context=context), behind):
        file = opened(tmp_path, content)
        assert list(file.entries()) == [ENTRY]
        assert file.provenance.scheme == scheme
    chosen = opened(tmp_path, behind, scheme="vics/us")
    list(chosen.entries())
    assert chosen.provenance.scheme == "vics/us"


def test_what_is_of_no_image_is_passed_over_by_record(tmp_path: Path) -> None:
    file = opened(
        tmp_path,
        envelope(
            RECORD,
            RECORD | {"MimeType": "Video/mp4"},
            {"MediaID": 8},
            RECORD | {"AlternativeHashes": [{"HashName": "TMK", "HashValue": "x"}]},
        ),
    )
    assert list(file.entries()) == [ENTRY, ENTRY]
    assert file.records == 4
    assert file.skipped.rows == [(2, "video"), (3, "no hash"), (4, "hash of another kind")]


def test_the_role_of_all_records_may_be_given(tmp_path: Path) -> None:
    assert {entry.role for entry in opened(tmp_path, envelope(FULL), role=Role.SEED).entries()} == {Role.SEED}


def test_the_format_is_told_by_the_first_bytes_or_the_suffix(tmp_path: Path) -> None:
    for name in ("a.json", "a.dat", "a.txt"):
        (tmp_path / name).write_text("\ufeff" + json.dumps(envelope(RECORD)))
        assert list(ListFile(tmp_path / name).entries()) == [ENTRY]


RAW = json.dumps(envelope(RECORD))
BAD: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "record 1: file: is not whole"),
    "an array": ([RECORD], "record 1: file: is not an object"),
    "no value": ({"@odata.context": US}, "has no array named value"),
    "value is no array": ({"value": RECORD}, "value: is not an array"),
    "value is null": ({"value": None}, "value: is not an array"),
    "no records": (envelope(), "holds no entries"),
    "a record is a number": (envelope(RECORD, 7), "record 2: values: is not an object"),
    "a record is an array": (envelope([RECORD]), "record 1: values: is not an object"),
    "Media is an object": (envelope({"Media": RECORD}), "media: is not an array"),
    "Media is a text": (envelope({"Media": "x"}), "media: is not an array"),
    "a media record is a text": (envelope({"Media": ["x"]}), "media: is not an object"),
    "a record in a record": (envelope({"Media": [{"Media": [RECORD]}]}), "media: stands in a record of Media"),
    "a case with hashes of its own": (envelope(CASE | {"MD5": MD5.hex()}), "media: stands in a record that has"),
    "a short MD5": (envelope(RECORD, RECORD | {"MD5": MD5.hex()[:-1]}), "record 2: md5: is not 16 bytes"),
    "an MD5 that is a number": (envelope(RECORD | {"MD5": 0}), "record 1: md5: is not a text"),
    "an MD5 that is an object": (envelope(RECORD | {"MD5": {}}), "md5: is not a text or a number"),
    "a PhotoDNA of another length": (envelope(RECORD | {"PhotoDNA": "A" * 191}), "photodna: is not 144 bytes"),
    "an alternative hash of another length": (
        envelope(RECORD | {"AlternativeHashes": [{"HashName": "SHA1", "HashValue": MD5.hex()}]}),
        "HashValue: is not 20 bytes",
    ),
    "an alternative hash without a name": (
        envelope(RECORD | {"AlternativeHashes": [{"HashValue": MD5.hex()}]}),
        "HashName: is not a text",
    ),
    "alternative hashes that are no list": (
        envelope(RECORD | {"AlternativeHashes": {"HashName": "SHA1"}}),
        "alternativehashes: is not an array",
    ),
    "an alternative hash that is a text": (envelope(RECORD | {"AlternativeHashes": ["x"]}), "hashes: is not an object"),
    "a category that is no whole number": (envelope(RECORD | {"Category": 1.5}), "category: is not a text or a whole"),
    "a category that is true": (envelope(RECORD | {"Category": True}), "category: is not a text or a whole"),
    "an id with control characters": (envelope(RECORD | {"MediaID": "\x1b[31m"}), "mediaid: has control characters"),
    "an id with a NUL": (envelope(RECORD | {"MediaID": "a\0"}), "mediaid: has control characters"),
    "an id of 1,025 characters": (envelope(RECORD | {"MediaID": "x" * 1025}), "mediaid: is longer than 1024"),
    "a name twice": (RAW.replace('"Category"', '"md5"').encode(), "names something twice"),
    "a name twice where nothing is read": (
        RAW.replace('"Category": 1', '"Exifs": [{"a": 1, "A": 2}]').encode(),
        "twice",
    ),
    "value twice": (RAW[:-1].encode() + b', "VALUE": []}', "names something twice"),
    "NaN": (RAW.replace("1,", "NaN,").encode(), "is not whole, valid JSON"),
    "a number of 5,000 digits": (RAW.replace("1,", "1" * 5000 + ",").encode(), "is not whole, valid JSON"),
    "a lone surrogate": (RAW.replace("7", '"\\ud800"').encode(), "lone surrogate"),
    "a lone low surrogate": (RAW.replace("7", '"\\udc00"').encode(), "is not whole, valid JSON"),
    "a high surrogate before a letter": (RAW.replace("7", '"\\ud83d\\u0041"').encode(), "lone surrogate"),
    "a bare NUL": (RAW.replace("7", '"\0"').encode(), "is not whole, valid JSON"),
    "bytes that are not UTF-8": (RAW.encode().replace(b"7", b'"\xff"'), "is not whole, valid JSON"),
    "half a character in UTF-16": (RAW.encode("utf-16")[:-1], "is not whole, valid JSON"),
    "two documents": (RAW.encode() * 2, "record 2: file: is not whole, valid JSON"),
    "a comment": (b"/* x */" + RAW.encode(), "is not whole, valid JSON"),
    "a comma too many": (RAW[:-1].encode() + b",}", "is not whole, valid JSON"),
    "nesting of 100,000": (b'{"a":' + b"[" * 100_000, "nests deeper than 64"),
    "nesting in a record": (envelope(RECORD | {"Tags": json.loads("[" * 70 + "]" * 70)}), "nests deeper than 64"),
}


def refused(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(ListError, match=reason) as caught:
        read(tmp_path, content)
    shown = f"{caught.value}{caught.value.hint}{caught.value.__cause__}".lower()
    assert MD5.hex()[:10] not in shown
    assert base64.b64encode(DNA).decode()[:10].lower() not in shown


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD)
def test_refused_forms_name_record_and_field_and_no_value(tmp_path: Path, content: Any, reason: str) -> None:
    refused(tmp_path, content, reason)


def test_planted_fault_a_message_of_the_parser_would_tell_a_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def telling(self: Reading, place: int, name: str, reason: str) -> None:
        self.problems += 1
        self.shown.append(f"{place} {name} {reason} near {MD5.hex()}")

    monkeypatch.setattr(Reading, "problem", telling)
    with pytest.raises(AssertionError, match="not in"):
        refused(tmp_path, b"", "is not whole")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = json.dumps(envelope(FULL, RECORD)).encode()
    for size in range(len(whole)):
        with pytest.raises(ListError):
            read(tmp_path, whole[:size])
    assert len(read(tmp_path, whole)) == len(ALL) + 1


def test_problems_of_several_records_are_told_together(tmp_path: Path) -> None:
    wrong = RECORD | {"MD5": "x"}
    with pytest.raises(ListError, match=r"(?s)has 3 problems.*record 1: md5.*record 3: md5.*record 4: file"):
        read(tmp_path, json.dumps(envelope(wrong, RECORD, wrong)).encode()[:-2])


def test_lone_surrogates_are_seen_across_chunks_and_backslashes_are_counted() -> None:
    assert vics._LONE_SURROGATE.search(rb"\ud800")
    assert vics._LONE_SURROGATE.search(rb"\\\ud800")
    assert not vics._LONE_SURROGATE.search(rb"\\ud800")
    assert not vics._LONE_SURROGATE.search(rb"\ud83d\ude00")
    for before in range(vics._CHUNK_BYTES - 40, vics._CHUNK_BYTES + 2):
        filled = RAW.replace("7", '"\\ud83d\\ude00"').replace("{", "{" + " " * before, 1)
        pieces = list(vics._pieces(io.BytesIO(filled.encode())))
        assert b"".join(pieces) == filled.encode()
        assert all(piece.endswith(b",") for piece in pieces[:-1])


def filled_record(size: int) -> bytes:
    record = json.dumps(RECORD | {"Comments": "@"})
    return record.replace("@", "x" * (size - len(record) + 1)).encode()


def test_records_up_to_the_limit_are_read_and_longer_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vics, "RECORD_BYTES_MAX", 1 << 20)
    head = b'{"value":['
    # What stands between the last comma of the record before and the end of this one is what is counted.
    fits = head + filled_record(1 << 20).replace(b", ", b",") + b"]}"
    assert read(tmp_path, fits) == [ENTRY]
    with pytest.raises(ListError, match="record 1: record: is longer than 1048576 bytes"):
        read(tmp_path, head + filled_record((1 << 20) + vics._CHUNK_BYTES + 4096) + b"]}")
    many = b"[1," + b"2," * (1 << 20) + b"3]"
    with pytest.raises(ListError, match="is longer than 1048576 bytes"):
        read(tmp_path, json.dumps(envelope(RECORD)).encode().replace(b'"value"', b'"x":' + many + b',"value"'))


class _Endless(io.RawIOBase):
    """A hash set that never ends; counts what was asked of it."""

    def __init__(self, record: bytes) -> None:
        self.record, self.given = record, 0

    def read(self, size: int = -1) -> bytes:
        chunk = b'{"value":[' if not self.given else self.record * (size // len(self.record))
        self.given += len(chunk)
        return chunk


def test_records_come_while_the_file_is_read_and_nothing_is_kept() -> None:
    source: Any = _Endless(json.dumps(RECORD).encode() + b",")
    reading = Reading("a.json")
    entries: Iterator[Entry] = vics.read_vics(source, ImportOptions(), reading)
    for _ in range(10_000):
        assert next(entries) == ENTRY
    assert source.given < 10_000 * 80 + 4 * vics._CHUNK_BYTES


def test_hostile_json_in_a_record_is_refused_and_valid_json_is_passed_over(vectors: Path, tmp_path: Path) -> None:
    before, after = json.dumps(envelope(RECORD)).encode().split(b'"Category"')
    files = sorted((vectors / "json-testsuite").rglob("*.json"))
    assert len(files) > 300
    passed = set()
    for file in files:
        content = before + b'"Tags": ' + file.read_bytes() + b', "Category"' + after
        try:
            assert read(tmp_path, content) == [ENTRY]
            passed.add(file.name)
        except ListError:
            pass
    assert {name for name in passed if name.startswith("n_")} <= LAXER
    refused = {file.name for file in files if file.name.startswith("y_")} - passed
    assert refused <= STRICTER, "valid JSON that is refused otherwise than for names that stand twice"


LAXER = {"n_structure_whitespace_formfeed.json"}  # the parser takes a form feed for white space
STRICTER = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_damage_gives_entries_or_a_list_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(json.dumps(envelope(FULL, CASE)).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    with contextlib.suppress(ListError):
        read(tmp_path_factory.getbasetemp(), bytes(content))
