"""Features from tiles to files: encode part by part, then write tables, GeoTIFFs and pictures from
the parts, then put all in place."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from lightning_fabric import Fabric

from datasets import denormalise
from inference.features.areas import check_patches
from inference.features.encode import Wanted, hide_patches, represent, thumbnails
from inference.features.files import FeatureFiles
from inference.features.sources import (
    Chunk,
    DatasetSource,
    Ready,
    SceneSource,
    check_sources,
    open_source,
    patches_seen,
    wanted_of,
)
from inference.keys import ExtractConfig
from inference.parts import Parts
from inference.result_folder import PARTS, ResultFolder
from inference.scene import request_of
from models.network_file import NetworkFile
from models.rose import Rose
from reports import REPORT, write_report
from reports.record import FEATURES, SCENE
from training.compatibility import check_image_size, check_side, find_checkpoint
from training.devices import launch_single
from utils.cli.command import configured
from utils.errors import ConfigError
from utils.progress import progress_bar, say
from utils.work_folder import WorkFolder

# keys beside those of a scene that change no vector, or that a digest stands for
_FREE = ("save_root_dir", "sample_tiles", "data_root")
_CACHE_MB = 128  # of blocks that GDAL may hold


def extract_features(checkpoint: str | Path, out: str | Path, **keys: Any) -> dict[str, Any]:
    """`extract` with the values of configs/extract_features.yaml, and in their place `keys`, which
    are the keys of extract_features.py."""
    return extract(configured("extract_features", ExtractConfig,
                              {"checkpoint": checkpoint, "out": out, **keys}))


def extract(cfg: ExtractConfig) -> dict[str, Any]:
    """Extract the features that `cfg` asks for, or find them extracted; what features.json holds.

    Raises:
        RoseError: the tiles, the checkpoint or the folder cannot be used as asked.
    """
    wanted = wanted_of(cfg)
    check_sources(cfg, wanted)
    checkpoint = find_checkpoint(cfg.checkpoint, cfg.save_root_dir)
    fabric = launch_single(cfg.accelerator, cfg.precision)
    choices = {name: value for name in ("osm_norm_scope", "fine_input")
               if (value := getattr(cfg, name)) is not None}
    network = NetworkFile(checkpoint, **choices)
    rose = network.rose().to(fabric.device).eval()
    if cfg.raster is None:
        check_image_size(checkpoint, rose.image_encoder.patch, cfg.image_size)
    else:
        check_side("image_size", cfg.image_size, rose.image_encoder.patch, checkpoint,
                   "pass image_size={}, or leave it out")
    with open_source(cfg, rose, network, wanted, fabric) as ready:
        return _Extraction(cfg, wanted, fabric, rose, network, ready).run()


@dataclass
class _Extraction:
    """One extraction: its network and its tiles, opened."""

    cfg: ExtractConfig
    wanted: Wanted
    fabric: Fabric
    rose: Rose
    network: NetworkFile
    ready: Ready

    def run(self) -> dict[str, Any]:
        """The record of the results, made unless they are there."""
        folder = ResultFolder(WorkFolder(Path(self.cfg.out), "extracting", "extracting features"),
                              FEATURES)
        request = request_of(self.cfg, _FREE, checkpoint_sha256=self.network.sha256,
                             **self.ready.identity)
        with folder.held():
            return folder.begin(request, self.cfg.overwrite) or self._make(folder, request)

    def _make(self, folder: ResultFolder, request: dict[str, Any]) -> dict[str, Any]:
        """Do the work, or what a stopped run left of it, and put it in place."""
        say(self.ready.notes)
        source = self.ready.prepare(folder.work.folder)
        if self.wanted.patches:
            check_patches(source.areas)
        parts = Parts(folder.work.folder / PARTS, source.parts)
        parts.prepare()
        self._check_space(folder, source, parts)
        self._encode(source, parts)
        if not any(True for _ in parts):
            raise ConfigError(f"{self.ready.name}: holds no imagery, expected some to extract "
                              "features of; see nodata= and bands=")
        folder.empty()
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB):
            described = {"checkpoint": str(self.network.path), "source": self.ready.name,
                         "notes": self.ready.notes}
            written = FeatureFiles(folder.made, parts, source.areas, self.wanted, self.rose,
                                   described).write()
        record = {"request": request, **described, **written}
        if pages := [folder.made / area["folder"] for area in record["areas"]
                     if (folder.made / area["folder"] / SCENE).is_file()]:
            write_report(pages, folder.made / REPORT)
        folder.publish(record)
        return record

    def _check_space(self, folder: ResultFolder, source: DatasetSource | SceneSource,
                     parts: Parts) -> None:
        """Raises ConfigError where the disk has surely too little room: all vectors lie there
        twice, as parts and as files."""
        if not self.wanted.patches:
            return
        tokens = (self.cfg.image_size // self.rose.image_encoder.patch) ** 2
        vectors = 4 * tokens * sum(self.wanted.widths(self.rose).values())
        needed = int(vectors * (source.tiles_of(parts.missing()) + 0.8 * source.tiles))
        free = shutil.disk_usage(folder.out).free
        if free < needed:
            raise ConfigError(f"{folder.out}: the disk has {free / 1e9:.1f} GB free, but the "
                              f"patches of {source.tiles} tiles need {needed / 1e9:.1f} GB; free "
                              "space, choose another out=, fewer representations=, or "
                              "patches=false")

    def _encode(self, source: DatasetSource | SceneSource, parts: Parts) -> None:
        """Write the parts that are missing."""
        missing = parts.missing()
        if not missing:
            return
        done = source.tiles - source.tiles_of(missing)
        if done:
            say([f"going on with the work of a stopped run: {done} of {source.tiles} tiles are "
                 "done"])
        side = max(area.patches(self.rose.image_encoder.patch).pixels_a_patch
                   for area in source.areas)
        with progress_bar(source.tiles, done, "tile") as bar:
            chunks = source.chunks(missing, self.fabric, self.cfg.num_workers)
            written = -1
            for number, members in groupby(chunks, key=lambda chunk: chunk.part):
                names, arrays = self._vectors(members, min(side, self.rose.image_encoder.patch))
                parts.write(number, names, arrays)
                bar.update(source.tiles_of([part for part in missing if written < part <= number]))
                written = number
        for number in parts.missing():
            parts.write(number, [], {})

    def _vectors(self, chunks: Iterator[Chunk],
                 pixels_a_patch: int) -> tuple[list[str], dict[str, np.ndarray]]:
        """Names and arrays of a part, as `Parts` has them."""
        names, arrays = [], []
        patch = self.rose.image_encoder.patch
        for chunk in chunks:
            with self.fabric.autocast():
                vectors = represent(self.rose, chunk.images, chunk.graphs, self.wanted)
            if chunk.valid is not None:
                vectors = hide_patches(vectors, patches_seen(chunk.valid, patch))
            if self.wanted.patches:
                side = chunk.images.shape[-1] // patch * pixels_a_patch
                vectors["thumbnail"] = thumbnails(denormalise(chunk.images).movedim(-1, 1), side)
            objects = torch.bincount(chunk.graphs.batch, minlength=len(chunk.images)).int()
            names += chunk.graphs.name
            arrays.append({"place": chunk.place, "objects": objects.cpu().numpy(),
                           **{name: value.cpu().numpy() for name, value in vectors.items()}})
        return names, {name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}


def in_words(out: str, record: dict[str, Any]) -> str:
    """The record of an extraction as a reader wants it: what was made of what, and where it
    lies."""
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
