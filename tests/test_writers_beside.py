"""PostgreSQL's writers beside one another: none waits for another's commit, and none is missed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, TimeoutError

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import DuplicateIdError, StoreError, UnknownCollectionError, UnknownIdError
from requant.integration.sqlalchemy import add_tables
from tests import beside, inside
from tests.databases import expected, held, vectors

DIM = 8
N = 60


@pytest.fixture
def db(empty_postgres, tmp_path):
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as opened:
        yield opened


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as executor:
        yield executor


def make(db, engine="usearch", **options):
    notes = db.create_collection("notes", DIM, "l2", **options)
    words = [{"w": i % 3} for i in range(N)]
    notes.upsert([str(i) for i in range(N)], vectors(N, DIM), metadata=words)
    notes.add_index("main", engine=engine, precision="int8")
    return notes


def answers(notes):
    """Searches by the index find what an exact one does."""
    for query in vectors(5, DIM, seed=9):
        exact = notes.search(query, k=10, exact=True)
        found = notes.search(query, k=10, oversample=3)
        assert [(hit.id, hit.score) for hit in found] == [(hit.id, hit.score) for hit in exact]


def whole(notes):
    answers(notes)
    notes.flush()
    answers(notes)
    assert held(notes) == expected(notes)
    report = notes.verify(deep=True)
    assert report.ok, report


@pytest.mark.parametrize("engine", ["faiss", "lancedb"])
def test_who_draws_its_keys_first_and_commits_last_is_not_missed(db, pool, engine):
    notes = make(db, engine, index_fields=["w"])
    answers(notes)
    with db.engine.begin() as late:
        notes.upsert(["late"], vectors(1, DIM, seed=1), metadata=[{"w": 7}], connection=late)
        notes.upsert(["3"], vectors(1, DIM, seed=2), metadata=[{"w": 8}], connection=late)
        for n in range(3):
            early = [f"early {n} {i}" for i in range(5)]
            again = vectors(5, DIM, seed=3 + n)
            pool.submit(notes.upsert, early, again, metadata=[{"w": 9}] * 5).result(timeout=30)
            pool.submit(notes.delete, [str(10 + n)]).result(timeout=30)
            pool.submit(whole, notes).result(timeout=60)  # every index has followed beyond it
        assert pool.submit(notes.count, {"w": 7}).result(timeout=30) == 0
    assert notes.count({"w": 7}) == notes.count({"w": 8}) == 1
    assert notes.search(vectors(1, DIM, seed=1)[0], k=1, oversample=3)[0].id == "late"
    assert notes.search(vectors(1, DIM, seed=2)[0], k=1, oversample=3)[0].id == "3"
    whole(notes)


def test_an_open_transaction_holds_up_nobody(db, pool):
    notes = make(db, index_fields=["w"])
    with db.engine.begin() as held_open:
        notes.upsert(["a", "1"], vectors(2, DIM), metadata=[{"w": 1}] * 2, connection=held_open)
        notes.delete(["3"], connection=held_open)
        for act in (
            lambda: notes.upsert(["b"], vectors(1, DIM), metadata=[{"w": 1}]),
            lambda: notes.upsert([f"c{i}" for i in range(20)], vectors(20, DIM)),
            lambda: notes.update(["4"], metadata={"w": 2}),
            lambda: notes.update(where={"w": 2}, metadata={"w": 1}),
            lambda: notes.delete(["5"]),
            notes.flush,
            lambda: notes.add_index("second", engine="faiss"),
        ):
            pool.submit(act).result(timeout=30)
    whole(notes)


def test_rows_and_the_collection_in_either_order(db, empty_postgres):
    """What an application locks of its own never comes together with a lock of ours to a circle."""
    notes = make(db)
    engine = sa.create_engine(empty_postgres)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE rows (id int PRIMARY KEY, n int)"))
        connection.execute(sa.text("INSERT INTO rows VALUES (1, 0), (2, 0)"))
    take = sa.text("UPDATE rows SET n = n + 1 WHERE id = 1")
    both, errors = threading.Barrier(2), []

    def run(row_first, name):
        try:
            with engine.begin() as connection:
                if row_first:
                    connection.execute(take)
                else:
                    notes.upsert([name], vectors(1, DIM), connection=connection)
                both.wait()
                if row_first:
                    notes.upsert([name], vectors(1, DIM), connection=connection)
                else:
                    connection.execute(take)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=one) for one in ((True, "a"), (False, "b"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    engine.dispose()
    assert errors == []
    assert {item.id for item in notes.get(["a", "b"])} == {"a", "b"}
    whole(notes)


@pytest.mark.parametrize("many", [1, 30])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_the_same_ids_at_once(db, pool, many, end):
    """The second waits for the first, and finds what it has left."""
    notes = make(db)
    ids = [f"same {i}" for i in range(many)]
    with db.engine.connect() as first:
        notes.add(ids, vectors(many, DIM, seed=1), ["first"] * many, connection=first)
        second = pool.submit(notes.upsert, ids[::-1], vectors(many, DIM, seed=2), ["second"] * many)
        third = pool.submit(notes.add, ids, vectors(many, DIM, seed=3))
        with pytest.raises(TimeoutError):
            second.result(timeout=0.5)
        getattr(first, end)()
        if end == "commit":
            assert second.result(timeout=30) == 0
            with pytest.raises(DuplicateIdError):
                third.result(timeout=30)
    if end == "commit":
        assert {item.document for item in notes.get(ids)} == {"second"}
    else:
        second.result(timeout=30)
        assert third.exception(timeout=30) is None or "already stored" in str(third.exception())
    assert len(notes) == N + many
    whole(notes)


@pytest.mark.parametrize("act", ["upsert", "update", "delete"])
def test_who_waits_for_an_item_that_gets_another_id_leaves_it_alone(db, pool, act):
    """As where a trigger of follow_deletes renames it: what was asked for is not that item."""
    notes = make(db)
    acts = {
        "upsert": lambda: notes.upsert(["0", "1"], vectors(2, DIM, seed=1)),
        "update": lambda: notes.update(["0"], metadata={"w": 9}),
        "delete": lambda: notes.delete(["0"]),
    }
    with db.engine.begin() as connection:
        rename = "UPDATE requant_items SET ext_id = 'other' WHERE ext_id = '0'"
        connection.execute(sa.text(rename))
        waits = pool.submit(acts[act])
        with pytest.raises(TimeoutError):
            waits.result(timeout=0.3)
    if act == "update":
        with pytest.raises(UnknownIdError):
            waits.result(timeout=30)
    else:
        assert waits.result(timeout=30) == (1 if act == "upsert" else 0)
    kept = vectors(N, DIM)[0]
    np.testing.assert_array_equal(notes.vectors(["other"])[0], kept)
    assert notes.get(["other"])[0].metadata == {"w": 0}
    if act == "upsert":
        np.testing.assert_array_equal(notes.vectors(["0", "1"]), vectors(2, DIM, seed=1))
    whole(notes)


def test_what_has_no_number_is_read_as_it_is(db):
    """By filters, counts and searches, though no index and no list of a field knows of it."""
    notes = make(db, index_fields=["w"])
    whole(notes)
    inside.stop_numbering(notes)
    assert notes.update(where={"w": 0}, metadata={"w": 4}) == 20
    notes.delete(["1", "4"])  # of w 1
    notes.upsert(["new"], vectors(1, DIM, seed=5), metadata=[{"w": 1}])
    notes.upsert(["2"], vectors(1, DIM, seed=6), metadata=[{"w": 4}])
    assert [notes.count({"w": n}) for n in range(5)] == [0, 19, 19, 0, 21]
    assert notes.count({"w": {"$ne": 1}}) == 40
    assert {one.value: one.count for one in notes.distinct("w")} == {1: 19, 2: 19, 4: 21}
    answers(notes)
    answers(notes)
    assert notes.search(vectors(1, DIM, seed=5)[0], k=1, oversample=3)[0].id == "new"
    assert notes.search(vectors(1, DIM, seed=6)[0], k=1, where={"w": 4})[0].id == "2"
    assert notes.delete(where={"w": 4}) == 21
    assert notes.count({"w": 4}) == 0
    answers(notes)
    inside.go_on_numbering(notes)
    whole(notes)
    assert [notes.count({"w": n}) for n in range(5)] == [0, 19, 19, 0, 0]


def test_savepoints_and_rollbacks_leave_no_note(db):
    notes = make(db, index_fields=["w"])
    notes.flush()
    with db.engine.connect() as connection:
        notes.upsert(["a"], vectors(1, DIM), metadata=[{"w": 1}], connection=connection)
        point = connection.begin_nested()
        notes.delete(["1"], connection=connection)
        notes.upsert(["b"], vectors(1, DIM), connection=connection)
        point.rollback()
        connection.commit()
        notes.upsert([f"c{i}" for i in range(20)], vectors(20, DIM), connection=connection)
        connection.rollback()
        count = sa.text("SELECT count(*) FROM requant_writes")
        assert connection.scalar(count) == 2  # the item, and what is listed of it
    assert {item.id for item in notes.iter()} == {*map(str, range(N)), "a"}
    assert notes.count({"w": 1}) == 21
    whole(notes)


@pytest.mark.parametrize("act", ["clear", "index_field", "drop"])
def test_who_has_to_be_alone_waits_for_those_who_write(db, pool, act):
    notes = make(db)
    acts = {
        "clear": notes.clear,
        "index_field": lambda: notes.index_field("w"),
        "drop": lambda: db.drop_collection("notes"),
    }
    with db.engine.begin() as connection:
        notes.upsert(["a"], vectors(1, DIM), metadata=[{"w": 1}], connection=connection)
        alone = pool.submit(acts[act])
        with pytest.raises(TimeoutError):
            alone.result(timeout=0.3)
        # Whoever may be waited for gets on, also while that one waits.
        pool.submit(notes.upsert, ["b"], vectors(1, DIM), metadata=[{"w": 1}]).result(timeout=30)
    alone.result(timeout=60)
    if act == "drop":
        with pytest.raises(UnknownCollectionError):
            notes.upsert(["c"], vectors(1, DIM))
        with db.engine.connect() as connection:
            for table in ("items", "vectors", "writes", "changes"):
                assert connection.scalar(sa.text(f"SELECT count(*) FROM requant_{table}")) == 0
        return
    if act == "clear":
        assert len(notes) == 0
        notes.upsert([str(i) for i in range(N)], vectors(N, DIM))
    else:
        assert notes.fields[0].ready
        assert notes.count({"w": 1}) == 22
    whole(notes)


def test_a_field_is_indexed_while_others_write(db, pool):
    notes = make(db)
    done = threading.Event()

    def write(worker):
        n = 0
        while not done.is_set():
            ids = [f"{worker} {n % 7} {i}" for i in range(3)]
            notes.upsert(ids, vectors(3, DIM, seed=n), metadata=[{"w": n % 4}] * 3)
            n += 1

    writers = [pool.submit(write, worker) for worker in range(3)]
    for _ in range(3):
        notes.index_field("w")
        counts = [notes.count({"w": n}) for n in range(4)]
        assert all(counts[:3])
        notes.unindex_field("w")
    notes.index_field("w")
    done.set()
    for writer in writers:
        writer.result(timeout=60)
    for n in range(4):
        looked_at = sum((item.metadata or {}).get("w") == n for item in notes.iter())
        assert notes.count({"w": n}) == looked_at
    assert notes.fields[0].ready
    whole(notes)


def test_repeatable_read_writes_beside_others(db):
    """Their snapshot is older than what others have numbered since, which is no conflict."""
    notes = make(db, index_fields=["w"])
    with db.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        assert notes.count(connection=connection) == N
        notes.upsert(["b"], vectors(1, DIM), metadata=[{"w": 1}])
        notes.flush()
        notes.upsert(["a", "4"], vectors(2, DIM), metadata=[{"w": 5}] * 2, connection=connection)
        connection.commit()
        assert notes.count(connection=connection) == N + 2
        connection.rollback()
        notes.count(connection=connection)
        notes.upsert(["4"], vectors(1, DIM))
        with pytest.raises(sa.exc.OperationalError, match="concurrent"):
            notes.upsert(["4"], vectors(1, DIM, seed=3), connection=connection)
        connection.rollback()
    assert notes.count({"w": 5}) == 2
    whole(notes)


def test_a_role_that_makes_no_sequences_draws_from_the_common_one(db):
    make(db)
    with db.engine.begin() as connection:
        connection.execute(sa.text("CREATE ROLE clerk LOGIN"))
        connection.execute(sa.text("GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk"))
        connection.execute(sa.text("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk"))
        connection.execute(sa.text("GRANT USAGE ON SCHEMA public TO clerk"))
        connection.execute(sa.text("REVOKE CREATE ON SCHEMA public FROM public, clerk"))
    try:
        url = db.engine.url.set(username="clerk").render_as_string(False)
        with requant.open(url, folder=inside.folder_of(db)) as theirs:
            for name in ("one", "two"):
                notes = theirs.create_collection(name, DIM, "l2")
                notes.upsert([str(i) for i in range(N)], vectors(N, DIM))
                notes.add_index("main", engine="usearch", precision="int8")
            for name in ("one", "two"):
                notes = theirs.collection(name)
                notes.upsert(["a", "1"], vectors(2, DIM, seed=1))
                notes.delete(["5"])
                whole(notes)
            theirs.drop_collection("two")
    finally:
        with db.engine.begin() as connection:
            connection.execute(sa.text("DROP OWNED BY clerk"))
            connection.execute(sa.text("DROP ROLE clerk"))


@pytest.mark.parametrize("engine", ["faiss", "lancedb"])
def test_an_index_follows_also_where_an_item_is_changed_all_the_time(db, engine, monkeypatch):
    """Whenever a search looks, something has no number yet that it would take in."""
    notes = make(db, engine)
    answers(notes)
    monkeypatch.setattr(inside.FURTHER_SECONDS, 0.0)
    monkeypatch.setattr(inside.FRESH_WRITES, 1)  # each search numbers
    lags = []

    def write_more():
        notes.upsert(["3", "4"], vectors(2, DIM, seed=len(lags)))

    inside.write_after_numbering(monkeypatch, notes, write_more)
    for n in range(120):
        notes.upsert(["3", f"new {n}"], vectors(2, DIM, seed=n))
        query = vectors(1, DIM, seed=9)[0]
        exact = notes.search(query, k=10, exact=True)
        assert notes.search(query, k=10, oversample=3) == exact
        seq = inside.latest_number(notes)
        lags.append(seq - inside.index_of(notes, "main").mark.seq)
    assert seq > 120
    assert max(lags) < 60
    whole(notes)


def test_transactions_that_are_prepared(db, empty_postgres, pool):
    """They are nobody's meanwhile, and hold up nobody who wants other items."""
    notes = make(db, index_fields=["w"])
    engine = sa.create_engine(empty_postgres)
    ends = []
    for name in ("kept", "dropped"):
        connection = engine.connect()
        transaction = connection.begin_twophase(name)
        row, words = vectors(2, DIM, seed=len(name)), [{"w": 7}] * 2
        notes.upsert(
            [name, "1" if name == "kept" else "2"], row, None, words, connection=connection
        )
        transaction.prepare()
        ends.append((connection, transaction))
    pool.submit(notes.upsert, ["other"], vectors(1, DIM), metadata=[{"w": 1}]).result(timeout=30)
    pool.submit(whole, notes).result(timeout=60)
    assert notes.count({"w": 7}) == 0
    ends[0][1].commit()
    ends[1][1].rollback()
    for connection, _ in ends:
        connection.close()
    assert notes.count({"w": 7}) == 2
    whole(notes)
    engine.dispose()


