"""What ``espalier calibrate`` measured on a machine: figures of its own, in the user's configuration.

    {"AMD EPYC, avx512, fp32/fp32": {"gflops": 118.3, "gigabytes": 11.2, "levels": {"32": 190.1, ...}}}

Where a machine was not calibrated, the cost model's documented figures stand (``schedule/cost_model.py``).
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import EspalierError


@dataclass(frozen=True)
class Calibration:
    """``gflops`` of one core's multiply-adds in fp32, two operations each; ``gigabytes`` a second that it
    reads from memory; ``levels``: the same from buffers of so many KiB."""

    gflops: float
    gigabytes: float
    levels: dict[str, float] = field(default_factory=dict)


def calibrations(path: Path) -> dict[str, Calibration]:
    """What ``path`` holds, by machine; nothing where it is not there. A file that is damaged is passed over
    with a warning."""
    if not path.is_file():
        return {}
    try:
        found = {machine: Calibration(**entry) for machine, entry in json.loads(path.read_text()).items()}
        if any(not known.gflops > 0 or not known.gigabytes > 0 for known in found.values()):
            raise ValueError("a figure is not positive")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        warnings.warn(f"the calibration '{path}' is not usable ({error}): documented figures stand; "
                      "espalier calibrate writes it anew", stacklevel=2)
        return {}
    return found


def as_text(known: dict[str, Calibration]) -> str:
    """The file's text."""
    return json.dumps({machine: asdict(entry) for machine, entry in known.items()}, indent=1) + "\n"


def checked(value: float, what: str) -> float:
    """A measured figure; ``EspalierError`` where the machine's clock gave none."""
    if not 0 < value < 1e9:
        raise EspalierError(f"calibrating {what} gave {value}: the clock of this machine is not usable")
    return value
