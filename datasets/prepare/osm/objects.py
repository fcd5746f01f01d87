"""OSM objects of a raster's extent, from any source, as valid polygons in the raster's CRS.

Chunk by chunk: read tagged features, keep those near the raster, reproject them, give points and
lines a shape in metres, repair, keep what overlaps the raster, and keep equal geometries of a
layer once. Only the digests of the objects kept stay in memory.
"""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from pyproj import CRS, Transformer

from datasets.prepare.osm import osm_files, vector_files
from datasets.prepare.osm.osm_files import OsmFile, is_osm_file
from datasets.prepare.osm.tags import LayerTable, Tagged, listed
from datasets.prepare.osm.vector_files import VectorLayer, vector_layers
from utils.errors import PrepareError

Box = tuple[float, float, float, float]
_POINTS, _LINES = (0, 4), (1, 2, 5)  # shapely's type ids, single and multi
_MULTIPOLYGON, _GEOMETRY_COLLECTION = 6, 7
_DISC_QUADRANT, _ROAD_QUADRANT = 8, 4  # segments of a quarter circle
_DEGREE_M = 110_000  # of latitude, and of longitude at the equator, at least
_FORMATS = "an .osm.pbf or .osm file, a GeoPackage, GeoParquet, GeoJSON or Shapefile, or a folder of them"


@dataclass(frozen=True)
class OsmObjects:
    """One chunk of objects in the raster's CRS, in the source's order.

    Attributes:
        layer: [n] int64, index into the layer names.
        value: [n] object, tag values.
        geometry: [n] shapely Polygons and MultiPolygons, valid, each meeting the raster.
    """

    layer: np.ndarray
    value: np.ndarray
    geometry: np.ndarray

    def __len__(self) -> int:
        return len(self.layer)


@dataclass
class Census:
    """What a reading came upon; filled while `read_objects` goes on.

    Attributes:
        repaired: objects whose geometry was invalid.
        dropped: objects that cannot be used, by reason; those that lie outside for sure are not
            counted here.
        outside: features of the sources that lie outside the raster.
        extent: west, south, east, north in EPSG:4326 of all that the sources hold; known when a
            reading has ended without any object.
        files: every file that was read.
        layers: number of layers that have tags and features.
        empty: whether the sources hold no feature at all, as the answer to a query that found
            nothing does.
    """

    repaired: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    outside: int = 0
    extent: Box | None = None
    files: list[Path] = field(default_factory=list)
    layers: int = 0
    empty: bool = False


def read_objects(
    osm: str | Path, crs: object, bounds: Box, table: LayerTable, census: Census,
    progress: Callable[[int], object] | None = None,
    scratch: Path | None = None,
) -> Iterator[OsmObjects]:
    """Objects of `osm` that overlap a raster, in chunks of at most about 50,000 features; those
    without a tag of `table` are passed over.

    Args:
        osm: a file of vectors or of OpenStreetMap, or a folder of them.
        crs, bounds: of the raster; the objects come in this CRS.
        census: counts what is left out.
        progress: called after each chunk with the number of features read since its last call.
        scratch: folder of temporary files, 16 bytes for each node of an OpenStreetMap file; None:
            the system's, often in memory.

    Raises:
        PrepareError: no such source, not readable, no CRS, or no tags that the table knows.
    """
    place = _Place(CRS.from_user_input(crs), bounds, table, census)
    sources = _sources(Path(osm), table, scratch)
    census.layers, census.empty = len(sources), not sources
    census.files = [file for source in sources for file in source.files]
    any_found = False
    for source in sources:
        window = place.window_in(source.crs)
        read = 0
        for tagged in source.chunks(window):
            objects = place.objects(tagged, source.crs, window)
            read += tagged.read
            if progress:
                progress(tagged.read)
            if len(objects):
                any_found = True
                yield objects
        # a source with an index gives only what is near
        census.outside += max(source.count - read, 0)
    census.dropped = +census.dropped
    if not any_found:
        census.extent = _extent(sources)


