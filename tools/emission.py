"""What ``espalier compile`` writes beside a model file, and what it shows of its passes.

    --emit obj,header,sparse -o net.o   ->  net.o, net.h, net.sparse.mlir
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EspalierError, unknown
from ..files import check_apart, check_writable
from ..pipelines.codegen import IREE, SUFFIXES
from ..pipelines.codegen.spirv_folder import EMITTED, check_emitted

if TYPE_CHECKING:
    from ..pipelines.driver import CompileOptions, Watch
    from ..pipelines.instrument import Instrument
    from ..pipelines.reproducer import Reproducer
    from ..pipelines.target import Target

STAGES = ("linalg", "sparse", "vector", "llvm-dialect")  # the IR before and after stages of the CPU's backend
ALL_SUFFIXES = {**SUFFIXES, IREE: "", **{name: f".{name}.mlir" for name in STAGES}}
FOLDERS = ("spirv", IREE)  # what is a folder
FOR_GPU = (*EMITTED, "linalg", "sparse")
EVERY = "all"


@dataclass(frozen=True)
class Emission:
    """The files to write, by kind, in the order in which they were asked for."""

    paths: dict[str, Path]

    @staticmethod
    def of(text: str, output: Path, gpu: bool = False, read: Sequence[str | Path | None] = ()) -> Emission:
        """``--emit text -o output``: one kind takes ``output`` as it is, several take its name with a suffix
        each. Raises ``EspalierError`` for unknown kinds and places that cannot be written, as are those of
        files that are ``read``."""
        kinds = text.split(",")
        for kind in kinds:
            if kind not in (FOR_GPU if gpu else ALL_SUFFIXES):
                where, known = ("--target vulkan: ", FOR_GPU) if gpu else ("", tuple(ALL_SUFFIXES))
                raise EspalierError(f"{where}--emit expects one of {', '.join(known)}, found '{kind}'")
        if len(set(kinds)) < len(kinds):
            raise EspalierError(f"--emit expects each kind once, found '{text}'")
        if IREE in kinds:
            _check_folder(text, output)
        paths = {kinds[0]: output}
        if len(kinds) > 1:
            suffix = max((end for end in ALL_SUFFIXES.values() if output.name.endswith(end)), key=len)
            stem = output.name.removesuffix(suffix)
            paths = {kind: output.with_name(stem + ALL_SUFFIXES.get(kind, "")) for kind in kinds}
        for kind, path in paths.items():
            if gpu and kind in EMITTED:
                check_emitted(kind, path)
            if kind not in FOLDERS:
                check_writable(path, *read)
        return Emission(paths)

    @property
    def stages(self) -> dict[str, Path]:
        """What is IR."""
        return {kind: path for kind, path in self.paths.items() if kind in STAGES}

    @property
    def products(self) -> dict[str, Path]:
        """What is made of the code."""
        return {kind: path for kind, path in self.paths.items() if kind not in STAGES}

    @property
    def last(self) -> str:
        """The stage after which nothing is left to do; empty where code is asked for."""
        return "" if self.products else max(self.paths, key=STAGES.index)


def _check_folder(text: str, output: Path) -> None:
    """Raises ``EspalierError`` where ``--emit text`` asks for more than a folder, or has no place for one."""
    if text != IREE:
        raise EspalierError(f"--emit {IREE} writes a folder of its own: ask for it alone, not for '{text}'")
    if output.exists() and not output.is_dir():
        raise EspalierError(f"cannot write '{output}': it is a file, and --emit {IREE} makes a folder")
    if not output.exists():
        check_writable(output)


@dataclass(frozen=True)
class Show:
    """What to show of the passes: names after which the IR is printed (``all``), and three reports."""

    print_after: str = ""
    timing: bool = False
    statistics: bool = False
    reproducer: Path | None = None
    dump: Path | None = None

    def watch(self, emission: Emission, target: Target, options: CompileOptions) -> Watch:
        """The instruments and listeners of a compilation for ``target``."""
        from ..pipelines.driver import Watch
        from ..pipelines.reproducer import Reproducer
        from ..pipelines.stage_files import StageFiles, StageFolder

        check_apart(*emission.paths.values(), self.reproducer, self.dump)
        instruments: list[Instrument] = []
        if self.reproducer is not None:
            check_writable(self.reproducer)
            instruments.append(Reproducer(self.reproducer))
        instruments += self._reports(target, options)
        files = [StageFiles(emission.stages)] if emission.stages else []
        folder = [StageFolder(self.dump)] if self.dump is not None else []
        return Watch(instruments, [*files, *folder])

    def _reports(self, target: Target, options: CompileOptions) -> list[Instrument]:
        from ..pipelines.ir_printing import ALL, IRPrinting
        from ..pipelines.statistics import Statistics
        from ..pipelines.timing import Timing

        found: list[Instrument] = []
        if self.print_after:
            names = self.print_after.split(",")
            known = _passes(target, options)
            for name in names:
                if name not in (EVERY, *known):
                    raise unknown("pass", name, [EVERY, *known])
            # Weights would fill the terminal.
            flags = {"large_elements_limit": 16, "large_resource_limit": 16}
            found.append(IRPrinting(after=frozenset(ALL if name == EVERY else name for name in names),
                                    flags=flags))
        if self.statistics:
            found.append(Statistics())
        if self.timing:
            found.append(Timing())
        return found


def _passes(target: Target, options: CompileOptions) -> list[str]:
    """The names of all passes that a compilation runs."""
    from ..pipelines.backends import backend_for
    from ..pipelines.pipeline import ROOT, Nest

    stages = backend_for(target).stages(target, options)
    nest = Nest(ROOT, tuple(item for stage in stages for item in stage.items))
    return list(dict.fromkeys(leaf.name for leaf in nest.leaves()))


def written_reproducer(instruments: Sequence[Instrument]) -> Reproducer | None:
    """The reproducer that a failed compilation left, if any."""
    from ..pipelines.reproducer import Reproducer

    return next((one for one in instruments if isinstance(one, Reproducer) and one.written), None)
