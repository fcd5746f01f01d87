"""An MLP of simple statistics of a patch: its colours, and how much of it objects cover, by tag.

It knows no network of images. Beside one it answers from the same patch in another way, and the
mean of both answers is better than either, as they err differently (Hansen and Salamon, IEEE TPAMI
12, 1990). Alone it is a baseline: a fusion that is no better reads nothing more.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from models.coverage import patch_shares
from models.tag_channels import TagChannels

HIDDEN, DROPS = 128, (0.2, 0.3)  # width, and what is dropped before each layer
AROUND = 5                       # patches along the neighbourhood whose mean is a statistic, too
COLOURS = 24                     # statistics of a patch's colours
_QUANTILES = (0.1, 0.9)
_LEAST_SPREAD = 1e-3             # of a statistic, added to its own


class PatchMlp(TagChannels):
    """Scores of classes for each patch of a tile, by its statistics; `fit_patches` of
    evaluation/patch_models.py trains it.

    Args:
        channels: of `choose_channels`, of the objects that it reads; none: it reads no objects.
        classes: number of classes.
        patch: pixels along a patch.
        colours: whether it reads colours.
        hidden: width of its hidden layer; 0: the model is linear.
    """

    def __init__(self, channels: Sequence[str], classes: int, patch: int, colours: bool = True,
                 hidden: int = HIDDEN):
        super().__init__(channels)
        self.patch, self.colours = patch, colours
        width = COLOURS * colours + 3 * len(self.channels)
        # of the training patches
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))
        self.layers = nn.Linear(width, classes) if not hidden else nn.Sequential(
            nn.Dropout(DROPS[0]), nn.Linear(width, hidden), nn.GELU(),
            nn.Dropout(DROPS[1]), nn.Linear(hidden, classes))

    @property
    def objects(self) -> slice:
        """The columns of the statistics that objects make."""
        return slice(COLOURS * self.colours, None)

    def start(self, rows: Tensor) -> None:
        """Draw the weights anew; statistics are standardised as those of training patches,
        [n, F]."""
        for layer in self.layers.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        self.mean.copy_(rows.mean(0))
        self.spread.copy_(rows.std(0, correction=0) + _LEAST_SPREAD)

    @torch.no_grad()
    def statistics(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return float32 [B, L, F] of uint8 images [B, 3, H, W] and the graphs of their objects.

        Raise ModelError for graphs of a city whose label codes are not known.
        """
        with torch.autocast(images.device.type, enabled=False):
            grid = images.shape[2] // self.patch, images.shape[3] // self.patch
            parts = [colour_statistics(images, self.patch)] if self.colours else []
            if self.channels:
                parts.append(object_statistics(graphs, self.channel_of(graphs),
                                               len(self.channels), grid))
            return torch.cat(parts, 2)

    def scores(self, rows: Tensor) -> Tensor:
        """Return scores [..., classes] of statistics [..., F]."""
        with torch.autocast(rows.device.type, enabled=False):
            return self.layers((rows.float() - self.mean) / self.spread)

    def forward(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return scores [B, classes, rows, columns] of uint8 images [B, 3, H, W] and graphs."""
        rows = images.shape[2] // self.patch
        scores = self.scores(self.statistics(images, graphs))
        return scores.transpose(1, 2).unflatten(2, (rows, -1))


def colour_statistics(images: Tensor, patch: int) -> Tensor:
    """Return float32 [B, L, COLOURS] of images uint8 [B, 3, H, W]: mean, deviation, 10 % and 90 %
    quantile of each channel in a patch, and the means of these over AROUND x AROUND patches."""
    pixels = images.float().div(255).unfold(2, patch, patch).unfold(3, patch, patch)
    pixels = pixels.flatten(4)                                      # [B, 3, rows, columns, pixels]
    ordered = pixels.sort(-1).values
    last = pixels.shape[-1] - 1
    values = torch.cat([pixels.mean(-1), pixels.std(-1),
                        *(ordered[..., round(share * last)] for share in _QUANTILES)], 1)
    return torch.cat([values, _around(values)], 1).flatten(2).transpose(1, 2)


def object_statistics(graphs: Batch, channel: Tensor, channels: int,
                      grid: tuple[int, int]) -> Tensor:
    """Return float32 [B, L, 3 * channels]: the share of a patch that objects of each channel cover,
    by outline where the tile knows it, its mean over AROUND x AROUND patches, and over the tile.

    Args:
        channel: of each object, [N]; -1: it counts nowhere.
        grid: (rows, columns) of patches.
    """
    shares = patch_shares(graphs, grid)                                                     # [N, L]
    known = channel >= 0
    place = (graphs.batch * channels + channel)[known]
    values = shares.new_zeros(graphs.num_graphs * channels, shares.shape[1])
    values = values.index_add_(0, place, shares[known]).clamp_(max=1)
    values = values.view(graphs.num_graphs, channels, *grid)
    of_tile = values.mean((2, 3), keepdim=True).expand_as(values)
    return torch.cat([values, _around(values), of_tile], 1).flatten(2).transpose(1, 2)


def _around(values: Tensor) -> Tensor:
    """Return means of values [B, C, rows, columns] over the patches around each, fewer at the
    edge."""
    return F.avg_pool2d(values, AROUND, 1, AROUND // 2, count_include_pad=False)
