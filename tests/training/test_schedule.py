"""Learning rates and parameter groups."""

import pytest
from torch import nn

from training.schedule import base_learning_rate, build_optimizer, learning_rate


@pytest.mark.parametrize(("decay", "expected"), [
    ("persistent", {1: 1, 89: 1, 90: 0.1, 91: 0.1, 109: 0.1, 110: 0.01, 120: 0.01}),
    ("epoch_only", {1: 1, 89: 1, 90: 0.1, 91: 1, 109: 1, 110: 0.1, 111: 1}),
])
def test_milestones(decay, expected):
    assert {epoch: pytest.approx(learning_rate(1.0, epoch, 120, [90, 110], decay))
            for epoch in expected} == expected


def test_half_cosine():
    rates = [learning_rate(2.0, epoch, 10, [3], cos=True) for epoch in range(1, 11)]
    assert rates[0] == 2.0
    assert rates[5] == pytest.approx(1.0)
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.1


def test_base_rate_grows_with_the_batch():
    assert base_learning_rate(1.5e-4, 64) == pytest.approx(3.75e-5)


def test_no_decay_on_biases_and_vectors_and_none_of_the_frozen():
    module = nn.ModuleDict({"linear": nn.Linear(3, 4), "norm": nn.LayerNorm(4),
                            "frozen": nn.Linear(2, 2).requires_grad_(False)})
    optimizer = build_optimizer(module, 1e-3, 0.05)
    groups = {group["weight_decay"]: {tuple(parameter.shape) for parameter in group["params"]}
              for group in optimizer.param_groups}
    assert groups == {0.05: {(4, 3)}, 0.0: {(4,)}}
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.95)
