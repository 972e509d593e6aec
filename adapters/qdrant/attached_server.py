"""A collection on a Qdrant server that another program keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import models

from requant.adapters.errors import CorruptIndexError
from requant.adapters.protocol import IndexSpec
from requant.adapters.qdrant.client import GRPC_BYTES, parts_of
from requant.adapters.qdrant.places import Server
from requant.adapters.qdrant.received import answers_of, once
from requant.adapters.qdrant.server import connect, info_of

# Points that a stamp looks at.
_LOOK = 100


class HeldByServer:
    """The collection, through qdrant-client."""

    def __init__(self, place: Server, wishes: IndexSpec) -> None:
        """Connect as `wishes.params` say; raises CorruptIndexError, EngineError."""
        self._name, self._place = place.collection, place
        self._client, self._call = connect(wishes, place)
        try:
            self.config: Mapping[str, Any] = self._config()
        except BaseException:
            self.close()
            raise

    def search(
        self, vectors: list[list[float]], k: int, vector: str, wish: Mapping[str, Any]
    ) -> list[Sequence[Any]]:
        """Search in one request."""
        rescore = wish["rescore"]
        params = models.SearchParams(
            hnsw_ef=wish["hnsw_ef"],
            exact=wish["exact"],
            quantization=None
            if rescore is None
            else models.QuantizationSearchParams(rescore=rescore),
        )
        requests = [
            models.QueryRequest(
                query=models.NearestQuery(nearest=row),
                using=vector or None,
                limit=k,
                params=params,
                with_payload=False,
                with_vector=False,
            )
            for row in vectors
        ]
        answers: list[Sequence[Any]] = []
        for part in parts_of(len(requests), len(vectors[0]), 0, len(requests), GRPC_BYTES):
            answers += self._query(requests[part])
        return answers

    def _query(self, requests: list[Any]) -> list[Sequence[Any]]:
        found = self._call(
            lambda: self._client.query_batch_points(self._name, requests), repeat_slow=False
        )
        return [once(points) for points in answers_of(found, len(requests), str(self._place))]

    def count(self, vector: str) -> int:
        """Count exactly; points need not have every vector."""
        having = models.Filter(must=[models.HasVectorCondition(has_vector=vector)])
        return int(
            self._call(
                lambda: self._client.count(
                    self._name, count_filter=having if vector else None, exact=True
                )
            ).count
        )

    def stamp(self, vector: str) -> str:
        """Return the number of points, what they are compared by, and a digest of the first."""
        vectors = self._config().get("vectors") or {}
        distance = (vectors.get(vector) or vectors).get("distance")
        points, _ = self._call(
            lambda: self._client.scroll(
                self._name,
                limit=_LOOK,
                with_payload=False,
                with_vectors=[vector] if vector else True,
            )
        )
        look = hashlib.sha256()
        for point in points:
            held = point.vector.get(vector) if isinstance(point.vector, dict) else point.vector
            look.update(f"{point.id}:".encode())
            look.update(np.array([] if held is None else held, np.float32).tobytes())
        return f"points={self.count(vector)} distance={distance} first={look.hexdigest()}"

    def _config(self) -> Mapping[str, Any]:
        info = info_of(self._client, self._call, self._place)
        if info is None:
            raise CorruptIndexError(f"there is no collection {self._place}")
        config: Mapping[str, Any] = info.config.params.model_dump(mode="json")
        return config

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def attach(place: Server, wishes: IndexSpec) -> HeldByServer:
    """Connect to a collection."""
    return HeldByServer(place, wishes)
