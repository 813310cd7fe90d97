"""lit: every .mlir and .test file under test/, by espalier-opt and the Python FileCheck."""

import importlib.util
import os
import platform
import sys
from pathlib import Path

import lit.formats

config = globals()["config"]  # lit defines it
config.name = "espalier"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["unit", "Inputs", "lit.cfg.py"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = os.path.join(config.test_source_root, "Output")
config.maxIndividualTestTime = 600  # seconds: a busy machine is no failure

tools = Path(sys.executable).parent
bindings = importlib.util.find_spec("torch_mlir")
folders = list(bindings.submodule_search_locations or []) if bindings else []  # the package has no origin
mlir_opt = Path(folders[0]) / "_mlir_libs" / "torch-mlir-opt" if folders else None

config.environment["PATH"] = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
if "PYTHONPATH" in os.environ:  # a worktree beside the installed checkout
    config.environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
config.environment["FILECHECK_OPTS"] = "--enable-var-scope --dump-input=fail"
config.substitutions += [
    ("%espalier-opt", f"{sys.executable} -m espalier.tools.espalier_opt"),
    ("%mlir-opt", str(mlir_opt)),
    ("%python", sys.executable),
    (r"\bFileCheck\b", f"{tools / 'filecheck'}"),
]
for module in ("torch", "onnxruntime", "openvino", "ncnn", "llvmlite"):
    if importlib.util.find_spec(module):
        config.available_features.add(module)
if mlir_opt is not None and mlir_opt.exists():
    config.available_features.add("mlir-opt")
config.available_features.add(platform.machine().replace("_", "-"))
