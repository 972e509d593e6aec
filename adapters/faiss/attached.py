"""FAISS files that other programs keep: asked as they are, and never written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np

from requant.adapters.faiss import answers, attached_files
from requant.adapters.faiss.capabilities import CAPABILITIES
from requant.adapters.faiss.files import downcast, is_binary
from requant.adapters.guards import EngineGuard, check_queries, check_search, whole_number
from requant.adapters.protocol import IndexSpec
from requant.quantizers.arrays import Float32s
from requant.quantizers.codes import CodeSpec
from requant.quantizers.errors import InputError

Metric = Literal["cosine", "ip", "l2"]

PARAMS = {
    "nprobe": "lists read by a search without effort (as saved)",
    "efSearch": "candidates looked at by a search of a graph without effort (as saved)",
    "metric": "cosine, where the vectors were normalised; any metric for an index of bits",
    "mmap": "False reads the file into memory, where its owner writes over it (True)",
}
_METRICS: dict[int, Metric] = {faiss.METRIC_INNER_PRODUCT: "ip", faiss.METRIC_L2: "l2"}


class AttachedIndex:
    """A FAISS file of somebody else's; its ids are FAISS's labels."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Open the file; raises InputError, CorruptIndexError, EngineError."""
        for name in params:
            if name not in PARAMS:
                raise InputError(f"a FAISS file has no parameter {name!r}: {', '.join(PARAMS)}")
        mapped = params.get("mmap", True)
        if not isinstance(mapped, bool):
            raise InputError(f"parameter mmap must be True or False, not {mapped!r}")
        path = Path(location)
        self._index, self._files = attached_files.read(path, mapped)
        self.metric = _metric(self._index, params.get("metric"), location)
        self.dim = int(self._index.d)
        self._spec = IndexSpec(CodeSpec("float32", self.dim), "ip", params=params)
        self._nprobe = whole_number(self._spec, "nprobe", 0, least=0)
        self._ef = whole_number(self._spec, "efSearch", 0, least=0)
        self._guard = EngineGuard("faiss")

    def ask(self, queries: Float32s, k: int, effort: int | None = None) -> list[list[str]]:
        """Return the labels of the k nearest of each of `queries (q, d) float32`, nearest first.

        `effort` is nprobe of lists and efSearch of a graph. Raises InputError, DimensionError, and
        EngineError, also where a mapped file was written to since it was attached.
        """
        queries = check_queries(queries, self._spec, k)
        check_search(False, effort, CAPABILITIES, self._spec)
        with self._guard.shared:
            self._files.check()
            want = min(k, int(self._index.ntotal))
            if not want or not len(queries):
                return [[] for _ in queries]
            wish = _wish(self._index, effort or self._nprobe, effort or self._ef)
            _, labels = answers.ask(self._index, self._vectors(queries), want, wish)
        return [[str(label) for label in row if label != -1] for row in labels.tolist()]

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
            return np.packbits(queries > 0, axis=1)
        if self.metric != "cosine":
            return queries
        # As its vectors were: which lists are read depends on how long a query is.
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1, keepdims=True)
        return (queries / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _metric(index: Any, told: Any, location: str) -> Metric | None:
    """Return the metric of the index, or the one that the caller tells if it can be."""
    if told not in (None, "cosine", "ip", "l2"):
        raise InputError(f"parameter metric must be cosine, ip or l2, not {told!r}")
    metric: Metric | None = told
    if is_binary(index):
        return metric
    own = _METRICS.get(index.metric_type)
    if own is None:
        raise InputError(
            f"{location} compares by FAISS's metric {index.metric_type}, which is none of inner "
            "product and L2"
        )
    if told not in (None, "cosine", own):
        raise InputError(f"{location} compares by {own}, not by {told}")
    return metric or own


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
