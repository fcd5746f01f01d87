"""Models of a patch's simple statistics: how they learn, for a network that one stands beside, and
as baselines for land use that know no network of images."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from datasets.labelled import LabelledTiles, collate_labelled
from datasets.targets import UNKNOWN
from evaluation.calibration import BINS
from evaluation.osm_statistics import channels_of
from evaluation.patch_labels import LEAST_KNOWN, patch_classes, patch_counts
from evaluation.tallies import Tallies, places
from models.patch_mlp import HIDDEN, PatchMlp
from utils.errors import TileError
from utils.progress import passing_bar

KINDS = ("image", "osm")
SIDE = 16                        # pixels of a baseline's patch
RATE, DECAY = 1e-3, 0.05         # of AdamW
BATCH, STEPS, MOST_EPOCHS = 1024, 2000, 240
JUDGED = 12                      # times that val is asked which step was best
MOST_TILES = 2000                # of a list that a model learns from, or is judged by
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
    """Train a model of patches, and measure it.

    Args:
        kinds: of the statistics, some of KINDS.
        hidden: the MLP; False: a linear model.

    Raises:
        TileError: as of `train_patches`.
    """
    model = PatchMlp(channels_of(train) if "osm" in kinds else (), len(classes), SIDE,
                     "image" in kinds, HIDDEN if hidden else 0)
    model.know_tags(train.dataset.tags)
    step, of_val = train_patches(model, train, val, classes, seed)
    tallies, confusion = _measured(model, reported, *_patches(model, reported), classes)
    return PatchModel(tallies, tallies.overall, of_val, step, confusion)


def train_patches(model: PatchMlp, train: LabelledTiles, val: LabelledTiles,
                  classes: Sequence[str], seed: int, without_osm: float = 0.0,
                  weights: Tensor | None = None) -> tuple[int, dict[str, float]]:
    """Train a model of patches by cross-entropy of each one's commonest class; val chooses the
    step, by mIoU. Return the step, and the figures on val. Of longer lists, MOST_TILES are read.

    Args:
        seed: of its first weights, and of all that is drawn.
        without_osm: share of the patches that lose all objects while training.
        weights: of classes in the loss, [C]; None: all count alike.

    Raises:
        TileError: no patch of the training tiles has a class, or no pixel of the val tiles.
    """
    train, val = _some_of(train), _some_of(val)
    (rows, counts), judged = _patches(model, train), _patches(model, val)
    known = patch_classes(counts, model.patch)
    rows, known = rows[known != UNKNOWN], known[known != UNKNOWN]
    for part, labelled in (("training", len(rows)), ("val", judged[1].sum())):
        if not labelled:
            raise TileError(f"{train.root}: no patch of the {part} tiles has a class on "
                            f"{LEAST_KNOWN:.0%} of its pixels, expected some to learn from and to "
                            "choose by; give lists with more labelled tiles")
    torch.manual_seed(seed)
    model.start(rows.float())
    return _train(model, rows, known, without_osm, weights,
                  lambda: _measured(model, val, *judged, classes)[0].overall)


def _some_of(tiles: LabelledTiles) -> LabelledTiles:
    """Return the tiles, or MOST_TILES of them at even distances."""
    if len(tiles) <= MOST_TILES:
        return tiles
    indices = [tiles.indices[number * len(tiles) // MOST_TILES] for number in range(MOST_TILES)]
    return LabelledTiles(tiles.dataset, indices, tiles.target, tiles.classes, tiles.degradation)


def _patches(model: PatchMlp, tiles: LabelledTiles) -> tuple[Tensor, Tensor]:
    """Return the statistics [n, L, F] of the tiles' patches, in half precision, which holds shares
    well enough, and their pixels of each class [n, L, C]."""
    rows, counts = [], []
    starts = range(0, len(tiles), _AT_ONCE)
    for start in passing_bar(starts, "statistics of patches"):
        some = range(start, min(start + _AT_ONCE, len(tiles)))
        images, graphs, targets = collate_labelled([tiles[index] for index in some])
        rows.append(model.statistics(images, graphs).half())
        counts += [patch_counts(target, tiles.classes, model.patch) for target in targets]
    return torch.cat(rows), torch.stack(counts)


def _train(model: PatchMlp, rows: Tensor, known: Tensor, without_osm: float,
           weights: Tensor | None,
           judge: Callable[[], dict[str, float]]) -> tuple[int, dict[str, float]]:
    """Train by cross-entropy; leave the weights of the best step, and return it with its figures
    on val."""
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)
    steps = min(STEPS, MOST_EPOCHS * math.ceil(len(rows) / BATCH))
    every, best = max(steps // JUDGED, 1), (-1.0, 0, {}, {})
    order = iter(())
    for step in passing_bar(range(1, steps + 1), "MLP of patches", "step"):
        if (chosen := next(order, None)) is None:
            order = iter(torch.randperm(len(rows)).split(BATCH))
            chosen = next(order)
        some = rows[chosen].float()
        if without_osm:
            some[torch.rand(len(some)) < without_osm, model.objects] = 0
        model.train()
        loss = F.cross_entropy(model.scores(some), known[chosen], weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            figures = judge()
            if figures["miou"] > best[0]:
                state = {name: value.clone() for name, value in model.state_dict().items()}
                best = figures["miou"], step, figures, state
    model.load_state_dict(best[3])
    model.requires_grad_(False)
    return best[1], best[2]


@torch.no_grad()
def _measured(model: PatchMlp, tiles: LabelledTiles, statistics: Tensor, counts: Tensor,
              classes: Sequence[str]) -> tuple[Tallies, Tensor]:
    """Return what tiles add to the figures, and the confusion matrix: each patch's answer holds for
    all of its pixels."""
    model.eval()
    shares = torch.cat([model.scores(some) for some in statistics.split(_AT_ONCE)]).softmax(-1)
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
