"""Forked workers: nothing acknowledged is lost, nobody harms another, nobody hangs."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import ExitStack
from itertools import product

import numpy as np
import pytest
import sqlalchemy as sa

import requant
from requant.errors import ForkedError
from tests import forks, qdrant_server
from tests.databases import vectors
from tests.forks import alone, fork, outcome

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


# All of it is in tests/torture: what is refused takes the same way whatever the parent does.
CASES = [
    *product(["faiss"], forks.OPENED, forks.PARENT),
    *product(["usearch", "qdrant", "lancedb"], forks.OPENED, ["reopens"]),
]


@pytest.mark.parametrize(("engine", "opened", "parent"), CASES)
def test_workers_lose_nothing(tmp_path, engine, opened, parent):
    target, folder = str(tmp_path / "x"), str(tmp_path / "indexes")
    outcomes, written = alone(forks.matrix, target, folder, engine, opened, parent, 5)
    assert [kind for kind, _ in outcomes] == ["ok"] * len(outcomes), outcomes
    assert forks.problems(target, folder, written) == []


@pytest.mark.parametrize("opened", forks.OPENED)
def test_workers_of_a_server_lose_nothing(tmp_path, empty_postgres, opened):
    folder = str(tmp_path / "indexes")
    outcomes, written = alone(forks.matrix, empty_postgres, folder, "faiss", opened, "closes", 5)
    assert [kind for kind, _ in outcomes] == ["ok"] * len(outcomes), outcomes
    assert forks.problems(empty_postgres, folder, written) == []


def with_a_server(path, url):
    db = requant.open(path)
    notes = forks.make(db, "none")
    notes.add_index("main", engine="qdrant", precision="int8", url=url)
    notes.search(forks.vector_of(1))
    outcomes = [outcome(fork(lambda: forks.work(notes, "server", range(1000, 1005))))]
    forks.write(notes, 2000)
    assert forks.ask(notes, forks.vector_of(2000)) == [2000] * 2
    db.close()
    return outcomes


def test_an_index_on_a_server_is_reached_from_a_child(tmp_path):
    path = str(tmp_path / "x")
    with qdrant_server.running() as server:
        outcomes = alone(with_a_server, path, server.url)
        assert [kind for kind, _ in outcomes] == ["ok"], outcomes
        assert forks.problems(path, f"{path}.indexes", [*range(1000, 1005), 2000]) == []


def with_an_engine_of_its_own(path, pool, idle):
    """An application whose engine has been used, before requant was given it and since."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=pool)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE own (id INTEGER)")
        if not idle:  # what requant cannot know of
            kept = sqlite3.connect(path)
            kept.execute("SELECT count(*) FROM own").fetchall()
    db = requant.open(engine)
    notes = forks.make(db, "usearch")
    children = [
        fork(lambda: forks.work(notes, "usearch", range(1000, 1005))),
        fork(
            lambda: forks.work(
                requant.open(engine).collection("notes"), "usearch", range(2000, 2005)
            )
        ),
    ]
    db.close()
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO own VALUES (1)")
    outcomes = [outcome(child) for child in children]
    engine.dispose()
    return outcomes


@pytest.mark.parametrize("idle", [True, False])
@pytest.mark.parametrize("pool", [sa.QueuePool, sa.NullPool])
def test_an_engine_of_the_application(tmp_path, pool, idle):
    path = str(tmp_path / "x")
    outcomes = alone(with_an_engine_of_its_own, path, pool, idle)
    assert [kind for kind, _ in outcomes] == ["ok" if idle else "forked"] * 2, outcomes
    with requant.open(path) as db:
        stored = {item.id for item in db.collection("notes").iter()}
        written = {*range(1000, 1005), *range(2000, 2005)} if idle else set()
        assert stored == {*range(forks.ITEMS), *written}
        assert db.collection("notes").verify(deep=True).ok


# In use at the moment of the fork


def iterating(db, stack):
    items = db.collection("notes").iter()
    next(items)
    stack.callback(items.close)


def in_another_thread(db, stack):
    inside_it, leave = threading.Event(), threading.Event()

    def read():
        for _ in db.collection("notes").iter():
            inside_it.set()
            leave.wait(60)

    reader = threading.Thread(target=read)
    reader.start()
    stack.callback(reader.join)
    stack.callback(leave.set)
    inside_it.wait(60)


def writing(db, stack):
    connection = stack.enter_context(db.engine.begin())
    db.collection("notes").upsert(["mine"], vectors(1, forks.DIM), connection=connection)


def holding_a_connection(db, stack):
    stack.enter_context(db.engine.connect()).execute(sa.text("SELECT 1"))


