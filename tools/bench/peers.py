"""Dense peers: other inference engines that run the same unpruned network.

One class a peer. Each converts the network to files once, is made from these files, and raises
``Unavailable`` with a reason when its package is missing or cannot take the network, so that the benchmark
goes on without it. All compute in fp32: the options that let an engine round to half precision are off.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...errors import EspalierError, MissingPackage, optional
from ..compiled import arrays, torch_module
from .measure import Engine, relative_error

TOLERANCE = 1e-2  # a conversion that is off by more is not the same network


class Unavailable(EspalierError):
    """A peer cannot take part; the message is the reason."""


class Network:
    """The network to convert: a torch module, its example inputs, and exports made once, on first use."""

    def __init__(self, model: Any, inputs: Sequence[Any], folder: str | Path) -> None:
        self.module, self.tensors = torch_module(model), tuple(inputs)
        self.arrays, self.folder = arrays(inputs), Path(folder)

    @cached_property
    def onnx(self) -> str:
        """The path of the network as an ONNX file."""
        import torch

        optional("onnx", "the export")
        path = str(self.folder / "network.onnx")
        with torch.no_grad():
            # PRESERVE: the module is in evaluation mode, and an exported program's has no train() to call.
            torch.onnx.export(self.module, self.tensors, path, dynamo=False,
                              training=torch.onnx.TrainingMode.PRESERVE)
        return path

    @cached_property
    def traced(self) -> str:
        """The path of the network as a TorchScript file."""
        import torch

        path = str(self.folder / "network.pt")
        with torch.no_grad():
            torch.jit.trace(self.module, self.tensors, check_trace=False).save(path)
        return path

    @cached_property
    def reference(self) -> list[np.ndarray]:
        """PyTorch's outputs on the example inputs."""
        import torch
        from torch.utils._pytree import tree_leaves

        with torch.inference_mode():
            return arrays(tree_leaves(self.module(*self.tensors)))


class Peer(Engine, Protocol):
    """An engine made from the files that ``convert`` wrote, perhaps on another machine, and its inputs."""

    def __init__(self, files: Sequence[str], inputs: Sequence[np.ndarray]) -> None: ...

    @staticmethod
    def convert(network: Network) -> list[str]:
        """Writes the network in the engine's own format; the paths of what it wrote."""
        ...


class OnnxRuntime:
    """ONNX Runtime's CPU provider, on the ONNX export; idle threads stop spinning between runs."""

    name, variant = "onnxruntime", "dense"

    def __init__(self, files: Sequence[str], inputs: Sequence[np.ndarray]) -> None:
        self.runtime = optional("onnxruntime", "onnxruntime")
        self.files, self.arrays = files, inputs

    @staticmethod
    def convert(network: Network) -> list[str]:
        return [network.onnx]

    def set_threads(self, threads: int) -> None:
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = self.runtime.InferenceSession(self.files[0], options,
                                                     providers=["CPUExecutionProvider"])
        names = [value.name for value in self.session.get_inputs()]
        self.feed = dict(zip(names, self.arrays, strict=True))

    def run(self) -> list[np.ndarray]:
        result: list[np.ndarray] = self.session.run(None, self.feed)
        return result


class OpenVino:
    """OpenVINO's CPU plug-in, on the ONNX export, latency mode."""

    name, variant = "openvino", "dense"

    def __init__(self, files: Sequence[str], inputs: Sequence[np.ndarray]) -> None:
        openvino = optional("openvino", "openvino")
        self.core, self.arrays = openvino.Core(), list(inputs)
        self.model = self.core.read_model(files[0])

    @staticmethod
    def convert(network: Network) -> list[str]:
        return [network.onnx]

    def set_threads(self, threads: int) -> None:
        options = {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY",
                   "INFERENCE_PRECISION_HINT": "f32"}
        self.request = self.core.compile_model(self.model, "CPU", options).create_infer_request()

    def run(self) -> list[np.ndarray]:
        return list(self.request.infer(self.arrays, share_inputs=True).values())


class Ncnn:
    """ncnn, through pnnx; Winograd, packing and sgemm stay on, half precision is off."""

    name, variant = "ncnn", "dense"
    vulkan = False

    def __init__(self, files: Sequence[str], inputs: Sequence[np.ndarray]) -> None:
        self.ncnn = optional("ncnn", "ncnn")
        self.files, self.arrays = files, inputs

    @staticmethod
    def convert(network: Network) -> list[str]:
        pnnx = optional("pnnx", "ncnn")
        if any(x.dtype != np.float32 or x.ndim < 2 or x.shape[0] != 1 for x in network.arrays):
            raise Unavailable("ncnn takes fp32 inputs of batch 1 only")
        shapes = ",".join(str(list(x.shape)).replace(" ", "") + "f32" for x in network.arrays)
        # The program, not pnnx.convert, which also imports a Python file that pnnx gets wrong at times.
        command = [pnnx.EXEC_PATH, network.traced, f"inputshape={shapes}", "fp16=0"]
        done = subprocess.run(command, cwd=network.folder, capture_output=True, text=True, check=False)
        stem = Path(network.traced).with_suffix("")
        files = [f"{stem}.ncnn.param", f"{stem}.ncnn.bin"]
        if not all(os.path.isfile(path) for path in files):
            raise Unavailable(f"pnnx wrote no ncnn model (exit code {done.returncode})")
        for kind in ("pnnx.bin", "pnnx.onnx"):  # each as large as the weights, and not needed again
            Path(f"{stem}.{kind}").unlink(missing_ok=True)
        return files

    def set_threads(self, threads: int) -> None:
        self.net = self.ncnn.Net()
        options = self.net.opt
        options.num_threads = threads  # before loading: it decides how the weights are packed
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        options.use_vulkan_compute = self.vulkan
        self.ncnn.set_omp_num_threads(threads)
        if self.net.load_param(self.files[0]) or self.net.load_model(self.files[1]):
            raise Unavailable("ncnn cannot load what pnnx wrote")
        self.mats = [self.ncnn.Mat(np.ascontiguousarray(x[0])).clone() for x in self.arrays]

    def run(self) -> list[np.ndarray]:
        outputs = []
        with self.net.create_extractor() as extractor:
            for name, mat in zip(self.net.input_names(), self.mats, strict=True):
                extractor.input(name, mat)
            for name in self.net.output_names():
                status, mat = extractor.extract(name)
                if status:
                    raise Unavailable(f"ncnn failed to compute {name} ({status})")
                outputs.append(np.array(mat))
        return outputs


