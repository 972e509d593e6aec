"""Writers of PostgreSQL beside one another, and plain SQLAlchemy writing the same rows.

    python -m benchmarks.application.writers

Each writer is a process that commits transactions of one item, its vector and its metadata as fast
as it can, or holds each open for some milliseconds, as an application does that has other things to
do in it. Both sides write in turns, a share of a second each, and what is shown is the median of
the ratios of neighbours in time. The server is a private one as installed: it waits for its disk.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import zlib
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import sqlalchemy as sa

import requant
from tests.postgres import find_binaries, running_server

DIM = 384
SECONDS = 1.0
ROUNDS = 8
METADATA = sa.MetaData()
ITEMS = sa.Table(
    "plain_items",
    METADATA,
    sa.Column("key", sa.BigInteger, primary_key=True),
    sa.Column("collection_id", sa.BigInteger, nullable=False),
    sa.Column("ext_id", sa.Text, nullable=False),
    sa.Column("id_kind", sa.SmallInteger, nullable=False),
    sa.Column("document", sa.Text),
    sa.Column("metadata", sa.Text),
    sa.UniqueConstraint("collection_id", "ext_id"),
)
VECTORS = sa.Table(
    "plain_vectors",
    METADATA,
    sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("vec", sa.LargeBinary, nullable=False),
    sa.Column("crc", sa.BigInteger, nullable=False),
)


def main() -> None:
    """Print what one, two and four writers reach of plain SQLAlchemy's throughput."""
    binaries = find_binaries()
    if binaries is None:
        print("no PostgreSQL server binaries: nothing to compare")
        return
    with running_server(binaries, fsync="on") as url:
        engine = sa.create_engine(url)
        METADATA.create_all(engine)
        with tempfile.TemporaryDirectory() as folder:
            with requant.open(url, folder=folder) as db:
                db.create_collection("notes", DIM)
            print("writers  held open   plain SQLAlchemy      requant        ratio")
            for held in (0.0, 0.02):
                for count in (1, 2, 4):
                    plain, ours, ratio = _compared(url, folder, count, held)
                    print(
                        f"{count:7d}  {held * 1000:6.0f} ms  {plain:9.0f} commits/s  "
                        f"{ours:9.0f} /s   {ratio:6.2f}",
                        flush=True,
                    )
        engine.dispose()


def _compared(url: str, folder: str, count: int, held: float) -> tuple[float, float, float]:
    """Return the commits a second of both sides, and the median of their ratios."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count + 1), context.Queue()
    given = [(url, folder, n, held, barrier, results) for n in range(count)]
    workers = [context.Process(target=_write, args=one) for one in given]
    for worker in workers:
        worker.start()
    sides: list[list[float]] = []
    for _ in range(ROUNDS):
        pair = []
        for _ in ("plain", "ours"):
            barrier.wait()
            pair.append(sum(results.get() for _ in workers) / SECONDS)
        sides.append(pair)
    for worker in workers:
        worker.join()
    rates = np.array(sides[1:])  # the first round is for warming up
    plain, ours = np.median(rates, axis=0)
    return float(plain), float(ours), float(np.median(rates[:, 1] / rates[:, 0]))


def _write(url: str, folder: str, number: int, held: float, barrier: Barrier, results: Any) -> None:
    engine = sa.create_engine(url)
    vec = np.random.default_rng(number).standard_normal(DIM).astype(np.float32)
    mark = f"{number} {time.time_ns()}"
    with requant.open(engine, folder=folder) as db:
        notes = db.collection("notes")

        def ours(connection: sa.Connection, text: str) -> None:
            notes.upsert([text], [vec], metadata=[{"lang": "en"}], connection=connection)

        def plain(connection: sa.Connection, text: str) -> None:
            item = {
                "collection_id": 1, "ext_id": text, "id_kind": 0, "document": None,
                "metadata": '{"lang":"en"}',
            }  # fmt: skip
            key = connection.execute(sa.insert(ITEMS).values(item)).inserted_primary_key[0]
            floats = vec.tobytes()
            row = {"key": key, "vec": floats, "crc": zlib.crc32(floats)}
            connection.execute(sa.insert(VECTORS).values(row))

        sides: list[Callable[[sa.Connection, str], None]] = [plain, ours]
        for turn in range(2 * ROUNDS):
            barrier.wait()
            results.put(_committed(engine, sides[turn % 2], held, f"{mark} {turn}"))
    engine.dispose()


def _committed(
    engine: sa.Engine, write: Callable[[sa.Connection, str], None], held: float, mark: str
) -> int:
    until, count = time.perf_counter() + SECONDS, 0
    while time.perf_counter() < until:
        with engine.begin() as connection:
            write(connection, f"{mark} {count}")
            if held:
                time.sleep(held)
        count += 1
    return count


if __name__ == "__main__":
    main()
