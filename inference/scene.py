"""A scene opened for a network: imagery, OSM objects, and the tiles that are cut of both."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from datasets.keys import text_of_result
from datasets.prepare.area import bare_ground
from datasets.prepare.grid import TileGrid
from datasets.prepare.imagery.bare import BareGround
from datasets.prepare.imagery.mosaic import Mosaic
from datasets.prepare.job import TileRules
from datasets.prepare.osm.objects import source_files
from datasets.prepare.osm.tags import LayerTable, load_layers
from datasets.prepare.scene_tiles import SceneTiles
from datasets.prepare.staging import Objects, build_job
from datasets.prepare.text.registry import TextEncoder, text_encoder
from datasets.remote.imagery import Local
from datasets.remote.opening import open_imagery
from datasets.remote.urls import short_url
from datasets.stores.tile import GEOMETRY_WIDTH
from inference.keys import SceneKeys
from models.network_file import NetworkFile
from models.rose import Rose
from training.compatibility import check_text
from utils.config import result_values
from utils.errors import CheckpointError, ConfigError, PrepareError
from utils.files import states
from utils.progress import say, say_if_slow
from utils.recipes import resolve_recipe

NEAR = 1.25  # ratio of two ground sizes of a pixel up to which they count as equal
BY_BATCH = ("the network normalises OSM objects by all tiles of a batch, as the authors' code "
            "does (osm_norm_scope=batch): what it says of a tile depends on batch_size, and on "
            "the tile's neighbours")


@dataclass(frozen=True)
class Scene:
    """A scene whose imagery is open, before any work is done."""

    mosaic: Mosaic | BareGround
    grid: TileGrid
    files: list[Path]  # every file that is read
    by_batch: bool     # outputs of the network depend on which tiles share a batch
    notes: list[str]   # what the user should know
    _rules: TileRules
    _objects: Objects

    def identity(self, batch_size: int) -> dict[str, Any]:
        """Return what distinguishes the network's outputs for this scene from those for others."""
        return {"sources": states(self.files), **({"batch_size": batch_size} if self.by_batch
                                                  else {})}

    def tiles(self, folder: Path) -> SceneTiles:
        """Read the objects into `folder`, unless a stopped run did; return the tiles.

        Raise PrepareError if the objects cannot be read, or none lies on the raster.
        """
        return SceneTiles(build_job(folder, self._rules, self.grid, self.mosaic, self._objects, {},
                                    say, progress=True).folder)


@contextmanager
def open_scene(cfg: SceneKeys, raster: str | None, network: NetworkFile, rose: Rose,
               reads_osm: bool, tile_px: int, stride: int, edges: str) -> Iterator[Scene]:
    """Open the scene at `raster` for a network; raise RoseError if a source cannot be used.

    Args:
        raster: None: the ground of `cfg.bbox`, or of the extent of `cfg.osm`, without imagery.
        network, rose: the network's file, and its Rose.
        reads_osm: whether OSM objects reach its outputs.
        tile_px, stride, edges: of the tiles, as in `TileGrid`.
    """
    osm = cfg.osm if reads_osm else None
    width = rose.osm_encoder.in_dim - GEOMETRY_WIDTH
    encoder, describe = _NoText(width), "value"
    if osm is not None:
        encoder, describe = _text_of(cfg, width, network)
    layers = load_layers(cfg.layers, cfg.default_tags, describe)
    by_batch = depends_on_batch(rose, reads_osm)
    metres = network.tiles.get("metres_per_pixel")
    with say_if_slow(f"opening {short_url(raster or osm)}"):
        opened, local = _open_ground(cfg, raster, layers, metres)
    with opened as mosaic:
        patch = rose.image_encoder.patch
        if raster is not None and min(mosaic.width, mosaic.height) < patch:
            raise PrepareError(f"{short_url(raster)}: has {mosaic.width} x {mosaic.height} "
                               "pixels, expected "
                               f"more than the {patch} x {patch} of a patch, the least that "
                               f"{network.path} sees; pass more imagery, or a finer resolution=")
        grid = TileGrid.over(mosaic, tile_px, stride, edges)
        files = [*mosaic.files,
                 *([*source_files(Path(osm)), layers.path] if osm is not None else [])]
        notes = [*(local.source() if local else ()), *mosaic.warnings,
                 *_notes_on_osm(cfg, reads_osm, by_batch), *_notes_on_size(mosaic, grid, metres)]
        without = ("or pass another bbox=" if raster is None else
                   "or leave osm= out, to do without OSM")
        yield Scene(mosaic, grid, files, by_batch, notes, _rules(cfg, network.tiles),
                    Objects(osm, layers, encoder, without))


def _open_ground(cfg: SceneKeys, raster: str | None, layers: LayerTable,
                 trained: list[float] | None) -> tuple[Mosaic | BareGround, Local | None]:
    """Return the raster's mosaic and where it came from, or ground without imagery in pixels of
    the size that the model was `trained` with unless `cfg` has another."""
    if raster is not None:
        return open_imagery(raster, cfg)
    for name in ("bands", "zoom"):
        if (value := getattr(cfg, name)) is not None:
            raise ConfigError(f"{name}={value}: there is no raster= that it could describe; add "
                              "one, or leave this out")
    known = float(f"{trained[0]:.3g}") if trained else None  # a UTM zone's metres are not exact
    return bare_ground(cfg.osm, layers, cfg.bbox, cfg.raster_crs, cfg.resolution or known), None


