"""usearch files that other programs keep: mapped, asked as they are, and never written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from usearch.index import Index, MetricKind, ScalarKind

from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.guards import EngineGuard, check_queries, check_search, whole_number
from requant.adapters.protocol import IndexSpec
from requant.adapters.usearch import probe
from requant.adapters.usearch.arguments import threads
from requant.adapters.usearch.capabilities import CAPABILITIES
from requant.adapters.usearch.kinds import clipped, float_kinds
from requant.quantizers.arrays import Float32s
from requant.quantizers.codes import CodeSpec
from requant.quantizers.errors import InputError

Metric = Literal["cosine", "ip", "l2"]

PARAMS = {
    "expansion_search": "candidates looked at by a search without effort (usearch's own default)",
    "exact": "True compares every vector (False, True where a graph has hardly any links)",
    "metric": "cosine, where the vectors were normalised; any metric for an index of bits",
    "threads": "threads of a search (OMP_NUM_THREADS, or every core)",
    "mmap": "False reads the file into memory, where its owner writes over it (True)",
}
_METRICS: dict[Any, Metric | None] = {
    MetricKind.Cos: "cosine",
    MetricKind.IP: "ip",
    MetricKind.L2sq: "l2",
    MetricKind.Hamming: None,
}
# A graph of fewer links was made to be scanned.
_LEAST_LINKS = 4


class AttachedIndex:
    """A usearch file of somebody else's; its ids are usearch's keys."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Open the file; raises InputError, CorruptIndexError, EngineError."""
        for name in params:
            if name not in PARAMS:
                raise InputError(f"a usearch file has no parameter {name!r}: {', '.join(PARAMS)}")
        self._path = Path(location)
        self._mapped = _flag(params, "mmap", True)
        self._stamp = probe.stamp_of(self._path)
        self._index = _opened(self._path, self._stamp, self._mapped)
        self.dim = int(self._index.ndim)
        self.metric = _metric(self._index, params.get("metric"), location)
        self._spec = IndexSpec(CodeSpec("float32", self.dim), "ip", params=params)
        self._threads = threads(self._spec)
        self._exact = _flag(params, "exact", self._index.connectivity < _LEAST_LINKS)
        self._effort = whole_number(self._spec, "expansion_search", 0, least=0)
        self._effort = self._effort or int(self._index.expansion_search)
        self._guard = EngineGuard("usearch")

    def ask(self, queries: Float32s, k: int, effort: int | None = None) -> list[list[str]]:
        """Return the keys of the k nearest of each of `queries (q, d) float32`, nearest first.

        `effort` is the expansion of the search. Raises InputError, DimensionError, and EngineError,
        also where a mapped file was written to since it was attached.
        """
        queries = check_queries(queries, self._spec, k)
        check_search(False, effort, CAPABILITIES, self._spec)
        # One at a time: usearch keeps the effort in the index, where other searches would meet it.
        with self._guard:
            self._check_file()
            want = min(k, len(self._index))
            if not want or not len(queries):
                return [[] for _ in queries]
            self._index.expansion_search = effort or self._effort
            vectors, kind = self._given(queries)
            found = self._index.search(
                vectors, want, exact=self._exact, threads=self._threads, dtype=kind
            )
        if len(queries) == 1:
            return [_texts(found.keys)]
        # Behind its count, usearch pads a row with key 0.
        return [_texts(row[:n]) for row, n in zip(found.keys, found.counts, strict=True)]

    def __len__(self) -> int:
        """Return how many vectors it holds."""
        with self._guard.shared:
            return len(self._index)

    def close(self) -> None:
        """Let go of the file; closing twice is harmless."""
        self._guard.close()
        self._index = None

    def _given(self, queries: Float32s) -> tuple[Any, Any]:
        """Return queries as usearch takes them, and what they are: it makes them of its own kind.

        Of floats for int8 it makes unit vectors, as it did of those that it holds.
        """
        if self._index.dtype == ScalarKind.B1:
            return np.packbits(queries > 0, axis=1), ScalarKind.B1
        return clipped(queries, self._index.dtype.name.lower()), ScalarKind.F32

    def _check_file(self) -> None:
        if not self._mapped or not self._path.exists():
            return
        now = probe.stamp_of(self._path)
        # A file that took its place by a rename leaves the mapped one as it was.
        if now != self._stamp and now.inode == self._stamp.inode:
            raise EngineError(
                f"{self._path} was written to since it was attached: attach it again, or with "
                "params={'mmap': False}"
            )


def _opened(path: Path, stamp: probe.Stamp, mapped: bool) -> Any:
    probe.check(path, stamp)
    try:
        index = Index.restore(str(path), view=mapped)
    except (RuntimeError, ValueError, OSError) as error:
        raise CorruptIndexError(f"usearch cannot read {path}: {error}") from error
    if index is None or probe.stamp_of(path) != stamp:
        raise EngineError(f"{path} was written to while it was read: attach it again")
    return index


def _metric(index: Any, told: Any, location: str) -> Metric | None:
    """Return the metric of the index, or the one that the caller tells if it can be."""
    if told not in (None, "cosine", "ip", "l2"):
        raise InputError(f"parameter metric must be cosine, ip or l2, not {told!r}")
    bits, name = index.dtype == ScalarKind.B1, index.dtype.name.lower()
    hamming = index.metric_kind == MetricKind.Hamming
    if (
        index.metric_kind not in _METRICS
        or bits != hamming
        or not (bits or name == "i8" or name in float_kinds())
    ):
        raise InputError(
            f"{location} holds {name} under {index.metric_kind.name}, which is none of floats and "
            "i8 under cos, ip or l2sq, and b1 under hamming"
        )
    own = _METRICS[index.metric_kind]
    if told not in (None, "cosine", own) and not bits:
        raise InputError(f"{location} compares by {own}, not by {told}")
    metric: Metric | None = told or own
    return metric


def _flag(params: Mapping[str, Any], name: str, default: bool) -> bool:
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"parameter {name} must be True or False, not {value!r}")
    return value


def _texts(keys: Any) -> list[str]:
    return [str(key) for key in np.asarray(keys).tolist()]
