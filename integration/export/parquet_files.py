"""Items into Parquet files of bounded size, one row group in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import UUID

import numpy as np

from requant.adapters.files import digest_of
from requant.integration.export.manifest import FileEntry
from requant.integration.export.packages import package
from requant.store import Id, Page

ID_TYPES: dict[str, Callable[[str], Id]] = {"str": str, "int": int, "uuid": UUID}
# What a row group and a file hold at most, give or take a batch, before compression.
GROUP_BYTES = 32 << 20
FILE_BYTES = 256 << 20
_encode_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class ParquetFiles:
    """Files one after the other, at least one; `entries` are those that are complete."""

    def __init__(self, folder: Path, dim: int) -> None:
        """Begin the first file in `folder`, of vectors of `dim` dimensions."""
        self.entries: list[FileEntry] = []
        self._folder, self._dim = folder, dim
        self._schema = _schema(dim)
        self._part = self._next()

    def __enter__(self) -> ParquetFiles:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Complete the last file; after an error, only let go of it."""
        if error is None:
            self.entries.append(self._part.finish())
            return
        with suppress(Exception):  # the disk may be full: the first error is the one to tell
            self._part.close()

    def add(self, rows: Page) -> None:
        """Append items."""
        if self._part.bytes >= FILE_BYTES:
            self.entries.append(self._part.finish())
            self._part = self._next()
        self._part.add(_batch(rows, self._dim, self._schema), rows)

    def _next(self) -> _Part:
        return _Part(self._folder / f"part-{len(self.entries):05d}.parquet", self._schema)


class _Part:
    """One file that is being written."""

    def __init__(self, path: Path, schema: Any) -> None:
        self.bytes = 0
        self._path, self._schema = path, schema
        self._waiting: list[Any] = []
        self._waiting_bytes = self._rows = 0
        self._keys: tuple[int, int] | None = None
        # Statistics of vectors and texts would only take room.
        self._writer = package("pyarrow.parquet", "arrow").ParquetWriter(
            path,
            schema,
            compression="zstd",
            use_dictionary=["id_type"],
            write_statistics=["id", "id_type"],
        )

    def add(self, batch: Any, rows: Page) -> None:
        self._waiting.append(batch)
        self._waiting_bytes += batch.nbytes
        self.bytes += batch.nbytes
        self._rows += len(rows)
        first = int(rows.keys[0]) if self._keys is None else self._keys[0]
        self._keys = first, int(rows.keys[-1])
        if self._waiting_bytes >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> FileEntry:
        """Write what is waiting and the footer."""
        self._write_group()
        self.close()
        digest = digest_of(self._path)
        low, high = self._keys or (None, None)
        return FileEntry(self._path.name, self._rows, digest.bytes, digest.sha256, low, high)

    def close(self) -> None:
        self._writer.close()

    def _write_group(self) -> None:
        if not self._waiting:
            return
        table = package("pyarrow", "arrow").Table.from_batches(self._waiting, self._schema)
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._waiting, self._waiting_bytes = [], 0


def metadata_text(metadata: dict[str, Any] | None) -> str | None:
    """Return metadata as the store has it: order, large integers and floats are kept."""
    return None if metadata is None else _encode_json(metadata)


def id_type(value: Id) -> str:
    """Return what an id is.

    >>> id_type(7), id_type("7")
    ('int', 'str')
    """
    return "int" if isinstance(value, int) else "uuid" if isinstance(value, UUID) else "str"


def vector_column(rows: Page, dim: int) -> Any:
    """Return the vectors as an Arrow array of fixed-size lists, null where an item has none."""
    arrow = package("pyarrow", "arrow")
    whole = rows.vectors
    if not rows.present.all():
        whole = np.zeros((len(rows), dim), np.float32)
        whole[rows.present] = rows.vectors
    values = arrow.array(whole.reshape(-1), arrow.float32())
    kind = arrow.list_(arrow.float32(), dim)
    return arrow.FixedSizeListArray.from_arrays(values, type=kind, mask=arrow.array(~rows.present))


def _schema(dim: int) -> Any:
    arrow = package("pyarrow", "arrow")
    text = arrow.string()
    return arrow.schema(
        [
            arrow.field("id", text, nullable=False),
            arrow.field("id_type", text, nullable=False),
            arrow.field("vector", arrow.list_(arrow.float32(), dim)),
            arrow.field("document", text),
            arrow.field("metadata", text),
        ]
    )


def _batch(rows: Page, dim: int, schema: Any) -> Any:
    arrow = package("pyarrow", "arrow")
    text = arrow.string()
    columns = [
        arrow.array([str(value) for value in rows.ids], text),
        arrow.array([id_type(value) for value in rows.ids], text),
        vector_column(rows, dim),
        arrow.array(rows.documents, text),
        arrow.array([metadata_text(entry) for entry in rows.metadata], text),
    ]
    return arrow.record_batch(columns, schema=schema)
