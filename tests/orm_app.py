"""An application for tests: its engine, its sessions, a model of embeddings, and what is stored."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import sessionmaker

import requant
from requant.collection import Collection
from requant.integration.sqlalchemy import bind
from tests.databases import brute_force

DIM = 4


class Embedder:
    """Makes the same vector of the same text, and counts how often it is asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, texts):
        self.calls.append(list(texts))
        return np.array([vector_of(text) for text in texts])


def vector_of(text: str) -> np.ndarray:
    """The vector of a text, `(DIM,) float32`."""
    return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIM).astype(np.float32)


class Application:
    """An engine with requant beside the application's own tables."""

    def __init__(self, url, folder, begins=False):
        self.engine = sa.create_engine(url)
        if begins and self.engine.dialect.name == "sqlite":
            # Its driver begins at the first write, so that a savepoint before that would commit.
            sa.event.listen(self.engine, "connect", _begin_nothing)
            sa.event.listen(self.engine, "begin", _begin)
        self.db = requant.open(self.engine, folder=folder)
        self.sessions = sessionmaker(self.engine)
        self.bindings = []

    def bind(self, base, **options):
        base.metadata.create_all(self.engine)
        binding = bind(self.db, base, options.pop("sessions", self.sessions), **options)
        self.bindings.append(binding)
        return binding

    def close(self):
        for binding in self.bindings:
            binding.unbind()
        self.db.close()
        self.engine.dispose()


def _begin_nothing(connection, _record):
    connection.isolation_level = None


def _begin(connection):
    connection.exec_driver_sql("BEGIN")


@contextmanager
def application(
    request: pytest.FixtureRequest, tmp_path, begins: bool = False
) -> Iterator[Application]:
    """Open one in SQLite or PostgreSQL, as `request.param` says."""
    if request.param == "postgresql":
        url = request.getfixturevalue("empty_postgres")
    else:
        url = f"sqlite:///{tmp_path / 'application.db'}"
    opened = Application(url, tmp_path / "indexes", begins)
    try:
        yield opened
    finally:
        opened.close()


def stored(collection: Collection) -> dict:
    """What is committed, by id: document, metadata and vector."""
    return {
        item.id: (
            item.document,
            item.metadata,
            None if item.vector is None else item.vector.tolist(),
        )
        for item in collection.iter()
    }


def embedded(document, metadata=None):
    """What `stored` has of a row whose vector was made of its document."""
    return document, metadata, vector_of(document).tolist()


def nearest(query, rows, k, metric="cosine"):
    """Keys of the nearest of `rows`, vectors by key, by brute force."""
    keys = [key for key, vector in rows.items() if vector is not None]
    if not keys:
        return []
    found, scores = brute_force(
        np.asarray(query, np.float32), np.array([rows[key] for key in keys], np.float32), metric, k
    )
    return [(keys[row], float(score)) for row, score in zip(found, scores, strict=True)]
