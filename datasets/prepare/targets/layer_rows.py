"""Rows of vector files: layers of points, or of H3 cells without geometries."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from pyproj import CRS

from datasets.prepare.geo.formats import own_drivers
from datasets.prepare.geo.vector_io import (
    NUMBER,
    Layer,
    checked_crs,
    geopandas_program,
    parquet_batches,
    reading,
    usable_crs,
)
from datasets.prepare.geo.wkb import shapes_of
from datasets.prepare.targets.rows import Rows
from utils.errors import PrepareError


class LayerRows(Rows):
    """Rows of a layer of points, or of one without geometries that has H3 cells."""

    def __init__(self, layer: Layer, several: bool, key: str, column: str | None,
                 crs: str | None, cells: bool):
        self.path, self.columns, self._layer = layer.path, layer.columns, layer
        self._several = several
        super().__init__(key, column, crs, cells)
        if self.columns[self.column] != NUMBER:
            command = self.program(f"f.astype({{{self.column!r}: float}})", "numbers")
            raise PrepareError(f"{self.path}: the column {self.column} holds "
                               f"{self.columns[self.column]}, expected numbers. Pass "
                               f"{key}_column= another column; if it is numbers written as text, "
                               f"make a copy: `{command}`.")

    def program(self, method: str, suffix: str, reading: str = "") -> str:
        return geopandas_program(self.path, self._layer.name if self._several else None,
                                 f".pipe(lambda f: {method}).to_file",
                                 f"{self.path.stem}_{suffix}.gpkg")

    def swapped(self) -> str:
        return self.program("f.set_geometry(g.points_from_xy(f.geometry.y, f.geometry.x, "
                            "crs=f.crs))", "swapped")

    def _batches(self, names: list[str]) -> Iterator[list[pa.Array]]:
        for _, *columns in self._features(names):
            yield columns

    def _features(self, names: list[str]) -> Iterator[list[pa.Array | None]]:
        """Yield geometries as WKB, None without any, and columns, some rows at a time."""
        layer, asked = self._layer, list(dict.fromkeys(names))
        with reading(self.path, "cannot be read as points", "Get the file again."):
            if layer.geometry is not None:
                for batch in parquet_batches(self.path, [layer.geometry, *asked]):
                    yield [batch.column(layer.geometry), *map(batch.column, names)]
                return
            with own_drivers(), pyogrio.raw.open_arrow(
                self.path, layer=layer.name, columns=asked,
                read_geometry=layer.shapes is not None, use_pyarrow=True,
            ) as (about, batches):
                geometry = about["geometry_name"] or "wkb_geometry"
                for batch in batches:
                    held = geometry in batch.schema.names
                    yield [batch.column(geometry) if held else None, *map(batch.column, names)]

    def _placed(self) -> Iterator[tuple[int, tuple[np.ndarray, pa.Array]]]:
        first = 1
        for wkb, amounts in self._features([self.column]):
            shapes = shapes_of(wkb.to_pylist())
            kinds = shapely.get_type_id(shapes)
            if (crowds := shapely.get_num_geometries(shapes) > 1).any():
                command = self.program("f.set_geometry(f.centroid)", "centres")
                index = int(np.argmax(crowds))
                raise PrepareError(f"{self.path}: row {first + index} has "
                                   f"{shapely.get_num_geometries(shapes[index])} places, expected "
                                   "one point with its value. Take their middle, with "
                                   f"`{command}`, or mend the rows.")
            multiple = kinds == 4
            shapes[multiple] = shapely.get_geometry(shapes[multiple], 0)
            other = ~np.isin(kinds, (0, -1, 4))
            self.others += int(other.sum())
            shapes[other] = None
            place = np.stack([shapely.get_x(shapes), shapely.get_y(shapes)], axis=1)
            place[~np.isfinite(place).all(1)] = np.nan
            yield first, (place, amounts)
            first += len(amounts)

    def _has_coordinates(self) -> bool:
        return self._layer.shapes is not None

    def _coordinates(self) -> None:
        return None

    def _given_crs(self, crs: str | None) -> CRS | None:
        given = super()._given_crs(crs)
        own = usable_crs(self._layer.crs)
        if given and own and given != own:
            raise PrepareError(f"{self.path}: {self.key}_crs={crs}, but the file says that it is "
                               f"in {own.name}. Leave {self.key}_crs= out, or mend the file.")
        return given

    def _crs(self, points: np.ndarray) -> CRS:
        return self._given or checked_crs(self.path, self._layer.crs, self.key)
