"""Every pass from detection to layouts on its own: what the layer computes by the reference stays the same.

The reference itself is held to PyTorch.
"""

from __future__ import annotations

import pytest
from espalier.pipelines.named import PREPARE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.kernel_harness import close
from support.layers import Drawn, convolutions, linears, recurrents
from support.reference import computed
from support.tiers import examples

PASSES = PREPARE[PREPARE.index("sparse-detect-schemes") :]
LAYERS = {"convolutions": convolutions(), "linear": linears(), "recurrent": recurrents()}
DRAWN = settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(DRAWN, max_examples=examples(100))


def check(layer: Drawn, pipeline: str) -> None:
    """What the layer computes after ``pipeline`` is what PyTorch computes."""
    for got, expected in zip(computed(layer.text, pipeline, layer.inputs), layer.expected, strict=True):
        close(got, expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_the_reference_computes_what_pytorch_does(kind: str) -> None:
    @DRAWN
    @given(LAYERS[kind])
    def drawn(layer: Drawn) -> None:
        check(layer, "")

    drawn()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("last", PASSES)
def test_a_pass_changes_no_number(last: str, kind: str) -> None:
    """All passes up to ``last``: where one breaks a layer, its test is the first that fails."""
    pipeline = ",".join(PASSES[: PASSES.index(last) + 1])

    @DRAWN
    @given(LAYERS[kind])
    def drawn(layer: Drawn) -> None:
        check(layer, pipeline)

    drawn()


@pytest.mark.slow
@pytest.mark.parametrize("kind", LAYERS)
def test_many_layers_after_all_passes(kind: str) -> None:
    @LONG
    @given(LAYERS[kind], st.sampled_from(["auto", "dense", "sparse"]), st.sampled_from([4, 8, 16]))
    def drawn(layer: Drawn, kernel: str, lanes: int) -> None:
        options = {"sparse-schedule-layers": f"{{kernel={kernel}}}"}
        passes = ",".join(name + options.get(name, "") for name in PASSES)
        check(layer, f"sparse-set-target{{lanes={lanes}}},{passes}")

    drawn()
