"""A collection on a Qdrant server."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from requant.errors import ExistsError, RequantError
from requant.integration.export.errors import ExportError
from requant.integration.export.job import Job, Written
from requant.integration.export.packages import package
from requant.integration.export.payloads import Payloads
from requant.store import Page

_KEYS = ("REQUANT_QDRANT_API_KEY", "QDRANT_API_KEY")
_DISTANCES = {"cosine": "Cosine", "ip": "Dot", "l2": "Euclid"}
_SECONDS = 60
_RETRIES = 4


def write(job: Job) -> Written:
    """Write the collection; if that fails it is dropped again. Raises ExistsError, EngineError."""
    server = _Server(job.target)
    try:
        server.clear(job.overwrite)
        payloads = Payloads(job.collection.metric)
        try:
            server.create(job.collection.dim, job.collection.metric)
            with job.collection.selected(job.where) as items:
                for rows in items.pages(job.batch, job.progress):
                    server.send(payloads, rows)
            found = server.count()
            if found != payloads.rows:
                raise ExportError(f"{server} holds {found} of {payloads.rows} points")
        except BaseException:
            with suppress(RequantError):
                server.drop()
            raise
    finally:
        server.close()
    payloads.tell(job)
    return Written(str(server), payloads.rows, payloads.without_vector, None)


class _Server:
    """One collection behind a QdrantClient; calls are repeated while a fault may pass."""

    def __init__(self, target: str) -> None:
        client = package("qdrant_client", "qdrant")
        self._models = package("qdrant_client.models", "qdrant")
        from requant.adapters.qdrant.places import Server, parse
        from requant.adapters.qdrant.retry import Retry

        place = parse(target)
        assert isinstance(place, Server)
        # Also as the server itself has it: http://host:6333/collections/NAME.
        url = place.url.removesuffix("/collections")
        self._where, self._name = f"{url}/{place.collection}", place.collection
        self._call = Retry(self._where, _RETRIES)
        key = next(filter(None, map(os.environ.get, _KEYS)), None)
        self._client: Any = self._call(
            lambda: client.QdrantClient(
                url=url,
                timeout=_SECONDS,
                check_compatibility=False,
                # As an argument of its own it is a warning on plain http, which is usual at home.
                headers={"api-key": key} if key else None,
            )
        )

    def __str__(self) -> str:
        return self._where

    def clear(self, overwrite: bool) -> None:
        """Make room for the collection; raises ExistsError where one stands."""
        if not self._exists():
            return
        if not overwrite:
            raise ExistsError(f"{self} exists: choose another name, or overwrite it")
        self.drop()

    def create(self, dim: int, metric: str) -> None:
        distance = self._models.Distance(_DISTANCES[metric])
        params = self._models.VectorParams(size=dim, distance=distance)
        self._call(lambda: self._client.create_collection(self._name, params))

    def send(self, payloads: Payloads, rows: Page) -> None:
        points = [
            self._models.PointStruct(
                id=name,
                vector=vector if isinstance(vector, dict) else vector.tolist(),
                payload=load,
            )
            for name, vector, load in payloads.points(rows)
        ]
        self._call(lambda: self._client.upsert(self._name, points, wait=True))

    def count(self) -> int:
        return int(self._call(lambda: self._client.count(self._name, exact=True)).count)

    def drop(self) -> None:
        self._call(lambda: self._client.delete_collection(self._name))

    def close(self) -> None:
        self._client.close()

    def _exists(self) -> bool:
        from requant.adapters.errors import EngineError
        from requant.adapters.qdrant.retry import code_of

        try:
            self._call(lambda: self._client.get_collection(self._name))
        except EngineError as error:
            if code_of(error.__cause__ or error) in (404, "NOT_FOUND"):
                return False
            raise
        return True
