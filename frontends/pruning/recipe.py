"""The recipe of a training that prunes: one small YAML file, checked before anything is trained.

    layers:
      - {match: "*", scheme: pattern, entries: 4, patterns: 8, connectivity: 3.6}
      - {match: features.0, connectivity: 1}
    method: {name: admm, epochs: 10, stages: [0.3, 1, 3]}
    retrain: {epochs: 10, peak: 0.05}

Schemes and their keys are those of ``--prune`` (``spec.py``); a rate keeps one in so many. Every mistake is
one ``EspalierError`` that names file, line, key and the nearest right word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ...files import check_readable
from ...sparse_dialect.errors import EspalierError
from .spec import OLD_WORDS, SPECS
from .words import hint

VERSION = 1
DENSE = "dense"
Rate = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Penalty = Literal["decoupled", "coupled"]


class Strict(BaseModel):
    """Base of every part: frozen, and a key that it does not know is an error with the nearest one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    close = hint(str(key), list(cls.model_fields))
                    raise PydanticCustomError("unknown_key", f"unknown key '{key}'{close}", {"key": key})
        return data


class Match(Strict):
    """Which layers a rule means: ``name`` with ``*`` and ``?``, the module's class, the kernel's size."""

    name: str = "*"
    type: str | None = None
    kernel: tuple[int, ...] | None = None


def _as_match(value: Any) -> Any:
    """A bare text is a name."""
    return {"name": value} if isinstance(value, str) else value


class Rule(Strict):
    """What a layer becomes. With a ``scheme`` a rule stands for itself; without one it changes options of the
    rule that stood for the layer so far."""

    match: Annotated[Match, BeforeValidator(_as_match)]
    scheme: Annotated[str, AfterValidator(lambda word: OLD_WORDS.get(word, word))] | None = None
    entries: Count | None = None
    patterns: Count | None = None
    kernel: Count | None = None
    library: Literal["net", "layer"] | None = None
    connectivity: Rate | None = None
    balance: Literal["layer", "filter"] | None = None
    rate: Rate | None = None
    n: Count | None = None
    m: Count | None = None
    rows: Count | None = None
    columns: Count | None = None
    row_rate: Rate | None = None
    filters: Count | None = None
    channels: Count | None = None
    vanilla: bool | None = None
    score: Literal["rms", "l2"] | None = None

    @model_validator(mode="after")
    def _known_scheme(self) -> Rule:
        if self.scheme is None:
            return self
        if self.scheme not in (*SPECS, DENSE):
            raise PydanticCustomError("scheme", f"unknown scheme '{self.scheme}'"
                                      f"{hint(self.scheme, [*SPECS, DENSE])}", {"key": "scheme"})
        known = options_of(self.scheme)
        for key in self.options:
            if key not in known:
                raise PydanticCustomError("option", f"scheme {self.scheme} has no '{key}'{hint(key, known)}",
                                          {"key": key})
        return self

    @property
    def options(self) -> dict[str, Any]:
        """The scheme's keys that the rule sets."""
        given = self.model_dump(exclude_none=True, exclude={"match", "scheme"})
        return dict(given)


def options_of(scheme: str) -> list[str]:
    """The keys that a rule of ``scheme`` may set; which layers it means is the rule's ``match``."""
    if scheme == DENSE:
        return []
    return [field.name for field in fields(SPECS[scheme]) if field.name not in ("linear", "layers")]


class LibraryRecipe(Strict):
    """Where patterns come from: the most frequent ``natural`` ones (PatDNN), PCONV's four ``elog`` ones, or a
    list of lists of places. ``shrink``: ADMM begins with ``start`` and drops the least used ones."""

    source: Literal["natural", "elog"] | tuple[tuple[Whole, ...], ...] = "natural"
    start: Count | None = None
    shrink: bool = False

    @model_validator(mode="after")
    def _shrinks_from_somewhere(self) -> LibraryRecipe:
        if self.shrink and self.source != "natural":
            raise PydanticCustomError("shrink", "only natural libraries shrink", {"key": "shrink"})
        return self


class Phase(Strict):
    """Epochs under one learning-rate curve: a linear rise over the share ``warmup`` to ``peak`` times the
    optimizer's own ratios, then down to the share ``floor``. Without a ``peak`` the rate is left alone."""

    epochs: Whole = 10
    peak: Positive | None = None
    warmup: Share = 0.15
    shape: Literal["linear", "cosine"] = "linear"
    floor: Share = 0.3


