"""Ways to a wrong answer that a reader of the code found; each was one once."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.adapters import registry
from requant.adapters.guards import EngineGuard
from requant.adapters.keys import KeyColumn
from requant.adapters.protocol import IndexSpec
from requant.errors import IndexWarning, InputError
from requant.quantizers.codes import CodeSpec
from requant.testing import FailingBackend, WrapperBackend
from tests import inside
from tests.databases import vectors
from tests.wrapped import wrapped

KINDS = [("faiss", "hnsw"), ("faiss", "flat"), ("usearch", "flat"), ("usearch", "hnsw")]


@pytest.mark.parametrize(("engine", "index_type"), KINDS)
def test_an_interrupted_catch_up_leaves_nothing_half_done(db, monkeypatch, engine, index_type):
    failing = wrapped(monkeypatch, engine, FailingBackend)
    notes = db.create_collection("notes", 8)
    notes.upsert(range(300), vectors(300))
    notes.add_index("main", engine=engine, precision="float32", index_type=index_type)
    new = vectors(9000, seed=1)
    notes.upsert(range(300, 9300), new)
    failing.fail_at("upsert", error=KeyboardInterrupt(), after=True)
    with pytest.raises(KeyboardInterrupt):
        notes.search(new[0])
    notes.delete(range(300, 5000))
    # A graph may miss one or the other by nature.
    found = [notes.search(new[i], k=1)[0].id == 300 + i for i in range(8980, 9000)]
    assert sum(found) >= 18
    assert notes.verify().ok


def test_an_index_that_ran_ahead_of_the_snapshot_is_asked_again(db, monkeypatch):
    waiting = []

    class Meanwhile(WrapperBackend):
        def search(self, *args, **options):
            if waiting:
                other = threading.Thread(target=waiting.pop())
                other.start()
                other.join()
            return super().search(*args, **options)

    wrapped(monkeypatch, "faiss", Meanwhile)
    notes = db.create_collection("notes", 8)
    many = vectors(3000)
    notes.upsert(range(3000), many)
    notes.add_index("main", engine="faiss", precision="int8")
    query = vectors(1, seed=5)[0]
    notes.upsert([0, 1], [query, -query])
    notes.search(query)

    def swap():
        notes.upsert([0, 1], [-query, query])
        for _ in range(2):  # the first leaves following it to the second
            notes.search(query)

    waiting.append(swap)
    (hit,) = notes.search(query, k=1, oversample=1)
    assert not waiting
    assert hit.id == 1
    assert hit.score == pytest.approx(1)


@pytest.mark.parametrize("precision", ["int8", "int2", "binary"])
def test_a_quantizer_of_few_alike_vectors_is_fitted_again(db, precision):
    notes = db.create_collection("notes", 32)
    notes.upsert(range(1000), np.tile(vectors(1, 32), (1000, 1)))
    notes.add_index("main", engine="faiss", precision=precision)
    notes.search(np.ones(32))
    notes.upsert(range(1000, 6000), vectors(5000, 32, seed=2))
    queries = vectors(50, 32, seed=3)
    worst = notes.search_many(queries, exact=True).scores[:, -1:] - 1e-6
    before = (notes.search_many(queries).scores >= worst).mean()
    notes.rebuild()
    after = (notes.search_many(queries).scores >= worst).mean()
    assert before > after - 0.05
    assert after > 0.6


def test_autocommit_is_refused(tmp_path):
    plain = sa.create_engine(f"sqlite:///{tmp_path / 'app.db'}")
    notes = requant.open(plain).create_collection("notes", 2)
    notes.upsert(["a"], [[1, 0]])
    loose = plain.execution_options(isolation_level="AUTOCOMMIT")
    with loose.connect() as connection, pytest.raises(InputError, match="AUTOCOMMIT"):
        notes.upsert(["a", "b"], [[0, 1], [1, 1]], connection=connection)
    assert notes.vectors(["a"]).tolist() == [[1, 0]]
    assert len(notes) == 1


def test_autocommit_is_refused_in_postgresql(postgres_url, tmp_path):
    engine = sa.create_engine(postgres_url)
    with requant.open(engine, folder=tmp_path) as db:
        notes = db.create_collection("review", 2)
        loose = engine.execution_options(isolation_level="AUTOCOMMIT")
        with loose.connect() as connection, pytest.raises(InputError, match="AUTOCOMMIT"):
            notes.upsert(["a"], [[0, 1]], connection=connection)
        assert len(notes) == 0
        db.drop_collection("review")
    engine.dispose()


def test_efforts_of_one_thread_do_not_reach_another():
    code = CodeSpec("int8", 16)
    codes = np.random.default_rng(0).integers(-127, 128, (2000, 16)).astype(np.int8)
    index = registry.load("usearch").create(IndexSpec(code, "l2", "hnsw"))
    index.upsert(np.arange(2000), codes)
    usual = index.native().expansion_search

    def search(effort):
        for row in range(40):
            index.search(codes[row : row + 1], 5, effort=effort)

    threads = [threading.Thread(target=search, args=(effort,)) for effort in (2, 900, 400)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert index.native().expansion_search == usual


def test_an_interrupted_writer_does_not_hold_readers_back(monkeypatch):
    guard = EngineGuard("engine")
    guard.enter_shared()

    def interrupted(*_):
        raise KeyboardInterrupt

    inside.wake_with(guard, monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        guard.__enter__()
    guard.leave_shared()
    with guard.shared:
        pass


def test_keys_are_found_while_others_sort_them():
    column = KeyColumn(np.arange(0, 4000, 2)[::-1].copy())
    column.append(np.arange(1, 4000, 2))
    wrong = []

    def find():
        rows = column.find(np.array([0, 1, 3999]))
        if rows.tolist() != [1999, 2000, 3999]:
            wrong.append(rows)

    threads = [threading.Thread(target=find) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_unequal_norms_under_binary_codes_are_said(db):
    notes = db.create_collection("notes", 16, metric="ip")
    sizes = np.exp(np.random.default_rng(0).standard_normal((200, 1)))
    notes.upsert(range(200), vectors(200, 16) * sizes)
    with pytest.warns(IndexWarning, match=r"unequal norms, which binary codes forget"):
        notes.add_index("main", engine="faiss", precision="binary")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes.add_index("other", engine="faiss", precision="int8")


def test_lists_may_be_wished_for_before_there_are_rows(db):
    notes = db.create_collection("notes", 8)
    wish = {"params": {"nlist": 20}, "index_type": "ivf", "engine": "faiss"}
    notes.add_index("main", precision="int8", **wish)
    notes.upsert(range(5), vectors(5))
    assert len(notes.search(np.ones(8), k=5)) == 5
    notes.upsert(range(2000), vectors(2000, seed=1))
    assert len(notes.search(np.ones(8), k=5)) == 5
    assert inside.backend_of(notes).native().nlist == 20


def test_one_vector_needs_no_ranges(db):
    notes = db.create_collection("notes", 8)
    notes.add_index("main", engine="faiss", dialect="sentence-transformers")
    notes.upsert(["a"], vectors(1))
    assert [hit.id for hit in notes.search(np.ones(8))] == ["a"]
    notes.upsert(["b", "c"], vectors(2, seed=1))
    assert {hit.id for hit in notes.search(np.ones(8))} == {"a", "b", "c"}


def test_the_log_of_an_index_that_nobody_reads_is_bounded(db):
    notes = db.create_collection("notes", 2)
    notes.add_index("main", engine="faiss")
    rows = np.random.default_rng(0).standard_normal((200, 2))
    for _ in range(130):
        notes.upsert(range(200), rows)
    with db.engine.connect() as connection:
        logged = connection.exec_driver_sql("SELECT count(*) FROM requant_changes").scalar()
    assert logged <= 10_000 + 64 * 200
    assert [hit.id for hit in notes.search(rows[7], k=1)] == [7]
    assert notes.verify().ok


def test_searches_go_on_while_an_index_is_dropped(db):
    notes = db.create_collection("notes", 8)
    notes.upsert(range(500), vectors(500))
    failed, stop = [], threading.Event()

    def search():
        while not stop.is_set():
            try:
                assert len(notes.search(np.ones(8), k=5)) == 5
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        notes.add_index("main", engine="faiss")
        notes.drop_index("main")
    stop.set()
    for thread in threads:
        thread.join()
    assert not failed


def test_what_another_process_dropped_is_let_go(tmp_path):
    with requant.open(tmp_path / "a") as one, requant.open(tmp_path / "a") as two:
        notes = one.create_collection("notes", 8)
        notes.upsert(range(50), vectors(50))
        other = two.collection("notes")
        for _ in range(3):
            notes.add_index("main", engine="faiss")
            assert len(other.search(np.ones(8))) == 10
            notes.drop_index("main")
        notes.add_index("main", engine="faiss")
        other.search(np.ones(8))
        assert inside.how_many_follow(other) == 1


def test_a_connection_to_another_database_is_refused(tmp_path):
    with requant.open(tmp_path / "a") as one, requant.open(tmp_path / "b") as two:
        notes = one.create_collection("notes", 2)
        strangers = two.create_collection("notes", 2)
        with two.engine.begin() as connection:
            with pytest.raises(InputError, match="connection= is one to"):
                notes.upsert(["a"], [[1, 0]], connection=connection)
            strangers.upsert(["b"], [[1, 0]], connection=connection)
            with pytest.raises(InputError, match="connection= is one to"):
                notes.get(["b"], connection=connection)
        same = sa.create_engine(f"sqlite:///{tmp_path}/../{tmp_path.name}/a")
        with same.begin() as connection:
            notes.upsert(["c"], [[0, 1]], connection=connection)
        same.dispose()
        assert (len(notes), len(strangers)) == (1, 1)


def test_an_unknown_index_is_an_error_in_an_exact_search_too(db):
    notes = db.create_collection("notes", 2)
    notes.upsert(["a"], [[1, 0]])
    with pytest.raises(requant.UnknownIndexError, match="no index 'nope'"):
        notes.search([1, 0], exact=True, index="nope")
