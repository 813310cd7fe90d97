"""The ``sparse`` dialect: one op a layer, its sparsity scheme as an attribute.

    %y = "sparse.conv"(%x, %w, %b) {scheme = #sparse.pattern<[3, 3], [[0, 1, 3, 4]]>, strides = [1, 1], ...}

Defined in Python on the bindings' ``dialects.ext``; ``irdl_text`` gives the IRDL that any ``mlir-opt
--irdl-file`` reads. Ops print in generic form. Tensors are ``nchw`` (or ``ncdhw``) until
``sparse-assign-layouts`` gives them a lane grid (see ``layouts.py``); weights are ``fchw``.
"""

# The metaclass of the bindings' Dialect makes Sparse.Operation and Sparse.Attribute, which mypy cannot see:
# mypy: disable-error-code="call-arg,name-defined"

# No `from __future__ import annotations` here: the bindings read the field annotations below as types.

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import location_text
from ..ir.mlir import ext, ir
from ..ir.values import integers, shape_of, strings

ACTIVATIONS = ("none", "relu", "relu6")
POOL_KINDS = ("max", "average")
STORAGE_SLOTS = 8  # storage arrays that a packed op can hold


class Sparse(ext.Dialect, name="sparse"):
    """The dialect; ``register_dialect`` loads it into a context."""


# -- scheme attributes (one per class in ``schemes/``) -------------------------------------------------------


class UndetectedAttr(Sparse.Attribute, name="undetected"):
    """No scheme yet: ``sparse-detect-schemes`` replaces it."""


class DenseAttr(Sparse.Attribute, name="dense"):
    """Nothing is cut."""


class UnstructuredAttr(Sparse.Attribute, name="unstructured"):
    """Zeros anywhere (CSR)."""


class ConnectivityAttr(Sparse.Attribute, name="connectivity"):
    """Whole kernels are kept or cut (PatDNN, section on connectivity pruning)."""

    kernel: ir.ArrayAttr


class PatternAttr(Sparse.Attribute, name="pattern"):
    """Every kernel keeps the places of one library pattern, or none; places count row-major in ``kernel``."""

    kernel: ir.ArrayAttr
    library: ir.ArrayAttr


class BcrAttr(Sparse.Attribute, name="bcr"):
    """Every ``rows`` x ``columns`` block of the matrix cuts whole rows and columns (BCR; GRIM)."""

    rows: ir.IntegerAttr
    columns: ir.IntegerAttr


class KgsAttr(Sparse.Attribute, name="kgs"):
    """The kernels of every group of ``filters`` x ``channels`` keep the same places (KGS; RT3D)."""

    filters: ir.IntegerAttr
    channels: ir.IntegerAttr
    kernel: ir.ArrayAttr


# -- layout attributes (see layouts.py) ----------------------------------------------------------------------


class PlainAttr(Sparse.Attribute, name="plain"):
    """Row-major ``nchw``, no lanes."""


class LanesAttr(Sparse.Attribute, name="lanes"):
    """A lane grid: ``#sparse.lanes<[Lh, Lw], [H, W]>`` (architecture page, section 4); the image of a volume
    is [D, H, W], that of a signal [1, W]."""

    grid: ir.ArrayAttr
    image: ir.ArrayAttr


# -- ops -----------------------------------------------------------------------------------------------------


class ConvOp(Sparse.Operation, name="conv"):
    """
    Convolution of any rank, with all fused: act(conv(input, weight) + bias + residual).

    input [N, C, *spatial], weight [F, C/groups, *kernel], bias [F], residual and output [N, F, *spatial'].
    """

    input: ext.Operand[Any]
    weight: ext.Operand[Any]
    strides: ir.ArrayAttr
    padding_low: ir.ArrayAttr
    padding_high: ir.ArrayAttr
    dilations: ir.ArrayAttr
    groups: ir.IntegerAttr
    activation: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None
    residual: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_conv)


class LinearOp(Sparse.Operation, name="linear"):
    """Matrix product act(input @ weight.T + bias): input [N, K], weight [M, K], bias [M], output [N, M].

    N may be free (``?``), decided when it runs."""

    FREE_LENGTH = True
    input: ext.Operand[Any]
    weight: ext.Operand[Any]
    activation: ir.StringAttr
    scheme: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_linear)


