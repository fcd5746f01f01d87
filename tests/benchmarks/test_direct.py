"""The direct form that speed is compared with computes the same as the network, and as the method
in loops."""

import pytest
import torch

from benchmarks.direct import DirectRose
from models import build_rose
from models.masking import draw_image_mask, draw_node_mask
from tests.models import direct
from tests.models.conftest import SMALL, random_graphs, random_images, randomise


@pytest.mark.parametrize("counts", [[5, 9, 2], [4, 0, 6]])
def test_its_loss_and_gradients(counts):
    torch.manual_seed(0)
    rose = randomise(build_rose(SMALL))
    images, graphs = random_images(3), random_graphs(counts)
    masks = draw_image_mask(3, 16, 0.75, images.device), draw_node_mask(graphs.batch, 3, 0.4,
                                                                        "tile")
    literal = sum(direct.losses(rose, images, graphs, *masks)[:2])
    form = DirectRose(rose, SMALL).eval()
    loss, ours = form(images, graphs, *masks), rose(images, graphs, *masks).loss
    torch.testing.assert_close(loss, literal, rtol=1e-5, atol=0)
    torch.testing.assert_close(loss, ours, rtol=1e-5, atol=0)
    shared = [parameter for name, parameter in rose.named_parameters()
              if not name.startswith(("image_encoder.blocks.", "image_decoder."))]
    for one, other in zip(torch.autograd.grad(loss, shared), torch.autograd.grad(ours, shared),
                          strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm() + 1e-5
