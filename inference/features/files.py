"""Extracted features, written from parts: a table of tiles, GeoTIFFs of patches, pictures."""

from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS

from datasets.prepare.imagery.files import crs_name
from inference.features.areas import Area
from inference.features.encode import Selection
from inference.features.pca import Components, Moments
from inference.features.pictures import draw_area, write_scene
from inference.features.rasters import WHAT, PatchRaster, write_fused_colours
from inference.features.table import table_crs, write_table
from inference.pieces import Parts
from models.rose import Rose
from reports import REPORT
from reports.record import SCENE
from utils.progress import passing_bar, say_if_slow

TABLE, COLOURS = "tiles.parquet", "fused_pca.tif"


class FeatureFiles:
    """The files in an empty folder; where there are several areas, each has a folder in it.

    `described` has "checkpoint" and "source" by name, and "notes" of what the user should know.
    """

    def __init__(self, folder: Path, parts: Parts, areas: list[Area], selection: Selection,
                 rose: Rose, described: dict[str, Any]):
        self.folder, self.parts, self.areas = folder, parts, areas
        self.selection, self.described = selection, described
        self.patch, self.widths = rose.image_encoder.patch, selection.widths(rose)
        self.folders = ["" if len(areas) == 1 else area.name for area in areas]
        self.tiles = sum(len(names) for _, names in parts)
        self._files: list[dict[str, str]] = []

    def write(self) -> dict[str, Any]:
        """Write all files; return what the record says of them."""
        if self.selection.tiles:
            self._write_table()
        components = self._write_patches() if self.selection.patches else None
        return {
            "tiles": self.tiles, "representations": list(self.widths),
            "fusion": self.selection.fusion, "patch_px": self.patch,
            "patch_widths": self.widths,
            "areas": [{"name": area.name, "folder": folder, "crs": _name_of(area.crs)}
                      for area, folder in zip(self.areas, self.folders, strict=True)],
            "fused_pca_explained": components.explained.tolist() if components else None,
            "files": self._files,
        }

    def _write_table(self) -> None:
        write_table(self.folder / TABLE, self.parts, self.areas, self.selection.representations)
        crs = _name_of(table_crs(self.areas))
        outlines = f"in {crs}" if crs else "without a CRS"
        self._record("", TABLE, f"GeoParquet: a row for each of {self.tiles} tiles, its outline "
                                f"{outlines} and its vectors {', '.join(self.widths)}")

    def _write_patches(self) -> Components | None:
        """Write GeoTIFFs and pictures of all areas; return components of fused vectors, if any."""
        moments = Moments(self.widths["fused"]) if "fused" in self.widths else None
        located = [self.parts.locate(number, area.columns, area.rows)
                   for number, area in enumerate(self.areas)]
        rasters = [PatchRaster(area, area.patches(self.patch)) for area in self.areas]
        tasks = [(number, name) for number in range(len(rasters)) for name in self.widths]
        for number, name in passing_bar(tasks, "GeoTIFFs of patches", "file"):
            self._write_vectors(number, name, rasters[number], located[number], moments)
        if moments is None:
            return None
        of_fused = [(raster, self._path(number, _patches("fused")), self._path(number, COLOURS))
                    for number, raster in enumerate(rasters)]
        components = write_fused_colours(of_fused, moments, self.folder)
        for number, raster in enumerate(rasters):
            with say_if_slow(f"drawing {raster.area.name}"):
                self._draw(number, raster, located[number], components)
        if any(area.metres_per_pixel is not None for area in self.areas):
            self._record("", REPORT, "the pictures as a page")
        return components

    def _write_vectors(self, number: int, name: str, raster: PatchRaster, located: np.ndarray,
                       moments: Moments | None) -> None:
        what = WHAT[name].format(fusion=self.selection.fusion)
        tags = {"what": what, "checkpoint": self.described["checkpoint"],
                "patch_px": str(self.patch)}
        path = self._path(number, _patches(name))
        path.parent.mkdir(exist_ok=True)
        raster.write_vectors(path, self.parts, located, name, self.widths[name], tags,
                             moments.add if name == "fused" else None)
        self._record(self.folders[number], path.name, f"{what}; a pixel is a patch, the "
                                                      f"{self.widths[name]} bands are its vector")

    def _draw(self, number: int, raster: PatchRaster, located: np.ndarray,
              components: Components) -> None:
        """Draw an area; where its size on the ground is known, write scene.json for a report."""
        name, folder, area = self.folders[number], self._path(number, "."), raster.area
        self._record(name, COLOURS, "first three components of the fused patches as colours, "
                                    "transparent where there is no tile")
        inside = f"{name}/" if name else ""
        own = [{**file, "name": file["name"].removeprefix(inside)} for file in self._files
               if file["name"].startswith(inside)]
        for picture in draw_area(folder, raster.grid, self.parts, located, folder / COLOURS,
                                 self.patch):
            self._record(name, picture, "picture for the report")
        if area.metres_per_pixel is not None:
            write_scene(folder, area, raster.grid, self._lines(components), own, self.patch)
            self._record(name, SCENE, "the pictures in words")

    def _lines(self, components: Components) -> list[str]:
        first, second, third = (f"{share:.0%}" for share in components.explained)
        return [f"Fused features ({self.selection.fusion} fusion) of {self.widths['fused']} "
                f"dimensions, by {self.described['checkpoint']}.",
                "Patches of like colour have like features: red, green and blue are their first "
                f"three principal components, which explain {first}, {second} and {third} of the "
                "variance.", *self.described["notes"]]

    def _path(self, number: int, file: str) -> Path:
        return self.folder / self.folders[number] / file

    def _record(self, folder: str, file: str, what: str) -> None:
        self._files.append({"name": f"{folder}/{file}" if folder else file, "what": what})


def _name_of(crs: str | None) -> str | None:
    return crs and crs_name(CRS.from_user_input(crs))


def _patches(name: str) -> str:
    return f"patches_{name}.tif"
