"""What features are extracted of: a dataset or a scene, checked against the network before any work is done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from datasets import TileDataset
from models.rose import Rose
from utils.config import ExtractConfig
from utils.errors import ConfigError
from utils.evaluation.setup import check_node_width, check_tiles_text, node_width
from utils.features.encode import REPRESENTATIONS, Wanted
from utils.features.sources import DatasetSource, SceneSource
from utils.sample import ensure_sample
from utils.scene.opening import BY_BATCH, Reader, identity_of, open_scene, scene_name


@dataclass(frozen=True)
class Ready:
    """Tiles whose features can be extracted.

    Attributes:
        name: of where they come from.
        identity: what tells them from others.
        notes: what the user should know.
        prepare: does in a folder what must come before the first tile, unless it is done, and gives the tiles.
    """

    name: str
    identity: dict[str, Any]
    notes: list[str]
    prepare: Callable[[Path], DatasetSource | SceneSource]


def wanted_of(cfg: ExtractConfig) -> Wanted:
    """What is made of each tile; raises ConfigError where nothing is, or it is not known how."""
    asked = cfg.representations
    if asked is None:
        asked = [name for name in REPRESENTATIONS if name != "osm" or cfg.raster is None or cfg.osm is not None]
    if not asked or len(set(asked)) != len(asked) or not set(asked) <= set(REPRESENTATIONS):
        raise ConfigError(f"representations=[{','.join(asked)}]: expected one or more of {', '.join(REPRESENTATIONS)}, each "
                          f"once")
    if not cfg.tiles and not cfg.patches:
        raise ConfigError("tiles=false patches=false: nothing is left to be made; leave one of them out")
    ordered = tuple(name for name in REPRESENTATIONS if name in asked)
    return Wanted(ordered, cfg.fusion, cfg.tiles, cfg.patches)


def check_sources(cfg: ExtractConfig, wanted: Wanted) -> None:
    """Raises ConfigError unless there is one source, with what is wanted of it."""
    if cfg.data_root is None and cfg.raster is None:
        raise ConfigError("data_root= and raster=: neither is given; pass data_root= for a tile dataset, raster= and osm= for a scene, or "
                          "experiment=sample for the sample city")
    if cfg.data_root is not None and cfg.raster is not None:
        raise ConfigError(f"data_root={cfg.data_root} and raster={cfg.raster}: one of them is enough; leave the other out")
    if cfg.raster is None and cfg.osm is not None:
        raise ConfigError(f"osm={cfg.osm}: a dataset has its own objects; leave it out, or pass raster= instead of data_root=")
    if cfg.raster is not None and cfg.osm is None and "osm" in wanted.representations:
        raise ConfigError(f"representations=[{','.join(wanted.representations)}]: osm needs objects, and raster={cfg.raster} comes "
                          f"without; pass osm=, or leave osm out of representations")
    if cfg.raster is not None and cfg.cities:
        raise ConfigError(f"cities=[{','.join(cfg.cities)}]: a scene has none; leave it out, or pass data_root= instead of raster=")


@contextmanager
def open_source(cfg: ExtractConfig, rose: Rose, checkpoint: Path, wanted: Wanted, fabric: Fabric) -> Iterator[Ready]:
    """The tiles that `cfg` names.

    Raises:
        RoseError: they cannot be used, or the network cannot take them.
    """
    reader = Reader.of(rose, checkpoint, wanted.osm)
    if cfg.raster is None:
        yield _dataset(cfg, rose, checkpoint, reader, fabric)
        return
    with open_scene(cfg, cfg.raster, reader, cfg.image_size, cfg.image_size, "exceed") as opening:
        name = Path(scene_name(cfg.raster)).stem
        yield Ready(cfg.raster, identity_of(opening.files, reader, cfg.batch_size), opening.notes,
                    lambda folder: SceneSource(opening.prepare(folder), name, cfg.batch_size))


def _dataset(cfg: ExtractConfig, rose: Rose, checkpoint: Path, reader: Reader, fabric: Fabric) -> Ready:
    ensure_sample(fabric, cfg.data_root, cfg.sample_tiles)
    tiles = TileDataset(cfg.data_root, cfg.cities, cfg.image_size, rose.osm_encoder.in_dim + 1)
    if reader.takes_osm:
        check_node_width(checkpoint, tiles.node_width, tiles)
        check_tiles_text(checkpoint, tiles)
    else:
        tiles.node_width = node_width(tiles)  # the objects do not reach the network
    tiles.store.image(0, cfg.image_size)  # of another size it is an error now, in one line
    source = DatasetSource(tiles, cfg.batch_size)
    notes = [f"it is not known where {area.name} lies: its outlines and patches are in tiles, counted from the city's first, without a CRS"
             for area in source.areas if area.crs is None]
    if reader.by_batch:
        notes.append(BY_BATCH)
    return Ready(str(tiles.root), source.identity(), notes, lambda folder: source)
