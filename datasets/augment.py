"""Augmentation of a tile: draw one set of parameters, apply it to the image and to the OSM graph.

In the order of the release: with p 0.5 a random resized crop (scale 0.67-1, ratio 3/4-4/3,
bicubic), with p 0.5 a colour jitter, with p 0.2 grey, with p 0.5 a horizontal flip.
`augment=aligned` moves the OSM nodes with the image (graph_window.py), `image_only` (the release)
does not. Of tiles with targets, a label moves with both; a total belongs to the whole tile, which
is then not cropped. What is dropped of the objects (dropping.py) is drawn beside it.
"""

import copy
import math
from dataclasses import dataclass, replace

import utils.torchvision_import  # noqa: F401  (first: see there)

# isort: split
import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from datasets.dropping import Dropping
from datasets.graph_cover import cover_of, mirrored
from datasets.graph_window import graph_in_window
from datasets.jitter import adjust_colours
from datasets.labelled import LabelledTiles
from datasets.sampler import keyed_generator
from datasets.stores.tile import CENTROID, CORNERS
from datasets.tiles import TileDataset
from utils.config import choices_of
from utils.errors import ConfigError
from utils.recipes import Recipe

AUGMENTS = choices_of(Recipe, "augment")
LABELLED_AUGMENTS = ("none", "aligned")
CROP_SCALE = (0.67, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
JITTER = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.6, 1.4),
          "hue": (-0.1, 0.1)}


class AugmentedTiles(Dataset):
    """The tiles of a dataset, augmented: `tiles[epoch, index] -> (image, graph)`, as the dataset's
    `read` gives them: images are uint8.

    The parameters depend on (seed, epoch, index) alone, not on the number of workers, their order,
    or where a run was resumed.

    Args:
        dataset: the tiles.
        augment: one of AUGMENTS.
        seed: seed of the run, >= 0.
        dropping: of OSM objects, before the crop.

    Raises:
        ConfigError: `augment` is none of AUGMENTS.
    """

    def __init__(self, dataset: TileDataset, augment: str, seed: int,
                 dropping: Dropping = Dropping()) -> None:  # noqa: B008 - frozen
        if augment not in AUGMENTS:
            raise ConfigError(f"augment={augment}: choose one of {', '.join(AUGMENTS)}")
        self.dataset = dataset
        self.augment = augment
        self.seed = seed
        self.dropping = dropping

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Data]:
        epoch, index = key
        image, graph = self.dataset.read(index)
        graph = self.dropping(graph, self.seed, epoch, index)
        if self.augment != "none":
            drawn = draw(keyed_generator(self.seed, epoch, index), self.dataset.image_size)
            image = apply_to_image(image, drawn)
            if self.augment == "aligned":
                graph = apply_to_graph(graph, drawn)
        return image, graph


class AugmentedLabels(Dataset):
    """Tiles with their targets, augmented: `tiles[epoch, i] -> (image, graph, target)`, as
    `LabelledTiles` gives them.

    The parameters depend on (seed, epoch, tile) alone, whatever the list of tiles.

    Args:
        tiles: those to train on.
        augment: one of LABELLED_AUGMENTS.
        seed: seed of the run, >= 0.
        dropping: of OSM objects.
    """

    def __init__(self, tiles: LabelledTiles, augment: str, seed: int, dropping: Dropping) -> None:
        self.tiles, self.augment, self.seed, self.dropping = tiles, augment, seed, dropping

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Data, Tensor]:
        image, graph, target = self.tiles[key]
        tile = self.seed, key[0], self.tiles.indices[key[1]]
        graph = self.dropping(graph, *tile)
        if self.augment == "none":
            return image, graph, target
        drawn = draw(keyed_generator(*tile), image.shape[-1])
        if not target.ndim:
            drawn = replace(drawn, crop=None)
        return apply_to_image(image, drawn), apply_to_graph(graph, drawn), apply_to_target(
            target, drawn)


@dataclass(frozen=True)
class Drawn:
    """Parameters of one augmentation, drawn once for image and graph.

    Attributes:
        size: side of the tile, in pixels.
        crop: (top, left, height, width) in pixels; None leaves the tile whole.
        jitter: (name, strength) of colour adjustments, in the order of application; empty for
            none.
        grey: drop the colours.
        flip: mirror left and right.
    """

    size: int
    crop: tuple[int, int, int, int] | None
    jitter: tuple[tuple[str, float], ...]
    grey: bool
    flip: bool


