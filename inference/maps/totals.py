"""A map of totals: an estimate of the people or the CO2 of each tile, and of zones made of parts
of tiles."""

import hashlib
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
from inference.maps.geopackage import as_geopackage, check_holdable
from inference.maps.zones import COVERED, zone_totals
from inference.parts import Strips
from inference.pictures import amount_layer
from inference.predict import PredictedBand
from inference.scene import Opening
from models.downstream import Regressor
from models.heads import RegressionHead
from utils.errors import CheckpointError, ConfigError
from utils.files import replacing
from utils.progress import say

TOTALS, TILES, ZONES = "totals.tif", "tiles.gpkg", "zones.gpkg"
SHOWN_ZONES = 100
_DIGEST = "tiles_sha256"
# of the tables, by the target of evaluate_pop_fusion.py
_COLUMN = {"pop": "population", "co2": "co2"}
_CUT = 0.5  # share of a tile's ground with imagery, below which its estimate is worth a word
_TITLE = {"pop": "Population", "co2": "CO2 emissions"}


class TotalsMap:
    """A strip, of one row of tiles, holds estimate, share of the tile that has imagery, and number
    of OSM objects of each tile [3, 1, columns] float64; nan where there is no imagery at all.

    Args:
        model: the network.
        head: what it is for.
        cfg: key `zones`.

    Raises:
        ConfigError: a key that only models of classes know.
        CheckpointError: the model reads OSM alone, and there is none.
    """

    kind, edges, overlap = "totals", "exceed", 0.0
    afterwards = ("zones",)

    def __init__(self, model: Regressor, head: RegressionHead, cfg: PredictConfig):
        if cfg.probabilities:
            raise ConfigError(f"probabilities=true: {cfg.checkpoint} estimates totals, which have "
                              "none; give a checkpoint of evaluate_seg_fusion.py, or leave "
                              "probabilities= out")
        if cfg.overlap:
            raise ConfigError(f"overlap={cfg.overlap}: {cfg.checkpoint} estimates totals of "
                              "tiles, and what two tiles share would count twice; leave overlap= "
                              "out")
        if not model.modality.reads_image and cfg.osm is None:
            raise CheckpointError(f"{cfg.checkpoint}: reads OSM alone, and there is no osm= to "
                                  "read; pass the place's OSM data, or a checkpoint of another "
                                  "modality")
        self.model, self.zones = model, cfg.zones and Path(cfg.zones)
        self.title = _TITLE[head.target]
        self.column, self.unit = _COLUMN[head.target], UNITS[head.target]
        self.counted = self.unit.removesuffix(" a tile")

    def check(self, opening: Opening) -> None:
        """Raises PrepareError where the zones cannot be used or written, before any work is
        done."""
        if self.zones:
            box, crs = shapely.box(*opening.mosaic.bounds), opening.mosaic.crs.to_wkt()
            whole = gpd.GeoDataFrame({self.column: [np.nan]}, geometry=[box], crs=crs)
            check_holdable(self.zones, zone_totals(self.zones, whole, self.column))

    def network(self, images: Tensor, graphs: Batch) -> Tensor:
        """[B, 1] totals in their own units."""
        return self.model(images, graphs)

    def first_row(self, grid: TileGrid, strip: int) -> int:
        """The first row of tiles that the strip and those below it depend on."""
        return strip

    def strips(self, grid: TileGrid, rows: Iterator[tuple[int, Iterator[PredictedBand]]],
               first: int) -> Iterator[np.ndarray]:
        """The strips from `first` on, a row of tiles each."""
        for _, bands in rows:
            strip = np.full((3, 1, grid.columns), np.nan)
            for band in bands:
                if band.cols:
                    strip[:, 0, band.cols] = band.outputs[:,
                                                          0], band.valid.float().mean((1,
                                                                                       2)), band.objects
            yield strip

    def again(self, out: Path, found: dict[str, Any], grid: TileGrid) -> Iterator[np.ndarray]:
        """The strips that a finished map in `out`, whose record is `found`, was made of; none
        where its table is not as it was written."""
        values = np.full((3, grid.rows, grid.columns), np.nan)
        try:
            tiles = gpd.read_file(out / TILES, ignore_geometry=True)
            values[:, tiles["row"],
                   tiles["column"]] = tiles[[self.column, "imagery",
                                             "objects"]].to_numpy(np.float64).T
        except (*READ_ERRORS, KeyError, IndexError, ValueError):
            return
        if _digest(values) == found.get(_DIGEST):
            yield from np.split(values, grid.rows, axis=1)

    def write(self, strips: Strips, scene: SceneTiles, out: Path, title: str,
              shape: tuple[int, int],
              ) -> dict[str, Any] | None:
        """Write the map's files; what scene.json says of them, None where no tile has imagery.

        Args:
            shape: height and width of the scene's pictures.
        """
        grid = scene.grid
        values = np.concatenate(list(strips), axis=1)                          # [3, rows, columns]
        if np.isnan(values[0]).all():
            return None
        ground = Ground(scene.crs, scene.transform @ Affine.scale(grid.tile_px), grid.columns,
                        grid.rows)
        write_geotiff(out / TOTALS, [values[:1].astype(np.float32)], ground,
                      Content("float32", np.nan, [self.unit], {"TITLE": title, "UNIT": self.unit}))
        tiles = self._tiles(scene, values)
        _write_table(tiles, out / TILES)
        files = [{"name": TOTALS, "what": f"{self.unit}, a pixel each; the last may reach beyond "
                                          "the imagery"},
                 {"name": TILES, "what": f"the tiles: {self.column}, imagery (share of the tile "
                                         "that has any), objects (of OSM)"}]
        total, place = f"{tiles[self.column].sum():,.0f}", f"on {len(tiles):,} tile{'s' if len(tiles) > 1 else ''}"
        lines, tables = [f"{total} {self.counted} {place}", *self._doubts(tiles)], []
        if self.zones:
            zones = zone_totals(self.zones, tiles, self.column)
            say(zones.attrs["notes"])
            _write_table(zones, out / ZONES)
            files.append({"name": ZONES, "what": f"the zones: {self.column}, and covered, the "
                                                 "share of the zone that the tiles cover"})
            lines += [f"{zones[self.column].sum():,.0f} {self.counted} in {len(zones):,} zones",
                      *zones.attrs["notes"]]
            tables.append(_zone_table(zones, self.column))
        layer = amount_layer(self.unit, values[0], shape[1] / scene.width * grid.tile_px,
                             self.unit, out, shape)
        return {"headline": [(self.counted, total, place)], "lines": lines, "layers": [layer],
                "tables": tables, "files": files,
                "more": {_DIGEST: _digest(values)}}

    def _doubts(self, tiles: gpd.GeoDataFrame) -> list[str]:
        """What comes of tiles with little imagery, in words."""
        cut = tiles["imagery"] < _CUT
        if not cut.any():
            return []
        return [f"{tiles[self.column][cut].sum():,.0f} of them where a tile has imagery on less "
                f"than half of its ground ({cut.sum():,} of the tiles): there the model is least "
                "certain"]

    def _tiles(self, scene: SceneTiles, values: np.ndarray) -> gpd.GeoDataFrame:
        """The tiles that have imagery, cut to the raster."""
        grid = scene.grid
        rows, columns = np.nonzero(np.isfinite(values[0]))
        bounds = np.concatenate([grid.bounds(row, np.flatnonzero(np.isfinite(values[0, row])))
                                 for row in range(grid.rows)])
        _, bottom, right, _ = scene.bounds
        boxes = shapely.box(bounds[:, 0], np.maximum(bounds[:, 1], bottom),
                            np.minimum(bounds[:, 2], right), bounds[:, 3])
        estimate, imagery, objects = values[:, rows, columns]
        return gpd.GeoDataFrame({"column": columns, "row": rows, self.column: estimate,
                                 "imagery": imagery,
                                 "objects": objects.astype(np.int64)}, geometry=boxes,
                                crs=scene.job.mosaic.crs.to_string())


