"""What hides imagery: a band declared as alpha that is none, and a file that lies over another."""

import shlex
from collections.abc import Sequence

import numpy as np
from rasterio.windows import Window

from datasets.prepare.geo.raster_io import reopen_raster_file
from datasets.prepare.imagery.files import RasterFile, Reading, damage_named
from datasets.prepare.imagery.placement import Source
from datasets.prepare.imagery.stretch import sampled_windows, spread

LOOKED_FILES, LOOKED_PIXELS = 50, 2_000_000
LEAST_OPAQUE = 0.5  # of the pixels with opacity that an alpha band makes fully opaque


def alpha_warning(files: Sequence[RasterFile], reading: Reading) -> str | None:
    """Return a warning if the bands that files declare as alpha hold no opacity.

    Opacity is nearly everywhere all or nothing. A band of infrared, which some programs declare
    as alpha because it is the fourth, has the values of an image.
    """
    chosen = spread([file for file in files if file.alpha], LOOKED_FILES)
    if not chosen or reading.nodata != "file":
        return None
    fraction = min(1.0, LOOKED_PIXELS / sum(file.width * file.height for file in chosen))
    values = []
    for file in chosen:
        with damage_named(file.path), reopen_raster_file(file.path) as dataset:
            left, top = file.crop[:2] if file.crop else (0, 0)
            values += [np.unique(dataset.read(file.alpha, window=Window(
                left + window.col_off, top + window.row_off, window.width, window.height)),
                return_counts=True) for window in sampled_windows(file, fraction)]
    found, counts = _merged(values)
    shown = found > 0
    if not shown.any():
        return None
    usual = found[shown][counts[shown].argmax()]
    if counts[shown].max() >= LEAST_OPAQUE * counts[shown].sum() and _is_opaque(usual):
        return None
    file = chosen[0]
    names = ",".join("undefined" if band == file.alpha else name
                     for band, name in enumerate(_meanings(file), start=1))
    more = f" and {len(chosen) - 1} more" if len(chosen) > 1 else ""
    return (f"{file.path}{more}: band {file.alpha} is declared as alpha (opacity), but has the "
            f"values of an image (most often {usual:g}, seldom fully opaque), so it hides nothing; "
            f"`rio edit-info --colorinterp {names} {shlex.quote(str(file.path))}` says so in the "
            "file. If black or white pixels are no imagery, pass nodata=0 or nodata=255.")


def hidden_warning(files: Sequence[RasterFile], sources: Sequence[Source]) -> list[str]:
    """Return a warning if files lie wholly under earlier ones all of whose pixels are imagery."""
    boxes = np.array([(s.col, s.row, -s.col - s.width, -s.row - s.height) for s in sources])
    opaque = np.array([file.opaque and not source.step
                       for file, source in zip(files, sources, strict=True)])
    hidden = []
    for index in range(1, len(boxes) if opaque.any() else 0):
        over = opaque[:index] & (boxes[:index] <= boxes[index]).all(1)
        if over.any():
            hidden.append((files[index].path, files[int(over.argmax())].path))
    if not hidden:
        return []
    others = len(hidden) - 1
    more = f"; the same holds for {others} more" if others else ""
    return [f"{hidden[0][0]}: lies wholly under {hidden[0][1]}, so nothing of it is seen{more}. "
            "Where files overlap, the first by name stays; leave out what should not be seen."]


def _merged(values: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct finite values of several counts, and the number of each."""
    found = np.concatenate([each for each, _ in values]).astype(np.float64)
    distinct, where = np.unique(found, return_inverse=True)
    counts = np.bincount(where, weights=np.concatenate([count for _, count in values]))
    return distinct[np.isfinite(distinct)], counts[np.isfinite(distinct)]


def _is_opaque(value: float) -> bool:
    """Return whether an alpha of one value, whatever its type, may mean opaque or faint."""
    return value in (1, 255, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1) or 0 < value <= 1


def _meanings(file: RasterFile) -> list[str]:
    with reopen_raster_file(file.path) as dataset:
        return [meaning.name for meaning in dataset.colorinterp]
