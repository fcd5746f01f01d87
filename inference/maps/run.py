"""A fine-tuned model over a whole scene: a map with the raster's georeference, made strip by
strip, that goes on where it was stopped."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.prepare.scene_tiles import SceneTiles
from inference.keys import PredictConfig
from inference.maps.land_use import LandUseMap
from inference.maps.totals import TotalsMap
from inference.parts import Strips
from inference.pictures import imagery_layer
from inference.predict import counted, predicted_bands, rows_of
from inference.result_folder import PARTS, ResultFolder
from inference.scene import Opening, Reader, identity_of, open_scene, request_of, scene_name
from models.network_file import BEST, NetworkFile
from reports import REPORT, write_report
from reports.record import SCENE, SceneRecord
from training.compatibility import check_side
from training.devices import launch_single
from utils.cli.command import configured
from utils.errors import CheckpointError, PrepareError
from utils.files import states
from utils.progress import progress_bar, say
from utils.work_folder import WorkFolder

TILE_PX = 224


@dataclass(frozen=True)
class SceneMap:
    """A map that is made.

    Attributes:
        out: folder of its files.
        said: what its scene.json says.
    """

    out: Path
    said: dict[str, Any]

    def __str__(self) -> str:
        return "\n".join([f"{self.said['title']}:", *(f"  {line}" for line in self.said["lines"]),
                          f"Outputs in {self.out}: {', '.join(self.files)}, {REPORT}"])

    @property
    def files(self) -> dict[str, Path]:
        """The files of the map, by name."""
        return {file["name"]: self.out / file["name"] for file in self.said["files"]}


def map_scene(raster: str | Path, checkpoint: str | Path, out: str | Path,
              **keys: Any) -> SceneMap:
    """`run` with the values of configs/predict_scene.yaml, and in their place `keys`, which are
    the keys of predict_scene.py."""
    return run(configured("predict_scene", PredictConfig,
                          {"raster": raster, "checkpoint": checkpoint, "out": out, **keys}))


def run(cfg: PredictConfig) -> SceneMap:
    """Map a scene.

    A model of classes gives map.tif, on the pixels of the raster; a model of totals totals.tif,
    tiles.gpkg and, with `zones`, zones.gpkg. Memory is that of a row of tiles. Nothing appears in
    `out` before all strips are made; a stopped run leaves them in a hidden folder there, and the
    same call goes on with them and gives the same bytes.

    Raises:
        RoseError: an input cannot be used, `out` holds another map, or cannot be written.
    """
    checkpoint = find_finetuned(Path(cfg.checkpoint))
    network = NetworkFile(checkpoint)
    model, head = network.downstream(), network.head
    product = {"segmentation": LandUseMap, "regression": TotalsMap}[head.problem](model, head, cfg)
    reader = Reader.of(model.rose, network, model.modality.reads_osm)
    tile_px = cfg.tile_px or reader.tiles.get("tile_px", TILE_PX)
    check_side("tile_px", tile_px, model.rose.image_encoder.patch, checkpoint,
               "pass tile_px={}, or leave it out")
    stride = max(1, round(tile_px * (1 - product.overlap)))
    with open_scene(cfg, cfg.raster, reader, tile_px, stride, product.edges) as opening:
        product.check(opening)
        folder = ResultFolder(WorkFolder(Path(cfg.out), "mapping", "mapping a scene"), SCENE)
        request = request_of(cfg, checkpoint_sha256=network.sha256,
                             **identity_of(opening.files, reader, cfg.batch_size),
                             zones=states([Path(cfg.zones)] if cfg.zones else []))
        with folder.held():
            said = folder.begin(request, cfg.overwrite, product.afterwards)
            if said is None:
                say(opening.notes)
                said = _make(cfg, product, opening, folder, request)
    return SceneMap(folder.out, said)


def _make(cfg: PredictConfig, product: LandUseMap | TotalsMap, opening: Opening,
          folder: ResultFolder,
          request: dict[str, Any]) -> dict[str, Any]:
    """Make the map, or what a stopped run left to make of it; what its scene.json says."""
    scene = opening.prepare(folder.work.folder)
    strips = Strips(folder.work.folder / PARTS, scene.grid.rows)
    if not strips.done and (found := folder.alike(request, product.afterwards)):
        for number, strip in enumerate(product.again(folder.out, found, scene.grid)):
            strips.write(number, strip)
    if strips.done < strips.count:
        _make_strips(cfg, product, scene, strips)
    made = folder.empty()
    imagery, shape = imagery_layer(opening.mosaic, made)
    title = f"{product.title} of {scene_name(cfg.raster)}"
    said = product.write(strips, scene, made, title, shape)
    if said is None:
        folder.work.abandon()
        raise PrepareError(f"{cfg.raster}: no pixel has imagery, expected some to map; if pixels "
                           "of the nodata value are imagery, pass nodata=none")
    across, down = opening.mosaic.metres_per_pixel
    said = SceneRecord(product.kind, title, said["headline"], [*said["lines"], *opening.notes],
                       (scene.width * across, scene.height * down),
                       [imagery, *said["layers"]], said["tables"],
                       said["files"]).write(made, request=request, **said["more"])
    write_report([made], made / REPORT)
    folder.publish(said)
    return said


def _make_strips(cfg: PredictConfig, product: LandUseMap | TotalsMap, scene: SceneTiles,
                 strips: Strips) -> None:
    """The strips that are still to be made, by this process and those that cut tiles for it."""
    fabric, grid, first = launch_single(cfg.accelerator, cfg.precision), scene.grid, strips.done
    if first:
        say([f"going on with the work of a stopped run: {first} of {strips.count} rows of tiles "
             "are done"])
    product.model.to(fabric.device).eval()
    row = product.first_row(grid, first)
    bands = predicted_bands(scene, product.network, fabric, row * grid.bands_of_a_row,
                            cfg.batch_size, cfg.num_workers)
    with progress_bar(grid.tiles, row * grid.columns, "tile") as bar:
        made = product.strips(grid, rows_of(counted(bands, bar)), first)
        for number, strip in enumerate(made, start=first):
            strips.write(number, strip)


def find_finetuned(path: Path) -> Path:
    """The fine-tuned model at `path`: itself, or, of the folder of an evaluation or of one of its
    seeds, the first that is in it.

    Raises:
        CheckpointError: there is none.
    """
    if not path.is_dir():
        return path
    found = sorted([*path.glob(BEST), *path.glob(f"seed_*/{BEST}")])
    if not found:
        raise CheckpointError(f"{path}: holds no fine-tuned model ({BEST}, seed_0/{BEST}), "
                              "expected the folder of an evaluation; make one with "
                              "evaluate_seg_fusion.py or evaluate_pop_fusion.py")
    if len(found) > 1:
        say([f"{path} holds {len(found)} models, of a seed each; {found[0]} is taken"])
    return found[0]
