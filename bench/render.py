"""A small renderer of solid things: quads seen by a camera, lit by one lamp, on a ground with its shadow, in front of a sky or a wall.

A thing is ``Faces``: quads in space with a colour each, z up, about one unit in size, standing at the origin. Nearer quads are painted over farther
ones, so things are made of many small quads. Backgrounds are drawn by casting each pixel's ray at the ground and at a wall, so that all of a picture has
one perspective. What things there are is for ``umbrellas`` and ``things``.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

__all__ = [
    "Faces",
    "Numbers",
    "Random",
    "View",
    "backdrop",
    "box",
    "colour",
    "grid",
    "joined",
    "moved",
    "noise",
    "paint",
    "revolved",
    "rotation",
    "tube",
]

Numbers = npt.NDArray[np.float32]
Random = np.random.Generator


@dataclass(frozen=True, eq=False)
class Faces:
    """Quads, their colours (0 to 255), and of each how much light goes through it and how much it shines."""

    points: Numbers  # n, 4, 3
    colours: Numbers  # n, 3
    manner: Numbers  # n, 2


# -- solids


def grid(points: Numbers, colours: Any, through: float = 0.1, shine: float = 0.1) -> Faces:
    """A surface of rows and columns of points; ``colours`` of all quads, or of each row and column of them."""
    quads = np.stack([points[:-1, :-1], points[:-1, 1:], points[1:, 1:], points[1:, :-1]], axis=2)
    rows, columns = quads.shape[:2]
    each = np.broadcast_to(np.asarray(colours, np.float32), (rows, columns, 3)).reshape(-1, 3)
    manner = np.tile(np.array([through, shine], np.float32), (rows * columns, 1))
    return Faces(quads.reshape(-1, 4, 3).astype(np.float32), each.astype(np.float32), manner)


def revolved(profile: Sequence[tuple[float, float]], colours: Any, segments: int = 24, shine: float = 0.1) -> Faces:
    """A profile of (radius, height) turned round the z axis. Colours: one, or of each band of height and segment."""
    turn = np.linspace(0, 2 * np.pi, segments + 1)
    radius, height = np.array(profile, np.float32).T
    points = np.stack(
        [np.outer(radius, np.cos(turn)), np.outer(radius, np.sin(turn)), np.outer(height, np.ones_like(turn))], axis=2
    )
    return grid(points, colours, shine=shine)


def tube(path: Any, radius: float, tone: Any, *, sides: int = 6, shine: float = 0.3) -> Faces:
    """A pipe along a path, in short pieces."""
    line = np.asarray(path, np.float32)
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    other = np.where(np.abs(along[:, 2:]) > 0.9, [[1.0, 0, 0]], [[0, 0, 1.0]])
    side = np.cross(along, other)
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    up = np.cross(along, side)
    turn = np.linspace(0, 2 * np.pi, sides + 1)
    points = line[:, None] + radius * (
        np.cos(turn)[None, :, None] * side[:, None] + np.sin(turn)[None, :, None] * up[:, None]
    )
    return grid(points.astype(np.float32), tone, shine=shine)


def straight(start: Sequence[float], end: Sequence[float], pieces: int = 12) -> Numbers:
    """Points on a line."""
    return np.linspace(start, end, pieces + 1).astype(np.float32)


def box(size: Sequence[float], tone: Any, pieces: int = 6) -> Faces:
    """A box that stands on the ground, its sides in small quads."""
    x, y, z = size[0] / 2, size[1] / 2, size[2]
    corners = [
        ((-x, -y, 0), (2 * x, 0, 0), (0, 0, z)),
        ((-x, y, 0), (2 * x, 0, 0), (0, 0, z)),
        ((-x, -y, 0), (0, 2 * y, 0), (0, 0, z)),
        ((x, -y, 0), (0, 2 * y, 0), (0, 0, z)),
        ((-x, -y, z), (2 * x, 0, 0), (0, 2 * y, 0)),
    ]
    return joined(*(flat(*corner, tone, pieces) for corner in corners))


def flat(corner: Any, across: Any, up: Any, tone: Any, pieces: int = 6) -> Faces:
    """A parallelogram in small quads."""
    steps = np.linspace(0, 1, pieces + 1, dtype=np.float32)
    points = np.asarray(corner) + steps[None, :, None] * np.asarray(across) + steps[:, None, None] * np.asarray(up)
    return grid(points.astype(np.float32), tone)


def joined(*parts: Faces) -> Faces:
    return Faces(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("points", "colours", "manner")))


def moved(faces: Faces, shift: Any = (0, 0, 0), *, turn: Any = None, scale: Any = 1.0) -> Faces:
    """Scaled, then turned, then shifted."""
    points = faces.points * np.asarray(scale, np.float32)
    if turn is not None:
        points = points @ np.asarray(turn, np.float32).T
    return Faces((points + np.asarray(shift, np.float32)).astype(np.float32), faces.colours, faces.manner)


def rotation(azimuth: float = 0.0, tilt: float = 0.0) -> Numbers:
    """A tilt about the x axis, then a turn about the z axis; degrees."""
    a, t = np.radians([azimuth, tilt])
    about_x = [[1, 0, 0], [0, np.cos(t), -np.sin(t)], [0, np.sin(t), np.cos(t)]]
    about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    return (np.array(about_z) @ np.array(about_x)).astype(np.float32)


def colour(
    random: Random, saturation: tuple[float, float] = (0.3, 1.0), value: tuple[float, float] = (0.25, 1.0)
) -> Numbers:
    """Any colour within bounds, 0 to 255."""
    found = colorsys.hsv_to_rgb(random.random(), random.uniform(*saturation), random.uniform(*value))
    return np.array(found, np.float32) * 255


def noise(random: Random, height: int, width: int, knots: int) -> Numbers:
    """A smooth field of mean 0 and deviation about 1, with so many knots on its longer side; knots below the size of the field."""
    down, across = (max(2, round(knots * each / max(height, width))) for each in (height, width))
    field = Image.fromarray(random.standard_normal((down + 1, across + 1)).astype(np.float32))
    return np.asarray(field.resize((width, height), Image.Resampling.BICUBIC), np.float32)


# -- seen


@dataclass(frozen=True, eq=False)
class View:
    """A camera that looks at a point from a direction, and the lamp. Angles in degrees; ``size`` in pixels."""

    size: tuple[int, int]
    azimuth: float
    elevation: float
    distance: float
    target: tuple[float, float, float]
    zoom: float
    lamp: Numbers
    ambient: float
    shift: tuple[float, float] = (0.0, 0.0)  # of the middle, as a share of the picture

    @property
    def axes(self) -> tuple[Numbers, Numbers, Numbers]:
        """To the right, up, and away from the eye."""
        a, e = np.radians([self.azimuth, self.elevation])
        away = -np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        right = np.array([-np.sin(a), np.cos(a), 0.0])
        return right, np.cross(right, away), away

    @property
    def eye(self) -> Numbers:
        return np.asarray(self.target) - self.axes[2] * self.distance

    @property
    def focal(self) -> float:
        return self.zoom * max(self.size)

    @property
    def middle(self) -> tuple[float, float]:
        return (self.size[0] * (0.5 + self.shift[0]), self.size[1] * (0.5 + self.shift[1]))

    def seen(self, points: Numbers) -> tuple[Numbers, Numbers]:
        """Places in the picture, and depths."""
        right, up, away = self.axes
        from_eye = points - self.eye
        depth = np.maximum(from_eye @ away, 0.05)
        x = self.middle[0] + self.focal * (from_eye @ right) / depth
        y = self.middle[1] - self.focal * (from_eye @ up) / depth
        return np.stack([x, y], axis=-1), depth

    def rays(self) -> Numbers:
        """The direction of each pixel, height by width by 3."""
        right, up, away = self.axes
        width, height = self.size
        x = (np.arange(width) - self.middle[0]) / self.focal
        y = (self.middle[1] - np.arange(height)) / self.focal
        return away + x[None, :, None] * right + y[:, None, None] * up


def paint(canvas: Image.Image, faces: Faces, view: View) -> None:
    """Draw quads, the farthest first."""
    places, depths = view.seen(faces.points)
    tones = shaded(faces, view)
    order = np.argsort(-depths.mean(axis=1))
    draw = ImageDraw.Draw(canvas)
    flatly = places.reshape(-1, 8)
    for quad, tone in zip(flatly[order].tolist(), tones[order].tolist(), strict=True):
        draw.polygon(quad, fill=tuple(tone), outline=tuple(tone))


def shaded(faces: Faces, view: View) -> npt.NDArray[np.int64]:
    """The colour in which each quad is seen: lit from its own side, or through it, with a highlight."""
    p = faces.points
    normal = np.cross(p[:, 2] - p[:, 0], p[:, 3] - p[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    to_eye = view.eye - p.mean(axis=1)
    to_eye /= np.linalg.norm(to_eye, axis=1, keepdims=True)
    normal *= np.where((normal * to_eye).sum(axis=1, keepdims=True) < 0, -1, 1)
    lit = normal @ view.lamp
    half = to_eye + view.lamp
    half /= np.linalg.norm(half, axis=1, keepdims=True) + 1e-9
    through, shine = faces.manner.T
    sky = 0.75 + 0.25 * normal[:, 2]  # what faces up has more of the sky's light
    light = view.ambient * sky + (1.05 - view.ambient) * np.where(lit > 0, lit, -lit * through)
    spark = 255 * shine * np.maximum((normal * half).sum(axis=1), 0) ** 24 * (lit > 0)
    return np.clip(faces.colours * light[:, None] + spark[:, None], 0, 255).astype(np.int64)


def shadow(canvas: Image.Image, faces: Faces, view: View, depth: float) -> Image.Image:
    """The canvas, darker where the thing keeps the lamp's light from the ground."""
    along = view.lamp / max(view.lamp[2], 0.25)
    ground = faces.points - faces.points[..., 2:] * along
    places, depths = view.seen(ground.astype(np.float32))
    mask = Image.new("L", canvas.size)
    draw = ImageDraw.Draw(mask)
    for quad in places.reshape(-1, 8)[depths.min(axis=1) > 0.06].tolist():
        draw.polygon(quad, fill=255)
    soft = mask.filter(ImageFilter.GaussianBlur(max(canvas.size) / 90))
    return Image.composite(Image.new("RGB", canvas.size, (12, 12, 20)), canvas, soft.point(lambda v: int(v * depth)))


