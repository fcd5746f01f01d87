"""How well a pretrained Rose reconstructs what is masked, compared with a guess without it."""

from collections.abc import Sized
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch

from datasets import TileDataset, collate
from datasets.stores.tile import AREA, CENTROID, CORNERS, LABEL, PERIMETER
from models import RoseOutput
from models.objectives import GEOMETRY, patch_pixels
from models.rose import Rose
from training.modes import in_evaluation_mode
from utils.progress import passing_bar

# columns of a node by meaning; the text embedding comes before them
GROUPS = {"tag text": slice(None, AREA), "area": slice(AREA, PERIMETER),
          "perimeter": slice(PERIMETER, CORNERS.start), "corners": CORNERS, "centroid": CENTROID}
BATCH = 8
SAMPLED_TILES = 64
LEAST_ERROR = 0.5  # grey values; of the mean colour in an image that is not of one colour
# image_target -> what hidden pixels are guessed by without a network; latent estimates no pixels
GUESSES = {"pixels": "the mean colour", "patch_norm": "each patch's own mean"}


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruction of masked patches and OSM objects of some tiles, with newly drawn masks.

    Attributes:
        pixel_error: root mean square colour error of masked patches, in grey values of 0 to 255;
            nan with image_target=latent, which reconstructs no pixels.
        pixel_error_mean_colour: the same of a guess without a network: the mean colour of the
            tile's visible patches, or with image_target=patch_norm, which is given each patch's
            mean and deviation, that mean.
        explained: feature group -> 1 - squared error / squared error of these tiles' mean object.
        tags_right: share of masked objects whose tag has the nearest text embedding, or nan.
    """

    tiles: int
    pixel_error: float
    pixel_error_mean_colour: float
    objects: int                    # masked
    explained: dict[str, float]
    tags_right: float
    tags_commonest: float           # the share right if the commonest tag is always chosen
    commonest: int                  # its label code; -1 without objects
    tags: int                       # number to choose from
    image_target: str = "pixels"

    @property
    def unlearned(self) -> list[str]:
        """Name what is no better than a guess: hidden pixels than the mean colour, hidden tags than
        always the commonest; where both name equally many right, the text counts.

        Images of one colour and tiles without objects leave nothing to learn.
        """
        image = (self.pixel_error_mean_colour >= LEAST_ERROR
                 and self.pixel_error >= self.pixel_error_mean_colour)
        osm = self.objects > 0 and (
            self.tags_right < self.tags_commonest
            or (self.tags_right == self.tags_commonest and self.tags > 1
                and self.explained.get("tag text", 0) <= 0))
        guess = GUESSES.get(self.image_target)
        return [f"hidden pixels are no nearer than {guess}"] * image + [
            "hidden tags are named no better than by always the commonest"] * osm


def sample_indices(tiles: Sized, count: int) -> list[int]:
    """Return the indices of at most `count` tiles, evenly over the dataset."""
    count = min(count, len(tiles))
    return [round(i * (len(tiles) - 1) / max(count - 1, 1)) for i in range(count)]


@torch.inference_mode()
def reconstruct(rose: Rose, tiles: TileDataset, indices: list[int],
                seed: int) -> tuple[Tensor, Batch, RoseOutput]:
    """Return on the CPU normalised images [B, 3, H, W], graphs, and the output, masked by `seed`
    alone and in the units of these images and graphs (`in_units`)."""
    device = next(rose.parameters()).device
    images, graphs = collate([tiles.read(index) for index in indices])
    images = rose.normalise(images)
    with (in_evaluation_mode(rose),
          torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])):
        torch.manual_seed(seed)
        out = rose(images.to(device), graphs.clone().to(device))
    return images, graphs, in_units(rose, out.cpu(), images, graphs)


def in_units(rose: Rose, out: RoseOutput, images: Tensor, graphs: Batch) -> RoseOutput:
    """Return the output with pixels and nodes as `images` and `graphs` have them.

    With image_target=patch_norm pixels get the mean and deviation of their own true patch. With
    osm_loss=groups text vectors, of which the network learns the direction alone, get the mean
    length of the text vectors of `graphs`.
    """
    if rose.image_target == "patch_norm":
        pixels = patch_pixels(out.image_pred, rose.patchify(images))
        out = out._replace(predict_image=lambda: pixels)
    if rose.osm_loss == "groups":
        lengths = graphs.x[:, : -GEOMETRY - 1].norm(dim=1)
        length = lengths.sum() / (lengths > 0).sum().clamp(min=1)
        text, geometry = out.osm_pred.tensor_split([-GEOMETRY], dim=1)
        out = out._replace(osm_pred=torch.cat([F.normalize(text, dim=1) * length, geometry], 1))
    return out


def measure_reconstruction(rose: Rose, tiles: TileDataset, seed: int,
                           count: int = SAMPLED_TILES) -> Reconstruction:
    """Reconstruct up to `count` tiles of the dataset once each, and return the figures."""
    indices = sample_indices(tiles, count)
    scale = 255 * torch.tensor(rose.image_encoder.std)  # grey values of 1 in normalised channels
    errors, mean_colour_errors, predicted, nodes, masked = [], [], [], [], []
    starts = range(0, len(indices), BATCH)
    for start in passing_bar(starts, "measuring the reconstruction"):
        batch = indices[start : start + BATCH]
        images, graphs, out = reconstruct(rose, tiles, batch, seed + start)
        if rose.image_target in GUESSES:
            target, mask = rose.patchify(images), out.image_mask                # [B, L, p * p * 3]
            guess = (target.mean(-1, keepdim=True) if rose.image_target == "patch_norm"
                     else _mean_visible_colour(target, mask))
            errors.append(_grey_error(out.image_pred, target, mask, scale))
            mean_colour_errors.append(_grey_error(guess, target, mask, scale))
        predicted.append(out.osm_pred)
        nodes.append(graphs.x)
        masked.append(out.node_mask)
    predicted, nodes, masked = torch.cat(predicted), torch.cat(nodes), torch.cat(masked)
    truth, tags = nodes[masked], Tags.among(nodes)
    true_tags = tags.of_nodes[masked]                                                       # [M]
    commonest = true_tags.mode().values if len(truth) else torch.tensor(-1)
    return Reconstruction(
        tiles=len(indices), pixel_error=_root_mean(errors),
        pixel_error_mean_colour=_root_mean(mean_colour_errors),
        objects=len(truth), explained=_explained(predicted, truth),
        tags_right=(tags.nearest(predicted) == true_tags).float().mean().item(),
        tags_commonest=(true_tags == commonest).float().mean().item(),
        commonest=int(tags.codes[commonest]) if len(truth) else -1, tags=len(tags.codes),
        image_target=rose.image_target,
    )


@dataclass(frozen=True)
class Tags:
    """The tags among nodes, one for each text embedding, whatever the layer and label code."""

    vectors: Tensor   # [K, text] the distinct text embeddings
    codes: Tensor     # [K] label code of a node of each
    of_nodes: Tensor  # [N] tag of each node

    @classmethod
    def among(cls, nodes: Tensor) -> "Tags":
        """Return the tags of nodes [N, F + 1]."""
        vectors, of_nodes = nodes[:, GROUPS["tag text"]].unique(dim=0, return_inverse=True)
        codes = torch.zeros(len(vectors), dtype=torch.long)
        return cls(vectors, codes.scatter(0, of_nodes, nodes[:, LABEL].long()), of_nodes)

    def nearest(self, predicted: Tensor) -> Tensor:
        """Return [M], the tag whose embedding is nearest to each predicted node [M, F]."""
        if not len(predicted):
            return torch.empty(0, dtype=torch.long)
        return torch.cdist(predicted[:, : self.vectors.shape[1]], self.vectors).argmin(1)


def _mean_visible_colour(pixels: Tensor, mask: Tensor) -> Tensor:
    """Return [B, 1, p * p * 3], the mean colour of each image's visible patches for each pixel."""
    colours = pixels.unflatten(-1, (-1, 3))                                      # [B, L, p * p, 3]
    visible = (~mask)[..., None, None]
    mean = (colours * visible).sum((1, 2)) / (visible.sum((1, 2)) * colours.shape[2])      # [B, 3]
    return mean.repeat(1, colours.shape[2])[:, None]


def _grey_error(pixels: Tensor, target: Tensor, mask: Tensor, scale: Tensor) -> Tensor:
    """Return the mean square, in grey values, over masked patches [B, L] of [B, L, p * p * 3];
    `scale` [3] makes them of normalised channels."""
    grey = scale.repeat(target.shape[-1] // 3)                                        # [p * p * 3]
    squares = ((pixels - target) * grey).square() * mask[..., None]
    return squares.sum() / mask.sum() / len(grey)


def _root_mean(squares: list[Tensor]) -> float:
    """Return the root of the mean; nan of nothing."""
    return torch.tensor([*squares]).mean().sqrt().item()


def _explained(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    if len(truth) < 2:
        return {}
    features = truth[:, : predicted.shape[1]]
    # the label code behind the features is no feature: groups count from the end of a whole row
    whole = torch.cat([predicted, truth[:, LABEL:]], dim=1)
    error, spread = (whole - truth).square(), (features - features.mean(0)).square()
    spread = torch.cat([spread, torch.zeros(len(truth), 1)], dim=1)
    return {name: 1 - (error[:, group].sum() / spread[:, group].sum().clamp(min=1e-12)).item()
            for name, group in GROUPS.items()}
