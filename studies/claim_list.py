"""The claims of the paper, and the aims beyond it, as comparisons of cells of a benchmark.

A claim says that a cell A is better than a cell B, or than the best of several. FUSION, FINE,
IMAGE and DRAWN (objects drawn beside the image) stand for the rows of the recipe that is judged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from studies.benchmark_plan import ALL, FULLY, ROWS, SCRATCH, Cell

LAND_USE, VOLUME = "land_use", "building_volume"
TASKS = (LAND_USE, VOLUME)  # where objects can help; of the others only the image knows
FEW = ("25", "50", "100")   # labelled tiles
FUSION, FINE, IMAGE, DRAWN = "FUSION", "FINE", "IMAGE", "DRAWN"
# recipe -> its rows of a benchmark
RECIPES: Mapping[str, Mapping[str, str]] = {
    "rose": {FUSION: "fusion", FINE: "fine", IMAGE: "image", DRAWN: "image_osm_raster"},
    "plus": {FUSION: "plus", FINE: "plus_fine", IMAGE: "plus_image", DRAWN: "plus_raster"},
}
# (measured, title, case, at least so much above 1 (chance), whether an aim)
OWN_PLACE = (
    ("attention", "Objects look at their own place", "", 0.0, False),
    ("global", "The fused image hears of objects at their place", "global fusion", 0.0, False),
    ("fine", "The fused image hears of objects at their place", "fine fusion", 0.0, False),
    ("attention", "Objects look at their own place", "", 2.0, True),
)


@dataclass(frozen=True)
class Reason:
    """Two cells whose difference, where it is sure, says why a claim fails.

    Attributes:
        words: what has the first's figure, "against" what has the second's.
    """

    words: str
    better: Cell
    worse: Cell


@dataclass(frozen=True)
class Claim:
    """A is better than the best of B, by `at_least`; a negative one allows A to be worse by it.

    Attributes:
        title: the claim in words; claims of one title are about one thing.
        case: in which case, e.g. "50 labels".
        aim: not the paper's claim, but an aim beyond it.
        recipes: those that it is about.
        hears: the fusion, "global" or "fine", whose failure has a measured reason if what it adds
            hardly differs between patches; "": none is measured.
        reason: another, of cells.
        equal: A need not be better, but no worse.
    """

    title: str
    a: Cell
    b: tuple[Cell, ...]
    at_least: float = 0.0
    case: str = ""
    aim: bool = False
    recipes: tuple[str, ...] = tuple(RECIPES)
    hears: str = ""
    reason: Reason | None = None
    equal: bool = False


def claims() -> Iterator[Claim]:
    """Yield all claims, the paper's first."""
    for task in TASKS:
        fusion = Cell(task, FUSION)
        yield Claim("Fusion beats its own recipe's image model", fusion, (Cell(task, IMAGE),),
                    hears=_global(task))
        yield Claim("Fusion beats OSM alone", fusion, (Cell(task, "osm"),))
    for task in TASKS:
        for labels in FEW:
            yield Claim("Pretraining pays with few labels", *_trained(task, labels),
                        case=f"{labels} labels")
    for task in TASKS:
        for share in (0.5, 1.0):
            yield Claim("Fusion without OSM objects beats its own recipe's image model",
                        Cell(task, FUSION, removed=share), (Cell(task, IMAGE),),
                        case=f"{share:.0%} removed", hears=_global(task) if share < 1 else "",
                        reason=_trained_with_all(task, share))
    fusion, fine, image = (Cell(LAND_USE, row) for row in (FUSION, FINE, IMAGE))
    yield Claim("Fine fusion helps segmentation most", fine, (fusion, image), hears="fine")
    yield from _aims()


def _aims() -> Iterator[Claim]:
    for labels in (ALL, "100"):
        fusion, mlp, paper = (Cell(LAND_USE, row, labels=labels)
                              for row in (FUSION, "patch_mlp", "fusion"))
        yield Claim("Fusion beats an MLP on colours and OSM of each patch", fusion, (mlp,), 0.03,
                    f"{labels} labels", True, hears="global")
        yield Claim("plus beats rose's fusion", fusion, (paper,), 0.08, f"{labels} labels",
                    True, ("plus",), "global")
    for task in TASKS:
        for row, words in (("image", "rose's image model"),
                           ("image_osm_raster", "rose's image beside drawn objects"),
                           ("statistics", "a linear model of statistics")):
            yield Claim(f"Fusion beats {words}", Cell(task, FUSION), (Cell(task, row),), aim=True,
                        hears=_global(task), reason=_lost_by_graph(task, row))
    yield Claim("Fusion beats the image beside drawn objects, trained alike",
                Cell(LAND_USE, FUSION), (Cell(LAND_USE, DRAWN),), aim=True, recipes=("plus",))
    yield Claim("Fusion is far above the better modality", Cell(VOLUME, FUSION),
                (Cell(VOLUME, "image"), Cell(VOLUME, IMAGE), Cell(VOLUME, "osm")), 0.05, aim=True)
    yield Claim("Fine is at least equal to global", Cell(LAND_USE, FINE),
                (Cell(LAND_USE, FUSION),), aim=True, hears="fine", equal=True)
    for labels in FEW:
        yield Claim("Pretraining is worth much with few labels", *_trained(LAND_USE, labels), 0.05,
                    f"{labels} labels", True)
    image = (Cell(LAND_USE, "image"),)
    yield Claim("Fusion without any object is worth rose's image model",
                Cell(LAND_USE, FUSION, removed=1.0), image, -0.01, aim=True,
                reason=_trained_with_all(LAND_USE, 1.0))
    yield Claim("Fusion with half of the objects beats rose's image model",
                Cell(LAND_USE, FUSION, removed=0.5), image, aim=True, hears="global",
                reason=_trained_with_all(LAND_USE, 0.5))


def _global(task: str) -> str:
    """Return the fusion that a claim about a task hears of objects by: where they are in a tile
    matters for classes of pixels, and not for its total."""
    return "global" if task == LAND_USE else ""


def _trained_with_all(task: str, share: float) -> Reason | None:
    """Return the reason that training had all objects, of a figure without a share of them."""
    if task != LAND_USE:  # the benchmark trains with removal for land use alone
        return None
    cell = Cell(task, FUSION, removed=share)
    return Reason("the same fusion, trained with half of the objects removed, against trained with "
                  "all", replace(cell, trained_with_removal=0.5), cell)


def _lost_by_graph(task: str, row: str) -> Reason | None:
    """Return the reason that the graph encoder loses what is in the objects, of a total."""
    if task == LAND_USE or row != "statistics":
        return None
    return Reason("the linear model of the objects against their graph alone", Cell(task, row),
                  Cell(task, "osm"))


def _trained(task: str, labels: str) -> tuple[Cell, tuple[Cell]]:
    """Return the fusion with so many labels, pretrained, and from scratch."""
    pretrained = Cell(task, FUSION, FULLY, labels)
    return pretrained, (replace(pretrained, training=SCRATCH),)


def cell_of(cell: Cell, recipe: str) -> Cell:
    """Return the cell of a benchmark that a claim's cell is."""
    row = RECIPES[recipe].get(cell.row, cell.row)
    return replace(cell, row=row, training=SCRATCH if ROWS[row].statistics else cell.training)
