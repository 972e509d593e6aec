"""usearch files that other programs keep: mapped, asked as they are, and never written to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index, MetricKind, ScalarKind

from requant.adapters.attached import (
    Metric,
    agreed_metric,
    asked_by,
    check_asked,
    check_params,
    flag,
    number,
    signs,
    told_metric,
)
from requant.adapters.attached_files import Mapped, stamp_of, state_of
from requant.adapters.errors import CorruptIndexError, EngineError
from requant.adapters.guards import EngineGuard
from requant.adapters.usearch import probe
from requant.adapters.usearch.arguments import threads
from requant.adapters.usearch.kinds import clipped, float_kinds
from requant.quantizers.arrays import Float32s
from requant.quantizers.errors import InputError

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
        check_params(params, PARAMS, "a usearch file")
        self._path = Path(location)
        self._files, self._index = _read(self._path, flag(params, "mmap", True))
        self.dim: int = int(self._index.ndim)
        self.metric = agreed_metric(told_metric(params), _metric(self._index, location), location)
        self._threads = threads(asked_by(self.dim, params))
        self._exact = flag(params, "exact", self._index.connectivity < _LEAST_LINKS)
        self._effort = number(params, "expansion_search") or int(self._index.expansion_search)
        self._guard = EngineGuard("usearch")

    def ask(self, queries: Float32s, k: int, effort: int | None = None) -> list[list[str]]:
        """Return the keys of the k nearest of each of `queries (q, d) float32`, nearest first.

        `effort` is the expansion of the search. Raises InputError, DimensionError, and EngineError,
        also where a mapped file was written to since it was attached.
        """
        queries = check_asked(queries, self.dim, k, effort)
        # One at a time: usearch keeps the effort in the index, where other searches would meet it.
        with self._guard:
            self._files.check()
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

    def stamp(self) -> str:
        """Return the size, the time and the digest of the file.

        Raises CorruptIndexError where it is gone, EngineError where it is being written to.
        """
        with self._guard.shared:
            return stamp_of(self._path)

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
            return signs(queries), ScalarKind.B1
        return clipped(queries, self._index.dtype.name.lower()), ScalarKind.F32


def _read(path: Path, mapped: bool) -> tuple[Mapped, Any]:
    """Return the file where it stays mapped, and the index in it."""
    state = state_of(path)
    files = Mapped(path) if mapped else Mapped()
    probe.check(path, state)
    try:
        index = Index.restore(str(path), view=mapped)
    except (RuntimeError, ValueError, OSError) as error:
        raise CorruptIndexError(f"usearch cannot read {path}: {error}") from error
    # What was looked at has to be what was opened: here a rename counts as well.
    if index is None or state_of(path) != state:
        raise EngineError(f"{path} was written to while it was read: attach it again")
    return files, index


def _metric(index: Any, location: str) -> Metric | None:
    """Return the metric of the index, None for one of bits."""
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
    return _METRICS[index.metric_kind]


def _texts(keys: Any) -> list[str]:
    return [str(key) for key in np.asarray(keys).tolist()]
