"""An index in a collection behind qdrant-client: on a server, or in the client's own local mode."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol, TypeVar

from qdrant_client import models

from requant.adapters.locks import Sharing
from requant.adapters.qdrant.codec import Vectors
from requant.adapters.qdrant.collection import params_of
from requant.adapters.qdrant.connection import Chunk, Wish

T = TypeVar("T")
NOTE = "requant-note"


class Caller(Protocol):
    """Carries out a call, repeats it where that may help, and raises EngineError where not."""

    def __call__(self, call: Callable[[], T]) -> T:
        """Return what `call` returns."""


class ClientConnection:
    """One collection of a QdrantClient."""

    sharing: Sharing = "all"
    alone = False
    tunable = True

    def __init__(self, client: Any, name: str, call: Caller, parallel: int = 1) -> None:
        """Take over a client."""
        self.client = client
        self._name = name
        self._call = call
        self._parallel = parallel

    def upsert(self, chunks: Iterator[Chunk]) -> None:
        """Send chunks, several at once; each has been applied when this returns."""
        first = list(islice(chunks, 2))
        if len(first) < 2 or self._parallel == 1:
            for chunk in first:
                self._send(chunk)
            for chunk in chunks:
                self._send(chunk)
            return
        with ThreadPoolExecutor(self._parallel) as pool:
            pending: deque[Future[None]] = deque(pool.submit(self._send, chunk) for chunk in first)
            for chunk in chunks:
                # No more in memory than are under way.
                while len(pending) > self._parallel:
                    pending.popleft().result()
                pending.append(pool.submit(self._send, chunk))
            for sent in pending:
                sent.result()

    def delete(self, keys: list[int]) -> None:
        """Remove keys."""
        points = models.PointIdsList(points=keys)
        self._call(lambda: self.client.delete(self._name, points, wait=True))

    def held(self, keys: list[int]) -> int:
        """Return how many of `keys` there are."""
        return len(self._retrieve(keys, False))

    def vectors(self, keys: list[int]) -> Sequence[Any]:
        """Return the records of those of `keys` that there are."""
        return self._retrieve(keys, True)

    def search(self, vectors: Vectors, k: int, wish: Wish) -> list[Sequence[Any]]:
        """Search in one request."""
        among = None
        if wish.among is not None:
            chosen = models.HasIdCondition.model_construct(has_id=wish.among)
            among = models.Filter.model_construct(must=[chosen])
        requests = [
            models.QueryRequest.model_construct(
                query=models.NearestQuery.model_construct(nearest=row),
                limit=k,
                filter=among,
                params=params_of(wish.exact, wish.effort) if self.tunable else None,
                with_payload=False,
                with_vector=False,
            )
            for row in vectors
        ]
        answers = self._call(lambda: self.client.query_batch_points(self._name, requests))
        return [answer.points for answer in answers]

    def scroll(self, start: int | None, limit: int) -> tuple[Sequence[Any], int | None]:
        """Return records by ascending key."""
        records, after = self._call(
            lambda: self.client.scroll(
                self._name, offset=start, limit=limit, with_payload=False, with_vectors=True
            )
        )
        return records, after

    def count(self) -> int:
        """Return the exact number of points."""
        return int(self._call(lambda: self.client.count(self._name, exact=True)).count)

    def optimize(self) -> None:
        """Do nothing: a server optimizes by itself, and local mode not at all."""

    def flush(self) -> None:
        """Do nothing: a server has applied and logged what it answered for."""

    def note(self, text: str) -> None:
        """Keep the text in the metadata of the collection, beside what else is there."""
        metadata = {NOTE: text}
        self._call(lambda: self.client.update_collection(self._name, metadata=metadata))

    def noted(self) -> str | None:
        """Return the text in the metadata of the collection."""
        return note_in(self._call(lambda: self.client.get_collection(self._name)))

    def close(self) -> None:
        """Close the connection."""
        self.client.close()

    def _send(self, chunk: Chunk) -> None:
        batch = models.Batch(ids=chunk[0], vectors=chunk[1])
        self._call(lambda: self.client.upsert(self._name, batch, wait=True))

    def _retrieve(self, keys: list[int], vectors: bool) -> Sequence[Any]:
        records: Sequence[Any] = self._call(
            lambda: self.client.retrieve(self._name, keys, with_payload=False, with_vectors=vectors)
        )
        return records


def note_in(info: Any) -> str | None:
    """Return the text in what is told of a collection, None without one."""
    found = (getattr(info.config, "metadata", None) or {}).get(NOTE)
    return found if isinstance(found, str) else None
