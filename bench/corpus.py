"""What the benchmarks read: procedural pictures, tables of links, and a table of columns shaped like LAION's.

Everything is seeded and made once into ``bench/work``; nothing shows anything but shapes and noise. The pictures' sizes and the shares of dead
links follow what was published of web-scale lists; the table of links names hosts as addresses in 127.0.0.0/8, which resolve everywhere.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

__all__ = ["PICTURES", "Ways", "column_tables", "exact_list", "link_table", "mixed_list", "pictures"]

PICTURES: Final = 3_000
HOSTS: Final = 4_000
COLUMN_FILES: Final = 4
GROUP_ROWS: Final = 250_000
PLANTED: Final = 1_000

# Shares of rows, in per mille: the mix measured for dead links in LAION-like lists.
MIX: Final = {
    "ok": 702,
    "404": 148,
    "nxdomain": 62,
    "status": 30,
    "refused": 19,
    "connect": 20,
    "read": 15,
    "drip": 4,
}
STATUSES: Final = (403, 410, 429, 500, 503)


@dataclass(frozen=True)
class Ways:
    """Ports of the server: good answers and statuses, nobody, a full backlog, silence, and a drip."""

    web: int = 18080
    refused: int = 18081
    connect: int = 18082
    read: int = 18083
    drip: int = 18084


# -- pictures


def pictures(folder: Path) -> Path:
    """``PICTURES`` JPEG files 600x360 to 1600x1280, about 0.95 megapixels and 86 kB in the mean, a fifth of them progressive."""
    home = folder / "pictures"
    if not (home / f"{PICTURES - 1:05d}.jpg").exists():
        home.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(3) as pool:
            list(pool.map(_picture, [str(home)] * PICTURES, range(PICTURES), chunksize=50))
    return home


def _picture(home: str, number: int) -> None:
    random = np.random.default_rng(number)
    share = random.random()
    size = (int(600 + 1000 * share), int(360 + 920 * share))
    image = _leaves(random, _clouds(random, size))
    noise = random.normal(0, random.uniform(0.5, 4), (size[1], size[0], 1))
    image = Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))
    quality = int(random.choice([75, 80, 85, 90], p=[0.3, 0.3, 0.3, 0.1]))
    image.save(f"{home}/{number:05d}.jpg", quality=quality, progressive=number % 5 == 0, optimize=False)


def _clouds(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Noise of falling amplitude at rising frequency, as photographs have it."""
    total = np.zeros((size[1], size[0], 3), np.float32)
    for octave in range(1, 7):
        grid = random.integers(0, 256, (3 * 2 ** (octave - 1) + 2, 4 * 2 ** (octave - 1) + 2, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC), np.float32) / 2**octave
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def _leaves(random: np.random.Generator, image: Image.Image) -> Image.Image:
    draw = ImageDraw.Draw(image)
    width, height = image.size
    for _ in range(int(random.integers(10, 60))):
        x, y = random.integers(0, width), random.integers(0, height)
        r = 8 + width / 6 * random.random() ** 3
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(c) for c in random.integers(0, 256, 3)))
    return image


# -- links


def link_table(folder: Path, kind: str, rows: int) -> Path:
    """A table of links, ``live`` or ``mix``, with the columns of LAION's."""
    path = folder / f"links-{kind}-{rows}.parquet"
    if path.exists():
        return path
    random = np.random.default_rng(rows)
    names = list(MIX) if kind == "mix" else ["ok"]
    weights = np.array([MIX[name] for name in names]) / sum(MIX[name] for name in names)
    urls = [_url(str(way), random) for way in random.choice(names, rows, p=weights)]
    columns = {
        "URL": urls,
        "TEXT": [f"a picture of shapes, number {row}" for row in range(rows)],
        "WIDTH": random.integers(200, 2000, rows).astype(np.int32),
        "HEIGHT": random.integers(200, 2000, rows).astype(np.int32),
        "similarity": random.random(rows).astype(np.float32),
    }
    pq.write_table(pa.table(columns), path, compression="snappy")
    return path


