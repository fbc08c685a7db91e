"""Containers of images: every image once, in order, whatever it is called; nothing is extracted."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_making import all_digests, all_images, all_urls, md5_of, picture, planned, tar, url_of, webdataset

from custodes.errors import InternalError, SourceError
from custodes.model import Kind, Reason
from custodes.sources import folder as folder_module
from custodes.sources.base import ROWS_UNKNOWN, Format, ImageItem
from custodes.sources.source import iter_images, read_links, row_details

PICTURES = [picture(row, "JPEG") for row in range(7)]


def test_webdataset_gives_every_image_once(tmp_path: Path) -> None:
    made = planned(tar(tmp_path / "0.tar", webdataset(7)), shard_rows_max=3)
    assert (made.format, made.rows, made.not_items) == (Format.TAR, 7, 14)
    assert [(s.first_row, s.rows) for s in made.shards] == [(0, 3), (3, 3), (6, 1)]
    assert all_images(made) == PICTURES


def test_side_files_give_links_and_digests_of_the_same_rows(tmp_path: Path) -> None:
    made = planned(tar(tmp_path / "0.tar", webdataset(7)), shard_rows_max=3)
    assert all_urls(made) == [url_of(row) for row in range(7)]
    assert all_digests(made, Kind.MD5) == {row: md5_of(row) for row in range(7)}
    (found,) = row_details(made, made.shards[1], [2])
    assert (found.name, found.url, found.key) == ("00005.jpg", url_of(5), "00005")


def test_compressed_tar_tells_its_rows_when_read(tmp_path: Path) -> None:
    made = planned(tar(tmp_path / "0.tar.gz", webdataset(7), packed=True))
    assert (made.rows, made.shards[0].rows) == (ROWS_UNKNOWN, ROWS_UNKNOWN)
    assert all_images(made) == PICTURES
    assert read_links(made, made.shards[0], [Kind.MD5], with_urls=True).rows == 7


def img2dataset(folder: Path, *, with_table: bool = True) -> Path:
    folder.mkdir()
    for number in range(2):
        members = webdataset(7)
        tar(folder / f"{number:05}.tar", [m for m in members if not m[0].endswith(".json")])
        (folder / f"{number:05}_stats.json").write_text("{}")
        table = {
            "url": [url_of(row) for row in range(9)],
            "key": [f"{row:05}" for row in range(9)],
            "status": ["success"] * 7 + ["failed_to_download"] * 2,
            "sha256": [hashlib.sha256(b"%d" % row).hexdigest() for row in range(7)] + [None, None],
        }
        if with_table:
            pq.write_table(pa.table(table), folder / f"{number:05}.parquet")
    return folder


def test_img2dataset_folder_joins_its_tables_by_key(tmp_path: Path) -> None:
    made = planned(img2dataset(tmp_path / "out"))
    assert (made.format, made.rows, len(made.files)) == (Format.IMG2DATASET, 14, 2)
    assert all_images(made) == PICTURES * 2
    assert all_urls(made) == [url_of(row) for row in range(7)] * 2
    assert all_digests(made, Kind.SHA256)[8] == hashlib.sha256(b"1").digest()
    assert planned(tmp_path / "out" / "00000.tar").format is Format.IMG2DATASET


def test_img2dataset_tables_can_be_read_as_links(tmp_path: Path) -> None:
    made = planned(img2dataset(tmp_path / "out") / "*.parquet")
    assert (made.format, made.rows) == (Format.PARQUET_LINKS, 18)
    assert planned(tmp_path / "out", format=Format.PARQUET_LINKS).rows == 18


def test_img2dataset_table_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    folder = img2dataset(tmp_path / "out")
    before = planned(folder).fingerprint()
    assert planned(folder).fingerprint() == before
    table = pq.read_table(folder / "00001.parquet")
    pq.write_table(table.slice(0, 7), folder / "00001.parquet")
    assert planned(folder).fingerprint() != before


def test_img2dataset_shard_without_a_table_has_no_digests(tmp_path: Path) -> None:
    folder = img2dataset(tmp_path / "out")
    (folder / "00001.parquet").unlink()
    made = planned(folder)
    assert (made.format, made.rows) == (Format.IMG2DATASET, 14)
    assert sorted(all_digests(made, Kind.SHA256)) == list(range(7))


def hugging_face(path: Path, values: list[object], column: str = "image") -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array([v if v is None else {"bytes": v, "path": "x.jpg"} for v in values], kind)
    table = pa.table({column: image, "label": [1] * len(values), "url": [url_of(r) for r in range(len(values))]})
    pq.write_table(table, path, row_group_size=4)
    return path


def test_hugging_face_images_are_found_in_any_column(tmp_path: Path) -> None:
    made = planned(hugging_face(tmp_path / "a.parquet", PICTURES, "picture"), shard_rows_max=3)
    assert (made.format, made.columns.image, made.rows) == (Format.PARQUET_IMAGES, "picture", 7)
    assert all_images(made) == PICTURES
    assert all_urls(made) == [url_of(row) for row in range(7)]
    assert row_details(made, made.shards[-1], [0])[0].url == url_of(4)


def test_row_without_image_bytes_is_an_empty_item(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array([{"bytes": None, "path": "elsewhere.jpg"}, None, {"bytes": b"", "path": None}], kind)
    pq.write_table(pa.table({"image": image}), tmp_path / "a.parquet")
    assert all_images(planned(tmp_path / "a.parquet")) == [Reason.EMPTY] * 3


def test_binary_column_of_images_is_found_by_name_or_map(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": PICTURES, "thumb": PICTURES[::-1]}), tmp_path / "a.parquet")
    assert all_images(planned(tmp_path / "a.parquet")) == PICTURES
    mapped = planned(tmp_path / "a.parquet", columns={"image": "thumb"})
    assert all_images(mapped) == PICTURES[::-1]


def test_two_image_columns_are_not_chosen_between(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": PICTURES, "png": PICTURES}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="2 columns with images"):
        planned(tmp_path / "a.parquet")


@pytest.mark.parametrize(("size_bytes", "is_taken"), [(100, True), (101, False)])
@pytest.mark.parametrize("form", ["tar", "tar.gz", "parquet", "folder"])
def test_image_of_just_the_limit_is_taken(tmp_path: Path, size_bytes: int, is_taken: bool, form: str) -> None:
    data = PICTURES[0][:3] + bytes(size_bytes - 3)
    if form == "parquet":
        path = hugging_face(tmp_path / "a.parquet", [data, PICTURES[0][:50]])
    elif form == "folder":
        path = tmp_path / "f"
        path.mkdir()
        (path / "0.jpg").write_bytes(data)
        (path / "1.jpg").write_bytes(PICTURES[0][:50])
    else:
        path = tar(tmp_path / f"0.{form}", [("0.jpg", data), ("1.jpg", PICTURES[0][:50])], packed=form == "tar.gz")
    found = all_images(planned(path, body_bytes_max=100))
    assert found == [data if is_taken else Reason.TOO_LARGE, PICTURES[0][:50]]


def test_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for row, data in enumerate(PICTURES):
        (tmp_path / "f" / f"{row % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "f" / f"{row % 2}" / f"{row}.jpg").write_bytes(data)
    (tmp_path / "f" / "caption.txt").write_text("a caption")
    made = planned(tmp_path / "f", shard_rows_max=5)
    assert (made.format, made.rows, made.not_items, len(made.shards)) == (Format.FOLDER, 7, 1, 2)
    assert all_images(made) == PICTURES[::2] + PICTURES[1::2]
    assert row_details(made, made.shards[1], [1])[0].name == "1/5.jpg"
    assert read_links(made, made.shards[1], [Kind.MD5], with_urls=True).rows == 2


def test_folder_ignores_links_devices_and_fifos(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "0.jpg").write_bytes(PICTURES[0])
    (folder / "link.jpg").symlink_to(tmp_path / "outside" / "0.jpg")
    (folder / "dir").symlink_to(tmp_path / "outside")
    os.mkfifo(folder / "fifo.jpg")
    (folder / "1.jpg").write_bytes(PICTURES[1])
    made = planned(folder)
    assert all_images(made) == [PICTURES[1]]
    assert made.not_items == 3


def test_folder_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(PICTURES[1])
    made = planned(tmp_path)
    (tmp_path / "0.jpg").write_bytes(PICTURES[0])
    with pytest.raises(SourceError, match="changed since the scan was planned"):
        list(iter_images(made, made.shards[0]))


def test_file_that_became_a_link_after_planning_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    for row in range(2):
        (folder / f"{row}.jpg").write_bytes(PICTURES[row])
    (tmp_path / "secret").write_bytes(b"secret")
    made = planned(folder)
    found = iter_images(made, made.shards[0])
    next(found)
    (folder / "1.jpg").unlink()
    (folder / "1.jpg").symlink_to(tmp_path / "secret")
    assert next(found) == ImageItem(1, Reason.READ_ERROR)
    monkeypatch.setattr(folder_module, "_OPEN_FLAGS", os.O_RDONLY)  # planted fault: the same look would see it
    assert list(iter_images(made, made.shards[0]))[1].content.reveal() == b"secret"


def test_odd_file_names_are_data(tmp_path: Path) -> None:
    for name in (b"a\nINFO forged.jpg", b"\xff\xfe.jpg", b"\x1b[31mred.jpg"):
        (tmp_path / os.fsdecode(name)).write_bytes(PICTURES[0])
    made = planned(tmp_path)
    assert made.rows == 3
    assert [found.name for found in row_details(made, made.shards[0], [2])] == ["\\xff\\xfe.jpg"]


MEMBERS = {
    "an image by name": ("0.jpg", b"<html>", True),
    "an image by content": ("0.txt", PICTURES[0], True),
    "no suffix": ("0", b"x", True),
    "an unknown suffix": ("0.xyz", b"x", True),
    "a caption": ("0.txt", b"BMW, a car", False),
    "notes": ("0.json", b"{}", False),
    "a film": ("0.mp4", b"\0\0\0\x18ftypmp42", False),
    "an AVIF called film": ("0.mp4", b"\0\0\0\x18ftypavif", True),
    "a suffix in the folder only": ("a.txt/0", b"x", True),
}


@pytest.mark.parametrize(("name", "data", "is_item"), MEMBERS.values(), ids=MEMBERS.keys())
def test_member_is_an_item_unless_name_and_content_say_no(
    tmp_path: Path, name: str, data: bytes, is_item: bool
) -> None:
    made = planned(tar(tmp_path / "0.tar", [(name, data), ("last.jpg", PICTURES[1])]))
    assert all_images(made) == ([data] if is_item else []) + [PICTURES[1]]
    assert made.not_items == (not is_item)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_of_every_tar_dialect_are_read(tmp_path: Path, form: int) -> None:
    name = "d" * 120 + "/" + "n" * 90 + ".jpg"
    made = planned(tar(tmp_path / "0.tar", [(name, PICTURES[0]), (name, PICTURES[1])], form=form), shard_rows_max=1)
    assert all_images(made) == PICTURES[:2]
    assert row_details(made, made.shards[-1], [made.shards[-1].rows - 1])[0].name == name


def test_odd_members_are_counted_but_no_items(tmp_path: Path) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for kind in (
            tarfile.SYMTYPE,
            tarfile.LNKTYPE,
            tarfile.CHRTYPE,
            tarfile.BLKTYPE,
            tarfile.FIFOTYPE,
            tarfile.DIRTYPE,
        ):
            info = tarfile.TarInfo("0.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("1.jpg")
        info.size = len(PICTURES[0])
        archive.addfile(info, io.BytesIO(PICTURES[0]))
    (tmp_path / "0.tar").write_bytes(held.getvalue())
    made = planned(tmp_path / "0.tar")
    assert (all_images(made), made.not_items) == ([PICTURES[0]], 6)


def block(name: bytes = b"0.jpg", kind: bytes = b"0", size: bytes = b"00000000001\0", fill: bytes = b"") -> bytearray:
    header = bytearray(512)
    header[: len(name)] = name
    header[124:136] = size
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[482 : 482 + len(fill)] = fill
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return header


DATA = b"x" + bytes(511)
END = bytes(1024)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return bytes(block(b"h", kind, b"%011o\0" % len(records)) + records + bytes(-len(records) % 512))


BAD_TARS = {
    "negative size": bytes(block(size=b"\xff" * 12)) + DATA + END,
    "size of 4 EB": bytes(block(size=b"\x80" + bytes(3) + (2**62).to_bytes(8, "big"))) + DATA + END,
    "size no number": bytes(block(size=b"zzzzzzzzzzz\0")) + DATA + END,
    "bad checksum in the middle": bytes(block()) + DATA + bytes(block()).replace(b"0.jpg", b"1.jpg") + DATA + END,
    "no end": bytes(block()) + DATA,
    "data after the end": bytes(block()) + DATA + END + bytes(block()) + DATA + END,
    "extended header alone": bytes(block()) + DATA + pax(b"12 path=abc\n") + END,
    "extended header cut": bytes(block()) + DATA + pax(b"99 path=abc\n") + bytes(block()) + DATA + END,
    "size by extended header no number": pax(b"11 size=-1\n") + bytes(block()) + DATA + END,
    "size by extended header of 20 digits": pax(b"29 size=" + b"9" * 20 + b"\n") + bytes(block()) + DATA + END,
    "global size": pax(b"10 size=1\n", b"g") + bytes(block()) + DATA + END,
    "extended headers without end": pax(b"12 path=abc\n") * 2000 + bytes(block()) + DATA + END,
    "name of 200 kB": pax(b"200012 path=" + b"a" * 199_999 + b"\n") + bytes(block()) + DATA + END,
}


@pytest.mark.parametrize("data", BAD_TARS.values(), ids=BAD_TARS.keys())
def test_archive_that_is_not_well_formed_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(data)
    with pytest.raises(SourceError, match=r"0\.tar"):
        all_images(planned(tmp_path / "0.tar"))


def test_sparse_members_are_items_that_could_not_be_read(tmp_path: Path) -> None:
    old = bytes(block(kind=b"S", fill=b"\1")) + bytes(504) + b"\1" + bytes(7) + bytes(512) + DATA
    new = pax(b"22 GNU.sparse.major=1\n") + bytes(block()) + DATA
    (tmp_path / "0.tar").write_bytes(old + new + bytes(block()) + DATA + END)
    assert all_images(planned(tmp_path / "0.tar")) == [Reason.READ_ERROR, Reason.READ_ERROR, b"x"]


@pytest.mark.parametrize(("members", "is_taken"), [(3, True), (4, False)])
def test_archive_of_just_the_most_members_is_read(tmp_path: Path, members: int, is_taken: bool) -> None:
    path = tar(tmp_path / "0.tar", [(f"{row}.jpg", b"x") for row in range(members)])
    if is_taken:
        assert planned(path, members_max=3).rows == 3
        return
    with pytest.raises(SourceError, match="more than 3 members"):
        planned(path, members_max=3)


@pytest.mark.parametrize(("files", "is_taken"), [(3, True), (4, False)])
def test_folder_of_just_the_most_files_is_read(tmp_path: Path, files: int, is_taken: bool) -> None:
    for row in range(files):
        (tmp_path / f"{row}.jpg").write_bytes(PICTURES[row])
    if is_taken:
        assert planned(tmp_path, members_max=3).rows == 3
        return
    with pytest.raises(SourceError, match="more than 3 files"):
        planned(tmp_path, members_max=3)


@pytest.mark.parametrize(("limit", "is_taken"), [(400, True), (399, False)])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_member_name_of_just_the_limit_is_read(tmp_path: Path, limit: int, is_taken: bool, form: int) -> None:
    # pax holds "400 path=" + name + newline, GNU the name and a NUL
    name = "n" * (390 if form == tarfile.PAX_FORMAT else 399)
    path = tar(tmp_path / "0.tar", [(name, b"x")], form=form)
    if is_taken:
        assert planned(path, name_bytes_max=limit).rows == 1
        return
    with pytest.raises(SourceError, match="name of a member is too long"):
        planned(path, name_bytes_max=limit)


def test_shard_with_other_than_the_planned_images_fails(tmp_path: Path) -> None:
    made = planned(tar(tmp_path / "0.tar", webdataset(7)))
    more = msgspec.structs.replace(made.shards[0], rows=8)
    with pytest.raises(SourceError, match="7 images could be read of 8"):
        list(iter_images(made, more))


def test_source_without_any_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no image"):
        planned(tar(tmp_path / "0.tar", [("a.txt", b"x")]))
    with pytest.raises(SourceError, match="holds no image"):
        all_images(planned(tar(tmp_path / "0.tar.gz", [("a.txt", b"x")], packed=True)))


def test_mixed_folder_is_not_guessed_at(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar", webdataset(2))
    (tmp_path / "a.jpg").write_bytes(PICTURES[0])
    with pytest.raises(SourceError, match="folder and tar side by side"):
        planned(tmp_path)
    assert planned(tmp_path, format=Format.TAR).rows == 2
    assert planned(tmp_path, format=Format.FOLDER).rows == 2  # the archive itself is an item of unknown kind


def test_links_give_no_images(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("url\nhttps://a.example/\n")
    made = planned(tmp_path / "t.csv")
    with pytest.raises(InternalError):
        iter_images(made, made.shards[0])
