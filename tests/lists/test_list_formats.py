"""A list file is read in every accepted form, and refused whole, without a value in the message, in every other."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custodes.errors import ListError
from custodes.lists import formats
from custodes.lists.formats import (
    ImportOptions,
    ListFile,
    check_map,
    decode_value,
    parse_kind,
    parse_map,
    read_entries,
    values,
)
from custodes.model import Entry, Kind, Role

MD5 = hashlib.md5(b"umbrella").digest()
SHA1 = hashlib.sha1(b"umbrella").digest()
SHA256 = hashlib.sha256(b"umbrella").digest()
PDQ = hashlib.sha256(b"garden").digest()
DNA = hashlib.shake_128(b"umbrella").digest(144)


def read(tmp_path: Path, name: str, content: str | bytes, options: ImportOptions | None = None) -> list[Entry]:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_entries(path, options))


GOOD = {
    "csv, long": (
        "a.csv",
        f"kind,value,id,category,assurance,role\nmd5,{MD5.hex()},e1,A1,high,seed\nPDQ,{PDQ.hex().upper()},e2,,,\n",
        None,
        [Entry(Kind.MD5, MD5, "e1", "A1", "high", Role.SEED), Entry(Kind.PDQ, PDQ, "e2")],
    ),
    "csv, wide: one row, several entries with one id": (
        "a.csv",
        f"id,MD5,SHA-1,pdq,note\ne1,{MD5.hex()},{SHA1.hex()},,x\ne2,,,{PDQ.hex()},\n",
        None,
        [Entry(Kind.MD5, MD5, "e1"), Entry(Kind.SHA1, SHA1, "e1"), Entry(Kind.PDQ, PDQ, "e2")],
    ),
    "csv with a BOM, CRLF, semicolons, quotes, white space and blank lines": (
        "a.csv",
        b"\xef\xbb\xbf" + f'MD5;SHA1;"Image ID"\r\n\r\n" {MD5.hex()} ";;"7;8"\r\n'.encode(),
        ImportOptions(columns={"id": "Image ID"}),
        [Entry(Kind.MD5, MD5, "7;8")],
    ),
    "csv with a quoted line break": (
        "a.csv",
        f'md5,note\n{MD5.hex()},"two\nlines"\n',
        None,
        [Entry(Kind.MD5, MD5, "")],
    ),
    "csv with a column that has no name": (
        "a.csv",
        f"md5,,\n{MD5.hex()},maybe,x\n",
        None,
        [Entry(Kind.MD5, MD5, "")],
    ),
    "tsv": ("a.tsv", f"md5\tid\n{MD5.hex()}\te1\n", None, [Entry(Kind.MD5, MD5, "e1")]),
    "csv, mapped columns": (
        "a.csv",
        f"HASH,TYPE\n{MD5.hex()},md5\n",
        ImportOptions(columns={"value": "HASH", "kind": "TYPE"}),
        [Entry(Kind.MD5, MD5, "")],
    ),
    "csv, constant kind and category": (
        "a.csv",
        f"HASH,kind\n{MD5.hex()},ignored\n",
        ImportOptions(columns=parse_map("value=HASH,kind==md5,category==A1")),
        [Entry(Kind.MD5, MD5, "", "A1")],
    ),
    "csv, wide by map": (
        "a.csv",
        f"value,FileHash\nnothing,{SHA1.hex()}\n",
        ImportOptions(columns={"sha1": "FileHash"}),
        [Entry(Kind.SHA1, SHA1, "")],
    ),
    "csv, one kind for all by option": (
        "a.csv",
        f"value\n{PDQ.hex()}\n",
        ImportOptions(kind="pdq"),
        [Entry(Kind.PDQ, PDQ, "")],
    ),
    "url kinds and their aliases": (
        "a.csv",
        f"url/md5,url/sha1-raw,url/normalized-sha256,URL/MD5-normalised\n{MD5.hex()},{SHA1.hex()},{SHA256.hex()},{MD5.hex()}\n",
        None,
        [
            Entry(Kind.URL_RAW_MD5, MD5, ""),
            Entry(Kind.URL_RAW_SHA1, SHA1, ""),
            Entry(Kind.URL_NORMALISED_SHA256, SHA256, ""),
            Entry(Kind.URL_NORMALISED_MD5, MD5, ""),
        ],
    ),
    "ndjson, long and wide lines mixed": (
        "a.ndjson",
        f'{{"kind":"md5","value":"{MD5.hex()}","id":17,"role":"Negative"}}\n\n{{"SHA1":"{SHA1.hex()}","pdq":null}}\n',
        None,
        [Entry(Kind.MD5, MD5, "17", role=Role.NEGATIVE), Entry(Kind.SHA1, SHA1, "")],
    ),
    "text: kinds inferred, comments, two words": (
        "a.txt",
        f"# a list\n{MD5.hex()}\n{SHA1.hex().upper()} # the second\nsha256 {SHA256.hex()}\n\npdq {PDQ.hex()}\n",
        None,
        [
            Entry(Kind.MD5, MD5, ""),
            Entry(Kind.SHA1, SHA1, ""),
            Entry(Kind.SHA256, SHA256, ""),
            Entry(Kind.PDQ, PDQ, ""),
        ],
    ),
    "text as exchange tools write it: kinds of video, text and address are passed over": (
        "a.txt",
        (
            f"HASH_MD5 {MD5.hex()}\nvideo_md5 {MD5.hex()}\npdq {PDQ.hex()}\nURI https://a.test/#b\nraw_text two words\n"
            f"url_md5 {MD5.hex()}\ntrend_query {{}}\nHASH_VIDEO_MD5 {MD5.hex()}\n"
        ),
        None,
        [Entry(Kind.MD5, MD5, ""), Entry(Kind.PDQ, PDQ, ""), Entry(Kind.URL_NORMALISED_MD5, MD5, "")],
    ),
    "csv with a kind of video among its kinds": (
        "a.csv",
        f"kind,value\nvideo_md5,{MD5.hex()}\nmd5,{MD5.hex()}\n",
        None,
        [Entry(Kind.MD5, MD5, "")],
    ),
    "PhotoDNA in base64 and hex": (
        "a.csv",
        f"photodna\n{base64.b64encode(DNA).decode()}\n{DNA.hex()}\n",
        None,
        [Entry(Kind.PHOTODNA, DNA, "")] * 2,
    ),
    "a role for rows that name none": (
        "a.csv",
        f"md5,role\n{MD5.hex()},\n{MD5.hex()},seed\n",
        ImportOptions(role=Role.NEGATIVE),
        [Entry(Kind.MD5, MD5, "", role=Role.NEGATIVE), Entry(Kind.MD5, MD5, "", role=Role.SEED)],
    ),
    "ndjson, a mapped field absent from a line": (
        "a.ndjson",
        f'{{"H":"{MD5.hex()}","n":"e1"}}\n{{"H":"{MD5.hex()}"}}\n',
        ImportOptions(columns=parse_map("md5=H,id=n")),
        [Entry(Kind.MD5, MD5, "e1"), Entry(Kind.MD5, MD5, "")],
    ),
    "known software (nsrl)": (
        "a.txt",
        f'"SHA-1","MD5","CRC32","FileName"\n"{SHA1.hex().upper()}","{MD5.hex().upper()}","00000000","a ""b"".exe"\n',
        ImportOptions(format="nsrl"),
        [Entry(Kind.MD5, MD5, "", role=Role.NEGATIVE), Entry(Kind.SHA1, SHA1, "", role=Role.NEGATIVE)][::-1],
    ),
    "known software (hashkeeper)": (
        "a.hsh",
        f'"file_id","hashset_id","file_name","directory","hash"\n1,2,"a.exe","c","{MD5.hex().upper()}"\n',
        ImportOptions(format="hashkeeper"),
        [Entry(Kind.MD5, MD5, "", role=Role.NEGATIVE)],
    ),
    "known software is harmless whatever a column says": (
        "a.csv",
        f"MD5,role\n{MD5.hex()},confirmed\n",
        ImportOptions(format="nsrl"),
        [Entry(Kind.MD5, MD5, "", role=Role.NEGATIVE)],
    ),
    "text of one kind, under a suffix that says nothing": (
        "list.dat",
        f"{PDQ.hex()}\n",
        ImportOptions(format="text", kind="pdq"),
        [Entry(Kind.PDQ, PDQ, "")],
    ),
}


@pytest.mark.parametrize(("name", "content", "options", "expected"), GOOD.values(), ids=GOOD)
def test_accepted_forms(
    tmp_path: Path, name: str, content: str | bytes, options: ImportOptions | None, expected: list[Entry]
) -> None:
    assert read(tmp_path, name, content, options) == expected


BAD = {
    "an empty file": ("a.csv", "", "holds no entries"),
    "a header and nothing else": ("a.csv", "md5\n", "holds no entries"),
    "comments only": ("a.txt", "# nothing\n\n", "holds no entries"),
    "no header": ("a.csv", f"{MD5.hex()}\n{MD5.hex()}\n", "line 1: no column of hashes"),
    "a short value": ("a.csv", f"id,md5\n1,{MD5.hex()}\n2,{MD5.hex()[:-1]}\n", "a.csv line 3: md5: is not 16 bytes"),
    "a value of another kind": ("a.csv", f"kind,value\nmd5,{SHA1.hex()}\n", "line 2: value: is not 16 bytes"),
    "hex with a letter too far": ("a.csv", f"md5\n{MD5.hex()[:-1]}g\n", "line 2: md5: is not"),
    "an unknown kind": ("a.csv", f"kind,value\nphash,{MD5.hex()}\n", "line 2: kind: is unknown"),
    "a missing kind": ("a.csv", f"value\n{MD5.hex()}\n", "line 2: kind: is missing; give --kind"),
    "an unknown role": ("a.csv", f"md5,role\n{MD5.hex()},maybe\n", "line 2: role: is not one of confirmed, seed"),
    "a row without a value": ("a.csv", f"md5,sha1,id\n{MD5.hex()},,1\n,,2\n", "line 3: value: the row has no value"),
    "a missing value": ("a.csv", "kind,value\nmd5,\n", "line 2: value: is missing"),
    "too many fields": ("a.csv", f"md5,id\n{MD5.hex()},1,2\n", "line 2: row: has 3 fields, the header has 2"),
    "an open quote": ("a.csv", f'md5\n"{MD5.hex()}\n', "row: is not valid csv"),
    "a column twice": ("a.csv", f"md5,MD5\n{MD5.hex()},{MD5.hex()}\n", "line 1: a column that is needed stands twice"),
    "bytes that are not UTF-8": (
        "a.csv",
        b"md5,id\n" + MD5.hex().encode() + b",\xff\n",
        "line 2: row: is not valid UTF-8",
    ),
    "UTF-16": ("a.csv", f"md5\n{MD5.hex()}\n".encode("utf-16"), "line 1: row: is not valid UTF-8|no column"),
    "an id that is too long": ("a.csv", f"md5,id\n{MD5.hex()},{'x' * 1025}\n", "line 2: id: is longer than 1024"),
    "a field of 131,073 characters": (
        "a.csv",
        f"md5,note\n{MD5.hex()},{'x' * 131_073}\n",
        "line 2: row: is not valid csv",
    ),
    "broken JSON": ("a.ndjson", f'{{"md5":"{MD5.hex()}"}}\n{{"md5":\n', "line 2: row: is not a flat JSON object"),
    "nested JSON": ("a.ndjson", '{"md5":["x"]}\n', "line 1: row: is not a flat JSON object"),
    "deep JSON": ("a.ndjson", "[" * 100_000 + "\n", "line 1: row: is not a flat JSON object"),
    "a JSON array": ("a.ndjson", "[]\n", "line 1: row: is not a flat JSON object"),
    "JSON without a hash": ("a.ndjson", '{"id":"1"}\n', "line 1: kind: is missing"),
    "64 hex digits in text": ("a.txt", f"{PDQ.hex()}\n", "line 1: kind: could be sha256 or pdq; give --kind"),
    "44 base64 digits in text": ("a.txt", base64.b64encode(PDQ) + b"\n", "could be sha256 or pdq"),
    "a name twice in JSON": ("a.ndjson", f'{{"md5":"{MD5.hex()}","MD5":"{SHA1.hex()}"}}\n', "with each name once"),
    "a lone surrogate": ("a.ndjson", f'{{"md5":"{MD5.hex()}","id":"\\ud800"}}\n', "line 1: row: is not a flat"),
    "a number of 5,000 digits": (
        "a.ndjson",
        f'{{"md5":"{MD5.hex()}","id":{"1" * 5000}}}\n',
        "line 1: row: is not a flat",
    ),
    "NaN": ("a.ndjson", f'{{"md5":"{MD5.hex()}","id":NaN}}\n', "line 1: row: is not a flat"),
    "a NUL in a value": ("a.csv", f"md5\n{MD5.hex()[:-1]}\x00\n", "line 2: md5: is not 16 bytes"),
    "white space in a value": ("a.csv", f"md5\n{MD5.hex()[:-2]} {MD5.hex()[-1]}\n", "line 2: md5: is not 16 bytes"),
    "a kind nobody knows, in text": ("a.txt", f"colour {MD5.hex()}\n", "line 1: kind: is unknown"),
    "nothing but what is passed over": ("a.txt", f"video_md5 {MD5.hex()}\n", "holds no entries"),
    "control characters": ("a.csv", f"md5,category\n{MD5.hex()},\x1b[31m\n", "line 2: category: has control"),
    "three words": ("a.txt", f"md5 {MD5.hex()} x\n", "line 1: row: has more than two words"),
    "an unknown word in text": ("a.txt", "hello\n", "line 1: value: has no known length"),
    "an unknown suffix": ("a.bin", f"{MD5.hex()}\n", "cannot tell the format"),
}


@pytest.mark.parametrize(("name", "content", "reason"), BAD.values(), ids=BAD)
def test_refused_forms_name_line_and_field_and_no_value(
    tmp_path: Path, name: str, content: str | bytes, reason: str
) -> None:
    with pytest.raises(ListError, match=reason) as caught:
        read(tmp_path, name, content)
    shown = f"{caught.value}{caught.value.hint}{caught.value.__cause__}"
    for value in (MD5, SHA1, PDQ):
        assert value.hex()[:12] not in shown.lower()
        assert base64.b64encode(value).decode()[:12] not in shown


def test_the_limit_of_a_field_holds_whatever_another_package_has_set(tmp_path: Path) -> None:
    before = csv.field_size_limit(1 << 30)
    try:
        with pytest.raises(ListError, match="131,072"):
            read(tmp_path, "a.csv", f"md5,note\n{MD5.hex()},{'x' * 131_073}\n")
    finally:
        csv.field_size_limit(before)


def test_planted_fault_a_value_in_a_message_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def telling(_: values.Decoder, text: str) -> bytes:
        raise ValueError(f"{text} is wrong")

    monkeypatch.setattr(values.Decoder, "__call__", telling)
    with pytest.raises(AssertionError, match="in"):
        test_refused_forms_name_line_and_field_and_no_value(tmp_path, "a.csv", f"md5\n{MD5.hex()}\n", "line 2")


def test_a_device_is_not_a_list() -> None:
    for path in ("/dev/zero", "/dev/null", "/"):
        with pytest.raises(ListError, match="not a file"):
            list(read_entries(Path(path), ImportOptions(format="text")))


def test_lines_up_to_the_limit_are_read_and_longer_ones_refused(tmp_path: Path) -> None:
    head = f"{MD5.hex()} # "
    full = head + "x" * (formats.LINE_BYTES_MAX - len(head) - 1) + "\n"
    assert len(read(tmp_path, "a.txt", full)) == 1
    with pytest.raises(ListError, match="line 1: row: is longer than 1048576 bytes"):
        read(tmp_path, "a.txt", "x" + full)
    with pytest.raises(ListError, match=r"(?s)has 2 problems.*line 1: row.*line 3: kind"):
        read(tmp_path, "a.txt", "x" * 3 * formats.LINE_BYTES_MAX + f"\n{MD5.hex()}\nfoo {MD5.hex()}\n")


def test_twenty_problems_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ListError) as caught:
        read(tmp_path, "a.csv", "md5\n" + f"{MD5.hex()}\n" * 5 + "wrong\n" * 50)
    lines = str(caught.value).splitlines()
    assert lines[0] == "a.csv has 50 problems, nothing was imported"
    assert lines[1] == "a.csv line 7: md5: is not 16 bytes in hex, base64 or base32"
    assert len(lines) == 1 + formats.PROBLEMS_SHOWN_MAX + 1
    assert lines[-1] == "and 30 more"


def test_a_mapped_column_that_is_absent_is_named_by_our_name(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="column mapped to value is not there"):
        read(tmp_path, "a.csv", "x\n1\n", ImportOptions(columns={"value": "HASH", "kind": "=md5"}))


def test_a_missing_file_is_an_error_of_the_list(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="cannot read"):
        list(read_entries(tmp_path / "absent.csv"))


@pytest.mark.parametrize("text", ["", "value", "value=", "colour=X", "value=A,value=B", "=x"])
def test_malformed_maps_are_refused(text: str) -> None:
    with pytest.raises(ListError):
        parse_map(text)


def test_maps_are_read() -> None:
    assert parse_map("value=HASH, kind==md5,ID=Image ID") == {"value": "HASH", "kind": "=md5", "id": "Image ID"}
    assert parse_map("SHA-1=h") == {"sha-1": "h"}


def test_options_are_checked_as_they_are_decoded() -> None:
    for text in (
        '{"format":"xml"}',
        '{"kind":"phash"}',
        '{"colour":1}',
        '{"role":"maybe"}',
        '{"records":0}',
        '{"sha256":"abc"}',
        '{"format":"nsrl","role":"confirmed"}',
        '{"format":"hashkeeper","role":"seed"}',
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=ImportOptions)


@settings(max_examples=300)
@given(st.sampled_from(list(Kind)), st.data())
def test_every_value_is_read_in_every_encoding(kind: Kind, data: st.DataObject) -> None:
    value = data.draw(st.binary(min_size=kind.size_bytes, max_size=kind.size_bytes))
    b64, b32 = base64.b64encode(value).decode(), base64.b32encode(value).decode()
    forms = [value.hex(), value.hex().upper(), b64, b64.rstrip("="), base64.urlsafe_b64encode(value).decode()]
    for text in [*forms, b32, b32.lower(), b32.rstrip("=")]:
        assert decode_value(kind, text) == value


@given(st.sampled_from(list(Kind)), st.text(max_size=70))
def test_no_text_becomes_a_value_of_the_wrong_size(kind: Kind, text: str) -> None:
    with contextlib.suppress(ValueError):
        assert len(decode_value(kind, text)) == kind.size_bytes


def test_bits_that_belong_to_no_byte_are_refused() -> None:
    for text in ("A" * 21 + "B", "A" * 25 + "B"):  # base64 and base32 of 16 bytes, with a stray last bit
        with pytest.raises(ValueError, match="belong to no byte"):
            decode_value(Kind.MD5, text)


def test_every_kind_has_its_own_name_whatever_its_case() -> None:
    for kind in Kind:
        assert parse_kind(kind.value.upper()) is kind
        assert parse_kind(kind.value.replace("normalised", "Normalized")) is kind
    assert parse_kind("phash") is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("HASH_MD5", Kind.MD5),
        ("HASH_SHA1", Kind.SHA1),
        ("HASH_SHA256", Kind.SHA256),
        ("HASH_PDQ", Kind.PDQ),
        ("SHA-1", Kind.SHA1),
        ("pDNA", Kind.PHOTODNA),
        ("url_md5", Kind.URL_NORMALISED_MD5),
        ("url/md5", Kind.URL_RAW_MD5),
    ],
)
def test_names_that_others_use_are_known(name: str, kind: Kind) -> None:
    assert parse_kind(name) is kind


@settings(max_examples=200, deadline=None)
@given(
    content=st.binary(max_size=300)
    | st.text(alphabet='md5sha1,kindvalue"\n\r{}:=# 0123abcdef', max_size=300).map(str.encode),
    name=st.sampled_from(["a.csv", "a.ndjson", "a.txt"]),
)
def test_any_bytes_give_entries_or_a_list_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    with contextlib.suppress(ListError):
        assert list(read_entries(path))


def test_hostile_json_lines_are_entries_or_problems(vectors: Path, tmp_path: Path) -> None:
    lines = [p.read_bytes().replace(b"\n", b" ") for p in sorted((vectors / "json-testsuite").rglob("*.json"))]
    assert len(lines) > 300
    with pytest.raises(ListError, match="problems, nothing was imported"):
        read(tmp_path, "a.ndjson", b"\n".join(lines))


def test_ndjson_of_any_text_keeps_ids_and_categories(tmp_path: Path) -> None:
    ids = ["", "ä", "\u2028", "a,b", '"', "x" * 1024]
    content = "\n".join(json.dumps({"md5": MD5.hex(), "id": text, "category": text}) for text in ids)
    assert [entry.id for entry in read(tmp_path, "a.ndjson", content)] == [text.strip() for text in ids]


def test_what_was_passed_over_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"# head\nvideo_md5 {MD5.hex()}\nmd5 {MD5.hex()}\nURI https://a.test/\n" + "raw_text a b\n" * 200)
    file = ListFile(path)
    assert [entry.kind for entry in file.entries()] == [Kind.MD5]
    assert file.records == 203
    assert file.skipped.reasons == {"video": 1, "plain url": 1, "text": 200}
    assert file.skipped.rows[:3] == [(2, "video"), (4, "plain url"), (5, "text")]
    assert len(file.skipped.rows) == formats.SKIPPED_SHOWN_MAX


LINES = "".join(f"{hashlib.md5(b'%d' % number).hexdigest()}\n" for number in range(3))
SUM = hashlib.sha256(LINES.encode()).hexdigest()


@pytest.mark.parametrize(
    ("options", "reason"),
    {
        "one more record": (ImportOptions(records=4), "holds 3 records, not 4"),
        "one record less": (ImportOptions(records=2), "holds 3 records, not 2"),
        "another digest": (ImportOptions(sha256="0" * 64), "another SHA-256"),
        "a column map for text": (ImportOptions(columns={"value": "HASH"}), "a column map is for csv and ndjson"),
    }.values(),
)
def test_a_file_that_is_not_what_was_said_is_refused(tmp_path: Path, options: ImportOptions, reason: str) -> None:
    with pytest.raises(ListError, match=reason):
        read(tmp_path, "a.txt", LINES, options)
    assert len(read(tmp_path, "a.txt", LINES, ImportOptions(records=3, sha256=SUM.upper()))) == 3


@pytest.mark.parametrize("keep", [*range(0, 99, 33), 97, 65, 40])
def test_a_file_cut_anywhere_is_refused_where_its_size_is_told(tmp_path: Path, keep: int) -> None:
    with pytest.raises(ListError):
        read(tmp_path, "a.txt", LINES[:keep], ImportOptions(records=3))
    with pytest.raises(ListError):
        read(tmp_path, "a.txt", LINES[:keep], ImportOptions(sha256=SUM))


def test_planted_fault_without_the_check_a_cut_at_a_line_end_goes_unseen(tmp_path: Path) -> None:
    assert len(read(tmp_path, "a.txt", LINES[:66])) == 2


def test_what_excuses_content_is_never_guessed(tmp_path: Path) -> None:
    entries = read(tmp_path, "a.csv", f'"SHA-1","MD5"\n"{SHA1.hex()}","{MD5.hex()}"\n')
    assert {entry.role for entry in entries} == {Role.CONFIRMED}
    with pytest.raises(ListError, match="cannot tell the format"):
        read(tmp_path, "a.hsh", f"hash\n{MD5.hex()}\n")


def test_saved_maps_obey_the_same_rules() -> None:
    assert check_map({"SHA-1": "Hash (b32)", "category": "=A"}) == {"sha-1": "Hash (b32)", "category": "=A"}
    for wrong in ({"colour": "X"}, {"value": " "}, {"value": "A", "VALUE": "B"}, {"": "X"}):
        with pytest.raises(ListError):
            check_map(wrong)
