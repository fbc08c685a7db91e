"""Umbrellas, as solids: open and closed, in the hand, on the ground, over a table, on a beach. They play the known material of ``funnel_bench``.

A canopy is made of gores between ribs, its edge drawn in between them, its cloth plain, striped, spotted or clear. Nothing here knows of any model or hash.
"""

from __future__ import annotations

import numpy as np
from render import Faces, Numbers, Random, box, colour, grid, joined, moved, revolved, rotation, straight, tube

__all__ = ["umbrella"]

STEPS = 14  # of a canopy, from its top to its edge
ACROSS = 6  # quads across a gore


def umbrella(random: Random) -> Faces:
    """One umbrella as it stands, hangs or lies; sometimes more of them."""
    ways = (_held, _held, _held, _lying, _lying, _parasol, _parasol, _closed, _several)
    return ways[random.integers(len(ways))](random)


def _held(random: Random) -> Faces:
    """In the air, as a hand would hold it that is not there."""
    lean = rotation(random.uniform(0, 360), random.normal(0, 16))
    return moved(_umbrella(random), (0, 0, 1.15), turn=lean)


def _lying(random: Random) -> Faces:
    """On the ground on the edge of its canopy, to dry."""
    tilt = random.uniform(95, 125)
    faces = moved(_umbrella(random), turn=rotation(random.uniform(0, 360), tilt))
    return moved(faces, (0, 0, -float(faces.points[..., 2].min())))


def _parasol(random: Random) -> Faces:
    """Over a terrace or a beach: wide, on a pole, sometimes with a valance and a table."""
    ribs = int(random.choice([4, 6, 8, 8]))
    cloth = _cloth(random, ribs)
    top = canopy(random, ribs, cloth, high=random.uniform(0.25, 0.45), scallop=random.uniform(0, 0.06))
    parts = [top, tube(straight((0, 0, -1.9), (0, 0, 0.06), 30), random.uniform(0.02, 0.04), _wood(random))]
    if random.random() < 0.5:
        parts.append(_valance(random, ribs, cloth[-1], top))
    if random.random() < 0.4:
        plate = [(0.0, 0.0), (0.45, 0.0), (0.45, 0.03), (0.0, 0.03)]
        parts.append(moved(revolved(plate, colour(random, (0, 0.5), (0.3, 1))), (0, 0, -1.2)))
    if random.random() < 0.6:
        parts.append(moved(box((0.4, 0.4, 0.08), colour(random, (0, 0.2), (0.3, 0.7))), (0, 0, -1.9)))
    lean = rotation(random.uniform(0, 360), random.normal(0, 9))
    return moved(joined(*parts), (0, 0, 1.75), turn=lean)


