"""Find gaps that imagery does not declare: whole blocks of pure white or pure black, which would
become ground in tiles and maps. The sample depends on the files alone, as that of stretch.py."""

from collections.abc import Iterator, Sequence

import numpy as np

from datasets.prepare.imagery.files import RasterFile, Reading, damage_named
from datasets.prepare.imagery.stretch import sampled_windows, spread
from datasets.prepare.imagery.view import open_view, read_view

BLOCK = 16      # pixels along a side: larger than most roofs and shadows
LEAST = 0.005   # share of the blocks from which on it is pointed out
SAMPLED_FILES, SAMPLED_PIXELS = 200, 4_000_000


def void_warnings(files: Sequence[RasterFile], reading: Reading) -> Iterator[str]:
    """Yield a warning if much imagery is blocks of one extreme value that no file declares as
    nodata; none with nodata=none, which says that every pixel counts."""
    if reading.nodata == "none":
        return
    chosen = spread(files, SAMPLED_FILES)
    fraction = min(1.0, SAMPLED_PIXELS / sum(file.width * file.height for file in chosen))
    counts, blocks, first = {}, 0, {}
    for file in chosen:
        with damage_named(file.shown), open_view(file, reading) as view:
            for window in sampled_windows(file, fraction):
                values, valid = read_view(view, window)
                for value in _extremes(values.dtype):
                    pure = ((values == value) & valid).all(0)
                    whole = _blocks(pure).all((1, 3))
                    if whole.any():
                        first.setdefault(value, file.path)
                        counts[value] = counts.get(value, 0) + int(whole.sum())
                blocks += whole.size
    value = max(counts, key=counts.get, default=None)
    if value is not None and counts[value] >= LEAST * blocks:
        colour = "white" if value > 0 else "black"
        yield (f"{first[value]}: blocks of pure {colour} ({value}), as gaps between images have, "
               f"fill {counts[value] / blocks:.1%} of the imagery, and no nodata value or mask "
               f"says what they are: tiles and maps take them for ground. Pass nodata={value} if "
               "they are gaps, or nodata=none if they are ground.")


def _extremes(dtype: np.dtype) -> list[int]:
    if dtype.kind not in "iu":
        return [0, 1]  # 1: white of imagery scaled to 0..1
    return sorted({0, int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)})


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """Return the whole blocks of [h, w] pixels: [rows, BLOCK, columns, BLOCK]."""
    rows, columns = (side // BLOCK for side in pixels.shape)
    return pixels[:rows * BLOCK, :columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