class PoolOp(Sparse.Operation, name="pool"):
    """Pooling over the spatial dimensions: ``max`` pads with -inf; ``average`` divides by the window."""

    input: ext.Operand[Any]
    kind: ir.StringAttr
    kernel: ir.ArrayAttr
    strides: ir.ArrayAttr
    padding_low: ir.ArrayAttr
    padding_high: ir.ArrayAttr
    input_layout: Any
    output_layout: Any
    output: ext.Result[Any]

    def verify_invariants(self) -> bool:
        return verified(self, _check_pool)


class Packed(Sparse.Operation):
    """
    Base of the ops that hold a weight as its scheme's storage arrays, which ``storage_names`` names in their
    order; ``weight_shape`` is that of the dense weight.

    The arrays are the last operands, ``array_0`` on (``storage_operands`` names them, ``storage`` lists
    them): IRDL binds one type to a variadic operand, and these differ in type.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        for slot in range(STORAGE_SLOTS):  # the bindings read fields off the class itself
            cls.__annotations__[f"array_{slot}"] = ext.Operand[Any] | None
            setattr(cls, f"array_{slot}", None)
        super().__init_subclass__(**options)

    @property
    def storage(self) -> list[Any]:
        """The storage arrays, in the order of ``storage_names``."""
        slots = (getattr(self, f"array_{slot}") for slot in range(STORAGE_SLOTS))
        return [value for value in slots if value is not None]


class PackedConvOp(Packed, name="packed_conv"):
    """
    ``sparse.conv`` with its scheme's storage arrays (FKW, ...) for a weight [F, C/groups, *kernel].

    ``kernel`` says which micro-kernel runs it (``sparse`` or ``dense``) and ``reason`` why;
    ``filters_per_group`` is the number of filters that share loaded inputs (filter-level LRE); ``pool`` is
    the window, and stride, of a max pool fused behind it, ones for none.
    """

    input: ext.Operand[Any]
    storage_names: ir.ArrayAttr
    weight_shape: ir.ArrayAttr
    strides: ir.ArrayAttr
    padding_low: ir.ArrayAttr
    padding_high: ir.ArrayAttr
    dilations: ir.ArrayAttr
    groups: ir.IntegerAttr
    activation: ir.StringAttr
    scheme: Any
    kernel: ir.StringAttr
    filters_per_group: ir.IntegerAttr
    pool: ir.ArrayAttr
    input_layout: Any
    output_layout: Any
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None
    residual: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_packed)


class PackedLinearOp(Packed, name="packed_linear"):
    """``sparse.linear`` with its scheme's storage arrays for a weight."""

    FREE_LENGTH = True
    input: ext.Operand[Any]
    storage_names: ir.ArrayAttr
    weight_shape: ir.ArrayAttr
    activation: ir.StringAttr
    scheme: Any
    kernel: ir.StringAttr
    output: ext.Result[Any]
    bias: ext.Operand[Any] | None = None

    def verify_invariants(self) -> bool:
        return verified(self, _check_packed)


class LiftOp(Sparse.Operation, name="lift"):
    """``nchw`` to a lane grid: [N, C, *image] -> [N, C, lines, lanes]."""

    input: ext.Operand[Any]
    layout: LanesAttr
    output: ext.Result[Any]

    def verify_invariants(self) -> bool:
        return verified(self, _check_lift)


class UnliftOp(Sparse.Operation, name="unlift"):
    """A lane grid back to ``nchw``: [N, C, lines, lanes] -> [N, C, *image]."""

    input: ext.Operand[Any]
    layout: LanesAttr
    output: ext.Result[Any]

    def verify_invariants(self) -> bool:
        return verified(self, _check_lift)


SCHEMES = (UndetectedAttr, DenseAttr, UnstructuredAttr, ConnectivityAttr, PatternAttr, BcrAttr,
           KgsAttr)
EITHER = (PlainAttr, LanesAttr)
LAYOUTS: dict[str, Any] = {"layout": LanesAttr, "input_layout": EITHER, "output_layout": EITHER}
KINDS = {ir.ArrayAttr: "an array", ir.IntegerAttr: "an integer", ir.StringAttr: "a string"}

# -- verifiers: each returns the first complaint, or None ----------------------------------------------------


