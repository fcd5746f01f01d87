"""A style file beside a raster of classes: QGIS reads MAP.qml with MAP.tif and shows the classes by their names."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from utils.files import replacing
from utils.style import class_colours


def write_style(raster: Path, classes: Sequence[str]) -> Path:
    """Write names and colours of the classes 0, 1 ... of `raster` for QGIS; the file's path."""
    root = ElementTree.Element("qgis", styleCategories="Symbology")
    renderer = ElementTree.SubElement(ElementTree.SubElement(root, "pipe"), "rasterrenderer", type="paletted", band="1", opacity="1",
                                      alphaBand="-1")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(classes, class_colours(classes), strict=True)):
        ElementTree.SubElement(palette, "paletteEntry", value=str(value), label=name, color=colour, alpha="255")
    ElementTree.indent(root)
    path = raster.with_suffix(".qml")
    with replacing(path) as part:
        part.write_text("<!DOCTYPE qgis>\n" + ElementTree.tostring(root, encoding="unicode") + "\n", encoding="utf-8")
    return path
