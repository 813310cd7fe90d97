"""Damaged copies of a model file: ``damage.py MODEL FOLDER`` writes flipped.esp, half.esp, foreign.esp.

Also an input that is too wide, wide.npy."""

from __future__ import annotations

import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from espalier.runtime.model_file import ModelFile

model, folder = Path(sys.argv[1]), Path(sys.argv[2])
content = model.read_bytes()
(folder / "half.esp").write_bytes(content[: len(content) // 2])

with zipfile.ZipFile(model) as archive:
    start = archive.getinfo("weights").header_offset
flipped = bytearray(content)
flipped[start + 300] ^= 1  # behind the header, which takes less than 128 bytes
(folder / "flipped.esp").write_bytes(flipped)

file = ModelFile.read(model)
replace(file, sample_outputs=[1.01 * output for output in file.sample_outputs]).write(folder / "foreign.esp")
np.save(folder / "wide.npy", np.zeros((1, 3, 24, 21), np.float32))
