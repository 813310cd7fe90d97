"""What the subcommands share: options, progress bars, files, and how errors reach the user."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

from ...errors import EXTRAS, EspalierError, missing, printable
from ...files import replacing
from ..compiled import Progress as Report
from ..fitting import fitted, natural_width, width_of
from ..streams import take_any_text

_DEBUG = "espalier.debug"

class Plain(Console):
    """Prints text without control characters: names in it come from files."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(printable(part) if isinstance(part, str) else part for part in objects), **options)


out = Plain(highlight=False, soft_wrap=True)
err = Plain(highlight=False, soft_wrap=True, stderr=True)


class Guard(TyperGroup):
    """Runs a subcommand so that every failure is one line on stderr and an exit code.

    1: bad input (or a bug, which asks for --debug); 130: Ctrl-C. With ``--debug`` the traceback is shown.
    Usage errors are typer's own (2).
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _fail(ctx, "interrupted", 130)
        except BrokenPipeError:  # the reader of our output left; what it left unread is nobody's error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except EspalierError as error:
            _fail(ctx, f"error: {error}", 1)
        except OSError as error:
            _fail(ctx, f"error: {error}", 1)
        except (typer.Exit, typer.Abort):
            raise
        except MemoryError:
            _fail(ctx, "error: out of memory", 1)
        except ModuleNotFoundError as error:
            top = (error.name or "").partition(".")[0]
            if top not in EXTRAS:
                _fail(ctx, f"internal error: {error} (--debug shows where)", 1)
            _fail(ctx, f"error: {missing(top)}", 1)
        except Exception as error:
            if _is_usage_error(error):
                raise
            _fail(ctx, f"internal error: {type(error).__name__}: {error} (--debug shows where)", 1)


def _is_usage_error(error: Exception) -> bool:
    """Whether typer shows this error itself: click's exceptions, which typer may or may not carry inside."""
    return any(base.__name__ == "ClickException" for base in type(error).__mro__)


def _fail(ctx: Any, message: str, code: int) -> None:
    if ctx.meta.get(_DEBUG):
        err.print_exception()
    err.print("espalier: " + printable(" ".join(message.split())), markup=False)
    raise typer.Exit(code) from None


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    if value:
        ctx.meta[_DEBUG] = True  # shared with the parent context, where Guard reads it
    return value


ModelArgument = Annotated[str, typer.Argument(
    metavar="MODEL", help="vgg16, resnet18, resnet50, mobilenet_v2, c3d, r2plus1d_18, s3d, gru, lstm, "
                          "path.py:function, a .pt2, .onnx or .mlir file, a folder of Hugging Face's")]
PruneOption = Annotated[str | None, typer.Option(
    metavar="SPEC", help="Prune first, e.g. pattern:entries=4,patterns=8,connectivity=3.6,linear=8")]
OnlyOption = Annotated[str, typer.Option(
    metavar="NAMES", help="Prune these layers alone: name patterns such as 'features.*,head'.")]
ExcludeOption = Annotated[str, typer.Option(
    metavar="NAMES", help="Leave these layers as they are: name patterns such as 'head,*.fc'.")]
StepsOption = Annotated[int | None, typer.Option(
    min=1, help="Time steps of a recurrent network's input (default: 100); others run too.")]
ShapeOption = Annotated[list[str] | None, typer.Option(
    "--shape", metavar="INPUT=1x3x224x224", help="The shape of an input whose sizes are free in an .onnx "
    "file, one for each; or of the example for a folder of Hugging Face's.")]
BatchOption = Annotated[str, typer.Option(
    "--batch", metavar="N,...", help="Batch sizes to compile for, which share their weights (default: the "
    "example's); a .pt2 file with a dynamic batch needs it.")]
OneBatchOption = Annotated[int | None, typer.Option(
    "--batch", min=1, help="The batch size (default: the example's).")]
WeightsOption = Annotated[str, typer.Option(
    "--weights", metavar="FILE", help="Trained weights for MODEL: a state dict in .safetensors or .pth.")]