# -- backgrounds


def backdrop(random: Random, view: View) -> tuple[Image.Image, bool]:
    """What is behind a thing, and whether there is a ground that takes its shadow."""
    ways = (_outdoors, _outdoors, _indoors, _indoors, _studio, _blurred)
    return ways[random.integers(len(ways))](random, view)


def _outdoors(random: Random, view: View) -> tuple[Image.Image, bool]:
    width, height = view.size
    rays = view.rays()
    rise = rays[..., 2] / np.linalg.norm(rays, axis=2)
    zenith, haze = natural(random, "sky"), natural(random, "haze")
    sky = haze + np.clip(rise, 0, 1)[..., None] ** 0.6 * (zenith - haze)
    cover = (
        noise(random, height, width, 5)
        + 0.6 * noise(random, height, width, 11)
        + 0.3 * noise(random, height, width, 27)
    )
    sky += np.clip(cover - random.uniform(-0.5, 2), 0, 1.2)[..., None] * (240 - sky) * 0.7
    if random.random() < 0.6:
        sky = _hills(random, sky, rise)
    return _image(_over_ground(random, view, sky, random.choice(["grass", "sand", "road", "tiles", "planks"]))), True


def _hills(random: Random, sky: Numbers, rise: Numbers) -> Numbers:
    """Ridges, or roofs, on the horizon."""
    width = sky.shape[1]
    town = random.random() < 0.4
    for layer in range(int(random.integers(1, 4))):
        knots = random.uniform(0.01, 0.16, int(random.integers(5, 30)))
        line = np.interp(np.linspace(0, 1, width), np.linspace(0, 1, len(knots)), knots)
        if town:
            line = knots[np.linspace(0, len(knots) - 1e-6, width).astype(int)]
        sky = np.where((rise < line / (layer + 1))[..., None], natural(random, "wall" if town else "grass"), sky)
    return sky


