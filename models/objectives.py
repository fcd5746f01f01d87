"""The objectives of pretraining: what a step gives, the targets of either modality and how far an
estimate is from them, and the contrast between objects and the patches under them.

The keys image_target, osm_loss and contrast choose among them (docs/recipes.md).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from models.fusion import NodePadding
from models.linear import Linear
from utils.errors import ModelError

GEOMETRY = 12      # last columns of a node: area, perimeter, four corners, centroid
CONTRAST_WIDTH = 64
TEMPERATURE = 0.1  # of the contrast, as in SimCLR
MOST_OBJECTS = 2048  # in a contrast: 16 MB a matrix of their similarities
_PATCH_EPS = 1e-6  # added to a patch's variance, as in MAE


class RoseOutput(NamedTuple):
    """One step of pretraining.

    Attributes:
        image_loss: mean over the masked patches' values of the error of image_target; scalar.
        osm_loss: mean over the masked nodes of the error of osm_loss; 0, with a graph, if none is
            masked.
        predict_image: returns `image_pred`, whose visible patches are decoded on demand.
        contrast_loss: the weight `contrast` times the loss of `Contrast`; None without one.
    """

    image_loss: Tensor
    osm_loss: Tensor
    osm_pred: Tensor    # [masked nodes, F] features of the masked nodes in ascending order
    image_mask: Tensor  # [B, L] bool, True = masked
    node_mask: Tensor   # [N] bool, True = masked
    predict_image: Callable[[], Tensor]
    contrast_loss: Tensor | None = None

    @property
    def image_pred(self) -> Tensor:
        """[B, L, p * p * 3] pixels: row, column, channel last; with image_target=patch_norm
        normalised (`patch_pixels` inverts it), with latent tokens [B, L, D]. It is in a graph with
        gradients on."""
        return self.predict_image()

    def cpu(self) -> "RoseOutput":
        """Return it on the CPU, with every patch decoded."""
        image = self.image_pred.cpu()
        tensors = {name: value.cpu() for name, value in self._asdict().items()
                   if isinstance(value, Tensor)}
        return self._replace(**tensors, predict_image=lambda: image)

    @property
    def losses(self) -> tuple[Tensor, ...]:
        """Image, OSM and, if there is one, contrast loss."""
        contrast = () if self.contrast_loss is None else (self.contrast_loss,)
        return self.image_loss, self.osm_loss, *contrast

    @property
    def loss(self) -> Tensor:
        """The sum of the losses, which is minimised."""
        return sum(self.losses)


def squared_error(estimate: Tensor, target: Tensor) -> Tensor:
    """Return it in float32 at least, whatever the autocast."""
    return (_precise(estimate) - target).square()


def patch_norm(pixels: Tensor) -> Tensor:
    """Return pixels [..., p * p * 3] with mean 0 and variance 1 in each patch (He et al., CVPR
    2022, norm_pix_loss)."""
    mean, std = _statistics(pixels)
    return (pixels - mean) / std


def patch_pixels(estimate: Tensor, pixels: Tensor) -> Tensor:
    """Return the pixels that `patch_norm` makes into `estimate`, both [..., p * p * 3], by the mean
    and deviation of each patch of the true `pixels`: the network does not estimate them."""
    mean, std = _statistics(pixels)
    return estimate * std + mean


def _statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation [..., 1] of each patch [..., p * p * 3]."""
    return pixels.mean(-1, keepdim=True), (pixels.var(-1, keepdim=True) + _PATCH_EPS).sqrt()


def latent_target(tokens: Tensor) -> Tensor:
    """Return tokens [..., D] of mean 0 and variance 1 each, without a gradient (I-JEPA, Assran et
    al., CVPR 2023; data2vec, Baevski et al., ICML 2022)."""
    tokens = _precise(tokens.detach())
    return F.layer_norm(tokens, tokens.shape[-1:])


def check_latent(latent: Tensor | None, image_target: str, shape: tuple[int, int, int]) -> None:
    """Raise ModelError for targets that a network does not learn, or not of the `shape` B, L, D of
    its tokens."""
    if latent is not None and image_target != "latent":
        raise ModelError(f"latent: image_target={image_target} learns no tokens; leave latent out, "
                         "or build the network with image_target=latent")
    if latent is not None and latent.shape != shape:
        raise ModelError(f"latent: shape {list(latent.shape)}; expected {list(shape)}, a token of "
                         "each patch")


def grouped_error(estimate: Tensor, target: Tensor) -> Tensor:
    """Return [M], the error of nodes [M, F] by groups of columns with equal weights: 1 - cosine of
    the text vectors, plus the mean absolute error of the geometry.

    A tag without text has a vector of zeros and no direction: its text counts 0.
    """
    estimate = _precise(estimate)
    text, true_text = estimate[:, :-GEOMETRY], target[:, :-GEOMETRY]
    turned = 1 - F.cosine_similarity(text, true_text, dim=1)
    turned = turned.where(true_text.any(1), 0)
    return turned + (estimate[:, -GEOMETRY:] - target[:, -GEOMETRY:]).abs().mean(1)