def _digest(values: np.ndarray) -> str:
    """Of the strips' values [3, rows, columns], whatever stands where none is known."""
    return hashlib.sha256(np.where(np.isfinite(values), values, -1).tobytes()).hexdigest()


def _write_table(frame: gpd.GeoDataFrame, path: Path) -> None:
    with replacing(path) as part:
        part.write_bytes(as_geopackage(frame, path.stem))


def _zone_table(zones: gpd.GeoDataFrame, column: str) -> dict[str, Any]:
    """The zones without their geometries, the largest totals first, for the report, which names no
    more than it can show."""
    largest = zones[column].abs().max()
    # of all alike, so that three tell of the largest
    digits = max(0, 2 - int(np.floor(np.log10(largest)))) if largest > 0 else 0
    frame = zones.drop(columns=zones.geometry.name).sort_values(column, ascending=False,
                                                                kind="stable")
    frame[column] = frame[column].map(lambda total: None if np.isnan(total)
                                      else f"{total:,.{digits}f}")
    frame[COVERED] = frame[COVERED].map("{:.0%}".format)
    rows = [[value if value is None or isinstance(value, str | int | float) else str(value)
             for value in row]
            for row in frame.head(SHOWN_ZONES).itertuples(index=False)]
    shown = f", the largest {SHOWN_ZONES} of {len(zones):,}" if len(zones) > SHOWN_ZONES else ""
    return {"title": f"Zones: {column}{shown}", "columns": list(frame.columns), "rows": rows}
