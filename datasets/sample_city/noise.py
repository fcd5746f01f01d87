"""Smooth random fields on global pixel coordinates: the same pixel has the same value whichever
block asks for it."""

from __future__ import annotations

import numpy as np


def hashed(rows: np.ndarray, cols: np.ndarray, seed: int) -> np.ndarray:
    """Uniform float32 values in [-1, 1) for integer grid points, [rows, cols]."""
    r = rows.astype(np.int64).astype(np.uint32)[:, None] * np.uint32(0x9E3779B1)
    c = cols.astype(np.int64).astype(np.uint32)[None] * np.uint32(0x85EBCA77)
    h = (r ^ c) + np.uint32((seed * 0xC2B2AE3D + 0x27D4EB2F) & 0xFFFFFFFF)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(15)
    return h.astype(np.float32) * np.float32(2.0**-31) - np.float32(1)


def spline(start: int, count: int,
           period: float) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Cubic B-spline between lattice points for `count` pixels from `start`: lattice indices,
    first of four taps, weight of each tap."""
    position = (np.arange(start, start + count) + 0.5) / period
    base = np.floor(position).astype(int)
    t = (position - base).astype(np.float32)
    weights = [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6,
               (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]
    return np.arange(base[0] - 1, base[-1] + 3), base - base[0], weights


def stretch(lattice: np.ndarray, first: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Interpolate the rows of a lattice: [lattice, n] to [pixels, n]. Plain sums, so the bits do
    not depend on a BLAS."""
    return sum(w[:, None] * lattice[first + k] for k, w in enumerate(weights))


def smooth_noise(row: int, col: int, shape: tuple[int, int], period: float,
                 seed: int) -> np.ndarray:
    """Noise of about unit standard deviation that varies over `period` pixels, float32 of `shape`,
    without seams between windows."""
    rows, first_row, down = spline(row, shape[0], period)
    cols, first_col, across = spline(col, shape[1], period)
    tall = stretch(hashed(rows, cols, seed) * np.float32(3.6), first_row, down)  # [h, lattice]
    wide = stretch(np.ascontiguousarray(tall.T), first_col, across)              # [w, h]
    return np.ascontiguousarray(wide.T)                                          # [h, w]


def white_noise(row: int, col: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Independent values in [-1, 1) for each pixel, float32 of `shape`."""
    return hashed(np.arange(row, row + shape[0]), np.arange(col, col + shape[1]), seed)
