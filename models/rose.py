"""Rose: two encoders, two spatially guided blocks, and the loss of joint mask-reconstruction."""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from models import masking, objectives, registry
from models.arguments import check_colours, check_node_width, check_ratios
from models.block import DecoderBlock, vit_block
from models.coverage import patch_shares
from models.fusion import (
    HEADS,
    ImageFromOsmBlock,
    NodePadding,
    OsmFromImageBlock,
    node_mean,
    place,
)
from models.image_encoder import ImageEncoder
from models.linear import Linear
from models.masking import MaskFill, take_tokens
from models.objectives import Contrast, RoseOutput
from models.osm_encoder import OsmEncoder
from models.position import node_code, token_code
from models.stated import stated_keys, stated_positions
from utils.errors import ModelError
from utils.normalisation import IMAGENET_MEAN, IMAGENET_STD, denormalise, normalise
from utils.recipes import resolve_recipe

FUSION_TEMPERATURE = 0.5
COVERED = 16  # how much a node that covers a patch counts there in the fine fusion, beside 1
# the keys of a recipe that concern the network
MODEL_KEYS = ("osm_norm_scope", "node_mask_scope", "relation_edges", "fine_input", "placement",
              "feed_forward", "image_skip", "image_target", "osm_loss", "contrast", "neighbours",
              "osm_layers")


class Encoded(NamedTuple):
    """A batch after both encoders, before the modalities meet."""

    tokens: Tensor   # [B, 1 + L, D] of the image, CLS first
    nodes: Tensor    # [N, graph_out_dim] embeddings of the OSM objects
    readout: Tensor  # [B, 2 * graph_out_dim] of each tile's objects


