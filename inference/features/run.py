"""Features from tiles to files: encode part by part, write all files from the parts, move them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from lightning_fabric import Fabric

from inference.features.areas import check_patches
from inference.features.encode import Selection, hide_patches, represent, thumbnails
from inference.features.files import FeatureFiles
from inference.features.sources import Chunk, DatasetSource, SceneSource, open_source, selection_of
from inference.geotiff import CACHE_MB
from inference.keys import EXTRACT, ExtractConfig
from inference.pieces import Parts
from inference.result_folder import ResultFolder
from inference.scene import request_of
from models.network_file import NetworkFile
from models.rose import Rose
from reports import REPORT, write_report
from reports.record import FEATURES, SCENE
from training.compatibility import check_image_size, check_side, find_checkpoint
from training.devices import launch_single, threads_that_pay
from training.finite import check_outputs
from utils.cli.compose import configured
from utils.contents import Either, Fields, Items, Null, Number, Text, Whole
from utils.errors import ConfigError
from utils.progress import progress_bar, say, say_if_slow

# of a record, as `in_words` shows it
FIELDS = {"tiles": Whole(least=0), "source": Text(), "checkpoint": Text(), "notes": Items(Text()),
          "representations": Items(Text()), "fusion": Text(),
          "areas": Items(Fields({"name": Text(), "folder": Text()})),
          "fused_pca_explained": Either([Items(Number()), Null()])}


def extract_features(checkpoint: str | Path, out: str | Path, **keys: Any) -> dict[str, Any]:
    """Extract features (see `extract`) with the given keys, and defaults for the others."""
    return extract(configured(EXTRACT, checkpoint=checkpoint, out=out, **keys))


def extract(cfg: ExtractConfig) -> dict[str, Any]:
    """Extract features unless `out` holds them; return what features.json holds.

    Raise RoseError if the tiles, the checkpoint or the folder cannot be used.
    """
    selection = selection_of(cfg)
    checkpoint = find_checkpoint(cfg.checkpoint, cfg.save_root_dir)
    fabric = launch_single(cfg.accelerator, cfg.precision)
    choices = {name: value for name in ("osm_norm_scope", "fine_input")
               if (value := getattr(cfg, name)) is not None}
    network = NetworkFile(checkpoint, **choices)
    with say_if_slow(f"reading {checkpoint}"):
        rose = network.rose().to(fabric.device).eval()
    patch = rose.image_encoder.patch
    if cfg.raster is None:
        check_image_size(checkpoint, patch, cfg.image_size)
    else:
        check_side("image_size", cfg.image_size, patch, checkpoint,
                   "pass image_size={}, or leave it out")
    with (threads_that_pay(rose.width),
          open_source(cfg, network, rose, selection, fabric) as source):
        source.notes = [*source.notes, *network.notes_on_rose]
        return _Extraction(cfg, selection, fabric, network, rose, source).run()


@dataclass
class _Extraction:
    """One extraction: its network and its tiles, opened."""

    cfg: ExtractConfig
    selection: Selection
    fabric: Fabric
    network: NetworkFile
    rose: Rose
    source: DatasetSource | SceneSource

    def run(self) -> dict[str, Any]:
        """Return the record of the results, made unless they are there."""
        work = ResultFolder(Path(self.cfg.out), "extracting", "extracting features", FEATURES,
                            FIELDS)
        with say_if_slow(f"reading {self.network.path}"):
            request = request_of(self.cfg, checkpoint_sha256=self.network.sha256,
                                 **self.source.identity)
        with work.held():
            return work.start(request, self.cfg.overwrite) or self._make(work, request)

    def _make(self, work: ResultFolder, request: dict[str, Any]) -> dict[str, Any]:
        """Do the work, or what a stopped run left of it, and move it to its place."""
        source = self.source
        say(source.notes)
        source.prepare(work.folder)
        if self.selection.patches:
            check_patches(source.areas)
        parts = Parts(work.parts, source.parts)
        say(self._check_space(work, parts))
        self._encode(parts)
        if not any(True for _ in parts):
            raise ConfigError(f"{source.name}: holds no imagery, expected some to extract "
                              "features of; see nodata= and bands=")
        made = work.empty()
        described = {"checkpoint": str(self.network.path), "source": source.name,
                     "notes": source.notes}
        with rasterio.Env(GDAL_CACHEMAX=CACHE_MB):
            written = FeatureFiles(made, parts, source.areas, self.selection, self.rose,
                                   described).write()
        record = {"request": request, **described, **written}
        pages = [made / area["folder"] for area in record["areas"]
                 if (made / area["folder"] / SCENE).is_file()]
        if pages:
            with say_if_slow(f"writing {REPORT}"):
                write_report(pages, made / REPORT)
        work.publish(record)
        return record

    def _check_space(self, work: ResultFolder, parts: Parts) -> list[str]:
        """Raise PrepareError if the disk lacks room for all vectors twice, in parts and files;
        return a note if they are many."""
        patches = (self.cfg.image_size // self.rose.image_encoder.patch) ** 2
        tokens = self.selection.tiles + patches * self.selection.patches
        vectors = 4 * tokens * sum(self.selection.widths(self.rose).values())
        tiles = self.source.tiles
        needed = vectors * (self.source.tiles_of(parts.missing()) + 0.8 * tiles)
        return work.check_space(needed, f"the vectors of {tiles:,} tiles",
                                "pass fewer representations=, or patches=false")

    def _encode(self, parts: Parts) -> None:
        """Write the parts that are missing."""
        source, missing = self.source, parts.missing()
        if not missing:
            return
        done = source.tiles - source.tiles_of(missing)
        if done:
            say([f"resuming the work of a stopped run: {done} of {source.tiles} tiles are "
                 "done"])
        patch = self.rose.image_encoder.patch
        side = max(area.patches(patch).pixels_a_patch for area in source.areas)
        with progress_bar(source.tiles, done, "tile") as bar:
            chunks = source.chunks(missing, self.rose, self.fabric, self.cfg.num_workers)
            last = -1
            for number, members in groupby(chunks, key=lambda chunk: chunk.part):
                parts.write(number, *self._vectors(members, min(side, patch)))
                bar.update(source.tiles_of([part for part in missing if last < part <= number]))
                last = number
        for number in parts.missing():  # no tile there has imagery
            parts.write(number, [], {})

    def _vectors(self, chunks: Iterator[Chunk],
                 pixels_a_patch: int) -> tuple[list[str], dict[str, np.ndarray]]:
        """Return names and arrays of a part, for `Parts.write`."""
        names, arrays = [], []
        patch = self.rose.image_encoder.patch
        for chunk in chunks:
            with self.fabric.autocast():
                vectors = represent(self.rose, chunk.images, chunk.graphs, self.selection)
            for name, value in vectors.items():
                if name != "osm_patches":  # nan where no object is
                    check_outputs(value, chunk.graphs.name)
            if chunk.valid is not None:
                vectors = hide_patches(vectors, chunk.valid, patch)
            if self.selection.patches:
                side = chunk.images.shape[-1] // patch * pixels_a_patch
                pixels = self.rose.denormalise(chunk.images).movedim(-1, 1)
                vectors["thumbnail"] = thumbnails(pixels, side)
            objects = torch.bincount(chunk.graphs.batch, minlength=len(chunk.images)).int()
            names += chunk.graphs.name
            arrays.append({"place": chunk.cells, "objects": objects.cpu().numpy(),
                           **{name: value.cpu().numpy() for name, value in vectors.items()}})
        return names, {name: np.concatenate([batch[name] for batch in arrays])
                       for name in arrays[0]}


def in_words(out: str, record: dict[str, Any]) -> str:
    """Return the record of an extraction in words: what was made of what, and where it lies."""
    cities = [area["name"] for area in record["areas"]]
    fusion = f" ({record['fusion']} fusion)" if "fused" in record["representations"] else ""
    several = f" ({len(cities)} cities)" if len(cities) > 1 else ""
    lines = ["", f"Features of {record['tiles']} tiles of {record['source']}{several}:",
             f"  {', '.join(record['representations'])}{fusion}, by {record['checkpoint']}"]
    if record["fused_pca_explained"]:
        shares = ", ".join(f"{share:.0%}" for share in record["fused_pca_explained"])
        lines.append(f"  the first three components of the fused patches explain {shares} of "
                     "their variance")
    width = max(len(file["name"]) for file in record["files"])
    return "\n".join([*lines, *(f"note: {note}" for note in record["notes"]),
                      f"Outputs in {Path(out)}:",
                      *(f"  {file['name']:{width}}  {file['what']}" for file in record["files"])])
