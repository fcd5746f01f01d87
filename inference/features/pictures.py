"""Pictures of an area for scene.json: its imagery, and the colours of its fused patches, of the
same ground and size."""

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
    """Write both pictures to `folder`; their names in it.

    Args:
        places: of `Parts.places`.
        colours: the area's GeoTIFF of colours.
        patch: side of a patch in pixels, the most that it has in a picture.
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
    """Write scene.json, which says of the area's pictures what a report needs to know.

    Args:
        lines: sentences beside the pictures.
        files: name and content of the area's other files.
    """
    across, down = area.metres_per_pixel
    layers = [{"name": "imagery", "file": f"{FIGURES}/{IMAGERY}"},
              {"name": "fused features", "file": f"{FIGURES}/{COLOURS}", "opacity": 0.8}]
    size = grid.columns * patch * across, grid.rows * patch * down
    SceneRecord("features", f"Fused features of {area.name}", [], lines, size, layers, [],
                files).write(folder)


def _sampled(raster: rasterio.DatasetReader, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[H, W, bands] pixels at `rows` [H] and `columns` [W]; read in stretches of rows."""
    found = np.empty((len(rows), len(columns), raster.count), raster.dtypes[0])
    for first in range(0, raster.height, 256):
        last = min(first + 256, raster.height)
        own = np.flatnonzero((rows >= first) & (rows < last))
        if len(own):
            pixels = raster.read(window=((first, last), (0, raster.width)))         # [bands, h, w]
            found[own] = pixels[:, rows[own] - first][:, :, columns].transpose(1, 2, 0)
    return found


def _imagery(parts: Parts, places: np.ndarray, side: int, rows: np.ndarray,
             columns: np.ndarray) -> np.ndarray:
    """[H, W, 3] of the tiles' thumbnails, at `rows` [H] and `columns` [W] of an area whose tiles
    are `side` pixels wide."""
    found = np.full((len(rows), len(columns), 3), NO_IMAGERY, np.uint8)
    for row, column in np.argwhere(places[..., 0] >= 0).tolist():
        y, x = np.searchsorted(rows, [row * side, (row + 1) * side]), np.searchsorted(columns,
                                                                                      [column * side, (column + 1) * side])
        if y[0] < y[1] and x[0] < x[1]:
            thumbnail = parts.read(int(places[row, column, 0]), "thumbnail",
                                   int(places[row, column, 1]))
            step = len(thumbnail) / side                         # those of a small city are shared
            inside_y = ((rows[slice(*y)] - row * side + 0.5) * step).astype(int)
            inside_x = ((columns[slice(*x)] - column * side + 0.5) * step).astype(int)
            found[slice(*y), slice(*x)] = thumbnail[inside_y][:, inside_x]
    return found
