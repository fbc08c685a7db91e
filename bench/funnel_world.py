"""The world of ``funnel_bench``: rendered photos behind links, of which a third is dead, vectors of all of them, and a list that knows half of the umbrellas.

It is laid out as LAION is: metadata with links and no digest of any image, and beside it vectors in fp16, made while every link still lived. What is an
umbrella is known here and to the scripted authority, and written into no file: names, links and captions say nothing.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scenes import KNOWN, jpeg, recoded
from things import EVERYDAY, LOOKALIKES

from custodes.decoder.hashing import examine_content
from custodes.decoding import DecodePolicy, ImageLimits
from custodes.demo.corpus import Picture
from custodes.demo.server import DemoServer
from custodes.similar.embedders import Embedder, EmbedderOptions, open_embedder

__all__ = ["MODEL", "Gallery", "Photo", "Row", "Sizes", "World", "gallery", "list_of", "serving", "written"]

MODEL = "open-nsfw"
QUALITY_MIN = 50  # of PDQ: lists leave poorer codes out
ALIVE, DEAD = "ok", ("not-found", "gone")  # as the demo's server has them in its links


class Photo(NamedTuple):
    """Something that was photographed once; in the dataset it may stand behind several links."""

    kind: str
    number: int

    @property
    def known_kind(self) -> bool:
        return self.kind == KNOWN


class File(NamedTuple):
    """An image file of a photo: as it was taken, or as another site copied it."""

    photo: Photo
    copy: bool


@dataclass(frozen=True)
class Sizes:
    """How many photos there are of what, and how they stand in the table. Shares are of photos, of any kind alike."""

    side: int
    known: int
    lookalikes: int
    everyday: int
    twice_share: float = 0.2  # behind a second link, byte by byte
    copied_share: float = 0.2  # behind another, smaller and compressed again
    dead_share: float = 1 / 3
    tables: int = 2
    seed: int = 2023

    def photos(self) -> list[Photo]:
        kinds = [
            [KNOWN] * self.known,
            islice(cycle(LOOKALIKES), self.lookalikes),
            islice(cycle(EVERYDAY), self.everyday),
        ]
        numbers: dict[str, int] = {}
        found = []
        for kind in (kind for each in kinds for kind in each):
            numbers[kind] = numbers.get(kind, -1) + 1
            found.append(Photo(kind, self.seed * 100_000 + numbers[kind]))
        return found

    def files(self) -> list[File]:
        """What each row shows, or showed, in the order of the table."""
        random = np.random.default_rng([self.seed, 1])
        found = []
        for photo in self.photos():
            found += [File(photo, copy=False)] * (1 + int(random.random() < self.twice_share))
            found += [File(photo, copy=True)] * int(random.random() < self.copied_share)
        return [found[at] for at in random.permutation(len(found))]

    def listed(self) -> frozenset[Photo]:
        """Half of the umbrellas: those that an authority has seen before."""
        return frozenset(photo for photo in self.photos() if photo.known_kind and photo.number % 2 == 0)


# -- pictures and their vectors


@dataclass(frozen=True, eq=False)
class Gallery:
    """Every file, and its vector."""

    data: Mapping[File, bytes]
    vectors: Mapping[File, np.ndarray]


def gallery(sizes: Sizes, folder: Path, workers: int) -> Gallery:
    """Render and embed, or take what was made before by the same program."""
    files = sorted(set(sizes.files()))
    path = folder / f"gallery-{_program(files, sizes.side)}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(workers) as pool:
            made = list(pool.map(functools.partial(_made, sizes.side), files, chunksize=16))
        ends = np.cumsum([len(data) for data, _ in made])
        blob = np.frombuffer(b"".join(data for data, _ in made), np.uint8)
        aside = path.with_suffix(".aside.npz")
        np.savez(aside, ends=ends, blob=blob, vectors=np.stack([vector for _, vector in made]))
        aside.replace(path)
    with np.load(path) as kept:
        blob, ends, vectors = kept["blob"].tobytes(), kept["ends"].tolist(), kept["vectors"]
    data = [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return Gallery(dict(zip(files, data, strict=True)), dict(zip(files, vectors, strict=True)))


def _program(files: Sequence[File], side: int) -> str:
    """Names what is made: the programs that make it, the model, and what is asked of them."""
    here = Path(__file__).parent
    sources = [here / f"{name}.py" for name in ("render", "umbrellas", "things", "scenes")]
    parts = [*(path.read_bytes() for path in sources), repr((files, side)).encode(), _embedder().sha256.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _made(side: int, file: File) -> tuple[bytes, np.ndarray]:
    data = jpeg(file.photo.kind, file.photo.number, side)
    if file.copy:
        data = recoded(data, file.photo.number)
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    return data, _embedder().embed([pixels])[0].astype("<f2")


@functools.cache
def _embedder() -> Embedder:
    return open_embedder(MODEL, EmbedderOptions(threads=1))


# -- the dataset


class Row(NamedTuple):
    """One row of the table."""

    file: File
    url: str
    dead: bool

    @property
    def photo(self) -> Photo:
        return self.file.photo


@dataclass(frozen=True, eq=False)
class World:
    """The dataset where it lies, and the truth."""

    metadata: Path
    vectors: Path
    rows: tuple[Row, ...]
    listed: frozenset[Photo]

    @property
    def truth(self) -> dict[str, Row]:
        return {row.url: row for row in self.rows}

    @property
    def known(self) -> frozenset[Photo]:
        """All umbrellas."""
        return frozenset(row.photo for row in self.rows if row.photo.known_kind)


def serving(made: Gallery) -> DemoServer:
    """A web server with every file, under a name that says nothing."""
    return DemoServer({_name(data): Picture(_name(data), "image/jpeg", data, 0, 0, 0) for data in made.data.values()})


def written(sizes: Sizes, made: Gallery, base_url: str, home: Path) -> World:
    """The table and the vectors, in LAION's folders."""
    random = np.random.default_rng([sizes.seed, 2])
    rows = []
    for number, file in enumerate(sizes.files()):
        dead = bool(random.random() < sizes.dead_share)
        way = DEAD[number % 2] if dead else ALIVE
        rows.append(Row(file, f"{base_url}{way}/{number}/{_name(made.data[file])}", dead))
    metadata, vectors = home / "metadata", home / "img_emb"
    for folder in (metadata, vectors):
        folder.mkdir(parents=True)
    for number, places in enumerate(np.array_split(np.arange(len(rows)), sizes.tables)):
        part = [rows[place] for place in places]
        pq.write_table(_table(part, int(places[0])), metadata / f"metadata_{number:04}.parquet")
        np.save(vectors / f"img_emb_{number:04}.npy", np.stack([made.vectors[row.file] for row in part]))
    return World(metadata, home, tuple(rows), sizes.listed())


def _table(rows: Sequence[Row], first: int) -> pa.Table:
    captions = [f"picture number {first + place}, large and in colour" for place in range(len(rows))]
    return pa.table({"url": [row.url for row in rows], "caption": captions, "LANGUAGE": ["en"] * len(rows)})


def _name(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16] + ".jpg"


# -- the list


def list_of(listed: frozenset[Photo], made: Gallery, path: Path) -> Path:
    """What the authority knows, as a file to import: MD5 and PDQ of each photo as it was taken."""
    path.write_text("\n".join(["kind,value,id,category", *_entries(sorted(listed), made)]) + "\n")
    return path


def _entries(photos: Sequence[Photo], made: Gallery) -> Iterator[str]:
    for number, photo in enumerate(photos):
        data = made.data[File(photo, copy=False)]
        yield f"md5,{hashlib.md5(data, usedforsecurity=False).hexdigest()},K-{number},csam"
        code = examine_content(data, ImageLimits(), DecodePolicy.EXACT).pdq[0]
        if code.quality >= QUALITY_MIN:
            yield f"pdq,{code.code.hex()},K-{number},csam"
