"""What each reported tile adds to the figures of a run: the file from which intervals and paired
differences follow without the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from datasets.spatial_blocks import MAX_CELLS
from datasets.stores.city import city_of, grid_cells
from evaluation.calibration import BINS, calibration_error
from evaluation.metrics import (
    Protocol,
    figures_of_counts,
    regression_figures,
    regression_moments,
)
from utils.contents import ContentFault, Fields, Items, Text, parse_json
from utils.errors import CheckpointError, one_line
from utils.files import replacing, sha256_of

TALLIES = "tiles.safetensors"
NOWHERE = -1  # column and row of a tile whose name says no place
MOST_BYTES = 4 << 30
_FORMAT = "rose-tiles-1"
_ABOUT = Fields({"format": Text([_FORMAT]), "problem": Text(["segmentation", "regression"]),
                 "protocol": Text(["honest", "release"]), "names": Items(Text(), least=1),
                 "classes": Items(Text())})


@dataclass(frozen=True)
class Tallies:
    """The reported tiles of a run.

    Attributes:
        names: of the tiles, in the list's order.
        cells: int64 [n, 2], column and row of each on its city's grid, or NOWHERE.
        values: of a segmentation `counts` [n, 3, C] and `calibration` [n, 3, BINS]; of a
            regression `true` and `estimate` [n], `low` and `high` [n], the ends of the tile's
            interval, nan if it has none.
        classes: of a segmentation; none of a regression.
        protocol: by which a segmentation is judged.
        model: the checksum of the weights that were measured; "" if it is not known.
        seed: of the training; None if it is not known.
    """

    names: tuple[str, ...]
    cells: np.ndarray
    values: Mapping[str, np.ndarray]
    classes: tuple[str, ...] = ()
    protocol: Protocol = "honest"
    model: str = ""
    seed: int | None = None

    @property
    def problem(self) -> str:
        return "segmentation" if self.classes else "regression"

    @cached_property
    def moments(self) -> np.ndarray:
        """What each tile adds to the sums that `figures` takes, float64 [n, m]."""
        values = {name: torch.from_numpy(array) for name, array in self.values.items()}
        if self.classes:
            parts = [values["counts"].double().flatten(1), values["calibration"].flatten(1)]
        else:
            true, low, high = (values[name] for name in ("true", "low", "high"))
            inside = torch.stack([((low <= true) & (true <= high)).double(), high - low], 1)
            parts = [regression_moments(values["estimate"], true),
                     inside.where(low.isfinite()[:, None], torch.nan)]
        return torch.cat(parts, 1).numpy()

    @property
    def overall(self) -> dict[str, float]:
        """The figures of all tiles together; nan where one is not defined."""
        return {name: float(value) for name, value in self.figures(self.moments.sum(0)).items()}

    def figures(self, sums: np.ndarray) -> dict[str, np.ndarray]:
        """Return all figures [...] of sums of moments [..., m]; nan where one is not defined."""
        sums = torch.from_numpy(sums)
        if self.classes:
            counts, bins = sums.split([3 * len(self.classes), 3 * BINS], -1)
            counts = counts.unflatten(-1, (3, -1))                                 # [..., 3, C]
            figures = {**figures_of_counts(counts, self.classes, self.protocol),
                       "ece": calibration_error(bins.unflatten(-1, (3, BINS)))}
        else:
            figures = regression_figures(sums[..., :5]) | {
                name: sums[..., column] / sums[..., 0]
                for name, column in (("interval_coverage", 5), ("interval_width", 6))}
        return {name: values.numpy() for name, values in figures.items()}


def places(names: Sequence[str], among: Sequence[str]) -> np.ndarray:
    """Return column and row of each tile on its city's grid, int64 [n, 2]; NOWHERE where the name
    says none, or the city's numbers are too far apart to be a grid's.

    `among` are the names of all tiles, by which grids are recognised.
    """
    cells = np.full((len(names), 2), NOWHERE, np.int64)
    cities = np.array([city_of(name) or "" for name in names], dtype=object)
    every: dict[str, list[str]] = {}
    for name in among:
        every.setdefault(city_of(name) or "", []).append(name)
    for city in {*cities} - {""}:
        own = np.flatnonzero(cities == city)
        located = grid_cells([names[index] for index in own], every.get(city))
        if np.prod(np.ptp(located, axis=0) + 1.0) <= MAX_CELLS:
            cells[own] = located
    return cells


def write_tallies(path: Path, tallies: Tallies) -> str:
    """Write the file, whole or not at all; return its SHA-256, which `read_tallies` compares."""
    about = {"format": _FORMAT, "problem": tallies.problem, "protocol": tallies.protocol,
             "names": tallies.names, "classes": tallies.classes}
    arrays = {name: np.ascontiguousarray(array)
              for name, array in {"cells": tallies.cells, **tallies.values}.items()}
    with replacing(path, SafetensorError, OSError) as temporary:
        save_file(arrays, temporary, {"about": json.dumps(about)})
    return sha256_of(path)


def read_tallies(path: Path, sha256: str, remedy: str) -> Tallies:
    """Return the tallies in a file.

    Args:
        sha256: of the file, as the result beside it records.
        remedy: ends each message.

    Raises:
        CheckpointError: the file is missing, damaged, or another one than was written.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ContentFault(f"the file has {size} bytes, expected {MOST_BYTES} at most")
        if (there := sha256_of(path)) != sha256:
            raise ContentFault(f"its SHA-256 is {there[:8]}..., expected {sha256[:8]}..., which "
                               "the result beside it records: the file is damaged or another's")
        with safe_open(path, framework="numpy") as file:
            about = parse_json((file.metadata() or {}).get("about", ""), _ABOUT)
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _check_arrays(arrays, len(about["names"]), len(about["classes"]))
    except (ContentFault, OSError, SafetensorError, ValueError, TypeError) as error:
        reason = one_line(error)
        if isinstance(error, OSError):
            reason = f"cannot be read ({reason})"
        raise CheckpointError(f"{path}: {reason}; {remedy}") from error
    return Tallies(tuple(about["names"]), arrays.pop("cells"), arrays, tuple(about["classes"]),
                   about["protocol"])


def _check_arrays(arrays: Mapping[str, np.ndarray], tiles: int, classes: int) -> None:
    """Raise ContentFault if an array is missing, or of another type or shape."""
    expected = {"cells": (np.int64, (tiles, 2))}
    if classes:
        expected |= {"counts": (np.int32, (tiles, 3, classes)),
                     "calibration": (np.float64, (tiles, 3, BINS))}
    else:
        expected |= dict.fromkeys(("true", "estimate", "low", "high"), (np.float64, (tiles,)))
    for name, (dtype, shape) in expected.items():
        if name not in arrays:
            raise ContentFault(f"{name} is missing, expected it")
        array = arrays[name]
        if array.dtype != dtype or array.shape != shape:
            raise ContentFault(f"{name} is {array.dtype} {list(array.shape)}, expected "
                               f"{np.dtype(dtype)} {list(shape)}")
