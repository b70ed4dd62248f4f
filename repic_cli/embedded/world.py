"""The embedded picture world: things with a shape, a colour, a pattern and an accessory, in small scenes.

1024 identities (8 x 8 x 4 x 4), of which 15 % are held out: no picture of a held-out identity is ever shown in
training. A scene has 1 to 7 objects on a lit, grainy background; a reference picture has one. All is drawn
from a NumPy generator, so a seed gives the same pictures on every machine.

Coordinates: x to the right, y down, in pixels; angles in radians.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "moon", "ring")
COLORS = {
    "red": (212, 38, 38),
    "green": (42, 158, 72),
    "blue": (38, 84, 212),
    "yellow": (240, 206, 42),
    "purple": (132, 48, 164),
    "orange": (242, 128, 28),
    "cyan": (44, 202, 214),
    "pink": (246, 132, 182),
}
PATTERNS = ("plain", "striped", "dotted", "checkered")
ACCESSORIES = ("", "crown", "halo", "antenna")
BACKGROUNDS = {
    "grey": (128, 128, 128),
    "white": (230, 230, 226),
    "beige": (204, 186, 152),
    "black": (36, 36, 42),
    "navy": (30, 42, 84),
    "olive": (94, 100, 54),
}
LIGHTS = {"dim": (0.66, 0.76), "soft": (0.86, 0.96), "bright": (1.06, 1.18)}
ROWS = ("top", "", "bottom")
COLUMNS = ("left", "", "right")

SCENE_SIZE = 112
CROWD_SIZE = 168
"""Scenes of more than four objects are drawn on a larger canvas, so that objects keep their size."""
REFERENCE_SIZE = 56
REACH = 1.55
"""An object with accessory and outline stays within this many radii of its centre."""

Split = Literal["train", "held_out"]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """One thing of the world; fields index SHAPES, COLORS, PATTERNS and ACCESSORIES."""

    shape: int
    color: int
    pattern: int
    accessory: int

    @property
    def attributes(self) -> tuple[str, str, str, str]:
        """Colour, pattern, shape and accessory in words; no accessory is an empty string."""
        return (
            tuple(COLORS)[self.color],
            PATTERNS[self.pattern],
            SHAPES[self.shape],
            ACCESSORIES[self.accessory],
        )

    @property
    def phrase(self) -> str:
        """`red striped star with a crown`."""
        color, pattern, shape, accessory = self.attributes
        words = f"{color} {pattern} {shape}"
        if not accessory:
            return words
        return f"{words} with {'an' if accessory[0] in 'aeiou' else 'a'} {accessory}"


@dataclass(frozen=True, slots=True)
class Placed:
    """An object in a scene: its tight box (x1, y1, x2, y2; pixels, end exclusive) and its place in words."""

    identity: Identity
    box: tuple[int, int, int, int]
    position: str
    center: tuple[float, float]


@dataclass(frozen=True)
class Scene:
    """A picture (H, W, 3), its objects in reading order, and the words for background and light."""

    image: Picture
    objects: tuple[Placed, ...]
    background: str
    light: str


@cache
def identities(split: Split | None = None) -> tuple[Identity, ...]:
    """All identities, or the training or held-out ones; the split is fixed."""
    everything = [
        Identity(shape, color, pattern, accessory)
        for shape in range(len(SHAPES))
        for color in range(len(COLORS))
        for pattern in range(len(PATTERNS))
        for accessory in range(len(ACCESSORIES))
    ]
    if split is None:
        return tuple(everything)
    order = np.random.default_rng(20251).permutation(len(everything))
    cut = int(len(everything) * 0.85)
    chosen = order[:cut] if split == "train" else order[cut:]
    return tuple(everything[index] for index in sorted(chosen))


def position_words(x: float, y: float, size: int) -> str:
    """The cell of a 3 x 3 grid: `top left`, `top`, ..., `center`, ..., `bottom right`."""
    low, high = size * 0.38, size * 0.62
    column = COLUMNS[int(x > low) + int(x > high)]
    row = ROWS[int(y > low) + int(y > high)]
    return f"{row} {column}".strip() or "center"


def lookalike(rng: np.random.Generator, identity: Identity, pool: Sequence[Identity]) -> Identity:
    """Another identity of the pool that shares all but one attribute: a hard negative."""
    near = [other for other in pool if _differences(identity, other) == 1]
    return near[int(rng.integers(len(near)))] if near else pick(rng, pool, 1, without=(identity,))[0]


def _differences(one: Identity, other: Identity) -> int:
    return (
        (one.shape != other.shape)
        + (one.color != other.color)
        + (one.pattern != other.pattern)
        + (one.accessory != other.accessory)
    )


def pick(
    rng: np.random.Generator, pool: Sequence[Identity], count: int, without: Sequence[Identity] = ()
) -> list[Identity]:
    """`count` different identities, none of them in `without`."""
    chosen: list[Identity] = []
    while len(chosen) < count:
        candidate = pool[int(rng.integers(len(pool)))]
        if candidate not in chosen and candidate not in without:
            chosen.append(candidate)
    return chosen


def render_scene(rng: np.random.Generator, members: Sequence[Identity], size: int | None = None) -> Scene:
    """Draw up to seven objects that do not hide one another; `size` is the side in pixels."""
    side = size or (SCENE_SIZE if len(members) <= 4 else CROWD_SIZE)
    places = _arrange(rng, len(members), side)
    canvas, background = _background(rng, side)
    light = tuple(LIGHTS)[int(rng.integers(len(LIGHTS)))]
    placed = []
    for member, (x, y, radius) in zip(members, places, strict=True):
        box = _draw(canvas, rng, member, x, y, radius)
        placed.append(Placed(member, box, position_words(x, y, side), (x, y)))
    # Reading order: rows of about a third of the picture, then from left to right.
    placed.sort(
        key=lambda item: (int(item.center[1] > side * 0.38) + int(item.center[1] > side * 0.62), item.center[0])
    )
    return Scene(_expose(canvas, rng.uniform(*LIGHTS[light])), tuple(placed), background, light)


def render_reference(rng: np.random.Generator, member: Identity, size: int = REFERENCE_SIZE) -> Picture:
    """Draw one object near the middle of a small picture (size, size, 3)."""
    canvas, _ = _background(rng, size)
    radius = size * rng.uniform(0.25, 0.31)
    x, y = size / 2 + rng.uniform(-0.05, 0.05, 2) * size
    _draw(canvas, rng, member, x, y + 0.03 * size, radius)
    return _expose(canvas, rng.uniform(0.75, 1.15))


def _arrange(rng: np.random.Generator, count: int, side: int) -> list[tuple[float, float, float]]:
    """Centres and radii without overlap; starts again with smaller objects when there is no room."""
    borders = (side * 0.38, side * 0.62)
    shrink = 1.0
    while True:
        places: list[tuple[float, float, float]] = []
        for _ in range(40 * count):
            radius = max(10.0, shrink * (rng.uniform(16, 23) if count < 3 else rng.uniform(14, 19)))
            x, y = rng.uniform(radius * REACH, side - radius * REACH, 2)
            # No object stands on the border of two cells: "left" and "top left" must be tellable apart.
            clear = all(abs(value - border) > 2.5 for value in (x, y) for border in borders)
            if clear and all(math.hypot(x - a, y - b) > 1.35 * (radius + r) for a, b, r in places):
                places.append((float(x), float(y), float(radius)))
                if len(places) == count:
                    return places
        shrink *= 0.97


def _background(rng: np.random.Generator, side: int) -> tuple[NDArray[np.float32], str]:
    word = tuple(BACKGROUNDS)[int(rng.integers(len(BACKGROUNDS)))]
    base = np.asarray(BACKGROUNDS[word], np.float32) + rng.normal(0, 6, 3).astype(np.float32)
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    slope_x, slope_y = rng.normal(0, 9, 2).astype(np.float32)
    grain = rng.normal(0, rng.uniform(1, 6), (side, side)).astype(np.float32)
    shade = ramp[None, :] * slope_x + ramp[:, None] * slope_y + grain
    return np.ascontiguousarray(base + shade[..., None], np.float32), word


def _expose(canvas: NDArray[np.float32], gain: float) -> Picture:
    return np.clip(canvas * np.float32(gain), 0, 255).astype(np.uint8)


def _draw(
    canvas: NDArray[np.float32], rng: np.random.Generator, member: Identity, x: float, y: float, radius: float
) -> tuple[int, int, int, int]:
    """Paint one object with a random turn, stretch and tone; gives its tight box."""
    turn = rng.uniform(-0.45, 0.45)
    stretch = rng.uniform(0.88, 1.0)
    tone = rng.uniform(0.88, 1.08)
    color = np.asarray(tuple(COLORS.values())[member.color], np.float32)
    x1, y1, x2, y2 = _paint(
        canvas, member.shape, member.pattern, member.accessory, color, x, y, radius, turn, stretch, tone
    )
    return int(x1), int(y1), int(x2), int(y2)


@njit(cache=True, nogil=True)
def _distance(shape: int, u: float, v: float) -> float:
    """Signed distance (about; negative inside) to a shape of radius 1, v pointing down."""
    if shape == 0:  # circle
        return math.hypot(u, v) - 0.93
    if shape == 1:  # square
        return max(abs(u), abs(v)) - 0.8
    if shape == 2:  # triangle
        return max(v - 0.72, 0.87 * abs(u) - 0.5 * v - 0.5)
    if shape == 3:  # star
        fifth = 2 * math.pi / 5
        angle = (math.atan2(u, -v) + fifth / 2) % fifth - fifth / 2
        part = abs(angle) / (fifth / 2)
        return math.hypot(u, v) - (1.06 * (1 - part) + 0.44 * part)
    if shape == 4:  # heart
        lobes = math.hypot(abs(u) - 0.45, v + 0.35) - 0.5
        point = max(0.78 * abs(u) + 0.62 * v - 0.55, -v - 0.35)
        return min(lobes, point)
    if shape == 5:  # cross
        upright = max(abs(u) - 0.32, abs(v) - 0.95)
        return min(upright, max(abs(v) - 0.32, abs(u) - 0.95))
    if shape == 6:  # moon
        return max(math.hypot(u, v) - 0.97, 0.76 - math.hypot(u - 0.5, v + 0.1))
    return abs(math.hypot(u, v) - 0.66) - 0.28  # ring


@njit(cache=True, nogil=True)
def _second_color(pattern: int, u: float, v: float) -> bool:
    """Whether the pattern shows its second colour at this point."""
    if pattern == 1:
        return math.sin(u * 9.5) > 0.15
    if pattern == 2:
        return math.hypot((u / 0.52) % 1.0 - 0.5, (v / 0.52) % 1.0 - 0.5) < 0.3
    if pattern == 3:
        return (math.floor(u / 0.46) + math.floor(v / 0.46)) % 2 == 1
    return False


@njit(cache=True, nogil=True)
def _wears(accessory: int, u: float, v: float) -> bool:
    """Whether an accessory covers this point."""
    if accessory == 1:  # crown: three teeth above the object
        height = -v - 0.85
        tooth = abs((u / 0.4 + 0.5) % 1.0 - 0.5) * 2
        return 0 < height < 0.25 + 0.3 * tooth and abs(u) < 0.6
    if accessory == 2:  # halo
        return abs(math.hypot(u, v) - 1.3) < 0.11
    if accessory == 3:  # antenna
        return (abs(u) < 0.09 and -1.3 < v < -0.6) or math.hypot(u, v + 1.3) < 0.23
    return False


@njit(cache=True, nogil=True)
def _paint(
    canvas: NDArray[np.float32],
    shape: int,
    pattern: int,
    accessory: int,
    color: NDArray[np.float32],
    x: float,
    y: float,
    radius: float,
    turn: float,
    stretch: float,
    tone: float,
) -> tuple[int, int, int, int]:
    side = canvas.shape[0]
    cosine, sine = math.cos(turn), math.sin(turn)
    reach = radius * 1.75
    left, right = side, 0
    top, bottom = side, 0
    for row in range(max(0, int(y - reach)), min(side, int(y + reach) + 1)):
        for column in range(max(0, int(x - reach)), min(side, int(x + reach) + 1)):
            a, b = (column + 0.5 - x) / radius, (row + 0.5 - y) / radius
            u, v = (cosine * a + sine * b) / stretch, cosine * b - sine * a
            distance = _distance(shape, u, v) * radius
            inside = min(1.0, max(0.0, 0.5 - distance))
            outline = min(1.0, max(0.0, 1.5 - distance))
            worn = _wears(accessory, u, v) and not (accessory == 2 and inside > 0.5)
            if outline == 0.0 and not worn:
                continue
            second = _second_color(pattern, u, v)
            for channel in range(3):
                value = canvas[row, column, channel] * (1 - outline) + 20.0 * outline
                body = 250.0 * min(tone, 1.0) if second else color[channel] * tone
                value = value * (1 - inside) + body * inside
                if worn:
                    value = _accessory_color(accessory, channel) * tone
                canvas[row, column, channel] = value
            if worn or outline > 0.5:
                left, right = min(left, column), max(right, column + 1)
                top, bottom = min(top, row), max(bottom, row + 1)
    return left, top, right, bottom


@njit(cache=True, nogil=True)
def _accessory_color(accessory: int, channel: int) -> float:
    if accessory == 1:
        return (255.0, 212.0, 0.0)[channel]
    if accessory == 2:
        return (255.0, 255.0, 130.0)[channel]
    return (255.0, 0.0, 200.0)[channel]
