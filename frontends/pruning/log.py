"""The log of a run: a CSV that grows by a row an epoch, and TensorBoard's files where asked."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from ...files import replacing
from .engine import EpochLog

COLUMNS = ("epoch", "phase", "loss", "metric", "residual", "learning_rate", "seconds", "frequencies")


def write_csv(path: Path, rows: Sequence[EpochLog]) -> None:
    """Writes all ``rows``, whole or not at all; ``frequencies`` is JSON: kernels of each pattern."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        record = row.record
        writer.writerow([record.epoch, record.phase, f"{row.loss:.6g}", record.metric, record.residual,
                         f"{record.learning_rate:.6g}", f"{row.seconds:.3f}", json.dumps(record.frequencies)])
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def write_tensorboard(folder: Path, rows: Sequence[EpochLog]) -> None:
    """Writes ``rows`` as TensorBoard scalars into ``folder``."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for row in rows:
            values = {"loss": row.loss, "metric": row.record.metric, "residual": row.record.residual,
                      "learning_rate": row.record.learning_rate}
            for name, value in values.items():
                if value is not None:
                    writer.add_scalar(name, value, row.record.epoch)
