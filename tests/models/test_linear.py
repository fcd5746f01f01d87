"""Linear maps and ViT blocks with our own backward passes, against PyTorch's and timm's."""

import copy
from functools import partial

import pytest
import timm.models.vision_transformer as timm_vit
import torch
from timm.layers import LayerNorm
from torch import nn

from models import linear as ours
from models.block import Block, DecoderBlock, adopt, through


@pytest.fixture(params=["ours", "PyTorch's"])
def way(request, monkeypatch):
    """Products of any size by our functions, or by PyTorch's."""
    monkeypatch.setattr(ours, "FEWEST_PRODUCTS", 1 if request.param == "ours" else float("inf"))


def both(function, reference, *tensors):
    """Outputs and gradients of the leaves `tensors` by either."""
    results = []
    for f in (function, reference):
        leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
        out = f(*leaves)
        probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
        results.append([out, *torch.autograd.grad((out * probe).sum(), leaves)])
    return zip(*results, strict=True)


def filled(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("rows", [(3,), (2, 5), (546,), (0,)])
def test_linear(rows, onednn, way, monkeypatch):
    monkeypatch.setattr(ours, "_ONEDNN_IS_FASTER", onednn)
    tensors = torch.randn(*rows, 96), torch.randn(160, 96), torch.randn(160)
    for found, expected in both(ours.linear, nn.functional.linear, *tensors):
        # sums of up to 546 products of size 1
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-3)


def test_a_norm_and_a_gelu_in_front(way):
    norm, layer, x = filled(nn.LayerNorm(24, eps=1e-3)), filled(nn.Linear(24, 40)), torch.randn(2,
                                                                                                7,
                                                                                                24)
    parameters = [*norm.parameters(), *layer.parameters()]
    for function, reference in ((lambda t: ours.norm_linear(t, norm,
                                                            layer), lambda t: layer(norm(t))),
                                (lambda t: ours.gelu_linear(t,
                                                            layer), lambda t: layer(
                                                                nn.functional.gelu(t)))):
        for found, expected in both(function, reference, x):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        found, expected = (torch.autograd.grad(f(x).square().sum(), parameters, allow_unused=True)
                           for f in (function, reference))
        for a, b in zip(found, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def test_frozen_parameters_get_no_gradient_and_the_input_still_does(way):
    norm, layer, x = nn.LayerNorm(8), nn.Linear(8, 8), torch.randn(3, 8, requires_grad=True)
    norm.requires_grad_(False), layer.requires_grad_(False)
    expected = torch.autograd.grad(layer(norm(x)).square().sum(), x)
    torch.testing.assert_close(torch.autograd.grad(ours.norm_linear(x, norm, layer).square().sum(),
                                                   x), expected)


def test_autocast_computes_products_in_its_precision_and_gives_gradients_in_the_parameters(way):
    norm, layer, x = nn.LayerNorm(64), nn.Linear(64, 32), torch.randn(5, 64)
    with torch.autocast("cpu", torch.bfloat16):
        out = ours.norm_linear(x, norm, layer)
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert {parameter.grad.dtype
            for parameter in (*norm.parameters(), *layer.parameters())} == {torch.float32}
    torch.testing.assert_close(out.float(), layer(norm(x)), rtol=0, atol=0.05)


def test_what_is_quickly_made_again_is_not_kept(monkeypatch):
    monkeypatch.setattr(ours, "FEWEST_PRODUCTS", 1)
    kept = []
    block, x = Block(timm_vit.Block(32, 2, qkv_bias=True, norm_layer=LayerNorm)), torch.randn(2, 9,
                                                                                              32,
                                                                                              requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor)
                                                  or tensor, lambda tensor: tensor):
        block(x)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
                for tensor in kept if not tensor.is_leaf}
    # width 32, in tokens of it: qkv 3, what was attended to 1 (and the softmax's sums), the sum 1,
    # the MLP's hidden 4
    assert sum(storages.values()) <= 2 * 9 * 32 * 4 * 9.5


VITS = {"plain": {}, "with layer scale": {"init_values": 0.3},
        "with normed queries": {"qk_norm": True},
        "without biases": {"qkv_bias": False}}


@pytest.mark.parametrize("options", VITS.values(), ids=VITS)
def test_a_block_is_timms(options, way):
    reference = filled(timm_vit.Block(32, 4, norm_layer=LayerNorm,
                                      **{"qkv_bias": True, **options}))
    block = adopt(copy.deepcopy(reference))
    assert isinstance(block, Block)
    assert list(block.state_dict()) == list(reference.state_dict())
    sets = torch.randn(3, 5, 32), torch.randn(2, 11, 32)
    for found, tokens in zip(through(block, sets), sets, strict=True):
        torch.testing.assert_close(found, reference(tokens), rtol=1e-4, atol=1e-4)
    sum(out.square().sum() for out in through(block, sets)).backward()
    sum(reference(tokens).square().sum() for tokens in sets).backward()
    for (name, found), expected in zip(block.named_parameters(), reference.parameters(),
                                       strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3,
                                   atol=1e-3 * expected.grad.abs().max().item(), msg=name)


@pytest.mark.parametrize("options", [{"drop_path": 0.1}, {"proj_drop": 0.1},
                                     {"act_layer": nn.SiLU}, {"norm_layer": nn.RMSNorm},
                                     {"norm_layer": partial(LayerNorm, affine=False)}])
def test_a_block_that_does_something_else_stays_timms(options):
    block = timm_vit.Block(32, 4, **options)
    assert adopt(block) is block


def test_some_tokens_of_a_decoder_block_are_those_of_all(way):
    plain = filled(timm_vit.Block(32, 4, qkv_bias=True))
    tokens, wanted = torch.randn(2, 9, 32), torch.tensor([[8, 0, 3], [2, 2, 7]])
    found = DecoderBlock(plain)(tokens, wanted)
    torch.testing.assert_close(found, plain(tokens)[torch.arange(2)[:, None], wanted], rtol=1e-4,
                               atol=1e-4)
