"""``Trainer(..., callbacks=[EspalierCallback("recipe.yaml")])`` of Hugging Face's transformers."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ....files import replacing
from ....sparse_dialect.errors import EspalierError
from ..recipe import Recipe, load_recipe
from ..sparsifier import Sparsifier

FILE = "sparsifier.pt"  # in each of the trainer's checkpoints


class EspalierCallback(TrainerCallback):
    """Prunes the model that the trainer trains. The trainer's scheduler sets the learning rate, so the recipe
    must not name a ``peak``; ``num_train_epochs`` must be the recipe's epochs. ``metric``: the name in the
    trainer's log of what ``history`` keeps."""

    def __init__(self, recipe: str | Path | Mapping[str, Any] | Recipe, metric: str | None = None) -> None:
        self.recipe = load_recipe(recipe)
        self.metric = metric
        self.sparsifier: Sparsifier | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                       **kwargs: Any) -> None:
        steps = ceil(state.max_steps / args.num_train_epochs)
        self.sparsifier = Sparsifier(kwargs["model"], self.recipe, optimizer=kwargs["optimizer"],
                                     steps_per_epoch=steps)
        if args.num_train_epochs != self.sparsifier.epochs:
            raise EspalierError(f"the recipe has {self.sparsifier.epochs} epochs, num_train_epochs is "
                                f"{args.num_train_epochs:g}: make them equal")
        if state.global_step:
            path = self._folder(args, state) / FILE
            if not path.is_file():
                raise EspalierError(f"the trainer resumes, but '{path}' is missing: its checkpoint was not "
                                    f"made with EspalierCallback")
            self.sparsifier.load_state_dict(torch.load(path, weights_only=True))

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                     **kwargs: Any) -> None:
        assert self.sparsifier is not None
        logged = next((row[self.metric] for row in reversed(state.log_history) if self.metric in row), None)
        self.sparsifier.epoch_end(logged)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                **kwargs: Any) -> None:
        assert self.sparsifier is not None
        if state.is_world_process_zero:
            with replacing(self._folder(args, state) / FILE) as file:
                torch.save(self.sparsifier.state_dict(), file)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                     **kwargs: Any) -> None:
        if self.sparsifier is not None and self.sparsifier.phase == "done":  # not where it was interrupted
            self.sparsifier.finish()

    @staticmethod
    def _folder(args: TrainingArguments, state: TrainerState) -> Path:
        return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"