def draw(generator: Generator, size: int) -> Drawn:
    """Draw an augmentation for a tile of size x size pixels."""
    return Drawn(
        size=size,
        crop=_draw_crop(generator, size) if _chance(generator, 0.5) else None,
        jitter=_draw_jitter(generator) if _chance(generator, 0.5) else (),
        grey=_chance(generator, 0.2),
        flip=_chance(generator, 0.5),
    )


def _draw_crop(generator: Generator, size: int) -> tuple[int, int, int, int]:
    """Draw as torchvision's RandomResizedCrop: ten tries for a window that fits, else the whole
    tile."""
    for _ in range(10):
        area = size * size * _uniform(generator, *CROP_SCALE)
        ratio = math.exp(_uniform(generator, *map(math.log, CROP_RATIO)))
        height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if height <= size and width <= size:
            top, left = _below(generator, size - height + 1), _below(generator, size - width + 1)
            return top, left, height, width
    return 0, 0, size, size


def _draw_jitter(generator: Generator) -> tuple[tuple[str, float], ...]:
    """Draw as torchvision's ColorJitter(0.4, 0.4, 0.4, 0.1): all four, in random order."""
    names = list(JITTER)
    order = torch.randperm(len(names), generator=generator).tolist()
    return tuple((names[i], _uniform(generator, *JITTER[names[i]])) for i in order)


def _uniform(generator: Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand(1, generator=generator, dtype=torch.float64).item()


def _chance(generator: Generator, probability: float) -> bool:
    return _uniform(generator, 0, 1) < probability


def _below(generator: Generator, bound: int) -> int:
    return int(torch.randint(bound, (1,), generator=generator).item())


def apply_to_image(image: Tensor, drawn: Drawn) -> Tensor:
    """Augment an image before normalisation, uint8 [3, size, size] to the same."""
    if drawn.crop:
        image = F.resized_crop(image, *drawn.crop, [drawn.size, drawn.size],
                               InterpolationMode.BICUBIC, antialias=True)
    if drawn.jitter:
        image = adjust_colours(image, drawn.jitter)
    if drawn.grey:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    return F.horizontal_flip(image) if drawn.flip else image


def apply_to_target(target: Tensor, drawn: Drawn) -> Tensor:
    """Return the target of the augmented image: a label [size, size], each pixel that of the
    nearest one in the crop; or a total, a scalar, as it is."""
    if not target.ndim:
        return target
    if drawn.crop:
        top, left, height, width = drawn.crop
        centres = (torch.arange(drawn.size) + 0.5) / drawn.size
        rows, columns = (centres * height).long(), (centres * width).long()
        target = target[top:top + height, left:left + width][rows][:, columns]
    return target.flip(1) if drawn.flip else target


def apply_to_graph(graph: Data, drawn: Drawn) -> Data:
    """Return the graph of the augmented image; the given one is not changed.

    Nodes fully outside the crop are dropped with their edges, the rest renumbered. A graph with
    nodes keeps at least one: the one whose centroid is nearest to the window, pressed flat against
    the window's side.
    """
    if drawn.crop:
        top, left, height, width = drawn.crop
        low = np.array([left, top]) / drawn.size
        graph = graph_in_window(graph, low, low + np.array([width, height]) / drawn.size)
    return _flip(graph) if drawn.flip else graph


def _flip(graph: Data) -> Data:
    """Mirror left and right; list the corners backwards, so that they keep their direction."""
    x = graph.x.clone()
    corners = x[:, CORNERS].reshape(-1, 4, 2).flip(1)  # [n, 4, 2]
    corners[..., 0] = 1 - corners[..., 0]
    x[:, CORNERS] = corners.flatten(1)
    x[:, CENTROID] = torch.stack([1 - x[:, CENTROID][:, 0], x[:, CENTROID][:, 1]], 1)
    flipped = copy.copy(graph)
    flipped.x = x
    if (cover := cover_of(graph)) is not None:
        flipped.update(mirrored(cover).tensors())
    return flipped