def test_keys_that_were_set_back_are_not_given_out_again(db):
    """As where tables were copied without their sequences."""
    notes = make(db)
    notes.flush()
    with db.engine.begin() as connection:
        connection.execute(sa.text("SELECT setval('requant_keys_1', 0, false)"))
    notes.upsert(["one"], vectors(1, DIM))
    with db.engine.begin() as connection:
        connection.execute(sa.text("SELECT setval('requant_keys_1', 0, false)"))
    notes.upsert([f"m{i}" for i in range(50)], vectors(50, DIM))
    keys = [item.key for item in notes.iter()]
    assert len(keys) == len(set(keys)) == N + 51
    whole(notes)


def test_a_backup_holds_what_has_no_number(db, tmp_path):
    notes = make(db, index_fields=["w"])
    inside.stop_numbering(notes)
    notes.upsert(["a", "1"], vectors(2, DIM, seed=1), metadata=[{"w": 6}] * 2)
    notes.delete(["2"])
    db.backup(tmp_path / "backup")
    requant.restore(tmp_path / "backup", tmp_path / "restored.requant")
    with requant.open(tmp_path / "restored.requant") as restored:
        again = restored.collection("notes")
        assert [item.id for item in again.iter()] == [item.id for item in notes.iter()]
        assert again.count({"w": 6}) == 2
        again.upsert(["b"], vectors(1, DIM), metadata=[{"w": 6}])
        assert again.count({"w": 6}) == 3
        whole(again)


