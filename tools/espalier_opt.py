"""espalier-opt: mlir-opt for the ``sparse`` dialect, with our passes, upstream's, and named pipelines.

Thin on purpose: errors end as one line here, those of the MLIR bindings too, which ``opt`` imports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import EspalierError, printable
from .streams import take_any_text


def main(argv: Sequence[str] | None = None) -> int:
    """The console script: 0, 1 for bad input (one line each on stderr), 130 after Ctrl-C."""
    take_any_text()
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words or "-debug" in words
    try:
        from .opt import run

        return run(words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader left: as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except EspalierError as error:
        if debug:
            raise
        print(f"espalier-opt: error: {printable(error)}", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        print(f"espalier-opt: internal error: {type(error).__name__}: {error}; --debug shows where",
              file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
