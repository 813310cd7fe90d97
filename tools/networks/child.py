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

import numpy as np
import torch
from torch import nn

from ...errors import EspalierError
from ...files import replacing
from ...frontends.compile import compile_model
from ...frontends.pruning.project import prune_module
from ...runtime.compiled_model import CompiledModel
from ..bench.engines import EspalierEngine, TorchEngine
from ..bench.machine import Machine
from ..bench.measure import interleave, relative_error
from ..compiled import arrays
from ..report.data import Report
from .catalogue import Network, network
from .rows import EQUAL, EXCEPTION, MISSING, REFUSED, WRONG
from .weights import another, settle

BOUND = 1e-4  # of the largest output: what compile's own check allows in fp32
PROFILES = 7  # runs whose rows the report adds up, each beside one that nobody looks at


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
        module, inputs = _attempt("PyTorch", self.network.built)
        if self.network.seeded:
            settle(module, inputs)
        module.eval()
        say(modules=len(_layers(module)))
        models = [self._compiled("dense", module, inputs)]
        cut = self._pruned(module, inputs) if pruned else None
        if cut is not None:
            models.append(self._compiled("pruned", cut, inputs))
        tasks: list[Callable[[], object]] = [EspalierEngine(model, model.sample_inputs, "").run
                                             for model in models]
        tasks.append(TorchEngine(module, inputs).run)
        fast = self._inductor(module, inputs) if inductor else None
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

    def _pruned(self, module: nn.Module, inputs: tuple[Any, ...]) -> nn.Module | None:
        """A pruned copy, whose batch norms have seen what it computes."""
        begin("prune")
        pruned = copy.deepcopy(module)
        try:
            prune_module(pruned, self.network.prune)
        except EspalierError as error:
            self.notes.append(f"not pruned: {error}")
            return None
        return settle(pruned, inputs, affine=False) if self.network.seeded else pruned

    def _compiled(self, kind: str, module: nn.Module, inputs: tuple[Any, ...]) -> CompiledModel:
        """``module`` compiled, and equal to PyTorch on the example and on another input."""
        begin(f"compile {kind}")
        start = time.perf_counter()
        try:
            model = compile_model(module, inputs)
        except EspalierError as error:
            outcome = WRONG if "differs from PyTorch" in str(error) else REFUSED
            raise Ended(outcome, f"{kind}: {error}") from None
        seconds = time.perf_counter() - start
        found = {f"{kind}_compile_s": round(seconds, 2)}
        begin(f"compare {kind}")
        errors = [model.check()]
        other = tuple(another(value) for value in inputs)
        with torch.inference_mode():
            answer = module(*other)
        expected = _leaves(answer)
        errors.append(relative_error(model.run(arrays(_tensors(other))), expected))
        if relative_error(expected, _leaves_of(module, inputs)) < 1e-3:
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

    def _inductor(self, module: nn.Module, inputs: tuple[Any, ...]) -> Callable[[], object] | None:
        """A run of ``torch.compile``'s code; none where it does not compile the network."""
        begin("torch.compile")
        start = time.perf_counter()
        compiled = torch.compile(module)

        def run() -> None:
            with torch.inference_mode():
                compiled(*inputs)

        try:
            run()
        except Exception as error:  # whatever PyTorch's compiler raises
            self.notes.append(f"torch.compile: {type(error).__name__}")
            return None
        say(inductor_compile_s=round(time.perf_counter() - start, 1))
        return run

    def _timed(self, names: Sequence[str], tasks: Sequence[Callable[[], object]]) -> None:
        """Interleaved runs for about ``seconds``, 5 at least and 200 at most."""
        interleave(tasks, 2)
        once = sum(seconds[0] for seconds in interleave(tasks, 1))
        runs = int(min(200, max(5, self.seconds / max(once, 1e-9))))
        for name, times in zip(names, interleave(tasks, runs), strict=True):
            say(**{f"{name}_{kind}": round(1000 * of(times), 4)
                   for kind, of in (("ms", median), ("least", min))})

    def _reported(self, kind: str, model: CompiledModel) -> None:
        """The report on profiled runs, and its rows' sum over that of the plain run beside each."""
        begin(f"report {kind}")
        profiles, shares = [], []
        inputs = model.sample_inputs
        for _ in range(PROFILES):
            start = time.perf_counter()
            model.run(inputs)
            plain = time.perf_counter() - start
            profiles.append([1000 * seconds for seconds in model.profile(inputs)])
            shares.append(sum(profiles[-1]) / (1000 * plain))
        report = Report.measured(self.network.name, model, profiles, machine=str(Machine.here()), threads=1)
        with replacing(self.folder / f"{self.network.name.replace(':', '-')}-{kind}.json") as file:
            file.write(json.dumps(report.as_json(), indent=1).encode())
        loops = sum(row.share for row in report.others)
        say(**{f"{kind}_sums": round(median(shares), 4), f"{kind}_loops": round(loops, 4)})
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


def _attempt(who: str, build: Callable[[], Any]) -> Any:
    try:
        return build()
    except ModuleNotFoundError as error:
        raise Ended(MISSING, f"{who}: {error}") from None


def _layers(module: nn.Module) -> list[nn.Module]:
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.RNNBase)
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def _tensors(value: Any) -> list[torch.Tensor]:
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _leaves(answer: Any) -> list[np.ndarray]:
    return arrays(_tensors(answer))


def _leaves_of(module: nn.Module, inputs: tuple[Any, ...]) -> list[np.ndarray]:
    with torch.inference_mode():
        return _leaves(module(*inputs))


if __name__ == "__main__":
    main()
