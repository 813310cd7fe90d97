"""Machines that run models compiled for another target: an emulator, a phone, a board, this machine itself.

``find_device`` finds one by its name, ``run_on`` takes a model there, runs it with the runner in the model
file (``runtime/c/runner.c``) and brings back what it printed and computed. One file a device.
"""

from __future__ import annotations

from ...errors import EspalierError
from ..model_file import ModelFile
from .adb import AdbDevice
from .device import Device, DeviceError, DeviceRun, ProgramCrashed, reports_of, run_on
from .local import LocalDevice
from .qemu import QemuDevice
from .ssh import SshDevice

__all__ = ["DEVICES", "Device", "DeviceError", "DeviceRun", "ProgramCrashed", "device_for", "find_device",
           "reports_of", "run_on"]

DEVICES = "qemu, qemu:CPU, adb:SERIAL, ssh:HOST, local, vulkan, vulkan:NUMBER or adb:SERIAL+vulkan"


def find_device(name: str, file: ModelFile) -> Device:
    """The device ``name``, one of ``DEVICES``, for the model in ``file``; nothing is started yet."""
    target = file.manifest["target"]
    return device_for(name, target.get("triple", ""), target.get("cpu", ""))


def device_for(name: str, triple: str, cpu: str) -> Device:
    """The same for programs that are compiled for ``triple`` and ``cpu``."""
    kind, _, where = name.partition(":")
    if triple == "vulkan":
        raise EspalierError(f"the model is compiled for a GPU, which '{name}' is not; give --device vulkan, "
                            "or adb:SERIAL+vulkan")
    if kind == "qemu" and name != "qemu:":
        return QemuDevice(triple, where or cpu, exact=bool(where))
    if kind == "adb" and where:
        return AdbDevice(where)
    if kind == "ssh" and where:
        return SshDevice(where)
    if name == "local":
        return LocalDevice(triple)
    raise EspalierError(f"unknown device '{name}': expected {DEVICES}")
