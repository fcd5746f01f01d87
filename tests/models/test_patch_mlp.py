"""patch_mlp=true: a pixel's class is pooled of the network's answer and an MLP's of its patch."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from models import build_rose, build_segmenter, registry
from models.heads import SegmentationHead, read_head
from models.patch_mlp import COLOURS, PatchMlp, colour_statistics, object_statistics
from tests.models.conftest import SMALL, random_images, randomise, read_back
from tests.models.test_osm_raster import BOXES, graphs_of
from utils.contents import ContentFault
from utils.errors import ModelError

SIDE = 16
CHANNELS = ("building/house", "park")
TAGS = {"lima": ["road/service", "building/house", "park"]}
HEAD = SegmentationHead("fusion", "linear", ("a", "b"), mlp=CHANNELS)


def pictures(count: int) -> torch.Tensor:
    """Return uint8 images of `count` tiles."""
    return torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8)


def test_colours_of_a_patch_and_around():
    images = torch.zeros(2, 3, 3 * SIDE, 2 * SIDE, dtype=torch.uint8)
    images[1, 0, :SIDE, SIDE:] = 255                          # red in the second patch alone
    values = colour_statistics(images, SIDE).view(2, 3, 2, COLOURS)
    assert not values[0].any()
    assert values[1, 0, 1, 0] == 1
    assert values[1, ..., 0].sum() == 1
    assert values[1, 0, 1, 3] == 0                            # deviation
    around = values[1, ..., 12].flatten().tolist()            # 5 x 5: all of them
    assert around == pytest.approx([1 / 6] * 6)


def test_objects_on_a_patch_by_channel():
    x = torch.zeros(3, 525)
    x[:, 514:522] = torch.tensor([0, 0, 0.5, 0, 0.5, 1, 0, 1.])  # the left half
    none = torch.empty(2, 0, dtype=torch.long)
    graphs = Batch.from_data_list([Data(x=x[:2], edge_index=none), Data(x=x[:0], edge_index=none),
                                   Data(x=x[2:], edge_index=none)])
    values = object_statistics(graphs, torch.tensor([1, -1, 0]), 2, (2, 2))    # [3, 4, 6]
    half = pytest.approx([1, 0, 1, 0], abs=0.1)
    assert values[0, :, 1].tolist() == half
    assert values[2, :, 0].tolist() == half
    assert not values[1].any()
    assert not values[0, :, 0].any()                          # the second counts nowhere
    assert values[0, 0, -2:].tolist() == pytest.approx([0, 0.5], abs=0.05)     # of the tile


def test_what_is_learned_is_standardised_by_the_training_patches():
    mlp = PatchMlp((), 2, SIDE, hidden=0)
    rows = torch.randn(500, COLOURS) * 3 + 5
    mlp.start(rows)
    scores = mlp.scores(rows)
    standard = (rows - rows.mean(0)) / rows.std(0, correction=0)
    expected = standard @ mlp.layers.weight.T + mlp.layers.bias
    torch.testing.assert_close(scores, expected, atol=1e-2, rtol=1e-2)


def test_answers_are_pooled_in_evaluation_and_the_network_learns_alone():
    rose = randomise(build_rose(SMALL))
    alone = build_segmenter(rose, "fusion", num_classes=2)
    both = HEAD.build(rose).know_tags(TAGS)
    both.decoder.load_state_dict(randomise(alone.decoder).state_dict())
    randomise(both.mlp)
    seen = pictures(2)
    images = rose.normalise(seen)
    graphs = graphs_of([(BOXES["upright"], 1), (BOXES["turned"], 0)], [])
    logits = alone.eval().outputs(images, graphs)
    scores = torch.nn.functional.interpolate(both.eval().mlp(seen, graphs), size=(224, 224),
                                             mode="bilinear", align_corners=False)
    pooled = (logits.softmax(1) * scores.softmax(1)).sqrt()
    pooled = pooled / pooled.sum(1, keepdim=True)
    torch.testing.assert_close(both(images, graphs).softmax(1), pooled)
    assert not torch.allclose(both(images, graphs).softmax(1), logits.softmax(1))
    alone.train(), both.train()
    torch.testing.assert_close(both(images, graphs), alone(images, graphs))
    assert not any(parameter.requires_grad for parameter in both.mlp.parameters())


@pytest.mark.parametrize("decoder", ["mask_transformer", "pyramid"])
def test_it_stands_beside_every_decoder(decoder):
    rose = build_rose(SMALL)
    modality = "image" if decoder == "pyramid" else "fusion"
    mlp = () if modality == "image" else CHANNELS
    model = build_segmenter(rose, modality, decoder, 2, mlp=mlp).know_tags(TAGS).eval()
    assert model(random_images(1, 224, 224), graphs_of([(BOXES["upright"], 1)])).shape == (
        1, 2, 224, 224)


def test_objects_move_the_answer_only_where_they_are_known():
    mlp = randomise(PatchMlp(CHANNELS, 2, SIDE)).eval()
    mlp.know_tags(TAGS)
    image = pictures(1)
    empty, road, house = (mlp(image, graphs_of([(BOXES["upright"], code)] if code >= 0 else []))
                          for code in (-1, 0, 1))
    torch.testing.assert_close(road, empty)       # no channel has roads
    assert not torch.allclose(house, empty)


def test_a_frozen_network_with_it_is_not_looked_at_once():
    assert build_segmenter(build_rose(SMALL)).freeze().fixed
    assert not HEAD.build(build_rose(SMALL)).freeze().fixed


def test_a_file_keeps_it(tmp_path):
    model = randomise(HEAD.build(build_rose(SMALL)))
    model.mlp.start(torch.rand(50, len(model.mlp.mean)))
    network = read_back(tmp_path, model, HEAD, TAGS, graphs_of([(BOXES["turned"], 1)]))
    assert network.downstream().mlp.mean.any()
    assert "an MLP of patches beside it; they are left out here" in network.notes_on_rose[0]


def test_codes_that_nobody_explained_are_refused():
    mlp = PatchMlp(CHANNELS, 2, SIDE)
    mlp.know_tags(TAGS)
    with pytest.raises(ModelError, match=r"tile 'oslo_0_0': nothing says what its label codes "
                                         r"mean, .* draw_objects=false count_objects=false "
                                         "patch_mlp=false"):
        mlp(pictures(1), graphs_of([(BOXES["upright"], 1)], city="oslo"))


@pytest.mark.parametrize("modality", registry.segmentation_modalities())
def test_it_reads_what_the_modality_reads(modality):
    reads = registry.MODALITIES[modality]
    fits, other = (CHANNELS, ()) if reads.reads_osm else ((), CHANNELS)
    mlp = build_segmenter(build_rose(SMALL), modality, mlp=fits).mlp
    assert (mlp.colours, mlp.channels) == (reads.reads_image, fits)
    with pytest.raises(ModelError, match=f"modality={modality}: its MLP of patches reads objects "
                                         f"of {len(other)} channels, expected"):
        build_segmenter(build_rose(SMALL), modality, mlp=other)


@pytest.mark.parametrize(("stored", "message"), [
    (HEAD.describe() | {"patch_mlp": []},
     "patch_mlp has 0 names, expected different names, one or more, for modality=fusion"),
    (HEAD.describe() | {"patch_mlp": ["a", "a"]},
     "patch_mlp has 2 names, expected different names, one or more, for modality=fusion"),
    (HEAD.describe() | {"modality": "image"},
     "patch_mlp has 2 names, expected none, for modality=image"),
    (HEAD.describe() | {"patch_mlp": True}, "patch_mlp is true, expected a list"),
])
def test_channels_that_do_not_suit_the_modality_are_refused(stored, message):
    with pytest.raises(ContentFault, match=message):
        read_head(stored)