def _indoors(random: Random, view: View) -> tuple[Image.Image, bool]:
    rays = view.rays()
    away = view.axes[2] * np.array([1, 1, 0])
    away /= np.linalg.norm(away) + 1e-9
    far = random.uniform(1.2, 3.5)
    reach = np.maximum((far + (np.asarray(view.target) - view.eye) @ away) / np.maximum(rays @ away, 1e-3), 0)
    hit = view.eye + rays * reach[..., None]
    across = hit @ np.cross(away, [0, 0, 1.0])
    wall = _pattern(
        random,
        np.clip(across, -40, 40),
        np.clip(hit[..., 2], -40, 40),
        random.choice(["wall", "bricks", "planks", "stripes"]),
        reach,
    )
    skirting = (hit[..., 2] < 0.12) & (random.random() < 0.5)
    wall = np.where(skirting[..., None], natural(random, "wall"), wall)
    return _image(
        _over_ground(random, view, wall, random.choice(["tiles", "planks", "planks", "stripes"]), within=reach)
    ), True


def _over_ground(random: Random, view: View, behind: Numbers, kind: str, within: Any = np.inf) -> Numbers:
    """The ground in front of what is behind it."""
    rays = view.rays()
    reach = view.eye[2] / np.maximum(-rays[..., 2], 1e-3)
    hit = view.eye + rays * reach[..., None]
    ground = _pattern(random, np.clip(hit[..., 0], -60, 60), np.clip(hit[..., 1], -60, 60), kind, reach)
    fade = np.exp(-reach / random.uniform(10, 40))[..., None]
    ground = ground * fade + ground.mean(axis=(0, 1)) * (1 - fade)
    return np.where(((rays[..., 2] < 0) & (reach < within))[..., None], ground, behind)


