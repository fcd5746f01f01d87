"""The claims of the paper, and the aims that go beyond it, as comparisons of rows of a benchmark.

A claim says that a model A is better than a model B, or than the better of several. Rows are named
as in the benchmark; FUSION, FINE and IMAGE stand for the rows of the recipe that is judged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LAND_USE, VOLUME = "land_use", "building_volume"
TASKS = (LAND_USE, VOLUME)  # where objects can help; of the others only the image knows
FEW = ("25", "50", "100")   # labelled tiles
FUSION, FINE, IMAGE = "FUSION", "FINE", "IMAGE"
# recipe -> the rows of its networks, the first of each that a benchmark has
RECIPES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "rose": {FUSION: ("fusion",), FINE: ("fine",), IMAGE: ("image",)},
    "plus": {FUSION: ("plus",), FINE: ("plus_fine",), IMAGE: ("plus_image", "image")},
}
PLAIN = {"training": "pretrained", "labels": "all", "removed": 0, "shifted": 0,
         "trained_with_removal": 0, "text": "hash"}
# (what is measured, title, case, by how much it must exceed 1, the share of chance; an aim)
OWN_PLACE = (
    ("attention", "Objects look at their own place", "", 0.0, False),
    ("global", "The fused image hears of objects at their place", "global fusion", 0.0, False),
    ("fine", "The fused image hears of objects at their place", "fine fusion", 0.0, False),
    ("attention", "Objects look at their own place, 3 times chance", "", 2.0, True),
)
_UNTRAINED = ("statistics", "patch_mlp")  # rows that could not be pretrained


@dataclass(frozen=True)
class Model:
    """A row of the benchmark under some keys; those that are not named are as in PLAIN."""

    row: str
    keys: tuple[tuple[str, Any], ...] = ()

    def columns(self, row: str) -> dict[str, Any]:
        """Return the values that its runs have in the columns; `row` is the benchmark's own."""
        columns = {**PLAIN, **dict(self.keys), "row": row}
        if row in _UNTRAINED:
            del columns["training"]
        return columns


@dataclass(frozen=True)
class Claim:
    """A is better than the best of B, by `at_least`; a negative one allows A to be worse by it.

    Attributes:
        title: the claim in words; claims of one title are about one thing.
        case: in which case, e.g. "50 labels".
        aim: not the paper's claim, but an aim beyond it.
        recipes: those that it is about.
    """

    title: str
    task: str
    a: Model
    b: tuple[Model, ...]
    at_least: float = 0.0
    case: str = ""
    aim: bool = False
    recipes: tuple[str, ...] = tuple(RECIPES)


def claims() -> Iterator[Claim]:
    """Yield all claims, the paper's first."""
    image, osm = Model("image"), Model("osm")
    fusion, fine, own_image = Model(FUSION), Model(FINE), Model(IMAGE)
    for task in TASKS:
        yield Claim("Fusion beats the image alone", task, fusion, (own_image,))
        yield Claim("Fusion beats OSM alone", task, fusion, (osm,))
    for task in TASKS:
        for labels in FEW:
            pretrained, scratch = _with(FUSION, labels)
            yield Claim("Pretraining pays with few labels", task, pretrained, (scratch,),
                        case=f"{labels} labels")
    for task in TASKS:
        for share in (0.5, 1):
            yield Claim("Fusion without OSM objects is worth the image", task,
                        Model(FUSION, (("removed", share),)), (own_image,),
                        case=f"{share:.0%} removed")
    yield Claim("Fine fusion helps segmentation most", LAND_USE, fine, (fusion, own_image))
    for labels in ("all", "100"):
        keys = (("labels", labels),)
        case = f"{labels} labels"
        yield Claim("Fusion beats an MLP on colours and OSM of each patch", LAND_USE,
                    Model(FUSION, keys), (Model("patch_mlp", keys),), 0.03, case, True)
        yield Claim("plus beats the paper's fusion", LAND_USE, Model(FUSION, keys),
                    (Model("fusion", keys),), 0.08, case, True, ("plus",))
    for task in TASKS:
        for other, words in ((image, "the image alone"),
                             (Model("image_osm_raster"), "drawn objects beside the image"),
                             (Model("statistics"), "a linear model of OSM statistics")):
            yield Claim(f"Fusion beats {words}", task, fusion, (other,), aim=True)
    yield Claim("Fusion is far above the better modality", VOLUME, fusion, (image, osm), 0.05,
                aim=True)
    yield Claim("Fine is at least equal to global", LAND_USE, fine, (fusion,), -0.01, aim=True)
    for labels in FEW:
        pretrained, scratch = _with(FUSION, labels)
        yield Claim("Pretraining is worth much with few labels", LAND_USE, pretrained, (scratch,),
                    0.05, f"{labels} labels", True)
    yield Claim("Fusion without any object is worth the image", LAND_USE,
                Model(FUSION, (("removed", 1),)), (image,), -0.01, aim=True)
    yield Claim("Fusion with half of the objects beats the image", LAND_USE,
                Model(FUSION, (("removed", 0.5),)), (image,), aim=True)


def _with(row: str, labels: str) -> tuple[Model, Model]:
    """Return a row with so many labels, pretrained and from scratch."""
    return tuple(Model(row, (("labels", labels), ("training", training)))
                 for training in ("pretrained", "scratch"))
