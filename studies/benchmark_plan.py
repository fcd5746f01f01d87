"""What the benchmark runs: a small table of tasks, rows and cells."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from models.registry import MODALITIES
from utils.errors import ConfigError

ALL = "all"                                   # training tiles of a fold
FULLY, SCRATCH, LINEAR, KNN = "pretrained", "scratch", "linear", "knn"
MODES = {FULLY: "finetune", SCRATCH: "scratch", LINEAR: "linear", KNN: "knn"}
REMOVED, SHIFTED = (0.25, 0.5, 0.75, 1.0), (5.0, 10.0, 15.0, 25.0)  # share; metres
STEPS = 120        # times the root of the training tiles: the tiles that a training sees
JUDGED = 4         # times that val is measured in a training
PROBED = 4         # a linear probe, whose features are kept, sees so many times the tiles


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
    "trees": Task("High ground outside buildings", "height", "pop", "r2", "co2",
                  "as a share that is over 2.5 m high and no building", effort=0.5),
}


@dataclass(frozen=True)
class Row:
    """A model: Rose's, of a modality and a recipe; or one of patches' statistics.

    Attributes:
        statistics: that a model without a network reads; none: it is Rose's.
        hidden: whether such a model has a hidden layer.
    """

    meaning: str
    modality: str
    recipe: str = "rose"
    statistics: tuple[str, ...] = ()
    hidden: bool = False

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
    "plus_image": Row("the image encoder of recipe=plus alone", "image", "plus"),
    "patch_mlp": Row("an MLP of patches' colours and OSM tags", "image",
                     statistics=("image", "osm"), hidden=True),
    "patch_mlp_image": Row("an MLP of patches' colours", "image", statistics=("image",),
                           hidden=True),
    "patch_mlp_osm": Row("an MLP of patches' OSM tags", "image", statistics=("osm",), hidden=True),
    "statistics": Row("a linear model of the same statistics; of totals, of OSM statistics",
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
    """Cells that differ in each of these."""

    tasks: Sequence[str]
    rows: Sequence[str]
    trainings: Sequence[str] = (FULLY,)
    labels: Sequence[str] = (ALL,)
    without: Sequence[float] = (0.0,)  # trained_with_removal
    text: str = "hash"


LAND_USE, TOTALS = ("land_use",), ("building_volume", "trees")
CURVE = ("image", "image_osm_raster", "fusion", "plus")
# part of the benchmark -> the cells that it trains
PARTS: dict[str, tuple[Group, ...]] = {
    "baselines": (
        Group(LAND_USE, ("patch_mlp", "statistics"), (SCRATCH,), ("25", "50", "100", "200", ALL)),
        Group(LAND_USE, ("patch_mlp_image", "patch_mlp_osm"), (SCRATCH,), ("100", ALL)),
        Group(TOTALS, ("statistics",), (SCRATCH,), ("100", ALL))),
    "main": (
        Group(LAND_USE, ("image", "osm", "osm_raster", "image_osm_raster", "fusion", "fine",
                         "plus", "plus_image"), labels=("100", ALL)),),
    "labels": (Group(LAND_USE, CURVE, labels=("25", "50", "200")),),
    "scratch": (
        Group(LAND_USE, CURVE, (SCRATCH,), ("25", "50", "100", ALL)),
        Group(("building_volume",), ("image", "fusion", "plus"), (SCRATCH,), ("100",))),
    "totals": (Group(TOTALS, ("image", "osm", "image_osm_raster", "fusion", "plus"),
                     labels=("100", ALL)),),
    "probes": (Group(LAND_USE, ("image", "fusion", "plus", "plus_image"), (LINEAR, KNN),
                     ("100", ALL)),),
    "removal": (Group(LAND_USE, ("image_osm_raster", "fusion", "plus"), without=(0.5,)),),
    "text": (Group(LAND_USE, ("plus",), (FULLY, SCRATCH), ("100", ALL), text="sentence"),
             Group(LAND_USE, ("osm",), (FULLY,), (ALL,), text="sentence")),
}
# rows whose models of all labels are also measured with objects removed and shifted: part `missing`
MEASURED = ("osm", "osm_raster", "image_osm_raster", "fusion", "fine", "plus")
MISSING = "missing"


def planned(parts: Sequence[str], tasks: Sequence[str], rows: Sequence[str] | None,
            labels: Sequence[str], sentence: bool) -> list[Cell]:
    """Return the cells of some parts that train, each once, in the order of the table.

    Raise ConfigError if none is left.
    """
    cells = dict.fromkeys(
        Cell(task, row, training, count, without, 0.0, without, group.text)
        for part in parts if part != MISSING for group in PARTS[part]
        if group.text == "hash" or sentence
        for task in group.tasks if task in tasks for row in group.rows
        if rows is None or row in rows for training in group.trainings
        for count in group.labels if count in labels for without in group.without)
    if not cells:
        raise ConfigError(f"parts=[{','.join(parts)}] labels=[{','.join(labels)}]: no cell of the "
                          "table has these rows, tasks and labels; leave one of these keys out")
    return [*cells]


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


def tiles_seen(tiles: int, cell: Cell, effort: float) -> int:
    """Return how many tiles a training sees in all, each as often as epochs are run: it grows with
    the root of the training tiles."""
    share = TASKS[cell.task].effort * (PROBED if cell.training == LINEAR else 1)
    return max(round(effort * share * STEPS * math.sqrt(tiles)), tiles)
