"""Reference networks: torchvision's names and sizes, seeds, activations; and every way to name a model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from espalier import frontends
from espalier.frontends import NETWORKS, load_model, reference_model
from espalier.sparse_dialect import EspalierError
from torch import nn

LARGE = ["vgg16", "resnet50", "mobilenet_v2", "c3d", "r2plus1d_18", "s3d"]
PARAMETERS = {"vgg16": 138_357_544, "resnet18": 11_689_512, "resnet50": 25_557_032, "mobilenet_v2": 3_504_872,
              "c3d": 79_991_015, "r2plus1d_18": 31_505_325, "s3d": 8_320_048, "gru": 9_919_488,
              "lstm": 13_225_984}
OUTPUTS = {"c3d": (1, 487), "r2plus1d_18": (1, 400), "s3d": (1, 400), "gru": (100, 1, 1024),
           "lstm": (100, 1, 1024)}
INPUTS = {**dict.fromkeys(("c3d", "r2plus1d_18", "s3d"), (1, 3, 16, 112, 112)),
          **dict.fromkeys(("gru", "lstm"), (100, 1, 153))}
STATE_NAMES = {  # a sample of torchvision's state dicts, with shapes
    "vgg16": {
        "features.0.weight": (64, 3, 3, 3), "features.28.bias": (512,),
        "classifier.0.weight": (4096, 25088), "classifier.3.weight": (4096, 4096),
        "classifier.6.bias": (1000,)},
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7), "bn1.running_mean": (64,), "layer1.0.conv1.weight": (64, 64, 3, 3),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1), "layer4.1.bn2.num_batches_tracked": (),
        "fc.weight": (1000, 512)},
    "resnet50": {
        "layer1.0.downsample.1.running_var": (256,), "layer1.0.conv3.weight": (256, 64, 1, 1),
        "layer3.5.conv2.weight": (256, 256, 3, 3), "layer4.2.bn3.bias": (2048,), "fc.bias": (1000,)},
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3), "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1), "features.1.conv.2.bias": (16,),
        "features.17.conv.2.weight": (320, 960, 1, 1), "features.18.1.running_var": (1280,),
        "classifier.1.weight": (1000, 1280)},
    "c3d": {
        "conv1.weight": (64, 3, 3, 3, 3), "conv3b.weight": (256, 256, 3, 3, 3), "conv5b.bias": (512,),
        "fc6.weight": (4096, 8192), "fc8.weight": (487, 4096)},
    "r2plus1d_18": {
        "stem.0.weight": (45, 3, 1, 7, 7), "stem.4.running_var": (64,),
        "layer1.0.conv1.0.0.weight": (144, 64, 1, 3, 3), "layer1.0.conv1.0.3.weight": (64, 144, 3, 1, 1),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1), "layer2.0.conv2.0.1.bias": (230,),
        "layer4.1.conv2.1.num_batches_tracked": (), "fc.weight": (400, 512)},
    "s3d": {
        "features.0.0.0.weight": (64, 3, 1, 7, 7), "features.0.1.0.weight": (64, 64, 7, 1, 1),
        "features.2.1.running_mean": (64,), "features.3.0.0.weight": (192, 64, 1, 3, 3),
        "features.5.branch0.0.weight": (64, 192, 1, 1, 1),
        "features.5.branch1.1.0.0.weight": (128, 96, 1, 3, 3), "features.15.branch3.1.1.bias": (128,),
        "classifier.1.bias": (400,)},
    "gru": {"rnn.weight_ih_l0": (3072, 153), "rnn.weight_hh_l1": (3072, 1024), "rnn.bias_hh_l0": (3072,)},
    "lstm": {"rnn.weight_ih_l1": (4096, 1024), "rnn.weight_hh_l0": (4096, 1024), "rnn.bias_ih_l1": (4096,)},
}


def check_network(name: str) -> None:
    """Size, names, and activations of a healthy magnitude that depend on the input."""
    module, inputs = reference_model(name)
    state = module.state_dict()
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS[name]
    assert {key: tuple(state[key].shape) for key in STATE_NAMES[name]} == STATE_NAMES[name]
    assert inputs[0].shape == INPUTS.get(name, (1, 3, 224, 224))
    assert not module.training
    spreads: list[float] = []
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear | nn.BatchNorm2d | nn.BatchNorm3d):
            layer.register_forward_hook(lambda _, __, output: spreads.append(float(output.std())))
        if isinstance(layer, nn.RNNBase):
            layer.register_forward_hook(lambda _, __, output: spreads.append(float(output[0].std())))
    with torch.no_grad():
        first, second = module(*inputs), module(inputs[0].flip(-1))
    assert first.shape == OUTPUTS.get(name, (1, 1000))
    assert 0.05 < min(spreads)
    assert max(spreads) < 50
    assert float((first - second).std() / first.std()) > 0.02


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE))
                                  for name in NETWORKS])
def test_network_has_its_known_names_and_sane_activations(name: str) -> None:
    check_network(name)


def test_the_seed_decides_every_weight_and_the_input() -> None:
    (first, x), (again, y), (other, z) = (reference_model("mobilenet_v2", seed=s) for s in (3, 3, 4))
    states = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in states)
    assert torch.equal(x[0], y[0])
    assert not torch.equal(*(net.get_parameter("features.0.0.weight") for net in (first, other)))
    assert not torch.equal(x[0], z[0])


def test_batch_norm_statistics_are_not_trivial() -> None:
    module, _ = reference_model("resnet18")
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            terms = (layer.running_mean, layer.running_var, layer.weight.detach(), layer.bias.detach())
            assert all(term is not None and float(term.std()) > 0.01 for term in terms)


def test_time_steps_are_given_and_free() -> None:
    _, (x,) = reference_model("gru", steps=7)
    assert x.shape == (7, 1, 153)
    assert x._dynamo_dynamic_indices == {0}
    with pytest.raises(EspalierError, match="'vgg16' has no time steps: leave out --steps"):
        reference_model("vgg16", steps=7)
    with pytest.raises(EspalierError, match="--steps works on recurrent reference networks only"):
        load_model("net.mlir", steps=7)


# -- load_model ----------------------------------------------------------------------------------------------

SOURCE = """
import torch
def net():
    return torch.nn.Conv2d(4, 8, 1), torch.ones(1, 4, 5, 5)
