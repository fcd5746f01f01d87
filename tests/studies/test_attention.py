"""The attention study: what falls inside a box, of whom, and what the command leaves or
refuses."""

import csv
import html
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import TileDataset, collate
from datasets.osm_degrader import remove_nodes
from datasets.stores.tile import CORNERS
from models import build_rose
from models.coverage import patch_shares
from studies import attention
from studies import attention_study as study
from studies.added import added
from studies.attention_mass import ObjectAttention, others_mass, summarise, tile_attention
from studies.attention_report import COLUMNS, verdict
from studies.influence import OBJECTS, object_influence
from tests.pretrained import save_pretrained
from tests.random_tiles import random_city, random_tile, write_compact
from training.attention import (
    attention_mass,
    patch_attention,
    patch_coverage,
    placed_length,
)
from utils.checkpoint import save_checkpoint

GRID, GRID_OF_TILE = (4, 4), (14, 14)
BUILD = {"image_encoder": "test_vit"}


@pytest.fixture(scope="module")
def rose():
    torch.manual_seed(0)
    return build_rose(**BUILD).eval()


@pytest.fixture(scope="module")
def checkpoint(rose, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "rose" / "model_1.tar"
    save_checkpoint(path, {"model": rose.state_dict(), "build": BUILD})
    return path.with_suffix(".safetensors")


def box(*corners: float) -> torch.Tensor:
    return torch.tensor([corners])


def turned(x: float, y: float, side: float) -> torch.Tensor:
    """A square on its corner."""
    return box(x - side, y, x, y - side, x + side, y, x, y + side)


@pytest.mark.parametrize(("corners", "share"), [
    (box(0, 0, 1, 0, 1, 1, 0, 1), 1.0),
    (box(-3, -2, 4, -2, 4, 5, -3, 5), 1.0),
    (box(0.5, 0, 1.5, 0, 1.5, 1, 0.5, 1), 0.5),
    (box(0.1, 0.2, 0.4, 0.2, 0.4, 0.25, 0.1, 0.25), 0.015),
    (box(0.4, 0.25, 0.1, 0.2, 0.4, 0.2, 0.1, 0.25), 0.015),  # corners in no order
    (turned(0.5, 0.5, 0.3), 0.18),
    (turned(0, 0, 0.3), 0.045),
    (turned(3, 3, 0.3), 0.0),
    (box(*[0.5] * 8), 0.0),
    (box(0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9, 0.9), 0.0),  # a line
])
def test_coverage_adds_up_to_the_clipped_box(corners, share):
    coverage = patch_coverage(corners, GRID)
    assert coverage.shape == (1, 16)
    assert coverage.min() >= 0
    assert coverage.max() <= 1
    assert coverage.mean().item() == pytest.approx(share, abs=1e-7)


def test_coverage_of_each_patch_is_that_of_many_points():
    corners = turned(0.45, 0.6, 0.33)
    at = (torch.arange(600) + 0.5) / 600
    inside = (at[None] - 0.45).abs() + (at[:, None] - 0.6).abs() < 0.33  # row, column
    rows, cols = 3, 4
    points = inside.reshape(rows, 200, cols, 150).float().mean((1, 3)).reshape(-1)
    torch.testing.assert_close(patch_coverage(corners, (rows, cols))[0].float(), points,
                               atol=0.005, rtol=0)


def test_uniform_attention_gives_the_box_its_share_whatever_cls_gets():
    corners = torch.cat([turned(0.4, 0.3, 0.25), turned(0.9, 0.8, 0.3),
                         box(0, 0, 1, 0, 1, 1, 0, 1)])
    coverage = patch_coverage(corners, GRID)
    attention = torch.full((3, 8, 17), 1 / 17)
    attention[1, :, 0] = 0.9
    mass = attention_mass(patch_attention(attention), coverage)
    torch.testing.assert_close(mass, coverage.mean(1, keepdim=True).expand(3, 8))


def test_mass_weighs_patches_by_what_the_box_covers_of_them():
    attention = torch.zeros(1, 2, 17)
    attention[0, 0, [0, 1, 16]] = torch.tensor([0.5, 0.375, 0.125])  # patches 0 and 15
    attention[0, 1, 16] = 1
    half_of_the_first = box(0, 0, 0.125, 0, 0.125, 0.25, 0, 0.25)
    mass = attention_mass(patch_attention(attention), patch_coverage(half_of_the_first, GRID))
    torch.testing.assert_close(mass, torch.tensor([[0.375, 0.0]], dtype=torch.float64))


def test_others_mass_is_the_mean_of_all_others():
    draw = torch.Generator().manual_seed(0)
    patches, coverage = torch.rand(5, 16, generator=draw), torch.rand(5, 16, generator=draw)
    by_hand = [torch.stack([(patches[other] * coverage[n]).sum() for other in range(5)
                            if other != n]).mean() for n in range(5)]
    torch.testing.assert_close(others_mass(patches, coverage), torch.stack(by_hand))
    assert others_mass(patches[:1], coverage[:1]).isnan().all()
    assert others_mass(patches[:0], coverage[:0]).shape == (0,)


def test_every_object_gets_its_own_attention_in_any_batch(rose, tmp_path):
    tiles = TileDataset(write_compact(tmp_path / "tiles", random_city(count=6)))
    indices = [4, 0, 1, 2]
    one, many = (tile_attention(rose, tiles, indices, batch, progress=False) for batch in (1, 3))
    for name in ("tile", "node", "code"):
        assert np.array_equal(getattr(one, name), getattr(many, name))
    for name in ("box_share", "head_share", "others_share"):
        np.testing.assert_allclose(getattr(one, name), getattr(many, name), atol=1e-6)
    at = 0
    for index in indices:
        images, graphs = collate([tiles[index]])
        count = len(graphs.x)
        mine, at = slice(at, at + count), at + count
        assert many.tile[mine].tolist() == [index] * count
        assert many.node[mine].tolist() == list(range(count))
        attention = rose.osm_attention(images, graphs, torch.arange(count))[..., 1:].detach()
        coverage = patch_coverage(graphs.x[:, CORNERS], (14, 14))
        share = (attention * coverage[:, None]).sum(-1) / attention.sum(-1)
        np.testing.assert_allclose(many.head_share[mine], share.numpy(), atol=1e-6)
    assert at == len(many)
    # a tile without objects
    assert not len(tile_attention(rose, tiles, [tiles.names.index("lima_1_0")], 2, progress=False))


def some_objects(box_share: list[float], share: list[float],
                 others: list[float]) -> ObjectAttention:
    """Objects whose second head gives their box twice what the first does."""
    heads = np.array(share)[:, None] * [2 / 3, 4 / 3]
    count = len(box_share)
    return ObjectAttention(np.zeros(count, int), np.arange(count), np.arange(count),
                           np.array(box_share), heads, np.array(others))


def test_summary_takes_ratios_of_means_and_leaves_out_what_has_no_box():
    found = summarise(some_objects([0.1, 0.3, 0.0, 0.02], [0.3, 0.3, 0.0, 0.03],
                                   [0.1, 0.2, 0.0, np.nan]), patches=16)
    assert (found["objects"], found["without_box"]) == (3, 1)
    assert found["box_share"] == pytest.approx(0.14)
    assert found["attention_share"] == pytest.approx(0.21)
    assert found["lift"] == pytest.approx(1.5)
    assert found["lift_of_others"] == pytest.approx(0.3 / 0.4)  # of those that have others
    assert found["median_lift"] == pytest.approx(1.5)
    assert found["objects_above_uniform"] == pytest.approx(2 / 3)
    assert [head["lift"] for head in found["heads"]] == pytest.approx([1.0, 2.0])
    assert {size["patches"]: (size["objects"], round(size["lift"], 3))
            for size in found["sizes"]} == {
        "under 1": (1, 1.5), "1 to 4": (1, 3.0), "4 to 16": (1, 1.0)}


def test_the_standard_error_is_that_of_a_ratio_over_tiles():
    draw = np.random.default_rng(0)
    found = []
    # as many datasets of 40 tiles, in each tile objects that resemble each other
    for _ in range(300):
        tile = np.repeat(np.arange(40), draw.integers(1, 8, 40))
        box = draw.uniform(0.05, 0.15, len(tile))
        share = box * (1.5 + draw.normal(0, 0.5, 40)[tile])
        found.append(summarise(ObjectAttention(tile, tile, tile, box, share[:, None], share),
                               patches=16))
    spread = np.std([each["lift"] for each in found])
    assert np.mean([each["lift_standard_error"] for each in found]) == pytest.approx(spread,
                                                                                     rel=0.15)
    assert np.isnan(summarise(some_objects([0.1], [0.1], [0.1]),
                              patches=16)["lift_standard_error"])


@pytest.mark.parametrize(("share", "others", "said"), [
    ([0.3], [0.1], "look at their own place: 3.00 times as much as chance would have it, 3.00 "
                   "times"),
    ([0.3], [0.3], "such places 3.00 times .* hardly more at their own"),
    ([0.1], [0.1], "no more than chance"),
    ([0.05], [0.1], "no more than chance"),
])
def test_the_conclusion_follows_the_figures(share, others, said):
    assert re.search(said, verdict(summarise(some_objects([0.1], share, others), patches=16)))


def test_what_is_drawn_is_chosen_by_size_and_tag_alone():
    shares = np.array([0.5, 0.05, 0.12, 0.01, 0.11, 0.9])
    assert study.largest_of_each_tag(shares,
                                     ["wood", "park", "wood", "road", "wood", "sea"]) == [2, 1, 3,
                                                                                          5]


def command(monkeypatch, *overrides: str) -> None:
    monkeypatch.setattr(sys, "argv", ["attention", "accelerator=cpu", *overrides])
    attention.main()


def test_command_leaves_table_figures_and_words(checkpoint, sample_tiles, tmp_path, monkeypatch,
                                                capsys):
    command(monkeypatch, f"checkpoint={checkpoint}", f"data_root={sample_tiles}",
            f"save_path={tmp_path}/out")
    tiles, out = TileDataset(sample_tiles), tmp_path / "out"
    nodes = [len(tiles.read(index)[1].x) for index in range(len(tiles))]
    with (out / "attention.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == sum(nodes)
    assert {row["tag"] for row in rows} <= set(tiles.label_names["sample"])
    for row in rows:
        assert float(row["lift"]) == pytest.approx(
            float(row["attention_share"]) / float(row["box_share"]), rel=1e-4)
    results = json.loads((out / "results.json").read_text())
    assert results["objects"] == len(rows)
    assert results["lift"] == pytest.approx(sum(float(row["attention_share"]) for row in rows)
                                            / sum(float(row["box_share"]) for row in rows),
                                            rel=1e-4)
    assert len(results["heads"]) == 8
    assert results["config"]["batch_size"] == 16
    with (out / "change.csv").open(newline="") as file:
        changes = [row for row in csv.DictReader(file) if row["fusion"] == "fine"]
    assert len(changes) == sum(min(count, OBJECTS) for count in nodes)
    assert results["fusions"]["fine"]["lift"] == pytest.approx(
        sum(float(row["change_share"]) for row in changes)
        / sum(float(row["box_share"]) for row in changes), rel=1e-4)
    page = (out / "report.html").read_text()
    assert "What the fused image hears" in page
    assert "global: the message to all patches" in page
    assert html.escape(results["verdict"]) in page
    assert "By head" in page
    pictures = sorted(path.name for path in (out / "figures").iterdir())
    assert [name.split("_")[0] for name in pictures] == ["attention", "attention", "change"]
    for name in pictures:
        assert np.asarray(Image.open(out / "figures" / name).convert("L")).std() > 10
    text = capsys.readouterr().out
    assert f"lift {results['lift']:.2f}" in text
    assert all(name in text for name in pictures)


def test_objects_that_look_at_themselves_are_found_out(rose, sample_tiles, monkeypatch):
    def on_its_own_box(self, images, graphs, nodes):
        coverage = patch_coverage(graphs.x[nodes][:, CORNERS], self.check(images, graphs))
        return torch.cat([coverage[:, :1], coverage], dim=1)[:, None].expand(-1, 8, -1)
    monkeypatch.setattr("models.rose.Rose.osm_attention", on_its_own_box)
    found = summarise(tile_attention(rose, TileDataset(sample_tiles), range(9), 4, progress=False),
                      patches=196)
    assert found["lift"] > 5 * found["lift_of_others"]
    assert "So objects look at their own place" in verdict(found)


def test_the_change_of_the_fused_image_is_that_of_the_object_removed(rose, sample_tiles):
    image, graph = TileDataset(sample_tiles).read(4)
    change = object_influence(rose, image, graph, [0, 2])["fine"]
    images, graphs = collate([(image, remove_nodes(graph, torch.tensor([2]), 1.0))])
    whole, without = (rose.fuse(rose.normalise(images), each, "fine")
                      for each in (collate([(image, graph)])[1], graphs))
    torch.testing.assert_close(change[1], (without - whole)[0].norm(dim=-1), atol=1e-4, rtol=1e-3)


def test_what_the_global_fusion_adds_is_the_same_on_all_patches(rose, sample_tiles):
    figures = added(rose, TileDataset(sample_tiles), range(9), 4)
    assert figures.keys() == {"message", "fine"}
    assert figures["message"]["varies"] == pytest.approx(0, abs=1e-9)
    assert figures["fine"]["varies"] > 1e-3
    low, high = figures["fine"]["weights"]
    assert math.exp(-2) < low < 1 < high < math.exp(2)  # a weight is 1 to e^2


def test_what_coverage_adds_is_where_objects_are(sample_tiles):
    torch.manual_seed(0)
    placing = build_rose(**BUILD, placement="coverage").eval()
    images, graphs = collate([TileDataset(sample_tiles).read(4)])
    covered = patch_shares(graphs, GRID_OF_TILE).sum(0) > 0                                # [L]
    length = placed_length(placing, images, graphs)[0]
    assert torch.equal(length > 1e-6, covered)
    assert placed_length(build_rose(**BUILD), images, graphs) is None
    figures = added(placing, TileDataset(sample_tiles), range(9), 4)
    assert figures["placed"]["varies"] > 1e-3
    assert figures["message"]["varies"] == pytest.approx(0, abs=1e-9)


def test_what_is_added_is_compared_with_what_it_is_added_to(sample_tiles):
    """Tokens are 2 in every feature, LN1 returns 4, and both messages are 1."""
    torch.manual_seed(0)
    placing = build_rose(**BUILD, placement="coverage").eval()
    constants = {placing.token_proj: 2, placing.image_block.norm1: 4,
                 placing.image_block.k2q_attn.out_proj: 1, placing.osm_block.q2k_attn.out_proj: 1}
    for module, constant in constants.items():
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.constant_(module.bias, constant)
    tiles = TileDataset(sample_tiles)
    figures = added(placing, tiles, [4], 1)
    assert figures["message"]["norm_ratio"] == pytest.approx(1 / 4, rel=1e-5)
    assert figures["fine"]["norm_ratio"] == pytest.approx(1 / 2, rel=1e-5)
    length = placed_length(placing, *collate([tiles.read(4)])).mean()
    assert length > 0
    assert figures["placed"]["norm_ratio"] == pytest.approx(
        float(length) / (2 * placing.width ** 0.5), rel=1e-5)


def test_chosen_tile_and_nodes_are_drawn(checkpoint, tmp_path, monkeypatch):
    root = write_compact(tmp_path / "tiles", random_city(count=6))
    command(monkeypatch, f"checkpoint={checkpoint.parent}", f"data_root={root}",
            f"save_path={tmp_path}/out", "tile=lima_2_0", "nodes=[3]",
            "max_tiles=2")  # the tile drawn need not be among those measured
    assert sorted(path.name for path in (tmp_path / "out" / "figures").iterdir()) == [
        "attention_lima_2_0.png", "attention_shares.png", "change_lima_2_0.png"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> dict[str, Path]:
    """Datasets that are not as the study needs them."""
    folder = tmp_path_factory.mktemp("odd")
    return {
        "plain": write_compact(folder / "plain", random_city(count=4)),
        "empty": write_compact(folder / "empty",
                               [random_tile("lima_0_0", 0, 0), random_tile("lima_0_1", 0, 0)]),
        "odd_size": write_compact(folder / "odd_size", random_city(count=2, side=72)),
    }


@pytest.mark.parametrize(("data", "overrides", "said"), [
    ("plain", ["tile=lima_9_9"], "tile=lima_9_9: not among the 4 tiles of .*plain, which are "
                                 "lima_0_0 to lima_3_0; choose one"),
    ("plain", ["tile=lima_1_0"], "tile lima_1_0 has no OSM object"),
    ("plain", ["tile=lima_2_0", "nodes=[1,5]"],
     r"nodes=\[1, 5\]: no object 5; those of tile lima_2_0 have the numbers 0 to 4"),
    ("plain", ["tile=lima_2_0", "nodes=[-1]"], r"nodes=\[-1\]: must be 0 or more"),
    ("plain", ["tile=lima_2_0", "nodes=[]"], r"nodes=\[\]: a list of 0, expected 1 to 100"),
    ("plain", ["nodes=[1]"],
     r"nodes=\[1\]: objects are numbered within a tile; name it with tile="),
    ("plain", ["max_tiles=0"], "max_tiles=0: must be 1 or more"),
    ("empty", [], "none of the tiles read has an OSM object"),
    ("odd_size", ["image_size=72"], "image_size=72: no multiple of 16, the patch side of "
                                    ".*prepare tiles of such a size .tile_px=64."),
])
def test_bad_input_is_one_line(checkpoint, odd, tmp_path, monkeypatch, capsys, data, overrides,
                               said):
    refused(monkeypatch, capsys, said, f"checkpoint={checkpoint}", f"data_root={odd[data]}",
            f"save_path={tmp_path}/out", *overrides)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_other_nodes_is_refused(odd, tmp_path, monkeypatch, capsys):
    save_pretrained(tmp_path / "narrow.tar", graph_in_dim=128)
    refused(monkeypatch, capsys, "narrow.tar: reads nodes of 129 columns, label included, and "
                                 "those of .*plain have 525; choose",
            f"checkpoint={tmp_path}/narrow.tar", f"data_root={odd['plain']}",
            f"save_path={tmp_path}/out")


def refused(monkeypatch, capsys, said: str, *overrides: str) -> None:
    with pytest.raises(SystemExit) as end:
        command(monkeypatch, *overrides)
    assert end.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "tile/s" not in line
             and line.strip()]
    assert len(lines) == 1
    assert re.search(said, lines[0]), lines[0]
