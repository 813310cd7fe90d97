"""A compiled model, ready to run: one function over one arena, on as many threads as a call asks for."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import EspalierError
from .abi import FREE, target_text, tolerance
from .batches import Batches
from .devices import DEVICES
from .executors.jit import JitExecutor
from .executors.native import NativeExecutor, why_not_here
from .model_file import ModelFile
from .records import LayerRecord, StatementRecord, TensorSpec
from .states import RUNS, checked_states, interface
from .structure import answer_from, arguments, build, parameters_from
from .tensor_calls import TensorCalls
from .tensors import (
    array_of,
    checked_inputs,
    checked_threads,
    empty_outputs,
    is_bfloat16,
)
from .trust import Trust


class CompiledModel:
    """A network as one callable; build it with ``espalier.compile`` or ``CompiledModel.load``."""

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        manifest = file.manifest
        try:
            self.inputs, self.outputs, self.states = interface(manifest)
            self.layers = tuple(LayerRecord.from_manifest(entry) for entry in manifest["layers"])
            self._call = parameters_from(manifest.get("call"))
            self._answer = answer_from(manifest.get("answer"))
            self._bfloat16 = {kind: frozenset(map(int, manifest.get("bfloat16", {}).get(kind, ())))
                              for kind in ("inputs", "outputs")}
            self._labels: list[str] = list(manifest["labels"])
            taken = {layer.name for layer in self.layers}
            self.others = tuple(record for entry in manifest.get("statements", ())
                                if (record := StatementRecord.from_manifest(entry)).label not in taken)
            # compiled ahead of time, it is made ready when it first runs, if it can run here at all
            self._parts: dict[int, CompiledModel] = {}  # for other batches, made when they first run
            self._executor: JitExecutor | NativeExecutor | None = None
            if not manifest["target"].get("triple"):
                self._executor = JitExecutor(file.code, file.own_weights, manifest, file.native,
                                             file.native_for, file.states)
            self._batches = Batches(file)
            self._by_tensors: TensorCalls | Literal[False] | None = None  # not known before the first tensor
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise EspalierError(
                f"the model's manifest is not usable: {_reason(error)}; compile the model again") from error

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes that the model is compiled for; empty where there is but one shape."""
        return self._batches.sizes

    def for_batch(self, batch: int) -> CompiledModel:
        """The model for one of ``batches`` alone, with its own layers and times; ``EspalierError`` for
        others."""
        file = self._batches.file(batch)
        if file is self._file or not self.batches:
            return self
        with self._batches.lock:
            if batch not in self._parts:
                self._parts[batch] = CompiledModel(file)
        return self._parts[batch]

    def __repr__(self) -> str:
        """What it takes and gives, and what it holds, on one line."""
        def text(specs: Sequence[TensorSpec]) -> str:
            return ", ".join(f"{spec.dtype}[{'x'.join(map(str, spec.shape))}]" for spec in specs).replace(
                str(FREE), "?")

        sparse = sum(layer.kernel == "sparse" for layer in self.layers)
        batches = f" for batch {', '.join(map(str, self.batches))}" if self.batches else ""
        return (f"<CompiledModel ({text(self.inputs)}) -> ({text(self.outputs)}){batches}: "
                f"{len(self.layers)} layers, "
                f"{sparse} sparse, {self.weight_bytes / 2**20:.1f} MiB of weights, "
                f"{target_text(self._file.manifest)}>")

    def _repr_html_(self) -> str:
        """The layers as a table, for notebooks."""
        heads = ("layer", "op", "shape", "scheme", "zeros", "kernel", "why")
        rows = [(layer.name, layer.op, layer.shape, layer.scheme, f"{layer.sparsity:.0%}", layer.kernel,
                 layer.reason) for layer in self.layers]
        cells = ["".join(f"<td>{escape(text)}</td>" for text in row) for row in rows]
        head = "".join(f"<th>{text}</th>" for text in heads)
        body = "".join(f"<tr>{row}</tr>" for row in cells)
        return f"<p>{escape(repr(self))}</p><table><tr>{head}</tr>{body}</table>"

    @property
    def file(self) -> ModelFile:
        """What ``save`` writes."""
        return self._file

    @property
    def arena_bytes(self) -> int:
        """Bytes of activations."""
        return int(self._file.manifest["sizes"]["arena"])

    @property
    def weight_bytes(self) -> int:
        """Bytes of packed weights, biases and tables."""
        return int(self._file.weights.nbytes)

    @property
    def sample_inputs(self) -> list[np.ndarray]:
        """The recorded inputs, flat; empty where none were recorded."""
        return list(self._file.sample_inputs)

    @property
    def tolerance(self) -> float:
        """How far ``check`` may be off: a matter of the precision that the model was compiled for."""
        return tolerance(self._file.manifest)

    def run(self, inputs: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
        """The outputs for ``inputs``; results are the same to the bit for any number of ``threads``, of which
        0 stands for one a fast processor. A model with states (``states``) goes on from where its last run
        ended well; runs from several threads come one after the other.

        Raises ``EspalierError`` for a wrong number, shape or dtype of inputs, or ``threads`` < 0.
        """
        threads = checked_threads(threads)
        part = self._for(inputs)
        if part is not self:
            return part.run(inputs, threads)
        checked = checked_inputs(self.inputs, inputs)
        outputs = empty_outputs(self.inputs, checked, self.outputs)
        self._execute(checked, outputs, threads)
        return outputs

    def _for(self, inputs: Sequence[Any]) -> CompiledModel:
        """The model for the batch of ``inputs``."""
        batch = self._batches.of(inputs)
        return self if batch is None else self.for_batch(batch)

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """
        Runs on torch tensors or numpy arrays, and answers in kind.

        A model that came from PyTorch is called as its module was in the example, and answers in the
        module's own structure; its tensors may also be given flat. Of any other model one output comes
        alone, several as a tuple. Raises ``EspalierError`` for inputs that do not fit.
        """
        outputs = None if keywords else self._on_tensors(inputs)
        if outputs is None:
            flat = self._flat(inputs, keywords)
            outputs = list(self.run([self._array(at, value) for at, value in enumerate(flat)]))
            if any(hasattr(value, "detach") for value in flat):
                outputs = self.tensors(outputs)
        return self.answer_of(outputs)

    def answer_of(self, outputs: Sequence[Any]) -> Any:
        """``outputs``, one for each of the model's, in the structure that calling the model gives."""
        if self._answer is not None:
            return build(self._answer, outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _on_tensors(self, inputs: Sequence[Any]) -> list[Any] | None:
        """The outputs, where plain tensors are all there is to the call; else None."""
        if self._by_tensors is None:
            if not any(hasattr(value, "detach") for value in inputs):
                return None
            special = self.states or self.batches or any(self._bfloat16.values())
            made = None if special else TensorCalls.of(self.inputs, self.outputs, self._executor)
            self._by_tensors = made or False
        return self._by_tensors.run(inputs) if self._by_tensors else None

    def tensors(self, outputs: Sequence[np.ndarray]) -> list[Any]:
        """A run's outputs as torch tensors, of PyTorch's dtypes: bfloat16 is float32 in arrays."""
        import torch

        tensors = [torch.from_numpy(output) for output in outputs]
        return [tensor.to(torch.bfloat16) if at in self._bfloat16["outputs"] else tensor
                for at, tensor in enumerate(tensors)]

    def _array(self, at: int, value: Any) -> np.ndarray:
        """Input ``at`` of a call as an array; a tensor is bfloat16 where the module's own was, and only
        there."""
        expected = at in self._bfloat16["inputs"]
        if hasattr(value, "detach") and at < len(self.inputs) and is_bfloat16(value) != expected:
            wanted = "bfloat16" if expected else self.inputs[at].dtype
            found = str(value.dtype).removeprefix("torch.")
            raise EspalierError(f"input '{self.inputs[at].name}': expected {wanted}, found {found}")
        return array_of(value)

    def _flat(self, inputs: Sequence[Any], keywords: Mapping[str, Any]) -> list[Any]:
        """The tensors of a call, in the order of ``inputs`` of this model."""
        arrays = all(hasattr(value, "shape") for value in inputs)
        if self._call is None and keywords:
            raise EspalierError(f"this model has no named inputs, found {', '.join(keywords)}")
        if self._call is None or (arrays and not keywords and len(inputs) == len(self.inputs)):
            return list(inputs)
        return arguments(self._call, inputs, keywords)

    def wake_seconds(self) -> float | None:
        """Seconds from the beginning of the last run until the second thread claimed work; None where none
        did, or nobody measures it (a model compiled ahead of time)."""
        return self._executor.wake_seconds() if isinstance(self._executor, JitExecutor) else None

    def profile(self, inputs: Sequence[np.ndarray], threads: int = 1) -> list[float]:
        """Seconds spent in each of ``layers``, then in each of ``others``, in one run: all of its time (of
        the model for the inputs' batch, see ``for_batch``).
        A layer that is ``fused_into`` another has 0: its time is in the other's."""
        part = self._for(inputs)
        if part is not self:
            return part.profile(inputs, threads)
        labels = [*(layer.name for layer in self.layers), *(other.label for other in self.others)]
        spent = dict.fromkeys(labels, 0.0)
        for label, seconds in self.timeline(inputs, threads):
            if label in spent:
                spent[label] += seconds
        return [spent[label] for label in labels]

    def timeline(self, inputs: Sequence[np.ndarray], threads: int = 1) -> list[tuple[str, float]]:
        """(label, seconds) of every statement of one run, in order: layers by name, other code by operation.

        The cycle counter is scaled to the run's wall time.
        """
        threads = checked_threads(threads)
        part = self._for(inputs)
        if part is not self:
            return part.timeline(inputs, threads)
        checked = checked_inputs(self.inputs, inputs)
        outputs = empty_outputs(self.inputs, checked, self.outputs)
        begin = time.perf_counter()
        stamps = self._execute(checked, outputs, threads)
        wall = time.perf_counter() - begin
        cycles = np.diff(stamps[: len(self._labels)])
        scale = wall / max(int(cycles.sum()), 1)
        return [(label, float(c) * scale) for label, c in zip(self._labels[1:], cycles, strict=True)]

    def record(self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray] | None = None) -> None:
        """Keeps inputs and expected outputs for ``check``, see ``replay``; without ``outputs``, what it
        gives."""
        expected = list(outputs) if outputs is not None else self.replay(inputs)
        self._file = replace(self._file, sample_inputs=list(inputs), sample_outputs=expected)

    def check(self, threads: int = 1) -> float:
        """Largest error over largest output, on the pair of input and output that was recorded at compile
        time. Infinities and NaNs must be where the recorded ones are; else the answer is infinite."""
        if not self._file.sample_outputs:
            raise EspalierError("the model holds no recorded input and output; "
                                "compile it with example inputs")
        outputs = self.replay(self._file.sample_inputs, threads)
        others = [self.for_batch(batch).check(threads) for batch in self.batches[1:]]
        own = [error_of(found.astype(np.float64), expected.astype(np.float64))
               for found, expected in zip(outputs, self._file.sample_outputs, strict=True)]
        return max([*own, *others], default=0.0)

    def replay(self, inputs: Sequence[np.ndarray], threads: int = 1) -> list[np.ndarray]:
        """The outputs of a run; of a model with states, the outputs and then the new states of two
        consecutive runs from the initial states. The model's own states stay as they are, where no other
        thread runs it meanwhile."""
        if not self.states:
            return self.run(inputs, threads)
        executor, found = self._ready(), list[np.ndarray]()
        before = executor.states()
        try:
            executor.reset()
            for _ in range(RUNS):
                found += [*self.run(inputs, threads), *executor.states()]
        finally:
            executor.put_states(before)
        return found

    def reset(self) -> None:
        """States are again what they were when the model was compiled: the next run is the first of a stream.
        Nothing happens to a model without states."""
        if self.states:
            self._ready().reset()

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Copies of the states by name; assigning such a dict has the next run go on from there, so that one
        model can serve several streams."""
        values = self._ready().states() if self.states else []
        return {spec.name: value for spec, value in zip(self.states, values, strict=True)}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        checked = checked_states(self.states, values)
        if checked:
            self._ready().put_states(checked)

    def keep_machine_code(self) -> None:
        """From now on ``save`` writes this machine's code too, so that loading it compiles nothing here; on
        other processors it is compiled as ever."""
        if isinstance(self._executor, JitExecutor) and not self._file.native:
            native, native_for = self._executor.machine_code(self._file.fingerprint)
            self._file = replace(self._file, native=native, native_for=native_for)

    def save(self, path: str | Path) -> None:
        """Writes the compiled-model file, whole or not at all."""
        self._file.write(path)

    @classmethod
    def load(cls, path: str | Path, *, sha256: str | None = None,
             verify_key: str | Path | None = None,
             mmap: bool = True) -> CompiledModel:
        """Reads a compiled-model file; weights are mapped, not copied, unless ``mmap`` is False.

        A compiled model is a program: see ``espalier.load``.
        """
        return cls(ModelFile.read(path, mmap=mmap, trust=Trust(sha256, verify_key)))

    def __reduce__(self) -> tuple[Any, tuple[bytes, dict[str, np.ndarray]]]:
        """Pickled, and copied, as the bytes of the model file; the code is loaded anew. States go along, as a
        module's buffers do."""
        return _loaded, (self._file.to_bytes(), self.state if self._executor is not None else {})

    def _execute(self, inputs: list[np.ndarray], outputs: list[np.ndarray], threads: int) -> np.ndarray:
        return self._ready().run(inputs, outputs, threads)

    def _ready(self) -> JitExecutor | NativeExecutor:
        """What runs the code; ``EspalierError`` where it cannot run here."""
        if self._executor is None:
            if reason := why_not_here(self._file.manifest["target"]):
                raise EspalierError(f"the model was compiled ahead of time for "
                                    f"{target_text(self._file.manifest)}, {reason}; "
                                    f"use: espalier run FILE --device DEVICE ({DEVICES})")
            self._executor = NativeExecutor(self._file)
        return self._executor


def _loaded(data: bytes, state: Mapping[str, np.ndarray]) -> CompiledModel:
    """What unpickling calls."""
    model = CompiledModel(ModelFile.from_bytes(data))
    if state:
        model.state = dict(state)
    return model


def _reason(error: Exception) -> str:
    """An exception as one line; a KeyError's text is the key alone."""
    text = " ".join(str(error).split())
    return f"{text} is missing" if isinstance(error, KeyError) else text


def error_of(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest finite value of ``expected``, both f64 of one shape."""
    finite = np.isfinite(expected)
    same = np.array_equal(found[~finite], expected[~finite], equal_nan=True)
    if not same or not np.isfinite(found[finite]).all():
        return float("inf")
    error = np.abs(found[finite] - expected[finite]).max(initial=0.0)
    return float(error) / max(float(np.abs(expected[finite]).max(initial=0.0)), 1e-30)
