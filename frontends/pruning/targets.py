"""Which rule of a recipe decides which layer: the pruned weights of a model, each with its projection.

The last rule that names a scheme and matches a layer stands; rules after it without a scheme change its
options. The first convolution and depthwise ones are spared as ``--prune`` spares them (patterns at most),
unless a rule names them exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import ceil, prod
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ...sparse_dialect.errors import EspalierError
from ...sparse_dialect.schemes import SCHEMES, Connectivity
from .library import PatternLibrary, make_library
from .project import Layer, has_patterns, projection_of, weight_layers
from .recipe import DENSE, Match, Recipe, options_of
from .spec import SPECS, NmSpec, PatternSpec, PruneSpec, UnstructuredSpec
from .words import hint


@dataclass(eq=False)
class Target:
    """A weight that is pruned. ``spec`` is None where the model's own zeros are all there is to keep."""

    name: str
    layer: Layer
    spec: PruneSpec | None
    decided_by: str
    library: PatternLibrary | None = None

    @property
    def text(self) -> str:
        """The layer as messages name it."""
        return f"layer '{self.name}' {list(self.layer.weight.shape)}"

    @property
    def parameter_name(self) -> str:
        """The weight's name in the model's state dict."""
        return self.name if self.layer.leaf != "weight" else f"{self.name}.weight".lstrip(".")

    @property
    def weight(self) -> nn.Parameter:
        """The parameter itself."""
        parameter = self.layer.module._parameters[self.layer.leaf]
        assert parameter is not None
        return parameter

    def project(self, weight: torch.Tensor, spec: PruneSpec | None = None) -> torch.Tensor:
        """The projection of ``weight`` by the target's scheme (or by another ``spec`` of it): a new tensor on
        the same device. Computed on the CPU by the scheme itself, so that what training enforces is what the
        compiler detects."""
        spec = spec or self.spec
        array = weight.detach().cpu().numpy()
        if spec is None:
            return torch.from_numpy(array.copy()).to(weight.device)
        run = projection_of(self.layer, spec, self.library.patterns if self.library else None)
        assert run is not None, self.name  # it was there when the targets were found
        try:
            return torch.from_numpy(run(array)).to(weight.device)
        except EspalierError as error:
            raise EspalierError(f"{self.decided_by}: {self.text}: {error}") from error

    @property
    def rate(self) -> float:
        """One weight in so many stays by the rule; 1 where the scheme has no rate of its own."""
        if self.spec is None:
            return 1.0
        full = nominal_rate(self.spec, self.layer)
        if isinstance(self.spec, PatternSpec) and has_patterns(self.layer, self.spec):
            entries = self.library.scheme.entries if self.library else self.spec.entries
            full *= prod(self.layer.weight.shape[2:]) / entries
        return full


@dataclass(frozen=True)
class Decision:
    """A row of the dry run: what becomes of a layer, and which line says so."""

    name: str
    shape: tuple[int, ...]
    target: Target | None
    decided_by: str
    note: str = ""


@dataclass(frozen=True)
class Assignment:
    """All layers with weights in order of definition, and the libraries that the targets share."""

    decisions: tuple[Decision, ...]
    libraries: tuple[PatternLibrary, ...]

    @property
    def targets(self) -> list[Target]:
        return [decision.target for decision in self.decisions if decision.target is not None]


def rate_key(spec: PruneSpec) -> str:
    """The field of ``spec`` that is its rate."""
    return "connectivity" if isinstance(spec, PatternSpec) else "rate"


def with_rate(spec: PruneSpec, rate: float) -> PruneSpec:
    """``spec`` at another rate (of a pattern: of its connectivity; of N:M, the nearest below it)."""
    if isinstance(spec, NmSpec):
        return replace(spec, n=min(spec.m - 1, max(1, ceil(spec.m / rate))))
    changed: dict[str, Any] = {rate_key(spec): rate}
    if isinstance(spec, UnstructuredSpec):
        changed["linear"] = rate
    if hasattr(spec, "row_rate"):
        changed["row_rate"] = min(spec.row_rate, rate)
    return replace(spec, **changed)


def nominal_rate(spec: PruneSpec, layer: Layer) -> float:
    """The rate that ``spec`` names for a layer; what is never cut keeps 1."""
    if isinstance(spec, NmSpec):
        return spec.m / spec.n
    spared = isinstance(spec, PatternSpec) and not layer.cuttable
    return 1.0 if spared else float(getattr(spec, rate_key(spec)))


