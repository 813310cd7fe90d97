"""Half, bfloat16 and double layers: computed in fp32 by kernels, answers in the module's own dtype."""

import numpy as np
import pytest
import torch
from espalier import EspalierError
from espalier import compile as compile_model
from torch import nn


class Function(nn.Module):
    """A function as a module, with a convolution and a linear layer of ``dtype`` at hand."""

    def __init__(self, function, dtype=torch.float32):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.linear, self.layer_norm = nn.Linear(16, 16), nn.LayerNorm(16)
        self.to(dtype)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def network(self, x):
    y = torch.relu(self.norm(self.conv(x)))
    y = self.layer_norm(self.linear(y.flatten(2).transpose(1, 2)))
    return nn.functional.scaled_dot_product_attention(y, y, y).softmax(-1)


def in_autocast(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = torch.relu(self.norm(self.conv(x)))
        return self.linear(y.mean((2, 3)))



def checked(module, x, bound, layers):
    """Compiles ``module`` and compares it with the same module in double; the compiled model."""
    compiled = compile_model(module.eval(), (x,))
    with torch.no_grad():
        theirs = module(x)
    ours = compiled(x)
    pairs = zip(ours, theirs, strict=True) if isinstance(ours, tuple) else [(ours, theirs)]
    for found, expected in pairs:
        assert found.dtype == expected.dtype
        scale = expected.double().abs().max()
        assert (found.double() - expected.double()).abs().max() <= bound * scale
    assert len(compiled.layers) == layers
    assert all(layer.kernel != "reference" for layer in compiled.layers)
    return compiled


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 5e-3), (torch.bfloat16, 4e-2),
                                              (torch.float64, 1e-5)])
def test_layers_of_a_whole_module_run_by_kernels(dtype, bound):
    checked(Function(network, dtype), torch.randn(1, 3, 8, 8, dtype=dtype), bound, 2)


@pytest.mark.slow
def test_ours_is_nearer_to_exact_than_half_precision_is():
    module, x = Function(network, torch.float16).eval(), torch.randn(1, 3, 8, 8).half()
    ours = compile_model(module, (x,))(x)
    theirs = module(x).detach()
    exact = module.double()(x.double()).detach()
    assert (ours - exact).abs().max() <= (theirs - exact).abs().max()


@pytest.mark.slow
def test_regions_of_autocast():
    checked(Function(in_autocast), torch.randn(1, 3, 8, 8), 2e-2, 2)


def test_autocast_around_the_compiler():
    module, x = Function(in_autocast).eval(), torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compiled = compile_model(module, (x,))
    assert len(compiled.layers) == 2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_one_layer_of_another_dtype(dtype):
    module = Function(lambda self, x: self.linear(self.conv(x).to(dtype).mean((2, 3))).float())
    module.linear.to(dtype)
    checked(module, torch.randn(1, 3, 8, 8), 2e-2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_casts_round(dtype):
    x = torch.randn(1, 3, 8, 8)
    compiled = compile_model(Function(lambda self, x: x.to(dtype).float() - x).eval(), (x,))
    assert torch.equal(compiled(x), x.to(dtype).float() - x)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_casts_round_to_even_to_infinity_and_keep_nan(dtype):
    x = torch.tensor([1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 65520.0, 3.4e38,
                      -torch.inf, torch.nan, -0.0])
    compiled = compile_model(Function(lambda self, x: x.to(dtype)).eval(), (x,))
    assert torch.equal(compiled(x).view(torch.int16), x.to(dtype).view(torch.int16)) or torch.equal(
        compiled(x).float().nan_to_num(7), x.to(dtype).float().nan_to_num(7))


def test_double_stays_double_where_no_layer_is_near():
    x = torch.tensor([1e9 + 1, 1e9 + 2], dtype=torch.float64)
    compiled = compile_model(Function(lambda self, x: (x - 1e9) * 2).eval(), (x,))
    assert compiled(x).tolist() == [2.0, 4.0]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_recurrent_layers_stay_whole(kind, dtype):
    module = kind(16, 16, batch_first=True).to(dtype).eval()
    x = torch.randn(1, 5, 16, dtype=dtype)
    compiled = compile_model(module, (x,))
    assert len(compiled.layers) == 2
    assert compiled(x)[0].dtype == dtype


@pytest.mark.slow
def test_bfloat16_inputs_and_outputs():
    module = Function(lambda self, x: self.linear(x), torch.bfloat16).eval()
    x = torch.randn(4, 16).bfloat16()
    compiled = compile_model(module, (x,))
    assert compiled(x).dtype == torch.bfloat16
    assert compiled(x.float().numpy()).dtype == np.float32
    with pytest.raises(EspalierError, match="expected bfloat16, found float32"):
        compiled(x.float())


def test_a_bfloat16_tensor_for_a_float32_input():
    x = torch.randn(4, 16)
    compiled = compile_model(Function(lambda self, x: self.linear(x)).eval(), (x,))
    with pytest.raises(EspalierError, match="expected float32, found bfloat16"):
        compiled(x.bfloat16())


def test_bits_of_short_numbers():
    module = Function(lambda self, x: self.linear(x).view(torch.int16), torch.float16).eval()
    with pytest.raises(EspalierError, match="bits of int16 numbers, which are computed in float32"):
        compile_model(module, (torch.randn(4, 16).half(),))
