"""Columns of Arrow as LanceDB has them, and their values as JSON has them."""

from __future__ import annotations

from base64 import b64encode
from datetime import timedelta
from decimal import Decimal
from typing import Any

from requant.integration.readers.arrow import ArrowChunk, pyarrow
from requant.integration.readers.table import plain


class TableChunk(ArrowChunk):
    """A record batch of a table."""

    def values(self, column: str) -> list[Any]:
        """Return a column as Python values: null stays None, an integer an integer."""
        array = self.batch.column(column)
        if _has_nanoseconds(array.type):
            # Python's own times end at microseconds.
            texts = array.cast(pyarrow().string()).to_pylist()
            return [None if text is None else text.replace(" ", "T") for text in texts]
        return [_plain(value) for value in array.to_pylist()]


def vector_like(schema: Any) -> list[str]:
    """Return the columns that may hold vectors: lists of one width, else lists of any."""
    types = pyarrow().types
    fixed, loose = [], []
    for field in schema:
        kind = getattr(field.type, "storage_type", field.type)
        item = getattr(kind, "value_type", None)
        if item is None or not (types.is_floating(item) or item in _small_integers()):
            continue
        if types.is_fixed_size_list(kind):
            fixed.append(field.name)
        elif types.is_floating(item) and (types.is_list(kind) or types.is_large_list(kind)):
            loose.append(field.name)
    return fixed or loose


def is_binary(kind: Any) -> bool:
    """Whether a column holds bytes."""
    types = pyarrow().types
    return bool(
        types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)
    )


def _small_integers() -> tuple[Any, Any]:
    return pyarrow().int8(), pyarrow().uint8()


def _has_nanoseconds(kind: Any) -> bool:
    types = pyarrow().types
    return bool((types.is_timestamp(kind) or types.is_time(kind)) and kind.unit == "ns")


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; what JSON has not becomes text, which loses nothing.

    >>> _plain({"price": Decimal("9.90"), "took": timedelta(seconds=1.5), "none": None})
    {'price': '9.90', 'took': 1.5, 'none': None}
    """
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(pair, tuple) for pair in value):
            return {str(key): _plain(inner) for key, inner in value}
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return plain(value)
