"""A fine-tuned model over a whole scene: a map with the raster's georeference, made strip by
strip, so that a stopped run resumes."""

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from datasets.prepare.scene_tiles import SceneTiles
from datasets.remote.urls import short_url
from inference.keys import PREDICT, PredictConfig
from inference.maps.kind import MapKind
from inference.maps.land_use import LandUseMap
from inference.maps.totals import TotalsMap
from inference.pictures import imagery_layer, objects_layer
from inference.pieces import Strips
from inference.predict import counted, predicted_bands
from inference.result_folder import ResultFolder
from inference.scene import Scene, check_lone_keys, open_scene, request_of, scene_name
from models.heads import Head, RegressionHead, SegmentationHead
from models.network_file import BEST, NetworkFile
from models.tag_channels import ANY_TILE
from reports import REPORT, write_report
from reports.record import SCENE, SceneRecord
from training.compatibility import check_side
from training.devices import launch_single, threads_that_pay
from utils.cli.compose import configured
from utils.contents import Items, Text
from utils.errors import CheckpointError, ConfigError, PrepareError
from utils.files import states
from utils.progress import progress_bar, say, say_if_slow

# the kind of map that networks with a head make
KINDS: dict[type[Head], type[MapKind]] = {
    SegmentationHead: LandUseMap,
    RegressionHead: TotalsMap,
}
TILE_PX = 224
FIELDS = {"title": Text(), "lines": Items(Text())}  # of a record, as `SceneMap` shows it


@dataclass(frozen=True)
class SceneMap:
    """A finished map: the folder of its files, and what its scene.json holds."""

    out: Path
    record: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join([f"{self.record['title']}:",
                          *(f"  {line}" for line in self.record["lines"]),
                          f"Outputs in {self.out}: {', '.join(self.files)}, {REPORT}"])

    @property
    def files(self) -> dict[str, Path]:
        """The files of the map, by name."""
        return {file["name"]: self.out / file["name"] for file in self.record["files"]}


def map_scene(raster: str | Path | None, checkpoint: str | Path, out: str | Path,
              **keys: Any) -> SceneMap:
    """Map a scene (see `run`) with the keys that are given, and defaults for the others."""
    return run(configured(PREDICT, raster=raster, checkpoint=checkpoint, out=out, **keys))


def run(cfg: PredictConfig) -> SceneMap:
    """Map a scene; raise RoseError if an input or `out` cannot be used, or has another map.

    A model of classes gives map.tif, on the pixels of the raster; a model of totals totals.tif,
    tiles.gpkg and, with `zones`, zones.gpkg. Memory is that of a row of tiles. Nothing appears in
    `out` before all strips are made; a stopped run leaves them in a hidden folder there, and the
    same call resumes and gives the same bytes.
    """
    if cfg.raster is None and cfg.osm is None:
        raise ConfigError("raster=null: there is no osm= either, so there is nothing to map; give "
                          "the place's OSM data, or a raster")
    check_lone_keys(cfg)
    network = NetworkFile(find_finetuned(Path(cfg.checkpoint)))
    with say_if_slow(f"reading {network.path}"):
        model, checkpoint_sha256 = network.downstream(), network.sha256
    if cfg.raster is None and model.modality.reads_image:
        raise CheckpointError(f"{cfg.checkpoint}: reads the image "
                              f"(modality={network.head.modality}), and raster=null has none; "
                              "pass the place's imagery as raster=, or a checkpoint of an "
                              "evaluation with modality=osm")
    if cfg.osm is None and not model.modality.reads_image:
        raise CheckpointError(f"{cfg.checkpoint}: reads OSM alone, and there is no osm= to read; "
                              "pass the place's OSM data, or a checkpoint of another modality")
    kind = KINDS[type(network.head)](model, network.head, cfg)
    tile_px = cfg.tile_px or network.tiles.get("tile_px", TILE_PX)
    check_side("tile_px", tile_px, model.rose.image_encoder.patch, network.path,
               "pass tile_px={}, or leave it out")
    stride = max(1, round(tile_px * (1 - kind.overlap)))
    with open_scene(cfg, cfg.raster, network, model.rose, model.modality.reads_osm, tile_px,
                    stride, kind.edges) as scene:
        kind.check(scene)
        work = ResultFolder(Path(cfg.out), "mapping", "mapping a scene", SCENE, FIELDS)
        request = request_of(cfg, checkpoint_sha256=checkpoint_sha256,
                             **scene.identity(cfg.batch_size),
                             zones=states([Path(cfg.zones)] if cfg.zones else []))
        with work.held():
            record = work.start(request, cfg.overwrite, kind.afterwards)
            if record is None:
                say(scene.notes)
                record = _make(cfg, kind, scene, work, request)
    return SceneMap(work.out, record)


