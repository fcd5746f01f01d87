"""OSM objects of a raster's extent, from a GeoPackage, a GeoJSON, Shapefiles or a folder of such files.

A source names the tags of its objects either in columns called like OSM keys (`building`, `highway` ...) or in one text column `label` of
`key:value;key:value`. `configs/osm_layers.yaml` says which keys make which layer, and how lines become polygons.
"""

import functools
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import shapely
import yaml
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyproj import CRS

from utils.errors import PrepareError

SUFFIXES = (".gpkg", ".geojson", ".shp")
LABEL_COLUMN = "label"
_LAYERS_FILE = Path(__file__).parents[2] / "configs" / "osm_layers.yaml"
_READ_ERRORS = (CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError, shapely.errors.GEOSException)
_POINTS, _LINES = (0, 4), (1, 2, 5)  # shapely's type ids, single and multi
_GEOMETRY_COLLECTION = 7


@dataclass(frozen=True)
class LayerTable:
    """`configs/osm_layers.yaml`: layer names in order, the layer index of each OSM key, and the width in metres of buffered lines."""

    names: tuple[str, ...]
    layer_of_key: dict[str, int]
    buffered: frozenset[int]
    width_m: dict[str, float]
    default_width_m: float

    @property
    def margin_m(self) -> float:
        """How far a buffered line reaches beyond its centre line at most."""
        return max(self.default_width_m, *self.width_m.values()) / 2


@dataclass
class OsmObjects:
    """Polygonal objects in the raster's CRS, ordered by layer and, within a layer, as in the source.

    Attributes:
        layer: [n] index into the layer names.
        value: [n] tag values.
        geometry: [n] shapely Polygons and MultiPolygons, valid.
        repaired: number of objects whose geometry was invalid.
        dropped: number of objects left out, by reason.
    """

    layer: np.ndarray
    value: np.ndarray
    geometry: np.ndarray
    repaired: int
    dropped: Counter[str]

    def __len__(self) -> int:
        return len(self.layer)


@functools.cache
def layer_table() -> LayerTable:
    """The layers as `configs/osm_layers.yaml` has them."""
    table = yaml.safe_load(_LAYERS_FILE.read_text())
    layers = table["layers"]
    return LayerTable(
        names=tuple(layers),
        layer_of_key={key: index for index, rule in enumerate(layers.values()) for key in rule["keys"]},
        buffered=frozenset(index for index, rule in enumerate(layers.values()) if rule["lines"] == "buffer"),
        width_m=table["width_m"],
        default_width_m=table["default_width_m"],
    )


