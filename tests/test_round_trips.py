"""What a search of PostgreSQL asks the server, and who numbers what nobody reads."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

import requant
from requant.store.history import keys
from tests import inside
from tests.databases import expected, held, vectors

DIM, N = 8, 1500
SEQUENCE = "requant_writes_id_seq"


@pytest.fixture
def notes(empty_postgres, tmp_path):
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", DIM, "l2")
        notes.upsert(range(N), vectors(N, DIM))
        notes.add_index("main", engine="faiss", precision="int8")
        yield notes


@pytest.fixture
def asked(monkeypatch):
    texts = []
    execute = psycopg.Cursor.execute

    def counted(self, query, *given, **options):
        texts.append(query)
        return execute(self, query, *given, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    return texts


def unnumbered(engine):
    with engine.connect() as connection:
        return connection.execute(sa.text("SELECT count(*) FROM requant_writes")).scalar_one()


def test_a_search_right_after_a_write_asks_no_more_than_another(notes, asked, monkeypatch):
    """The state with the fresh writes, the vectors of candidates and fresh ones, the items."""
    monkeypatch.setattr(inside.LOOK_SECONDS, 1e9)  # at migrations
    queries = vectors(3, DIM, seed=1)
    notes.search(queries[0])
    for write in (
        lambda: None,
        lambda: notes.upsert(["new"], queries[:1]),
        lambda: notes.upsert([7], queries[1:2]),
        lambda: notes.upsert(["gone"], queries[:1]),
        lambda: notes.delete(["gone"]),
        lambda: notes.delete([int(notes.search(queries[2], k=1)[0].id)]),
    ):
        write()
        best = notes.search_many(queries, k=10, exact=True)
        asked.clear()
        found = notes.search_many(queries, k=10, oversample=3)
        assert len(asked) == 3, asked
        assert [[hit.id for hit in hits] for hits in found] == [
            [hit.id for hit in hits] for hits in best
        ]
        one = notes.search(queries[0], k=10, oversample=3)
        assert [(hit.id, hit.score) for hit in one] == [(hit.id, hit.score) for hit in best[0]]
    with inside.connected(notes) as connection:
        assert unnumbered(connection.engine) > 0
    assert held(notes) == expected(notes)


def test_what_a_connection_has_prepared_may_be_lost(empty_postgres, tmp_path, asked):
    """As by a pool that discards it when a connection comes back."""
    engine = sa.create_engine(empty_postgres, pool_size=1, max_overflow=0)
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", DIM, "l2")
        notes.upsert(range(N), vectors(N, DIM))
        for _ in range(3):
            for n in range(8):
                assert notes.search(vectors(1, DIM, seed=0)[0], k=1)[0].id == 0, n
            with engine.connect() as connection:
                connection.exec_driver_sql("DEALLOCATE ALL")
                connection.commit()
        assert any("PREPARE requant_" in text for text in asked)
    engine.dispose()


def test_a_sequence_is_never_set_back_by_who_may_only_draw(notes, empty_postgres):
    engine = sa.create_engine(empty_postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE ROLE drawer")
        connection.exec_driver_sql("GRANT USAGE ON SCHEMA public TO drawer")
        connection.exec_driver_sql(f"GRANT USAGE, SELECT ON SEQUENCE {SEQUENCE} TO drawer")
    drawn = []

    def draw(*_):
        with engine.connect() as other:
            drawn.append(other.exec_driver_sql(f"SELECT nextval('{SEQUENCE}')").scalar())

    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL ROLE drawer")
            sa.event.listen(connection, "before_cursor_execute", draw)
            keys.skip(connection, SEQUENCE, 5000)
            keys.skip(connection, SEQUENCE, 10)  # which it is past
        draw()
        assert len(set(drawn)) == len(drawn) > 2
        assert drawn[-1] == max(drawn) >= 5000
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP OWNED BY drawer")
            connection.exec_driver_sql("DROP ROLE drawer")
        engine.dispose()


def test_who_only_lends_connections_has_numbers_given_too(empty_postgres, tmp_path, monkeypatch):
    """By none of the application's pool; and it waits for no lock of the same transaction."""
    monkeypatch.setattr(inside.OFTEN_LENT, 20)
    engine = sa.create_engine(empty_postgres, pool_size=1, max_overflow=0)
    with requant.open(engine, folder=tmp_path / "indexes") as db:
        notes = db.create_collection("notes", DIM, "l2", index_fields=["n"])
        for n in range(50):
            with engine.begin() as connection:
                notes.upsert([n], vectors(1, DIM, seed=n), None, [{"n": n}], connection=connection)
        assert unnumbered(engine) < 25
        with engine.begin() as connection:
            connection.exec_driver_sql("LOCK TABLE requant_collections, requant_writes")
            for n in range(50, 75):
                notes.upsert([n], vectors(1, DIM, seed=n), None, [{"n": n}], connection=connection)
        assert len(notes) == 75
        assert notes.count({"n": {"$gte": 40}}) == 35
        assert held(notes) == expected(notes)
    engine.dispose()
