"""Nearest neighbours among the training tiles: a probe of a frozen network that trains nothing.

A decoder looks up the `k` features of training tiles that are nearest by cosine: of patches for a
segmentation, whose classes vote, and of tiles for a total, whose mean is the estimate.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datasets.labelled import LabelledTiles
from datasets.targets import UNKNOWN
from evaluation.probe_features import FrozenFeatures
from models import registry
from models.downstream import Downstream, Regressor, Segmenter
from models.heads import Head, RegressionHead, SegmentationHead
from models.rose import Rose
from utils.errors import TileError

TEMPERATURE = 0.07       # of the votes, as in DINO (Caron et al., ICCV 2021)
LEAST_SHARE = 1e-6       # of a class, so that its logarithm is finite
CHUNK = 1 << 24          # numbers held at once, of features and of similarities: 64 MB each


class Neighbours(nn.Module):
    """A decoder that looks features up among those of the training tiles, which stay in their file
    and are read in chunks.

    `remember` the training tiles before the first call. `k` is the number of neighbours.
    """

    what: str  # what a feature is of, for a message

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    @abstractmethod
    def targets_of(self, tiles: LabelledTiles) -> tuple[Tensor, Tensor]:
        """Return targets [n, ...] of all features of the tiles, and bool [n]: True where known."""

    @abstractmethod
    def combine(self, similarity: Tensor, targets: Tensor) -> Tensor:
        """Return the answer [Q, ...] of neighbours' cosines [Q, k] and targets [Q, k, ...]."""

    def remember(self, tiles: LabelledTiles, device: torch.device,
                 compute: Callable[[], FrozenFeatures]) -> None:
        """Take the training tiles' targets, and the features [n, D] or [n, L, D] that `compute`
        returns. Raise TileError if fewer than `k` have a target."""
        targets, known = self.targets_of(tiles)
        if (count := int(known.sum())) < self.k:
            raise TileError(f"{tiles.root}: {count} {self.what} have a target, "
                            f"expected knn_k={self.k} or more; pass a smaller knn_k=, or "
                            "a longer list as train_file=")
        self._targets, self._known = targets.to(device), known.to(device)
        features = compute().values
        self._features = features.reshape(-1, features.shape[-1])                   # [n or n L, D]

    def forward(self, features: Tensor) -> Tensor:
        """[..., D] -> [..., targets' shape]; in float32 whatever the autocast."""
        with torch.autocast(features.device.type, enabled=False):
            similarity, rows = self._nearest(features.float().flatten(0, -2))
            return self.combine(similarity, self._targets[rows]).unflatten(0, features.shape[:-1])

    def _nearest(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines [Q, k] and rows [Q, k] of the nearest known features of queries [Q, D]."""
        queries = F.normalize(queries, dim=-1)
        similarity = queries.new_full((len(queries), self.k), -torch.inf)
        rows = torch.zeros_like(similarity, dtype=torch.long)
        for first, features in self._chunks(len(queries), queries.device):
            cosines = queries @ F.normalize(features, dim=-1).T                     # [Q, n] chunk's
            cosines.masked_fill_(~self._known[first:first + len(features)], -torch.inf)
            best, where = cosines.topk(min(self.k, len(features)))
            similarity, kept = torch.cat([similarity, best], 1).topk(self.k)
            rows = torch.cat([rows, where + first], 1).gather(1, kept)
        return similarity, rows

    def _chunks(self, queries: int, device: torch.device) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row of each chunk of the features, and the chunk [n, D]."""
        step = max(CHUNK // max(queries, self._features.shape[1]), 1)
        for first in range(0, len(self._features), step):
            chunk = np.array(self._features[first:first + step])
            yield first, torch.from_numpy(chunk).to(device)


class PatchVote(Neighbours):
    """Tokens [B, L, D] -> the classes' shares [B, L, classes] by the vote of the nearest patches.

    A neighbour votes with exp(cosine / 0.07) for the classes of its known pixels, by their shares;
    patches without a known pixel have no vote.
    """

    what = "patches of the training tiles"

    def __init__(self, k: int, classes: int, side: int):
        super().__init__(k)
        self.classes, self.side = classes, side  # of a patch, in pixels

    def targets_of(self, tiles: LabelledTiles) -> tuple[Tensor, Tensor]:
        shares = torch.cat([class_shares(label, self.side, self.classes)
                            for label in map(tiles.target_of, range(len(tiles)))])
        return shares.nan_to_num(), ~shares.isnan().any(1)

    def combine(self, similarity: Tensor, targets: Tensor) -> Tensor:
        weights = (similarity / TEMPERATURE).softmax(1)                                     # [Q, k]
        return (weights[..., None] * targets).sum(1)


class TileMean(Neighbours):
    """Vectors [B, D] -> the mean total of the nearest tiles [B, 1], in units of training."""

    what = "training tiles"

    def __init__(self, k: int, head: RegressionHead):
        super().__init__(k)
        self.scale = head.scale

    def targets_of(self, tiles: LabelledTiles) -> tuple[Tensor, Tensor]:
        totals = tiles.totals()[:, None]                                                    # [n, 1]
        return totals, torch.ones(len(totals), dtype=torch.bool)

    def combine(self, similarity: Tensor, targets: Tensor) -> Tensor:
        return self.scale.scale(targets.mean(1)).float()


class NearestSegmenter(Segmenter):
    """A segmenter whose decoder is a vote: its logits are the logarithms of the shares."""

    def decode(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Return [B, classes, H, W], whose softmax are the votes, interpolated to pixels."""
        return super().decode(features, size).clamp(min=LEAST_SHARE).log()


def nearest_model(rose: Rose, head: Head, k: int) -> Downstream:
    """Return a frozen model that answers by the `k` nearest, once its decoder remembers some."""
    representation = registry.load(registry.MODALITIES[head.modality].home)
    if isinstance(head, SegmentationHead):
        return NearestSegmenter(rose, head.modality, representation,
                                PatchVote(k, len(head.classes),
                                          rose.image_encoder.patch)).freeze()
    return Regressor(rose, head.modality, representation, TileMean(k, head)).freeze()


def class_shares(label: Tensor, side: int, classes: int) -> Tensor:
    """Return [L, classes], the shares of the classes among each patch's known pixels, or nan.

    `label` [H, W] has classes or UNKNOWN; the patches have `side` pixels a side, row by row.
    """
    rows, columns = label.shape[0] // side, label.shape[1] // side
    patch = torch.arange(rows * columns).view(rows, columns)
    patch = patch.repeat_interleave(side, 0).repeat_interleave(side, 1)                     # [H, W]
    label = label[:rows * side, :columns * side]
    known = label != UNKNOWN
    counts = torch.bincount(patch[known] * classes + label[known],
                            minlength=rows * columns * classes)
    counts = counts.view(-1, classes).float()                                         # [L, classes]
    return counts / counts.sum(1, keepdim=True)
