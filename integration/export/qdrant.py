"""Qdrant: a collection on a server, or a folder of the embedded engine (qdrant-edge)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from requant.integration.export import places
from requant.integration.export.errors import ExportError
from requant.integration.export.job import Job, Written
from requant.integration.export.packages import package
from requant.integration.export.payloads import Payloads

T = TypeVar("T")
MARK = "requant-export.json"
DISTANCES = {"cosine": "Cosine", "ip": "Dot", "l2": "Euclid"}


def write(job: Job) -> Written:
    """Write the collection; raises ExistsError, ExportError, EngineError."""
    if job.target.startswith(("http://", "https://")):
        from requant.integration.export.qdrant_server import write as write_to_server

        return write_to_server(job)
    return _write_folder(job)


def _write_folder(job: Job) -> Written:
    edge = package("qdrant_edge", "qdrant")
    target = places.path_of(job.target)
    payloads = Payloads(job.collection.metric)
    with places.new_folder(target, job.overwrite, _is_ours) as folder:
        mark = {"collection": job.collection.name, "metric": job.collection.metric}
        (folder / MARK).write_text(json.dumps(mark), encoding="utf-8")
        shard = _made(edge, job, folder)
        try:
            with job.collection.selected(job.where) as items:
                for rows in items.pages(job.batch, job.progress):
                    _check_room(folder, len(rows) * (8 * job.collection.dim + 512))
                    points = [edge.Point(*point) for point in payloads.points(rows)]
                    update = edge.UpdateOperation.upsert_points(points)
                    _run(shard.update, update)
            _check_room(folder, payloads.rows * (8 * job.collection.dim + 512))
            _run(shard.optimize)
            found = _run(shard.count, edge.CountRequest(exact=True))
        finally:
            _run(shard.close)
        if found != payloads.rows:
            raise ExportError(f"Qdrant holds {found} of {payloads.rows} points")
    payloads.tell(job)
    size = places.size_of(target)
    return Written(str(target), payloads.rows, payloads.without_vector, size)


def _made(edge: Any, job: Job, folder: Path) -> Any:
    distance = getattr(edge.Distance, DISTANCES[job.collection.metric])
    vectors = edge.EdgeVectorParams(size=job.collection.dim, distance=distance)
    _check_room(folder, 0)
    config = edge.EdgeConfig(vectors=vectors, on_disk_payload=True)
    return _run(edge.EdgeShard.create, str(folder), config)


def _check_room(folder: Path, needed: int) -> None:
    # Qdrant writes to mapped files, and the system kills a process that does so on a full disk.
    from requant.adapters.qdrant.folder import check_room

    check_room(folder, needed)


def _run(call: Callable[..., T], *arguments: Any) -> T:
    """Call Qdrant, which raises bare `Exception`s, and panics that are no Exception at all."""
    from requant.adapters.qdrant.edge import is_failure

    try:
        return call(*arguments)
    except BaseException as error:
        if not is_failure(error):
            raise
        raise ExportError(f"qdrant cannot write the export: {error}") from error


def _is_ours(path: Path) -> bool:
    return (path / MARK).is_file() and (path / "edge_config.json").is_file()
