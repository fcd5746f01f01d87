"""What OpenStreetMap knows of the city: six layers of a GeoPackage; and its districts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import shapely
from pyogrio.raw import write

from datasets.prepare.geo.geopackage import constant_date
from datasets.sample_city.plan import Plan
from datasets.sample_city.record import LAYERS, Rings, Scene

CRS = "EPSG:32633"
WEST, SOUTH = 392_000.0, 5_812_000.0        # south-west corner in CRS metres
Layer = tuple[np.ndarray, np.ndarray, np.ndarray]       # geometries, tag values, names


def polygons(rings: Rings, plan: Plan) -> np.ndarray:
    """Return the rings as shapely polygons in map metres, [n] of objects."""
    shapes = rings.on_map(plan.warp)
    owner = np.repeat(np.arange(len(rings)), np.diff(shapes.starts))
    return shapely.polygons(shapely.linearrings(shapes.points, indices=owner))


def build_layers(scene: Scene, plan: Plan) -> dict[str, Layer]:
    """Return geometries in CRS units, cut to the scene, tag values and names of each layer."""
    shapes = keep_dry(polygons(scene.objects, plan), scene, plan) if scene.tags else np.array([])
    tags = np.array(scene.tags, dtype=object).reshape(-1, 3)
    layers = {}
    for name in LAYERS[:-1]:
        own = tags[:, 0] == name
        layers[name] = clip(shapes[own], tags[own, 1], tags[own, 2], plan.side)
    lines = [shapely.linestrings(plan.warp(np.array(line)).view(float).reshape(-1, 2))
             for line, _ in scene.roads]
    kinds = np.array([kind for _, kind in scene.roads], dtype=object)
    layers["highway"] = clip(np.array(lines, object), kinds, np.full(len(kinds), ""), plan.side)
    return layers


def keep_dry(shapes: np.ndarray, scene: Scene, plan: Plan) -> np.ndarray:
    """Take the rivers out of every area but water; buildings stand clear of them by themselves."""
    banks = Rings()
    for ring in scene.rivers:
        banks.add(ring, 0)
    rivers = shapely.union_all(shapely.make_valid(polygons(banks, plan))) if len(banks) else None
    land = np.array([value != "water" and layer != "building" for layer, value, _ in scene.tags])
    wet = land & shapely.intersects(shapes, rivers)
    shapes[wet] = shapely.difference(shapes[wet], rivers)
    return shapes


def clip(geometry: np.ndarray, values: np.ndarray, names: np.ndarray, side: float) -> Layer:
    """Cut geometries to the scene's square, drop what is outside or degenerate, split what falls
    apart, move to CRS units."""
    box = shapely.box(0, 0, side, side)
    near = np.flatnonzero(shapely.intersects(geometry, box))
    inside = shapely.within(geometry[near], box)
    cut = geometry[near].copy()
    cut[~inside] = shapely.intersection(shapely.make_valid(cut[~inside]), box)
    pieces, source = shapely.get_parts(cut, return_index=True)
    pieces = shapely.transform(pieces, lambda xy: np.round(xy + np.array([WEST, SOUTH]), 2))
    line = shapely.get_type_id(pieces) == 1
    kept = np.where(line, shapely.length(pieces), shapely.area(pieces)) > 1  # m, m2
    kept &= shapely.is_valid(pieces)
    source = near[source[kept]]
    return pieces[kept], values[source], names[source]


def write_layers(path: Path, layers: dict[str, Layer]) -> dict[str, int]:
    """Write a GeoPackage whose bytes depend on its content alone; return objects per layer."""
    first = 100_000_000
    with constant_date():
        for name, (geometry, values, names) in layers.items():
            ids = np.arange(first, first + len(values), dtype=np.int64)
            first += len(values)
            kind = "LineString" if name == "highway" else "Polygon"
            named = np.array([text or None for text in names], dtype=object)
            write(path, shapely.to_wkb(geometry), [ids, values, named], ["osm_id", name, "name"],
                  layer=name, driver="GPKG", geometry_type=kind, crs=CRS, append=path.exists())
    return {name: len(values) for name, (_, values, _) in layers.items()}


def write_districts(path: Path, plan: Plan) -> None:
    """Write the quarters, cut to the city, which they share out among them, each with a name such
    as `terraces 3`."""
    seen: Counter[str] = Counter()
    names = []
    for quarter in plan.quarters:
        seen[quarter.kind] += 1
        names.append(f"{quarter.kind} {seen[quarter.kind]}")
    corners = np.array([quarter.ring.points for quarter in plan.quarters])
    rings = shapely.polygons(plan.warp(corners.ravel()).view(float).reshape(-1, 4, 2))
    column = np.array(names, dtype=object)
    geometry, column, _ = clip(rings, column, column, plan.side)
    with constant_date():
        write(path, shapely.to_wkb(geometry), [column], ["district"], layer="districts",
              driver="GPKG", geometry_type="Polygon", crs=CRS)
