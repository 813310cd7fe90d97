"""``Trainer(max_epochs=..., callbacks=[EspalierCallback("recipe.yaml")])`` of PyTorch Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ....sparse_dialect.errors import EspalierError
from ..recipe import Recipe, load_recipe
from ..sparsifier import Sparsifier


class EspalierCallback(Callback):
    """Prunes the module that the trainer trains. ``metric``: the logged name of what ``history`` keeps. The
    trainer's ``max_epochs`` must be the recipe's epochs; masks and variables go into its checkpoints."""

    def __init__(self, recipe: str | Path | Mapping[str, Any] | Recipe, metric: str | None = None) -> None:
        self.recipe = load_recipe(recipe)
        self.metric = metric
        self.sparsifier: Sparsifier | None = None
        self._restored: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if len(trainer.optimizers) != 1:
            raise EspalierError(f"EspalierCallback needs one optimizer, found {len(trainer.optimizers)}")
        steps = ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        self.sparsifier = Sparsifier(pl_module, self.recipe, optimizer=trainer.optimizers[0],
                                     steps_per_epoch=steps)
        if trainer.max_epochs != self.sparsifier.epochs:
            raise EspalierError(f"the recipe has {self.sparsifier.epochs} epochs, the trainer's max_epochs "
                                f"is {trainer.max_epochs}: make them equal")
        if self._restored is not None:
            self.sparsifier.load_state_dict(self._restored)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.sparsifier is not None
        value = trainer.callback_metrics.get(self.metric) if self.metric is not None else None
        self.sparsifier.epoch_end(None if value is None else float(value))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.sparsifier is not None and self.sparsifier.phase == "done":  # not where it was interrupted
            self.sparsifier.finish()

    def state_dict(self) -> dict[str, Any]:
        return self.sparsifier.state_dict() if self.sparsifier is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._restored = state_dict or None
