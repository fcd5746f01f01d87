"""What is measured at the end of a run, on networks whose answer is known."""

import math
from dataclasses import replace

import pytest
import torch

from datasets import TileDataset
from datasets.stores.tile import LABEL
from models import build_rose
from models.objectives import patch_norm
from training.plots import image_figure, to_picture
from training.reconstruction import (
    Reconstruction,
    Tags,
    measure_reconstruction,
    reconstruct,
    sample_indices,
)


class Oracle(torch.nn.Module):
    """Reconstructs everything exactly, with an error added."""

    def __init__(self, error: float = 0.0, **build):
        super().__init__()
        self.rose, self.error = build_rose("test_vit", **build), error
        self.patchify, self.normalise = self.rose.patchify, self.rose.normalise
        self.image_encoder = self.rose.image_encoder
        self.image_target, self.osm_loss = self.rose.image_target, self.rose.osm_loss

    def forward(self, images, graphs):
        out = self.rose(images, graphs)
        return out._replace(osm_pred=graphs.x[out.node_mask, :524] + self.error,
                            predict_image=lambda: self.patchify(images) + self.error)


@pytest.fixture
def tiles(sample_tiles):
    return TileDataset(sample_tiles)


def test_a_perfect_reconstruction(tiles):
    measured = measure_reconstruction(Oracle(), tiles, seed=0)
    assert measured.pixel_error == pytest.approx(0, abs=1e-3)
    assert measured.tags_right == 1
    assert all(value == pytest.approx(1) for value in measured.explained.values())
    assert measured.pixel_error_mean_colour > 10
    assert 0 < measured.tags_commonest < 1
    assert measured.tiles == 9


@pytest.mark.parametrize(("build", "std"), [
    ({}, (0.229, 0.224, 0.225)), ({"image_std": (0.5, 0.4, 0.3)}, (0.5, 0.4, 0.3))])
def test_errors_are_in_grey_values(tiles, build, std):
    measured = measure_reconstruction(Oracle(error=1.0, **build), tiles, seed=0)
    assert measured.pixel_error == pytest.approx(
        255 * (sum(s**2 for s in std) / 3) ** 0.5, rel=1e-4)
    assert all(value < 1 for value in measured.explained.values())


def test_what_a_network_does_not_learn_is_put_back(tiles):
    class Normalised(Oracle):
        """Right in what patch_norm and groups have it learn, without what they leave out."""

        def forward(self, images, graphs):
            out = super().forward(images, graphs)
            nodes = out.osm_pred.clone()
            nodes[:, :512] *= 7
            return out._replace(osm_pred=nodes,
                                predict_image=lambda: patch_norm(self.patchify(images)))

    oracle = Normalised(image_target="patch_norm", osm_loss="groups")
    measured = measure_reconstruction(oracle, tiles, seed=0)
    assert measured.pixel_error == pytest.approx(0, abs=1e-2)
    assert measured.tags_right == 1
    assert measured.explained["tag text"] > 0.9
    # compared with the mean of each patch, which is nearer than that of the tile
    assert 1 < measured.pixel_error_mean_colour < measure_reconstruction(
        Oracle(), tiles, seed=0).pixel_error_mean_colour
    unlearned = replace(measured, pixel_error=99).unlearned
    assert unlearned == ["hidden pixels are no nearer than each patch's own mean"]
    images, graphs, out = reconstruct(oracle, tiles, [4], seed=0)
    figure = image_figure(images, graphs, out, oracle.rose)
    assert "hidden patches: true mean" in figure.axes[3].get_title()


def test_the_same_seed_hides_the_same_and_leaves_the_runs_randomness_alone(tiles):
    rose = build_rose("test_vit").train()
    state = torch.get_rng_state()
    first, second = (reconstruct(rose, tiles, [0, 4], seed=3)[2] for _ in range(2))
    assert torch.equal(first.image_mask, second.image_mask)
    assert torch.equal(first.image_pred, second.image_pred)
    assert torch.equal(torch.get_rng_state(), state)
    assert rose.training


def test_the_nearest_text_names_the_tag_whatever_its_layer(tiles):
    nodes, names = tiles[4][1].x, tiles.label_names["sample"]
    tags = Tags.among(nodes)
    assert torch.equal(tags.nearest(nodes[:, :524] + 0.01), tags.of_nodes)
    words = [names[int(code)] for code in nodes[:, LABEL]]
    assert [names[int(code)] for code in tags.codes[tags.of_nodes]] == words
    # residential is a land use and a road
    assert len(tags.codes) == len(set(words)) < len(nodes[:, LABEL].unique())


def test_tiles_are_taken_evenly(tiles):
    assert sample_indices(tiles, 3) == [0, 4, 8]
    assert sample_indices(tiles, 99) == list(range(9))


def test_the_figure_shows_true_pixels_where_it_says_so(tiles):
    rose = build_rose("test_vit")
    images, graphs, out = reconstruct(rose, tiles, [4], seed=0)
    picture = to_picture(image_figure(images, graphs, out, rose))
    assert picture.dtype == torch.uint8
    assert picture.shape[2] == 3
    assert picture.float().std() > 10


GUESS = Reconstruction(tiles=9, pixel_error=30, pixel_error_mean_colour=31, objects=20,
                       explained={"tag text": 0.1}, tags_right=0.5, tags_commonest=0.4,
                       commonest=0, tags=7)
COLOUR, COMMONEST = "no nearer than the mean colour", "no better than by always the commonest"


@pytest.mark.parametrize(("changes", "words"), [
    ({}, []),
    ({"pixel_error": 31}, [COLOUR]),
    ({"tags_right": 0.3}, [COMMONEST]),
    ({"tags_right": 0.3, "pixel_error": 40}, [COLOUR, COMMONEST]),
    ({"tags_right": 0.98, "tags_commonest": 0.98}, []),  # nearly all have one tag
    ({"tags_right": 0.4, "explained": {"tag text": 0.0}}, [COMMONEST]),
    ({"tags_right": 1.0, "tags_commonest": 1.0, "tags": 1, "explained": {}}, []),
    ({"pixel_error": 0.1, "pixel_error_mean_colour": 0.0}, []),  # images of one colour
    ({"objects": 0, "tags_right": math.nan, "tags_commonest": math.nan, "explained": {}}, []),
])
def test_what_is_no_better_than_a_guess_is_named(changes, words):
    unlearned = replace(GUESS, **changes).unlearned
    assert len(unlearned) == len(words)
    assert all(word in said for word, said in zip(words, unlearned, strict=True))
