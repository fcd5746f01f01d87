"""OSM objects on a raster, from any source, as valid polygons in the raster's CRS.

Chunk by chunk: read tagged features, keep those near the raster, reproject them, widen points and
lines, repair, keep what overlaps the raster, and keep equal geometries of a layer once. Only the
digests of the kept objects stay in memory.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from pyproj import CRS

from datasets.prepare.geo.crs import DEGREES, Bounds, extents_text, moved_shapes, transformer
from datasets.prepare.osm import default_tags, osm_files, tag_columns, vector_files
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.osm_files import OsmFile, is_osm_file
from datasets.prepare.osm.tags import LayerTable, Tagged, listed
from datasets.prepare.osm.vector_files import FORMATS, TaggedLayer, tagged_layers
from utils.errors import PrepareError

_POINTS, _LINES = (0, 4), (1, 2, 5)  # shapely's type ids, single and multi
_MULTIPOLYGON, _GEOMETRY_COLLECTION = 6, 7
_DISC_QUADRANT, _ROAD_QUADRANT = 8, 4  # segments of a quarter circle
NOT_FINITE = "with coordinates that are no numbers"
BROKEN = "with a shape that cannot be computed with"
_FOOTPRINTS = "If its features are footprints of buildings, add default_tags=building=yes."
_DEGREE_M = 110_000  # of latitude, and of longitude at the equator, at least


@dataclass(frozen=True)
class OsmObjects:
    """One chunk of objects in the raster's CRS, in the source's order."""

    layer: np.ndarray     # [n] int64, index into the layer names
    value: np.ndarray     # [n] object, tag values
    text: np.ndarray      # [n] object, what a text encoder reads of each
    geometry: np.ndarray  # [n] shapely Polygons and MultiPolygons, valid, each meeting the raster
    elements: np.ndarray | None = None  # [n] int64, `element_ids.element_key`; None: unknown

    def __len__(self) -> int:
        return len(self.layer)


def read_objects(
    osm: str | Path, crs: object, bounds: Bounds, table: LayerTable, census: Census,
    progress: Callable[[int], object] | None = None, scratch: Path | None = None,
) -> Iterator[OsmObjects]:
    """Yield the objects of `osm` that overlap a raster and have a tag of `table`, in chunks of at
    most about 50,000 features.

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
    extent = _Extent(CRS.from_user_input(crs), bounds, table, census)
    sources = _sources(Path(osm), table, scratch, census.notes)
    census.sources, census.empty = len(sources), not sources
    total = 0
    for source in sources:
        window, read = extent.window_in(source.crs), 0
        for tagged in source.chunks(window):
            objects = extent.objects(tagged, source.crs, window)
            read += tagged.read
            if progress:
                progress(tagged.read)
            if len(objects):
                total += len(objects)
                yield objects
        # a source with an index yields only what is near
        census.unread += max(source.count - read, 0)
    unsuited = census.lost.keys() & {default_tags.POINTS, default_tags.LINES}
    if table.defaults and not census.defaulted and not unsuited:
        census.notes.append(f"default_tags={table.default_text} changes nothing: it is for "
                            "features of vector files without any tag, and there is none")
    if not total:
        census.extent = _extent_in_degrees(sources)


def extent_of(osm: str | Path, table: LayerTable) -> Bounds | None:
    """Return west, south, east and north, in degrees, of all features of `osm`; None if there is
    none. A file of OpenStreetMap that does not state them is read once for it. Raise PrepareError
    as `read_objects` does."""
    sources = _sources(Path(osm), table, None, [])
    for source in sources:
        if isinstance(source, OsmFile):
            source.find_bounds()
    return _extent_in_degrees(sources)


