"""The examples in C, C++ and for Android, built around the affine model and run on the host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch
from espalier.frontends.compile import compile_file
from espalier.pipelines.target import Target
from espalier.runtime.c import FLAGS, INCLUDE, SOURCES
from support.fake_model import (
    FOLDER,
    SANITIZER_OPTIONS,
    SANITIZERS,
    WARNINGS,
    X,
    affine,
    affine_file,
    build,
    needs_gcc,
    replay_file,
)
from support.vulkan import DRIVERS, lacking

pytestmark = needs_gcc
EXAMPLES = INCLUDE / "examples"
ANDROID = EXAMPLES / "android"
NAMED = "-Despalier_model_affine=espalier_model_net"
# As the compiler's --emit header has it.
HEADER = """
#include "espalier.h"
#ifdef __cplusplus
extern "C" {
#endif
extern const espalier_code espalier_model_net;
#ifdef __cplusplus
}
#endif
"""


def call(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, timeout=300,
                          env={**os.environ, **SANITIZER_OPTIONS})


def must(*command: str | Path, cwd: Path | None = None) -> str:
    result = call(*command, cwd=cwd)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds net.h, net.o, net.espalier and input.bin."""
    path = tmp_path_factory.mktemp("examples")
    (path / "net.h").write_text(HEADER)
    must("gcc", *FLAGS, "-fPIC", NAMED, "-c", FOLDER / "fake_model.c", "-o", path / "net.o")
    affine_file().write(path / "net.espalier")
    (path / "input.bin").write_bytes((2 * X).tobytes())
    return path


@pytest.fixture(scope="module", params=["example.c", pytest.param("example.cpp", marks=pytest.mark.slow)])
def example(request: pytest.FixtureRequest, folder: Path) -> Path:
    source, program = EXAMPLES / request.param, folder / request.param.replace(".", "_")
    if source.suffix == ".c":
        return build(program, [source], *SANITIZERS, f"-I{folder}", NAMED)
    for runtime in SOURCES:
        must("gcc", *FLAGS, *SANITIZERS, "-c", runtime, "-o", folder / f"{runtime.stem}.o")
    objects = [folder / f"{name}.o" for name in ("net", *(source.stem for source in SOURCES))]
    must("g++", "-std=c++17", *WARNINGS, "-Wold-style-cast", *SANITIZERS, f"-I{INCLUDE}", f"-I{folder}",
         source, *objects, "-pthread", "-lm", "-o", program)
    return program


def test_example(example: Path, folder: Path) -> None:
    printed = must(example, folder / "net.espalier", folder / "input.bin", "3")
    assert printed.startswith("check passed: error 0.0e+00 of the largest output\n")
    largest = affine(2 * X)[0].ravel()
    expected = (f"largest output: number {largest.argmax()}, {largest.max():g}" if example.name == "example_c"
                else "3 instances, equal outputs")
    assert expected in printed


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "give net.espalier and input.bin"), (("absent", "input.bin"), "cannot open"),
    (("input.bin", "input.bin"), "not an Espalier model file"),
    (("other", "input.bin"), "belongs to other code"), (("net.espalier", "short.bin"), "too short"),
    (("net.espalier", "large.bin"), "the model stopped: x is too large"),
    (("differs", "input.bin"), "the outputs differ from the recorded ones"),
])
def test_example_says_what_is_wrong(example: Path, folder: Path, arguments: tuple[str, ...],
                                    message: str) -> None:
    replay_file(X.ravel(), X.ravel()).write(folder / "other")
    affine_file([affine(X)[0] + 1, affine(X)[1]]).write(folder / "differs")
    (folder / "short.bin").write_bytes(bytes(23))
    (folder / "large.bin").write_bytes((2000 * X).tobytes())
    result = call(example, *arguments, cwd=folder)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


# -- Android: what can be checked without its SDK

needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
needs_java = pytest.mark.skipif(shutil.which("javac") is None, reason="needs a JDK (javac)")
PROVE = """
import java.nio.ByteBuffer;
import org.espalier.example.Model;

public class Prove {
    public static void main(String[] arguments) {
        try (Model model = new Model(arguments[0])) {
            model.setThreads(2);
            System.out.println("check " + model.check());
            ByteBuffer[] inputs = {model.input(0)}, outputs = {model.output(0), model.output(1)};
            for (int i = 0; i < 6; i++) {
                inputs[0].putFloat(4 * i, i + 1);
            }
            model.run(inputs, outputs);
            System.out.println(outputs[0].getFloat(0) + " " + outputs[1].getLong(0));
            try {
                model.run(inputs, inputs);
            } catch (IllegalStateException error) {
                System.out.println(error.getMessage());
            }
            try {
                model.run(inputs, new ByteBuffer[] {outputs[0], ByteBuffer.allocate(16)});
            } catch (IllegalStateException error) {
                System.out.println(error.getMessage());
            }
            model.output(2);
        }
    }
}
"""


