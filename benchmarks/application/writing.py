"""What a write costs beside plain SQLAlchemy, and beside COPY: one item, many, in bulk.

    python -m benchmarks.application.writing

Both sides write the same rows to the same database in turns, block by block, with the same
settings of durability; what is shown is the median of the ratios of neighbours in time. PostgreSQL
is a private server, once without fsync, so that the disk hides nothing, and once as installed.
Client and server share the cores, so wall time counts; CPU time is the client's alone.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

import requant
from requant.collection import Collection
from requant.database import Database
from tests.postgres import find_binaries, running_server

DIM = 384
ROUNDS = 15
BLOCK = 40
BULK_ROWS = 10_000
BULK_ROUNDS = 7
FLUSH_ROWS = 1000

METADATA = sa.MetaData()
PLAIN = sa.Table(
    "plain",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("vec", sa.LargeBinary),
    sa.Column("document", sa.Text),
    sa.Column("metadata", sa.JSON),
)
# Ids, vectors, documents and metadata.
Columns = tuple[list[str], np.ndarray, list[str], list[dict[str, Any]]]
Act = Callable[[Columns], object]


class Rows:
    """Rows that are new each time."""

    def __init__(self) -> None:
        """Make what the rows are taken from."""
        self._numbers = count()
        self._vectors = np.random.default_rng(0).standard_normal((1024, DIM), np.float32)

    def take(self, n: int) -> Columns:
        """Return the columns of `n` more rows."""
        numbers = [next(self._numbers) for _ in range(n)]
        vectors = self._vectors[np.array(numbers) % len(self._vectors)]
        documents = [f"the text of number {i}, as long as a short sentence is" for i in numbers]
        metadata = [{"n": i, "lang": "en", "user": i % 97} for i in numbers]
        return [str(uuid.uuid4()) for _ in numbers], vectors, documents, metadata


class Sides:
    """requant and plain SQLAlchemy in one database."""

    def __init__(self, engine: sa.Engine, notes: Collection) -> None:
        """Write to `notes`, and plainly by an engine that requant knows nothing of."""
        self._engine = engine
        self._notes = notes
        self._known: list[str] = []

    def one(self) -> dict[str, Act]:
        """Return a commit of new items: plainly, by requant's own transaction, by a lent one."""
        return {
            "plain": self._plain,
            "own": lambda rows: self._notes.upsert(*rows),
            "lent": self._lent,
        }

    def again(self, rows: Columns) -> dict[str, Act]:
        """Return a commit that replaces one item, which is stored."""
        self._known = rows[0]
        self._plain(rows)
        self._notes.upsert(*rows)
        return {
            "plain": self._plain_update,
            "own": lambda rows: self._notes.upsert(self._known, *rows[1:]),
        }

    def bulk(self) -> dict[str, Act]:
        """Return a bulk load by binary COPY, or by the driver's `executemany`, and by requant."""
        postgresql = self._engine.dialect.name == "postgresql"
        return {
            "driver": self._copy if postgresql else self._executemany,
            "own": lambda rows: self._notes.upsert(*rows),
        }

    def _plain(self, rows: Columns) -> None:
        with self._engine.begin() as connection:
            values = [
                {"id": text, "vec": vec.tobytes(), "document": document, "metadata": entry}
                for text, vec, document, entry in zip(*rows, strict=True)
            ]
            connection.execute(PLAIN.insert(), values if len(values) > 1 else values[0])

    def _plain_update(self, rows: Columns) -> None:
        _, vectors, documents, metadata = rows
        values = {"document": documents[0], "metadata": metadata[0]}
        with self._engine.begin() as connection:
            statement = sa.update(PLAIN).where(PLAIN.c.id == self._known[0])
            connection.execute(statement, {"vec": vectors[0].tobytes(), **values})

    def _lent(self, rows: Columns) -> None:
        with self._engine.begin() as connection:
            self._notes.upsert(*rows, connection=connection)

    def _executemany(self, rows: Columns) -> None:
        with self._engine.begin() as connection:
            raw: Any = connection.connection.driver_connection
            raw.executemany(
                "INSERT INTO plain VALUES (?, ?, ?, ?)",
                ((a, v.tobytes(), b, json.dumps(m)) for a, v, b, m in zip(*rows, strict=True)),
            )

    def _copy(self, rows: Columns) -> None:
        from psycopg.types.json import Json

        words = "COPY plain (id, vec, document, metadata) FROM STDIN (FORMAT BINARY)"
        with self._engine.begin() as connection:
            raw: Any = connection.connection.driver_connection
            with raw.cursor() as cursor, cursor.copy(words) as copy:
                copy.set_types(["text", "bytea", "text", "json"])
                for a, v, b, m in zip(*rows, strict=True):
                    copy.write_row((a, v.tobytes(), b, Json(m)))


