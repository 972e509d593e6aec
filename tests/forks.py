"""Processes that fork as servers do, and what comes of it; told in plain words to the test.

A case runs in a process of its own that has used no engine before. It opens a database, forks
workers, and closes it, opens it anew or works on meanwhile; workers write and search.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import requant
from requant.collection import Collection
from requant.database import Database
from requant.errors import ForkedError
from tests.databases import vectors
from tests.processes import pipe, start

DIM = 16
ITEMS = 300
ENGINES = {
    "faiss": {"engine": "faiss", "precision": "int8"},
    "usearch": {"engine": "usearch", "precision": "binary", "index_type": "hnsw"},
    "qdrant": {"engine": "qdrant", "precision": "int8"},
    "lancedb": {"engine": "lancedb", "precision": "int8"},
    "turbovec": {"engine": "turbovec", "precision": "native"},
    "none": None,
}
# These cannot be had in a child of a process that used them, and say so.
REFUSED = ("qdrant", "lancedb")
OPENED = ("inherited", "reopened")
PARENT = ("closes", "reopens", "goes on")

_WORKERS = 3
_SECONDS = 60.0
Outcome = tuple[str, str]


# One child


def fork(act: Callable[[], Any], system: Callable[[], int] = os.fork) -> tuple[int, int]:
    """Let a forked child act; returns its process and where it tells what came of it."""
    receiving, sending = os.pipe()
    process = system()
    if process:
        os.close(sending)
        return process, receiving
    told = "ok\n"
    try:
        signal.alarm(0)
        told += str(act() or "")
    except ForkedError as error:
        told = f"forked\n{error}"
    except BaseException:
        told = f"failed\n{traceback.format_exc()}"
    data = told.encode()
    while data:
        data = data[os.write(sending, data) :]
    os._exit(0)


def outcome(child: tuple[int, int], seconds: float = _SECONDS) -> Outcome:
    """Wait for a child: "ok", "forked", "failed" or "hung", and its words."""
    process, receiving = child
    deadline = time.monotonic() + seconds
    told: list[bytes] = []
    os.set_blocking(receiving, False)
    ended = False
    while True:
        try:
            part = os.read(receiving, 1 << 16)
            if part:
                told.append(part)
                continue
        except BlockingIOError:
            part = None
        if ended:
            break
        ended = os.waitpid(process, os.WNOHANG)[0] == process
        if not ended and time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(receiving)
            return "hung", ""
        if not ended:
            time.sleep(0.002)
    os.close(receiving)
    kind, _, words = b"".join(told).decode().partition("\n")
    return kind or "died", words


def alone(case: Callable[..., Any], *arguments: Any, seconds: float = 2 * _SECONDS) -> Any:
    """Run a case in a process that has not used anything yet, and return what it returns."""
    receiver, sender = pipe()
    process = start(_told, sender, case, *arguments)
    sender.close()
    try:
        assert receiver.poll(seconds), "the parent process hangs"
        fine, result = receiver.recv()
        assert fine, result
        return result
    finally:
        process.kill()
        process.join()
        receiver.close()


def _told(sender: Any, case: Callable[..., Any], *arguments: Any) -> None:
    # Python from 3.12 on warns of forks with threads, LanceDB of its own.
    warnings.simplefilter("ignore")
    try:
        sender.send((True, case(*arguments)))
    except BaseException:
        sender.send((False, traceback.format_exc()))


def use_threads() -> None:
    """Let FAISS use two threads: the tests hold it to one, and one thread waits for nobody."""
    faiss = sys.modules.get("faiss")
    if faiss is not None:
        faiss.omp_set_num_threads(2)


# The matrix


def matrix(
    target: str, folder: str, engine: str, opened: str, parent: str, rounds: int
) -> tuple[list[Outcome], list[int]]:
    """Fork workers off an open database; return what came of each, and all ids acknowledged."""
    use_threads()
    db = requant.open(target, folder=folder)
    notes = make(db, engine)
    assert ask(notes, vectors(ITEMS, DIM)[0]) == [0, 0]
    children = []
    for worker in range(1, _WORKERS + 1):
        ids = range(1000 * worker, 1000 * worker + rounds)
        if opened == "inherited":
            children.append(fork(lambda ids=ids: work(notes, engine, ids)))
        else:
            children.append(fork(lambda ids=ids: work_anew(target, folder, engine, ids)))
    written: list[int] = []
    if parent == "closes":
        db.close()
    for turn in range(rounds) if parent != "closes" else ():
        if parent == "reopens":
            db.close()
            db = requant.open(target, folder=folder)
            notes = db.collection("notes")
        written.append(write(notes, 100_000 + turn))
        assert ask(notes, vector_of(written[-1])) == [written[-1]] * 2
    outcomes = [outcome(child) for child in children]
    db.close()
    for kind, words in outcomes:
        if kind == "ok":
            written += map(int, words.split())
    return outcomes, written


def work_anew(target: str, folder: str, engine: str, ids: range) -> str:
    """Open the database in the worker itself."""
    with requant.open(target, folder=folder) as db:
        return work(db.collection("notes"), engine, ids)


def work(notes: Collection, engine: str, ids: range) -> str:
    """What a worker does: write and find what it has written; returns the acknowledged ids."""
    for number in ids:
        write(notes, number)
        if engine in REFUSED:
            expect_refusal(notes, number)
        else:
            found = ask(notes, vector_of(number))
            assert found == [number] * 2, f"{number} was written, and the searches found {found}"
        assert ask(notes, vector_of(number), exact=True) == [number] * 2
    return " ".join(map(str, ids))


def expect_refusal(notes: Collection, number: int) -> None:
    """Fail unless the search raises ForkedError."""
    with pytest.raises(ForkedError, match="spawn"):
        ask(notes, vector_of(number))


def make(db: Database, engine: str) -> Collection:
    """Fill a collection, with an index in use."""
    notes = db.create_collection("notes", DIM)
    notes.upsert(range(ITEMS), vectors(ITEMS, DIM))
    options = ENGINES[engine]
    if options is not None:
        notes.add_index("main", **options)  # type: ignore[arg-type]
    return notes


def vector_of(number: int) -> np.ndarray:
    """Return the vector of an id, the same in every process."""
    return vectors(1, DIM, seed=number)[0]


def write(notes: Collection, number: int) -> int:
    """Store an item and return its id: it has been acknowledged."""
    assert notes.upsert([number], [vector_of(number)]) == 1
    return number


def ask(notes: Collection, query: np.ndarray, exact: bool = False) -> list[Any]:
    """Return the id that is nearest to a query: asked alone, and as one of a batch."""
    alone = notes.search(query, k=3, exact=exact)[0].id
    queries = np.concatenate([query[None], vectors(63, DIM, seed=5)])
    return [alone, notes.search_many(queries, k=3, exact=exact).ids[0][0]]


def problems(target: str, folder: str, written: list[int]) -> list[str]:
    """Return what is wrong with a database after all this; nothing is what it should be."""
    found = []
    if "://" not in target:
        connection = sqlite3.connect(target)
        (whole,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
        found += [] if whole == "ok" else [whole]
    with requant.open(target, folder=folder) as db:
        notes = db.collection("notes")
        stored = {item.id: item.vector for item in notes.iter()}
        lost = [number for number in written if number not in stored]
        if lost:
            found.append(f"lost {len(lost)} acknowledged items, such as {lost[0]}")
        if len(stored) != ITEMS + len(written):
            found.append(f"{len(stored)} items, not {ITEMS + len(written)}")
        wrong = [n for n in written if n in stored and not np.array_equal(stored[n], vector_of(n))]
        if wrong:
            found.append(f"other vectors under {len(wrong)} ids")
        report = notes.verify(deep=True)
        found += [] if report.ok else [str(report.problems)]
    return found


def busy(notes: Collection, stop: threading.Event, writes: bool, written: list[int]) -> None:
    """Search without pause until told to stop, and write if asked."""
    number = 500_000
    while not stop.is_set():
        notes.search(vector_of(1), k=3)
        if writes:
            written.append(write(notes, number))
            number += 1
