"""What a network executes with schedules for its layers, counted under QEMU: for machines that are not at
hand. Counts are the same in every run, so one run of each network tells all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ...pipelines.codegen.emit import cross_compiled
from ...runtime.devices.qemu import emulator
from ...runtime.model_file import ModelFile
from ...sparse_dialect.schedule.schedule import Schedule
from ..count.emulator import plugin
from ..count.ours import count_ours
from .apart import Outcome, run_apart
from .judge import Costs, Verdict
from .network import TunedNetwork

LIMIT_S = 900.0  # a run that takes longer hangs


class CountJudge:
    """Executed instructions of one inference on one thread of the network's target, an AArch64 one."""

    objective, unit = "instructions", "instructions"

    def __init__(self, network: TunedNetwork) -> None:
        """Counts the default; raises ``EspalierError`` where there is no emulator that counts."""
        emulator(network.target.triple, network.target.cpu)
        plugin()
        assert network.file is not None  # it is compiled for another machine
        self.network, self.file = network, network.file
        self.default = self._counted(self.file)

    def measure(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return run_apart(lambda: self._layers(schedules), LIMIT_S, at_most)

    def confirm(self, schedules: Mapping[str, Schedule], seconds: float, at_most: float) -> Outcome:
        return run_apart(lambda: self._whole(schedules), LIMIT_S, at_most)

    def _counted(self, file: ModelFile) -> Counter[str]:
        """Instructions by label; raises ``EspalierError`` where outputs are not those that are recorded."""
        found: Counter[str] = Counter()
        for label, counts in count_ours(file, self.network.inputs):
            found[label] += counts.instructions
        return found

    def _tuned(self, schedules: Mapping[str, Schedule]) -> Counter[str]:
        made = cross_compiled(self.network.compiled(schedules), self.network.target, "model")
        return self._counted(replace(made, sample_inputs=self.file.sample_inputs,
                                     sample_outputs=self.file.sample_outputs))

    def _layers(self, schedules: Mapping[str, Schedule]) -> Costs:
        tuned = self._tuned(schedules)
        return {layer.name: (float(tuned[layer.name]), float(self.default[layer.name]))
                for layer in self.network.default.layers}

    def _whole(self, schedules: Mapping[str, Schedule]) -> Verdict:
        tuned, default = self._tuned(schedules).total(), self.default.total()
        return Verdict(tuned, default, tuned / default, float(tuned < default))
