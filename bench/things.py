"""What is not an umbrella, as solids: things that look like one, and everyday things. The same cloths, colours and woods as umbrellas have."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from render import Faces, Random, box, colour, flat, grid, joined, moved, revolved, rotation, straight, tube

__all__ = ["EVERYDAY", "LOOKALIKES"]


def _arc(radius: float, high: float, bow: float = 1.5, steps: int = 14) -> list[tuple[float, float]]:
    share = np.linspace(0, 1, steps + 1) * bow
    down = (np.cos(share) - np.cos(bow)) / (1 - np.cos(bow))
    return list(
        zip((radius * np.sin(share) / np.sin(min(bow, np.pi / 2))).tolist(), (high * down).tolist(), strict=True)
    )


def _gores(random: Random, bands: int, segments: int, width: int) -> np.ndarray:
    """Colours of a surface in alternating sectors."""
    sector = np.arange(segments) // width
    one, other = colour(random), colour(random, (0, 1), (0.3, 1))
    if random.random() < 0.4:
        palette = np.stack([colour(random, (0.5, 1), (0.5, 1)) for _ in range(sector.max() + 1)])
        return np.broadcast_to(palette[sector], (bands, segments, 3))
    return np.broadcast_to(np.where((sector % 2 == 0)[:, None], one, other), (bands, segments, 3))


# -- look-alikes


def mushroom(random: Random) -> Faces:
    """A cap with gills on a thick stem, sometimes spotted; one or a few."""
    parts = []
    for number in range(int(random.choice([1, 1, 2, 3]))):
        cap = (
            colour(random, (0.2, 0.9), (0.35, 0.95))
            if random.random() < 0.3
            else np.array([random.uniform(120, 210), random.uniform(30, 120), 40])
        )
        tones = np.broadcast_to(cap, (14, 40, 3)).copy()
        if random.random() < 0.5:
            tones[random.random((14, 40)) < 0.12] = (240, 235, 220)
        high = random.uniform(0.4, 0.9)
        top = revolved(_arc(1, high), tones, 40, shine=0.25)
        gills = np.where((np.arange(40) % 2 == 0)[None, :, None], (225, 210, 180), (190, 170, 140))
        below = revolved([(0.22, 0.06), (0.98, 0.0)], gills, 40)
        thick = random.uniform(0.16, 0.3)
        stem = revolved([(thick * 1.3, -1.2), (thick, -0.9), (thick, -0.2), (thick * 0.9, 0.05)], (230, 220, 200), 20)
        lean = rotation(random.uniform(0, 360), random.normal(0, 8))
        size = random.uniform(0.5, 1.0) if number else 1.0
        parts.append(
            moved(
                moved(joined(top, below, stem), (0, 0, 1.2), turn=lean),
                (number * 1.3 * (-1) ** number, 0.3 * number, 0),
                scale=size,
            )
        )
    return joined(*parts)


def lampshade(random: Random) -> Faces:
    """Pleated or in sectors, on a foot or on a cord: a parasol's shape and cloth."""
    wide, high = random.uniform(0.7, 1.0), random.uniform(0.35, 0.9)
    tones = (
        _gores(random, 3, 48, int(random.choice([1, 3, 6])))
        if random.random() < 0.5
        else colour(random, (0, 0.6), (0.6, 1))
    )
    shade = revolved(
        [(random.uniform(0.08, 0.5), high), (wide * 0.6, high * 0.6), (wide * 0.9, high * 0.2), (wide, 0)], tones, 48
    )
    glow = Faces(shade.points, shade.colours, shade.manner + np.array([0.6, 0], np.float32))
    metal = colour(random, (0, 0.6), (0.3, 0.9))
    if random.random() < 0.4:
        bulb = revolved([(0, -0.12), (0.12, 0), (0.06, 0.2)], (255, 245, 200), 12)
        return moved(
            joined(glow, bulb, tube(straight((0, 0, high), (0, 0, 2.5), 20), 0.012, (40, 40, 40))), (0, 0, 1.4)
        )
    foot = revolved(
        [(0.4, -1.4), (0.36, -1.34), (0.06, -1.3), (random.uniform(0.04, 0.2), -0.8), (0.04, -0.3), (0.03, 0.4)],
        metal,
        20,
        shine=0.5,
    )
    return moved(joined(glow, foot), (0, 0, 1.4))


