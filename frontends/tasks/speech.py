"""TIMIT (Garofolo et al. 1993): read sentences with hand-made phonemes, in NIST's sphere files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...errors import EspalierError, optional
from .idx import data_folder
from .sequences import Item, SequenceBatches, as_item, phoneme_task
from .task import Task

RATE = 16_000  # samples a second
WINDOW, HOP, BINS, BANDS = 400, 160, 512, 40  # 25 ms every 10 ms
VALIDATION = 10  # one speaker in so many of TRAIN
# Lee and Hon (1989): 61 phonemes are 39 when recognisers are compared; "q" counts for nothing.
FOLDED = {"ao": "aa", "ax": "ah", "ax-h": "ah", "axr": "er", "hv": "hh", "ix": "ih", "el": "l", "em": "m",
          "en": "n", "nx": "n", "eng": "ng", "zh": "sh", "ux": "uw", "pcl": "sil", "tcl": "sil", "kcl": "sil",
          "bcl": "sil", "dcl": "sil", "gcl": "sil", "h#": "sil", "pau": "sil", "epi": "sil"}
PHONEMES = ("aa", "ae", "ah", "aw", "ay", "b", "ch", "d", "dh", "dx", "eh", "er", "ey", "f", "g", "hh", "ih",
            "iy", "jh", "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "sil", "t", "th", "uh",
            "uw", "v", "w", "y", "z")


def timit(folder: str | None = None, batch: int = 16) -> Task:
    """Batches of (log mel bands f32 [T, N, 40], lengths [N]; phonemes [sum], 1 to 39; counts [N]);
    ``folder`` (default: TIMIT below ``$ESPALIER_DATA``) holds TRAIN and TEST."""
    place = Path(folder) if folder else data_folder("TIMIT", "copy TIMIT's TRAIN and TEST there")
    speakers = sorted({path.parent for path in _recordings(place, "TRAIN")})
    held = set(speakers[::VALIDATION]) if len(speakers) > 1 else set()
    known = [(path, read_item(path)) for path in _recordings(place, "TRAIN")]
    train = [item for path, item in known if path.parent not in held]
    validation = [item for path, item in known if path.parent in held] or train
    test = [read_item(path) for path in _recordings(place, "TEST")]
    return phoneme_task(SequenceBatches(train, batch, shuffle=True), SequenceBatches(validation, batch),
                        SequenceBatches(test, batch))


def _recordings(place: Path, part: str) -> list[Path]:
    """The sentences of ``part``; not the two that all speakers read (SA), as in every comparison."""
    folder = next((path for path in (place / part, place / part.lower()) if path.is_dir()), None)
    found = sorted(folder.rglob("*")) if folder else []
    found = [path for path in found if path.suffix.lower() == ".wav" and path.stem[:2].lower() != "sa"]
    if not found:
        raise EspalierError(f"{place}: no recordings (.WAV) below {part}")
    return found


def read_item(path: Path) -> Item:
    """A recording's bands, zero mean and unit deviation each, and its phonemes."""
    soundfile = optional("soundfile", "reading TIMIT")
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except Exception as error:  # soundfile's own errors, and those of the file system
        raise EspalierError(f"cannot read the recording '{path}': {error}") from error
    if rate != RATE or samples.ndim != 1:
        raise EspalierError(f"{path}: expected one channel at {RATE} Hz, found shape {list(samples.shape)} "
                            f"at {rate} Hz")
    bands = log_mel(torch.from_numpy(samples))
    bands = (bands - bands.mean(0)) / bands.std(0).clamp_min(1e-3)
    return as_item(bands, _phonemes(path))


def log_mel(samples: torch.Tensor) -> torch.Tensor:
    """Log energies f32 [T, 40] of mel bands of ``samples`` [S]."""
    spectrum = torch.stft(samples, BINS, HOP, WINDOW, torch.hamming_window(WINDOW), return_complex=True)
    return (mel_filters() @ spectrum.abs().square() + 1e-6).log().T.contiguous()


def mel_filters() -> torch.Tensor:
    """Triangles f32 [bands, bins / 2 + 1], their corners equally far apart on O'Shaughnessy's mel scale."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, BINS // 2 + 1)
    below, centre, above = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (hertz - below) / (centre - below), (above - hertz) / (above - centre)
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0, None).astype(np.float32))


def _phonemes(path: Path) -> list[int]:
    """The numbers of the phonemes in the ``.PHN`` file beside a recording: lines of begin, end, phoneme."""
    file = next((path.with_suffix(suffix) for suffix in (".PHN", ".phn")
                 if path.with_suffix(suffix).is_file()), None)
    if file is None:
        raise EspalierError(f"{path}: no .PHN file beside it")
    found: list[int] = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        word = (line.split() or [""])[-1]
        word = FOLDED.get(word, word)
        if word == "q":
            continue
        if word not in PHONEMES:
            raise EspalierError(f"{file}:{number}: unknown phoneme '{word}'")
        phoneme = PHONEMES.index(word) + 1
        if not found or found[-1] != phoneme or word != "sil":  # closures and pauses run together
            found.append(phoneme)
    return found
