"""Local folders of Hugging Face's: they compile as modules do, and bad ones are refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import espalier
import pytest
import torch
from espalier.errors import EspalierError, MissingPackage
from espalier.frontends import load_model
from espalier.frontends.hugging_face import _pixels, _tokens, load_folder

pytestmark = pytest.mark.skipif(find_spec("transformers") is None,
                                reason="transformers is not installed (extra hf)")
LAYER = "resnet.encoder.stages.0.layers.0.layer.0.convolution.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    folder = tmp_path_factory.mktemp("hf")
    torch.manual_seed(0)
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic",
                                       num_labels=4)
    net = transformers.ResNetForImageClassification(config).eval()
    net.save_pretrained(folder)
    return net, folder


def test_a_folder_compiles(saved: tuple[torch.nn.Module, Path]) -> None:
    net, folder = saved
    module, inputs = load_model(str(folder), "pattern:entries=4,patterns=4,connectivity=2", seed=3,
                                shapes={"pixel_values": (1, 3, 32, 32)})
    assert [x.shape for x in inputs] == [(1, 3, 32, 32)]
    zeros = module.state_dict()[LAYER] == 0  # type: ignore[union-attr]
    assert zeros.float().mean() > 0.5
    assert torch.equal(module.state_dict()[LAYER][~zeros], net.state_dict()[LAYER][~zeros])  # type: ignore
    compiled = espalier.compile(module, inputs)
    assert "pattern" in {layer.scheme for layer in compiled.layers}
    with torch.no_grad():
        expected = module(*inputs).logits  # type: ignore[operator]
    assert torch.allclose(compiled(*inputs).logits, expected, atol=1e-4)


def test_example_inputs_are_told_by_the_configuration(saved: tuple[torch.nn.Module, Path],
                                                      tmp_path: Path) -> None:
    (picture,) = load_folder(saved[1])[1]
    assert picture.shape == (1, 3, 224, 224)
    assert torch.equal(picture, load_folder(saved[1])[1][0])
    assert not torch.equal(picture, load_folder(saved[1], seed=1)[1][0])
    assert _tokens(SimpleNamespace(max_position_embeddings=64), tmp_path) == (1, 64)
    assert _tokens(SimpleNamespace(), tmp_path) == (1, 128)
    assert _pixels(SimpleNamespace(image_size=[16, 32], num_channels=1), tmp_path) == (1, 1, 16, 32)
    (tmp_path / "preprocessor_config.json").write_text('{"size": {"shortest_edge": 40}}')
    assert _pixels(SimpleNamespace(), tmp_path) == (1, 3, 40, 40)
    with pytest.raises(EspalierError, match="expected a picture's height and width, found large"):
        _pixels(SimpleNamespace(image_size="large"), tmp_path)


def test_texts_come_without_a_cache(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=50, n_positions=16, n_embd=8, n_layer=1, n_head=2,
                                     bos_token_id=0, eos_token_id=0)
    transformers.GPT2LMHeadModel(config).half().save_pretrained(tmp_path)
    module, (tokens,) = load_folder(tmp_path)
    assert tokens.shape == (1, 16)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < 50
    assert module(tokens).past_key_values is None
    assert {p.dtype for p in module.parameters()} == {torch.float32}


def edited(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return change


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:999])


def without_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state[LAYER]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(("change", "message"), [
    (lambda folder: (folder / "config.json").unlink(), "no config.json; expected a model's folder"),
    (lambda folder: (folder / "config.json").write_text("{"), "config.json: no JSON"),
    (lambda folder: (folder / "config.json").write_text("[]"), "expected a JSON object, found list"),
    (edited(architectures=None), "'architectures' names no class"),
    (edited(architectures=["ResnetForImageClassification"]), "has no model .*did you mean ResNetFor"),
    (edited(architectures=["logging"]), "has no model 'logging'"),
    (edited(architectures=["Mine"], auto_map={"AutoModel": "mine.Mine"}), "in the folder is not run"),
    (edited(hidden_sizes=[4]), r"'classifier.1.weight' is \[4, 8\] in the files, \[4, 4\] by config.json"),
    (cut, "transformers cannot load it"),
    (pickled, "transformers cannot load it: .*no file named model.safetensors"),
    (without_a_weight, f"the files hold no weights '{LAYER}'")])
def test_bad_folders(saved: tuple[torch.nn.Module, Path], tmp_path: Path, change: Callable[[Path], Any],
                     message: str) -> None:
    for path in saved[1].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    change(tmp_path)
    with pytest.raises(EspalierError, match=message) as found:
        load_folder(tmp_path)
    assert "\n" not in str(found.value)


def test_what_a_configuration_does_not_tell(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(EspalierError, match="does not tell the inputs of T5ForConditionalGeneration; return"):
        load_folder(tmp_path)
    with pytest.raises(EspalierError, match="--weights works on"):
        load_model(str(tmp_path), weights="x.pth")


def test_an_input_that_is_not_there(saved: tuple[torch.nn.Module, Path]) -> None:
    with pytest.raises(EspalierError, match="no input 'x'; the example has pixel_values"):
        load_folder(saved[1], {"x": (1,)})


def test_without_transformers(saved: tuple[torch.nn.Module, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingPackage, match=r"needs the package transformers: .*espalier-compiler\[hf\]"):
        load_folder(saved[1])
