"""Linear maps of many rows: by the fastest kernel, and with less memory for the backward pass.

y = W f(x) + b, where f is the identity, a LayerNorm or a GELU. PyTorch keeps f(x) for the gradient
of W; here f(x) is recomputed from x, which is kept anyway. In a ViT this saves 6 of the 16
activations of width D that each block holds for a token, and costs about 1 % of the time.

On a CPU, float32 products go to oneDNN if it is known to be faster than MKL, PyTorch's choice: on
AMD's processors MKL does not use AVX-512 and takes about twice as long (benchmarks/step_time.py).
Both round as float32 does.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_CPUINFO = Path("/proc/cpuinfo")


@cache
def is_amd() -> bool:
    """Whether the processor is AMD's, whose widest instructions Intel's MKL does not use."""
    words = _CPUINFO.read_text() if _CPUINFO.is_file() else platform.processor()
    return "AuthenticAMD" in words


_ONEDNN_IS_FASTER = is_amd() and torch.backends.mkldnn.is_available()
# below this many multiplications PyTorch's own way is as fast, and there is little memory to save
FEWEST_PRODUCTS = 2**25


class Linear(nn.Linear):
    """torch.nn.Linear computed by `linear`: [..., in] -> [..., out]."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return W x + b, [..., out], for rows x [..., in], in the precision of the autocast."""
    return _Linear.apply(x, weight, bias) if _is_large(x, weight) else F.linear(x, weight, bias)


def norm_linear(x: Tensor, norm: nn.LayerNorm, layer: nn.Linear) -> Tensor:
    """Return `layer(norm(x))`, [..., out], for rows x [..., in]; statistics in float32."""
    if _is_large(x, layer.weight):
        return _NormLinear.apply(x, norm.weight, norm.bias, norm.eps, layer.weight, layer.bias)
    return F.linear(norm(x), layer.weight, layer.bias)


def gelu_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return `layer(gelu(x))`, [..., out], for rows x [..., in], with the exact GELU."""
    if _is_large(x, layer.weight):
        return _GeluLinear.apply(x, layer.weight, layer.bias)
    return F.linear(F.gelu(x), layer.weight, layer.bias)


def _is_large(x: Tensor, weight: Tensor) -> bool:
    return x.numel() * len(weight) >= FEWEST_PRODUCTS


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.to(_precision(x))
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad
        return (_input_gradient(grad, weight) if needed[0] else None,
                *_parameter_gradients(grad, x, weight, *needed[1:3]))


class _NormLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor,
                bias: Tensor | None) -> Tensor:
        normed, mean, rstd = torch.native_layer_norm(x, gain.shape, gain, shift, eps)
        ctx.save_for_backward(x, gain, shift, mean, rstd, weight)
        ctx.eps, ctx.precision = eps, _precision(x)
        return _product(normed.to(ctx.precision), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, shift, mean, rstd, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad
        normed = x
        if needed[4]:
            normed = F.layer_norm(x, gain.shape, gain, shift, ctx.eps).to(ctx.precision)
        of_weight, of_bias = _parameter_gradients(grad, normed, weight, needed[4], needed[5])
        of_normed = _input_gradient(grad, weight).to(x.dtype)
        of_norm = torch.ops.aten.native_layer_norm_backward(of_normed, x, gain.shape, mean, rstd,
                                                            gain, shift, list(needed[:3]))
        return *of_norm, None, of_weight, of_bias


class _GeluLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.to(_precision(x))
        ctx.save_for_backward(x, weight)
        return _product(F.gelu(x), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad
        of_x = None
        if needed[0]:
            of_x = torch.ops.aten.gelu_backward(_input_gradient(grad, weight), x)
        return of_x, *_parameter_gradients(grad, F.gelu(x) if needed[1] else x, weight,
                                           *needed[1:3])


def _precision(x: Tensor) -> torch.dtype:
    """Return the precision of products of `x`: the autocast's, which leaves float64 alone."""
    kind = x.device.type
    cast = torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return torch.get_autocast_dtype(kind) if cast else x.dtype


def _input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Return [..., in] for an output's gradient [..., out]."""
    return _product(grad, weight.T)


def _parameter_gradients(grad: Tensor, x: Tensor, weight: Tensor, of_weight: bool,
                         of_bias: bool) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of weight [out, in] and bias [out], None if not needed, from the
    output's gradient [..., out] and the input x [..., in]."""
    rows = grad.reshape(-1, grad.shape[-1])                                              # [R, out]
    return (_product(rows.T, x.reshape(-1, x.shape[-1]).T).to(weight.dtype) if of_weight else None,
            rows.sum(0, dtype=weight.dtype) if of_bias else None)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return W x + b in the precision of `x`, by the faster kernel."""
    weight, bias = weight.to(x.dtype), bias if bias is None else bias.to(x.dtype)
    if x.device.type == "cpu" and x.dtype == torch.float32 and _ONEDNN_IS_FASTER:
        return (_opaque if torch.compiler.is_compiling() else _onednn)(x, weight, bias)
    return F.linear(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


# for torch.compile, which would treat the operator's weight as a constant
_opaque = torch.library.custom_op("rose::onednn_linear", _onednn, mutates_args=(),
                                  device_types="cpu")


@_opaque.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))
