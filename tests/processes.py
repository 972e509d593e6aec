"""Other processes to test with: forked from a server that has everything imported already."""

from __future__ import annotations

import multiprocessing
import random
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np

import requant
from requant.collection import Collection
from tests.databases import vectors

IDS = 120
DIM = 12
Model = dict[int, np.ndarray]
Write = tuple[str, list[int], int]


def start(target: Any, *arguments: Any) -> BaseProcess:
    """Run a function of a module of the tests in another process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.processes", "tests.engines"])
    process = context.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def pipe() -> tuple[Connection, Connection]:
    """Return the receiving and the sending end of a pipe."""
    return multiprocessing.get_context("forkserver").Pipe(duplex=False)


def choose(chance: random.Random) -> Write:
    """Draw something to do: a kind, ids, and a seed for vectors."""
    kind = chance.choice(["upsert", "upsert", "upsert", "delete", "documents", "flush"])
    return kind, chance.sample(range(IDS), chance.randint(1, 40)), chance.randrange(2**31)


def carry_out(notes: Collection, write: Write) -> None:
    """Do it to the collection."""
    kind, ids, seed = write
    if kind == "upsert":
        notes.upsert(ids, vectors(len(ids), DIM, seed), metadata=[{"seed": seed}] * len(ids))
    elif kind == "delete":
        notes.delete(ids)
    elif kind == "documents":
        known = [item.id for item in notes.get(ids)]
        if known:
            notes.upsert(known, documents=["text"] * len(known))
    else:
        notes.flush()


def applied(model: Model, write: Write) -> Model:
    """Return what the vectors are after it."""
    kind, ids, seed = write
    after = dict(model)
    if kind == "upsert":
        after.update(zip(ids, vectors(len(ids), DIM, seed), strict=True))
    elif kind == "delete":
        for number in ids:
            after.pop(number, None)
    return after


def stored(notes: Collection) -> Model:
    """Return what the vectors are."""
    return {item.id: item.vector for item in notes.iter() if item.vector is not None}


def same(left: Model, right: Model) -> bool:
    """Whether two models hold the same ids and the same vectors."""
    return left.keys() == right.keys() and all(
        np.array_equal(left[number], right[number]) for number in left
    )


def write_until_killed(path: str, seed: int, told: Connection) -> None:
    """Write at random for ever, and tell before and after each time."""
    chance = random.Random(seed)
    with requant.open(path) as db:
        notes = db.collection("notes")
        told.send(None)
        while True:
            write = choose(chance)
            told.send(("begin", write))
            carry_out(notes, write)
            if chance.random() < 0.3:
                notes.search(np.ones(DIM), index=chance.choice(["one", "two"]))
            told.send(("done", write))


def write_batches(target: str, folder: str, writer: int, size: int, told: Connection) -> None:
    """Write batch after batch, each of new ids, for ever; tell when the first is there."""
    with requant.open(target, folder=folder) as db:
        notes = db.collection("notes")
        batch = 0
        while True:
            ids = [f"{writer}-{batch}-{row}" for row in range(size)]
            marks = [{"writer": writer, "batch": batch}] * size
            notes.upsert(ids, vectors(size, DIM, batch), documents=ids, metadata=marks)
            if not batch:
                told.send(None)
            batch += 1
