"""The pictures of a scene, all of the same ground and size, and their entries in scene.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from PIL import Image
from rasterio.enums import Resampling

from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.osm.spool import Spool
from datasets.prepare.preview import OPACITY_ON_PLAIN, draw_objects
from datasets.targets import UNKNOWN
from utils.files import replacing
from utils.style import LAYER_COLOURS, LINE, OSM_GROUND, SEQUENTIAL, rgb

FIGURES = "figures"
LONGEST = 1600       # pixels along a picture's longer side
SHOWN_COLOURS = 9    # of a scale
OPACITY = 0.7
NO_IMAGERY = 238     # grey
QUALITY = 85         # of a JPEG


def imagery_layer(mosaic: Mosaic, out: Path) -> tuple[dict[str, Any], tuple[int, int]]:
    """Draw the imagery; return its layer for scene.json, and height and width of all pictures."""
    image, valid = mosaic.thumbnail(LONGEST)
    image = np.where(valid[..., None], image, np.uint8(NO_IMAGERY))
    file = save_picture(Image.fromarray(image), out, "imagery.jpg", quality=QUALITY)
    return {"name": "imagery", "file": file}, valid.shape


def objects_layer(ground: BareGround, spool: Spool,
                  out: Path) -> tuple[dict[str, Any], tuple[int, int]]:
    """Draw the OSM objects of ground without imagery; return what `imagery_layer` does."""
    _, inside = ground.thumbnail(LONGEST)
    plain = rgb([OSM_GROUND])[0] / np.float32(255)
    picture = np.tile(plain, (*inside.shape, 1))
    draw_objects(picture, ground, spool, LINE)
    file = save_picture(Image.fromarray(np.rint(255 * picture).astype(np.uint8)), out,
                        "objects.png")
    colours = [to_hex((1 - OPACITY_ON_PLAIN) * plain + OPACITY_ON_PLAIN * np.array(to_rgb(colour)))
               for colour in LAYER_COLOURS.values()]
    legend = [{"name": name, "colour": colour}
              for name, colour in zip(LAYER_COLOURS, colours, strict=True) if spool.counts[name]]
    return {"name": "OSM objects", "file": file, "legend": legend}, inside.shape


def class_layer(path: Path, classes: Sequence[str], colours: Sequence[str], areas: np.ndarray,
                shape: tuple[int, int]) -> dict[str, Any]:
    """Draw the classes of the raster at `path`, of `areas` [C] square metres each, as a picture of
    height and width `shape`; return its layer for scene.json."""
    with rasterio.open(path) as file:
        labels = file.read(1, out_shape=shape, resampling=Resampling.nearest)
    palette = np.zeros((UNKNOWN + 1, 3), np.uint8)
    palette[: len(colours)] = rgb(colours)
    picture = Image.fromarray(labels)
    picture.putpalette(palette.tobytes())  # keeps the file small
    shares = areas / max(areas.sum(), 1e-9)
    legend = [{"name": name, "colour": colour, "share": round(float(share), 4),
               "hectares": round(float(area) / 1e4, 4)}
              for name, colour, share, area in zip(classes, colours, shares, areas, strict=True)]
    file = save_picture(picture, path.parent, "map.png", transparency=UNKNOWN)
    return {"name": "land use", "file": file, "opacity": OPACITY, "legend": legend}


def amount_layer(name: str, values: np.ndarray, cell_px: float, unit: str, out: Path,
                 shape: tuple[int, int]) -> dict[str, Any]:
    """Draw amounts and return their layer, called `name`, for scene.json.

    Args:
        values: [rows, columns], nan where there is none.
        cell_px: side of a cell in pixels of the picture, which has height and width `shape`.
    """
    known = np.isfinite(values)
    low, high = 0.0, 1.0
    if known.any():
        low, high = min(float(values[known].min()), 0.0), float(values[known].max())
    shares = (np.where(known, values, low) - low) / ((high - low) or 1)
    cells = (255 * colormaps[SEQUENTIAL](shares)).astype(np.uint8)             # [rows, columns, 4]
    cells[~known] = 0
    rows, columns = (np.minimum((np.arange(side) + 0.5) // cell_px, count - 1).astype(int)
                     for side, count in zip(shape, values.shape, strict=True))
    colours = list(map(to_hex, colormaps[SEQUENTIAL](np.linspace(0, 1, SHOWN_COLOURS))))
    file = save_picture(Image.fromarray(cells[np.ix_(rows, columns)]), out, "totals.png")
    return {"name": name, "file": file, "opacity": OPACITY,
            "scale": {"low": low, "high": high, "colours": colours, "unit": unit}}


def save_picture(picture: Image.Image, out: Path, name: str, **options: Any) -> str:
    """Write a picture into the folder of figures and return its path from `out`."""
    folder = out / FIGURES
    folder.mkdir(exist_ok=True)
    with replacing(folder / name) as temporary:
        picture.save(temporary, format="JPEG" if name.endswith(".jpg") else "PNG", **options)
    return f"{FIGURES}/{name}"
