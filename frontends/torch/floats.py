"""Half, bfloat16 and double layers computed in fp32, rounded where the program asks for it.

    %y = aten.convolution(%x: f16, %w: f16)        %y = aten.convolution(_to_copy(%x, f32), _to_copy(%w, f32))
    %z = _to_copy(%s: f32, f16)              ->    %z = _to_copy(_to_copy(%s, f16), f32)
    return %y                                      return _to_copy(%y, f16)

Values of f16 and bf16 are computed in f32, all of them. Those of f64 are from the first layer on, and in
what is computed from it; elsewhere f64 stays: time stamps and counters need it, and no kernel is slower for
it. Casts of the program to a narrower type round; results that only have such a type do not, but outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.fx import Node
from torch.utils._pytree import tree_leaves, tree_map

from ...sparse_dialect.errors import EspalierError
from .retype import convert, evaluated, set_results, set_value

aten = torch.ops.aten
SHORT, WIDE = (torch.float16, torch.bfloat16), torch.float32
CASTS = (aten._to_copy.default, torch.ops.prims.convert_element_type.default)
BITS = (aten.view.dtype,)  # operators that read a number's bits
LAYERS = frozenset({
    "convolution", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "linear", "matmul", "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "einsum", "bilinear",
    "scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu",
    "gru", "lstm", "rnn_tanh", "rnn_relu", "gru_cell", "lstm_cell", "rnn_tanh_cell", "rnn_relu_cell"})
# How far a check may be off, as a share of the largest output: PyTorch rounds after each operation.
TOLERANCES = {torch.float16: 2e-2, torch.bfloat16: 1e-1}


def needs_widening(program: torch.export.ExportedProgram) -> bool:
    """Whether ``program`` computes with f16, bf16 or f64 anywhere."""
    return bool(_dtypes(program) & {*SHORT, torch.float64})


def widen_floats(program: torch.export.ExportedProgram) -> None:
    """Rewrites ``program``, whose layers are not decomposed, in place; its interface stays."""
    graph = program.graph
    widening = _Widening(graph)
    results: list[Any] = []
    for node in list(graph.nodes):
        if node.op in ("placeholder", "get_attr"):
            widening.source(node)
        elif node.op == "call_function":
            widening.call(node)
        elif node.op == "output":
            with graph.inserting_before(node):
                results = [widening.given_back(result) for result in node.args[0]]
    set_results(program, results)


def interface_of(program: torch.export.ExportedProgram) -> dict[str, Any]:
    """What a manifest says of ``program``: how far a check may be off because PyTorch rounds after each
    operation (``tolerance``), and which inputs and outputs are bf16 (``bfloat16``)."""
    found = _dtypes(program)
    tolerance = max((share for dtype, share in TOLERANCES.items() if dtype in found), default=0.0)
    signature = program.graph_signature
    places = {"inputs": _bfloat16(program, signature.user_inputs),
              "outputs": _bfloat16(program, signature.user_outputs)}
    return {**({"tolerance": tolerance} if tolerance else {}),
            **({"bfloat16": places} if any(places.values()) else {})}


def _bfloat16(program: torch.export.ExportedProgram, names: Iterable[Any]) -> list[int]:
    """Which of the tensors among ``names`` are bf16."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    tensors = [values[name] for name in names if isinstance(values.get(name), torch.Tensor)]
    return [at for at, tensor in enumerate(tensors) if tensor.dtype == torch.bfloat16]


