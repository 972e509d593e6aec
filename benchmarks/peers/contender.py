"""What a contender is, and where each one stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
# The row numbers of the nearest, best first, for one query `(d,)` of length 1.
Ask = Callable[[Vectors], Sequence[int]]


@dataclass(frozen=True)
class Contender:
    """A library and how it is used: `build` writes to a folder, `serve` opens what it wrote.

    `serve` returns a search by the name of each setting, the fastest setting first.
    """

    name: str
    build: Callable[[Vectors, Path], object]
    serve: Callable[[Path], Mapping[str, Ask]]
    # Imported before memory is counted: what an engine takes by being there is not the index's.
    imports: tuple[str, ...]


def rows(found: Any) -> list[int]:
    """Return the first row of a `(1, k)` array of numbers as a list."""
    numbers: list[int] = found[0].tolist()
    return numbers