def configure(build_folder: Path, net: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return call("cmake", "-S", ANDROID / "app/src/main/cpp", "-B", build_folder, f"-DNET={net}", *more)


@needs_cmake
def test_android_cmake_asks_for_the_model(tmp_path: Path) -> None:
    result = configure(tmp_path / "build", tmp_path)
    assert result.returncode != 0
    assert "net.h and net.o are missing" in result.stderr


@needs_cmake
def test_android_cmake_configures(tmp_path: Path, folder: Path) -> None:
    result = configure(tmp_path / "build", folder)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, "a warning"


@pytest.mark.slow
@needs_cmake
@needs_java
def test_android_model_in_a_desktop_java(tmp_path: Path, folder: Path) -> None:
    home = Path(os.path.realpath(str(shutil.which("javac")))).parents[1]
    flags = f"-I{home}/include -I{home}/include/linux {' '.join(WARNINGS)}"
    assert configure(tmp_path, folder, f"-DCMAKE_C_FLAGS={flags}").returncode == 0
    must("cmake", "--build", tmp_path)
    (tmp_path / "Prove.java").write_text(PROVE)
    must("javac", "-Xlint:all", "-Werror", "-d", tmp_path / "classes", tmp_path / "Prove.java",
         ANDROID / "app/src/main/java/org/espalier/example/Model.java")
    java = ("java", "-Xcheck:jni", f"-Djava.library.path={tmp_path}", "-cp", tmp_path / "classes", "Prove")
    result = call(*java, folder / "net.espalier")
    assert result.stdout.splitlines() == [
        "check 0.0", "5.0 3", "expected 1 inputs and 2 outputs, found 1 and 1",
        "output 'positivité' is a null pointer"], result.stderr
    assert "IndexOutOfBoundsException: the model has no output 2" in result.stderr
    assert "IllegalStateException: cannot open" in call(*java, folder / "absent").stderr


GPU_PROVE = """
import java.nio.ByteBuffer;
import org.espalier.example.Model;

public class GpuProve {
    public static void main(String[] arguments) {
        try (Model model = new Model(arguments[0], arguments[1])) {
            String reason = model.whyProcessor();
            System.out.println(reason == null ? "GPU" : reason);
            model.setThreads(1);
            System.out.println(model.check() < 1e-4);
            ByteBuffer[] inputs = {model.input(0)}, outputs = {model.output(0)};
            System.out.println(inputs[0].capacity());
            if (reason == null) {
                model.run(inputs, outputs);
                System.out.println(outputs[0].getFloat(0));
            }
        }
    }
}
"""


@pytest.mark.slow
@needs_cmake
@needs_java
@pytest.mark.skipif(bool(lacking("lavapipe")), reason=lacking("lavapipe") or "-")
def test_android_model_of_the_gpu_flavour(tmp_path: Path, folder: Path,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU where there is one; without a driver, or with a damaged file, the processor and the reason."""
    home = Path(os.path.realpath(str(shutil.which("javac")))).parents[1]
    flags = f"-I{home}/include -I{home}/include/linux {' '.join(WARNINGS)}"
    assert configure(tmp_path, folder, "-DNET_GPU=ON", f"-DCMAKE_C_FLAGS={flags}").returncode == 0
    must("cmake", "--build", tmp_path)
    (tmp_path / "GpuProve.java").write_text(GPU_PROVE)
    must("javac", "-Xlint:all", "-Werror", "-d", tmp_path / "classes", tmp_path / "GpuProve.java",
         ANDROID / "app/src/main/java/org/espalier/example/Model.java")
    layer = torch.nn.Linear(3, 2)
    torch.nn.init.constant_(layer.bias, 7)
    compile_file(layer.eval(), (torch.ones(1, 3),), Target.vulkan()).write(tmp_path / "gpu.espalier")
    (tmp_path / "damaged").write_bytes((tmp_path / "gpu.espalier").read_bytes()[:200])
    monkeypatch.setenv("VK_ICD_FILENAMES", str(DRIVERS["lavapipe"]))
    java = ("java", "-Xcheck:jni", f"-Djava.library.path={tmp_path}", "-cp", tmp_path / "classes", "GpuProve")
    assert must(*java, tmp_path / "gpu.espalier", folder / "net.espalier").splitlines() == [
        "GPU", "true", "12", "7.0"]
    reason, passed, size = must(*java, tmp_path / "damaged", folder / "net.espalier").splitlines()
    assert "not an Espalier model file" in reason or "damaged" in reason or "truncated" in reason
    assert (passed, size) == ("true", "24")
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "absent.json"))
    reason, *_ = must(*java, tmp_path / "gpu.espalier", folder / "net.espalier").splitlines()
    assert reason


def test_android_files_name_each_other() -> None:
    sources = ANDROID / "app/src/main"
    manifest = ElementTree.parse(sources / "AndroidManifest.xml")
    name = "{http://schemas.android.com/apk/res/android}name"
    activity = manifest.find("application/activity")
    assert activity is not None
    gradle = (ANDROID / "app/build.gradle").read_text()
    package = re.search(r"namespace '([\w.]+)'", gradle)[1]  # type: ignore[index]
    assert (sources / "java" / package.replace(".", "/") / f"{activity.attrib[name][1:]}.java").is_file()
    assert (sources.parent.parent / re.search(r"path '(.+)'", gradle)[1]).is_file()  # type: ignore[index]
    properties = (ANDROID / "gradle.properties").read_text()
    runtime = re.search(r"espalierRuntime=(.+)", properties)[1]  # type: ignore[index]
    assert (ANDROID / runtime / "espalier.h").is_file()
    native = set(re.findall(r"static native \w+ (\w+)\(", (
        sources / "java/org/espalier/example/Model.java").read_text()))
    assert native == set(re.findall(r"Java_org_espalier_example_Model_(\w+)\(",
                                    (sources / "cpp/net_jni.c").read_text()))


def test_cmake_lists_every_source() -> None:
    library = re.search(r"add_library\((.*?)\)", (INCLUDE / "CMakeLists.txt").read_text(), re.S)
    assert library is not None
    assert sorted(re.findall(r"(\w+)\.c\b", library[1])) == sorted(path.stem for path in SOURCES)
