"""Whatever the format, what is imported, exported and imported again is the same list; what is malformed leaves the store as it was."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from custodes.crypto.keys import ListsKey
from custodes.errors import ListError
from custodes.lists.container import ROLES, decode
from custodes.lists.formats import ImportOptions, ListFile, OwnHeader, export_lines
from custodes.lists.formats.rows import ICSE_HEADER
from custodes.lists.store import ListStore
from custodes.model import Entry, Kind, Role

KEY = ListsKey(bytes(range(32)))
BYTES = (Kind.MD5, Kind.SHA1, Kind.SHA256, Kind.PDQ, Kind.PHOTODNA)
Draw = Callable[[st.SearchStrategy[Any]], Any]
Written = tuple[bytes, list[Entry], ImportOptions]

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8).map(str.strip)
ids = texts.filter(bool)


def value_of(draw: Draw, kind: Kind) -> bytes:
    return bytes(draw(st.binary(min_size=kind.size_bytes, max_size=kind.size_bytes)))


def spelled(draw: Draw, value: bytes) -> str:
    b64, b32 = base64.b64encode(value).decode(), base64.b32encode(value).decode()
    forms = [
        value.hex(),
        value.hex().upper(),
        b64,
        b64.rstrip("="),
        base64.urlsafe_b64encode(value).decode(),
        b32.lower(),
    ]
    return str(draw(st.sampled_from(forms)))


def cased(draw: Draw, name: str) -> str:
    return str(draw(st.sampled_from([name, name.upper(), name.lower(), name.title()])))


def drawn_entries(draw: Draw) -> list[Entry]:
    count = draw(st.integers(1, 6))
    found = []
    for _ in range(count):
        kind = draw(st.sampled_from(list(Kind)))
        role = draw(st.sampled_from(list(Role)))
        found.append(Entry(kind, value_of(draw, kind), draw(ids), draw(texts), draw(texts), role))
    return found


def as_csv(draw: Draw) -> Written:
    entries = drawn_entries(draw)
    out = io.StringIO()
    delimiter = draw(st.sampled_from(",;\t"))
    writer = csv.writer(out, delimiter=delimiter, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    names = ["kind", "value", "id", "category", "assurance", "role"]
    writer.writerow(cased(draw, name) for name in names)
    for e in entries:
        writer.writerow(
            [cased(draw, e.kind), spelled(draw, e.value), e.id, e.category, e.assurance, cased(draw, e.role)]
        )
    return encoded(draw, out.getvalue()), entries, ImportOptions(format="csv")


def as_ndjson(draw: Draw) -> Written:
    entries, lines = drawn_entries(draw), []
    ascii_ = draw(st.booleans())
    for e in entries:
        row = {"id": e.id, "category": e.category, "assurance": e.assurance, "role": e.role.value}
        long = {"kind": cased(draw, e.kind), "value": spelled(draw, e.value)}
        row |= long if draw(st.booleans()) else {cased(draw, e.kind): spelled(draw, e.value), "other": None}
        lines.append(json.dumps({cased(draw, name): text for name, text in row.items()}, ensure_ascii=ascii_))
    return encoded(draw, "\n".join(lines)), entries, ImportOptions(format="ndjson")


def as_text(draw: Draw) -> Written:
    kinds = draw(st.lists(st.sampled_from(list(Kind)), min_size=1, max_size=6))
    entries = [Entry(kind, value_of(draw, kind), "") for kind in kinds]
    lines = [f" {cased(draw, e.kind)}  {spelled(draw, e.value)} # note" for e in entries]
    return encoded(draw, "# head\n\n" + "\r\n".join(lines)), entries, ImportOptions(format="text")


def encoded(draw: Draw, text: str) -> bytes:
    return bytes(text.encode("utf-8-sig" if draw(st.booleans()) else "utf-8"))


def as_vics(draw: Draw) -> Written:
    entries: list[Entry] = []
    records = []
    for _ in range(draw(st.integers(1, 4))):
        number, category = draw(st.integers(0, 2**53)), draw(st.integers(0, 4))
        kinds = draw(st.lists(st.sampled_from(BYTES[:3]), unique=True, min_size=1))
        record: dict[str, Any] = {"MediaID": draw(st.sampled_from([number, str(number)])), "Category": category}
        values = [(kind, value_of(draw, kind)) for kind in BYTES[:3] if kind in kinds]
        record |= {cased(draw, kind.value): spelled(draw, value) for kind, value in values}
        other = draw(st.lists(st.sampled_from(BYTES), max_size=3))
        more = [(kind, value_of(draw, kind)) for kind in other]
        if more or draw(st.booleans()):
            record["AlternativeHashes"] = [
                {"MD5": "x", "HashName": cased(draw, kind.value), cased(draw, "HashValue"): spelled(draw, value)}
                for kind, value in more
            ]
        flag = draw(st.sampled_from([True, "true", "True", 0, 1, "1", None]))
        record |= {"IsDistributed": flag, "Tags": draw(texts), "Exifs": [{"PropertyName": draw(texts)}] * 2}
        records.append({cased(draw, name): value for name, value in record.items()})
        entries += [Entry(kind, value, str(number), str(category)) for kind, value in values + more]
    if draw(st.booleans()):
        records = [{"CaseID": "1", cased(draw, "Media"): records, "CaseMetadata": [{"a": 1}]}]
    context = {"@odata.context": "http://x/2.0.xml/US/$metadata#Media"}
    document = draw(st.sampled_from([context | {"value": records}, {"Value": records} | context]))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    codec = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return text.encode(codec), entries, ImportOptions(format="vics")


def as_icse(draw: Draw) -> Written:
    entries, lines = [], [ICSE_HEADER]
    for _ in range(draw(st.integers(1, 4))):
        yes = draw(st.booleans())
        flag = draw(st.sampled_from(["y", "Yes", "true"] if yes else ["n", "no", "F", ""]))
        number = str(draw(st.integers(0)))
        values = [(kind, value_of(draw, kind)) for kind in (Kind.MD5, Kind.SHA1, Kind.PHOTODNA)]
        md5, sha1, dna = (spelled(draw, value) for _, value in values)
        lines.append(f"{md5};{sha1};{dna};{number};n;n;n;;1;y;Image;{flag}")
        entries += [Entry(kind, value, number, "baseline" if yes else "not-baseline") for kind, value in values]
    return encoded(draw, "\n".join(lines)), entries, ImportOptions(format="icse")


def as_nsrl(draw: Draw) -> Written:
    entries, lines = [], ['"SHA-1","MD5","CRC32","FileName"']
    for row in range(1, draw(st.integers(2, 5))):
        sha1, md5 = value_of(draw, Kind.SHA1), value_of(draw, Kind.MD5)
        lines.append(f'"{sha1.hex().upper()}","{md5.hex().upper()}","0","a,b ""{row}"""')
        entries += [Entry(Kind.SHA1, sha1, "", role=Role.NEGATIVE), Entry(Kind.MD5, md5, "", role=Role.NEGATIVE)]
    return encoded(draw, "\n".join(lines)), entries, ImportOptions(format="nsrl")


