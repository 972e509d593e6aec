"""Sets of a few keys, in order: in a fraction of the time that NumPy's own functions take."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from requant.adapters.protocol import Keys


def are_among(keys: Keys, chosen: Keys) -> NDArray[np.bool_]:
    """Tell which of `keys`, of any shape, are among those that were `chosen`, in order.

    >>> are_among(np.array([[7, 8], [9, 2]]), np.array([2, 7])).tolist()
    [[True, False], [False, True]]
    """
    if not len(chosen):
        return np.zeros(keys.shape, np.bool_)
    found: NDArray[np.bool_] = chosen[np.searchsorted(chosen[:-1], keys)] == keys
    return found


def united(some: Keys, others: Keys) -> Keys:
    """Return the keys that are among `some` or `others`, in order and each once.

    >>> united(np.array([7, 3]), np.array([3, 5])).tolist()
    [3, 5, 7]
    """
    keys = np.concatenate((some, others))
    keys.sort()
    if len(keys) < 2:
        return keys
    twice = keys[1:] == keys[:-1]
    if np.count_nonzero(twice):
        keys = keys[np.concatenate(([True], ~twice))]
    return keys
