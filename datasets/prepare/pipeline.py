"""Raster + OSM -> the tiles of one city.

Spool the OSM objects to disk, encode their tag values once, and make bands of tiles from the spool,
in one process or many. Every step leaves its result on disk, so a stopped run resumes.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from datasets.classes import classes_of_cities
from datasets.dealt_lists import changed_lists
from datasets.labelled import splits_command
from datasets.prepare.account import Account
from datasets.prepare.area import bare_ground
from datasets.prepare.bands import BandReport, is_made
from datasets.prepare.city_folder import CityFolder
from datasets.prepare.engine import check_scheduler, default_workers, make_bands
from datasets.prepare.forecast import Forecast, forecast
from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.job import TOTALS, Job, TileRules, open_job, remedy
from datasets.prepare.osm.objects import source_files
from datasets.prepare.osm.tags import LayerTable, listed, load_layers
from datasets.prepare.preview import preview_path, shows
from datasets.prepare.settings import Settings
from datasets.prepare.staging import Objects, announce, build_job
from datasets.prepare.summary import PrepareSummary
from datasets.prepare.targets.land_use import LandUse
from datasets.prepare.targets.legend import Legend, as_key, listing
from datasets.prepare.targets.points import Points
from datasets.prepare.targets.zonal import Zonal
from datasets.prepare.text.registry import TextEncoder, text_encoder
from datasets.remote.imagery import Local
from datasets.remote.opening import open_imagery
from datasets.remote.urls import short_url
from datasets.split_lists import SplitRules, drop_missing, write_splits
from datasets.stores.compact import join_parts
from datasets.stores.release import write_release_meta
from utils.contents import Anything, Table, read_json
from utils.errors import ConfigError, PrepareError, TileError
from utils.files import checksums, digest_of, states
from utils.versions import versions

LEAST_COMPRESSED = 0.3  # least fraction of its raw bytes that a tile's image takes on disk


def prepare_tiles(raster: str | Path | None, osm: str | Path | None, out: str | Path, city: str,
                  *, progress: bool = True, **keys: object) -> PrepareSummary | Forecast:
    """Cut a raster into tiles from its top-left corner and build each tile's OSM graph.

    Nothing appears in `out` before everything is ready, and other cities there are untouched. A
    stopped run leaves its work in a hidden folder there; the same call continues it, and its tiles
    are byte-equal to those of an undisturbed run.

    Args:
        raster: a raster file, a folder or a glob (see `imagery.sources.find_imagery`), or an
            address (see `remote.imagery.localised`); None: tiles of OSM objects alone, cut from
            `bbox` or the extent of `osm`.
        osm: a vector file or a folder of them (see `objects.read_objects`); None: tiles of imagery
            alone.
        out: folder of the dataset; tiles are called `{city}_{col}_{row}`.
        city: letters, digits, `_` and `-`.
        progress: show a progress bar, and name each step.
        keys: the other keys of prepare_dataset.py.

    Returns:
        The summary of what was made; with `dry_run`, the forecast.

    Raises:
        PrepareError: an input cannot be used, `out` holds this city already, or no tile can be
            made.
        ConfigError: an impossible value.
    """
    settings = Settings.of(raster=raster, osm=osm, out=out, city=city, **keys)
    if settings.scheduler:
        check_scheduler(settings.scheduler)
    text = asdict(settings.text)
    layers = load_layers(settings.layers, settings.default_tags, text.pop("describe") or "value")
    encoder = text_encoder(**text)
    ground, local = _opened(settings, layers, progress)
    with ground as mosaic:
        preparation = _Preparation(settings, layers, encoder, mosaic, local, progress)
        return preparation.forecast() if settings.dry_run else preparation.run()


def _opened(settings: Settings, layers: LayerTable,
            progress: bool) -> tuple[Mosaic | BareGround, Local | None]:
    """Return the ground that tiles are cut from, of the raster or of an area without imagery, and
    where the imagery came from."""
    announce(f"opening {short_url(settings.raster or settings.osm)}", progress)
    if settings.raster is None:
        return bare_ground(settings.osm, layers, settings.bbox, settings.raster_crs,
                           settings.resolution), None
    return open_imagery(settings.raster, settings, progress)


@dataclass
class _Preparation:
    """One preparation with its sources opened."""

    settings: Settings
    layers: LayerTable
    encoder: TextEncoder
    mosaic: Mosaic | BareGround
    local: Local | None  # where the imagery came from; None: there is none
    progress: bool

    def __post_init__(self) -> None:
        """Raise PrepareError if a source cannot be used, before any work is done."""
        self.grid = TileGrid.over(self.mosaic, self.settings.tile_px, self.settings.stride)
        if not self.grid.tiles:
            what, remedy = (("raster", "Pass a larger raster, several that adjoin, or a finer "
                                       "resolution=.") if self.settings.raster else
                            ("area", "Pass a larger bbox=, a finer resolution=, or fewer "
                                     "tile_px=."))
            raise PrepareError(f"{self._source}: the {what} is {self.mosaic.width} x "
                               f"{self.mosaic.height} pixels, smaller than one tile of "
                               f"{self.grid.tile_px} x {self.grid.tile_px}. {remedy}")
        self._say(self.mosaic.warnings)
        crs, bounds = self.mosaic.crs.to_wkt(), self.mosaic.bounds
        self.sources = _target_arguments(self.settings)
        self.targets: list[LandUse | Zonal] = []
        for kind, arguments in [*self.sources.items()]:
            announce(self._about(f"checking {arguments['path']} against the imagery"),
                     self.progress)
            try:
                if kind == "label":
                    target = LandUse(**arguments)
                    target.check(crs, bounds, self.mosaic.transform)
                    self._check_classes(target.legend)
                    self.sources[kind] = target.arguments
                else:
                    target = Zonal(**arguments)
                    target.check(crs, bounds)
            except PrepareError as error:
                raise PrepareError(self._about(str(error))) from error
            self._say(map(self._about, target.notes))
            self.targets.append(target)
        _check_cells(self.settings, self.targets)

    def _about(self, message: str) -> str:
        """Return what is said of a target's place, in the words of tiles without imagery if these
        are made."""
        if self.settings.raster is not None:
            return message
        return message.replace("the imagery", "the area").replace("of the raster ", "of the area ")

    def _check_classes(self, legend: Legend) -> None:
        """Raise PrepareError if the dataset has cities with other classes."""
        folder, city = self.settings.folder, self.settings.city
        for other, classes in classes_of_cities(folder).items():
            if other != city and classes != legend.classes:
                raise PrepareError(
                    f"{folder}: {other} has the classes {listing(classes)}, and {city} would have "
                    f"{listing(legend.classes)}; one dataset has one list. Choose another out=, "
                    f"or give {city} the same list with {as_key('classes', classes)} (and with "
                    "label_map= say which values they are).")

    def forecast(self) -> Forecast:
        """Return the forecast of a run."""
        return forecast(self.settings, self.mosaic, self.grid, self._subject(), self._build_job,
                        lambda step: announce(step, self.progress))

    def run(self) -> PrepareSummary:
        """Make the city, or the rest that a stopped run left."""
        work = CityFolder(self.settings.folder, self.settings.city)
        request = {"keys": self.settings.of_result(), "sources": states(self._files()),
                   "versions": versions()}
        with work.held():
            work.claim(request, self.settings.layout, self.settings.modalities,
                       self.settings.overwrite)
            if work.discarded:
                self._say(["the work of a stopped run with other keys or other sources was "
                           "thrown away"])
            if not work.finished.is_dir():
                self._make(work)
                self._publish(work)
            return self._finish(work)

    def _say(self, notes: Iterable[str]) -> None:
        for note in notes:
            announce(f"note: {note}", self.progress)

    def _files(self) -> list[Path]:
        """Return every file that the tiles depend on."""
        return [*self._shown_files(),
                *(file for target in self.targets for file in target.files)]

    def _shown_files(self) -> list[Path]:
        """Return every file that the preview depends on."""
        objects = ([] if self.settings.osm is None else
                   [*source_files(Path(self.settings.osm)), self.layers.path])
        return [*self.mosaic.files, *objects]

    @property
    def _source(self) -> str:
        """The source that decides where tiles lie, for messages."""
        return short_url(self.settings.raster or self.settings.osm)

    def _subject(self) -> str:
        """Return what a preview of these tiles shows, as a digest."""
        return digest_of([self.mosaic.to_dict(), self.grid.to_dict(),
                          states(self._shown_files())])

    def _publish(self, work: CityFolder) -> None:
        """Move the tiles to their place; a preview of others goes."""
        preview = preview_path(self.settings.folder, self.settings.city)
        stale = preview.is_file() and not shows(preview, self._subject())
        if stale:
            self._say([f"{preview} shows another raster, other objects or other tiles, so it is "
                       "removed; dry_run=true draws it again"])
        work.publish([preview.name] if stale else [])

    def _make(self, work: CityFolder) -> None:
        """Make tiles that are ready to be moved."""
        pixels = self.grid.tiles * self.grid.tile_px**2 if self.settings.raster else 0
        needed = pixels * 3 * LEAST_COMPRESSED - work.size
        self._say(work.check_space(needed, f"{self.grid.tiles:,} tiles",
                                   "pass a coarser resolution="))
        job = self._build_job(work.folder)
        self._make_bands(job)
        total = _total(job)
        if not total.tiles:
            work.abandon()
            raise PrepareError(f"{self._source}: no tile can be made: {listed(total.skipped)}. "
                               f"{self._remedy_without_tiles()}")
        announce("recording the sources and their checksums", self.progress)
        meta = self._meta(job, total)
        if self.settings.layout == "compact":
            announce("joining the tiles", self.progress)
            join_parts(map(job.part, range(self.grid.bands)),
                       work.made / "cities" / self.settings.city, job.text, meta)
        else:
            write_release_meta(work.made, self.settings.city, meta, job.text)

    def _remedy_without_tiles(self) -> str:
        lack = f"a max_nodata above {self.settings.max_nodata}"
        if self.settings.osm is None:
            return f"Pass other imagery, or allow more with {lack}."
        if self.settings.raster is None:
            return "Pass another bbox=, or allow more with keep_empty=true."
        return ("Pass imagery and OSM data that overlap, or allow more with keep_empty=true, or "
                f"{lack}.")

    def _build_job(self, folder: Path) -> Job:
        of_tiles = {name: getattr(self.settings, name) for name in TileRules.__dataclass_fields__}
        remedy = (None if self.settings.keep_empty
                  else "or pass keep_empty=true to make tiles without OSM on purpose")
        objects = Objects(self.settings.osm, self.layers, self.encoder, remedy)
        return build_job(folder, TileRules(**of_tiles), self.grid, self.mosaic, objects,
                         self.sources, self._say, self.progress, self._points())

    def _points(self) -> dict[str, Points]:
        """Return the points near the imagery, by the folder of the release's layout."""
        targets = zip(self.sources, self.targets, strict=True)
        return {kind: target.points for kind, target in targets
                if isinstance(target, Zonal) and target.points is not None}

    def _make_bands(self, job: Job) -> None:
        sizes = [band.last - band.first for band in map(job.grid.band, range(job.grid.bands))]
        missing = [number for number in range(job.grid.bands) if not is_made(job, number)]
        done = job.grid.tiles - sum(sizes[number] for number in missing)
        if done:
            self._say([f"resuming the work of a stopped run: {done} of {job.grid.tiles} "
                       "tiles are done"])
        workers = self.settings.workers or default_workers(job.grid.tiles - done)
        shown = {"unit": "tile", "desc": self.settings.city, "smoothing": 0.05,
                 "disable": not self.progress}
        with tqdm(total=job.grid.tiles, initial=done, **shown) as bar:
            for number in make_bands(job.folder, missing, workers, self.settings.scheduler):
                bar.update(sizes[number])

    def _finish(self, work: CityFolder) -> PrepareSummary:
        """List the tiles by split, and return the summary."""
        job = open_job(str(work.finished.resolve()))
        spool, total = job.spool, _total(job)
        summary = PrepareSummary(
            self.settings.folder, self.settings.city, self.mosaic.metres_per_pixel, self.grid,
            total, Account.of(spool, self.grid, total.made), len(spool.labels.values),
            self._list_tiles(), self.settings.modalities,
            {kind: what for kind, key in TOTALS.items()
             if (what := getattr(self.settings, f"{key}_what"))},
        )
        work.clear()
        return summary

    def _list_tiles(self) -> str:
        """Write the lists of tiles if there are targets; return their report, or why none."""
        report = ""
        folder = self.settings.folder
        if self.targets and (changed := changed_lists(folder)):
            report = (f"the lists stay as they are: {', '.join(changed[:3])} was changed, or is "
                      f"not from here; {splits_command(folder)} deals all of them anew")
        elif self.targets:
            announce("listing tiles for training and test", self.progress)
            try:
                rules = SplitRules(**asdict(self.settings.split))
                return str(write_splits(self.settings.folder, rules))
            except TileError as error:
                report = f"no lists of training and test tiles: {error}"
        if dropped := drop_missing(self.settings.folder):
            self._say([f"the lists of training and test tiles named {dropped} tiles that are no "
                       "more; they are off the lists"])
        return report

    def _classes(self) -> dict[str, list[str]]:
        """Return the record's entries of the classes of land use, if the city has any."""
        legends = [target.legend for target in self.targets if isinstance(target, LandUse)]
        return {key: list(values) for legend in legends for key, values in
                (("classes", legend.classes), ("class_colours", legend.colours)) if values}

    def _meta(self, job: Job, total: BandReport) -> dict:
        """Return the city's record, enough to locate tiles, read label codes and make it again."""
        grid, spool = job.grid, job.spool
        account = Account.of(spool, grid, total.made)
        skipped = total.skipped + Counter(partial=grid.partial)
        return {
            "city": self.settings.city,
            "modalities": list(self.settings.modalities),
            "crs": self.mosaic.crs.to_string(),
            # of the raster's top-left corner; a, b, c, d, e, f as in rasterio
            "transform": list(grid.transform),
            "raster_size": [grid.width, grid.height],
            "metres_per_pixel": list(self.mosaic.metres_per_pixel),
            "tile_px": grid.tile_px,
            # tile CITY_COL_ROW has its top-left pixel at COL * stride, ROW * stride
            "stride": grid.stride,
            "stretch": self.mosaic.stretch,
            **self._classes(),
            "layers": list(spool.counts),
            "label_names": spool.labels.names,
            "label_layers": spool.labels.layers,
            "text": read_json(job.folder / "text.json", Table(Anything()), remedy(job.folder),
                              PrepareError),
            "text_values": spool.texts(),  # of the text table's rows
            "keys": self.settings.of_result(),
            "counts": {
                "tiles": total.tiles, "nodes": total.nodes, "edges": total.edges,
                "objects": account.objects, "skipped": dict(+skipped),
                "repaired": account.census.repaired, "outside": account.census.outside,
                "dropped": dict(+(account.census.dropped + total.dropped)),
                **account.to_dict(),
            },
            "totals": dict(total.totals),
            "versions": versions(),
            "sources": checksums(self._files()),
            **({"imagery": self.local.record()} if self.local and self.local.origin else {}),
        }