def _precise(values: Tensor) -> Tensor:
    """Return them in float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


# image_target -> error [..., values] of an estimate, given the true pixels or the latent targets
IMAGE_ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pixels": squared_error,
    "patch_norm": lambda estimate, pixels: squared_error(estimate, patch_norm(pixels)),
    "latent": lambda estimate, tokens: F.smooth_l1_loss(_precise(estimate), tokens,
                                                        reduction="none"),
}
# osm_loss -> error [M, ...] of estimated nodes, whose mean is the loss
OSM_ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "features": squared_error, "groups": grouped_error}
# the same in words
IMAGE_ERROR_NAMES = {"pixels": "mean squared error",
                     "patch_norm": "squared error of normalised patches",
                     "latent": "smooth L1 of normalised tokens"}
OSM_ERROR_NAMES = {"features": "mean squared error",
                   "groups": "1 - cos of text + L1 of geometry"}


class Contrast(nn.Module):
    """InfoNCE between each OSM object and the patches under it (van den Oord et al., 2018),
    symmetric as in CLIP (Radford et al., ICML 2021).

    Object n has the embedding a_n and the mean p_n of the tokens of its patches, weighted by the
    share that it covers of each, both by a Linear layer and of length 1:

        loss = mean_n -(log softmax_m(a_n . p_m / 0.1)[n] + log softmax_m(a_m . p_n / 0.1)[n]) / 2

    Negatives m are the batch's objects of another kind: a house is no negative of a house. Objects
    are of one kind if they have the same text or, in one city, the same label code: each city
    numbers its own tags. An object that covers nothing takes no part. In a batch of very many
    objects, every k-th takes part.

    Args:
        weight: factor of the loss.
        width: of an image token.
        node_width: of an object's embedding.
    """

    def __init__(self, weight: float, width: int, node_width: int):
        super().__init__()
        self.weight = weight
        self.node_proj = Linear(node_width, CONTRAST_WIDTH)
        self.token_proj = Linear(width, CONTRAST_WIDTH)

    def forward(self, nodes: Tensor, tokens: Tensor, graphs: Batch, shares: Tensor) -> Tensor:
        """Return weight * loss, a scalar in float32 at least; 0, with a graph, without objects.

        Args:
            nodes: [N, node_width] embeddings of the objects, none masked.
            tokens: [B, L, width] of all patches.
            graphs: x [N, F + 1], the label code last.
            shares: [N, L] share of each patch that an object covers.
        """
        with torch.autocast(nodes.device.type, enabled=False):
            taking = shares.any(1).nonzero()[:, 0]
            taking = taking[:: -(-len(taking) // MOST_OBJECTS) or 1]                          # [n]
            pad = NodePadding(graphs.batch[taking], len(tokens))
            # of length 1, the sum over patches is their mean
            tokens = self.token_proj(_precise(tokens))                                 # [B, L, 64]
            under = pad.back(pad(shares[taking].to(tokens.dtype)) @ tokens)               # [n, 64]
            anchors = F.normalize(self.node_proj(_precise(nodes[taking])), dim=1)
            scores = anchors @ F.normalize(under, dim=1).T / TEMPERATURE                   # [n, n]
            own = scores.diagonal()
            same = _same_kind(graphs.x[taking], _city(graphs)[graphs.batch[taking]])
            scores = scores.masked_fill(same.fill_diagonal_(False), -torch.inf)
            loss = (scores.logsumexp(0) + scores.logsumexp(1)) / 2 - own
            return self.weight * loss.sum() / max(len(taking), 1)


def _city(graphs: Batch) -> Tensor:
    """Return a number for each graph's city [B], by their names CITY_COLUMN_ROW; graphs without
    such a name count as one city."""
    names = graphs.get("name") or [""] * graphs.num_graphs
    number: dict[str, int] = {}
    return torch.tensor([number.setdefault("".join(name.rsplit("_", 2)[:-2]), len(number))
                         for name in names], device=graphs.x.device)


def _same_kind(x: Tensor, city: Tensor) -> Tensor:
    """Return [n, n] bool, whether two nodes [n, F + 1] have the same label code in the same city
    [n], or the same text."""
    code, text = x[:, -1], x[:, : -GEOMETRY - 1]
    # equal vectors have equal sums with fixed factors, and others practically never
    factors = torch.arange(1, text.shape[1] + 1, device=x.device).sin()
    mark = (text * factors).sum(1)
    same_code = (code[:, None] == code) & (city[:, None] == city)
    return same_code | ((mark[:, None] == mark) & text.any(1))
