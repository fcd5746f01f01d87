"""Land-use segmentation and regression (population, CO2) on the representations of a Rose."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from models import registry
from models.decoders import ScalarDecoder, TargetScale
from models.modalities import Representation
from models.object_counts import ObjectCounts
from models.osm_raster import OsmRaster
from models.patch_input import PatchStatistics
from models.patch_mlp import PatchMlp
from models.rose import Rose
from models.tag_channels import OTHER
from utils.errors import ModelError


class Downstream(nn.Module):
    """A Rose, one of its modalities (a line of the registry), and a decoder.

    The parameters of `rose` off this modality's path are frozen, in the Rose itself, so that every
    trainable one receives a gradient. If `frozen`, no parameter of the Rose is trained.

    What it adds to the embedded patches beside the Rose's projection of their pixels is trained in
    any case. It adds nothing at first, so that trained weights begin as they are; drawn objects
    alone, without an image, do.

    Args:
        channels: of the drawn OSM objects; a modality that draws them has one at least, and one of
            image and graph may have them, too.
        statistics: patches also say their statistics (models/patch_input.py); of a modality that
            reads the image.

    Attributes:
        extra: draws the objects; None: none are.
        statistics: adds the statistics; None: they are not added.
    """

    gives: str  # what the decoder reads: "tokens", "layers" or "vector"

    def __init__(self, rose: Rose, modality: str, representation: Representation,
                 decoder: nn.Module, channels: Sequence[str] = (), statistics: bool = False):
        super().__init__()
        self.rose, self.decoder, self._representation = rose, decoder, representation
        self.modality = registry.MODALITIES[modality]
        _check_added(modality, channels, statistics)
        if self.modality.draws_osm:
            channels = channels or (OTHER,)
        self.extra = OsmRaster(rose, channels, self.modality.reads_image) if channels else None
        self.statistics = (PatchStatistics(rose.width, rose.image_encoder.patch) if statistics
                           else None)
        self.frozen = False
        trained = representation.trained(self.gives, rose)
        for name, parameter in rose.named_parameters():
            parameter.requires_grad_(name.startswith(trained))

    def freeze(self) -> "Downstream":
        """Leave the Rose as it is from now on: a probe of what it knows."""
        self.frozen = True
        self.rose.requires_grad_(False)
        return self.train(self.training)

    def train(self, mode: bool = True) -> "Downstream":
        """Set the mode as for any module, but keep a frozen Rose in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.rose.eval()
        return self

    @property
    def by_batch(self) -> bool:
        """Whether the other tiles of a batch matter: OSM is read, normalised over it (release)."""
        return self.modality.reads_graph and self.rose.osm_encoder.norm_scope == "batch"

    @property
    def fixed(self) -> bool:
        """Whether a tile's representation is always the same: all that makes it is frozen."""
        return self.frozen and not self.added and not self.by_batch

    @property
    def added(self) -> nn.ModuleList:
        """The modules that add to the embedded patches."""
        return nn.ModuleList(module for module in (self.extra, self.statistics)
                             if module is not None)

    def know_tags(self, tags: Mapping[str, Sequence[str]]) -> "Downstream":
        """Learn what the label codes of graphs mean, from `TileDataset.tags` (see
        `TagChannels.know_tags`); a model that tells no objects apart does not ask."""
        if self.extra is not None:
            self.extra.know_tags(tags)
        return self

    def represent(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return tokens [B, L, D] or vectors [B, D] of images [B, 3, H, W] and graphs."""
        added = []
        if self.extra is not None:
            added.append(self.extra(graphs, self.rose.check(images, graphs)))
        if self.statistics is not None:
            added.append(self.statistics(self.rose.patchify(images)))
        represent = getattr(self._representation, self.gives)
        return represent(self.rose, images, graphs, *([sum(added)] if added else []))

    def outputs(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return `decode` of `represent`: what a loss is taken of."""
        return self.decode(self.represent(images, graphs), images.shape[2:])


class Segmenter(Downstream):
    """Tokens -> class scores per token -> bilinear to the image's size (Rose section 4.1); or four
    layers of tokens -> class scores on a finer grid -> bilinear to the image's size.

    With an MLP of patches beside it (models/patch_mlp.py), which is fitted before and not trained
    with it, the network learns as without; in evaluation mode the logits are the mean of both, the
    normalised geometric mean of both answers' probabilities (a logarithmic opinion pool: Genest and
    Zidek, Statistical Science 1, 1986).

    Args:
        num_classes: of the MLP, as of the decoder.
        mlp: channels of the objects that the MLP reads, if the modality reads objects; None: there
            is no MLP.
    """

    gives = "tokens"

    def __init__(self, rose: Rose, modality: str, representation: Representation,
                 decoder: nn.Module, channels: Sequence[str] = (), statistics: bool = False,
                 num_classes: int = 0, mlp: Sequence[str] | None = None):
        super().__init__(rose, modality, representation, decoder, channels, statistics)
        self.gives = getattr(decoder, "reads", "tokens")
        if mlp is not None and bool(mlp) != self.modality.reads_osm:
            expected = "one at least" if self.modality.reads_osm else "none"
            raise ModelError(f"modality={modality}: its MLP of patches reads objects of {len(mlp)} "
                             f"channels, expected {expected}")
        self.mlp = None if mlp is None else PatchMlp(
            mlp, num_classes, rose.image_encoder.patch, self.modality.reads_image)
        if self.mlp is not None:
            self.mlp.requires_grad_(False)

    @property
    def fixed(self) -> bool:
        """As of `Downstream`; the MLP reads images and graphs, not the representation."""
        return super().fixed and self.mlp is None

    def know_tags(self, tags: Mapping[str, Sequence[str]]) -> "Segmenter":
        """As of `Downstream`; the MLP tells objects apart, too."""
        if self.mlp is not None:
            self.mlp.know_tags(tags)
        return super().know_tags(tags)

    def outputs(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return logits [B, classes, H, W]: the network's, or, with an MLP and in evaluation mode,
        the mean of both."""
        logits = super().outputs(images, graphs)
        if self.mlp is None or self.training:
            return logits
        scores = self.mlp(self.rose.denormalise(images).movedim(-1, -3), graphs)
        return (logits + _to_size(scores, images.shape[2:])) / 2

    def represent(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return tokens [B, L, D], or [B, 4, L, D] for a decoder that reads layers."""
        features = super().represent(images, graphs)
        return torch.stack(features, 1) if self.gives == "layers" else features

    def decode(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """Return [B, classes, H, W] logits of what `represent` gave of images of `size` H, W."""
        patch = self.rose.image_encoder.patch
        grid = (size[0] // patch, size[1] // patch)
        if self.gives == "layers":
            maps = self.decoder(features, grid)                                # [B, classes, h, w]
        else:
            scores = self.decoder(features)                                      # [B, L, classes]
            maps = scores.transpose(1, 2).unflatten(2, grid)           # [B, classes, rows, columns]
        return _to_size(maps, size)

    def forward(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return logits [B, classes, H, W] of images [B, 3, H, W] and a PyG Batch of graphs."""
        return self.outputs(images, graphs)


class Regressor(Downstream):
    """A tile's vector -> a number that is never negative (Rose sections 4.2, 4.3); it may be what
    the network adds to a linear model of the tile's objects (models/object_counts.py).

    Args:
        counts: channels of the objects that the linear model counts; none: there is no such model.
    """

    gives = "vector"

    def __init__(self, rose: Rose, modality: str, representation: Representation,
                 decoder: nn.Module, channels: Sequence[str] = (), statistics: bool = False,
                 counts: Sequence[str] = ()):
        super().__init__(rose, modality, representation, decoder, channels, statistics)
        if counts and not self.modality.reads_osm:
            raise ModelError(f"modality={modality}: reads no OSM objects, so it cannot count them "
                             f"(counts={len(counts)}), expected none")
        self.counts = ObjectCounts(counts) if counts else None

    @property
    def fixed(self) -> bool:
        """As of `Downstream`; counts are no part of the representation, and read the graph."""
        return super().fixed and self.counts is None

    def know_tags(self, tags: Mapping[str, Sequence[str]]) -> "Regressor":
        """As of `Downstream`; objects are also counted by their tags."""
        if self.counts is not None:
            self.counts.know_tags(tags)
        return super().know_tags(tags)

    def outputs(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return [B, 1] in units of training: `decode` of `represent`, and what `counts` say."""
        vectors = self.represent(images, graphs)
        return self.decoder(vectors, None if self.counts is None else self.counts(graphs))

    def decode(self, vectors: Tensor, size: tuple[int, int]) -> Tensor:
        """Return [B, 1] estimates of the network alone in units of training, of vectors [B, D];
        `size` is not used."""
        return self.decoder(vectors)

    def estimates(self, outputs: Tensor) -> Tensor:
        """Return [B, 1] in original units, of `outputs` in units of training."""
        return self.decoder.scale.unscale(outputs.double()).clamp(min=0)

    def forward(self, images: Tensor, graphs: Batch) -> Tensor:
        """Return [B, 1] in original units of images [B, 3, H, W] and a PyG Batch of graphs."""
        outputs = self.outputs(images, graphs)
        return self.estimates(outputs).to(outputs.dtype)


def build_segmenter(rose: Rose, modality: str = "fusion", decoder: str = "linear",
                    num_classes: int = 9, channels: Sequence[str] = (),
                    statistics: bool = False, mlp: Sequence[str] | None = None) -> Segmenter:
    """Return a segmenter on `rose`, whose parameters it shares.

    Args:
        modality: "image" (RS alone), "osm", "fusion" (global fusion), "fine" (fine fusion),
            "osm_raster" (drawn objects), or "image_osm_raster".
        decoder: one of `decoder_names`: "linear", "mask_transformer", "pyramid".
        channels, statistics: of `Downstream`; channels as of `tag_channels.choose_channels`.
        mlp: of `Segmenter`.

    Raises:
        ModelError: unknown modality or decoder, or what does not suit the modality.
    """
    representation = _choose(modality, registry.segmentation_modalities())
    built = build_decoder(decoder, representation.width_of("tokens", rose), num_classes)
    if getattr(built, "reads", "tokens") == "layers" and representation.layers is None:
        fit = [f"modality={name}" for name in registry.segmentation_modalities()
               if registry.load(registry.MODALITIES[name].home).layers]
        raise ModelError(f"decoder={decoder}: reads layers of the image encoder, which "
                         f"modality={modality} does not have; choose {' or '.join(fit)}, or "
                         "another decoder")
    return Segmenter(rose, modality, representation, built, channels, statistics, num_classes,
                     mlp)


def build_regressor(rose: Rose, modality: str = "fusion",
                    scale: TargetScale | None = None, channels: Sequence[str] = (),
                    statistics: bool = False, counts: Sequence[str] = ()) -> Regressor:
    """Return a regressor on `rose`, whose parameters it shares.

    Args:
        modality: "image" (CLS), "osm" (readout), "fusion" (CLS of the global fusion), or
            "osm_raster" or "image_osm_raster" (CLS of the drawn objects).
        scale: the units in which it is trained; None: the original ones.
        channels, statistics: of `Downstream`.
        counts: of `Regressor`.

    Raises:
        ModelError: unknown modality, or what does not suit it.
    """
    representation = _choose(modality, registry.regression_modalities())
    return Regressor(rose, modality, representation,
                     ScalarDecoder(representation.width_of("vector", rose), scale), channels,
                     statistics, counts)


def _to_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return scores [B, classes, rows, columns] of patches as scores of pixels, [B, classes, H,
    W]."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _check_added(modality: str, channels: Sequence[str], statistics: bool) -> None:
    """Raise ModelError if a modality cannot have what is to be added to its patches."""
    reads = registry.MODALITIES[modality]
    if channels and not reads.may_draw_osm:
        raise ModelError(f"modality={modality}: cannot have drawn objects (channels={len(channels)}"
                         f"), expected none, or one of {', '.join(registry.drawing_modalities())}")
    if statistics and not reads.may_add_statistics:
        what = "takes nothing beside pixels" if reads.reads_image else "reads no image"
        raise ModelError(f"modality={modality}: {what}, so it cannot have statistics of patches; "
                         "leave them out, or choose another modality")


def _choose(modality: str, choices: tuple[str, ...]) -> Representation:
    if modality not in choices:
        raise ModelError(f"modality={modality}: choose one of {', '.join(choices)}")
    return registry.load(registry.MODALITIES[modality].home)


def build_decoder(name: str, width: int, num_classes: int) -> nn.Module:
    """Return decoder `name` from tokens or layers of `width` to scores of `num_classes`.

    Raise ModelError if the name is unknown.
    """
    if name not in registry.DECODERS:
        raise ModelError(f"decoder={name}: choose one of {', '.join(registry.decoder_names())}")
    return registry.load(registry.DECODERS[name])(width, num_classes)
