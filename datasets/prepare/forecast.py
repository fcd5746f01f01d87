"""A dry run: forecast a preparation from a few of its bands, and draw raster, objects and tiles."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.prepare.account import Account
from datasets.prepare.bands import BandReport, make_band
from datasets.prepare.engine import default_workers
from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.job import Job
from datasets.prepare.osm.tags import listed
from datasets.prepare.preview import draw_preview, preview_path
from datasets.prepare.settings import Settings
from datasets.prepare.summary import NO_IMAGERY, NO_OBJECTS
from datasets.stores.city import MODALITIES
from utils.tables import format_bytes
from utils.work_folder import cannot_write

SAMPLED_BANDS = 5


@dataclass(frozen=True)
class Forecast:
    """The expected result; `tiles`, `bytes` and `seconds` are measured on a sample."""

    city: str                    # prefix of the tiles' names
    grid: TileGrid
    metres: tuple[float, float]  # ground size of a pixel, x and y
    objects: dict[str, int]      # OSM objects that the grid's tiles show, by layer
    tiles: int
    bytes: int
    seconds: float
    sampled: int                 # number of the grid's tiles that were made to measure
    workers: int                 # number of processes that `seconds` assumes
    picture: Path                # path of the picture of raster, objects and tiles
    modalities: tuple[str, ...] = MODALITIES  # what the tiles would have

    def __str__(self) -> str:
        ground = "raster" if "image" in self.modalities else "area"
        about = "" if self.sampled == self.grid.tiles else "about "
        return "\n".join([
            f"{self.city}: nothing made (dry_run=true)",
            f"  {ground:<12} {self.grid.width} x {self.grid.height} pixels of "
            f"{self.metres[0]:.3g} x {self.metres[1]:.3g} m",
            f"  tiles        {about}{self.tiles} of {self.grid.columns} x {self.grid.rows}, "
            f"{self.grid.partial} partial ones left out",
            *([] if "image" in self.modalities else [f"  imagery      {NO_IMAGERY}"]),
            f"  OSM objects  {sum(self.objects.values())} ({listed(self.objects)})"
            if "osm" in self.modalities else f"  OSM objects  {NO_OBJECTS}",
            f"  bytes        {about}{format_bytes(self.bytes)}",
            f"  time         about {_duration(self.seconds)} with {self.workers} "
            f"process{'es' if self.workers > 1 else ''}",
            f"  measured on  {self.sampled} of {self.grid.tiles} tiles",
            f"  picture      {self.picture}",
        ])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def forecast(settings: Settings, mosaic: Mosaic | BareGround, grid: TileGrid, subject: str,
             build_job: Callable[[Path], Job], say: Callable[[str], None]) -> Forecast:
    """Read the objects, make a few bands in a temporary folder, and draw `out/CITY_preview.png`.

    Args:
        subject: what the picture shows, as a digest.
        build_job: describes the work in a folder.
        say: tells the user of a stage of the work.
    """
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=".forecast-", dir=settings.folder)
    except OSError as error:
        raise cannot_write(settings.folder, error) from error
    with scratch as temporary:
        started = time.perf_counter()
        job = build_job(Path(temporary))
        reading = time.perf_counter() - started
        numbers = np.linspace(0, grid.bands - 1, SAMPLED_BANDS).round().astype(int)
        say("making a few bands of tiles to measure time and bytes")
        started, report, sampled = time.perf_counter(), BandReport(), 0
        for number in np.unique(numbers).tolist():
            band = grid.band(make_band(str(job.folder), number))
            report.add(BandReport.read(job.report(number)))
            sampled += band.last - band.first
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for folder in ("parts", "tiles")
                   for path in (job.folder / folder).rglob("*") if path.is_file())
        workers = settings.workers or (1 if settings.scheduler else default_workers(grid.tiles))
        scale = grid.tiles / sampled
        picture = preview_path(settings.folder, settings.city)
        say(f"drawing {picture}")
        draw_preview(picture, mosaic, grid, job.spool if settings.osm else None, settings.city,
                     subject)
        return Forecast(
            settings.city, grid, mosaic.metres_per_pixel,
            Account.of(job.spool, grid, range(grid.tiles)).objects,
            round(report.tiles * scale), round(size * scale),
            reading + seconds * scale / workers, sampled, workers, picture, settings.modalities,
        )
