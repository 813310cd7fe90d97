"""Pruning: specifications as text, projection of whole modules, folding of torch's own masks."""

import pytest
import torch
from espalier.frontends import reference_model
from espalier.frontends.pruning.masks import fold_masks
from espalier.frontends.pruning.names import Names
from espalier.frontends.pruning.project import prune_module
from espalier.frontends.pruning.spec import (
    BcrSpec,
    ConnectivitySpec,
    KgsSpec,
    PatternSpec,
    PruneSpec,
    UnstructuredSpec,
    parse_spec,
    parse_specs,
)
from espalier.sparse_dialect import EspalierError
from espalier.sparse_dialect.schedule.detection import detect_scheme
from espalier.sparse_dialect.schemes import (
    Bcr,
    Connectivity,
    Dense,
    Kgs,
    Pattern,
    Unstructured,
)
from espalier.tools.compiled import Source
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune

MAIN_JOB = "pattern:entries=4,patterns=8,connectivity=3.6,linear=8"


def density(weight: torch.Tensor) -> float:
    """The share of nonzero weights."""
    return float((weight != 0).float().mean())


# -- spec ----------------------------------------------------------------------------------------------------


def test_the_issues_specification_parses() -> None:
    assert parse_spec(MAIN_JOB) == PatternSpec(entries=4, patterns=8, connectivity=3.6, linear=8)
    assert parse_spec("connectivity:rate=3.6") == ConnectivitySpec(rate=3.6)
    assert parse_spec("unstructured:rate=8,linear=4") == UnstructuredSpec(rate=8, linear=4)
    assert parse_spec("pattern") == PatternSpec()
    assert parse_spec("pattern:balance=filter, library=layer") == PatternSpec(
        balance="filter", library="layer")
    assert parse_spec("bcr:rows=4,columns=16,rate=10") == BcrSpec(rows=4, columns=16, rate=10)
    assert parse_spec("kgs:filters=8,channels=4,rate=3.6") == KgsSpec()
    assert parse_spec("kgs:vanilla=true") == KgsSpec(vanilla=True)
    assert parse_spec("kernel_group:filters=4") == KgsSpec(filters=4)  # the words of before
    assert str(parse_spec("block:rate=8")) == "bcr:rows=4,columns=16,rate=8.0,row_rate=1,layers=all"


def test_specifications_are_joined_by_plus() -> None:
    assert parse_specs("bcr:layers=matrices+pattern") == (BcrSpec(layers="matrices"), PatternSpec())
    with pytest.raises(EspalierError, match="unknown scheme ''"):
        parse_specs("block+")


rates = st.floats(1, 1e6)
specs = st.one_of(
    st.builds(PatternSpec, entries=st.integers(1, 9), patterns=st.integers(1, 16), connectivity=rates,
              linear=rates, kernel=st.sampled_from([3, 5, 7]), balance=st.sampled_from(["layer", "filter"])),
    st.builds(ConnectivitySpec, rate=rates, linear=rates), st.builds(UnstructuredSpec, rate=rates),
    st.builds(BcrSpec, rows=st.integers(1, 64), columns=st.integers(1, 64), rate=rates,
              layers=st.sampled_from(["all", "convolutions", "pointwise", "matrices"])),
    st.builds(KgsSpec, filters=st.integers(1, 64), rate=rates, vanilla=st.booleans(),
              score=st.sampled_from(["rms", "l2"])))