def holding_it_by_other_means(db, stack):
    raw = sqlite3.connect(db.engine.url.database)
    stack.callback(raw.close)
    raw.execute("SELECT count(*) FROM requant_items").fetchall()


HOLDERS = [iterating, in_another_thread, writing, holding_a_connection]


def tried(db, notes, target, folder):
    """Try in a child what it inherited, and to open anew, and return what came of it."""

    def anew():
        with requant.open(target, folder=folder) as own:
            forks.write(own.create_collection("other", forks.DIM), 1)

    verbs = {
        "search": lambda: notes.search(np.ones(forks.DIM)),
        "upsert": lambda: notes.upsert(["child"], vectors(1, forks.DIM)),
        "collections": db.collections,
        "connect": lambda: db.engine.connect(),
        "anew": anew,
        "close": db.close,
    }
    found = []
    for name, verb in verbs.items():
        try:
            verb()
            found.append(name)
        except ForkedError as error:
            found += [] if "spawn" in str(error) else [str(error)]
    return " ".join(found)


def held_while_forking(target, folder, hold):
    db = requant.open(target, folder=folder)
    notes = forks.make(db, "faiss")
    with ExitStack() as stack:
        hold(db, stack)
        told = outcome(fork(lambda: tried(db, notes, target, folder)))
        if hold is not writing:
            forks.write(notes, 1000)  # the parent works on
    stored = {item.id for item in notes.iter()}
    names = db.collections()
    db.close()
    return told, stored, names


@pytest.mark.parametrize("hold", [*HOLDERS, holding_it_by_other_means])
def test_what_is_in_use_is_refused(tmp_path, hold):
    path = str(tmp_path / "x")
    told, stored, names = alone(held_while_forking, path, None, hold)
    assert told == ("ok", "close"), told
    assert stored == set(range(forks.ITEMS)) | {"mine" if hold is writing else 1000}
    assert names == ["notes"]


@pytest.mark.parametrize("hold", HOLDERS)
def test_what_is_in_use_is_refused_on_a_server(tmp_path, empty_postgres, hold):
    told, stored, names = alone(held_while_forking, empty_postgres, str(tmp_path), hold)
    assert told == ("ok", "anew close"), told  # a connection of the child's own is sound there
    assert stored == set(range(forks.ITEMS)) | {"mine" if hold is writing else 1000}
    assert names == ["notes", "other"]


def unwinding(target, folder):
    """Fork inside a transaction, and let the child leave it in every way."""
    db = requant.open(target, folder=folder)
    notes = forks.make(db, "none")
    children = []
    with db.engine.begin() as connection:
        notes.upsert(["mine"], vectors(1, forks.DIM), connection=connection)

        def commit():
            connection.commit()

        def roll_back():
            connection.rollback()
            connection.close()

        def go_on():
            notes.upsert(["other"], vectors(1, forks.DIM), connection=connection)

        children = [outcome(fork(act)) for act in (commit, roll_back, go_on, db.engine.dispose)]
        assert connection.execute(sa.text("SELECT 1")).scalar() == 1
    stored = {item.id for item in notes.iter()}
    db.close()
    return children, stored


def test_a_child_ends_no_transaction_of_its_parent(tmp_path, any_db):
    url = any_db.engine.url.render_as_string(False)
    children, stored = alone(unwinding, url, str(tmp_path / "i"))
    kinds = [kind for kind, _ in children]
    assert kinds == ["forked", "ok", "forked", "ok"], children
    assert stored == {*range(forks.ITEMS), "mine"}


# Busy parents


def forking_while_busy(target, folder, engine):
    forks.use_threads()
    db = requant.open(target, folder=folder)
    notes = forks.make(db, engine)
    stop, written = threading.Event(), []
    threads = [
        threading.Thread(target=forks.busy, args=(notes, stop, n == 0, written)) for n in range(3)
    ]
    for thread in threads:
        thread.start()
    outcomes = []
    for n in range(1, 7):
        ids = range(1000 * n, 1000 * n + 3)
        outcomes.append(outcome(fork(lambda ids=ids: forks.work(notes, engine, ids))))
    stop.set()
    for thread in threads:
        thread.join()
    db.close()
    for kind, words in outcomes:
        written += map(int, words.split()) if kind == "ok" else []
    return outcomes, written


@pytest.mark.parametrize("engine", ["faiss", "usearch", "lancedb"])
def test_a_fork_waits_for_searches_and_writes(tmp_path, engine):
    target, folder = str(tmp_path / "x"), str(tmp_path / "indexes")
    outcomes, written = alone(forking_while_busy, target, folder, engine)
    kinds = [kind for kind, _ in outcomes]
    assert set(kinds) <= {"ok", "forked"}, outcomes
    assert "ok" in kinds
    assert forks.problems(target, folder, written) == []
