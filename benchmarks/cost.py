"""Compute what a tile costs from first principles: multiplications, bytes, memory and network.

    python benchmarks/cost.py                    # ViT-B/16, 60 nodes a tile, batch 64
    python benchmarks/cost.py --nodes 150 --batch 256

Formulas are printed beside what is counted and measured; `docs/scaling.md` explains the terms.
FLOPs are those of the mathematics, two for a multiplication and its addition, in matrix products
and attention. What is computed a second time to save memory does not count, and elementwise work
is a fraction of a per cent.
"""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.command import parse
from benchmarks.measure import random_graphs, random_images
from models import build_rose
from models.fusion import HEADS
from models.rose import Rose
from utils.tables import markdown_table

STEPS = 5        # of Set2Set
FEATURES = 524   # of a node
GRAPH = 128      # width of a node's embedding
ADAM = 2         # numbers that AdamW keeps for each parameter
FP32, INT64 = 4, 8  # bytes


class Encoder(NamedTuple):
    """Sizes of an image encoder."""

    width: int = 768    # D
    hidden: int = 3072  # of an MLP
    depth: int = 12     # blocks
    patch: int = 16     # side in pixels
    side: int = 224     # of the image in pixels

    @property
    def patches(self) -> int:
        """L."""
        return (self.side // self.patch) ** 2


class Load(NamedTuple):
    """A tile's OSM nodes and edges, tiles a batch, and both mask ratios."""

    nodes: int = 60
    edges: int = 300
    batch: int = 64
    image_ratio: float = 0.75
    osm_ratio: float = 0.15

    @property
    def masked(self) -> int:
        """Masked nodes of a tile."""
        return max(int(self.nodes * self.osm_ratio), 1) if self.nodes else 0


def forward_flops(encoder: Encoder, load: Load) -> dict[str, float]:
    """Return the FLOPs of a tile's forward pass by step; tiles share what is done once a batch."""
    width, patches = encoder.width, encoder.patches
    whole, shown = tokens_of(encoder, load)
    hidden = whole - shown                                  # patches that the decoder reconstructs
    pixels, square, masked = 3 * encoder.patch**2, width**2, load.masked
    readout = STEPS * 2 * 4 * GRAPH * (2 * GRAPH + GRAPH)                 # an LSTM cell of 4 gates
    return {
        "patch projection": 2 * patches * pixels * width,
        "ViT, visible patches": encoder.depth * block_flops(shown, width, encoder.hidden),
        "ViT, whole image": encoder.depth * block_flops(whole, width, encoder.hidden),
        "token_proj": 2 * (shown + whole) * square,
        # self-attention: q, k, v of the visible tokens (of mask token and positions once a batch),
        # its scores and values, its output
        "image block, self-attention": (
            (6 * shown + 2 * whole + (6 + 4 * whole) / load.batch) * square
            + 4 * whole**2 * width),
        "image block, the rest": (7 + 2 * whole) * square + 4 * HEADS * whole * width,
        # q, k, v of all tokens, and what follows of the hidden ones alone
        "image decoder": (
            (6 * whole + 18 * hidden) * square + 4 * hidden * whole * width
            + 2 * hidden * width * pixels),
        "OSM encoder, both passes": (
            2 * 2 * load.nodes * FEATURES * GRAPH + readout + 2 * 2 * GRAPH * width),
        # of each masked node, in squares of D: A_self 4, A_q2k 2, projections of A_k2q, guide and
        # finish 4, mlp 2
        "OSM block": (
            masked * (2 * GRAPH * width + 12 * square + (3 + 4 * HEADS) * whole * width)
            + whole * square / load.batch),
        "OSM prediction": 2 * masked * width * FEATURES,
    }


def tokens_of(encoder: Encoder, load: Load) -> tuple[int, int]:
    """Return the tokens of the whole image and of its visible patches, CLS included."""
    return 1 + encoder.patches, 1 + int(encoder.patches * (1 - load.image_ratio))


def block_flops(tokens: int, width: int, hidden: int) -> float:
    """Return the FLOPs of a ViT block: qkv 6 D^2 a token, proj 2 D^2, MLP, scores and values."""
    return 8 * tokens * width**2 + 4 * tokens * width * hidden + 4 * tokens**2 * width


def training_flops(encoder: Encoder, load: Load) -> float:
    """Return the FLOPs of a tile's forward and backward pass.

    The gradients of inputs and of weights cost one forward pass each. Pixels and features of nodes
    need no gradient, which their first layers save; but a learned token stands for masked nodes.
    """
    parts = forward_flops(encoder, load)
    return 3 * sum(parts.values()) - parts["patch projection"] - 2 * load.nodes * FEATURES * GRAPH


def vit_flops(encoder: Encoder) -> float:
    """Return a plain ViT's FLOPs, forward and backward, on an image: the unit of step_time.py."""
    projection = 2 * encoder.patches * 3 * encoder.patch**2 * encoder.width
    blocks = encoder.depth * block_flops(1 + encoder.patches, encoder.width, encoder.hidden)
    return 2 * projection + 3 * blocks


def counted_flops(rose: Rose, load: Load) -> tuple[float, float]:
    """Return a tile's FLOPs, forward, and forward and backward, as PyTorch counts them."""
    images, graphs = random_images(load.batch), random_graphs(load.batch, load.nodes)
    counter = FlopCounterMode(
        display=False, custom_mapping=ONEDNN if torch.backends.mkldnn.is_available() else None)
    with sdpa_kernel(SDPBackend.MATH):  # the counter knows products, but no CPU's fused attention
        with counter:
            loss = rose(images, graphs).loss
        forward = counter.get_total_flops()
        with counter:
            loss.backward()
    rose.zero_grad(set_to_none=True)
    return forward / load.batch, (forward + counter.get_total_flops()) / load.batch


def saved_bytes(rose: Rose, load: Load, half: bool) -> float:
    """Return the bytes a tile, less parameters, that autograd keeps for the backward pass."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in rose.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage  # held, so that no other storage takes its place
        return tensor

    images, graphs = random_images(load.batch), random_graphs(load.batch, load.nodes)
    with (torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
          torch.autocast("cpu", torch.bfloat16, enabled=half)):
        loss = rose(images, graphs).loss
    del loss
    return sum(storage.nbytes() for storage in saved.values()) / load.batch


def _onednn_flops(x: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
    return 2 * math.prod(x) * weight[0]


# a product that models/linear.py uses and the counter does not know
ONEDNN = {torch.ops.mkldnn._linear_pointwise: _onednn_flops}


def sent_bytes(encoder: Encoder, load: Load) -> dict[str, int]:
    """Return a tile's bytes from worker to device: pixels as stored, graph, both masks."""
    return {"image, uint8": 3 * encoder.side**2,
            "nodes, float32": load.nodes * (FEATURES + 1) * FP32,
            "edges, int64, and codes, float32": load.edges * (2 * INT64 + FP32),
            "masks and tile numbers": encoder.patches + load.nodes * (1 + INT64)}


def stored_bytes(load: Load) -> int:
    """Return the bytes of a tile's graph in the compact layout (datasets/stores/compact_city.py).

    A node's text and its label take 2 bytes each, an edge's source, target and code 1 each, and
    the checksum 4.
    """
    return load.nodes * (12 * FP32 + 2 + 2) + load.edges * (2 + 1) + FP32


def model_bytes(parameters: int) -> dict[str, int]:
    """Return the bytes that do not grow with the batch, fp32 also under autocast."""
    return {"parameters": FP32 * parameters, "gradients": FP32 * parameters,
            "AdamW's two moments": ADAM * FP32 * parameters}


def activation_bytes(encoder: Encoder, load: Load, half: bool) -> float:
    """Return the bytes that a tile's ViT blocks and decoder block keep for their backward pass.

    A token keeps in a block (models/block.py) both inputs of the norms, q, k, v and attention's
    output, of width D each, and the MLP's hidden row: 10 D numbers in an ordinary ViT. In half
    precision the two inputs stay fp32.
    """
    whole, shown = tokens_of(encoder, load)
    hidden, size, width = whole - shown, 2 if half else FP32, encoder.width
    token = 2 * width * FP32 + (4 * width + encoder.hidden) * size
    blocks = encoder.depth * (shown + whole) * token
    # only the hidden patches continue
    decoder = whole * width * (FP32 + 2 * size) + hidden * width * (FP32 + 6 * size)
    return blocks + decoder


def all_reduce_bytes(parameters: int, gpus: int) -> float:
    """Return the bytes that each GPU sends, and receives, to average fp32 gradients in a ring."""
    return 2 * (gpus - 1) / gpus * FP32 * parameters


class Settings(NamedTuple):
    """A timm ViT, OSM nodes in a tile, tiles in a batch."""

    encoder: str = "vit_base_patch16_224"
    nodes: int = 60
    batch: int = 64


def results(quick: bool) -> list[str]:
    """Return lines of Markdown; `quick` is a trial with a tiny network."""
    return lines(Settings("test_vit", batch=4) if quick else Settings())


def lines(settings: Settings) -> list[str]:
    torch.manual_seed(0)
    rose = build_rose(settings.encoder)
    encoder = encoder_of(rose)
    load = Load(settings.nodes, 5 * settings.nodes, settings.batch)
    parameters = sum(parameter.numel() for parameter in rose.parameters())
    return [
        f"{settings.encoder}, {load.nodes} nodes and {load.edges} edges a tile, batch "
        f"{load.batch}, {parameters:,} parameters:", "",
        *flops_table(rose, encoder, load), "", *bytes_table(rose, encoder, load, parameters),
    ]


def encoder_of(rose: Rose) -> Encoder:
    """Return the sizes of a network's image encoder, on images of 224 pixels."""
    blocks = rose.image_encoder.blocks
    return Encoder(rose.width, blocks[0].mlp.fc1.out_features, len(blocks),
                   rose.image_encoder.patch)


def flops_table(rose: Rose, encoder: Encoder, load: Load) -> list[str]:
    parts, small = forward_flops(encoder, load), load._replace(batch=min(load.batch, 4))
    forward, both = counted_flops(rose, small)
    unit, total = vit_flops(encoder), training_flops(encoder, load)
    rows = [[name, f"{flops / 1e9:.3f}", f"{flops / sum(parts.values()):.1%}"]
            for name, flops in parts.items()]
    rows += [["forward", f"{sum(parts.values()) / 1e9:.3f}", "100.0%"],
             ["forward and backward", f"{total / 1e9:.3f}", ""],
             ["a plain ViT's forward and backward", f"{unit / 1e9:.3f}", ""]]
    formula = sum(forward_flops(encoder, small).values()), training_flops(encoder, small)
    return [markdown_table(["a tile", "GFLOP", "share"], rows), "",
            f"A step is {total / unit:.3f} plain ViT passes. PyTorch's count on the network, in "
            f"batches of {small.batch}: forward {forward / formula[0]:.4f} times the formula, "
            f"forward and backward {both / formula[1]:.4f} times."]


def bytes_table(rose: Rose, encoder: Encoder, load: Load, parameters: int) -> list[str]:
    rows = [[f"to the device: {name}", f"{size:,}"]
            for name, size in sent_bytes(encoder, load).items()]
    rows += [["to the device, a tile", f"{sum(sent_bytes(encoder, load).values()):,}"],
             ["graph of a tile on disk, compact layout", f"{stored_bytes(load):,}"]]
    small = load._replace(batch=min(load.batch, 4))
    for kind in ("fp32", "bf16"):
        formula = activation_bytes(encoder, load, kind == "bf16")
        measured = saved_bytes(rose, small, kind == "bf16")
        rows += [[f"kept for the backward pass, a tile, {kind}: the blocks, by the formula",
                  f"{formula:,.0f}"],
                 [f"kept for the backward pass, a tile, {kind}: all of the network, measured",
                  f"{measured:,.0f}"]]
    rows += [[name, f"{size:,}"] for name, size in model_bytes(parameters).items()]
    rows += [[f"sent by each of {gpus} GPUs to average gradients, a step",
              f"{all_reduce_bytes(parameters, gpus):,.0f}"] for gpus in (2, 8, 64)]
    return [markdown_table(["what", "bytes"], rows)]


if __name__ == "__main__":
    print("\n".join(lines(parse(__doc__, Settings, Settings._field_defaults))))
