"""A map of classes: each pixel has the class that the overlapping tiles around it find most
probable together."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch
from rasterio.enums import Resampling
from torch import Tensor
from torch_geometric.data import Batch

from datasets.prepare.grid import TileGrid
from datasets.prepare.scene_tiles import SceneTiles
from datasets.targets import UNKNOWN
from inference.geotiff import Content, Ground, write_geotiff
from inference.keys import PredictConfig
from inference.maps.blend import RowBlend, blending_window
from inference.parts import Strips
from inference.pictures import class_layer
from inference.predict import PredictedBand
from inference.scene import Opening
from models.downstream import Segmenter
from models.heads import SegmentationHead
from utils.errors import ConfigError
from utils.files import replacing
from utils.style import class_colours, rgb

MAP, PROBABILITIES = "map.tif", "probabilities.tif"
OVERLAP = 0.5
_CLEAR = (0, 0, 0, 0)


class LandUseMap:
    """A strip, of the rows of pixels between the tops of two rows of tiles, holds classes [1,
    rows, width] uint8, UNKNOWN where there is no imagery, and with `probabilities` in further
    bands the per cent of each class.

    Args:
        model: the network.
        head: what it is for.
        cfg: keys `overlap`, `probabilities`.

    Raises:
        ConfigError: a key that only models of totals know.
    """

    kind, title, edges = "land_use", "Land use", "shift"
    afterwards = ()

    def __init__(self, model: Segmenter, head: SegmentationHead, cfg: PredictConfig):
        if cfg.zones is not None:
            raise ConfigError(f"zones={cfg.zones}: {cfg.checkpoint} finds classes, and zones have "
                              "totals of people or CO2; give a checkpoint of "
                              "evaluate_pop_fusion.py, or leave zones= out")
        self.model, self.classes = model, list(head.classes)
        self.probabilities = cfg.probabilities
        self.overlap = OVERLAP if cfg.overlap is None else cfg.overlap

    def check(self, opening: Opening) -> None:
        """Nothing but the scene is read."""

    def network(self, images: Tensor, graphs: Batch) -> Tensor:
        """[B, C, H, W] probabilities."""
        return self.model.outputs(images, graphs).float().softmax(1)

    def first_row(self, grid: TileGrid, strip: int) -> int:
        """The first row of tiles that the strip and those below it depend on."""
        return int(np.searchsorted(grid.tops, grid.tops[strip] - grid.tile_px, side="right"))

    def strips(self, grid: TileGrid, rows: Iterator[tuple[int, Iterator[PredictedBand]]],
               first: int) -> Iterator[np.ndarray]:
        """The strips from `first` on, of the rows of tiles from `first_row` on."""
        window, blend = blending_window(grid.tile_px, grid.tile_px - grid.stride), None
        ends = [*grid.tops[1:].tolist(), grid.height]
        for row, bands in rows:
            if blend is None:
                blend = RowBlend(len(self.classes), grid.width, window, int(grid.tops[row]))
            for band in bands:
                for place, col in enumerate(band.cols):
                    blend.add(int(grid.lefts[col]), band.outputs[place], band.valid[place])
            strip = self._strip(*blend.finish(ends[row] - blend.top))
            if row >= first:
                yield strip

    def _strip(self, mean: Tensor, known: Tensor) -> np.ndarray:
        # [1, rows, width]
        best = torch.where(known, mean.argmax(0), UNKNOWN).to(torch.uint8)[None]
        if not self.probabilities:
            return best.numpy()
        per_cent = [torch.where(known, (100 * plane).round(), UNKNOWN).to(torch.uint8)
                    for plane in mean]  # C x [rows, width]
        return torch.stack([*best, *per_cent]).numpy()

    def again(self, out: Path, found: dict[str, Any], grid: TileGrid) -> Iterator[np.ndarray]:
        """No strips: all that a finished map can be asked for beside itself needs the network."""
        return iter(())

    def write(self, strips: Strips, scene: SceneTiles, out: Path, title: str,
              shape: tuple[int, int],
              ) -> dict[str, Any] | None:
        """Write the map's files; what scene.json says of them, None where no pixel has a class.

        Args:
            shape: height and width of the scene's pictures.
        """
        ground = Ground(scene.crs, scene.transform, scene.width, scene.height)
        tags = {"TITLE": title,
                **{f"CLASS_{place}": name for place, name in enumerate(self.classes)}}
        colours = {place: (*colour, 255)
                   for place, colour in enumerate(rgb(class_colours(self.classes)).tolist())} | {
                       UNKNOWN: _CLEAR}
        areas = np.zeros(len(self.classes))
        write_geotiff(out / MAP, self._counted(strips, scene, areas), ground,
                      Content("uint8", UNKNOWN, ["class"], tags, colours, Resampling.mode))
        if not areas.any():
            return None
        style = write_style(out / MAP, self.classes)
        files = [{"name": MAP, "what": "the class of each pixel, 255 where there is no imagery, "
                                       "with colours and names"},
                 {"name": style.name, "what": "names and colours for QGIS, which reads it with "
                                              "the map"}]
        if self.probabilities:
            tags["TITLE"] = f"{title}: probability of each class, in per cent"
            write_geotiff(out / PROBABILITIES, (strip[1:] for strip in strips), ground,
                          Content("uint8", UNKNOWN, self.classes, tags), cloud_optimised=True)
            files.append({"name": PROBABILITIES, "what": "per cent of each class, a band each "
                                                         "(Cloud-Optimised GeoTIFF)"})
        return {"headline": [], "lines": self._lines(areas),
                "layers": [class_layer(out / MAP, self.classes, areas, shape)], "tables": [],
                "files": files,
                "more": {}}

    def _counted(self, strips: Strips, scene: SceneTiles,
                 areas: np.ndarray) -> Iterator[np.ndarray]:
        """The strips' classes; the ground that each class covers is added to `areas` [C], in
        square metres."""
        top = 0
        for strip in strips:
            rows = strip.shape[1]
            areas += np.bincount(strip[0].ravel(),
                                 minlength=UNKNOWN + 1)[:len(areas)] * scene.pixel_area(top, rows)
            top += rows
            yield strip[:1]

    def _lines(self, areas: np.ndarray) -> list[str]:
        """The classes by the ground they cover, in words."""
        order = [place for place in np.argsort(-areas, kind="stable").tolist() if areas[place]]
        said = ", ".join(f"{self.classes[place]} {areas[place] / areas.sum():.1%}"
                         for place in order)
        return [f"{areas.sum() / 1e4:,.1f} hectares: {said}"]


def write_style(raster: Path, classes: Sequence[str]) -> Path:
    """Write names and colours of the classes 0, 1 ... of `raster` for QGIS; the file's path."""
    root = ElementTree.Element("qgis", styleCategories="Symbology")
    renderer = ElementTree.SubElement(ElementTree.SubElement(root, "pipe"), "rasterrenderer",
                                      type="paletted", band="1", opacity="1",
                                      alphaBand="-1")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(classes, class_colours(classes), strict=True)):
        ElementTree.SubElement(palette, "paletteEntry", value=str(value), label=name, color=colour,
                               alpha="255")
    ElementTree.indent(root)
    path = raster.with_suffix(".qml")
    with replacing(path) as part:
        part.write_text("<!DOCTYPE qgis>\n" + ElementTree.tostring(root, encoding="unicode")
                        + "\n", encoding="utf-8")
    return path