class OneShot(Strict):
    """One projection of the trained weights, then retraining under its masks."""

    name: Literal["one_shot"] = "one_shot"

    @property
    def epochs(self) -> int:
        return 0


class Layerwise(Strict):
    """Second-order reconstruction of every layer from ``samples`` of the training data, without training
    (Optimal Brain Compression, SparseGPT); ``damping``: of the mean square of a layer's inputs. Retraining
    may follow: ``retrain: {epochs: 0}`` leaves it out."""

    name: Literal["layerwise"]
    samples: Count = 512
    damping: Positive = 0.01

    @property
    def epochs(self) -> int:
        return 0


class Gradual(Phase):
    """A rate that rises by the cubic curve of Zhu and Gupta (2017) until the share ``until`` of the epochs:
    every ``every`` steps the weights are projected at it, and may come back in between."""

    name: Literal["gradual"]
    every: Count = 10
    until: Annotated[float, Field(gt=0, le=1)] = 0.9


class Admm(Phase):
    """PatDNN's alternating direction method (ASPLOS 2020): weights are pulled towards their projection and
    the projection towards them, in ``stages`` of rising force.

    ``penalty: decoupled``: each stage is the whole pull of its steps, whatever the optimizer (0.3 barely
    moves, 1 two thirds of the way, 3 nearly all); ``coupled``: it is the papers' rho, added to the loss.
    ``update``: epochs between updates of the projection. ``sets: split`` keeps patterns and connectivity as
    the paper's two sets. ``scope: cut`` pulls only the weights about to be cut (RT3D's code). ``patterns:
    fixed`` keeps each kernel's first pattern.
    """

    name: Literal["admm"]
    stages: tuple[Positive, ...] = (0.3, 1.0, 3.0)
    update: Count = 1
    sets: Literal["joint", "split"] = "joint"
    penalty: Penalty = "decoupled"
    scope: Literal["all", "cut"] = "all"
    patterns: Literal["reassign", "fixed"] = "reassign"

    @model_validator(mode="after")
    def _an_epoch_a_stage(self) -> Admm:
        if not 1 <= len(self.stages) <= self.epochs:
            raise PydanticCustomError("stages", f"{len(self.stages)} stages need at least as many epochs, "
                                      f"found {self.epochs}", {"key": "stages"})
        return self


class Reweighted(Phase):
    """RT3D's reweighted group lasso (AAAI 2021, section 4): small groups are pushed to zero, large ones
    spared. ``strength``: the decay of an average group over all epochs (coupled: lambda); ``eps`` bounds how
    much more a small one gets. ``threshold: net`` lets one threshold over all layers choose their rates."""

    name: Literal["reweighted"]
    strength: Positive = 2.0
    eps: Positive = 0.05
    update: Count = 1
    penalty: Penalty = "decoupled"
    threshold: Literal["layer", "net"] = "layer"


Method = Annotated[OneShot | Layerwise | Gradual | Admm | Reweighted, Field(discriminator="name")]


class Distillation(Strict):
    """Learning from the dense network as well; off in the ``last`` epochs (RT3D's code: 3, 0.5)."""

    temperature: Positive = 3.0
    weight: Share = 0.5
    last: Whole = 1


class Retrain(Phase):
    """Training under fixed masks. The rate must come back up: about half of the dense training's peak."""

    floor: Share = 0.02
    distill: Distillation | None = None


class Optimizer(Strict):
    """torch's optimizer of that name; ``clip`` bounds the norm of all gradients."""

    name: Literal["SGD", "Adam", "AdamW", "RMSprop"] = "SGD"
    momentum: Share | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    nesterov: bool | None = None
    betas: tuple[Share, Share] | None = None
    clip: Positive | None = None


class Precision(Strict):
    """What forward passes compute in; weights stay float32."""

    autocast: Literal["bf16", "fp16", "none"] = "none"


