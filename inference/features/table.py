"""tiles.parquet: a row for each tile with its outline and its vectors, as GeoParquet written in
row groups, so that memory stays flat."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS, Transformer

from inference.features.areas import Area
from inference.features.pca import HIGH, LOW, Components, Moments, scaled
from inference.pieces import Parts
from utils.files import replacing
from utils.progress import passing_bar

ROW_GROUP = 1024  # tiles
WGS84 = "EPSG:4326"
PCA_COLUMNS = ("fused_pca_1", "fused_pca_2", "fused_pca_3")


def table_crs(areas: list[Area]) -> str | None:
    """Return the CRS of all outlines: that of the areas, EPSG:4326 where they have several, None
    where one of them has none."""
    if any(area.crs is None for area in areas):
        return None
    first = CRS.from_user_input(areas[0].crs)
    return areas[0].crs if all(CRS.from_user_input(area.crs) == first for area in areas) else WGS84


def write_table(path: Path, parts: Parts, areas: list[Area],
                representations: tuple[str, ...]) -> None:
    """Write the tiles of all parts to `path`, whole or not at all."""
    crs = table_crs(areas)
    colours = _tile_colours(parts) if "fused" in representations else None
    schema = _schema(areas, crs, representations, colours is not None)
    done = 0
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for group in passing_bar(_groups(parts), path.name, "group"):
            rows = _rows(parts, group, areas, crs, representations)
            if colours is not None:
                own = colours[done:done + len(rows["tile"])]
                rows |= dict(zip(PCA_COLUMNS, own.T, strict=True))
            done += len(rows["tile"])
            columns = [_lists(rows[field.name]) if pa.types.is_list(field.type)
                       else pa.array(rows[field.name], field.type) for field in schema]
            writer.write_table(pa.table(columns, schema=schema))


def _tile_colours(parts: Parts) -> np.ndarray:
    """Return the first components [tiles, 3] of the tiles' fused vectors, LOW and HIGH at 0, 1."""
    moments = None
    for number, _ in passing_bar(parts, "components of tiles", "part"):
        vectors = parts.read(number, "fused")
        moments = moments or Moments(vectors.shape[1])
        moments.add(vectors)
    components = Components.of(moments)
    projected = np.concatenate([components.project(parts.read(number, "fused"))
                                for number, _ in parts])
    return scaled(projected, tuple(np.percentile(projected, (LOW, HIGH), axis=0)))


def _groups(parts: Parts) -> Iterator[list[tuple[int, list[str]]]]:
    """Yield parts in groups of ROW_GROUP tiles or a few more."""
    group: list[tuple[int, list[str]]] = []
    for part in parts:
        group.append(part)
        if sum(len(names) for _, names in group) >= ROW_GROUP:
            yield group
            group = []
    if group:
        yield group


def _rows(parts: Parts, group: list[tuple[int, list[str]]], areas: list[Area], crs: str | None,
          representations: tuple[str, ...]) -> dict:
    arrays = {name: np.concatenate([parts.read(number, name) for number, _ in group])
              for name in ("place", "objects", *representations)}
    of_area, columns, rows = arrays.pop("place").T
    outlines = np.empty(len(of_area), object)
    for number in np.unique(of_area):
        own, area = of_area == number, areas[number]
        cells = np.column_stack([columns[own], rows[own]])
        outlines[own] = _in_crs(area.outlines(cells), area.crs, crs)
    first = np.array([area.first for area in areas])[of_area]
    return {
        "tile": [name for _, names in group for name in names],
        "city": [areas[number].name for number in of_area],
        "col": columns + first[:, 0], "row": rows + first[:, 1],
        "geometry": shapely.to_wkb(outlines), **arrays,
    }


def _in_crs(outlines: np.ndarray, own: str | None, target: str | None) -> np.ndarray:
    if target is None or own == target:
        return outlines
    return shapely.transform(outlines, Transformer.from_crs(own, target, always_xy=True).transform,
                             interleaved=False)


def _schema(areas: list[Area], crs: str | None, representations: tuple[str, ...],
            coloured: bool) -> pa.Schema:
    """Return columns and the metadata of GeoParquet 1.0, where a CRS of null means unknown."""
    column = {"encoding": "WKB", "geometry_types": ["Polygon"],
              "crs": CRS.from_user_input(crs).to_json_dict() if crs else None}
    geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}
    return pa.schema(
        [("tile", pa.string()), ("city", pa.string()), ("col", pa.int32()), ("row", pa.int32()),
         ("objects", pa.int32()),
         *((name, pa.list_(pa.float32())) for name in representations),
         *((name, pa.float32()) for name in PCA_COLUMNS if coloured), ("geometry", pa.binary())],
        metadata={"geo": json.dumps(geo)},
    )


def _lists(vectors: np.ndarray) -> pa.Array:
    """Return a list for each row of [n, D]."""
    count, width = vectors.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * width),
                                    pa.array(vectors.reshape(-1)))
