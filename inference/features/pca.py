"""Principal components of more vectors than memory holds: exact moments in one pass, projections
and their percentiles in another."""

from typing import NamedTuple

import numpy as np

BINS, REACH = 20_000, 20.0  # of the histogram; REACH standard deviations to either side
LOW, HIGH = 2, 98           # percentiles that become 0 and 1


class Moments:
    """Count, mean and scatter matrix of vectors that come in blocks, in float64 (Chan, Golub and
    LeVeque 1979)."""

    def __init__(self, width: int):
        self.count = 0                           # of the vectors so far
        self.mean = np.zeros(width)              # [D]
        self.scatter = np.zeros((width, width))  # [D, D], the sum of (x - mean)(x - mean)'

    def add(self, vectors: np.ndarray) -> None:
        """Take in vectors [n, D]."""
        if not len(vectors):
            return
        vectors = vectors.astype(np.float64)
        mean = vectors.mean(0)
        centred, shift, count = vectors - mean, mean - self.mean, self.count + len(vectors)
        between = np.outer(shift, shift) * (self.count * len(vectors) / count)
        self.scatter += centred.T @ centred + between
        self.mean += shift * (len(vectors) / count)
        self.count = count


class Components(NamedTuple):
    """The directions in which vectors vary most; signs do not depend on the machine."""

    mean: np.ndarray        # [D] of the vectors
    axes: np.ndarray        # [D, k] of unit length, the entry of largest size positive
    deviations: np.ndarray  # [k] standard deviation along each
    explained: np.ndarray   # [k] share of the whole variance

    @classmethod
    def of(cls, moments: Moments, count: int = 3) -> "Components":
        """Return the first `count` components, largest variance first."""
        values, vectors = np.linalg.eigh(moments.scatter)
        values, axes = values[::-1].clip(min=0), vectors[:, ::-1][:, :count]
        largest = axes[np.abs(axes).argmax(0), np.arange(count)]
        return cls(moments.mean, axes * np.where(largest < 0, -1, 1),
                   np.sqrt(values[:count] / max(moments.count, 1)),
                   values[:count] / max(values.sum(), np.finfo(float).tiny))

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Return float32 coordinates [n, k] of vectors [n, D]."""
        return ((vectors - self.mean) @ self.axes).astype(np.float32)


class Spread:
    """Percentiles of projections that come in blocks, from a histogram: exact to REACH / BINS of
    two standard deviations."""

    def __init__(self, components: Components):
        self.reach = REACH * np.maximum(components.deviations, np.finfo(np.float32).tiny)     # [k]
        self.counts = np.zeros((len(self.reach), BINS), np.int64)

    def add(self, projected: np.ndarray) -> None:
        """Take in projections [n, k]."""
        bins = ((projected / self.reach + 1) / 2 * BINS).clip(0, BINS - 1).astype(np.int64)
        for counts, column in zip(self.counts, bins.T, strict=True):
            counts += np.bincount(column, minlength=BINS)

    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the LOW and HIGH percentiles, [k] each."""
        shares = self.counts.cumsum(1) / np.maximum(self.counts.sum(1, keepdims=True), 1)

        def percentile(percent: float) -> np.ndarray:
            bins = np.array([np.searchsorted(row, percent / 100) for row in shares])
            return ((bins + 0.5) / BINS * 2 - 1) * self.reach
        return percentile(LOW), percentile(HIGH)


def scaled(projected: np.ndarray, limits: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return projections [..., k] with `limits` at 0 and 1, clipped to them; nan stays."""
    low, high = limits
    return ((projected - low) / np.maximum(high - low, np.finfo(np.float32).tiny)).clip(0, 1)
