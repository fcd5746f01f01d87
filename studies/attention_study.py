"""Where OSM objects look in the image, measured over a dataset and drawn for one tile."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from datasets import TileDataset, collate
from datasets.sample_city.tiles import ensure_sample
from datasets.stores.city import MODALITIES
from datasets.stores.tile import CORNERS, LABEL
from models.network_file import NetworkFile
from models.rose import Rose
from studies.added import added
from studies.attention_figures import change_figure, shares_figure, tile_attention_figure
from studies.attention_mass import ObjectAttention, summarise, tile_attention
from studies.attention_report import in_words, write
from studies.influence import change_on_box, object_influence, tile_influence
from studies.keys import AttentionConfig
from training.attention import attention_mass, patch_attention, patch_coverage
from training.compatibility import (
    check_image_size,
    check_modalities,
    check_node_width,
    check_tiles_text,
    find_checkpoint,
)
from training.devices import launch_single
from training.reconstruction import sample_indices
from utils.errors import ConfigError, TileError

DRAWN = 4  # objects
LARGEST_DRAWN = 1 / 8  # of the tile: a larger box says little about where an object looks


def study_attention(cfg: AttentionConfig) -> str:
    """Measure and draw the attention, write all outputs, and return a summary in words.

    Raise RoseError if the network or the tiles cannot be used as asked.
    """
    checkpoint = find_checkpoint(cfg.checkpoint, cfg.save_root_dir)
    fabric = launch_single(cfg.accelerator)
    network = NetworkFile(checkpoint)
    fabric.print(*(f"note: {note}" for note in network.notes_on_rose), sep="\n",
                 end="\n" * bool(network.notes_on_rose))
    rose = network.rose().to(fabric.device).eval()
    ensure_sample(fabric, cfg.data_root, cfg.sample_tiles)
    tiles = TileDataset(cfg.data_root, cfg.cities, cfg.image_size, rose.osm_encoder.in_dim + 1)
    check_modalities(tiles, MODALITIES, "the attention of objects to the image",
                     "choose a dataset of both")
    check_node_width(checkpoint, tiles.node_width, tiles)
    check_tiles_text(network, tiles)
    check_image_size(checkpoint, rose.image_encoder.patch, cfg.image_size)
    drawn = tile_asked_for(tiles, cfg)
    indices = sample_indices(tiles, cfg.max_tiles or len(tiles))
    objects = tile_attention(rose, tiles, indices, cfg.batch_size)
    if not len(objects):
        raise TileError(f"{cfg.data_root}: none of the tiles read has an OSM object, expected "
                        "some whose attention can be looked at; choose other cities=, or prepare "
                        "the tiles with an extract that covers them")
    patches = (cfg.image_size // rose.image_encoder.patch) ** 2
    summary = summarise(objects, patches)
    changed = tile_influence(rose, tiles, indices)
    summary["adds"] = added(rose, tiles, indices, cfg.batch_size)
    summary["fusions"] = {mode: summarise(each, patches) for mode, each in changed.items()}
    drawn = most_covered_tile(objects, tiles) if drawn is None else drawn
    figures = draw(rose, tiles, drawn, cfg.nodes)
    if summary["objects"]:
        figures["attention_shares"] = shares_figure(objects, summary)
    write(cfg, network, objects, changed, summary, tiles, figures)
    return in_words(cfg, checkpoint, objects, summary, figures)


def tile_asked_for(tiles: TileDataset, cfg: AttentionConfig) -> int | None:
    """Return the index of the tile to draw, or None to choose one; raise RoseError if the tile
    does not exist, or has no such objects."""
    if cfg.tile is None:
        if cfg.nodes is not None:
            raise ConfigError(f"nodes={cfg.nodes}: objects are numbered within a tile; name it "
                              "with tile=")
        return None
    if cfg.tile not in tiles.names:
        raise ConfigError(f"tile={cfg.tile}: not among the {len(tiles)} tiles of {cfg.data_root}, "
                          f"which are {tiles.names[0]} to {tiles.names[-1]}; choose one of them, "
                          "or leave tile= out")
    index = tiles.names.index(cfg.tile)
    count = len(tiles.read(index)[1].x)
    if not count:
        raise TileError(f"{cfg.data_root}: tile {cfg.tile} has no OSM object, expected one or "
                        "more to draw; choose another tile=")
    if wrong := [node for node in cfg.nodes or [] if node >= count]:
        raise ConfigError(f"nodes={cfg.nodes}: no object {wrong[0]}; those of tile {cfg.tile} "
                          f"have the numbers 0 to {count - 1}; choose among them, or leave "
                          "nodes= out")
    return index


def most_covered_tile(objects: ObjectAttention, tiles: TileDataset) -> int:
    """Return the index of the tile of which the objects to draw cover most."""
    def covered(index: int) -> float:
        own = objects.where(objects.tile == index)
        chosen = largest_of_each_tag(own.box_share, [tiles.tag(index, code) for code in own.code])
        return own.box_share[chosen].clip(max=LARGEST_DRAWN).sum()
    return int(max(np.unique(objects.tile), key=covered))


def largest_of_each_tag(box_share: np.ndarray, tags: Sequence[str]) -> list[int]:
    """Return DRAWN objects of different tags: the largest up to LARGEST_DRAWN, then others."""
    order = np.lexsort((-box_share, box_share > LARGEST_DRAWN))
    first = {}
    for node in order.tolist():
        first.setdefault(tags[node], node)
    return list(first.values())[:DRAWN]


@torch.inference_mode()
def draw(rose: Rose, tiles: TileDataset, index: int, nodes: list[int] | None) -> dict[str, Figure]:
    """Draw where `nodes` of a tile, or a few chosen ones, look, and where they change the fused
    image; return the figures by name."""
    image, graph = tiles.read(index)
    images, graphs = collate([(image, graph)])
    corners, device = graphs.x[:, CORNERS], next(rose.parameters()).device
    grid = rose.image_encoder.grid(images)
    tags = [tiles.tag(index, int(code)) for code in graphs.x[:, LABEL]]
    attention = rose.osm_attention(rose.normalise(images.to(device)), graphs.clone().to(device),
                                   torch.arange(len(tags))).cpu()
    patches = patch_attention(attention)                                         # [N, heads, L]
    coverage = patch_coverage(corners, grid)                                     # [N, L]
    box_share, mass = coverage.mean(1).numpy(), attention_mass(patches, coverage).mean(1).numpy()
    chosen = largest_of_each_tag(box_share, tags) if nodes is None else nodes
    captions = [f"{tags[node]} (node {node}): {mass[node]:.1%} of its attention on its box, "
                f"{box_share[node]:.1%} of the tile" for node in chosen]
    changes = object_influence(rose, image, graph, chosen)
    pixels = image.movedim(0, -1).numpy()                                        # [H, W, 3]
    boxes = corners[chosen].unflatten(1, (4, 2)).numpy()
    name = tiles.names[index]
    return {
        f"attention_{name}": tile_attention_figure(
            name, pixels, boxes, patches[chosen].numpy(), patches.mean((0, 1)).numpy(), grid,
            captions),
        f"change_{name}": change_figure(
            name, pixels, boxes, {mode: each.numpy() for mode, each in changes.items()}, grid,
            [_changed(tags[node], node, row, changes, coverage[chosen])
             for row, node in enumerate(chosen)]),
    }


def _changed(tag: str, node: int, row: int, changes: Mapping[str, Tensor],
             coverage: Tensor) -> str:
    """Return the caption of the object in a `row` of changes [n, L] and coverage [n, L]."""
    own = ", ".join(f"{mode} {change_on_box(change, coverage)[row]:.1%}"
                    for mode, change in changes.items())
    return (f"{tag} (node {node}), {coverage[row].mean():.1%} of the tile; share of the change on "
            f"it: {own}")
