"""Whatever a network is used for, it gets images normalised by its own mean and deviation."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from datasets import TileDataset
from models import build_rose, load_rose, save_rose
from models.image_encoder import ImageEncoder
from models.network_file import NetworkFile
from tests.evaluation.evaluating import configure, made
from tests.inference.features import extracting
from tests.inference.maps.scenes import noise, predict, write_raster
from tests.pretrained import save_pretrained
from tests.robustness import tiny_runs
from training.attention import write_attention
from training.plots import image_figure, to_picture
from training.reconstruction import reconstruct
from utils.errors import CheckpointError, ModelError
from utils.normalisation import IMAGENET_MEAN, IMAGENET_STD

HALVES = (0.5, 0.5, 0.5)  # mean and deviation of test_vit's weights in timm


@contextmanager
def received() -> Iterator[list[Tensor]]:
    """The images that reach image encoders in the block."""
    images, patchify = [], ImageEncoder.patchify
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ImageEncoder, "patchify", lambda self, batch: (
            images.extend(batch.detach().clone()), patchify(self, batch))[1])
        yield images


def stored(images: list[Tensor]) -> set[bytes]:
    """The pixels of which images were normalised by halves, and by nothing else."""
    pixels = [((image * 0.5 + 0.5) * 255).round() for image in images]
    for image, own in zip(images, pixels, strict=True):
        assert torch.equal(image, (own / 255 - 0.5) / 0.5)
    return {own.to(torch.uint8).numpy().tobytes() for own in pixels}


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> TileDataset:
    root = tiny_runs.write_tiles(tmp_path_factory.mktemp("normalised") / "tiles")
    return TileDataset(root, image_size=32)


@pytest.fixture(scope="module")
def known(tiles) -> set[bytes]:
    """The pixels of the tiles."""
    return {tiles.read(index)[0].numpy().tobytes() for index in range(len(tiles))}


@pytest.fixture(scope="module")
def network(tiles, known, tmp_path_factory):
    """A network that was pretrained with its encoder's own mean and deviation."""
    folder = tmp_path_factory.mktemp("network") / "run"
    with received() as images:
        tiny_runs.train(tiles.root, folder, ["image_positions=own", "augment=none",
                                             "num_workers=0", "total_epoch=1", "lr=1e-3"])
    assert stored(images) == known
    return folder / "model_1.safetensors"


def test_they_travel_with_the_weights(network, tmp_path):
    for file in (network, network.with_suffix(".tar")):
        assert NetworkFile(file).build["image_mean"] == list(HALVES)
    rose = load_rose(network)
    assert (rose.image_encoder.mean, rose.image_encoder.std) == (HALVES, HALVES)
    save_rose(tmp_path / "again.safetensors", rose)
    assert load_rose(tmp_path / "again.safetensors").image_encoder.std == HALVES


@pytest.mark.parametrize("mode", ["finetune", "linear"])
def test_an_evaluation_applies_them_and_so_do_a_map_and_features(network, tiles, known, tmp_path,
                                                                 mode):
    cfg = configure("seg", *tiny_runs.TINY, "num_workers=0", "epochs=1", f"mode={mode}",
                    f"data_root={tiles.root}", f"checkpoint={network}")
    with received() as images:
        best = made(cfg, tmp_path / "run") / "seed_0" / "best.safetensors"
    assert stored(images) == known
    if mode == "linear":
        return
    scene = write_raster(tmp_path / "scene.tif", noise(64, 64))
    with received() as images:
        predict(scene, best, tmp_path / "map", tile_px=32)
    assert len(stored(images)) > 1
    for name, source in (("of_tiles", f"data_root={tiles.root}"), ("of_scene", f"raster={scene}")):
        with received() as images:
            extracting.run(best, tmp_path / name, source, "image_size=32", "representations=[rs]")
        assert (stored(images) == known) is (name == "of_tiles")


def test_reconstruction_attention_and_pictures_apply_them(network, tiles, known, tmp_path):
    rose = load_rose(network).eval()
    with received() as images:
        shown, graphs, out = reconstruct(rose, tiles, range(len(tiles)), seed=0)
        write_attention(rose, tiles, range(len(tiles)), tmp_path)
    assert stored(images) == known
    pixels = rose.denormalise(shown)                                            # [B, H, W, 3]
    assert torch.equal(pixels[3].movedim(-1, 0), tiles.read(3)[0])
    exact = out._replace(predict_image=lambda: rose.patchify(shown))
    picture = to_picture(image_figure(shown, graphs, exact, rose))
    blank = to_picture(image_figure(shown * 0, graphs, exact, rose))
    assert (picture != blank).any()


def test_a_file_that_states_none_means_imagenets(tmp_path):
    build = {"image_encoder": "test_vit", "image_positions": "own"}
    file = save_pretrained(tmp_path / "model_1.tar", **build, image_mean=list(IMAGENET_MEAN),
                           image_std=list(IMAGENET_STD))
    assert load_rose(file).image_encoder.mean == (0.485, 0.456, 0.406)
    assert "image_mean" not in load_rose(file).build
    older = save_pretrained(tmp_path / "model_2.tar", **build)
    assert load_rose(older).image_encoder.mean == (0.485, 0.456, 0.406)


def test_floats_from_0_to_255_are_normalised_as_bytes_and_stay():
    rose = build_rose("test_vit", image_mean=(0.1, 0.2, 0.3), image_std=(1, 2, 4))
    pixels = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4)
    floats = pixels.float()
    assert torch.equal(rose.normalise(floats), rose.normalise(pixels))
    assert torch.equal(floats, pixels.float())
    assert rose.normalise(pixels)[0, 1, 0, 0].item() == pytest.approx((16 / 255 - 0.2) / 2)
    assert torch.equal(rose.denormalise(rose.normalise(pixels)), pixels.movedim(1, -1))


@pytest.mark.parametrize("values", [{"image_mean": (0.5,)}, {"image_std": (1, 0, 1)},
                                    {"image_std": (1, 1, 1, 1)}])
def test_impossible_values(values):
    key, = values
    with pytest.raises(ModelError, match=f"{key}=.*: expected a number for each of 3 channels"):
        build_rose("test_vit", **values)


@pytest.mark.parametrize(("values", "message"), [
    ({"image_std": [1, 0, 1]}, r"build\.image_std\[1\] is 0, expected"),
    ({"image_mean": [0.5, 0.5]}, r"build\.image_mean is .*expected a list of 3"),
    ({"image_mean": "black"}, r"build\.image_mean is \"black\", expected a list"),
])
def test_a_hostile_file(tmp_path, values, message):
    file = save_pretrained(tmp_path / "model_1.tar")
    state = torch.load(file.with_suffix(".tar"), weights_only=True)
    state["build"] |= values
    torch.save(state, tmp_path / "bad.tar")
    with pytest.raises(CheckpointError, match=rf"bad\.tar: {message}"):
        load_rose(tmp_path / "bad.tar")
