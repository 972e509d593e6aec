"""For the table of readers: which folders are exports, and what opens them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from requant.integration.errors import SourceError
from requant.integration.export import manifest

if TYPE_CHECKING:
    from requant.integration.export.reading import ExportSource
    from requant.integration.readers.columns import Wanted


def is_export(source: str) -> bool:
    """Whether a path is a folder that `requant export --to parquet` made, be it damaged or not."""
    return "://" not in source and manifest.is_export(Path(source))


def open_export(source: str, wanted: Wanted) -> ExportSource:
    """Open an export as `read_back` does; its columns are known, so none can be chosen."""
    # Not before: it reads with what the package of readers imports along with this.
    from requant.integration.export.reading import read_back
    from requant.integration.readers.columns import Wanted

    if wanted != Wanted():
        raise SourceError(
            f"{source} is an export of requant, which knows its columns: leave out --ids, "
            "--vector, --documents and --metadata"
        )
    return read_back(source)
