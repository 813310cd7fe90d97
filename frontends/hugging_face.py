"""A model in a local folder of Hugging Face's: ``config.json`` beside ``model.safetensors`` (or its shards).

``config.json`` names the class (``architectures``) and tells what an example input looks like. Nothing is
fetched, no code that lies in the folder runs, and weights in pickled files are not read.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EspalierError, did_you_mean, optional
from .mlir_file import first_line
from .quiet import quiet

if TYPE_CHECKING:
    import torch
    from torch import nn

TOKENS = 128  # of an example text, where the model has as many positions
SAMPLES = 16000  # of an example sound: one second of what speech models are trained on
PIXELS = 224  # of an example picture's sides, where no file says


def load_folder(folder: Path, shapes: Mapping[str, Sequence[int]] | None = None,
                seed: int = 0) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """
    The model in ``folder``, in inference mode and float32, without key-value cache, and its example input.

    The input is the model's main one, drawn from ``seed``, of the shape in ``shapes`` or else:
    ``pixel_values`` normal float32 [1, num_channels, height, width], as config.json's ``image_size`` says, or
    preprocessor_config.json's ``crop_size`` or ``size``, or 224 x 224; ``input_ids`` int64 [1, 128] below
    ``vocab_size``, fewer for a model of fewer positions; ``input_values`` normal float32 [1, 16000].

    Raises ``EspalierError`` for a folder without a model, a class that transformers does not have, weights
    that are missing, damaged or of other shapes, and a model whose main input is another.
    """
    config = _read(folder / "config.json")
    if config is None:
        raise EspalierError(f"{folder}: no config.json; expected a model's folder as Hugging Face's "
                            "save_pretrained writes it")
    optional("torch", f"the model {folder.name}")
    transformers = optional("transformers", f"the model {folder.name}")
    with quiet():
        module = _load(_class(transformers, config, folder), folder)
    return module, (_example(module, folder, dict(shapes or {}), seed),)


def _read(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no such file."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError as error:  # UnicodeDecodeError is one
        raise EspalierError(f"{path}: no JSON: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise EspalierError(f"{path}: expected a JSON object, found {type(found).__name__}")
    return found


def _class(transformers: Any, config: Mapping[str, Any], folder: Path) -> Any:
    """The class that config.json names, of transformers' own."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise EspalierError(f"{folder / 'config.json'}: 'architectures' names no class; expected such as "
                            '["ResNetForImageClassification"]')
    found = getattr(transformers, names[0], None) if names[0].isidentifier() else None
    if not (inspect.isclass(found) and issubclass(found, transformers.PreTrainedModel)):
        known = [name for name in dir(transformers) if "For" in name or "Model" in name]
        close = did_you_mean(names[0], known)
        remote = "; code that lies in the folder is not run" if "auto_map" in config else ""
        raise EspalierError(f"{folder / 'config.json'}: transformers {transformers.__version__} has no model "
                            f"'{names[0]}'{remote}{': ' if close else ''}{close}")
    return found


def _load(kind: Any, folder: Path) -> nn.Module:
    """A module of class ``kind`` with the folder's weights, all of them."""
    import torch

    try:  # sizes that differ are looked at below: transformers would print a table
        module, about = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True,
                                             dtype=torch.float32, output_loading_info=True,
                                             ignore_mismatched_sizes=True)
    except Exception as error:  # transformers raises every kind for bad files
        raise EspalierError(f"{folder}: transformers cannot load it: {first_line(error)}") from error
    for name, found, expected in sorted(about["mismatched_keys"]):
        raise EspalierError(f"{folder}: '{name}' is {list(found)} in the files, {list(expected)} by "
                            "config.json")
    missing = sorted(about["missing_keys"])
    if missing:
        raise EspalierError(f"{folder}: the files hold no weights '{missing[0]}'"
                            f"{f' and {len(missing) - 1} more' if missing[1:] else ''} of {kind.__name__}")
    if getattr(module.config, "use_cache", False):
        module.config.use_cache = False
    return module.eval()


# -- the example input -----------------------------------------------------------------------------


def _example(module: Any, folder: Path, shapes: dict[str, Sequence[int]], seed: int) -> torch.Tensor:
    """The main input, drawn from ``seed``."""
    import torch

    name = module.main_input_name
    first = next(iter(inspect.signature(module.forward).parameters))
    makers = {"pixel_values": _pixels, "input_ids": _tokens, "input_values": _samples}
    told = name in makers and name == first and not module.config.is_encoder_decoder
    if not told or (name == "input_ids" and not hasattr(module.config, "vocab_size")):
        raise EspalierError(f"{folder}: config.json does not tell the inputs of {type(module).__name__}; "
                            "return (module, example_inputs) from a function and give path.py:function")
    for other in shapes.keys() - {name}:
        raise EspalierError(f"{folder}: no input '{other}'; the example has {name}")
    shape = tuple(shapes.get(name, makers[name](module.config, folder)))
    generator = torch.Generator().manual_seed(seed)
    if name == "input_ids":
        return torch.randint(0, module.config.vocab_size, shape, generator=generator)
    return torch.randn(shape, generator=generator)


def _tokens(config: Any, folder: Path) -> tuple[int, ...]:
    return 1, min(TOKENS, getattr(config, "max_position_embeddings", None) or TOKENS)


def _samples(config: Any, folder: Path) -> tuple[int, ...]:
    return 1, SAMPLES


def _pixels(config: Any, folder: Path) -> tuple[int, ...]:
    size = getattr(config, "image_size", None)
    if size is None:
        processor = _read(folder / "preprocessor_config.json") or {}
        size = processor.get("crop_size") or processor.get("size") or PIXELS
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge", PIXELS)
        size = size.get("height", edge), size.get("width", edge)
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise EspalierError(f"{folder}: expected a picture's height and width, found {size}; give --shape "
                            "pixel_values=1x3x224x224, say")
    return 1, getattr(config, "num_channels", 3), *sides
