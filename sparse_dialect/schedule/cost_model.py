"""What a kernel costs on a CPU, and the sizes that follow: which kernel, how many filters share loads,
channel blocks.

A deliberately small model. Convolutions: multiply-adds over the share of the peak that each kernel class
reaches. Matrices: what an entry of their storage takes, for so many inputs, or the time to stream it, if that
is longer. All figures are the core's own (``devices/cores.py``); they only steer choices, the report shows
measured times.
"""

from __future__ import annotations

from math import ceil, prod

import numpy as np

from ..devices.cores import Core
from ..devices.device import Device
from ..schemes import Bcr, Connectivity, Dense, Empty, Kgs, Pattern, Scheme, Structured
from ..schemes.kernels import KernelScheme, SingleWeights
from ..storage import DenseRows, KeptRows, Sell, Storage
from ..storage.sell import PERMUTED, few_inputs

PAIRED_PLACES = 9  # of a kernel whose single weights two filters may share

SMALL_PIXELS = 64  # an image of no more is small
FEW_KEPT = 1 / 3  # of single weights, so many are few

COLUMNS_PER_VISIT = 128

GROUP_COST = {1: 1.9, 2: 1.25, 3: 1.1, 4: 1.0}  # of a multiply where so many filters share loads
SHORT_COST = 1.1  # likewise, where the last group repeats a filter

# Matrices. Cycles that an output takes, scattered ones too; and where vectors run along the inputs, what of
# a lane is no multiply, and the lines of input that it loads, in lines from L2. MANY: inputs where only the
# run knows how many there are. VECTORS: of inputs at once.
OUTPUT, SCATTERED, LANE, LOADED = 0.25, 2.0, 0.3, 2.9
TOGETHER = 0.6  # of a multiply's time where a picked input serves another row
ROW_MULTIPLY = 1.03  # of a multiply's time in dense rows, where loads hide behind it
MANY, VECTORS = 64, 4


def share_of_peak(scheme: Scheme, core: Core, together: int = 1) -> float:
    """The share of the FMA peak that the scheme's convolution kernel reaches where ``together`` filters share
    loaded inputs."""
    shares = core.shares
    match scheme:
        case Dense():
            return shares.dense
        case Structured():
            return shares.whole
        case Pattern():
            return shares.patterns if scheme.entries > 1 else shares.alone
        case Connectivity():
            return shares.kernels
        case Kgs(filters=rows) | Bcr(rows=rows) if rows in (2, 3):
            return shares.pairs
        case Kgs(filters=rows) if rows >= 4:
            return shares.groups
        case Bcr(rows=rows) if rows >= 4:
            return shares.blocks
        case SingleWeights() if together > 1:
            return shares.single
    return shares.alone


def convolution_ms(scheme: Scheme, macs: int, device: Device, together: int = 1) -> float:
    """Predicted milliseconds of ``macs`` stored multiply-adds on one core, as ``share_of_peak``."""
    core = device.costs
    return 1e3 * core.seconds(macs / device.lanes * core.multiply / share_of_peak(scheme, core, together))


def matrix_ms(storage: Storage, shape: tuple[int, ...], stored: int, inputs: int | None,
              device: Device) -> float:
    """Predicted milliseconds of a matrix [M, K] of ``stored`` weights times ``inputs`` on one core."""
    core, count = device.costs, MANY if inputs is None else inputs
    size = stored * (2 if device.precision == "fp16" else 4)
    outputs = shape[0] * count
    if isinstance(storage, Sell):
        entries = stored / (storage.group * storage.lanes)
        size += stored // storage.group  # a byte of index for each lane of an entry
        work = _entries(storage, entries, shape[1], count, core) + outputs * OUTPUT
    else:
        assert isinstance(storage, DenseRows | KeptRows)
        scattered = isinstance(storage, KeptRows) and storage.rows < shape[0]
        work = (stored / storage.lanes * count * core.multiply * ROW_MULTIPLY
                + outputs * (SCATTERED if scattered else OUTPUT))
    again = not isinstance(storage, KeptRows) and storage.gates > 1  # steps read one matrix again and again
    stays = max(size, 0 if again else device.weights) <= core.cached
    return 1e3 * core.seconds(max(work, size / (core.stream if stays else core.stream_far)))


