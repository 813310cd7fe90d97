"""What a statement of the entry function is, for the report: every stamp measures one.

    scf.parallel ... loc("head"("aten.tanh"("net.py":3)))
    -> {label = "head: aten.tanh", name = "head", op = "aten.tanh", kind = "loop", shared = true,
        reason = "loop: no kernel for aten.tanh"}

Locations carry what is known: the layer's path, inside it PyTorch's operation (``frontends/torch/importer``),
and, of a loop without vectors, why (``scalar_location``).
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.mlir import ir

OPERATIONS = ("aten.", "prims.", "onnx.")
SCALAR = "scalar: "
WAITING = "waiting"


@dataclass(frozen=True)
class Statement:
    """One row of a report that is no layer's: ``label`` is what its stamps are called, ``kind`` one of
    kernel, re-layout, loop, copy and waiting; ``shared``: all threads take part."""

    label: str
    name: str
    op: str
    kind: str
    shared: bool
    reason: str

    def attribute(self) -> ir.Attribute:
        """As an attribute (needs a current context)."""
        texts = {name: ir.StringAttr.get(getattr(self, name))
                 for name in ("label", "name", "op", "kind", "reason")}
        return ir.DictAttr.get({**texts, "shared": ir.BoolAttr.get(self.shared)})

    @staticmethod
    def of(op: ir.Operation, kernel: str, shared: bool) -> Statement:
        """What the entry function's ``op`` is; ``kernel``: the function it calls, if it is a kernel's."""
        names = names_of(op.location)
        name = next((text for text in names if not text.startswith((*OPERATIONS, SCALAR))), "")
        source = next((text for text in names if text.startswith(OPERATIONS)), "")
        stem = kernel.rpartition("_")[0] or kernel
        if stem in ("lift", "unlift"):
            why = "re-layout: " + ("rows of pixels to lanes" if stem == "lift" else "lanes to rows of pixels")
            return Statement(f"{name}: {stem}" if name else stem, name, stem, "re-layout", shared, why)
        if kernel:
            return Statement(name or op.name, name, stem, "kernel", shared, f"kernel: {stem}")
        if op.name == "memref.copy":
            return _loop(op, name, source or "copy", "copy", shared, "")
        scalar = next((text.removeprefix(SCALAR) for text in names if text.startswith(SCALAR)), "")
        return _loop(op, name, source, "loop", shared, scalar)


def _loop(op: ir.Operation, name: str, source: str, kind: str, shared: bool, scalar: str) -> Statement:
    label = ": ".join(filter(None, (name, source))) or op.name
    why = f"{kind}: no kernel for {source or op.name}"
    why += f"; not vectorised: {scalar}" if scalar else "" if kind == "copy" else "; vectorised"
    why += "" if shared else "; one thread runs it"
    return Statement(label, name, source or op.name, kind, shared, why)


def waiting() -> Statement:
    """The time in which the first thread waits for the others, at barriers."""
    return Statement(WAITING, "", WAITING, WAITING, True, "waiting: other threads are not done")


def names_of(location: ir.Location) -> list[str]:
    """The names around a place, outermost first; of several places, those of the first that has any."""
    if isinstance(location, ir.NameLoc):
        return [*filter(None, [location.name_str]), *names_of(location.child_loc)]
    if isinstance(location, ir.FusedLoc):
        return next((names for place in location.locations if (names := names_of(place))), [])
    return []


def scalar_location(location: ir.Location, reason: str) -> ir.Location:
    """``location`` of a loop that has no vectors, for ``reason``."""
    if isinstance(location, ir.NameLoc):
        return ir.Location.name(location.name_str, scalar_location(location.child_loc, reason))
    return ir.Location.name(SCALAR + reason, location)
