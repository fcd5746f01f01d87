"""A Rose behind the interface of a timm ViT, for libraries that take such backbones.

    backbone = load_rose("runs/rose/model_120.tar").as_backbone("image")
    tokens = backbone.forward_features(images)                     # [B, 1 + L, D]
    maps = backbone.forward_intermediates(images, [2, 5, 8, 11], intermediates_only=True)
                                                                   # four [B, D, rows, columns]
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import Batch

from models import registry
from models.rose import Encoded, Rose
from utils.errors import ModelError

MODES = {"image": None, "fusion": "global", "fine": "fine"}  # modality -> mode of `Rose.fuse`
POOLS = ("token", "avg", "")
_ENCODER = "rose.image_encoder."


class Backbone(nn.Module):
    """The tokens of an image, or of an image and its OSM objects, as timm's ViTs give them.

    It has what timm's own models have (1.0): forward, forward_features, forward_head,
    forward_intermediates, feature_info, num_features, pretrained_cfg and the rest, so that
    `FeatureGetterNet`, layer-wise rates and `resolve_model_data_config` work with it.

    "image" reads images alone. "fusion" (global) and "fine" also read a PyG Batch of graphs, one a
    tile: pass it as `graphs`, or, to what calls a backbone with images alone, set `graphs` before
    each batch. Of their intermediate layers the last is the fusion; those before it are the image
    encoder's, which know nothing of the objects.

    The parameters of `rose` off this path are frozen, in the Rose itself, so that every trainable
    one receives a gradient.

    Args:
        modality: "image", "fusion" or "fine".
        num_classes: of a linear classifier on top; 0: none, and `forward` returns vectors.
        global_pool: what `forward` makes of the tokens: "token" (CLS), "avg" (mean of the patches)
            or "" (none); None: "token", or "avg" for "fine", which has no CLS.

    Attributes:
        graphs: of the next batch, where a call gives none.
        num_prefix_tokens: tokens in front of the patches: 1, or 0 for "fine". An encoder without
            CLS has the mean of its patches there.

    Raises:
        ModelError: unknown modality or pooling; or, from a call, images and graphs that do not fit.
    """

    num_reg_tokens = 0
    output_fmt = "NLC"

    def __init__(self, rose: Rose, modality: str = "image", num_classes: int = 0,
                 global_pool: str | None = None):
        super().__init__()
        if modality not in MODES:
            raise ModelError(f"modality={modality}: a backbone has a token a patch of an image and "
                             f"the encoder's layers; choose one of {', '.join(MODES)}")
        self.rose, self.modality, self.graphs = rose, modality, None
        self.num_features = self.embed_dim = self.head_hidden_size = rose.width
        self.num_prefix_tokens = 0 if modality == "fine" else 1
        encoder, self.depth = rose.image_encoder, len(rose.image_encoder.blocks)
        self.feature_info = [
            {"module": f"{_ENCODER}blocks.{number}", "num_chs": rose.width,
             "reduction": encoder.patch} for number in range(self.depth)]
        representation = registry.load(registry.MODALITIES[modality].home)
        parameters = representation.trained("tokens", rose)
        for name, parameter in rose.named_parameters():
            parameter.requires_grad_(name.startswith(parameters))
        usual = "token" if self.num_prefix_tokens else "avg"
        self.reset_classifier(num_classes, usual if global_pool is None else global_pool)

    @property
    def patch_embed(self) -> nn.Module:
        """The encoder's timm PatchEmbed: `patch_size`, and the `grid_size` it was made for."""
        return self.rose.image_encoder.patch_embed

    @property
    def blocks(self) -> nn.Sequential:
        """The encoder's blocks."""
        return self.rose.image_encoder.blocks

    @property
    def norm(self) -> nn.Module:
        """The encoder's final norm."""
        return self.rose.image_encoder.norm

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What images must be, as timm says it: mean and std of their normalisation, their side."""
        encoder = self.rose.image_encoder
        side = tuple(encoder.patch_embed.img_size or (224, 224))
        return {"architecture": self.rose.build["image_encoder"], "input_size": (3, *side),
                "fixed_input_size": False, "interpolation": "bicubic", "crop_pct": 1.0,
                "mean": encoder.mean, "std": encoder.std, "num_classes": self.num_classes,
                "first_conv": f"{_ENCODER}patch_embed.proj", "classifier": "head"}

    default_cfg = pretrained_cfg

    def forward(self, x: Tensor, graphs: Batch | None = None) -> Tensor:
        """Return [B, num_classes] or vectors [B, D] (tokens if global_pool is "") of images
        [B, 3, H, W], normalised with the mean and std of `pretrained_cfg`."""
        return self.forward_head(self.forward_features(x, graphs))

    def forward_features(self, x: Tensor, graphs: Batch | None = None) -> Tensor:
        """Return tokens [B, num_prefix_tokens + L, D] of images [B, 3, H, W]."""
        return self._output(self.rose.encode_image(x), x, graphs)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return `forward` of the tokens of `forward_features`; with `pre_logits` without the
        classifier."""
        if self.global_pool == "token":
            x = x[:, 0]
        elif self.global_pool == "avg":
            x = x[:, self.num_prefix_tokens:].mean(1)
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self, x: Tensor, indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False, norm: bool = False, stop_early: bool = False,
        output_fmt: str = "NCHW", intermediates_only: bool = False, graphs: Batch | None = None,
    ) -> list[Any] | tuple[Tensor, list[Any]]:
        """Return the tokens of `forward_features` and a list of intermediate layers.

        Args:
            x: [B, 3, H, W].
            indices: of blocks, negative ones from the end; a number: so many last; None: all. The
                layers come in the order of the blocks.
            return_prefix_tokens: make each layer a pair, with its tokens in front of the patches.
            norm: apply the final norm to each layer of the encoder; a fusion has norms of its own.
            stop_early: end at the last block asked for, whose tokens are then the final ones.
            output_fmt: of a layer: "NCHW", [B, D, rows, columns], or "NLC", [B, L, D].
            intermediates_only: return the list alone.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ModelError(f"output_fmt={output_fmt}: choose NCHW or NLC")
        encoder = self.rose.image_encoder
        taken, layers = self._blocks_of(indices), {}
        for number, tokens in enumerate(encoder.tokens_by_block(x)):
            if number in taken:
                layers[number] = encoder.output(tokens, norm)[:, 1 - self.num_prefix_tokens:]
            if number == taken[-1] and (stop_early or intermediates_only):
                break
        fused = MODES[self.modality] is not None and self.depth - 1 in layers
        if fused or not intermediates_only:
            final = self._output(encoder.output(tokens), x, graphs)
        if fused:
            layers[self.depth - 1] = final
        grid = encoder.grid(x)
        shown = [self._shaped(layers[number], grid, output_fmt, return_prefix_tokens)
                 for number in taken]
        return shown if intermediates_only else (final, shown)

    def get_classifier(self) -> nn.Module:
        """Return the classifier, or the identity."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a new one, drawn as timm's: normal(0.02), bias 0; with 0
        classes by none. Raise ModelError for a pooling that the tokens do not have."""
        pool = self.global_pool if global_pool is None else global_pool
        if pool not in POOLS or (pool == "token" and not self.num_prefix_tokens):
            raise ModelError(f"global_pool={pool}: choose one of "
                             f"{', '.join(repr(each) for each in POOLS)}; modality=fine has no "
                             "CLS token")
        self.num_classes, self.global_pool = num_classes, pool
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        if num_classes:
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def no_weight_decay(self) -> set[str]:
        """Return the names of the encoder's tokens and positions, as timm's optimizers ask."""
        return {f"{_ENCODER}{name}" for name in self.rose.image_encoder.no_weight_decay()}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return patterns that put parameters into layers, from the patches to the head, for
        `timm.optim`'s layer-wise rates; fusion and head are the last."""
        encoder = _ENCODER.replace(".", r"\.")
        return {"stem": rf"^{encoder}(?:cls_token|reg_token|pos_embed|rope|patch_embed|norm_pre)",
                "blocks": [(rf"^{encoder}blocks\.(\d+)", None),
                           (rf"^{encoder}norm\.", (99999,))]}  # timm's sign of: as the last block

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the encoder's blocks in the backward pass, or keep their activations."""
        self.rose.checkpoint_activations = enable

    def _blocks_of(self, indices: int | Sequence[int] | None) -> list[int]:
        """Return the numbers of the blocks that `forward_intermediates` was asked for, rising."""
        count = self.depth
        if indices is None or isinstance(indices, int):
            last = count if indices is None else indices
            taken = list(range(count - last, count)) if last > 0 else []
        else:
            taken = [index + count if index < 0 else index for index in indices]
        if not taken or not 0 <= min(taken) <= max(taken) < count:
            raise ModelError(f"indices={indices}: expected numbers of the encoder's {count} "
                             f"blocks, -{count} to {count - 1}, or how many last ones, 1 to "
                             f"{count}")
        return sorted(set(taken))

    def _output(self, tokens: Tensor, x: Tensor, graphs: Batch | None) -> Tensor:
        """Return the tokens of this modality, of the encoder's [B, 1 + L, D]."""
        mode = MODES[self.modality]
        if mode is None:
            return tokens
        graphs = self.graphs if graphs is None else graphs
        if graphs is None:
            raise ModelError(f"modality={self.modality}: reads OSM objects, and no graphs were "
                             "given, expected a PyG Batch of a graph a tile; call "
                             "backbone(images, graphs), or set backbone.graphs before")
        osm = self.rose.encode_osm(graphs, self.rose.check(x, graphs))
        return self.rose.fuse_encoded(Encoded(tokens, *osm), x, graphs, mode)

    def _shaped(self, tokens: Tensor, grid: tuple[int, int], output_fmt: str,
                prefix: bool) -> Any:
        """Return a layer as asked for."""
        patches = tokens[:, self.num_prefix_tokens:]
        if output_fmt == "NCHW":
            patches = patches.transpose(1, 2).unflatten(2, grid).contiguous()
        return (patches, tokens[:, :self.num_prefix_tokens]) if prefix else patches
