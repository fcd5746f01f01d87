"""Fixed sine-cosine position codes of image patches and OSM nodes, on the data's device."""

from functools import lru_cache

import torch
from torch import Tensor

from utils.errors import ModelError


def position_code(width: int, u: Tensor, v: Tensor) -> Tensor:
    """Return P(width, u, v), [..., width] float32: half the width codes column u, half row v (Rose
    section 3.2; MAE's table, continuous).

    The 1-D code of width m is [sin(s * omega_k)..., cos(s * omega_k)...], omega_k = 10000 ** (-k /
    (m / 2)), k = 0 .. m / 2 - 1.

    Args:
        width: a multiple of 4, else ModelError.
        u, v: [...] column and row in patch units (0 is the first patch's own position).
    """
    if width % 4:
        raise ModelError(f"width={width}: a position code needs a width divisible by 4 (sine and "
                         "cosine of two axes)")
    return torch.cat([_code_1d(width // 2, u), _code_1d(width // 2, v)], dim=-1)


def _code_1d(width: int, position: Tensor) -> Tensor:
    k = torch.arange(width // 2, device=position.device, dtype=torch.float64)
    omega = (10000.0 ** (-k / (width / 2))).to(torch.float32)  # [width / 2]
    angle = position.to(torch.float32)[..., None] * omega      # [..., width / 2]
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


@torch.inference_mode(False)  # a table made during inference must still serve training
@lru_cache(maxsize=32)
def token_code(width: int, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Return the codes of the CLS token (zeros) and of every patch in row-major order: patch (row
    r, column c) of the `grid` (rows, columns) has u = c, v = r.

    They are [1 + rows * columns, width] float32, computed once per grid and device: do not write
    to them.
    """
    v, u = torch.meshgrid(*(torch.arange(count, device=device) for count in grid), indexing="ij")
    patches = position_code(width, u.reshape(-1), v.reshape(-1))  # [L, width]
    return torch.cat([patches.new_zeros(1, width), patches])


def node_code(width: int, centroids: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return [N, width] float32 codes of nodes on the patch grid: u = columns * x, v = rows * y.

    `centroids` [N, 2] are x, y in tile units (0 to 1, x right, y down), `grid` is (rows, columns).
    """
    rows, cols = grid
    return position_code(width, centroids[:, 0] * cols, centroids[:, 1] * rows)
