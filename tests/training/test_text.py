"""Text vectors of another width, model or description: what follows them, and what refuses
them."""

import pytest

import train_rose
from datasets import TileDataset
from models.network_file import NetworkFile
from tests.pretrained import save_pretrained
from tests.random_tiles import META, TEXT, random_city, write_compact
from training.compatibility import check_one_text, check_text, check_tiles_text
from training.keys import TRAIN
from utils.cli.compose import read
from utils.errors import CheckpointError, RoseError, TileError

MINI = {"name": "sentence", "model": "a b/mini", "digest": "1", "width": 32}
SIDE = 32


def tiles(root, text=MINI, city="lima"):
    width = text["width"] if text else 32
    return write_compact(root, random_city(city, 8, SIDE), city, meta=META | {"text": text},
                         text=TEXT[:, :width])


def train(data, folder, *overrides):
    train_rose.train(read(TRAIN, f"data_path={data}", f"save_root_dir={folder}", "save_dir=run",
                          "image_encoder=test_vit", f"image_size={SIDE}", "batch_size=2",
                          "num_workers=0", "accelerator=cpu", "max_steps=1", *overrides))


def test_the_node_width_follows_the_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr("training.summary.save_figures", lambda *_: None)
    narrow, wide = tiles(tmp_path / "narrow"), tiles(tmp_path / "wide", MINI | {"width": 64})
    train(narrow, tmp_path)
    assert NetworkFile(tmp_path / "run/last.safetensors").build["graph_in_dim"] == 44
    assert "graph_in_dim: 44\n" in (tmp_path / "run/config.yaml").read_text()
    assert TileDataset(narrow, image_size=SIDE)[0][1].x.shape[1] == 45
    train(narrow, tmp_path, "max_steps=2")  # continues
    for data, overrides, message in (
            (wide, (), r"belongs to another run: .*graph_in_dim=76 \(there 44\)"),
            (narrow, ("graph_in_dim=524", "save_dir=other"),
             "have 45 columns, expected 525; .* pass graph_in_dim=44")):
        with pytest.raises(RoseError, match=message) as error:
            train(data, tmp_path, *overrides)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "other").exists()


def test_cities_of_different_texts_do_not_mix(tmp_path):
    for name, text in (("a", MINI), ("b", MINI | {"describe": "tags"}), ("c", None)):
        tiles(tmp_path / "root", text, name)
    message = (r"root: a has text=sentence text\.describe=value, and b text=sentence "
               r"text\.describe=tags, whose vectors do not mix; .* cities=a")
    with pytest.raises(TileError, match=message):
        train(tmp_path / "root", tmp_path)
    check_one_text(TileDataset(tmp_path / "root", ["a", "c"]))  # c does not say


@pytest.mark.parametrize(("here", "message"), [
    ({"name": "hash"}, r"text=sentence 'text.model=a b/mini', and here is text=hash, whose .*; "
                       r"pass text=sentence 'text.model=a b/mini'$"),
    (MINI | {"digest": "2", "model": "other"}, "here is text=sentence text.model=other, whose"),
    (MINI | {"describe": "key_value"}, "text=sentence text.describe=value, and here is "
                                       "text=sentence text.describe=key_value.*; pass "
                                       "text=sentence text.describe=value$"),
])
def test_other_vectors_than_in_training_are_refused(here, message):
    with pytest.raises(CheckpointError, match=message):
        check_text("a.tar", {"text": MINI}, here, "pass text={}")
    check_text("a.tar", {"text": MINI}, MINI | {"model": "the same, elsewhere"}, "")
    check_text("a.tar", {}, here, "")


def test_a_network_knows_the_text_of_its_tiles(tmp_path):
    known = TileDataset(tiles(tmp_path / "t", MINI | {"describe": "tags"})).describe()
    network = NetworkFile(save_pretrained(tmp_path / "a.tar", known, graph_in_dim=44))
    with pytest.raises(CheckpointError, match="prepare the tiles with text=sentence text"):
        check_tiles_text(network, TileDataset(tiles(tmp_path / "u")))
    check_tiles_text(network, TileDataset(tmp_path / "t"))
