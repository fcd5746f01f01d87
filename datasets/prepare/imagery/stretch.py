"""Make imagery of more than 8 bits 8-bit, by one stretch of all files; find nodata inside imagery.
Both use a sample that depends on the files alone, so every run gives the same answer."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from rasterio.features import sieve
from rasterio.windows import Window

from datasets.prepare.imagery.files import RasterFile, Reading, damage_named
from datasets.prepare.imagery.view import open_view, read_view
from utils.errors import ConfigError

SAMPLED_FILES = 200
SAMPLED_PIXELS = 2_000_000
WINDOW_PX = 64  # no side of a window is much smaller, if it is not the file's
# along each side of a file: few enough that most of a large file is never decoded
SAMPLED_WINDOWS = 12
# Specks of nodata are looked for in fewer and larger windows.
SEARCHED_FILES, SEARCHED_PIXELS, SEARCHED_WINDOWS = 9, 9_000_000, 3
SPECK_FRACTION = 1e-3


def check_percentiles(stretch: Iterable[float]) -> tuple[float, float]:
    """Return the percentiles that become black and white; raise ConfigError if they cannot."""
    bounds = tuple(map(float, stretch))
    if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1] <= 100:
        raise ConfigError(f"stretch={list(bounds)}: expected two rising percentiles between 0 and "
                          "100, such as [2,98]")
    return bounds


def find_stretch(files: Sequence[RasterFile], reading: Reading,
                 percentiles: tuple[float, float]) -> list[list[float]]:
    """Return the values of each band that become 0 and 255: [low, high] of red, green and blue,
    [0, 1] of a band without any valid pixel in the sample of about 2 million pixels of at most 200
    files."""
    chosen = spread(files, SAMPLED_FILES)
    fraction = min(1.0, SAMPLED_PIXELS / sum(file.width * file.height for file in chosen))
    windows: list[list[np.ndarray]] = [[], [], []]
    for file in chosen:
        with damage_named(file.shown), open_view(file, reading) as view:
            for window in sampled_windows(file, fraction):
                values, valid = read_view(view, window)
                for band in range(3):
                    windows[band].append(values[band][valid[band]])
    samples = [np.concatenate(pixels) for pixels in windows]
    return [[float(value) for value in np.percentile(sample, percentiles)] if sample.size
            else [0.0, 1.0] for sample in samples]


def apply_stretch(values: np.ndarray, stretch: Sequence[Sequence[float]]) -> np.ndarray:
    """Return bands [3, h, w] as uint8: 0 up to low, 255 from high; a band of one value is 0."""
    stretched = np.empty(values.shape, np.uint8)
    # one at a time, as each takes eight times its bytes
    for band, (low, high) in enumerate(stretch):
        scaled = values[band].astype(np.float64)
        scaled -= low
        scaled *= 255 / (high - low if high > low else 1)
        stretched[band] = np.clip(np.rint(scaled, out=scaled), 0, 255, out=scaled)
    return stretched


def nodata_warning(files: Sequence[RasterFile], reading: Reading) -> str | None:
    """Return a warning if 8-bit files state a nodata value that their imagery has too. White
    roofs, for example, have 255."""
    suspects = [file for file in files if file.dtype == "uint8" and file.nodata is not None
                and 0 <= file.nodata <= 255]
    if not suspects:
        return None
    chosen = spread(suspects, SEARCHED_FILES)
    specks = imagery = 0
    for file in chosen:
        fraction = min(1.0, SEARCHED_PIXELS / len(chosen) / (file.width * file.height))
        with damage_named(file.shown), open_view(file, reading) as view:
            for window in sampled_windows(file, fraction, SEARCHED_WINDOWS):
                missing = ~read_view(view, window)[1].any(0)
                specks += int(_enclosed(missing).sum())
                imagery += int((~missing).sum())
    fraction = specks / max(specks + imagery, 1)
    if fraction < SPECK_FRACTION:
        return None
    value = int(chosen[0].nodata)
    return (f"{chosen[0].path}: nodata is {value}, but {fraction:.2%} of the imagery's pixels have "
            f"this value too, in specks{' such as white roofs' if value == 255 else ''}; they are "
            "taken for gaps and drawn black. Pass nodata=none if every pixel counts.")


def _enclosed(missing: np.ndarray) -> np.ndarray:
    """Return the small patches of `missing` [h, w] bool that do not touch the window's edge."""
    # patches that touch the edge join the frame, which is large
    framed = np.pad(missing, 1, constant_values=True).astype(np.uint8)
    large = sieve(framed, size=2 * sum(missing.shape), connectivity=8)
    return missing & (large[1:-1, 1:-1] == 0)


def sampled_windows(file: RasterFile, fraction: float,
                    most: int = SAMPLED_WINDOWS) -> Iterator[Window]:
    """Yield at most `most` x `most` windows, evenly spread, with a fraction of a file's pixels."""
    length = int((fraction * file.width * file.height) ** 0.5)
    side = 1 if fraction == 1 else max(1, min(most, length // WINDOW_PX))
    width, height = (max(1, round(size * fraction ** 0.5 / side))
                     for size in (file.width, file.height))
    for row in range(side):
        for col in range(side):
            left = (file.width - width) * (col + 0.5) / side
            top = (file.height - height) * (row + 0.5) / side
            yield Window(round(left), round(top), width, height)


def spread(items: Sequence, count: int) -> list:
    """Return at most `count` items at even distances."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
