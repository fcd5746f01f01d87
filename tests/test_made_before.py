"""What version 0.1 made still opens, continues, or is refused with one clear line.

made_before.tar.xz holds a dataset of six tiles of 32 pixels, a pretraining run that was stopped
after two of its steps, a fine-tuned model with its evaluation, and a map. Every weight is 0.01 or
nearly, so that the archive is small.
"""

import json
import tarfile
from pathlib import Path

import pytest
import torch

import train_rose
from datasets import TileDataset
from evaluation import job
from evaluation.keys import SEGMENTATION
from evaluation.problem import Segmentation
from inference import map_scene
from models import load_rose
from models.network_file import NetworkFile
from training.keys import TRAIN
from utils.cli.compose import read
from utils.errors import CheckpointError, ConfigError

ARCHIVE = Path(__file__).with_name("made_before.tar.xz")
MACHINE = ["image_size=32", "accelerator=cpu", "num_workers=0"]
TRAINED = ["data_path=tiles", "image_encoder=test_vit", "batch_size=2", "total_epoch=4",
           "lr=1e-30", "weight_decay=0", "graph_out_dim=16", "save_dir=pretrained",
           "save_every=1", *MACHINE]
EVALUATED = ["data_root=tiles", "checkpoint=runs/pretrained", "epochs=1", "lr=1e-30",
             "lr_multi=1", "weight_decay=0", "save_path=runs/seg", *MACHINE]


@pytest.fixture
def made_before(tmp_path, monkeypatch):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("made_before")
def test_a_dataset_opens():
    tiles = TileDataset("tiles", image_size=32)
    image, graph = tiles[0]
    assert (len(tiles), image.shape, graph.x.shape) == (6, (3, 32, 32), (4, 525))
    assert tiles.tag(0, int(graph.x[0, -1])) in ("house", "school")


@pytest.mark.usefixtures("made_before")
@pytest.mark.parametrize("file", ["last.tar", "last.safetensors"])
def test_a_pretrained_network_loads(file):
    rose = load_rose(f"runs/pretrained/{file}")
    assert all(torch.allclose(weight, torch.tensor(0.01)) for weight in rose.parameters())
    assert NetworkFile(f"runs/pretrained/{file}").tiles["text"]["name"] == "hash"


@pytest.mark.usefixtures("made_before")
def test_a_stopped_training_continues():
    train_rose.train(read(TRAIN, *TRAINED, "max_steps=4"))
    lines = Path("runs/pretrained/loss_record.txt").read_text().splitlines()
    assert lines[0].startswith("epoch [1/4]")
    assert NetworkFile("runs/pretrained/last.tar").build["image_encoder"] == "test_vit"
    with pytest.raises(CheckpointError, match=r"last\.tar: belongs to another run: lr=1\.0"):
        train_rose.train(read(TRAIN, *TRAINED, "lr=1"))


@pytest.mark.usefixtures("made_before")
def test_a_finished_evaluation_is_reported_again_and_not_made_again(monkeypatch):
    cfg = read(SEGMENTATION, *EVALUATED)
    monkeypatch.setattr(job, "fit", lambda run: pytest.fail("trained again"))
    before = json.loads(Path("runs/seg/results.json").read_text())
    assert job.evaluate(cfg, Segmentation(cfg))["mean"]["miou"] == before["mean"]["miou"]


@pytest.mark.usefixtures("made_before")
def test_a_finetuned_model_maps_a_scene():
    model = NetworkFile("runs/seg/seed_0/best.safetensors").downstream()
    assert sum(weight.numel() for weight in model.decoder.parameters()) == 9 * 64 + 9
    made = map_scene("raw/city.tif", "runs/seg", "maps/new", osm="raw/osm.geojson",
                     accelerator="cpu", num_workers=0)
    assert made.files["map.tif"].is_file()


@pytest.mark.usefixtures("made_before")
def test_a_map_of_other_files_is_refused_or_replaced():
    keys = {"osm": "raw/osm.geojson", "accelerator": "cpu", "num_workers": 0}
    with pytest.raises(ConfigError, match=r"maps/seg: holds other results: .* was read for "
                                          r"them.*pass overwrite=true"):
        map_scene("raw/city.tif", "runs/seg", "maps/seg", **keys)
    made = map_scene("raw/city.tif", "runs/seg", "maps/seg", overwrite=True, **keys)
    assert made.files["map.tif"].is_file()
