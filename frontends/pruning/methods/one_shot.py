"""One projection of the trained weights (magnitude pruning), which retraining then repairs."""

from __future__ import annotations

from typing import ClassVar

from .method import Method


class OneShotMethod(Method):
    """Has no epochs of its own: the masks are made at once."""

    name: ClassVar[str] = "one_shot"

    def after_step(self, step: int) -> None:
        raise AssertionError("one_shot has no epochs")

    def epoch_end(self, epoch: int) -> None:
        raise AssertionError("one_shot has no epochs")
