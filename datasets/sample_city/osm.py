"""What OpenStreetMap knows of the city: six layers of a GeoPackage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import shapely
from pyogrio import set_gdal_config_options
from pyogrio.raw import write

from datasets.sample_city.plan import Plan
from datasets.sample_city.record import LAYERS, Scene


def build_layers(scene: Scene, plan: Plan, west: float,
                 south: float) -> dict[str, tuple[np.ndarray, list[str], list[str]]]:
    """Geometries in CRS units clipped to the scene, tag values and names of each layer."""
    points, starts = scene.objects.arrays(plan.warp)
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    shapes = shapely.polygons(shapely.linearrings(points,
                                                  indices=owner)) if len(points) else np.array([],
                                                                                               object)
    lines = [shapely.linestrings(plan.warp(np.array(line))) for line, _, known in scene.roads
             if known]
    kinds = [kind for _, kind, known in scene.roads if known]
    shapes = keep_dry(shapes, scene, plan)
    layer = np.array([t[0] for t in scene.tags], dtype=int)
    result = {}
    for code, name in enumerate(LAYERS):
        if name == "highway":
            geometry, values, names = np.array(lines, object), kinds, [""] * len(kinds)
        else:
            own = np.flatnonzero(layer == code)
            geometry, values, names = shapes[own], [scene.tags[k][1]
                                                    for k in own], [scene.tags[k][2] for k in own]
        result[name] = clip(geometry, values, names, plan.side, west, south)
    return result


def keep_dry(shapes: np.ndarray, scene: Scene, plan: Plan) -> np.ndarray:
    """Take the rivers out of every area but water; buildings stand clear of them by themselves."""
    rivers = shapely.make_valid(np.array([shapely.Polygon(plan.warp(np.array(ring)[:, :2]))
                                          for ring in scene.rivers], object))
    tree = shapely.STRtree(rivers)
    river = shapely.union_all(rivers)
    land = np.array([value != "water" and LAYERS[layer] != "building"
                     for layer, value, _ in scene.tags], bool)
    wet = np.intersect1d(np.flatnonzero(land),
                         tree.query(shapes, predicate="intersects")[0]) if len(shapes) else []
    shapes[wet] = shapely.difference(shapes[wet], river)
    return shapes


def clip(geometry: np.ndarray, values: list[str], names: list[str], side: float, west: float,
         south: float):
    """Cut geometries to the scene's square, drop what is outside or degenerate, split what falls
    apart, move to CRS units."""
    box = shapely.box(0, 0, side, side)
    near = np.flatnonzero(shapely.intersects(geometry, box)) if len(geometry) else np.zeros(0, int)
    inside = shapely.within(geometry[near], box)
    cut = geometry[near].copy()
    cut[~inside] = shapely.intersection(shapely.make_valid(cut[~inside]), box)
    parts, source = shapely.get_parts(cut, return_index=True)
    parts = shapely.transform(parts, lambda xy: np.round(xy + np.array([west, south]), 2))
    line = shapely.get_type_id(parts) == 1
    kept = np.where(line, shapely.length(parts), shapely.area(parts)) > 1   # metres, square metres
    kept &= shapely.is_valid(parts)
    parts, source = parts[kept], near[source[kept]]
    return parts, [values[k] for k in source], [names[k] for k in source]


@contextmanager
def constant_date() -> Iterator[None]:
    """GeoPackages written meanwhile have bytes that depend on their content alone."""
    set_gdal_config_options({"OGR_CURRENT_DATE": "2024-06-01T12:00:00.000Z"})
    try:
        yield
    finally:
        set_gdal_config_options({"OGR_CURRENT_DATE": None})


def write_layers(path: Path, layers, crs: str) -> dict[str, int]:
    """Write a GeoPackage whose bytes depend on its content alone; returns objects per layer."""
    first, count = 100_000_000, {}
    with constant_date():
        for name, (geometry, values, names) in layers.items():
            ids = np.arange(first, first + len(values), dtype=np.int64)
            first += len(values)
            count[name] = len(values)
            kind = "LineString" if name == "highway" else "Polygon"
            named = np.array([n or None for n in names], dtype=object)
            write(path, shapely.to_wkb(geometry), [ids, np.array(values, dtype=object), named],
                  ["osm_id", name, "name"], layer=name,
                  driver="GPKG", geometry_type=kind, crs=crs, append=path.exists())
    return count