def _pattern(random: Random, u: Numbers, v: Numbers, kind: str, reach: Numbers) -> Numbers:
    """A colour for each place of a plane; what is far away is too fine to be seen."""
    tone = natural(random, kind)
    grain = random.normal(0, 1, (256, 256)).astype(np.float32)
    near = np.exp(-np.abs(reach) / 9)

    def rough(scale: float) -> Numbers:
        found: Numbers = grain[np.floor(u * scale).astype(int) % 256, np.floor(v * scale).astype(int) % 256]
        return found * near

    shade = 1 + random.uniform(0.02, 0.1) * rough(40) + random.uniform(0.02, 0.1) * rough(9)
    if kind in ("tiles", "bricks"):
        brick = kind == "bricks"
        high = random.uniform(0.12, 0.3) if brick else random.uniform(0.3, 0.8)
        wide = high * (2.2 if brick else 1)
        row = np.floor(v / high)
        along = u / wide + (row % 2) * 0.5 * brick
        shade = shade + 0.1 * near * grain[np.floor(along).astype(int) % 256, row.astype(int) % 256]
        seam = ((v / high) % 1 < 0.06) | (along % 1 < 0.06)
        shade = np.where(seam, shade * (1 - (1 - random.choice([0.6, 1.25])) * near), shade)
        if not brick and random.random() < 0.3:
            shade = np.where((row + np.floor(along)) % 2 == 0, shade * (1 - 0.4 * near), shade)
    elif kind == "planks":
        wide = random.uniform(0.1, 0.4)
        shade = shade + 0.12 * near * grain[np.floor(u / wide).astype(int) % 256, 0]
        shade = np.where((u / wide) % 1 < 0.05, shade * (1 - 0.4 * near), shade)
    elif kind == "stripes":
        wide = random.uniform(0.1, 0.5)
        return np.where(((u / wide) % 1 < 0.5)[..., None], tone, natural(random, "wall")) * shade[..., None]
    return tone * shade[..., None]


_NATURAL = {  # hue, saturation, value: from, to
    "sky": ((0.53, 0.64), (0.15, 0.75), (0.5, 0.95)),
    "haze": ((0.05, 0.62), (0.0, 0.25), (0.75, 1.0)),
    "grass": ((0.18, 0.38), (0.2, 0.7), (0.2, 0.65)),
    "sand": ((0.08, 0.14), (0.15, 0.5), (0.6, 0.95)),
    "road": ((0.0, 1.0), (0.0, 0.1), (0.2, 0.6)),
    "tiles": ((0.0, 0.65), (0.0, 0.25), (0.4, 0.95)),
    "bricks": ((0.0, 0.1), (0.1, 0.6), (0.35, 0.9)),
    "planks": ((0.05, 0.12), (0.15, 0.65), (0.25, 0.8)),
    "stripes": ((0.0, 1.0), (0.0, 0.5), (0.4, 1.0)),
    "wall": ((0.0, 1.0), (0.0, 0.3), (0.45, 1.0)),
}


def natural(random: Random, kind: str) -> Numbers:
    """A colour that such a thing may have; now and then any."""
    if random.random() < 0.1:
        return colour(random, (0.1, 0.8), (0.3, 1))
    return np.array(colorsys.hsv_to_rgb(*(random.uniform(*each) for each in _NATURAL[kind])), np.float32) * 255


def _studio(random: Random, view: View) -> tuple[Image.Image, bool]:
    width, height = view.size
    tone = natural(random, "wall")
    if random.random() < 0.35:
        tone = np.full(3, random.uniform(225, 255), np.float32)
    down = np.linspace(1.05, random.uniform(0.6, 1.0), height)[:, None, None]
    return _image(tone * down * (1 + 0.04 * noise(random, height, width, 3)[..., None])), True


def _blurred(random: Random, view: View) -> tuple[Image.Image, bool]:
    """Out of focus: soft discs of light and colour."""
    canvas = Image.fromarray(
        np.full((view.size[1], view.size[0], 3), natural(random, random.choice(list(_NATURAL))), np.uint8)
    )
    draw = ImageDraw.Draw(canvas)
    most = max(view.size)
    kinds = random.choice(list(_NATURAL), 3)
    for _ in range(int(random.integers(15, 80))):
        x, y, r = random.uniform(0, view.size[0]), random.uniform(0, view.size[1]), random.uniform(0.02, 0.16) * most
        draw.ellipse(
            (x - r, y - r, x + r, y + r), fill=tuple(natural(random, random.choice(kinds)).astype(int).tolist())
        )
    return canvas.filter(ImageFilter.GaussianBlur(most * random.uniform(0.008, 0.05))), False


def _image(numbers: Numbers) -> Image.Image:
    return Image.fromarray(np.clip(numbers, 0, 255).astype(np.uint8))
