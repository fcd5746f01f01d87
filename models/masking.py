"""Random masks of image patches and OSM nodes, and the tokens that replace masked patches."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from utils.errors import ModelError


def draw_image_mask(batch_size: int, patches: int, ratio: float, device: torch.device) -> Tensor:
    """Return `image_mask_of` noise from the device's own generator: [B, L] bool, True = masked."""
    return image_mask_of(torch.rand(batch_size, patches, device=device), ratio)


def image_mask_of(noise: Tensor, ratio: float) -> Tensor:
    """Mask a random share of each image's patches, the same number in each (Rose section 3.3).

    Args:
        noise: [B, L] uniform; a row's mask depends on that row alone.
        ratio: share to mask, in (0, 1).

    Returns:
        [B, L] bool, True = masked; int(L * (1 - ratio)) stay visible, at least 1 and at most L - 1.
    """
    order = noise.argsort(dim=1, stable=True)  # itself a random permutation
    return order >= visible_count(noise.shape[1], ratio)


def visible_count(patches: int, ratio: float) -> int:
    """Return the number of patches that stay visible when `ratio` of them is masked."""
    return min(max(int(patches * (1 - ratio)), 1), patches - 1)


def draw_node_mask(batch: Tensor, num_graphs: int, ratio: float, scope: str) -> Tensor:
    """Return `node_mask_of` noise from the device's own generator: [N] bool, True = masked."""
    return node_mask_of(torch.rand(len(batch), device=batch.device, dtype=torch.float64), batch,
                        num_graphs, ratio, scope)


def node_mask_of(noise: Tensor, batch: Tensor, num_graphs: int, ratio: float,
                 scope: str) -> Tensor:
    """Mask a random share of the OSM nodes, those with the least noise, and at least one, if any.

    Args:
        noise: [N] uniform.
        batch: [N] tile of each node, ascending.
        num_graphs: tiles in the batch, those without a node included.
        ratio: share to mask, in (0, 1).
        scope: "tile" masks the share in each tile, by its own noise alone; "batch" (release)
            masks it in the whole batch, so that a tile's mask depends on the other tiles.

    Returns:
        [N] bool, True = masked.
    """
    if scope == "batch":
        batch, num_graphs = torch.zeros_like(batch), 1
    counts = torch.bincount(batch, minlength=num_graphs)                          # [B]
    share = (counts.double() * ratio).long().clamp(min=1)                         # [B]
    order = noise.argsort(stable=True)
    order = order[batch[order].argsort(stable=True)]                       # by tile, then by noise
    rank = torch.arange(len(batch), device=batch.device) - (counts.cumsum(0) - counts)[batch]
    mask = torch.empty_like(batch, dtype=torch.bool)
    mask[order] = rank < share[batch]  # `order` keeps tiles together, so batch[order] == batch
    return mask


def check_image_mask(mask: Tensor, batch_size: int, patches: int) -> int:
    """Return the number of visible patches per image of a mask that a caller chose.

    Raise ModelError for another shape or type, or rows with unequal, all or no patches masked.
    """
    if mask.dtype != torch.bool or mask.shape != (batch_size, patches):
        raise ModelError(f"image_mask: {mask.dtype} of shape {list(mask.shape)}; expected bool of "
                         f"shape {[batch_size, patches]}")
    visible = (~mask).sum(1)
    fewest, most = int(visible.min()), int(visible.max())
    if fewest != most:
        raise ModelError(f"image_mask: rows leave {fewest} to {most} patches visible; every row "
                         "must mask equally many")
    if not 0 < fewest < patches:
        raise ModelError(f"image_mask: {fewest} of {patches} patches visible; at least one "
                         "visible and one masked patch are needed")
    return fewest


def split_mask(mask: Tensor, visible: int) -> tuple[Tensor, Tensor]:
    """Return positions, ascending, of visible [B, V] and masked [B, L - V] of `mask` [B, L]."""
    order = mask.byte().argsort(dim=1, stable=True)
    return order[:, :visible], order[:, visible:]


def take_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Return [B, V, D], rows `index` [B, V] of `tokens` [B, L, D], whose gradient sums by rows."""
    count, length = tokens.shape[:2]
    rows = index + torch.arange(0, count * length, length, device=index.device)[:, None]
    return tokens.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, index.shape)


@dataclass(frozen=True)
class MaskFill:
    """Puts visible tokens back at their positions, and one mask token everywhere else.

    A per-token linear map commutes with the filling, so it is applied to the visible tokens and
    once to the mask token, not to its many copies: with three quarters of an image masked that is
    a quarter of the work, and exact.
    """

    mask_token: Tensor  # [1, 1, D]
    position: Tensor    # [B, V], of each visible token
    length: int         # number of positions

    def __call__(self, visible: Tensor,
                 linear: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return [B, length, E], all tokens by `linear` (if any), from visible [B, V, D]."""
        token = self.mask_token
        if linear is not None:
            visible, token = linear(visible), linear(token)
        filled = token.to(visible.dtype).expand(len(visible), self.length, -1)
        index = self.position[..., None].expand(-1, -1, visible.shape[-1])               # [B, V, E]
        return filled.scatter(1, index, visible)
