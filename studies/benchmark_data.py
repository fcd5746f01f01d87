"""The benchmark's dataset: tiles, targets and folds of a city, from raw files."""

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from pyproj import CRS
from rasterio.features import rasterize

from datasets import TileDataset
from datasets.dealt_lists import fold_folder
from datasets.keys import TEXTS
from datasets.prepare.geo.formats import ENDINGS as VECTORS
from datasets.prepare.geo.raster_io import (
    DRIVERS,
    RASTER_ERRORS,
    open_raster_file,
    raster_reason,
)
from datasets.prepare.imagery.placement import metres_per_pixel
from datasets.prepare.osm.census import Census
from datasets.prepare.osm.objects import read_objects
from datasets.prepare.osm.osm_files import SUFFIXES as OSM_FILES
from datasets.prepare.osm.tags import LAYERS, load_layers
from datasets.prepare.pipeline import prepare_tiles
from datasets.prepare.targets.delimited import ENDINGS as TABLES
from datasets.prepare.targets.rasters import TargetRaster
from datasets.prepare.text.sentence_files import sentence_files
from datasets.split_lists import SplitRules, write_splits
from studies.benchmark_plan import ALL, TASKS
from studies.keys import CityStudyConfig
from studies.spent import RUN_RECORD, UNFINISHED, Spent
from utils.contents import Anything, Fields, Number, Table, Text, read_json
from utils.errors import ConfigError, PrepareError, RoseError
from utils.files import checksums, digest_of, replacing
from utils.outputs import write_json
from utils.remedies import removal

HIGH = 2.5                # metres above ground from which vegetation is high
NO_DATA = -1.0
RECORD = "city.json"      # of a dataset: the files that it was made from, as they were, and keys
HIGH_GROUND = "high_ground.tif"
_RECORD = Fields({"sources": Table(Text())}, {"keys": Table(Anything()), "seconds": Number()})
_META = Fields({"text": Table(Anything())})
_METAS = "cities/*/meta.json"  # of a dataset
SENTENCE = "sentence"
# below out=, what shows that a study of a city made the folder
_OWN = (f"tiles*/{RECORD}", f"tiles*/{UNFINISHED}", *(
    f"{folder}/{name}" for folder in ("pretraining/*", "runs/*/*/*")
    for name in (RUN_RECORD, UNFINISHED)))
_KEYS = ("tile_px", "block", "classes", "label_column")  # that tiles and lists depend on
_BUILDING = LAYERS.index("building")
_RASTERS, _EITHER = (*DRIVERS,), (*DRIVERS, *VECTORS)
# name of a file -> endings of those that are read
_READ = {"ortho": _RASTERS, "osm": (*OSM_FILES, *VECTORS), "landuse": _EITHER,
         "building_volume": (*_EITHER, *TABLES), "height": _RASTERS}
_STEMS = {"ortho": ("ortho", "city")}  # the sample city's imagery is city.tif


@dataclass(frozen=True)
class City:
    """The raw files of a city by what they are, and what could not be used.

    Attributes:
        files: "ortho", "osm", and of the targets those that are there.
        tasks: that the files allow, of those asked.
        notes: on tasks left out.
    """

    folder: Path
    files: dict[str, Path]
    tasks: tuple[str, ...]
    notes: tuple[str, ...]

    @cached_property
    def sources(self) -> dict[str, str]:
        """Name of each file -> its SHA-256, which is the same wherever it lies."""
        return {file["file"]: file["sha256"] for file in checksums(self.files.values())}

    @property
    def name(self) -> str:
        """What the tiles are called."""
        letters = "".join(letter if letter.isalnum() else "-"
                          for letter in self.folder.resolve().name)
        return letters.strip("-") or "city"


def find_city(data: str, asked: Sequence[str]) -> City:
    """Return the files in the folder `data`. Raise ConfigError if imagery, OSM, or the files of all
    tasks asked are missing, or one is there twice, or of a kind that is not read."""
    folder, files = Path(data), {}
    if not folder.is_dir():
        raise ConfigError(f"data={data}: {'is a file' if folder.exists() else 'no such folder'}, "
                          "expected the folder of a city's raw files, with ortho.* and osm.*")
    for name in ("ortho", "osm", *dict.fromkeys(TASKS[name].file for name in asked)):
        every = sorted(path for stem in _STEMS.get(name, (name,)) for path in folder.glob(
            f"{stem}.*"))
        there = [path for path in every
                 if path.name.lower().endswith(_READ[name])]  # not what lies beside a Shapefile
        if every and not there:
            raise ConfigError(f"data={data}: has {' and '.join(path.name for path in every)}, "
                              f"expected {_named(name)} with one of {', '.join(_READ[name])}; "
                              "convert it to one of these, or move it elsewhere")
        if len(there) > 1:
            raise ConfigError(f"data={data}: has {' and '.join(path.name for path in there)}, "
                              f"expected one {_named(name)}; move the others elsewhere")
        if there:
            files[name] = there[0]
    for name, what in (("ortho", "imagery, such as ortho.tif"), ("osm", "objects, such as "
                                                                         "osm.gpkg")):
        if name not in files:
            raise ConfigError(f"data={data}: has no {_named(name)}, expected the city's {what}, "
                              "beside landuse.*, building_volume.* and height.*")
    tasks = tuple(name for name in asked if TASKS[name].file in files)
    notes = tuple(f"{TASKS[name].title} is left out: {data} has no {TASKS[name].file}.*"
                  for name in asked if name not in tasks)
    if not tasks:
        missing = dict.fromkeys(f"{TASKS[name].file}.*" for name in asked)
        raise ConfigError(f"data={data}: has none of {', '.join(missing)}, expected one or "
                          "more: a task is learned from each")
    return City(folder, files, tasks, notes)


