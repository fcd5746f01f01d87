"""Generated imagery in UTM and OSM objects over it, for the tests of the preparation."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from torch import Tensor

from datasets import TileDataset
from datasets.prepare.pipeline import prepare_tiles

UTM = "EPSG:32633"
WEST, NORTH, PIXEL = 500_000.0, 5_500_000.0, 0.5


def pixels(height: int, width: int, bands: int = 3) -> np.ndarray:
    """Return noise in which every pixel differs from its neighbours: [h, w, bands] uint8."""
    return np.random.default_rng(0).integers(1, 255, (height, width, bands), dtype=np.uint8)


def grid(col: float = 0, row: float = 0) -> Affine:
    """Return the geotransform of an image that begins at pixel (col, row) of the raster."""
    return Affine(PIXEL, 0, WEST + col * PIXEL, 0, -PIXEL, NORTH - row * PIXEL)


def write_raster(path: Path, image: np.ndarray, transform: Affine | None = None,
                 crs: str | None = UTM, **profile) -> Path:
    """Write a GeoTIFF of an image [h, w, bands]."""
    transform = grid() if transform is None else transform
    height, width, bands = image.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=bands,
                       dtype=image.dtype, crs=crs, transform=transform,
                       **profile) as dataset:
        dataset.write(np.moveaxis(image, -1, 0))
    return path


def square(x: float, y: float, side: float) -> shapely.Polygon:
    """Return a square, its corner x metres east and y south of the raster's top-left corner."""
    return shapely.box(WEST + x, NORTH - y - side, WEST + x + side, NORTH - y)


def metres(*points: tuple[float, float]) -> shapely.LineString:
    """Return a line through points in metres east and south of the raster's top-left corner."""
    return shapely.LineString([(WEST + x, NORTH - y) for x, y in points])


@dataclass
class Place:
    """Files of a generated place: 210 x 140 pixels of half a metre, which hold 3 x 2 whole tiles
    of 64 pixels (32 m)."""

    folder: Path
    raster: Path
    osm: Path
    image: np.ndarray
    frame: gpd.GeoDataFrame


def prepare(place: Place, **keys):
    """Prepare the place into its folder out, as city c of tiles of 64 pixels, or as `keys` say."""
    arguments = {"raster": place.raster, "osm": place.osm, "out": place.folder / "out",
                 "city": "c", "tile_px": 64, "progress": False}
    return prepare_tiles(**{**arguments, **keys})


def graph_of(place: Place, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return nodes, edges and relation codes of a tile of the place."""
    tiles = TileDataset(place.folder / "out", image_size=64)
    graph = tiles.read(tiles.names.index(name))[1]
    return graph.x, graph.edge_index, graph.edge_attr


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
            if path.is_file()}
