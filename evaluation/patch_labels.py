"""The classes of a tile's patches, of the labels of its pixels."""

import torch
from torch import Tensor

from datasets.targets import UNKNOWN

LEAST_KNOWN = 0.25   # share of a patch's pixels with a class, for the patch to have one


def patch_counts(target: Tensor, classes: int, patch: int) -> Tensor:
    """Return float32 [L, classes], the pixels of each class in each patch of `patch` x `patch`
    pixels, of labels [H, W]."""
    patches = target.unfold(0, patch, patch).unfold(1, patch, patch).flatten(2).flatten(0, 1)
    return torch.stack([(patches == number).sum(1) for number in range(classes)], 1).float()


def patch_classes(counts: Tensor, patch: int) -> Tensor:
    """Return the commonest class of each patch, int64 [...], of counts [..., classes]; UNKNOWN
    where less than LEAST_KNOWN of its pixels have one."""
    known = counts.sum(-1) >= LEAST_KNOWN * patch**2
    return counts.argmax(-1).where(known, UNKNOWN)