def verified(op: Any, check: Callable[[Any], str | None]) -> bool:
    """Runs ``check`` on a well-formed op. Python verifiers run before IRDL's, so form comes first."""
    try:
        complaint = _check_form(op) or check(op)
    except (IndexError, KeyError, TypeError, ValueError) as error:  # an exception would lose the location
        complaint = f"is malformed: {error}"
    if complaint is None:
        return True
    op.location.emit_error(f"'{op.operation.name}' op {complaint}")
    return False


def _check_form(op: Any) -> str | None:
    """Attributes present and of their declared kind, operands static ranked tensors, segments that add up."""
    attributes, operands = op.operation.attributes, list(op.operation.operands)
    for name, kind in type(op).__annotations__.items():
        if kind not in KINDS and name not in ("scheme", *LAYOUTS):
            continue
        if name not in attributes:
            return f"requires attribute '{name}'"
        if kind in KINDS and not isinstance(attributes[name], kind):
            return f"expected attribute '{name}' to be {KINDS[kind]}, found {attributes[name]}"
        if name in ("scheme", *LAYOUTS) and not isinstance(attributes[name], LAYOUTS.get(name, SCHEMES)):
            return f"expected a sparse dialect {name.replace('_', ' ')}, found {attributes[name]}"
    if "operandSegmentSizes" in attributes:
        found = list(attributes["operandSegmentSizes"])
        if sum(found) != len(operands):
            return f"expected operandSegmentSizes that add up to {len(operands)} operands, found {found}"
    elif any("None" in str(kind) for kind in type(op).__annotations__.values()):
        return "requires attribute 'operandSegmentSizes' (operands can be left out)"
    for value in [*operands, *op.operation.results]:
        if not isinstance(value.type, ir.RankedTensorType) or not _is_static(op, value.type):
            return f"expected tensors of static shape, found {value.type}"
    return None


def _is_static(op: Any, type_: Any) -> bool:
    """Static sizes, but for the first one where the op's class says ``FREE_LENGTH``: the run decides it."""
    first = 1 if getattr(op, "FREE_LENGTH", False) else 0
    return not any(type_.is_dynamic_dim(at) for at in range(first, type_.rank))


def storage_operands(values: Sequence[Any]) -> dict[str, Any]:
    """A packed op's storage arrays as keywords: ``PackedConvOp(..., **storage_operands(values))``."""
    if len(values) > STORAGE_SLOTS:
        raise ValueError(f"{len(values)} storage arrays, but packed ops have {STORAGE_SLOTS} slots")
    return {f"array_{place}": value for place, value in enumerate(values)}



def check_choice(name: str, attribute: Any, choices: tuple[str, ...]) -> str | None:
    """A complaint about a string that is none of ``choices``."""
    found = ir.StringAttr(attribute).value
    return None if found in choices else f"expected {name} to be one of {', '.join(choices)}, found '{found}'"


def check_scheme(op: Any, weight: Sequence[int]) -> str | None:
    """Sizes of blocks and groups are positive; a scheme of kernels fits kernels of the weight's size."""
    for name in ("rows", "columns", "filters", "channels"):
        size = ir.IntegerAttr(getattr(op.scheme, name)).value if hasattr(op.scheme, name) else 1
        if size < 1:
            return f"expected a scheme with {name} of 1 or more, found {op.scheme}"
    if hasattr(op.scheme, "kernel") and integers(op.scheme.kernel) != list(weight[2:]):
        return f"expected a scheme for kernels of {list(weight[2:])}, found {op.scheme}"
    return None


