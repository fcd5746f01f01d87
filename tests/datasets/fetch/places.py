"""The sample city on a server: web map tiles, a GeoTIFF with ranges, OSM objects, population."""

import io
from dataclasses import dataclass
from pathlib import Path

import mercantile
import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

from datasets.bbox import BBox
from datasets.keys import FetchConfig
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import read_objects
from datasets.prepare.osm.tags import load_layers
from datasets.remote.http import Patience
from datasets.sample_city.write import write_sample_city
from tests.datasets.fetch.overpass import Planet
from tests.servers import Server

ZOOM = 17
PATIENCE = Patience(attempts=3, pause_s=0.01, connect_s=2, read_s=2)


@dataclass
class City:
    """Raw files of the sample city, its web map tiles, and objects for Overpass.

    Attributes:
        box: some of the city.
        tiles: path on a server -> content.
    """

    folder: Path
    box: BBox
    tiles: dict[str, bytes]
    planet: Planet

    @property
    def image(self) -> Path:
        return self.folder / "city.tif"

    def serve(self, server: Server) -> None:
        """Put all of it on a server."""
        server.folder = self.folder
        server.files |= self.tiles
        server.files["/api/interpreter"] = self.planet

    def keys(self, server: Server, out: Path, **keys: object) -> FetchConfig:
        """Return the configuration of a run."""
        defaults = {"bbox": list(self.box.bounds), "out": str(out), "zoom": ZOOM,
                    "imagery": f"{server.url}/tiles/{{z}}/{{x}}/{{y}}.png", "osm": "overpass",
                    "overpass_url": f"{server.url}/api/interpreter"}
        return FetchConfig(**{**defaults, **keys})


def objects(path: Path, city: City) -> list[tuple[int, str, bytes]]:
    """Return layer, value and shape of the objects of a file in the city's box, sorted."""
    chunks = read_objects(path, "EPSG:4326", city.box.bounds, load_layers(), Census())
    return sorted((int(layer), value, shape.normalize().wkb) for chunk in chunks
                  for layer, value, shape in zip(chunk.layer, chunk.value, chunk.geometry,
                                                 strict=True))


def whole(city: City, folder: Path) -> Path:
    """Return the file of all of the city's objects."""
    path = folder / "whole.osm"
    path.write_text(city.planet.osm(), encoding="utf-8")
    return path


def make_city(folder: Path) -> City:
    write_sample_city(folder, tiles=2, seed=0)
    with rasterio.open(folder / "city.tif") as dataset:
        west, south, east, north = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        box = BBox(*(round(side, 5) for side in (
            west + (east - west) * 0.2, south + (north - south) * 0.2,
            west + (east - west) * 0.8, south + (north - south) * 0.8)))
        tiles = {f"/tiles/{tile.z}/{tile.x}/{tile.y}.png": _tile(dataset, tile)
                 for tile in box.tiles(ZOOM)}
    return City(folder, box, tiles, _planet(box))


def _tile(dataset: rasterio.DatasetReader, tile: mercantile.Tile) -> bytes:
    grid = from_bounds(*mercantile.xy_bounds(tile), 256, 256)
    with WarpedVRT(dataset, crs="EPSG:3857", transform=grid, width=256, height=256) as view:
        pixels = view.read((1, 2, 3))
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(pixels, 0, -1)).save(buffer, "PNG")
    return buffer.getvalue()


def _planet(box: BBox) -> Planet:
    """Return objects in the box, across its sides, around it, and just outside of it."""
    width, height = box.east - box.west, box.north - box.south

    def ring(left: float, low: float, right: float, high: float) -> list[tuple[float, float]]:
        x0, x1 = (round(box.west + share * width, 7) for share in (left, right))
        y0, y1 = (round(box.south + share * height, 7) for share in (low, high))
        return [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]

    planet = Planet()
    for number in range(36):
        x, y = number % 6 / 6, number // 6 / 6
        planet.ways[number + 1] = (ring(x, y, x + 0.1, y + 0.1), {"building": "house"})
    planet.ways |= {
        101: ([(box.west - width, box.south + height / 3), (box.east + width, box.north)],
              {"highway": "primary"}),
        102: (ring(-5, -5, 6, 6), {"landuse": "residential"}),
        103: (ring(-0.2, 0.4, 1.2, 0.7), {}), 104: (ring(0.4, 0.5, 0.6, 0.6), {}),
        105: (ring(1.01, 0.2, 1.02, 0.3), {"natural": "water"})}
    planet.relations[7] = ([(103, "outer"), (104, "inner")],
                           {"type": "multipolygon", "leisure": "park", "name": "Ä & Ö"})
    planet.nodes = {5: (ring(0.3, 0.3, 1, 1)[0], {"amenity": "cafe"}),
                    6: (ring(0.8, 0.2, 1, 1)[0], {"highway": "crossing"})}
    return planet
