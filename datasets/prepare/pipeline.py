"""Raster + OSM -> the tiles of one city.

OSM objects are spooled to disk, their tag values encoded once, and bands of tiles made from the
spool, by this process or by many. Every step leaves its result in the workplace, so that a run
which was stopped goes on where it was.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from datasets.prepare.bands import BandReport
from datasets.prepare.city_folder import Workplace
from datasets.prepare.engine import check_scheduler, default_workers, make_bands
from datasets.prepare.forecast import Forecast, forecast
from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.mosaic import Mosaic, open_mosaic
from datasets.prepare.job import TOTALS, Job, TileRules, open_job
from datasets.prepare.osm.objects import source_files
from datasets.prepare.osm.tags import LayerTable, listed, load_layers
from datasets.prepare.settings import Settings
from datasets.prepare.staging import Objects, build_job
from datasets.prepare.summary import PrepareSummary
from datasets.prepare.targets.land_use import LandUse
from datasets.prepare.targets.zonal import Zonal
from datasets.prepare.text.registry import TextEncoder, text_encoder
from datasets.splits import SplitRules, drop_missing, write_splits
from datasets.stores.compact import join_parts
from datasets.stores.release import write_release_meta
from utils.errors import PrepareError, TileError
from utils.files import checksums, states
from utils.versions import versions

# Share of its raw bytes that a tile's image takes at least, in its part and joined; a disk with
# less room is surely too small.
LEAST_SHARE = 0.3


def prepare_tiles(
    raster: str | Path, osm: str | Path, out: str | Path, city: str, *, progress: bool = True,
    **keys: object
) -> PrepareSummary | Forecast:
    """Cut a raster into tiles from its top-left corner and build each tile's OSM graph.

    Nothing appears in `out` before everything is ready, and other cities there stay as they are. A
    run that was stopped, in whatever way, leaves its work in a hidden folder there; the same call
    goes on with it, and its tiles are byte-equal to those of an undisturbed run.

    Args:
        raster: a GeoTIFF, a VRT, a folder of GeoTIFFs or a glob (see `raster.open_mosaic`).
        osm: a vector file or a folder of them (see `objects.read_objects`).
        out: folder of the dataset; tiles are called `{city}_{col}_{row}`.
        city: letters, digits, `_` and `-`.
        progress: show a progress bar, and say what is going on.
        keys: the other fields of `settings.Settings`, which are the keys of prepare_dataset.py.

    Returns:
        What was made; with `dry_run`, what would be made.

    Raises:
        PrepareError: an input cannot be used, `out` holds this city already, or no tile can be
            made.
        ConfigError: an impossible value.
    """
    settings = Settings(raster, osm, out, city, **keys)
    if settings.scheduler:
        check_scheduler(settings.scheduler)
    layers, encoder = load_layers(settings.layers), text_encoder(**settings.text)
    with open_mosaic(
        settings.raster, bands=settings.bands, raster_crs=settings.raster_crs,
        resolution=settings.resolution,
        stretch=tuple(settings.stretch), nodata=settings.nodata,
    ) as mosaic:
        preparation = _Preparation(settings, layers, encoder, mosaic, progress)
        return preparation.forecast() if settings.dry_run else preparation.run()


@dataclass
class _Preparation:
    """One preparation: its sources, opened."""

    settings: Settings
    layers: LayerTable
    encoder: TextEncoder
    mosaic: Mosaic
    progress: bool

    def __post_init__(self) -> None:
        """Raises PrepareError where a source is of no use, before any work is done."""
        self.grid = TileGrid.over(self.mosaic, self.settings.tile_px, self.settings.stride)
        if not self.grid.tiles:
            raise PrepareError(f"{self.settings.raster}: the raster is {self.mosaic.width} x "
                               f"{self.mosaic.height} pixels, smaller than one tile of "
                               f"{self.grid.tile_px} x {self.grid.tile_px}. Pass a larger raster, "
                               "several that adjoin, or a finer resolution=.")
        self._say(self.mosaic.warnings)
        crs, bounds = self.mosaic.crs.to_wkt(), self.mosaic.bounds
        self.sources = _target_arguments(self.settings)
        self.targets: list[LandUse | Zonal] = []
        for kind, arguments in self.sources.items():
            target = LandUse(**arguments) if kind == "label" else Zonal(**arguments)
            target.check(crs, bounds, *((self.mosaic.transform,) if kind == "label" else ()))
            self._say(target.notes)
            self.targets.append(target)

    def forecast(self) -> Forecast:
        """What would be made."""
        return forecast(self.settings, self.mosaic, self.grid, self._build_job)

    def run(self) -> PrepareSummary:
        """Make the city, or what a stopped run left to make of it."""
        place = Workplace(self.settings.folder, self.settings.city)
        request = {"keys": self.settings.of_result(), "sources": states(self._files()),
                   "versions": versions()}
        place.hold()
        try:
            continues = place.claim(request, self.settings.layout, self.settings.overwrite)
            if place.discarded:
                self._say(["the work of a stopped run with other keys or other sources was "
                           "thrown away"])
            if not place.moved and not place.moving:
                self._make_or_clear(place, continues)
            return self._finish(place)
        finally:
            place.let_go()

    def _make_or_clear(self, place: Workplace, continues: bool) -> None:
        """`_make`; work that was not even begun does not stay, nor is a full disk blamed on
        nobody."""
        try:
            self._make(place)
        except PrepareError:
            if not continues and not place.worth_keeping:
                place.abandon()
            raise
        except OSError as error:
            if error.filename is not None:
                raise
            raise PrepareError(f"{place.out}: cannot be written ({error.strerror or error}). Free "
                               "space there; the same command then goes on where it stopped.") from error

    def _say(self, notes: Iterable[str]) -> None:
        for note in notes if self.progress else ():
            tqdm.write(f"note: {note}")

    def _files(self) -> list[Path]:
        """Every file that the tiles depend on."""
        of_targets = (file for target in self.targets for file in target.files)
        return [*self.mosaic.files, *source_files(Path(self.settings.osm)), self.layers.path,
                *of_targets]

    def _make(self, place: Workplace) -> None:
        """All that stands between the sources and tiles that are ready to be moved."""
        _check_space(place, self.grid)
        job = self._build_job(place.folder)
        self._make_bands(job)
        total = _total(job)
        if not total.tiles:
            place.abandon()
            raise PrepareError(f"{self.settings.raster}: no tile can be made: "
                               f"{listed(total.skipped)}. Pass imagery and OSM data that overlap, "
                               "or allow more with keep_empty=true, or a max_nodata above "
                               f"{self.settings.max_nodata}.")
        meta = self._meta(job, total)
        if self.settings.layout == "compact":
            join_parts(map(job.part, range(self.grid.bands)),
                       place.made / "cities" / self.settings.city, job.text, meta)
        else:
            write_release_meta(place.made, self.settings.city, meta, job.text)

    def _build_job(self, folder: Path) -> Job:
        of_tiles = {name: getattr(self.settings, name) for name in TileRules.__dataclass_fields__}
        remedy = None if self.settings.keep_empty else "or pass keep_empty=true to make tiles without OSM on purpose"
        objects = Objects(self.settings.osm, self.layers, self.encoder, remedy)
        return build_job(folder, TileRules(**of_tiles), self.grid, self.mosaic, objects,
                         self.sources, self._say, self.progress)

    def _make_bands(self, job: Job) -> None:
        sizes = [band.last - band.first for band in map(job.grid.band, range(job.grid.bands))]
        missing = [number for number in range(job.grid.bands) if not job.report(number).exists()]
        done = job.grid.tiles - sum(sizes[number] for number in missing)
        if done:
            self._say([f"going on with the work of a stopped run: {done} of {job.grid.tiles} "
                       "tiles are done"])
        workers = self.settings.workers or default_workers(job.grid.tiles - done)
        shown = {"unit": "tile", "desc": self.settings.city, "smoothing": 0.05,
                 "disable": not self.progress}
        with tqdm(total=job.grid.tiles, initial=done, **shown) as bar:
            for number in make_bands(job.folder, missing, workers, self.settings.scheduler):
                bar.update(sizes[number])

    def _finish(self, place: Workplace) -> PrepareSummary:
        """Move the tiles to their place, list them by split, and say what was made."""
        if not place.moved:
            place.put_in_place()
        place.release_marker()
        job = open_job(str(place.finished.resolve()))
        spool = job.spool
        summary = PrepareSummary(
            self.settings.folder, self.settings.city, self.mosaic.metres_per_pixel, self.grid,
            _total(job), spool.counts,
            len(spool.labels.values), spool.repaired, spool.outside, spool.dropped,
            self._list_tiles(),
        )
        place.clear()
        return summary

    def _list_tiles(self) -> str:
        """Write the lists of tiles where there are targets; a city too small for them is a whole
        dataset all the same."""
        said = ""
        if self.targets:
            try:
                return str(write_splits(self.settings.folder, SplitRules(**self.settings.split)))
            except TileError as error:
                said = f"no lists of training and test tiles: {error}"
        if dropped := drop_missing(self.settings.folder):
            self._say([f"the lists of training and test tiles named {dropped} tiles that are no "
                       "more; they are off the lists"])
        return said

    def _meta(self, job: Job, total: BandReport) -> dict:
        """What the dataset records of the city: enough to place every tile, to read every label
        code, and to make it again."""
        grid, spool = job.grid, job.spool
        skipped = total.skipped + Counter(partial=grid.partial)
        return {
            "city": self.settings.city,
            "crs": self.mosaic.crs.to_string(),
            # of the raster's top-left corner; a, b, c, d, e, f as in rasterio
            "transform": list(grid.transform),
            "raster_size": [grid.width, grid.height],
            "metres_per_pixel": list(self.mosaic.metres_per_pixel),
            "tile_px": grid.tile_px,
            # tile CITY_COL_ROW has its top-left pixel at COL * stride, ROW * stride
            "stride": grid.stride,
            "stretch": self.mosaic.stretch,
            "layers": list(spool.counts),
            "label_names": spool.labels.names,
            "label_layers": spool.labels.layers,
            "text": json.loads((job.folder / "text.json").read_text(encoding="utf-8")),
            "text_values": spool.labels.values,  # of the text table's rows
            "keys": self.settings.of_result(),
            "counts": {
                "tiles": total.tiles, "nodes": total.nodes, "edges": total.edges,
                "objects": spool.counts, "skipped": dict(+skipped),
                "repaired": spool.repaired, "outside": spool.outside,
                "dropped": dict(+(spool.dropped + total.dropped)),
            },
            "totals": dict(total.totals),
            "versions": versions(),
            "sources": checksums(self._files()),
        }


def _target_arguments(settings: Settings) -> dict[str, dict]:
    """Arguments of the target sources that there are, by the folder of the release's layout."""
    arguments = {}
    if settings.labels:
        arguments["label"] = {"path": settings.labels, "label_map": settings.label_map,
                              "column": settings.label_column}
    for kind, name in TOTALS.items():
        if path := getattr(settings, name):
            unit, column = getattr(settings, f"{name}_unit"), getattr(settings, f"{name}_column")
            arguments[kind] = {"path": path, "name": name, "unit": unit, "column": column}
    return arguments


def _check_space(place: Workplace, grid: TileGrid) -> None:
    needed = int(grid.tiles * grid.tile_px**2 * 3 * LEAST_SHARE)
    free = shutil.disk_usage(place.out).free + place.size
    if free < needed:
        raise PrepareError(f"{place.out}: the disk has {free / 1e9:.1f} GB free, but {grid.tiles} "
                           f"tiles need {needed / 1e9:.1f} GB or more. Free space, choose another "
                           "out=, or a coarser resolution=.")


def _total(job: Job) -> BandReport:
    total = BandReport()
    for number in range(job.grid.bands):
        total.add(BandReport.read(job.report(number)))
    return total
