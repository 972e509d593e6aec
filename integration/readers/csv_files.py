"""Comma and tab separated values (.csv, .tsv, also .gz): a header, and a row a record.

The format has no types. A column whose filled cells are all whole numbers, all numbers or all
true/false is read as such, everything else as text: `007`, `1 000` and numbers that no float holds
are text. Cells of a column `metadata` may be JSON objects. An empty cell is none. The whole file is
read once for it before the first row is handed out.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from requant.integration.errors import SourceError
from requant.integration.readers.table import Vectors, stack
from requant.tables import RowError

_BROKEN = (OSError, EOFError, zlib.error, csv.Error, UnicodeError)
_PEEK_ROWS = 100
# Python's own limit is 131,072 characters a cell, which documents exceed.
_LONGEST_CELL = 1 << 28
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,99})")
# A float keeps so many digits.
_DIGITS = 15
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_BOOL = {"true": True, "false": False, "True": True, "False": False}
_KINDS = ("bool", "int", "float")
_READ: dict[str, Callable[[str], Any]] = {
    "bool": _BOOL.__getitem__,
    "int": int,
    "float": float,
    "object": json.loads,
    "text": str,
}


@dataclass(frozen=True)
class CsvChunk:
    """Records, with the line on which each ends."""

    path: Path
    first: int
    names: list[str]
    kinds: list[str]
    rows: list[list[str]]
    lines: list[int]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def values(self, column: str) -> list[Any]:
        """Return a column; None where a cell is empty."""
        at = self.names.index(column)
        kind = self.kinds[at]
        return [_value(row[at], kind) for row in self.rows]

    def vectors(self, column: str, dim: int | None) -> Vectors:
        """Return a column of JSON lists of numbers; raises RowError."""
        at = self.names.index(column)
        lists = []
        for row, cells in enumerate(self.rows):
            try:
                lists.append(json.loads(cells[at]) if cells[at] else None)
            except ValueError as error:
                raise RowError(row, f"the vector is no JSON list of numbers: {error}") from error
        return stack(lists, dim)

    def records(self, columns: Sequence[str] | None, without: Collection[str]) -> list[Any]:
        """Return a dict a row."""
        names = columns
        if names is None:
            names = [name for name in self.names if name not in without]
        rows = zip(*(self.values(name) for name in names), strict=True)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def place(self, row: int, what: str) -> str:
        """Name the file, the row (from 0) and the line (from 1)."""
        return f"{self.path} row {self.first + row} (line {self.lines[row]})"


class CsvFile:
    """A file of records; its columns are named by the first."""

    def __init__(self, path: Path) -> None:
        """Read the header and look at the first rows; raises SourceError."""
        self.path = path
        self.rows: int | None = None
        self._kinds: list[str] | None = None
        self._raw: IO[bytes] | None = None
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
        self._delimiter = self._guessed()
        self.columns: list[str] = self._header()
        peeked = [cells for _, cells in islice(self._records(), _PEEK_ROWS)]
        self.vector_like: list[str] = [
            name for at, name in enumerate(self.columns) if _listed(peeked, at)
        ]

    def chunks(self, size: int, columns: Sequence[str]) -> Iterator[CsvChunk]:
        """Yield the rows, at most `size` at a time; raises SourceError, naming the line."""
        if self._kinds is None:
            self._kinds = self._looked_through()
        records, first = self._records(), 0
        while part := list(islice(records, size)):
            rows = [cells for _, cells in part]
            lines = [line for line, _ in part]
            yield CsvChunk(self.path, first, self.columns, self._kinds, rows, lines)
            first += len(part)

    def share(self) -> float | None:
        """Return None: `rows` says it all once a row has been read."""
        return None

    def _looked_through(self) -> list[str]:
        """Return what each column is, and count the rows."""
        possible = [
            dict.fromkeys([*_KINDS, *(["object"] if name == "metadata" else [])])
            for name in self.columns
        ]
        count = 0
        for _, cells in self._records():
            count += 1
            for at, cell in enumerate(cells):
                if cell and possible[at]:
                    possible[at] = {k: None for k in possible[at] if _is(cell, k)}
        self.rows = count
        return [next(iter(kinds), "text") for kinds in possible]

    def _guessed(self) -> str:
        if self.path.name.lower().removesuffix(".gz").endswith(".tsv"):
            return "\t"
        with self._text() as text:
            line = text.readline()
        # Spreadsheets write semicolons where the comma is the decimal sign.
        return max(",;\t", key=lambda sign: (len(next(csv.reader([line], delimiter=sign), [])),))

    def _header(self) -> list[str]:
        with self._text() as text:
            names = next(csv.reader(text, delimiter=self._delimiter, strict=True), [])
        if not names or not all(names):
            raise SourceError(
                f"{self.path} cannot be read: its first line must name every column, and is "
                f"{self._delimiter.join(names)[:200]!r}"
            )
        return names

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield line numbers and the cells of each record."""
        with self._text() as text:
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            next(reader, None)
            for row, cells in enumerate(cells for cells in reader if cells):
                if len(cells) != len(self.columns):
                    raise SourceError(
                        f"{self.path} row {row} (line {reader.line_num}) has {len(cells)} cells, "
                        f"the header {len(self.columns)}"
                    )
                yield reader.line_num, cells

    @contextmanager
    def _text(self) -> Iterator[IO[str]]:
        try:
            with self.path.open("rb") as raw:
                packed = self.path.suffix.lower() == ".gz"
                stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
                # A byte order mark, as spreadsheets leave it, is no part of the first name.
                yield io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        except _BROKEN as error:
            raise SourceError(f"{self.path} cannot be read: {error}") from error


def _is(cell: str, kind: str) -> bool:
    if kind == "bool":
        return cell in _BOOL
    if kind == "int":
        return bool(_WHOLE.fullmatch(cell))
    if kind == "float":
        mantissa = re.split("[eE]", cell)[0]
        return bool(_NUMBER.fullmatch(cell)) and sum(map(str.isdigit, mantissa)) <= _DIGITS
    try:
        return isinstance(json.loads(cell), dict)
    except ValueError:
        return False


def _value(cell: str, kind: str) -> Any:
    if not cell:
        return None
    return _READ[kind](cell)


def _listed(rows: list[list[str]], at: int) -> bool:
    filled = next((cells[at] for cells in rows if cells[at]), "")
    return filled.startswith("[") and filled.endswith("]")
