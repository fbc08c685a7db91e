"""How far the codes of fast decoding lie from those of full-resolution decoding: on procedural scenes and on photographs out of Debian's packages.

Drift is the number of bits, of 256, in which the two codes of one JPEG file differ. Where pdqhash can be installed, full resolution is checked
against it as well. The photographs stay in ``bench/work``; where the packages cannot be had, the table says so and holds the scenes alone.
"""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from custodes.decoder.hashing import examine_content
from custodes.decoding import DecodePolicy, ImageLimits
from custodes.model import Reason

__all__ = ["Drift", "bench_drift", "drift_of", "jpeg", "scene", "summary"]

QUALITY_MIN: Final = 50  # of PDQ: codes below it say little, and lists leave them out
BITS_MAX: Final = 8  # what the tests allow
QUALITIES: Final = (50, 60, 75, 80, 85, 90, 95)
SYNTHETIC: Final = (
    ("640x480", ((640, 480),), 90),
    ("1024x768", ((1024, 768),), 90),
    ("1920x1080", ((1920, 1080),), 60),
    ("4000x3000", ((4000, 3000),), 20),
    (
        "odd sizes",
        ((257, 391), (300, 200), (511, 700), (1023, 577), (1366, 768), (720, 1279), (1999, 1333), (2047, 2049)),
        80,
    ),
)
PAGES: Final = 200
WIDTHS: Final = (640, 1024, 1920, 4000)
PACKAGES: Final = {
    "lomiri-wallpapers-16.04": "Bridge Dragonfly Picture Wine aitzgorri free friends greentock life picos seeding sunset",
    "lomiri-wallpapers-20.04": "Kleiber",
    "mate-backgrounds": "nature",
    "plasma-workspace-wallpapers": "BytheWater ColdRipple ColorfulCups DarkestHour EveningGlow FallenLeaf Grey Kite OneStandsOut Path "
    "summer",
}
"""Debian packages, and how the names of photographs among their files, or of their folders, begin. The others are drawings."""


# -- scenes


def scene(number: int, size: tuple[int, int]) -> Image.Image:
    """A picture of nothing: clouds, leaves, a page of letters, or letters over leaves, with the noise of a camera."""
    random = np.random.default_rng(number)
    image = (_clouds, _leaves, _page, _mixture)[number % 4](random, size)
    noise = random.normal(0, random.uniform(0.3, 4), (size[1], size[0], 1)).astype(np.float32)
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def _clouds(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Noise of falling amplitude at rising frequency, as photographs have it."""
    total = np.zeros((size[1], size[0], 3), np.float32)
    for octave in range(1, 8):
        grid = random.integers(0, 256, (3 * 2 ** (octave - 1) + 2, 4 * 2 ** (octave - 1) + 2, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC), np.float32) / 2**octave
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def _leaves(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Discs that hide one another, few large and many small: edges at every scale."""
    image = _clouds(random, size)
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(100, 1500))):
        x, y = random.integers(0, size[0]), random.integers(0, size[1])
        r = 3 + size[0] / 10 * random.random() ** 4
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_colour(random, 0, 256))
    return image


