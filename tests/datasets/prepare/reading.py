"""All chunks of a reading at once, for the tests of OSM sources."""

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely

from datasets.prepare.geo.crs import Bounds
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import read_objects
from datasets.prepare.osm.tags import LAYERS, LayerTable, load_layers
from tests.datasets.prepare.places import NORTH, UTM, WEST

BOUNDS = (WEST, NORTH - 70, WEST + 105, NORTH)
WORLD = ("EPSG:4326", (-180, -89, 180, 89))


@dataclass
class Reading:
    """Layer names, values [n] and shapes [n] of all objects, in order, and the census."""

    layers: list[str]
    values: list[str]
    geometry: np.ndarray
    census: Census

    @property
    def listing(self) -> list[tuple[str, str]]:
        return list(zip(self.layers, self.values, strict=True))

    def one(self, layer: str, value: str):
        """Return the shape of the only object with that layer and value."""
        (index,) = [index for index, pair in enumerate(self.listing) if pair == (layer, value)]
        return self.geometry[index]


def assert_same_objects(found: Reading, expected: Reading, tolerance: float = 1e-7) -> None:
    """Assert that two readings have the same objects, in any order and from any vertex on."""
    def order(reading: Reading) -> tuple[list, np.ndarray]:
        rows = sorted(zip(reading.listing, shapely.normalize(reading.geometry), strict=True),
                      key=lambda row: (row[0], np.round(row[1].bounds, 6).tolist()))
        return [listing for listing, _ in rows], np.array([shape for _, shape in rows], object)
    (tags, shapes), (expected_tags, expected_shapes) = order(found), order(expected)
    assert tags == expected_tags
    apart = shapely.hausdorff_distance(shapes, expected_shapes)
    assert (apart <= tolerance).all()


def read(path: Path, crs: object = UTM, bounds: Bounds = BOUNDS,
         table: LayerTable | None = None) -> Reading:
    table, census = table or load_layers(), Census()
    chunks = list(read_objects(path, crs, bounds, table, census))
    return Reading(
        [LAYERS[layer] for chunk in chunks for layer in chunk.layer],
        [value for chunk in chunks for value in chunk.value],
        np.concatenate([np.array([], dtype=object), *(chunk.geometry for chunk in chunks)]),
        census,
    )


def write(path: Path, columns: dict, geometry: list, crs: str = UTM) -> Path:
    gpd.GeoDataFrame(columns, geometry=geometry, crs=crs).to_file(path, engine="pyogrio")
    return path
