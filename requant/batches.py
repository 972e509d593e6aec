"""Rows from an iterator, written a batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, islice
from operator import length_hint
from typing import Any

import numpy as np

from requant.errors import InputError, RequantError
from requant.quantizers.chunks import rows_for

# What a row may hold, and the argument of `upsert` that it goes to.
_COLUMNS = {"id": "ids", "vector": "vectors", "document": "documents", "metadata": "metadata"}


def write_batches(
    rows: Iterable[Mapping[str, Any]],
    write: Callable[[dict[str, list[Any]]], int],
    size: int,
    dim: int,
    progress: Callable[[int, int], object] | None,
) -> int:
    """Hand rows to `write` as columns, at most `size` at a time, and return the sum of its answers.

    Raises what `write` or the iterator does, with `stored`: how many rows there were before.
    """
    _check_size(size)
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        raise InputError(f"rows must be an iterable of dicts, not {type(rows).__name__}")
    total, done, new = length_hint(rows), 0, 0
    try:
        for batch in _batches(rows, rows_for(dim, int(size))):
            new += _written(write, batch, done)
            done += len(batch)
            if progress is not None:
                progress(done, max(done, total))
    except BaseException as error:  # of whoever interrupts, too
        vars(error)["stored"] = done
        raise
    return new


def write_slices(
    total: int,
    size: int,
    write: Callable[[slice], int],
    progress: Callable[[int, int], object] | None,
) -> int:
    """Hand slices of `total` rows to `write`, and return the sum of its answers.

    Raises what `write` does, with `stored`: how many rows there were before.
    """
    _check_size(size)
    new = 0
    for start in range(0, total, int(size)):
        part = slice(start, min(start + int(size), total))
        try:
            new += write(part)
        except BaseException as error:
            found = error if not isinstance(error, RequantError) else _refused(error, part)
            vars(found)["stored"] = start
            if found is error:
                raise
            raise found from error
        if progress is not None:
            progress(part.stop, total)
    return new


def _refused(error: RequantError, part: slice) -> RequantError:
    return type(error)(
        f"the batch of rows {part.start} to {part.stop - 1} was refused, {part.start} rows before "
        f"it are stored; within it, {error}"
    )


def _check_size(size: object) -> None:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise InputError(f"batch must be a whole number from 1, not {size!r}")


def _written(write: Callable[[dict[str, list[Any]]], int], batch: list[Any], done: int) -> int:
    try:
        return write(_columns(batch))
    except RequantError as error:
        raise _refused(error, slice(done, done + len(batch))) from error


def _batches(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield rows in order, those of a batch all with the same columns."""
    for _, alike in groupby(rows, _kind):
        while batch := list(islice(alike, size)):
            yield batch


def _kind(row: Any) -> Any:
    return frozenset(row) if isinstance(row, Mapping) else type(row)


def _columns(batch: list[Any]) -> dict[str, list[Any]]:
    first = batch[0]
    if not isinstance(first, Mapping):
        raise InputError(f'a row is a dict such as {{"id": ..., "vector": ...}}, not {first!r:.80}')
    strange = [name for name in first if name not in _COLUMNS]
    if strange or "id" not in first:
        trouble = f"{strange[0]!r:.80} is no column" if strange else "there is no 'id'"
        raise InputError(f"{trouble}: a row has an id, and any of vector, document and metadata")
    return {_COLUMNS[name]: [row[name] for row in batch] for name in first}
