"""The documentation's site: it builds without a warning, and what a reader copies from it works."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import espalier
import pytest
import typer
from espalier.errors import EspalierError
from espalier.tools.docs.examples import commands, examples
from espalier.tools.docs.interfaces import HEADER, c_page, cli_page, python_page
from espalier.tools.docs.tutorial import filled
from espalier.tools.espalier import app

ROOT = Path(espalier.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = [ROOT / "docs" / "index.md", *sorted((ROOT / "docs" / "cookbook").glob("*.md"))]
NEEDED = {"hugging-face": "transformers", "onnx": "onnxscript"}


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path) -> None:
    """In one folder: files are written, Python runs in one program, commands after it."""
    if page.stem in NEEDED:
        pytest.importorskip(NEEDED[page.stem])
    found = list(examples(page.read_text()))
    for example in found:
        if example.title:
            (tmp_path / example.title).write_text(example.code)
    python = [example.code for example in found if example.language == "python" and not example.title]
    lines = [line for example in found if example.language == "sh" for line in commands(example.code)]
    tool = [sys.executable, "-m", "espalier.tools.espalier"]
    programs = [[*tool, *shlex.split(line)[1:]] for line in lines]
    for words in ([sys.executable, "-c", "\n".join(python)], *programs):
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, (words, result.stderr)


def shown_commands() -> list[tuple[str, str]]:
    """Every ``espalier ...`` that a page shows, in fences or indented, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text()
        fenced = [line for example in examples(text) for line in commands(example.code)]
        indented = commands("\n".join(line for line in text.splitlines() if line.startswith("    ")))
        found += [(page.name, line) for line in (*fenced, *indented) if line.startswith("espalier ")]
    return found


def test_pages_show_many_commands() -> None:
    assert len(shown_commands()) > 30


@pytest.mark.parametrize(("page", "line"), shown_commands())
def test_every_command_that_is_shown_has_these_options(page: str, line: str) -> None:
    group: Any = typer.main.get_command(app)
    for part in line.split(" && "):
        name, *words = shlex.split(part)[1:]
        if name.startswith("-"):
            continue
        command = group.commands[name]
        context = command.context_class(command)
        command.make_parser(context).parse_args([word for word in words if word != "..."])


def test_every_option_is_documented() -> None:
    page = cli_page()
    assert "`--prune`" in page
    group: Any = typer.main.get_command(app)
    for name in group.commands:
        assert f"## espalier {name}\n" in page
    empty = [line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert empty == []


def test_every_c_function_has_its_section() -> None:
    page, header = c_page(), HEADER.read_text()
    functions = [line for line in header.splitlines() if line.startswith("ESPALIER_API")]
    sections = page.partition("## The header")[0]
    assert len(functions) > 15
    for line in functions:
        name = line.partition("(")[0].split()[-1].lstrip("*")
        assert f"{name}(" in sections, name


def test_every_public_name_of_python_is_on_its_page() -> None:
    assert "::: espalier.compile\n" in python_page()
    assert "::: espalier.CompiledModel\n" in python_page()


SOURCE = "func.func @main() { return }"


def test_a_mark_becomes_the_ir_behind_its_passes() -> None:
    page = filled("before\n<!-- espalier-opt: from=func lines=1 cse -->\nafter", SOURCE)
    assert page == "before\n```mlir\n  func.func @main() {\n// 3 lines more\n```\nafter"


@pytest.mark.parametrize(("mark", "message"), [("no-such-pass", "no-such-pass"),
                                               ("from=nothing cse", "no line of the IR")])
def test_a_mark_that_fits_nothing_is_an_error(mark: str, message: str) -> None:
    with pytest.raises(EspalierError, match=message):
        filled(f"<!-- espalier-opt: {mark} -->", SOURCE)


def test_blocks_are_found_with_their_titles_and_lines() -> None:
    page = 'x\n\n```python title="a.py"\na = 1\n```\n\n```sh\nespalier run \\\n    x  # why\n```\n'
    own, shell = examples(page)
    assert (own.title, own.code, own.line) == ("a.py", "a = 1\n", 4)
    assert commands(shell.code) == ["espalier run x"]


@pytest.mark.slow
def test_the_site_builds(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    result = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)],
                            cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    tutorial = (tmp_path / "tutorial" / "index.html").read_text()
    assert "espalier-opt:" not in tutorial
    assert "packed_conv" in tutorial