def _closed(random: Random) -> Faces:
    """Folded, and leaning or lying."""
    ribs, tone, other = 8, colour(random), colour(random)
    folds = 2 * ribs
    turn = np.linspace(0, 2 * np.pi, folds + 1)
    height = np.linspace(0.0, 1.25, 24)
    girth = random.uniform(0.09, 0.16)
    swell = girth * (0.35 + 0.65 * np.sin(np.pi * np.clip(height / 1.25, 0, 1) ** 0.7))
    pleat = 1 + 0.35 * np.where(np.arange(folds + 1) % 2 == 0, 1, -1)
    radius = swell[:, None] * np.where(height[:, None] < 0.95, pleat[None, :], 1)
    twist = turn[None, :] + height[:, None] * random.uniform(0, 1.5)
    points = np.stack(
        [radius * np.cos(twist), radius * np.sin(twist), np.broadcast_to(height[:, None], radius.shape)], 2
    )
    tones = np.where((np.arange(folds) // 2 % 2 == 0)[None, :, None], tone, tone if random.random() < 0.6 else other)
    strap = revolved([(girth * 1.15, 0.5), (girth * 1.15, 0.56)], tone * 0.7, 16)
    parts = [grid(points.astype(np.float32), tones), strap]
    parts.append(tube(straight((0, 0, 1.2), (0, 0, 1.45)), 0.015, (180, 180, 185)))  # the tip
    parts.append(moved(_handle(random, -0.35), (0, 0, 0)))
    faces = moved(joined(*parts), scale=(1, 1, random.choice([1.0, -1.0])))
    faces = moved(faces, turn=rotation(random.uniform(0, 360), random.choice([random.uniform(5, 25), 88])))
    return moved(faces, (0, 0, -float(faces.points[..., 2].min())), scale=1.3)


def _several(random: Random) -> Faces:
    """A few side by side, or hung over a street."""
    count, spread = int(random.integers(2, 5)), random.uniform(1.4, 2.2)
    alike = random.random() < 0.3
    one = _umbrella(random)
    parts = []
    for number in range(count):
        each = one if alike else _umbrella(random)
        place = ((number - (count - 1) / 2) * spread, random.normal(0, 0.6), 1.15 + random.normal(0, 0.25))
        parts.append(moved(each, place, turn=rotation(random.uniform(0, 360), random.normal(0, 12))))
    return moved(joined(*parts), scale=0.8)


def _umbrella(random: Random) -> Faces:
    """Open, its top at the height 0.5 or so, its handle below."""
    ribs = int(random.choice([6, 8, 8, 8, 10, 16]))
    high = random.uniform(0.35, 0.8)
    cloth = _cloth(random, ribs)
    top = canopy(random, ribs, cloth, high=high, scallop=random.uniform(0.02, 0.14))
    steel = np.full(3, random.uniform(60, 210), np.float32)
    parts = [top, _ribs(ribs, high, steel), _handle(random, -1.15, high)]
    parts.append(moved(revolved([(0.025, 0), (0.015, 0.1), (0.0, 0.12)], steel, 8), (0, 0, high - 0.02)))
    return moved(joined(*parts), (0, 0, -high / 2))


def canopy(random: Random, ribs: int, cloth: list[Numbers], *, high: float, scallop: float) -> Faces:
    """Gores between ribs, from the top down to the edge; flat across, drawn in at the edge."""
    share = np.linspace(0, 1, STEPS + 1)
    bow = random.uniform(0.9, 1.45)  # how far over the arc of a rib goes
    out, down = np.sin(share * bow) / np.sin(bow), (np.cos(share * bow) - np.cos(bow)) / (1 - np.cos(bow))
    place = np.arange(ribs * ACROSS + 1)
    turn = 2 * np.pi * place / (ribs * ACROSS)
    between = (place % ACROSS) / ACROSS
    chord = np.cos(np.pi / ribs) / np.cos(np.pi / ribs * (2 * between - 1))
    drawn = 1 - scallop * np.sin(np.pi * between)[None, :] * share[:, None] ** 3
    radius = out[:, None] * chord[None, :] * drawn
    height = high * (down[:, None] + scallop * 0.8 * np.sin(np.pi * between)[None, :] * share[:, None] ** 3)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=2)
    faces = grid(
        points.astype(np.float32), np.stack(cloth), through=random.uniform(0.25, 0.6), shine=random.uniform(0, 0.25)
    )
    seams = 1 - 0.12 * (np.tile((place[:-1] % ACROSS == 0), STEPS))[:, None]
    return Faces(faces.points, (faces.colours * seams).astype(np.float32), faces.manner)


def _cloth(random: Random, ribs: int) -> list[Numbers]:
    """The colours of each ring of quads, from the top to the edge."""
    gore = np.arange(ribs * ACROSS) // ACROSS
    one, other = colour(random, (0.2, 1), (0.15, 1)), colour(random, (0, 1), (0.2, 1))
    if random.random() < 0.25:
        other = np.full(3, 240, np.float32)
    if random.random() < 0.2:
        one = np.full(3, random.uniform(15, 50), np.float32)  # black
    plain = np.broadcast_to(one, (len(gore), 3))
    way = random.choice(["plain", "plain", "turns", "turns", "rainbow", "rings", "trim", "spots", "panel"])
    rings = [plain.astype(np.float32)] * STEPS
    if way == "turns":
        rings = [np.where((gore % 2 == 0)[:, None], one, other).astype(np.float32)] * STEPS
    elif way == "rainbow":
        palette = np.stack([colour(random, (0.6, 1), (0.6, 1)) for _ in range(ribs)])
        rings = [palette[gore].astype(np.float32)] * STEPS
    elif way == "rings":
        wide = int(random.integers(1, 4))
        rings = [
            np.broadcast_to(one if ring // wide % 2 else other, plain.shape).astype(np.float32) for ring in range(STEPS)
        ]
    elif way == "trim":
        rings[-int(random.integers(1, 3)) :] = [np.broadcast_to(other, plain.shape).astype(np.float32)] * 2
        rings = rings[:STEPS]
    elif way == "spots":
        share = random.uniform(0.06, 0.25)
        rings = [
            np.where((random.random(len(gore)) < share)[:, None], other, one).astype(np.float32) for _ in range(STEPS)
        ]
    elif way == "panel":
        rings = [np.where((gore == 0)[:, None], other, one).astype(np.float32)] * STEPS
    return rings


def _ribs(ribs: int, high: float, steel: Numbers) -> Faces:
    """Stretchers, from the runner on the shaft to the middle of each rib."""
    runner = (0.0, 0.0, high * 0.15 - 0.12)
    ends = [(0.55 * np.cos(a), 0.55 * np.sin(a), high * 0.72) for a in 2 * np.pi * np.arange(ribs) / ribs]
    return joined(*(tube(straight(runner, end, 8), 0.009, steel, sides=4) for end in ends))


def _handle(random: Random, low: float, high: float = 0.0) -> Faces:
    """A shaft down to a crook, a knob or a straight grip."""
    steel, grip = np.full(3, random.uniform(60, 210), np.float32), _wood(random)
    shaft = tube(straight((0, 0, low), (0, 0, high), 26), 0.016, steel)
    if random.random() < 0.65:
        turn = np.linspace(0, np.pi * 1.1, 12)
        bend = np.stack([0.13 * (1 - np.cos(turn)), 0 * turn, low - 0.13 * np.sin(turn)], axis=1)
        bend = np.concatenate([[[0, 0, low + 0.18]], bend])
        return joined(shaft, tube(bend, 0.032, grip))
    knob = [(0.03, 0.0), (0.045, 0.04), (0.04, 0.2), (0.03, 0.24)]
    return joined(shaft, moved(revolved(knob, grip, 10), (0, 0, low - 0.1)))


def _valance(random: Random, ribs: int, tones: Numbers, top: Faces) -> Faces:
    """A strip of cloth that hangs from the edge."""
    edge = top.points.reshape(STEPS, ribs * ACROSS, 4, 3)[-1]
    rim = np.concatenate([edge[:, 3], edge[-1:, 2]])
    lower = rim - np.array([0, 0, random.uniform(0.08, 0.16)], np.float32)
    return grid(np.stack([rim, lower]), tones[None], through=0.4)


def _wood(random: Random) -> Numbers:
    return (
        colour(random, (0.2, 0.8), (0.2, 0.7))
        if random.random() < 0.3
        else np.array([120, 80, 45], np.float32) * random.uniform(0.5, 1.5)
    )
