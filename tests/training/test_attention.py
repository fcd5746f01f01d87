"""The attention record of a run: what it says is what the network gives, and it stays small."""

import base64
import json
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from datasets import TileDataset, collate
from models import build_rose
from reports.attention import attention_viewer
from reports.record import ATTENTION
from training import attention as attention_record
from training.attention import attention_mass, patch_attention, patch_coverage, write_attention


@pytest.fixture(scope="module")
def rose():
    torch.manual_seed(0)
    return build_rose(image_encoder="test_vit").train()


@pytest.fixture(scope="module")
def tiles(sample_tiles) -> TileDataset:
    return TileDataset(sample_tiles)


def test_the_record_holds_what_the_network_gives(rose, tiles, tmp_path):
    write_attention(rose, tiles, [0, 4], tmp_path)
    record = json.loads((tmp_path / ATTENTION).read_text())["tiles"][1]
    images, graphs = collate([tiles[4]])
    rose.eval()
    attention = rose.osm_attention(images, graphs, torch.arange(len(graphs.x))).detach()
    patches, coverage = patch_attention(attention), patch_coverage(graphs.x[:, -11:-3],
                                                                   tuple(record["grid"]))
    own, box = attention_mass(patches, coverage).mean(1), coverage.mean(1)
    assert record["name"] == tiles.names[4]
    assert sorted(item["node"] for item in record["objects"]) == list(range(len(graphs.x)))
    assert [item["box_share"]
            for item in record["objects"]] == sorted((item["box_share"]
                                                      for item in record["objects"]), reverse=True)
    for item in record["objects"]:
        levels = np.frombuffer(base64.b64decode(item["levels"]), np.uint8)
        looks = torch.tensor(levels / 255 * item["peak"] / len(levels))
        torch.testing.assert_close(looks, patches[item["node"]].mean(0),
                                   atol=item["peak"] / len(levels) / 200, rtol=0)
        assert item["attention_share"] == pytest.approx(own[item["node"]].item(), abs=1e-4)
        assert item["box_share"] == pytest.approx(box[item["node"]].item(), abs=1e-4)
    picture = np.asarray(Image.open(BytesIO(base64.b64decode(record["image"]))), float)
    assert np.abs(picture - tiles.read(4)[0].movedim(0, -1).numpy()).mean() < 8


def test_a_page_can_show_the_record_and_training_goes_on_as_it_was(rose, tiles, tmp_path):
    rose.train()
    write_attention(rose, tiles, [0], tmp_path)
    assert rose.training
    shown = attention_viewer(tmp_path / ATTENTION)
    assert shown.count("<polygon") == len(tiles.read(0)[1].x)


def test_crowded_tiles_keep_their_largest_objects(rose, tiles, tmp_path, monkeypatch):
    monkeypatch.setattr(attention_record, "MOST_OBJECTS", 3)
    write_attention(rose, tiles, [4], tmp_path)
    record = json.loads((tmp_path / ATTENTION).read_text())["tiles"][0]
    assert len(record["objects"]) == 3
    assert record["left_out"] == len(tiles.read(4)[1].x) - 3
    assert f"{record['left_out']} smaller ones are left out" in attention_viewer(
        tmp_path / ATTENTION)


def test_tiles_without_objects_are_left_out(rose, tiles, tmp_path, monkeypatch):
    image, graph = tiles.read(0)
    monkeypatch.setattr(tiles,
                        "read", lambda index: (image,
                                               type(graph)(x=graph.x[:0],
                                                           edge_index=graph.edge_index[:, :0])))
    write_attention(rose, tiles, [0], tmp_path)
    assert json.loads((tmp_path / ATTENTION).read_text())["tiles"] == []
    assert "None of these tiles" in attention_viewer(tmp_path / ATTENTION)
