"""Sparse weights, quantised modules, TorchScript, packed sequences: compiled, or one line with the remedy."""

from __future__ import annotations

from typing import Any

import espalier
import pytest
import torch
from espalier import EspalierError
from torch import nn
from torch.nn.utils.rnn import pack_sequence


def sparse_linear(layout: str) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(64, 64).eval()
    weight = layer.weight.detach().clone()
    weight[torch.rand_like(weight) < 0.9] = 0
    made: Any = {"csr": weight.to_sparse_csr, "coo": weight.to_sparse, "csc": weight.to_sparse_csc}[layout]()
    layer.weight = nn.Parameter(made, requires_grad=False)
    return layer


@pytest.mark.parametrize("layout", ["csr", "coo", "csc"])
@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_weight_is_a_mask(layout: str) -> None:
    module = nn.Sequential(sparse_linear(layout), nn.ReLU())
    x = torch.randn(4, 64)
    compiled = espalier.compile(module, (x,))
    dense = module[0].weight.to_dense()
    expected = torch.relu(x @ dense.t() + module[0].bias)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
    assert [layer.sparsity > 0.8 for layer in compiled.layers] == [True]
    assert module[0].weight.layout != torch.strided


X = torch.randn(4, 8)


@pytest.mark.parametrize(("module", "inputs", "message"), [
    (torch.jit.trace(nn.Linear(8, 8).eval(), X), (X,), "Linear is TorchScript, .* compile the nn.Module"),
    (nn.Sequential(torch.jit.script(nn.Linear(8, 8))), (X,), "submodule '0' is TorchScript"),
    (nn.Sequential(torch.ao.nn.quantized.dynamic.Linear(8, 8)), (X,), "module '0' .Linear. is quantised"),
    (nn.GRU(8, 8), (pack_sequence([X, X[:2]]),), "a packed sequence .* pass the padded tensor"),
    (nn.Linear(8, 8), (X.to_sparse(),), "expected dense tensors, found layout sparse_coo; pass x.to_dense")])
def test_one_line_with_the_remedy(module: nn.Module, inputs: tuple[Any, ...], message: str) -> None:
    with pytest.raises(EspalierError, match=message) as caught:
        espalier.compile(module, inputs)
    assert "\n" not in str(caught.value)
