"""Checkpoints of all kinds: what comes back, and what is refused."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from models import build_rose, build_segmenter
from models.heads import SegmentationHead, read_head
from models.network_file import NetworkFile, load_rose, save_finetuned
from models.release import load_release_state_dict, our_name
from tests.release_names import release_of
from utils.checkpoint import newest_checkpoint, read_checkpoint, save_checkpoint
from utils.contents import ContentFault
from utils.errors import CheckpointError
from utils.files import remove_unfinished, replacing
from utils.rng import rng_state, set_rng_state
from utils.tensor_files import load_tensors, save_tensors

SMALL = "test_vit"
BUILD = {"image_encoder": SMALL, "recipe": "rose", "graph_in_dim": 32, "graph_out_dim": 16,
         "osm_norm_scope": "batch"}
def small_rose(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_rose(**BUILD)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


@pytest.fixture
def saved(tmp_path):
    rose = small_rose()
    save_checkpoint(tmp_path / "model_3.tar",
                    {"model": rose.state_dict(), "build": BUILD, "global_step": 7,
                     "rng": [rng_state()]})
    return tmp_path, rose


@pytest.mark.parametrize("name", ["model_3.tar", "model_3.safetensors"])
def test_our_checkpoints_come_back(saved, name):
    folder, rose = saved
    loaded = load_rose(folder / name)
    assert same(loaded, rose)
    assert loaded.osm_encoder.norm_scope == "batch"
    assert load_rose(folder / name, fine_input="double").fine_input == "double"


def test_a_rose_comes_from_its_checkpoint(saved):
    folder, rose = saved
    loaded = load_rose(folder / "model_3.safetensors", fine_input="double")
    assert same(loaded, rose)
    assert loaded.fine_input == "double"
    with pytest.raises(CheckpointError, match="no such file"):
        load_rose(folder / "nothing.tar")


def test_a_rose_knows_what_it_is_built_of(saved, tmp_path):
    """So that what is fine-tuned on any Rose comes back, wherever that came from."""
    loaded = load_rose(saved[0] / "model_3.tar", fine_input="double")
    again = build_rose(**loaded.build)
    assert (again.build, again.fine_input, again.osm_encoder.norm_scope) == (loaded.build,
                                                                             "double", "batch")
    head = SegmentationHead("fine", "linear", ("water", "land"))
    model = head.build(loaded)
    save_finetuned(tmp_path / "tuned.safetensors", model, head)
    file = NetworkFile(tmp_path / "tuned.safetensors")
    back = file.downstream()
    assert same(back, model)
    assert same(file.rose(), loaded)
    assert (back.rose.build, file.head) == (loaded.build, head)


@pytest.mark.parametrize("old_pyg", [False, True])
@pytest.mark.parametrize("wrap",
                         [lambda state: state, lambda state: {f"module.{k}": v
                                                              for k, v in state.items()},
                          lambda state: {"state_dict": state, "epoch": 120}],
                         ids=["bare", "module.", "state_dict"])
def test_the_authors_checkpoints_come_back(tmp_path, wrap, old_pyg):
    rose = small_rose()
    torch.save(wrap(release_of(rose, old_pyg)), tmp_path / "model_120.tar")
    loaded = load_rose(tmp_path / "model_120.tar", image_encoder=SMALL)
    assert same(loaded, rose)
    assert loaded.osm_encoder.norm_scope == "batch"  # recipe=release unless told otherwise
    assert load_rose(tmp_path / "model_120.tar", image_encoder=SMALL,
                     recipe="rose").osm_encoder.norm_scope == "tile"


def test_the_encoder_of_a_release_checkpoint_is_recognised(tmp_path):
    rose = build_rose("vit_tiny_patch16_224")
    torch.save(release_of(rose), tmp_path / "model_120.tar")
    assert same(load_rose(tmp_path / "model_120.tar"), rose)


def test_release_names_are_strict_and_all_faults_are_listed():
    rose = small_rose()
    state = release_of(rose)
    del state["img_norm.bias"], state["osm_decoder_pred.weight"]
    state |= {"surplus": torch.zeros(1), "img_mask_token": torch.zeros(1, 1, 3)}
    before = {name: value.clone() for name, value in rose.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_release_state_dict(rose, state)
    for part in ("missing: image_encoder.norm.bias, osm_pred.weight", "unexpected: surplus",
                 "image_mask_token [1, 1, 3] instead of [1, 1, 64]"):
        assert part in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in rose.state_dict().items())


def test_a_segmenter_takes_its_decoder_too():
    segmenter = build_segmenter(small_rose(), "image", num_classes=3)
    state = release_of(small_rose(1)) | {"decoder.head.weight": torch.ones(3, 64),
                                         "decoder.head.bias": torch.ones(3)}
    load_release_state_dict(segmenter, state)
    assert (segmenter.decoder.head.weight == 1).all()
    assert same(segmenter.rose, small_rose(1))
    with pytest.raises(CheckpointError,
                       match=r"missing: decoder\.head\.weight, decoder\.head\.bias"):
        load_release_state_dict(segmenter, release_of(small_rose()))


def test_every_name_of_ours_has_one_of_the_authors():
    assert {our_name(name)
            for name in release_of(small_rose())} - {None} == set(small_rose().state_dict())


PURPOSES = (  # as fine-tuned models have stored them since the first of them
    {"problem": "segmentation", "modality": "image", "decoder": "linear", "classes": ["a", "b"]},
    {"problem": "regression", "modality": "osm", "target": "pop", "target_scale": "log1p",
     "mean": 4.5, "std": 1.25},
)
OF_COLOURS = {**PURPOSES[0], "class_colours": ["#e6194b", "#3cb44b"]}


def test_a_head_keeps_the_colours_of_its_classes():
    assert read_head(OF_COLOURS).describe() == OF_COLOURS
    assert read_head(OF_COLOURS).colours == OF_COLOURS["class_colours"]
    for wrong, message in ((["#e6194b"], "1 colours, expected 2"), (["red", "#3cb44b"], "red")):
        with pytest.raises(ContentFault, match=message):
            read_head({**OF_COLOURS, "class_colours": wrong})


@pytest.mark.parametrize("purpose", PURPOSES, ids=lambda purpose: purpose["problem"])
def test_a_fine_tuned_file_of_the_first_version_opens(tmp_path, purpose):
    model = read_head(purpose).build(small_rose())
    tiles = {"text": {"name": "hash", "width": 20}}
    metadata = {"format": "rose-finetuned-1", "build": json.dumps(BUILD),
                "purpose": json.dumps(purpose), "tiles": json.dumps(tiles)}
    save_file(model.state_dict(), tmp_path / "best.safetensors", metadata)
    file = NetworkFile(tmp_path / "best.safetensors")
    assert same(file.downstream(), model)
    assert same(file.rose(), model.rose)
    assert (file.head.describe(), file.tiles) == (purpose, tiles)


def test_a_file_of_torchs_older_format_comes_back(tmp_path):
    path, rose = tmp_path / "model_120.tar", small_rose()
    torch.save(release_of(rose), path, _use_new_zipfile_serialization=False)
    file = NetworkFile(path, image_encoder=SMALL)
    assert same(file.rose(), rose)
    assert (file.head, file.tiles) == (None, {})


def test_random_state_comes_back(tmp_path):
    import random

    import numpy as np

    save_tensors(tmp_path / "state.tar", rng_state())
    first = torch.rand(3), np.random.rand(3), random.random()
    set_rng_state(load_tensors(tmp_path / "state.tar"))
    second = torch.rand(3), np.random.rand(3), random.random()
    assert torch.equal(first[0], second[0])
    assert (first[1] == second[1]).all()
    assert first[2] == second[2]


def test_the_newest_checkpoint_is_the_furthest_not_the_last_by_name(tmp_path):
    for name, step in (("model_5.tar", 50), ("model_10.tar", 100), ("last.tar", 73)):
        save_checkpoint(tmp_path / name, {"model": {}, "build": {}, "global_step": step})
    assert newest_checkpoint(tmp_path).name == "model_10.tar"
    assert newest_checkpoint(tmp_path / "none") is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def fill_the_disk():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fill_the_disk()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_write_left_is_removed(tmp_path):
    (tmp_path / ".writing-model_5.tar").write_text("half")
    remove_unfinished(tmp_path)
    assert not list(tmp_path.iterdir())


class Evil:
    def __reduce__(self):
        return print, ("run",)


BAD = {
    "missing": (lambda path: None, "no such file"),
    "a text": (lambda path: path.write_text("epoch [1/120]"),
               "is no checkpoint; expected a model_N.tar"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read"),
    "truncated": (lambda path: (torch.save({"a": torch.zeros(999)}, path),
                                path.write_bytes(path.read_bytes()[:1500])),
                  "truncated or damaged"),
    "pickled object": (lambda path: torch.save({"model": Evil()}, path),
                       "refused.*loading them can run any code"),
    "bare pickle": (lambda path: path.write_bytes(pickle.dumps(Evil())), "refused"),
    "a list": (lambda path: torch.save([1, 2], path), "holds a list"),
    "another network": (lambda path: torch.save({"fc.weight": torch.zeros(2)}, path),
                        "neither a checkpoint of train_rose.py nor .* fc.weight"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, kind, capsys):
    make, message = BAD[kind]
    path = tmp_path / "model_1.tar"
    make(path)
    with pytest.raises(CheckpointError, match=message) as error:
        load_rose(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""  # nothing in it ran


def test_weights_are_no_run(tmp_path):
    torch.save(release_of(small_rose()), tmp_path / "model_120.tar")
    with pytest.raises(CheckpointError, match="holds weights but no run"):
        read_checkpoint(tmp_path / "model_120.tar")


def test_foreign_safetensors(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="without Rose's description"):
        load_rose(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        load_rose(tmp_path / "a.safetensors")


@pytest.mark.parametrize(("keys", "message"), [
    ({"placement": "coverage"}, "placement=tile, not placement=coverage; leave placement= out, or "
                                "give a checkpoint made so"),
    ({"osm_layers": 2, "fine_input": "double", "relation_edges": True},
     "osm_layers=1,relation_edges=false, not osm_layers=2,relation_edges=true; leave osm_layers=, "
     "relation_edges= out"),
])
def test_keys_that_the_weights_contradict_are_named(saved, keys, message):
    with pytest.raises(CheckpointError, match=f"model_3.tar: was made with {message}"):
        load_rose(saved[0] / "model_3.tar", **keys)
    assert load_rose(saved[0] / "model_3.tar", fine_input="double").fine_input == "double"


def test_another_width_is_refused_with_both_shapes(saved):
    with pytest.raises(CheckpointError, match=r"model_3.tar: does not fit the network "
                                              r".*\[16, 32\] instead of \[8, 32\]"):
        load_rose(saved[0] / "model_3.tar", graph_out_dim=8)
