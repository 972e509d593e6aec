"""FAISS files that other programs keep: asked as they are, and never written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss

from requant.adapters.attached import (
    Metric,
    agreed_metric,
    check_asked,
    check_params,
    flag,
    number,
    signs,
    told_metric,
    unit,
)
from requant.adapters.attached_files import Mapped, stamp_of
from requant.adapters.errors import CorruptIndexError
from requant.adapters.faiss import answers, foreign_files
from requant.adapters.faiss.faults import faults_of
from requant.adapters.faiss.files import downcast, is_binary
from requant.adapters.faiss.pages import HugePages
from requant.adapters.guards import EngineGuard
from requant.quantizers.arrays import Float32s
from requant.quantizers.errors import InputError

PARAMS = {
    "nprobe": "lists read by a search without effort (as saved)",
    "efSearch": "candidates looked at by a search of a graph without effort (as saved)",
    "metric": "cosine, where the vectors were normalised; any metric for an index of bits",
    "mmap": "False reads the file into memory, where its owner writes over it (True)",
}


class AttachedIndex:
    """A FAISS file of somebody else's; its ids are FAISS's labels."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Open the file; raises InputError, CorruptIndexError, EngineError."""
        check_params(params, PARAMS, "a FAISS file")
        self._nprobe, self._ef = number(params, "nprobe"), number(params, "efSearch")
        self._paths, self._files, self._index = _read(Path(location), flag(params, "mmap", True))
        self.metric = agreed_metric(told_metric(params), _metric(self._index, location), location)
        self.dim: int = int(self._index.d)
        HugePages(self._index)  # of what was read into memory
        self._guard = EngineGuard("faiss")

    def ask(self, queries: Float32s, k: int, effort: int | None = None) -> list[list[str]]:
        """Return the labels of the k nearest of each of `queries (q, d) float32`, nearest first.

        `effort` is nprobe of lists and efSearch of a graph. Raises InputError, DimensionError, and
        EngineError, also where a mapped file was written to since it was attached.
        """
        queries = check_asked(queries, self.dim, k, effort)
        with self._guard.shared:
            self._files.check()
            want = min(k, int(self._index.ntotal))
            if not want or not len(queries):
                return [[] for _ in queries]
            wish = _wish(self._index, effort or self._nprobe, effort or self._ef)
            _, labels = answers.ask(self._index, self._vectors(queries), want, wish)
        return [[str(label) for label in row if label != -1] for row in labels.tolist()]

    def stamp(self) -> str:
        """Return the size, the time and the digest of the file, and of its lists' own if any.

        Raises CorruptIndexError where it is gone, EngineError where it is being written to.
        """
        with self._guard.shared:
            return stamp_of(*self._paths)

    def __len__(self) -> int:
        """Return how many vectors it holds."""
        with self._guard.shared:
            return int(self._index.ntotal)

    def close(self) -> None:
        """Let go of the file; closing twice is harmless."""
        self._guard.close()
        self._index = None

    def _vectors(self, queries: Float32s) -> Any:
        """Return queries as the index takes them."""
        if is_binary(self._index):
            return signs(queries)
        return unit(queries) if self.metric == "cosine" else queries


def _read(path: Path, mapped: bool) -> tuple[list[Path], Mapped, Any]:
    """Return the files of an index, those of them that stay mapped, and the index.

    Raises CorruptIndexError where it cannot be read, or its parts contradict each other, and
    EngineError where it was written to meanwhile.
    """
    files = Mapped(path)
    try:
        index, lists = foreign_files.load(path, mapped)
    except (OSError, RuntimeError, MemoryError) as error:
        raise CorruptIndexError(f"faiss cannot read {path}: {error}") from error
    files.check()
    for fault in faults_of(index):
        raise CorruptIndexError(f"{path} is damaged: {fault}")
    if lists is not None:
        return [path, lists], Mapped(path, lists), index
    return [path], files if mapped else Mapped(), index


def _metric(index: Any, location: str) -> Metric | None:
    """Return the metric of the index, None for one of bits."""
    if is_binary(index):
        return None
    own = foreign_files.METRICS.get(index.metric_type)
    if own is None:
        raise InputError(
            f"{location} compares by FAISS's metric {index.metric_type}, which is none of inner "
            "product and L2"
        )
    return own


def _wish(index: Any, nprobe: int, ef: int) -> Any:
    """Return the parameters of one search, wrapped as the index is; None: as it was saved."""
    if isinstance(index, (faiss.IndexIDMap, faiss.IndexBinaryIDMap)):
        return _wish(downcast(index.index), nprobe, ef)
    if isinstance(index, faiss.IndexPreTransform):
        inner = _wish(downcast(index.index), nprobe, ef)
        return inner and faiss.SearchParametersPreTransform(index_params=inner)
    if isinstance(index, faiss.IndexRefine):
        inner = _wish(downcast(index.base_index), nprobe, ef)
        return inner and faiss.IndexRefineSearchParameters(
            base_index_params=inner, k_factor=index.k_factor
        )
    if nprobe and isinstance(index, (faiss.IndexIVF, faiss.IndexBinaryIVF)):
        return faiss.SearchParametersIVF(nprobe=nprobe, max_codes=index.max_codes)
    if ef and _is_graph(index):
        graph = index.hnsw
        return faiss.SearchParametersHNSW(
            efSearch=ef,
            check_relative_distance=graph.check_relative_distance,
            bounded_queue=graph.search_bounded_queue,
        )
    return None


def _is_graph(index: Any) -> bool:
    """Whether it is a graph that takes parameters: those of two levels take none."""
    if not isinstance(index, (faiss.IndexHNSW, faiss.IndexBinaryHNSW)):
        return False
    return not isinstance(downcast(index.storage), (faiss.Index2Layer, faiss.IndexIVFPQ))
