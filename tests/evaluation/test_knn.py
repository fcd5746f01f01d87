"""mode=knn: the nearest training patches and tiles answer, and it is the field's arithmetic."""

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from datasets import TileDataset, collate
from datasets.labelled import LabelledTiles
from evaluation import knn
from evaluation.knn import class_shares
from models.network_file import load_rose
from tests.evaluation.evaluating import configure, made, rows, run, stored
from utils.errors import RoseError

KNN = ("mode=knn", "modality=image", "accelerator=cpu", "num_workers=0")


@pytest.fixture(scope="module")
def parts(tiny):
    """Network, tiles, and the classes' shares of the training patches of `tiny`."""
    root, checkpoint = (override.partition("=")[2] for override in tiny[:2])
    return load_rose(checkpoint).eval(), TileDataset(root, image_size=32)


def by_hand(queries, keys, targets, k):
    """Return each query's k nearest keys' cosines and targets, one query after the other."""
    cosines = F.normalize(queries, dim=-1) @ F.normalize(keys, dim=-1).T
    order = cosines.argsort(dim=1, descending=True)[:, :k]
    return cosines.gather(1, order), targets[order]


@pytest.mark.parametrize("chunk", [1 << 24, 200])
def test_patches_vote_as_the_field_says(tiny, parts, tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(knn, "CHUNK", chunk)
    rose, dataset = parts
    found = stored(made(configure("seg", *tiny, *KNN), tmp_path))
    assert (found["epochs"], found["config"]["knn_k"]) == ({"0": 0}, 5)
    labels = LabelledTiles(dataset, range(5), "land_use")
    with torch.no_grad():
        tokens = rose.encode_image(collate([dataset[i] for i in range(5)])[0])[:, 1:]    # [5, 4, D]
    shares = torch.cat([class_shares(labels.target_of(i), 16, 9) for i in range(3)])       # [12, 9]
    cosines, targets = by_hand(tokens[4], tokens[:3].flatten(0, 1), shares, 5)
    weights = (cosines / 0.07).exp()                                                        # [4, 5]
    votes = (weights[..., None] * targets).sum(1) / weights.sum(1, keepdim=True)            # [4, 9]
    pixels = F.interpolate(votes.T.reshape(1, 9, 2, 2), (32, 32), mode="bilinear").argmax(1)
    right = float((pixels[0] == labels.target_of(4)).float().mean())
    assert float(rows(tmp_path / "seed_0/predictions.csv")[0]["pixel_accuracy"]) == right
    assert np.trace(np.array(stored(tmp_path / "seed_0")["confusion"])) == round(right * 1024)


def test_tiles_are_the_mean_of_the_nearest(tiny, parts, tmp_path):
    rose, dataset = parts
    made(configure("pop", *tiny, *KNN, "knn_k=2", "target_scale=log1p"), tmp_path / "run")
    with torch.no_grad():
        vectors = rose.encode_image(collate([dataset[i] for i in range(5)])[0])[:, 0]
    totals = torch.tensor([dataset.total(i, "pop") for i in range(3)])
    _, nearest = by_hand(vectors[4:], vectors[:3], totals, 2)
    estimate, = rows(tmp_path / "run/seed_0/predictions.csv")
    assert float(estimate["estimate"]) == pytest.approx(nearest.mean().item(), rel=1e-5)


def test_unknown_pixels_have_no_share_and_unknown_patches_no_vote(parts, monkeypatch):
    label = torch.full((4, 6), 255)
    label[:2, :2] = torch.tensor([[0, 0], [1, 255]])
    label[2:, 4:] = 2
    shares = class_shares(label, 2, 3)
    assert shares[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert shares[5].tolist() == [0, 0, 1]
    assert shares[1:5].isnan().all()
    vote = knn.PatchVote(1, 3, side=2)
    monkeypatch.setattr(LabelledTiles, "target_of", lambda self, index: label)
    vote.remember(LabelledTiles(parts[1], [0], "land_use"), torch.device("cpu"),
                  lambda: SimpleNamespace(values=np.eye(6, dtype=np.float32)))
    query = torch.tensor([0, 1, 0, 0, 0, 0.1])  # nearest to the second, then to the last
    assert vote(query[None]).flatten().tolist() == [0, 0, 1]


@pytest.mark.parametrize("modality", ["fusion", "fine"])
def test_seeds_cached_features_and_epochs_change_nothing(tiny, tmp_path, modality):
    cfg = configure("seg", *tiny, *KNN, f"modality={modality}", "seeds=[0,1]")
    one = stored(made(cfg, tmp_path / "one"))
    assert one["per_seed"]["0"] == one["per_seed"]["1"]
    assert not list((tmp_path / "one").rglob("best.safetensors"))
    assert not (tmp_path / "one/.features").exists()
    assert not (tmp_path / "one/seed_0/metrics.csv").exists()
    other = stored(made(cfg, tmp_path / "other", cache_features=False, batch_size=5))
    assert other["per_seed"]["0"] == pytest.approx(one["per_seed"]["0"], nan_ok=True)
    # a finished run is only reported, whatever a training would have been
    assert stored(made(cfg, tmp_path / "one", epochs=7, decoder="pyramid")) == one


def test_what_it_says_and_draws(tiny, tmp_path, capsys):
    run("seg", *tiny, *KNN, f"save_path={tmp_path}", "test_file=osm-train-all.txt", pictures=True)
    said = capsys.readouterr().out
    assert "Segmentation on 3 test tiles, by the nearest of 3 training tiles:" in said
    assert "5 neighbours by cosine, without training" in said
    assert "of the test tiles, 3 also are training tiles, each its own nearest" in said
    page = (tmp_path / "report.html").read_text()
    assert "by the 5 nearest patches of 3 training tiles; nothing is trained" in page
    assert {path.stem for path in (tmp_path / "seed_0/figures").iterdir()} == {
        "confusion", "tiles", "error_map", "reliability"}


BAD = {
    "fewer tiles than k": ("pop", [], "tiles: 3 training tiles have a target, expected knn_k=5 or "
                                      "more; pass a smaller knn_k=, or a longer list"),
    "fewer patches than k": ("seg", ["knn_k=13"], "tiles: 12 patches of the training tiles have"),
    "a layer to train": ("seg", ["modality=osm_raster"], "modality=osm_raster: its projection of "
                                                         "drawn objects must be trained, and"),
    "an encoder to freeze": ("seg", ["freeze=image"], "freeze=image: mode=knn trains no encoder"),
    "rates of layers": ("pop", ["layer_decay=0.8"], "layer_decay=0.8: mode=knn trains no encoder"),
    "timm's weights": ("seg", ["pretrained=true"],
                       "pretrained=true: mode=knn probes it, or checkpoint="),
    "no neighbour": ("seg", ["knn_k=0"], "knn_k=0: must be 1 or more"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(tiny, tmp_path, case):
    problem, overrides, message = BAD[case]
    with pytest.raises(RoseError, match=message) as error:
        run(problem, *tiny, *KNN, *overrides, f"save_path={tmp_path}")
    assert "\n" not in str(error.value)


@pytest.fixture
def weights(tmp_path) -> str:
    """A file of an image encoder's weights, as timm names them."""
    torch.manual_seed(4)
    path = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0, global_pool="").state_dict(), path)
    return f"image_weights={path}"


@pytest.mark.parametrize("mode", ["knn", "linear"])
def test_an_encoder_s_own_weights_are_probed_without_a_checkpoint(tiny, tmp_path, weights, mode):
    keys = (tiny[0], *tiny[2:], "image_encoder=test_vit", "modality=image", f"mode={mode}",
            "accelerator=cpu", "num_workers=0", "epochs=2")
    found = stored(made(configure("seg", *keys, weights), tmp_path / "run"))
    assert found["checkpoint"] is None
    assert found["image_weights"]["path"] == weights.partition("=")[2]
    assert found["network"]["image_positions"] == "own"


def test_weights_of_an_image_encoder_say_nothing_of_objects(tiny, tmp_path, weights):
    with pytest.raises(RoseError, match="mode=knn modality=fusion would probe an OSM encoder with "
                                        "random weights; pass modality=image"):
        made(configure("seg", tiny[0], *tiny[2:], "mode=knn", "modality=fusion", weights,
                       "image_encoder=test_vit"), tmp_path / "run")