def no_overlap_message(osm: str | Path, census: Census, crs: object, bounds: Box,
                       without: str) -> str:
    """Why a finished reading gave no object, and what to do; `without`: how to do without objects,
    as the end of a sentence."""
    remedy = f"Pass the OSM data of the raster's place, {without}."
    if census.empty:
        return (f"{osm}: holds no feature, expected the OSM objects of the raster's place. The "
                "area or the query that made the file found nothing: export or download them "
                f"again, {without}.")
    unusable = f" ({listed(census.dropped)} cannot be used)" if +census.dropped else ""
    if census.extent is None:
        return (f"{osm}: holds no object in any of its {census.layers} usable layers{unusable}, "
                f"expected some. {remedy}")
    raster = _transformed_bounds(bounds, CRS.from_user_input(crs), CRS.from_epsg(4326))
    found, expected = (", ".join(f"{value:.5f}" for value in box)
                       for box in (census.extent, raster))
    return (f"{osm}: no usable OSM object overlaps the raster{unusable}. Extent of the OSM data "
            f"{found}, of the raster {expected} (west, south, east, north in EPSG:4326). {remedy}")


def _sources(path: Path, table: LayerTable, scratch: Path | None) -> list[VectorLayer | OsmFile]:
    """Every layer with tags, by file name; none where there are no features, which then need no
    tags.

    Raises:
        PrepareError: there is none though there are features, or a file is not readable.
    """
    sources, columns, features = [], [], 0
    for file in source_files(path):
        if is_osm_file(file):
            sources.append(OsmFile(file, table, scratch))
        else:
            layers, found, count = vector_layers(file, table)
            sources += layers
            columns += found
            features += count
    if features and not sources:
        raise PrepareError(_no_tags(path, sorted(set(columns)), table))
    return sources


def source_files(path: Path) -> list[Path]:
    """The files that `osm=` names. Raises PrepareError where there is none."""
    if path.is_dir():
        found = sorted(filter(_is_source, path.iterdir()))
        if not found:
            deeper = next(filter(_is_source, path.rglob("*")), None)
            if deeper:
                raise PrepareError(f"{path}: the folder itself holds no vector file, and its "
                                   "subfolders are not searched; pass one of them, such as "
                                   f"osm={deeper.parent}, or put the city's files into one "
                                   "folder.")
            suffixes = ", ".join(vector_files.SUFFIXES + osm_files.SUFFIXES)
            raise PrepareError(f"{path}: the folder holds no vector file; expected files ending "
                               f"in {suffixes}. Put the city's files there, or pass osm= one "
                               "file.")
        return found
    if not path.exists():
        raise PrepareError(f"{path}: no such file or folder. Pass osm= {_FORMATS}.")
    return [path]


def _is_source(path: Path) -> bool:
    return path.suffix.lower() in vector_files.SUFFIXES or is_osm_file(path)


def _no_tags(path: Path, columns: list[str], table: LayerTable) -> str:
    found = ", ".join(columns[:20]) + (" ..." if len(columns) > 20 else "") if columns else "none"
    attributes = path.with_suffix(".dbf")
    if path.suffix.lower() == ".shp" and not attributes.exists():
        found += f" (its attributes {attributes.name} are missing: put that file beside it)"
    return (f"{path}: no column names OSM tags; columns found: {found}. Expected text columns "
            f"called {', '.join(table.layer_of_key)}, or {vector_files.LABEL} with "
            f"key:value;key:value, or {vector_files.PACKED[0]} with an hstore, or "
            f"{vector_files.POINTER} that names the column of the value. Rename yours, or pass "
            "layers= a table with your keys, made like configs/osm_layers.yaml.")