class Recipe(Strict):
    """The whole file. ``start: from_zeros`` keeps the zeros that the model brings."""

    version: Literal[1] = 1
    seed: Whole = 0
    start: Literal["trained", "from_zeros"] = "trained"
    layers: tuple[Rule, ...] = ()
    library: LibraryRecipe = LibraryRecipe()
    method: Method = OneShot()
    retrain: Retrain = Retrain()
    optimizer: Optimizer = Optimizer()
    precision: Precision = Precision()
    _file: str = PrivateAttr("recipe")
    _lines: dict[tuple[Any, ...], int] = PrivateAttr(default_factory=dict)

    def where(self, *path: Any) -> str:
        """``file:line`` of a part, as far as it is known."""
        return _place(self._file, self._lines, path)


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """The recipe in a YAML file or in a mapping of the same keys; raises ``EspalierError``."""
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        return _validated(source, "recipe", {})
    path = Path(source)
    check_readable(path)
    try:
        text = path.read_text()
    except OSError as error:
        raise EspalierError(f"cannot read the recipe '{path}': {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise EspalierError(f"{path}: a recipe is UTF-8 text") from error
    return parse_recipe(text, str(path))


def parse_recipe(text: str, file: str = "recipe") -> Recipe:
    """The recipe that ``text`` (YAML) holds; ``file`` names it in messages."""
    try:
        data = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise EspalierError(f"{file}{line}: {error.problem or error.context}") from error
    except YAMLError as error:
        raise EspalierError(f"{file}: {error}") from error
    if not isinstance(data, Mapping):
        raise EspalierError(f"{file}: expected keys such as layers and method, found {type(data).__name__}")
    lines: dict[tuple[Any, ...], int] = {}
    _note_lines(data, (), lines)
    return _validated(data, file, lines)


def recipe_differences(first: Mapping[str, Any], second: Mapping[str, Any], path: str = "") -> list[str]:
    """Where two recipes (as ``model_dump``) differ: ``retrain.epochs: 10, now 12``."""
    found = []
    for key in dict.fromkeys([*first, *second]):
        old, new = first.get(key), second.get(key)
        name = f"{path}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += recipe_differences(old, new, f"{name}.")
        elif old != new:
            found.append(f"{name}: {old}, now {new}")
    return found


def _validated(data: Mapping[str, Any], file: str, lines: dict[tuple[Any, ...], int]) -> Recipe:
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise EspalierError(_message(error, file, lines)) from None
    recipe._file = file
    recipe._lines = lines
    return recipe


def _note_lines(value: Any, path: tuple[Any, ...], lines: dict[tuple[Any, ...], int]) -> None:
    """Fills ``lines`` with the line of every key and item of what ruamel.yaml read."""
    if not hasattr(value, "lc"):
        return
    mapping = isinstance(value, Mapping)
    for key, child in value.items() if mapping else enumerate(value):
        line, _ = value.lc.key(key) if mapping else value.lc.item(key)
        lines[*path, key] = line + 1
        _note_lines(child, (*path, key), lines)


def _message(error: ValidationError, file: str, lines: dict[tuple[Any, ...], int]) -> str:
    """The first mistake, in one line."""
    first = error.errors(include_url=False)[0]
    path = list(first["loc"])
    text = first["msg"]
    keys = {part for place in lines for part in place} | {first.get("ctx", {}).get("key"), "name"}
    if first["type"] == "union_tag_invalid":
        tag, tags = first["ctx"]["tag"], first["ctx"]["expected_tags"].replace("'", "").split(", ")
        path.append("name")
        text = f"unknown method '{tag}'{hint(tag, tags)}"
    elif "key" in first.get("ctx", {}):
        path.append(first["ctx"]["key"])
    else:
        found = first["input"]
        text = text[:1].lower() + text[1:] + (f", found {found!r}" if first["type"] != "missing" else "")
    # pydantic names the member of a union too, which the file does not hold
    known = [part for at, part in enumerate(path) if not lines or not isinstance(part, str)
             or tuple(path[: at + 1]) in lines or part in keys]
    name = f" {'.'.join(str(part) for part in known)}:" if lines else ""
    return f"{_place(file, lines, known)}:{name} {text}"


def _place(file: str, lines: Mapping[tuple[Any, ...], int], path: Sequence[Any]) -> str:
    """``file:line`` of the longest known beginning of ``path``."""
    for end in range(len(path), 0, -1):
        if tuple(path[:end]) in lines:
            return f"{file}:{lines[tuple(path[:end])]}"
    return f"{file} {'.'.join(str(part) for part in path)}" if path and not lines else file
