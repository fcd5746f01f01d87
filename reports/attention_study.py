"""The section of a study of attention."""

from pathlib import Path

from reports.blocks import Block, Section, drawn, facts, settings, table
from reports.evaluation import RESULTS
from reports.markup import element
from reports.read import json_object, number, reading
from reports.study import holds
from utils.contents import Anything, Either, Fields, Items, Null, Number, Table, Text, Whole
from utils.tables import format_number

# fusion -> the parts of what objects add in it, of "adds" in results.json, and what they are
PARTS = {"global": {"message": "global: the message to all patches",
                    "placed": "global: objects placed on patches"},
         "fine": {"fine": "fine: the message to each patch"}}
_FIGURE = Either([Number(), Null()])
_SIZE = Fields({"patches": Text(), "objects": Whole(least=0), "lift": _FIGURE,
                "lift_of_others": _FIGURE})
_HEAD = Fields({"head": Whole(least=0), "lift": _FIGURE})
_ATTENTION = Fields({"objects": Whole(least=0), "tiles_with_objects": Whole(least=0),
                     "checkpoint": Text(), "config": Table(Anything())},
                    {"fusions": Table(Fields({"objects": Whole(least=0)}, {"lift": _FIGURE})),
                     "adds": Table(Fields({"norm_ratio": _FIGURE, "varies": _FIGURE})),
                     "sizes": Items(_SIZE), "heads": Items(_HEAD), "verdict": Text(),
                     **dict.fromkeys(("lift", "lift_of_others", "lift_standard_error",
                                      "attention_share", "box_share"), _FIGURE)})


def is_attention_study(folder: Path) -> bool:
    """Return whether a folder holds a study of attention."""
    return (folder / "attention.csv").is_file() and holds(folder, b'"tiles_with_objects"')


def attention_study_section(folder: Path, page: Path, report: str) -> Section:
    """Return the section of the study of attention in `folder`; as `study_section`."""
    def shown(value: float | None) -> str:
        return format_number(number(value))

    with reading(folder / RESULTS, "the results of a study of attention"):
        record = _ATTENTION.check(json_object(folder / RESULTS), "")
        lift, others = record.get("lift"), record.get("lift_of_others")
        names = sorted(path.stem for kind in ("attention", "change")
                       for path in (folder / "figures").glob(f"{kind}_*.png"))
        figures = [drawn(folder, name, _caption(name), f"{_caption(name)}.") for name in names]
        blocks = [Block("Drawn", figures)] if figures else []
        blocks += [Block("By size", [table(
            ["box, in patches", "objects", "lift", "of other objects"],
            [[size["patches"], size["objects"], shown(size["lift"]), shown(size["lift_of_others"])]
             for size in record["sizes"]])])] if record.get("sizes") else []
        blocks += [Block("What the fused image hears", [
            element("p", "The fused image of a tile with an object less that without it: which "
                         "share of the change falls on the object's own box, over the box's share "
                         "of the tile.", class_="note"),
            table(["fusion", "lift of the change", "objects"],
                  [[fusion, shown(change.get("lift")), change["objects"]]
                   for fusion, change in record["fusions"].items()])])] if record.get(
            "fusions") else []
        adds = [(what, record["adds"][part]) for parts in PARTS.values()
                for part, what in parts.items() if part in record.get("adds", {})]
        blocks += [Block("What objects add to a patch", [table(
            ["fusion", "length, over that of what it is added to",
             "of it, differs between a tile's patches"],
            [[what, shown(each["norm_ratio"]), shown(each["varies"])]
             for what, each in adds])])] if adds else []
        blocks += [Block("By head", [table(
            ["head", "lift"], [[str(head["head"]), shown(head["lift"])]
                               for head in record["heads"]])])] if record.get("heads") else []
        blocks.append(Block("What was asked", [
            facts({"checkpoint": element("code", record["checkpoint"])}),
            settings(record["config"], "All keys")]))
        headline = [("lift of an object's own box", shown(lift), "1 is chance"),
                    ("lift given by other objects", shown(others), "of the same tile")]
        lines = [f"Where {record['objects']:,} OSM objects of {record['tiles_with_objects']:,} "
                 "tiles look in the image.", *filter(None, [record.get("verdict")])]
    return Section("Study", f"Attention: {folder.resolve().name}", folder, lines, headline, blocks)


def _caption(name: str) -> str:
    kind, _, tile = name.partition("_")
    if kind == "change":
        return f"Where objects of tile {tile} change the fused image"
    return ("Attention on their own box, by size and head" if tile == "shares"
            else f"Where objects of tile {tile} look")