def listed(counts: Mapping[str, int]) -> str:
    """Counts in words: `3 points, 1 empty geometry`; those of zero are left out."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def read_osm(osm: str | Path, crs: CRS, bounds: tuple[float, float, float, float], allow_none: bool = False) -> OsmObjects:
    """Objects of `osm` that overlap a raster; only that window of the source is read.

    Args:
        osm: a vector file, or a folder of them.
        crs, bounds: of the raster; the objects come back in this CRS.
        allow_none: an empty result is fine.

    Raises:
        PrepareError: no such source, not a readable vector file, no CRS, no column of the layer table, or (unless `allow_none`) no object
            that overlaps the raster.
    """
    files = _vector_files(Path(osm))
    extent = gpd.GeoSeries([shapely.segmentize(shapely.box(*bounds), max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / 16)], crs=crs)
    metric = extent.estimate_utm_crs()
    window = extent.to_crs(metric).buffer(layer_table().margin_m)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="pyogrio")  # odd but readable files; unusable objects are counted
        layers = [layer for file in files for layer in _usable_layers(file)]
        if not layers:
            raise PrepareError(_no_column(osm, files))
        tagged = pd.concat([_read_layer(layer, window, crs, metric) for layer in layers], ignore_index=True)
        objects = _polygonal(tagged, shapely.box(*bounds))
        if not len(objects) and not allow_none:
            raise PrepareError(_no_overlap(osm, layers, extent, objects.dropped))
    return objects


@dataclass(frozen=True)
class _Layer:
    """One layer of a vector file: its CRS, and its text columns that name tags, as (column, OSM key); a `label` column has key None."""

    path: Path
    name: str
    crs: CRS
    columns: tuple[tuple[str, str | None], ...]


def _vector_files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES)
        if not found:
            raise PrepareError(f"{path}: the folder holds no vector file; expected files ending in {', '.join(SUFFIXES)}. "
                               f"Put the Shapefiles of the city there, or pass osm= one file.")
        return found
    if not path.exists():
        raise PrepareError(f"{path}: no such file or folder. Pass osm= a GeoPackage, a GeoJSON, a Shapefile or a folder of Shapefiles.")
    if path.suffix.lower() in (".pbf", ".osm"):
        raise PrepareError(f"{path}: OpenStreetMap's own format is not read directly; expected {', '.join(SUFFIXES)}. "
                           f"Convert it with `ogr2ogr osm.gpkg {path}`.")
    return [path]


def _unreadable(path: Path, error: Exception) -> PrepareError:
    reason = " ".join(str(error).split("; It might help")[0].split())  # without pyogrio's advice on driver prefixes
    return PrepareError(f"{path}: not a readable vector file ({reason}). "
                        f"Pass osm= a GeoPackage, a GeoJSON, a Shapefile or a folder of Shapefiles; `ogrinfo {path}` must succeed.")


def _usable_layers(path: Path) -> list[_Layer]:
    """The layers of a file that have geometries and a tag column."""
    layers = []
    try:
        for name, geometry_type in pyogrio.list_layers(path):
            info = pyogrio.read_info(path, layer=name)
            columns = _tag_columns(info)
            if geometry_type is not None and columns:
                layers.append(_Layer(path, name, _source_crs(path, info["crs"]), columns))
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    return layers


def _tag_columns(info: dict) -> tuple[tuple[str, str | None], ...]:
    text = [field for field, kind in zip(info["fields"], info["ogr_types"], strict=True) if kind == "OFTString"]
    keyed = tuple((field, field.casefold()) for field in text if field.casefold() in layer_table().layer_of_key)
    return keyed or tuple((field, None) for field in text if field.casefold() == LABEL_COLUMN)


def _source_crs(path: Path, crs: str | None) -> CRS:
    parsed = CRS.from_user_input(crs) if crs else None
    if parsed is None or not (parsed.is_geographic or parsed.is_projected):
        raise PrepareError(f"{path}: the vector file has no coordinate reference system, so it cannot be placed on the raster. "
                           f"Give it one with `ogr2ogr -a_srs EPSG:4326 with_crs.gpkg {path}` (with the EPSG code of your data).")
    return parsed


def _no_column(osm: str | Path, files: list[Path]) -> str:
    fields = (pyogrio.read_info(file, layer=name)["fields"] for file in files for name, _ in pyogrio.list_layers(file))
    found = sorted({field for layer in fields for field in layer})
    listed = ", ".join(found[:20]) + (" ..." if len(found) > 20 else "") if found else "none"
    keys = ", ".join(layer_table().layer_of_key)
    return (f"{osm}: no column names OSM tags; columns found: {listed}. Expected text columns called {keys}, or one called {LABEL_COLUMN} "
            f"with key:value;key:value. Rename yours, or extend configs/osm_layers.yaml.")


def _no_overlap(osm: str | Path, layers: list[_Layer], extent: gpd.GeoSeries, dropped: Counter[str]) -> str:
    extents = [(layer.crs, pyogrio.read_info(layer.path, layer=layer.name, force_total_bounds=True)["total_bounds"]) for layer in layers]
    degrees = [gpd.GeoSeries([shapely.box(*bounds)], crs=crs).to_crs(4326).total_bounds for crs, bounds in extents if bounds is not None]
    if not degrees:  # an empty layer has no bounds
        return (f"{osm}: holds no object in any of its {len(layers)} usable layers, expected some. Pass the OSM data of the raster's "
                f"place, or keep_empty=true to make tiles without OSM on purpose.")
    source = shapely.total_bounds(shapely.box(*np.transpose(degrees)))
    raster = extent.to_crs(4326).total_bounds
    west_south_east_north = [", ".join(f"{value:.5f}" for value in bounds) for bounds in (source, raster)]
    unusable = f" ({listed(dropped)} there cannot be used)" if dropped else ""
    return (f"{osm}: no usable OSM object overlaps the raster{unusable}. Extent of the OSM data {west_south_east_north[0]}, of the raster "
            f"{west_south_east_north[1]} (west, south, east, north in EPSG:4326). Pass the OSM data of the raster's place, "
            f"or keep_empty=true to make tiles without OSM on purpose.")


def _read_layer(layer: _Layer, window: gpd.GeoSeries, crs: CRS, metric: CRS) -> pd.DataFrame:
    """One row per object and layer: layer, value, geometry (in `crs`, road lines already buffered)."""
    bbox = window.to_crs(layer.crs).total_bounds
    if not np.isfinite(bbox).all():  # the raster lies outside the domain of this source's projection
        return pd.DataFrame({"layer": [], "value": [], "geometry": []})
    try:
        wanted = [name for name, _ in layer.columns]
        frame = pyogrio.read_dataframe(layer.path, layer=layer.name, columns=wanted, bbox=tuple(bbox), on_invalid="ignore")
    except _READ_ERRORS as error:
        raise _unreadable(layer.path, error) from error
    tags = pd.concat([_tags(frame[column], key) for column, key in layer.columns]).sort_index(kind="stable")
    geometry = gpd.GeoSeries(shapely.force_2d(frame.geometry.loc[tags.index].to_numpy()), crs=layer.crs)
    tags = tags.reset_index(drop=True)
    widened = _is_kind(geometry.to_numpy(), _LINES) & tags["layer"].isin(layer_table().buffered).to_numpy()
    placed = geometry.to_crs(crs).to_numpy()
    if widened.any():
        table = layer_table()
        width = tags["value"][widened].map(table.width_m).fillna(table.default_width_m).to_numpy()
        lines = geometry[widened].to_crs(metric)
        placed[widened] = lines.buffer(width / 2, quad_segs=4).to_crs(crs).to_numpy()
    return tags.assign(geometry=placed)


def _tags(column: pd.Series, key: str | None) -> pd.DataFrame:
    """Layer index and value of each tag in a column (of one key, or of `key:value;key:value` where key is None), by row of the frame."""
    text = column.dropna().astype(str)
    if key is None:
        pairs = text.str.split(";").explode().str.partition(":", expand=False)  # (key, ":", value)
        keys, values = pairs.str[0].str.strip().str.casefold(), pairs.str[2].str.strip()
    else:
        keys, values = pd.Series(key, index=text.index), text.str.strip()
    tags = pd.DataFrame({"layer": keys.map(layer_table().layer_of_key), "value": values})
    return tags[tags["layer"].notna() & (tags["value"] != "")].astype({"layer": int})


def _polygonal(tagged: pd.DataFrame, extent: shapely.Polygon) -> OsmObjects:
    """Make every geometry a valid polygon or multipolygon that overlaps the extent; count what cannot be."""
    geometry = tagged["geometry"].to_numpy(dtype=object)
    layer, value = tagged["layer"].to_numpy(dtype=np.int64), tagged["value"].to_numpy(dtype=object)
    missing = shapely.is_missing(geometry) | shapely.is_empty(geometry)
    near = missing | _boxes_overlap(geometry, extent)
    geometry, layer, value, missing = geometry[near], layer[near], value[near], missing[near]

    geometry = _rings_to_polygons(geometry)
    points, lines = _is_kind(geometry, _POINTS), _is_kind(geometry, _LINES)
    dropped = Counter({"without geometry": missing.sum(), "points": points.sum(), "lines": lines.sum()})
    keep = ~(missing | points | lines)
    geometry, layer, value = geometry[keep], layer[keep], value[keep]

    invalid = ~shapely.is_valid(geometry)
    geometry[invalid] = shapely.make_valid(geometry[invalid])
    geometry = polygonal_part(geometry)
    flat = shapely.is_empty(geometry)
    dropped["without area"] = flat.sum()
    keep = ~flat & shapely.intersects(geometry, extent)
    geometry, layer, value = geometry[keep], layer[keep], value[keep]

    same = pd.DataFrame({"layer": layer, "wkb": shapely.to_wkb(shapely.normalize(geometry))}).duplicated().to_numpy()
    dropped["repeated in their layer"] = same.sum()
    order = np.flatnonzero(~same)[np.argsort(layer[~same], kind="stable")]
    dropped = Counter({reason: int(count) for reason, count in dropped.items() if count})
    return OsmObjects(layer[order], value[order], geometry[order], int((invalid & ~flat).sum()), dropped)


def _is_kind(geometry: np.ndarray, type_ids: tuple[int, ...]) -> np.ndarray:
    return np.isin(shapely.get_type_id(geometry), type_ids)


def _boxes_overlap(geometry: np.ndarray, extent: shapely.Polygon) -> np.ndarray:
    minx, miny, maxx, maxy = shapely.bounds(geometry).T
    left, bottom, right, top = extent.bounds
    return (minx < right) & (maxx > left) & (miny < top) & (maxy > bottom)


def _rings_to_polygons(geometry: np.ndarray) -> np.ndarray:
    """Closed lines (of one part) become polygons; everything else stays."""
    lines = np.flatnonzero(_is_kind(geometry, _LINES) & (shapely.get_num_geometries(geometry) == 1))
    single = shapely.get_geometry(geometry[lines], 0)
    ring = shapely.is_closed(single) & (shapely.get_num_coordinates(single) >= 4)
    closed = lines[ring]
    geometry = geometry.copy()
    if len(closed):
        coordinates, owner = shapely.get_coordinates(single[ring], return_index=True)
        geometry[closed] = shapely.polygons(shapely.linearrings(coordinates, indices=owner))
    return geometry


def polygonal_part(geometry: np.ndarray) -> np.ndarray:
    """The polygons of each geometry: itself if it is polygonal, those of a collection as one MultiPolygon, else empty. [n] -> [n]"""
    geometry = geometry.copy()
    geometry[_is_kind(geometry, _POINTS + _LINES)] = shapely.Polygon()
    mixed = np.flatnonzero(_is_kind(geometry, (_GEOMETRY_COLLECTION,)))
    if len(mixed):
        parts, owner = shapely.get_parts(geometry[mixed], return_index=True)
        parts, inner = shapely.get_parts(parts, return_index=True)  # a MultiPolygon inside the collection
        polygons = _is_kind(parts, (3,))
        geometry[mixed] = shapely.Polygon()
        owner = owner[inner][polygons]
        geometry[mixed[np.unique(owner)]] = shapely.multipolygons(parts[polygons], indices=np.unique(owner, return_inverse=True)[1])
    return geometry
