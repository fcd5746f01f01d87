"""Position codes against their formula."""

import math

import numpy as np
import pytest
import torch

from models.position import node_code, position_code, token_code
from utils.errors import ModelError


def test_formula():
    code = position_code(8, torch.tensor([3.0]), torch.tensor([5.0]))[0]
    column = [math.sin(3), math.sin(3 / 100), math.cos(3), math.cos(3 / 100)]
    row = [math.sin(5), math.sin(5 / 100), math.cos(5), math.cos(5 / 100)]
    np.testing.assert_allclose(code, column + row, atol=1e-6)


def test_tokens_are_row_major_with_a_zero_cls():
    table = token_code(16, (2, 3), torch.device("cpu"))
    assert table.shape == (7, 16)
    assert not table[0].any()
    expected = position_code(16, torch.tensor([2.0]), torch.tensor([1.0]))[0]  # row 1, column 2
    torch.testing.assert_close(table[1 + 1 * 3 + 2], expected)


def test_a_node_on_a_patch_has_its_code():
    table = token_code(16, (14, 14), torch.device("cpu"))
    node = node_code(16, torch.tensor([[3 / 14, 9 / 14]]), (14, 14))[0]
    torch.testing.assert_close(node, table[1 + 9 * 14 + 3], atol=1e-5, rtol=0)


def test_a_table_made_in_inference_serves_training():
    with torch.inference_mode():
        token_code(20, (5, 7), torch.device("cpu"))
    weight = torch.ones(20, requires_grad=True)
    (token_code(20, (5, 7), torch.device("cpu")) * weight).sum().backward()
    assert weight.grad.isfinite().all()


def test_width_must_be_divisible_by_four():
    with pytest.raises(ModelError, match=r"width=6.*divisible by 4"):
        position_code(6, torch.zeros(1), torch.zeros(1))
