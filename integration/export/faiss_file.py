"""A FAISS file: an IndexIDMap2 over flat vectors or a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from requant.errors import InputError
from requant.integration.export import places
from requant.integration.export.errors import ExportError
from requant.integration.export.job import Job, Written
from requant.integration.export.labels import ITEMS, exact_lengths, labels_of
from requant.integration.export.packages import package
from requant.scores import normalise

# FAISS's own usual number of neighbours.
_M = 32


def write(job: Job) -> Written:
    """Write the file, and the items beside it; raises ExistsError, ExportError, OSError."""
    faiss = package("faiss", "faiss")
    target = places.path_of(job.target)
    beside = target.with_name(target.name + ITEMS)
    index = _empty(faiss, job)
    kinds = [places.is_packed, _is_index]
    with places.new_files([beside, target], job.overwrite, kinds) as (items_path, path):
        with job.collection.selected(job.where) as items, labels_of(items, items_path) as labels:
            for rows in items.pages(job.batch, job.progress):
                cosine = job.collection.metric == "cosine"
                vectors = normalise(rows.vectors) if cosine else rows.vectors
                named = labels.of(rows, vectors, exact_lengths(rows.vectors) if cosine else None)
                if len(named):
                    index.add_with_ids(vectors, named)
        if index.ntotal != labels.rows:
            raise ExportError(f"FAISS holds {index.ntotal} of {labels.rows} vectors")
        _save(faiss, index, path)
        size = path.stat().st_size + (items_path.stat().st_size if labels.needed else 0)
    labels.tell(job, beside)
    _tell(job)
    return labels.written(target, size)


def _is_index(path: Path) -> bool:
    """Whether FAISS made a file, whatever the kind of index: they begin with names as IxM2."""
    return any(places.begins(path, mark) for mark in (b"Ix", b"IH", b"Iw", b"IB"))


def _empty(faiss: Any, job: Job) -> Any:
    metric = faiss.METRIC_L2 if job.collection.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    dim = job.collection.dim
    if job.index_type == "hnsw":
        return faiss.IndexIDMap2(faiss.IndexHNSWFlat(dim, _M, metric))
    if job.index_type != "flat":
        raise InputError(f"a FAISS file is flat or hnsw, not {job.index_type!r}")
    return faiss.IndexIDMap2(faiss.IndexFlat(dim, metric))


def _save(faiss: Any, index: Any, path: Path) -> None:
    # FAISS does not notice when the end of a file cannot be written; Python does.
    with path.open("wb") as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def _tell(job: Job) -> None:
    if job.collection.metric == "cosine":
        job.notes.append(
            "vectors have length 1 and are compared by inner product, which is the cosine: "
            "normalise queries as well"
        )
    if job.collection.metric == "l2":
        job.notes.append("FAISS answers with squared distances")