class _Widening:
    """The nodes of a graph, in order: ``asked`` holds the dtype that the program gives a value which is f32
    now."""

    def __init__(self, graph: torch.fx.Graph) -> None:
        self.graph = graph
        self.asked: dict[Node, torch.dtype] = {}
        self.wide: dict[Node, Node] = {}  # f64 values, as layers read them

    def source(self, node: Node) -> None:
        """Inputs and constants are cast where they are short."""
        dtype = _dtype(node)
        if dtype not in SHORT:
            return
        before = next(n for n in self.graph.nodes if n.op != "placeholder") if (
            node.op == "placeholder") else node.next
        with self.graph.inserting_before(before):
            wide = convert(self.graph, node, WIDE)
        node.replace_all_uses_with(wide, lambda user: user is not wide, propagate_meta=False)
        self.asked[wide] = dtype

    def call(self, node: Node) -> None:
        """Computes ``node`` in f32 where one of its arguments is, or where it is a layer in f64."""
        was = node.meta.get("val")
        rounds = self._rounds(node)
        demoted = self._is_demoted(node)
        if node.target in BITS and node.all_input_nodes[0] in self.asked:
            raise EspalierError(f"operation '{node.name}' reads the bits of {_name(was)} numbers, which are "
                                "computed in float32 here; expected fp32 tensors")
        if demoted:
            with self.graph.inserting_before(node):
                for source in dict.fromkeys(node.all_input_nodes):
                    node.replace_input_with(source, self._as_wide(source))
        if not demoted and not any(value.dtype in SHORT for value in _tensors(was)):
            if not any(source in self.asked for source in node.all_input_nodes):
                return
        self._compute(node, was, demoted, rounds)

    def _compute(self, node: Node, was: Any, demoted: bool, rounds: torch.dtype | None) -> None:
        """``node`` on the arguments that it has now; its readers see f32 in place of its own dtype."""
        narrow = {*SHORT, torch.float64} if demoted else {*SHORT}
        node.args, node.kwargs = tree_map(lambda leaf: _widened(leaf, narrow), (node.args, node.kwargs))
        if str(node.target) in ("aten._softmax.default", "aten._log_softmax.default"):
            node.args = (*node.args[:2], False)  # half to float, which it is already
        set_value(node, evaluated(node))
        if not isinstance(was, torch.Tensor):
            if any(value.dtype in narrow for value in _tensors(was)):
                self.asked[node] = torch.float64 if demoted else WIDE
            return
        expected = WIDE if was.dtype in narrow else was.dtype
        users, last = list(node.users), node
        with self.graph.inserting_after(node):
            if rounds is not None:
                last = convert(self.graph, node, rounds)
        with self.graph.inserting_after(last):
            if last.meta["val"].dtype != expected:
                last = convert(self.graph, last, expected)
        if last is not node:
            for user in users:
                user.replace_input_with(node, last)
        if was.dtype in narrow:
            self.asked[last] = was.dtype

    def _is_demoted(self, node: Node) -> bool:
        """Whether ``node`` gives f64 that is computed in f32."""
        doubles = any(value.dtype == torch.float64 for value in _tensors(node.meta.get("val")))
        reads = any(self.asked.get(source) == torch.float64 for source in node.all_input_nodes)
        return reads or (doubles and _operator(node) in LAYERS)

    def _rounds(self, node: Node) -> torch.dtype | None:
        """The dtype that the program asks to round to at ``node``."""
        if node.target not in CASTS:
            return None
        source, dtype = node.all_input_nodes[0], _dtype(node)
        before = self.asked.get(source, _dtype(source))
        return dtype if dtype in SHORT and dtype != before else None

    def _as_wide(self, source: Node) -> Node:
        if _dtype(source) != torch.float64:
            return source
        if source not in self.wide:
            before = source.next
            while before.op == "placeholder":
                before = before.next
            with self.graph.inserting_before(before):
                self.wide[source] = convert(self.graph, source, WIDE)
        return self.wide[source]

    def given_back(self, result: Any) -> Any:
        """An output of the dtype that the program gives it."""
        if not isinstance(result, Node) or result not in self.asked:
            return result
        return convert(self.graph, result, self.asked[result])


def _widened(leaf: Any, narrow: Iterable[torch.dtype]) -> Any:
    if isinstance(leaf, torch.Tensor) and leaf.dtype in narrow:
        return leaf.to(WIDE)
    return WIDE if isinstance(leaf, torch.dtype) and leaf in narrow else leaf


def _dtypes(program: torch.export.ExportedProgram) -> set[torch.dtype]:
    """The dtypes of all values, those in regions of autocast too."""
    graphs = [m.graph for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    return {value.dtype for graph in graphs for node in graph.nodes
            for value in _tensors(node.meta.get("val"))}


def _operator(node: Node) -> str:
    """The name of what ``node`` computes, without namespace and overload."""
    return str(node.target).partition(".")[2].partition(".")[0]


def _dtype(node: Any) -> torch.dtype | None:
    value = node.meta.get("val") if isinstance(node, Node) else None
    return value.dtype if isinstance(value, torch.Tensor) else None


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _name(value: Any) -> str:
    return ", ".join(str(tensor.dtype).removeprefix("torch.") for tensor in _tensors(value))


__all__ = ["interface_of", "needs_widening", "widen_floats"]
