"""The process that tries one network: a line as each step begins, and what it found.

    {"begin": "compile dense"}
    {"dense_compile_s": 6.2, "layers": 53}
"""

from __future__ import annotations

import copy
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ...errors import EspalierError
from ...files import replacing
from ...frontends.compile import compile_model
from ...frontends.pruning.project import prune_module
from ...runtime.compiled_model import CompiledModel
from ..bench.engines import EspalierEngine
from ..bench.machine import Machine
from ..bench.measure import interleave, relative_error
from ..report.data import Report
from .catalogue import Network, network
from .originals import Original, TorchOriginal, original_of
from .rows import EQUAL, EXCEPTION, MISSING, REFUSED, WRONG
from .weights import another, settle

BOUND = 1e-4  # of the largest output: what compile's own check allows in fp32
PROFILES = 9  # runs whose rows the report adds up, each beside one that nobody looks at


class Ended(Exception):
    """The network goes no further; the text says why."""

    def __init__(self, outcome: str, note: str) -> None:
        super().__init__(note)
        self.outcome, self.note = outcome, note


@dataclass
class Trial:
    """One network on its way: ``notes`` are what does not stop it."""

    network: Network
    folder: Path
    seconds: float
    notes: list[str] = field(default_factory=list)

    def run(self, inductor: bool = False, pruned: bool = False) -> None:
        """Every step, ``torch.compile``'s and the pruned network's where asked; what it says goes to the
        parent."""
        begin("import")
        say(package=self._versions())
        begin("build")
        original = self._built()
        say(modules=original.modules)
        models = [self._compiled("dense", original)]
        cut = self._pruned(original) if pruned else None
        if cut is not None:
            models.append(self._compiled("pruned", cut))
        tasks: list[Callable[[], object]] = [EspalierEngine(model, model.sample_inputs, "").run
                                             for model in models]
        tasks.append(original.run)
        fast = self._inductor(original) if inductor else None
        if fast is not None:
            tasks.append(fast)
        names = [*("dense", "pruned")[: len(models)], "torch", *(["inductor"] if fast else [])]
        begin("time")
        self._timed(names, tasks)
        for name, model in zip(names, models, strict=False):
            self._reported(name, model)
        say(outcome=EQUAL, note="; ".join(self.notes))

    def _versions(self) -> str:
        try:
            return f"{self.network.package} {version(self.network.package)}"
        except PackageNotFoundError as error:
            raise Ended(MISSING, f"package {error.name} is not installed") from None

    def _built(self) -> Original:
        try:
            model, inputs = self.network.built()
        except ModuleNotFoundError as error:
            raise Ended(MISSING, str(error)) from None
        if self.network.seeded and not isinstance(model, Path):
            settle(model, inputs)
        return original_of(model, inputs)

    def _pruned(self, original: Original) -> Original | None:
        """A pruned copy, whose batch norms have seen what it computes."""
        begin("prune")
        if not isinstance(original, TorchOriginal):
            self.notes.append("an ONNX file, not pruned")
            return None
        pruned, inputs = copy.deepcopy(original.model), original.inputs
        try:
            prune_module(pruned, self.network.prune)
        except EspalierError as error:
            self.notes.append(f"not pruned: {error}")
            return None
        return original_of(settle(pruned, inputs, affine=False) if self.network.seeded else pruned, inputs)

    def _compiled(self, kind: str, original: Original) -> CompiledModel:
        """``original`` compiled, and equal to it on the example and on another input."""
        begin(f"compile {kind}")
        start, processor = time.perf_counter(), time.process_time()
        try:
            model = compile_model(original.model, original.inputs)
        except EspalierError as error:
            outcome = WRONG if "differs from PyTorch" in str(error) else REFUSED
            raise Ended(outcome, f"{kind}: {error}") from None
        found: dict[str, float] = {f"{kind}_compile_s": round(time.perf_counter() - start, 2),
                                   f"{kind}_compile_cpu_s": round(time.process_time() - processor, 2)}
        begin(f"compare {kind}")
        errors = [model.check()]
        other = tuple(another(value) for value in original.inputs)
        expected = original.outputs(other)
        errors.append(relative_error(model.run(original.flat(other)), expected))
        if relative_error(expected, original.outputs(original.inputs)) < 1e-3:
            self.notes.append(f"{kind}: the output hardly depends on the input")
        found[f"{kind}_error"] = float(f"{max(errors):.2e}")
        macs = "macs" if kind == "dense" else "pruned_macs"
        found[macs] = sum(layer.macs_packed for layer in model.layers)
        if kind == "dense":
            found["layers"] = len(model.layers)
            found["reference"] = sum(layer.reason.startswith("reference:") for layer in model.layers)
        say(**found)
        if max(errors) > BOUND:
            raise Ended(WRONG, f"{kind}: off by {max(errors):.1e} of the largest output")
        return model

    def _inductor(self, original: Original) -> Callable[[], object] | None:
        """A run of ``torch.compile``'s code; none where it does not compile the network."""
        begin("torch.compile")
        if not isinstance(original, TorchOriginal):
            return None
        start = time.perf_counter()
        compiled = torch.compile(original.model)

        def run() -> None:
            with torch.inference_mode():
                compiled(*original.inputs)

        try:
            run()
        except Exception as error:  # whatever PyTorch's compiler raises
            self.notes.append(f"torch.compile: {type(error).__name__}")
            return None
        say(inductor_compile_s=round(time.perf_counter() - start, 1))
        return run

    def _timed(self, names: Sequence[str], tasks: Sequence[Callable[[], object]]) -> None:
        """Interleaved runs for about ``seconds``, 5 at least and 200 at most. All run on the calling thread,
        whose processor time is what counts: others may use the machine."""
        interleave(tasks, 2)
        once = sum(seconds[0] for seconds in interleave(tasks, 1, clock=time.thread_time))
        runs = int(min(200, max(5, self.seconds / max(once, 1e-9))))
        for name, times in zip(names, interleave(tasks, runs, clock=time.thread_time), strict=True):
            say(**{f"{name}_{kind}": round(1000 * of(times), 4)
                   for kind, of in (("ms", median), ("least", min))})

    def _reported(self, kind: str, model: CompiledModel) -> None:
        """The report on profiled runs, and its rows' sum over that of the plain run beside each."""
        begin(f"report {kind}")
        profiles, plain = [], []
        inputs = model.sample_inputs
        for _ in range(PROFILES):
            start = time.perf_counter()
            model.run(inputs)
            plain.append(1000 * (time.perf_counter() - start))
            profiles.append([1000 * seconds for seconds in model.profile(inputs)])
        report = Report.measured(self.network.name, model, profiles, machine=str(Machine.here()), threads=1)
        with replacing(self.folder / f"{self.network.name.replace(':', '-')}-{kind}.json") as file:
            file.write(json.dumps(report.as_json(), indent=1).encode())
        least = min(sum(profile) for profile in profiles)
        say(**{f"{kind}_sums": round(least / min(plain), 4),
               f"{kind}_loops": round(sum(row.share for row in report.others), 4)})
        if kind == "dense":
            say(slowest="; ".join(f"{row.kind} {row.label} {row.share:.0%}" for row in report.others[:4]))


def main(words: Sequence[str] | None = None) -> None:
    """``child.py NAME FOLDER SECONDS [inductor] [pruned]``."""
    name, folder, seconds, *more = words or sys.argv[1:]
    warnings.simplefilter("ignore")
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)
    try:
        Trial(network(name), Path(folder), float(seconds)).run("inductor" in more, "pruned" in more)
    except Ended as end:
        say(outcome=end.outcome, note=end.note)
    except Exception as error:  # a fault, whatever it is
        logging.exception("unexpected")
        say(outcome=EXCEPTION, note=f"{type(error).__name__}: {error}"[:300])


def begin(step: str) -> None:
    """Tells the parent which step begins, so that it knows where a silent child is."""
    print(json.dumps({"begin": step}), flush=True)


def say(**fields: Any) -> None:
    """Tells the parent some of the row's fields."""
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
