"""Raster + OSM -> the tiles of one city, in the release's layout."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import shapely
from pyproj import CRS
from rasterio.windows import Window
from tqdm import tqdm

from datasets.prepare.graph import build_graph
from datasets.prepare.osm import OsmObjects, layer_table, listed, polygonal_part, read_osm
from datasets.prepare.raster import Mosaic, open_mosaic
from datasets.prepare.store import CityStage, refuse_existing, staged_city
from datasets.prepare.text import TextEncoder, text_encoder
from utils.errors import ConfigError, PrepareError
from utils.recipes import resolve_recipe

PARTIAL, EMPTY, BLANK = "partial tiles at the right or bottom edge", "tiles without OSM object", "tiles with too little imagery"
FLAT_CLIPS = "clips without area (touching a tile's edge)"


@dataclass
class PrepareSummary:
    """What one run made and left out.

    Attributes:
        out, city: where the tiles are, and the first part of their names.
        tiles, nodes, edges: totals written.
        skipped: tiles not written, by reason.
        objects: OSM objects that overlap the raster, by layer.
        values: number of distinct tag values over all layers.
        repaired: objects whose geometry was invalid.
        dropped: objects (or clips of them) left out, by reason.
    """

    out: Path
    city: str
    tiles: int = 0
    nodes: int = 0
    edges: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    objects: dict[str, int] = field(default_factory=dict)
    values: int = 0
    repaired: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        lines = [
            f"{self.city}: made in {self.out}",
            f"  tiles        {self.tiles}",
            f"  nodes        {self.nodes}, {self.nodes / max(self.tiles, 1):.1f} a tile",
            f"  edges        {self.edges}",
            f"  OSM objects  {sum(self.objects.values())} ({listed(self.objects)}); distinct tag values: {self.values}",
        ]
        if any(self.skipped.values()):
            lines.append(f"  not made     {listed(self.skipped)}")
        if self.repaired:
            lines.append(f"  repaired     {self.repaired} objects with invalid geometry")
        if any(self.dropped.values()):
            lines.append(f"  left out     {listed(self.dropped)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Labels:
    """Distinct values of each layer, sorted, layers concatenated in order; a label code is a place in this list.

    Attributes:
        layers, names: layer name and tag value of each code.
        vectors: [codes, width] text vector of each code.
        of_object: [objects] label code.
    """

    layers: list[str]
    names: list[str]
    vectors: np.ndarray
    of_object: np.ndarray


@dataclass(frozen=True)
class _Rules:
    """How tiles are made: the arguments of `prepare_tiles` of the same names."""

    tile_px: int
    keep_empty: bool
    max_nodata: float
    relation_codes: str
    coordinates: str


@dataclass(frozen=True)
class _Tile:
    """One tile: its place in the grid of tiles, its bounds, the geometries clipped to it [n] and which objects they are [n]."""

    col: int
    row: int
    bounds: tuple[float, float, float, float]
    geometries: np.ndarray
    members: np.ndarray


def prepare_tiles(
    raster: str | Path,
    osm: str | Path,
    out: str | Path,
    city: str,
    *,
    text: str = "hash",
    keep_empty: bool = False,
    max_nodata: float = 0.1,
    tile_px: int = 224,
    overwrite: bool = False,
    recipe: str = "rose",
    relation_codes: str | None = None,
    coordinates: str | None = None,
    progress: bool = True,
) -> PrepareSummary:
    """Cut a raster into non-overlapping tiles from its top-left corner and build each tile's OSM graph.

    Nothing appears in `out` before everything is ready, and other cities there stay as they are.

    Args:
        raster: a GeoTIFF, a folder of them or a glob (see `raster.open_mosaic`).
        osm: a vector file or a folder of them (see `osm.read_osm`).
        out: folder of the dataset; tiles are called `{city}_{col}_{row}`.
        city: letters, digits, `_` and `-`.
        text: name of the text encoder.
        keep_empty: also write tiles that no OSM object overlaps, with empty graphs; the whole raster may then be without OSM.
        max_nodata: share of a tile's pixels without imagery above which it is left out.
        tile_px: side of a tile in pixels.
        overwrite: replace the tiles that `out` has of this city.
        recipe, relation_codes, coordinates: see `graph.build_graph`.
        progress: show a progress bar.

    Raises:
        PrepareError: an input cannot be used, `out` holds this city already, or no tile can be made.
        ConfigError: an impossible value.
    """
    out = Path(out)
    _check_values(city, max_nodata, tile_px)
    encoder = text_encoder(text)
    chosen = resolve_recipe(recipe, relation_codes=relation_codes, coordinates=coordinates)
    rules = _Rules(tile_px, keep_empty, max_nodata, chosen.relation_codes, chosen.coordinates)
    if not overwrite:
        refuse_existing(out, city)
    with open_mosaic(raster) as mosaic:
        columns, rows = mosaic.width // tile_px, mosaic.height // tile_px
        if not columns or not rows:
            raise PrepareError(f"{raster}: the raster is {mosaic.width} x {mosaic.height} pixels, smaller than one tile of "
                               f"{tile_px} x {tile_px}. Pass a larger raster, or several that adjoin.")
        objects = read_osm(osm, CRS.from_wkt(mosaic.crs.to_wkt()), mosaic.bounds, allow_none=keep_empty)
        labels = _number_labels(objects, encoder)
        summary = _start_summary(out, city, objects, labels)
        summary.skipped[PARTIAL] = math.ceil(mosaic.width / tile_px) * math.ceil(mosaic.height / tile_px) - columns * rows
        with staged_city(out, city) as stage, tqdm(total=columns * rows, unit="tile", desc=city, disable=not progress) as bar:
            for tile in _clipped_tiles(mosaic, objects, tile_px, summary):
                _make_tile(stage, mosaic, tile, labels, rules, summary)
                bar.update()
            if not summary.tiles:
                raise PrepareError(f"{raster}: no tile can be made: {listed(summary.skipped)}. Pass imagery and OSM data that overlap, or "
                                   f"allow more with keep_empty=true, or max_nodata={max_nodata} raised to at most 1.")
            stage.write_meta(_meta(mosaic, osm, encoder, labels, rules, summary))
    return summary


def _check_values(city: str, max_nodata: float, tile_px: int) -> None:
    if not re.fullmatch(r"[\w-]+", city):
        raise ConfigError(f"city={city!r}: expected letters, digits, _ and - only, as it begins the name of every tile file")
    if not 0 <= max_nodata <= 1:
        raise ConfigError(f"max_nodata={max_nodata}: expected a share between 0 and 1")
    if tile_px < 1:
        raise ConfigError(f"tile_px={tile_px}: expected 1 or more (the method has 224)")


def _number_labels(objects: OsmObjects, encoder: TextEncoder) -> _Labels:
    keys = pd.MultiIndex.from_arrays([objects.layer, objects.value])
    distinct = keys.unique().sort_values()
    layers, names = (distinct.get_level_values(level).tolist() for level in (0, 1))
    values, place = np.unique(np.array(names, dtype=object), return_inverse=True)
    vectors = encoder.encode(values.tolist())[place]  # [codes, width]; each distinct value is encoded once
    return _Labels([layer_table().names[index] for index in layers], names, vectors, distinct.get_indexer(keys))


def _start_summary(out: Path, city: str, objects: OsmObjects, labels: _Labels) -> PrepareSummary:
    names = layer_table().names
    counts = np.bincount(objects.layer, minlength=len(names)).tolist()
    return PrepareSummary(
        out, city, objects=dict(zip(names, counts, strict=True)), values=len(set(labels.names)), repaired=objects.repaired,
        dropped=Counter(objects.dropped),
    )


def _row_bounds(mosaic: Mosaic, row: int, tile_px: int) -> np.ndarray:
    """minx, miny, maxx, maxy of the whole tiles of one row: [columns, 4]; neighbours share their edge exactly."""
    grid, columns = mosaic.transform, mosaic.width // tile_px
    x = grid.c + np.arange(columns + 1) * tile_px * grid.a
    top, bottom = grid.f + np.array([row, row + 1]) * tile_px * grid.e
    return np.stack([x[:-1], np.full(columns, bottom), x[1:], np.full(columns, top)], axis=1)


def _clipped_tiles(mosaic: Mosaic, objects: OsmObjects, tile_px: int, summary: PrepareSummary) -> Iterator[_Tile]:
    """Every whole tile, row by row, with its clipped objects in the objects' order: one index query and one intersection a row."""
    tree = shapely.STRtree(objects.geometry)
    for row in range(mosaic.height // tile_px):
        bounds = _row_bounds(mosaic, row, tile_px)
        boxes = shapely.box(*bounds.T)  # [columns]
        tile, member = tree.query(boxes, predicate="intersects")
        order = np.lexsort((member, tile))
        tile, member = tile[order], member[order]
        clips = polygonal_part(shapely.intersection(objects.geometry[member], boxes[tile]))
        solid = shapely.area(clips) > 0
        summary.dropped[FLAT_CLIPS] += int((~solid).sum())
        tile, member, clips = tile[solid], member[solid], clips[solid]
        ends = np.searchsorted(tile, np.arange(len(boxes) + 1))
        for col, (start, stop) in enumerate(pairwise(ends)):
            yield _Tile(col, row, tuple(bounds[col].tolist()), clips[start:stop], member[start:stop])


def _make_tile(stage: CityStage, mosaic: Mosaic, tile: _Tile, labels: _Labels, rules: _Rules, summary: PrepareSummary) -> None:
    """Write one tile and count it, or count why not."""
    if not len(tile.members) and not rules.keep_empty:
        summary.skipped[EMPTY] += 1
        return
    side = rules.tile_px
    rgb, valid = mosaic.read(Window(tile.col * side, tile.row * side, side, side))
    if 1 - valid.mean() > rules.max_nodata:
        summary.skipped[BLANK] += 1
        return
    codes = labels.of_object[tile.members]
    graph = build_graph(
        tile.geometries, labels.vectors[codes], codes, tile.bounds, side, relation_codes=rules.relation_codes, coordinates=rules.coordinates
    )
    stage.write_tile(tile.col, tile.row, rgb, graph)
    summary.tiles += 1
    summary.nodes += graph.num_nodes
    summary.edges += graph.num_edges


def _meta(mosaic: Mosaic, osm: str | Path, encoder: TextEncoder, labels: _Labels, rules: _Rules, summary: PrepareSummary) -> dict:
    """What meta/CITY.json records: enough to place every tile on the ground and to read every label code."""
    return {
        "city": summary.city,
        "crs": mosaic.crs.to_string(),
        "transform": list(mosaic.transform)[:6],  # of the raster's top-left corner; a, b, c, d, e, f as in rasterio
        "raster_size": [mosaic.width, mosaic.height],
        "tile_px": rules.tile_px,
        "raster_files": [source.path.name for source in mosaic.sources],
        "osm_source": Path(osm).name,
        "layers": list(layer_table().names),
        "label_names": labels.names,
        "label_layers": labels.layers,
        "text": encoder.name,
        "text_width": encoder.width,
        "recipe": {"relation_codes": rules.relation_codes, "coordinates": rules.coordinates},
        "counts": {
            "tiles": summary.tiles, "nodes": summary.nodes, "edges": summary.edges, "objects": summary.objects,
            "skipped": dict(+summary.skipped), "repaired": summary.repaired, "dropped": dict(+summary.dropped),
        },
    }
