"""A folder that describes the work on a city; each process opens it once and makes its bands."""

import functools
import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rasterio.errors import CRSError

from datasets.arrays import read_array
from datasets.prepare.grid import Band, TileGrid
from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.osm.spool import Spool
from datasets.prepare.targets.land_use import LandUse
from datasets.prepare.targets.points import Points
from datasets.prepare.targets.zonal import Zonal
from utils.contents import (
    Anything,
    ContentFault,
    Either,
    Fields,
    Flag,
    Items,
    Number,
    Table,
    Text,
    Whole,
    parse_json,
)
from utils.errors import PrepareError, one_line
from utils.files import is_sealed, replacing, seal
from utils.recipes import Recipe
from utils.remedies import removal

# folder of the release's layout -> key of prepare_dataset.py
TOTALS = {"pop": "population", "CO2": "co2"}
_SEAL, _SEALED = "job.seal.json", ("job.json", "text.json", "text.npy")
_GRID = {"crs": Text(), "transform": Items([Number()] * 6), "warnings": Items(Text())}
_JOB = Fields({
    "rules": Fields({"city": Text(), "keep_empty": Flag(), "max_nodata": Number(), "layout": Text(),
                     "relation_codes": Text(), "coordinates": Text()}),
    "grid": Fields({"transform": Items([Number()] * 6), "width": Whole(least=1),
                    "height": Whole(least=1), "tile_px": Whole(least=1), "stride": Whole(least=1),
                    "edges": Text(["drop", "exceed", "shift"])}),
    "mosaic": Either([Fields({**_GRID, "reading": Table(Anything()), "files": Items(Text()),
                              "sources": Items(Items(Anything()))}),
                      Fields({**_GRID, "width": Whole(least=1), "height": Whole(least=1)})]),
    "sources": Table(Table(Anything()), Text(["label", *TOTALS])), "id": Text(),
}, {"points": Table(Table(Anything()), Text(list(TOTALS)))})


@dataclass(frozen=True)
class TileRules:
    """The keys of prepare_dataset.py that decide how tiles are made."""

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
    """The work on a city, as its folder describes it."""

    folder: Path      # holds job.json, the spool of objects, text.npy, and the finished parts
    rules: TileRules
    grid: TileGrid
    crs: str          # of the raster, as WKT
    mosaic: Mosaic | BareGround
    spool: Spool
    text: np.ndarray  # [texts, width] text vectors of `spool.texts()`
    land_use: LandUse | None
    # the sources of population and CO2, by the folder of the release's layout
    totals: dict[str, Zonal]

    def part(self, band: int) -> Path:
        """Return the path of a band's tiles."""
        return self.folder / "parts" / f"{band:07d}.part"

    def report(self, band: int) -> Path:
        """Return the path of a band's counts, which is written after its tiles."""
        return self.folder / "reports" / f"{band:07d}.json"

    def name(self, band: Band, number: int) -> str:
        """Return the name of the band's tile `number`."""
        return f"{self.rules.city}_{band.first + number}_{band.row}"


def spool_folder(folder: Path) -> Path:
    return folder / "objects"


def made_folder(folder: Path) -> Path:
    """Return the folder of what will be moved into the dataset, in the same layout."""
    return folder / "tiles"


def describe_job(folder: Path, rules: TileRules, grid: TileGrid, mosaic: Mosaic | BareGround,
                 sources: dict, points: dict[str, Points]) -> None:
    """Write what `open_job` reads; the spool, text.json and text.npy must exist already. `sources`
    holds the arguments of `LandUse` under "label" and of `Zonal` under "pop" and "CO2", as far as
    there are sources, and `points` what those of points have near the imagery."""
    for name in ("parts", "reports"):
        (folder / name).mkdir(exist_ok=True)
    described = {"rules": asdict(rules), "grid": grid.to_dict(), "mosaic": mosaic.to_dict(),
                 "sources": sources,
                 "points": {kind: table.save(folder / _table(kind))
                            for kind, table in points.items()},
                 "id": uuid.uuid4().hex}  # another run may use a folder of the same name
    with replacing(folder / "job.json") as temporary:
        temporary.write_text(json.dumps(described, ensure_ascii=False), encoding="utf-8")
    seal(folder / _SEAL, [*_SEALED, *map(_table, points)])


def _table(kind: str) -> str:
    """Return the name of the file of a target's points."""
    return f"{kind}.points.npy"


def is_described(folder: Path) -> bool:
    """Return whether a folder holds a description of its job, as it was written."""
    return is_sealed(folder / _SEAL)


def open_job(folder: str) -> Job:
    """Return the job described in a folder; a process opens it once. Raise PrepareError if the
    description is damaged."""
    path = Path(folder) / "job.json"
    try:
        return _opened(folder, path.read_bytes())
    except (OSError, ContentFault, LookupError, TypeError, ValueError, RecursionError,
            CRSError) as error:
        raise PrepareError(f"{path}: does not describe the work ({one_line(error)}); "
                           f"{remedy(path.parent)}") from error


def remedy(folder: Path) -> str:
    """Return what to do where the work in a folder is damaged, to end a message."""
    return removal(folder)


def forget_job() -> None:
    """Make a forked process open the job's files anew: two readers of one handle disturb each
    other."""
    _opened.cache_clear()


@functools.lru_cache(maxsize=1)
def _opened(folder: str, description: bytes) -> Job:
    path, described = Path(folder), parse_json(description, _JOB)
    kind = Mosaic if "sources" in described["mosaic"] else BareGround
    mosaic, sources = kind.from_dict(described["mosaic"]), described["sources"]
    spool = Spool(spool_folder(path))
    points = {kind: Points.opened(path / _table(kind), about, remedy(path))
              for kind, about in described.get("points", {}).items()}
    return Job(
        path, TileRules(**described["rules"]), TileGrid.from_dict(described["grid"]),
        mosaic.crs.to_wkt(), mosaic, spool,
        read_array(path / "text.npy", "f", (spool.text_count, None), remedy(path),
                   PrepareError, mmap=True),
        LandUse(**sources["label"]) if "label" in sources else None,
        {kind: Zonal(**sources[kind], points=points.get(kind)) for kind in TOTALS
         if kind in sources},
    )
