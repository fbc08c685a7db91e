"""INTERPOL's export: its Baseline flag is the category, videos are passed over, anything else that is odd is refused."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from custodes.errors import ListError
from custodes.lists.formats import ImportOptions, ListFile
from custodes.lists.formats.rows import ICSE_HEADER
from custodes.model import Entry, Kind, Role

MD5 = hashlib.md5(b"entry 1").digest()
SHA1 = hashlib.sha1(b"entry 1").digest()
DNA = hashlib.shake_128(b"entry 1").digest(144)


def line(md5: str = MD5.hex(), number: str = "1", media: str = "Image", baseline: str = "yes") -> str:
    return f"{md5};{SHA1.hex()};{base64.b64encode(DNA).decode()};{number};n;n;n;;1;y;{media};{baseline}\r\n"


def opened(tmp_path: Path, *lines: str, header: str = ICSE_HEADER, name: str = "a.csv") -> ListFile:
    path = tmp_path / name
    path.write_bytes(f"\ufeff{header}\r\n{''.join(lines)}".encode())
    return ListFile(path, ImportOptions(format=None if name == "a.csv" else "icse"))


def entries(number: str, category: str) -> list[Entry]:
    values = [(Kind.MD5, MD5), (Kind.SHA1, SHA1), (Kind.PHOTODNA, DNA)]
    return [Entry(kind, value, number, category) for kind, value in values]


@pytest.mark.parametrize("header", [ICSE_HEADER, ICSE_HEADER.upper()])
def test_rows_become_entries_of_two_categories(tmp_path: Path, header: str) -> None:
    file = opened(tmp_path, line(), line(number="2", baseline="N"), line(media="Video"), header=header)
    assert list(file.entries()) == [*entries("1", "baseline"), *entries("2", "not-baseline")]
    assert (file.records, file.skipped.rows) == (3, [(4, "video")])
    assert (file.provenance.scheme, file.provenance.format) == ("icse", "icse")


@pytest.mark.parametrize("word", ["y", "Yes", "TRUE", "t", "1", " yes "])
def test_every_word_for_yes_is_yes(tmp_path: Path, word: str) -> None:
    assert {entry.category for entry in opened(tmp_path, line(baseline=word)).entries()} == {"baseline"}


@pytest.mark.parametrize("word", ["n", "No", "FALSE", "f", "0", ""])
def test_every_word_for_no_is_no(tmp_path: Path, word: str) -> None:
    assert {entry.category for entry in opened(tmp_path, line(baseline=word)).entries()} == {"not-baseline"}


BAD = {
    "a flag that is neither": (line() + line(baseline="maybe"), ICSE_HEADER, "line 3: Baseline: is neither yes nor no"),
    "a short value": (line(md5=MD5.hex()[:-1]), ICSE_HEADER, "line 2: md5: is not 16 bytes"),
    "a field too few": (line().replace(";y;", ";"), ICSE_HEADER, "line 2: row: has 11 fields"),
    "no flag": (line(), ICSE_HEADER.replace("Baseline", "Other"), "line 1: the columns Media Type and Baseline"),
    "no id": (line(), ICSE_HEADER.replace("Image ID", "Other"), "line 1: the column mapped to id is not there"),
    "commas": (line().replace(";", ","), ICSE_HEADER.replace(";", ","), "line 1: the columns Media Type and Baseline"),
    "nothing": ("", ICSE_HEADER, "holds no entries"),
    "videos only": (line(media="video"), ICSE_HEADER, "holds no entries"),
    "a category of its own": (line(), f"{ICSE_HEADER};category", "stands twice"),
}


@pytest.mark.parametrize(("lines", "header", "reason"), BAD.values(), ids=BAD)
def test_refused_forms_name_line_and_field_and_no_value(tmp_path: Path, lines: str, header: str, reason: str) -> None:
    with pytest.raises(ListError, match=reason) as caught:
        list(opened(tmp_path, lines, header=header, name="a.icse").entries())
    assert MD5.hex()[:10] not in f"{caught.value}{caught.value.hint}"


def test_rows_that_say_no_role_have_the_one_that_is_given(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{ICSE_HEADER}\n{line()}")
    assert {entry.role for entry in ListFile(path, ImportOptions(role=Role.SEED)).entries()} == {Role.SEED}
