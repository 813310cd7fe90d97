"""What ``--emit spirv`` and ``--emit asm`` write of a GPU's program.

    FOLDER/kernel_0.spv, kernel_1.spv, ...    a module each, entry point ``main``, storage buffers in set 0
    FOLDER/weights.bin                        all weights, which ranges of buffer 0 name
    FOLDER/dispatches.json                    what to run, in order: a host needs nothing else

In the list, a kernel is its number in ``kernels``; ``ranges`` are what bindings 0, 1, ... see: bytes from
``offset`` of ``buffer``, 0 the weights, 1 the activations (``activation_bytes``, whose content does not
matter). A dispatch waits for the earlier ones whose ranges it shares, where one of the two is ``written``.
``failures``, where it is not null, is a word of the activations that must be 2^32 - 1 before the first
dispatch; a run after which it holds another number has failed, and says that of ``messages``, counted from 1.
Where ``most_steps`` is not 0 the host puts the number of time steps, 1 to that many, into the word ``steps``,
and fills inputs up with their last step; ``free`` says which inputs, then outputs, have that many steps.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

from ...errors import EspalierError
from ...files import replacing
from ...runtime.executors.vulkan_program import Program

EMITTED = ("model", "spirv", "asm")  # what --emit knows for a GPU
_LIST = "dispatches.json"


def check_emitted(kind: str, path: Path) -> None:
    """Raises ``EspalierError`` where ``kind`` is unknown, or could not be written to ``path``: asked before
    minutes of work."""
    if kind not in EMITTED:
        raise EspalierError(f"--target vulkan: --emit expects one of {', '.join(EMITTED)}, found '{kind}'")
    if kind == "asm" and shutil.which("spirv-dis") is None:
        raise EspalierError("--emit asm needs spirv-dis for a GPU: install spirv-tools, or --emit spirv")
    if kind == "spirv" and path.exists() and not path.is_dir():
        raise EspalierError(f"cannot write '{path}': it is a file, and --emit spirv makes a folder")
    if kind == "spirv" and path.is_dir() and any(path.iterdir()) and not (path / _LIST).exists():
        raise EspalierError(f"cannot write '{path}': the folder holds something else already")


def write_folder(program: Program, folder: Path) -> None:
    """Modules, weights and the dispatch list."""
    try:
        folder.mkdir(exist_ok=True)
        for old in folder.glob("kernel_*.spv"):
            old.unlink()
        for number, kernel in enumerate(program.kernels):
            (folder / f"kernel_{number}.spv").write_bytes(kernel.words)
        (folder / "weights.bin").write_bytes(program.weights)
        (folder / _LIST).write_text(json.dumps(dispatch_list(program), indent=1) + "\n")
    except OSError as error:
        raise EspalierError(f"cannot write '{folder}': {error.strerror or error}") from error


def dispatch_list(program: Program) -> dict[str, object]:
    """The program as the list shows it."""
    kernels = [
        {"name": kernel.name, "file": f"kernel_{number}.spv", "entry": "main", "bindings": kernel.bindings,
         "push_bytes": kernel.push_bytes}
        for number, kernel in enumerate(program.kernels)
    ]
    dispatches = [
        {"kernel": one.kernel, "groups": list(one.groups), "ranges": [asdict(own) for own in one.ranges],
         "push": one.push.hex()}
        for one in program.dispatches
    ]
    features = ["shaderFloat16", "storageBuffer16BitAccess"] if program.halves else []
    return {
        "vulkan": "1.1", "features": features, "weights": "weights.bin", "weight_bytes": len(program.weights),
        "activation_bytes": program.activation_bytes, "kernels": kernels, "dispatches": dispatches,
        "inputs": [asdict(one) for one in program.inputs],
        "outputs": [asdict(one) for one in program.outputs],
        "failures": None if program.failures is None else asdict(program.failures),
        "messages": list(program.messages),
        "steps": None if program.steps is None else asdict(program.steps),
        "most_steps": program.most_steps, "free": list(program.free),
    }


def write_disassembly(program: Program, path: Path) -> None:
    """Every kernel's text, one after the other, by ``spirv-dis``."""
    texts = []
    for kernel in program.kernels:
        done = subprocess.run(["spirv-dis", "--no-color", "-"], input=kernel.words, capture_output=True,
                              check=False)
        if done.returncode != 0:
            raise EspalierError(f"spirv-dis: {done.stderr.decode(errors='replace').strip()}")
        texts.append(f"; {kernel.name}\n".encode() + done.stdout)
    with replacing(path) as stream:
        stream.write(b"\n".join(texts))
