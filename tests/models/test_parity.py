"""The released network's numbers, within the packs' tolerances; the largest difference of each
array is printed (pytest -rP)."""

import numpy as np
import pytest
import torch

from models import build_regressor, build_rose, build_segmenter, linear
from models.release import load_release_state_dict, our_name
from models.rose import Rose
from tests.models.packs import Pack, read_pack
from training.schedule import build_optimizer

CASES = ("tiny_batch3", "tiny_single")
HEADS = ("seg_image_linear", "seg_fusion_linear", "seg_fine_linear", "seg_fusion_mask_transformer",
         "reg_image", "reg_fusion", "reg_osm")


@pytest.fixture(scope="module", params=CASES)
def pack(request, shared) -> Pack:
    return read_pack(shared / "parity", request.param)


@pytest.fixture(autouse=True, params=["fast", "PyTorch's"])
def kernels(request, monkeypatch):
    """The packs' network is small: once with every product by our own functions, as in large
    networks, once by PyTorch's."""
    monkeypatch.setattr(linear, "FEWEST_PRODUCTS", 1 if request.param == "fast" else float("inf"))


def released(pack: Pack, recipe: str = "release") -> Rose:
    rose = build_rose(pack.meta["vit"], recipe=recipe)
    load_release_state_dict(rose, pack.parameters)
    return rose.eval()


def assert_near(name: str, found: torch.Tensor, expected: torch.Tensor,
                tolerance: float = 1e-4) -> None:
    assert found.shape == expected.shape
    difference = (found.detach() - expected).abs().max().item()
    print(f"{name:32} largest difference {difference:.1e}")
    assert difference <= tolerance


@pytest.mark.parametrize("recipe", ["release", "rose"])
def test_pretraining(pack, recipe):
    if recipe == "rose" and len(pack.images) > 1:
        pytest.skip("recipe=rose normalises each tile alone, so only the pack of a single tile "
                    "agrees")
    out = released(pack, recipe)(pack.images, pack.graphs(), pack.arrays["image_mask"],
                                 pack.arrays["node_mask"])
    for name in ("image_loss", "osm_loss", "image_pred", "osm_pred"):
        assert_near(name, getattr(out, name), pack.arrays[name])


def test_gradient_norms(pack):
    rose = released(pack)
    rose(pack.images, pack.graphs(), pack.arrays["image_mask"],
         pack.arrays["node_mask"]).loss.backward()
    gradients = {name: parameter.grad.norm().item() for name, parameter in rose.named_parameters()}
    compared, worst = set(), 0.0
    for release_name, expected in pack.meta["grad_norms"].items():
        name = our_name(release_name)
        if name is None:
            assert expected < 1e-6, f"{release_name} is not in our network, though it matters"
            continue
        compared.add(name)
        if expected < 1e-6:
            assert gradients[name] < 1e-6 + 1e-7, release_name
            continue
        worst = max(worst, abs(gradients[name] - expected) / expected)
        assert gradients[name] == pytest.approx(expected, rel=1e-3), release_name
    print(f"{len(compared)} gradient norms, largest relative difference {worst:.1e}")
    assert compared == set(gradients)


def test_encoders_and_attention(pack):
    rose = released(pack)
    nodes, readout = rose.encode_osm(pack.graphs())
    assert_near("image_tokens", rose.encode_image(pack.images), pack.arrays["image_tokens"])
    assert_near("node_embeddings", nodes, pack.arrays["node_embeddings"])
    assert_near("graph_readout", readout, pack.arrays["graph_readout"])
    expected = pack.arrays["attention_tile0_nodes012"]
    found = rose.osm_attention(pack.images[:1], pack.graphs(range(1)), torch.arange(len(expected)))
    assert_near("attention_tile0_nodes012", found[:, :, None], expected)


@pytest.mark.parametrize("head", HEADS)
def test_heads(pack, head):
    kind, modality, *decoder = head.split("_")
    rose = build_rose(pack.meta["vit"], recipe="release")
    module = build_segmenter(rose, modality,
                             "_".join(decoder)) if kind == "seg" else build_regressor(rose,
                                                                                      modality)
    load_release_state_dict(module, {**pack.parameters, **pack.decoders[head]})
    with torch.no_grad():
        out = module.eval()(pack.images, pack.graphs())
    assert_near(f"out_{head}", out[:, :, ::4, ::4] if kind == "seg" else out,
                pack.arrays[f"out_{head}"])
    assert out.abs().sum().item() == pytest.approx(pack.arrays[f"sum_{head}"].item(), rel=1e-5)


def test_six_training_steps(shared):
    pack = read_pack(shared / "parity", "tiny_batch3")
    steps = {key: np.asarray(value)
             for key, value in np.load(shared / "parity" / "train_tiny_batch3.npz").items()}
    rose = released(pack)
    optimizer = build_optimizer(rose, float(steps["lr"]), float(steps["weight_decay"]))
    assert optimizer.param_groups[0]["betas"] == tuple(steps["betas"].tolist())
    for step, (image_mask, node_mask) in enumerate(zip(steps["image_mask"], steps["node_mask"],
                                                       strict=True)):
        out = rose(pack.images, pack.graphs(), torch.from_numpy(image_mask),
                   torch.from_numpy(node_mask))
        for name in ("image_loss", "osm_loss"):
            found, expected = getattr(out, name).item(), float(steps[name][step])
            print(f"step {step} {name}: relative difference "
                  f"{abs(found - expected) / expected:.1e}")
            assert found == pytest.approx(expected, rel=1e-3)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
