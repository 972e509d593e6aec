"""A table of whatever library as record batches of Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from requant.errors import InputError, PackageMissingError


@dataclass(frozen=True)
class Table:
    """Columns by name, and `batches(size)`: record batches of at most so many rows.

    `again`: they can be read more than once. `native` are columns that Arrow is not asked for: each
    gives a slice of its rows as Python values.
    """

    schema: Any
    batches: Callable[[int], Iterator[Any]]
    again: bool
    rows: int | None
    native: dict[str, Callable[[int, int], list[Any]]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The names, in order."""
        return [*self.native, *self.schema.names]


def open_table(table: Any, native: tuple[str, ...]) -> Table:
    """Return a table as Arrow has it; raises InputError where it is none, or a column cannot be.

    Args:
        table: a DataFrame of pandas or Polars, pyarrow's Table, RecordBatch or RecordBatchReader,
            anything else with `__arrow_c_stream__`.
        native: columns of pandas that are to be read as they are: of ids and vectors.
    """
    arrow = _pyarrow()
    if type(table).__module__.partition(".")[0] == "pandas" and _is_frame(table):
        return _of_pandas(arrow, table, native)
    if isinstance(table, arrow.RecordBatch):
        table = arrow.Table.from_batches([table])
    if isinstance(table, arrow.Table):
        return Table(table.schema, lambda size: _sliced(table, size), True, table.num_rows)
    if isinstance(table, arrow.RecordBatchReader):
        return Table(table.schema, lambda size: _cut(table, size), False, None)
    if hasattr(table, "__arrow_c_stream__"):
        return _of_stream(arrow, table)
    hint = ": collect() it first" if hasattr(table, "collect") else ""
    raise InputError(
        f"a table is a DataFrame of pandas or Polars, a Table of pyarrow, or has "
        f"__arrow_c_stream__; {type(table).__module__}.{type(table).__name__} is none{hint}"
    )


def _is_frame(table: Any) -> bool:
    """Whether it is a DataFrame: a single column has rows, and streams, as well."""
    return hasattr(table, "iloc") and hasattr(table, "columns")


def _of_stream(arrow: Any, table: Any) -> Table:
    def reader() -> Any:
        try:
            return arrow.RecordBatchReader.from_stream(table)
        except (arrow.ArrowException, TypeError, ValueError, BaseException) as error:
            # Polars panics, which is no Exception, where a column holds Python objects.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise InputError(f"the table cannot be read as Arrow: {error}") from error

    first = reader()
    if not hasattr(table, "__len__"):
        return Table(first.schema, lambda size: _cut(first, size), False, None)
    return Table(first.schema, lambda size: _cut(reader(), size), True, len(table))


def _of_pandas(arrow: Any, frame: Any, native: tuple[str, ...]) -> Table:
    named = [name for name in frame.index.names if name is not None]
    if named:
        taken = [name for name in named if name in frame.columns]
        if taken:
            raise InputError(f"the index and a column are both called {taken[0]!r}: rename one")
        # A level without a name is a row number, or what a filter has left of one.
        unnamed = [at for at, name in enumerate(frame.index.names) if name is None]
        frame = (frame.droplevel(unnamed) if unnamed else frame).reset_index()
    strange = next((name for name in frame.columns if not isinstance(name, str)), None)
    if strange is not None:
        raise InputError(f"column {strange!r}: the name of a column is text")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"there are two columns called {twice!r}: rename one")
    own = {name: _python_values(frame[name]) for name in native if name in frame.columns}
    rest = [name for name in frame.columns if name not in own]
    schema = arrow.schema([arrow.field(name, _kind(arrow, frame[name])) for name in rest])

    def batches(size: int) -> Iterator[Any]:
        for start in range(0, len(frame), size):
            part = frame.iloc[start : start + size]
            columns = [_converted(arrow, part[f.name], f.type) for f in schema]
            rows = len(part)
            yield arrow.RecordBatch.from_arrays(columns, schema=schema) if columns else _Rows(rows)

    return Table(schema, batches, True, len(frame), own)


@dataclass(frozen=True)
class _Rows:
    """A batch without columns that still has rows."""

    num_rows: int


def _python_values(series: Any) -> Callable[[int, int], list[Any]]:
    return lambda start, end: [
        None if _is_nothing(value) else value for value in series.iloc[start:end].tolist()
    ]


def _is_nothing(value: Any) -> bool:
    """Whether it stands for a missing value: None, NaN, NaT, NA."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def _kind(arrow: Any, series: Any) -> Any:
    return _converted(arrow, series, None).type


def _converted(arrow: Any, series: Any, kind: Any) -> Any:
    try:
        found = arrow.Array.from_pandas(series, type=kind)
    except (arrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"column {series.name!r}: its values have no type in common that can be stored: {error}"
        ) from error
    return found.combine_chunks() if isinstance(found, arrow.ChunkedArray) else found


def _sliced(table: Any, size: int) -> Iterator[Any]:
    """Yield batches of `size` rows, the last one of fewer, however the table is cut."""
    for start in range(0, table.num_rows, size):
        part = table.slice(start, size).combine_chunks()
        yield from part.to_batches()


def _cut(reader: Any, size: int) -> Iterator[Any]:
    for batch in reader:
        for start in range(0, batch.num_rows, size):
            yield batch.slice(start, size)


def _pyarrow() -> Any:
    try:
        import_module("pyarrow.compute")
        return import_module("pyarrow")
    except ImportError as error:
        raise PackageMissingError("tables need pyarrow: pip install 'requant[arrow]'") from error
