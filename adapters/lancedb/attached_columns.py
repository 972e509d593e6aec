"""Which columns of somebody else's table are asked: the vectors, and the ids as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.types as types

from requant.adapters.errors import EngineError
from requant.quantizers.errors import InputError

# The number of a row, by LanceDB's own name.
ROW = "_rowid"
_ID = "id"
_UUID_BYTES = 16


@dataclass(frozen=True)
class Columns:
    """The column of vectors, what is in it, and the column of ids.

    `dim` counts bits for a column of bytes, which LanceDB compares by Hamming distance.
    """

    vector: str
    dim: int
    dtype: np.dtype[Any]
    id: str

    @property
    def bits(self) -> bool:
        """Whether it is a column of packed bits."""
        return self.dtype == np.uint8


def columns_of(schema: Any, params: Mapping[str, Any], place: str) -> Columns:
    """Choose the columns; raises InputError where it cannot be told which."""
    vector = _vector(schema, params.get("vector"), place)
    held = schema.field(vector).type
    dtype = np.dtype(held.value_type.to_pandas_dtype())
    dim = held.list_size * (8 if dtype == np.uint8 else 1)
    return Columns(vector, dim, dtype, _id(schema, params.get("id"), place))


def texts_of(column: Any, place: str) -> list[str]:
    """Return ids as text; raises EngineError if a row has none."""
    values = column.to_pylist()
    if None in values:
        raise EngineError(f"a row of {place} has no id: name another column with params id")
    return [str(UUID(bytes=value)) if isinstance(value, bytes) else str(value) for value in values]


def _vector(schema: Any, told: Any, place: str) -> str:
    floats = [field.name for field in schema if _is_vector(field.type, types.is_floating)]
    bits = [field.name for field in schema if _is_vector(field.type, types.is_uint8)]
    have = ", ".join(floats + bits) or "none"
    if told is not None:
        if told not in floats + bits:
            raise InputError(f"{place} has no column of vectors {told!r}; it has: {have}")
        return str(told)
    found = floats or bits
    if len(found) != 1:
        raise InputError(f"{place}: which vectors? params={{'vector': ...}}, one of: {have}")
    name: str = found[0]
    return name


def _is_vector(held: Any, is_value: Any) -> bool:
    return bool(types.is_fixed_size_list(held) and held.list_size and is_value(held.value_type))


def _id(schema: Any, told: Any, place: str) -> str:
    if told == ROW or (told is None and _ID not in schema.names):
        return ROW
    name = _ID if told is None else told
    if name not in schema.names:
        raise InputError(f"{place} has no column {name!r}; it has: {', '.join(schema.names)}")
    held = schema.field(name).type
    if not _is_id(held):
        raise InputError(
            f"the column {name!r} of {place} holds {held}, not whole numbers, texts or UUIDs: name "
            f"another one with params={{'id': ...}}, or {ROW!r}"
        )
    return str(name)


def _is_id(held: Any) -> bool:
    if isinstance(held, pa.BaseExtensionType):
        return bool(held.extension_name == "arrow.uuid")
    if types.is_dictionary(held):
        return _is_id(held.value_type)
    uuid = types.is_fixed_size_binary(held) and held.byte_width == _UUID_BYTES
    texts = types.is_string(held) or types.is_large_string(held) or types.is_string_view(held)
    return bool(types.is_integer(held) or texts or uuid)
