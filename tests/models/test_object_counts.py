"""count_objects=true: a total is what the network adds to a linear model of its tile's objects."""

import pytest
import torch

from models import build_rose, registry
from models.decoders import TargetScale
from models.downstream import build_regressor
from models.heads import RegressionHead, read_head
from models.network_file import NetworkFile, save_finetuned
from models.object_counts import ObjectCounts
from tests.models.conftest import SMALL, random_images, randomise, read_back
from tests.models.test_osm_raster import BOXES, graphs_of
from utils.contents import ContentFault
from utils.errors import ModelError

CHANNELS = ("building/house", "building/*", "park")
TAGS = {"lima": ["road/service", "building/house", "building/hut", "park"]}
HEAD = RegressionHead("fusion", "pop", TargetScale("standard", 10.0, 2.0), counts=CHANNELS)


def counting() -> ObjectCounts:
    counts = ObjectCounts(CHANNELS)
    counts.know_tags(TAGS)
    return counts


def test_columns_are_numbers_and_areas_by_channel_layer_and_in_all():
    graphs = graphs_of([(BOXES["upright"], 1), (BOXES["turned"], 1), (BOXES["upright"], 2),
                        (BOXES["turned"], 0)], [], [(BOXES["turned"], 3)])
    area = graphs.x[:, -13].double()
    rows = counting().amounts(graphs)
    # house, other buildings, park; all of no layer, all buildings; all, the road among them
    assert rows[0, :6].tolist() == [2, 1, 0, 0, 3, 4]
    torch.testing.assert_close(rows[0, 6:], torch.stack([
        area[:2].sum(), area[2], 0 * area[0], 0 * area[0], area[:3].sum(), area[:4].sum()]))
    assert not rows[1].any()  # a tile without objects
    assert rows[2, :6].tolist() == [0, 0, 1, 1, 0, 1]


def test_an_estimate_is_the_networks_and_the_linear_models():
    rose = randomise(build_rose(SMALL))
    graphs = graphs_of([(BOXES["upright"], 1)], [(BOXES["turned"], 3)])
    images = random_images(2, 224, 224)
    alone = build_regressor(rose, "fusion", HEAD.scale)
    both = HEAD.build(rose).know_tags(TAGS)
    both.decoder.load_state_dict(randomise(alone.decoder).state_dict())
    outputs = alone.eval().outputs(images, graphs)
    assert torch.equal(both.eval().outputs(images, graphs), outputs)  # 0 before it is fitted
    columns = len(both.counts.mean)
    both.counts.set_to(mean=torch.ones(columns), spread=torch.full((columns,), 2.0),
                       weight=torch.arange(float(columns)), offset=torch.tensor(0.5))
    linear = (both.counts.amounts(graphs).float() - 1) / 2 @ torch.arange(float(columns)) + 0.5
    torch.testing.assert_close(both.outputs(images, graphs), outputs + linear[:, None])
    assert not any(name.startswith("counts") for name, _ in both.named_parameters())


def test_without_a_scale_the_sum_is_never_negative():
    model = build_regressor(build_rose(SMALL), "osm", counts=CHANNELS).know_tags(TAGS)
    model.counts.set_to(offset=torch.tensor(-1e6))
    graphs = graphs_of([(BOXES["upright"], 1)])
    assert model(random_images(1, 224, 224), graphs).tolist() == [[0.0]]


def test_a_frozen_network_that_counts_is_not_looked_at_once():
    assert build_regressor(build_rose(SMALL)).freeze().fixed
    assert not HEAD.build(build_rose(SMALL)).freeze().fixed


def test_a_file_keeps_the_linear_model(tmp_path):
    model = randomise(HEAD.build(build_rose(SMALL)))
    for number, buffer in enumerate(model.counts.state_dict().values(), 1):
        buffer.fill_(number / 3)
    there = read_back(tmp_path, model, HEAD, TAGS, graphs_of([(BOXES["turned"], 1)])).downstream()
    assert there.counts.state_dict().keys() == {"mean", "spread", "most", "weight", "offset"}
    assert there.counts.weight.all()


def test_a_column_counts_for_as_much_as_it_may():
    counts = counting()
    counts.set_to(weight=torch.ones_like(counts.weight), most=torch.full_like(counts.weight, 1.5))
    graphs = graphs_of([(BOXES["upright"], 1)] * 5)
    expected = counts.amounts(graphs).clamp(max=1.5).sum()
    assert counts(graphs).item() == pytest.approx(expected.item())
    assert counts.amounts(graphs).max() == 5


@pytest.mark.parametrize("head", [
    HEAD, RegressionHead("fusion", "pop", TargetScale(), channels=CHANNELS),
    RegressionHead("fusion", "pop", TargetScale(), statistics=True),
    RegressionHead("fusion", "pop", TargetScale())])
def test_whoever_takes_the_rose_alone_hears_what_is_left_out(tmp_path, head):
    save_finetuned(tmp_path / "best.safetensors", head.build(build_rose(SMALL)), head)
    notes = NetworkFile(tmp_path / "best.safetensors").notes_on_rose
    assert bool(notes) == bool(head.counts or head.channels or head.statistics)
    assert all("numbers of objects, or has an MLP of patches beside it; they are left out here"
               in note for note in notes)


def test_codes_that_nobody_explained_are_refused():
    with pytest.raises(ModelError, match=r"tile 'oslo_0_0': nothing says what its label codes "
                                         r"mean, .* or draw_objects=false count_objects=false "
                                         r"patch_mlp=false$"):
        counting().amounts(graphs_of([(BOXES["upright"], 1)], city="oslo"))


@pytest.mark.parametrize("modality", registry.regression_modalities())
def test_modalities_that_read_objects_count_them(modality):
    if registry.MODALITIES[modality].reads_osm:
        assert build_regressor(build_rose(SMALL), modality, counts=CHANNELS).counts is not None
        return
    with pytest.raises(ModelError, match=f"modality={modality}: reads no OSM objects, so it cannot "
                                         r"count them \(counts=3\), expected none"):
        build_regressor(build_rose(SMALL), modality, counts=CHANNELS)


@pytest.mark.parametrize(("stored", "message"), [
    (HEAD.describe() | {"osm_counts": []}, r"osm_counts is \[\], expected a list of 1 to 1000"),
    (HEAD.describe() | {"osm_counts": ["a", "a"]},
     "osm_counts has 2 names, expected none, or different names, for modality=fusion"),
    (HEAD.describe() | {"counted": "cars\x1b[2J"}, "purpose.counted is .*, expected a line of"),
    (HEAD.describe() | {"counted": "c" * 201}, "expected a text of 200 characters or fewer"),
    (HEAD.describe() | {"modality": "image"},
     "osm_counts has 3 names, expected none, for modality=image"),
])
def test_counts_that_do_not_suit_the_modality_are_refused(stored, message):
    with pytest.raises(ContentFault, match=message):
        read_head(stored)
