"""Makes the files that the tests of sources read: small tables and archives of generated pictures."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from custodes.model import Content, Kind
from custodes.sources.base import Plan, SourceOptions
from custodes.sources.source import iter_images, plan, read_links

EXACT = (Kind.MD5, Kind.SHA1, Kind.SHA256)


def picture(seed: int, form: str = "PNG") -> bytes:
    """A small picture of noise."""
    rng = np.random.default_rng(seed)
    held = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(held, form)
    return held.getvalue()


def url_of(row: int) -> str:
    return f"https://images.example/{row}.jpg"


def md5_of(row: int) -> bytes:
    return hashlib.md5(str(row).encode()).digest()


def laion(path: Path, rows: int = 10, group_rows: int = 4, **columns: object) -> Path:
    """A table of links as LAION publishes them."""
    table = {
        "URL": [url_of(row) for row in range(rows)],
        "TEXT": [f"a caption, {row}" for row in range(rows)],
        "WIDTH": pa.array([640] * rows, pa.int32()),
        "HEIGHT": pa.array([480] * rows, pa.int32()),
        "hash": pa.array([row - 5 for row in range(rows)], pa.int64()),
        "md5": [md5_of(row).hex() for row in range(rows)],
        "punsafe": pa.array([0.1] * rows, pa.float32()),
    } | columns
    pq.write_table(pa.table(table), path, row_group_size=group_rows)
    return path


def tar(path: Path, members: list[tuple[str, bytes]], *, packed: bool = False, form: int = tarfile.PAX_FORMAT) -> Path:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(held.getvalue()) if packed else held.getvalue())
    return path


def webdataset(count: int) -> list[tuple[str, bytes]]:
    """Members as WebDataset orders them: picture, caption, notes."""
    members = []
    for row in range(count):
        notes = {"url": url_of(row), "md5": md5_of(row).hex(), "key": f"{row:05}"}
        members += [
            (f"{row:05}.jpg", picture(row, "JPEG")),
            (f"{row:05}.txt", b"a caption"),
            (f"{row:05}.json", json.dumps(notes).encode()),
        ]
    return members


def all_images(made: Plan) -> list[object]:
    """Bytes or reason of every item, in order."""
    found = []
    for shard in made.shards:
        items = list(iter_images(made, shard))
        assert [item.row for item in items] == list(range(len(items)))
        found += [item.content.reveal() if isinstance(item.content, Content) else item.content for item in items]
    return found


def all_urls(made: Plan) -> list[str | None]:
    urls = []
    for shard in made.shards:
        batch = read_links(made, shard, (), with_urls=True)
        assert batch.rows == shard.rows
        urls += batch.url.to_pylist()
    return urls


def all_digests(made: Plan, kind: Kind) -> dict[int, bytes]:
    """Digests of a kind by row of the whole source."""
    found, first = {}, 0
    for shard in made.shards:
        batch = read_links(made, shard, [kind], with_urls=False)
        if kind in batch.digests:
            pairs = zip(batch.digests[kind].items.tolist(), batch.digests[kind].codes, strict=True)
            found |= {first + row: code.tobytes() for row, code in pairs}
        first += batch.rows
    return found


def malformed(made: Plan) -> dict[int, str]:
    found, first = {}, 0
    for shard in made.shards:
        batch = read_links(made, shard, EXACT, with_urls=True)
        found |= {first + row: field for row, field in batch.malformed.items()}
        first += batch.rows
    return found


def planned(path: object, **options: object) -> Plan:
    return plan(str(path), SourceOptions(**options))
