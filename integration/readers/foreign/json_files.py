"""JSON files of other software, and the vectors in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from requant.integration.errors import SourceError
from requant.integration.readers.table import stack
from requant.tables import RowError


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds; raises SourceError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}") from error
    return as_object(value, f"{path}")


def as_object(value: Any, where: str) -> dict[str, Any]:
    """Return a value that has to be a JSON object; raises SourceError."""
    if not isinstance(value, dict):
        raise SourceError(f"{where}: a {type(value).__name__} where a JSON object is expected")
    return value


def as_list(value: Any, where: str) -> list[Any]:
    """Return a value that has to be a JSON array; raises SourceError."""
    if not isinstance(value, list):
        raise SourceError(f"{where}: a {type(value).__name__} where a list is expected")
    return value


def to_vectors(
    lists: Sequence[Any], ids: Sequence[Any], where: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return lists of numbers as `(m, d) float32`, and `(n,) bool`: which are not None.

    Raises:
        SourceError: one is something else or of another length; the text names its id.
    """
    try:
        found = stack(lists, None)
    except RowError as error:
        raise SourceError(f"{where}, id {str(ids[error.row])[:80]!r}: {error.reason}") from error
    present = np.ones(len(lists), bool) if found.present is None else found.present
    return found.floats.astype(np.float32), present