class Rose(nn.Module):
    """The network of Rose (Bai et al., RSE 318, 114573): RS, OSM and fused representations,
    pretrained by joint mask-reconstruction.

    Args:
        image_encoder: name of a timm ViT; `pretrained` starts it from timm's weights,
            `image_weights` from those in a file.
        image_positions: "rose" or "own", see `ImageEncoder`; None: "own" if it starts from trained
            weights.
        graph_in_dim: node width F without the label code; a multiple of 4.
        graph_out_dim: OSM embedding width.
        img_mask_ratio, osm_mask_ratio: share of patches, and of nodes, masked, in (0, 1).
        osm_norm_scope, node_mask_scope, relation_edges, fine_input, placement, feed_forward,
            image_skip, image_target, osm_loss, contrast, neighbours, osm_layers: see
            `utils.recipes.Recipe`.
        image_mean, image_std: of each channel, from 0 to 1, by which images are normalised; None:
            the image encoder's own.

    Attributes:
        build: the arguments of `build_rose` that make such a network, to store with its weights.

    Raises:
        ConfigError: a value that a key of `Recipe` does not take.
        ModelError: the encoder, a width or a ratio is impossible.
    """

    def __init__(
        self,
        image_encoder: str = "vit_base_patch16_224",
        pretrained: bool = False,
        graph_in_dim: int = 524,
        graph_out_dim: int = 128,
        img_mask_ratio: float = 0.75,
        osm_mask_ratio: float = 0.15,
        osm_norm_scope: str = "tile",
        node_mask_scope: str = "tile",
        relation_edges: bool = False,
        fine_input: str = "single",
        placement: str = "tile",
        feed_forward: str = "linear",
        image_skip: bool = False,
        image_target: str = "pixels",
        osm_loss: str = "features",
        contrast: float = 0.0,
        neighbours: int = 0,
        osm_layers: int = 1,
        image_mean: Sequence[float] | None = None,
        image_std: Sequence[float] | None = None,
        image_positions: str | None = None,
        image_weights: str | Path | None = None,
    ):
        super().__init__()
        check_ratios(img_mask_ratio=img_mask_ratio, osm_mask_ratio=osm_mask_ratio)
        keys = resolve_recipe(
            osm_norm_scope=osm_norm_scope, node_mask_scope=node_mask_scope,
            relation_edges=relation_edges, fine_input=fine_input, placement=placement,
            feed_forward=feed_forward, image_skip=image_skip, image_target=image_target,
            osm_loss=osm_loss, contrast=contrast, neighbours=neighbours, osm_layers=osm_layers)
        check_node_width(graph_in_dim, keys)
        trained = pretrained or image_weights is not None
        self.build = {
            "image_encoder": image_encoder, "graph_in_dim": graph_in_dim,
            "graph_out_dim": graph_out_dim, "img_mask_ratio": img_mask_ratio,
            "osm_mask_ratio": osm_mask_ratio,
            **stated_keys(**{name: getattr(keys, name) for name in MODEL_KEYS}),
            **stated_positions(image_positions, trained),
        }
        self.img_mask_ratio, self.osm_mask_ratio = img_mask_ratio, osm_mask_ratio
        self.node_mask_scope, self.fine_input = keys.node_mask_scope, keys.fine_input
        self.placement, self.image_skip = keys.placement, keys.image_skip
        self.image_target, self.osm_loss = keys.image_target, keys.osm_loss

        self.image_encoder = ImageEncoder(
            image_encoder, pretrained, self.build.get("image_positions", "rose"), image_weights)
        self._settle_normalisation(image_mean, image_std)
        self.osm_encoder = OsmEncoder(graph_in_dim, graph_out_dim, keys.osm_norm_scope,
                                      keys.relation_edges, keys.neighbours, keys.osm_layers)
        self.width = width = self.image_encoder.width
        if width % (2 * HEADS):
            raise ModelError(f"image_encoder={image_encoder}: has the width {width}; the fusion's "
                             f"{HEADS} attention heads need a multiple of {2 * HEADS}; choose "
                             "another, such as vit_base_patch16_224")
        self.token_proj = Linear(width, width)                     # image tokens, for either block
        self.graph_token_proj = Linear(2 * graph_out_dim, width)
        self.node_proj = Linear(graph_out_dim, width)

        self.image_mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.image_block = ImageFromOsmBlock(width, keys.feed_forward == "residual")
        self.image_decoder = DecoderBlock(vit_block(width, HEADS))
        self.image_decoder_norm = nn.LayerNorm(width)
        self.image_pred = Linear(width, width if self.image_target == "latent" else
                                 3 * self.image_encoder.patch**2)

        self.osm_block = OsmFromImageBlock(width, self.placement == "coverage")
        self.osm_decoder_norm = nn.LayerNorm(width)
        self.osm_pred = Linear(width, graph_in_dim)
        self.contrast = Contrast(keys.contrast, width, graph_out_dim) if keys.contrast else None
        self._initialise(keep_patch_projection=trained)

    def _initialise(self, keep_patch_projection: bool) -> None:
        """Set all but the image encoder: Linear Xavier-uniform, bias 0, tokens normal(0.02)."""
        inside = set(self.image_encoder.modules())
        for module in self.modules():
            if isinstance(module, nn.Linear) and module not in inside:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        self.image_encoder.initialise(keep_patch_projection)
        for token in (self.osm_encoder.mask_token, self.image_mask_token):
            nn.init.normal_(token, std=0.02)

    def _settle_normalisation(self, mean: Sequence[float] | None,
                              std: Sequence[float] | None) -> None:
        """Give the image encoder `mean` and `std` unless None; state in `build` what differs from
        ImageNet's."""
        encoder = self.image_encoder
        encoder.mean, encoder.std = tuple(mean or encoder.mean), tuple(std or encoder.std)
        check_colours(encoder.mean, encoder.std)
        if (encoder.mean, encoder.std) != (IMAGENET_MEAN, IMAGENET_STD):
            self.build |= {"image_mean": list(encoder.mean), "image_std": list(encoder.std)}

    def normalise(self, images: Tensor) -> Tensor:
        """Return what the network reads, float32, of images [..., 3, H, W] with colours 0..255."""
        return normalise(images, self.image_encoder.mean, self.image_encoder.std)

    def denormalise(self, images: Tensor) -> Tensor:
        """Invert `normalise`, for pictures: uint8 [..., H, W, 3] of [..., 3, H, W], clipped."""
        return denormalise(images, self.image_encoder.mean, self.image_encoder.std)

    def forward(self, images: Tensor, graphs: Batch, image_mask: Tensor | None = None,
                node_mask: Tensor | None = None, latent: Tensor | None = None) -> RoseOutput:
        """Mask both modalities, each in a pass; reconstruct each from both (Rose section 3.3).

        Args:
            images: [B, 3, H, W], of `normalise`.
            graphs: PyG Batch of B tiles, x [N, F + 1]; tiles may have no nodes.
            image_mask: [B, L] bool, True = masked, the same number a row; drawn if None.
            node_mask: [N] bool, True = masked; drawn if None.
            latent: [B, L, D] targets of image_target=latent, those of a momentum encoder
                (`objectives.latent_target`); those of this network's own encoder if None.

        Raises:
            ModelError: shapes that do not fit each other or the network.
        """
        grid = self.check(images, graphs)
        pixels = self.patchify(images)                                                  # [B, L, P]
        length = pixels.shape[1]
        objectives.check_latent(latent, self.image_target, (len(images), length, self.width))
        if image_mask is None:
            visible = masking.visible_count(length, self.img_mask_ratio)
            image_mask = masking.draw_image_mask(len(images), length, self.img_mask_ratio,
                                                 images.device)
        else:
            visible = masking.check_image_mask(image_mask, len(images), length)
        if node_mask is None:
            node_mask = masking.draw_node_mask(graphs.batch, graphs.num_graphs,
                                               self.osm_mask_ratio, self.node_mask_scope)
        elif node_mask.dtype != torch.bool or node_mask.shape != graphs.batch.shape:
            raise ModelError(f"node_mask: {node_mask.dtype} of shape {list(node_mask.shape)}; "
                             f"expected bool of shape {list(graphs.batch.shape)}")

        shown, hidden = masking.split_mask(image_mask, visible)                # [B, V], [B, L - V]
        # both passes share the embedded patches, and each encoder runs once
        patches = self.image_encoder.embed_patches(pixels, grid)
        shown_tokens, all_tokens = self.image_encoder.encode(patches.take(shown), patches)
        masked_nodes, nodes = self.osm_encoder(graphs, grid, node_mask, None)            # [N, 128]
        shares = self._shares(graphs, grid)
        osm_pred = self._osm_from_image(all_tokens, masked_nodes, graphs, node_mask, grid, shares)
        keys = self._image_from_osm(shown_tokens, shown, length, nodes, graphs, grid, shares)
        hidden_pred = self._decode(keys, hidden)
        target = pixels
        if self.image_target == "latent":
            target = objectives.latent_target(all_tokens[:, 1:]) if latent is None else latent
        image_error = objectives.IMAGE_ERRORS[self.image_target](hidden_pred,
                                                                 take_tokens(target, hidden))
        osm_error = objectives.OSM_ERRORS[self.osm_loss](
            osm_pred, self.osm_encoder.features(graphs)[node_mask])                  # [M, F] | [M]
        contrast_loss = None
        if self.contrast is not None:
            contrast_loss = self.contrast(nodes, all_tokens[:, 1:], graphs, patch_shares(
                graphs, grid) if shares is None else shares)
        whole = cache(partial(self._whole_image, keys, shown, hidden, hidden_pred))
        return RoseOutput(image_error.mean(), osm_error.sum() / max(osm_error.numel(), 1),
                          osm_pred, image_mask, node_mask, whole, contrast_loss)

    def patchify(self, images: Tensor) -> Tensor:
        """Return each patch's pixels [B, L, p * p * 3], row-major: row, column, channel last."""
        return self.image_encoder.patchify(images)

    def unpatchify(self, pixels: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return images [B, 3, H, W] of pixels [B, L, p * p * 3]; the inverse of `patchify`."""
        return self.image_encoder.unpatchify(pixels, grid)

    def encode_image(self, images: Tensor, added: Tensor | None = None) -> Tensor:
        """Return the RS representation: [B, 1 + L, D] image tokens, CLS first; `added` [B, L, D]
        is what a downstream model adds to the embedded patches."""
        return self.image_encoder.encode(self.image_encoder.embed(images, added))[0]

    def encode_osm(self, graphs: Batch,
                   grid: tuple[int, int] | None = None) -> tuple[Tensor, Tensor]:
        """Return the OSM representation: nodes [N, graph_out_dim], readout [B, 2 * graph_out_dim].

        Node positions refer to the `grid` (rows, columns) of patches, or the encoder's own.
        """
        self.osm_encoder.check(graphs)
        nodes, = self.osm_encoder(graphs, grid or self.image_encoder.patch_embed.grid_size, None)
        return nodes, self.osm_encoder.read_out(nodes, graphs)

    def fuse(self, images: Tensor, graphs: Batch, mode: str = "global",
             added: Tensor | None = None) -> Tensor:
        """Return the RS-OSM representation (method: two fusions), with image_skip plus the image
        tokens.

        Args:
            mode: "global" gives [B, 1 + L, D], the image tokens referring to the graph token.
                "fine" gives [B, L, D]: each patch refers to each node of its tile, and the results
                are averaged, weighted by nearness in position code.
            added: of `encode_image`.

        Raises:
            ModelError: unknown mode, or shapes that do not fit.
        """
        return self.fuse_encoded(self.encode(images, graphs, added), images, graphs, mode)

    def encode(self, images: Tensor, graphs: Batch, added: Tensor | None = None) -> Encoded:
        """Return the RS and OSM representations of a batch, as `fuse_encoded` takes them."""
        return Encoded(self.encode_image(images, added),
                       *self.encode_osm(graphs, self.check(images, graphs)))

    def fuse_encoded(self, encoded: Encoded, images: Tensor, graphs: Batch,
                     mode: str = "global") -> Tensor:
        """Return `fuse` of a batch that is encoded already."""
        if mode not in ("global", "fine"):
            raise ModelError(f"mode={mode}: choose global or fine")
        grid = self.check(images, graphs)
        tokens = self.token_proj(encoded.tokens)                                    # [B, 1 + L, D]
        if mode == "global":
            token = self.graph_token_proj(encoded.readout)[:, None]                     # [B, 1, D]
            positions = token_code(self.width, grid, images.device)
            placed = self._placed(encoded.nodes, graphs, self._shares(graphs, grid))
            fused = self.image_block(token, tokens, token, positions, placed=placed)[1]
        else:
            patches = tokens[:, 1:]                                                     # [B, L, D]
            if self.fine_input == "double":
                patches = self.token_proj(patches)
            fused = self.osm_block.fuse(patches, self.node_proj(encoded.nodes),
                                        self.nearness(graphs, grid),
                                        NodePadding(graphs.batch, len(images)))
        return fused + encoded.tokens[:, -fused.shape[1]:] if self.image_skip else fused

    def placed_message(self, graphs: Batch, grid: tuple[int, int]) -> Tensor | None:
        """Return [B, L, D], what the objects that cover a patch add to its token in the global
        fusion; None with placement=tile."""
        placed = self._placed(self.encode_osm(graphs, grid)[0], graphs, self._shares(graphs, grid))
        return None if placed is None else placed[:, 1:]

    def _placed(self, nodes: Tensor, graphs: Batch, shares: Tensor | None) -> Tensor | None:
        """Return [B, 1 + L, D], the projected nodes [N, graph_out_dim] where they are, weighted by
        the `shares` of `_shares`."""
        if shares is None:
            return None
        return place(self.node_proj(nodes), shares, NodePadding(graphs.batch, graphs.num_graphs))

    def _shares(self, graphs: Batch, grid: tuple[int, int]) -> Tensor | None:
        """Return [N, L], the share of each patch that each node covers; None with
        placement=tile."""
        return None if self.placement == "tile" else patch_shares(graphs, grid)

    def osm_patches(self, nodes: Tensor, graphs: Batch, grid: tuple[int, int]) -> Tensor:
        """Return [B, L, graph_out_dim], each patch's mean of its tile's nodes [N, graph_out_dim].

        The mean is weighted as in the fine fusion, by nearness in position code. The paper has no
        such representation; it is the fine fusion without the image. It is nan without objects.
        """
        with torch.autocast(nodes.device.type, enabled=False):
            return node_mean(nodes, self.nearness(graphs, grid),
                             NodePadding(graphs.batch, graphs.num_graphs))

    def osm_attention(self, images: Tensor, graphs: Batch, nodes: Tensor) -> Tensor:
        """Return [len(nodes), heads, 1 + L], attention of nodes over their tile's image tokens.

        `nodes` are indices into the batch's N nodes, in any order.
        """
        grid = self.check(images, graphs)
        nodes = torch.as_tensor(nodes, device=graphs.x.device, dtype=torch.long)
        if nodes.numel() and not 0 <= int(nodes.min()) <= int(nodes.max()) < graphs.num_nodes:
            raise ModelError(f"nodes: indices {int(nodes.min())} to {int(nodes.max())}; the batch "
                             f"has {graphs.num_nodes} nodes")
        order = nodes.argsort(stable=True)
        embeddings, = self.osm_encoder(graphs, grid, None)
        tokens = self.encode_image(images)
        _, attention = self._attend_image(tokens, embeddings, graphs, nodes[order], grid,
                                          self._shares(graphs, grid))
        return attention[order.argsort()]

    def _image_from_osm(self, tokens: Tensor, shown: Tensor, length: int, nodes: Tensor,
                        graphs: Batch, grid: tuple[int, int], shares: Tensor | None) -> Tensor:
        """Return the decoder's input [B, 1 + L, D], from tokens [B, 1 + V, D] of the visible
        patches [B, V] of L, and the OSM nodes [N, graph_out_dim]."""
        tokens = self.token_proj(tokens)
        position = torch.cat([shown.new_zeros(len(shown), 1), shown + 1], dim=1)  # CLS is visible
        fill = MaskFill(self.image_mask_token, position, 1 + length)
        readout = self.osm_encoder.read_out(nodes, graphs)
        token = self.graph_token_proj(readout)[:, None]                                 # [B, 1, D]
        positions = token_code(self.width, grid, tokens.device)                        # [1 + L, D]
        _, keys = self.image_block(token, tokens, token, positions, fill,
                                   self._placed(nodes, graphs, shares))
        return keys + positions

    def _decode(self, keys: Tensor, patches: Tensor) -> Tensor:
        """Return pixels [B, Q, p * p * 3] of patches [B, Q], from keys [B, 1 + L, D]."""
        return self.image_pred(self.image_decoder_norm(self.image_decoder(keys, patches + 1)))

    def _whole_image(self, keys: Tensor, shown: Tensor, hidden: Tensor,
                     hidden_pred: Tensor) -> Tensor:
        """Return pixels [B, L, p * p * 3], given those hidden [B, L - V, p * p * 3]."""
        pixels = torch.cat([self._decode(keys, shown), hidden_pred], dim=1)
        return take_tokens(pixels, torch.cat([shown, hidden], dim=1).argsort(dim=1))

    def _osm_from_image(self, tokens: Tensor, embeddings: Tensor, graphs: Batch, node_mask: Tensor,
                        grid: tuple[int, int], shares: Tensor | None) -> Tensor:
        """Return [M, F] features of the masked nodes, from embeddings [N, 128] with them masked
        and tokens [B, 1 + L, D] of the whole image."""
        keys, _ = self._attend_image(tokens, embeddings, graphs, node_mask.nonzero()[:, 0], grid,
                                     shares)
        return self.osm_pred(self.osm_decoder_norm(keys))

    def _attend_image(self, tokens: Tensor, embeddings: Tensor, graphs: Batch, nodes: Tensor,
                      grid: tuple[int, int], shares: Tensor | None) -> tuple[Tensor, Tensor]:
        """Apply the OSM block to nodes [M] (ascending) and image tokens [B, 1 + L, D]; return K
        [M, D] and attention [M, heads, 1 + L]. A masked node's outline is known, as its centroid
        is by its position code."""
        node_pe = node_code(self.width, self.osm_encoder.centroids(graphs)[nodes], grid)
        token_pe = token_code(self.width, grid, tokens.device)
        pad = NodePadding(graphs.batch[nodes], len(tokens))
        return self.osm_block(self.token_proj(tokens), self.node_proj(embeddings[nodes]), token_pe,
                              node_pe, pad, None if shares is None else shares[nodes])

    def nearness(self, graphs: Batch, grid: tuple[int, int]) -> Tensor:
        """Return [N, L] exp(w / 0.5), w = P(D, node) . P(D, patch) scaled to 0..1 over patches;
        with placement=coverage times 1 + 16 c, c the share of the patch that the node covers."""
        nodes = node_code(self.width, self.osm_encoder.centroids(graphs), grid)
        # the codes are fixed, so rounding them gains nothing
        with torch.autocast(nodes.device.type, enabled=False):
            raw = nodes @ token_code(self.width, grid, nodes.device)[1:].T               # [N, L]
        low, high = raw.amin(1, keepdim=True), raw.amax(1, keepdim=True)
        scaled = (raw - low) / (high - low).clamp(min=torch.finfo(raw.dtype).eps)
        near, shares = (scaled / FUSION_TEMPERATURE).exp(), self._shares(graphs, grid)
        return near if shares is None else near * (1 + COVERED * shares)

    def as_backbone(self, modality: str = "image", **options: Any) -> nn.Module:
        """Return a timm-style feature extractor of this Rose, whose parameters it shares.

        Arguments, methods and errors as of `models.backbone.Backbone`.
        """
        return registry.load("models.backbone:Backbone")(self, modality, **options)

    @property
    def checkpoint_activations(self) -> bool:
        """Whether the image encoder recomputes its blocks in the backward pass."""
        return self.image_encoder.checkpoint_activations

    @checkpoint_activations.setter
    def checkpoint_activations(self, value: bool) -> None:
        self.image_encoder.checkpoint_activations = value

    def check(self, images: Tensor, graphs: Batch) -> tuple[int, int]:
        """Return (rows, columns) of patches; raise ModelError if images and graphs do not fit."""
        grid = self.image_encoder.grid(images)
        self.osm_encoder.check(graphs, len(images))
        return grid
