"""Generate a city of any size, quick to make and about as hard as a real one."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from rasterio import Affine
from rasterio.windows import Window

CRS, WEST, NORTH = "EPSG:32633", 400_000.0, 5_800_000.0
TILE = 224
BUILDINGS = ("yes", "house", "residential", "apartments", "garage", "commercial", "industrial",
             "school", "church", "retail", "hut")


def write_city(folder: Path, width: int, height: int, objects: int,
               seed: int = 0) -> tuple[Path, Path]:
    """Write city.tif of width x height pixels of 1 m, and osm.gpkg with `objects` objects evenly
    over it: nine buildings to one land use. Return both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    raster, osm = folder / "city.tif", folder / "osm.gpkg"
    draw = np.random.default_rng(seed)
    _write_raster(raster, width, height, draw)
    is_building = draw.random(objects) < 0.9
    sizes = np.where(is_building[:, None], draw.uniform(6, 18, (objects, 2)),
                     draw.uniform(40, 90, (objects, 2)))
    values = np.where(is_building, draw.choice(BUILDINGS, objects), "residential")
    columns = {"building": np.where(is_building, values, None),
               "landuse": np.where(is_building, None, values)}
    gpd.GeoDataFrame(columns, geometry=rectangles(width, height, sizes, draw),
                     crs=CRS).to_file(osm, layer="objects", engine="pyogrio")
    return raster, osm


def _write_raster(path: Path, width: int, height: int, draw: np.random.Generator) -> None:
    """Write one noisy texture, repeated: smooth fields, sharp edges, grain."""
    side = 1024
    fields = np.kron(draw.integers(40, 200, (side // 32, side // 32, 3)), np.ones((32, 32, 1)))
    texture = np.clip(fields + draw.normal(0, 6, fields.shape), 0, 255).astype(np.uint8)
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=3,
                       dtype="uint8", crs=CRS, transform=Affine(1, 0, WEST, 0, -1, NORTH),
                       tiled=True, blockxsize=512, blockysize=512, compress="deflate",
                       predictor=2, zlevel=1, BIGTIFF="IF_SAFER", photometric="RGB") as target:
        for row in range(0, height, side):
            for col in range(0, width, side):
                window = Window(col, row, min(side, width - col), min(side, height - row))
                target.write(np.moveaxis(texture[:window.height, :window.width], -1, 0),
                             window=window)


def rectangles(width: float, height: float, sizes: np.ndarray,
               draw: np.random.Generator) -> np.ndarray:
    """Return [n] rectangles of sizes [n, 2] in metres, turned and placed at random in the city."""
    angle = draw.uniform(0, np.pi, len(sizes))
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)],
                    axis=1).reshape(-1, 1, 2, 2)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) / 2 * sizes[:, None]  # [n, 4, 2]
    centre = np.stack([WEST + draw.uniform(0, width, len(sizes)),
                       NORTH - draw.uniform(0, height, len(sizes))], axis=1)
    return shapely.polygons((turn @ corners[..., None])[..., 0] + centre[:, None])
