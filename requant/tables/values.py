"""Arrow's types as JSON has them: which can be told rightly, and how."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any
from uuid import UUID

import numpy as np

_EXTENSIONS = ("arrow.uuid", "arrow.json")
_SIMPLE = ("null", "boolean", "integer", "floating", "string", "large_string", "string_view")
_TIMES = ("date", "time", "timestamp", "decimal")
_LISTS = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")


def untold(kind: Any) -> str | None:
    """Return the part of a type that JSON has no form for, None if there is none."""
    if hasattr(kind, "storage_type"):
        return None if kind.extension_name in _EXTENSIONS else str(kind)
    if _is(kind, "dictionary", "run_end_encoded"):
        return untold(kind.value_type)
    if _is(kind, "map"):
        return untold(kind.item_type) if _is_text(kind.key_type) else str(kind)
    if _is(kind, *_LISTS):
        return untold(kind.value_type)
    if _is(kind, "struct"):
        inner = (untold(kind.field(at).type) for at in range(kind.num_fields))
        return next((found for found in inner if found), None)
    return None if _is(kind, *_SIMPLE, *_TIMES) else str(kind)


def values_of(array: Any) -> list[Any]:
    """Return an array as JSON values: null is None, dates and times ISO 8601, decimals text.

    Nanoseconds are kept. Raises ValueError where there is a number that JSON has not.

    >>> import pyarrow as pa, datetime as dt, decimal
    >>> values_of(pa.array([{"day": dt.date(2024, 2, 29), "cost": decimal.Decimal("1.50")}, None]))
    [{'day': '2024-02-29', 'cost': '1.50'}, None]
    """
    kind = array.type
    if hasattr(kind, "storage_type"):
        return _extended(kind.extension_name, array.storage.to_pylist())
    for names, told in _TOLD:
        if _is(kind, *names):
            return told(array)
    values: list[Any] = array.to_pylist()
    return values


def json_values(array: Any) -> list[Any] | None:
    """Return an array as `values_of` does, None where JSON has no form for some of it."""
    if untold(array.type) is not None:
        return None
    try:
        return values_of(array)
    except ValueError:
        return None


def is_text(kind: Any) -> bool:
    """Whether a column holds texts, be it by reference."""
    return _is_text(kind.value_type if _is(kind, "dictionary", "run_end_encoded") else kind)


def is_id(kind: Any) -> bool:
    """Whether a column may hold ids."""
    if hasattr(kind, "storage_type"):
        return bool(kind.extension_name == "arrow.uuid")
    inner = kind.value_type if _is(kind, "dictionary", "run_end_encoded") else kind
    return _is_text(inner) or _is(inner, "integer")


def ids_of(array: Any) -> list[Any]:
    """Return a column of ids; UUIDs come as such."""
    if hasattr(array.type, "storage_type"):
        return [None if value is None else UUID(bytes=value) for value in array.storage.to_pylist()]
    return values_of(array)


def _is(kind: Any, *names: str) -> bool:
    types = import_module("pyarrow").types
    return any(getattr(types, f"is_{name}")(kind) for name in names)


def _is_text(kind: Any) -> bool:
    return _is(kind, "string", "large_string", "string_view")


def _extended(name: str, values: list[Any]) -> list[Any]:
    told = json.loads if name == "arrow.json" else lambda raw: str(UUID(bytes=raw))
    return [None if value is None else told(value) for value in values]


def _structs(array: Any) -> list[Any]:
    names = [array.type.field(at).name for at in range(array.type.num_fields)]
    columns = [values_of(column) for column in array.flatten()]
    rows: Iterable[Any] = zip(*columns, strict=True) if columns else [()] * len(array)
    present = np.asarray(array.is_valid()).tolist()
    return [
        dict(zip(names, row, strict=True)) if there else None
        for row, there in zip(rows, present, strict=True)
    ]


def _lists(array: Any) -> list[Any]:
    lengths = import_module("pyarrow.compute").list_value_length(array).to_pylist()
    inner, start, rows = values_of(array.flatten()), 0, []
    for length, there in zip(lengths, np.asarray(array.is_valid()).tolist(), strict=True):
        rows.append(inner[start : start + length] if there else None)
        start += length if there else 0
    return rows


def _maps(array: Any) -> list[Any]:
    """Return maps as dicts; keys and items are read apart, as their own arrays."""
    rows: list[Any] = []
    for row in array:
        if not row.is_valid:
            rows.append(None)
            continue
        pairs = row.values
        keys = values_of(pairs.field(0))
        items = values_of(pairs.field(1))
        rows.append(dict(zip(keys, items, strict=True)))
    return rows


def _moments(array: Any) -> list[Any]:
    """Return times in ISO 8601; Python's own end at microseconds."""
    arrow = import_module("pyarrow")
    kind = array.type
    rest = [0] * len(array)
    if kind.unit == "ns":
        numbers = array.cast(arrow.int64()).to_pylist()
        rest = [0 if value is None else value % 1000 for value in numbers]
        shorter = arrow.time64("us") if _is(kind, "time") else arrow.timestamp("us", tz=kind.tz)
        # Rounded down, also before 1970.
        whole = [None if value is None else value // 1000 for value in numbers]
        array = arrow.array(whole, arrow.int64()).cast(shorter)
    return [
        None if value is None else _moment(value, more)
        for value, more in zip(_days(array), rest, strict=True)
    ]


def _moment(value: Any, nanoseconds: int) -> str:
    if not nanoseconds:
        return str(value.isoformat())
    text = str(value.isoformat(timespec="microseconds"))
    at = text.index(".") + 7
    return f"{text[:at]}{nanoseconds:03d}{text[at:]}"


def _finite(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number}, which JSON has not")
    return number


def _decoded(array: Any) -> list[Any]:
    arrow = import_module("pyarrow")
    if _is(array.type.value_type, "string_view"):  # as Polars has them, and Arrow cannot decode
        words = array.dictionary.cast(arrow.large_string())
        array = arrow.DictionaryArray.from_arrays(array.indices, words)
    return values_of(array.dictionary_decode())


def _run_ends_decoded(array: Any) -> list[Any]:
    return values_of(import_module("pyarrow.compute").run_end_decode(array))


def _finite_numbers(array: Any) -> list[Any]:
    return [_finite(value) for value in array.to_pylist()]


def _dates(array: Any) -> list[Any]:
    return [None if value is None else value.isoformat() for value in _days(array)]


def _days(array: Any) -> list[Any]:
    """Return Python's dates and times; raises ValueError where it has none so far away."""
    try:
        found: list[Any] = array.to_pylist()
    except (OverflowError, ValueError) as error:
        raise ValueError("a time outside of the years 1 to 9999") from error
    return found


def _decimals(array: Any) -> list[Any]:
    return [None if value is None else format(value, "f") for value in array.to_pylist()]


# What is told otherwise than Arrow's own Python values.
_TOLD: tuple[tuple[tuple[str, ...], Callable[[Any], list[Any]]], ...] = (
    (("dictionary",), _decoded),
    (("run_end_encoded",), _run_ends_decoded),
    (("struct",), _structs),
    (("map",), _maps),
    (_LISTS, _lists),
    (("floating",), _finite_numbers),
    (("timestamp", "time"), _moments),
    (("date",), _dates),
    (("decimal",), _decimals),
)
