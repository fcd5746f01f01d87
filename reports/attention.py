"""Where an OSM object looks in the image, on a click: tiles of attention.json with their boxes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.colors import to_hex

from reports.blocks import gradient, tabs
from reports.markup import Markup, element, script_json
from reports.read import json_object, reading
from reports.record import ATTENTION_FORMAT
from utils.style import HEAT
from utils.tables import NOTHING

_RAMP = [to_hex(colormaps[HEAT](step / 15)) for step in range(16)]  # of the heat, lowest first
_SIDE = 1000                                                        # of the boxes' coordinates


def attention_viewer(path: Path) -> Markup:
    """Return the tiles of the record at `path`, each with its boxes and a table of its objects, to
    which attention.js adds the heat; raise ReportError if the record cannot be read."""
    with reading(path, f"the attention that train_rose.py records, of format {ATTENTION_FORMAT}"):
        record = json_object(path)
        if record["format"] != ATTENTION_FORMAT:
            raise ValueError(f"format {record['format']}")
        panels = {str(tile["name"]): [_tile(tile)] for tile in record["tiles"]}
    if not panels:
        return element("p", "None of these tiles has an OSM object.")
    return element(
        "div",
        element("p", "Each box is a map object. Choose one, in the picture or in the list, to "
                     "see on which patches its attention falls: the mean of the heads, without "
                     "the CLS token. Where an object looks at its own place, map and image were "
                     "joined."),
        element("noscript", element("p", "The heat on the picture needs JavaScript; boxes and "
                                         "numbers do not.", class_="note")),
        tabs(panels, "tile"))


def _tile(tile: Mapping[str, Any]) -> Markup:
    rows, cols = (int(side) for side in tile["grid"])
    objects = [_Object(number, item) for number, item in enumerate(tile["objects"])]
    data = {"rows": rows, "cols": cols, "ramp": _RAMP,
            "mean": [float(tile["mean"]["peak"]), str(tile["mean"]["levels"])],
            "objects": [[item.peak, item.levels] for item in objects]}
    placed = tile.get("adds")
    if placed:  # of a network that places objects by what they cover
        data["adds"] = [float(placed["peak"]), str(placed["levels"])]
    boxes = [element("polygon", element("title", item.tag), points=item.points,
                     data_object=item.number) for item in objects]
    image = element("img", src=f"data:image/jpeg;base64,{tile['image']}",
                    alt=f"Aerial image of tile {tile['name']}")
    drawing = element("svg", boxes, viewBox=f"0 0 {_SIDE} {_SIDE}", preserveAspectRatio="none",
                      tabindex="0", role="group",
                      aria_label=f"Boxes of {len(objects)} map objects; arrow keys go from one to "
                                 "the next")
    canvas = element("canvas", width=cols, height=rows, aria_hidden="true")
    opacity = element("input", type="range", min="0", max="100", value="75", data_opacity=True)
    relative = element("input", type="checkbox", data_relative=True)
    adds = element("label", element("input", type="checkbox", data_adds=True),
                   "what objects add to each patch of the fused image") if placed else None
    ramp = element("span", class_="ramp", style=gradient(_RAMP))
    controls = element(
        "div", element("label", "heat", opacity),
        element("label", relative, "only what exceeds the mean of the tile's objects"), adds,
        element("div", element("span", "0"), ramp, element("span", "peak", data_peak=True),
                class_="scale"), class_="controls needs-script")
    left_out = int(tile["left_out"])
    rest = f"; {left_out} smaller ones are left out" if left_out else ""
    note = element("p", f"{len(objects)} objects, the largest first{rest}. Ratio: attention "
                        "inside the box over its share of the tile; 1 is chance.", class_="note")
    chosen = element("output", "No object is chosen.", class_="chosen needs-script")
    stage = element("div", image, canvas, drawing, class_="stage")
    return element("div", element("div", stage, controls),
                   element("div", chosen, _objects(objects), note, class_="side"),
                   script_json(data), class_="attention")


class _Object:
    """An object of a tile, checked."""

    def __init__(self, number: int, item: Mapping[str, Any]):
        self.number, self.tag, self.node = number, str(item["tag"]), int(item["node"])
        self.box, self.own = float(item["box_share"]), float(item["attention_share"])
        self.peak, self.levels = float(item["peak"]), str(item["levels"])
        corners = [round(float(value) * _SIDE) for value in item["corners"]]
        self.points = " ".join(f"{x},{y}"
                               for x, y in zip(corners[::2], corners[1::2], strict=True))

    @property
    def lift(self) -> str:
        return f"{self.own / self.box:.2f} x" if self.box else NOTHING


def _objects(objects: Sequence[_Object]) -> Markup:
    rows = []
    for item in objects:
        words = (f"{item.tag} (object {item.node}): {item.own:.1%} of its attention falls inside "
                 f"its own box, which is {item.box:.1%} of the tile: {item.lift} what even "
                 "attention would give.")
        button = element("button", item.tag, type="button", data_object=item.number,
                         data_words=words)
        rows.append(element("tr", element("th", button, scope="row"),
                            [element("td", value, class_="number")
                             for value in (f"{item.own:.1%}", f"{item.box:.1%}", item.lift)]))
    head = element("tr", element("th", "object", scope="col"),
                   [element("th", name, scope="col", class_="number")
                    for name in ("attention inside its box", "box, of the tile", "ratio")])
    return element("div", element("table", element("thead", head), element("tbody", rows)),
                   class_="scroll list", tabindex="0", role="region",
                   aria_label="map objects of the tile")
