"""What compiled functions take besides their tensors, and small helpers on function arguments and buffers.

After ``lower-to-vector``, ``externalize-constants``, ``record-assertions``, ``distribute-work`` and
``plan-memory`` a public function takes what ``espalier.entry`` lists, in that order,

    inputs..., scratch memref<?xi8>, outputs..., weights memref<?xi8>, failures memref<?xi32>, turn
    memref<?xi64>, stamps memref<?xi64>, thread index, threads index, arena memref<?xi8>

(no weights where constants were not externalized), and the module says how much of each it needs
(``espalier.scratch`` and the others of ``entry.SIZES``), and how many inputs there are, ``espalier.inputs``.
``export-entry`` makes one function of plain pointers of it.
"""

from __future__ import annotations

from typing import Any

from ....entry import ARGUMENTS, Argument
from ...errors import op_error
from ...ir.mlir import bindings, ir

memref: Any = bindings("dialects.memref")

ALIASES = ("memref.view", "memref.cast", "memref.subview", "memref.reinterpret_cast", "memref.collapse_shape",
           "memref.expand_shape", "memref.memory_space_cast")
ALIGNMENT = 64


def functions(module: ir.Operation) -> list[Any]:
    """The functions with a body."""
    return [op for op in module.regions[0].blocks[0].operations
            if op.operation.name == "func.func" and op.regions[0].blocks]


def public_functions(module: ir.Operation) -> list[Any]:
    """The functions with a body that others may call."""
    return [op for op in functions(module) if "sym_visibility" not in op.operation.attributes]


def expected_arguments(module: ir.Operation, count: int) -> list[Argument]:
    """What each of the ``count`` arguments of a public function is, in order; as many as there are of a kind.

    Fewer than ``count`` where the function has not all of them yet.
    """
    inputs = ir.IntegerAttr(module.attributes["espalier.inputs"]).value
    listed = [argument for argument in ARGUMENTS
              if argument.name != "weights" or "espalier.weights" in module.attributes]
    outputs = count - inputs - sum(argument.kind != "tensors" for argument in listed)
    copies = {"inputs": inputs, "outputs": max(outputs, 0)}
    return [argument for argument in listed for _ in range(copies.get(argument.name, 1))]


def tensor_arguments(module: ir.Operation, function: Any) -> list[int]:
    """Where, in the whole list above, the inputs and outputs stand."""
    count = len(function.regions[0].blocks[0].arguments)
    return [at for at, argument in enumerate(expected_arguments(module, count)) if argument.kind == "tensors"]


def scratch_of(function: Any) -> ir.Value | None:
    """What holds a thread's scratch: the argument behind the inputs, where a pass has added it."""
    module = function.operation.parent.operation
    if "espalier.inputs" not in module.attributes:
        return None
    arguments = list(function.regions[0].blocks[0].arguments)
    at = ir.IntegerAttr(module.attributes["espalier.inputs"]).value
    byte = dynamic_memref(ir.IntegerType.get_signless(8))
    return arguments[at] if at < len(arguments) and arguments[at].type == byte else None


def append_argument(function: Any, type_: ir.Type) -> ir.Value:
    """A new last argument of ``function``."""
    old = ir.FunctionType(ir.TypeAttr(function.operation.attributes["function_type"]).value)
    function.operation.attributes["function_type"] = ir.TypeAttr.get(
        ir.FunctionType.get([*old.inputs, type_], list(old.results)))
    if "arg_attrs" in function.operation.attributes:
        known = list(ir.ArrayAttr(function.operation.attributes["arg_attrs"]))
        function.operation.attributes["arg_attrs"] = ir.ArrayAttr.get([*known, ir.DictAttr.get({})])
    return function.regions[0].blocks[0].add_argument(type_, function.operation.location)


def dynamic_memref(element: ir.Type, memory_space: ir.Attribute | None = None) -> ir.Type:
    """memref<?xelement>."""
    size = ir.ShapedType.get_dynamic_size()
    return ir.MemRefType.get([size], element, memory_space=memory_space)


def byte_view(base: ir.Value, offset: int, type_: ir.Type) -> ir.Value:
    """``type_`` at ``offset`` bytes of a memref<?xi8>, at the current insertion point."""
    index = ir.IndexType.get()
    at = ir.Operation.create("arith.constant", results=[index],
                             attributes={"value": ir.IntegerAttr.get(index, offset)}).result
    return memref.ViewOp(type_, base, at, []).result


def byte_size(type_: ir.Type) -> int:
    """Bytes of a static memref type; i1 takes a byte."""
    shaped = ir.MemRefType(type_)
    text = str(shaped.element_type)
    width = 64 if text == "index" else int("".join(c for c in text if c.isdigit()))
    count = 1
    for size in shaped.shape:
        count *= size
    return count * -(-width // 8)


def align(offset: int, alignment: int = ALIGNMENT) -> int:
    return -(-offset // alignment) * alignment


def root(value: ir.Value) -> ir.Value:
    """The value that ``value`` is a view of, through operations that only change the view."""
    while not isinstance(value.owner, ir.Block) and value.owner.operation.name in ALIASES:
        value = value.owner.operation.operands[0]
    return value


def roots(value: ir.Value) -> set[ir.Value]:
    """The buffers that ``value`` may be a view of: several where a branch, a loop or a select chooses."""
    found: set[ir.Value] = set()
    seen: set[ir.Value] = set()
    ahead = [value]
    while ahead:
        value = root(ahead.pop())
        if value not in seen:
            seen.add(value)
            choices = _choices(value)
            ahead += choices
            if not choices:
                found.add(value)
    return found


def _choices(value: ir.Value) -> list[ir.Value]:
    """The buffers one of which is ``value``; none where it is a buffer of its own."""
    owner = value.owner
    op = owner.owner.operation if isinstance(owner, ir.Block) else owner.operation
    if op.name == "func.func" or not (list(op.regions) or op.name == "arith.select"):
        return []
    ends = [list(block.operations)[-1] for region in op.regions for block in region.blocks]
    values = [*op.operands, *(value for end in ends for value in end.operands)]
    return [value for value in values if isinstance(value.type, ir.MemRefType)]


def set_size(module: ir.Operation, name: str, value: int) -> None:
    """Records a size on the module; several functions share the largest."""
    found = module.attributes[name] if name in module.attributes else None
    if found is not None and not isinstance(found, ir.IntegerAttr):
        raise op_error(module, f"an integer as module attribute '{name}'", str(found), "leave it out")
    known = 0 if found is None else found.value
    module.attributes[name] = ir.IntegerAttr.get(ir.IntegerType.get_signless(64), max(known, value))
