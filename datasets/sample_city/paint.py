"""The aerial photograph: surfaces, shadows, crowns and grain, painted window by window without
seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from datasets.sample_city.noise import smooth_noise, white_noise
from datasets.sample_city.record import MATERIAL, Scene

STOREY = 3.1            # metres
SHADOW = 1.05           # shadow length per metre of height: the sun stands 44 degrees high
LONGEST = 46.0   # metres; no shadow reaches further, so a margin of 56 m around a window is enough
MARGIN = 56
TONES = 12              # shades of tree crowns

# Per material: amplitudes of grain (1 px), fine (3 px), middle (11 px) and coarse (47 px)
# brightness noise, and of the dry-green hue noise.
TEXTURE = {"grass": (5.0, 3.6, 3.4, 5.0, 6.0), "canopy": (8.0, 8.0, 5.0, 4.0, 4.0),
           "soil": (5.0, 5.5, 6.0, 7.0, 4.0),
           "crop": (4.0, 2.8, 3.2, 6.0, 4.5), "asphalt": (3.6, 2.4, 3.0, 3.4, 0.6),
           "paving": (5.0, 3.6, 2.4, 2.4, 1.0),
           "water": (1.6, 1.8, 1.6, 4.5, 2.0), "roof": (4.0, 2.6, 2.0, 1.6, 0.8),
           "gravel": (6.0, 4.6, 4.6, 4.4, 1.6),
           "car": (2.0, 0.0, 0.0, 0.0, 0.0), "scrub": (8.0, 8.5, 6.5, 5.0, 6.0),
           "line": (4.0, 4.0, 2.0, 0.0, 0.0)}


@dataclass
class Canvas:
    """The scene as arrays in map metres, ready to be painted window by window."""

    side: float
    seed: int
    sun: np.ndarray             # [2] towards the sun, map axes
    points: np.ndarray          # [n, 2] surface vertices
    starts: np.ndarray          # [surfaces + 1]
    boxes: np.ndarray           # [surfaces, 4] x0 y0 x1 y1
    material: np.ndarray        # [surfaces] uint8
    rgb: np.ndarray             # [surfaces, 3] float32
    rows: np.ndarray            # [surfaces, 2] crop rows, radians per metre, map axes
    roof: np.ndarray            # [surfaces] bool
    walls: np.ndarray           # [m, 2] building vertices
    wall_starts: np.ndarray     # [buildings + 1]
    wall_boxes: np.ndarray      # [buildings, 4]
    storeys: np.ndarray         # [buildings]
    trees: np.ndarray           # [t, 4] x, y, radius, tone


def ring_boxes(points: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Bounds [rings, 4] of ragged rings."""
    if len(starts) < 2:
        return np.zeros((0, 4))
    return np.concatenate([np.minimum.reduceat(points, starts[:-1]),
                           np.maximum.reduceat(points, starts[:-1])], 1)


def make_canvas(scene: Scene, warp, side: float, seed: int) -> Canvas:
    """Turn the recorded scene into map coordinates; surfaces sorted by level, lowest first."""
    points, starts = scene.surfaces.arrays(warp)
    looks = np.asarray(scene.looks, dtype=np.float32).reshape(-1, 7)
    order = np.argsort(looks[:, 0], kind="stable")
    counts = np.diff(starts)[order]
    new = np.concatenate([[0], np.cumsum(counts)])
    points = points[np.repeat(starts[:-1][order] - new[:-1], counts) + np.arange(len(points))]
    looks = looks[order]
    turn = np.array([[np.cos(scene.turn), np.sin(scene.turn)],
                     [-np.sin(scene.turn), np.cos(scene.turn)]])
    walls, wall_starts = scene.footprints.arrays(warp)
    trees = np.asarray(scene.trees, dtype=np.float64).reshape(-1, 4).copy()
    trees[:, :2] = warp(trees[:, :2])
    trees = trees[np.argsort(trees[:, 2], kind="stable")]
    return Canvas(side, seed, np.array(scene.sun) @ turn, points, new, ring_boxes(points, new),
                  looks[:, 1].astype(np.uint8), looks[:, 2:5],
                  looks[:, 5:7] @ turn, looks[:, 0] >= 9, walls, wall_starts,
                  ring_boxes(walls, wall_starts),
                  np.asarray(scene.volumes, dtype=np.float32).reshape(-1, 2)[:, 0], trees)