@given(specs)
def test_a_specification_prints_back(spec: PruneSpec) -> None:
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(("text", "message"), [
    ("", "unknown scheme ''"), ("patern:entries=4", "unknown scheme 'patern': did you mean pattern?"),
    ("pattern:entrys=4", "pattern: unknown key 'entrys': did you mean entries?"),
    ("pattern:foo=4", "unknown key 'foo': expected one of entries, patterns"),
    ("pattern:entries", "expected entries=VALUE, found 'entries'"),
    ("pattern:entries=four", "entries must be a whole number, found 'four'"),
    ("pattern:connectivity=x", "connectivity must be a number, found 'x'"),
    ("pattern:entries=4,entries=5", "entries is given twice"),
    ("pattern:balance=net", "balance must be layer or filter"),
    ("pattern:entries=10", "3x3 kernels have no 10 entries to keep"),
    ("pattern:kernel=4", "kernel must be odd"),
    ("connectivity:rate=0.5", "rate must be at least 1, found 0.5"),
    ("bcr:rows=0", "rows must be at least 1, found 0"),
    ("bcr:rate=2,row_rate=3", "row_rate must not be above rate, found 3 and 2"),
    ("bcr:layers=linear", "layers must be all or convolutions or pointwise or matrices, found 'linear'"),
    ("bcr:linear=2", "unknown key 'linear'"),
    ("kgs:vanilla=yes", "vanilla must be true or false, found 'yes'"),
    ("unstructured:rate=nan", "rate must be at least 1"),
    ("unstructured:rate=inf", "rate must be at least 1, found inf")])
def test_a_wrong_specification_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(EspalierError, match=message.replace("?", r"\?")):
        parse_spec(text)


# -- projection ----------------------------------------------------------------------------------------------


def expected_scheme(layer: nn.Conv2d | nn.Linear, first: bool) -> type:
    """The scheme that the main job gives a layer."""
    if isinstance(layer, nn.Linear):
        return Unstructured
    if layer.kernel_size == (3, 3):
        return Pattern
    return Dense if first else Connectivity


def check_main_job(name: str) -> None:
    """Every layer of ``name`` carries exactly the scheme and the rate of the main job."""
    module, _ = reference_model(name, MAIN_JOB)
    first = True
    libraries = set()
    for layer in module.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        scheme = detect_scheme(layer.weight.detach().numpy())
        assert isinstance(scheme, expected_scheme(layer, first))
        rate = 8.0 if isinstance(layer, nn.Linear) else 1.0
        if isinstance(scheme, Pattern):
            rate *= 9 / 4
            libraries.update(scheme.library)
        if isinstance(layer, nn.Conv2d):
            rate *= 1 if first or layer.groups > 1 else 3.6
            first = False
        assert density(layer.weight) == pytest.approx(1 / rate, rel=0.01)
    assert len(libraries) == 8  # one library for the net
    assert all(4 in pattern for pattern in libraries)  # the centre


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
def test_the_main_job_prunes_exactly(name: str) -> None:
    check_main_job(name)


@pytest.mark.slow
def test_the_main_job_prunes_vgg16_exactly() -> None:
    check_main_job("vgg16")


def own_module() -> nn.Sequential:
    """A user's net: 5x5 and 3x3 kernels, groups, 1-D, shared weights, linear."""
    torch.manual_seed(0)
    shared = nn.Linear(12, 12)
    return nn.Sequential(nn.Conv2d(3, 8, 5), nn.Conv2d(8, 16, 5), nn.Conv2d(16, 16, 3, groups=4),
                         nn.Conv2d(16, 16, 3, groups=16), nn.Conv1d(16, 12, 3), shared, shared)


def test_a_users_own_module_is_pruned_in_place() -> None:
    module = own_module()
    spec = "pattern:kernel=5,entries=6,patterns=4,connectivity=2,library=layer,linear=4"
    assert prune_module(module, spec) is module
    assert [round(density(layer.weight), 2) for layer in module] == [0.24, 0.12, 0.5, 1, 0.5, 0.25, 0.25]
    scheme = detect_scheme(module[1].weight.detach().numpy())
    assert isinstance(scheme, Pattern)
    assert (scheme.kernel, scheme.entries, len(scheme.library)) == ((5, 5), 6, 4)


def test_unstructured_pruning_spares_first_and_depthwise() -> None:
    module = prune_module(own_module(), "unstructured:rate=4")
    assert [round(density(layer.weight), 2) for layer in module] == [1, 0.25, 0.25, 1, 0.25, 1, 1]


def test_block_pruning_covers_matrices_and_convolutions_but_the_first() -> None:
    module = prune_module(own_module(), "bcr:rows=4,columns=4,rate=4")
    assert [round(density(layer.weight), 2) for layer in module] == [1, 0.25, 0.25, 1, 0.25, 0.25, 0.25]
    assert detect_scheme(module[1].weight.detach().numpy()) == Bcr(4, 16)


