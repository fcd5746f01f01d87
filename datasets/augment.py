"""Augmentation of a tile: draw one set of parameters, apply it to the image and to the OSM graph.

In the order of the release: with p 0.5 a random resized crop (scale 0.67-1, ratio 3/4-4/3,
bicubic), with p 0.5 a colour jitter, with p 0.2 grey, with p 0.5 a horizontal flip.
`augment=aligned` moves the OSM nodes with the image, `image_only` (the release) does not.

How a crop moves a node. A node row holds the object's area, perimeter, centroid and minimum
rotated box, not its outline, so a crop of the outline is estimated from the box. Let R be the part
of the box inside the tile (the object has no other), R' the part of R inside the crop window, and
f the fraction of R's area that R' keeps.

    dropped      R' is empty, or only touches the window's side: the object is surely outside;
                 edges of dropped nodes go with them
    area         f * area / area of the window
    perimeter    perimeter * perimeter of R' after / perimeter of R before, which follows a window
                 that is not square
    corners      the box if it is not cut, else R', stretched with the window; then its
                 minimum-area rotated rectangle
    centroid     centroid of R' + f * (centroid - centroid of R), kept inside R', then stretched
                 with the window

All of this is exact for an object that fills its box. For any other that the crop does not cut,
area and centroid are exact; for those cut, area, perimeter and centroid are estimates that tend to
the exact as the cut shrinks. Relation codes of surviving pairs stay, even if the crop parts the two
objects.
"""

import copy
import math
from dataclasses import dataclass
from typing import get_args, get_type_hints

import utils.torchvision_import  # noqa: F401  (first: see there)

# isort: split
import numpy as np
import torch
from numpy import ndarray
from torch import Generator, Tensor
from torch.utils.data import Dataset
from torch_geometric.data import Data
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from datasets.jitter import adjust_colours
from datasets.sampler import keyed_generator
from datasets.stores.tile import AREA, CENTROID, CORNERS, PERIMETER
from datasets.tiles import TileDataset
from utils.errors import ConfigError
from utils.recipes import Recipe

AUGMENTS = get_args(get_type_hints(Recipe)["augment"])
CROP_SCALE = (0.67, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
JITTER = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.6, 1.4),
          "hue": (-0.1, 0.1)}
TOUCH = 1e-6     # tile units; an object that reaches less far into the window only touches it
NOTHING = 1e-12  # lengths and areas up to this, in tile units, count as zero
# The 8 ways to number a rectangle's corners along its outline: 4 starts in either direction.
CORNER_ORDERS = np.array([[(start + step * k) % 4 for k in range(4)] for step in (1, -1)
                          for start in range(4)])


class AugmentedTiles(Dataset):
    """The tiles of a dataset, augmented: `tiles[epoch, index] -> (image, graph)`, as the dataset's
    `read` gives them: images are uint8.

    The parameters depend on (seed, epoch, index) alone, not on the number of workers, their order,
    or where a run was resumed.

    Args:
        dataset: the tiles.
        augment: one of AUGMENTS.
        seed: seed of the run, >= 0.

    Raises:
        ConfigError: `augment` is none of AUGMENTS.
    """

    def __init__(self, dataset: TileDataset, augment: str, seed: int) -> None:
        if augment not in AUGMENTS:
            raise ConfigError(f"augment={augment}: choose one of {', '.join(AUGMENTS)}")
        self.dataset = dataset
        self.augment = augment
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Data]:
        epoch, index = key
        image, graph = self.dataset.read(index)
        if self.augment != "none":
            drawn = draw(keyed_generator(self.seed, epoch, index), self.dataset.image_size)
            image = apply_to_image(image, drawn)
            if self.augment == "aligned":
                graph = apply_to_graph(graph, drawn)
        return image, graph


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


def apply_to_graph(graph: Data, drawn: Drawn) -> Data:
    """Return the graph of the augmented image; the given one is not changed.

    Nodes fully outside the crop are dropped with their edges, the rest renumbered. A graph with
    nodes keeps at least one: the one whose centroid is nearest to the window, pressed flat against
    the window's side.
    """
    if drawn.crop:
        top, left, height, width = drawn.crop
        low = np.array([left, top]) / drawn.size
        graph = _crop(graph, low, low + np.array([width, height]) / drawn.size)
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
    return flipped


def _crop(graph: Data, low: ndarray, high: ndarray) -> Data:
    """Return the graph of the window from `low` to `high` (x, y in tile units)."""
    if graph.num_nodes == 0:
        return graph
    boxes = graph.x[:, CORNERS].double().numpy().reshape(-1, 4, 2)        # [n, 4, 2]
    centroids = graph.x[:, CENTROID].double().numpy()                     # [n, 2]
    before = _inside_tile(boxes, centroids)                               # [n, v, 2]  R
    after, keep = _inside_window(before, centroids, low, high)            # [n, w, 2]  R'

    cropped = _subgraph(graph, keep)
    columns = cropped.x[:, AREA:].double().numpy()                        # [n, 13]
    moved = _moved_columns(columns, boxes[keep], centroids[keep], before[keep], after[keep], low,
                           high)
    cropped.x[:, AREA:] = torch.from_numpy(moved)
    return cropped


