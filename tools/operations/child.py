"""The process that tries samples: a line before each one, and a line for what came of it.

    {"begin": "add float32 0"}
    {"label": "add float32 0", "outcome": "equal", "text": ""}
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from ...errors import EspalierError
from ...frontends.compile import compile_model
from ...frontends.torch.floats import TOLERANCES
from ...frontends.torch.stable_order import StableOrder
from ...pipelines.driver import CompileOptions
from .samples import Sample, samples

EQUAL, REFUSED, WRONG, BROKEN, SKIPPED = "equal", "refused", "wrong", "exception", "skipped"


def main() -> None:
    """``child.py SKIP COUNT DTYPES NAMES``: all samples of the operations but the first SKIP."""
    skip, count, dtypes, names = sys.argv[1:5]
    done = 0
    warnings.simplefilter("ignore")
    for name in names.split(","):
        for dtype in dtypes.split(","):
            for sample in samples(name, getattr(torch, dtype), int(count)):
                done += 1
                if done > int(skip):
                    _say(begin=sample.label)
                    outcome, text = attempt(sample)
                    _say(label=sample.label, outcome=outcome, text=text)


def attempt(sample: Sample) -> tuple[str, str]:
    """What came of ``sample``, and why."""
    try:
        with torch.no_grad(), StableOrder():
            expected = sample.module(*(tensor.clone() for tensor in sample.inputs))
    except Exception:  # what PyTorch itself refuses, whatever it raises
        return SKIPPED, "PyTorch refuses it"
    try:
        compiled = compile_model(sample.module, sample.inputs, options=CompileOptions(check=False))
        found = compiled(*sample.inputs)
    except EspalierError as error:
        return REFUSED, str(error)
    except Exception as error:  # a fault, whatever it is
        return BROKEN, f"{type(error).__name__}: {error}"[:300]
    outcome, why = compare(found, expected)
    single = any(tensor.dtype == torch.float32 for tensor in sample.inputs)
    if outcome == WRONG and single and _exactly(sample, found):
        return EQUAL, "not PyTorch's, whose sums overflow on the way; what it computes in double precision"
    return outcome, why


def _exactly(sample: Sample, found: Any) -> bool:
    """Whether ``found`` is what PyTorch computes in double precision."""
    with torch.no_grad():
        exact = sample.module(*(tensor.double() if tensor.dtype == torch.float32 else tensor
                                for tensor in sample.inputs))
    narrow = tree_map(lambda leaf: leaf.float() if isinstance(leaf, torch.Tensor)
                      and leaf.dtype == torch.float64 else leaf, exact)
    return compare(found, narrow)[0] == EQUAL


def compare(found: Any, expected: Any) -> tuple[str, str]:
    """Whether ``found``, the compiled program's answer, is PyTorch's."""
    ours, theirs = ([leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]
                    for value in (found, expected))
    if len(ours) != len(theirs):
        return WRONG, f"{len(ours)} outputs, PyTorch gives {len(theirs)}"
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        why = _difference(a, b)
        if why:
            return WRONG, f"output {number}: {why}"
    return EQUAL, ""


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> str:
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return f"{ours.dtype} {tuple(ours.shape)}, PyTorch gives {theirs.dtype} {tuple(theirs.shape)}"
    share = max(1e-4, TOLERANCES.get(theirs.dtype, 0.0))
    a, b = ours.double(), theirs.double()
    finite = b.isfinite()
    if not torch.equal(a[~finite].nan_to_num(7.0), b[~finite].nan_to_num(7.0)):
        return f"other infinities or NaN: {_shown(a[~finite])}, PyTorch gives {_shown(b[~finite])}"
    a, b = a[finite], b[finite]
    bound = torch.maximum(share * b.abs().clamp(max=1e30), torch.full_like(b, share))
    off = ~((a - b).abs() <= bound)
    if not theirs.dtype.is_floating_point:
        off = a != b
    return f"{_shown(a[off])}, PyTorch gives {_shown(b[off])}" if bool(off.any()) else ""


def _shown(numbers: torch.Tensor) -> str:
    return str(numbers[:4].tolist())


def _say(**line: str) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
