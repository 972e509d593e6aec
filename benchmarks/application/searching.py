"""Searches inside an application: among what its own SQL selects, and in PostgreSQL.

Both databases are measured in turns, block by block, in one run; PostgreSQL is a private server on
this machine. Client and server share the cores, so wall time counts. Of each block the median call
is kept; the first figure is the median of the blocks, the second the best quarter of them, which is
what a machine with other work on it would do without.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import sqlalchemy as sa

import requant
from benchmarks.application import beside
from requant.collection import Collection
from requant.database import Database
from tests.postgres import find_binaries, running_server

AMONG_ROWS, AMONG_DIM, AUTHORS = 100_000, 384, 1000
ROWS, DIM = 20_000, 384
ROUNDS, BLOCK = 40, 25
WITHIN = ("", ", in a transaction", ", right after a write")

METADATA = sa.MetaData()
ARTICLES = sa.Table(
    "articles",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("author", sa.Integer, index=True),
    sa.Column("title", sa.Text),
)


def fill(db: Database, rows: int, dim: int) -> Collection:
    """Store so many items, and the application's own rows, of so many authors, beside them."""
    notes = db.create_collection("notes", dim)
    rng = np.random.default_rng(0)
    for start in range(0, rows, 5000):
        some = range(start, start + 5000)
        notes.upsert(
            some,
            rng.standard_normal((5000, dim), np.float32),
            [f"the text of item {n}, which is not long" for n in some],
            [{"n": n, "lang": "en"} for n in some],
        )
    notes.add_index("main", precision="int2")
    METADATA.create_all(db.engine)
    articles = [{"id": n, "author": n * 7919 % AUTHORS, "title": f"{n}"} for n in range(rows)]
    with db.engine.begin() as connection:
        connection.execute(sa.insert(ARTICLES), articles)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in ("articles", "requant_items", "requant_vectors"):
            connection.exec_driver_sql(f"ANALYZE {table}")
    return notes


@contextmanager
def databases() -> Iterator[dict[str, Callable[[], Database]]]:
    """Lend an empty database of each kind; each call opens it anew."""
    with tempfile.TemporaryDirectory() as folder, running_server(find_binaries()) as url:
        home = Path(folder)
        yield {
            "SQLite": lambda: requant.open(home / "notes.requant"),
            "PostgreSQL": lambda: requant.open(url, folder=home / "indexes"),
        }


def in_turn(
    calls: Mapping[str, Callable[[int], object]],
    before: Mapping[str, Callable[[int], object]] | None = None,
) -> dict[str, tuple[float, float]]:
    """Return the milliseconds that a call of each takes: the median, and the best quarter.

    What is done `before` each call is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            block = []
            for n in range(turn * BLOCK, (turn + 1) * BLOCK):
                if before is not None:
                    before[name](n)
                begun = time.perf_counter()
                call(n)
                block.append(time.perf_counter() - begun)
            if turn:  # the first is not counted
                times[name].append(float(np.median(block)) * 1e3)
    quarter, half = 25, 50
    return {
        name: (float(np.percentile(each, half)), float(np.percentile(each, quarter)))
        for name, each in times.items()
    }


def _among_calls(
    notes: Collection, connection: sa.Connection, queries: np.ndarray
) -> dict[str, Callable[[int], object]]:
    def select(n: int) -> sa.Select[int]:
        return sa.select(ARTICLES.c.id).where(ARTICLES.c.author == n % AUTHORS)

    def search(n: int, lent: sa.Connection | None) -> object:
        return notes.search(queries[n % BLOCK], among=select(n), connection=lent)

    return {
        "SQL": lambda n: connection.execute(select(n)).scalars().all(),
        "search": lambda n: search(n, None),
        "in a transaction": lambda n: search(n, connection),
    }


def among(opened: Mapping[str, Callable[[], Database]]) -> None:
    """Search among one item in a thousand, and run the SQL that selects them by itself."""
    print(f"search(among=<SQL that matches 1 of {AUTHORS}>), {AMONG_ROWS:,} rows x {AMONG_DIM}, ms")
    queries = np.random.default_rng(1).standard_normal((BLOCK, AMONG_DIM), np.float32)
    for name, open_database in opened.items():
        with open_database() as db, db.engine.connect() as connection:
            notes = fill(db, AMONG_ROWS, AMONG_DIM)

            times = in_turn(_among_calls(notes, connection, queries))
            connection.rollback()
            db.drop_collection("notes")
            METADATA.drop_all(db.engine)
        most = [3 * each + 0.5 for each in times["SQL"]]
        for what, each in times.items():
            print(f"  {name:10}  {what:16}  {each[0]:6.3f}  {each[1]:6.3f}")
        print(f"  {name:10}  {'at most':16}  {most[0]:6.3f}  {most[1]:6.3f}")


def round_trips(opened: Mapping[str, Callable[[], Database]]) -> None:
    """Search the same data in both databases."""
    print(f"search(k=10), {ROWS:,} rows x {DIM}, int2, ms")
    queries = np.random.default_rng(1).standard_normal((BLOCK, DIM), np.float32)
    with opened["SQLite"]() as lite, opened["PostgreSQL"]() as server:
        notes = {"SQLite": fill(lite, ROWS, DIM), "PostgreSQL": fill(server, ROWS, DIM)}
        with lite.engine.connect() as one, server.engine.connect() as other:
            lent = {"SQLite": one, "PostgreSQL": other}

            def search(name: str, within: bool, n: int) -> object:
                connection = lent[name] if within else None
                return notes[name].search(queries[n % BLOCK], connection=connection)

            times = in_turn(
                {
                    name + WITHIN[within]: partial(search, name, within)
                    for within in (False, True)
                    for name in notes
                }
            )

            def write(name: str, n: int) -> object:
                return notes[name].upsert([n % ROWS], queries[n % BLOCK : n % BLOCK + 1])

            one.rollback()
            other.rollback()
            after = {name + WITHIN[2]: partial(search, name, False) for name in notes}
            writes = {name + WITHIN[2]: partial(write, name) for name in notes}
            times |= in_turn(after, writes)
        for within in WITHIN:
            both = times["SQLite" + within], times["PostgreSQL" + within]
            more = [server - lite for lite, server in zip(*both, strict=True)]
            for what, each in (("SQLite", both[0]), ("PostgreSQL", both[1]), ("more", more)):
                print(f"  {what + within:32}  {each[0]:6.3f}  {each[1]:6.3f}")
        print("  at most 0.450 more")
        for db in (lite, server):
            db.drop_collection("notes")
            METADATA.drop_all(db.engine)


def main() -> None:
    """Measure, and print it beside what is to be reached."""
    print(f"{multiprocessing.cpu_count()} cores")
    with databases() as opened:
        round_trips(opened)
        among(opened)
        beside.readers_beside_a_writer(opened, fill)


if __name__ == "__main__":
    main()
