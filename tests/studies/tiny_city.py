"""The raw files of a tiny city, as the benchmark takes them, and the command on them."""

import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from studies import benchmark, benchmark_plan

CRS, WEST, NORTH = "EPSG:32633", 500_000, 5_500_000
SIDE, TILE = 9, 32  # tiles along a side, of pixels of a metre
SMALL = ("folds=3", "block=3", "seeds=[0]", f"tile_px={TILE}", "labels=[all]", "pretrain_epochs=1",
         "effort=0.01", "workers=1", "accelerator=cpu")


def write_city(folder: Path) -> Path:
    """Write imagery, OSM, classes, volumes and heights of SIDE x SIDE tiles."""
    folder.mkdir(parents=True)
    draw, side = np.random.default_rng(0), SIDE * TILE
    image = draw.integers(0, 256, (3, side, side), dtype=np.uint8)
    _raster(folder / "ortho.tif", image, 1)
    corners = draw.random((150, 2)) * (side - 8)
    houses = [shapely.box(WEST + x, NORTH - y - 8, WEST + x + 8, NORTH - y) for x, y in corners]
    gpd.GeoDataFrame({"building": ["house", "shed", "church"] * 50}, geometry=houses,
                     crs=CRS).to_file(folder / "osm.gpkg", layer="osm")
    stripes = [shapely.box(WEST + x, NORTH - side, WEST + x + TILE / 2, NORTH)
               for x in range(0, side, TILE // 2)]
    gpd.GeoDataFrame({"class": ["town", "wood"] * SIDE}, geometry=stripes,
                     crs=CRS).to_file(folder / "landuse.gpkg", layer="landuse")
    cells = side // 8
    _raster(folder / "building_volume.tif", draw.random((1, cells, cells), dtype=np.float32), 8)
    _raster(folder / "height.tif", 5 * draw.random((1, cells, cells), dtype=np.float32), 8)
    return folder


def _raster(path: Path, values: np.ndarray, metres: float) -> None:
    bands, height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=bands,
                       dtype=values.dtype, crs=CRS,
                       transform=from_origin(WEST, NORTH, metres, metres)) as target:
        target.write(values)


def run(city: Path, out: Path, *overrides: str, removed=(1.0,), shifted=()) -> None:
    """Run the benchmark in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(benchmark_plan, "REMOVED", removed)
        patched.setattr(benchmark_plan, "SHIFTED", shifted)
        patched.setattr("evaluation.patch_models.STEPS", 20)
        patched.setattr(sys, "argv", ["benchmark", f"data={city}", f"out={out}", *SMALL,
                                      *overrides])
        benchmark.main()
