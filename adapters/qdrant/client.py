"""An index in a collection behind qdrant-client: on a server, or in the client's own local mode."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar

from qdrant_client import models

from requant.adapters.errors import EngineError
from requant.adapters.locks import Sharing
from requant.adapters.qdrant.codec import Vectors
from requant.adapters.qdrant.collection import params_of
from requant.adapters.qdrant.connection import Chunk, Limits, Wish
from requant.adapters.qdrant.received import answers_of, count_of, hits_of, malformed, records_of
from requant.adapters.qdrant.retry import is_slow

T = TypeVar("T")
# A server takes requests of 32 MB; gRPC, where nothing else was set, of 4 MB, and needs half.
HTTP_BYTES, GRPC_BYTES = 24 << 20, 6 << 20
# Bytes of what is in a request, as JSON.
_VALUE, _KEY, _QUERY = 25, 22, 500
# Keys in a request for their points.
_KEYS = 50_000
# From so many on, a server asks each shard for fewer; this part more makes good for it.
_SAMPLED, _MORE = 128, 8
NOTE = "requant-note"


class Caller(Protocol):
    """Carries out a call, repeats it where that may help, and raises EngineError where not."""

    def __call__(self, call: Callable[[], T], *, repeat_slow: bool = True) -> T:
        """Return what `call` returns; `repeat_slow`: also where no answer came in time."""


@dataclass(frozen=True)
class Manner:
    """How a collection is spoken to.

    `size` is that of its vectors, where they are checked; `spread`: it has several shards, of which
    a server asks each for fewer than it is asked for, by chance too few in one of a thousand times.
    """

    where: str = "qdrant"
    parallel: int = 1
    ordering: Any = None
    limits: Limits = field(default_factory=Limits)
    bytes: int = HTTP_BYTES
    size: int | None = None
    spread: bool = False


class ClientConnection:
    """One collection of a QdrantClient."""

    sharing: Sharing = "all"
    alone = False
    tunable = True
    optimizes = False

    def __init__(self, client: Any, name: str, call: Caller, manner: Manner) -> None:
        """Take over a client."""
        self.client = client
        self.limits: Limits = manner.limits
        self._name = name
        self._call = call
        self._manner = manner

    def upsert(self, chunks: Iterator[Chunk]) -> None:
        """Send chunks, several at once; each has been applied when this returns."""
        first = list(islice(chunks, 2))
        parallel = self._manner.parallel
        if len(first) < 2 or parallel == 1:
            for chunk in first:
                self._send(chunk)
            for chunk in chunks:
                self._send(chunk)
            return
        with ThreadPoolExecutor(parallel) as pool:
            pending: deque[Future[None]] = deque(pool.submit(self._send, chunk) for chunk in first)
            for chunk in chunks:
                # No more in memory than are under way.
                while len(pending) > parallel:
                    pending.popleft().result()
                pending.append(pool.submit(self._send, chunk))
            for sent in pending:
                sent.result()

    def delete(self, keys: list[int]) -> None:
        """Remove keys."""
        points, ordering = models.PointIdsList(points=keys), self._manner.ordering
        self._write(lambda: self.client.delete(self._name, points, wait=True, ordering=ordering))

    def held(self, keys: list[int]) -> int:
        """Return how many of `keys` there are."""
        return len(self._retrieve(keys, False))

    def vectors(self, keys: list[int]) -> Sequence[Any]:
        """Return the records of those of `keys` that there are."""
        return self._retrieve(keys, True)

    def search(self, vectors: Vectors, k: int, wish: Wish) -> list[Sequence[Any]]:
        """Search in as few requests as a server takes."""
        limit = k + k // _MORE if self._manner.spread and k >= _SAMPLED else k
        answers = self._asked(vectors, limit, wish)
        where = self._manner.where
        hits = [hits_of(points, where) for points in answers]
        # A point that is being moved between shards may be found in both.
        few = [row for row, points in enumerate(answers) if len(hits[row]) < min(k, len(points))]
        if few:
            again = self._asked([vectors[row] for row in few], 2 * limit, wish)
            for row, points in zip(few, again, strict=True):
                hits[row] = hits_of(points, where)
        return [points[:k] for points in hits]

    def scroll(self, start: int | None, limit: int) -> tuple[Sequence[Any], int | None]:
        """Return records by ascending key."""
        records, after = self._call(
            lambda: self.client.scroll(
                self._name, offset=start, limit=limit, with_payload=False, with_vectors=True
            )
        )
        if after is not None and (type(after) is not int or (start is not None and after <= start)):
            raise malformed(self._manner.where, f"a page from {start} that goes on at {after!r}")
        return records_of(records, self._manner.size, self._manner.where), after

    def count(self) -> int:
        """Return the exact number of points."""
        answer = self._call(lambda: self.client.count(self._name, exact=True))
        return count_of(answer, self._manner.where)

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

    def _asked(self, vectors: Vectors, limit: int, wish: Wish) -> list[Sequence[Any]]:
        among, keys = None, 0
        if wish.among is not None:
            chosen = models.HasIdCondition.model_construct(has_id=wish.among)
            among, keys = models.Filter.model_construct(must=[chosen]), len(wish.among)
        requests = [
            models.QueryRequest.model_construct(
                query=models.NearestQuery.model_construct(nearest=row),
                limit=limit,
                filter=among,
                params=params_of(wish.exact, wish.effort) if self.tunable else None,
                with_payload=False,
                with_vector=False,
            )
            for row in vectors
        ]
        answers: list[Sequence[Any]] = []
        for part in parts_of(
            len(requests), len(vectors[0]), keys, self.limits.queries, self._manner.bytes
        ):
            answers += self._query(requests[part])
        return answers

    def _query(self, requests: list[Any]) -> list[Sequence[Any]]:
        found = self._call(
            lambda: self.client.query_batch_points(self._name, requests), repeat_slow=False
        )
        return answers_of(found, len(requests), self._manner.where)

    def _send(self, chunk: Chunk) -> None:
        batch, ordering = models.Batch(ids=chunk[0], vectors=chunk[1]), self._manner.ordering
        self._write(lambda: self.client.upsert(self._name, batch, wait=True, ordering=ordering))

    def _write(self, call: Callable[[], Any]) -> None:
        """Write, and tell why no answer comes where the collection itself says so."""
        try:
            self._call(call)
        except EngineError as error:
            if not is_slow(error.__cause__) or not self._waits_for_optimizers():
                raise
            raise EngineError(
                f"{self._manner.where}: the collection has prevent_unoptimized on, so that a write "
                "is answered only when all of it is indexed: turn that off in its "
                "optimizers_config, or raise params={'timeout': ...}"
            ) from error

    def _waits_for_optimizers(self) -> bool:
        try:
            info = self._call(lambda: self.client.get_collection(self._name), repeat_slow=False)
        except EngineError:
            return False
        return bool(getattr(info.config.optimizer_config, "prevent_unoptimized", False))

    def _retrieve(self, keys: list[int], vectors: bool) -> Sequence[Any]:
        size = self._manner.size if vectors else None
        records: list[Any] = []
        for start in range(0, len(keys), _KEYS):
            part = keys[start : start + _KEYS]
            records += records_of(self._fetched(part, vectors), size, self._manner.where)
        return records

    def _fetched(self, keys: list[int], vectors: bool) -> Any:
        return self._call(
            lambda: self.client.retrieve(self._name, keys, with_payload=False, with_vectors=vectors)
        )


def parts_of(queries: int, size: int, keys: int, most: int, room: int) -> Iterator[slice]:
    """Yield parts of so many queries that each fit into one request of `room` bytes.

    Each query has its vector of `size` and a filter of `keys`; there are at most `most` in a part.
    """
    step = max(1, min(most, room // (_VALUE * size + _KEY * keys + _QUERY)))
    for start in range(0, queries, step):
        yield slice(start, start + step)


def note_in(info: Any) -> str | None:
    """Return the text in what is told of a collection, None without one."""
    found = (getattr(info.config, "metadata", None) or {}).get(NOTE)
    return found if isinstance(found, str) else None