def _named(name: str) -> str:
    """Return the names that a file may have, as a message says them."""
    return " or ".join(f"{stem}.*" for stem in _STEMS.get(name, (name,)))


def prepare_city(city: City, cfg: CityStudyConfig, root: Path,
                 text: dict[str, Any]) -> float | None:
    """Make the dataset at `root` with its folds, unless it is there; return the seconds that
    making it took, now or in earlier commands, or None if these did not record it.

    Raises:
        RoseError: a file cannot be used, or has changed since the dataset was made; or it was
            made with other keys.
    """
    record, metas = root / RECORD, sorted(root.glob(_METAS))
    keys = json.loads(json.dumps({name: getattr(cfg, name) for name in _KEYS}))
    rules = {"fold": f"1/{cfg.folds}", "block": cfg.block, "train_sizes": sizes(cfg.labels)}
    if metas and record.is_file():
        made = read_json(record, _RECORD, removal(root), RoseError)
        seconds = made.get("seconds")
        before, keys_before = made["sources"], made.get("keys", {})
        if text["name"] == SENTENCE:
            _check_model(metas[0], text["model"], root)
        changed = [name for name, state in city.sources.items() if before.get(name) != state]
        if changed:
            raise RoseError(f"{city.folder / min(changed)}: is not as it was, or not asked for, "
                            f"when {root} was made, expected the same files; {_anew(root)}")
        if other := [name for name, value in keys.items()
                     if keys_before.get(name, value) != value]:
            raise RoseError(f"{other[0]}={keys[other[0]]}: {root} was made with {other[0]}="
                            f"{keys_before[other[0]]}; give the same, or name another out=")
    else:
        _check_free(root, city)
        root.mkdir(parents=True, exist_ok=True)
        spent = Spent(root)
        print(prepare_tiles(
            city.files["ortho"], city.files["osm"], root, city.name, keep_empty=True,
            tile_px=cfg.tile_px, text=text, split=rules, overwrite=True,
            **_targets(city, cfg, root)))
        seconds = spent.seconds
        write_json(record, {"sources": city.sources, "keys": keys, "seconds": seconds})
        spent.end()
    if not all((root / fold_folder(fold, cfg.folds) / list_of(size)).is_file()
               for fold in range(1, cfg.folds + 1) for size in cfg.labels):
        write_splits(root, SplitRules(**rules))
    return seconds


def made_of(root: Path) -> str:
    """Return a digest of what the dataset at `root` was made from: files, keys and text."""
    made = read_json(root / RECORD, _RECORD, removal(root), RoseError)
    text = read_json(sorted(root.glob(_METAS))[0], _META, removal(root), RoseError)["text"]
    return digest_of([made["sources"], made.get("keys", {}), text.get("digest")])


def _check_free(root: Path, city: City) -> None:
    """Raise RoseError if the dataset to make would be written among another command's outputs, or
    beside the tiles of another city; the study's own, which a stop left unfinished, are free."""
    out, unfinished = root.parent, (root / UNFINISHED).is_file()
    there = sorted(path.name for path in out.iterdir() if not path.name.startswith(".")
                   ) if out.is_dir() else []
    if there and not any(any(out.glob(pattern)) for pattern in _OWN):
        raise RoseError(f"out={out}: holds {', '.join(there[:3])}{', ...' * (len(there) > 3)} of "
                        "another command, expected a folder of its own; choose another out=")
    others = [meta.parent.name for meta in sorted(root.glob(_METAS))
              if not unfinished or meta.parent.name != city.name]
    if others:
        raise RoseError(f"{root}: holds a dataset of {others[0]} that this study did not make, "
                        f"expected no tiles, or its own of {city.name}; choose another out=")


def _anew(root: Path) -> str:
    """Return what to do if a study's folder was made from other files, to end a message."""
    return (f"name another out=, or `rm -r {shlex.quote(str(root.parent))}`: all of it was made "
            "with those")


def _check_model(meta: Path, model: str, root: Path) -> None:
    """Raise RoseError if the sentence model of the city in `root`, as `meta` records it, is not
    `model`, wherever it lies."""
    before = read_json(meta, _META, removal(root), RoseError)["text"]
    if before.get("digest") != sentence_files(model).digest:
        raise RoseError(f"sentence_model={model}: {root} was made with other files of a model, "
                        f"which lay in {before.get('model')}; give the same, or {_anew(root)}")


