"""PostgreSQL in a deployment: cut connections, bursts, other isolation, rows that others hold."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

import requant
from requant.errors import InputError, StoreError
from requant.store.snapshots import KEPT
from tests import inside
from tests.databases import expected, held, vectors
from tests.test_concurrency import in_threads

DIM = 8


def observer(url):
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def cut_all(url):
    """Let the server hang up on everybody, as a restart does."""
    with observer(url) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )


def connections(url):
    with observer(url) as other:
        (count,) = other.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchone()
    return count


def run_together(*calls, seconds=30):
    """Run calls in threads that must all come to an end; the first error is raised."""
    failed = []

    def run(call):
        try:
            call()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    if failed:
        raise failed[0]
    assert not any(thread.is_alive() for thread in threads), "they wait for each other"


def leave_a_log(notes):
    """Write so that the next publication has changes to forget, for which it needs a turn."""
    for seed in range(3):
        notes.upsert([1, 2], vectors(2, DIM, seed=seed))
        notes.flush()
    notes.upsert([1, 2], vectors(2, DIM, seed=3))


@pytest.fixture
def notes(empty_postgres, tmp_path):
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as db:
        collection = db.create_collection("notes", DIM)
        collection.upsert(range(100), vectors(100, DIM))
        yield collection


def reads(notes):
    return {
        "search": lambda: notes.search(np.ones(DIM), k=3),
        "search_many": lambda: notes.search_many(np.ones((2, DIM)), k=3),
        "filtered": lambda: notes.search(np.ones(DIM), where={"n": {"$exists": False}}),
        "get": lambda: notes.get([1, 2]),
        "vectors": lambda: notes.vectors([1, 2]),
        "len": lambda: len(notes),
        "iter": lambda: next(iter(notes.iter())),
        "stats": lambda: notes.stats(),
        "verify": lambda: notes.verify(),
        "upsert": lambda: notes.upsert([1], vectors(1, DIM)),
        "delete": lambda: notes.delete([1000]),
    }


@pytest.mark.parametrize("what", list(reads(None)))
def test_connections_that_were_cut_are_made_again(notes, empty_postgres, what):
    notes.add_index("main", engine="faiss")
    call = reads(notes)[what]
    in_threads(*[lambda: notes.search(np.ones(DIM))] * 8)  # several readers are kept
    for _ in range(2):
        cut_all(empty_postgres)
        call()
        call()
    in_threads(*[lambda: notes.search(np.ones(DIM))] * 8)


def test_a_commit_of_one_item_takes_the_messages_of_any_commit(notes, monkeypatch):
    """What begins it tells whether the connection lives, in place of a ping before it."""
    sent, waits = [], psycopg.Connection.wait

    def noted(connection, *given, **options):
        before = connection.info.transaction_status
        result = waits(connection, *given, **options)
        sent.append((before, connection.info.transaction_status))
        return result

    notes.upsert([1000], vectors(1, DIM))
    monkeypatch.setattr(psycopg.Connection, "wait", noted)
    notes.upsert([1001], vectors(1, DIM))
    idle, at_work, begun = range(3)
    assert [one for one in sent if one != (idle, idle)] == [
        (at_work, begun),  # BEGIN, which has been sent before it is waited for
        (begun, begun),
        (begun, idle),
    ]
    assert len(sent) == 4  # what changes no state asks for nothing
    assert len(notes) == 102


def test_an_application_hears_of_a_cut_only_where_it_must(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres)
    with requant.open(engine, folder=tmp_path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(100), vectors(100, DIM))
        in_threads(*[lambda: notes.search(np.ones(DIM))] * 5)
        cut_all(empty_postgres)
        in_threads(*[lambda: notes.search(np.ones(DIM))] * 5)
        notes.upsert(["after"], vectors(1, DIM))
    engine.dispose()


def test_what_is_cut_in_the_midst_is_an_error_and_no_end(notes, empty_postgres):
    items = notes.iter(batch=10)
    next(items)
    cut_all(empty_postgres)
    with pytest.raises(requant.StoreError, match="cannot read"):
        list(items)
    assert len(notes) == 100


def test_a_burst_leaves_a_bounded_number_of_connections(notes, empty_postgres):
    barrier = threading.Barrier(60)

    def read():
        with notes.selected() as selection:
            barrier.wait(30)  # all at once
            assert selection.total == 100

    with ThreadPoolExecutor(60) as pool:
        list(pool.map(lambda _: read(), range(60)))
    assert connections(empty_postgres) <= KEPT + 10
    assert len(notes.search(np.ones(DIM))) == 10


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("where", ["engine", "server"])
def test_own_transactions_say_how_isolated_they_are(empty_postgres, tmp_path, level, where):
    options = {"isolation_level": level} if where == "engine" else {}
    if where == "server":
        with observer(empty_postgres) as other:
            other.execute(f"ALTER ROLE requant SET default_transaction_isolation = '{level}'")
    engine = sa.create_engine(empty_postgres, max_overflow=20, **options)
    try:
        with requant.open(engine, folder=tmp_path) as db:
            notes = db.create_collection("notes", DIM)

            def write(worker):
                for n in range(8):
                    notes.upsert([100 * worker + n], vectors(1, DIM, seed=n))

            in_threads(*[lambda w=w: write(w) for w in range(6)])
            assert len(notes) == 48
            with engine.connect() as connection:  # the application's own stay as it wants them
                shown = connection.exec_driver_sql("SHOW transaction_isolation").scalar()
            assert shown == level.lower()
    finally:
        engine.dispose()
        with observer(empty_postgres) as other:
            other.execute("ALTER ROLE requant RESET default_transaction_isolation")


@pytest.mark.parametrize("engine", ["faiss", "lancedb"])
def test_who_builds_does_not_wait_for_who_searches_in_a_transaction(
    empty_postgres, tmp_path, engine
):
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(range(300), vectors(300, DIM))
        notes.add_index("main", engine=engine)
        leave_a_log(notes)
    with requant.open(empty_postgres, folder=tmp_path) as db:
        notes = db.collection("notes")
        written, building, searched = (threading.Event() for _ in range(3))

        def rebuild():
            assert written.wait(10)

            def progress(_done, _total):
                building.set()
                searched.wait(1)

            notes.rebuild("main", progress=progress)

        def write_and_search():
            with db.engine.begin() as connection:
                notes.upsert([1], vectors(1, DIM, seed=1), connection=connection)
                written.set()
                assert building.wait(10)
                assert notes.search(vectors(300, DIM)[7], k=1)[0].id == 7
                searched.set()
                assert notes.search(vectors(300, DIM)[8], k=1)[0].id == 8

        try:
            run_together(rebuild, write_and_search)
        except AssertionError:
            cut_all(empty_postgres)  # else nothing could be closed
            raise
        notes.flush()
        assert held(notes) == expected(notes)
        assert notes.verify(deep=True).ok


def test_a_publication_does_not_wait_for_a_transaction_of_others(notes, empty_postgres):
    notes.add_index("main", engine="faiss")
    leave_a_log(notes)

    def publish():
        notes.flush()
        notes.verify()

    with sa.create_engine(empty_postgres).connect() as other:
        notes.upsert([2], vectors(1, DIM, seed=2), connection=other)
        run_together(publish, seconds=10)
        other.rollback()
    other.engine.dispose()


def test_indexes_come_and_go_in_one_order(notes):
    def come():
        for _ in range(150):
            with contextlib.suppress(requant.ExistsError):
                inside.record_index(notes, "same", engine="usearch")

    def go():
        for _ in range(150):
            with contextlib.suppress(requant.UnknownIndexError):
                inside.forget_index(notes, "same")

    def build_and_publish():
        for n in range(5):
            notes.migrate(f"to-{n}", engine="faiss", precision="float32")
            with contextlib.suppress(requant.UnknownIndexError):  # what was in use has gone
                notes.rollback()
            notes.upsert([1], vectors(1, DIM, seed=n))
            notes.drop_index(f"to-{n}")

    run_together(come, come, go, go, build_and_publish, seconds=60)
    assert notes.verify(deep=True).ok


def test_a_transaction_that_had_failed_before_the_database_was_opened(empty_postgres, tmp_path):
    engine = sa.create_engine(empty_postgres)
    with engine.connect() as connection:
        with pytest.raises(sa.exc.DataError):
            connection.exec_driver_sql("SELECT 1 / 0")
        with requant.open(engine, folder=tmp_path) as db:
            notes = db.create_collection("notes", 8)
            with pytest.raises(InputError, match="rolled back"):
                notes.upsert([1], vectors(1), connection=connection)
            connection.rollback()
            notes.upsert([1], vectors(1), connection=connection)
            connection.commit()
            assert list(notes.ids()) == [1]
    engine.dispose()


def test_what_failed_is_ended_where_no_pool_does_so(empty_postgres, tmp_path):
    engine = sa.create_engine(
        empty_postgres, pool_size=1, max_overflow=0, pool_timeout=1, pool_reset_on_return=None
    )
    with requant.open(engine, folder=tmp_path) as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert([1], vectors(1, DIM))
        with observer(empty_postgres) as other:
            other.execute("ALTER TABLE requant_writes RENAME TO elsewhere")
            with pytest.raises(StoreError, match="requant_writes"):
                notes.search(vectors(1, DIM)[0])
            other.execute("ALTER TABLE elsewhere RENAME TO requant_writes")
        assert [hit.id for hit in notes.search(vectors(1, DIM)[0])] == [1]
    engine.dispose()


def test_an_engine_of_client_side_cursors(empty_postgres, tmp_path):
    """Which hand out texts alone."""
    options = {"cursor_factory": psycopg.ClientCursor}
    engine = sa.create_engine(empty_postgres, connect_args=options)
    with requant.open(engine, folder=tmp_path) as db:
        notes = db.create_collection("notes", DIM, index_fields=["n"])
        notes.upsert(range(20), vectors(20, DIM), metadata=[{"n": n % 2} for n in range(20)])
        with engine.begin() as connection:
            notes.upsert([1], vectors(1, DIM), metadata=[{"n": 2}], connection=connection)
            assert (
                notes.search(vectors(1, DIM)[0], where={"n": 2}, connection=connection)[0].id == 1
            )
        notes.delete([2])
        notes.flush()
        assert notes.count({"n": 2}) == 1
        assert notes.count({"n": 0}) == 9
        assert notes.verify(deep=True).ok
    engine.dispose()


def made_with(url, name, encoding):
    with observer(url) as other:
        other.execute(f"DROP DATABASE IF EXISTS {name}")
        other.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 "
            "LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER libc"
        )
    return url.replace("/postgres?", f"/{name}?")


def test_a_database_that_knows_of_no_encoding(empty_postgres, tmp_path):
    url = made_with(empty_postgres, "bytes_only", "SQL_ASCII")
    with requant.open(url, folder=tmp_path) as db:
        notes = db.create_collection("notes", DIM, index_fields=["w"])
        notes.upsert(["日本", "é"], vectors(2, DIM), metadata=[{"w": "é"}, {"w": "日"}])
        assert notes.search(vectors(2, DIM)[1], where={"w": "日"})[0].id == "é"
        assert notes.verify(deep=True).ok


def test_texts_that_an_encoding_lacks_are_refused(empty_postgres, tmp_path):
    url = made_with(empty_postgres, "latin", "LATIN1")
    engine = sa.create_engine(url)
    with requant.open(url, folder=tmp_path / "own") as db:
        notes = db.create_collection("notes", DIM)
        notes.upsert(["é"], vectors(1, DIM))
        with pytest.raises(StoreError, match="in a database of UTF-8"):
            notes.upsert(["日"], vectors(1, DIM))
    with requant.open(engine, folder=tmp_path / "theirs") as db:
        notes = db.collection("notes")
        for act in (
            lambda: notes.upsert(["日"], vectors(1, DIM)),
            lambda: notes.search(vectors(1, DIM)[0], among=["日"]),
        ):
            with pytest.raises(StoreError, match="client_encoding"):
                act()
        with engine.connect() as connection:
            with pytest.raises(InputError, match="client_encoding"):
                notes.upsert(["日"], vectors(1, DIM), connection=connection)
            assert [hit.id for hit in notes.search(vectors(1)[0], connection=connection)] == ["é"]
    engine.dispose()
