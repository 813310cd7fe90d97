"""What a kernel costs on a CPU, and the sizes that follow: which kernel, how many filters share loads,
channel blocks.

A deliberately small model: multiply-adds over the share of the FMA peak that each kernel class reaches, and
bytes over memory bandwidth for matrix-vector products. The shares were measured on one Sapphire Rapids core
(AVX-512, 165 GFLOP/s peak, VGG-16 and ResNet-50 layers inside the whole network); they only steer choices,
the report shows measured times.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ..devices.cores import Core
from ..schemes import Bcr, Connectivity, Dense, Kgs, Pattern, Scheme

DENSE_SHARE = 0.80
PATTERN_SHARE = 0.60  # single-entry patterns load a vector for each multiply, like unstructured ones
CONNECTIVITY_SHARE = 0.60
KGS_SHARE = 0.75
BCR_SHARE, PAIR_SHARE = 0.70, 0.55  # of blocks of 4 or more rows; of 2 or 3, where a load serves few
SINGLE_SHARE = 0.30
SPARSE_MATRIX_BYTES = 5.0  # a stored weight of a sparse matrix: 4 bytes and a one-byte column
BCR_MATRIX_BYTES = 4.6  # rows of a group share a column's index and the input that it loads
SPARSE_MATRIX_MARGIN = 1.5  # lanes wait for others, and rows fall behind the memory stream

SMALL_PIXELS = 64  # an image of no more is small

COLUMNS_PER_VISIT = 128


@dataclass(frozen=True)
class Machine:
    """The target's peak: ``gflops`` of one core, ``gigabytes`` a second of memory bandwidth."""

    gflops: float = 165.0
    gigabytes: float = 15.0


def share_of_peak(scheme: Scheme) -> float:
    """The share of the FMA peak that the scheme's convolution kernel reaches."""
    match scheme:
        case Dense():
            return DENSE_SHARE
        case Pattern():
            return PATTERN_SHARE if scheme.entries > 1 else SINGLE_SHARE
        case Connectivity():
            return CONNECTIVITY_SHARE
        case Kgs(filters=rows) | Bcr(rows=rows) if rows in (2, 3):
            return PAIR_SHARE
        case Kgs(filters=rows) if rows >= 4:
            return KGS_SHARE
        case Bcr(rows=rows) if rows >= 4:
            return BCR_SHARE
    return SINGLE_SHARE


def convolution_ms(scheme: Scheme, macs: int, machine: Machine = Machine()) -> float:
    """Predicted milliseconds of ``macs`` stored multiply-adds on one core."""
    return 2e-6 * macs / (machine.gflops * share_of_peak(scheme))


def linear_ms(scheme: Scheme, stored: int, machine: Machine = Machine()) -> float:
    """Predicted milliseconds of a matrix-vector product of ``stored`` weights on one core: the time to
    stream them."""
    match scheme:
        case Dense():
            bytes_each = 4.0
        case Bcr(rows=rows) if rows >= 2:
            bytes_each = BCR_MATRIX_BYTES
        case _:
            bytes_each = SPARSE_MATRIX_BYTES * SPARSE_MATRIX_MARGIN
    return 1e-6 * stored * bytes_each / machine.gigabytes


def filters_per_group(scheme: Scheme, filters: int, places: int) -> int:
    """How many filters share loaded inputs (LRE, filter level).

    Pattern kernels share none: two filters rarely keep one pattern at one channel. Pairs of 1x1 kernels
    share a third of their loads at 3.6x; groups of four share more but have 15 kernel classes, and short
    runs cost more than that.
    """
    match scheme:
        case Dense():
            wanted = 4
        case Connectivity() if places == 1:
            wanted = 2
        case _:
            wanted = 1
    return max(size for size in range(1, wanted + 1) if filters % size == 0)


def channel_block(scheme: Scheme, channels: int, kernel: tuple[int, ...], pixels: int, core: Core) -> int:
    """Channels a block (a divisor of ``channels``): a block's tile should stay near L1 while filters pass.

    ``pixels``: output pixels of one channel.
    """
    if prod(kernel) > 1:
        target = core.packed_block
    else:
        target = core.small_block if pixels <= SMALL_PIXELS else core.flat_block
    if isinstance(scheme, Dense) or channels < 2 * target:
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