def _subgraph(graph: Data, keep: ndarray) -> Data:
    """Keep some nodes, [n] bool, and the edges between them: PyG's `graph.subgraph` in a fraction
    of its time."""
    nodes, edges = torch.from_numpy(keep.nonzero()[0]), graph.edge_index.numpy()
    kept = keep[edges].all(0)                                                                 # [e]
    subgraph = copy.copy(graph)
    subgraph.x = graph.x[nodes]
    subgraph.edge_index = torch.from_numpy((keep.cumsum() - 1)[edges[:, kept]])
    subgraph.edge_attr = graph.edge_attr[torch.from_numpy(kept)]
    return subgraph


def _inside_tile(boxes: ndarray, centroids: ndarray) -> ndarray:
    """Clip each box to the tile, [n, v, 2]; the centroid stands for a box that is outside."""
    clipped, some = _clip(boxes, np.zeros(2), np.ones(2))
    return np.where(some[:, None, None], clipped, centroids.clip(0, 1)[:, None])


def _inside_window(before: ndarray, centroids: ndarray, low: ndarray,
                   high: ndarray) -> tuple[ndarray, ndarray]:
    """Clip each polygon to the window, [n, w, 2], and tell which nodes stay, [n] bool.

    A side of the window on the tile's own border cuts nothing, so that what lies flat on it stays.
    """
    after, some = _clip(before, low, high)
    inner_low = np.where(low > 0, low + TOUCH, -np.inf)
    inner_high = np.where(high < 1 - TOUCH, high - TOUCH, np.inf)
    keep = some & ((after.max(1) > inner_low) & (after.min(1) < inner_high)).all(1)
    if not keep.any():
        nearest = np.linalg.norm(centroids - centroids.clip(low, high), axis=1).argmin()
        after[nearest] = _pad(before[nearest:nearest + 1].clip(low, high), after.shape[1])
        keep[nearest] = True
    return after, keep


def _moved_columns(
    columns: ndarray, boxes: ndarray, centroids: ndarray, before: ndarray, after: ndarray,
    low: ndarray, high: ndarray,
) -> ndarray:
    """Return the last 13 columns of surviving nodes, [n, 13], by the rules on top of this file; R
    is `before`, R' is `after`."""
    stretch = 1 / (high - low)                                                                # [2]
    uncut = ((before >= low - TOUCH) & (before <= high + TOUCH)).all((1, 2))                  # [n]
    stretched = (after - low) * stretch                                                 # [n, w, 2]
    area_before, length_before, centroid_before = _measures(before)
    area_after, length_after, centroid_after = _measures(after)
    fraction = _ratio(area_after, area_before,
                      otherwise=_ratio(length_after, length_before, otherwise=1))             # [n]
    outline = np.where(uncut[:, None, None], (_pad(boxes, after.shape[1]) - low) * stretch,
                       stretched)
    corners = _renumber(_minimum_rectangle(outline), like=(boxes - low) * stretch)      # [n, 4, 2]
    estimate = centroid_after + fraction[:, None] * (centroids - centroid_before)          # [n, 2]
    centroids = np.where(uncut[:, None], centroids, estimate.clip(after.min(1), after.max(1)))

    moved = columns.copy()
    moved[:, AREA] = (columns[:, AREA] * fraction * stretch.prod()).clip(max=1)
    moved[:, PERIMETER] *= _ratio(_lengths(_edges(stretched)).sum(1), length_before,
                                  otherwise=stretch.mean())
    moved[:, CORNERS] = corners.reshape(-1, 8)
    moved[:, CENTROID] = (centroids - low) * stretch
    return moved


def _ratio(after: ndarray, before: ndarray, otherwise: ndarray | float) -> ndarray:
    """Return after / before, [n]; `otherwise` where `before` is nothing, such as the area of a box
    squeezed to a line."""
    something = before > NOTHING
    return np.where(something, after / np.where(something, before, 1), otherwise)


def _pad(polygons: ndarray, vertices: int) -> ndarray:
    """Extend [n, v, 2] to [n, vertices, 2] by repeating the first vertex, which changes neither
    outline nor area."""
    more = np.repeat(polygons[:, :1], vertices - polygons.shape[1], axis=1)
    return np.concatenate([polygons, more], axis=1)


def _clip(polygons: ndarray, low: ndarray, high: ndarray) -> tuple[ndarray, ndarray]:
    """Clip convex polygons [n, v, 2] to the window by Sutherland-Hodgman: [n, w, 2] with
    v <= w <= v + 4, and where something is left, [n] bool."""
    some = np.ones(len(polygons), dtype=bool)
    for axis in (0, 1):
        for side, bound in ((1, low[axis]), (-1, high[axis])):
            polygons, left = _clip_at_line(polygons, side * (polygons[..., axis] - bound))
            some &= left
    return polygons, some


