"""Batches in which the vector of a text does not depend on the texts beside it."""

from collections.abc import Iterator

from torch import Tensor

BATCH, STEP = 16, 8  # texts and token lengths encoded together


def of_one_length(lengths: Tensor, longest: int) -> Iterator[tuple[Tensor, int]]:
    """Yield rows [m], at most BATCH, of texts of about the same number of tokens, and the length
    that all of them are padded to; `lengths` is [n].

    Where every batch of a length is filled up to BATCH rows, all have the same shape, and no
    vector depends on the others in its batch."""
    padded = (lengths / STEP).ceil().long().mul(STEP).clamp(max=longest)
    for length in padded.unique().tolist():
        for rows in (padded == length).nonzero()[:, 0].split(BATCH):
            yield rows, length
