"""Pictures of an area for scene.json, of the same ground and size: imagery and fused patches."""

from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

from inference.features.areas import Area, PatchGrid
from inference.pictures import FIGURES, NO_IMAGERY, QUALITY, save_picture
from inference.pieces import Parts
from reports.record import SceneRecord

IMAGERY, COLOURS = "imagery.jpg", "fused_pca.png"


def draw_area(folder: Path, grid: PatchGrid, parts: Parts, places: np.ndarray, colours: Path,
              patch: int) -> list[str]:
    """Write both pictures to `folder` and return their names in it.

    Args:
        places: of `Parts.locate`.
        colours: the area's GeoTIFF of colours.
        patch: side of a patch in pixels of the imagery; in a picture it has no more.
    """
    scale = min(grid.pixels_a_patch, patch)
    rows, columns = grid.picture_places(scale)
    with rasterio.open(colours) as raster:
        shown = _sampled(raster, rows // scale, columns // scale)
    imagery = _imagery(parts, places, grid.side * scale, rows, columns)
    return [save_picture(Image.fromarray(imagery), folder, IMAGERY, quality=QUALITY),
            save_picture(Image.fromarray(shown), folder, COLOURS)]


def write_scene(folder: Path, area: Area, grid: PatchGrid, lines: list[str],
                files: list[dict[str, str]], patch: int) -> None:
    """Write scene.json with the area's pictures, sentences beside them, and its other files."""
    across, down = area.metres_per_pixel
    layers = [{"name": "imagery", "file": f"{FIGURES}/{IMAGERY}"},
              {"name": "fused features", "file": f"{FIGURES}/{COLOURS}", "opacity": 0.8}]
    size = grid.columns * patch * across, grid.rows * patch * down
    SceneRecord("features", f"Fused features of {area.name}", [], lines, size, layers, [],
                files).write(folder)


def _sampled(raster: rasterio.DatasetReader, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return pixels [H, W, bands] at `rows` [H] and `columns` [W], read in stretches of rows."""
    sampled = np.empty((len(rows), len(columns), raster.count), raster.dtypes[0])
    for first in range(0, raster.height, 256):
        last = min(first + 256, raster.height)
        own = np.flatnonzero((rows >= first) & (rows < last))
        if len(own):
            pixels = raster.read(window=((first, last), (0, raster.width)))         # [bands, h, w]
            sampled[own] = pixels[:, rows[own] - first][:, :, columns].transpose(1, 2, 0)
    return sampled


def _imagery(parts: Parts, places: np.ndarray, side: int, rows: np.ndarray,
             columns: np.ndarray) -> np.ndarray:
    """Return thumbnails [H, W, 3] at `rows` [H], `columns` [W] of an area; `side` is a tile's."""
    imagery = np.full((len(rows), len(columns), 3), NO_IMAGERY, np.uint8)
    for row, column in np.argwhere(places[..., 0] >= 0).tolist():
        top, bottom = np.searchsorted(rows, [row * side, (row + 1) * side])
        left, right = np.searchsorted(columns, [column * side, (column + 1) * side])
        if top < bottom and left < right:
            number, tile = places[row, column].tolist()
            thumbnail = parts.read(number, "thumbnail", tile)
            scale = len(thumbnail) / side                 # a small city's pixels are shared
            y = ((rows[top:bottom] - row * side + 0.5) * scale).astype(int)
            x = ((columns[left:right] - column * side + 0.5) * scale).astype(int)
            imagery[top:bottom, left:right] = thumbnail[y][:, x]
    return imagery
