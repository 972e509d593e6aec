"""Collections of Qdrant that other programs keep: asked as they are, and never written to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol

from requant.adapters.attached import (
    Metric,
    asked_by,
    check_asked,
    check_params,
    flag,
    number,
    wanted,
)
from requant.adapters.errors import EngineMissingError
from requant.adapters.guards import EngineGuard
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.places import Local, Server, parse
from requant.quantizers.arrays import Float32s
from requant.quantizers.errors import InputError

PARAMS = {
    "vector": "name of the vector, where there are several",
    "hnsw_ef": "candidates looked at by a search without effort (what the collection says)",
    "exact": "True compares every vector (False)",
    "rescore": "whether compressed vectors are only the first pass (the server's default)",
}
_CONNECTION = ("api_key", "timeout", "total_timeout", "retries", "prefer_grpc", "grpc_port")
_METRICS: dict[str, Metric] = {"Cosine": "cosine", "Dot": "ip", "Euclid": "l2"}
# Queries in one request.
_QUERIES = 256


class Holder(Protocol):
    """Whoever holds the collection: a server, or a copy of a shard.

    `config` is the JSON of its `vectors` and `sparse_vectors`.
    """

    config: Mapping[str, Any]

    def search(
        self, vectors: list[list[float]], k: int, vector: str, wish: Mapping[str, Any]
    ) -> list[Sequence[Any]]:
        """Return points, which have an `id`, best first."""

    def count(self, vector: str) -> int:
        """Return how many points have that vector."""

    def stamp(self, vector: str) -> str:
        """Return what changes when the points there do."""

    def close(self) -> None:
        """Let go of it."""


class AttachedCollection:
    """A collection of somebody else's; its ids are Qdrant's, UUIDs and whole numbers."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Connect; raises InputError, CorruptIndexError, EngineError, EngineMissingError."""
        check_params(params, (*PARAMS, *_CONNECTION), "a Qdrant collection")
        self._effort = number(params, "hnsw_ef") or None
        self._exact = bool(flag(params, "exact", None))
        self._rescore = flag(params, "rescore", None)
        self._held = _held(location, asked_by(1, params))
        try:
            self._vector, found = _chosen(self._held.config, params.get("vector"), location)
            self.dim: int = int(found["size"])
            self.metric: Metric | None = _metric(found, location)
        except BaseException:
            self._held.close()
            raise
        self._guard = EngineGuard("qdrant")
        self._pid = os.getpid()
        self._open = True

    def ask(self, queries: Float32s, k: int, effort: int | None = None) -> list[list[str]]:
        """Return the ids of the k nearest of each of `queries (q, d) float32`, nearest first.

        `effort` is hnsw_ef. Raises InputError, DimensionError, EngineError.
        """
        queries = check_asked(queries, self.dim, k, effort)
        wish = {"hnsw_ef": effort or self._effort, "exact": self._exact, "rescore": self._rescore}
        answers: list[list[str]] = []
        with self._guard.shared:
            want = wanted(k, lambda: self._held.count(self._vector))
            for start in range(0, len(queries), _QUERIES):
                part = queries[start : start + _QUERIES].tolist()
                for points in self._held.search(part, want, self._vector, wish):
                    answers.append([str(point.id) for point in points])
        return answers

    def stamp(self) -> str:
        """Return what changes when the points there do.

        Of a shard that is its files. A server tells its points' number and its first hundred: it
        has nothing cheap that would tell of one behind them that was replaced by another. Raises
        CorruptIndexError where there is nothing any more, and EngineError, also where a shard is
        open elsewhere.
        """
        with self._guard.shared:
            return self._held.stamp(self._vector)

    def __len__(self) -> int:
        """Return how many vectors of that name it holds."""
        with self._guard.shared:
            return self._held.count(self._vector)

    def close(self) -> None:
        """Let go of the connection, or of the copy; closing twice is harmless."""
        self._guard.close()
        # What a forked child has of the engine is the parent's.
        if self._open and os.getpid() == self._pid:
            self._open = False
            self._held.close()


def _held(location: str, wishes: IndexSpec) -> Holder:
    place = parse(location)
    if isinstance(place, Local):
        raise InputError(
            f"{location} is the client's local mode, whose folders hold pickles, which can run any "
            "program: they are not opened; give a server's address or the folder of an edge shard"
        )
    kind, package = ("server", "client") if isinstance(place, Server) else ("edge", "edge-py")
    try:
        module = import_module(f"requant.adapters.qdrant.attached_{kind}")
    except ImportError as error:
        raise EngineMissingError(
            f"this place needs qdrant-{package}, which cannot be imported ({error}): "
            "pip install 'requant[qdrant]'"
        ) from error
    held: Holder = module.attach(place, wishes)
    return held


def _chosen(config: Mapping[str, Any], told: Any, location: str) -> tuple[str, Mapping[str, Any]]:
    """Return the name of the vector, "" for the one without, and what is said of it."""
    vectors = config.get("vectors") or {}
    named = {"": vectors} if "size" in vectors else dict(vectors)
    dense = [name for name, found in named.items() if not found.get("multivector_config")]
    have = ", ".join(map(repr, dense)) or "none"
    if told is None and len(dense) == 1:
        told = dense[0]
    if told is None:
        raise InputError(f"{location}: which vector? params={{'vector': ...}}, one of: {have}")
    if told not in dense:
        others = [*named, *(config.get("sparse_vectors") or {})]
        what = "a sparse vector or a multivector" if told in others else "no vector of it"
        raise InputError(f"{location}: {told!r} is {what}; single dense vectors: {have}")
    return told, named[told]


def _metric(found: Mapping[str, Any], location: str) -> Metric:
    metric = _METRICS.get(str(found.get("distance")))
    if metric is None:
        raise InputError(
            f"{location} compares by {found.get('distance')}, which is none of "
            + ", ".join(_METRICS)
        )
    return metric
