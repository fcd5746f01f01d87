"""What the benchmark runs: a small table of tasks, rows and cells."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, NamedTuple

from models.registry import MODALITIES
from utils.errors import ConfigError

ALL = "all"                                   # training tiles of a fold
FULLY, SCRATCH, LINEAR, KNN = "pretrained", "scratch", "linear", "knn"
PROBE_TRAININGS = (LINEAR, KNN)
MODES = {FULLY: "finetune", SCRATCH: "scratch", LINEAR: "linear", KNN: "knn"}
REMOVED, SHIFTED = (0.25, 0.5, 0.75, 1.0), (5.0, 10.0, 15.0, 25.0)  # share; metres
STEPS = 120        # times the root of the training tiles: the tiles that a training sees
JUDGED = 3         # times that val is measured in a training


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        file: of the city's folder that it is learned from.
        problem: of the evaluation, and `target` of a regression.
        score: the figure that is compared.
        counted: what a total is the sum of.
        effort: of a training, as a share of that for land use.
    """

    title: str
    file: str
    problem: str
    score: str
    target: str = ""
    counted: str = ""
    effort: float = 1.0


TASKS = {
    "land_use": Task("Land use", "landuse", "seg", "miou"),
    "building_volume": Task("Building volume", "building_volume", "pop", "r2", "pop",
                            "thousand m3 of building", effort=0.5),
    "trees": Task("Ground over 2.5 m high outside buildings", "height", "pop", "r2", "co2",
                  "share of such ground", effort=0.5),
}


@dataclass(frozen=True)
class Row:
    """A model: Rose's, of a modality and a recipe; or one of patches' statistics.

    Attributes:
        statistics: that a model without a network reads; none: it is Rose's.
        hidden: whether such a model has a hidden layer.
        pretraining: (key, value) of pretraining, beside those of the recipe.
        evaluation: overrides of the evaluation, which replace those of the recipe.
        pretrained: what its pretraining is called, which all rows of that name share; "": as the
            recipe.
    """

    meaning: str
    modality: str
    recipe: str = "rose"
    statistics: tuple[str, ...] = ()
    hidden: bool = False
    pretraining: tuple[tuple[str, str], ...] = ()
    evaluation: tuple[str, ...] = ()
    pretrained: str = ""

    @property
    def reads_osm(self) -> bool:
        return not self.statistics and MODALITIES[self.modality].reads_osm


ROWS = {
    "image": Row("the image alone", "image"),
    "osm": Row("the graph of OSM objects alone", "osm"),
    "osm_raster": Row("OSM objects drawn as an image, alone", "osm_raster"),
    "image_osm_raster": Row("the image beside drawn OSM objects", "image_osm_raster"),
    "fusion": Row("Rose's global fusion", "fusion"),
    "fine": Row("Rose's fine fusion", "fine"),
    "plus": Row("the fusion of recipe=plus", "fusion", "plus"),
    "plus_alone": Row("the network of recipe=plus, without the MLP of patches beside it", "fusion",
                      "plus", evaluation=("patch_mlp=false",), pretrained="plus"),
    "plus_fine": Row("the fine fusion of recipe=plus", "fine", "plus"),
    "plus_raster": Row("the image beside drawn OSM objects, trained as recipe=plus",
                       "image_osm_raster", "plus"),
    "plus_image": Row("the image encoder of recipe=plus alone", "image", "plus"),
    "patch_mlp": Row("an MLP of patches' colours and OSM tags", "image",
                     statistics=("image", "osm"), hidden=True),
    "patch_mlp_image": Row("an MLP of patches' colours", "image", statistics=("image",),
                           hidden=True),
    "patch_mlp_osm": Row("an MLP of patches' OSM tags", "image", statistics=("osm",), hidden=True),
    "statistics": Row("a linear model of simple statistics; for totals, of OSM's alone",
                      "image", statistics=("image", "osm")),
}