def pair():
    return [torch.nn.ReLU()]
def broken():
    return 1 / 0
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def test_names_and_python_functions_give_modules(source: Path) -> None:
    module, inputs = load_model("mobilenet_v2", "connectivity:rate=2", 1)
    assert isinstance(module, nn.Module)
    assert (module.get_parameter("features.18.0.weight") == 0).float().mean() == pytest.approx(0.5, abs=0.01)
    module, inputs = load_model(f"{source}:net")
    assert isinstance(module, nn.Conv2d)
    assert not module.training
    assert inputs[0].shape == (1, 4, 5, 5)


def test_saved_programs_and_mlir_files_are_recognised(tmp_path: Path) -> None:
    program = torch.export.export(nn.Linear(3, 2), (torch.ones(1, 3),))
    torch.export.save(program, tmp_path / "net.pt2")
    loaded, inputs = load_model(str(tmp_path / "net.pt2"))
    assert isinstance(loaded, torch.export.ExportedProgram)
    assert torch.equal(inputs[0], torch.ones(1, 3))
    (tmp_path / "net.mlir").write_text("module {}")
    assert load_model(str(tmp_path / "net.mlir")) == (tmp_path / "net.mlir", ())


@pytest.mark.parametrize(("spec", "prune", "message"), [
    ("vgg61", None, "unknown model 'vgg61': did you mean vgg16\\? known are vgg16, resnet18"),
    ("vgg16", "patern", "did you mean pattern"),
    ("none.pt2", None, "none.pt2: no such file"), ("none.mlir", None, "none.mlir: no such file"),
    ("none.py:net", None, "none.py: no such file"),
    ("{folder}/bad.pt2", None, "bad.pt2: not a torch.export program"),
    ("{folder}/bad.pt2", "pattern", "--prune works on"),
    ("{folder}/bad.py:net", None, "bad.py:net: SyntaxError"),
    ("{folder}/mine.py:nothing", None, "mine.py: no function 'nothing'"),
    ("{folder}/mine.py:pair", None, r"expected it to return \(module, example_inputs\), found list"),
    ("{folder}/mine.py:broken", None, "mine.py:broken: ZeroDivisionError: division by zero")])
def test_a_bad_model_is_one_clear_line(source: Path, spec: str, prune: str | None, message: str) -> None:
    (source.parent / "bad.pt2").write_bytes(b"PK not really")
    (source.parent / "bad.py").write_text("def net(:\n")
    with pytest.raises(EspalierError, match=message) as caught:
        load_model(spec.format(folder=source.parent), prune)
    assert "\n" not in str(caught.value)


def test_listing_the_networks_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from espalier.frontends import NETWORKS as N; print(*N)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(frontends.NETWORKS)


def test_inputs_are_float32() -> None:
    assert np.asarray(reference_model("mobilenet_v2")[1][0]).dtype == np.float32