WRITERS = {
    "csv": as_csv,
    "ndjson": as_ndjson,
    "text": as_text,
    "vics": as_vics,
    "icse": as_icse,
    "nsrl": as_nsrl,
}


def kept(store: ListStore, list_id: str, version: str) -> tuple[OwnHeader, list[Entry], bytes]:
    """A version: its header, its entries, its export."""
    header, contents, _ = decode(store.plaintext(list_id, version))
    entries = [
        Entry(
            kind,
            columns.codes[row].tobytes(),
            contents.entry_id(int(columns.ids[row])),
            contents.categories[columns.categories[row]],
            contents.assurances[columns.assurances[row]],
            ROLES[columns.roles[row]],
        )
        for kind, columns in contents.kinds.items()
        for row in range(len(columns))
    ]
    own = OwnHeader(list=list_id, version=version, created=header.created, provenance=header.provenance)
    return own, entries, b"".join(export_lines(own, contents))


def as_stored(entries: list[Entry]) -> list[Entry]:
    """By kind, each once, and named by its place where it has no id."""
    places = {entry: place for place, entry in reversed(list(enumerate(entries, 1)))}
    once = [e for kind in Kind for e in sorted(places, key=lambda e: places[e]) if e.kind is kind]
    return [replace(e, id=e.id or f"row-{places[e]}") for e in once]


def imported(store: ListStore, list_id: str, file: ListFile) -> str:
    return store.import_entries(list_id, file.entries(), lambda: file.provenance).version


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_imported_exported_and_imported_again_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    content, expected, options = WRITERS[form](data.draw)
    home = tmp_path_factory.mktemp("round")
    store = ListStore(home / "lists", KEY)
    (home / "a").write_bytes(content)
    first = ListFile(home / "a", options)
    header, entries, exported = kept(store, "a", imported(store, "a", first))
    assert entries == as_stored(expected)
    (home / "b").write_bytes(exported)
    again, back, _ = kept(store, "b", imported(store, "b", ListFile(home / "b")))
    assert back == entries
    assert again.provenance.scheme == header.provenance.scheme == first.provenance.scheme


MALFORMED = {
    "csv": b"md5\nnot a digest\n",
    "ndjson": b'{"md5":\n',
    "text": b"not-a-digest\n",
    "vics": b'{"value":[{"MD5":"not a digest"}]}',
    "icse": ICSE_HEADER.encode() + b"\nnot a digest;;;;;;;;;;;\n",
    "nsrl": b'"MD5"\n"not a digest"\n',
    "hashkeeper": b'"hash"\n"not a digest"\n',
    "custodes": b'{"format":"custodes-list/1"}\n',
}


@pytest.mark.parametrize(("form", "content"), MALFORMED.items(), ids=MALFORMED)
def test_a_malformed_file_leaves_the_store_as_it_was(tmp_path: Path, form: str, content: bytes) -> None:
    store = ListStore(tmp_path / "lists", KEY)
    store.import_entries("a", [Entry(Kind.MD5, bytes(range(16)), "1")], ListFile(tmp_path / "x").provenance)
    before = {path: path.read_bytes() for path in (tmp_path / "lists").rglob("*") if path.is_file()}
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ListError) as caught:
        imported(store, "a", ListFile(tmp_path / "a", ImportOptions(format=form)))
    assert "not a digest" not in f"{caught.value}"
    assert "not-a-digest" not in f"{caught.value}"
    assert {path: path.read_bytes() for path in (tmp_path / "lists").rglob("*") if path.is_file()} == before
