"""A map of classes: for each pixel the most probable one, by all tiles that overlap there."""

from collections.abc import Iterator, Sequence
from pathlib import Path
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
from inference.maps.kind import MapKind, WrittenMap
from inference.pictures import class_layer
from inference.pieces import Strips
from inference.predict import Rows
from models.downstream import Segmenter
from models.heads import SegmentationHead
from utils.errors import ConfigError
from utils.files import replacing
from utils.progress import say_if_slow
from utils.style import rgb

MAP, PROBABILITIES = "map.tif", "probabilities.tif"
OVERLAP = 0.5
LEAST_COMPRESSED = 0.01  # bytes of a pixel's class, or of its per cent of a class


class LandUseMap(MapKind):
    """A strip, of the rows of pixels between the tops of two rows of tiles, holds classes [1,
    rows, width] uint8, UNKNOWN where there is no imagery; with `probabilities` in further bands
    the per cent of each class."""

    name, title, edges = "land_use", "Land use", "shift"

    def __init__(self, model: Segmenter, head: SegmentationHead, cfg: PredictConfig):
        super().__init__(model, head, cfg)
        if cfg.zones is not None:
            raise ConfigError(f"zones={cfg.zones}: {cfg.checkpoint} finds classes, and zones have "
                              "totals of people or CO2; give a checkpoint of "
                              "evaluate_pop_fusion.py, or leave zones= out")
        self.classes, self.colours = list(head.classes), head.colours
        self.probabilities = cfg.probabilities
        self.overlap = OVERLAP if cfg.overlap is None else cfg.overlap

    def least_bytes(self, grid: TileGrid) -> float:
        """Return the bytes of strips and rasters that compress well."""
        planes = 1 + len(self.classes) * self.probabilities
        return 2 * LEAST_COMPRESSED * planes * grid.width * grid.height

    def network(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return probabilities [B, C, H, W]."""
        return self.model.outputs(images, graphs).float().softmax(1)

    def first_row(self, grid: TileGrid, strip: int) -> int:
        """Return the first row of tiles that reach into the strip."""
        return int(np.searchsorted(grid.tops, grid.tops[strip] - grid.tile_px, side="right"))

    def strips(self, grid: TileGrid, rows: Rows, first: int) -> Iterator[np.ndarray]:
        window, blend = blending_window(grid.tile_px, grid.tile_px - grid.stride), None
        ends = [*grid.tops[1:].tolist(), grid.height]
        for row, bands in rows:
            if blend is None:
                blend = RowBlend(len(self.classes), grid.width, window, int(grid.tops[row]))
            for band in bands:
                for number, col in enumerate(band.cols):
                    blend.add(int(grid.lefts[col]), band.outputs[number], band.valid[number])
            strip = self._strip(*blend.finish(ends[row] - blend.top))
            if row >= first:
                yield strip

    def _strip(self, mean: Tensor, known: Tensor) -> np.ndarray:
        def coded(plane: Tensor) -> Tensor:
            return torch.where(known, plane, UNKNOWN).to(torch.uint8)             # [rows, width]
        per_cent = [coded((100 * plane).round()) for plane in mean] if self.probabilities else []
        return torch.stack([coded(mean.argmax(0)), *per_cent]).numpy()

    def write(self, strips: Strips, tiles: SceneTiles, out: Path, title: str,
              shape: tuple[int, int]) -> WrittenMap | None:
        """Write map.tif, its style, and probabilities.tif; return None if no pixel has a class."""
        ground = Ground(tiles.crs, tiles.transform, tiles.width, tiles.height)
        tags = {"TITLE": title,
                **{f"CLASS_{value}": name for value, name in enumerate(self.classes)}}
        colours = {value: (*colour, 255)
                   for value, colour in enumerate(rgb(self.colours).tolist())}
        colours[UNKNOWN] = (0, 0, 0, 0)
        areas = np.zeros(len(self.classes))
        write_geotiff(out / MAP, self._count(strips, tiles, areas), ground,
                      Content("uint8", UNKNOWN, ["class"], tags, colours, Resampling.mode))
        if not areas.any():
            return None
        style = write_style(out / MAP, self.classes, self.colours)
        names = write_category_names(out / MAP, self.classes)
        files = [{"name": MAP, "what": "the class of each pixel, 255 where there is no imagery, "
                                       "with colours and names"},
                 {"name": style.name, "what": "names and colours for QGIS, which reads it with "
                                              "the map"},
                 {"name": names.name, "what": "names of the classes for other programs that use "
                                              "GDAL"}]
        if self.probabilities:
            tags["TITLE"] = f"{title}: probability of each class, in per cent"
            write_geotiff(out / PROBABILITIES, (strip[1:] for strip in strips), ground,
                          Content("uint8", UNKNOWN, self.classes, tags), cloud_optimised=True)
            files.append({"name": PROBABILITIES, "what": "per cent of each class, a band each "
                                                         "(Cloud-Optimised GeoTIFF)"})
        with say_if_slow(f"drawing {MAP}"):
            layer = class_layer(out / MAP, self.classes, self.colours, areas, shape)
        return WrittenMap([self._in_words(areas), *self._doubts(areas)], [layer], files)

    def _count(self, strips: Strips, tiles: SceneTiles, areas: np.ndarray) -> Iterator[np.ndarray]:
        """Yield the strips' classes, and add the square metres of each class to `areas` [C]."""
        top = 0
        for strip in strips:
            rows = strip.shape[1]
            pixels = np.bincount(strip[0].ravel(), minlength=UNKNOWN + 1)[:len(areas)]
            areas += pixels * tiles.pixel_area(top, rows)
            top += rows
            yield strip[:1]

    def _doubts(self, areas: np.ndarray) -> list[str]:
        """Return a remark on a map that shows one class alone."""
        if len(self.classes) == 1 or np.count_nonzero(areas) > 1:
            return []
        only = self.classes[int(areas.argmax())]
        return [f"every pixel is {only}, of {len(self.classes)} classes: unless the place is so, "
                "the model has not learned to tell them apart; its evaluation says how good it is"]

    def _in_words(self, areas: np.ndarray) -> str:
        order = [value for value in np.argsort(-areas, kind="stable").tolist() if areas[value]]
        shares = ", ".join(f"{self.classes[value]} {areas[value] / areas.sum():.1%}"
                           for value in order)
        return f"{areas.sum() / 1e4:,.1f} hectares: {shares}"


def write_category_names(raster: Path, classes: Sequence[str]) -> Path:
    """Write the names of the classes 0, 1 ... of `raster` as GDAL keeps those of a GeoTIFF, in a
    file beside it; return the path."""
    root = ElementTree.Element("PAMDataset")
    names = ElementTree.SubElement(ElementTree.SubElement(root, "PAMRasterBand", band="1"),
                                   "CategoryNames")
    for name in classes:
        ElementTree.SubElement(names, "Category").text = name
    return _write_xml(root, raster.with_name(f"{raster.name}.aux.xml"))


def write_style(raster: Path, classes: Sequence[str], colours: Sequence[str]) -> Path:
    """Write names and colours of the classes 0, 1 ... of `raster` for QGIS; return the path."""
    root = ElementTree.Element("qgis", styleCategories="Symbology")
    renderer = ElementTree.SubElement(ElementTree.SubElement(root, "pipe"), "rasterrenderer",
                                      type="paletted", band="1", opacity="1", alphaBand="-1")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(classes, colours, strict=True)):
        ElementTree.SubElement(palette, "paletteEntry", value=str(value), label=name, color=colour,
                               alpha="255")
    return _write_xml(root, raster.with_suffix(".qml"), "<!DOCTYPE qgis>\n")


def _write_xml(root: ElementTree.Element, path: Path, head: str = "") -> Path:
    ElementTree.indent(root)
    with replacing(path) as temporary:
        temporary.write_text(head + ElementTree.tostring(root, encoding="unicode") + "\n",
                             encoding="utf-8")
    return path
