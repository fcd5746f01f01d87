"""Names and colours that a raster's file gives to its values: GDAL's category names, an attribute
table, a palette, or the tags CLASS_n of our maps."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import rasterio
from rasterio.shutil import copy

from datasets.prepare.geo.raster_io import RASTER_ERRORS
from datasets.prepare.targets.legend import value_text

_MOST_BYTES = 32 << 20  # of the description of a raster
_MOST_ROWS = 65_536     # of an attribute table
# columns of an attribute table: by GDAL's number for their use, or by name
_VALUE, _NAME, _COLOURS = 5, 2, (6, 7, 8)
_VALUE_NAMES = ("value", "val", "id", "code", "gridcode")
_NAME_NAMES = ("class", "class_name", "classname", "class_names", "name", "label", "category",
               "land_use", "landuse", "land_cover", "landcover", "description", "legend")


def categories(source: rasterio.DatasetReader) -> tuple[dict[str, str], dict[str, str]]:
    """Return names and colours #rrggbb of the values of a raster of one band, as far as its file
    has any; values as `legend.value_text` writes them, names without those that are empty."""
    names = {match[1]: name.strip() for tag, name in source.tags().items()
             if (match := re.fullmatch(r"CLASS_(\d{1,5})", tag)) and name.strip()}
    colours: dict[str, str] = {}
    band = _described(source)
    if band is not None:
        table = {value: (name, colour) for value, name, colour in _attributes(band)}
        names |= {value: name for value, (name, _) in table.items() if name}
        colours |= {value: colour for value, (_, colour) in table.items() if colour}
        texts = [(item.text or "").strip() for item in band.findall("CategoryNames/Category")]
        names |= {str(number): text for number, text in enumerate(texts[:_MOST_ROWS]) if text}
    if "palette" in (meaning.name for meaning in source.colorinterp):
        colours |= {str(index): f"#{bytes(entry[:3]).hex()}"
                    for index, entry in source.colormap(1).items() if entry[3]}
    return names, colours


def _described(source: rasterio.DatasetReader) -> ElementTree.Element | None:
    """Return what GDAL says of a raster's band, in the words of a VRT: rasterio cannot tell names
    of categories. None if that is too much, or too odd, to be a legend."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "described.vrt")
        try:
            copy(source, path, driver="VRT")
            if path.stat().st_size > _MOST_BYTES:
                return None
            return ElementTree.parse(path).find("VRTRasterBand")
        except (ElementTree.ParseError, *RASTER_ERRORS):
            return None


def _attributes(band: ElementTree.Element) -> Iterator[tuple[str, str, str]]:
    """Yield value, name and colour of the rows of an attribute table, "" where there is none."""
    columns = [(int(column.findtext("Usage", "0")), column.findtext("Name", "").strip().casefold())
               for column in band.findall("GDALRasterAttributeTable/FieldDefn")]

    def where(usage: int, titles: tuple[str, ...] = ()) -> int | None:
        by_use = [index for index, column in enumerate(columns) if column[0] == usage]
        by_name = [index for title in titles for index, column in enumerate(columns)
                   if column[1] == title]
        return next(iter(by_use + by_name), None)

    value, name = where(_VALUE, _VALUE_NAMES), where(_NAME, _NAME_NAMES)
    channels = [where(usage) for usage in _COLOURS]
    for row in band.findall("GDALRasterAttributeTable/Row")[:_MOST_ROWS]:
        cells = [(cell.text or "").strip() for cell in row.findall("F")]
        if len(cells) != len(columns):
            continue
        shown = [cells[index] for index in channels if index is not None]
        known = len(shown) == 3 and all(re.fullmatch(r"\d{1,3}", cell) and int(cell) < 256
                                        for cell in shown)
        yield (_number(row.get("index", "") if value is None else cells[value]),
               "" if name is None else cells[name],
               f"#{bytes(map(int, shown)).hex()}" if known else "")


def _number(cell: str) -> str:
    try:
        return value_text(float(cell))
    except (ValueError, OverflowError):
        return value_text(cell)
