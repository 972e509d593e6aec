"""Collections of Qdrant that other programs keep: asked as they are, and never written to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, Protocol

from requant.adapters.errors import EngineMissingError
from requant.adapters.guards import EngineGuard, check_queries, check_search, whole_number
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.capabilities import CAPABILITIES
from requant.adapters.qdrant.places import Local, Server, parse
from requant.quantizers.arrays import Float32s
from requant.quantizers.codes import CodeSpec
from requant.quantizers.errors import InputError

Metric = Literal["cosine", "ip", "l2"]

PARAMS = {
    "vector": "name of the vector, where there are several",
    "hnsw_ef": "candidates looked at by a search without effort (what the collection says)",
    "exact": "True compares every vector (False)",
    "rescore": "whether compressed vectors are only the first pass (the server's default)",
}
_CONNECTION = ("api_key", "timeout", "retries", "prefer_grpc", "grpc_port")
_METRICS: dict[str, Metric] = {"Cosine": "cosine", "Dot": "ip", "Euclid": "l2"}
# Queries in one request.
_QUERIES = 256
# Qdrant makes room for as many answers as it is asked for.
_MANY = 10_000


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

    def close(self) -> None:
        """Let go of it."""


class AttachedCollection:
    """A collection of somebody else's; its ids are Qdrant's, UUIDs and whole numbers."""

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        """Connect; raises InputError, CorruptIndexError, EngineError, EngineMissingError."""
        for name in params:
            if name not in PARAMS and name not in _CONNECTION:
                have = ", ".join((*PARAMS, *_CONNECTION))
                raise InputError(f"a Qdrant collection has no parameter {name!r}: {have}")
        wishes = IndexSpec(CodeSpec("float32", 1), "ip", params=params)
        self._effort = whole_number(wishes, "hnsw_ef", 0, least=0) or None
        self._exact = bool(_flag(params, "exact"))
        self._rescore = _flag(params, "rescore")
        self._held = _held(location, wishes)
        try:
            self._vector, found = _chosen(self._held.config, params.get("vector"), location)
            self.dim = int(found["size"])
            self.metric: Metric | None = _metric(found, location)
        except BaseException:
            self._held.close()
            raise
        self._spec = IndexSpec(CodeSpec("float32", self.dim), "ip")
        self._guard = EngineGuard("qdrant")
        self._pid = os.getpid()
        self._open = True

    def ask(self, queries: Float32s, k: int, effort: int | None = None) -> list[list[str]]:
        """Return the ids of the k nearest of each of `queries (q, d) float32`, nearest first.

        `effort` is hnsw_ef. Raises InputError, DimensionError, EngineError.
        """
        queries = check_queries(queries, self._spec, k)
        check_search(False, effort, CAPABILITIES, self._spec)
        wish = {"hnsw_ef": effort or self._effort, "exact": self._exact, "rescore": self._rescore}
        answers: list[list[str]] = []
        with self._guard.shared:
            want = k if k <= _MANY else min(k, max(1, self._held.count(self._vector)))
            for start in range(0, len(queries), _QUERIES):
                part = queries[start : start + _QUERIES].tolist()
                for points in self._held.search(part, want, self._vector, wish):
                    answers.append([str(point.id) for point in points])
        return answers

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


def _flag(params: Mapping[str, Any], name: str) -> bool | None:
    value = params.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise InputError(f"parameter {name} must be True or False, not {value!r}")
