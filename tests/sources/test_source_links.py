"""Tables of links: columns by any name, digests by any spelling, rows conserved."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from source_making import EXACT, all_digests, all_urls, laion, malformed, md5_of, planned, url_of

from custodes.errors import SourceError
from custodes.model import Kind
from custodes.sources import digests as digests_module
from custodes.sources import parquet
from custodes.sources.base import ColumnMap, Format, Plan, SourceOptions
from custodes.sources.digests import decode_digests
from custodes.sources.source import plan, read_links, row_details
from custodes.url import url_digest


def test_laion_table_gives_every_row_once(tmp_path: Path) -> None:
    made = planned(laion(tmp_path / "part.parquet"), shard_rows_max=3)
    assert made.format is Format.PARQUET_LINKS
    assert not made.holds_images
    assert [(s.first_row, s.rows, s.row_group, s.group_row) for s in made.shards] == [
        (0, 3, 0, 0),
        (3, 1, 0, 3),
        (4, 3, 1, 0),
        (7, 1, 1, 3),
        (8, 2, 2, 0),
    ]
    assert made.rows == 10
    assert all_urls(made) == [url_of(row) for row in range(10)]
    assert all_digests(made, Kind.MD5) == {row: md5_of(row) for row in range(10)}
    assert malformed(made) == {}


@pytest.mark.parametrize("spelt", ["URL", "url", "Url", "image_url", "IMAGE_LINK", "link"])
def test_link_column_is_recognised_by_any_common_name(tmp_path: Path, spelt: str) -> None:
    pq.write_table(pa.table({"other": [1], spelt: ["https://a.example/"]}), tmp_path / "t.parquet")
    assert planned(tmp_path / "t.parquet").columns.url == spelt


@pytest.mark.parametrize("name", ["a.b", "", " ", "é", "url\n", "a[0]", "list.element"])
def test_column_of_any_name_can_be_mapped(tmp_path: Path, name: str) -> None:
    pq.write_table(pa.table({name: ["https://a.example/"], "other": ["x"]}), tmp_path / "t.parquet")
    assert all_urls(planned(tmp_path / "t.parquet", columns={"url": name})) == ["https://a.example/"]


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
def test_laion_columns_are_recognised_in_any_case(tmp_path: Path, case: object) -> None:
    names = ["URL", "TEXT", "WIDTH", "HEIGHT", "hash", "md5"]
    table = pq.read_table(laion(tmp_path / "a.parquet")).select(names)
    pq.write_table(table.rename_columns([case(name) for name in names]), tmp_path / "b.parquet")
    made = planned(tmp_path / "b.parquet")
    columns = made.columns
    assert [columns.url, columns.text, columns.width, columns.height, columns.key, columns.md5] == list(
        map(case, names)
    )
    assert all_digests(made, Kind.MD5) == {row: md5_of(row) for row in range(10)}


def test_mapped_column_wins_over_recognised_one(tmp_path: Path) -> None:
    path = laion(tmp_path / "a.parquet", mirror=["https://mirror.example/"] * 10)
    assert all_urls(planned(path, columns={"url": "mirror"})) == ["https://mirror.example/"] * 10


def test_mapped_column_that_is_absent_names_file_and_columns(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.parquet has no column 'nope' for url; its columns are 'URL', 'TEXT'"):
        planned(laion(tmp_path / "a.parquet"), columns={"url": "nope"})


@pytest.mark.parametrize(
    "table",
    [{"url": ["x"], "URL": ["y"]}, {"caption": ["x"]}, {"url": [[1]]}, {"url": pa.array([1])}, {"md5": pa.array([1])}],
    ids=["two columns of one name", "no links or digests", "a list of links", "numbers as links", "numbers as digests"],
)
def test_table_whose_columns_mislead_is_refused(tmp_path: Path, table: dict[str, object]) -> None:
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"t\.parquet"):
        planned(tmp_path / "t.parquet")


def test_part_without_the_columns_of_the_first_is_refused(tmp_path: Path) -> None:
    laion(tmp_path / "0.parquet")
    pq.write_table(pq.read_table(tmp_path / "0.parquet").drop_columns(["md5"]), tmp_path / "1.parquet")
    with pytest.raises(SourceError, match=r"1\.parquet has other columns"):
        planned(tmp_path)


def test_only_what_is_wanted_is_given(tmp_path: Path) -> None:
    made = planned(laion(tmp_path / "a.parquet"))
    batch = read_links(made, made.shards[0], [Kind.SHA256], with_urls=False)
    assert (batch.rows, batch.url, batch.key, batch.digests) == (4, None, None, {})


def test_url_kinds_are_digested_from_the_links(tmp_path: Path) -> None:
    made = planned(laion(tmp_path / "a.parquet", URL=["https://A.example/x", None, "not a url", *["https://b/"] * 7]))
    want = [Kind.URL_RAW_SHA256, Kind.URL_NORMALISED_MD5]
    batch = read_links(made, made.shards[0], want, with_urls=False)
    raw, normalised = batch.digests[want[0]], batch.digests[want[1]]
    assert raw.items.tolist() == [0, 2, 3]
    assert raw.codes[0].tobytes() == hashlib.sha256(b"https://A.example/x").digest()
    assert normalised.items.tolist() == [0, 3]
    assert normalised.codes[0].tobytes() == url_digest(want[1], "https://A.example/x")


def test_findings_can_name_link_key_and_size(tmp_path: Path) -> None:
    made = planned(laion(tmp_path / "a.parquet"))
    last, first = row_details(made, made.shards[1], [3, 0])
    assert (last.row, last.url, last.key, last.width, last.height) == (3, url_of(7), "2", 640, 480)
    assert first.url == url_of(4)
    assert url_of(7) not in repr([last, first])


SPELLINGS = {
    "lower hex": lambda d: d.hex(),
    "upper hex": lambda d: d.hex().upper(),
    "base64": lambda d: base64.b64encode(d).decode(),
    "url-safe base64": lambda d: base64.urlsafe_b64encode(d).decode(),
}
TYPES = {
    "string": pa.string(),
    "large string": pa.large_string(),
    "string view": pa.string_view(),
    "binary": pa.binary(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
}


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("form", TYPES)
def test_digest_is_read_in_every_spelling(kind: Kind, spelling: str, form: str) -> None:
    codes = [hashlib.new(kind.value, str(row).encode()).digest() for row in range(100)]
    values = [None if row % 7 == 0 else SPELLINGS[spelling](code) for row, code in enumerate(codes)]
    array = (
        pa.array(values, TYPES["string"]).cast(TYPES[form]) if form != "string view" else pa.array(values, TYPES[form])
    )
    digested, bad = decode_digests(pa.chunked_array([array.slice(3, 40), array.slice(43)]), kind)
    assert bad.tolist() == []
    assert digested.items.tolist() == [row - 3 for row in range(3, 100) if row % 7]
    assert [code.tobytes() for code in digested.codes] == [codes[row] for row in range(3, 100) if row % 7]


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("fixed", [True, False])
def test_raw_digest_is_read_from_binary_columns_only(kind: Kind, fixed: bool) -> None:
    codes = [hashlib.new(kind.value, str(row).encode()).digest() for row in range(9)]
    array = pa.array([None, *codes], pa.binary(kind.size_bytes) if fixed else pa.binary())
    digested, bad = decode_digests(array.slice(0, 8), kind)
    assert digested.items.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert digested.codes.tobytes() == b"".join(codes[:7])
    text, bad = decode_digests(pa.array(["x" * kind.size_bytes]), kind)
    assert (text.items.tolist(), bad.tolist()) == ([], [0])


def plain_decode(value: str | None, size_bytes: int) -> bytes | None:
    """The slow and simple answer: None if it is no digest."""
    for way in (bytes.fromhex, lambda v: base64.b64decode(v.replace("-", "+").replace("_", "/"), validate=True)):
        try:
            code = way(value)
        except ValueError:
            continue
        if len(code) == size_bytes and " " not in value and base64.b64encode(code).decode()[-2:] != value[-2:] * 0:
            return code
    return None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.none()
        | st.binary(min_size=16, max_size=16).map(bytes.hex)
        | st.binary(min_size=16, max_size=16).map(lambda b: base64.b64encode(b).decode())
        | st.text(alphabet="0123456789abcdefABCDEFgG=+/ é", max_size=34)
        | st.text(alphabet="0123456789abcdefgé", min_size=32, max_size=32),
        max_size=40,
    ),
    st.integers(0, 5),
)
def test_array_decoder_agrees_with_the_plain_one(values: list[str | None], drop: int) -> None:
    digested, bad = decode_digests(pa.array(values, pa.string()).slice(drop), Kind.MD5)
    values = values[drop:]
    found = dict(zip(digested.items.tolist(), [code.tobytes() for code in digested.codes], strict=True))
    expected = {row: code for row, v in enumerate(values) if v and (code := plain_decode(v, 16)) is not None}
    # base64 that carries bits beyond the digest is not canonical (RFC 4648 section 3.5): refused, where Python forgives
    loose = {
        row for row in expected if len(values[row]) == 24 and values[row] != base64.b64encode(expected[row]).decode()
    }
    assert found == {row: code for row, code in expected.items() if row not in loose}
    assert bad.tolist() == [row for row, value in enumerate(values) if value and row not in found]


def test_missing_hexadecimal_check_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    column = pa.array(["g" * 32])
    assert decode_digests(column, Kind.MD5)[1].tolist() == [0]
    monkeypatch.setattr(digests_module, "_HEX_PAIRS", np.zeros(1 << 16, np.uint16))
    assert decode_digests(column, Kind.MD5)[1].tolist() == []


def test_malformed_cell_is_named_and_hides_no_other(tmp_path: Path) -> None:
    values = [md5_of(0).hex(), "nonsense", None, "", md5_of(4).hex()[:-1], "g" * 32, *["d" * 32] * 4]
    made = planned(laion(tmp_path / "a.parquet", md5=values))
    assert malformed(made) == {1: "md5", 4: "md5", 5: "md5"}
    assert sorted(all_digests(made, Kind.MD5)) == [0, 6, 7, 8, 9]
    assert all_urls(made) == [url_of(row) for row in range(10)]


def test_link_that_is_no_utf8_is_malformed(tmp_path: Path) -> None:
    links = pa.array([b"https://a.example/", b"\xff\xfe", *[b"https://b.example/"] * 8], pa.binary())
    made = planned(laion(tmp_path / "a.parquet", URL=links))
    assert malformed(made) == {1: "url"}
    assert all_urls(made)[:3] == ["https://a.example/", None, "https://b.example/"]


def test_footer_with_wrong_row_count_fails_the_shard(tmp_path: Path) -> None:
    made = planned(laion(tmp_path / "a.parquet"))
    more = msgspec.structs.replace(made.shards[2], rows=3)
    with pytest.raises(SourceError, match="row group 2: 2 rows could be read of 3"):
        read_links(made, more, [Kind.MD5], with_urls=False)


def test_file_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    path = laion(tmp_path / "a.parquet")
    made = planned(path)
    laion(path, rows=11)
    with pytest.raises(SourceError, match="changed since the scan was planned"):
        read_links(made, made.shards[0], [Kind.MD5], with_urls=False)


def test_plan_survives_json_and_its_fingerprint_knows_content(tmp_path: Path) -> None:
    made = planned(laion(tmp_path / "a.parquet"))
    again = msgspec.json.decode(msgspec.json.encode(made), type=Plan)
    assert again == made
    assert again.fingerprint() == made.fingerprint()
    assert planned(laion(tmp_path / "b.parquet")).fingerprint() == made.fingerprint()
    assert planned(laion(tmp_path / "b.parquet", rows=9)).fingerprint() != made.fingerprint()


# --- text


def text_table(path: Path, data: bytes) -> Path:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def rows_of(form: str, values: list[str]) -> bytes:
    if form == "jsonl":
        return b"".join(json.dumps({"url": v, "md5": md5_of(r).hex()}).encode() + b"\n" for r, v in enumerate(values))
    held = io.StringIO(newline="")
    writer = csv.writer(held, delimiter="\t" if form == "tsv" else ",")
    writer.writerow(["url", "md5"])
    writer.writerows((value, md5_of(row).hex()) for row, value in enumerate(values))
    return held.getvalue().encode()


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "byte order mark"])
def test_text_table_gives_every_row_once(tmp_path: Path, form: str, packed: str, mark: bytes) -> None:
    path = text_table(tmp_path / f"t.{form}{packed}", mark + rows_of(form, [url_of(row) for row in range(10)]))
    made = planned(path, shard_rows_max=4)
    assert (made.format.value, made.rows, [s.rows for s in made.shards]) == (form, 10, [4, 4, 2])
    assert all_urls(made) == [url_of(row) for row in range(10)]
    assert all_digests(made, Kind.MD5) == {row: md5_of(row) for row in range(10)}
    assert [d.url for d in row_details(made, made.shards[1], [3, 0])] == [url_of(7), url_of(4)]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1))
def test_any_text_comes_back_as_written(tmp_path: Path, form: str, values: list[str]) -> None:
    made = planned(text_table(tmp_path / f"t.{form}", rows_of(form, values)), shard_rows_max=2)
    assert all_urls(made) == values
    assert malformed(made) == {}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text('",\n\rab"', max_size=60), st.integers(1, 4), st.sampled_from(["csv", "tsv", "jsonl"]))
def test_shards_cut_anywhere_read_as_the_whole_table(tmp_path: Path, body: str, step: int, form: str) -> None:
    path = text_table(tmp_path / f"t.{form}", b"url,md5\n" + body.encode() + b"\nend,\n")
    options = {"columns": {"url": "url"} if form == "csv" else {}, "row_bytes_max": 12, "header": form == "csv"}
    if form != "csv":
        options |= {"columns": {"url": "0"}} if form == "tsv" else {}
    try:
        whole = planned(path, **options)
    except SourceError:
        assert form == "jsonl"
        return
    cut = planned(path, shard_rows_max=step, **options)
    assert cut.rows == whole.rows
    assert all_urls(cut) == all_urls(whole)
    assert malformed(cut) == malformed(whole)


BAD_ROWS = {
    "too few fields": b"a",
    "too many fields": b"a,b,c",
    "no UTF-8": b"\xff,b",
    "a NUL": b"a\0,b",
    "a carriage return inside": b"a\rb,c",
    "over-long": b"a" * 2000 + b",b",
    "over-long by far": b"a" * 3_000_000 + b",b",
    "over-long field": b'"' + b"a" * 2000 + b'",b',
}


@pytest.mark.parametrize("bad", BAD_ROWS.values(), ids=BAD_ROWS.keys())
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_bad_row_is_one_malformed_row_and_shifts_none(tmp_path: Path, bad: bytes, end: bytes) -> None:
    rows = [b"https://a.example/,", bad, b"https://b.example/,"]
    made = planned(text_table(tmp_path / "t.csv", b"url,md5" + end + end.join(rows) + end), row_bytes_max=1000)
    assert all_urls(made) == ["https://a.example/", None, "https://b.example/"]
    assert malformed(made) == {1: "row"}


@pytest.mark.parametrize(("size_bytes", "expected"), [(100, {}), (101, {0: "row"})])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_row_of_just_the_limit_is_read(tmp_path: Path, size_bytes: int, expected: dict[int, str], form: str) -> None:
    row = b'{"url":"' + b"a" * (size_bytes - 10) + b'"}' if form == "jsonl" else b"a" * (size_bytes - 1) + b","
    head = b"url,md5\n" if form == "csv" else b'{"url":"a"}\n'
    made = planned(text_table(tmp_path / f"t.{form}", head + row + b"\r\n"), row_bytes_max=100)
    assert {row - (form == "jsonl"): field for row, field in malformed(made).items()} == expected


def test_quote_that_never_closes_swallows_no_other_row(tmp_path: Path) -> None:
    rows = [url_of(row).encode() + b"," for row in range(50)]
    rows[7] = b'"https://open.example/,'
    made = planned(text_table(tmp_path / "t.csv", b"url,md5\n" + b"\n".join(rows) + b"\n"), shard_rows_max=5)
    assert made.rows == 50
    assert all_urls(made) == [None if row == 7 else url_of(row) for row in range(50)]
    assert malformed(made) == {7: "row"}


def test_quoted_line_ends_are_part_of_their_row(tmp_path: Path) -> None:
    data = b'url,text\n"https://a.example/\r\nx","a ""quoted""\nword"\nb"c,d\n'
    made = planned(text_table(tmp_path / "t.csv", data))
    assert all_urls(made) == ["https://a.example/\r\nx", 'b"c']


def test_table_without_header_is_mapped_by_position(tmp_path: Path) -> None:
    path = text_table(tmp_path / "t.csv", b"x,https://a.example/\ny,https://b.example/\n")
    made = planned(path, header=False, columns={"url": "1"})
    assert all_urls(made) == ["https://a.example/", "https://b.example/"]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"url,md5\n", b"\xff\xfe,a\n1,2\n", b"a,b\n1,2\n"])
def test_text_table_without_rows_or_meaning_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SourceError, match=r"t\.csv"):
        planned(text_table(tmp_path / "t.csv", data))


JSON_FIELDS = {
    "link is a number": (b'{"url": 5}', {0: "url"}),
    "link is a list": (b'{"url": ["https://a.example/"]}', {0: "url"}),
    "link is null": (b'{"url": null}', {}),
    "digest is a number": (b'{"md5": 5}', {0: "md5"}),
    "row is a list": (b"[1]", {0: "row"}),
    "row is a word": (b'"a"', {0: "row"}),
    "nested 100,000 deep": (b'{"url": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", {0: "row"}),
    "key is a number": (b'{"url": "https://a.example/", "hash": -9223372036854775808}', {}),
    "key is spelt otherwise": (b'{"URL": "https://a.example/"}', {}),
}


@pytest.mark.parametrize(("line", "expected"), JSON_FIELDS.values(), ids=JSON_FIELDS.keys())
def test_json_row_of_another_shape_is_named(tmp_path: Path, line: bytes, expected: dict[int, str]) -> None:
    made = planned(text_table(tmp_path / "t.jsonl", line + b'\n{"url": "https://b.example/", "md5": null}\n'))
    assert malformed(made) == expected
    assert all_urls(made)[1] == "https://b.example/"


def test_json_conformance_suite_as_rows(tmp_path: Path, vectors: Path) -> None:
    """Objects that a parser must accept are rows, what it must refuse is malformed, and the last row is always
    there.
    """
    last = b'{"url": "https://last.example/"}\n'
    for path in sorted((vectors / "json-testsuite" / "test_parsing").glob("[yn]_*.json")):
        data = path.read_bytes()
        if b"\n" in data.strip(b"\n") or not data.strip(b"\r\n"):
            continue  # more lines than one, or none, are other rows
        made = planned(text_table(tmp_path / "t.jsonl", last + data.strip(b"\n") + b"\n" + last))
        is_row = path.name.startswith("y_") and data.lstrip().startswith(b"{")
        assert malformed(made) == ({} if is_row else {1: "row"}), path.name
        assert all_urls(made) == ["https://last.example/", None, "https://last.example/"], path.name


def test_gzip_bomb_table_is_refused(tmp_path: Path) -> None:
    path = text_table(tmp_path / "t.csv.gz", b"url,md5\n" + (b"a" * 998 + b",\n") * 40_000)
    with pytest.raises(SourceError, match="unpacks to more than is allowed"):
        planned(path)
    assert planned(path, unpack_ratio_max=2000).rows == 40_000


@pytest.mark.parametrize(("limit", "is_taken"), [(1000, True), (999, False)])
def test_table_that_unpacks_to_just_the_limit_is_read(tmp_path: Path, limit: int, is_taken: bool) -> None:
    path = text_table(tmp_path / "t.csv.gz", b"url,md5\n" + b"a" * 990 + b",\n")
    if is_taken:
        assert planned(path, unpacked_bytes_max=limit).rows == 1
        return
    with pytest.raises(SourceError, match="unpacks to more than is allowed"):
        planned(path, unpacked_bytes_max=limit)


def test_truncated_gzip_table_is_refused(tmp_path: Path) -> None:
    path = text_table(tmp_path / "t.csv.gz", rows_of("csv", [url_of(row) for row in range(1000)]))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SourceError, match=r"t\.csv\.gz cannot be read: EOFError"):
        planned(path)


@pytest.mark.parametrize(
    ("field", "value"), [("shard_rows_max", 0), ("columns", {"nope": "x"}), ("unpack_ratio_max", -1)]
)
def test_option_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SourceOptions(**{field: value})


@pytest.mark.parametrize(
    "source", ["nowhere.csv", "gopher://a/b", "zip://x.csv::http://a/b.zip", "memory://x", "*.nope"]
)
def test_what_is_no_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError):
        plan(source, SourceOptions())


def test_columns_are_all_that_the_map_names() -> None:
    assert ColumnMap(md5="a", sha256="b").digest_columns() == {Kind.MD5: "a", Kind.SHA256: "b"}


def test_a_row_group_cut_into_many_shards_is_decoded_once(tmp_path: Path) -> None:
    urls = [f"http://example.com/{n}" for n in range(1000)]
    pq.write_table(pa.table({"URL": urls, "md5": [f"{n:032x}" for n in range(1000)]}), tmp_path / "a.parquet")
    planned = plan(str(tmp_path / "a.parquet"), SourceOptions(shard_rows_max=70))
    parquet._group.cache_clear()
    batches = [read_links(planned, shard, [Kind.MD5], with_urls=True) for shard in planned.shards]
    assert [url for batch in batches for url in batch.url.to_pylist()] == urls
    assert [code.tobytes().hex() for batch in batches for code in batch.digests[Kind.MD5].codes] == [
        f"{n:032x}" for n in range(1000)
    ]
    assert parquet._group.cache_info().misses == 1