TrustOption = Annotated[bool, typer.Option(
    "--trust", help="Read a .pt2 file that may run code as it is read (pickled objects).")]
SeedOption = Annotated[int, typer.Option(
    min=0, max=(1 << 64) - 1, help="Seed of a reference network's weights and input.")]  # PyTorch's largest
CpusOption = Annotated[str, typer.Option(
    "--cpus", metavar="LIST", help="Run on these processors only, such as 4-7,2 (a phone's big cores).")]
DebugOption = Annotated[bool, typer.Option(
    "--debug", help="Show tracebacks.", callback=_remember_debug, is_eager=True)]
TargetOption = Annotated[str, typer.Option(
    "--target", metavar="TRIPLE", help="Compile for another machine: aarch64-linux-gnu, aarch64-linux-musl, "
    "aarch64-linux-android or x86_64-linux-gnu; or for a GPU: vulkan.")]
PrecisionOption = Annotated[str, typer.Option(
    metavar="fp32|fp16", help="What weights, and tensors between convolutions, are kept in, for a --target.")]
GpuProfileOption = Annotated[str, typer.Option(
    "--gpu-profile", metavar="generic|adreno|adreno6|mali", help="The GPU whose registers decide how much a "
    "thread computes, for --target vulkan.")]
LreOption = Annotated[bool, typer.Option(
    "--lre/--no-lre", help="Eliminate redundant loads; off to measure what it gives.")]


def shapes_of(given: Iterable[str] | None) -> dict[str, tuple[int, ...]]:
    """What ``--shape`` says: the shape of each input."""
    shapes = {}
    for text in given or ():
        name, equals, sizes = text.rpartition("=")
        numbers = sizes.split("x")
        if not equals or not all(number.isdecimal() and int(number) for number in numbers):
            raise EspalierError(f"--shape expects INPUT=1x3x224x224, found '{text}'")
        shapes[name] = tuple(map(int, numbers))
    return shapes


def batches_of(text: str) -> list[int]:
    """What ``--batch`` says: sizes, none for the example's own."""
    words = text.split(",") if text else []
    if not all(word.isdecimal() for word in words):
        raise EspalierError(f"--batch expects sizes such as 1,8,32, found '{text}'")
    from ...runtime.batches import checked_batches  # here: --help needs no numpy

    return checked_batches([int(word) for word in words])


def exit_code(work: Callable[[], int | None]) -> int:
    """What ``work`` returns, 0 for nothing; 1 and one line on stderr for an ``EspalierError``, 130 for
    Ctrl-C: for the mains that are no subcommand."""
    take_any_text()
    try:
        return work() or 0
    except EspalierError as error:
        err.print(f"espalier: error: {error}", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130


def show(table: Table) -> None:
    """Prints ``table`` whole: no line is wider than the terminal, and no column is lost."""
    console = Console()
    width = width_of(console)
    if width is None:
        Console(width=max(console.width, natural_width(table))).print(table)
        return
    for part in (table.title, *fitted(table, width), table.caption):
        if part is not None:
            Console(width=width, highlight=False).print(part)


def say(text: str) -> None:
    """Prints ``text`` in lines that are no wider than the terminal."""
    out.print(text, markup=False, soft_wrap=width_of(Console()) is None, width=width_of(Console()))


@contextmanager
def progress_bars() -> Iterator[Report]:
    """A ``progress(step, done, total)`` callback: one bar a step on stderr, if that is a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    with Progress(*columns, TimeElapsedColumn(), console=err, transient=True,
                  disable=not err.is_terminal) as bars:
        tasks: dict[str, Any] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield report


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` whole or not at all."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def thread_counts(text: str) -> list[int]:
    """``1,2`` as numbers, ascending and without repeats; EspalierError for anything else."""
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError:
        counts = []
    if not counts or counts[0] < 1:
        raise EspalierError(f"--threads expects thread counts such as 1,2, found '{text}'")
    return counts
