"""The model of the cost against what PyTorch counts on the network itself."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import cost
from benchmarks.step_time import timm_vit
from models import build_rose, linear

TINY = "vit_tiny_patch16_224"


@pytest.mark.parametrize(("nodes", "batch"), [(60, 2), (150, 1), (500, 1)])
def test_flops_are_what_is_counted(nodes, batch):
    rose, load = build_rose(TINY), cost.Load(nodes, 5 * nodes, batch)
    encoder = cost.encoder_of(rose)
    forward, both = cost.counted_flops(rose, load)
    assert forward == pytest.approx(sum(cost.forward_flops(encoder, load).values()), rel=0.005)
    assert both == pytest.approx(cost.training_flops(encoder, load), rel=0.005)


def test_the_unit_is_what_is_counted():
    vit = timm_vit(TINY)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        vit(torch.zeros(1, 3, 224, 224)).sum().backward()
    assert counter.get_total_flops() == pytest.approx(cost.vit_flops(cost.Encoder(192, 768)),
                                                      rel=0.01)


@pytest.mark.parametrize("half", [False, True])
def test_the_blocks_keep_most_of_what_is_kept(half, monkeypatch):
    monkeypatch.setattr(linear, "FEWEST_PRODUCTS", 1)  # as in large networks
    rose, load = build_rose(TINY), cost.Load(batch=2)
    formula = cost.activation_bytes(cost.encoder_of(rose), load, half)
    assert formula < cost.saved_bytes(rose, load, half) < 1.4 * formula


def test_a_masked_node_costs_little():
    """That of the literal form grows with nodes x tokens x D^2."""
    encoder = cost.Encoder()
    few, many = (cost.training_flops(encoder, cost.Load(nodes)) for nodes in (10, 500))
    assert many / few < 1.1


def test_the_published_tile():
    """Values worked out by hand."""
    assert sum(cost.sent_bytes(cost.Encoder(),
                               cost.Load()).values()) == 150_528 + 126_000 + 6_000 + 196 + 540
    assert cost.stored_bytes(cost.Load()) == 60 * 52 + 300 * 3 + 4
    assert cost.all_reduce_bytes(100, 1) == 0
    assert cost.all_reduce_bytes(100, 4) == 600
    assert cost.Load(nodes=0).masked == 0
    assert cost.Load(nodes=3).masked == 1