def test_processes_write_and_search_at_once(empty_postgres, tmp_path):
    commits, searches = beside.run(empty_postgres, tmp_path, 6.0, seed=7, writers=3)
    assert commits
    assert searches


def test_notes_of_a_set_back_database_are_others(db):
    """What was read under one set of notes is not taken for what another set says."""
    notes = make(db)
    inside.stop_numbering(notes)
    notes.upsert(["x"], vectors(1, DIM, seed=1), metadata=[{"w": 1}])
    assert notes.count({"w": 1}) == 21
    with db.engine.begin() as connection:  # as a restore to before, and another write since
        last = "(SELECT max(key) FROM requant_vectors)"
        connection.execute(sa.text(f"DELETE FROM requant_items WHERE key = {last}"))
        connection.execute(sa.text(f"DELETE FROM requant_vectors WHERE key = {last}"))
        connection.execute(sa.text("DELETE FROM requant_writes"))
        connection.execute(
            sa.text("SELECT setval(pg_get_serial_sequence('requant_writes', 'id'), 1)")
        )
    notes.upsert(["y"], vectors(1, DIM, seed=1), metadata=[{"w": 2}])
    assert notes.count({"w": 1}) == 20
    np.testing.assert_array_equal(notes.vectors(["y"]), vectors(1, DIM, seed=1))