def no_overlap_message(osm: str | Path, census: Census, crs: object, bounds: Bounds,
                       without: str, ground: str = "raster") -> str:
    """Return why a finished reading gave no object, and the remedy. `without` says how to do
    without objects, as the end of a sentence; `ground` is what objects must lie on."""
    remedy = f"Pass the OSM data of the {ground}'s place, {without}."
    if census.empty:
        return (f"{osm}: holds no feature, expected the OSM objects of the {ground}'s place. The "
                "area or the query that made the file found nothing: export or download them "
                f"again, {without}.")
    unusable = f" ({listed(census.dropped)} cannot be used)" if census.dropped else ""
    if not census.tagged and census.lost and not census.unread:
        return (f"{osm}: none of its {census.read} features can be read: {listed(census.lost)}. "
                f"{' '.join(census.advice) or remedy}")
    if not census.tagged and census.without and not census.unread:
        footprints = "" if is_osm_file(Path(osm)) else f"{_FOOTPRINTS} "
        return (f"{osm}: none of its {census.read} features has a tag that the table of layers "
                f"takes{unusable}. {footprints}Pass OSM data with such tags, or layers= a table of "
                f"your own, made like configs/osm_layers.yaml, {without}.")
    if census.extent is None:
        return (f"{osm}: holds no object in any of its {census.sources} usable layers{unusable}, "
                f"expected some. {remedy}")
    extents = extents_text("the OSM data", census.extent, DEGREES, bounds,
                           CRS.from_user_input(crs), ground)
    return " ".join([f"{osm}: no usable OSM object overlaps the {ground}{unusable}.", extents,
                     *census.advice, remedy])


def _sources(path: Path, table: LayerTable, scratch: Path | None,
             notes: list[str]) -> list[TaggedLayer | OsmFile]:
    """Return every layer with tags, by file name; none if the files hold no features at all. Raise
    PrepareError if there are features without tags, or a file is not readable. Add to `notes` what
    is passed over."""
    sources, columns, features = [], [], 0
    files = source_files(path)
    if path.is_dir():
        notes += vector_files.passed_over(path, files)
    for file in files:
        if is_osm_file(file):
            sources.append(OsmFile(file, table, scratch))
        else:
            vectors = tagged_layers(file, table)
            sources += vectors.layers
            columns += vectors.columns
            features += vectors.count
            notes += vectors.notes
    if features and not sources:
        raise PrepareError(_no_tags(path, sorted(set(columns)), table))
    return sources


def source_files(path: Path) -> list[Path]:
    """Return the files that `osm=` names, or raise PrepareError if there is none."""
    if not path.exists():
        raise PrepareError(f"{path}: no such file or folder. Pass osm= {FORMATS}.")
    if not path.is_dir():
        return [path]
    files = sorted(filter(_is_source, path.iterdir()))
    if files:
        return files
    deeper = next(filter(_is_source, path.rglob("*")), None)
    if deeper:
        raise PrepareError(f"{path}: the folder itself holds no vector file, and its subfolders "
                           "are not searched; pass one of them, such as "
                           f"osm={deeper.parent}, or put the city's files into one folder.")
    suffixes = ", ".join(vector_files.SUFFIXES + osm_files.SUFFIXES)
    raise PrepareError(f"{path}: the folder holds no vector file; expected files ending in "
                       f"{suffixes}. Put the city's files there, or pass osm= one file.")


def _is_source(path: Path) -> bool:
    return path.suffix.lower() in vector_files.SUFFIXES or is_osm_file(path)


def _no_tags(path: Path, columns: list[str], table: LayerTable) -> str:
    names = ", ".join(columns[:20]) + (" ..." if len(columns) > 20 else "") or "none"
    attributes = path.with_suffix(".dbf")
    if path.suffix.lower() == ".shp" and not attributes.exists():
        names += f" (its attributes {attributes.name} are missing: put that file beside it)"
    return (f"{path}: no column names OSM tags; columns found: {names}. {_FOOTPRINTS} Else "
            "expected are text columns "
            f"called {', '.join(table.rule_of_key)}, or {tag_columns.LABEL} with "
            f"key:value;key:value, or {tag_columns.PACKED[0]} with an hstore, or "
            f"{tag_columns.POINTER} that names the column of the value. Rename yours, or pass "
            "layers= a table with your keys, made like configs/osm_layers.yaml.")


