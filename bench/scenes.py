"""Pictures of one thing each, as a photographer might take them, by kind and number: rendered, harmless, and the same for the same number.

Backgrounds, light, point of view, clutter and what a camera does are drawn alike for every kind, so that nothing but the thing tells the kind.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter
from render import Faces, Random, View, backdrop, colour, joined, moved, noise, paint, rotation, shadow
from things import EVERYDAY, LOOKALIKES
from umbrellas import umbrella

__all__ = ["KINDS", "KNOWN", "jpeg", "recoded", "scene"]

KNOWN = "umbrella"
KINDS = {KNOWN: umbrella} | LOOKALIKES | EVERYDAY
FINE = 2  # pixels are drawn so many times as fine, and then averaged


def scene(kind: str, number: int, side: int) -> Image.Image:
    """The picture of this number of a kind, its longer side so many pixels."""
    random = np.random.default_rng([71, list(KINDS).index(kind), number])
    shape = ((4, 3), (4, 3), (3, 2), (1, 1), (3, 4))[random.integers(5)]
    size = (side * shape[0] // max(shape), side * shape[1] // max(shape))
    thing = KINDS[kind](random)
    view = _view(random, (size[0] * FINE, size[1] * FINE), thing)
    canvas, grounded = backdrop(random, view)
    things = joined(thing, *_clutter(random, view)) if grounded and random.random() < 0.6 else thing
    if grounded:
        canvas = shadow(canvas, things, view, random.uniform(0.2, 0.6))
    paint(canvas, things, view)
    picture = canvas.resize(size, Image.Resampling.BOX)
    return _camera(random, picture)


def jpeg(kind: str, number: int, side: int) -> bytes:
    """It as a file."""
    quality = int(np.random.default_rng([72, number]).integers(70, 95))
    return _file(scene(kind, number, side), quality)


def recoded(data: bytes, number: int) -> bytes:
    """A copy as it comes from another site: a little smaller, and compressed again."""
    random = np.random.default_rng([73, number])
    picture = Image.open(io.BytesIO(data))
    share = random.uniform(0.6, 0.95)
    smaller = picture.resize((round(picture.width * share), round(picture.height * share)), Image.Resampling.LANCZOS)
    return _file(smaller, int(random.integers(60, 85)))


def _file(picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def _view(random: Random, size: tuple[int, int], thing: Faces) -> View:
    """From where it is seen: mostly from the side, sometimes from above or below; not always whole, not always in the middle."""
    elevation = random.choice(
        [
            random.uniform(-4, 22),
            random.uniform(-4, 22),
            random.uniform(20, 50),
            random.uniform(55, 85),
            random.uniform(-35, -4),
        ]
    )
    low, high = thing.points.reshape(-1, 3).min(axis=0), thing.points.reshape(-1, 3).max(axis=0)
    if high[2] < 0:  # nothing to look at but the background
        low, high = np.array([-1, -1, 0.0]), np.array([1, 1, 1.5])
    target = (low + high) / 2
    reach = float(np.linalg.norm(high - low)) / 2
    zoom = random.uniform(0.9, 2.0)
    fill = random.uniform(0.25, 0.62)  # of the picture, half
    distance = float(np.clip(reach, 0.7, 3.0)) * zoom / fill
    lamp = np.array([random.normal(), random.normal(), random.uniform(0.5, 2.5)])
    return View(
        size=size,
        azimuth=random.uniform(0, 360),
        elevation=float(elevation),
        distance=distance,
        target=tuple(target.tolist()),
        zoom=zoom,
        lamp=(lamp / np.linalg.norm(lamp)).astype(np.float32),
        ambient=random.uniform(0.3, 0.65),
        shift=(random.normal(0, 0.07), random.normal(0, 0.06)),
    )


def _clutter(random: Random, view: View) -> list[Faces]:
    """Things that stand about, smaller and farther away."""
    makers = (
        EVERYDAY["tree"],
        EVERYDAY["blocks"],
        EVERYDAY["ball"],
        EVERYDAY["house"],
        EVERYDAY["cup"],
        EVERYDAY["car"],
    )
    right, _, away = view.axes
    flat_away = away * np.array([1, 1, 0])
    flat_away /= np.linalg.norm(flat_away) + 1e-9
    found = []
    for _ in range(int(random.integers(1, 4))):
        place = right * random.normal(0, 2.2) + flat_away * random.uniform(1.8, 5)
        found.append(
            moved(
                makers[random.integers(len(makers))](random),
                place * np.array([1, 1, 0]),
                turn=rotation(random.uniform(0, 360)),
                scale=random.uniform(0.4, 1.0),
            )
        )
    return found


def _camera(random: Random, picture: Image.Image) -> Image.Image:
    """Uneven light, a cast of colour, contrast, blur, grain; some without colour, some mirrored."""
    if random.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 320 * abs(random.normal(0, 0.7))))
    numbers = np.asarray(picture, np.float32) / 255
    height, width = numbers.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = random.uniform(0.75, 1.15) * (1 - random.uniform(0, 0.35) * (x * x + y * y) / 2)
    light = light * (1 + 0.06 * noise(random, height, width, 3))
    cast = 1 + random.normal(0, 0.06, 3)
    numbers = np.clip(numbers * light[..., None] * cast, 0, 1) ** random.uniform(0.75, 1.3)
    if random.random() < 0.06:
        numbers = np.broadcast_to(numbers.mean(axis=2, keepdims=True), numbers.shape) * (
            colour(random, (0, 0.2), (0.95, 1)) / 255
        )
    numbers = numbers + random.normal(0, random.uniform(0, 0.02), (height, width, 1))
    return Image.fromarray((np.clip(numbers, 0, 1) * 255).astype(np.uint8))