def _entries(storage: Sell, entries: float, columns: int, inputs: int, core: Core) -> float:
    """Cycles of all entries of a sparse matrix: picked from few inputs, or with vectors along many."""
    group = storage.group
    if storage.gates > 1 or inputs < few_inputs(storage.lanes, group):
        fetch = core.fetch * max(1.0, storage.window / PERMUTED if storage.window % PERMUTED == 0
                                 and core.permutes else 1.0)
        return entries * (core.entry + inputs * (fetch + TOGETHER * core.multiply * group))
    cycles, left = inputs * columns * OUTPUT, ceil(inputs / storage.lanes)
    while left > 0:
        vectors = min(left, VECTORS)
        lane = vectors * max(group * core.multiply * 1.1, LOADED * core.line) + LANE
        cycles, left = cycles + entries * storage.lanes * lane, left - vectors
    return cycles


def matrix_size(storage: Storage, weight: np.ndarray) -> int:
    """The weights that ``storage`` keeps of ``weight`` [M, K], about, without packing it."""
    if isinstance(storage, Sell):
        return storage.estimate(weight)
    assert isinstance(storage, DenseRows | KeptRows)
    return int(prod(storage.sizes(weight.shape)))


def filters_per_group(scheme: Scheme, filters: int, places: int, small: bool = False) -> int:
    """How many filters share loaded inputs (LRE, filter level).

    Pattern kernels share none: two filters rarely keep one pattern at one channel. Pairs of 1x1 kernels
    share a third of their loads at 3.6x, and single weights a quarter at 2x; groups of four share more but
    have 15 kernel classes (a place), and short runs and long code cost more than that. So do the 75 classes
    of pairs of 5x5 kernels, and 27 where the image is ``small``, so that a run multiplies few vectors.
    """
    match scheme:
        case Dense():
            most = 4
        case Connectivity() if places == 1:
            most = 2
        case SingleWeights() if places == 1 or (places <= PAIRED_PLACES and not small):
            most = 2
        case _:
            most = 1

    def cost(size: int) -> float:
        """The last group may repeat a filter, which costs as much as one, and keeps readers from fusing."""
        return -(-filters // size) * size * GROUP_COST[size] * (1.0 if filters % size == 0 else SHORT_COST)

    return min(range(most, 0, -1), key=cost)


def one_run(scheme: KernelScheme, kernel: tuple[int, ...], kept: float, strides: int, core: Core) -> bool:
    """Whether the kernels of all classes should come in one run (``Schedule.mixed``).

    A run a class ends unforeseen, one run shares no lines. A step of ``strides`` pixels (a product) leaves
    the few taps of a pattern no line in common. Of single weights two filters share the more lines the larger
    a share of them is ``kept``.
    """
    lengths = list(map(len, scheme.patterns(kernel)))
    if not core.mixed_block or len(lengths) < 2 or len(set(lengths)) > 1:
        return False
    return kept <= FEW_KEPT if isinstance(scheme, SingleWeights) else strides >= lengths[0]


def channel_block(scheme: Scheme, channels: int, kernel: tuple[int, ...], pixels: int, core: Core,
                  mixed: bool = False) -> int:
    """Channels a block (a divisor of ``channels``): a block's tile should stay near L1 while filters pass.

    ``pixels``: output pixels of one channel. ``mixed``: kernels of all classes come in one run. Patterns have
    a run a pattern, which ends unforeseen: the fewer blocks the better, where that fits.
    """
    small = pixels <= SMALL_PIXELS
    if mixed:
        target = 2 * core.mixed_block if small else core.mixed_block
    elif prod(kernel) > 1:
        target = core.small_block if small and isinstance(scheme, Pattern) else core.packed_block
    else:
        target = core.small_block if small else core.flat_block
    if isinstance(scheme, Dense | Empty) or channels < 2 * target:
        return channels
    best = max(size for size in range(1, target + 1) if channels % size == 0)
    return best if 4 * best >= target else channels


def shorter_block(block: int, kept: float, longest: int) -> int:
    """The largest part of a ``block`` of channels, of each of which ``kept`` weights multiply, that adds up
    at most about ``longest`` products."""
    parts = [size for size in range(1, block + 1) if block % size == 0 and size * kept <= longest]
    return max(parts, default=1)


def shared_channel_block(channels: int, places: int, kept: float, together: int) -> int:
    """Channels a block (a divisor of ``channels``) where filters share columns and a share ``kept`` stays.

    A visit of a group should multiply about COLUMNS_PER_VISIT columns: enough to hide that its sums are
    loaded and stored, few enough that many output lines of the block's channels stay in cache. A block holds
    whole units of ``together`` channels where it can.
    """
    wanted = COLUMNS_PER_VISIT / max(kept * places, 1e-9)
    divisors = [size for size in range(1, channels + 1) if channels % size == 0]
    whole = [size for size in divisors if size % together == 0] or [channels]
    return min(whole, key=lambda size: max(size / wanted, wanted / size))
