"""Full text beside each database's own, and words and vectors together.

    python -m benchmarks.text DATA [--queries 1000] [--url postgresql+psycopg://...]

`DATA` is the folder that `benchmarks.rebuild_data` makes: WordNet's definitions, their vectors, and
the lemmas of some as queries, each of which is to find its own definition. By hand means a table of
FTS5, or a tsvector column with a GIN index, filled with the same texts and asked by the driver for
the same words in the database's own syntax, best ten first, and the ten texts fetched. Times are
CPU time in SQLite, and what the clock tells where a server works, too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

import requant
from benchmarks.timing import in_turn, ratio

K = 10
_RANKED = """SELECT key, document, ts_rank_cd(words, q) AS score
FROM by_hand, to_tsquery('simple', %s) AS q WHERE words @@ q ORDER BY score DESC LIMIT 10"""


class Query(NamedTuple):
    """One query as requant, FTS5 and PostgreSQL have it."""

    ours: str
    fts5: str
    tsquery: str


def _any_word(lemmas: list[str], _text: list[str]) -> Query:
    words = list(dict.fromkeys(_words(" ".join(lemmas)))) or ["a"]
    return Query(" ".join(words), " OR ".join(words), " | ".join(words))


def _one_word(_lemmas: list[str], text: list[str]) -> Query:
    word = max(text, key=len)
    return Query(word, word, word)


def _all_words(_lemmas: list[str], text: list[str]) -> Query:
    words = sorted(set(text), key=len)[-2:]
    return Query(" AND ".join(words), " AND ".join(words), " & ".join(words))


def _phrase(_lemmas: list[str], text: list[str]) -> Query:
    phrase = f'"{" ".join(text[:3])}"'
    return Query(phrase, phrase, " <-> ".join(text[:3]))


def _prefix(_lemmas: list[str], text: list[str]) -> Query:
    letters = max(text, key=len)[:5]
    return Query(f"{letters}*", f"{letters}*", f"{letters}:*")


# From the lemmas of a definition, and the words in it.
KINDS: dict[str, Callable[[list[str], list[str]], Query]] = {
    "any word": _any_word,
    "one word": _one_word,
    "all words": _all_words,
    "phrase": _phrase,
    "prefix": _prefix,
}


def _words(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


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

    def search(self, query: Query) -> list[Any]:
        """Return the best ten, as SQLite's documentation asks for them."""
        return self._raw.execute(
            "SELECT rowid, document, rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT 10",
            (query.fts5,),
        ).fetchall()

    def server_cpu(self) -> float:
        """Return the seconds that other processes have worked for this one."""
        return 0.0

    def close(self) -> None:
        """Close it."""
        self._raw.close()


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

    def search(self, query: Query) -> list[Any]:
        """Return the best ten."""
        found: list[Any] = self._cursor.execute(_RANKED, (query.tsquery,)).fetchall()
        return found

    def server_cpu(self) -> float:
        """Return the seconds that the server's processes for clients have worked, on Linux."""
        self._cursor.execute("SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'client%'")
        files = [Path(f"/proc/{pid}/stat") for (pid,) in self._cursor.fetchall()]
        fields = [file.read_text().rpartition(")")[2].split() for file in files if file.exists()]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Drop it."""
        self._cursor.execute("DROP TABLE by_hand")
        self._connection.close()


def _read(data: Path) -> tuple[list[dict[str, Any]], Any]:
    with gzip.open(data / "wordnet.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return rows, np.load(data / "wordnet_vectors_f16.npy").astype(np.float32)


class Queries:
    """Lemmas as queries, by their vectors as well, and which definition each is to find."""

    def __init__(self, data: Path, rows: list[dict[str, Any]], count: int) -> None:
        """Read them."""
        by_id = {row["id"]: row for row in rows}
        self.right = json.loads((data / "wordnet_query_ids.json").read_text("utf-8"))[:count]
        self.vectors = np.load(data / "wordnet_queries_f16.npy").astype(np.float32)[:count]
        self.kinds: dict[str, list[Query]] = {
            kind: [make(by_id[id]["lemmas"], _words(by_id[id]["text"])) for id in self.right]
            for kind, make in KINDS.items()
        }
        self.texts = [query.ours for query in self.kinds["any word"]]

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.right)


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--url", help="a PostgreSQL database to use instead of a SQLite file")
    given = parser.parse_args()
    rows, vectors = _read(given.data)
    documents = [row["text"] for row in rows]
    queries = Queries(given.data, rows, given.queries)
    clock = time.perf_counter if given.url else time.process_time
    with tempfile.TemporaryDirectory(prefix="requant-text-") as home:
        target = given.url or Path(home) / "notes.requant"
        by_hand: Tsvector | FTS5 = (
            Tsvector(given.url, documents)
            if given.url
            else FTS5(Path(home) / "by_hand.db", documents)
        )
        with requant.open(target, folder=Path(home) / "indexes") as db:
            if "text_benchmark" in db.collections():
                db.drop_collection("text_benchmark")
            notes = db.create_collection("text_benchmark", vectors.shape[1])
            for start in range(0, len(rows), 5000):
                part = slice(start, start + 5000)
                notes.upsert([row["id"] for row in rows[part]], vectors[part], documents[part])
            _indexing(notes, by_hand)
            notes.add_index("main", precision="int8")
            _times_of_words(notes, by_hand, queries, clock)
            _times_of_both(notes, queries, clock)
            _found(notes, queries)
            by_hand.close()
            db.drop_collection("text_benchmark")


def _indexing(notes: Any, by_hand: Tsvector | FTS5) -> None:
    def spent() -> tuple[float, float]:
        return time.process_time() + by_hand.server_cpu(), time.perf_counter()

    cpu, wall = spent()
    notes.index_text()
    cpu, wall = (after - before for after, before in zip(spent(), (cpu, wall), strict=True))
    print(f"index_text of {len(notes):,} definitions: {cpu:.1f} s of CPU, {wall:.1f} s")


def _times_of_words(
    notes: Any, by_hand: Tsvector | FTS5, queries: Queries, clock: Callable[[], float]
) -> None:
    print(f"{'milliseconds a query':24}{'by hand':>10}{'requant':>10}{'ratio':>8}")
    for kind, asked in queries.kinds.items():
        contenders = {
            "by hand": lambda i, asked=asked: by_hand.search(asked[i]),
            "requant": lambda i, asked=asked: notes.search_documents(asked[i].ours, K),
        }
        times = in_turn(contenders, len(queries), clock=clock)
        theirs, ours = (float(np.median(times[name])) for name in contenders)
        print(f"{kind:24}{theirs:10.3f}{ours:10.3f}{ratio(times, 'requant', 'by hand'):8.2f}")


def _times_of_both(notes: Any, queries: Queries, clock: Callable[[], float]) -> None:
    texts, vectors = queries.texts, queries.vectors
    contenders: dict[str, Callable[[int], Any]] = {
        "words": lambda i: notes.search_documents(texts[i], K),
        "vectors": lambda i: notes.search(vectors[i], K),
        "hybrid": lambda i: notes.search_hybrid(texts[i], vectors[i], k=K),
    }
    times = in_turn(contenders, len(queries), clock=clock)
    both = np.array(times["words"]) + np.array(times["vectors"])
    more = float(np.median(np.array(times["hybrid"]) - both))
    each = ", ".join(f"{name} {np.median(times[name]):.3f}" for name in contenders)
    print(f"{each}: hybrid takes {more:+.3f} ms more than both alone")


def _found(notes: Any, queries: Queries) -> None:
    texts, vectors = queries.texts, queries.vectors
    searches: dict[str, Callable[[int], Any]] = {
        "words": lambda i: notes.search_documents(texts[i], K),
        "vectors": lambda i: notes.search(vectors[i], K),
        "both": lambda i: notes.search_hybrid(texts[i], vectors[i], k=K),
    }
    for name, search in searches.items():
        hits = [queries.right[i] in {hit.id for hit in search(i)} for i in range(len(queries))]
        print(f"found among the first {K} by {name}: {np.mean(hits):.4f}")


if __name__ == "__main__":
    main()