def _page(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Lines of letters on paper: the hardest content, because nothing but edges is there."""
    image = Image.new("RGB", size, _colour(random, 200, 256))
    draw = ImageDraw.Draw(image)
    height = int(random.integers(10, 28) * max(1, min(size) / 900))
    font = ImageFont.load_default(height)
    for y in range(height, size[1] - height, int(height * 1.35)):
        letters = random.choice(
            list("abcdefghijklmnopqrstuvwxyz      ,."), int(size[0] / height * random.uniform(0, 2))
        )
        draw.text((height, y), "".join(letters), font=font, fill=_colour(random, 0, 90))
    return image


def _mixture(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    image = _leaves(random, size)
    part = (size[0] // 2, size[1] // 2)
    at = (int(random.integers(0, size[0] - part[0])), int(random.integers(0, size[1] - part[1])))
    image.paste(_page(random, part), at)
    return image


def _colour(random: np.random.Generator, low: int, high: int) -> tuple[int, ...]:
    return tuple(int(value) for value in random.integers(low, high, 3))


def jpeg(image: Image.Image, number: int) -> bytes:
    """A JPEG file at one of ``QUALITIES``; a fifth are progressive, a seventh 4:4:4, the others 4:2:0."""
    out = BytesIO()
    how = {"quality": QUALITIES[number // 4 % len(QUALITIES)], "progressive": number % 5 == 4}
    image.save(out, "JPEG", subsampling=0 if number % 7 == 3 else 2, **how)
    return out.getvalue()


# -- drift


@dataclass(frozen=True)
class Drift:
    """One file: where it is counted, the PDQ quality at full resolution, bits between fast and full, and between full and pdqhash if that ran."""

    group: str
    quality: int
    bits: int
    peer_bits: int | None = None


def drift_of(data: bytes, group: str = "") -> Drift:
    """Both decodings of one JPEG file, compared."""
    exact, fast = (examine_content(data, ImageLimits(), policy) for policy in (DecodePolicy.EXACT, DecodePolicy.FAST))
    assert exact.reason is fast.reason is Reason.FULL, group
    full = exact.pdq[0]
    return Drift(group, full.quality, _apart(full.code, fast.pdq[0].code), _peer_bits(data, full.code))


def _apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_count()


def _peer_bits(data: bytes, code: bytes) -> int | None:
    peer = _peer()
    if peer is None:
        return None
    bits, _ = peer(np.asarray(Image.open(BytesIO(data)).convert("RGB")))
    return _apart(code, np.packbits(bits).tobytes())


@functools.cache
def _peer() -> Callable[[Any], Any] | None:
    """pdqhash's function, if it is there."""
    try:
        return importlib.import_module("pdqhash").compute  # type: ignore[no-any-return]
    except ImportError:
        return None


def summary(bits: Iterable[int]) -> tuple[float, int, int]:
    """Mean, 99th percentile and maximum."""
    values = np.fromiter(bits, int)
    return float(values.mean()), int(np.percentile(values, 99, method="higher")), int(values.max())


# -- the benchmark


def bench_drift(*, quick: bool) -> Any:
    """The table of drift by set and size class. ``quick`` takes one file in eleven."""
    from tables import WORK, Bench

    peer = _install_peer(WORK / "pdqhash")
    photos, lack = _photos(WORK / "wallpapers")
    jobs = [functools.partial(_of_scene, *job) for job in _scene_jobs()]
    jobs += [functools.partial(_of_photo, *job) for job in _photo_jobs(photos)]
    with ProcessPoolExecutor(3, initializer=sys.path.append, initargs=(str(WORK / "pdqhash"),)) as pool:
        found = [drift for drift in pool.map(_run, jobs[:: 11 if quick else 1], chunksize=2) if drift]
    bench = Bench("drift", "Drift of fast decoding from full resolution")
    bench.heads = ["", "files", "mean", "p99", "max", "with quality under 50", "their mean", "their max"]
    bench.rows = _rows(found)
    bench.notes = _notes(len(photos), lack, peer=peer)
    bench.ratios = _sentences(found, peer=peer)
    bench.runs = {"files": [vars(drift) for drift in found]}
    return bench


def _run(job: Callable[[], Drift | None]) -> Drift | None:
    return job()


def _scene_jobs() -> list[tuple[int, str, tuple[int, int]]]:
    plan = [(name, sizes[n % len(sizes)]) for name, sizes, count in SYNTHETIC for n in range(count)]
    scenes = [(number, f"scenes, {name}", size) for number, (name, size) in enumerate(plan)]
    return scenes + [(10_002 + 4 * n, "pages of letters alone, 1024x768", (1024, 768)) for n in range(PAGES)]


def _of_scene(number: int, group: str, size: tuple[int, int]) -> Drift:
    return drift_of(jpeg(scene(number, size), number), group)


def _photo_jobs(photos: list[Path]) -> list[tuple[int, Path, int]]:
    every = [(path, width) for path in photos for width in (0, *WIDTHS)]
    return [(at + at // 5, path, width) for at, (path, width) in enumerate(every)]


def _of_photo(number: int, path: Path, width: int) -> Drift | None:
    """The file as it came (width 0), or made smaller and encoded anew; None where it is smaller than that or no JPEG."""
    data = path.read_bytes()
    with Image.open(path) as image:
        if width == 0:
            return drift_of(data, "photographs, as they came") if image.format == "JPEG" else None
        if image.width < width:
            return None
        height = round(image.height * width / image.width)
        made = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    return drift_of(jpeg(made, number), f"photographs, {width} wide")


def _rows(found: list[Drift]) -> list[list[str]]:
    groups: dict[str, list[Drift]] = {"scenes, all": [], "photographs, all": []}
    for drift in found:
        groups.setdefault(drift.group, []).append(drift)
        if drift.group.startswith(("scenes", "photographs")):
            groups[drift.group.partition(",")[0] + ", all"].append(drift)
    names = sorted(groups, key=lambda name: (not name.startswith("scenes"), not name.startswith("photographs")))
    return [_row(name, groups[name]) for name in names if groups[name]]


def _row(name: str, drifts: list[Drift]) -> list[str]:
    good = [drift.bits for drift in drifts if drift.quality >= QUALITY_MIN]
    poor = [drift.bits for drift in drifts if drift.quality < QUALITY_MIN]
    return [name, str(len(good)), *_shown(good), str(len(poor)), *_shown(poor)[::2]]


def _shown(bits: list[int]) -> list[str]:
    if not bits:
        return ["-"] * 3
    mean, p99, most = summary(bits)
    return [f"{mean:.2f}", str(p99), str(most)]


def _notes(photos: int, lack: str, *, peer: bool) -> list[str]:
    return [
        "Bits of 256 between the codes of `fast` and `exact` of the same JPEG file. The first columns hold the files whose PDQ quality is at least 50.",
        "Scenes: clouds, discs, pages of letters and mixtures of them, a quarter each; JPEG qualities 50 to 95, a fifth progressive, mostly 4:2:0.",
        f"Photographs: {photos} from Debian's {', '.join(PACKAGES)}, as they came and made smaller{lack}.",
        f"pdqhash {'was compared with `exact` on every file' if peer else 'could not be installed, so `exact` was not compared with it'}.",
    ]


def _sentences(found: list[Drift], *, peer: bool) -> list[str]:
    good = [drift.bits for drift in found if drift.quality >= QUALITY_MIN and not drift.group.startswith("pages")]
    mean, p99, most = summary(good)
    pages = [drift.bits for drift in found if drift.group.startswith("pages")]
    beyond = sum(bits > BITS_MAX for bits in pages)
    said = [
        f"The {len(good)} scenes and photographs of quality 50 or more: mean {mean:.2f}, 99th percentile {p99}, at most {most} bits",
        f"Pages of letters alone are the hardest content: {beyond} of {len(pages)} drift by more than {BITS_MAX} bits",
    ]
    if peer:
        differ = sum(bool(drift.peer_bits) for drift in found)
        said.append(f"`exact` against pdqhash: {differ} of {len(found)} codes differ")
    return said


# -- what others made


def _install_peer(home: Path) -> bool:
    """pdqhash in a folder of its own, so that it decodes with the same Pillow; false where it cannot be had."""
    if not home.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(home), "pdqhash==0.2.8"]
        subprocess.run(pip, check=False)
    sys.path.append(str(home))
    return _peer() is not None


def _photos(home: Path) -> tuple[list[Path], str]:
    """The photographs, and what to say where packages are lacking."""
    home.mkdir(parents=True, exist_ok=True)
    lacking = [name for name in PACKAGES if not (home / name).exists() and not _unpacked(home, name)]
    photos = [path for name, wanted in PACKAGES.items() for path in _chosen(home / name, wanted)]
    return photos, f" (not to be had here: {', '.join(lacking)})" if lacking else ""


def _unpacked(home: Path, name: str) -> bool:
    """A package downloaded and unpacked without being installed; false where there is no apt, no network or no such package."""
    try:
        subprocess.run(["apt-get", "download", name], cwd=home, check=True, capture_output=True)
        archive = next(home.glob(f"{name}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", archive, home / name], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError, StopIteration):
        return False
    return True


def _chosen(folder: Path, beginnings: str) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png") and not path.is_symlink())
    wanted = tuple(beginnings.split())
    parts = [(path, path.relative_to(folder).parts) for path in files if path.stem != "screenshot"]
    return [path for path, names in parts if any(name.startswith(wanted) for name in names)]


if __name__ == "__main__":
    made = bench_drift(quick="--quick" in sys.argv)
    made.name += "-quick" * ("--quick" in sys.argv)
    print(made.save())
