"""Items as a stream of Arrow batches, which LanceDB reads from threads of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from requant.integration.export.job import Job
from requant.integration.export.packages import package
from requant.integration.export.parquet_files import id_type, metadata_text, vector_column
from requant.integration.export.structs import struct_of
from requant.store import Page, Selection

MARK = b"requant_export"


class Feed:
    """Hands out batches until it is stopped; counts them, and keeps what went wrong.

    LanceDB goes on reading for a while when its caller is interrupted: after the `with` block it
    gets nothing more, so that the snapshot may end.
    """

    def __init__(self, job: Job, items: Selection) -> None:
        """Look through the metadata for a common type, and be ready to read."""
        self.rows: int = 0
        self.without_vector: int = 0
        self.error: BaseException | None = None
        self.struct: Any = struct_of(items.metadata(job.batch))
        self.typed: bool = any(type(name) is not str for names in items.ids() for name in names)
        self.schema: Any = _schema(job, self.struct, self.typed)
        self._dim = job.collection.dim
        self._pages = items.pages(job.batch, job.progress)
        self._turn = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Feed:
        """Return this."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Stop; whoever is reading a batch finishes first."""
        with self._turn:
            self._stopped = True
            self._pages.close()

    def reader(self) -> Any:
        """Return all items as a RecordBatchReader, to be read once."""
        arrow = package("pyarrow", "lancedb")
        return arrow.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[Any]:
        while True:
            with self._turn:
                if self._stopped:
                    raise InterruptedError("the export was stopped")
                try:
                    rows = next(self._pages, None)
                except BaseException as error:
                    # What LanceDB makes of it tells nothing.
                    self.error = error
                    raise
                if rows is None:
                    return
                batch = self._batch(rows)
            yield batch

    def _batch(self, rows: Page) -> Any:
        arrow = package("pyarrow", "lancedb")
        self.rows += len(rows)
        self.without_vector += len(rows) - len(rows.vectors)
        whole = rows.metadata if self.struct else [metadata_text(entry) for entry in rows.metadata]
        columns = [
            arrow.array([str(name) for name in rows.ids], arrow.string()),
            arrow.array(rows.documents, arrow.string()),
            arrow.array(whole, self.schema.field("metadata").type),
            vector_column(rows, self._dim),
        ]
        if self.typed:
            columns.append(arrow.array([id_type(name) for name in rows.ids], arrow.string()))
        return arrow.record_batch(columns, schema=self.schema)


def _schema(job: Job, struct: Any, typed: bool) -> Any:
    arrow = package("pyarrow", "lancedb")
    text = arrow.string()
    fields = [
        arrow.field("id", text, nullable=False),
        arrow.field("text", text),
        arrow.field("metadata", struct or text),
        arrow.field("vector", arrow.list_(arrow.float32(), job.collection.dim)),
    ]
    if typed:
        fields.append(arrow.field("id_type", text))
    return arrow.schema(fields, {MARK: job.collection.metric.encode()})
