"""The aerial photograph: surfaces, shadows, crowns and grain, painted window by window without
seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from datasets.sample_city.plan import Plan
from datasets.sample_city.record import MATERIAL, MapRings, Scene, Window

SHADOW = 3.1 * 1.05     # metres of shadow per storey of 3.1 m: the sun stands 44 degrees high
LONGEST = 46.0          # metres; no shadow reaches further
MARGIN = 56             # pixels around a window that its shadows and its blur need
TONES = 12              # shades of tree crowns

PERIOD = 1024           # pixels after which noise repeats
# Noise fields and over how many pixels they vary.
NOISE = {"grain": 0, "fine": 2.6, "middle": 11, "coarse": 47, "dry": 29, "season": 160,
         "drift": 500, "warmth": 700, "red": 0, "green": 0, "blue": 0}
# Per material: amplitudes of grain, fine, middle and coarse brightness noise, and of the dry-green
# hue noise.
TEXTURE = {"grass": (3.0, 3.6, 3.4, 5.0, 6.0), "canopy": (4.8, 8.0, 5.0, 4.0, 4.0),
           "soil": (3.0, 5.5, 6.0, 7.0, 4.0), "crop": (2.4, 2.8, 3.2, 6.0, 4.5),
           "asphalt": (2.1, 2.4, 3.0, 3.4, 0.6), "paving": (3.0, 3.6, 2.4, 2.4, 1.0),
           "water": (0.9, 1.8, 1.6, 4.5, 2.0), "roof": (2.4, 2.6, 2.0, 1.6, 0.8),
           "gravel": (3.5, 4.6, 4.6, 4.4, 1.6), "car": (1.2, 0.0, 0.0, 0.0, 0.0),
           "scrub": (4.8, 8.5, 6.5, 5.0, 6.0), "line": (2.4, 4.0, 2.0, 0.0, 0.0)}


@dataclass
class Canvas:
    """The scene in map metres, ready to be painted window by window."""

    side: float
    sun: complex                # towards the sun, map axes
    surfaces: MapRings          # level, material, r, g, b, crop rows x, y in radians per metre
    buildings: MapRings         # level, storeys, use
    trees: np.ndarray           # [t, 4] x, y, radius, tone; small ones first
    noise: dict[str, np.ndarray]        # periodic fields [PERIOD, PERIOD] of unit deviation


def make_canvas(scene: Scene, plan: Plan, seed: int) -> Canvas:
    """Turn the recorded scene into map coordinates."""
    surfaces = scene.surfaces.on_map(plan.warp)
    rows = surfaces.numbers[:, 5:7].astype(float).view(complex)[:, 0] * plan.warp.turn
    surfaces.numbers[:, 5], surfaces.numbers[:, 6] = rows.real, rows.imag
    trees = np.array(scene.trees).reshape(-1, 4)
    trees[:, :2] = plan.warp(trees[:, 0] + 1j * trees[:, 1]).view(float).reshape(-1, 2)
    noise = {name: make_noise([seed, k], period) for k, (name, period) in enumerate(NOISE.items())}
    return Canvas(plan.side, scene.sun * plan.warp.turn, surfaces,
                  scene.buildings.on_map(plan.warp), trees[np.argsort(trees[:, 2], kind="stable")],
                  noise)


def make_noise(seed: list[int], period: float) -> np.ndarray:
    """Return Gaussian noise that varies over `period` pixels, float32 [PERIOD, PERIOD]; its
    opposite edges meet."""
    field = np.random.default_rng(seed).standard_normal((PERIOD, PERIOD), np.float32)
    if period:
        y, x = np.fft.fftfreq(PERIOD)[:, None], np.fft.rfftfreq(PERIOD)
        spectrum = np.fft.rfft2(field) * np.exp(-(2.6 * period) ** 2 * (x**2 + y**2))
        spectrum[0, 0] = 0
        field = np.fft.irfft2(spectrum)
    return (field / field.std()).astype(np.float32)


def paint_window(canvas: Canvas, row: int, col: int, shape: tuple[int, int]) -> np.ndarray:
    """Paint one window, uint8 [height, width, 3]; row 0 is the scene's northern edge."""
    h, w = shape[0] + 2 * MARGIN, shape[1] + 2 * MARGIN
    row, col = row - MARGIN, col - MARGIN
    window = (col, canvas.side - row - h, col + w, canvas.side - row)
    chosen = canvas.surfaces.near(window)
    ids = Image.new("I", (2 * w, 2 * h))        # per half metre: 1 + index in chosen, 0 for none
    pen = ImageDraw.Draw(ids)
    canvas.surfaces.draw(pen, chosen, range(1, len(chosen) + 1), window, 2)
    draw_trees(canvas, window, pen, len(chosen) + 1)
    colour, material, frequency, covered = look_up(canvas.surfaces.numbers[chosen], ids)
    shadow = draw_shadows(canvas, window, (w, h)) * (1 - covered)            # [h, w]
    y, x = np.arange(row, row + h), np.arange(col, col + w)
    noise = {name: field[np.ix_(y % PERIOD, x % PERIOD)] for name, field in canvas.noise.items()}
    colour += texture(material, noise) * (0.6 + 0.4 * colour / 128)
    crops = material == MATERIAL["crop"]
    phase = x * frequency[..., 0] - y[:, None] * frequency[..., 1]
    colour[crops] += 5.5 * np.cos(phase[crops])[:, None]
    colour *= 1 - shadow[..., None] * np.array([0.56, 0.51, 0.43], np.float32)
    return develop(colour, noise)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def circle(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: int) -> None:
    """Draw a filled circle, in pixels."""
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def tree_pixels(canvas: Canvas, window: Window, margin: float) -> list[list[float]]:
    """Return the trees near a window: x, y, radius in pixels of half a metre, and tone."""
    x, y = canvas.trees[:, :2].T
    near = canvas.trees[(x > window[0] - margin) & (x < window[2] + margin)
                        & (y > window[1] - margin) & (y < window[3] + margin)]
    return ((near - (window[0], window[3], 0, 0)) * (2, -2, 2, 1) - (0.5, 0.5, 0, 0)).tolist()


