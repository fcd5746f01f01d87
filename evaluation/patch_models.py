"""Baselines for land use that know no network of images: a small MLP, or a linear model, that gives
each patch a class by its simple statistics. A fusion that is no better reads nothing more."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets import TileDataset
from datasets.labelled import LabelledTiles
from datasets.targets import UNKNOWN
from evaluation.calibration import BINS
from evaluation.patch_statistics import (
    LEAST_KNOWN,
    SIDE,
    colour_statistics,
    object_statistics,
    patch_classes,
    patch_counts,
    stacked,
)
from evaluation.tallies import Tallies, places
from utils.errors import TileError

KINDS = ("image", "osm")
HIDDEN, DROPS = 128, (0.2, 0.3)  # of the MLP: width, and what is dropped before each layer
RATE, DECAY = 1e-3, 0.05         # of AdamW
BATCH, STEPS, MOST_EPOCHS = 1024, 2000, 240
JUDGED = 12                      # times that val is asked which step was best
_AT_ONCE = 64                    # tiles


class PatchModel(NamedTuple):
    """A model of a tile's patches, and the tiles that it was measured on."""

    tallies: Tallies
    figures: dict[str, float]
    val: dict[str, float]
    step: int                    # that val chose
    confusion: Tensor            # [C, C] pixels, rows the truth


def fit_patches(train: LabelledTiles, val: LabelledTiles, reported: LabelledTiles,
                classes: Sequence[str], kinds: Sequence[str], hidden: bool,
                seed: int) -> PatchModel:
    """Train a model of patches; val chooses the step, by mIoU.

    Args:
        kinds: of the statistics, some of KINDS.
        hidden: the MLP; False: a linear model.

    Raises:
        TileError: no patch of the training tiles has a class, or no pixel of the val tiles.
    """
    torch.manual_seed(seed)
    statistics = tile_statistics(train.dataset)
    # statistics [tiles, L, F] of a list, and its pixels of each class [tiles, L, C]
    lists = {part: (torch.cat([statistics[kind][tiles.indices] for kind in kinds], 2),
                    torch.stack([patch_counts(tiles.target_of(index), len(classes))
                                 for index in range(len(tiles))]))
             for part, tiles in (("train", train), ("val", val), ("test", reported))}
    rows, known = lists["train"][0].flatten(0, 1), patch_classes(lists["train"][1]).flatten()
    rows, known = rows[known != UNKNOWN].float(), known[known != UNKNOWN]
    for part, labelled in (("training", len(rows)), ("val", lists["val"][1].sum())):
        if not labelled:
            raise TileError(f"{train.root}: no patch of the {part} tiles has a class on "
                            f"{LEAST_KNOWN:.0%} of its pixels, expected some to learn from and to "
                            "choose by; give lists with more labelled tiles")
    model = _model(rows, len(classes), hidden)

    step, of_val = _train(model, rows, known, lambda: figures_of(
        _measured(model, val, *lists["val"], classes)[0]))
    tallies, confusion = _measured(model, reported, *lists["test"], classes)
    return PatchModel(tallies, figures_of(tallies), of_val, step, confusion)


def tile_statistics(dataset: TileDataset) -> dict[str, Tensor]:
    """Return kind -> [tiles, L, F], half precision, of all tiles; a process computes them once."""
    return _statistics(dataset.root.resolve(), dataset.image_size)


@lru_cache(maxsize=1)
def _statistics(root: Path, image_size: int) -> dict[str, Tensor]:
    dataset = TileDataset(root, image_size=image_size)
    side = image_size // SIDE
    tags = max(map(len, dataset.label_names.values()), default=1)
    return {"image": stacked(colour_statistics(dataset.read(index)[0])
                             for index in range(len(dataset))),
            "osm": stacked(object_statistics(dataset.graph(index), tags, side, side)
                           for index in range(len(dataset)))}


class _Standardised(nn.Module):
    """Subtracts the mean of the training rows, and divides by their deviation."""

    def __init__(self, rows: Tensor):
        super().__init__()
        self.mean, self.spread = rows.mean(0), rows.std(0, correction=0) + 1e-3

    def forward(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.spread


def _model(rows: Tensor, classes: int, hidden: bool) -> nn.Module:
    width = rows.shape[1]
    if not hidden:
        return nn.Sequential(_Standardised(rows), nn.Linear(width, classes))
    return nn.Sequential(_Standardised(rows), nn.Dropout(DROPS[0]), nn.Linear(width, HIDDEN),
                         nn.GELU(), nn.Dropout(DROPS[1]), nn.Linear(HIDDEN, classes))


def _train(model: nn.Module, rows: Tensor, known: Tensor,
           judge: Callable[[], dict[str, float]]) -> tuple[int, dict[str, float]]:
    """Train by cross-entropy; leave the weights of the best step, and return it with its figures
    on val."""
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    steps = min(STEPS, MOST_EPOCHS * math.ceil(len(rows) / BATCH))
    every, best = max(steps // JUDGED, 1), (-1.0, 0, {}, {})
    order, step = iter(()), 0
    while step < steps:
        model.train()
        chosen = next(order, None)
        if chosen is None:
            order = iter(torch.randperm(len(rows)).split(BATCH))
            continue
        loss = F.cross_entropy(model(rows[chosen]), known[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % every == 0 or step == steps:
            figures = judge()
            if figures["miou"] > best[0]:
                weights = {name: value.clone() for name, value in model.state_dict().items()}
                best = figures["miou"], step, figures, weights
    model.load_state_dict(best[3])
    return best[1], best[2]


@torch.no_grad()
def _measured(model: nn.Module, tiles: LabelledTiles, statistics: Tensor, counts: Tensor,
              classes: Sequence[str]) -> tuple[Tallies, Tensor]:
    """Return what tiles add to the figures, and the confusion matrix: each patch's answer holds for
    all of its pixels."""
    model.eval()
    shares = torch.cat([model(some.float()) for some in statistics.split(_AT_ONCE)]).softmax(-1)
    confidence, predicted = shares.max(-1)                                          # [n, L]
    known, right = counts.sum(-1), counts.gather(-1, predicted[..., None])[..., 0]  # [n, L]
    empty = counts.new_zeros(len(counts), len(classes))
    of_class = [empty.scatter_add(1, predicted, right), counts.sum(1),
                empty.scatter_add(1, predicted, known)]
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    bins = counts.new_zeros(len(counts), BINS, dtype=torch.float64)
    of_bin = [bins.scatter_add(1, place, pixels.double())
              for pixels in (known, known * confidence, right)]
    confusion = counts.new_zeros(len(classes), len(classes), dtype=torch.float64).index_add_(
        0, predicted.flatten(), counts.flatten(0, 1).double()).T
    return Tallies(tuple(tiles.names), places(tiles.names, tiles.dataset.names),
                   {"counts": torch.stack(of_class, 1).int().numpy(),
                    "calibration": torch.stack(of_bin, 1).numpy()}, tuple(classes)), confusion


def figures_of(tallies: Tallies) -> dict[str, float]:
    """Return the figures of all tiles together."""
    return {name: float(value) for name, value in
            tallies.figures(tallies.moments.sum(0)).items()}
