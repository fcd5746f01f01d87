"""A scene's objects are described as those that its network was trained on."""

import numpy as np
import pytest

from datasets.prepare.text.hashed import HashText
from inference.keys import EXTRACT
from inference.scene import open_scene, request_of
from models.network_file import NetworkFile
from tests.datasets.prepare.places import pixels, square, write_raster
from tests.datasets.prepare.reading import write
from tests.pretrained import save_pretrained
from utils.cli.compose import read
from utils.errors import CheckpointError, PrepareError


def open_with(folder, trained, *overrides):
    """Return the keys, and what opens the scene for a network that was trained so."""
    raster = write_raster(folder / "a.tif", pixels(64, 64))
    osm = write(folder / "a.gpkg", {"building": ["house"], "name": ["A"]}, [square(4, 4, 9)])
    network = NetworkFile(save_pretrained(folder / "a.tar", trained))
    cfg = read(EXTRACT, f"raster={raster}", f"osm={osm}", f"out={folder / 'out'}", *overrides)
    return cfg, open_scene(cfg, str(raster), network, network.rose(), True, 64, 64, "exceed")


@pytest.mark.parametrize(("trained", "override", "text"), [
    ({}, (), "house"),
    ({"text": {"name": "hash"}}, (), "house"),
    ({"text": {"name": "hash", "describe": "tags"}}, (), "building: house\nname: A"),
    ({}, ("text.describe=key_value",), "building: house"),
])
def test_texts_are_as_in_training(tmp_path, trained, override, text):
    cfg, opening = open_with(tmp_path, trained, *override)
    with opening as scene:
        (graph,) = scene.tiles(tmp_path / "work")[0].graphs
    np.testing.assert_array_equal(graph.x[:, :512], HashText().encode([text]))
    known = request_of(cfg)["text"]  # as an earlier version asked, where the key is not given
    assert ("describe" in known) == bool(override)


def test_another_description_is_refused(tmp_path):
    _, opening = open_with(tmp_path, {"text": {"name": "hash", "describe": "tags"}},
                           "text.describe=value")
    message = r"with text=hash text\.describe=tags, and here is text=hash text\.describe=value"
    with pytest.raises(CheckpointError, match=message), opening:
        pass


def test_a_sentence_model_is_found_by_the_network(tmp_path):
    """The key says the kind alone, and the model is that of training, which is gone here."""
    gone = str(tmp_path / "gone model")
    _, opening = open_with(tmp_path, {"text": {"name": "sentence", "model": gone}},
                           "text=sentence")
    with pytest.raises(PrepareError, match="gone model: no such folder"), opening:
        pass
