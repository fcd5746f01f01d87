"""Weights that are not finite are never saved."""

import pytest
from lightning_fabric import Fabric
from torch import inf, nan, nn

from training.finite import check_weights
from utils.errors import RoseError


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_weight_that_is_not_finite_is_one_line(value):
    fabric, network = Fabric(accelerator="cpu", devices=1), nn.Linear(2, 2)
    check_weights(fabric, network, 3, 7, "state.tar", "lower lr")
    network.bias.data[1] = value
    with pytest.raises(RoseError, match=(
            r"^epoch 3, step 7: a weight is not finite, so state\.tar was not saved; lower lr$")):
        check_weights(fabric, network, 3, 7, "state.tar", "lower lr")
