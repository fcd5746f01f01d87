"""A map of totals: the people, the CO2 or what else a model estimates of each tile, and of zones
made of parts of tiles."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from torch import Tensor
from torch_geometric.data import Batch

from datasets.prepare.geo.vector_io import READ_ERRORS
from datasets.prepare.grid import TileGrid
from datasets.prepare.scene_tiles import SceneTiles
from datasets.targets import UNITS
from inference.geotiff import Content, Ground, write_geotiff
from inference.keys import PredictConfig
from inference.maps.geopackage import as_geopackage, check_holdable, is_geopackage
from inference.maps.kind import MapKind, WrittenMap
from inference.maps.zones import COVERED, zone_totals
from inference.pictures import amount_layer
from inference.pieces import Strips
from inference.predict import Rows
from inference.scene import Scene
from models.downstream import Regressor
from models.heads import RegressionHead
from utils.errors import ConfigError
from utils.files import digest_of, replacing
from utils.progress import say, say_if_slow

TOTALS, TILES, ZONES = "totals.tif", "tiles.gpkg", "zones.gpkg"
SHOWN_ZONES = 100
ROW_BYTES = 150  # of a tile in a GeoPackage
_DIGEST = "tiles_sha256"
# column of the tables, and title, by the target of evaluate_pop_fusion.py; of other totals _OTHER
_COLUMN = {"pop": "population", "co2": "co2"}
_TITLE = {"pop": "Population", "co2": "CO2 emissions"}
_OTHER = "total"
_CUT = 0.5  # share of a tile's ground with imagery, below which its estimate needs a remark


class TotalsMap(MapKind):
    """A strip, of one row of tiles, holds estimate, share of the tile that has imagery, and number
    of OSM objects of each tile [3, 1, columns] float64; nan where there is no imagery at all.
    Without a raster the share is that inside the area, under another name.
    """

    name, edges, overlap = "totals", "exceed", 0.0
    afterwards = ("zones",)

    def __init__(self, model: Regressor, head: RegressionHead, cfg: PredictConfig):
        super().__init__(model, head, cfg)
        if cfg.probabilities:
            raise ConfigError(f"probabilities=true: {cfg.checkpoint} estimates totals, which have "
                              "none; give a checkpoint of evaluate_seg_fusion.py, or leave "
                              "probabilities= out")
        if cfg.overlap:
            raise ConfigError(f"overlap={cfg.overlap}: {cfg.checkpoint} estimates totals of "
                              "tiles, and what two tiles share would count twice; leave overlap= "
                              "out")
        self.share = "imagery" if cfg.raster is not None else "inside"
        self.zones = cfg.zones and Path(cfg.zones)
        if head.counted:
            self.title = f"{head.counted[:1].upper()}{head.counted[1:]}"
            self.column, self.unit = _OTHER, f"{head.counted} a tile"
        else:
            self.title, self.column = _TITLE[head.target], _COLUMN[head.target]
            self.unit = UNITS[head.target]
        self.counted = self.unit.removesuffix(" a tile")

    def check(self, scene: Scene) -> None:
        """Raise PrepareError if the zones cannot be used or written, before any work is done."""
        if self.zones:
            box, crs = shapely.box(*scene.mosaic.bounds), scene.mosaic.crs.to_wkt()
            whole = gpd.GeoDataFrame({self.column: [np.nan]}, geometry=[box], crs=crs)
            with say_if_slow(f"checking {self.zones}"):
                check_holdable(self.zones, zone_totals(self.zones, whole, self.column))

    def least_bytes(self, grid: TileGrid) -> float:
        """Return the bytes of the tables' rows."""
        return ROW_BYTES * grid.tiles

    def network(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return totals [B, 1] in their own units."""
        return self.model(images, graphs)

    def strips(self, grid: TileGrid, rows: Rows, first: int) -> Iterator[np.ndarray]:
        for _, bands in rows:
            strip = np.full((3, 1, grid.columns), np.nan)
            for band in bands:
                if band.cols:
                    strip[:, 0, band.cols] = (band.outputs[:, 0],
                                              band.valid.float().mean((1, 2)), band.objects)
            yield strip

    def strips_of(self, out: Path, record: dict[str, Any], grid: TileGrid) -> Iterator[np.ndarray]:
        """Yield the strips of the finished map in `out`, or none if its table has changed."""
        values = np.full((3, grid.rows, grid.columns), np.nan)
        try:
            if not is_geopackage(out / TILES):
                return
            tiles = gpd.read_file(out / TILES, ignore_geometry=True)
            columns = tiles[[self.column, self.share, "objects"]].to_numpy(np.float64)
            values[:, tiles["row"], tiles["column"]] = columns.T
        except (*READ_ERRORS, LookupError, TypeError, ValueError):
            return
        if _digest(values) == record.get(_DIGEST):
            yield from np.split(values, grid.rows, axis=1)

    def write(self, strips: Strips, tiles: SceneTiles, out: Path, title: str,
              shape: tuple[int, int]) -> WrittenMap | None:
        """Write the totals, and those of zones if given; return None if no tile has imagery."""
        grid = tiles.grid
        values = np.concatenate(list(strips), axis=1)                          # [3, rows, columns]
        if np.isnan(values[0]).all():
            return None
        ground = Ground(tiles.crs, tiles.transform @ Affine.scale(grid.tile_px), grid.columns,
                        grid.rows)
        write_geotiff(out / TOTALS, [values[:1].astype(np.float32)], ground,
                      Content("float32", np.nan, [self.unit], {"TITLE": title, "UNIT": self.unit}))
        frame = self._frame(tiles, values)
        _write_table(frame, out / TILES)
        ground, share = (("imagery", "that has any") if self.share == "imagery" else
                         ("area", "that is inside the area"))
        files = [{"name": TOTALS, "what": f"{self.unit}, a pixel each; the last may reach beyond "
                                          f"the {ground}"},
                 {"name": TILES, "what": f"the tiles: {self.column}, {self.share} (share of the "
                                         f"tile {share}), objects (of OSM)"}]
        total = self._amount(frame[self.column].sum())
        count = f"on {len(frame):,} tile{'s' if len(frame) > 1 else ''}"
        lines, tables = [f"{total} {self.counted} {count}", *self._doubts(frame)], []
        if self.zones:
            with say_if_slow(f"totals of {self.zones}"):
                zones = zone_totals(self.zones, frame, self.column)
            say(zones.attrs["notes"])
            _write_table(zones, out / ZONES)
            files.append({"name": ZONES, "what": f"the zones: {self.column}, and covered, the "
                                                 "share of the zone that the tiles cover"})
            lines += [f"{self._amount(zones[self.column].sum())} {self.counted} in "
                      f"{len(zones):,} zones",
                      *zones.attrs["notes"]]
            tables.append(_zone_table(zones, self.column))
        layer = amount_layer(self.unit, values[0], shape[1] / tiles.width * grid.tile_px,
                             self.unit, out, shape)
        return WrittenMap(lines, [layer], files, [(self.counted, total, count)], tables,
                          {_DIGEST: _digest(values)})

    def _amount(self, total: float) -> str:
        """Return a total in writing: whole people and tonnes, three digits of small other ones."""
        return f"{total:,.3g}" if self.column == _OTHER and abs(total) < 999.5 else f"{total:,.0f}"

    def _doubts(self, frame: gpd.GeoDataFrame) -> list[str]:
        """Return what makes the totals doubtful, in words."""
        doubts, cut = [], frame[self.share] < _CUT
        if len(frame) > 1 and frame[self.column].nunique() == 1:
            doubts.append("every tile has the same estimate: the model has not learned to tell "
                          "them apart; its evaluation says how good it is")
        if cut.any():
            where = ("a tile has imagery on less than half of its ground"
                     if self.share == "imagery" else "less than half of a tile is inside the area")
            doubts.append(f"{self._amount(frame[self.column][cut].sum())} of them where {where} "
                          f"({cut.sum():,} of the tiles): there the model is least certain")
        return doubts

    def _frame(self, tiles: SceneTiles, values: np.ndarray) -> gpd.GeoDataFrame:
        """Return the tiles that have imagery, cut to the raster."""
        grid = tiles.grid
        rows, columns = np.nonzero(np.isfinite(values[0]))
        bounds = np.concatenate([grid.bounds(row, np.flatnonzero(np.isfinite(values[0, row])))
                                 for row in range(grid.rows)])
        _, bottom, right, _ = tiles.bounds
        boxes = shapely.box(bounds[:, 0], np.maximum(bounds[:, 1], bottom),
                            np.minimum(bounds[:, 2], right), bounds[:, 3])
        estimate, share, objects = values[:, rows, columns]
        return gpd.GeoDataFrame({"column": columns, "row": rows, self.column: estimate,
                                 self.share: share, "objects": objects.astype(np.int64)},
                                geometry=boxes, crs=tiles.job.mosaic.crs.to_string())


def _digest(values: np.ndarray) -> str:
    """Return the digest of the strips' values [3, rows, columns], whatever stands for unknown."""
    return digest_of(np.where(np.isfinite(values), values, -1).tobytes())


def _write_table(frame: gpd.GeoDataFrame, path: Path) -> None:
    with say_if_slow(f"writing {path.name}"), replacing(path) as temporary:
        temporary.write_bytes(as_geopackage(frame, path.stem))


def _zone_table(zones: gpd.GeoDataFrame, column: str) -> dict[str, Any]:
    """Return the report's table of the zones with the largest totals."""
    largest = zones[column].abs().max()
    # the same for all: three significant ones of the largest
    digits = max(0, 2 - int(np.floor(np.log10(largest)))) if largest > 0 else 0
    frame = zones.drop(columns=zones.geometry.name).sort_values(column, ascending=False,
                                                                kind="stable")
    frame[column] = frame[column].map(lambda total: None if np.isnan(total)
                                      else f"{total:,.{digits}f}")
    frame[COVERED] = frame[COVERED].map("{:.0%}".format)
    rows = [[value if value is None or isinstance(value, str | int | float) else str(value)
             for value in row] for row in frame.head(SHOWN_ZONES).itertuples(index=False)]
    shown = f", the largest {SHOWN_ZONES} of {len(zones):,}" if len(zones) > SHOWN_ZONES else ""
    return {"title": f"Zones: {column}{shown}", "columns": list(frame.columns), "rows": rows}
