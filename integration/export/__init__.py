"""Collections out again, into files and stores of others: an index is never a prison.

`export` writes; `read_back` opens what `export(..., format="parquet")` wrote, checked whole.
"""

from requant.exchange import ExportReport
from requant.integration.export.errors import ExportError
from requant.integration.export.exporting import export
from requant.integration.export.job import Format
from requant.integration.export.reading import ExportSource, read_back

__all__ = ["ExportError", "ExportReport", "ExportSource", "Format", "export", "read_back"]
