"""Registry, options, parser and runner, without the command line."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar, Literal

import pytest
from espalier.pipelines.named import Named
from espalier.pipelines.options import parse_options, print_options
from espalier.pipelines.parser import parse_pipeline
from espalier.pipelines.pipeline import Nest, PassItem, UpstreamItem
from espalier.pipelines.registry import Registry, default_registry
from espalier.pipelines.runner import Runner
from espalier.sparse_dialect.dialect.dialect import register_dialect
from espalier.sparse_dialect.errors import EspalierError, PassError
from espalier.sparse_dialect.ir.mlir import ir
from espalier.sparse_dialect.passes import Pass, PassContext, option
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command_line import take_interrupts
from support.tiers import examples

OPT = [sys.executable, "-m", "espalier.tools.espalier_opt"]


@dataclass(frozen=True)
class EveryPass(Pass):
    """One option of each type."""

    name: ClassVar[str] = "test-every"
    anchor: ClassVar[str] = "any"
    flag: bool = option(False, "a switch")
    many_words: int = option(3, "a number")
    ratio: float = option(0.5, "a fraction")
    text: str = option("", "any text")
    mode: Literal["fast", "small", 0] = option("fast", "a choice")
    grid: tuple[int, ...] = option((4, 4), "a list")
    limit: int | None = option(None, "a number or none")

    def run(self, op: ir.Operation, context: PassContext) -> None:
        op.attributes["test.seen"] = ir.UnitAttr.get()


@dataclass(frozen=True)
class FunctionPass(Pass):
    """Runs on functions."""

    name: ClassVar[str] = "test-function"
    anchor: ClassVar[str] = "func.func"

    def run(self, op: ir.Operation, context: PassContext) -> None:
        op.attributes["test.function"] = ir.UnitAttr.get()


@pytest.fixture
def registry() -> Registry:
    return _registry()


def _registry() -> Registry:
    made = Registry()
    made.add_class(EveryPass)
    made.add_class(FunctionPass)
    made.add_pipeline("test-both", Named("both", ("test-every{flag=true}", "cse")))
    return made


def _module(text: str = "func.func @a() {\n return\n}\nfunc.func @b() {\n return\n}") -> ir.Module:
    context = ir.Context()
    register_dialect(context)
    return ir.Module.parse(text, context)


passes = st.builds(
    EveryPass, flag=st.booleans(), many_words=st.integers(-2**40, 2**40), ratio=st.floats(allow_nan=False),
    text=st.text(), mode=st.sampled_from(["fast", "small", 0]), grid=st.lists(st.integers()).map(tuple),
    limit=st.none() | st.integers())
upstream_items = st.sampled_from([UpstreamItem("cse"),
                                  UpstreamItem("canonicalize", "max-iterations=3 top-down=false"),
                                  UpstreamItem("inline", "op-pipelines={func.func(canonicalize,cse)}")])
items = st.recursive(
    st.builds(PassItem, passes) | upstream_items,
    lambda inner: st.builds(Nest, st.sampled_from(["func.func", "any", "builtin.module"]),
                            st.lists(inner).map(tuple)),
    max_leaves=6)


class TestOptions:
    # a busy machine is no failure
    @settings(max_examples=examples(100), suppress_health_check=[HealthCheck.too_slow])
    @given(passes)
    def test_round_trip(self, value):
        assert parse_options(EveryPass, print_options(value)[1:-1]) == value

    def test_defaults_print_nothing(self):
        assert print_options(EveryPass()) == ""

    def test_spelling(self):
        value = EveryPass(True, 4, text="a b", grid=())
        assert print_options(value) == '{flag=true many-words=4 text="a b" grid=""}'

    @pytest.mark.parametrize(("text", "message"), [
        ("many-words=x", "option 'many-words' of pass 'test-every' expected int, found 'x'"),
        ("many_words=1", "no option 'many_words'; did you mean many-words?"),
        ("flag=yes", "expected bool, found 'yes'"), ("grid=1,a", "expected int,..., found '1,a'"),
        ("mode=slow", r"expected fast\|small\|0"), ("flag flag", "option 'flag' twice"),
        ('text="open', 'unclosed "'), ("=3", "expected option=value, found '=3'"),
        ("limit=1.5", r"expected int\|none, found '1.5'")])
    def test_mistakes(self, text, message):
        with pytest.raises(EspalierError, match=message):
            parse_options(EveryPass, text)


class TestParser:
    @settings(max_examples=examples(100), deadline=None)
    @given(st.lists(items).map(tuple))
    def test_round_trip(self, drawn):
        pipeline = Nest("builtin.module", drawn)
        assert parse_pipeline(str(pipeline), _registry()) == pipeline

    @pytest.mark.parametrize("text", [
        "builtin.module()",
        "builtin.module(test-every,func.func(test-function,canonicalize{max-iterations=2}),cse)",
        "builtin.module(any(test-every{flag=true}))", "func.func(test-function)"])
    def test_text_prints_back(self, text, registry):
        assert str(parse_pipeline(text, registry)) == text

    def test_space_and_lines_are_free(self, registry):
        text = " builtin.module (\n  test-every { flag many-words=4 } ,\n  func.func( cse )\n)\n"
        assert str(parse_pipeline(text, registry)) == (
            "builtin.module(test-every{flag=true many-words=4},func.func(cse))")

    def test_named_pipelines_expand(self, registry):
        assert str(parse_pipeline("builtin.module(cse,test-both)", registry)) == (
            "builtin.module(cse,test-every{flag=true},cse)")

    @pytest.mark.parametrize(("text", "place", "message"), [
        ("builtin.module(cse,\n  test-evry)", "line 2, column 3",
         "unknown pass 'test-evry'; did you mean test-every"),
        ("builtin.module(test-every{flag=3})", "column 27", "expected bool, found '3'"),
        ("builtin.module(test-every{ nope=3})", "column 28", "no option 'nope'"),
        ("builtin.module(test-function)", "column 16", "runs on 'func.func', not on 'builtin.module'"),
        ("builtin.module(func.func(test-both))", "column 26",
         "pipeline 'test-both' runs on 'builtin.module'"),
        ("builtin.module(test-both{flag=true})", "column 26", "takes no options"),
        ("builtin.module(cse{)", "column 19", "no matching '}'"),
        ("builtin.module(cse))", "column 20", "the end"),
        ("builtin.module(,)", "column 16", "expected a pass name"), ("", "column 1", "found the end")])
    def test_mistakes_name_their_place(self, text, place, message, registry):
        with pytest.raises(EspalierError, match="pass pipeline") as caught:
            parse_pipeline(text, registry)
        assert place in str(caught.value)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


class TestRegistry:
    def test_duplicates_are_errors(self, registry):
        with pytest.raises(EspalierError, match="'test-every' is taken"):
            registry.add_class(EveryPass)
        with pytest.raises(EspalierError, match="'test-every' is taken"):
            registry.add_pipeline("test-every", Named("", ()))

    def test_wrong_name(self, registry):
        registry.add("test-alias", lambda: EveryPass)
        with pytest.raises(EspalierError, match="calls itself 'test-every'"):
            registry.get("test-alias")

    def test_missing_module_is_one_line(self, registry):
        registry.add("test-gone", lambda: __import__("no_such_module").Gone)
        with pytest.raises(EspalierError, match="'test-gone' cannot be loaded: No module named"):
            registry.get("test-gone")

    @pytest.mark.parametrize("name", default_registry().names())
    def test_stem_rule(self, name):
        cls = default_registry().get(name)
        assert cls.name == name
        assert cls.__doc__

    @pytest.mark.parametrize("name", list(default_registry().pipelines))
    def test_named_pipelines_parse(self, name):
        assert parse_pipeline(f"builtin.module({name})").items

    def test_importing_the_registry_imports_no_pass_and_no_torch(self):
        script = ("import sys, espalier.tools.espalier_opt; import espalier.pipelines.registry as r;"
                  "r.default_registry(); heavy = ('.raise_linalg', '.lower_to_vector');"
                  "print([m for m in sys.modules if m == 'torch' or m.endswith(heavy)])")
        assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


class TestRunner:
    def test_mixed_nesting(self, registry):
        module = _module()
        seen = []
        text = "builtin.module(func.func(test-function,cse),any(test-every),canonicalize)"
        Runner(parse_pipeline(text, registry),
               progress=lambda name, done, total: seen.append((name, done, total))).run(module.operation)
        for function in module.body.operations:
            assert "test.function" in function.attributes
            assert "test.seen" in function.attributes
        assert seen == [("func.func", 0, 3), ("any", 1, 3), ("canonicalize", 2, 3), ("done", 3, 3)]

    def test_wrong_root(self, registry):
        with pytest.raises(PassError, match=r"runs on 'func\.func', not on 'builtin\.module'"):
            Runner(parse_pipeline("func.func(cse)", registry)).run(_module().operation)

    def test_upstream_failure_is_one_located_line(self, registry):
        module = _module('func.func @a(%x: tensor<4xf32>) -> tensor<4xf32> {\n'
                         '%0 = "sparse.lift"(%x) {layout = #sparse.lanes<[1, 1], []>}'
                         ' : (tensor<4xf32>) -> tensor<4xf32>\n return %0 : tensor<4xf32>\n}')
        with pytest.raises(PassError) as caught:
            Runner(parse_pipeline("builtin.module(cse,one-shot-bufferize)", registry)).run(module.operation)
        assert '"-":2:6: op was not bufferized' in str(caught.value)
        assert "\n" not in str(caught.value)


def test_interrupt_exits_with_130(tmp_path):
    plugin = tmp_path / "slow.py"
    plugin.write_text("import time\nfrom espalier.sparse_dialect.passes import Pass\n"
                      "class SlowPass(Pass):\n    name = 'test-slow'\n"
                      "    def run(self, op, context):\n"
                      "        print('running', flush=True)\n        time.sleep(600)\n")
    output = tmp_path / "out.mlir"
    process = subprocess.Popen([*OPT, f"--load-pass-plugin={plugin}", "--test-slow", "-o", str(output)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, cwd=tmp_path, preexec_fn=take_interrupts)
    process.stdin.write("module {}")
    process.stdin.close()
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert process.stderr.read() == ""
    assert {path.name for path in tmp_path.iterdir()} <= {"slow.py", "__pycache__"}