def test_kgs_pruning_covers_convolutions_but_the_first() -> None:
    module = prune_module(own_module(), "kgs:filters=4,channels=4,rate=4")
    assert [round(density(layer.weight), 2) for layer in module] == [1, 0.25, 0.25, 1, 0.25, 1, 1]
    assert detect_scheme(module[1].weight.detach().numpy()) == Kgs(4, 4, (5, 5))


def test_the_first_specification_that_covers_a_layer_prunes_it() -> None:
    spec = "bcr:rows=4,columns=4,rate=3,layers=matrices+pattern:kernel=5,connectivity=2+unstructured:rate=8"
    module = prune_module(own_module(), spec)
    found = [detect_scheme(layer.weight.detach().numpy()).name for layer in module]
    assert found == ["pattern", "pattern", "connectivity", "dense", "connectivity", "bcr", "bcr"]
    only = prune_module(own_module(), "bcr:rows=4,columns=4,layers=pointwise")
    assert [density(layer.weight) for layer in only] == [1] * 7


def test_layers_smaller_than_a_block_are_named() -> None:
    with pytest.raises(EspalierError, match=r"layer '1' \[3, 8\]: blocks of 4 x 16 are larger than"):
        prune_module(nn.Sequential(nn.ReLU(), nn.Linear(8, 3)), "bcr:rows=4,columns=16")


def test_block_pruning_covers_every_matrix_of_a_recurrent_layer() -> None:
    module = nn.Sequential(nn.GRU(32, 64, 2, bidirectional=True))
    prune_module(module, "bcr:rows=4,columns=16,rate=8")
    for name, weight in module.named_parameters():
        assert (weight == 0).float().mean() == (0.875 if "weight" in name else 0)


def test_layers_that_a_scheme_does_not_fit_stay_and_are_listed(caplog: pytest.LogCaptureFixture) -> None:
    module = nn.Sequential(nn.GRU(12, 32), nn.Linear(32, 2))
    before = {name: weight.clone() for name, weight in module.named_parameters()}
    prune_module(module, "bcr:rows=4,columns=16,rate=8")
    after = dict(module.named_parameters())
    changed = {name for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed == {"0.weight_hh_l0"}
    [record] = caplog.records
    assert "leaves 2 of 3 layers as they are" in record.getMessage()
    assert "layer '0.weight_ih_l0' [96, 12]: blocks of 4 x 16 are" in record.getMessage()
    assert "layer '1' [2, 32]" in record.getMessage()


@pytest.mark.parametrize(("only", "exclude", "pruned"), [
    ("", "", {"0", "2.0", "2.1"}), ("2", "", {"2.0", "2.1"}), ("", "2.*", {"0"}), ("2.?", "*.1", {"2.0"}),
    ("0,2.1", "", {"0", "2.1"})])
def test_names_choose_layers(only: str, exclude: str, pruned: set[str]) -> None:
    head = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32))
    module = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), head)
    prune_module(module, "bcr:rows=4,columns=16,rate=8", Names.parse(only, exclude))
    weights = dict(module.named_parameters())
    assert {name for name in ("0", "2.0", "2.1") if density(weights[f"{name}.weight"]) < 1} == pruned


@pytest.mark.parametrize(("only", "exclude", "option"), [("fc", "", "--only"), ("0", "fc*", "--exclude")])
def test_a_pattern_that_no_layer_has_is_named(only: str, exclude: str, option: str) -> None:
    module = nn.Sequential(nn.Linear(32, 32))
    before = module[0].weight.clone()
    message = rf"{option}: no layer is called .fc\*?.; expected a pattern of 0"
    with pytest.raises(EspalierError, match=message):
        prune_module(module, "bcr:rows=4,columns=16", Names.parse(only, exclude))
    assert torch.equal(module[0].weight, before)


def test_excluded_layers_are_not_checked() -> None:
    module = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32).double())
    prune_module(module, "bcr:rows=4,columns=16", Names.parse(exclude="1"))
    assert density(module[0].weight) < 1


def test_names_need_a_specification() -> None:
    with pytest.raises(EspalierError, match="--only and --exclude need --prune"):
        Source("mobilenet_v2", only="features.*").load()


