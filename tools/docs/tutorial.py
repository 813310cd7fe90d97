"""The tutorial: one convolution through every pass. The page has a mark where IR belongs:

    <!-- espalier-opt: sparse-raise-linalg,sparse-detect-schemes -->

which becomes the IR after these passes, on top of all that came before. So the page shows what the passes do
today, and a pass that fails, or a mark that no pass fits, fails the build. ``from=TEXT`` in front begins at
the first line that holds the text, ``lines=N`` shows so many.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import EspalierError
from ...pipelines.parser import parse_pipeline
from ...pipelines.runner import Runner
from ...sparse_dialect.dialect import register_dialect
from ...sparse_dialect.ir.mlir import ir

_MARK = re.compile(r"<!-- espalier-opt:(?: from=(?P<begin>\S+))?(?: lines=(?P<lines>\d+))? "
                   r"(?P<passes>[^>]*?) -->")
_ELIDED = 12  # elements of a constant that are still shown


def filled(page: str, source: str) -> str:
    """``page`` with the IR of each mark; ``source``: the module that it begins with, MLIR text."""
    with ir.Context() as context, ir.Location.unknown():
        register_dialect(context)
        module = ir.Module.parse(source)

        def shown(match: re.Match[str]) -> str:
            Runner(parse_pipeline(f"builtin.module({match['passes']})")).run(module.operation)
            text = module.operation.get_asm(large_elements_limit=_ELIDED, large_resource_limit=_ELIDED)
            return "\n".join(["```mlir", *_part(text.splitlines(), match["begin"], match["lines"]), "```"])

        return _MARK.sub(shown, page)


def _part(lines: Sequence[str], begin: str | None, count: str | None) -> list[str]:
    first = 0
    if begin is not None:
        first = next((number for number, line in enumerate(lines) if begin in line), -1)
        if first < 0:
            raise EspalierError(f"tutorial: no line of the IR holds '{begin}'")
    last = len(lines) if count is None else min(len(lines), first + int(count))
    rest = [f"// {len(lines) - last} lines more"] if last < len(lines) else []
    return [*lines[first:last], *rest]