def make_older(url):
    """Take from a database what schema 6 has brought, as far as it matters."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for text in (
            "DROP TABLE requant_writes",
            "DROP SEQUENCE requant_keys_1",
            "ALTER TABLE requant_collections DROP COLUMN own_keys",
            "ALTER TABLE requant_collections RENAME COLUMN fields_at TO fields_seq",
            "UPDATE requant_meta SET value = '5' WHERE name = 'schema'",
        ):
            connection.execute(sa.text(text))
    return engine


@pytest.mark.parametrize("by", ["requant", "migrations of the application"])
def test_a_database_of_an_earlier_schema_goes_on(db, empty_postgres, tmp_path, by):
    """Its keys go on where they were, and what was written before has been numbered."""
    notes = make(db, index_fields=["w"])
    whole(notes)
    inside.number(db)
    db.close()
    engine = make_older(empty_postgres)
    if by != "requant":
        tables = add_tables(sa.MetaData())
        tables.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE requant_collections ADD own_keys boolean")
            rename = "RENAME COLUMN fields_seq TO fields_at"
            connection.exec_driver_sql(f"ALTER TABLE requant_collections {rename}")
    engine.dispose()
    folder = tmp_path / "indexes"
    with requant.open(empty_postgres, folder=folder, create=by == "requant") as again:
        # What every statement of schema 5 names, so that a process that still runs it fails.
        columns = sa.inspect(again.engine).get_columns("requant_collections")
        assert "fields_seq" not in [one["name"] for one in columns]
        notes = again.collection("notes")
        before = [item.key for item in notes.iter()]
        notes.upsert(["a", "1"], vectors(2, DIM, seed=1), metadata=[{"w": 5}] * 2)
        keys = [item.key for item in notes.iter()]
        assert keys[:-1] == before
        assert keys[-1] > before[-1]
        assert notes.count({"w": 5}) == 2
        whole(notes)


def test_triggers_that_an_older_version_has_made_are_refused(db, empty_postgres, tmp_path):
    """They would write without a note."""
    make(db)
    inside.number(db)
    db.close()
    engine = make_older(empty_postgres)
    name = "requant_deleted_0123456789abcdef"
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            'UPDATE "requant_collections" SET seq = seq + 1; RETURN NULL; END $$'
        )
    with pytest.raises(requant.StoreError, match="call follow_deletes again") as error:
        requant.open(empty_postgres, folder=tmp_path / "indexes")
    with engine.begin() as connection:
        statement = str(error.value).partition("drop them (")[2].partition("),")[0]
        assert name in statement
        connection.exec_driver_sql(statement)
    engine.dispose()
    with requant.open(empty_postgres, folder=tmp_path / "indexes") as again:
        whole(again.collection("notes"))


def test_a_role_that_does_not_own_the_tables_draws_keys_too(db):
    """It may make sequences, but none that goes with the tables of another role."""
    notes = make(db)
    with db.engine.begin() as connection:
        for text in (
            "CREATE ROLE clerk LOGIN",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk",
            "GRANT ALL ON SCHEMA public TO clerk",
        ):
            connection.exec_driver_sql(text)
    later = db.create_collection("later", DIM, "l2")
    try:
        url = db.engine.url.set(username="clerk").render_as_string(False)
        with requant.open(url, folder=inside.folder_of(db)) as theirs:
            own = theirs.create_collection("own", DIM, "l2")
            for one in (own, theirs.collection("notes"), theirs.collection("later")):
                one.upsert(["x", "y"], vectors(2, DIM, seed=1))
                one.upsert(["z"], vectors(1, DIM, seed=2))
                assert len({item.key for item in one.iter()}) == len(one)
            answers(theirs.collection("notes"))
        assert len(later) == 3
        whole(notes)
    finally:
        with db.engine.begin() as connection:
            connection.exec_driver_sql("DROP OWNED BY clerk")
            connection.exec_driver_sql("DROP ROLE clerk")


def test_sets_of_tables_in_one_database_do_not_meet(db, empty_postgres, tmp_path, pool):
    """Their collections have the same numbers, and nobody waits for the other."""
    notes = make(db)
    tables = add_tables(sa.MetaData(), prefix="other_")
    with requant.open(empty_postgres, folder=tmp_path / "other", tables=tables) as other:
        theirs = make(other)
        with db.engine.begin() as held_open:
            notes.upsert(["a"], vectors(1, DIM), connection=held_open)
            for act in (
                lambda: theirs.index_field("w"),
                theirs.clear,
                lambda: theirs.upsert(["a"], vectors(1, DIM)),
                lambda: other.drop_collection("notes"),
            ):
                pool.submit(act).result(timeout=30)
    whole(notes)


def test_notes_are_numbered_by_those_who_write_alone(db):
    """However often they do: nobody has to read."""
    notes = db.create_collection("notes", DIM, "l2")
    for n in range(230):
        notes.upsert([n], vectors(1, DIM, seed=n))
    with db.engine.connect() as connection:
        left = connection.execute(sa.text("SELECT count(*) FROM requant_writes")).scalar()
    assert left < 150
    with db.engine.begin() as connection:  # who lends has no other connection, perhaps
        for n in range(200):
            notes.upsert([1000 + n], vectors(1, DIM, seed=n), connection=connection)
    assert len(notes.search(vectors(1, DIM)[0], k=500)) == 430
    with db.engine.connect() as connection:
        left = connection.execute(sa.text("SELECT count(*) FROM requant_writes")).scalar()
    assert left == 0


@pytest.mark.filterwarnings("ignore::requant.IndexWarning")
def test_who_may_only_read_searches_beside_what_has_no_number(db, empty_postgres, tmp_path):
    """Whose folder has no file of the index, which cannot be made without giving a number."""
    notes = make(db)
    notes.upsert(["3"], vectors(1, DIM, seed=2))
    options = {"options": "-c default_transaction_read_only=on"}
    engine = sa.create_engine(empty_postgres, connect_args=options)
    with requant.open(engine, folder=tmp_path / "other") as other:
        answers(other.collection("notes"))
        assert other.collection("notes").search(vectors(1, DIM, seed=2)[0], k=1)[0].id == "3"
        notes.flush()
        answers(other.collection("notes"))
        with pytest.raises(StoreError, match="read_only=True"):
            other.collection("notes").delete(["3"])
    engine.dispose()