def _url(way: str, random: np.random.Generator) -> str:
    """A link of one way. Dead hosts are others than living ones, and many, so that giving up on a host gains little."""
    ways, host, number = Ways(), int(random.integers(HOSTS)), int(random.integers(PICTURES))
    block = 16 + list(MIX).index(way) * 16 if way in ("refused", "connect", "read", "drip") else 16
    address = f"127.{block}.{host // 250}.{host % 250 + 1}"
    if way == "nxdomain":
        return f"http://n{random.integers(500)}.invalid/{number:05d}.jpg"
    port = getattr(ways, way, ways.web)
    if way == "404":
        return f"http://{address}:{port}/gone/{number:05d}.jpg"
    if way == "status":
        return f"http://{address}:{port}/status/{random.choice(STATUSES)}/{number:05d}.jpg"
    return f"http://{address}:{port}/{number:05d}.jpg"


def mixed_list(folder: Path, entries: int = 10_000) -> Path:
    """A hash list of random MD5 and PDQ values, half and half, and the MD5 of five pictures."""
    path = folder / f"list-mixed-{entries}.csv"
    random = np.random.default_rng(7)
    known = [hashlib.md5((folder / "pictures" / f"{n:05d}.jpg").read_bytes()).hexdigest() for n in range(5)]
    lines = [f"md5,{value}" for value in known]
    lines += [f"md5,{random.bytes(16).hex()}" for _ in range(entries // 2 - 5)]
    lines += [f"pdq,{random.bytes(32).hex()}" for _ in range(entries // 2)]
    path.write_text("kind,value,id\n" + "".join(f"{line},e{n}\n" for n, line in enumerate(lines)))
    return path


# -- columns


def column_tables(folder: Path, rows: int) -> Path:
    """A folder of ``COLUMN_FILES`` parquet files with ``rows`` rows in all: LAION's columns and an MD5 in hexadecimal, snappy."""
    home = folder / f"columns-{rows}"
    if not (home / "done").exists():
        home.mkdir(parents=True, exist_ok=True)
        for number in range(COLUMN_FILES):
            _column_file(home / f"part-{number:05d}.parquet", rows // COLUMN_FILES, number)
        (home / "done").touch()
    return home


def _column_file(path: Path, rows: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    writer = None
    for first in range(0, rows, GROUP_ROWS):
        group = _group(random, min(GROUP_ROWS, rows - first))
        writer = writer or pq.ParquetWriter(path, group.schema, compression="snappy")
        writer.write_table(group, row_group_size=GROUP_ROWS)
    assert writer is not None
    writer.close()


def _group(random: np.random.Generator, rows: int) -> pa.Table:
    numbers = random.integers(0, 1 << 40, rows)
    return pa.table(
        {
            "URL": [f"https://img{n % 9973}.example.org/a/{n:x}/{n * 31 & 0xFFFFFF:06x}.jpg" for n in numbers.tolist()],
            "TEXT": [f"picture {n:x} of an even grey field with lines" for n in numbers.tolist()],
            "WIDTH": random.integers(100, 3000, rows).astype(np.int32),
            "HEIGHT": random.integers(100, 3000, rows).astype(np.int32),
            "similarity": random.random(rows).astype(np.float32),
            "hash": random.integers(-(1 << 62), 1 << 62, rows),
            "punsafe": random.random(rows).astype(np.float32),
            "pwatermark": random.random(rows).astype(np.float32),
            "md5": hex_column(random.bytes(16 * rows)),
        }
    )


def hex_column(data: bytes) -> pa.Array:
    """MD5 values as 32 hexadecimal characters each, without a Python object for each."""
    rows = len(data) // 16
    text = pa.py_buffer(data.hex().encode())
    offsets = pa.py_buffer(np.arange(rows + 1, dtype=np.int32) * 32)
    return pa.Array.from_buffers(pa.string(), rows, [None, offsets, text])


def exact_list(folder: Path, tables: Path, planted_rows: int, entries: int = 1_000_000) -> Path:
    """A list of MD5 values as CSV, of which ``planted_rows`` are in the tables, evenly: a hit costs custodes a second look at its shard."""
    path = folder / f"list-md5-{planted_rows}-of-{entries}.csv"
    random = np.random.default_rng(99)
    planted: list[str] = []
    for file in sorted(tables.glob("*.parquet")) if planted_rows else []:
        values = pq.read_table(file, columns=["md5"])["md5"]
        planted += values.take(random.choice(len(values), planted_rows // COLUMN_FILES, replace=False)).to_pylist()
    lines = planted + [random.bytes(16).hex() for _ in range(entries - len(planted))]
    random.shuffle(lines)
    path.write_text("kind,value,id\n" + "".join(f"md5,{line},e{n}\n" for n, line in enumerate(lines)))
    return path
