"""How well a pretrained Rose reconstructs what it is not shown, against what a guess without it
would do."""

from collections.abc import Sized
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from datasets import TileDataset, collate
from datasets.stores.tile import AREA, CENTROID, CORNERS, LABEL, PERIMETER
from datasets.tiles import IMAGENET_STD
from models import RoseOutput

# columns of a node row by meaning; the text embedding is whatever comes before
GROUPS = {"tag text": slice(None, AREA), "area": slice(AREA, PERIMETER),
          "perimeter": slice(PERIMETER, CORNERS.start), "corners": CORNERS,
          "centroid": CENTROID}
BATCH = 8
SAMPLED_TILES = 64


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruction of hidden patches and hidden OSM objects of some tiles, with masks drawn
    afresh.

    Attributes:
        tiles: number of tiles.
        pixel_error: root mean square colour error of hidden patches, in grey values of 0 to 255.
        pixel_error_mean_colour: the same for filling in the mean colour of each tile's visible
            patches.
        objects: number of hidden OSM objects.
        explained: feature group -> 1 - squared error / squared error of always giving the mean
            object of these tiles.
        tags_right: share of hidden objects whose tag is the one with the nearest text embedding;
            nan without objects.
        tags_commonest: share that always naming the commonest tag gets right.
        commonest: its label code; -1 without objects.
        tags: number of tags to choose from.
    """

    tiles: int
    pixel_error: float
    pixel_error_mean_colour: float
    objects: int
    explained: dict[str, float]
    tags_right: float
    tags_commonest: float
    commonest: int
    tags: int


def sample_indices(tiles: Sized, count: int) -> list[int]:
    """Indices of at most `count` tiles, evenly over the dataset."""
    count = min(count, len(tiles))
    return [round(i * (len(tiles) - 1) / max(count - 1, 1)) for i in range(count)]


@torch.inference_mode()
def reconstruct(rose: nn.Module, tiles: TileDataset, indices: list[int],
                seed: int) -> tuple[Tensor, Batch, RoseOutput]:
    """One batch of images [B, 3, H, W] and graphs, and what `rose` makes of it; on the CPU, with
    masks that depend on `seed` alone."""
    device = next(rose.parameters()).device
    images, graphs = collate([tiles[index] for index in indices])
    was_training = rose.training
    rose.eval()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        out = rose(images.to(device), graphs.clone().to(device))
    rose.train(was_training)
    return images, graphs, out.cpu()


def measure_reconstruction(rose: nn.Module, tiles: TileDataset, seed: int,
                           count: int = SAMPLED_TILES) -> Reconstruction:
    """Reconstruct up to `count` tiles of the dataset once each and sum up."""
    indices = sample_indices(tiles, count)
    pixel, mean_colour, found, known, masked = [], [], [], [], []
    for start in range(0, len(indices), BATCH):
        images, graphs, out = reconstruct(rose, tiles, indices[start : start + BATCH],
                                          seed + start)
        # a pixel row's channels, in grey values
        grey = torch.tensor(IMAGENET_STD).repeat(out.image_pred.shape[-1] // 3) * 255
        target = rose.patchify(images)                                          # [B, L, p * p * 3]
        hidden, guess = out.image_mask[..., None], _mean_visible_colour(target, out.image_mask)
        pixel.append(
            (((out.image_pred - target) * grey).square() * hidden).sum() / hidden.sum() / len(
                grey))
        mean_colour.append(
            (((guess - target) * grey).square() * hidden).sum() / hidden.sum() / len(
            grey))
        found.append(out.osm_pred)
        known.append(graphs.x)
        masked.append(out.node_mask)
    found, known, masked = torch.cat(found), torch.cat(known), torch.cat(masked)
    truth, tags = known[masked], Tags.among(known)
    true_tags = tags.of_nodes[masked]                                                       # [M]
    commonest = true_tags.mode().values if len(truth) else torch.tensor(-1)
    return Reconstruction(
        tiles=len(indices), pixel_error=torch.stack(pixel).mean().sqrt().item(),
        pixel_error_mean_colour=torch.stack(mean_colour).mean().sqrt().item(), objects=len(truth),
        explained=_explained(found, truth),
        tags_right=(tags.nearest(found) == true_tags).float().mean().item(),
        tags_commonest=(true_tags == commonest).float().mean().item(),
        commonest=int(tags.codes[commonest]) if len(truth) else -1, tags=len(tags.codes),
    )


@dataclass(frozen=True)
class Tags:
    """The tags among some nodes: nodes of one text embedding have one tag, whatever layer (and so
    label code) they are of.

    Attributes:
        vectors: [K, text] the distinct text embeddings.
        codes: [K] label code of a node of each.
        of_nodes: [N] tag of each node.
    """

    vectors: Tensor
    codes: Tensor
    of_nodes: Tensor

    @classmethod
    def among(cls, nodes: Tensor) -> "Tags":
        """The tags of nodes [N, F + 1]."""
        vectors, of_nodes = nodes[:, GROUPS["tag text"]].unique(dim=0, return_inverse=True)
        codes = torch.zeros(len(vectors), dtype=torch.long).scatter(0, of_nodes,
                                                                    nodes[:, LABEL].long())
        return cls(vectors, codes, of_nodes)

    def nearest(self, predicted: Tensor) -> Tensor:
        """[M] tag whose embedding is nearest to each predicted node [M, F]."""
        if not len(predicted):
            return torch.empty(0, dtype=torch.long)
        return torch.cdist(predicted[:, : self.vectors.shape[1]], self.vectors).argmin(1)


def _mean_visible_colour(pixels: Tensor, mask: Tensor) -> Tensor:
    """[B, 1, p * p * 3] the mean colour of each image's visible patches, for every pixel."""
    colours = pixels.unflatten(-1, (-1, 3))                                      # [B, L, p * p, 3]
    visible = (~mask)[..., None, None]
    mean = (colours * visible).sum((1, 2)) / (visible.sum((1, 2)) * colours.shape[2])      # [B, 3]
    return mean.repeat(1, colours.shape[2])[:, None]


def _explained(found: Tensor, truth: Tensor) -> dict[str, float]:
    if len(truth) < 2:
        return {}
    features = truth[:, : found.shape[1]]
    # the label code behind the features is no feature: groups count from the end of a whole row
    whole = torch.cat([found, truth[:, LABEL:]], dim=1)
    error, spread = (whole - truth).square(), (features - features.mean(0)).square()
    spread = torch.cat([spread, torch.zeros(len(truth), 1)], dim=1)
    return {name: 1 - (error[:, group].sum() / spread[:, group].sum().clamp(min=1e-12)).item()
            for name, group in GROUPS.items()}
