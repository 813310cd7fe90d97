"""What generated code is shaped by on each kind of CPU core: registers, instructions, and what work costs.

The costs only steer choices (tiles, channel blocks). Those of AVX-512 were fitted to one Sapphire Rapids
core, those of zen4 to one of its own; those of Arm's cores follow their optimisation guides and LLVM's
models of them, and were not measured on hardware. AVX2 and SSE borrow AVX-512's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import unknown


@dataclass(frozen=True)
class Shares:
    """The share of the multiply-add peak that convolutions reach, by what filters or weights have in common.

    ``groups`` of kernels, ``blocks`` of a matrix, or ``whole`` cuts, of 4 or more filters that share columns;
    ``pairs`` of 2 or 3; ``single`` weights, where two filters share what both need; weights ``alone``, each
    of which loads a vector for one multiply.
    """

    dense: float = 0.80
    patterns: float = 0.60
    kernels: float = 0.60
    groups: float = 0.75
    whole: float = 0.72
    blocks: float = 0.70
    pairs: float = 0.55
    single: float = 0.403  # just above half of dense: 2:4 runs sparse, and nothing that keeps more
    alone: float = 0.30


@dataclass(frozen=True)
class Core:
    """
    A kind of CPU core.

    ``lane_weights``: a multiply takes one lane of a register as its scalar, so that one load brings several
    weights (FMLA by element). ``gathers``: one instruction loads a vector from scattered places.
    ``permutes``: one picks any elements of two vectors of 16 f32; ``wide_windows``: from many vectors as fast
    as weights stream. ``interleaves``: so many vectors a store
    interleaves and a load deals out (ST4, LD4); 0: none does. ``counts_to_zero``: a loop needs no comparison
    where its counter ends at 0 (SUBS). ``keeps_nan``: its maximum and minimum of a NaN are NaN. ``widens``:
    it is to compute in f32 what memory holds in f16.

    ``places_loads``: its code generator keeps the order of the IR, so loads are placed by
    ``sparse-schedule-loads``, ``ahead`` multiplies before their first reader. ``spare``: registers that stay
    free where lines are kept for later readers, for LLVM's allocator then finds no exact fit.

    In cycles: ``multiply`` a vector of multiply-adds, ``line`` an input line brought from L2, ``pack`` a line
    packed, ``store`` a line stored or a partial sum kept and read again, ``kernel`` the fixed cost of one
    stored kernel (loop, weights, mispredicted ends of runs). ``hertz``: cycles a second.

    ``fetch_above``: an input of more bytes lies beyond L2, so that a convolution asks for it a tile ahead; 0:
    never.

    Of matrices: ``stream`` bytes of weights a cycle where all weights of a network, up to ``cached`` bytes,
    stay from run to run, ``stream_far`` of larger ones; for an entry of a sparse one (``storage/sell.py``)
    ``entry`` cycles, and ``fetch`` to bring what its lanes multiply, from a window of 64 inputs.

    ``shares`` of the peak that convolutions reach.

    Channels a block, so that what a visit reads stays near L1: ``packed_block`` for kernels larger than 1x1,
    ``flat_block`` for 1x1 kernels, ``small_block`` for these and patterns on small images, whose tiles
    are smaller; ``mixed_block`` where one run has all of a filter's kernels, 0: none has.
    """

    registers: int
    multiply: float
    line: float
    pack: float
    store: float
    kernel: float
    fetch_above: int = 0
    packed_block: int = 32
    flat_block: int = 64
    small_block: int = 128
    mixed_block: int = 0
    lane_weights: bool = False
    gathers: bool = True
    permutes: bool = False
    wide_windows: bool = False
    interleaves: int = 0
    counts_to_zero: bool = False
    keeps_nan: bool = False
    widens: bool = False
    places_loads: bool = False
    ahead: int = 0
    spare: int = 0
    hertz: float = 2.6e9
    stream: float = 5.8
    stream_far: float = 5.8
    cached: int = 0
    entry: float = 3.5
    fetch: float = 3.7
    shares: Shares = Shares()

    def seconds(self, cycles: float) -> float:
        """How long so many cycles take."""
        return cycles / self.hertz


_AVX512 = Core(registers=32, multiply=0.5, line=0.6, pack=4.0, store=2.5, kernel=8.0, permutes=True,
               wide_windows=True, fetch_above=2 << 20)
_A76 = Core(registers=32, multiply=0.5, line=0.5, pack=1.5, store=1.3, kernel=6.0, packed_block=128,
            flat_block=128, small_block=256, lane_weights=True, gathers=False, interleaves=4, stream=4.0,
            stream_far=4.0, fetch=6.0, counts_to_zero=True, keeps_nan=True, places_loads=True, ahead=8,
            spare=3)

CORES: dict[str, Core] = {
    # Matrices were measured on a Sapphire Rapids core, whose L2 has 2 MB.
    "avx512": replace(_AVX512, stream=40.0, cached=5 << 18, entry=2.0, mixed_block=16),
    # AMD's: 512 bits go through the multipliers in two halves. 64 channels are fastest as one block. The
    # rest was tried on MobileNet-V2: ``kernel`` of 4 or 12 changes nothing, other blocks of 1x1 kernels cost
    # 1 to 6 %. Matrices and single weights were measured on 2 cores of an EPYC with 32 MB of L3.
    "zen4": replace(_AVX512, multiply=1.0, packed_block=48, wide_windows=False, hertz=3.5e9, stream=25.0,
                    stream_far=16.0, cached=8 << 20, shares=Shares(single=0.5, alone=0.5)),
    "avx2": replace(_AVX512, registers=16, permutes=False, wide_windows=False, fetch=8.0),
    "sse": replace(_AVX512, registers=16, permutes=False, wide_windows=False, gathers=False, fetch=6.0),
    # LLVM unrolls loops whose turns it can count for the in-order A55, and then spills addresses.
    "cortex-a55": replace(_A76, multiply=1.0, line=2.0, pack=4.0, store=2.0, kernel=14.0, packed_block=64,
                          counts_to_zero=False),
    "cortex-a76": _A76,
    "cortex-x1": replace(_A76, multiply=0.25, line=0.33, pack=0.7, store=0.6, kernel=5.0),
}
REFERENCE = "avx512"


def core_named(name: str) -> Core:
    """The core of ``CORES``; raises ``EspalierError`` for any other name."""
    if name not in CORES:
        raise unknown("core", name, CORES)
    return CORES[name]
