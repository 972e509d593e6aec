"""Databases to test with, and everything that is in one, to compare before and after."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from requant.collection import Collection
from requant.database import Database
from tests import inside

MADE_UP_WORDS = ["air", "bay", "cue", "dew", "elk"]


def vectors(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    """Return `(n, dim) float32` random rows of different lengths."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) * rng.uniform(0.5, 2, (n, 1))).astype(np.float32)


def clustered(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Return `(n, dim) float32` rows around 200 places, which are the same whatever the seed."""
    places = np.random.default_rng(99).standard_normal((200, dim))
    rng = np.random.default_rng(seed)
    near = places[rng.integers(200, size=n)] + 0.6 * rng.standard_normal((n, dim))
    return near.astype(np.float32)


def metadata(n: int) -> list[dict[str, Any]]:
    """Return metadata by which any share of `n` items can be chosen."""
    return [{"n": i, "word": MADE_UP_WORDS[i % 5], "even": i % 2 == 0} for i in range(n)]


def fresh_schema(url: str) -> None:
    """Empty a PostgreSQL database."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA public")
    engine.dispose()


def dump(db: Database) -> dict[str, Any]:
    """Return every row of every table, and the digest of every index file."""
    content: dict[str, Any] = {}
    # Its own connection: nothing that the database keeps open may colour the answer.
    engine = sa.create_engine(db.engine.url)
    with engine.connect() as connection:
        for name in sa.inspect(connection).get_table_names():
            rows = connection.execute(sa.select(sa.text("*")).select_from(sa.table(name))).all()
            content[name] = sorted(map(repr, rows))
    engine.dispose()
    return content | files(inside.folder_of(db))


def files(folder: Path) -> dict[str, str]:
    """Return the digests of all files below `folder` by their path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def held(collection: Collection) -> dict[str, dict[int, bytes]]:
    """Return the codes of every index by key, as the index holds them now.

    Of what an engine compresses, `verify` can tell whether it is near, and the keys alone are told.
    """
    return {
        name: {
            key: b"" if index.support.lossy else code.tobytes()
            for keys, codes in index.backend.export()
            for key, code in zip(keys.tolist(), codes, strict=True)
        }
        for name, index in _loaded(collection).items()
    }


def expected(collection: Collection) -> dict[str, dict[int, bytes]]:
    """Return the codes that every index ought to hold: those of all stored vectors."""
    items = [item for item in collection.iter() if item.vector is not None]
    rows = np.array([item.vector for item in items], np.float32).reshape(-1, collection.dim)
    rows = inside.normalise(rows) if collection.metric == "cosine" else rows
    keys = [item.key for item in items]
    return {
        name: dict.fromkeys(keys, b"")
        if index.support.lossy
        else dict(zip(keys, map(np.ndarray.tobytes, index.quantizer.encode(rows)), strict=True))
        for name, index in _loaded(collection).items()
    }


def _loaded(collection: Collection) -> dict[str, inside.Loaded]:
    every = inside.every_loaded(collection)
    return {
        name: index for name, index in every.items() if index is not None and not index.attached
    }


def brute_force(
    query: np.ndarray, stored: np.ndarray, metric: str, k: int
) -> tuple[list[int], np.ndarray]:
    """Return rows and scores of the k best by the definition of `metric`, ties by row."""
    query, stored = query.astype(np.float64), stored.astype(np.float64)
    scores = -((stored - query) ** 2).sum(axis=1) if metric == "l2" else stored @ query
    if metric == "cosine":
        lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(query)
        scores = np.divide(scores, lengths, out=np.zeros_like(scores), where=lengths > 0)
    scores = scores.astype(np.float32)
    order = np.lexsort((np.arange(len(stored)), -scores))[:k]
    return order.tolist(), scores[order]