def compare(
    title: str, contenders: dict[str, Act], rows: Rows, n: int, rounds: int, block: int
) -> None:
    """Print how long each contender takes for `n` rows, and the ratios to the first."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, act in contenders.items():
            given = [rows.take(n) for _ in range(block + 1)]
            act(given.pop())
            start, used = time.perf_counter(), time.process_time()
            for one in given:
                act(one)
            wall, cpu = time.perf_counter() - start, time.process_time() - used
            times[name].append((wall / block * 1e3, cpu / block * 1e3))
    print(f"  {title}")
    base = np.array(next(iter(times.values())))
    for name in contenders:
        found = np.array(times[name])
        (wall, cpu), (ratio, share) = np.median(found, axis=0), np.median(found / base, axis=0)
        print(
            f"    {name:8} {wall:9.3f} ms ({cpu:8.3f} CPU), {n / wall * 1e3:8,.0f} rows/s: "
            f"{ratio:5.2f} times (CPU {share:5.2f})"
        )


def measure(engine: sa.Engine, db: Database) -> None:
    """Print all ratios in one database."""
    METADATA.create_all(engine)
    rows, sides = Rows(), Sides(engine, db.create_collection("notes", DIM))
    flush = {name: act for name, act in sides.one().items() if name != "own"}
    compare("one new item a commit", sides.one(), rows, 1, ROUNDS, BLOCK)
    compare("one item replaced", sides.again(rows.take(1)), rows, 1, ROUNDS, BLOCK)
    compare(f"{FLUSH_ROWS} a transaction", flush, rows, FLUSH_ROWS, ROUNDS, 1)
    compare(f"{BULK_ROWS} in bulk", sides.bulk(), rows, BULK_ROWS, BULK_ROUNDS, 1)


def plain_sqlite(path: Path, level: str) -> sa.Engine:
    """Return an engine with the pragmas of requant's own, and no listener else."""
    engine = sa.create_engine(f"sqlite:///{path}")

    @sa.event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        for pragma in ("wal_autocheckpoint = 256", f"synchronous = {level}"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def run(data: Path | None) -> None:
    """Print all ratios; the rows are made up, whatever `data` is."""
    with tempfile.TemporaryDirectory() as folder:
        for level in ("NORMAL", "FULL"):
            path = Path(folder) / f"{level}.requant"
            with requant.open(path, durable=level == "FULL") as db:
                print(f"SQLite, synchronous = {level}")
                engine = plain_sqlite(path, level)
                measure(engine, db)
                engine.dispose()
        binaries = find_binaries()
        if binaries is None:
            raise SystemExit("no PostgreSQL server binaries (initdb, pg_ctl) found")
        for fsync in ("off", "on"):
            with running_server(binaries, fsync) as url:
                print(f"PostgreSQL, fsync = {fsync}")
                engine = sa.create_engine(url)
                with requant.open(url, folder=Path(folder) / fsync) as db:
                    measure(engine, db)
                engine.dispose()


def main() -> None:
    """Run from the command line."""
    run(None)


if __name__ == "__main__":
    main()
