"""Reads by filter beside the same SQL by hand, as ratios of wall-clock times.

python -m benchmarks.reading [--items 300000] [--url postgresql+psycopg://...]
"""

# ruff: noqa: S608 -- the statements by hand are put together from the constants below
from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sqlalchemy as sa

import requant
from benchmarks.inside import first_key
from requant.collection import Collection

LANGUAGES = ["en", "de", "fr", "it"]
# By hand: without a JSON document parsed more than once, and no types told apart.
SQLITE = {
    "lang": "json_extract(metadata, '$.lang')",
    "year": "json_extract(metadata, '$.year')",
    "number": "json_extract(metadata, '$.year')",
    "where": "json_extract(metadata, '$.year') = 1950",
}
POSTGRESQL = {
    "lang": "metadata::jsonb ->> 'lang'",
    "year": "metadata::jsonb -> 'year'",
    "number": "(metadata::json ->> 'year')::numeric",
    "where": "metadata::jsonb -> 'year' = '1950'",
}
RANGE = "key >= {first} AND key < {first} + 1000000000"


def fill(notes: Collection, n: int) -> None:
    """Store `n` items without vectors."""
    for start in range(0, n, 20_000):
        rows = range(start, min(start + 20_000, n))
        notes.upsert(
            rows,
            metadata=[
                {"lang": LANGUAGES[i % 4], "year": 1900 + i % 120, "price": i * 0.37,
                 "tags": [f"t{i % 7}", f"u{i % 11}"], "text": "lorem ipsum " * 5}
                for i in rows
            ],
        )  # fmt: skip


def pairs(notes: Collection, words: dict[str, str]) -> dict[str, tuple[Callable[[], object], str]]:
    """Return each read, and the SQL that does what is measured of it."""
    where = {"year": 1950}
    within = RANGE.format(first=first_key(notes))
    item = "SELECT key, ext_id, id_kind, document, metadata FROM requant_items"
    count = "SELECT {0}, count(*) FROM requant_items WHERE {1} GROUP BY 1 ORDER BY 2 DESC"
    ends = f"SELECT min({words['number']}), max({words['number']})"
    return {
        "count": (notes.count, f"SELECT count(*) FROM requant_items WHERE {within}"),
        "count by filter": (
            lambda: notes.count(where),
            f"SELECT count(*) FROM requant_items WHERE {within} AND {words['where']}",
        ),
        "page of 100": (
            lambda: notes.get(limit=100),
            f"{item} WHERE {within} ORDER BY key LIMIT 100",
        ),
        "page of 100 by filter": (
            lambda: notes.get(where=where, limit=100),
            f"{item} WHERE {within} AND {words['where']} ORDER BY key LIMIT 100",
        ),
        "ids": (
            notes.ids,
            f"SELECT ext_id, id_kind FROM requant_items WHERE {within} ORDER BY key",
        ),
        "ids by filter": (
            lambda: notes.ids(where),
            f"SELECT ext_id, id_kind FROM requant_items WHERE {within} AND {words['where']} "
            "ORDER BY key",
        ),
        "distinct": (lambda: notes.distinct("lang"), count.format(words["lang"], within)),
        "distinct numbers": (lambda: notes.distinct("year"), count.format(words["year"], within)),
        "extent": (lambda: notes.extent("year"), f"{ends} FROM requant_items WHERE {within}"),
    }


def seconds(work: Callable[[], object], at_least: float = 0.05) -> float:
    """Return the seconds of one call, repeated where it is short."""
    start, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - start < at_least:
        work()
        calls += 1
    return (time.perf_counter() - start) / calls


def measure(db: requant.Database, n: int) -> None:
    """Print a line a read: ours in milliseconds, and how many times as long as by hand."""
    notes = db.create_collection("notes", 64)
    fill(notes, n)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")
        words = SQLITE if db.engine.dialect.name == "sqlite" else POSTGRESQL
        every = pairs(notes, words)
        for name, (ours, sql) in every.items():
            compare(connection, name, ours, sql)
        for field in ("lang", "year"):
            notes.index_field(field)
        for name in ("distinct", "distinct numbers", "extent"):
            compare(connection, f"{name}, indexed", *every[name])


def compare(connection: sa.Connection, name: str, ours: Callable[[], object], sql: str) -> None:
    """Print the line of one read."""

    def by_hand() -> object:
        return connection.exec_driver_sql(sql).all()

    ours(), by_hand()
    turns = [(seconds(ours), seconds(by_hand)) for _ in range(5)]
    ratio = np.median([one / other for one, other in turns])
    print(f"{name:26} {min(turns)[0] * 1e3:9.2f} ms  {ratio:5.2f} x", flush=True)


def main() -> None:
    """Measure in a new database, or in the one at `--url`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=300_000)
    parser.add_argument("--url", help="a PostgreSQL database without requant's tables")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        target = options.url or Path(folder) / "reading.requant"
        with requant.open(target, folder=folder) as db:
            measure(db, options.items)


if __name__ == "__main__":
    main()