def assign(model: nn.Module, recipe: Recipe) -> Assignment:
    """What ``recipe`` makes of every layer of ``model``; raises ``EspalierError`` that names the line for a
    rule that matches nothing, a layer that cannot be trained or is too small, and impossible rates."""
    layers = list(weight_layers(model))
    used: set[int] = set()
    decisions = [_decide(layer, recipe, used) for layer in layers]
    _check_rules(recipe, layers, used)
    counts = _uses(model)
    for target in (decision.target for decision in decisions if decision.target is not None):
        _check_trainable(target, counts)
    assignment = Assignment(tuple(decisions), _libraries(decisions, recipe))
    if not assignment.targets:
        raise EspalierError(f"{recipe.where('layers')}: no layer is pruned"
                            + ("" if recipe.layers else ": the recipe has no layers"))
    for target in assignment.targets:
        check_rate(target)
    return assignment


def _decide(layer: Layer, recipe: Recipe, used: set[int]) -> Decision:
    """The rule that stands for ``layer``, after all of the recipe."""
    scheme: str | None = None
    options: dict[str, Any] = {}
    line = ""
    exact = False
    for number, rule in enumerate(recipe.layers):
        if not matches(rule.match, layer):
            continue
        used.add(number)
        place = recipe.where("layers", number)
        if rule.scheme is not None:
            scheme, options, line = rule.scheme, rule.options, place
        elif scheme is None:
            raise EspalierError(f"{place}: no rule before it gives layer '{layer.name}' a scheme")
        else:
            _check_options(scheme, rule.options, place, layer)
            options = {**options, **rule.options}
            line = f"{line}, {place}" if rule.options else line
        exact = exact or rule.match.name == layer.name
    shape = tuple(layer.weight.shape)
    if scheme in (None, DENSE):
        return _undecided(layer, recipe, line)
    assert scheme is not None
    if exact:
        layer = replace(layer, cuttable=not layer.is_matrix)
    spec = _spec(scheme, options, layer, line)
    if projection_of(layer, spec, ()) is None:
        if exact:
            raise EspalierError(f"{line}: scheme {scheme} does not prune layer '{layer.name}' {list(shape)}")
        return Decision(layer.name, shape, None, line, _why_not(layer, scheme))
    note = "" if layer.cuttable or layer.is_matrix else "first or depthwise: patterns only"
    return Decision(layer.name, shape, Target(layer.name, layer, spec, line), line, note)


def _undecided(layer: Layer, recipe: Recipe, line: str) -> Decision:
    """A layer that no rule prunes; it may bring zeros of its own."""
    shape = tuple(layer.weight.shape)
    if recipe.start == "from_zeros" and bool((layer.weight == 0).any()):
        return Decision(layer.name, shape, Target(layer.name, layer, None, "its zeros"), "its zeros")
    return Decision(layer.name, shape, None, line or "no rule")


def matches(selector: Match, layer: Layer) -> bool:
    """Whether a rule means ``layer``, by its own name or (recurrent weights) its module's."""
    module_name = layer.name.rpartition(".")[0] if layer.leaf != "weight" else layer.name
    named = any(fnmatchcase(name, selector.name) for name in {layer.name, module_name})
    typed = selector.type is None or type(layer.module).__name__ == selector.type
    sized = selector.kernel is None or tuple(layer.weight.shape[2:]) == selector.kernel
    return named and typed and sized


def _check_options(scheme: str, options: dict[str, Any], place: str, layer: Layer) -> None:
    known = options_of(scheme)
    unknown = next((key for key in options if key not in known), None)
    if unknown is not None:
        raise EspalierError(f"{place}: layer '{layer.name}' has scheme {scheme}, which has no '{unknown}'"
                            + (hint(unknown, known) if known else ""))


def _spec(scheme: str, options: dict[str, Any], layer: Layer, line: str) -> PruneSpec:
    try:
        spec = SPECS[scheme](**options)
    except EspalierError as error:
        raise EspalierError(f"{line}: {str(error).removeprefix('--prune ')}") from None
    # --prune keeps the rates of matrices apart; a rule names its layers itself
    return replace(spec, linear=spec.rate) if isinstance(spec, UnstructuredSpec) and layer.is_matrix else spec


def _why_not(layer: Layer, scheme: str) -> str:
    if layer.is_matrix:
        return f"{scheme} is not for matrices"
    if not layer.cuttable:
        return "first or depthwise convolution: name it to prune it"
    return f"{scheme} leaves {'x'.join(map(str, layer.weight.shape[2:]))} kernels alone at this rate"


def _check_rules(recipe: Recipe, layers: Sequence[Layer], used: set[int]) -> None:
    """Every rule matches a layer; else the nearest names are the answer."""
    for number, rule in enumerate(recipe.layers):
        if number in used:
            continue
        selector = rule.match
        place = recipe.where("layers", number)
        types = sorted({type(layer.module).__name__ for layer in layers})
        if selector.type is not None and selector.type not in types:
            raise EspalierError(f"{place}: no layer has type '{selector.type}'{hint(selector.type, types)}")
        names = [layer.name for layer in layers]
        if not names:
            raise EspalierError("the model has no layers to prune: convolutions, linear or recurrent ones")
        raise EspalierError(f"{place}: no layer matches '{selector.name}'{hint(selector.name, names)}")


