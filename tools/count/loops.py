"""The inner loops of AArch64 assembly: what they hold, and the cycles that llvm-mca predicts for them.

Static figures: every load hits the first cache, nothing is said about the code around the loops. LLVM has no
model of the Cortex-A76 and the Cortex-X1; the server cores that share their pipelines stand in.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import EspalierError
from ...programs import MCA_OPTIONS, path_of

FEWEST_MULTIPLIES = 4
_ITERATIONS = 100
_TOTAL = re.compile(r"Total Cycles: +(\d+)")
_MULTIPLY = re.compile(r"\b(?:fmla|fmlal2?|fmul)\s+v")
_BRANCH = re.compile(r"(?:b\.?\w*|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.L\w+)$")
_FRAME = re.compile(r"(?:mov|add)\s+x29, sp\b")


@dataclass(frozen=True)
class Model:
    """LLVM's scheduling model of a core, the 128-bit FMLAs that its pipes start in a cycle, and the
    instructions of any kind that it decodes in one."""

    cpu: str
    peak: float
    width: int


# The Cortex-A55 has two 64-bit pipes, so one 128-bit FMLA a cycle; LLVM's model of it starts two, so shares
# above 1 are possible there.
REFERENCE_CORES = {"cortex-a55": Model("cortex-a55", 1, 2), "cortex-a76": Model("neoverse-n1", 2, 4),
                   "cortex-x1": Model("neoverse-v1", 4, 5)}


@dataclass(frozen=True)
class Loop:
    """An innermost loop: the instructions from its label to the branch back."""

    function: str
    body: tuple[str, ...]
    framed: bool  # x29 points into the stack, too

    @property
    def spills(self) -> tuple[str, ...]:
        """The instructions that touch the stack."""
        bases = ("[sp", "[x29") if self.framed else ("[sp",)
        return tuple(line for line in self.body if any(base in line for base in bases))

    @property
    def multiplies(self) -> int:
        """Vector multiplies and multiply-adds."""
        return sum(_MULTIPLY.match(line) is not None for line in self.body)

    @property
    def per_multiply(self) -> float:
        """Instructions for each."""
        return len(self.body) / self.multiplies


def inner_loops(assembly: str) -> list[Loop]:
    """The innermost loops of ``assembly`` (as LLVM prints it) that hold vector multiplies, in order."""
    found: list[Loop] = []
    labels: dict[str, int] = {}
    function, lines, innermost, frame = "", [""], 0, False
    for line in assembly.splitlines():
        text = re.sub(r"\s+", " ", line.split("//")[0]).strip()
        if text.endswith(":"):
            if not text.startswith("."):
                function, lines, labels, innermost, frame = text[:-1], [""], {}, 0, False
            labels[text[:-1]] = len(lines)
        elif text and not text.startswith("."):
            lines.append(text)
            frame = frame or _FRAME.match(text) is not None
            branch = _BRANCH.match(text)
            start = labels.get(branch[1], 0) if branch else 0
            if start > innermost:  # back, and around no other loop
                innermost = start
                found.append(Loop(function, tuple(lines[start:]), frame))
    return [loop for loop in found if loop.multiplies >= FEWEST_MULTIPLIES]


def cycles(loop: Loop, model: Model) -> float:
    """Predicted cycles of one iteration of ``loop`` in its steady state."""
    return all_cycles([loop], model)[0]


def all_cycles(loops: Sequence[Loop], model: Model) -> list[float]:
    """The same of each of ``loops``."""
    if not loops:
        return []
    command = [path_of("llvm-mca"), *MCA_OPTIONS, f"-mcpu={model.cpu}", "-mattr=+fullfp16,+fp16fml",
               f"-iterations={_ITERATIONS}"]
    parts = (f"// LLVM-MCA-BEGIN {at}\n" + "\n".join(loop.body) + f"\n// LLVM-MCA-END {at}\n"
             for at, loop in enumerate(loops))
    done = subprocess.run(command, input="".join(parts), capture_output=True, text=True, check=False)
    totals = _TOTAL.findall(done.stdout)
    if done.returncode or len(totals) != len(loops):
        functions = ", ".join(sorted({loop.function for loop in loops}))
        raise EspalierError(f"llvm-mca failed on a loop of {functions:.200}: {done.stderr.strip()[:200]}")
    return [int(total) / _ITERATIONS for total in totals]


def share_of_peak(loops: Sequence[Loop], model: Model) -> float:
    """The share of the FMA pipes' peak that ``loops`` reach together, each run equally often."""
    multiplies = sum(loop.multiplies for loop in loops)
    return multiplies / model.peak / sum(all_cycles(loops, model))
