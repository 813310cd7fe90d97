"""Weights for layers that their own sensitivities misjudge, searched by Optuna (as SPDY, ICML 2022).

Each trial multiplies every layer's sensitivities by a weight, solves the knapsack, assembles the network from
the projected layers, and is scored by the calibration loss: no training.
"""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any

import torch

from ....errors import optional
from ....sparse_dialect.errors import EspalierError

if TYPE_CHECKING:
    from .search import Search

SMALLEST, LARGEST = 0.25, 4.0


def weighted_costs(search: Search, target_ms: float) -> list[list[float]]:
    """The sensitivities times the best weights of ``search.options.trials`` trials in all. With a table, the
    trials lie beside it (``search.trials``): they go on where they were, also in several processes."""
    if search.calibration is None:
        raise EspalierError("trials are scored by the calibration loss: they need a task")
    optuna = optional("optuna", "--search-trials")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=_storage(search), study_name=_name(search, target_ms),
                                load_if_exists=True, direction="minimize",
                                sampler=optuna.samplers.TPESampler(seed=search.recipe.seed))
    if not study.trials:
        study.enqueue_trial({layer.name: 1.0 for layer in search.layers})
    model = copy.deepcopy(search.model)
    wanted = search.options.trials

    def score(trial: Any) -> float:
        weights = [trial.suggest_float(layer.name, SMALLEST, LARGEST, log=True) for layer in search.layers]
        return _loss(search, model, _weighted(search, weights), target_ms)

    finished = (optuna.trial.TrialState.COMPLETE,)
    done = len(study.get_trials(deepcopy=False, states=finished))
    while done < wanted:
        search.progress("trials", done, wanted)
        study.optimize(score, n_trials=1)
        done = len(study.get_trials(deepcopy=False, states=finished))
    search.progress("trials", wanted, wanted)
    return _weighted(search, [study.best_params[layer.name] for layer in search.layers])


def _weighted(search: Search, weights: list[float]) -> list[list[float]]:
    return [[weight * value for value in row]
            for weight, row in zip(weights, search.table.sensitivities, strict=True)]


@torch.no_grad()
def _loss(search: Search, model: torch.nn.Module, costs: list[list[float]], target_ms: float) -> float:
    """The calibration loss of the network that ``costs`` choose."""
    before = search.costs
    search.costs = costs
    picks = search.solve(target_ms)
    search.costs = before
    parameters = dict(model.named_parameters())
    for layer, row, pick in zip(search.layers, search.weights, picks, strict=True):
        chosen = row[pick]
        parameters[layer.target.parameter_name].copy_(layer.target.weight if chosen is None else chosen)
    assert search.calibration is not None
    return search.calibration.loss(model)


def _storage(search: Search) -> Any:
    """A journal file beside the table; memory without one."""
    if search.options.table is None:
        return None
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(search.options.table.with_suffix(".trials"))))


def _name(search: Search, target_ms: float) -> str:
    """One study a table and target."""
    facts = repr((search.table.sensitivities, search.table.times, round(target_ms, 3)))
    return hashlib.sha256(facts.encode()).hexdigest()[:16]