class Mnn:
    """MNN, on the ONNX export.

    The converter is called through its extension module ``_tools``: the wheel's ``mnnconvert`` command (and
    the package ``MNN.tools``, when imported) would install a logging package and send usage data.
    """

    name, variant = "mnn", "dense"

    def __init__(self, files: Sequence[str], inputs: Sequence[np.ndarray]) -> None:
        self.mnn = optional("MNN", "mnn")
        self.files, self.arrays = files, inputs

    @staticmethod
    def convert(network: Network) -> list[str]:
        optional("MNN", "mnn")
        import _tools as converter  # MNN's, by that name
        path = str(network.folder / "network.mnn")
        converter.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", network.onnx, "--MNNModel", path,
                              "--bizCode", "espalier"])
        if not os.path.isfile(path):
            raise Unavailable("MNN's converter wrote no model")
        return [path]

    def set_threads(self, threads: int) -> None:
        options = {"backend": "CPU", "numThread": threads, "precision": "high"}
        with quiet():  # it announces its precision
            self.manager = self.mnn.nn.create_runtime_manager((options,))
            self.module = self.mnn.nn.load_module_from_file(self.files[0], [], [],
                                                            runtime_manager=self.manager)
        expr = self.mnn.expr
        kinds = {"float32": expr.float, "int32": expr.int}
        if any(x.dtype.name not in kinds for x in self.arrays):
            raise Unavailable("MNN takes fp32 and int32 inputs only")
        self.inputs = [expr.const(x, list(x.shape), expr.NCHW, kinds[x.dtype.name]) for x in self.arrays]

    def run(self) -> list[np.ndarray]:
        expr = self.mnn.expr
        outputs = self.module.onForward(self.inputs)
        return [np.array(expr.convert(value, expr.NCHW).read()) for value in outputs]


class LiteRt:
    """LiteRT (TensorFlow Lite) on XNNPACK, through litert-torch; images go in and out as NHWC."""

    name, variant = "litert", "dense"

    def __init__(self, files: Sequence[str], inputs: Sequence[np.ndarray]) -> None:
        self.runtime = optional("ai_edge_litert.interpreter", "litert")
        self.files = files
        self.arrays = [np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim == 4 else x for x in inputs]

    @staticmethod
    def convert(network: Network) -> list[str]:
        litert = optional("litert_torch", "litert")
        images = [[at for at, x in enumerate(arrays_) if x.ndim == 4]
                  for arrays_ in (network.arrays, network.reference)]
        module = litert.to_channel_last_io(network.module, args=images[0], outputs=images[1])
        tensors = tuple(x.movedim(1, -1) if x.ndim == 4 else x for x in network.tensors)
        path = str(network.folder / "network.tflite")
        litert.convert(module, tensors).export(path)
        return [path]

    def set_threads(self, threads: int) -> None:
        self.interpreter = self.runtime.Interpreter(self.files[0], num_threads=threads)
        self.interpreter.allocate_tensors()
        self.slots = [detail["index"] for detail in self.interpreter.get_input_details()]
        self.results = [detail["index"] for detail in self.interpreter.get_output_details()]

    def run(self) -> list[np.ndarray]:
        for slot, array in zip(self.slots, self.arrays, strict=True):
            self.interpreter.set_tensor(slot, array)
        self.interpreter.invoke()
        outputs = [self.interpreter.get_tensor(at) for at in self.results]
        return [np.moveaxis(x, -1, 1) if x.ndim == 4 else x for x in outputs]


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (OnnxRuntime, OpenVino, Ncnn, Mnn, LiteRt)}


def load_peer(name: str, network: Network) -> Engine:
    """The peer ``name``, checked against PyTorch's outputs; raises Unavailable with the reason."""
    with quiet(), unavailable():
        peer = PEERS[name](PEERS[name].convert(network), network.arrays)
        peer.set_threads(1)
        error = relative_error(peer.run(), network.reference)
    if not error <= TOLERANCE:
        raise Unavailable(f"converted, it differs from PyTorch by {error:.1e} of the largest output")
    return peer


@contextmanager
def unavailable() -> Iterator[None]:
    """Whatever a foreign converter or engine raises becomes Unavailable, so that the others go on."""
    try:
        yield
    except MissingPackage as error:
        raise Unavailable(str(error)) from error
    except EspalierError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise Unavailable(f"{type(error).__name__}: {reason[:200]}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Sends file descriptors 1 and 2 to a scratch file: converters in C++ chat past ``sys.stdout``."""
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            os.dup2(scratch.fileno(), 1)
            os.dup2(scratch.fileno(), 2)
            yield
        finally:
            ctypes.CDLL(None).fflush(None)  # what C++ has buffered belongs to the scratch file
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            for descriptor in saved:
                os.close(descriptor)
