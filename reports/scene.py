"""The section of a scene: its layers on a map to pan and zoom, legends, tables and files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.blocks import Block, Section, gradient, swatch, table
from reports.markup import Markup, element
from reports.read import colour, json_object, number, picture, reading
from reports.record import SCENE
from utils.tables import format_number

_KINDS = {"land_use": "Map of land use", "totals": "Map of totals", "features": "Features"}
_BUTTONS = (  # what each does, in words, and its sign
    ("in", "zoom in", "M8 3v10M3 8h10"), ("out", "zoom out", "M3 8h10"),
    ("home", "show all", "M3 8l5-5 5 5M4.5 7v6h7V7"),
    ("full", "full screen", "M3 6V3h3M10 3h3v3M13 10v3h-3M6 13H3v-3"))


@dataclass(frozen=True)
class Layer:
    """A picture of a scene."""

    name: str
    file: Path
    opacity: float
    legend: Sequence[tuple[str, str, float, float]]        # (name, colour, share, hectares)
    scale: tuple[float, float, Sequence[str], str] | None  # (low, high, colours, unit)


def is_scene(folder: Path) -> bool:
    """Return whether a folder holds a scene's maps."""
    return (folder / SCENE).is_file()


def scene_section(folder: Path) -> Section:
    """Return the section of the scene in `folder`; raise ReportError if scene.json or one of its
    pictures is missing or cannot be read."""
    size = scene_size(folder)
    with reading(folder / SCENE, "the layers of a scene"):
        record = json_object(folder / SCENE)
        tables = [_table(item) for item in record["tables"]]
        files = [(str(item["name"]), str(item["what"])) for item in record["files"]]
        headline = [(str(what), str(figure), str(remark))
                    for what, figure, remark in record["headline"]]
        kind, title = _KINDS[record["kind"]], str(record["title"])
        lines = [str(line) for line in record["lines"]]
    layers = scene_layers(folder)
    blocks = [Block("Map", [map_viewer(layers, size)])]
    blocks += [Block(name, [table(columns, rows)]) for name, columns, rows in tables]
    if files:
        rows = [[element("code", name), what] for name, what in files]
        blocks.append(Block("Files", [table(["file", "what it holds"], rows)]))
    return Section(kind, title, folder, lines, _headline(headline, layers, *size), blocks)


def scene_size(folder: Path) -> tuple[float, float]:
    """Return width and height in metres of the scene's ground; raise as `scene_section` does."""
    with reading(folder / SCENE, "the layers of a scene"):
        width, height = (float(side) for side in json_object(folder / SCENE)["size_metres"])
        if not (0 < width < math.inf and 0 < height < math.inf):
            raise ValueError(f"size_metres {width:g} x {height:g}")
    return width, height


def scene_layers(folder: Path) -> list[Layer]:
    """Return the layers of a scene, the lowest first; raise as `scene_section` does."""
    with reading(folder / SCENE, "the layers of a scene"):
        layers = [_layer(folder, item) for item in json_object(folder / SCENE)["layers"]]
        if not layers:
            raise ValueError("no layer")
    return layers


def _table(item: Mapping[str, Any]) -> tuple[str, list[str], list[list[str | float | None]]]:
    """Return title, names of the columns, and rows."""
    columns = [str(name) for name in item["columns"]]
    rows = [[cell if cell is None or isinstance(cell, int | float) else str(cell) for cell in row]
            for row in item["rows"]]
    if not columns or any(len(row) != len(columns) for row in rows):
        raise ValueError(f"a row of the table {item['title']} has not {len(columns)} cells")
    return str(item["title"]), columns, rows


def _layer(folder: Path, item: Mapping[str, Any]) -> Layer:
    legend = [(str(entry["name"]), colour(entry["colour"]), number(entry.get("share")),
               number(entry.get("hectares"))) for entry in item.get("legend") or []]
    scale = item.get("scale")
    if scale:
        scale = (number(scale["low"]), number(scale["high"]),
                 [colour(stop) for stop in scale["colours"]], str(scale["unit"]))
    return Layer(str(item["name"]), folder / str(item["file"]),
                 min(max(float(item.get("opacity", 1)), 0), 1), legend, scale or None)


