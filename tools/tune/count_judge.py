"""What a network executes with schedules for its layers, counted under QEMU: for machines that are not at
hand. Counts are the same in every run, so one run of each network tells all.

    instructions     executed ones
    static-cycles    what llvm-mca predicts for inner loops, as often as they run (``count/static.py``)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ...errors import EspalierError
from ...pipelines.codegen.emit import Products
from ...programs import path_of
from ...runtime.devices.qemu import emulator
from ...runtime.model_file import ModelFile
from ...sparse_dialect.schedule.schedule import Schedule
from ..count.emulator import plugin
from ..count.loops import REFERENCE_CORES
from ..count.ours import count_ours
from ..count.static import static_cycles
from .apart import OK, Outcome, run_apart
from .judge import Costs, Verdict
from .network import TunedNetwork

LIMIT_S = 900.0  # a run that takes longer hangs


class CountJudge:
    """Executed instructions of one inference on one thread of the network's target, an AArch64 one."""

    reads_code = False

    def __init__(self, network: TunedNetwork) -> None:
        """Counts the default; raises ``EspalierError`` where there is no emulator that counts."""
        emulator(network.target.triple, network.target.cpu)
        plugin()
        assert network.file is not None  # it is compiled for another machine
        self.network, self.file = network, network.file
        self.default = self._of_default()

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return run_apart(lambda: self._layers(schedules), LIMIT_S, at_most)

    def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return run_apart(lambda: self._whole(schedules), LIMIT_S, at_most)

    def _of_default(self) -> Counter[str]:
        return self._counted(self.file, "")

    def _counted(self, file: ModelFile, assembly: str) -> Counter[str]:
        """Costs by label of ``file``, whose code is ``assembly``; raises ``EspalierError`` where outputs are
        not those that are recorded."""
        found: Counter[str] = Counter()
        for label, counts in count_ours(file, self.network.inputs):
            found[label] += counts.instructions
        return found

    def _tuned(self, schedules: Mapping[str, Schedule]) -> Counter[str]:
        made = Products(self.network.compiled(schedules), self.network.target, "model")
        file = replace(made.model(), sample_inputs=self.file.sample_inputs,
                       sample_outputs=self.file.sample_outputs)
        return self._counted(file, made.native.assembly if self.reads_code else "")

    def _layers(self, schedules: Mapping[str, Schedule]) -> Costs:
        tuned = self._tuned(schedules)
        return {layer.name: (float(tuned[layer.name]), float(self.default[layer.name]))
                for layer in self.network.default.layers}

    def _whole(self, schedules: Mapping[str, Schedule]) -> Verdict:
        tuned, default = self._tuned(schedules).total(), self.default.total()
        return Verdict(tuned, default, tuned / default, float(tuned < default))


class CycleJudge(CountJudge):
    """Static cycles of the same, by LLVM's model of the target's kind of core."""

    reads_code = True

    def __init__(self, network: TunedNetwork) -> None:
        """As ``CountJudge``; ``EspalierError`` where there is no llvm-mca, too."""
        path_of("llvm-mca")
        self.model = REFERENCE_CORES[network.target.core]
        super().__init__(network)

    def _of_default(self) -> Counter[str]:
        outcome = run_apart(lambda: self._tuned({}), LIMIT_S)  # compiling spoils the module
        if outcome.state != OK:
            raise EspalierError(f"the default cannot be measured: {outcome.reason}")
        found: Counter[str] = outcome.value
        return found

    def _counted(self, file: ModelFile, assembly: str) -> Counter[str]:
        counted = count_ours(file, self.network.inputs)
        return static_cycles(counted, file.manifest["layers"], assembly, self.model)