@dataclass(frozen=True)
class Cell:
    """A cell of the benchmark; its fields are the columns of the table.

    Attributes:
        labels: number of training tiles, or ALL.
        removed, shifted: share of the objects of the reported tiles that are removed, and metres
            by which all are shifted.
        trained_with_removal: share of the objects that training lacks, too.
        text: how tags became vectors.
    """

    task: str
    row: str
    training: str = FULLY
    labels: str = ALL
    removed: float = 0.0
    shifted: float = 0.0
    trained_with_removal: float = 0.0
    text: str = "hash"

    @property
    def measures(self) -> bool:
        """Whether it only measures the model of another cell."""
        return bool(self.shifted) or self.removed != self.trained_with_removal

    @property
    def trained(self) -> "Cell":
        """The cell whose model it measures; itself if it trains."""
        return replace(self, removed=self.trained_with_removal, shifted=0.0)

    @property
    def name(self) -> str:
        """The name of its folder in that of its task."""
        parts = [self.row, self.training, self.labels]
        parts += [f"trained-without-{self.trained_with_removal:g}"] * bool(
            self.trained_with_removal)
        parts += [self.text] * (self.text != "hash")
        parts += [f"removed-{self.removed:g}"] * (self.removed != self.trained_with_removal)
        parts += [f"shifted-{self.shifted:g}"] * bool(self.shifted)
        return "_".join(parts)

    @property
    def keys(self) -> dict[str, Any]:
        return asdict(self)


class Group(NamedTuple):
    """Cells that differ in each of these.

    Attributes:
        without: trained_with_removal.
        seeds: of the seeds asked, the first so many; None: all.
    """

    tasks: Sequence[str]
    rows: Sequence[str]
    labels: Sequence[str]
    trainings: Sequence[str] = (FULLY,)
    seeds: int | None = None
    without: Sequence[float] = (0.0,)
    text: str = "hash"


LAND_USE, VOLUME, TREES = ("land_use",), ("building_volume",), ("trees",)
TOTALS = (*VOLUME, *TREES)
FUSIONS = ("fusion", "plus")
CURVE = ("image", "image_osm_raster", *FUSIONS)
# part of the benchmark -> the cells that it trains. What the main claims compare has all seeds,
# what is beside them one
PARTS: dict[str, tuple[Group, ...]] = {
    "baselines": (
        Group(LAND_USE, ("patch_mlp", "statistics"), ("100", ALL), (SCRATCH,)),
        Group(LAND_USE, ("patch_mlp",), ("25", "50", "200"), (SCRATCH,), 1),
        Group(LAND_USE, ("patch_mlp_image", "patch_mlp_osm"), (ALL,), (SCRATCH,), 1),
        Group(VOLUME, ("statistics",), ("100", ALL), (SCRATCH,)),
        Group(TREES, ("statistics",), ("100", ALL), (SCRATCH,), 1)),
    "main": (
        Group(LAND_USE, ("image", *FUSIONS, "plus_alone"), ("100", ALL)),
        Group(LAND_USE, ("image_osm_raster", "fine", "osm", "plus_fine", "plus_raster"), (ALL,)),
        Group(LAND_USE, ("osm_raster", "plus_image"), (ALL,), seeds=1),
        Group(LAND_USE, ("image_osm_raster", "fine", "osm", "osm_raster", "plus_image",
                         "plus_raster"), ("100",), seeds=1)),
    "labels": (
        Group(LAND_USE, FUSIONS, ("25",)),
        Group(LAND_USE, ("image", "image_osm_raster"), ("25",), seeds=1),
        Group(LAND_USE, CURVE, ("50", "200"), seeds=1),
        Group(VOLUME, FUSIONS, ("25", "50"), seeds=1)),
    "scratch": (
        Group(LAND_USE, FUSIONS, ("25", "100"), (SCRATCH,)),
        Group(LAND_USE, FUSIONS, ("50", ALL), (SCRATCH,), 1),
        Group(LAND_USE, ("image",), ("25", "50", "100", ALL), (SCRATCH,), 1),
        Group(LAND_USE, ("image_osm_raster",), ("100", ALL), (SCRATCH,), 1),
        Group(VOLUME, ("image", *FUSIONS), ("100",), (SCRATCH,), 1),
        Group(VOLUME, FUSIONS, ("25", "50"), (SCRATCH,), 1)),
    "totals": (
        Group(VOLUME, (*CURVE, "osm", "plus_image"), (ALL,)),
        Group(TREES, (*CURVE, "osm"), (ALL,), seeds=1),  # objects say nothing of trees
        Group(TOTALS, (*CURVE, "osm"), ("100",), seeds=1)),
    "probes": (Group(LAND_USE, ("image", *FUSIONS, "plus_image"), ("100", ALL),
                     PROBE_TRAININGS, 1),),
    "removal": (Group(LAND_USE, ("image_osm_raster", *FUSIONS), (ALL,), seeds=1,
                      without=(0.5,)),),
    "text": (Group(LAND_USE, ("plus",), ("100", ALL), seeds=1, text="sentence"),),
}
# rows whose models of most labels are also measured with objects removed and shifted -> seeds
MEASURED = {"osm": 1, "osm_raster": 1, "image_osm_raster": 1, "fusion": None, "fine": 1,
            "plus": None}