def _check_conv(op: Any) -> str | None:
    """Shape rules of a convolution: ranks, channels, and every output size."""
    input_shape, weight, output_shape = shape_of(op.input), shape_of(op.weight), shape_of(op.output)
    spatial = len(input_shape) - 2
    if spatial < 1:
        return f"expected an input of rank 3 or more, found rank {len(input_shape)}"
    if len(weight) != spatial + 2:
        return f"expected a weight of rank {spatial + 2}, found rank {len(weight)}"
    groups = ir.IntegerAttr(op.groups).value
    if groups < 1 or weight[1] * groups != input_shape[1] or weight[0] % groups:
        return (f"expected channels x groups = {input_shape[1]} input channels and filters divisible by "
                f"groups, found weight {weight} and groups {groups}")
    geometry = [integers(a) for a in (op.padding_low, op.padding_high, op.dilations, op.strides)]
    for name, values in zip(("padding_low", "padding_high", "dilations", "strides"), geometry, strict=True):
        if len(values) != spatial:
            return f"expected {spatial} {name}, found {len(values)}"
    if min(geometry[2] + geometry[3]) < 1:
        return f"expected positive strides and dilations, found {geometry[3]} and {geometry[2]}"
    expected = [input_shape[0], weight[0]] + [
        (size + low + high - dilation * (k - 1) - 1) // stride + 1
        for size, k, low, high, dilation, stride in zip(input_shape[2:], weight[2:], *geometry, strict=True)]
    if output_shape != expected:
        return f"expected an output of shape {expected}, found {output_shape}"
    if op.bias is not None and shape_of(op.bias) != [weight[0]]:
        return f"expected a bias of shape [{weight[0]}], found {shape_of(op.bias)}"
    if op.residual is not None and shape_of(op.residual) != expected:
        return f"expected a residual of shape {expected}, found {shape_of(op.residual)}"
    return check_scheme(op, weight) or check_choice("activation", op.activation, ACTIVATIONS)


def _check_linear(op: Any) -> str | None:
    input_shape, weight, output_shape = shape_of(op.input), shape_of(op.weight), shape_of(op.output)
    if len(input_shape) != 2 or len(weight) != 2 or input_shape[1] != weight[1]:
        return f"expected input [N, K] and weight [M, K], found {input_shape} and {weight}"
    if output_shape != [input_shape[0], weight[0]]:
        return f"expected an output of shape {[input_shape[0], weight[0]]}, found {output_shape}"
    if op.bias is not None and shape_of(op.bias) != [weight[0]]:
        return f"expected a bias of shape [{weight[0]}], found {shape_of(op.bias)}"
    return check_scheme(op, weight) or check_choice("activation", op.activation, ACTIVATIONS)


def _check_pool(op: Any) -> str | None:
    spatial = len(integers(op.kernel))
    for name in ("strides", "padding_low", "padding_high"):
        if len(integers(op.attributes[name])) != spatial:
            return f"expected {spatial} {name}, found {len(integers(op.attributes[name]))}"
    return check_choice("kind", op.kind, POOL_KINDS)


def check_storage(op: Any) -> str | None:
    """Storage arrays and their names go together, bias and scheme fit the weight."""
    names, storage = strings(op.storage_names), list(op.storage)
    if len(names) != len(storage):
        return f"expected one storage name for each of {len(storage)} storage operands, found {names}"
    weight = integers(op.weight_shape)
    if op.bias is not None and shape_of(op.bias) != weight[:1]:
        return f"expected a bias of shape {weight[:1]}, found {shape_of(op.bias)}"
    return check_scheme(op, weight)


def _check_packed(op: Any) -> str | None:
    return check_storage(op) or check_choice("activation", op.activation, ACTIVATIONS)


def _check_lift(op: Any) -> str | None:
    """The side that is not lifted is an image of the layout's size."""
    plain = op.input if op.operation.name == "sparse.lift" else op.output
    image = integers(op.layout.image)
    found = shape_of(plain)[2:]
    longer = max(len(image), len(found))
    padded = ([1] * (longer - len(sizes)) + sizes for sizes in (image, found))  # [7, 7] is [1, 7, 7]
    return None if len(set(map(tuple, padded))) == 1 else (
        f"expected an image of size {image}, found {shape_of(plain)}")


# -- helpers -------------------------------------------------------------------------------------------------






def register_dialect(context: ir.Context) -> None:
    """Loads ``sparse`` into ``context``, once; turns off multithreading: Python verifiers need that."""
    context.enable_multithreading(False)
    if not context.is_dialect_loaded(Sparse.DIALECT_NAMESPACE):
        with context:
            Sparse.load()


def irdl_text() -> str:
    """The dialect as IRDL text, for ``mlir-opt --irdl-file=FILE`` of any compiler."""
    with ir.Context():
        return str(Sparse._emit_module())


__all__ = ["Sparse", "irdl_text", "location_text", "register_dialect", "storage_operands"]
