"""Write the sample city: imagery, OpenStreetMap layers, land use, population and CO2, generated
from a seed."""

from __future__ import annotations

import cmath
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
from rasterio import Affine
from rasterio.errors import RasterioError
from rasterio.windows import Window
from tqdm import tqdm

from datasets.sample_city import countryside, quarters
from datasets.sample_city.marker import Marker, marker_of
from datasets.sample_city.osm import CRS, SOUTH, WEST, build_layers, write_districts, write_layers
from datasets.sample_city.paint import make_canvas, paint_window
from datasets.sample_city.plan import TILE, Plan, make_plan
from datasets.sample_city.record import Scene
from datasets.sample_city.site import Site
from datasets.sample_city.statistics import (
    CELL,
    PERSONS,
    ROAD_TONNES,
    TONNES,
    density,
    forget,
    land_use,
)
from datasets.sample_city.streets import build_streets
from datasets.targets import UNKNOWN
from utils.errors import RoseError
from utils.files import replacing

BLOCK = 4 * TILE                            # pixels painted at a time
FILES = {"image": "city.tif", "osm": "osm.gpkg", "landuse": "landuse.tif",
         "population": "population.tif", "co2": "co2.tif", "districts": "districts.gpkg"}
SUN = 1j * cmath.rect(1, -math.radians(146))    # it stands in the south-east, 146 degrees azimuth
DISTRICTS = {                               # what fills a quarter, and its land use
    "core": (partial(quarters.build_up, style=quarters.CORE), "commercial"),
    "business": (quarters.business, "commercial"),
    "campus": (quarters.campus, "institution"),
    "industry": (partial(quarters.build_up, style=quarters.INDUSTRY), "industrial"),
    "yard": (quarters.yard, "transport"),
    "slabs": (partial(quarters.build_up, style=quarters.SLABS), "residential"),
    "terraces": (partial(quarters.build_up, style=quarters.TERRACES), "residential"),
    "detached": (partial(quarters.build_up, style=quarters.DETACHED), "residential"),
    "park": (countryside.park, "green"),
    "lake": (countryside.lake, "green"),
    "forest": (countryside.forest, "green"),
    "farmland": (countryside.farmland, "farmland"),
    "brownfield": (countryside.brownfield, "undeveloped"),
    "scrub": (countryside.scrub, "undeveloped"),
}


@dataclass(frozen=True)
class SampleCity:
    """Files of a sample city, and how many objects of each OSM layer were written and left out on
    purpose."""

    image: Path
    osm: Path
    landuse: Path
    population: Path
    co2: Path
    districts: Path
    written: dict[str, int]
    omitted: dict[str, int]


def write_sample_city(out: Path, tiles: int = 12, seed: int = 0, progress: bool = False,
                      overwrite: bool = False) -> SampleCity:
    """Generate a city of tiles x tiles tiles of 224 m and write it as a user would have it.

    Args:
        out: folder for city.tif (RGB, 1 m/px), osm.gpkg (six layers), landuse.tif (classes 0..8,
            255 unknown), population.tif (persons/km2) and co2.tif (tonnes/km2/year), these two in
            cells of 56 m, and districts.gpkg. It is created where missing.
        tiles: tiles along each side, at least 1.
        seed: the same seed gives the same bytes.
        progress: show a bar while painting.
        overwrite: replace the generated city that `out` holds.

    Raises:
        RoseError: `tiles` is no whole number of at least 1, or `out` holds a city, or files that
            were not generated.
    """
    out, started = Path(out), Marker(tiles, seed)
    held = marker_of(out, "pass out= a new folder")
    if held and held.finished and not overwrite:
        raise RoseError(f"{out}: holds a city.tif already; pass overwrite=true to replace it and "
                        "its companions, or another out=")
    started.write(out)
    paths = {name: out / file for name, file in FILES.items()}
    plan = make_plan(tiles, seed)
    scene = build_scene(plan, seed)
    forget(scene, plan, seed)
    with replacing(paths["osm"], OSError, RuntimeError) as temporary:
        written = write_layers(temporary, build_layers(scene, plan))
        _check_layers(temporary, written)
    with replacing(paths["districts"], OSError, RuntimeError) as temporary:
        write_districts(temporary, plan)
    canvas, side = make_canvas(scene, plan, seed), tiles * TILE
    corners = [(row, col) for row in range(0, side, BLOCK) for col in range(0, side, BLOCK)]
    with raster(paths["image"], side, 3, "uint8", photometric="RGB") as target:
        for row, col in tqdm(corners, desc="painting", disable=not progress):
            shape = min(BLOCK, side - row), min(BLOCK, side - col)
            target.write(paint_window(canvas, row, col, shape).transpose(2, 0, 1),
                         window=Window(col, row, *shape[::-1]))
    with raster(paths["landuse"], side, 1, "uint8", nodata=UNKNOWN) as target:
        target.write(land_use(scene, plan), 1)
    for k, (name, unit, rates) in enumerate((
            ("population", "persons per square kilometre", (PERSONS, {})),
            ("co2", "tonnes of CO2 per square kilometre and year", (TONNES, ROAD_TONNES)))):
        values = density(scene, plan, *rates)
        noise = np.exp(np.random.default_rng([seed, k]).normal(0, 0.1, values.shape))   # 10 %
        with raster(paths[name], len(values), 1, "float32", CELL) as target:
            target.write((values * noise).astype(np.float32), 1)
            target.set_band_description(1, unit)
    Marker(tiles, seed, finished=True).write(out)
    return SampleCity(written=written, omitted=dict(scene.omitted), **paths)


def _check_layers(path: Path, written: dict[str, int]) -> None:
    """Raise OSError unless a GeoPackage holds what was written: GDAL may meet a full disk without
    an error."""
    for layer, count in written.items():
        found = pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"]
        if found != count:
            raise OSError(f"{found} of {count} objects of {layer} are there")


def build_scene(plan: Plan, seed: int) -> Scene:
    """Fill every quarter of the plan, then build the streets between them."""
    scene = Scene(SUN / plan.warp.turn)
    for quarter in plan.quarters:
        rng = random.Random(f"quarter {seed} {quarter.index}")
        scene.memory = random.Random(f"mappers {seed} {quarter.index}")
        scene.drop = 1.0 if not quarter.mapped else 1 / 3 if rng.random() < 0.3 else 0.04
        build, use = DISTRICTS[quarter.kind]
        scene.area(quarter.ring, use)
        ring = quarter.ring.inset()
        if ring.area > 900:
            build(Site(scene, plan, rng, quarter), ring)
    scene.drop, scene.memory = 0.0, random.Random(f"mappers {seed}")
    build_streets(scene, plan, random.Random(f"streets {seed}"))
    return scene


@contextmanager
def raster(path: Path, side: int, bands: int, dtype: str, metres: float = 1.0,
           **options: object) -> Iterator[rasterio.io.DatasetWriter]:
    """Write a compressed GeoTIFF of side x side pixels on the city's grid, whole or absent."""
    if metres == 1:
        options |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE}
    with replacing(path, OSError, RasterioError) as temporary:
        with rasterio.open(
            temporary, "w", driver="GTiff", width=side, height=side, count=bands, dtype=dtype,
            crs=CRS, transform=Affine(metres, 0, WEST, 0, -metres, SOUTH + side * metres),
            compress="deflate", predictor=3 if dtype == "float32" else 2, BIGTIFF="IF_SAFER",
            **options,
        ) as target:
            yield target
        with rasterio.open(temporary) as written:  # GDAL meets a full disk without an error
            for _, window in written.block_windows(1):
                written.read(window=window)
