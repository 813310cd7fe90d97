"""The source that makes a model a TVM-FFI library, and where TVM-FFI's own headers are.

``module.c`` needs ``-DESPALIER_NAME=<name>``, the tail of the model's symbol ``espalier_model_<name>``, and
``-DESPALIER_FILE="<path>"``, the model file, which goes into the library as it is.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ....errors import missing

SOURCE = Path(__file__).parent / "module.c"


def headers() -> Path:
    """The folder of ``tvm/ffi/c_api.h``, found without loading the package; ``MissingPackage`` where it is
    not installed."""
    spec = find_spec("tvm_ffi")
    if spec is None or spec.origin is None:
        raise missing("tvm_ffi", "--emit tvm-ffi")
    return Path(spec.origin).parent / "include"


__all__ = ["SOURCE", "headers"]
