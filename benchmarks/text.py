"""Full text beside each database's own, and words and vectors together.

    python -m benchmarks.text DATA [--queries 1000] [--url postgresql+psycopg://...]

`DATA` is the folder that `benchmarks.rebuild_data` makes: WordNet's definitions, their vectors, and
the lemmas of some as queries, each of which is to find its own definition. By hand means a table of
FTS5, or a tsvector column with a GIN index, filled with the same texts and asked by the driver with
the same query, best ten first, and the ten texts fetched.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

import requant
from benchmarks.timing import in_turn, ratio
from requant.store import read_query
from requant.store.text.sqlite import match_of

K = 10
_RANKED = """SELECT key, document, ts_rank_cd(words, q) AS score
FROM by_hand, (SELECT {terms} AS q) AS asked WHERE words @@ q ORDER BY score DESC LIMIT 10"""


class FTS5:
    """A table of FTS5 by hand, with the tokenizer that `full_text=True` stands for."""

    def __init__(self, path: Path, texts: list[str]) -> None:
        """Index the texts under their row numbers."""
        self._raw = sqlite3.connect(path)
        self._raw.execute("PRAGMA journal_mode = WAL")
        self._raw.execute("CREATE TABLE item (key INTEGER PRIMARY KEY, document TEXT)")
        self._raw.execute(
            "CREATE VIRTUAL TABLE words USING fts5(document, content='item', content_rowid='key', "
            "tokenize='unicode61 remove_diacritics 2')"
        )
        with self._raw:
            self._raw.executemany("INSERT INTO item VALUES (?, ?)", enumerate(texts))
            self._raw.execute("INSERT INTO words (words) VALUES ('rebuild')")

    def search(self, query: str) -> list[Any]:
        """Return the best ten, as SQLite's documentation asks for them."""
        return self._raw.execute(
            "SELECT rowid, document, rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT 10",
            (match_of(read_query(query)),),
        ).fetchall()


class Tsvector:
    """A table of PostgreSQL by hand: a generated tsvector, and a GIN index over it."""

    def __init__(self, url: str, texts: list[str]) -> None:
        """Index the texts under their row numbers."""
        self._connection = sa.create_engine(url).connect()
        raw: Any = self._connection.connection.driver_connection
        self._cursor = raw.cursor()
        self._cursor.execute("DROP TABLE IF EXISTS by_hand")
        self._cursor.execute(
            "CREATE TABLE by_hand (key bigint PRIMARY KEY, document text, words tsvector "
            "GENERATED ALWAYS AS (to_tsvector('simple', document)) STORED)"
        )
        self._cursor.executemany(
            "INSERT INTO by_hand (key, document) VALUES (%s, %s)", list(enumerate(texts))
        )
        self._cursor.execute("CREATE INDEX ON by_hand USING gin (words)")
        raw.commit()
        raw.autocommit = True
        self._cursor.execute("ANALYZE by_hand")

    def search(self, query: str) -> list[Any]:
        """Return the best ten."""
        terms = " || ".join(["phraseto_tsquery('simple', %s)"] * len(read_query(query).terms))
        texts = [term.text for term in read_query(query).terms]
        statement = _RANKED.replace("{terms}", terms)
        found: list[Any] = self._cursor.execute(statement, texts).fetchall()
        return found

    def close(self) -> None:
        """Drop it."""
        self._cursor.execute("DROP TABLE by_hand")
        self._connection.close()


def _read(data: Path, count: int) -> tuple[list[dict[str, Any]], Any, list[str], Any, list[str]]:
    with gzip.open(data / "wordnet.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    vectors = np.load(data / "wordnet_vectors_f16.npy").astype(np.float32)
    right = json.loads((data / "wordnet_query_ids.json").read_text("utf-8"))[:count]
    queries = np.load(data / "wordnet_queries_f16.npy").astype(np.float32)[:count]
    lemmas = {row["id"]: " ".join(row["lemmas"]).replace("_", " ") for row in rows}
    return rows, vectors, [lemmas[one] for one in right], queries, right


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--url", help="a PostgreSQL database to use instead of a SQLite file")
    given = parser.parse_args()
    rows, vectors, texts, queries, right = _read(given.data, given.queries)
    documents = [row["text"] for row in rows]
    with tempfile.TemporaryDirectory(prefix="requant-text-") as home:
        target = given.url or Path(home) / "notes.requant"
        with requant.open(target, folder=Path(home) / "indexes") as db:
            if "text_benchmark" in db.collections():
                db.drop_collection("text_benchmark")
            notes = db.create_collection("text_benchmark", vectors.shape[1])
            for start in range(0, len(rows), 5000):
                part = slice(start, start + 5000)
                notes.upsert([row["id"] for row in rows[part]], vectors[part], documents[part])
            cpu, wall = time.process_time(), time.perf_counter()
            notes.index_text()
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            print(f"index_text of {len(rows):,} definitions: {cpu:.1f} s of cpu here, {wall:.1f} s")
            notes.add_index("main", precision="int8")
            by_hand: Any = (
                Tsvector(given.url, documents)
                if given.url
                else FTS5(Path(home) / "by_hand.db", documents)
            )
            _times(notes, by_hand, texts, queries, bool(given.url))
            _found(notes, texts, queries, right)
            if given.url:
                by_hand.close()
                db.drop_collection("text_benchmark")


def _times(notes: Any, by_hand: Any, texts: list[str], queries: Any, wall: bool) -> None:
    contenders = {
        "by hand, any word": lambda i: by_hand.search(texts[i]),
        "search_documents, any word": lambda i: notes.search_documents(texts[i]),
        "by vector": lambda i: notes.search(queries[i]),
        "search_hybrid": lambda i: notes.search_hybrid(texts[i], queries[i]),
    }
    if wall:  # the server's time is not ours
        time.process_time, before = time.perf_counter, time.process_time
    times = in_turn(contenders, len(texts))
    if wall:
        time.process_time = before
    for name, each in times.items():
        print(f"{name}: {np.median(each):.3f} ms a query")
    print(f"words / by hand: {ratio(times, *list(contenders)[1::-1]):.2f}")
    both = np.array(times["search_documents, any word"]) + np.array(times["by vector"])
    more = float(np.median(np.array(times["search_hybrid"]) - both))
    print(f"hybrid takes {more:+.3f} ms more than both alone")


def _found(notes: Any, texts: list[str], queries: Any, right: list[str]) -> None:
    searches = {
        "words": lambda i: notes.search_documents(texts[i], K),
        "vectors": lambda i: notes.search(queries[i], K),
        "both": lambda i: notes.search_hybrid(texts[i], queries[i], K),
    }
    for name, search in searches.items():
        hits = [right[i] in {hit.id for hit in search(i)} for i in range(len(texts))]
        print(f"found among the first {K} by {name}: {np.mean(hits):.4f}")


if __name__ == "__main__":
    main()