def _uses(model: nn.Module) -> dict[int, int]:
    """How often each parameter is registered, by identity."""
    counts: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                counts[id(parameter)] = counts.get(id(parameter), 0) + 1
    return counts


def _check_trainable(target: Target, uses: dict[int, int]) -> None:
    """The weight is a plain, unshared, trainable, finite float32 parameter."""
    layer = target.layer
    name = f"layer '{target.name}'"
    masked = layer.leaf.endswith("_orig") and layer.leaf.replace("_orig", "_mask") in layer.module._buffers
    plain = layer.module._parameters.get(layer.leaf) is layer.weight
    if masked or not plain or is_parametrized(layer.module):
        raise EspalierError(f"{name} computes its weight (torch.nn.utils.prune or a parametrization): fold "
                            f"it first, e.g. by torch.nn.utils.prune.remove")
    weight = target.weight
    if uses[id(weight)] > 1:
        raise EspalierError(f"{name} shares its weight with another layer: untie it, or leave it out")
    if not weight.requires_grad:
        raise EspalierError(f"{name} is frozen (requires_grad is False): thaw it, or leave it out")
    if weight.dtype != torch.float32:
        raise EspalierError(f"{name} needs a float32 weight, found {weight.dtype}: autocast computes in less")
    if type(weight).__name__ == "DTensor" or type(weight.data).__name__ == "DTensor":
        raise EspalierError(f"{name} is split over devices: FSDP and tensor parallel are not supported")
    if not bool(torch.isfinite(weight).all()):
        raise EspalierError(f"{name} has weights that are NaN or infinite: repair them first")


def _libraries(decisions: Sequence[Decision], recipe: Recipe) -> tuple[PatternLibrary, ...]:
    """Gives every target with patterns its library: one for all layers with the same kernel and options, or
    one each where its rule says ``library: layer``."""
    shared: dict[tuple[Any, ...], list[Target]] = {}
    for target in (decision.target for decision in decisions if decision.target is not None):
        spec = target.spec
        if isinstance(spec, PatternSpec) and has_patterns(target.layer, spec):
            own = target.name if spec.library == "layer" else ""
            shared.setdefault((spec.kernel, spec.entries, spec.patterns, own), []).append(target)
    libraries = []
    for targets in shared.values():
        spec = targets[0].spec
        assert isinstance(spec, PatternSpec)
        weights: list[np.ndarray] = [target.weight.detach().cpu().numpy() for target in targets]
        try:
            library = make_library(recipe.library, spec, (spec.kernel, spec.kernel), weights)
            library.scheme  # noqa: B018 - checks the patterns
        except EspalierError as error:
            raise EspalierError(f"{recipe.where('library')}: {error}") from error
        for target in targets:
            target.library = library
        libraries.append(library)
    return tuple(libraries)


def check_rate(target: Target) -> None:
    """The scheme can keep as few weights as the rate asks for (it never keeps less than one unit), and its
    masks are found again."""
    library = target.library
    if library is not None and len(library.patterns) > library.final:  # it will have shrunk by then
        final = PatternLibrary(library.kernel, library.patterns[: library.final], library.final)
        target = replace(target, library=final)
    mask = target.project(torch.ones_like(target.weight) + 0.01 * target.weight) != 0
    kept = int(torch.count_nonzero(mask))
    asked = target.weight.numel() / target.rate
    if kept > 1.5 * asked and kept > asked + 0.5:
        raise EspalierError(f"{target.decided_by}: {target.text} would keep nothing at rate {target.rate:g}: "
                            f"it keeps at least {kept} of {target.weight.numel()} weights")
    try:
        check_mask(target, mask)
    except EspalierError as error:
        raise EspalierError(f"{target.decided_by}: {error}") from error


def check_mask(target: Target, mask: torch.Tensor) -> None:
    """Raises ``EspalierError`` where the compiler would not find the target's scheme in ``mask``."""
    if bool(mask.all()) or target.spec is None:
        return
    kept = mask.cpu().numpy().astype(bool)
    name = target.spec.name
    schemes = [SCHEMES[name]]
    if isinstance(target.spec, PatternSpec):  # which only cuts whole kernels of other sizes
        schemes.append(Connectivity)
    complaints = [found for found in (scheme.find(kept) for scheme in schemes) if isinstance(found, str)]
    if len(complaints) == len(schemes):
        raise EspalierError(f"{target.text}: the compiler would not find {name} in its zeros: "
                            f"{complaints[0]}")