def _make(cfg: PredictConfig, kind: MapKind, scene: Scene, work: ResultFolder,
          request: dict[str, Any]) -> dict[str, Any]:
    """Make the map, or what a stopped run left of it; return its record."""
    say(work.check_space(kind.least_bytes(scene.grid) - work.size,
                         f"a map of {scene.grid.width:,} x {scene.grid.height:,} pixels and its "
                         "parts", "pass a coarser resolution="))
    tiles = scene.tiles(work.folder)
    strips = Strips(work.parts, tiles.grid.rows)
    if not strips.done and (record := work.similar(request, kind.afterwards)):
        for number, strip in enumerate(kind.strips_of(work.out, record, tiles.grid)):
            strips.write(number, strip)
    if strips.done < strips.count:
        _make_strips(cfg, kind, tiles, strips)
    made = work.empty()
    with say_if_slow("drawing the ground"):
        ground, shape = (objects_layer(scene.mosaic, tiles.job.spool, made) if cfg.raster is None
                         else imagery_layer(scene.mosaic, made))
    title = f"{kind.title} of {scene_name(cfg.raster or cfg.osm)}"
    written = kind.write(strips, tiles, made, title, shape)
    if written is None:
        work.abandon()
        raise PrepareError(f"{short_url(cfg.raster)}: no pixel has imagery, expected some to map; "
                           "if pixels of the nodata value are imagery, pass nodata=none")
    across, down = scene.mosaic.metres_per_pixel
    record = SceneRecord(kind.name, title, written.headline, [*written.lines, *scene.notes],
                         (tiles.width * across, tiles.height * down), [ground, *written.layers],
                         written.tables, written.files).write(made, request=request,
                                                              **written.more)
    with say_if_slow(f"writing {REPORT}"):
        write_report([made], made / REPORT)
    work.publish(record)
    return record


def _make_strips(cfg: PredictConfig, kind: MapKind, tiles: SceneTiles, strips: Strips) -> None:
    """Make the missing strips in this process; others cut tiles for it."""
    fabric, grid, first = launch_single(cfg.accelerator, cfg.precision), tiles.grid, strips.done
    labels = tiles.job.spool.labels
    kind.model.know_tags({ANY_TILE: [f"{layer}/{name}" for layer, name in
                                     zip(labels.layers, labels.names, strict=True)]})
    if first:
        say([f"resuming the work of a stopped run: {first} of {strips.count} rows of tiles "
             "are done"])
    kind.model.to(fabric.device).eval()
    row = kind.first_row(grid, first)
    bands = predicted_bands(tiles, kind.network, kind.model.rose.normalise, fabric,
                            row * grid.bands_of_a_row, cfg.batch_size, cfg.num_workers)
    with (threads_that_pay(kind.model.rose.width),
          progress_bar(grid.tiles, row * grid.columns, "tile") as bar):
        new = kind.strips(grid, groupby(counted(bands, bar), key=attrgetter("row")), first)
        for number, strip in enumerate(new, start=first):
            strips.write(number, strip)


def find_finetuned(path: Path) -> Path:
    """Return the fine-tuned model at `path`: the file itself, or the first one in the folder of an
    evaluation or of one of its seeds; raise CheckpointError if there is none."""
    if not path.is_dir():
        return path
    files = sorted([*path.glob(BEST), *path.glob(f"seed_*/{BEST}")])
    if not files:
        raise CheckpointError(f"{path}: holds no fine-tuned model ({BEST}, seed_0/{BEST}), "
                              "expected the folder of an evaluation other than by mode=knn, "
                              "which keeps none; make one with evaluate_seg_fusion.py or "
                              "evaluate_pop_fusion.py")
    if len(files) > 1:
        say([f"{path} holds {len(files)} models, of a seed each; {files[0]} is taken"])
    return files[0]
