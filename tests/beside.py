"""Processes that write to one collection of PostgreSQL beside one another, and some that search.

Each writer keeps what it has committed in a table of its own making, written in the same
transaction, so that the truth is what the database itself has committed. Whoever sees one snapshot
compares all that it sees with it at any moment, its own writes included.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import requant
from requant.collection import Collection
from requant.errors import IndexWarning

DIM = 8
IDS = 300  # few, so that writers meet
WORDS = 5
# What PostgreSQL raises in transactions of SQL alone, too.
CLASHES = ("deadlock", "could not serialize")
CUT = ("terminating connection", "connection is closed", "connection unexpectedly", "is lost")
METADATA = sa.MetaData()
TRUTH = sa.Table(
    "truth",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("vec", sa.LargeBinary),
    sa.Column("word", sa.Integer),
)


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)


def write(url: str, folder: str, seed: int, seconds: float) -> int:
    """Write at random until the time is up; return how many transactions were committed."""
    # They meet so often that the second after which a server looks for circles would be lost.
    options = {"options": "-c deadlock_timeout=20ms", "application_name": "writer"}
    rng, engine = random.Random(seed), sa.create_engine(url, connect_args=options)
    committed = 0
    with requant.open(engine, folder=folder) as db:
        notes = db.collection("notes")
        if seed % 2:
            db.keep_up(0.05)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            isolation = rng.choice(["READ COMMITTED", "REPEATABLE READ"])
            lent = engine.execution_options(isolation_level=isolation)
            try:
                if rng.random() < 0.2:  # which opens the index, for searches in transactions
                    notes.search(vector(rng.randrange(1 << 30)), 10)
                with lent.connect() as connection, connection.begin() as transaction:
                    transact(rng, notes, connection, isolation == "REPEATABLE READ")
                    if rng.random() < 0.2:
                        transaction.rollback()
                    else:
                        committed += 1
            except (sa.exc.OperationalError, requant.StoreError) as error:
                # Two transactions that take the same items in two directions: as in plain SQL.
                if not any(word in str(error) for word in (*CLASHES, *CUT)):
                    raise
    engine.dispose()
    return committed


def transact(
    rng: random.Random, notes: Collection, connection: sa.Connection, one_snapshot: bool
) -> None:
    """Do some things in a transaction, and look at what it sees."""
    for _ in range(rng.randint(1, 3)):
        if one_snapshot and rng.random() < 0.3:
            some_of_a_word(rng, notes, connection)
        elif not one_snapshot and rng.random() < 0.02:
            # Whoever is alone has seen the end of all that others have begun.
            notes.clear(connection=connection)
            connection.execute(sa.delete(TRUTH))
        else:
            some(rng, notes, connection)
        if rng.random() < 0.3:
            time.sleep(rng.choice([0.001, 0.001, 0.01, 0.1]))
        if one_snapshot and rng.random() < 0.3:
            same(rng, notes, connection)
        elif rng.random() < 0.2:
            search_within(rng, notes, connection)


def some_of_a_word(rng: random.Random, notes: Collection, connection: sa.Connection) -> None:
    """Change or remove what has a word, which one snapshot alone tells in the same way twice."""
    old, new = rng.randrange(WORDS), rng.randrange(WORDS)
    of_word = TRUTH.c.word == old
    if rng.random() < 0.7:
        count = notes.update(where={"w": old}, metadata={"w": new}, connection=connection)
        told = connection.execute(sa.update(TRUTH).where(of_word).values(word=new)).rowcount
    else:
        count = notes.delete(where={"w": old}, connection=connection)
        told = connection.execute(sa.delete(TRUTH).where(of_word)).rowcount
    assert count == told, (count, told)


def same(rng: random.Random, notes: Collection, connection: sa.Connection) -> None:
    """Compare what a transaction of one snapshot sees of both."""
    truth = {row.id: row for row in connection.execute(sa.select(TRUTH))}
    stored = {item.id: item for item in notes.iter(connection=connection)}
    assert stored.keys() == truth.keys(), stored.keys() ^ truth.keys()
    for text, row in truth.items():
        assert stored[text].vector.tobytes() == row.vec, text
        assert stored[text].metadata == {"w": row.word}, text
    word = rng.randrange(WORDS)
    expected = {text for text, row in truth.items() if row.word == word}
    assert notes.count({"w": word}, connection=connection) == len(expected)
    found = {item.id for item in notes.get(where={"w": word}, connection=connection)}
    assert found == expected, found ^ expected
    query = vector(rng.randrange(1 << 30))
    for where, among in ((None, set(truth)), ({"w": word}, expected)):
        rows = {text: np.frombuffer(truth[text].vec, np.float32) for text in among}
        nearest = sorted(float(np.square(row - query).sum()) for row in rows.values())[:10]
        for exact in (True, False):
            hits = notes.search(
                query, 10, where=where, exact=exact, connection=connection,
                **({} if exact else {"oversample": 1000.0}),
            )  # fmt: skip
            assert [hit.id for hit in hits if hit.id not in among] == []
            scores = [-hit.score for hit in hits]
            np.testing.assert_allclose(np.abs(scores), nearest, rtol=1e-4, atol=1e-4)


def search_within(rng: random.Random, notes: Collection, connection: sa.Connection) -> None:
    """Search where each statement sees what others have committed meanwhile."""
    word = rng.randrange(WORDS)
    hits = notes.search(
        vector(rng.randrange(1 << 30)), 10, where={"w": word}, connection=connection
    )
    assert all(hit.metadata == {"w": word} for hit in hits), hits


def some(rng: random.Random, notes: Collection, connection: sa.Connection) -> None:
    """Do one thing, within a savepoint that is sometimes taken back."""
    point = connection.begin_nested()
    ids = sorted({f"{rng.randrange(IDS)}" for _ in range(rng.choice([1, 1, 1, 2, 2, 12, 12, 40]))})
    kind, seed, word = rng.random(), rng.randrange(1 << 30), rng.randrange(5)
    if kind < 0.65:
        floats = [vector(seed + i) for i in range(len(ids))]
        notes.upsert(ids, floats, metadata=[{"w": word}] * len(ids), connection=connection)
        for text, row in zip(ids, floats, strict=True):
            values = {"vec": row.tobytes(), "word": word}
            put = insert(TRUTH).values(id=text, **values)
            connection.execute(put.on_conflict_do_update(index_elements=["id"], set_=values))
    elif kind < 0.85:
        # What was not there when it was looked for may come from another before the truth is told.
        gone = [text for text in ids if notes.delete([text], connection=connection)]
        connection.execute(sa.delete(TRUTH).where(TRUTH.c.id.in_(gone)))
    else:
        there = [item.id for item in notes.get(ids, connection=connection)]
        if there:
            try:
                notes.update(there, metadata={"w": word}, connection=connection)
            except requant.UnknownIdError:  # deleted since by another
                there = []
            same = sa.update(TRUTH).where(TRUTH.c.id.in_(there))
            connection.execute(same.values(word=word))
    if rng.random() < 0.15:
        point.rollback()
    else:
        point.commit()


def search(url: str, folder: str, index: str, seed: int, seconds: float) -> int:
    """Search until the time is up: every answer is that of one snapshot; return how many."""
    rng, done = random.Random(seed), 0
    with requant.open(url, folder=folder) as db, warnings.catch_warnings():
        warnings.simplefilter("error", IndexWarning)
        notes = db.collection("notes")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            query = vector(rng.randrange(1 << 30))
            hits = notes.search(query, k=10, index=index, oversample=1000.0)
            check(notes, query, hits)
            if rng.random() < 0.3:
                word = rng.randrange(5)
                for hit in notes.search(query, k=10, index=index, where={"w": word}):
                    assert hit.metadata == {"w": word}, hit
            if rng.random() < 0.1:
                notes.flush()
            if rng.random() < 0.05:
                report = notes.verify(deep=True)
                assert report.ok, report
            done += 1
    return done


def check(notes: Collection, query: np.ndarray, hits: list[Any]) -> None:
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert len({hit.id for hit in hits}) == len(hits)


def whole(url: str, folder: str) -> None:
    """Compare everything with what was committed; nobody writes any more."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        truth = {row.id: row for row in connection.execute(sa.select(TRUTH))}
    engine.dispose()
    with requant.open(url, folder=folder) as db:
        notes = db.collection("notes")
        stored = {item.id: item for item in notes.iter()}
        assert stored.keys() == truth.keys()
        for text, row in truth.items():
            assert stored[text].vector.tobytes() == row.vec
            assert stored[text].metadata == {"w": row.word}
        answers(notes, truth)
        notes.flush()
        answers(notes, truth)
        report = notes.verify(deep=True)
        assert report.ok, report
        with db.engine.connect() as connection:
            left = connection.execute(sa.text("SELECT count(*) FROM requant_writes")).scalar()
        assert left == 0


