"""A folder of Parquet files and a manifest: everything a collection holds, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np

from requant.integration.export import indexes, manifest, places
from requant.integration.export.job import Job, Written
from requant.integration.export.manifest import Manifest
from requant.integration.export.packages import package
from requant.integration.export.parquet_files import ParquetFiles
from requant.scores import lengths_of
from requant.store import Page

# How far the length of a vector may be from 1 for it to count as normalised.
_UNIT = 1e-3


def write(job: Job) -> Written:
    """Write the folder; raises ExistsError, PackageMissingError, OSError."""
    target = places.path_of(job.target)
    package("pyarrow.parquet", "arrow")
    with places.new_folder(target, job.overwrite, manifest.is_removable) as folder:
        measured = _Measured()
        with job.collection.selected(job.where) as items:
            found = indexes.described(job.collection)
            with ParquetFiles(folder, job.collection.dim) as files:
                for rows in items.pages(job.batch, job.progress):
                    files.add(rows)
                    measured.add(rows)
        told = _manifest(job, files, measured, found)
        manifest.write(folder, told)
    return Written(str(target), told.rows, told.without_vector, places.size_of(target))


class _Measured:
    """The least and the greatest length of a vector, and how many items have none."""

    def __init__(self) -> None:
        self.without_vector = 0
        self.lengths: tuple[float, float] | None = None

    def add(self, rows: Page) -> None:
        self.without_vector += len(rows) - len(rows.vectors)
        if not len(rows.vectors):
            return
        lengths = lengths_of(rows.vectors.astype(np.float64))
        lengths[~rows.vectors.any(axis=1)] = 0
        low, high = float(lengths.min()), float(lengths.max())
        known = self.lengths or (low, high)
        self.lengths = min(low, known[0]), max(high, known[1])


def _manifest(
    job: Job, files: ParquetFiles, measured: _Measured, found: list[dict[str, Any]]
) -> Manifest:
    lengths, model = measured.lengths, job.collection.model
    return Manifest(
        collection=job.collection.name,
        dim=job.collection.dim,
        metric=job.collection.metric,
        rows=sum(entry.rows for entry in files.entries),
        without_vector=measured.without_vector,
        lengths=lengths,
        normalised=None if lengths is None else all(abs(x - 1) <= _UNIT for x in lengths),
        where=dict(job.where) if job.where else None,
        indexes=found,
        files=files.entries,
        model=None if model is None else model.as_json(),
    )
