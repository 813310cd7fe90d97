"""The ``sparse`` dialect for xDSL, made from the IRDL that is shipped: entry point ``xdsl.universe``.

    irdl.operation @linear {                                     class Linear(IRDLOperation):
      %0 = irdl.any                                                  name = "sparse.linear"
      irdl.operands(input: %0, weight: %0, bias: optional %0)   ->   input = operand_def(AnyAttr()) ...
      %1 = irdl.base "#builtin.string"                               bias = opt_operand_def(AnyAttr())
      irdl.attributes {"activation" = %1}                            activation = attr_def(StringAttr)

So ``xdsl-opt model.mlir`` parses, verifies and prints our tensor-level dumps. Needs the package xdsl alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

from xdsl import irdl
from xdsl.context import Context
from xdsl.dialects import builtin
from xdsl.dialects.irdl import irdl as declaration
from xdsl.ir import Attribute, Dialect, Operation, ParametrizedAttribute, SSAValue
from xdsl.parser import Parser
from xdsl.universe import Universe

from ..errors import EspalierError
from ..sparse_dialect.dialect.irdl import irdl_path

BUILTIN: dict[str, type[Attribute]] = {
    "#builtin.array": builtin.ArrayAttr, "#builtin.dictionary": builtin.DictionaryAttr,
    "#builtin.integer": builtin.IntegerAttr, "#builtin.string": builtin.StringAttr}
VALUES: dict[tuple[str, str], Callable[..., Any]] = {
    ("operand", "single"): irdl.operand_def, ("operand", "optional"): irdl.opt_operand_def,
    ("operand", "variadic"): irdl.var_operand_def, ("result", "single"): irdl.result_def,
    ("result", "optional"): irdl.opt_result_def, ("result", "variadic"): irdl.var_result_def}


@cache
def sparse_dialect() -> Dialect:
    """The dialect, as the IRDL file declares it; ``EspalierError`` for what it says that is unknown here."""
    context = Context()
    for dialect in (builtin.Builtin, declaration.IRDL):
        context.load_dialect(dialect)
    module = Parser(context, irdl_path().read_text()).parse_module()
    whole = next(op for op in module.walk() if isinstance(op, declaration.DialectOp))
    attributes: dict[str, type[ParametrizedAttribute]] = {}
    for op in whole.body.block.ops:
        if isinstance(op, declaration.AttributeOp):
            attributes[op.sym_name.data] = _attribute(op, attributes)
    operations = [_operation(op, attributes) for op in whole.body.block.ops
                  if isinstance(op, declaration.OperationOp)]
    return Dialect(whole.sym_name.data, operations, list(attributes.values()))


def _attribute(op: declaration.AttributeOp,
               known: dict[str, type[ParametrizedAttribute]]) -> type[ParametrizedAttribute]:
    """The class of an attribute."""
    fields: dict[str, Any] = {"name": f"sparse.{op.sym_name.data}", "__annotations__": {}}
    for inner in op.body.block.ops:
        if isinstance(inner, declaration.ParametersOp):
            for name, constraint in zip(inner.names, inner.args, strict=True):
                at = _field(name.data, ParametrizedAttribute)
                fields[at] = irdl.param_def(_constraint(constraint, known))
                fields["__annotations__"][at] = Attribute
    made = type(_class_name(op.sym_name.data) + "Attr", (ParametrizedAttribute,), fields)
    return irdl.irdl_attr_definition(cast(type[ParametrizedAttribute], made))


def _operation(op: declaration.OperationOp, known: dict[str, type[ParametrizedAttribute]]) -> type[Operation]:
    """The class of an operation."""
    fields: dict[str, Any] = {"name": f"sparse.{op.sym_name.data}"}
    options: list[Any] = []
    for inner in op.body.block.ops:
        if isinstance(inner, declaration.OperandsOp | declaration.ResultsOp):
            kind = "operand" if isinstance(inner, declaration.OperandsOp) else "result"
            fields.update(_values(kind, inner, known))
            if any(word.data.value != "single" for word in inner.variadicity.value):
                options.append(irdl.AttrSizedOperandSegments() if kind == "operand"
                               else irdl.AttrSizedResultSegments())
        elif isinstance(inner, declaration.AttributesOp):
            for name, value in zip(inner.attribute_value_names, inner.attribute_values, strict=True):
                fields[_field(name.data, irdl.IRDLOperation)] = irdl.attr_def(
                    _constraint(value, known), attr_name=name.data)
    if options:
        fields["irdl_options"] = tuple(options)
    made = type(_class_name(op.sym_name.data) + "Op", (irdl.IRDLOperation,), fields)
    return irdl.irdl_op_definition(cast(type[irdl.IRDLOperation], made))


def _values(kind: str, inner: Any,
            known: dict[str, type[ParametrizedAttribute]]) -> Iterator[tuple[str, Any]]:
    """The fields of operands or results."""
    for name, word, value in zip(inner.names, inner.variadicity.value, inner.args, strict=True):
        yield (_field(name.data, irdl.IRDLOperation),
               VALUES[kind, word.data.value](_constraint(value, known)))


def _constraint(value: SSAValue, known: dict[str, type[ParametrizedAttribute]]) -> irdl.AttrConstraint:
    """What a value of an IRDL declaration allows."""
    op = value.owner
    if isinstance(op, declaration.AnyOp):
        return irdl.AnyAttr()
    if isinstance(op, declaration.BaseOp) and op.base_name is not None and op.base_name.data in BUILTIN:
        return irdl.BaseAttr(BUILTIN[op.base_name.data])
    if isinstance(op, declaration.BaseOp) and op.base_ref is not None:
        name = list(op.base_ref.nested_references)[-1].data
        if name in known:
            return irdl.BaseAttr(known[name])
    raise EspalierError(f"the IRDL of the dialect has a constraint that xDSL's form of it lacks: {op}")


def _field(name: str, base: type) -> str:
    """The Python attribute that stands for ``name``."""
    return f"{name}_" if hasattr(base, name) else name


def _class_name(name: str) -> str:
    return "".join(part.title() for part in name.split("_"))


UNIVERSE = Universe(all_dialects={"sparse": sparse_dialect})

__all__ = ["UNIVERSE", "sparse_dialect"]