def draw_trees(canvas: Canvas, window: Window, pen: ImageDraw.ImageDraw, first: int) -> None:
    """Draw crowns over the surfaces: a dark rim, a lit side, a highlight; three ids for each tone,
    from `first` on."""
    sx, sy = canvas.sun.real, -canvas.sun.imag
    for x, y, r, tone in tree_pixels(canvas, window, 8):
        code = first + 3 * min(TONES - 1, int(tone * TONES))
        circle(pen, x, y, r, code)
        circle(pen, x + 0.24 * r * sx, y + 0.24 * r * sy, 0.74 * r, code + 1)
        circle(pen, x + 0.42 * r * sx, y + 0.42 * r * sy, 0.4 * r, code + 2)


def look_up(surfaces: np.ndarray, ids: Image.Image):
    """Return colour [h, w, 3] averaged from half-metre pixels, material [h, w], crop-row frequency
    [h, w, 2], roof or crown cover [h, w]."""
    tone = np.linspace(0, 1, TONES)[:, None]
    body = (1 - tone) * np.array([56, 74, 50]) + tone * np.array([94, 102, 54])
    looks = np.zeros((1 + len(surfaces) + 3 * TONES, 8), np.float32)  # those of surfaces, cover
    looks[0, 1:5] = MATERIAL["grass"], 112, 114, 80
    looks[1:len(surfaces) + 1, :7] = surfaces
    looks[1:len(surfaces) + 1, 7] = surfaces[:, 0] >= 9
    looks[len(surfaces) + 1:, 1] = MATERIAL["canopy"]
    looks[len(surfaces) + 1:, 2:5] = np.stack([body * 0.66, body, body * 1.24], 1).reshape(-1, 3)
    looks[len(surfaces) + 1:, 7] = 0.55
    rgb, cover = np.ascontiguousarray(looks[:, 2:5]), np.ascontiguousarray(looks[:, 7])
    fine = np.asarray(ids)
    quarters = [fine[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    colour, covered = (sum(0.25 * table[k] for k in quarters) for table in (rgb, cover))
    material = looks[:, 1].astype(np.uint8)[quarters[3]]
    return colour, material, looks[:, 5:7][quarters[3]], covered


def draw_shadows(canvas: Canvas, window: Window, size: tuple[int, int]) -> np.ndarray:
    """Draw the fraction of each pixel that buildings and trees shade, float32 [h, w]."""
    image = Image.new("L", (2 * size[0], 2 * size[1]))
    pen = ImageDraw.Draw(image)
    away = np.array([-2 * canvas.sun.real, 2 * canvas.sun.imag])         # pixels per metre
    near = canvas.buildings.near(window, LONGEST)
    storeys = canvas.buildings.numbers[near, 1]
    for ring, height in zip(canvas.buildings.pixels(near, window, 2), storeys, strict=True):
        far = ring + away * min(LONGEST, height * SHADOW)
        pen.polygon(far.ravel().tolist(), fill=255)
        ends = np.concatenate([ring, far], 1).tolist()
        for k, (a, b, c, d) in enumerate(ends):
            pen.polygon([a, b, c, d, *ends[k - 1][2:], *ends[k - 1][:2]], fill=255)
    for x, y, r, _ in tree_pixels(canvas, window, 20):
        circle(pen, x + 0.75 * r * away[0], y + 0.75 * r * away[1], r, 225)
    return np.asarray(image.reduce(2), dtype=np.float32) / 255


def texture(material: np.ndarray, noise: dict[str, np.ndarray]) -> np.ndarray:
    """Return what noise adds to each pixel's colour [h, w, 3]: brightness of four grains and a slow
    change between lush and dry, as strong as its material has them."""
    *amplitudes, change = np.array([TEXTURE[name] for name in MATERIAL], np.float32).T
    light = sum(amplitude[material] * noise[name]
                for amplitude, name in zip(amplitudes, NOISE, strict=False))
    dry = change[material] * (0.7 * noise["dry"] + 0.8 * noise["season"])
    return light[..., None] + dry[..., None] * np.array([1.0, 0.45, -0.1], np.float32)


def develop(colour: np.ndarray, noise: dict[str, np.ndarray]) -> np.ndarray:
    """Add the camera: slight blur, illumination that drifts over the scene, haze, sensor noise;
    uint8 [h, w, 3]."""
    for axis in (0, 1):
        colour = 0.66 * colour + 0.17 * (np.roll(colour, 1, axis) + np.roll(colour, -1, axis))
    drift, warmth = 1 + 0.035 * noise["drift"][..., None], 0.018 * noise["warmth"][..., None]
    colour *= drift * (1 + warmth * np.array([1.0, 0.1, -1.2], np.float32))
    sensor = np.stack([noise["red"], noise["green"], noise["blue"]], 2)
    colour = colour * 0.99 + 1.2 * sensor + np.array([8, 8.6, 11], np.float32)
    return np.clip(colour + 0.5, 0, 255).astype(np.uint8)
