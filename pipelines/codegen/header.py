"""The C header of one model: its symbol, and what its inputs and outputs measure."""

from __future__ import annotations

from math import prod

import numpy as np

from ...runtime.abi import target_text
from ...runtime.model_file import ModelFile
from ...runtime.records import TensorSpec
from ...runtime.states import interface

_HEADER = """\
/* The model {name} for {target}; written by espalier compile --emit header. */
#ifndef ESPALIER_MODEL_{upper}_H
#define ESPALIER_MODEL_{upper}_H

#include "espalier.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* Belongs to the model file with the fingerprint {fingerprint}. */
ESPALIER_API extern const espalier_code espalier_model_{name};

#ifdef __cplusplus
}}
#endif

{tensors}

#endif
"""


def header(file: ModelFile, name: str) -> str:
    """The header, C99 and C++, of the model whose symbol ends in ``name``."""
    tensors = [_tensor(f"ESPALIER_{name.upper()}_{kind.upper()}_{number}", f"{kind} {number}", spec)
               for kind, specs in zip(("input", "output", "state"), interface(file.manifest), strict=True)
               for number, spec in enumerate(specs)]
    return _HEADER.format(name=name, upper=name.upper(), target=target_text(file.manifest),
                          fingerprint=file.fingerprint, tensors="\n\n".join(tensors))


def _tensor(macro: str, which: str, spec: TensorSpec) -> str:
    """Elements and bytes of one tensor; of one step where a dimension is free (-1)."""
    shape, dtype = spec.shape, np.dtype(spec.dtype)
    count = prod(size for size in shape if size >= 0)
    step = "" if count == prod(shape) else "; -1 is free, and what follows is of one step"
    return (f"/* {which}: {dtype.name} [{', '.join(map(str, shape))}]{step} */\n"
            f"#define {macro}_ELEMENTS {count}u\n"
            f"#define {macro}_BYTES {count * dtype.itemsize}u")
