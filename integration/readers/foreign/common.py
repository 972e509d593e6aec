"""What several readers of engines share: packages, fidelity, ids that must be unique."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import PackageMissingError, SourceError
from requant.integration.readers.columns import Wanted
from requant.integration.readers.foreign.protocol import Fidelity
from requant.tables import SeenIds

Place = Callable[[int, str], str]
_FROM_BEST: tuple[Fidelity, ...] = get_args(Fidelity)


def package(name: str, what: str, extra: str) -> Any:
    """Import a module; raises PackageMissingError, which says how to install it."""
    try:
        return import_module(name)
    except ImportError as error:
        raise PackageMissingError(
            f"{what} need {name.partition('.')[0]}: pip install 'requant[{extra}]'"
        ) from error


def worst(*found: Fidelity) -> Fidelity:
    """Return the fidelity that is furthest from the vectors that were embedded.

    >>> worst("exact", "lossy", "normalised")
    'lossy'
    """
    return max(found, key=_FROM_BEST.index)


def signs(packed: NDArray[np.uint8], dim: int) -> NDArray[np.float32]:
    """Return packed bits `(n, w)` as `(n, dim) float32` of -1 and 1, as `numpy.packbits` has them.

    >>> signs(np.array([[0b10100000]], np.uint8), 3).tolist()
    [[1.0, -1.0, 1.0]]
    """
    bits = np.unpackbits(packed, axis=1, count=dim)
    return np.where(bits, np.float32(1), np.float32(-1))


def check_new(seen: SeenIds, ids: Sequence[Any], place: Place) -> None:
    """Remember ids; raises SourceError, naming the first that occurred before."""
    repeated = seen.first_repeated(ids)
    if repeated is not None:
        raise SourceError(
            f"{place(repeated, 'ids')}: id {str(ids[repeated])[:80]!r} occurs a second time: "
            "remove one of the two where the index was made, an id names one item here"
        )


def refuse_columns(name: str, wanted: Wanted) -> None:
    """Raise SourceError where columns are asked of an index that holds ids and vectors only."""
    given = {"--ids": wanted.ids, "--vector": wanted.vector, "--documents": wanted.documents}
    option = next((option for option, value in given.items() if value is not None), None)
    option = option or ("--metadata" if wanted.metadata else None)
    if option is not None:
        raise SourceError(
            f"{name} holds ids and vectors only, so there is nothing for {option} to name: leave "
            "it out, and import documents and metadata under the same ids from a file of their own"
        )