def check_lone_keys(cfg: SceneKeys) -> None:
    """Raise ConfigError if a key says how OSM objects are read, and there are none to read."""
    for name in ("layers", "default_tags"):
        if (value := getattr(cfg, name)) is not None and cfg.osm is None:
            raise ConfigError(f"{name}={value}: there is no osm= that it could describe; add one, "
                              "or leave this out")


def depends_on_batch(rose: Rose, reads_osm: bool) -> bool:
    """Return whether outputs for a tile depend on the other tiles of the batch."""
    return reads_osm and rose.osm_encoder.norm_scope == "batch"


def scene_name(raster: str) -> str:
    """Return what to call the scene at `raster`, or of the objects there: the file, for a glob the
    folder, for tiles by address the host."""
    if "://" in raster:
        address = urlsplit(raster)
        name = Path(address.path).name
        return (address.hostname or "scene") if "{" in raster or not name else name
    path = Path(raster)
    if path.name in ("", ".."):  # as of the folder "."
        path = path.resolve()
    if any(letter in path.name for letter in "*?["):
        return path.parent.name or "scene"
    return path.name


def request_of(cfg: Any, **more: Any) -> dict[str, Any]:
    """Return all that results depend on, as JSON holds it: keys of `cfg`, and `more`, with the
    states or digests of files instead of their paths."""
    values = {**result_values(cfg), "text": text_of_result(cfg.text)}
    return json.loads(json.dumps({**values, **more}))


class _NoText:
    """A text encoder for a network without objects: it gives the width of the vectors."""

    name = "none"

    def __init__(self, width: int):
        self.width, self.notes = width, []

    def encode(self, values: Sequence[str]) -> np.ndarray:
        """Return [0, width] float32."""
        return np.empty((0, self.width), np.float32)

    def describe(self) -> dict[str, Any]:
        """Return its name and width."""
        return {"name": self.name, "width": self.width}


def _rules(cfg: SceneKeys, trained_on: dict[str, Any]) -> TileRules:
    """Return how graphs are made: as the keys say, else as in training, else as recipe=rose."""
    known = {name: getattr(cfg, name) or trained_on.get(name)
             for name in ("relation_codes", "coordinates")}
    recipe = resolve_recipe(cfg.recipe or "rose", **known)
    return TileRules("scene", keep_empty=True, max_nodata=1.0, layout="compact",
                     relation_codes=recipe.relation_codes, coordinates=recipe.coordinates)


def _text_of(cfg: SceneKeys, width: int, network: NetworkFile) -> tuple[TextEncoder, str]:
    """Return the text encoder, and what it reads of an object; what the keys leave open is as in
    training. Raise CheckpointError unless tags are described as the network knows them."""
    keys, trained = asdict(cfg.text), network.tiles.get("text", {})
    describe = keys.pop("describe") or trained.get("describe", "value")
    if keys["name"] == trained.get("name") == "sentence":
        keys["model"] = keys["model"] or trained.get("model")
    encoder = text_encoder(**keys)
    here = {**encoder.describe(), "describe": describe}
    check_text(network.path, network.tiles, here, "pass text={}")
    if encoder.width != width:
        raise CheckpointError(f"{network.path}: reads text vectors of {width} numbers, and those "
                              f"of text={encoder.name} have {encoder.width}; choose text= as for "
                              "the tiles that it was trained on")
    return encoder, describe


def _notes_on_osm(cfg: SceneKeys, reads_osm: bool, by_batch: bool) -> list[str]:
    if not reads_osm:
        return [] if cfg.osm is None else [f"the model looks at the image alone, so {cfg.osm} is "
                                           "not read"]
    if cfg.osm is None:
        return ["no osm= is given: the model, which was trained with OSM, sees every tile as one "
                "without objects; expect less of it"]
    return [BY_BATCH] if by_batch else []


def _notes_on_size(mosaic: Mosaic | BareGround, grid: TileGrid,
                   trained: list[float] | None) -> list[str]:
    """Return notes on a raster smaller than a tile, and on pixels of another size on the ground
    than `trained`, the least and largest metres per pixel in training (None: not known)."""
    notes, shorter, side = [], min(mosaic.width, mosaic.height), grid.tile_px
    bare = isinstance(mosaic, BareGround)
    if shorter < side and not bare:
        notes.append(f"the raster, {mosaic.width} x {mosaic.height} pixels, is smaller than a "
                     f"tile of {side} x {side}: the model sees the rest of the tile as ground "
                     "without imagery")
    here = max(mosaic.metres_per_pixel)
    if not trained or trained[0] / NEAR <= here <= trained[1] * NEAR:
        return notes
    least, largest = trained
    size = f"{least:.3g}" if largest < least * 1.01 else f"{least:.3g} to {largest:.3g}"
    if bare:
        return [*notes, f"a pixel is {here:.3g} m here, and was {size} m where the model was "
                        f"trained: the ground of a tile has another size; pass "
                        f"resolution={least:.3g}"]
    resampled = shorter * here / least
    remedy = (f"resolution={least:.3g} resamples the imagery" if resampled >= side else
              f"the whole raster would be {resampled:.0f} pixels of that size, and a tile has "
              f"{side}")
    return [*notes, f"a pixel is {here:.3g} m here, and was {size} m where the model was trained: "
                    f"what it sees, and the ground of a tile, have other sizes; {remedy}"]