def answers(notes: Collection, truth: dict[str, Any]) -> None:
    for word in range(5):
        expected = sorted(text for text, row in truth.items() if row.word == word)
        assert sorted(item.id for item in notes.get(where={"w": word})) == expected
        assert notes.count({"w": word}) == len(expected)
    counts = {one.value: one.count for one in notes.distinct("w")}
    words = [row.word for row in truth.values()]
    assert counts == {word: words.count(word) for word in set(words)}
    for index in [info.name for info in notes.indexes]:
        for seed in range(5):
            exact = notes.search(vector(seed), k=10, exact=True)
            found = notes.search(vector(seed), k=10, index=index, oversample=3.0)
            assert [hit.score for hit in found] == [hit.score for hit in exact]


def run(url: str, folder: Path, seconds: float, seed: int, writers: int = 4) -> tuple[int, int]:
    """Make a collection, and let writers and searchers at it; return what they have done."""
    engine = sa.create_engine(url)
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.delete(TRUTH))
    engine.dispose()
    with requant.open(url, folder=folder) as db:
        notes = db.create_collection("notes", DIM, "l2", index_fields=["w"])
        notes.upsert(["first", "second"], [vector(1), vector(2)], metadata=[{"w": 0}] * 2)
        notes.delete(["first", "second"])
        notes.upsert([str(i) for i in range(40)], [vector(i) for i in range(40)])
        notes.add_index("file", engine="faiss", precision="int8")
        notes.add_index("live", engine="lancedb", precision="int8")
        notes.clear()
    jobs = [["write", url, str(folder), seed + n, seconds] for n in range(writers)]
    jobs += [["search", url, str(folder), index, seed, seconds] for index in ("file", "live")]
    with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
        running = pool.map_async(_job, [json.dumps(job) for job in jobs], chunksize=1)
        while not running.ready():
            running.wait(1.5)
            _cut_one(url)
        done = running.get()
    whole(url, str(folder))
    return sum(done[:writers]), sum(done[writers:])


def _cut_one(url: str) -> None:
    """Let the server end one connection of a writer, in whatever it is doing."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'writer' AND backend_start < now() - interval '3 s' "
            "ORDER BY random() LIMIT 1"
        )
    engine.dispose()


def _job(text: str) -> int:
    name, *parameters = json.loads(text)
    done: int = {"write": write, "search": search}[name](*parameters)
    return done


if __name__ == "__main__":
    print(run(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