@dataclass(frozen=True)
class _Place:
    """A raster's extent, and what was kept there so far."""

    crs: CRS
    bounds: Box
    table: LayerTable
    census: Census
    _digests: dict[int, np.ndarray] = field(default_factory=dict)  # sorted, by layer

    def window_in(self, crs: CRS) -> Box | None:
        """Bounds in `crs` of the raster and the reach of discs and roads around it; None where
        that has no finite bounds there."""
        degrees = CRS.from_epsg(4326)
        west, south, east, north = _transformed_bounds(self.bounds, self.crs, degrees)
        margin = self.table.margin_m / _DEGREE_M
        south, north = max(south - margin, -90), min(north + margin, 90)
        margin /= max(math.cos(math.radians(max(abs(south), abs(north)))), 1e-6)
        west, east = (-180, 180) if west > east else (max(west - margin, -180),
                                                      min(east + margin, 180))
        window = _transformed_bounds((west, south, east, north), degrees, crs)
        return window if np.isfinite(window).all() and window[0] <= window[2] else None

    def objects(self, tagged: Tagged, crs: CRS, window: Box | None) -> OsmObjects:
        """The polygons of one chunk that overlap the raster and were not there before."""
        count = self.census.dropped
        count.update(tagged.dropped)
        geometry = shapely.from_wkb(tagged.wkb, on_invalid="ignore")
        missing = shapely.is_missing(geometry) | shapely.is_empty(geometry)
        far = ~missing & ~_boxes_meet(geometry, window)
        count["without geometry"] += int(missing.sum())
        self.census.outside += int(far.sum())

        taken = ~(missing | far)
        rows = taken[tagged.owner]
        owner = (np.cumsum(taken) - 1)[tagged.owner[rows]]
        rule, value, geometry = tagged.rule[rows], tagged.value[rows], geometry[taken]
        shaped = _transformed(geometry, crs, self.crs)[owner]  # [tags], as all that follows
        self._widen(shaped, geometry[owner], rule, value, crs)

        near = _boxes_meet(shaped, self.bounds)
        points, lines = near & _is_kind(shaped, _POINTS), near & _is_kind(shaped, _LINES)
        self.census.outside += int((~near).sum())
        count["points"] += int(points.sum())
        count["lines"] += int(lines.sum())
        keep = np.flatnonzero(near & ~points & ~lines)
        polygons, solid = self._repaired(shaped[keep])
        polygons, keep = polygons[solid], keep[solid]
        layer = np.array([rule.layer for rule in self.table.rules], dtype=np.int64)[rule[keep]]
        new = self._unseen(layer, polygons)
        return OsmObjects(layer[new], value[keep][new], polygons[new])

    def _widen(self, shaped: np.ndarray, geometry: np.ndarray, rule: np.ndarray, value: np.ndarray,
               crs: CRS) -> None:
        """Put what the rules make of points and lines into `shaped`; the others are left out
        later. All [n]; `geometry` is in `crs`."""
        points, lines = _is_kind(geometry, _POINTS), _is_kind(geometry, _LINES)
        rings = np.flatnonzero(
            lines & np.array([rule.lines == "ring" for rule in self.table.rules])[rule])
        shaped[rings] = _rings_to_polygons(shaped[rings])
        radius = np.array([rule.radius_m or np.nan for rule in self.table.rules])[rule]
        discs = np.flatnonzero(points & np.isfinite(radius))
        shaped[discs] = self._buffered(geometry[discs], radius[discs], _DISC_QUADRANT, crs)
        roads = np.flatnonzero(lines & np.array([rule.lines == "buffer"
                                                 for rule in self.table.rules])[rule])
        width = np.array([self.table.width_m.get(kind, self.table.default_width_m)
                          for kind in value[roads]])
        shaped[roads] = self._buffered(geometry[roads], width / 2, _ROAD_QUADRANT, crs)

    def _buffered(self, geometry: np.ndarray, metres: np.ndarray, quadrant: int,
                  crs: CRS) -> np.ndarray:
        return _transformed(shapely.buffer(_transformed(geometry, crs, self._metric), metres,
                                           quad_segs=quadrant), self._metric, self.crs)

    @functools.cached_property
    def _metric(self) -> CRS:
        """An equal-area projection around the raster's centre: lengths are true to 0.1 % within
        500 km of it, at the poles too."""
        west, south, east, north = self.bounds
        centre = Transformer.from_crs(self.crs, 4326,
                                      always_xy=True).transform((west + east) / 2,
                                                                (south + north) / 2)
        return CRS.from_dict({"proj": "laea", "lon_0": centre[0], "lat_0": centre[1],
                              "datum": "WGS84", "units": "m"})

    def _repaired(self, geometry: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Valid polygons of each geometry, and which of them have an area and meet the raster. [n]
        -> [n], [n] bool"""
        invalid = ~shapely.is_valid(geometry)
        geometry[invalid] = shapely.make_valid(geometry[invalid])
        geometry = polygonal_part(geometry)
        single = np.flatnonzero(_is_kind(geometry, (_MULTIPOLYGON,
                                         )) & (shapely.get_num_geometries(geometry) == 1))
        # so that it equals the same shape from another source
        geometry[single] = shapely.get_geometry(geometry[single], 0)
        flat = shapely.is_empty(geometry)
        # any other lies in the raster or is flat
        crossing = np.flatnonzero(~_boxes_inside(geometry, self.bounds))
        extent = shapely.box(*self.bounds)
        meets = ~flat
        shapely.prepare(extent)
        meets[crossing] = shapely.intersects(extent, geometry[crossing])
        self.census.repaired += int((invalid & meets).sum())
        self.census.dropped["without area"] += int(flat.sum())
        self.census.outside += int((~meets & ~flat).sum())
        return geometry, meets

    def _unseen(self, layer: np.ndarray, geometry: np.ndarray) -> np.ndarray:
        """Places of the geometries that their layer did not have before, whichever vertex they
        begin with. [n] -> [kept]"""
        digest = pd.util.hash_array(shapely.to_wkb(shapely.normalize(geometry)), categorize=False)
        kept = []
        for index in np.unique(layer):
            places = np.flatnonzero(layer == index)
            seen = self._digests.get(index, np.array([], dtype=np.uint64))
            places = places[~np.isin(digest[places], seen)]
            places = places[np.sort(np.unique(digest[places], return_index=True)[1])]
            self._digests[index] = np.concatenate([seen, digest[places]])
            kept.append(places)
        kept = np.sort(np.concatenate(kept)) if kept else np.array([], dtype=np.int64)
        self.census.dropped["repeated in their layer"] += len(layer) - len(kept)
        return kept


def _extent(sources: list[VectorLayer | OsmFile]) -> Box | None:
    boxes = [(source.crs, source.bounds()) for source in sources]
    degrees = [_transformed_bounds(box, crs, CRS.from_epsg(4326)) for crs, box in boxes
               if box is not None]
    return tuple(
        shapely.total_bounds(shapely.box(*np.transpose(degrees))).tolist()) if degrees else None


def _transformed_bounds(box: Box, source: CRS, target: CRS) -> Box:
    return Transformer.from_crs(source, target,
                                always_xy=True).transform_bounds(*box, densify_pts=21)


def _transformed(geometry: np.ndarray, source: CRS, target: CRS) -> np.ndarray:
    """In another CRS and without heights; what lies outside the target's domain gets infinite
    coordinates. [n] -> [n]"""
    if source.equals(target, ignore_axis_order=True):
        return shapely.force_2d(geometry)
    return shapely.transform(geometry,
                             Transformer.from_crs(source, target, always_xy=True).transform,
                             interleaved=False)


def _is_kind(geometry: np.ndarray, type_ids: tuple[int, ...]) -> np.ndarray:
    return np.isin(shapely.get_type_id(geometry), type_ids)


def _boxes_meet(geometry: np.ndarray, box: Box | None) -> np.ndarray:
    """[n] bool: the geometry's box overlaps `box`; with None, all that have one."""
    west, south, east, north = shapely.bounds(geometry).T
    left, bottom, right, top = (-np.inf, -np.inf, np.inf, np.inf) if box is None else box
    return (west < right) & (east > left) & (south < top) & (north > bottom) & np.isfinite(
        west + south + east + north)


def _boxes_inside(geometry: np.ndarray, box: Box) -> np.ndarray:
    west, south, east, north = shapely.bounds(geometry).T
    left, bottom, right, top = box
    return ~((west < left) | (east > right) | (south < bottom) | (north > top))


def _rings_to_polygons(lines: np.ndarray) -> np.ndarray:
    """Closed lines of one part become polygons; the others stay. [n] -> [n]"""
    lines = lines.copy()
    single = shapely.get_geometry(lines, 0)
    ring = (shapely.get_num_geometries(lines)
            == 1) & shapely.is_closed(single) & (shapely.get_num_coordinates(single) >= 4)
    if ring.any():
        coordinates, owner = shapely.get_coordinates(single[ring], return_index=True)
        lines[ring] = shapely.polygons(shapely.linearrings(coordinates, indices=owner))
    return lines


def polygonal_part(geometry: np.ndarray) -> np.ndarray:
    """The polygons of each geometry: itself if it is polygonal, those of a collection as one
    MultiPolygon, else empty. [n] -> [n]"""
    geometry = geometry.copy()
    geometry[_is_kind(geometry, _POINTS + _LINES)] = shapely.Polygon()
    mixed = np.flatnonzero(_is_kind(geometry, (_GEOMETRY_COLLECTION,)))
    if len(mixed):
        parts, owner = shapely.get_parts(geometry[mixed], return_index=True)
        # a MultiPolygon inside the collection
        parts, inner = shapely.get_parts(parts, return_index=True)
        polygons = _is_kind(parts, (3,))
        geometry[mixed] = shapely.Polygon()
        owner = owner[inner][polygons]
        geometry[mixed[np.unique(owner)]] = shapely.multipolygons(parts[polygons],
                                                                  indices=np.unique(owner,
                                                                                    return_inverse=True)[1])
    return geometry
