"""The networks of the table: where each comes from, how it is built, on what input, and how it is pruned.

Packages are imported when a network is built. Weights are the package's own where it carries them, else
seeded (``weights.settle``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import unknown
from .stand_ins import stand_ins

# 1x1 layers and matrices in blocks (GRIM), 3x3 kernels by patterns, other kernels whole (PatDNN).
PRUNE = ("bcr:rate=4,layers=pointwise+bcr:rate=4,layers=matrices+"
         "pattern:entries=4,patterns=8,connectivity=3.6")
if TYPE_CHECKING:
    import torch

Built = tuple["torch.nn.Module | Path", tuple[Any, ...]]


@dataclass(frozen=True)
class Network:
    """
    ``name`` is ``package:network``, or the network alone. ``package``: the distribution that it is of.
    ``build`` gives the module, or an ``.onnx`` file, and example inputs; ``absent``: modules that its
    packages import and it does not use; ``seeded``: its weights are no trained ones.
    """

    name: str
    package: str
    build: Callable[[], Built]
    absent: tuple[str, ...] = ()
    seeded: bool = True
    prune: str = PRUNE

    def built(self) -> Built:
        """Module or file, and inputs, made from seed 0."""
        import torch

        torch.manual_seed(0)
        with stand_ins(*self.absent):
            return self.build()


def network(name: str) -> Network:
    """The network of this name; ``EspalierError`` for an unknown one."""
    found = next((network for network in NETWORKS if network.name == name), None)
    if found is None:
        raise unknown("network", name, [network.name for network in NETWORKS])
    return found


def _image(*shape: int) -> torch.Tensor:
    import torch

    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def _tokens(length: int, words: int) -> torch.Tensor:
    import torch

    return torch.randint(0, words, (1, length), generator=torch.Generator().manual_seed(0))


# -- pytorchcv -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pytorchcv:
    """``function`` of ``pytorchcv.models.<module>`` on an input of ``shape``."""

    module: str
    function: str
    shape: tuple[int, ...] = (1, 3, 224, 224)
    options: Mapping[str, Any] = field(default_factory=dict)
    length: bool = False  # the second input: how many time steps count

    def __call__(self) -> Built:
        module = getattr(import_module(f"pytorchcv.models.{self.module}"), self.function)(**self.options)
        image = _image(*self.shape)
        return module, (image, image.new_tensor([self.shape[-1]]).long()) if self.length else (image,)


def _pytorchcv(module: str, function: str, shape: tuple[int, ...] = (1, 3, 224, 224), length: bool = False,
               **options: Any) -> Network:
    build = _Pytorchcv(module, function, shape, options, length)
    return Network(function, "pytorchcv", build)


# -- transformers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Transformers:
    """``model`` of transformers with the numbers of ``options`` in place of its configuration's own."""

    model: str
    config: str
    inputs: Callable[[], tuple[Any, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Built:
        transformers = import_module("transformers")
        config = getattr(transformers, self.config)(**self.options)
        return getattr(transformers, self.model)(config), self.inputs()


def _transformers(name: str, model: str, config: str, inputs: Callable[[], tuple[Any, ...]],
                  **options: Any) -> Network:
    return Network(name, "transformers", _Transformers(model, config, inputs, options))


# -- timm and what is built on it ------------------------------------------------------------------


def _timm(model: str, size: int = 224) -> Network:
    def build() -> Built:
        return import_module("timm").create_model(model), (_image(1, 3, size, size),)

    return Network(f"timm:{model}", "timm", build, ("torchvision",))


def _segmentation(model: str, encoder: str, size: int) -> Network:
    def build() -> Built:
        package = import_module("segmentation_models_pytorch")
        module = getattr(package, model)(encoder, encoder_weights=None, classes=8)
        return module, (_image(1, 3, size, size),)

    return Network(f"smp:{model.lower()}", "segmentation-models-pytorch", build,
                   ("torchvision",))


# -- packages of one network -----------------------------------------------------------------------


def _crepe() -> Built:
    model = import_module("torchcrepe").Crepe("tiny")
    return model, (_image(1, 1024),)


def _resemblyzer() -> Built:
    encoder = import_module("resemblyzer").VoiceEncoder("cpu", verbose=False)
    return encoder, (_image(1, 160, 40),)


def _facenet(network: str, *shape: int) -> Network:
    def build() -> Built:
        return getattr(import_module("facenet_pytorch"), network)(), (_image(*shape),)

    return Network(f"mtcnn-{network.lower()}", "facenet-pytorch", build, ("torchvision",),
                   seeded=False)


def _silero() -> Built:
    data = Path(str(distribution("silero-vad").locate_file("silero_vad/data")))
    sound, state = 0.1 * _image(1, 576).numpy(), np.zeros((2, 1, 128), np.float32)
    return data / "silero_vad_16k_op15.onnx", (sound, state, np.array(16000))


def _inception() -> Built:
    return import_module("facenet_pytorch").InceptionResnetV1(), (_image(1, 3, 160, 160),)


NETWORKS: tuple[Network, ...] = (
    _pytorchcv("shufflenetv2", "shufflenetv2_w1"),
    _pytorchcv("mobilenetv3", "mobilenetv3_large_w1"),
    _pytorchcv("efficientnet", "efficientnet_b0"),
    _pytorchcv("ghostnet", "ghostnet"),
    _pytorchcv("mnasnet", "mnasnet_b1"),
    _pytorchcv("squeezenet", "squeezenet_v1_1"),
    _pytorchcv("resnext", "resnext50_32x4d"),
    _pytorchcv("densenet", "densenet121"),
    _pytorchcv("hrnet", "hrnet_w18_small_v1"),
    _pytorchcv("quartznet", "quartznet5x5_en_ls", (1, 64, 200), length=True, from_audio=False),
    _pytorchcv("fastscnn", "fastscnn_cityscapes", (1, 3, 256, 512), in_size=(256, 512)),
    _pytorchcv("simplepose_coco", "simplepose_resnet18_coco", (1, 3, 256, 192),
               return_heatmap=True),
    _pytorchcv("seresnet", "seresnet18"),
    _pytorchcv("bisenet", "bisenet_resnet18_celebamaskhq", (1, 3, 256, 256), in_size=(256, 256)),
    _pytorchcv("dla", "dla34"),
    _pytorchcv("vovnet", "vovnet27s"),
    _transformers("mobilevit", "MobileViTForImageClassification", "MobileViTConfig",
                  lambda: (_image(1, 3, 256, 256),), image_size=256, hidden_sizes=[96, 120, 144],
                  neck_hidden_sizes=[16, 32, 48, 64, 80, 96, 320]),
    _transformers("convnext", "ConvNextForImageClassification", "ConvNextConfig",
                  lambda: (_image(1, 3, 224, 224),)),
    _transformers("regnet", "RegNetForImageClassification", "RegNetConfig",
                  lambda: (_image(1, 3, 224, 224),), depths=[1, 3, 6, 6], hidden_sizes=[48, 104, 208, 440],
                  groups_width=8),
    _transformers("segformer", "SegformerForSemanticSegmentation", "SegformerConfig",
                  lambda: (_image(1, 3, 256, 256),)),
    _transformers("bert", "BertModel", "BertConfig", lambda: (_tokens(128, 30522),), num_hidden_layers=4,
                  hidden_size=512, num_attention_heads=8, intermediate_size=2048),
    _transformers("wav2vec2", "Wav2Vec2ForCTC", "Wav2Vec2Config", lambda: (_image(1, 16000),),
                  num_hidden_layers=4),
    _transformers("vit", "ViTForImageClassification", "ViTConfig", lambda: (_image(1, 3, 224, 224),),
                  hidden_size=192, num_hidden_layers=12, num_attention_heads=3, intermediate_size=768),
    _transformers("swin", "SwinForImageClassification", "SwinConfig", lambda: (_image(1, 3, 224, 224),)),
    _timm("mobilenetv4_conv_small"),
    _timm("efficientvit_b0"),
    _timm("edgenext_xx_small", 256),
    _timm("repvgg_a0"),
    _timm("levit_128s"),
    _timm("mixer_s16_224"),
    _timm("poolformer_s12"),
    _timm("convmixer_768_32", 96),
    _segmentation("Unet", "tu-resnet18", 128),
    _segmentation("DeepLabV3Plus", "tu-mobilenetv3_large_100", 256),
    _segmentation("FPN", "tu-efficientnet_b0", 256),
    Network("crepe", "torchcrepe", _crepe, ("librosa", "resampy", "torchaudio")),
    Network("resemblyzer", "resemblyzer", _resemblyzer, ("librosa", "webrtcvad", "scipy.ndimage.morphology"),
            seeded=False),
    _facenet("PNet", 1, 3, 120, 160),
    _facenet("RNet", 16, 3, 24, 24),
    _facenet("ONet", 8, 3, 48, 48),
    Network("silero-vad", "silero-vad", _silero, seeded=False),
    Network("inceptionresnetv1", "facenet-pytorch", _inception, ("torchvision",)),
)