def _targets(city: City, cfg: CityStudyConfig, root: Path) -> dict[str, Any]:
    """Return the keys of prepare_dataset.py that make the targets."""
    keys: dict[str, Any] = {}
    if "land_use" in city.tasks:
        labels = city.files["landuse"]
        keys |= {"labels": labels, "classes": cfg.classes}
        if labels.suffix.lower() in VECTORS:
            keys |= {"label_column": cfg.label_column, "classes": cfg.classes or "all"}
    if "building_volume" in city.tasks:
        keys |= {"population": city.files["building_volume"],
                 "population_what": TASKS["building_volume"].counted}
    if "trees" in city.tasks:
        write_high_ground(city.files["height"], city.files["osm"], city.files["ortho"],
                          cfg.tile_px, root / HIGH_GROUND)
        keys |= {"co2": root / HIGH_GROUND, "co2_unit": "per_m2",
                 "co2_what": TASKS["trees"].counted}
    return keys


def list_of(labels: str) -> str:
    """Return the list of so many training tiles."""
    return f"osm-train-{labels}.txt" if labels == ALL else f"osm-train{labels}.txt"


def labelled_lists(cfg: CityStudyConfig, root: Path) -> tuple[dict[str, int], int, list[str]]:
    """Return labels -> number of tiles of the first fold's list, for lists that all folds have; the
    tiles of the dataset; and notes on lists that are missing."""
    lists, notes = {}, []
    for labels in cfg.labels:
        paths = [root / fold_folder(fold, cfg.folds) / list_of(labels)
                 for fold in range(1, cfg.folds + 1)]
        if all(path.is_file() for path in paths):
            lists[labels] = len(paths[0].read_text(encoding="utf-8").split())
        else:
            notes.append(f"{labels} labels are left out: a fold has fewer tiles to train on")
    if not lists:
        raise ConfigError(f"labels=[{','.join(cfg.labels)}]: no fold of {root} has so many tiles "
                          "to train on; pass labels=[all], or fewer")
    return lists, len(TileDataset(root)), notes


def sizes(labels: Sequence[str]) -> list[int]:
    """Return the numbers of training tiles, without `all`."""
    return [int(count) for count in labels if count != ALL]


def write_high_ground(height: Path, osm: Path, imagery: Path, tile_px: int, out: Path) -> None:
    """Write a raster whose integral over a tile of `imagery`, of `tile_px` pixels a side, is the
    share of the tile that lies more than HIGH metres above ground, outside the buildings of `osm`.

    Cells are those of `height`; one that a building touches counts as none, one whose height is
    no number as without data. Raise PrepareError if a file cannot be read, or lies nowhere or
    elsewhere.
    """
    with _opened(imagery, "imagery") as image:
        if image.crs is None:
            raise PrepareError(f"{imagery}: the raster has no coordinate reference system, so OSM "
                               "objects cannot be placed on it. Give it one with `rio edit-info "
                               f"--crs EPSG:32648 {shlex.quote(str(imagery))}` (with the EPSG code "
                               "of your data).")
        side = metres_per_pixel(image.crs, image.transform, image.width, image.height)
        ground = image.bounds, CRS.from_wkt(image.crs.to_wkt())
    with _opened(height, "metres above ground") as source:
        TargetRaster(height, "data").overlap(*ground)
        values, profile = np.ma.masked_invalid(source.read(1, masked=True)), source.profile
        crs, bounds = source.crs, source.bounds
    buildings = [geometry
                 for objects in read_objects(osm, crs, bounds, load_layers(), Census())
                 for geometry in objects.geometry[objects.layer == _BUILDING]]
    shapes = [shape for shape in buildings if not shapely.is_empty(shape)]
    built = rasterize(shapes, values.shape, transform=profile["transform"], all_touched=True,
                      dtype="uint8") if shapes else np.zeros(values.shape, np.uint8)
    high = (values.filled(0) > HIGH) & (built == 0)
    density = high / (tile_px**2 * side[0] * side[1])
    density[np.ma.getmaskarray(values)] = NO_DATA
    profile |= {"dtype": "float32", "nodata": NO_DATA, "count": 1, "driver": "GTiff",
                "compress": "deflate", "predictor": 3}
    with replacing(out, OSError, *RASTER_ERRORS) as temporary, (
            rasterio.open(temporary, "w", **profile)) as target:
        target.write(density.astype(np.float32), 1)


@contextmanager
def _opened(path: Path, what: str) -> Iterator[rasterio.DatasetReader]:
    """Open a raster; raise PrepareError if it cannot be opened, or read inside the block."""
    try:
        with open_raster_file(path) as source:
            yield source
    except RASTER_ERRORS as error:
        raise PrepareError(f"{path}: cannot be read ({raster_reason(error)}), expected {what} as a "
                           "GeoTIFF; get the file again") from error


def text_of(sentence_model: str | None) -> dict[str, Any]:
    """Return the keys of text= of a dataset: of the model, or None: hashed words."""
    if sentence_model is None:
        return asdict(TEXTS["hash"])
    return {**asdict(TEXTS[SENTENCE]), "model": sentence_model}
