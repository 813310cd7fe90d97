"""``espalier inspect FILE``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from ...errors import EspalierError
from ...runtime.model_file import ModelFile
from ...runtime.records import TensorSpec
from ...runtime.states import interface
from ..report.data import shared_weights, size
from ..text import plain
from .common import DebugOption, out, show
from .run import FileArgument

if TYPE_CHECKING:
    from ..storages import StoredLayer


def inspect_command(
    file: FileArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as it is.")] = False,
    verify: Annotated[bool, typer.Option(
        "--verify/--no-verify", help="Check the weights' checksum too.")] = True,
    storage: Annotated[bool, typer.Option(
        "--storage", help="Of a .mlir file: each layer's bytes in the storage that runs, and in the "
                          "papers' formats.")] = False,
    debug: DebugOption = False,
) -> None:
    """Show what a compiled model holds, without running it."""
    if storage:
        from ..storages import stored_layers  # here: it loads the compiler

        if zipfile.is_zipfile(file):
            raise EspalierError(f"--storage is for .mlir files, '{file}' is a compiled model: without it its "
                                "layers' bytes are shown")
        show(_storages(stored_layers(file)))
        return
    model = ModelFile.read(file, verify)
    if as_json:
        out.print(json.dumps(model.manifest, indent=1), markup=False)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    rows = [("file", f"{file} ({size(file.stat().st_size)})"), ("code", size(len(model.code))),
            ("weights", size(model.weights.nbytes) + ("" if verify else " (not verified)")),
            ("recorded", f"{len(model.sample_inputs)} inputs, {len(model.sample_outputs)} outputs")]
    rows += [("runner", size(len(model.runner)))] if model.runner else []
    rows += [("batches", shared_weights(model).removeprefix("; batch "))] if model.variants else []
    kinds = ("inputs", "outputs", "states")
    tensors = dict(zip(kinds, map(_tensors, interface(model.manifest)), strict=True))
    rows += [(key, tensors.get(key) or _text(value)) for key, value in model.manifest.items()
             if key != "layers" and tensors.get(key, "some")]
    for key, value in rows:
        table.add_row(plain(key, "bold"), plain(value))
    show(table)
    layers = [layer for layer in model.manifest.get("layers", []) if isinstance(layer, dict)]
    if layers:
        show(_layers(layers))


def _text(value: Any) -> str:
    """A manifest value on one line."""
    return value if isinstance(value, str) else json.dumps(value)


def _tensors(specs: Sequence[TensorSpec]) -> str:
    """``x: float32[1, 3, 224, 224], ...``"""
    return ", ".join(f"{spec.name}: {spec.dtype}{list(spec.shape)}" for spec in specs)


def _storages(layers: list[StoredLayer]) -> Table:
    """Each layer's weight in every storage that keeps it, index arrays apart; first the one that runs."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "scheme", "storage", "bytes", "of them index", "dense"):
        table.add_column(column, justify="left" if column in ("name", "scheme", "storage") else "right")
    for layer in layers:
        for number, packed in enumerate(layer.packed):
            runs = " (runs)" if number == 0 else ""
            first = (plain(layer.name), plain(layer.scheme)) if number == 0 else ("", "")
            table.add_row(*first, packed.storage.name + runs, size(packed.bytes), size(packed.index_bytes),
                          size(layer.dense_bytes) if number == 0 else "")
    return table


def _layers(layers: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = ("name", "op", "shape", "scheme", "kernel", "precision", "bytes_packed")
    for column in columns:
        right = column == "bytes_packed"
        table.add_column(column.replace("_", " "), justify="right" if right else "left")
    for layer in layers:
        *texts, packed = (layer.get(column, "") for column in columns)
        bytes_ = size(packed) if isinstance(packed, int) else _text(packed)
        table.add_row(*(plain(text) for text in texts), plain(bytes_))
    return table
