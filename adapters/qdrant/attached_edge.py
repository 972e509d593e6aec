"""A shard of qdrant-edge that another program keeps: searched in a copy.

Opening a shard writes to its folder: it removes a journal, replays the log and writes its
configuration anew. So what is opened is a copy, in the folder for temporary files.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.attached_folder import SEGMENTS, copy, stamp_of
from requant.adapters.qdrant.edge import CONFIG, is_failure
from requant.adapters.qdrant.folder import MARK
from requant.adapters.qdrant.opening import EDGE
from requant.adapters.qdrant.places import Folder
from requant.quantizers.errors import InputError

T = TypeVar("T")


class HeldInCopy:
    """The shard, as it was when it was copied."""

    def __init__(self, path: Path) -> None:
        """Copy and open it; raises InputError, CorruptIndexError, EngineError."""
        EDGE.check()
        self._path = path
        self.config: Mapping[str, Any] = _config(path)
        scratch = Path(tempfile.mkdtemp(prefix="requant-"))
        self._remove = weakref.finalize(self, _remove, scratch, os.getpid())
        try:
            copy(path, scratch / "shard")
            self._shard = edge.EdgeShard.load(str(scratch / "shard"))
        except BaseException as error:
            self._remove()
            if isinstance(error, EngineError) or not is_failure(error):
                raise
            raise CorruptIndexError(f"qdrant cannot read the shard {path}: {error}") from error

    def search(
        self, vectors: list[list[float]], k: int, vector: str, wish: Mapping[str, Any]
    ) -> list[Sequence[Any]]:
        """Search in one pass."""
        rescore = wish["rescore"]
        params = edge.SearchParams(
            hnsw_ef=wish["hnsw_ef"],
            exact=wish["exact"],
            quantization=None
            if rescore is None
            else edge.QuantizationSearchParams(rescore=rescore),
        )
        requests = [
            edge.QueryRequest(
                limit=k, query=edge.Query.Nearest(row, using=vector or None), params=params
            )
            for row in vectors
        ]
        answers: list[Sequence[Any]] = self._run(
            self._shard.query_batch, edge.QueryBatchRequest(requests)
        )
        return answers

    def count(self, vector: str) -> int:
        """Count exactly; points need not have every vector."""
        having = edge.Filter(must=[edge.HasVectorCondition(vector)]) if vector else None
        return int(self._run(self._shard.count, edge.CountRequest(exact=True, filter=having)))

    def stamp(self, vector: str) -> str:
        """Return a digest of the folder that was copied, as it is now."""
        return stamp_of(self._path)

    def close(self) -> None:
        """Close the copy and remove it."""
        try:
            self._run(self._shard.close)
        finally:
            self._remove()

    def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Call Qdrant, which raises bare `Exception`s, and panics that are no Exception at all."""
        try:
            return call(*arguments)
        except BaseException as error:
            if not is_failure(error):
                raise
            raise EngineError(f"qdrant failed on {self._path}: {error}") from error


def attach(place: Folder, wishes: IndexSpec) -> HeldInCopy:
    """Open a copy of the shard in a folder."""
    return HeldInCopy(place.path)


def _config(path: Path) -> Mapping[str, Any]:
    if (path / "meta.json").is_file() and (path / "collection").is_dir():
        raise InputError(
            f"{path} is a folder of qdrant-client's local mode, which holds pickles, which can run "
            "any program: it is not opened; copy it to a server with the client's own migrate()"
        )
    if (path / MARK).is_file():
        raise InputError(f"{path} is an index of requant's own: search its collection instead")
    try:
        if not (path / SEGMENTS).is_dir():
            raise ValueError("it has no segments")
        config = json.loads((path / CONFIG).read_bytes())
        if not isinstance(config, dict) or not isinstance(config.get("vectors"), dict):
            raise ValueError(f"its {CONFIG} cannot be understood")
    except (OSError, ValueError) as error:
        raise CorruptIndexError(f"no shard of qdrant-edge stands at {path}: {error}") from error
    return config


def _remove(scratch: Path, pid: int) -> None:
    """Remove the copy, in the process that made it: a forked child leaves it to its parent."""
    if os.getpid() == pid:
        shutil.rmtree(scratch, ignore_errors=True)
