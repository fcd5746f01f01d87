"""A quick look at a preparation: the raster, the OSM objects over it in a colour for each layer, and the grid of tiles."""

from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.features import rasterize

from datasets.prepare.grid import TileGrid
from datasets.prepare.raster import Mosaic
from datasets.prepare.spool import Spool
from utils.files import replacing

SIDE_PX = 1600
MOST_LINES = 60  # tiles across up to which every tile's edge is drawn
OPACITY = 0.5
CHUNK = 20_000
# Okabe and Ito's palette, told apart by colour-blind readers too; from what lies below to what lies above.
COLOURS = {"landuse": "#F0E442", "leisure": "#009E73", "nature": "#56B4E9", "amenity": "#CC79A7", "road": "#FFFFFF", "building": "#D55E00"}


def draw_preview(path: Path, mosaic: Mosaic, grid: TileGrid, spool: Spool) -> None:
    """Write the picture as a PNG of at most 1600 pixels a side; objects are drawn in chunks, so any number of them will do."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    layers = list(spool.counts)
    rgb, valid = mosaic.thumbnail(SIDE_PX)
    picture = np.where(valid[..., None], rgb, 255) / 255.0
    scale = mosaic.width / rgb.shape[1], mosaic.height / rgb.shape[0]
    masks = _layer_masks(spool, len(layers), mosaic.transform @ Affine.scale(*scale), rgb.shape[:2])
    for name, colour in COLOURS.items():
        mask = masks[layers.index(name)]
        picture[mask] = (1 - OPACITY) * picture[mask] + OPACITY * np.array(to_rgb(colour))
    figure, axes = pyplot.subplots(figsize=(10, 10 * rgb.shape[0] / rgb.shape[1] + 0.7), layout="constrained")
    axes.imshow(picture, extent=(0, mosaic.width, mosaic.height, 0), interpolation="nearest")
    _draw_grid(axes, grid)
    handles = [Patch(facecolor=COLOURS[name], edgecolor="#888888", label=f"{name} ({spool.counts[name]})") for name in layers]
    axes.set_xlabel("pixels")
    figure.legend(handles=handles, loc="outside upper center", ncols=len(layers), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        figure.savefig(part, dpi=130, format="png")
    pyplot.close(figure)


def _layer_masks(spool: Spool, layers: int, transform: Affine, shape: tuple[int, int]) -> np.ndarray:
    """Where each layer has an object: [layers, h, w] bool"""
    masks = np.zeros((layers, *shape), bool)
    for start in range(0, len(spool), CHUNK):
        members = np.arange(start, min(start + CHUNK, len(spool)))
        geometry, layer = spool.geometries(members), spool.layers(members)
        for index in np.unique(layer):
            shapes = geometry[layer == index].tolist()
            masks[index] |= rasterize(shapes, out_shape=shape, transform=transform, all_touched=True, dtype="uint8") > 0
    return masks


def _draw_grid(axes, grid: TileGrid) -> None:
    every = max(1, -(-max(grid.columns, grid.rows) // MOST_LINES))  # a huge grid would hide the city: every n-th line
    right, bottom = ((count - 1) * grid.stride + grid.tile_px for count in (grid.columns, grid.rows))
    style = {"color": "black", "linewidth": 0.5, "alpha": 0.6}
    for lines, draw, end in ((grid.columns, axes.vlines, bottom), (grid.rows, axes.hlines, right)):
        starts = np.arange(0, lines, every) * grid.stride
        draw([*starts, *(starts[-1:] + grid.tile_px)], 0, end, **style)
