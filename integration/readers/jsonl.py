"""JSON lines (.jsonl, .ndjson, also .gz): one object a line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from requant.integration.errors import SourceError
from requant.integration.readers.table import Vectors, stack

# Names of columns are learnt from this many rows.
PEEK_ROWS = 1000
_BROKEN = (OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class JsonChunk:
    """Objects, with the line that each stands on."""

    path: Path
    first: int
    rows: list[dict[str, Any]]
    lines: list[int]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def values(self, column: str) -> list[Any]:
        """Return a column; None where a row lacks the key."""
        return [row.get(column) for row in self.rows]

    def vectors(self, column: str, dim: int | None) -> Vectors:
        """Return a column of lists of numbers; raises RowError."""
        return stack(self.values(column), dim)

    def records(self, columns: Sequence[str] | None, without: Collection[str]) -> list[Any]:
        """Return the rows with some of their keys; a key that a row lacks stays away."""
        if columns is None:
            return [{k: v for k, v in row.items() if k not in without} for row in self.rows]
        return [{name: row[name] for name in columns if name in row} for row in self.rows]

    def place(self, row: int, what: str) -> str:
        """Name the file, the row (from 0) and the line (from 1)."""
        return _place(self.path, self.first + row, self.lines[row])


class JsonLines:
    """A file of JSON objects; the names of its columns are those of its first 1,000 rows."""

    def __init__(self, path: Path) -> None:
        """Look at the first rows; raises SourceError."""
        self.path = path
        self.rows: int | None = None
        self._raw: IO[bytes] | None = None
        peeked = next(self.chunks(PEEK_ROWS, ()), None)
        rows = peeked.rows if peeked is not None else []
        self.columns: list[str] = list(dict.fromkeys(key for row in rows for key in row))
        self.vector_like: list[str] = [name for name in self.columns if _vector_like(rows, name)]

    def count(self) -> int:
        """Return the number of rows by reading the file once; raises SourceError."""
        self.rows = sum(1 for _ in self._lines())
        return self.rows

    def chunks(self, size: int, columns: Sequence[str]) -> Iterator[JsonChunk]:
        """Yield the rows, at most `size` at a time; raises SourceError, naming the row."""
        lines, first = enumerate(self._lines()), 0
        while part := list(islice(lines, size)):
            numbers = [line for _, (line, _) in part]
            rows = [_parse(self.path, row, line, text) for row, (line, text) in part]
            yield JsonChunk(self.path, first, rows, numbers)
            first += len(part)

    def share(self) -> float | None:
        """Return how much of the file has been read."""
        size = self.path.stat().st_size
        if self._raw is None or self._raw.closed or not size:
            return None
        return min(1.0, self._raw.tell() / size)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield line numbers from 1 and the lines that are not blank."""
        line = 0
        packed = self.path.suffix.lower() == ".gz"
        with self.path.open("rb") as raw:
            self._raw = raw
            stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
            try:
                for line, text in enumerate(stream, 1):
                    if text.strip():
                        yield line, text
            except _BROKEN as error:
                raise SourceError(
                    f"{self.path} cannot be read beyond line {line}: {error}"
                ) from error


def _parse(path: Path, row: int, line: int, text: bytes) -> dict[str, Any]:
    try:
        # A byte order mark, as some editors leave it, is no part of the first object.
        value = json.loads(text.decode("utf-8-sig" if line == 1 else "utf-8"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{_place(path, row, line)}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SourceError(f"{_place(path, row, line)}: a {type(value).__name__}, not a JSON object")
    return value


def _place(path: Path, row: int, line: int) -> str:
    return f"{path} row {row} (line {line})"


def _vector_like(rows: list[dict[str, Any]], name: str) -> bool:
    value = next((row[name] for row in rows if row.get(name) is not None), None)
    return isinstance(value, list) and bool(value) and isinstance(value[0], int | float)
