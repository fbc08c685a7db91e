"""Random small datasets of each format, and what an independent reader sees in them, row by row."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from custodes.cleaning.mask import Leaving
from custodes.sources.base import Plan, SourceOptions
from custodes.sources.source import plan

FORMATS = ("parquet", "parquet images", "csv", "tsv", "jsonl", "csv.gz", "tar", "tar.gz", "img2dataset", "folder")
JPEG = b"\xff\xd8\xff"  # enough for an image by its first bytes; nothing here decodes
CAPTIONS = ("a caption", 'with "quotes", and a comma', "two\nlines", "", "ärger 写真", "tab\there")


def made(folder: Path, form: str, seed: int) -> Plan:
    """A dataset of one to three files, and its plan in shards of at most seven rows."""
    rng = random.Random(f"{form} {seed}")
    folder.mkdir()
    first = 0
    if form == "folder":
        _loose(folder, rng)
        return planned(folder)
    for number in range(rng.randint(1, 3)):
        rows = rng.randint(1, 20)
        _file(folder / f"{number:05}", form, range(first, first + rows), rng)
        first += rows
    return planned(folder)


def planned(folder: Path) -> Plan:
    return plan(str(folder), SourceOptions(shard_rows_max=7))


def _file(path: Path, form: str, rows: range, rng: random.Random) -> None:
    if form == "parquet":
        _parquet(path.with_suffix(".parquet"), rows, rng)
    elif form == "parquet images":
        images = pa.array([{"bytes": JPEG + bytes([row]), "path": f"{row}.jpg"} for row in rows])
        table = pa.table({"image": images, "label": pa.array([row % 3 for row in rows], pa.int8())})
        pq.write_table(table, path.with_suffix(".parquet"), row_group_size=rng.randint(1, 9), compression="zstd")
    elif form in ("csv", "tsv", "csv.gz"):
        _csv(path.with_suffix(f".{form}"), rows, rng)
    elif form == "jsonl":
        lines = [json.dumps({"url": url(row), "caption": rng.choice(CAPTIONS), "hash": row * 7 - 50}) for row in rows]
        path.with_suffix(".jsonl").write_text("\n".join(lines) + rng.choice(["", "\n", "\n\n"]))
    else:
        _tar(path.with_suffix(".tar"), rows, rng, [""] if form == "img2dataset" else ["", "long/" * 60, "写真/"])
        if form == "tar.gz":
            packed = gzip.compress(path.with_suffix(".tar").read_bytes())
            path.with_suffix(".tar").unlink()
            path.with_suffix(".tar.gz").write_bytes(packed)
        if form == "img2dataset":
            keys = [f"{row:05}" for row in rows] + ["failed"]
            table = pa.table({"key": keys, "url": [url(row) for row in rows] + ["http://a.test/gone"]})
            pq.write_table(table, path.with_suffix(".parquet"))


def url(row: int) -> str:
    return f"http://a.test/{row}"


def _parquet(path: Path, rows: range, rng: random.Random) -> None:
    captions = [rng.choice([*CAPTIONS, None]) for _ in rows]
    table = pa.table(
        {
            "URL": [url(row) for row in rows],
            "hash": pa.array([row * 7 - 50 for row in rows], pa.int64()),
            "TEXT": captions,
            "LANGUAGE": pa.array([rng.choice(["en", "de"]) for _ in rows]).dictionary_encode(),
            "tags": [[f"t{row}"] * (row % 3) for row in rows],
            "seen": pa.array([row * 1000 for row in rows], pa.timestamp("ms", tz="UTC")),
            "punsafe": pa.array([rng.random() for _ in rows], pa.float32()),
            "small": pa.array([row % 200 for row in rows], pa.uint8()),
        }
    ).replace_schema_metadata({"huggingface": '{"info": 1}'})
    options: dict[str, Any] = {
        "compression": rng.choice(["snappy", "gzip", "zstd", "none", "lz4", "brotli"]),
        "version": rng.choice(["1.0", "2.4", "2.6"]),
        "store_schema": rng.random() < 0.7,
        "use_dictionary": rng.random() < 0.5,
        "use_deprecated_int96_timestamps": rng.random() < 0.3,
        "use_compliant_nested_type": rng.random() < 0.5,
    }
    pq.write_table(table, path, row_group_size=rng.randint(1, 9), **options)


def _csv(path: Path, rows: range, rng: random.Random) -> None:
    mark = "\t" if path.name.endswith(".tsv") else ","
    end = rng.choice(["\n", "\r\n"])
    lines = ["url" + mark + "caption" + mark + "hash"]
    for row in rows:
        caption = rng.choice(CAPTIONS).replace('"', '""')
        lines.append(f'{url(row)}{mark}"{caption}"{mark}{row * 7 - 50}')
        lines += [""] * (rng.random() < 0.1)
    text = rng.choice(["", "\ufeff"]) + end.join(lines) + rng.choice(["", end])
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _tar(path: Path, rows: range, rng: random.Random, folders: list[str]) -> None:
    form = rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
    folder = "" if form == tarfile.USTAR_FORMAT else rng.choice(folders)
    with tarfile.open(path, "w", format=form) as archive:
        for row in rows:
            parts = [(".jpg", JPEG + rng.randbytes(rng.randint(1, 1200)))]
            parts += [(".txt", b"caption")] * rng.randint(0, 1)
            parts += [(".json", json.dumps({"url": url(row)}).encode())] * rng.randint(0, 1)
            for suffix, data in parts:
                info = tarfile.TarInfo(f"{folder}{row:05}{suffix}")
                info.size, info.mtime = len(data), rng.randint(0, 1 << 30)
                archive.addfile(info, io.BytesIO(data))


def _loose(folder: Path, rng: random.Random) -> None:
    """Images in folders, some with captions; keys with two images; and what is neither."""
    for at in ("", "a", "a/b", "写真", ".hidden"):
        (folder / at).mkdir(exist_ok=True)
        for row in range(rng.randint(0, 6)):
            for suffix in rng.choice([[".jpg"], [".jpg", ".txt"], [".jpg", ".png", ".json"]]):
                image = suffix in (".jpg", ".png")
                data = rng.randbytes(rng.randint(1, 1200))
                (folder / at / f"{row:03}{suffix}").write_bytes(JPEG + data if image else data)
    (folder / "image.jpg").write_bytes(JPEG)
    (folder / "read me.txt").write_text("about the images")
    (folder / "cleaning.json").write_text("the note of an earlier cleaning")
    (folder / "link.jpg").symlink_to("image.jpg")


def seen(folder: Path) -> dict[str, Any]:
    """Each file as an independent reader sees it: what is no row, and its rows."""
    return {
        str(path.relative_to(folder)): _seen(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def _seen(path: Path) -> Any:
    if path.suffix == ".parquet":
        file = pq.ParquetFile(path)
        table = file.read()
        rows = [json.dumps(row, default=repr) for row in table.to_pylist()]
        return {"head": (file.schema_arrow, dict(file.schema_arrow.metadata or {}), _codecs(file)), "rows": rows}
    if path.name.endswith((".tar", ".tar.gz")):
        with tarfile.open(path) as archive:
            return {"members": [(m.name, m.mtime, m.size, archive.extractfile(m).read()) for m in archive]}  # type: ignore[union-attr]
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return {"text": data}


def _codecs(file: pq.ParquetFile) -> set[str]:
    groups = [file.metadata.row_group(group) for group in range(file.metadata.num_row_groups)]
    return {group.column(column).compression for group in groups for column in range(group.num_columns)}


def going(left: Any) -> Leaving:
    """Rows that leave, for nothing but what writes them."""
    return Leaving(left, np.zeros_like(left), left, np.zeros(len(left), np.int64))
