"""Networks on disk: damaged anywhere, or whole and wrong. Each file is refused in one line, or
gives exactly what was written."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from datasets.stores.tile_files import read_tensor
from models import build_rose, load_rose, save_rose
from models.decoders import TargetScale
from models.heads import RegressionHead, SegmentationHead
from models.network_file import NetworkFile, save_finetuned
from tests.processes import limited
from tests.release_names import release_of
from training.keys import TrainConfig
from training.restoring import restoring
from training.schedule import build_optimizer, load_optimizer
from utils import checkpoint
from utils.checkpoint import read_checkpoint, read_position, read_safetensors, save_checkpoint
from utils.contents import Fields, Table
from utils.errors import CheckpointError, RoseError
from utils.rng import RNG_STATE, rng_state
from utils.tensor_files import Dense, is_finite, load_tensors, save_tensors

BUILD = {"image_encoder": "test_vit", "recipe": "rose", "graph_in_dim": 32, "graph_out_dim": 16}
TILES = {"tile_px": 224, "metres_per_pixel": [0.5, 0.5], "text": {"name": "hash", "width": 20},
         "relation_codes": "symmetric", "coordinates": "subpixel"}
SEGMENTATION = SegmentationHead("fusion", "linear", ("water", "land"))
REGRESSION = RegressionHead("osm", "pop", TargetScale("log1p", 4.5, 1.25))


@pytest.fixture(scope="module")
def rose():
    torch.manual_seed(0)
    return build_rose(**BUILD)


@pytest.fixture(scope="module")
def run(rose) -> dict[str, Any]:
    """What a pretraining run saves after one step."""
    optimizer = build_optimizer(rose, 1e-3, 0.05)
    for parameter in rose.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = deepcopy(rose.state_dict())
    optimizer.step()
    rose.load_state_dict(before)
    record = {"sums": [0.0, 0.0], "count": 0, "first": [1.0, 2.0], "latest": None,
              "sizes": {"metrics.csv": 9}}
    return {"model": rose.state_dict(), "build": BUILD, "optimizer": optimizer.state_dict(),
            "precision": {}, "epoch": 1, "step": 1, "global_step": 1, "devices": 1,
            "record": record, "config": asdict(TrainConfig("tiles")), "tiles": "0" * 64,
            "trained_on": TILES}


def read_network(path: Path) -> Any:
    file = NetworkFile(path, image_encoder="test_vit")
    return file.build, file.head, file.tiles, file.weights


def read_evaluation(path: Path) -> Any:
    rule = Fields({"model": Table(Dense()), "rng": RNG_STATE})
    return checkpoint.read_state(path, "rose-evaluation-1", rule, "remove it to start again")


@pytest.fixture(scope="module")
def kinds(rose, run, tmp_path_factory) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    """A file of each kind, and what reads it."""
    folder = tmp_path_factory.mktemp("kinds")
    save_checkpoint(folder / "model_1.tar", run)
    save_finetuned(folder / "best.safetensors", SEGMENTATION.build(deepcopy(rose)), SEGMENTATION,
                   TILES)
    save_tensors(folder / "state.tar", {"format": "rose-evaluation-1", "rng": rng_state(),
                                        "model": {"a": torch.rand(9, 9), "b": torch.rand(3)}})
    torch.save(release_of(rose), folder / "authors.tar")
    torch.save(torch.rand(20, 33), folder / "node.tensor")
    return {"run": (folder / "model_1.tar", read_checkpoint),
            "network of a run": (folder / "model_1.tar", read_network),
            "pretrained": (folder / "model_1.safetensors", read_network),
            "fine-tuned": (folder / "best.safetensors", read_network),
            "evaluation": (folder / "state.tar", read_evaluation),
            "the authors'": (folder / "authors.tar", read_network),
            "nodes of a tile": (folder / "node.tensor", read_tensor)}


KINDS = ["run", "network of a run", "pretrained", "fine-tuned", "evaluation", "the authors'",
         "nodes of a tile"]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(value, b[name]) for name, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def refusal(path: Path, read: Callable[[Path], Any], expected: Any = None) -> str | None:
    """Return the one line that refuses a file; None if it gives what is expected."""
    try:
        content = read(path)
    except RoseError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert len(message) < 1500
        return message
    assert expected is not None, "a wrong file was read"
    assert equal(content, expected), "a damaged file was read as another"
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_refused_or_does_not_matter(kinds, kind, tmp_path):
    path, read = kinds[kind]
    whole, expected = path.read_bytes(), read(path)
    random = np.random.default_rng(0)
    places = [*random.integers(len(whole), size=20), *random.integers(600, size=10),
              *len(whole) - 1 - random.integers(min(len(whole), 3000), size=10)]
    damaged, refused = tmp_path / path.name, 0
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << int(random.integers(8))
        damaged.write_bytes(content)
        refused += refusal(damaged, read, expected) is not None
    assert refused > 15


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_of_a_file_is_refused(kinds, kind, tmp_path):
    path, read = kinds[kind]
    whole, part = path.read_bytes(), tmp_path / path.name
    for length in np.linspace(0, len(whole) - 1, 20).astype(int):
        part.write_bytes(whole[:length])
        assert "damaged" in refusal(part, read), length


@pytest.mark.parametrize("kind", KINDS)
def test_random_bytes_among_the_numbers_are_refused(kinds, kind, tmp_path):
    path, read = kinds[kind]
    whole, random, damaged = path.read_bytes(), np.random.default_rng(1), tmp_path / path.name
    for place in random.integers(len(whole) - 200, size=10):
        damaged.write_bytes(whole[:place] + random.bytes(200) + whole[place + 200:])
        message = refusal(damaged, read)
        assert "damaged" in message or "holds pickled" in message, message
        assert any(remedy in message for remedy in ("copy it again", "remove it", "prepare_")), (
            message)


def test_files_without_a_checksum_are_read_as_before(rose, tmp_path):
    save_rose(tmp_path / "a.safetensors", rose)
    metadata = {name: value for name, value
                in checkpoint.read_metadata(tmp_path / "a.safetensors").items()
                if name != "checksum"}
    save_file(rose.state_dict(), tmp_path / "b.safetensors", metadata)
    assert equal(dict(load_rose(tmp_path / "b.safetensors").state_dict()),
                 dict(rose.state_dict()))


def test_a_checksum_covers_names_shapes_and_description(rose, tmp_path):
    """Each written with the checksum of the right file."""
    path, weights = tmp_path / "a.safetensors", dict(rose.state_dict())
    save_rose(path, rose)
    metadata = checkpoint.read_metadata(path)
    swapped = weights | {"osm_decoder_norm.weight": weights["image_decoder_norm.weight"] + 1,
                         "image_decoder_norm.weight": weights["osm_decoder_norm.weight"]}
    flat = weights | {"image_mask_token": weights["image_mask_token"].reshape(1, -1, 1)}
    halves = weights | {"image_mask_token": weights["image_mask_token"].to(torch.float16)}
    for other, said in ((swapped, {}), (flat, {}), (halves, {}),
                        (weights, {"tiles": json.dumps(TILES)})):
        save_file(other, path, metadata | said)
        assert "damaged" in refusal(path, lambda path: NetworkFile(path).weights)


def changed(value: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """`value` with other fields, and without those that are `...`."""
    return {name: item for name, item in (value | fields).items() if item is not ...}


DEEP = "[" * 100_000
BUILDS = {
    "a list": ([1], "build is .*expected a table"),
    "null": (None, "build is null, expected a table"),
    "no encoder": (changed(BUILD, image_encoder=...), r"build\.image_encoder is missing"),
    "unknown key": (changed(BUILD, colour=3), "a name in build is .colour., expected one of"),
    "enormous": (changed(BUILD, graph_out_dim=10**20), r"build\.graph_out_dim is 1000.*65536"),
    "larger than its weights": (changed(BUILD, graph_in_dim=60_000), "does not fit the network"),
    "a giant": (changed(BUILD, image_encoder="vit_giant_patch14_dinov2"), "does not fit"),
    "negative": (changed(BUILD, graph_in_dim=-4), r"build\.graph_in_dim is -4"),
    "text": (changed(BUILD, graph_in_dim="32"), r"build\.graph_in_dim is .32., expected a whole"),
    "true": (changed(BUILD, graph_in_dim=True), r"build\.graph_in_dim is true"),
    "ratio": (changed(BUILD, img_mask_ratio=float("nan")), "img_mask_ratio is NaN, expected a fin"),
    "ratio 1": (changed(BUILD, img_mask_ratio=1), "cannot be built: img_mask_ratio=1"),
    "recipe": (changed(BUILD, recipe="soup"), "recipe is .soup., expected one of rose, release"),
    "scope": (changed(BUILD, osm_norm_scope=3), "osm_norm_scope is 3, expected"),
    "no such": (changed(BUILD, image_encoder="vit_nothing"), "cannot be built: .*knows no such"),
    "no ViT": (changed(BUILD, image_encoder="resnet18"), "cannot be built: .*is no plain ViT"),
    "elsewhere": (changed(BUILD, image_encoder="hf-hub:some/one"), "described by files elsewhere"),
    "a folder": (changed(BUILD, image_encoder="local-dir:/x"), "described by files elsewhere"),
    "encoder 3": (changed(BUILD, image_encoder=3), "image_encoder is 3, expected a text"),
}
TILES_SAID = {
    "a list": ([], "expected a table"),
    "metres": (changed(TILES, metres_per_pixel="0.5"), "metres_per_pixel is .0.5., expected a li"),
    "metres 0": (changed(TILES, metres_per_pixel=[0, 0]), r"metres_per_pixel\[0\] is 0"),
    "one": (changed(TILES, metres_per_pixel=[1]), "expected a list of 2"),
    "text": (changed(TILES, text="clip"), "text is .clip., expected a table"),
    "name": (changed(TILES, text={"width": 3}), r"text\.name is missing"),
    "pixels": (changed(TILES, tile_px=1e20), r"tile_px is 1e\+20"),
    "codes": (changed(TILES, relation_codes="mine"), "relation_codes is .mine., expected one of"),
}


@pytest.mark.parametrize("suffix", [".tar", ".safetensors"])
@pytest.mark.parametrize(("field", "case"), [("build", case) for case in BUILDS]
                         + [("tiles", case) for case in TILES_SAID])
def test_a_wrong_description_is_refused(rose, tmp_path, field, case, suffix):
    value, message = (BUILDS if field == "build" else TILES_SAID)[case]
    save_checkpoint(tmp_path / "a.tar", {
        "model": rose.state_dict(), "build": value if field == "build" else BUILD,
        "trained_on": value if field == "tiles" else TILES})
    with pytest.raises(CheckpointError, match=message) as error:
        load_rose(tmp_path / f"a{suffix}")
    assert str(error.value).startswith(f"{tmp_path}/a{suffix}: ")
    assert "\n" not in str(error.value)


def test_no_memory_is_taken_for_a_network_that_the_weights_do_not_fit(rose, tmp_path, monkeypatch):
    def build(**arguments):
        assert torch.get_default_device().type == "meta"
        return build_rose(**arguments)
    monkeypatch.setattr("models.building.build_rose", build)
    giant = changed(BUILD, image_encoder="vit_giant_patch14_dinov2")
    save_checkpoint(tmp_path / "a.tar", {"model": rose.state_dict(), "build": giant})
    assert "does not fit the network" in refusal(tmp_path / "a.safetensors", load_rose)


HEADS = {
    "null": (None, "purpose is null"),
    "no problem": ({}, r"purpose\.problem is missing"),
    "another": ({"problem": "poetry"}, "expected one of segmentation, regression"),
    "modality": (changed(SEGMENTATION.describe(), modality="map"), r"modality is .map., expec"),
    "of tiles": (changed(REGRESSION.describe(), modality="fine"), r"modality is .fine., expec"),
    "undrawn": (changed(SEGMENTATION.describe(), modality="osm_raster"), "osm_channels has 0 name"),
    "decoder": (changed(SEGMENTATION.describe(), decoder=["linear"]), "decoder is .*expected a t"),
    "no classes": (changed(SEGMENTATION.describe(), classes=[]), "classes is .*1 to"),
    "more classes": (changed(SEGMENTATION.describe(), classes=list("abc")), "decoder.head.weight"),
    "classes 3": (changed(SEGMENTATION.describe(), classes=[1, 2]), r"classes\[0\] is 1, expected"),
    "missing": (changed(SEGMENTATION.describe(), classes=...), "classes is missing"),
    "target": (changed(REGRESSION.describe(), target="joy"), "target is .joy., expected one of"),
    "mean": (changed(REGRESSION.describe(), mean=float("inf")), "mean is Infinity, expected a fi"),
    "std": (changed(REGRESSION.describe(), std=0), "std is 0, expected a finite number of 1e-30"),
    "scale": (changed(REGRESSION.describe(), target_scale="cube"), "target_scale is .cube."),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_wrong_head_is_refused(rose, tmp_path, case):
    purpose, message = HEADS[case]
    path = tmp_path / "best.safetensors"
    checkpoint.write_weights(path, SEGMENTATION.build(deepcopy(rose)).state_dict(),
                             checkpoint.FINETUNED_FORMAT,
                             {"build": BUILD, "purpose": purpose, "tiles": {}})
    with pytest.raises(CheckpointError, match=message) as error:
        NetworkFile(path).downstream()
    assert str(error.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("metadata", "message"), [
    ({}, "without Rose's description of its network, or damaged; give a file that"),
    ({"format": "rose-weights-1"}, "build is missing"),
    ({"format": "rose-weights-1", "build": "{"}, "build is no JSON"),
    ({"format": "rose-weights-1", "build": DEEP}, "build is no JSON .nested too deeply"),
    ({"format": "rose-weights-1", "build": json.dumps(BUILD), "tiles": DEEP}, "tiles is no JSON"),
    ({"format": "rose-finetuned-1", "build": json.dumps(BUILD)}, "purpose is missing"),
], ids=range(6))
def test_wrong_metadata_is_refused(rose, tmp_path, metadata, message):
    path = tmp_path / "a.safetensors"
    save_file(rose.state_dict(), path, metadata)
    assert message in refusal(path, load_rose).replace("(", ".")


WEIGHTS = {
    "model=None": (lambda model: None, "model is null, expected a network's weights"),
    "a list": (lambda model: [1], "model is .*expected a network's weights"),
    "empty": (lambda model: {}, "expected a network's weights"),
    "no tensor": (lambda model: model | {"cls": 3}, "the weight cls is 3, expected a tensor"),
    "a number for a name": (lambda model: model | {3: torch.zeros(1)}, "a name in model is 3"),
    "float64": (lambda model: {name: value.double() for name, value in model.items()},
                "float64 tensor .*expected one of float32"),
    "int": (lambda model: model | one(model, lambda value: value.int()), "int32 tensor"),
    "sparse": (lambda model: model | one(model, torch.Tensor.to_sparse), "sparse_coo"),
    "meta": (lambda model: model | one(model, lambda value: value.to("meta")), "without numbers"),
    "0-d": (lambda model: model | one(model, torch.Tensor.sum), r"wrong shape: .* \[\] instead"),
    "expanded": (lambda model: model | {"a": torch.zeros(1).expand(10**7, 10**7)}, "of a smaller"),
    "missing": (lambda model: dict(list(model.items())[1:]), "missing: "),
    "nan": (lambda model: model | one(model, lambda value: value * torch.nan), "is not finite"),
    "one inf": (lambda model: model | one(model, lambda value: value.fill_(torch.inf)),
                "is not finite, expected finite weights, .* choose another checkpoint"),
}


def one(model: dict, change: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, torch.Tensor]:
    """The first weight, changed."""
    name, value = next(iter(model.items()))
    return {name: change(value.clone())}


@pytest.mark.parametrize("case", WEIGHTS)
@pytest.mark.parametrize("whose", ["ours", "the authors'"])
def test_wrong_weights_are_refused(rose, run, tmp_path, case, whose):
    change, message = WEIGHTS[case]
    path = tmp_path / "model_1.tar"
    if whose == "ours":
        torch.save({**run, "format": checkpoint.FORMAT, "model": change(rose.state_dict())}, path)
    else:
        torch.save(change(release_of(rose)), path)
        if case in ("model=None", "a list", "empty", "missing"):
            message = "holds a|neither a checkpoint|missing"
    with pytest.raises(CheckpointError, match=message) as error:
        load_rose(path, image_encoder="test_vit")
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    if whose == "ours" and case not in ("0-d", "missing"):  # which its network's loading refuses
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(path)


@pytest.mark.parametrize(("kind", "wrong"), [("pretrained", torch.nan), ("fine-tuned", torch.inf)])
def test_weights_that_are_not_finite_are_neither_written_nor_read(kinds, kind, wrong, tmp_path):
    """One number of a file that was written before this was checked."""
    path = tmp_path / "a.safetensors"
    weights, metadata = load_file(kinds[kind][0]), checkpoint.read_metadata(kinds[kind][0])
    name = next(iter(weights))
    weights[name].view(-1)[1] = wrong
    save_file(weights, path, {key: value for key, value in metadata.items() if key != "checksum"})
    file = NetworkFile(path)
    for read in (file.rose, lambda: file.weights, lambda: read_safetensors(path)):
        assert f"{name} is not finite" in refusal(path, lambda path, read=read: read())
    with pytest.raises(CheckpointError, match=r"a weight is not finite .*so it was not saved"):
        checkpoint.write_weights(tmp_path / "b.safetensors", weights, "rose-weights-1", {})
    with pytest.raises(CheckpointError, match="a weight is not finite"):
        save_checkpoint(tmp_path / "model_2.tar", {"model": weights, "build": BUILD})
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_large_numbers_are_finite():
    assert is_finite(torch.full((9,), 3e38))
    assert is_finite(torch.zeros(0))
    assert not is_finite(torch.tensor([torch.inf, -torch.inf]))


STATES = {
    "epoch": ("1", "epoch is .1., expected a whole number of 1 or more"),
    "step": (-1, "step is -1"), "global_step": (None, "global_step is null"),
    "devices": (0, "devices is 0"), "tiles": (3, "tiles is 3, expected a text"),
    "optimizer": ({}, r"optimizer\.state is missing"),
    "precision": ([], "precision is .*expected a table"),
    "record": ({"sums": [1]}, r"record\.\w+ is missing"),
    "config": ({"batch_size": "64"}, r"config\.batch_size is .64."),
    "build": ("text", "build is .text."),
}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("missing", [False, True])
def test_a_wrong_state_of_a_run_is_refused(run, tmp_path, name, missing):
    value, message = STATES[name]
    path = tmp_path / "last.tar"
    torch.save(changed(run | {"format": checkpoint.FORMAT}, **{name: ... if missing else value}),
               path)
    with pytest.raises(CheckpointError, match=f"{name} is missing" if missing else message):
        read_checkpoint(path)


def test_a_position_that_is_no_number_is_refused(tmp_path):
    torch.save({"global_step": "many"}, tmp_path / "last.tar")
    assert "global_step is \"many\"" in refusal(tmp_path / "last.tar", read_position)


def test_the_optimiser_of_another_network_is_refused(rose, run):
    optimizer = build_optimizer(rose, 1e-3, 0.05)
    load_optimizer(optimizer, run["optimizer"])
    for change in ({"param_groups": run["optimizer"]["param_groups"][:1]},
                   {"state": {10**6: {}}},
                   {"state": {0: {"exp_avg": torch.zeros(3, 3, 3)}}}):
        with pytest.raises(CheckpointError, match=r"a\.tar: does not fit this run"), restoring(
                Path("a.tar"), "start anew"):
            load_optimizer(optimizer, run["optimizer"] | change)


def test_the_random_state_is_checked():
    state = rng_state()
    RNG_STATE.check(state, "rng")
    for change in ({"torch": torch.zeros(3, dtype=torch.uint8)}, {"numpy": [1]},
                   {"python": (3, (1, 2), None)}, {"torch": None}):
        with pytest.raises(Exception, match=r"rng\.\w+.* is .*, expected"):
            RNG_STATE.check(state | change, "rng")


def test_what_refuses_a_pickled_rose_advises_what_can_be_read(rose, tmp_path):
    torch.save(rose, tmp_path / "model_1.tar")
    message = refusal(tmp_path / "model_1.tar", load_rose)
    assert "models.save_rose(path, rose) for a Rose of this program" in message
    torch.save(rose.state_dict(), tmp_path / "model_1.tar")
    message = refusal(tmp_path / "model_1.tar", load_rose)
    assert "write it with models.save_rose(path, rose)" in message
    save_rose(tmp_path / "model_1.safetensors", rose)
    assert equal(dict(load_rose(tmp_path / "model_1.safetensors").state_dict()),
                 dict(rose.state_dict()))
    torch.save(release_of(rose), tmp_path / "model_1.tar")  # the advice for the authors' network
    load_rose(tmp_path / "model_1.tar", image_encoder="test_vit")


def test_a_full_disk_is_one_error_and_leaves_what_was_there(rose, run, tmp_path):
    (tmp_path / "model_1.safetensors").write_bytes(b"before")
    for write in (lambda: save_checkpoint(tmp_path / "model_1.tar", run),
                  lambda: save_rose(tmp_path / "model_1.safetensors", rose),
                  lambda: save_tensors(tmp_path / "state.tar", run)):
        with limited(100_000), pytest.raises(OSError, match="is the disk full") as error:
            write()
        assert Path(error.value.filename).parent == tmp_path
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"before"]


def test_a_file_older_than_the_archives_is_read(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "a.tar", _use_new_zipfile_serialization=False)
    assert equal(load_tensors(tmp_path / "a.tar", mmap=True), {"a": torch.ones(3)})
