"""Totals of zones, such as districts, from those of tiles."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataSourceError
from pyproj import CRS

from datasets.prepare.geo.crs import SEGMENTS, Bounds, moved, no_overlap, outlines
from datasets.prepare.geo.formats import own_drivers
from datasets.prepare.geo.vector_io import (
    Layer,
    checked_crs,
    geopandas_program,
    open_layers,
    parquet_table,
    reading,
    usable_crs,
)
from datasets.prepare.geo.wkb import COLLECTION, shapes_of
from datasets.prepare.targets.area_weighting import (
    PACIFIC,
    SLIVER,
    area_weighted_sums,
    equal_area_at,
)
from datasets.prepare.targets.polygons import one_layer
from inference.maps.geopackage import holdable
from utils.errors import PrepareError

COVERED = "covered"
MOST_PIECES = 4096       # of an edge along the longest side of any zone
AREA_TOLERANCE = 1.001   # reprojected zones side by side may share ground by this factor
HARDLY = 0.5             # share of a zone's ground, below which its total needs a remark
LEAPS = 2                # pieces of the scene's outline that a cut in the zones' CRS makes long
_GREENWICH = shapely.LineString([(0, -90), (0, 90)])
# PACIFIC is cut at Greenwich, and so are zones
_BESIDE_GREENWICH = shapely.union_all(shapely.box([-360, 1e-9], -90, [-1e-9, 360], 90))
_POLYGONAL = (3, 6)  # shapely's type ids of Polygon and MultiPolygon


def zone_totals(zones: Path, tiles: gpd.GeoDataFrame, value: str) -> gpd.GeoDataFrame:
    """Return totals of zones: the sum over tiles of total * area(tile and zone) / area(tile).

    A tile's total is taken as spread evenly over it. Areas are true ones, whatever the two CRSs.
    Zones may overlap, and each counts in full.

    Args:
        zones: a file with one layer of polygons, in any CRS.
        tiles: polygons that do not overlap, cut to the raster.
        value: their column of totals; nan: unknown.

    Returns:
        The zones in the file's order and CRS with all their columns, as a GeoPackage holds them
        (`geopackage.holdable`), and two more: `value`, nan where no tile with a value lies in the
        zone, and `covered`, the share of the zone's area that such tiles cover, 0..1. A total
        counts that share alone. Invalid polygons are repaired, and features without a polygon
        left out; `attrs["notes"]` says how many, and which columns are left out or renamed.

    Raises:
        PrepareError: the file is missing or cannot be read, has no polygons, several layers of
            them, no CRS, or columns named like the new ones, or no zone overlaps a tile.
    """
    frame = _read_zones(zones)
    _check_columns(zones, frame, value)
    frame, renamed = holdable(frame)
    scene = tuple(tiles.total_bounds.tolist())
    ground = equal_area_at(scene, CRS(tiles.crs))
    frame, shapes = _placed(zones, frame, _longest_edge(frame, scene, CRS(tiles.crs)), ground)
    sources = _equal_area(tiles.geometry.to_numpy(), CRS(tiles.crs),
                          _longest_side(tiles) / SEGMENTS, ground)
    if not shapely.STRtree(sources).query(shapes, predicate="intersects").size:
        raise no_overlap(zones, "zones", tuple(frame.total_bounds.tolist()), CRS(frame.crs), scene,
                         CRS(tiles.crs))
    totals = tiles[value].to_numpy(np.float64)
    known = np.isfinite(totals)
    areas, zone_areas = shapely.area(sources[known]), shapely.area(shapes)
    sums, shared = area_weighted_sums(shapes, sources[known], totals[known], areas)
    # an edge is straight in its own CRS only, so neighbours may seem to overlap by a sliver
    grazed = shared <= SLIVER * np.minimum(zone_areas, areas.max(initial=0))
    frame.attrs["notes"] += [f"{zones.name}: {note}" for note in renamed]
    if shared.sum() > areas.sum() * AREA_TOLERANCE:
        frame.attrs["notes"].append(f"{zones.name}: zones overlap, and each counts in full, so "
                                    "together they have more than there is")
    frame[value] = np.where(grazed, np.nan, sums)
    frame[COVERED] = np.where(grazed, 0, np.minimum(shared / zone_areas, 1))
    frame.attrs["notes"] += _notes_on_cover(zones.name, frame[COVERED].to_numpy())
    return frame


def _notes_on_cover(name: str, covered: np.ndarray) -> list[str]:
    """Return notes on zones that the tiles cover hardly, or not at all: `covered` [n] in 0..1."""
    notes, hardly = [], covered[(covered > 0) & (covered < HARDLY)]
    if len(hardly):
        notes.append(f"{name}: the tiles cover less than half of {len(hardly)} of {len(covered)} "
                     f"zones, of one {100 * hardly.min():.2g} %, and their totals count that part "
                     f"alone (column {COVERED})")
    if outside := np.count_nonzero(covered == 0):
        notes.append(f"{name}: {outside} of {len(covered)} zones have no tile, and so no total")
    return notes


def _read_zones(path: Path) -> gpd.GeoDataFrame:
    """Return the only layer of polygons."""
    if not path.exists():
        raise PrepareError(f"{path}: no such file. Pass zones= a file of polygons (GeoPackage, "
                           "GeoParquet, GeoJSON, Shapefile).")
    with reading(path, "cannot be read as polygons",
                 "Pass zones= a GeoPackage, GeoParquet, GeoJSON or Shapefile."):
        layers = [layer for layer in open_layers(path) if layer.polygonal]
        if len(layers) > 1:
            raise PrepareError(f"{path}: holds {len(layers)} layers of polygons "
                               f"({', '.join(layer.name for layer in layers)}), expected one. "
                               f"{one_layer(path, layers, 'zones')}")
        if not layers:
            raise _no_polygon(path)
        frame = _read_layer(layers[0])
        lost = layers[0].count - len(frame)
        if lost > 0 and not len(frame):
            raise DataSourceError(f"damaged: none of its {lost} features can be read")
    frame.attrs["notes"] = ([f"{path.name}: {lost} of {layers[0].count} zones cannot be read"]
                            if lost > 0 else [])
    checked_crs(path, frame.crs and frame.crs.to_wkt(), "zones")
    return frame


def _read_layer(layer: Layer) -> gpd.GeoDataFrame:
    if layer.geometry is None:
        with own_drivers():
            frame = pyogrio.read_dataframe(layer.path, layer=layer.name, on_invalid="ignore")
        shapes = frame.geometry.to_numpy().copy()
        mixed = shapely.get_type_id(shapes) == COLLECTION  # with curves, perhaps
        shapes[mixed] = shapes_of(shapely.to_wkb(shapes[mixed]))
        return frame.set_geometry(gpd.GeoSeries(shapes, index=frame.index, crs=frame.crs))
    table = parquet_table(layer, [*layer.columns, layer.geometry, *layer.further])
    names = [layer.geometry, *layer.further]
    values = table.drop_columns(names)
    try:
        frame = values.to_pandas()
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        frame = values.replace_schema_metadata().to_pandas()  # what pandas noted there is damaged
    for name in names:
        frame[name] = gpd.array.GeometryArray(shapes_of(table.column(name).to_pylist()))
    frame = gpd.GeoDataFrame(frame, geometry=layer.geometry, crs=usable_crs(layer.crs))
    numbered = frame.index.names == [None] and frame.index.dtype.kind in "iu"
    return frame if numbered else frame.reset_index(allow_duplicates=True)


def _no_polygon(path: Path) -> PrepareError:
    return PrepareError(f"{path}: holds no polygons, expected zones such as districts. Pass a "
                        "file of polygons as zones=.")


def _check_columns(path: Path, frame: gpd.GeoDataFrame, value: str) -> None:
    """Raise PrepareError without any polygon, or for a column named like a new one in any case."""
    taken = [name for name in frame.columns if str(name).casefold() in (value.casefold(), COVERED)]
    if taken:
        command = geopandas_program(
            path, None, f".rename(columns={ {taken[0]: f'{taken[0]}_before'} }).to_file",
            f"{path.stem}_renamed.gpkg")
        raise PrepareError(f"{path}: has a column {taken[0]} already, where the totals of the "
                           f"zones would go. Rename or remove it: `{command}`.")
    if not _polygonal(frame).any():
        raise _no_polygon(path)


def _longest_edge(frame: gpd.GeoDataFrame, scene: Bounds, crs: CRS) -> float:
    """Return the length of an edge, in the zones' units, that is nearly straight in other CRSs;
    all zones have the same one, as neighbours share edges."""
    outline = moved(outlines(np.array([scene]))[0], crs, CRS(frame.crs))
    pieces = np.hypot(*np.diff(outline[np.isfinite(outline).all(1)], axis=0).T)
    piece = np.sort(pieces)[-LEAPS - 1] if len(pieces) > LEAPS else 0
    return max(piece / 4, _longest_side(frame) / MOST_PIECES)


def _longest_side(frame: gpd.GeoDataFrame) -> float:
    """Return the width or height of the largest geometry."""
    bounds = frame.bounds.to_numpy()                                                       # [n, 4]
    return float(np.nanmax(bounds[:, 2:] - bounds[:, :2]))


def _placed(path: Path, frame: gpd.GeoDataFrame, longest: float,
            ground: CRS) -> tuple[gpd.GeoDataFrame, np.ndarray]:
    """Return the features whose polygon can be placed, repaired, with their shapes in `ground`."""
    frame, polygonal = frame.copy(), _polygonal(frame)
    broken = polygonal & ~shapely.is_valid(frame.geometry.to_numpy())
    geometry = frame.geometry.to_numpy().copy()
    geometry[broken] = shapely.make_valid(geometry[broken], method="structure",
                                          keep_collapsed=False)
    frame.geometry = gpd.GeoSeries(geometry, index=frame.index, crs=frame.crs)
    shapes = _equal_area(geometry, CRS(frame.crs), longest, ground)
    kept = polygonal & np.isfinite(shapely.bounds(shapes)).all(1)
    if not kept.any():
        raise _no_polygon(path)
    counts = {"left out: no polygon, or none that can be placed": np.count_nonzero(~kept),
              "repaired: an outline that crosses itself": np.count_nonzero(broken & kept)}
    frame = frame[kept]
    frame.attrs["notes"] = frame.attrs["notes"] + [
        f"{path.name}: {count} of {len(kept)} zones {what}"
        for what, count in counts.items() if count]
    return frame, shapes[kept]


def _polygonal(frame: gpd.GeoDataFrame) -> np.ndarray:
    """Return which features [n] have a polygon that is not empty."""
    geometry = frame.geometry.to_numpy()
    return np.isin(shapely.get_type_id(geometry), _POLYGONAL) & ~shapely.is_empty(geometry)


def _equal_area(geometry: np.ndarray, crs: CRS, longest: float, ground: CRS) -> np.ndarray:
    """Return geometries [n] of `crs` in `ground`, valid, with edges no longer than `longest`."""
    if ground == PACIFIC and crs.is_geographic:
        split = shapely.intersects(geometry, _GREENWICH)
        geometry = geometry.copy()
        geometry[split] = shapely.intersection(geometry[split], _BESIDE_GREENWICH)
    shapes = shapely.transform(shapely.segmentize(geometry, longest),
                               lambda points: moved(points, crs, ground))
    broken = np.isfinite(shapely.bounds(shapes)).all(1) & ~shapely.is_valid(shapes)
    shapes[broken] = shapely.make_valid(shapes[broken], method="structure", keep_collapsed=False)
    return shapes
