"""Half precision where it serves, float32 where it is due; and blocks computed again instead of
kept."""

import pytest
import torch

from models import build_rose, linear
from tests.models.conftest import SMALL, random_graphs, random_images, randomise

HALF = [torch.bfloat16, torch.float16]


@pytest.fixture(autouse=True)
def own_kernels(monkeypatch):
    """Products of any size by the functions that large networks use."""
    monkeypatch.setattr(linear, "FEWEST_PRODUCTS", 1)


@pytest.fixture
def batch():
    counts = [6, 0, 14]
    torch.manual_seed(2)
    return random_images(len(counts), 64, 64), random_graphs(counts)


def step(rose, batch):
    torch.manual_seed(5)
    rose.zero_grad()
    out = rose(*batch)
    out.loss.backward()
    return out, [parameter.grad.clone() for parameter in rose.parameters()]


@pytest.mark.parametrize("dtype", HALF)
def test_losses_are_near_those_of_float32_and_of_its_type(batch, dtype):
    rose = build_rose(SMALL)
    expected, _ = step(rose, batch)
    with torch.autocast("cpu", dtype):
        found, gradients = step(rose, batch)
    for name in ("image_loss", "osm_loss"):
        assert getattr(found, name).dtype == torch.float32
        assert getattr(found, name).item() == pytest.approx(getattr(expected, name).item(),
                                                            rel=0.01)
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all()
               for gradient in gradients)
    assert not torch.equal(found.loss, expected.loss)  # it was another precision


@pytest.mark.parametrize("dtype", HALF)
def test_the_osm_encoder_stays_in_float32(batch, dtype):
    rose = randomise(build_rose(SMALL))
    expected = rose.encode_osm(batch[1])
    with torch.autocast("cpu", dtype):
        found = rose.encode_osm(batch[1])
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_checkpointed_activations_give_the_same_and_keep_less(batch):
    rose, runs = randomise(build_rose(SMALL)), []
    for again in (False, True):
        rose.checkpoint_activations = again
        runs.append((kept_numbers(lambda: rose.encode_image(batch[0])), *step(rose, batch)))
    (many, out, gradients), (few, same_out, same_gradients) = runs
    assert few < 0.25 * many
    assert torch.equal(out.loss, same_out.loss)
    for a, b in zip(gradients, same_gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def kept_numbers(function) -> int:
    """How many numbers a forward pass keeps for its backward pass, parameters aside."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor)
                                                  or tensor, lambda tensor: tensor):
        function()
    return sum(tensor.numel() for tensor in kept if not tensor.is_leaf)
