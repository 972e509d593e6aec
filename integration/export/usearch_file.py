"""A usearch file: a graph over the float32 vectors as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from requant.integration.export import places
from requant.integration.export.errors import ExportError
from requant.integration.export.job import Job, Written
from requant.integration.export.labels import ITEMS, labels_of
from requant.integration.export.packages import package

_METRICS = {"cosine": "cos", "ip": "ip", "l2": "l2sq"}


def write(job: Job) -> Written:
    """Write the file, and the items beside it; raises ExistsError, ExportError, OSError."""
    usearch = package("usearch.index", "usearch")
    target = places.path_of(job.target)
    beside = target.with_name(target.name + ITEMS)
    # The dtype has to be said: the default is bf16.
    index = usearch.Index(
        ndim=job.collection.dim, metric=_METRICS[job.collection.metric], dtype="f32"
    )
    kinds = [places.is_packed, _is_index]
    with places.new_files([beside, target], job.overwrite, kinds) as (items_path, path):
        with job.collection.selected(job.where) as items, labels_of(items, items_path) as labels:
            for rows in items.pages(job.batch, job.progress):
                named = labels.of(rows, rows.vectors)
                if len(named):
                    index.add(named.astype(np.uint64), rows.vectors)
        if len(index) != labels.rows:
            raise ExportError(f"usearch holds {len(index)} of {labels.rows} vectors")
        _save(index, path)
        size = path.stat().st_size + (items_path.stat().st_size if labels.needed else 0)
    labels.tell(job, beside)
    return labels.written(target, size)


def _is_index(path: Path) -> bool:
    """Whether usearch made a file: its mark stands behind the matrix of vectors."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(8)
    rows, width = (int.from_bytes(head[at : at + 4], "little") for at in (0, 4))
    return places.begins(path, b"usearch", 8 + rows * width)


def _save(index: Any, path: Path) -> None:
    try:
        index.save(str(path))
    except RuntimeError as error:
        raise ExportError(f"usearch cannot write {path}: {error}") from error
    # usearch does not notice when the end of a file cannot be written.
    found, wanted = path.stat().st_size, index.serialized_length
    if found != wanted:
        raise ExportError(f"the disk is full: usearch wrote {found} of {wanted} bytes")
