"""Folds ``torch.nn.utils.prune``'s masks: ``weight_orig * weight_mask`` becomes a plain ``weight``."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.prune import BasePruningMethod


def fold_masks(module: nn.Module) -> nn.Module:
    """A module that computes the same with plain parameters; ``module`` itself, when nothing in it is masked.

    The user's module stays as it is: modules above a mask are copied shallowly, everything else is shared, so
    only the masked weights take new memory.
    """
    return _fold(module, {})


def _fold(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """``fold_masks`` with the modules already seen: a module used twice stays one module."""
    if module in done:
        return done[module]
    children = {name: child if child is None else _fold(child, done)
                for name, child in module._modules.items()}
    masked = [name[: -len("_orig")] for name in module._parameters
              if name.endswith("_orig") and f"{name[: -len('_orig')]}_mask" in module._buffers]
    if not masked and all(children[name] is child for name, child in module._modules.items()):
        done[module] = module
        return module
    folded = done[module] = copy.copy(module)
    folded._modules = children
    folded._parameters = dict(module._parameters)
    folded._buffers = dict(module._buffers)
    for name in masked:
        _fold_mask(folded, name)
    if masked and isinstance(folded, nn.RNNBase):  # it keeps a list of its parameters
        folded._flat_weights = [getattr(folded, name) for name in folded._flat_weights_names]
    if masked:
        folded._forward_pre_hooks = type(module._forward_pre_hooks)(
            (key, hook) for key, hook in module._forward_pre_hooks.items()
            if not isinstance(hook, BasePruningMethod))
    return folded


def _fold_mask(module: nn.Module, name: str) -> None:
    """Replaces ``name``_orig and ``name``_mask of ``module`` (whose dictionaries are its own) by ``name``."""
    original, mask = module._parameters.pop(f"{name}_orig"), module._buffers.pop(f"{name}_mask")
    assert original is not None
    assert mask is not None
    module.__dict__.pop(name, None)  # the masked tensor, left there by the last call
    plain = original.detach() * mask + 0.0  # + 0.0 turns -0.0 into 0.0
    module._parameters[name] = nn.Parameter(plain, requires_grad=original.requires_grad)