def meets(boxes: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """Indices of boxes that meet a window."""
    return np.flatnonzero((boxes[:, 0] < x1) & (boxes[:,
                                                      2] > x0) & (boxes[:,
                                                                        1] < y1) & (boxes[:,
                                                                                          3] > y0))


def paint_window(canvas: Canvas, row: int, col: int, shape: tuple[int, int]) -> np.ndarray:
    """The photograph of one window, uint8 [height, width, 3]; row 0 is the northern edge of the
    scene."""
    h, w = shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN
    row, col = row - MARGIN, col - MARGIN
    x0, y1 = float(col), canvas.side - row
    window = (x0, y1 - h, x0 + w, y1)
    ids, chosen = draw_surfaces(canvas, window, (h, w))
    draw_trees(canvas, window, ids, len(chosen))
    colour, material, frequency, covered = look_up(canvas, ids, chosen)
    shadow = draw_shadows(canvas, window, (h, w)) * (1 - covered)            # [h, w]
    colour += texture(canvas, row, col, material,
                      frequency)[..., None] * (0.6 + 0.4 * colour / 128)
    colour += hue(canvas, row, col, material)
    colour *= 1 - shadow[..., None] * np.array([0.56, 0.51, 0.43], np.float32)
    return develop(canvas, row, col, colour)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def draw_surfaces(canvas: Canvas, window, shape) -> tuple[Image.Image, np.ndarray]:
    """Which surface each half-metre pixel shows: an int32 image of 1 + position in the returned
    surface numbers, 0 for none."""
    chosen = meets(canvas.boxes, *window)
    image = Image.new("I", (2 * shape[1], 2 * shape[0]))
    pen = ImageDraw.Draw(image)
    for k, n in enumerate(chosen):
        ring = canvas.points[canvas.starts[n]:canvas.starts[n + 1]]
        pen.polygon(((ring - (window[0], window[3])) * (2, -2) - 0.5).ravel().tolist(), fill=k + 1)
    return image, chosen


def draw_trees(canvas: Canvas, window, ids: Image.Image, offset: int) -> None:
    """Crowns over the surfaces: a dark rim, a lit side, a highlight. Ids from `offset` + 1 on:
    three for each tone."""
    pen = ImageDraw.Draw(ids)
    x, y, r, _ = canvas.trees.T
    near = (x + r > window[0]) & (x - r < window[2]) & (y + r > window[1]) & (y - r < window[3])
    sx, sy = canvas.sun
    for tx, ty, tr, tt in canvas.trees[near].tolist():
        cx, cy, r2 = 2 * (tx - window[0]) - 0.5, 2 * (window[3] - ty) - 0.5, 2 * tr
        code = offset + 1 + 3 * min(TONES - 1, int(tt * TONES))
        pen.ellipse((cx - r2, cy - r2, cx + r2, cy + r2), fill=code)
        for k, (size, shift) in enumerate(((0.74, 0.24), (0.4, 0.42)), 1):
            a, b, s = cx + shift * r2 * sx, cy - shift * r2 * sy, size * r2
            pen.ellipse((a - s, b - s, a + s, b + s), fill=code + k)


def crown_colours() -> np.ndarray:
    """[3 * TONES, 3] rim, lit side and highlight of each tone."""
    tone = np.linspace(0, 1, TONES)[:, None]
    body = (1 - tone) * np.array([56, 74, 50]) + tone * np.array([94, 102, 54])
    return np.stack([body * 0.66, body * 1.0, body * 1.24], 1).reshape(-1, 3).astype(np.float32)


def look_up(canvas: Canvas, ids: Image.Image, chosen: np.ndarray):
    """Colour [h, w, 3] averaged from half-metre pixels, material [h, w], crop-row frequency [h, w,
    2], roof or crown cover [h, w]."""
    crowns = 3 * TONES
    rgb = np.concatenate([np.array([[112, 114, 80]], np.float32), canvas.rgb[chosen],
                          crown_colours()])
    material = np.concatenate([[MATERIAL["grass"]], canvas.material[chosen],
                               np.full(crowns, MATERIAL["canopy"])]).astype(np.uint8)
    rows = np.concatenate([np.zeros((1, 2)), canvas.rows[chosen],
                           np.zeros((crowns, 2))]).astype(np.float32)
    cover = np.concatenate([[0], canvas.roof[chosen], np.full(crowns, 0.55)]).astype(np.float32)
    fine = np.asarray(ids)
    colour, covered = 0.0, 0.0
    for i in (0, 1):
        for j in (0, 1):
            part = fine[i::2, j::2]
            colour = colour + 0.25 * rgb[part]
            covered = covered + 0.25 * cover[part]
    part = fine[1::2, 1::2]
    return colour, material[part], rows[part], covered


def draw_shadows(canvas: Canvas, window, shape) -> np.ndarray:
    """Share of each pixel that buildings and trees shade, float32 [h, w]."""
    image = Image.new("L", (2 * shape[1], 2 * shape[0]))
    pen = ImageDraw.Draw(image)
    x0, y0, x1, y1 = window
    for n in meets(canvas.wall_boxes, x0 - LONGEST, y0 - LONGEST, x1 + LONGEST, y1 + LONGEST):
        ring = (canvas.walls[canvas.wall_starts[n]:canvas.wall_starts[n + 1]]
                - (x0, y1)) * (2, -2) - 0.5
        reach = min(LONGEST, canvas.storeys[n] * STOREY * SHADOW)
        far = ring + canvas.sun * (-2, 2) * reach
        pen.polygon(far.ravel().tolist(), fill=255)
        corners = list(zip(ring.tolist(), far.tolist(), strict=True))
        for k, (a, b) in enumerate(corners):
            c, d = corners[k - 1]
            pen.polygon([*a, *b, *d, *c], fill=255)
    near = (canvas.trees[:, 0] > x0 - 20) & (canvas.trees[:, 0] < x1
                                             + 20) & (canvas.trees[:, 1] > y0
                                                      - 20) & (canvas.trees[:, 1] < y1 + 20)
    for tx, ty, tr, _ in canvas.trees[near].tolist():
        cx, cy = 2 * (tx - x0 - canvas.sun[0] * 1.5 * tr) - 0.5, 2 * (y1 - ty
                                                                      + canvas.sun[
                                                                          1] * 1.5 * tr) - 0.5
        pen.ellipse((cx - 2 * tr, cy - 2 * tr, cx + 2 * tr, cy + 2 * tr), fill=225)
    return np.asarray(image.reduce(2), dtype=np.float32) / 255


def texture(canvas: Canvas, row: int, col: int, material: np.ndarray,
            frequency: np.ndarray) -> np.ndarray:
    """Brightness texture of every pixel: grain and noise of four sizes, as strong as its material
    has them, and crop rows."""
    shape, seed = material.shape, canvas.seed * 16
    table = np.array([TEXTURE[name] for name in MATERIAL], dtype=np.float32)
    light = table[:, 0][material] * white_noise(row, col, shape, seed + 1)
    for k, period in ((1, 2.6), (2, 11.0), (3, 47.0)):
        light += table[:, k][material] * smooth_noise(row, col, shape, period, seed + 1 + k)
    field = np.nonzero(material == MATERIAL["crop"])
    phase = (field[1] + col) * frequency[field][:, 0] - (field[0] + row) * frequency[field][:, 1]
    light[field] += 5.5 * np.cos(phase)
    return light


def hue(canvas: Canvas, row: int, col: int, material: np.ndarray) -> np.ndarray:
    """Slow change between lush and dry, [h, w, 3]."""
    shape, seed = material.shape, canvas.seed * 16
    amount = np.array([TEXTURE[name][4] for name in MATERIAL], dtype=np.float32)[material]
    dry = amount * (0.7 * smooth_noise(row, col, shape, 29.0, seed + 7)
                    + 0.8 * smooth_noise(row, col, shape, 160.0, seed + 8))
    return dry[..., None] * np.array([1.0, 0.45, -0.1], np.float32)


def develop(canvas: Canvas, row: int, col: int, colour: np.ndarray) -> np.ndarray:
    """Camera: slight blur, illumination that drifts over the scene, haze, contrast, sensor noise;
    uint8 [h, w, 3]."""
    shape, seed = colour.shape[:2], canvas.seed * 16
    for axis in (0, 1):
        colour = 0.66 * colour + 0.17 * (np.roll(colour, 1, axis) + np.roll(colour, -1, axis))
    drift = 1 + 0.035 * smooth_noise(row, col, shape, 900.0, seed + 11)
    warm = 0.018 * smooth_noise(row, col, shape, 1300.0, seed + 12)
    colour *= drift[..., None] * (1 + warm[..., None] * np.array([1.0, 0.1, -1.2], np.float32))
    colour = 8 + 0.99 * colour + np.array([0.0, 0.6, 3.0], np.float32)
    for band in range(3):
        colour[..., band] += 2.0 * white_noise(row, col, shape, seed + 13 + band)
    return np.clip(colour + 0.5, 0, 255).astype(np.uint8)
