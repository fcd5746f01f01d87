"""What a worker needs to make a band of tiles: a folder that describes the work, opened once in
each process."""

import functools
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from datasets.prepare.grid import Band, TileGrid
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.osm.spool import Spool
from datasets.prepare.targets.land_use import LandUse
from datasets.prepare.targets.zonal import Zonal
from utils.files import replacing
from utils.recipes import Recipe

# folder of the release's layout -> key of prepare_dataset.py
TOTALS = {"pop": "population", "CO2": "co2"}


@dataclass(frozen=True)
class TileRules:
    """How tiles are made: the keys of prepare_dataset.py of the same names."""

    city: str
    keep_empty: bool
    max_nodata: float
    layout: str
    relation_codes: str
    coordinates: str

    @property
    def recipe(self) -> Recipe:
        return Recipe(relation_codes=self.relation_codes, coordinates=self.coordinates)


@dataclass(frozen=True)
class Job:
    """A city's work, as its folder has it.

    Attributes:
        folder: holds job.json, the spool of objects, text.npy, and the parts as they are made.
        crs: of the raster, as WKT.
        text: [values, width] text vectors of `spool.labels.values`.
        totals: the sources of population and CO2, by the folder of the release's layout.
    """

    folder: Path
    rules: TileRules
    grid: TileGrid
    crs: str
    mosaic: Mosaic
    spool: Spool
    text: np.ndarray
    land_use: LandUse | None
    totals: dict[str, Zonal]

    def part(self, band: int) -> Path:
        """The tiles of a band."""
        return self.folder / "parts" / f"{band:07d}.part"

    def report(self, band: int) -> Path:
        """The counts of a band; there once its tiles are."""
        return self.folder / "reports" / f"{band:07d}.json"

    def name(self, band: Band, number: int) -> str:
        """Of the band's tile `number`."""
        return f"{self.rules.city}_{band.first + number}_{band.row}"

    @property
    def release_root(self) -> Path:
        """Where tiles of the release's layout are written first."""
        return made_folder(self.folder)


def spool_folder(folder: Path) -> Path:
    return folder / "objects"


def made_folder(folder: Path) -> Path:
    """What will be moved into the dataset, laid out as there."""
    return folder / "tiles"


def describe_job(folder: Path, rules: TileRules, grid: TileGrid, mosaic: Mosaic, text: np.ndarray,
                 sources: dict) -> None:
    """Write what `open_job` reads; the spool must be there already.

    Args:
        sources: the arguments of `LandUse` under "label" and of `Zonal` under "pop" and "CO2",
            where there are such sources.
    """
    for name in ("parts", "reports"):
        (folder / name).mkdir(exist_ok=True)
    with replacing(folder / "text.npy") as part, part.open("wb") as file:
        np.save(file, text)
    described = {"rules": asdict(rules), "grid": grid.to_dict(), "mosaic": mosaic.to_dict(),
                 "sources": sources,
                 # of this work: another run may describe another one in a folder of the same name
                 "id": uuid.uuid4().hex}
    with replacing(folder / "job.json") as part:
        part.write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")


def open_job(folder: str) -> Job:
    """The job described in a folder; a process opens it once."""
    return _opened(folder, (Path(folder) / "job.json").read_text(encoding="utf-8"))


def forget_job() -> None:
    """For a process that was forked: it opens the job's files anew, for two that read by one
    handle disturb each other."""
    _opened.cache_clear()


@functools.lru_cache(maxsize=1)
def _opened(folder: str, description: str) -> Job:
    path, described = Path(folder), json.loads(description)
    mosaic, sources = Mosaic.from_dict(described["mosaic"]), described["sources"]
    return Job(
        path, TileRules(**described["rules"]), TileGrid.from_dict(described["grid"]),
        mosaic.crs.to_wkt(), mosaic,
        Spool(spool_folder(path)), np.load(path / "text.npy", mmap_mode="r"),
        LandUse(**sources["label"]) if "label" in sources else None,
        {kind: Zonal(**sources[kind]) for kind in TOTALS if kind in sources},
    )