def _clip_at_line(polygons: ndarray, depth: ndarray) -> tuple[ndarray, ndarray]:
    """Cut off the vertices with depth [n, v] < 0 (signed distance from a line).

    Returns:
        [n, v or v + 1, 2], and where something is left, [n].
    """
    n, v = depth.shape
    inside = depth >= 0
    if inside.all():
        return polygons, np.ones(n, dtype=bool)
    following, depth_following = _next(polygons), _next(depth)
    crossing = inside != (depth_following >= 0)
    along = depth / np.where(crossing, depth - depth_following, 1)      # [n, v] to the crossing
    meeting = polygons + along[..., None] * (following - polygons)
    vertices = np.stack([polygons, meeting], axis=2).reshape(n, 2 * v, 2)
    kept = np.stack([inside, crossing], axis=2).reshape(n, 2 * v)
    counts = kept.sum(1, keepdims=True)                                                    # [n, 1]
    most = max(v, counts.max())
    order = np.argsort(~kept, axis=1, kind="stable")[:, :most]           # kept ones, in sequence
    order = np.where(np.arange(most) < counts, order, order[:, :1])      # the first fills the rest
    return vertices[np.arange(n)[:, None], order], counts[:, 0] > 0


def _next(vertices: ndarray) -> ndarray:
    """Return each vertex's successor, [n, v, ...] to the same."""
    return np.concatenate([vertices[:, 1:], vertices[:, :1]], axis=1)


def _edges(polygons: ndarray) -> ndarray:
    return _next(polygons) - polygons


def _lengths(vectors: ndarray) -> ndarray:
    """Return lengths of [..., 2]; np.linalg.norm takes longer for vectors this short."""
    return np.sqrt(vectors[..., 0] ** 2 + vectors[..., 1] ** 2)


def _cross(polygons: ndarray) -> ndarray:
    """Return twice the signed areas of the triangles from the first vertex to each edge, [n, v]."""
    a = polygons - polygons[:, :1]
    b = _next(a)
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _measures(polygons: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Return area [n], perimeter [n] and centroid [n, 2] of polygons [n, v, 2]: the centroid of the
    area; of the outline if there is no area; of the vertices if there is no length either."""
    ends, cross = _next(polygons), _cross(polygons)
    lengths = _lengths(ends - polygons)                                                    # [n, v]
    area, perimeter = np.abs(cross.sum(1)) / 2, lengths.sum(1)                                # [n]
    has_area, has_length = (area > NOTHING)[:, None], (perimeter > NOTHING)[:, None]       # [n, 1]
    weights = np.where(has_area, cross, np.where(has_length, lengths, 1))                  # [n, v]
    triangles = (polygons[:, :1] + polygons + ends) / 3                                 # [n, v, 2]
    midpoints = (polygons + ends) / 2                                                   # [n, v, 2]
    points = np.where(has_area[..., None], triangles, midpoints)
    return area, perimeter, (points * weights[..., None]).sum(1) / weights.sum(1, keepdims=True)


def _minimum_rectangle(polygons: ndarray) -> ndarray:
    """Return minimum-area rotated rectangles of convex polygons, [n, v, 2] -> [n, 4, 2].

    One side of such a rectangle lies along an edge; of equally small rectangles (an acute triangle
    has three) the first edge's is taken.
    """
    edges = _edges(polygons)
    lengths = _lengths(edges)[..., None]
    along = np.where(lengths > NOTHING, edges / np.where(lengths > NOTHING, lengths, 1),
                     (1.0, 0.0))  # [n, v, 2] unit vectors
    across = np.stack([-along[..., 1], along[..., 0]], axis=2)
    axes = np.stack([along, across], axis=2)                                      # [n, edge, 2, 2]
    extent = axes @ polygons[:, None].swapaxes(2, 3)                              # [n, edge, 2, v]
    low, high = extent.min(3), extent.max(3)                                         # [n, edge, 2]
    areas = (high - low).prod(2)                                                        # [n, edge]
    best = (np.arange(len(polygons)),
            (areas <= areas.min(1, keepdims=True) * (1 + 1e-9)).argmax(1))
    axes, low, high = axes[best], low[best], high[best]                 # [n, 2, 2], [n, 2], [n, 2]
    steps = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    return (low[:, None] + steps * (high - low)[:, None]) @ axes                        # [n, 4, 2]


def _renumber(corners: ndarray, like: ndarray) -> ndarray:
    """Number the rectangles' corners [n, 4, 2] in the order and direction nearest to `like`
    [n, 4, 2]."""
    numbered = corners[:, CORNER_ORDERS]                                             # [n, 8, 4, 2]
    best = ((numbered - like[:, None]) ** 2).sum((2, 3)).argmin(1)
    return numbered[np.arange(len(corners)), best]
