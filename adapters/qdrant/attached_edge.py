"""A shard of qdrant-edge that another program keeps: searched in a copy.

Opening a shard writes to its folder: it removes a journal, replays the log and writes its
configuration anew. So what is opened is a copy, in the folder for temporary files.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import qdrant_edge as edge

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.edge import is_failure
from requant.adapters.qdrant.folder import MARK, check_room
from requant.adapters.qdrant.places import Folder
from requant.quantizers.errors import InputError

T = TypeVar("T")
_CONFIG, _SEGMENTS, _LOG = "edge_config.json", "segments", "wal"
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)


class HeldInCopy:
    """The shard, as it was when it was copied."""

    def __init__(self, path: Path) -> None:
        """Copy and open it; raises InputError, CorruptIndexError, EngineError."""
        self._path = path
        self.config: Mapping[str, Any] = _config(path)
        scratch = Path(tempfile.mkdtemp(prefix="requant-"))
        self._remove = weakref.finalize(self, _remove, scratch, os.getpid())
        try:
            _copy(path, scratch / "shard")
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
        if not (path / _SEGMENTS).is_dir():
            raise ValueError("it has no segments")
        config = json.loads((path / _CONFIG).read_bytes())
        if not isinstance(config, dict) or not isinstance(config.get("vectors"), dict):
            raise ValueError(f"its {_CONFIG} cannot be understood")
    except (OSError, ValueError) as error:
        raise CorruptIndexError(f"no shard of qdrant-edge stands at {path}: {error}") from error
    return config


def _copy(path: Path, target: Path) -> None:
    """Copy a folder while nobody has it open; raises EngineError."""
    try:
        with _alone(path):
            before = _listing(path)
            check_room(target.parent, sum(map(_on_disk, path.rglob("*"))))
            shutil.copytree(path, target, copy_function=_copy_file)
            if _listing(path) != before:
                raise EngineError(f"the shard {path} was written to while it was copied: try again")
    except (OSError, shutil.Error) as error:
        raise EngineError(f"the shard {path} cannot be copied to {target}: {error}") from error


def _listing(path: Path) -> dict[Path, tuple[int, int]]:
    """Return the size and the time of each file."""
    found = {file: file.stat() for file in path.rglob("*") if file.is_file()}
    return {file: (stat.st_size, stat.st_mtime_ns) for file, stat in found.items()}


def _on_disk(file: Path) -> int:
    """Return the bytes that a file takes, which are fewer than its size where it has holes."""
    stat = file.stat()
    return int(stat.st_blocks) * 512 if hasattr(stat, "st_blocks") else stat.st_size


def _copy_file(source: str, target: str) -> None:
    """Copy without the zeros: Qdrant reserves 32 MB for the smallest file."""
    with Path(source).open("rb") as old, Path(target).open("wb") as new:
        while block := old.read(_BLOCK):
            if block == _ZEROS[: len(block)]:
                new.seek(len(block), os.SEEK_CUR)
            else:
                new.write(block)
        new.truncate(old.tell())


def _remove(scratch: Path, pid: int) -> None:
    """Remove the copy, in the process that made it: a forked child leaves it to its parent."""
    if os.getpid() == pid:
        shutil.rmtree(scratch, ignore_errors=True)


if sys.platform == "win32":

    @contextmanager
    def _alone(path: Path) -> Iterator[None]:
        """Do nothing: Qdrant does not lock folders here."""
        yield
else:
    import fcntl

    @contextmanager
    def _alone(path: Path) -> Iterator[None]:
        """Take Qdrant's own lock of the log, beside other readers; a shard without log has none."""
        if not (path / _LOG).is_dir():
            yield
            return
        descriptor = os.open(path / _LOG, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EngineError(
                    f"another program has the shard {path} open: close it there"
                ) from error
            yield
        finally:
            os.close(descriptor)
