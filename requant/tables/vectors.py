"""Vectors out of Arrow's lists, of whatever kind, without a Python object a number."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RowError(Exception):
    """A row of a chunk cannot be used: its place in the chunk, and why."""

    def __init__(self, row: int, reason: str) -> None:
        """Remember both."""
        super().__init__(reason)
        self.row = row
        self.reason = reason


def holds_numbers(kind: Any) -> bool:
    """Whether an Arrow type is lists of numbers, whatever kind of list."""
    types = import_module("pyarrow").types
    kind = getattr(kind, "storage_type", kind)
    listed = (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_fixed_size_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    )
    return bool(
        listed and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type))
    )


def list_vectors(array: Any, dim: int | None) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return `(m, d)` numbers of the m rows that are not null, and `(n,) bool`: which these are.

    None stands for all of them. Raises RowError, naming a row of another width or with a null.
    """
    array = getattr(array, "storage", array)  # a tensor is a list with a name on it
    present = ~np.asarray(array.is_null())
    widths = _widths(array)
    expected = dim or (int(widths[present].max()) if present.any() else 0)
    wrong = present & (widths != expected)
    if wrong.any():
        row = int(wrong.argmax())
        raise RowError(row, f"the vector has {widths[row]} dimensions, expected {expected}")
    values = array.flatten()
    if values.null_count:
        at = int(np.asarray(values.is_null()).argmax()) // expected
        row = int(np.flatnonzero(present)[at])
        raise RowError(row, "the vector holds null, which is not a number")
    floats = values.to_numpy(zero_copy_only=False).reshape(int(present.sum()), expected)
    return floats, None if present.all() else present


def _widths(array: Any) -> Any:
    if hasattr(array.type, "list_size"):
        return np.full(len(array), array.type.list_size)
    lengths = import_module("pyarrow.compute").list_value_length(array)
    return np.asarray(lengths.fill_null(0))
