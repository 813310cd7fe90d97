"""Other trainers' loops: Lightning, transformers, Accelerate; each stops, goes on, and ends alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from espalier.frontends.pruning import Sparsifier
from espalier.sparse_dialect import EspalierError
from support.training import PATTERNS, net, sgd, steps
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

RECIPE: dict[str, Any] = {"layers": [PATTERNS], "method": {"name": "admm", "epochs": 1, "stages": [3]},
                          "retrain": {"epochs": 1}}


def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(32) % 4
    return TensorDataset(torch.randn((32, 2, 6, 6), generator=generator), y)


def check_pruned(model: nn.Module) -> None:
    kept = int(torch.count_nonzero(model.get_parameter("second.weight")))
    assert kept == 16 * 16 * 4 // 2


# -- Lightning -----------------------------------------------------------------------------------------------


def lightning_parts(folder: Path, **options: Any) -> tuple[Any, Any, Any]:
    """(trainer, module, callback) of PyTorch Lightning."""
    pl = pytest.importorskip("lightning.pytorch")
    from espalier.frontends.pruning.adapters.lightning import EspalierCallback

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()
            self.net.drop.p = 0.0  # Lightning's checkpoints hold no generators

        def training_step(self, batch: Any, number: int) -> torch.Tensor:
            loss = F.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss, on_epoch=True)
            return loss

        def configure_optimizers(self) -> Any:
            return sgd(self)

    callback = EspalierCallback({**RECIPE, "layers": [PATTERNS]}, metric="train_loss_epoch")
    trainer = pl.Trainer(max_epochs=2, callbacks=[callback], default_root_dir=folder, accelerator="cpu",
                         logger=False, enable_progress_bar=False, enable_model_summary=False, **options)
    return trainer, Module(), callback


@pytest.mark.slow
def test_lightning_prunes_and_goes_on(tmp_path: Path) -> None:
    loader = DataLoader(data(), 8)
    trainer, module, callback = lightning_parts(tmp_path, accumulate_grad_batches=2)
    trainer.fit(module, loader)
    check_pruned(module.net)
    assert [record.phase for record in callback.sparsifier.history] == ["regularise", "retrain"]
    assert callback.sparsifier.steps_per_epoch == 2

    first, begun, _ = lightning_parts(tmp_path, accumulate_grad_batches=2)
    first.fit_loop.max_epochs = 2
    stop_after_an_epoch(first)
    first.fit(begun, loader)
    first.save_checkpoint(tmp_path / "half.ckpt")
    second, resumed, _ = lightning_parts(tmp_path, accumulate_grad_batches=2)
    second.fit(resumed, loader, ckpt_path=tmp_path / "half.ckpt", weights_only=False)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in module.state_dict().items())


def stop_after_an_epoch(trainer: Any) -> None:
    from lightning.pytorch import Callback

    class Stop(Callback):
        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            trainer.should_stop = True

    trainer.callbacks.append(Stop())


@pytest.mark.slow
def test_lightning_epochs_must_be_the_recipes(tmp_path: Path) -> None:
    trainer, module, _ = lightning_parts(tmp_path)
    trainer.fit_loop.max_epochs = 3
    with pytest.raises(EspalierError, match="the recipe has 2 epochs, the trainer's max_epochs is 3"):
        trainer.fit(module, DataLoader(data(), 8))


# -- transformers --------------------------------------------------------------------------------------------


def trainer_of(folder: Path, epochs: int = 2) -> tuple[Any, Any]:
    """(Trainer, callback) of transformers, which saves each epoch."""
    transformers = pytest.importorskip("transformers")
    from espalier.frontends.pruning.adapters.transformers import EspalierCallback

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.net(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([row[0] for row in rows]), "labels": torch.stack([row[1] for row in rows])}

    arguments = transformers.TrainingArguments(
        output_dir=str(folder), num_train_epochs=epochs, per_device_train_batch_size=8, save_strategy="epoch",
        report_to=[], disable_tqdm=True, use_cpu=True, logging_strategy="epoch", seed=1)
    callback = EspalierCallback(RECIPE, metric="loss")
    model = Classifier()
    return transformers.Trainer(model=model, args=arguments, train_dataset=data(), data_collator=collate,
                                callbacks=[callback]), callback


@pytest.mark.slow
def test_transformers_prunes_and_goes_on(tmp_path: Path) -> None:
    trainer, callback = trainer_of(tmp_path)
    trainer.train()
    check_pruned(trainer.model.net)
    assert [record.phase for record in callback.sparsifier.history] == ["regularise", "retrain"]
    assert (tmp_path / "checkpoint-4/sparsifier.pt").is_file()
    second, _ = trainer_of(tmp_path)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    expected = trainer.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in second.model.state_dict().items())
    (tmp_path / "checkpoint-4/sparsifier.pt").unlink()
    third, _ = trainer_of(tmp_path)
    with pytest.raises(EspalierError, match="was not made with EspalierCallback"):
        third.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))


def test_transformers_epochs_must_be_the_recipes(tmp_path: Path) -> None:
    trainer, _ = trainer_of(tmp_path, epochs=3)
    with pytest.raises(EspalierError, match="the recipe has 2 epochs, num_train_epochs is 3"):
        trainer.train()


# -- Accelerate ----------------------------------------------------------------------------------------------


def test_accelerate_checkpoints_hold_the_sparsifier(tmp_path: Path) -> None:
    from accelerate import Accelerator

    x = (torch.randn(2, 2, 6, 6),)

    def prepared() -> tuple[Any, Sparsifier]:
        accelerator = Accelerator(cpu=True)
        model = net()
        model, optimizer = accelerator.prepare(model, sgd(model))
        sparsifier = Sparsifier(model, RECIPE, optimizer=optimizer, steps_per_epoch=1)
        accelerator.register_for_checkpointing(sparsifier)
        return accelerator, sparsifier

    accelerator, sparsifier = prepared()
    steps(sparsifier, 1, x)
    sparsifier.epoch_end()
    accelerator.save_state(str(tmp_path))
    again, resumed = prepared()
    again.load_state(str(tmp_path))
    assert resumed.epoch == 1
    assert resumed.masks is not None
    assert sparsifier.masks is not None
    assert all(torch.equal(one, other) for one, other in zip(sparsifier.masks, resumed.masks, strict=True))
    steps(resumed, 1, x)
    resumed.epoch_end()
    resumed.finish()
    check_pruned(resumed.model)
