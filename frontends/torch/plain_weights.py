"""Weights that are no plain dense tensors: sparse ones are masks, quantised ones have a float form.

    Linear(weight = tensor in CSR)   ->   Linear(weight = the same tensor, dense, its zeros in place)
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ...sparse_dialect.errors import EspalierError

REMEDY = "convert it to plain float weights first"


def plain_weights(module: nn.Module) -> nn.Module:
    """
    A module that computes the same with plain dense parameters; ``module`` itself, when it has no others.

    Sparse tensors become dense, and tensor subclasses that can ``dequantize`` (torchao's) floats. The user's
    module stays as it is: modules above such a weight are copied shallowly. Raises ``EspalierError`` for
    TorchScript, for modules of PyTorch's eager quantisation, and for other kinds of tensors (named).
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise EspalierError(f"{_kind(module)} is TorchScript, whose graph torch.export does not take; "
                            "compile the nn.Module that it was made from")
    for name, part in module.named_modules():
        where = f"'{name}' " if name else ""
        if isinstance(part, torch.jit.ScriptModule):
            raise EspalierError(f"submodule {where}is TorchScript, whose graph torch.export does not take; "
                                "use the nn.Module that it was made from")
        if ".quantized" in type(part).__module__ and type(part).__module__.startswith("torch."):
            raise EspalierError(f"module {where}({type(part).__name__}) is quantised, which is not "
                                "supported; compile the float module that it was made from")
    return _plain(module, {}, "")


def _kind(module: Any) -> str:
    return str(getattr(module, "original_name", "") or type(module).__name__)


def _plain(module: nn.Module, done: dict[nn.Module, nn.Module], path: str) -> nn.Module:
    if module in done:
        return done[module]
    children = {name: None if child is None else _plain(child, done, f"{path}{name}.")
                for name, child in module._modules.items()}
    parameters, buffers = ({name: _plain_tensor(tensor, path + name) for name, tensor in tensors.items()}
                           for tensors in (module._parameters, module._buffers))
    before: tuple[dict[str, Any], ...] = (module._modules, module._parameters, module._buffers)
    after: tuple[dict[str, Any], ...] = (children, parameters, buffers)
    if all(new[name] is old[name] for old, new in zip(before, after, strict=True) for name in old):
        done[module] = module
        return module
    plain = done[module] = copy.copy(module)
    plain.__dict__.update(_modules=children, _parameters=parameters, _buffers=buffers)
    return plain


def _plain_tensor(tensor: torch.Tensor | None, name: str) -> torch.Tensor | None:
    if tensor is None or (tensor.layout == torch.strided and type(tensor) in (torch.Tensor, nn.Parameter)
                          and not tensor.is_quantized):
        return tensor
    try:
        if tensor.layout != torch.strided:
            plain = tensor.detach().to_dense()
        elif tensor.is_quantized or hasattr(tensor, "dequantize"):
            plain = tensor.detach().dequantize()
        else:
            return tensor
    except (RuntimeError, NotImplementedError, AttributeError, TypeError) as error:
        layout = str(tensor.layout).removeprefix("torch.")
        raise EspalierError(f"parameter '{name}' is of layout {layout} and type {type(tensor).__name__}, "
                            f"which has no dense form here; {REMEDY}") from error
    is_parameter = isinstance(tensor, nn.Parameter)
    return nn.Parameter(plain, requires_grad=False) if is_parameter else plain


__all__ = ["plain_weights"]
