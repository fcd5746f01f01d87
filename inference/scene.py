"""A scene made ready: its imagery opened, its OSM objects read, the work on it held in a hidden
folder of the results."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.mosaic import Mosaic, open_mosaic
from datasets.prepare.job import TileRules
from datasets.prepare.osm.objects import source_files
from datasets.prepare.osm.tags import load_layers
from datasets.prepare.scene_tiles import SceneTiles
from datasets.prepare.staging import Objects, build_job
from datasets.prepare.text.encoder import TextEncoder, text_encoder
from datasets.stores.tile import GEOMETRY_WIDTH
from inference.keys import SceneKeys
from models.network_file import NetworkFile
from models.rose import Rose
from training.compatibility import check_text
from utils.errors import CheckpointError, PrepareError
from utils.files import states
from utils.progress import say
from utils.recipes import resolve_recipe

NEAR = 1.25  # ratio of two ground sizes of a pixel up to which a model is at home
BY_BATCH = ("the network normalises OSM objects by all tiles of a batch, as the authors' code "
            "does (osm_norm_scope=batch): what it says of a tile depends on batch_size, and on "
            "the tile's neighbours")
# Keys that change no result: where and with how much at a time a run works, and paths, for which
# the state or the digest of files stands.
FREE = ("out", "overwrite", "batch_size", "num_workers", "checkpoint", "raster", "osm", "layers")
WITHOUT_OSM = "or leave osm= out, to do without OSM"


@dataclass(frozen=True)
class Reader:
    """The network that a scene is read for.

    Attributes:
        source: the checkpoint, for messages.
        node_width: columns of its nodes, label included.
        takes_osm: whether it looks at OSM at all.
        patch: side of a patch in pixels.
        by_batch: what it says of a tile's objects depends on the tiles of their batch.
        tiles: what it was trained on, as `TileDataset.describe` has it; empty where that is not
            known.
    """

    source: str
    node_width: int
    takes_osm: bool
    patch: int
    by_batch: bool
    tiles: dict[str, Any]

    @classmethod
    def of(cls, rose: Rose, network: NetworkFile, takes_osm: bool) -> "Reader":
        """The reader that `rose`, read from `network`, is."""
        encoder = rose.osm_encoder
        return cls(str(network.path), encoder.in_dim + 1, takes_osm, rose.image_encoder.patch,
                   takes_osm and encoder.norm_scope == "batch", network.tiles)


class NoText:
    """Stands for a text encoder where there are no objects: vectors of a network's width, of no
    value."""

    name = "none"

    def __init__(self, width: int):
        self.width, self.notes = width, []

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """[0, width] float32 of no values."""
        return np.empty((0, self.width), np.float32)

    def describe(self) -> dict[str, Any]:
        """Its name and width."""
        return {"name": self.name, "width": self.width}


@dataclass(frozen=True)
class Opening:
    """A scene whose imagery is open, before any work is done.

    Attributes:
        mosaic, grid: imagery and its tiles.
        files: every file that is read.
        notes: what the user should know.
        prepare: reads the objects and describes the work in a folder, unless that is done, and
            gives the scene's tiles.
    """

    mosaic: Mosaic
    grid: TileGrid
    files: list[Path]
    notes: list[str]
    prepare: Callable[[Path], SceneTiles]


@contextmanager
def open_scene(cfg: SceneKeys, raster: str, reader: Reader, tile_px: int, stride: int,
               edges: str) -> Iterator[Opening]:
    """The scene at `raster`, read as `cfg` and the network that it is for want it.

    Args:
        tile_px, stride, edges: of the tiles (`TileGrid`).

    Raises:
        RoseError: a source cannot be used; preparing and reading raise it, too.
    """
    layers = load_layers(cfg.layers)
    osm = cfg.osm if reader.takes_osm else None
    encoder = text_encoder(**asdict(cfg.text)) if osm is not None else NoText(reader.node_width
                                                                              - GEOMETRY_WIDTH - 1)
    if osm is not None:
        _check_text(encoder, cfg, reader)
    rules = _rules(cfg, reader)
    with open_mosaic(raster, bands=cfg.bands, raster_crs=cfg.raster_crs, resolution=cfg.resolution,
                     stretch=tuple(cfg.stretch),
                     nodata=cfg.nodata) as mosaic:
        _check_size(raster, mosaic, reader)
        grid = TileGrid.over(mosaic, tile_px, stride, edges)
        files = [*mosaic.files,
                 *([*source_files(Path(osm)), layers.path] if osm is not None else [])]
        objects = Objects(osm, layers, encoder, WITHOUT_OSM)

        def prepare(folder: Path) -> SceneTiles:
            return SceneTiles(build_job(folder, rules, grid, mosaic, objects, {}, say,
                                        progress=True).folder)

        yield Opening(mosaic, grid, files, [*mosaic.warnings, *_notes(cfg, reader, mosaic, grid)],
                      prepare)


def scene_name(raster: str) -> str:
    """What to call the scene at `raster`: the file, or for a glob the folder."""
    path = Path(raster)
    if path.name in ("", ".."):  # as of the folder "."
        path = path.resolve()
    return (path.parent.name or "scene") if any(letter in path.name
                                                for letter in "*?[") else path.name


def request_of(cfg: Any, free: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """All that results depend on, as JSON knows it: the keys of `cfg` but for those that are
    `free` or FREE, and `more`."""
    keys = {name: value for name, value in asdict(cfg).items() if name not in (*FREE, *free)}
    return json.loads(json.dumps({**keys, **more}))


def identity_of(files: Sequence[Path], reader: Reader, batch_size: int) -> dict[str, Any]:
    """What tells tiles that are read from some files, and what a network says of them, from
    others."""
    return {"sources": states(files), **({"batch_size": batch_size} if reader.by_batch else {})}


def _rules(cfg: SceneKeys, reader: Reader) -> TileRules:
    """How graphs are made: as the keys say, else as the model's own tiles were, else as
    recipe=rose."""
    known = {name: getattr(cfg, name) or reader.tiles.get(name)
             for name in ("relation_codes", "coordinates")}
    recipe = resolve_recipe(cfg.recipe or "rose", **known)
    return TileRules("scene", keep_empty=True, max_nodata=1.0, layout="compact",
                     relation_codes=recipe.relation_codes,
                     coordinates=recipe.coordinates)


def _check_size(raster: str, mosaic: Mosaic, reader: Reader) -> None:
    """Raises PrepareError where there is less to see than a patch."""
    if min(mosaic.width, mosaic.height) < reader.patch:
        raise PrepareError(f"{raster}: has {mosaic.width} x {mosaic.height} pixels, expected more "
                           f"than the {reader.patch} x {reader.patch} of a patch, the least that "
                           f"{reader.source} sees; pass more imagery, or a finer resolution=")


def _check_text(encoder: TextEncoder, cfg: SceneKeys, reader: Reader) -> None:
    """Raises CheckpointError where tags are described in another way than to the network in its
    training."""
    width = reader.node_width - GEOMETRY_WIDTH - 1
    if encoder.width != width:
        raise CheckpointError(f"{reader.source}: reads text vectors of {width} numbers, and those "
                              f"of text={encoder.name} have {encoder.width}; choose text= as for "
                              "the tiles that it was trained on")
    check_text(reader.source, reader.tiles, encoder.name, "pass text={}")


def _notes(cfg: SceneKeys, reader: Reader, mosaic: Mosaic, grid: TileGrid) -> list[str]:
    """What the user should know before the work is begun."""
    notes = []
    if not reader.takes_osm and cfg.osm is not None:
        notes.append(f"the model looks at the image alone, so {cfg.osm} is not read")
    if reader.takes_osm and cfg.osm is None:
        notes.append("no osm= is given: the model, which was trained with OSM, sees every tile "
                     "as one without objects; expect less of it")
    if reader.by_batch and cfg.osm is not None:
        notes.append(BY_BATCH)
    if min(mosaic.width, mosaic.height) < grid.tile_px:
        notes.append(f"the raster, {mosaic.width} x {mosaic.height} pixels, is smaller than a "
                     f"tile of {grid.tile_px} x {grid.tile_px}: the model sees the rest of the "
                     "tile as ground without imagery")
    here, trained = max(mosaic.metres_per_pixel), reader.tiles.get("metres_per_pixel")
    if trained and not trained[0] / NEAR <= here <= trained[1] * NEAR:
        size = f"{trained[0]:.3g}" if trained[1] < trained[
            0] * 1.01 else f"{trained[0]:.3g} to {trained[1]:.3g}"
        side = min(mosaic.width, mosaic.height) * here / trained[0]
        remedy = (f"; resolution={trained[0]:.3g} resamples the imagery" if side >= grid.tile_px
                  else
                  f"; the whole raster would be {side:.0f} pixels of that size, and a tile has "
                  f"{grid.tile_px}")
        notes.append(f"a pixel is {here:.3g} m here, and was {size} m where the model was "
                     f"trained: what it sees, and the ground of a tile, have other sizes{remedy}")
    return notes