def tent(random: Random) -> Faces:
    """A cone, a pyramid or a circus tent, striped or plain, with a door."""
    sides = int(random.choice([4, 6, 8, 16]))
    fine = 48 // sides
    turn = np.linspace(0, 2 * np.pi, 49)
    between = (np.arange(49) % fine) / fine
    chord = np.cos(np.pi / sides) / np.cos(np.pi / sides * (2 * between - 1))
    share = np.linspace(0.02, 1, 13)
    sag = share ** random.uniform(1.0, 1.6)
    high = random.uniform(1.0, 1.9)
    wall = random.uniform(0.3, 0.6) if random.random() < 0.5 else 0.0
    radius, height = sag[:, None] * chord[None], np.broadcast_to((wall + high * (1 - share))[:, None], (13, 49))
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=2)
    tones = _gores(random, 12, 48, fine) if random.random() < 0.6 else np.broadcast_to(colour(random), (12, 48, 3))
    tones = tones.copy()
    tones[5:, : max(2, fine // 2)] = colour(random, (0, 0.3), (0.05, 0.25))  # the door
    parts = [grid(points.astype(np.float32), tones, through=0.3)]
    if wall:
        rim = points[-1]
        parts.append(grid(np.stack([rim, rim * [1, 1, 0]]).astype(np.float32), tones[-1:], through=0.3))
    if random.random() < 0.5:
        for angle in random.uniform(0, 6.3, 4):
            tip = np.array([0.12 * np.cos(angle), 0.12 * np.sin(angle), 0])
            parts.append(
                tube(
                    straight((0, 0, wall + high - 0.1), tip + np.array([0, 0, wall + high + 0.25]), 4),
                    0.015,
                    (110, 80, 50),
                )
            )
    return moved(joined(*parts), turn=rotation(random.uniform(0, 360)))


def fan(random: Random) -> Faces:
    """A folding fan of cloth on sticks, upright or leaning."""
    leaves = int(random.integers(10, 24))
    sweep = np.radians(random.uniform(100, 200))
    turn = np.linspace((np.pi - sweep) / 2, (np.pi + sweep) / 2, 2 * leaves + 1)
    pleat = 0.03 * (np.arange(2 * leaves + 1) % 2)
    share = np.linspace(random.uniform(0.35, 0.5), 1, 8)
    points = np.stack(
        [
            share[:, None] * np.cos(turn),
            np.broadcast_to(pleat, (8, len(turn))) * share[:, None] * 2,
            share[:, None] * np.sin(turn),
        ],
        axis=2,
    )
    tones = _gores(random, 7, 2 * leaves, int(random.choice([1, 2, 4, 100]))).copy()
    if random.random() < 0.5:
        tones[-int(random.integers(1, 3)) :] = colour(random)
    sticks = [
        tube(straight((0, 0.02, 0), (0.98 * np.cos(a), 0.02, 0.98 * np.sin(a)), 12), 0.012, (130, 90, 50), sides=4)
        for a in turn[::2]
    ]
    faces = moved(joined(grid(points.astype(np.float32), tones), *sticks), scale=1.5)
    faces = moved(faces, turn=rotation(random.uniform(0, 360), random.normal(0, 20)))
    return moved(faces, (0, 0, -float(faces.points[..., 2].min())))


def pizza(random: Random) -> Faces:
    """Round, with a crust, cut in slices, with toppings; on a plate or a board."""
    slices = int(random.choice([6, 8, 10]))
    segments = slices * 8
    profile = [(0.01, 0.06), *((r, 0.06) for r in np.linspace(0.1, 0.88, 12)), (0.92, 0.12), (1.0, 0.1), (1.02, 0.0)]
    tones = np.broadcast_to(
        np.array([random.uniform(200, 245), random.uniform(130, 200), 80]), (15, segments, 3)
    ).copy()
    tones[random.random((15, segments)) < 0.2] = (200, 60, 30)
    tones[12:] = np.array([190, 130, 60]) * random.uniform(0.7, 1.2)
    tones[:13, np.arange(segments) % 8 == 0] *= 0.6
    parts = [revolved(profile, tones, segments)]
    topping = colour(random, (0.5, 1), (0.3, 0.9)) if random.random() < 0.5 else np.array([170, 40, 30])
    for _ in range(int(random.integers(5, 25))):
        angle, far = random.uniform(0, 6.3), 0.8 * np.sqrt(random.random())
        disc = revolved([(0.0, 0.04), (0.1, 0.03), (0.11, 0.0)], topping * random.uniform(0.7, 1.2), 10)
        parts.append(moved(disc, (far * np.cos(angle), far * np.sin(angle), 0.06)))
    if random.random() < 0.6:
        parts.append(
            moved(
                revolved([(0.0, 0.0), (1.2, 0.02), (1.3, 0.06)], colour(random, (0, 0.5), (0.4, 1)), 40), (0, 0, -0.03)
            )
        )
    return moved(
        joined(*parts),
        (0, 0, 0.05),
        turn=rotation(random.uniform(0, 360), random.choice([0, 0, random.uniform(20, 80)])),
    )


def dome(random: Random) -> Faces:
    """Of a building: ribbed, on a drum with columns, with a lantern."""
    ribs = int(random.choice([8, 12, 16]))
    one = colour(random, (0, 0.6), (0.4, 1))
    tones = np.where((np.arange(48) % (48 // ribs) == 0)[None, :, None], one * 0.7, one) * np.ones((14, 1, 1))
    high = random.uniform(0.6, 1.1)
    stone = colour(random, (0, 0.3), (0.5, 0.95))
    wall = np.where((np.arange(48) % 4 < 2)[None, :, None], stone, stone * 0.55) * np.ones((3, 1, 1))
    parts = [moved(revolved(_arc(0.95, high), tones, 48, shine=0.3), (0, 0, 0.9))]
    parts.append(revolved([(1.0, 0.9), (1.0, 0.85), (0.95, 0.2), (1.05, 0.0)], wall, 48))
    parts.append(moved(revolved([(0.12, 0), (0.12, 0.2), (0.0, 0.4)], stone, 12), (0, 0, 0.88 + high)))
    if random.random() < 0.5:
        parts.append(moved(box((2.6, 2.2, 0.8), stone), (0, 0, -0.8)))
    return moved(joined(*parts), (0, 0, 0.8))


def balloon(random: Random) -> Faces:
    """A hot-air balloon in sectors of colours, with its basket."""
    profile = [
        (0.02, 1.9),
        *(
            (float(r), float(z))
            for r, z in zip(
                np.sin(np.linspace(0.1, 2.4, 16)), 0.95 + 0.95 * np.cos(np.linspace(0.1, 2.4, 16)), strict=True
            )
        ),
        (0.3, -0.25),
    ]
    faces = revolved(profile, _gores(random, len(profile) - 1, 48, int(random.choice([3, 4, 6]))), 48)
    cords = [
        tube(straight((0.3 * x, 0.3 * y, -0.25), (0.14 * x, 0.14 * y, -0.7), 6), 0.008, (40, 30, 20), sides=4)
        for x in (-1, 1)
        for y in (-1, 1)
    ]
    basket = moved(box((0.3, 0.3, 0.22), (130, 85, 45), 4), (0, 0, -0.9))
    return moved(joined(faces, basket, *cords), (0, 0, random.uniform(1.1, 1.8)), scale=0.85)


def parachute(random: Random) -> Faces:
    """A canopy in sectors with cords to a point below."""
    gores = int(random.choice([8, 12, 16]))
    fine = 48 // gores
    top = revolved(_arc(1, random.uniform(0.5, 0.9)), _gores(random, 14, 48, fine), 48)
    place = np.arange(0, 48, fine) * 2 * np.pi / 48
    knot = (0, 0, -1.3)
    cords = [tube(straight((np.cos(a), np.sin(a), 0), knot, 14), 0.006, (60, 60, 60), sides=3) for a in place]
    load = moved(box((0.25, 0.25, 0.3), colour(random), 3), (0, 0, -1.6))
    lean = rotation(random.uniform(0, 360), random.normal(0, 14))
    return moved(joined(top, load, *cords), (0, 0, 1.7), turn=lean, scale=0.9)


def flower(random: Random) -> Faces:
    """Petals round a disc, on a stem with leaves."""
    petals = int(random.integers(5, 13))
    turn = np.linspace(0, 2 * np.pi, petals * 8 + 1)
    share = np.linspace(0.12, 1, 10)
    edge = 0.55 + 0.45 * np.abs(np.sin(turn * petals / 2)) ** 0.6
    radius = share[:, None] * (1 + (edge - 1)[None] * share[:, None] ** 0.5)
    cup = random.uniform(-0.5, 0.6)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), cup * radius**2], axis=2)
    one = colour(random, (0.3, 1), (0.5, 1))
    tones = one * np.linspace(random.uniform(0.5, 1), 1, 9)[:, None, None] * np.ones((1, petals * 8, 1))
    heart = revolved(_arc(0.22, 0.12), np.array([200, 150, 30]) * random.uniform(0.4, 1.2), 20)
    head = joined(grid(points.astype(np.float32), tones, through=0.4), heart)
    stem = tube(
        np.stack([0.1 * np.sin(np.linspace(0, 2, 20)), np.zeros(20), np.linspace(-1.6, 0, 20)], 1), 0.03, (60, 120, 40)
    )
    return moved(
        joined(moved(head, turn=rotation(random.uniform(0, 360), random.uniform(0, 75))), moved(stem, (-0.09, 0, 0))),
        (0, 0, 1.6),
        scale=0.85,
    )


# -- everyday things


def house(random: Random) -> Faces:
    """Walls, a gable roof, a door, windows, sometimes a chimney."""
    x, y, z, roof = (
        random.uniform(1.2, 2.2),
        random.uniform(1.0, 1.6),
        random.uniform(0.7, 1.4),
        random.uniform(0.3, 0.8),
    )
    wall, tiles, dark = colour(random, (0, 0.5), (0.6, 1)), colour(random, (0.1, 0.8), (0.2, 0.7)), (40, 45, 60)
    parts = [box((x, y, z), wall)]
    for side in (-1, 1):
        parts.append(
            flat(
                (-x / 2 * 1.08, side * y / 2 * 1.1, z - 0.05),
                (x * 1.08, 0, 0),
                (0, -side * y / 2 * 1.1, roof),
                tiles,
                10,
            )
        )
        gable = np.array([[[side * x / 2, -y / 2, z], [side * x / 2, y / 2, z]], [[side * x / 2, 0, z + roof]] * 2])
        parts.append(grid(gable, wall))
        for u in np.linspace(-0.3, 0.3, int(random.integers(2, 4))):
            parts.append(flat((u * x - 0.1, side * (y / 2 + 0.01), z * 0.45), (0.22, 0, 0), (0, 0, z * 0.28), dark, 2))
        parts.append(flat((side * (x / 2 + 0.01), -0.12, z * 0.45), (0, 0.24, 0), (0, 0, z * 0.3), dark, 2))
    parts.append(
        flat((-0.12, y / 2 + 0.015, 0), (0.24, 0, 0), (0, 0, z * 0.42), colour(random, (0.2, 0.9), (0.2, 0.6)), 2)
    )
    if random.random() < 0.6:
        parts.append(moved(box((0.16, 0.16, 0.4), tiles * 0.8), (x * 0.25, 0, z + roof * 0.6)))
    return moved(joined(*parts), turn=rotation(random.uniform(0, 360)))


def ball(random: Random) -> Faces:
    """A ball: plain, in sectors, in patches."""
    turn = np.linspace(0, np.pi, 25)
    profile = list(zip(np.sin(turn).tolist(), np.cos(turn).tolist(), strict=True))
    way = random.integers(3)
    tones = colour(random) if way == 0 else _gores(random, 24, 48, int(random.choice([4, 8])))
    if way == 2:
        tones = np.where(random.random((8, 12, 1)).repeat(3, 0).repeat(4, 1) < 0.3, (30, 30, 30), (240, 240, 240))
    faces = moved(
        revolved(profile, tones, 48, shine=0.5),
        turn=rotation(random.uniform(0, 360), random.uniform(0, 180)),
        scale=0.9,
    )
    return moved(faces, (0, 0, 0.9))


def tree(random: Random) -> Faces:
    """A trunk with a crown of blobs, or a fir."""
    green = colour(random, (0.3, 0.9), (0.25, 0.7)) * (0.5, 1, 0.4) + (20, 25, 0)
    trunk = tube(straight((0, 0, 0), (0, 0, 1.3), 12), random.uniform(0.06, 0.14), (90, 65, 40))
    parts = [trunk]
    if random.random() < 0.4:
        for level in range(5):
            tones = green * random.uniform(0.8, 1.2, (4, 24, 1))
            cone = [
                (r * (0.95 - 0.16 * level), z) for r, z in ((1, 0), (0.7, 0.15), (0.4, 0.35), (0.15, 0.5), (0, 0.6))
            ]
            parts.append(moved(revolved(cone, tones, 24), (0, 0, 0.5 + 0.33 * level)))
        return joined(*parts)
    turn = np.linspace(0, np.pi, 10)
    for _ in range(int(random.integers(6, 14))):
        r = random.uniform(0.3, 0.6)
        sphere = revolved(
            list(zip((r * np.sin(turn)).tolist(), (r * np.cos(turn)).tolist(), strict=True)),
            green * random.uniform(0.6, 1.3, (9, 14, 1)),
            14,
        )
        parts.append(moved(sphere, (random.normal(0, 0.4), random.normal(0, 0.4), random.uniform(1.1, 2.1))))
    return joined(*parts)


def teapot(random: Random) -> Faces:
    """A body with a lid, a spout and a handle."""
    tone, band = colour(random, (0, 0.9), (0.3, 1)), colour(random)
    tones = np.broadcast_to(tone, (12, 30, 3)).copy()
    if random.random() < 0.5:
        tones[int(random.integers(3, 8))] = band
    turn = np.linspace(-1.2, 1.25, 13)
    fat = random.uniform(0.75, 1.05)
    body = revolved(
        list(zip((fat * np.cos(turn)).tolist(), (0.75 + 0.75 * np.sin(turn)).tolist(), strict=True)),
        tones,
        30,
        shine=0.6,
    )
    lid = moved(
        revolved([(0.38, 0), (0.3, 0.1), (0.06, 0.16), (0.08, 0.24), (0, 0.3)], tone, 20, shine=0.6), (0, 0, 1.42)
    )
    bend = np.linspace(0, 1, 14)
    spout = tube(np.stack([0.7 * fat + 0.75 * bend, 0 * bend, 0.55 + 0.75 * bend**1.6], 1), 0.11, tone)
    loop = np.linspace(-1.4, 1.4, 16)
    handle = tube(np.stack([-0.75 * fat - 0.5 * np.cos(loop), 0 * loop, 0.8 + 0.48 * np.sin(loop)], 1), 0.07, tone)
    return moved(joined(body, lid, spout, handle), turn=rotation(random.uniform(0, 360)))


def cup(random: Random) -> Faces:
    """A mug with a handle, or a vase with flowers."""
    tone = colour(random, (0, 0.9), (0.3, 1))
    if random.random() < 0.5:
        body = revolved(
            [(0.0, 0.02), (0.55, 0.0), (0.6, 0.5), (0.6, 1.2), (0.55, 1.2), (0.55, 0.9), (0.0, 0.9)],
            tone,
            30,
            shine=0.5,
        )
        loop = np.linspace(-1.5, 1.5, 14)
        handle = tube(np.stack([0.58 + 0.3 * np.cos(loop), 0 * loop, 0.6 + 0.35 * np.sin(loop)], 1), 0.06, tone)
        return moved(joined(body, handle), turn=rotation(random.uniform(0, 360)), scale=1.2)
    vase = revolved([(0.3, 0), (0.5, 0.4), (0.45, 0.8), (0.18, 1.1), (0.25, 1.3)], tone, 30, shine=0.6)
    blooms = [
        moved(flower(random), (random.normal(0, 0.25), random.normal(0, 0.25), 1.0), scale=0.45) for _ in range(3)
    ]
    return joined(vase, *blooms)


def boat(random: Random) -> Faces:
    """A hull with a mast and a sail."""
    share = np.linspace(-1, 1, 17)
    half = 0.4 * (1 - np.abs(share) ** 2.5)
    rows = [
        np.stack([share, half * k, np.full(17, z) + 0.15 * share**2], 1)
        for k, z in ((-1, 0.45), (-0.6, 0.0), (0.6, 0.0), (1, 0.45))
    ]
    hull = grid(np.stack(rows).astype(np.float32), colour(random))
    mast = tube(straight((0, 0, 0.2), (0, 0, 2.2), 16), 0.025, (120, 90, 60))
    cloth = colour(random, (0, 0.8), (0.7, 1))
    sails = []
    for side, wide in ((1, random.uniform(0.5, 0.9)), (-1, random.uniform(0.3, 0.7))):
        up = np.linspace(0.55, 2.1, 10)
        edge = wide * (1 - (up - 0.55) / 1.55)
        bulge = 0.12 * np.sin(np.linspace(0, np.pi, 6))
        points = np.stack(
            [
                side * (0.05 + edge[:, None] * np.linspace(0, 1, 6)),
                np.broadcast_to(bulge, (10, 6)),
                np.broadcast_to(up[:, None], (10, 6)),
            ],
            2,
        )
        sails.append(grid(points.astype(np.float32), cloth, through=0.4))
    return moved(joined(hull, mast, *sails), turn=rotation(random.uniform(0, 360)))


def blocks(random: Random) -> Faces:
    """Boxes on each other: books, parcels, a table."""
    parts, z = [], 0.0
    for _ in range(int(random.integers(2, 8))):
        size = (random.uniform(0.5, 1.4), random.uniform(0.4, 1.1), random.uniform(0.1, 0.45))
        parts.append(
            moved(
                box(size, colour(random, (0.1, 0.9), (0.2, 1))),
                (random.normal(0, 0.08), random.normal(0, 0.08), z),
                turn=rotation(random.normal(0, 15)),
            )
        )
        z += size[2]
    return moved(joined(*parts), turn=rotation(random.uniform(0, 360)))


def car(random: Random) -> Faces:
    """A body, a cabin, four wheels."""
    tone = colour(random)
    body = moved(box((2.0, 0.85, 0.4), tone), (0, 0, 0.22))
    cabin = moved(
        box((random.uniform(0.9, 1.4), 0.75, 0.4), np.array([70, 85, 100])), (random.uniform(-0.3, 0.1), 0, 0.6)
    )
    roof = moved(box((1.0, 0.78, 0.06), tone), (-0.1, 0, 0.98))
    wheel = moved(
        revolved(
            [(0.0, 0.06), (0.12, 0.07), (0.24, 0.06), (0.24, -0.06), (0, -0.06)],
            np.where((np.arange(4) < 1)[:, None, None], (180, 180, 180), (25, 25, 25)),
            18,
        ),
        turn=rotation(0, 90),
    )
    wheels = [moved(wheel, (x, y, 0.24)) for x in (-0.65, 0.65) for y in (-0.43, 0.43)]
    return moved(joined(body, cabin, roof, *wheels), turn=rotation(random.uniform(0, 360)))


def nothing(random: Random) -> Faces:
    """The background alone: what is there lies below the ground."""
    return moved(box((0.01, 0.01, 0.01), colour(random), 1), (0, 0, -99))


LOOKALIKES: dict[str, Callable[[Random], Faces]] = {
    "mushroom": mushroom,
    "lampshade": lampshade,
    "tent": tent,
    "fan": fan,
    "pizza": pizza,
    "dome": dome,
    "balloon": balloon,
    "parachute": parachute,
    "flower": flower,
}
EVERYDAY: dict[str, Callable[[Random], Faces]] = {
    "house": house,
    "ball": ball,
    "tree": tree,
    "teapot": teapot,
    "cup": cup,
    "boat": boat,
    "blocks": blocks,
    "car": car,
    "nothing": nothing,
}