@dataclass(frozen=True)
class _Extent:
    """A raster's extent, and the objects kept there so far."""

    crs: CRS
    bounds: Bounds
    table: LayerTable
    census: Census
    _digests: dict[int, np.ndarray] = field(default_factory=dict)  # sorted, by layer

    def window_in(self, crs: CRS) -> Bounds | None:
        """Return the bounds in `crs` of the raster and the reach of discs and roads around it.
        Return None if they are not finite there."""
        west, south, east, north = _moved_bounds(self.bounds, self.crs, DEGREES)
        margin = self.table.margin_m / _DEGREE_M
        south, north = max(south - margin, -90), min(north + margin, 90)
        margin /= max(math.cos(math.radians(max(abs(south), abs(north)))), 1e-6)
        west, east = ((-180, 180) if west > east
                      else (max(west - margin, -180), min(east + margin, 180)))
        window = _moved_bounds((west, south, east, north), DEGREES, crs)
        return window if np.isfinite(window).all() and window[0] <= window[2] else None

    def objects(self, tagged: Tagged, crs: CRS, window: Bounds | None) -> OsmObjects:
        """Return the polygons of one chunk that overlap the raster and are not yet known."""
        geometry = shapely.from_wkb(tagged.wkb, on_invalid="ignore")
        missing = shapely.is_missing(geometry) | shapely.is_empty(geometry)
        nowhere = ~missing & ~_are_finite(geometry)
        far = ~missing & ~nowhere & ~_boxes_meet(geometry, window)
        layer = self._layers[tagged.rule]
        self.census.add(tagged, layer)
        self.census.leave_out(layer[missing[tagged.owner]], "without geometry")
        self.census.leave_out(layer[nowhere[tagged.owner]], NOT_FINITE)
        self.census.put_outside(layer[far[tagged.owner]])

        usable = ~(missing | nowhere | far)
        rows = usable[tagged.owner]
        owner = (np.cumsum(usable) - 1)[tagged.owner[rows]]
        rule, value, geometry = tagged.rule[rows], tagged.value[rows], geometry[usable]
        layer = layer[rows]
        shaped = moved_shapes(geometry, crs, self.crs)[owner]  # [tags], as all that follows
        self._widen(shaped, geometry[owner], rule, value, crs)

        broken = shapely.is_missing(shaped)
        near = _boxes_meet(shaped, self.bounds)
        points, lines = near & _is_kind(shaped, _POINTS), near & _is_kind(shaped, _LINES)
        self.census.leave_out(layer[broken], BROKEN)
        self.census.put_outside(layer[~near & ~broken])
        self.census.leave_out(layer[points], "points")
        self.census.leave_out(layer[lines], "lines")
        keep = np.flatnonzero(near & ~points & ~lines)
        polygons, solid = self._repaired(shaped[keep], layer[keep])
        polygons, keep = polygons[solid], keep[solid]
        new = self._unseen(layer[keep], polygons)
        self.census.keep(layer[keep][new])
        rows = np.flatnonzero(rows)[keep][new]
        elements = None if tagged.elements is None else tagged.elements[tagged.owner[rows]]
        return OsmObjects(layer[keep][new], tagged.value[rows], tagged.text[rows], polygons[new],
                          elements)

    @functools.cached_property
    def _layers(self) -> np.ndarray:
        """Layer of each rule: [rules]."""
        return np.array([rule.layer for rule in self.table.rules], dtype=np.int64)

    def _widen(self, shaped: np.ndarray, geometry: np.ndarray, rule: np.ndarray, value: np.ndarray,
               crs: CRS) -> None:
        """Put the shapes that the rules make of points and lines, in `crs`, into `shaped`; all are
        [n]. Points and lines without a rule stay, to be left out."""
        rules = self.table.rules
        points, lines = _is_kind(geometry, _POINTS), _is_kind(geometry, _LINES)
        rings = np.flatnonzero(lines & np.array([row.lines == "ring" for row in rules])[rule])
        shaped[rings] = _rings_to_polygons(shaped[rings])
        radius = np.array([row.radius_m or np.nan for row in rules])[rule]
        discs = np.flatnonzero(points & np.isfinite(radius))
        shaped[discs] = self._buffered(geometry[discs], radius[discs], _DISC_QUADRANT, crs)
        roads = np.flatnonzero(lines & np.array([row.lines == "buffer" for row in rules])[rule])
        width = np.array([self.table.width_m.get(kind, self.table.default_width_m)
                          for kind in value[roads]])
        shaped[roads] = self._buffered(geometry[roads], width / 2, _ROAD_QUADRANT, crs)

    def _buffered(self, geometry: np.ndarray, metres: np.ndarray, quadrant: int,
                  crs: CRS) -> np.ndarray:
        flat = moved_shapes(geometry, crs, self._metric)
        wide = _one_by_one(functools.partial(shapely.buffer, quad_segs=quadrant), flat, metres)
        return moved_shapes(wide, self._metric, self.crs)

    @functools.cached_property
    def _metric(self) -> CRS:
        """An equal-area CRS around the raster's centre; lengths true to 0.1 % within 500 km."""
        west, south, east, north = self.bounds
        lon, lat = transformer(self.crs, DEGREES).transform((west + east) / 2, (south + north) / 2)
        return CRS.from_dict({"proj": "laea", "lon_0": lon, "lat_0": lat, "datum": "WGS84",
                              "units": "m"})

    def _repaired(self, geometry: np.ndarray,
                  layer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return valid polygons [n], and which of them have an area and meet the raster [n]."""
        invalid = ~shapely.is_valid(geometry)
        geometry[invalid] = _one_by_one(shapely.make_valid, geometry[invalid])
        broken = shapely.is_missing(geometry)
        geometry = polygonal_part(geometry)
        single = np.flatnonzero(_is_kind(geometry, (_MULTIPOLYGON,))
                                & (shapely.get_num_geometries(geometry) == 1))
        # so that it equals the same shape from another source
        geometry[single] = shapely.get_geometry(geometry[single], 0)
        flat = shapely.is_empty(geometry) & ~broken
        # any other lies in the raster or is flat
        crossing = np.flatnonzero(~_boxes_inside(geometry, self.bounds))
        extent = shapely.box(*self.bounds)
        meets = ~flat & ~broken
        shapely.prepare(extent)
        meets[crossing] = shapely.intersects(extent, geometry[crossing])
        self.census.repaired += int((invalid & meets).sum())
        self.census.leave_out(layer[broken], BROKEN)
        self.census.leave_out(layer[flat], "without area")
        self.census.put_outside(layer[~meets & ~flat & ~broken])
        return geometry, meets

    def _unseen(self, layer: np.ndarray, geometry: np.ndarray) -> np.ndarray:
        """Return the indices of the geometries that are new in their layer: [n] -> [kept]. Equal
        geometries may begin with different vertices."""
        digest = pd.util.hash_array(shapely.to_wkb(shapely.normalize(geometry)), categorize=False)
        kept = [np.array([], dtype=np.int64)]
        for index in np.unique(layer):
            members = np.flatnonzero(layer == index)
            seen = self._digests.get(index, np.array([], dtype=np.uint64))
            members = members[~np.isin(digest[members], seen)]
            members = members[np.sort(np.unique(digest[members], return_index=True)[1])]
            self._digests[index] = np.concatenate([seen, digest[members]])
            kept.append(members)
        kept = np.sort(np.concatenate(kept))
        self.census.leave_out(np.delete(layer, kept), "repeated in their layer")
        return kept


def _extent_in_degrees(sources: list[TaggedLayer | OsmFile]) -> Bounds | None:
    boxes = [(source.bounds(), source.crs) for source in sources]
    degrees = [_moved_bounds(box, crs, DEGREES) for box, crs in boxes if box is not None]
    if not degrees:
        return None
    return tuple(shapely.total_bounds(shapely.box(*np.transpose(degrees))).tolist())


def _moved_bounds(box: Bounds, source: CRS, target: CRS) -> Bounds:
    """Return a box in another CRS, with west > east if it crosses the antimeridian."""
    return transformer(source, target).transform_bounds(*box, densify_pts=21)


def _is_kind(geometry: np.ndarray, type_ids: tuple[int, ...]) -> np.ndarray:
    return np.isin(shapely.get_type_id(geometry), type_ids)


def _are_finite(geometry: np.ndarray) -> np.ndarray:
    """Return which geometries have finite coordinates throughout: [n] bool."""
    finite = np.ones(len(geometry), bool)
    points, owner = shapely.get_coordinates(geometry, return_index=True)
    finite[owner[~np.isfinite(points).all(1)]] = False
    return finite


def _one_by_one(function: Callable[..., np.ndarray], geometry: np.ndarray,
                *columns: np.ndarray) -> np.ndarray:
    """Return what a function of shapely makes of geometries [n], at once if it can; None for those
    that it fails on."""
    try:
        return function(geometry, *columns)
    except shapely.errors.GEOSException:
        made = np.full(len(geometry), None, dtype=object)
        for row in range(len(geometry)):
            with contextlib.suppress(shapely.errors.GEOSException):
                made[row] = function(geometry[row], *(column[row] for column in columns))
        return made


def _boxes_meet(geometry: np.ndarray, box: Bounds | None) -> np.ndarray:
    """Return which geometries have a box that overlaps `box`, if given: [n] bool."""
    bounds = shapely.bounds(geometry)
    finite = np.isfinite(bounds.sum(1))
    return finite if box is None else finite & ((bounds[:, :2] < box[2:])
                                                & (bounds[:, 2:] > box[:2])).all(1)


def _boxes_inside(geometry: np.ndarray, box: Bounds) -> np.ndarray:
    west, south, east, north = shapely.bounds(geometry).T
    left, bottom, right, top = box
    return ~((west < left) | (east > right) | (south < bottom) | (north > top))


def _rings_to_polygons(lines: np.ndarray) -> np.ndarray:
    """Turn closed lines of one part into polygons, and leave the others: [n] -> [n]."""
    lines = lines.copy()
    single = shapely.get_geometry(lines, 0)
    ring = ((shapely.get_num_geometries(lines) == 1) & shapely.is_closed(single)
            & (shapely.get_num_coordinates(single) >= 4))
    if ring.any():
        coordinates, owner = shapely.get_coordinates(single[ring], return_index=True)
        lines[ring] = shapely.polygons(shapely.linearrings(coordinates, indices=owner))
    return lines


def polygonal_part(geometry: np.ndarray) -> np.ndarray:
    """Return the polygonal part of each geometry, which may be empty: [n] -> [n]."""
    geometry = geometry.copy()
    geometry[_is_kind(geometry, _POINTS + _LINES)] = shapely.Polygon()
    mixed = np.flatnonzero(_is_kind(geometry, (_GEOMETRY_COLLECTION,)))
    if len(mixed):
        parts, owner = shapely.get_parts(geometry[mixed], return_index=True)
        # a MultiPolygon inside the collection
        parts, inner = shapely.get_parts(parts, return_index=True)
        polygons = _is_kind(parts, (3,))
        geometry[mixed] = shapely.Polygon()
        owners, index = np.unique(owner[inner][polygons], return_inverse=True)
        geometry[mixed[owners]] = shapely.multipolygons(parts[polygons], indices=index)
    return geometry
