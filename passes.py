"""Espalier's passes inside another MLIR compiler: as classes, and on the host's own pass manager.

    context = ir.Context()
    espalier.register_dialect(context)
    manager = PassManager("builtin.module", context)      # the bindings' own
    manager.add("canonicalize")
    espalier.add_sparse_passes(manager, target=espalier.Target.host())
    manager.run(module.operation)

    from espalier.passes import DetectSchemesPass          # every pass class, imported when first asked for

Timing, IR printing and verification of the host see our passes like any other. Errors leave ``run`` as
``PassError``, with their location.

``register_dialect`` turns the context's multithreading off, and it must stay off while there are ``sparse``
ops: their verifiers are Python, and MLIR's threads would wait for the interpreter that waits for them. Once
the module is lowered (``sparse-to-llvm``), the host may turn it on: ``context.enable_multithreading(True)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import EspalierError
from .pipelines.parser import named_pipeline, parse_items
from .pipelines.pipeline import ROOT, Item, Nest, PassItem, is_upstream
from .pipelines.registry import default_registry
from .pipelines.runner import Runner
from .sparse_dialect.dialect.dialect import Sparse
from .sparse_dialect.transforms.set_target import SetTargetPass

if TYPE_CHECKING:
    from .pipelines.target import Target


def add_sparse_passes(manager: Any, pipeline: str = "sparse-prepare", *,
                      target: Target | None = None) -> None:
    """
    Adds ``pipeline`` to ``manager``, a ``PassManager`` on ``builtin.module`` of the bindings that Espalier
    runs on: a named pipeline (``espalier.PIPELINES``), or elements of one, such as
    ``"sparse-raise-linalg,func.func(cse)"``. With ``target`` the module says from then on which machine it is
    for; else what it says already counts.

    Raises ``EspalierError`` for an unknown pipeline or pass. ``manager.run`` raises it where the context has
    no dialect (``espalier.register_dialect``), or runs several threads.
    """
    items: list[Item] = []
    if target is not None:
        items.append(PassItem(SetTargetPass.of(target.device)))
    known = pipeline in default_registry().pipelines
    items += named_pipeline(pipeline).items if known else parse_items(pipeline)
    for item in items:
        if is_upstream(item):
            manager.add(str(item))
        else:
            manager.add(_runs(item), name=item.name, argument=item.name)


def _runs(item: Item) -> Callable[[Any, Any], None]:
    """What the host calls; it verifies by itself."""
    runner = Runner(Nest(ROOT, (item,)), verify=False)

    def run(op: Any, _: Any) -> None:
        context = op.context
        if not context.is_dialect_loaded(Sparse.DIALECT_NAMESPACE) or context.get_num_threads() > 1:
            raise EspalierError(f"'{item.name}' needs the sparse dialect and one thread: call "
                                f"espalier.register_dialect(context) before the pass manager runs")
        runner.run(op)

    return run


def __getattr__(name: str) -> Any:
    """A pass class, by its own name."""
    classes = _stems()
    if name in classes:
        return default_registry().get(classes[name])
    raise AttributeError(f"module 'espalier.passes' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(["add_sparse_passes", *_stems()])


def _stems() -> dict[str, str]:
    """The names of our pass classes, and of their passes (``sparse_dialect/passes.py``)."""
    names = [name for name in default_registry().names() if name.startswith("sparse-")]
    return {"".join(part.capitalize() for part in name.split("-")[1:]) + "Pass": name for name in names}