MISSING = "missing"  # the part that does so


def planned(parts: Sequence[str], tasks: Sequence[str], rows: Sequence[str] | None,
            labels: Sequence[str], sentence: bool) -> dict[Cell, int | None]:
    """Return the cells of some parts that train, in the order of the table -> the first seeds they
    have, None: all. Raise ConfigError if no cell is left."""
    cells: dict[Cell, int | None] = {}
    for part in parts:
        for group in PARTS.get(part, ()):
            for cell in _cells_of(group):
                if (cell.task in tasks and cell.labels in labels and (
                        rows is None or cell.row in rows) and (sentence or cell.text == "hash")):
                    cells[cell] = _more(group.seeds, cells.get(cell, 0))
    if {*parts} <= {MISSING}:
        raise ConfigError(f"parts=[{MISSING}]: measures models that other parts train; add the "
                          f"part that trains them, such as parts=[main,{MISSING}]")
    if not cells:
        raise ConfigError(f"parts=[{','.join(parts)}] labels=[{','.join(labels)}]: no cell of the "
                          "table has these rows, tasks and labels; leave one of these keys out")
    return cells


def without_cells(asked: Mapping[str, Sequence[str] | None],
                  cells: Iterable[Cell]) -> list[str]:
    """Return a note on each value that was asked for and that no cell has.

    Args:
        asked: labels, rows and tasks; None: all.
    """
    cells = [*cells]
    fields = {"labels": "labels", "rows": "row", "tasks": "task"}
    return [f"{key}={value} is left out: the table has no such cell for the parts, rows, tasks "
            "and labels asked" for key, values in asked.items() for value in values or ()
            if not any(getattr(cell, fields[key]) == value for cell in cells)]


def _more(a: int | None, b: int | None) -> int | None:
    """Return the larger of two numbers of seeds; None: all."""
    return None if a is None or b is None else max(a, b)


def _cells_of(group: Group) -> Iterator[Cell]:
    for task, row, training, labels, without in product(
            group.tasks, group.rows, group.trainings, group.labels, group.without):
        yield Cell(task, row, training, labels, without, 0.0, without, group.text)


def measured_with(cell: Cell, labels: Sequence[str]) -> Iterator[Cell]:
    """Yield the cells that measure a trained cell's model with objects removed and shifted: those
    of the most labels asked."""
    most = ALL if ALL in labels else max(labels, key=int)
    if cell.row not in MEASURED or cell.training != FULLY or cell.labels != most or (
            cell.text != "hash" or cell.task not in ("land_use", "building_volume")):
        return
    ratios = (0.0, *REMOVED) if cell.trained_with_removal else REMOVED
    yield from (replace(cell, removed=ratio) for ratio in ratios
                if ratio != cell.trained_with_removal)
    if not cell.trained_with_removal:
        yield from (replace(cell, shifted=metres) for metres in SHIFTED)


def epochs_of(tiles: int, cell: Cell, effort: float) -> int:
    """Return the epochs of the training of a network on `tiles` tiles: those that it sees in all
    grow with the root of their number."""
    seen = round(effort * TASKS[cell.task].effort * STEPS * math.sqrt(tiles))
    return max(round(seen / tiles), 1)