def _target_arguments(settings: Settings) -> dict[str, dict]:
    """Return the arguments of the given target sources, by the folder of the release's layout."""
    arguments = {}
    if settings.labels:
        arguments["label"] = {"path": settings.labels, "label_map": settings.label_map,
                              "column": settings.label_column, "classes": settings.classes,
                              "colour_tolerance": settings.colour_tolerance}
    for kind, name in TOTALS.items():
        if path := getattr(settings, name):
            key = "co2_cell" if name == "co2" and settings.co2_cell is not None else "cell"
            arguments[kind] = {
                "path": path, "name": name, "unit": getattr(settings, f"{name}_unit"),
                "column": getattr(settings, f"{name}_column"), "cell": getattr(settings, key),
                "cell_key": key, "crs": getattr(settings, f"{name}_crs")}
    return arguments


def _check_cells(settings: Settings, targets: list[LandUse | Zonal]) -> None:
    """Raise ConfigError if a key says how large the cells of points are, and there are none."""
    points = {target.name for target in targets if isinstance(target, Zonal) and target.sized}
    for key, about in (("cell", points), ("co2_cell", points & {"co2"})):
        if getattr(settings, key) is not None and not about:
            raise ConfigError(f"{key}={getattr(settings, key)}: says what points stand for, and no "
                              "target is of points; rasters, polygons and H3 cells say themselves "
                              f"how large they are. Leave {key}= out")


def _total(job: Job) -> BandReport:
    total = BandReport()
    for number in range(job.grid.bands):
        total.add(BandReport.read(job.report(number)))
    return total