@pytest.mark.parametrize("broken", ["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_are_refused(broken: str) -> None:
    module = own_module()
    with torch.no_grad():
        module[2].weight[0, 0] = float(broken)
    with pytest.raises(EspalierError, match="layer '2' has weights that are NaN or infinite"):
        prune_module(module, "kgs")


def test_the_largest_weights_stay_and_keep_their_values() -> None:
    before = own_module().get_parameter("5.weight").detach()
    after = prune_module(own_module(), "connectivity:linear=8").get_parameter("5.weight").detach()
    kept = after != 0
    assert torch.equal(after[kept], before[kept])
    assert before[kept].abs().min() > before[~kept].abs().max()


def test_masked_reparametrised_or_double_weights_are_refused() -> None:
    masked = nn.Sequential(nn.Conv2d(1, 1, 3))
    prune.random_unstructured(masked[0], "weight", 0.5)
    with pytest.raises(EspalierError, match="layer '0' computes its weight"):
        prune_module(masked, "pattern")
    with pytest.raises(EspalierError, match="layer '0' computes its weight"):
        prune_module(nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2))), "pattern")
    with pytest.raises(EspalierError, match=r"layer '1' needs a float32 weight .* torch\.float64"):
        prune_module(nn.Sequential(nn.ReLU(), nn.Linear(2, 2).double()), "pattern")


# -- masks ---------------------------------------------------------------------------------------------------


def masked_module() -> nn.Sequential:
    """Two masked layers (one twice, with a bias mask), one plain."""
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
    module = nn.Sequential(nn.Conv2d(2, 4, 3), inner, nn.Conv2d(4, 4, 1))
    prune.l1_unstructured(module[0], "weight", 0.5)
    prune.random_unstructured(module[0], "bias", 0.5)
    prune.ln_structured(inner[0], "weight", 0.5, n=2, dim=0)
    prune.l1_unstructured(inner[0], "weight", 0.25)
    return module


def test_folded_masks_compute_the_same_with_plain_parameters() -> None:
    module, x = masked_module(), torch.randn(1, 2, 8, 8)
    folded = fold_masks(module)
    assert torch.equal(folded(x), module(x))
    assert sorted(folded.state_dict()) == sorted(
        f"{layer}.{name}" for layer in ("0", "1.0", "2") for name in ("weight", "bias"))
    assert all(isinstance(p, nn.Parameter) for p in (folded[0].weight, folded[0].bias, folded[1][0].weight))
    assert density(folded[0].weight) == pytest.approx(0.5, abs=0.02)
    assert not torch.signbit(folded[0].weight[folded[0].weight == 0]).any()


def test_the_users_module_keeps_its_masks_and_shares_the_rest() -> None:
    module = masked_module()
    names, folded = sorted(module.state_dict()), fold_masks(module)
    assert sorted(module.state_dict()) == names
    assert "0.weight_mask" in names
    assert prune.is_pruned(module)
    assert not prune.is_pruned(folded)
    assert folded[2] is module[2]
    assert folded.get_submodule("1.1") is module.get_submodule("1.1")


def test_folding_is_idempotent_and_keeps_plain_modules_as_they_are() -> None:
    folded = fold_masks(masked_module())
    assert fold_masks(folded) is folded
    plain = own_module()
    assert fold_masks(plain) is plain


def test_a_masked_module_used_twice_stays_one() -> None:
    shared = nn.Linear(4, 4)
    prune.l1_unstructured(shared, "weight", 0.5)
    folded = fold_masks(nn.Sequential(shared, nn.ReLU(), shared))
    assert folded[0] is folded[2]


def test_folding_follows_a_mask_that_changed_after_the_last_call() -> None:
    layer = nn.Linear(4, 4)
    prune.l1_unstructured(layer, "weight", 0.5)
    with torch.no_grad():
        layer.get_parameter("weight_orig").fill_(2)
    assert set(fold_masks(layer).weight.unique().tolist()) == {0, 2}


def test_folded_modules_export() -> None:
    module, x = fold_masks(masked_module()), torch.randn(1, 2, 8, 8)
    program = torch.export.export(module, (x,))
    assert torch.allclose(program.module().forward(x), module(x))