def _headline(own: Sequence[tuple[str, str, str]], layers: Sequence[Layer], width: float,
              height: float) -> list[tuple[str, str, str]]:
    headline = [*own, ("ground shown", f"{width * height / 1e6:,.3g} km²",
                       f"{width / 1000:,.3g} x {height / 1000:,.3g} km")]
    shares = [entry for layer in layers for entry in layer.legend if not math.isnan(entry[2])]
    if shares:
        name, _, share, _ = max(shares, key=lambda entry: entry[2])
        headline.append(("commonest class", name, f"{share:.1%} of the map"))
    return headline


def map_viewer(layers: Sequence[Layer], size: tuple[float, float]) -> Markup:
    """Return pictures of the same ground, one over the other, the first at the bottom.

    They are stretched to the ground's shape, `size` in metres: the pixels of a raster in degrees
    are not square. map.js adds moving, zooming and switching.
    """
    images = [element("img", src=picture(layer.file)[0], alt=f"{layer.name}, seen from above",
                      style=f"opacity:{layer.opacity}", data_layer=index, draggable="false",
                      class_="crisp" if layer.legend or layer.scale else None)
              for index, layer in enumerate(layers)]
    bar = _round_below(size[0] / 4)
    signs = [element("svg", element("path", d=path), viewBox="0 0 16 16", aria_hidden="true")
             for *_, path in _BUTTONS]
    buttons = [element("button", sign, type="button", data_do=name, title=title, aria_label=title)
               for sign, (name, title, _) in zip(signs, _BUTTONS, strict=True)]
    frame = element("div", element("div", images, class_="layers"),
                    element("div", buttons, class_="buttons needs-script"),
                    element("div", element("span", f"{bar:,} m"),
                            element("i", style=f"width:{bar / size[0]:.2%}"), class_="scale-bar"),
                    element("div", "click the map, then zoom with the wheel", class_="hint",
                            aria_hidden="true"), class_="frame", tabindex="0", role="application",
                    style=f"--ratio:{size[0] / size[1]:.4f}", data_metres=size[0],
                    aria_label="Map. Arrow keys move it, plus and minus zoom, 0 shows all.")
    panels = [_panel(index, layer) for index, layer in reversed(list(enumerate(layers)))]
    return element("div", frame, element("div", panels, class_="side"), class_="map")


def _panel(index: int, layer: Layer) -> Markup:
    box = element("input", type="checkbox", checked=True, data_layer=index, class_="needs-script")
    fade = element("input", type="range", min="0", max="100", value=round(layer.opacity * 100),
                   data_layer=index, aria_label=f"opacity of {layer.name}")
    return element("fieldset",
                   element("legend", element("label", box, layer.name, class_="switch")),
                   element("label", element("span", "opacity"), fade,
                           class_="slider needs-script"), _legend(layer), _scale(layer))


def _legend(layer: Layer) -> Markup | None:
    if not layer.legend:
        return None
    rows = [element("tr", element("th", swatch(fill), name, scope="row"),
                    element("td", "" if math.isnan(share) else f"{share:.1%}", class_="number"),
                    element("td", "" if math.isnan(hectares) else f"{hectares:,.1f} ha",
                            class_="number")) for name, fill, share, hectares in layer.legend]
    return element("table", element("tbody", rows), class_="legend")


def _scale(layer: Layer) -> Markup | None:
    if not layer.scale:
        return None
    low, high, colours, unit = layer.scale
    ends = [element("span", text) for text in (format_number(low), unit, format_number(high))]
    ramp = element("div", class_="ramp", style=gradient(colours))
    return element("div", ramp, element("div", ends, class_="ends"), class_="colour-scale")


def _round_below(metres: float) -> float:
    """Return the greatest of 1, 2, 5, 10 ... that is at most `metres`."""
    size = 10.0 ** math.floor(math.log10(metres))
    length = next(factor * size for factor in (5, 2, 1) if factor * size <= metres)
    return int(length) if length >= 1 else length
